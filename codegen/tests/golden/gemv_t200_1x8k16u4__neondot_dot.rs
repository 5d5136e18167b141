/// Tile: 1 token(s) × 8 rows, 16 columns a turn, 4 accumulator(s) an output.
/// Weights: layout `t200_n8k16`.
/// A turn: 128 products of weights and activations by 2 loads, 8 ands, 4 broadcasts, 8 multiply-adds, 2 shifts.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn gemv_t200_1x8k16u4__neondot_dot(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        // The bits of each position.
        let mask0 = vdupq_n_u8(0x03);
        let mask1 = vdupq_n_u8(0x0c);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            for block in 0..args.blocks {
                let mut sum0_0_0 = vdupq_n_s32(0);
                let mut sum0_0_1 = vdupq_n_s32(0);
                let mut sum0_0_2 = vdupq_n_s32(0);
                let mut sum0_0_3 = vdupq_n_s32(0);
                let mut sum0_1_0 = vdupq_n_s32(0);
                let mut sum0_1_1 = vdupq_n_s32(0);
                let mut sum0_1_2 = vdupq_n_s32(0);
                let mut sum0_1_3 = vdupq_n_s32(0);
                for _turn in 0..args.turns {
                    // Columns 0..16 of the turn.
                    let w0 = vld1q_u8(weights);
                    let w1 = vld1q_u8(weights.add(16));
                    let c0 = vandq_u8(w0, mask0);
                    let c1 = vandq_u8(w1, mask0);
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.cast::<i32>().read_unaligned()),
                    );
                    sum0_0_0 = sdot(sum0_0_0, c0, x);
                    sum0_1_0 = sdot(sum0_1_0, c1, x);
                    let c0 = vandq_u8(w0, mask1);
                    let c1 = vandq_u8(w1, mask1);
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(4).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_1 = sdot(sum0_0_1, c0, x);
                    sum0_1_1 = sdot(sum0_1_1, c1, x);
                    let c0 = vandq_u8(vshrq_n_u8::<4>(w0), mask0);
                    let c1 = vandq_u8(vshrq_n_u8::<4>(w1), mask0);
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(8).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_2 = sdot(sum0_0_2, c0, x);
                    sum0_1_2 = sdot(sum0_1_2, c1, x);
                    let c0 = vandq_u8(vshrq_n_u8::<4>(w0), mask1);
                    let c1 = vandq_u8(vshrq_n_u8::<4>(w1), mask1);
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(12).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_3 = sdot(sum0_0_3, c0, x);
                    sum0_1_3 = sdot(sum0_1_3, c1, x);
                    weights = weights.add(32);
                    x0 = x0.add(16);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = vdupq_n_s32(args.sums.add(block).read());
                vst1q_s32(
                    out,
                    vsubq_s32(
                        vaddq_s32(
                            vaddq_s32(sum0_0_0, sum0_0_2),
                            vshrq_n_s32::<2>(vaddq_s32(sum0_0_1, sum0_0_3)),
                        ),
                        excess,
                    ),
                );
                vst1q_s32(
                    out.add(4),
                    vsubq_s32(
                        vaddq_s32(
                            vaddq_s32(sum0_1_0, sum0_1_2),
                            vshrq_n_s32::<2>(vaddq_s32(sum0_1_1, sum0_1_3)),
                        ),
                        excess,
                    ),
                );
                out = out.add(8);
            }
        }
    }
}
