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
        // Tiles 0..4 hold sums, then 2 codes, then one activations.
        static SHAPES: Buffers<64> = shapes(4, 2, 48);
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
            let mut x1 = x0.add(args.stride);
            let mut x2 = x1.add(args.stride);
            let mut x3 = x2.add(args.stride);
            let mut x4 = x3.add(args.stride);
            let mut x5 = x4.add(args.stride);
            let mut x6 = x5.add(args.stride);
            let mut x7 = x6.add(args.stride);
            let mut x8 = x7.add(args.stride);
            let mut x9 = x8.add(args.stride);
            let mut x10 = x9.add(args.stride);
            let mut x11 = x10.add(args.stride);
            let mut x12 = x11.add(args.stride);
            let mut x13 = x12.add(args.stride);
            let mut x14 = x13.add(args.stride);
            let mut x15 = x14.add(args.stride);
            let mut x16 = x15.add(args.stride);
            let mut x17 = x16.add(args.stride);
            let mut x18 = x17.add(args.stride);
            let mut x19 = x18.add(args.stride);
            let mut x20 = x19.add(args.stride);
            let mut x21 = x20.add(args.stride);
            let mut x22 = x21.add(args.stride);
            let mut x23 = x22.add(args.stride);
            let mut x24 = x23.add(args.stride);
            let mut x25 = x24.add(args.stride);
            let mut x26 = x25.add(args.stride);
            let mut x27 = x26.add(args.stride);
            let mut x28 = x27.add(args.stride);
            let mut x29 = x28.add(args.stride);
            let mut x30 = x29.add(args.stride);
            let mut x31 = x30.add(args.stride);
            for block in 0..args.blocks {
                zero::<0>();
                zero::<1>();
                zero::<2>();
                zero::<3>();
                for _turn in 0..args.turns {
                    let codes = buffers.add(side);
                    side = (side + 1536) % 3072;
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
                    // Columns 0..48 of the turn, in tiles.
                    load::<4>(codes, 64);
                    load::<5>(codes.add(768), 64);
                    load::<6>(x0.cast(), args.stride);
                    multiply::<0, 6, 4>();
                    multiply::<1, 6, 5>();
                    load::<6>(x16.cast(), args.stride);
                    multiply::<2, 6, 4>();
                    multiply::<3, 6, 5>();
                    weights = weights.add(320);
                    x0 = x0.add(48);
                    x1 = x1.add(48);
                    x2 = x2.add(48);
                    x3 = x3.add(48);
                    x4 = x4.add(48);
                    x5 = x5.add(48);
                    x6 = x6.add(48);
                    x7 = x7.add(48);
                    x8 = x8.add(48);
                    x9 = x9.add(48);
                    x10 = x10.add(48);
                    x11 = x11.add(48);
                    x12 = x12.add(48);
                    x13 = x13.add(48);
                    x14 = x14.add(48);
                    x15 = x15.add(48);
                    x16 = x16.add(48);
                    x17 = x17.add(48);
                    x18 = x18.add(48);
                    x19 = x19.add(48);
                    x20 = x20.add(48);
                    x21 = x21.add(48);
                    x22 = x22.add(48);
                    x23 = x23.add(48);
                    x24 = x24.add(48);
                    x25 = x25.add(48);
                    x26 = x26.add(48);
                    x27 = x27.add(48);
                    x28 = x28.add(48);
                    x29 = x29.add(48);
                    x30 = x30.add(48);
                    x31 = x31.add(48);
                }
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
