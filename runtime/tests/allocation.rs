//! The token loop allocates nothing: what a pass needs is there after the first tokens.

mod shared;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tritune::gguf::File;
use tritune::kernels::Selection;
use tritune::memory::HybridMemoryPool;
use tritune::model::{Model, Session, SessionOptions};
use tritune::sample::{Sampler, SamplerOptions};
use tritune::threads::Pool;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEMO: &[u8] = include_bytes!("../demo/austen-5m-i2_s.gguf");

/// Tokens of a round, and rounds: all together beyond a chunk of attention.
const TOKENS: usize = 60;
const ROUNDS: usize = 5;

/// Allocations so far of the pools that buffers come from, which the system's allocator does not see.
fn pooled() -> usize {
    let of = |pool: &HybridMemoryPool| {
        let statistics = pool.statistics();
        statistics.large_allocations + statistics.classes.iter().map(|class| class.allocations).sum::<u64>()
    };
    (of(HybridMemoryPool::instance()) + of(HybridMemoryPool::sparse())) as usize
}

/// Allocations of all threads, in each round.
fn count(file: &File, threads: usize, options: SamplerOptions) -> [usize; ROUNDS] {
    let selection = Selection::new(None, threads).unwrap();
    let model = Model::from_gguf(file, &selection, Pool::new(threads), &|_, _| ()).unwrap();
    let context = Some((1 + ROUNDS) * TOKENS);
    let mut session = Session::new(&model, SessionOptions { context, ..SessionOptions::default() }).unwrap();
    let mut sampler = Sampler::new(options).unwrap();
    // A flat distribution first, which asks for the most room.
    sampler.sample(&vec![0.0; model.config().vocab]).unwrap();
    let mut next = |session: &mut Session, tokens: &[u32]| {
        let scores = session.predict(tokens, sampler.demand(&[])).unwrap();
        let id = sampler.sample(scores).unwrap();
        sampler.accept(id);
        id
    };
    let mut id = next(&mut session, &[3, 1, 4, 1, 5]);
    let round = |_| {
        let (before, region) = (pooled(), Region::new(ALLOCATOR));
        for _ in 0..TOKENS {
            id = next(&mut session, &[id]);
        }
        let change = region.change();
        change.allocations + change.reallocations + pooled() - before
    };
    std::array::from_fn(round)
}

/// One test: another one's allocations would be counted.
#[test]
fn writing_allocates_nothing() {
    let greedy = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    let mut files = vec![("demo", File::from_static("demo", DEMO).unwrap())];
    if let Some(folder) = shared::find("fixtures") {
        for name in ["bitnet-2b4t-i2_s", "llama-trilm-tq2_0", "qwen3-bonsai-q2_0"] {
            files.push((name, File::open(folder.join(format!("{name}.gguf"))).unwrap()));
        }
    }
    for (name, file) in &files {
        for options in [greedy.clone(), SamplerOptions::default()] {
            // In the first round buffers still grow to what a choice asks for.
            assert_eq!(count(file, 1, options.clone())[1..], [0; ROUNDS - 1], "{name}, {options:?}");
            // A thread grows what it keeps for itself when it first claims a piece of a matrix, be it late: not in all rounds.
            let counts = count(file, 2, options.clone());
            assert!(counts.contains(&0), "{name}, {options:?}: {counts:?}");
        }
    }
    // What counts does count.
    let region = Region::new(ALLOCATOR);
    let one = std::hint::black_box(vec![1u8; 100]);
    assert_eq!(region.change().allocations, 1, "{one:?}");
    let (before, one) = (pooled(), HybridMemoryPool::sparse().allocate_typed::<f32>(100));
    assert_eq!(pooled() - before, 1, "{one:?}");
}
