//! How fast this machine reads memory: what no gemv on cold weights can beat.

use std::hint::black_box;
use std::time::Instant;

use tritune_tuning::results::{Bandwidth, four_figures};
use tritune_tuning::stats;

use crate::threads::Pool;

/// Bytes of memory to read from: many times the last-level cache of most machines.
const BYTES: usize = 512 << 20;
/// Words that a thread claims at a time.
const CHUNK: usize = 1 << 15;
/// Passes, of which the trimmed mean is taken.
const PASSES: usize = 5;

/// Memory that is in no cache, to be read by some threads.
#[derive(Debug)]
pub struct Stream {
    memory: Vec<u64>,
    next: usize,
}

impl Default for Stream {
    fn default() -> Self {
        // Written first: pages that were never written are all the same zero page.
        Stream { memory: vec![1; BYTES / size_of::<u64>()], next: 0 }
    }
}

impl Stream {
    /// Bytes of memory that it holds.
    pub const BYTES: usize = BYTES;

    /// How fast the threads of a pool together read memory that is in no cache, in GB/s: the trimmed mean of some passes.
    pub fn gigabytes_per_second(&mut self, pool: &Pool) -> f64 {
        let seconds: Vec<f64> = (0..PASSES).map(|_| self.read(pool, BYTES)).collect();
        BYTES as f64 / stats::trimmed_mean(&seconds).unwrap_or(f64::INFINITY) / 1e9
    }

    /// Seconds that the threads of a pool together take to read `bytes` bytes, 512 MiB at most, that have not been read for
    /// as long as possible.
    pub fn read(&mut self, pool: &Pool, bytes: usize) -> f64 {
        let words = (bytes / size_of::<u64>()).min(self.memory.len());
        let begin = if self.next + words > self.memory.len() { 0 } else { self.next };
        self.next = begin + words;
        let memory = &self.memory[begin..begin + words];
        let start = Instant::now();
        pool.for_each(memory.len().div_ceil(CHUNK), |_, i| {
            black_box(add(&memory[i * CHUNK..memory.len().min((i + 1) * CHUNK)]));
        });
        start.elapsed().as_secs_f64()
    }
}

/// Measures how fast `threads` threads together read memory that is in no cache.
pub fn bandwidth(threads: usize) -> Bandwidth {
    let pool = Pool::new(threads);
    let speed = Stream::default().gigabytes_per_second(&pool);
    Bandwidth { threads: pool.threads(), gigabytes_per_second: four_figures(speed) }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}
