//! The pool, the system's allocator and mimalloc: time of a block of one size, of a random trace over 10,000 live ones, and
//! of blocks that one thread allocates and another frees. Before it is timed, an allocator's blocks are checked to be
//! apart.
//!
//! Blocks are aligned to 64 bytes, as vectors are loaded; `system-16` are blocks of the system's own alignment, which it
//! serves faster. Nothing is cleared or touched.
//!
//! `cargo bench -p tritune --bench memory`

#![allow(missing_docs)] // of what criterion's macro generates

#[path = "../examples/memory_report/mix.rs"]
mod mix;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use mix::{MIXES, Mix};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tritune::memory::HybridMemoryPool;

/// Live blocks of a trace.
const LIVE: usize = 10_000;
/// Blocks that go to the other thread at once.
const PARCEL: usize = 64;

/// What is measured.
trait Allocator: Copy + Send {
    /// The least alignment that is asked of it.
    const ALIGN: usize = 64;
    fn allocate(self, layout: Layout) -> NonNull<u8>;
    /// # Safety
    /// What `allocate` returned for this layout, once.
    unsafe fn free(self, start: NonNull<u8>, layout: Layout);
}

struct Global<A: 'static, const ALIGN: usize>(&'static A);

impl<A, const ALIGN: usize> Clone for Global<A, ALIGN> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, const ALIGN: usize> Copy for Global<A, ALIGN> {}

impl<A: GlobalAlloc + Sync, const ALIGN: usize> Allocator for Global<A, ALIGN> {
    const ALIGN: usize = ALIGN;

    fn allocate(self, layout: Layout) -> NonNull<u8> {
        // SAFETY: no trace has blocks of no size.
        NonNull::new(unsafe { self.0.alloc(layout) }).expect("memory")
    }

    unsafe fn free(self, start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(start.as_ptr(), layout) }
    }
}

impl Allocator for &'static HybridMemoryPool {
    fn allocate(self, layout: Layout) -> NonNull<u8> {
        self.allocate_raw(layout).expect("memory")
    }

    unsafe fn free(self, start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.deallocate(start, layout) }
    }
}

/// Blocks that go to another thread.
struct Parcel(Vec<NonNull<u8>>);

// SAFETY: a block has no tie to a thread.
unsafe impl Send for Parcel {}

fn layout<A: Allocator>(size: usize) -> Layout {
    Layout::from_size_align(size, A::ALIGN).expect("a layout")
}

/// Allocates many blocks, frees half of them, allocates again, and sees that none overlaps another.
fn check<A: Allocator>(allocator: A, mix: &Mix) {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut blocks: Vec<(NonNull<u8>, Layout)> = Vec::new();
    for _ in 0..2 {
        for index in (0..blocks.len()).rev().step_by(2) {
            let (start, layout) = blocks.swap_remove(index);
            // SAFETY: allocated below with this layout.
            unsafe { allocator.free(start, layout) };
        }
        while blocks.len() < 2000 {
            let layout = layout::<A>(mix.size(&mut rng));
            blocks.push((allocator.allocate(layout), layout));
        }
    }
    blocks.sort_by_key(|(start, _)| start.addr());
    for pair in blocks.windows(2) {
        assert!(pair[0].0.addr().get() + pair[0].1.size() <= pair[1].0.addr().get(), "blocks overlap: {pair:?}");
    }
    for (start, layout) in blocks {
        assert_eq!(start.addr().get() % layout.align(), 0);
        // SAFETY: allocated above with this layout.
        unsafe { allocator.free(start, layout) };
    }
}

fn each(group: &mut BenchmarkGroup<'_, WallTime>, mut bench: impl Bench) {
    bench.run(group, "pool", HybridMemoryPool::instance());
    bench.run(group, "system", Global::<_, 64>(&System));
    bench.run(group, "system-16", Global::<_, 16>(&System));
    bench.run(group, "mimalloc", Global::<_, 64>(&MiMalloc));
}

/// One measurement, of any allocator.
trait Bench {
    fn run<A: Allocator>(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, allocator: A);
}

