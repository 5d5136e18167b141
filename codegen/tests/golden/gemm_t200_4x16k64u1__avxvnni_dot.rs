/// Tile: 4 token(s) × 16 rows, 64 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t200_n16k64`.
/// A turn: 4096 products of weights and activations by 8 loads, 32 ands, 64 broadcasts, 128 multiply-adds, 24 shifts.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn gemm_t200_4x16k64u1__avxvnni_dot(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        debug_assert!(args.stride >= args.blocks * args.turns * 64);
        // The bits of each position.
        let mask0 = _mm256_set1_epi8(0x03u8 as i8);
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            let mut x1 = x0.add(args.stride);
            let mut x2 = x1.add(args.stride);
            let mut x3 = x2.add(args.stride);
            for block in 0..args.blocks {
                let mut sum0_0 = _mm256_setzero_si256();
                let mut sum0_1 = _mm256_setzero_si256();
                let mut sum1_0 = _mm256_setzero_si256();
                let mut sum1_1 = _mm256_setzero_si256();
                let mut sum2_0 = _mm256_setzero_si256();
                let mut sum2_1 = _mm256_setzero_si256();
                let mut sum3_0 = _mm256_setzero_si256();
                let mut sum3_1 = _mm256_setzero_si256();
                for _turn in 0..args.turns {
                    // Columns 0..16 of the turn.
                    let w0 = _mm256_loadu_si256(weights.cast());
                    let w1 = _mm256_loadu_si256(weights.add(32).cast());
                    let c0 = _mm256_and_si256(w0, mask0);
                    let c1 = _mm256_and_si256(w1, mask0);
                    let x = _mm256_set1_epi32(x0.cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<2>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<2>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(4).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(4).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(4).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(4).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<4>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<4>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(8).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(8).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(8).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(8).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<6>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<6>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(12).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(12).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(12).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(12).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    // Columns 16..32 of the turn.
                    let w0 = _mm256_loadu_si256(weights.add(64).cast());
                    let w1 = _mm256_loadu_si256(weights.add(96).cast());
                    let c0 = _mm256_and_si256(w0, mask0);
                    let c1 = _mm256_and_si256(w1, mask0);
                    let x = _mm256_set1_epi32(x0.add(16).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(16).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(16).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(16).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<2>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<2>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(20).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(20).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(20).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(20).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<4>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<4>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(24).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(24).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(24).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(24).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<6>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<6>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(28).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(28).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(28).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(28).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    // Columns 32..48 of the turn.
                    let w0 = _mm256_loadu_si256(weights.add(128).cast());
                    let w1 = _mm256_loadu_si256(weights.add(160).cast());
                    let c0 = _mm256_and_si256(w0, mask0);
                    let c1 = _mm256_and_si256(w1, mask0);
                    let x = _mm256_set1_epi32(x0.add(32).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(32).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(32).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(32).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<2>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<2>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(36).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(36).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(36).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(36).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<4>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<4>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(40).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(40).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(40).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(40).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<6>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<6>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(44).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(44).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(44).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(44).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    // Columns 48..64 of the turn.
                    let w0 = _mm256_loadu_si256(weights.add(192).cast());
                    let w1 = _mm256_loadu_si256(weights.add(224).cast());
                    let c0 = _mm256_and_si256(w0, mask0);
                    let c1 = _mm256_and_si256(w1, mask0);
                    let x = _mm256_set1_epi32(x0.add(48).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(48).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(48).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(48).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<2>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<2>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(52).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(52).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(52).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(52).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<4>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<4>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(56).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(56).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(56).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(56).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    let c0 = _mm256_and_si256(_mm256_srli_epi16::<6>(w0), mask0);
                    let c1 = _mm256_and_si256(_mm256_srli_epi16::<6>(w1), mask0);
                    let x = _mm256_set1_epi32(x0.add(60).cast::<i32>().read_unaligned());
                    sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, c0, x);
                    sum0_1 = _mm256_dpbusd_avx_epi32(sum0_1, c1, x);
                    let x = _mm256_set1_epi32(x1.add(60).cast::<i32>().read_unaligned());
                    sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, c0, x);
                    sum1_1 = _mm256_dpbusd_avx_epi32(sum1_1, c1, x);
                    let x = _mm256_set1_epi32(x2.add(60).cast::<i32>().read_unaligned());
                    sum2_0 = _mm256_dpbusd_avx_epi32(sum2_0, c0, x);
                    sum2_1 = _mm256_dpbusd_avx_epi32(sum2_1, c1, x);
                    let x = _mm256_set1_epi32(x3.add(60).cast::<i32>().read_unaligned());
                    sum3_0 = _mm256_dpbusd_avx_epi32(sum3_0, c0, x);
                    sum3_1 = _mm256_dpbusd_avx_epi32(sum3_1, c1, x);
                    weights = weights.add(256);
                    x0 = x0.add(64);
                    x1 = x1.add(64);
                    x2 = x2.add(64);
                    x3 = x3.add(64);
                }
                // A code is its trit + 1: take the sum of the activations off.
                let excess = _mm256_set1_epi32(args.sums.add(block).read());
                _mm256_storeu_si256(out.cast(), _mm256_sub_epi32(sum0_0, excess));
                _mm256_storeu_si256(out.add(8).cast(), _mm256_sub_epi32(sum0_1, excess));
                let excess = _mm256_set1_epi32(
                    args.sums.add(args.blocks + block).read(),
                );
                _mm256_storeu_si256(
                    out.add(16).cast(),
                    _mm256_sub_epi32(sum1_0, excess),
                );
                _mm256_storeu_si256(
                    out.add(24).cast(),
                    _mm256_sub_epi32(sum1_1, excess),
                );
                let excess = _mm256_set1_epi32(
                    args.sums.add(2 * args.blocks + block).read(),
                );
                _mm256_storeu_si256(
                    out.add(32).cast(),
                    _mm256_sub_epi32(sum2_0, excess),
                );
                _mm256_storeu_si256(
                    out.add(40).cast(),
                    _mm256_sub_epi32(sum2_1, excess),
                );
                let excess = _mm256_set1_epi32(
                    args.sums.add(3 * args.blocks + block).read(),
                );
                _mm256_storeu_si256(
                    out.add(48).cast(),
                    _mm256_sub_epi32(sum3_0, excess),
                );
                _mm256_storeu_si256(
                    out.add(56).cast(),
                    _mm256_sub_epi32(sum3_1, excess),
                );
                out = out.add(64);
            }
        }
    }
}
