//! What a layer costs beside the engine's own path, and beside its kernels alone: the same weights, packed once for each.
//!
//! `cargo bench -p tritune --bench layer`. Answers are compared first. The last lines are ratios of times taken in turns:
//! of `BitLinear::forward` to `linear::project`, as a model calls it, on all threads; and, on one thread, to calls of the
//! kernels alone, without int8, scales or a new tensor. Weights stay in the caches that have room for them.

#![allow(missing_docs)] // of what criterion's macro generates

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tritune::kernels::{Choice, Packed, Selection, Tokens};
use tritune::layer::{BitLinear, Module};
use tritune::linear::{Activations, Linear, Ternary, project};
use tritune::quant::{ActivationScale, QuantConfig, QuantizedTensor, quantize_activations, quantize_tensor};
use tritune::tensor::Tensor;
use tritune::threads::{self, Pool};

/// Tokens, columns, rows.
const SHAPES: [(usize, usize, usize); 2] = [(32, 784, 256), (1, 2560, 6912)];
/// Pairs of times that a ratio is the median of.
const ROUNDS: usize = 401;

/// Calls that are compared: the layer, and what does the same or less.
struct Case {
    name: String,
    layer: BitLinear,
    x: Tensor,
    ternary: Linear,
    activations: Activations,
    y: Vec<f32>,
}

impl Case {
    fn new((m, k, n): (usize, usize, usize), pool: &Arc<Pool>) -> Case {
        let weights = Tensor::randn((n, k), 1).expect("fits");
        let quantized = quantize_tensor(&weights, &QuantConfig::default()).expect("finite");
        let selection = Selection::new(None, pool.threads()).expect("a policy");
        let layer = BitLinear::from_quantized_with(&quantized, &selection).expect("packs").with_pool(pool.clone());
        let ternary = Ternary::new("bench", quantized.trits(), &selection).expect("packs");
        let mut case = Case {
            name: format!("[{m},{k}]x[{k},{n}] on {} threads", pool.threads()),
            layer,
            x: Tensor::randn((m, k), 2).expect("fits"),
            ternary: Linear::Ternary(ternary),
            activations: Activations::new(),
            y: vec![0.0; m * n],
        };
        case.project();
        let y = case.layer.forward(&case.x).expect("fits");
        assert_eq!(y.as_slice::<f32>().expect("floats"), case.y, "{}: the layer is the engine", case.name);
        case
    }

    fn forward(&self) {
        black_box(self.layer.forward(&self.x).expect("fits"));
    }

    /// What a model does, into buffers that it has.
    fn project(&mut self) {
        let [m, k] = *self.x.shape() else { return };
        let x = self.x.as_slice::<f32>().expect("floats");
        self.activations.rows_mut(m, k).expect("room").copy_from_slice(x);
        project(self.layer.pool(), &mut self.activations, [(&self.ternary, &mut self.y)]).expect("fits");
        black_box(&self.y);
    }
}

/// The kernels of a case by themselves, over int8 rows that are there.
struct Bare {
    choice: Choice,
    weights: Packed,
    values: Vec<i8>,
    stride: usize,
    sums: Vec<i32>,
    out: Vec<i32>,
    m: usize,
}

impl Bare {
    fn new(case: &Case, quantized: &QuantizedTensor) -> Bare {
        let Linear::Ternary(ternary) = case.layer.linear() else { unreachable!("made of trits") };
        let choice = ternary.choice().clone();
        let weights = quantized.packed(choice.layout()).expect("packs");
        let [m, k] = *case.x.shape() else { unreachable!("two dimensions") };
        let int8 = quantize_activations(&case.x, ActivationScale::Token).expect("finite");
        // As the engine lays them out: rows behind the last token, and an odd number of lines apart.
        let stride = (choice.layout().padded_k(k)).next_multiple_of(128) + 64;
        let mut values = vec![0i8; (m + 64) * stride];
        let rows = int8.values().as_slice::<i8>().expect("bytes").chunks_exact(k);
        values.chunks_exact_mut(stride).zip(rows).for_each(|(out, row)| out[..k].copy_from_slice(row));
        let sums = values.chunks_exact(stride).map(|row| row.iter().map(|&x| i32::from(x)).sum()).collect();
        let most = choice.kernels().iter().map(|kernel| kernel.outputs(&weights, weights.panels())).max().unwrap_or(0);
        let mut bare = Bare { choice, weights, values, stride, sums, out: vec![0; most], m };
        // The last pass's first product, scaled, is the layer's.
        let first = bare.products();
        let scale = f64::from(quantized.scales().at(k, 0, 0));
        let y = (f64::from(bare.out[0]) * (int8.steps()[first] * scale)) as f32;
        assert_eq!(y, case.y[first * bare.weights.n()], "{}: the kernels are right", case.name);
        bare
    }

    /// All products; returns the first token of the last pass.
    fn products(&mut self) -> usize {
        let (mut token, mut first) = (0, 0);
        while token < self.m {
            let kernel = self.choice.kernel(self.m - token);
            let values = &self.values[token * self.stride..];
            let tables = kernel.tables(values, self.stride, self.weights.k()).expect("room");
            let tokens = Tokens { values, stride: self.stride, sums: &self.sums[token..], tables: tables.from(0) };
            kernel.products(&self.weights, 0..self.weights.panels(), tokens, &mut self.out).expect("fits");
            (first, token) = (token, token + kernel.tokens());
        }
        black_box(&self.out);
        first
    }
}

fn layers(c: &mut Criterion) {
    for shape in SHAPES {
        let pool = Arc::new(Pool::new(0));
        let mut case = Case::new(shape, &pool);
        let mut group = c.benchmark_group(case.name.clone());
        group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Elements((shape.0 * shape.1 * shape.2) as u64));
        group.bench_function("BitLinear::forward", |b| b.iter(|| case.forward()));
        group.bench_function("linear::project", |b| b.iter(|| case.project()));
        group.finish();
    }
}

/// The median of ratios of two times taken one after the other, with those that a tenth is below and above.
fn ratio(case: &mut Case, mut other: impl FnMut(&mut Case)) -> [f64; 3] {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    // Whoever comes second finds the caches as the first has left them: they take turns at that.
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            if round % 2 == 0 {
                let layer = time(&mut || case.forward());
                layer / time(&mut || other(case))
            } else {
                let other = time(&mut || other(case));
                time(&mut || case.forward()) / other
            }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    [ROUNDS / 2, ROUNDS / 10, ROUNDS * 9 / 10].map(|at| ratios[at])
}

fn ratios(_: &mut Criterion) {
    for shape in SHAPES {
        let mut counts = vec![threads::available(), 1];
        counts.dedup();
        for count in counts {
            let mut case = Case::new(shape, &Arc::new(Pool::new(count)));
            let [median, low, high] = ratio(&mut case, Case::project);
            println!("{}: BitLinear::forward / linear::project = {median:.3} ({low:.3} to {high:.3})", case.name);
        }
        let mut case = Case::new(shape, &Arc::new(Pool::new(1)));
        let weights = Tensor::randn((shape.2, shape.1), 1).expect("fits");
        let quantized = quantize_tensor(&weights, &QuantConfig::default()).expect("finite");
        let mut bare = Bare::new(&case, &quantized);
        let [median, low, high] = ratio(&mut case, |_| _ = bare.products());
        println!("{}: BitLinear::forward / kernels alone = {median:.3} ({low:.3} to {high:.3})", case.name);
    }
}

criterion_group!(benches, layers, ratios);
criterion_main!(benches);
