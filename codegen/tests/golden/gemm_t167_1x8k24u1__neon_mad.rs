/// Tile: 1 token(s) × 8 rows, 24 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t167_n8k24`.
/// A turn: 192 products of weights and activations by 2 loads, 2 shifts, 4 ands, 4 expansions of signs, 4 byte subs, 12 lookups, 12 xors, 12 byte adds, 6 broadcasts, 12 multiply-adds, 2 widenings.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "neon")]
pub unsafe fn gemm_t167_1x8k24u1__neon_mad(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        // The classes of a half, the digits of each class, and 1.
        let low = vdupq_n_u8(0x0f);
        let digits0 = vld1q_u8(
            [0, 1, 255, 0, 1, 255, 0, 1, 255, 0, 1, 255, 0, 1, 0, 0].as_ptr(),
        );
        let digits1 = vld1q_u8(
            [0, 0, 1, 1, 1, 255, 255, 255, 0, 0, 0, 1, 1, 1, 0, 0].as_ptr(),
        );
        let digits2 = vld1q_u8(
            [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0].as_ptr(),
        );
        let one = vdupq_n_u8(0x01);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            for block in 0..args.blocks {
                let mut sum0_0 = vdupq_n_s32(0);
                let mut sum0_1 = vdupq_n_s32(0);
                for _turn in 0..args.turns {
                    // Columns 0..24 of the turn.
                    let w0 = vld1q_u8(weights);
                    let w1 = vld1q_u8(weights.add(16));
                    // Classes and signs of the low halves.
                    let class0 = vandq_u8(w0, low);
                    let turn0 = expand(weights.add(32));
                    let unit0 = vsubq_u8(one, turn0);
                    let class1 = vandq_u8(w1, low);
                    let turn1 = expand(weights.add(34));
                    let unit1 = vsubq_u8(one, turn1);
                    let c0 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits0, class0), turn0),
                        unit0,
                    );
                    let c1 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits0, class1), turn1),
                        unit1,
                    );
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.cast::<i32>().read_unaligned()),
                    );
                    let mut half0_0_0 = int16x8x2_t(
                        vmull_s8(vget_low_s8(vreinterpretq_s8_u8(c0)), vget_low_s8(x)),
                        vmull_high_s8(vreinterpretq_s8_u8(c0), x),
                    );
                    let mut half0_1_0 = int16x8x2_t(
                        vmull_s8(vget_low_s8(vreinterpretq_s8_u8(c1)), vget_low_s8(x)),
                        vmull_high_s8(vreinterpretq_s8_u8(c1), x),
                    );
                    let c0 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits1, class0), turn0),
                        unit0,
                    );
                    let c1 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits1, class1), turn1),
                        unit1,
                    );
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(4).cast::<i32>().read_unaligned()),
                    );
                    half0_0_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_0_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c0)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_0_0.1, vreinterpretq_s8_u8(c0), x),
                    );
                    half0_1_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_1_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c1)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_1_0.1, vreinterpretq_s8_u8(c1), x),
                    );
                    let c0 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits2, class0), turn0),
                        unit0,
                    );
                    let c1 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits2, class1), turn1),
                        unit1,
                    );
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(8).cast::<i32>().read_unaligned()),
                    );
                    half0_0_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_0_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c0)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_0_0.1, vreinterpretq_s8_u8(c0), x),
                    );
                    half0_1_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_1_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c1)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_1_0.1, vreinterpretq_s8_u8(c1), x),
                    );
                    // Classes and signs of the high halves.
                    let class0 = vandq_u8(vshrq_n_u8::<4>(w0), low);
                    let turn0 = expand(weights.add(36));
                    let unit0 = vsubq_u8(one, turn0);
                    let class1 = vandq_u8(vshrq_n_u8::<4>(w1), low);
                    let turn1 = expand(weights.add(38));
                    let unit1 = vsubq_u8(one, turn1);
                    let c0 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits0, class0), turn0),
                        unit0,
                    );
                    let c1 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits0, class1), turn1),
                        unit1,
                    );
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(12).cast::<i32>().read_unaligned()),
                    );
                    half0_0_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_0_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c0)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_0_0.1, vreinterpretq_s8_u8(c0), x),
                    );
                    half0_1_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_1_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c1)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_1_0.1, vreinterpretq_s8_u8(c1), x),
                    );
                    let c0 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits1, class0), turn0),
                        unit0,
                    );
                    let c1 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits1, class1), turn1),
                        unit1,
                    );
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(16).cast::<i32>().read_unaligned()),
                    );
                    half0_0_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_0_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c0)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_0_0.1, vreinterpretq_s8_u8(c0), x),
                    );
                    half0_1_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_1_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c1)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_1_0.1, vreinterpretq_s8_u8(c1), x),
                    );
                    let c0 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits2, class0), turn0),
                        unit0,
                    );
                    let c1 = vaddq_u8(
                        veorq_u8(vqtbl1q_u8(digits2, class1), turn1),
                        unit1,
                    );
                    let x = vreinterpretq_s8_s32(
                        vdupq_n_s32(x0.add(20).cast::<i32>().read_unaligned()),
                    );
                    half0_0_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_0_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c0)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_0_0.1, vreinterpretq_s8_u8(c0), x),
                    );
                    half0_1_0 = int16x8x2_t(
                        vmlal_s8(
                            half0_1_0.0,
                            vget_low_s8(vreinterpretq_s8_u8(c1)),
                            vget_low_s8(x),
                        ),
                        vmlal_high_s8(half0_1_0.1, vreinterpretq_s8_u8(c1), x),
                    );
                    // Widen what the turn has summed.
                    sum0_0 = vaddq_s32(
                        sum0_0,
                        vpaddq_s32(vpaddlq_s16(half0_0_0.0), vpaddlq_s16(half0_0_0.1)),
                    );
                    sum0_1 = vaddq_s32(
                        sum0_1,
                        vpaddq_s32(vpaddlq_s16(half0_1_0.0), vpaddlq_s16(half0_1_0.1)),
                    );
                    weights = weights.add(40);
                    x0 = x0.add(24);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = vdupq_n_s32(args.sums.add(block).read());
                vst1q_s32(out, vsubq_s32(sum0_0, excess));
                vst1q_s32(out.add(4), vsubq_s32(sum0_1, excess));
                out = out.add(8);
            }
            weights = weights.add(32);
        }
    }
}
