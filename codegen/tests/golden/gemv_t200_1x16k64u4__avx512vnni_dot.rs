/// Tile: 1 token(s) × 16 rows, 64 columns a turn, 4 accumulator(s) an output.
/// Weights: layout `t200_n16k64`.
/// A turn: 1024 products of weights and activations by 4 loads, 16 ands, 16 broadcasts, 16 multiply-adds.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn gemv_t200_1x16k64u4__avx512vnni_dot(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        // The bits of each position.
        let mask0 = _mm512_set1_epi8(0x03u8 as i8);
        let mask1 = _mm512_set1_epi8(0x0cu8 as i8);
        let mask2 = _mm512_set1_epi8(0x30u8 as i8);
        let mask3 = _mm512_set1_epi8(0xc0u8 as i8);
        let (far, near) = (args.ahead, args.ahead / 4);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            for block in 0..args.blocks {
                let mut sum0_0_0 = _mm512_setzero_si512();
                let mut sum0_0_1 = _mm512_setzero_si512();
                let mut sum0_0_2 = _mm512_setzero_si512();
                let mut sum0_0_3 = _mm512_setzero_si512();
                for _turn in 0..args.turns {
                    // Columns 0..16 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near).cast());
                    let w0 = _mm512_loadu_si512(weights.cast());
                    let c0 = _mm512_and_si512(w0, mask0);
                    let x = _mm512_set1_epi32(x0.cast::<i32>().read_unaligned());
                    sum0_0_0 = _mm512_dpbusd_epi32(sum0_0_0, c0, x);
                    let c0 = _mm512_and_si512(w0, mask1);
                    let x = _mm512_set1_epi32(x0.add(4).cast::<i32>().read_unaligned());
                    sum0_0_1 = _mm512_dpbusd_epi32(sum0_0_1, c0, x);
                    let c0 = _mm512_and_si512(w0, mask2);
                    let x = _mm512_set1_epi32(x0.add(8).cast::<i32>().read_unaligned());
                    sum0_0_2 = _mm512_dpbusd_epi32(sum0_0_2, c0, x);
                    let c0 = _mm512_and_si512(w0, mask3);
                    let x = _mm512_set1_epi32(x0.add(12).cast::<i32>().read_unaligned());
                    sum0_0_3 = _mm512_dpbusd_epi32(sum0_0_3, c0, x);
                    // Columns 16..32 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 64).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 64).cast());
                    let w0 = _mm512_loadu_si512(weights.add(64).cast());
                    let c0 = _mm512_and_si512(w0, mask0);
                    let x = _mm512_set1_epi32(x0.add(16).cast::<i32>().read_unaligned());
                    sum0_0_0 = _mm512_dpbusd_epi32(sum0_0_0, c0, x);
                    let c0 = _mm512_and_si512(w0, mask1);
                    let x = _mm512_set1_epi32(x0.add(20).cast::<i32>().read_unaligned());
                    sum0_0_1 = _mm512_dpbusd_epi32(sum0_0_1, c0, x);
                    let c0 = _mm512_and_si512(w0, mask2);
                    let x = _mm512_set1_epi32(x0.add(24).cast::<i32>().read_unaligned());
                    sum0_0_2 = _mm512_dpbusd_epi32(sum0_0_2, c0, x);
                    let c0 = _mm512_and_si512(w0, mask3);
                    let x = _mm512_set1_epi32(x0.add(28).cast::<i32>().read_unaligned());
                    sum0_0_3 = _mm512_dpbusd_epi32(sum0_0_3, c0, x);
                    // Columns 32..48 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 128).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 128).cast());
                    let w0 = _mm512_loadu_si512(weights.add(128).cast());
                    let c0 = _mm512_and_si512(w0, mask0);
                    let x = _mm512_set1_epi32(x0.add(32).cast::<i32>().read_unaligned());
                    sum0_0_0 = _mm512_dpbusd_epi32(sum0_0_0, c0, x);
                    let c0 = _mm512_and_si512(w0, mask1);
                    let x = _mm512_set1_epi32(x0.add(36).cast::<i32>().read_unaligned());
                    sum0_0_1 = _mm512_dpbusd_epi32(sum0_0_1, c0, x);
                    let c0 = _mm512_and_si512(w0, mask2);
                    let x = _mm512_set1_epi32(x0.add(40).cast::<i32>().read_unaligned());
                    sum0_0_2 = _mm512_dpbusd_epi32(sum0_0_2, c0, x);
                    let c0 = _mm512_and_si512(w0, mask3);
                    let x = _mm512_set1_epi32(x0.add(44).cast::<i32>().read_unaligned());
                    sum0_0_3 = _mm512_dpbusd_epi32(sum0_0_3, c0, x);
                    // Columns 48..64 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 192).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 192).cast());
                    let w0 = _mm512_loadu_si512(weights.add(192).cast());
                    let c0 = _mm512_and_si512(w0, mask0);
                    let x = _mm512_set1_epi32(x0.add(48).cast::<i32>().read_unaligned());
                    sum0_0_0 = _mm512_dpbusd_epi32(sum0_0_0, c0, x);
                    let c0 = _mm512_and_si512(w0, mask1);
                    let x = _mm512_set1_epi32(x0.add(52).cast::<i32>().read_unaligned());
                    sum0_0_1 = _mm512_dpbusd_epi32(sum0_0_1, c0, x);
                    let c0 = _mm512_and_si512(w0, mask2);
                    let x = _mm512_set1_epi32(x0.add(56).cast::<i32>().read_unaligned());
                    sum0_0_2 = _mm512_dpbusd_epi32(sum0_0_2, c0, x);
                    let c0 = _mm512_and_si512(w0, mask3);
                    let x = _mm512_set1_epi32(x0.add(60).cast::<i32>().read_unaligned());
                    sum0_0_3 = _mm512_dpbusd_epi32(sum0_0_3, c0, x);
                    weights = weights.add(256);
                    x0 = x0.add(64);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = _mm512_set1_epi32(args.sums.add(block).read());
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_sub_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum0_0_0,
                                    _mm512_srai_epi32::<2>(sum0_0_1),
                                ),
                                _mm512_srai_epi32::<4>(sum0_0_2),
                            ),
                            _mm512_srai_epi32::<6>(sum0_0_3),
                        ),
                        excess,
                    ),
                );
                out = out.add(16);
            }
        }
    }
}
