//! Linear layers against a plain product, on every instruction set, for every way in which weights are scaled.

use proptest::prelude::*;
use tritune::kernels::{Choice, Force, Isa, KERNELS, Kernel, Selection};
use tritune::linear::{Activations, Linear, Ternary, project};
use tritune::quant::trits::{Scales, Trits};
use tritune::threads::Pool;

/// y[m, n] as `project` must give it to the last bit: exact sums, then scales block by block in order.
fn expected(trits: &Trits, x: &[f32]) -> Vec<f32> {
    let (n, k) = (trits.n, trits.k);
    let mut y = Vec::new();
    for x in x.chunks_exact(k) {
        let largest = x.iter().fold(1e-5f32, |largest, x| largest.max(x.abs()));
        let scale = 127.0 / f64::from(largest);
        let q: Vec<i32> = x.iter().map(|&x| (f64::from(x) * scale).round_ties_even() as i32).collect();
        let step = f64::from(largest) / 127.0;
        for row in 0..n {
            let codes = &trits.codes[row * k..][..k];
            let sum = |columns: std::ops::Range<usize>| -> i32 {
                columns.map(|column| q[column] * (i32::from(codes[column]) - 1)).sum()
            };
            y.push(match &trits.scales {
                Scales::Tensor(scale) => (f64::from(sum(0..k)) * (step * f64::from(*scale))) as f32,
                Scales::Row(scales) => (f64::from(sum(0..k) as f32 * scales[row]) * step) as f32,
                Scales::Block { size, scales } => {
                    let blocks = k / size;
                    let total = (0..blocks).fold(0.0, |total, block| {
                        total + sum(block * size..(block + 1) * size) as f32 * scales[row * blocks + block]
                    });
                    (f64::from(total) * step) as f32
                }
            });
        }
    }
    y
}

fn computed(trits: &Trits, x: &[f32], force: Force, threads: usize) -> Vec<f32> {
    let selection = Selection::new(Some(force), threads).expect("detected");
    let linear = Linear::Ternary(Ternary::new("weights", trits, &selection).expect("packs"));
    let (pool, mut activations, m) = (Pool::new(threads), Activations::new(), x.len() / trits.k);
    activations.rows_mut(m, trits.k).expect("room").copy_from_slice(x);
    let mut y = [vec![f32::NAN; m * trits.n], vec![f32::NAN; m * trits.n]];
    let [first, second] = &mut y;
    project(&pool, &mut activations, [(&linear, first), (&linear, second)]).expect("shapes fit");
    assert_eq!(y[0], y[1]);
    let [first, _] = y;
    first
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn exact_on_every_instruction_set(
        n in 1..70usize, blocks in 1..4usize, odd in 0..64usize, m in 1..40usize, scaling in 0..6usize, seed: u64,
    ) {
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        let block = [0, 0, 32, 64, 128, 256][scaling];
        let k = if block > 0 { block * blocks } else { 100 * blocks + odd };
        let codes = (0..n * k).map(|_| (random() % 3) as u8).collect();
        let mut scale = || (random() % 1000) as f32 / 500.0 + 0.01;
        let scales = match scaling {
            0 => Scales::Tensor(scale()),
            1 => Scales::Row((0..n).map(|_| scale()).collect()),
            _ => Scales::Block { size: block, scales: (0..n * blocks).map(|_| scale()).collect() },
        };
        let trits = Trits { n, k, codes, scales };
        let x: Vec<f32> = (0..m * k).map(|i| ((i as u64 ^ seed) % 2001) as f32 - 1000.0).collect();
        let expected = expected(&trits, &x);
        for isa in Isa::here() {
            for threads in [1, 2, 3] {
                prop_assert_eq!(&computed(&trits, &x, Force::Isa(isa), threads), &expected, "{} on {} threads", isa, threads);
            }
        }
    }
}

/// Each kernel in turn, for numbers of tokens that it serves alone, with others, and with a tail; one thread keeps tables
/// and sums of one case while it computes the next.
#[test]
fn exact_with_every_kernel() {
    let (n, k) = (130, 300);
    let codes = (0..n * k).map(|i| (i * i % 7 % 3) as u8).collect();
    let trits = Trits { n, k, codes, scales: Scales::Row((0..n).map(|row| row as f32 / 8.0 + 0.5).collect()) };
    for m in [1, 2, 7, 67] {
        let x: Vec<f32> = (0..m * k).map(|i| (i * 37 % 255) as f32 - 127.0).collect();
        let expected = expected(&trits, &x);
        for kernel in KERNELS.iter().filter(|kernel| kernel.detect().is_some()) {
            assert!(computed(&trits, &x, Force::Kernel(kernel.id), 2) == expected, "{} for {m} tokens", kernel.id);
        }
    }
}

/// A kernel for more tokens than there are reads on behind the last: there is room, and what it makes of it is not used.
#[test]
fn kernels_for_more_tokens_than_there_are() {
    let (n, k) = (70, 200);
    let trits = Trits { n, k, codes: (0..n * k).map(|i| (i * i % 5 % 3) as u8).collect(), scales: Scales::Tensor(0.5) };
    let x: Vec<f32> = (0..k).map(|i| (i * 53 % 255) as f32 - 127.0).collect();
    let (expected, pool) = (expected(&trits, &x), Pool::new(1));
    for kernel in KERNELS.iter().filter_map(Kernel::detect) {
        let linear = Linear::Ternary(Ternary::with(&trits, Choice::only(kernel)).expect("packs"));
        let (mut activations, mut y) = (Activations::new(), vec![f32::NAN; n]);
        activations.rows_mut(1, k).expect("room").copy_from_slice(&x);
        project(&pool, &mut activations, [(&linear, &mut y)]).expect("shapes fit");
        assert!(y == expected, "{}", kernel.id());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let trits = Trits { n: 2, k: 4, codes: vec![1; 8], scales: Scales::Tensor(1.0) };
    let selection = Selection::new(None, 1).expect("a policy");
    let linear = Linear::Ternary(Ternary::new("weights", &trits, &selection).expect("packs"));
    let (pool, mut x) = (Pool::new(1), Activations::new());
    x.rows_mut(1, 5).expect("room").fill(1.0);
    assert!(project(&pool, &mut x, [(&linear, &mut [0.0; 2])]).is_err());
    x.rows_mut(1, 4).expect("room").fill(1.0);
    assert!(project(&pool, &mut x, [(&linear, &mut [0.0; 3])]).is_err());
    x.rows_mut(1, 4).expect("room").fill(f32::NAN);
    let error = project(&pool, &mut x, [(&linear, &mut [0.0; 2])]).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
    for count in [1, 3] {
        let short = Trits { scales: Scales::Row(vec![1.0; count]), ..trits.clone() };
        assert!(Ternary::new("weights", &short, &selection).unwrap_err().to_string().contains("2 scales"));
    }
    let wrong = Trits { codes: vec![3; 8], ..trits };
    assert!(Ternary::new("blk.0.attn_q.weight", &wrong, &selection).unwrap_err().to_string().contains("blk.0.attn_q"));
}
