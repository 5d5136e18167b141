//! How fast this machine reads memory: what no gemv on cold weights can beat.

use std::hint::black_box;
use std::time::Instant;

use tritune_tuning::results::Bandwidth;
use tritune_tuning::stats;

use crate::threads::Pool;

/// Bytes read by each pass: many times the last-level cache of most machines.
const BYTES: usize = 512 << 20;
/// Words that a thread claims at a time.
const CHUNK: usize = 1 << 17;
/// Passes, of which the trimmed mean is taken.
const PASSES: usize = 5;

/// Measures how fast `threads` threads together read memory that is in no cache.
pub fn bandwidth(threads: usize) -> Bandwidth {
    let pool = Pool::new(threads);
    // Written first: pages that were never written are all the same zero page.
    let memory = vec![1u64; BYTES / size_of::<u64>()];
    let seconds: Vec<f64> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            pool.for_each(memory.len().div_ceil(CHUNK), |_, i| {
                black_box(add(&memory[i * CHUNK..memory.len().min((i + 1) * CHUNK)]));
            });
            start.elapsed().as_secs_f64()
        })
        .collect();
    let seconds = stats::trimmed_mean(&seconds).unwrap_or(f64::INFINITY);
    Bandwidth { threads: pool.threads(), gigabytes_per_second: BYTES as f64 / seconds / 1e9 }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}