/// A block of this size, allocated and freed.
struct One(usize);

impl Bench for One {
    fn run<A: Allocator>(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, allocator: A) {
        let layout = layout::<A>(self.0);
        group.bench_function(name, |b| {
            b.iter(|| {
                let start = black_box(allocator.allocate(black_box(layout)));
                // SAFETY: allocated with this layout.
                unsafe { allocator.free(start, layout) }
            });
        });
    }
}

/// A block of a random size in the place of a random one of many.
struct Trace<'a>(&'a Mix);

impl Bench for Trace<'_> {
    fn run<A: Allocator>(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, allocator: A) {
        check(allocator, self.0);
        let mut rng = SmallRng::seed_from_u64(2);
        let mut new = || {
            let layout = layout::<A>(self.0.size(&mut rng));
            (allocator.allocate(layout), layout)
        };
        let mut live: Vec<_> = (0..LIVE).map(|_| new()).collect();
        let mut rng = SmallRng::seed_from_u64(3);
        let steps: Vec<_> =
            (0..1 << 17).map(|_| (rng.random_range(0..LIVE), layout::<A>(self.0.size(&mut rng)))).collect();
        let mut steps = steps.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                if let Some(&(index, layout)) = steps.next() {
                    let (start, old) = std::mem::replace(&mut live[index], (allocator.allocate(layout), layout));
                    // SAFETY: allocated with this layout, and no longer among the live.
                    unsafe { allocator.free(start, old) }
                }
            });
        });
        for (start, layout) in live {
            // SAFETY: allocated with this layout.
            unsafe { allocator.free(start, layout) }
        }
    }
}

/// Two threads, each of which frees what the other allocates: time of one block of one of them.
struct Cross(usize);

impl Cross {
    fn work<A: Allocator>(
        allocator: A,
        layout: Layout,
        parcels: u64,
        to: &mpsc::SyncSender<Parcel>,
        from: &mpsc::Receiver<Parcel>,
    ) {
        let mut spare = Vec::with_capacity(PARCEL);
        for _ in 0..parcels {
            spare.extend((0..PARCEL).map(|_| allocator.allocate(layout)));
            to.send(Parcel(spare)).expect("the other thread receives");
            spare = from.recv().expect("the other thread sends").0;
            for start in spare.drain(..) {
                // SAFETY: the other thread allocated it with this layout, and has sent it away.
                unsafe { allocator.free(start, layout) }
            }
        }
    }
}

impl Bench for Cross {
    fn run<A: Allocator>(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, allocator: A) {
        let layout = layout::<A>(self.0);
        group.bench_function(name, |b| {
            b.iter_custom(|blocks| {
                let parcels = blocks.div_ceil(PARCEL as u64);
                let (to_other, from_here) = mpsc::sync_channel(2);
                let (to_here, from_other) = mpsc::sync_channel(2);
                let start = Instant::now();
                std::thread::scope(|scope| {
                    scope.spawn(move || Cross::work(allocator, layout, parcels, &to_here, &from_here));
                    Cross::work(allocator, layout, parcels, &to_other, &from_other);
                });
                start.elapsed().mul_f64(blocks as f64 / (parcels * PARCEL as u64) as f64)
            });
        });
    }
}

fn memory(c: &mut Criterion) {
    let mut run = |name: String, bench: fn(&mut BenchmarkGroup<'_, WallTime>, usize), at: usize| {
        let mut group = c.benchmark_group(name);
        group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        bench(&mut group, at);
        group.finish();
    };
    for size in [64, 1 << 10, 64 << 10, 1 << 20] {
        run(format!("allocate and free {size} bytes"), |group, size| each(group, One(size)), size);
    }
    for (at, mix) in MIXES.iter().enumerate() {
        run(format!("10000 live, {}", mix.name), |group, at| each(group, Trace(&MIXES[at])), at);
    }
    for size in [1 << 10, 10 << 10] {
        run(format!("freed by the other of 2 threads, {size} bytes"), |group, size| each(group, Cross(size)), size);
    }
}

criterion_group!(benches, memory);
criterion_main!(benches);
