/// Tile: 2 token(s) × 8 rows, 16 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t200_n8k16`.
/// A turn: 256 products of weights and activations by 2 loads, 8 ands, 6 shifts, 8 zips, 2 loads of activations, 8 multiply-adds.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub unsafe fn gemm_t200_2x8k16u1__neoni8mm_tile(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        debug_assert!(args.stride >= args.blocks * args.turns * 16);
        // The bits of each position.
        let mask0 = vdupq_n_u8(0x03);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            let mut x1 = x0.add(args.stride);
            for block in 0..args.blocks {
                let mut sum0_0_low = vdupq_n_s32(0);
                let mut sum0_0_high = vdupq_n_s32(0);
                let mut sum0_1_low = vdupq_n_s32(0);
                let mut sum0_1_high = vdupq_n_s32(0);
                for _turn in 0..args.turns {
                    // Columns 0..16 of the turn.
                    let w0 = vld1q_u8(weights);
                    let w1 = vld1q_u8(weights.add(16));
                    let c0 = vandq_u8(w0, mask0);
                    let c1 = vandq_u8(w1, mask0);
                    let d0 = vandq_u8(vshrq_n_u8::<2>(w0), mask0);
                    let d1 = vandq_u8(vshrq_n_u8::<2>(w1), mask0);
                    let low0 = vreinterpretq_u8_u32(
                        vzip1q_u32(vreinterpretq_u32_u8(c0), vreinterpretq_u32_u8(d0)),
                    );
                    let high0 = vreinterpretq_u8_u32(
                        vzip2q_u32(vreinterpretq_u32_u8(c0), vreinterpretq_u32_u8(d0)),
                    );
                    let low1 = vreinterpretq_u8_u32(
                        vzip1q_u32(vreinterpretq_u32_u8(c1), vreinterpretq_u32_u8(d1)),
                    );
                    let high1 = vreinterpretq_u8_u32(
                        vzip2q_u32(vreinterpretq_u32_u8(c1), vreinterpretq_u32_u8(d1)),
                    );
                    let x = vcombine_s8(vld1_s8(x0), vld1_s8(x1));
                    sum0_0_low = smmla(sum0_0_low, low0, x);
                    sum0_0_high = smmla(sum0_0_high, high0, x);
                    sum0_1_low = smmla(sum0_1_low, low1, x);
                    sum0_1_high = smmla(sum0_1_high, high1, x);
                    let c0 = vandq_u8(vshrq_n_u8::<4>(w0), mask0);
                    let c1 = vandq_u8(vshrq_n_u8::<4>(w1), mask0);
                    let d0 = vandq_u8(vshrq_n_u8::<6>(w0), mask0);
                    let d1 = vandq_u8(vshrq_n_u8::<6>(w1), mask0);
                    let low0 = vreinterpretq_u8_u32(
                        vzip1q_u32(vreinterpretq_u32_u8(c0), vreinterpretq_u32_u8(d0)),
                    );
                    let high0 = vreinterpretq_u8_u32(
                        vzip2q_u32(vreinterpretq_u32_u8(c0), vreinterpretq_u32_u8(d0)),
                    );
                    let low1 = vreinterpretq_u8_u32(
                        vzip1q_u32(vreinterpretq_u32_u8(c1), vreinterpretq_u32_u8(d1)),
                    );
                    let high1 = vreinterpretq_u8_u32(
                        vzip2q_u32(vreinterpretq_u32_u8(c1), vreinterpretq_u32_u8(d1)),
                    );
                    let x = vcombine_s8(vld1_s8(x0.add(8)), vld1_s8(x1.add(8)));
                    sum0_0_low = smmla(sum0_0_low, low0, x);
                    sum0_0_high = smmla(sum0_0_high, high0, x);
                    sum0_1_low = smmla(sum0_1_low, low1, x);
                    sum0_1_high = smmla(sum0_1_high, high1, x);
                    weights = weights.add(32);
                    x0 = x0.add(16);
                    x1 = x1.add(16);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = vdupq_n_s32(args.sums.add(block).read());
                vst1q_s32(out, vsubq_s32(vuzp1q_s32(sum0_0_low, sum0_0_high), excess));
                vst1q_s32(
                    out.add(4),
                    vsubq_s32(vuzp1q_s32(sum0_1_low, sum0_1_high), excess),
                );
                let excess = vdupq_n_s32(args.sums.add(args.blocks + block).read());
                vst1q_s32(
                    out.add(8),
                    vsubq_s32(vuzp2q_s32(sum0_0_low, sum0_0_high), excess),
                );
                vst1q_s32(
                    out.add(12),
                    vsubq_s32(vuzp2q_s32(sum0_1_low, sum0_1_high), excess),
                );
                out = out.add(16);
            }
        }
    }
}
