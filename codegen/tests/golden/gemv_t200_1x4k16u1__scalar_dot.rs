/// Tile: 1 token(s) × 4 rows, 16 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t200_n4k16`.
/// A turn: 64 products of weights and activations by 4 loads, 16 ands, 4 broadcasts, 16 multiply-adds, 12 shifts.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
pub unsafe fn gemv_t200_1x4k16u1__scalar_dot(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        // The bits of each position.
        let mask0 = 0x0303_0303u32;
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            for block in 0..args.blocks {
                let mut sum0_0 = 0i32;
                let mut sum0_1 = 0i32;
                let mut sum0_2 = 0i32;
                let mut sum0_3 = 0i32;
                for _turn in 0..args.turns {
                    // Columns 0..16 of the turn.
                    let w0 = u32::from_le(weights.cast::<u32>().read_unaligned());
                    let w1 = u32::from_le(weights.add(4).cast::<u32>().read_unaligned());
                    let w2 = u32::from_le(weights.add(8).cast::<u32>().read_unaligned());
                    let w3 = u32::from_le(
                        weights.add(12).cast::<u32>().read_unaligned(),
                    );
                    let c0 = w0 & mask0;
                    let c1 = w1 & mask0;
                    let c2 = w2 & mask0;
                    let c3 = w3 & mask0;
                    let x = broadcast(x0);
                    sum0_0 = dot(sum0_0, c0, x);
                    sum0_1 = dot(sum0_1, c1, x);
                    sum0_2 = dot(sum0_2, c2, x);
                    sum0_3 = dot(sum0_3, c3, x);
                    let c0 = (w0 >> 2) & mask0;
                    let c1 = (w1 >> 2) & mask0;
                    let c2 = (w2 >> 2) & mask0;
                    let c3 = (w3 >> 2) & mask0;
                    let x = broadcast(x0.add(4));
                    sum0_0 = dot(sum0_0, c0, x);
                    sum0_1 = dot(sum0_1, c1, x);
                    sum0_2 = dot(sum0_2, c2, x);
                    sum0_3 = dot(sum0_3, c3, x);
                    let c0 = (w0 >> 4) & mask0;
                    let c1 = (w1 >> 4) & mask0;
                    let c2 = (w2 >> 4) & mask0;
                    let c3 = (w3 >> 4) & mask0;
                    let x = broadcast(x0.add(8));
                    sum0_0 = dot(sum0_0, c0, x);
                    sum0_1 = dot(sum0_1, c1, x);
                    sum0_2 = dot(sum0_2, c2, x);
                    sum0_3 = dot(sum0_3, c3, x);
                    let c0 = (w0 >> 6) & mask0;
                    let c1 = (w1 >> 6) & mask0;
                    let c2 = (w2 >> 6) & mask0;
                    let c3 = (w3 >> 6) & mask0;
                    let x = broadcast(x0.add(12));
                    sum0_0 = dot(sum0_0, c0, x);
                    sum0_1 = dot(sum0_1, c1, x);
                    sum0_2 = dot(sum0_2, c2, x);
                    sum0_3 = dot(sum0_3, c3, x);
                    weights = weights.add(16);
                    x0 = x0.add(16);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = args.sums.add(block).read();
                out.write(sum0_0 - excess);
                out.add(1).write(sum0_1 - excess);
                out.add(2).write(sum0_2 - excess);
                out.add(3).write(sum0_3 - excess);
                out = out.add(4);
            }
        }
    }
}
