/// Tile: 1 token(s) × 32 rows, 48 columns a turn, 2 accumulator(s) an output.
/// Weights: layout `t167_n32k48`.
/// A turn: 1536 products of weights and activations by 4 loads, 4 shifts, 8 ands and ors, 8 choices of signs, 8 loads of tables, 16 lookups, 16 multiply-adds.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe fn gemv_t167_1x32k48u2__avx512vnni_lut(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        // The index in a half of a byte, the quarter of the table for each byte of a lane, and signs.
        let low = _mm512_set1_epi8(0x0fu8 as i8);
        let quarters = _mm512_set1_epi32(0x30201000);
        let plus = _mm512_set1_epi8(0x01u8 as i8);
        let minus = _mm512_set1_epi8(0xffu8 as i8);
        let (far, near) = (args.ahead, args.ahead / 4);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            for _block in 0..args.blocks {
                let mut low0_0_0 = _mm512_setzero_si512();
                let mut high0_0_0 = _mm512_setzero_si512();
                let mut low0_0_1 = _mm512_setzero_si512();
                let mut high0_0_1 = _mm512_setzero_si512();
                let mut low0_1_0 = _mm512_setzero_si512();
                let mut high0_1_0 = _mm512_setzero_si512();
                let mut low0_1_1 = _mm512_setzero_si512();
                let mut high0_1_1 = _mm512_setzero_si512();
                for _turn in 0..args.turns {
                    // Columns 0..24 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 64).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 64).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 128).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 128).cast());
                    let w0 = _mm512_loadu_si512(weights.cast());
                    let w1 = _mm512_loadu_si512(weights.add(64).cast());
                    let index0 = _mm512_or_si512(_mm512_and_si512(w0, low), quarters);
                    let sign0 = _mm512_mask_blend_epi8(
                        weights.add(256).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let index1 = _mm512_or_si512(_mm512_and_si512(w1, low), quarters);
                    let sign1 = _mm512_mask_blend_epi8(
                        weights.add(264).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let low_table = _mm512_loadu_si512(x0.cast());
                    let high_table = _mm512_loadu_si512(x0.add(64).cast());
                    low0_0_0 = _mm512_dpbusd_epi32(
                        low0_0_0,
                        _mm512_permutexvar_epi8(index0, low_table),
                        sign0,
                    );
                    high0_0_0 = _mm512_dpbusd_epi32(
                        high0_0_0,
                        _mm512_permutexvar_epi8(index0, high_table),
                        sign0,
                    );
                    low0_1_0 = _mm512_dpbusd_epi32(
                        low0_1_0,
                        _mm512_permutexvar_epi8(index1, low_table),
                        sign1,
                    );
                    high0_1_0 = _mm512_dpbusd_epi32(
                        high0_1_0,
                        _mm512_permutexvar_epi8(index1, high_table),
                        sign1,
                    );
                    let index0 = _mm512_or_si512(
                        _mm512_and_si512(_mm512_srli_epi16::<4>(w0), low),
                        quarters,
                    );
                    let sign0 = _mm512_mask_blend_epi8(
                        weights.add(272).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let index1 = _mm512_or_si512(
                        _mm512_and_si512(_mm512_srli_epi16::<4>(w1), low),
                        quarters,
                    );
                    let sign1 = _mm512_mask_blend_epi8(
                        weights.add(280).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let low_table = _mm512_loadu_si512(x0.add(128).cast());
                    let high_table = _mm512_loadu_si512(x0.add(192).cast());
                    low0_0_1 = _mm512_dpbusd_epi32(
                        low0_0_1,
                        _mm512_permutexvar_epi8(index0, low_table),
                        sign0,
                    );
                    high0_0_1 = _mm512_dpbusd_epi32(
                        high0_0_1,
                        _mm512_permutexvar_epi8(index0, high_table),
                        sign0,
                    );
                    low0_1_1 = _mm512_dpbusd_epi32(
                        low0_1_1,
                        _mm512_permutexvar_epi8(index1, low_table),
                        sign1,
                    );
                    high0_1_1 = _mm512_dpbusd_epi32(
                        high0_1_1,
                        _mm512_permutexvar_epi8(index1, high_table),
                        sign1,
                    );
                    // Columns 24..48 of the turn.
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 192).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 192).cast());
                    _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(far + 256).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(near + 256).cast());
                    let w0 = _mm512_loadu_si512(weights.add(128).cast());
                    let w1 = _mm512_loadu_si512(weights.add(192).cast());
                    let index0 = _mm512_or_si512(_mm512_and_si512(w0, low), quarters);
                    let sign0 = _mm512_mask_blend_epi8(
                        weights.add(288).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let index1 = _mm512_or_si512(_mm512_and_si512(w1, low), quarters);
                    let sign1 = _mm512_mask_blend_epi8(
                        weights.add(296).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let low_table = _mm512_loadu_si512(x0.add(256).cast());
                    let high_table = _mm512_loadu_si512(x0.add(320).cast());
                    low0_0_0 = _mm512_dpbusd_epi32(
                        low0_0_0,
                        _mm512_permutexvar_epi8(index0, low_table),
                        sign0,
                    );
                    high0_0_0 = _mm512_dpbusd_epi32(
                        high0_0_0,
                        _mm512_permutexvar_epi8(index0, high_table),
                        sign0,
                    );
                    low0_1_0 = _mm512_dpbusd_epi32(
                        low0_1_0,
                        _mm512_permutexvar_epi8(index1, low_table),
                        sign1,
                    );
                    high0_1_0 = _mm512_dpbusd_epi32(
                        high0_1_0,
                        _mm512_permutexvar_epi8(index1, high_table),
                        sign1,
                    );
                    let index0 = _mm512_or_si512(
                        _mm512_and_si512(_mm512_srli_epi16::<4>(w0), low),
                        quarters,
                    );
                    let sign0 = _mm512_mask_blend_epi8(
                        weights.add(304).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let index1 = _mm512_or_si512(
                        _mm512_and_si512(_mm512_srli_epi16::<4>(w1), low),
                        quarters,
                    );
                    let sign1 = _mm512_mask_blend_epi8(
                        weights.add(312).cast::<u64>().read_unaligned(),
                        plus,
                        minus,
                    );
                    let low_table = _mm512_loadu_si512(x0.add(384).cast());
                    let high_table = _mm512_loadu_si512(x0.add(448).cast());
                    low0_0_1 = _mm512_dpbusd_epi32(
                        low0_0_1,
                        _mm512_permutexvar_epi8(index0, low_table),
                        sign0,
                    );
                    high0_0_1 = _mm512_dpbusd_epi32(
                        high0_0_1,
                        _mm512_permutexvar_epi8(index0, high_table),
                        sign0,
                    );
                    low0_1_1 = _mm512_dpbusd_epi32(
                        low0_1_1,
                        _mm512_permutexvar_epi8(index1, low_table),
                        sign1,
                    );
                    high0_1_1 = _mm512_dpbusd_epi32(
                        high0_1_1,
                        _mm512_permutexvar_epi8(index1, high_table),
                        sign1,
                    );
                    weights = weights.add(320);
                    x0 = x0.add(512);
                }
                // Take the bias off: positive entries have added it, negative ones taken it away.
                let excess = _mm512_set1_epi32(6144i32 * args.turns as i32);
                let correction = _mm512_sub_epi32(
                    excess,
                    _mm512_mullo_epi32(
                        _mm512_loadu_si512(weights.cast()),
                        _mm512_set1_epi32(768),
                    ),
                );
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_sub_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(low0_0_0, low0_0_1),
                            _mm512_slli_epi32::<
                                8,
                            >(_mm512_add_epi32(high0_0_0, high0_0_1)),
                        ),
                        correction,
                    ),
                );
                let correction = _mm512_sub_epi32(
                    excess,
                    _mm512_mullo_epi32(
                        _mm512_loadu_si512(weights.add(64).cast()),
                        _mm512_set1_epi32(768),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(16).cast(),
                    _mm512_sub_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(low0_1_0, low0_1_1),
                            _mm512_slli_epi32::<
                                8,
                            >(_mm512_add_epi32(high0_1_0, high0_1_1)),
                        ),
                        correction,
                    ),
                );
                out = out.add(32);
            }
            weights = weights.add(128);
        }
    }
}
