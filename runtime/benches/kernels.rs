//! Every kernel of the menu that this machine runs, over weights that are not in any cache, beside a plain read of memory.
//! One thread; every kernel is compared with the reference before it is timed.
//!
//! `cargo xtask bench`, or `cargo bench -p tritune --bench kernels -- gemv_t200` for some.

#![allow(missing_docs)] // of what criterion's macro generates

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tritune::kernels::{KERNELS, Kernel, Op, Packed, Tokens, self_check};
use tritune::threads::{self, Pool};
use tritune::tune::Stream;

/// A layer of BitNet b1.58 2B4T: n × k of its query projection.
const SHAPE: (usize, usize) = (2560, 2560);
/// Bytes of the pool of weights: more than last-level caches hold.
const POOL: usize = 256 << 20;
/// Bytes of a pass over memory.
const READ: usize = 32 << 20;
/// Panels a call, as the runtime cuts them.
const PANELS: usize = 8;

fn kernels(c: &mut Criterion) {
    let (n, k) = SHAPE;
    let codes: Vec<u8> = (0..n * k).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 16) as u8 % 3).collect();
    for op in [Op::Gemv, Op::Gemm] {
        let mut group = c.benchmark_group(format!("{op} {n}x{k}"));
        group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for kernel in KERNELS.iter().filter(|kernel| kernel.id.op == op).filter_map(Kernel::detect) {
            self_check::check(&kernel).expect("a kernel equals the reference");
            let first = Packed::new(kernel.id().layout(), n, k, k, &codes).expect("packs");
            let pool: Vec<Packed> = (0..POOL / first.bytes().len()).map(|_| first.clone()).collect();
            let (mr, stride) = (kernel.tokens(), first.layout().padded_k(k) + 64);
            let values: Vec<i8> = (0..mr * stride).map(|i| (i * 31) as i8).collect();
            let sums: Vec<i32> =
                values.chunks(stride).map(|row| row[..k].iter().map(|&x| i32::from(x)).sum()).collect();
            let tables = kernel.tables(&values, stride, k).expect("room");
            let mut out = vec![0; kernel.outputs(&first, PANELS)];
            let mut at = 0;
            // A gemv is bound by the bytes of its weights, as a read is; a gemm by its multiply-adds.
            group.throughput(match op {
                Op::Gemv => Throughput::BytesDecimal(first.bytes().len() as u64),
                Op::Gemm => Throughput::Elements((n * k * mr) as u64),
            });
            group.bench_function(kernel.id().to_string(), |b| {
                b.iter(|| {
                    let weights = &pool[at % pool.len()];
                    at += 1;
                    for panel in (0..weights.panels()).step_by(PANELS) {
                        let panels = panel..(panel + PANELS).min(weights.panels());
                        let tokens = Tokens { values: &values, stride, sums: &sums, tables: tables.from(0) };
                        kernel.products(weights, panels, tokens, &mut out).expect("fits");
                    }
                    black_box(&out);
                });
            });
        }
        group.finish();
    }
}

/// What a gemv cannot beat: reading memory that is in no cache, on one thread as the kernels do, and on all.
fn read(c: &mut Criterion) {
    let mut stream = Stream::default();
    let mut group = c.benchmark_group("read memory");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::BytesDecimal(READ as u64));
    let mut counts = vec![1, threads::available()];
    counts.dedup();
    for count in counts {
        let pool = Pool::new(count);
        group.bench_function(format!("threads {count}"), |b| {
            b.iter_custom(|passes| (0..passes).map(|_| Duration::from_secs_f64(stream.read(&pool, READ))).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, read, kernels);
criterion_main!(benches);
