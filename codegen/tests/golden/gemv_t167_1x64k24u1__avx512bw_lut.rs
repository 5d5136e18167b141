/// Tile: 1 token(s) × 64 rows, 24 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t167_n64k24`.
/// A turn: 1536 products of weights and activations by 4 loads, 1 sortings into planes, 2 loads of signs, 4 shifts, 8 ands, 8 tests of signs, 16 loads of tables, 16 lookups, 16 xors, 16 unpackings, 16 adds, 4 widenings.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn gemv_t167_1x64k24u1__avx512bw_lut(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        // The index in a half of a byte; where each plane has its signs.
        let low = _mm512_set1_epi8(0x0fu8 as i8);
        let bits0 = _mm512_set1_epi16(4097u16 as i16);
        let bits1 = _mm512_set1_epi16(8194u16 as i16);
        let bits2 = _mm512_set1_epi16(16388u16 as i16);
        let bits3 = _mm512_set1_epi16(32776u16 as i16);
        let (far, near) = (args.ahead, args.ahead / 4);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            for _block in 0..args.blocks {
                let mut sum0_0_0 = _mm512_setzero_si512();
                let mut sum0_0_1 = _mm512_setzero_si512();
                let mut sum0_0_2 = _mm512_setzero_si512();
                let mut sum0_0_3 = _mm512_setzero_si512();
                for _turn in 0..args.turns {
                    let mut low0_0_0 = _mm512_setzero_si512();
                    let mut high0_0_0 = _mm512_setzero_si512();
                    // Columns 0..24 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 64).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 64).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 128).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 128).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 192).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 192).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 256).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 256).cast());
                    let [plane0_0, plane0_1, plane0_2, plane0_3] = planes(weights);
                    let signs0 = spread(weights.add(256));
                    let index0 = _mm512_and_si512(plane0_0, low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits0));
                    let low_table = _mm512_broadcast_i32x4(_mm_loadu_si128(x0.cast()));
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(64).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let index0 = _mm512_and_si512(plane0_1, low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits1));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(16).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(80).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let index0 = _mm512_and_si512(plane0_2, low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits2));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(32).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(96).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let index0 = _mm512_and_si512(plane0_3, low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits3));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(48).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(112).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let signs0 = spread(weights.add(288));
                    let index0 = _mm512_and_si512(_mm512_srli_epi16::<4>(plane0_0), low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits0));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(128).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(192).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let index0 = _mm512_and_si512(_mm512_srli_epi16::<4>(plane0_1), low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits1));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(144).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(208).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let index0 = _mm512_and_si512(_mm512_srli_epi16::<4>(plane0_2), low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits2));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(160).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(224).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    let index0 = _mm512_and_si512(_mm512_srli_epi16::<4>(plane0_3), low);
                    let turn0 = _mm512_movm_epi8(_mm512_test_epi8_mask(signs0, bits3));
                    let low_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(176).cast()),
                    );
                    let high_table = _mm512_broadcast_i32x4(
                        _mm_loadu_si128(x0.add(240).cast()),
                    );
                    let low_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(low_table, index0),
                        turn0,
                    );
                    let high_bytes = _mm512_xor_si512(
                        _mm512_shuffle_epi8(high_table, index0),
                        turn0,
                    );
                    low0_0_0 = _mm512_add_epi16(
                        low0_0_0,
                        _mm512_unpacklo_epi8(low_bytes, high_bytes),
                    );
                    high0_0_0 = _mm512_add_epi16(
                        high0_0_0,
                        _mm512_unpackhi_epi8(low_bytes, high_bytes),
                    );
                    // Widen what the turn has summed.
                    sum0_0_0 = _mm512_add_epi32(
                        sum0_0_0,
                        _mm512_srai_epi32::<
                            16,
                        >(_mm512_unpacklo_epi16(low0_0_0, low0_0_0)),
                    );
                    sum0_0_1 = _mm512_add_epi32(
                        sum0_0_1,
                        _mm512_srai_epi32::<
                            16,
                        >(_mm512_unpackhi_epi16(low0_0_0, low0_0_0)),
                    );
                    sum0_0_2 = _mm512_add_epi32(
                        sum0_0_2,
                        _mm512_srai_epi32::<
                            16,
                        >(_mm512_unpacklo_epi16(high0_0_0, high0_0_0)),
                    );
                    sum0_0_3 = _mm512_add_epi32(
                        sum0_0_3,
                        _mm512_srai_epi32::<
                            16,
                        >(_mm512_unpackhi_epi16(high0_0_0, high0_0_0)),
                    );
                    weights = weights.add(320);
                    x0 = x0.add(256);
                }
                // Take the bias of all entries off, and what complements are short of negatives.
                let excess = _mm512_set1_epi32(3072i32 * args.turns as i32);
                let correction = _mm512_sub_epi32(
                    excess,
                    _mm512_mullo_epi32(
                        _mm512_loadu_si512(weights.cast()),
                        _mm512_set1_epi32(769),
                    ),
                );
                _mm512_storeu_si512(out.cast(), _mm512_sub_epi32(sum0_0_0, correction));
                let correction = _mm512_sub_epi32(
                    excess,
                    _mm512_mullo_epi32(
                        _mm512_loadu_si512(weights.add(64).cast()),
                        _mm512_set1_epi32(769),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(16).cast(),
                    _mm512_sub_epi32(sum0_0_1, correction),
                );
                let correction = _mm512_sub_epi32(
                    excess,
                    _mm512_mullo_epi32(
                        _mm512_loadu_si512(weights.add(128).cast()),
                        _mm512_set1_epi32(769),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(32).cast(),
                    _mm512_sub_epi32(sum0_0_2, correction),
                );
                let correction = _mm512_sub_epi32(
                    excess,
                    _mm512_mullo_epi32(
                        _mm512_loadu_si512(weights.add(192).cast()),
                        _mm512_set1_epi32(769),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(48).cast(),
                    _mm512_sub_epi32(sum0_0_3, correction),
                );
                out = out.add(64);
            }
            weights = weights.add(256);
        }
    }
}
