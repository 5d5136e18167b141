/// Tile: 2 token(s) × 8 rows, 16 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t200_n8k16`.
/// A turn: 256 products of weights and activations by 1 loads, 4 ands, 8 broadcasts, 8 multiply-adds, 3 shifts, 2 widenings.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "avx2")]
pub unsafe fn gemm_t200_2x8k16u1__avx2_mad(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        debug_assert!(args.stride >= args.blocks * args.turns * 16);
        // The bits of each position.
        let mask0 = _mm256_set1_epi8(0x03u8 as i8);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            let mut x1 = x0.add(args.stride);
            for block in 0..args.blocks {
                let mut sum0_0 = _mm256_setzero_si256();
                let mut sum1_0 = _mm256_setzero_si256();
                for _turn in 0..args.turns {
                    // Columns 0..16 of the turn.
                    let w0 = _mm256_loadu_si256(weights.cast());
                    let c0 = _mm256_and_si256(w0, mask0);
                    let x = _mm256_set1_epi32(x0.cast::<i32>().read_unaligned());
                    let mut half0_0_0 = _mm256_maddubs_epi16(c0, x);
                    let x = _mm256_set1_epi32(x1.cast::<i32>().read_unaligned());
                    let mut half1_0_0 = _mm256_maddubs_epi16(c0, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<2>(w0), mask0);
                    let x = _mm256_set1_epi32(x0.add(4).cast::<i32>().read_unaligned());
                    half0_0_0 = _mm256_add_epi16(half0_0_0, _mm256_maddubs_epi16(c0, x));
                    let x = _mm256_set1_epi32(x1.add(4).cast::<i32>().read_unaligned());
                    half1_0_0 = _mm256_add_epi16(half1_0_0, _mm256_maddubs_epi16(c0, x));
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<4>(w0), mask0);
                    let x = _mm256_set1_epi32(x0.add(8).cast::<i32>().read_unaligned());
                    half0_0_0 = _mm256_add_epi16(half0_0_0, _mm256_maddubs_epi16(c0, x));
                    let x = _mm256_set1_epi32(x1.add(8).cast::<i32>().read_unaligned());
                    half1_0_0 = _mm256_add_epi16(half1_0_0, _mm256_maddubs_epi16(c0, x));
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<6>(w0), mask0);
                    let x = _mm256_set1_epi32(x0.add(12).cast::<i32>().read_unaligned());
                    half0_0_0 = _mm256_add_epi16(half0_0_0, _mm256_maddubs_epi16(c0, x));
                    let x = _mm256_set1_epi32(x1.add(12).cast::<i32>().read_unaligned());
                    half1_0_0 = _mm256_add_epi16(half1_0_0, _mm256_maddubs_epi16(c0, x));
                    // Widen what the turn has summed.
                    sum0_0 = _mm256_add_epi32(
                        sum0_0,
                        _mm256_madd_epi16(half0_0_0, _mm256_set1_epi16(1)),
                    );
                    sum1_0 = _mm256_add_epi32(
                        sum1_0,
                        _mm256_madd_epi16(half1_0_0, _mm256_set1_epi16(1)),
                    );
                    weights = weights.add(32);
                    x0 = x0.add(16);
                    x1 = x1.add(16);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = _mm256_set1_epi32(args.sums.add(block).read());
                _mm256_storeu_si256(out.cast(), _mm256_sub_epi32(sum0_0, excess));
                let excess = _mm256_set1_epi32(
                    args.sums.add(args.blocks + block).read(),
                );
                _mm256_storeu_si256(out.add(8).cast(), _mm256_sub_epi32(sum1_0, excess));
                out = out.add(16);
            }
        }
    }
}
