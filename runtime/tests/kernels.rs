//! Every kernel that was compiled in, against the reference, through one runner.
//!
//! Built with a larger menu (`TRITUNE_MENU`), the same test covers the larger menu: `cargo xtask test --space`.

use tritune::kernels::{KERNELS, Kernel, MAX_K, Operand, Packed, Runnable, TokenTables, Tokens, reference};

/// How the weights of a case look.
#[derive(Clone, Copy, Debug)]
enum Trits {
    All(u8),
    Random(u64),
}

/// How the activations of a case look.
#[derive(Clone, Copy, Debug)]
enum Row {
    All(i8),
    Alternating,
    Random(u64),
}

#[derive(Clone, Copy, Debug)]
struct Case {
    n: usize,
    k: usize,
    block: usize,
    trits: Trits,
    row: Row,
    /// Bytes by which activations are off a 64-byte boundary.
    skew: usize,
}

/// SplitMix64.
fn random(seed: u64, index: usize) -> u64 {
    let mut z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Outputs on either side of a call's own, to see what is written there.
const GUARD: usize = 64;
/// No kernel returns it: it is no multiple of what saturates, and larger than any sum here.
const UNWRITTEN: i32 = i32::MIN + 1;

fn run(kernel: &Runnable, case: Case) {
    let Case { n, k, block, trits, row, skew } = case;
    let code = |i| match trits {
        Trits::All(code) => code,
        Trits::Random(seed) => (random(seed, i) % 3) as u8,
    };
    let codes: Vec<u8> = (0..n * k).map(code).collect();
    let weights = Packed::new(kernel.id().layout(), n, k, block, &codes).expect("the case fits the layout");
    let (mr, nr, blocks) = (kernel.tokens(), usize::from(kernel.id().tile.nr), weights.blocks());
    let stride = weights.layout().padded_k(k) + skew;
    let activation = |token: usize, column: usize| match row {
        Row::All(x) => x,
        Row::Alternating => [127, -127, -128][(token + column) % 3],
        Row::Random(seed) => random(seed, token * k + column) as i8,
    };
    let mut values = vec![0i8; skew + mr * stride];
    let values = &mut values[skew..];
    for (token, row) in values.chunks_exact_mut(stride).enumerate() {
        row[..k].iter_mut().enumerate().for_each(|(column, value)| *value = activation(token, column));
    }
    let sums: Vec<i32> = values
        .chunks_exact(stride)
        .flat_map(|row| row[..k].chunks(block).map(|block| block.iter().map(|&x| i32::from(x)).sum()))
        .collect();
    let tables = kernel.tables(values, stride, k).expect("room");
    let tokens = Tokens { values, stride, sums: &sums, tables: tables.from(0) };
    // Whole, and in two ranges of panels, as two threads would.
    let panels = weights.panels();
    for cut in [0, panels / 2] {
        let len = kernel.outputs(&weights, panels);
        let mut out = vec![UNWRITTEN; GUARD + len + GUARD];
        let middle = GUARD + kernel.outputs(&weights, cut);
        kernel.products(&weights, cut..panels, tokens, &mut out[middle..GUARD + len]).expect("the call fits");
        assert!(out[..middle].iter().all(|&out| out == UNWRITTEN), "{}: wrote before its outputs", kernel.id());
        let second = out[middle..].to_vec();
        kernel.products(&weights, 0..cut, tokens, &mut out[GUARD..middle]).expect("the call fits");
        assert!(out[middle..] == second && out[..GUARD] == [UNWRITTEN; GUARD], "{}: wrote too far", kernel.id());
        assert!(out[GUARD + len..] == [UNWRITTEN; GUARD], "{}: wrote behind its outputs", kernel.id());
        let out = &out[GUARD..GUARD + len];
        for (row, codes) in codes.chunks_exact(k).enumerate() {
            for (token, values) in values.chunks_exact(stride).enumerate() {
                for (b, expected) in reference::products(codes, &values[..k], block).enumerate() {
                    let found = out[((row / nr * blocks + b) * mr + token) * nr + row % nr];
                    let id = kernel.id();
                    assert_eq!(found, expected, "{id}: token {token}, row {row}, block {b} of {case:?}, cut at {cut}");
                }
            }
        }
    }
}

fn kernels() -> Vec<Runnable> {
    let kernels: Vec<_> = KERNELS.iter().filter_map(Kernel::detect).collect();
    assert!(!kernels.is_empty());
    kernels
}

#[test]
fn odd_shapes() {
    for kernel in kernels() {
        let (nr, kb) = (usize::from(kernel.id().tile.nr), usize::from(kernel.id().tile.kb));
        for (i, n) in [1, nr - nr / 2, nr, nr + 1, 3 * nr - nr / 3].into_iter().enumerate() {
            for (j, k) in [1, 3, 15, kb - 1, kb, kb + 1, 3 * kb + 5, 257].into_iter().enumerate() {
                let seed = (i * 8 + j) as u64;
                let case =
                    Case { n, k, block: k, trits: Trits::Random(seed), row: Row::Random(seed + 99), skew: i * 3 };
                run(&kernel, case);
            }
        }
    }
}

#[test]
fn saturating_rows() {
    for kernel in kernels() {
        let n = usize::from(kernel.id().tile.nr) + 1;
        for code in [0, 1, 2] {
            for x in [127, -127, -128, 0] {
                run(&kernel, Case { n, k: 1000, block: 1000, trits: Trits::All(code), row: Row::All(x), skew: 1 });
            }
            run(&kernel, Case { n, k: 777, block: 777, trits: Trits::All(code), row: Row::Alternating, skew: 0 });
        }
    }
}

/// Longest sums: any 16-bit accumulator that is not widened in time shows here.
#[test]
fn long_rows() {
    for kernel in kernels() {
        for (code, x) in [(2, -128), (2, 127), (0, -128)] {
            let n = usize::from(kernel.id().tile.nr);
            run(&kernel, Case { n, k: 16384, block: 16384, trits: Trits::All(code), row: Row::All(x), skew: 0 });
        }
    }
}

/// The longest rows that there may be: sums that are shifted at the end alone fill their 32 bits here.
#[test]
fn longest_rows() {
    for kernel in kernels() {
        for (code, x) in [(2, -128), (0, -128), (2, 127)] {
            run(&kernel, Case { n: 1, k: MAX_K, block: MAX_K, trits: Trits::All(code), row: Row::All(x), skew: 0 });
        }
    }
}

#[test]
fn blocks() {
    for kernel in kernels() {
        let (nr, kb) = (usize::from(kernel.id().tile.nr), usize::from(kernel.id().tile.kb));
        let layout = kernel.id().layout();
        for block in [kb, 2 * kb, 256].into_iter().filter(|block| layout.keeps_apart(4 * block, *block)) {
            for (n, blocks) in [(nr + 1, 3), (2 * nr, 1), (1, 4)] {
                for (trits, row) in [
                    (Trits::Random(block as u64), Row::Random(7)),
                    (Trits::All(2), Row::All(-128)),
                    (Trits::Random(3), Row::Alternating),
                ] {
                    run(&kernel, Case { n, k: blocks * block, block, trits, row, skew: 5 });
                }
            }
        }
    }
}

#[test]
fn refused_before_anything_runs() {
    for kernel in kernels() {
        let layout = kernel.id().layout();
        let weights = Packed::new(layout, 3, 40, 40, &[1; 120]).expect("packs");
        let stride = layout.padded_k(40);
        let (values, sums) = (vec![0; kernel.tokens() * stride], vec![0; kernel.tokens()]);
        let tables = kernel.tables(&values, stride, 40).expect("room");
        let tokens = Tokens { values: &values, stride, sums: &sums, tables: tables.from(0) };
        let panels = weights.panels();
        let mut out = vec![7; kernel.outputs(&weights, panels)];
        let short = Tokens { values: &values[1..], tables: TokenTables::default(), ..tokens };
        // Rows that overlap, and a product that wraps around to nothing; one token has no next.
        let reads_rows = kernel.id().operand() == Operand::Rows;
        for stride in
            [stride - 1, 0usize.wrapping_sub(stride)].into_iter().filter(|_| kernel.tokens() > 1 && reads_rows)
        {
            assert!(kernel.products(&weights, 0..panels, Tokens { stride, ..tokens }, &mut out).is_err());
        }
        if !reads_rows {
            let without_the_first = Tokens { tables: tables.from(1), ..tokens };
            assert!(kernel.products(&weights, 0..panels, without_the_first, &mut out).is_err());
        }
        let sumless = Tokens { sums: &sums[1..], ..tokens };
        assert!(kernel.products(&weights, 0..panels, short, &mut out).is_err());
        assert!(kernel.products(&weights, 0..panels, sumless, &mut out).is_err());
        assert!(kernel.products(&weights, 0..panels + 1, tokens, &mut out).is_err());
        let reversed = panels + 1..0;
        assert!(kernel.products(&weights, reversed, tokens, &mut out).is_err());
        assert!(out.iter().all(|&out| out == 7));
        assert!(kernel.products(&weights, 0..panels, tokens, &mut out[1..]).is_err());
        let mut other = layout;
        other.nr += 64;
        let weights = Packed::new(other, 3, 40, 40, &[1; 120]).expect("packs");
        let error = kernel.products(&weights, 0..1, tokens, &mut out).unwrap_err().to_string();
        assert!(error.contains("pack them again"), "{error}");
    }
}
