/// Tile: 32 token(s) × 32 rows, 48 columns a turn, 1 accumulator(s) an output.
/// Weights: layout `t167_n32k48`.
/// A turn: 49152 products of weights and activations by 4 loads, 4 shifts, 8 ands, 8 expansions of signs, 8 byte subs, 24 lookups, 24 xors, 24 byte adds, 24 stores, 4 loads of tiles, 4 products of tiles.
///
/// # Safety
/// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn gemm_t167_32x32k48u1__amx_tile(args: &Args) {
    // SAFETY: every access lies in a range that `Args` promises.
    unsafe {
        debug_assert!(args.blocks > 0 && args.turns > 0);
        debug_assert!(args.stride >= args.blocks * args.turns * 48);
        // 4 tiles hold sums, then 2 codes, then 1 activations.
        static SHAPES: Buffers<64> = shapes(16, [4, 2, 1], 48);
        configure(&SHAPES);
        // The classes of a half, the digits of each class, and 1.
        let low = _mm512_set1_epi8(0x0fu8 as i8);
        let digits0 = _mm512_broadcast_i32x4(
            _mm_setr_epi8(0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, 0, 0),
        );
        let digits1 = _mm512_broadcast_i32x4(
            _mm_setr_epi8(0, 0, 1, 1, 1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 0, 0),
        );
        let digits2 = _mm512_broadcast_i32x4(
            _mm_setr_epi8(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
        );
        let one = _mm512_set1_epi8(0x01u8 as i8);
        // Decoded codes of this turn, and of the one before.
        let mut buffers = Buffers([0u8; 3072]);
        let buffers = buffers.0.as_mut_ptr();
        let mut side = 0;
        let mut weights = args.weights;
        let mut out = args.out;
        for _panel in 0..args.panels {
            let mut x0 = args.activations;
            let mut x16 = x0.add(16 * args.stride);
            for block in 0..args.blocks {
                zero::<0>();
                zero::<1>();
                zero::<2>();
                zero::<3>();
                for turn in 0..args.turns {
                    let last = buffers.add(side);
                    side = 1536 - side;
                    let codes = buffers.add(side);
                    // Columns 0..24 of the turn.
                    let w0 = _mm512_loadu_si512(weights.cast());
                    let w1 = _mm512_loadu_si512(weights.add(64).cast());
                    // Classes and signs of the low halves.
                    let class0 = _mm512_and_si512(w0, low);
                    let turn0 = expand(weights.add(256));
                    let unit0 = _mm512_sub_epi8(one, turn0);
                    let class1 = _mm512_and_si512(w1, low);
                    let turn1 = expand(weights.add(264));
                    let unit1 = _mm512_sub_epi8(one, turn1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.cast(), c0);
                    _mm512_storeu_si512(codes.add(768).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(64).cast(), c0);
                    _mm512_storeu_si512(codes.add(832).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(128).cast(), c0);
                    _mm512_storeu_si512(codes.add(896).cast(), c1);
                    // Classes and signs of the high halves.
                    let class0 = _mm512_and_si512(_mm512_srli_epi16::<4>(w0), low);
                    let turn0 = expand(weights.add(272));
                    let unit0 = _mm512_sub_epi8(one, turn0);
                    let class1 = _mm512_and_si512(_mm512_srli_epi16::<4>(w1), low);
                    let turn1 = expand(weights.add(280));
                    let unit1 = _mm512_sub_epi8(one, turn1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(192).cast(), c0);
                    _mm512_storeu_si512(codes.add(960).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(256).cast(), c0);
                    _mm512_storeu_si512(codes.add(1024).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(320).cast(), c0);
                    _mm512_storeu_si512(codes.add(1088).cast(), c1);
                    // Columns 24..48 of the turn.
                    let w0 = _mm512_loadu_si512(weights.add(128).cast());
                    let w1 = _mm512_loadu_si512(weights.add(192).cast());
                    // Classes and signs of the low halves.
                    let class0 = _mm512_and_si512(w0, low);
                    let turn0 = expand(weights.add(288));
                    let unit0 = _mm512_sub_epi8(one, turn0);
                    let class1 = _mm512_and_si512(w1, low);
                    let turn1 = expand(weights.add(296));
                    let unit1 = _mm512_sub_epi8(one, turn1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(384).cast(), c0);
                    _mm512_storeu_si512(codes.add(1152).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(448).cast(), c0);
                    _mm512_storeu_si512(codes.add(1216).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(512).cast(), c0);
                    _mm512_storeu_si512(codes.add(1280).cast(), c1);
                    // Classes and signs of the high halves.
                    let class0 = _mm512_and_si512(_mm512_srli_epi16::<4>(w0), low);
                    let turn0 = expand(weights.add(304));
                    let unit0 = _mm512_sub_epi8(one, turn0);
                    let class1 = _mm512_and_si512(_mm512_srli_epi16::<4>(w1), low);
                    let turn1 = expand(weights.add(312));
                    let unit1 = _mm512_sub_epi8(one, turn1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits0, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(576).cast(), c0);
                    _mm512_storeu_si512(codes.add(1344).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits1, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(640).cast(), c0);
                    _mm512_storeu_si512(codes.add(1408).cast(), c1);
                    let c0 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class0), turn0),
                        unit0,
                    );
                    let c1 = _mm512_add_epi8(
                        _mm512_xor_si512(_mm512_shuffle_epi8(digits2, class1), turn1),
                        unit1,
                    );
                    _mm512_storeu_si512(codes.add(704).cast(), c0);
                    _mm512_storeu_si512(codes.add(1472).cast(), c1);
                    if turn > 0 {
                        let a0 = x0.sub(48).cast();
                        let a1 = x16.sub(48).cast();
                        // Columns 0..48 of the turn before, in tiles.
                        load::<4>(last, 64);
                        load::<5>(last.add(768), 64);
                        load::<6>(a0, args.stride);
                        multiply::<0, 6, 4>();
                        multiply::<1, 6, 5>();
                        load::<6>(a1, args.stride);
                        multiply::<2, 6, 4>();
                        multiply::<3, 6, 5>();
                    }
                    weights = weights.add(320);
                    x0 = x0.add(48);
                    x16 = x16.add(48);
                }
                let last = buffers.add(side);
                let a0 = x0.sub(48).cast();
                let a1 = x16.sub(48).cast();
                // Columns 0..48 of the turn before, in tiles.
                load::<4>(last, 64);
                load::<5>(last.add(768), 64);
                load::<6>(a0, args.stride);
                multiply::<0, 6, 4>();
                multiply::<1, 6, 5>();
                load::<6>(a1, args.stride);
                multiply::<2, 6, 4>();
                multiply::<3, 6, 5>();
                store::<0>(out, 128);
                store::<1>(out.add(16), 128);
                store::<2>(out.add(512), 128);
                store::<3>(out.add(528), 128);
                // A code is its trit + 1: take the sum of the activations off.
                for token in 0..32 {
                    let excess = _mm512_set1_epi32(
                        args.sums.add(token * args.blocks + block).read(),
                    );
                    let row = out.add(token * 32);
                    _mm512_storeu_si512(
                        row.cast(),
                        _mm512_sub_epi32(_mm512_loadu_si512(row.cast()), excess),
                    );
                    _mm512_storeu_si512(
                        row.add(16).cast(),
                        _mm512_sub_epi32(_mm512_loadu_si512(row.add(16).cast()), excess),
                    );
                }
                out = out.add(1024);
            }
            weights = weights.add(128);
        }
        release();
    }
}
