//! Causal attention with grouped heads: softmax(q·Kᵀ/√d)·V, one pass over keys and values (the running maximum of
//! Milakov & Gimelshein, arXiv:1805.02867), so that no row of scores is ever stored.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use pulp::{Arch, Simd, WithSimd};

use crate::model::kv::HeadCache;
use crate::threads::{Parts, Pool};
use crate::vector::{Sums, exp_inlined};

/// Keys and values decoded at a time: 32 of 128 elements each are 32 KiB, what a first-level cache holds.
const TILE: usize = 32;

/// Tokens of one head computed together: keys and values are decoded once for all of them.
const BLOCK: usize = 8;

/// Counts and lengths of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries.
    pub queries: usize,
    /// Heads of keys and values; each serves `queries / kv` consecutive heads of queries.
    pub kv: usize,
    /// Elements of a query and of a key.
    pub key_length: usize,
    /// Elements of a value.
    pub value_length: usize,
}

/// Buffers of all threads, allocated once.
#[derive(Debug)]
pub struct Attention {
    heads: Heads,
    scale: f32,
    threads: Vec<Scratch>,
}

#[derive(Clone, Debug)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// One query's softmax so far, for each token of a block.
    sums: [Softmax; BLOCK],
    /// `[BLOCK, value_length]`
    outputs: Vec<f32>,
}

/// Σ exp(sᵢ − max), and max.
#[derive(Clone, Copy, Debug)]
struct Softmax {
    max: f32,
    sum: f32,
}

impl Attention {
    /// Buffers for `threads` threads. Scores are multiplied by `scale`.
    pub fn new(heads: Heads, scale: f32, threads: usize) -> Self {
        let scratch = Scratch {
            keys: vec![0.0; TILE * heads.key_length],
            values: vec![0.0; TILE * heads.value_length],
            sums: [Softmax { max: 0.0, sum: 0.0 }; BLOCK],
            outputs: vec![0.0; BLOCK * heads.value_length],
        };
        Attention { heads, scale, threads: vec![scratch; threads] }
    }

    /// out[m, queries · value_length] for the queries q[m, queries · key_length] of the tokens at positions
    /// `first..first + m`, over a cache that holds their own keys and values already. Each token sees the last `window`
    /// tokens, its own included. Returns whether all is finite.
    ///
    /// The pool has as many threads as the buffers were made for. A token's head is computed by one thread, in an
    /// order that its position alone decides: the number of threads changes no bit, nor does the cut into batches.
    pub fn run(
        &mut self,
        pool: &Pool,
        cache: &[HeadCache],
        q: &[f32],
        first: usize,
        window: usize,
        out: &mut [f32],
    ) -> bool {
        let Heads { queries, key_length, value_length, .. } = self.heads;
        let (heads, scale) = (self.heads, self.scale);
        let m = q.len() / (queries * key_length);
        let blocks = m.div_ceil(BLOCK);
        let (next, finite) = (AtomicUsize::new(0), AtomicBool::new(true));
        let (threads, out) = (Parts::new(&mut self.threads), Parts::new(out));
        pool.run(|thread| {
            // SAFETY: every thread takes its own scratch.
            let [scratch] = (unsafe { threads.part(thread..thread + 1) }) else { return };
            loop {
                // Later blocks see more keys; who is done early takes the next.
                let unit = next.fetch_add(1, Relaxed);
                if unit >= blocks * queries {
                    return;
                }
                let (block, head) = (unit / queries, unit % queries);
                let tokens = block * BLOCK..((block + 1) * BLOCK).min(m);
                let query = |token: usize| &q[(token * queries + head) * key_length..][..key_length];
                let cache = &cache[head / (queries / heads.kv)];
                scratch.attend(cache, tokens.clone().map(query), first + tokens.start, window, scale);
                for (token, output) in tokens.zip(scratch.outputs.chunks_exact(value_length)) {
                    let start = (token * queries + head) * value_length;
                    // SAFETY: a unit's tokens and head are no other unit's.
                    unsafe { out.part(start..start + value_length) }.copy_from_slice(output);
                    if !crate::vector::all_finite(output) {
                        finite.store(false, Relaxed);
                    }
                }
            }
        });
        finite.into_inner()
    }
}

impl Scratch {
    /// Leaves in `outputs` what the queries, at positions from `first` on, draw from the cache.
    fn attend<'q>(
        &mut self,
        cache: &HeadCache,
        queries: impl ExactSizeIterator<Item = &'q [f32]> + Clone,
        first: usize,
        window: usize,
        scale: f32,
    ) {
        let Scratch { keys, values, sums, outputs } = self;
        sums.fill(Softmax { max: f32::NEG_INFINITY, sum: 0.0 });
        outputs.fill(0.0);
        let (end, value_length) = (first + queries.len(), outputs.len() / BLOCK);
        // Tiles begin at the same positions whatever the window and the block: a token's sums have one order.
        let begin = (first + 1).saturating_sub(window) / TILE * TILE;
        for start in (begin..end).step_by(TILE) {
            let tile = start..(start + TILE).min(end);
            let keys = cache.keys.read(tile.clone(), keys);
            let values = cache.values.read(tile.clone(), values);
            for (i, query) in queries.clone().enumerate() {
                // A token sees itself and what came before, as far as the window reaches.
                let to = (first + i + 1).min(tile.end).saturating_sub(start);
                let from = (first + i + 1).saturating_sub(window).saturating_sub(start);
                if from < to {
                    let output = &mut outputs[i * value_length..][..value_length];
                    let keys = &keys[from * query.len()..to * query.len()];
                    let values = &values[from * value_length..to * value_length];
                    Arch::new().dispatch(Take { query, keys, values, scale, softmax: &mut sums[i], output });
                }
            }
        }
        for (output, softmax) in outputs.chunks_exact_mut(value_length).zip(sums) {
            crate::vector::scale(output, 1.0 / softmax.sum);
        }
    }
}

/// Takes up to [`TILE`] keys and values into a query's softmax and output.
struct Take<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    scale: f32,
    softmax: &'a mut Softmax,
    output: &'a mut [f32],
}

impl WithSimd for Take<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Take { query, keys, values, scale, softmax, output } = self;
        let mut scores = [f32::NEG_INFINITY; TILE];
        let mut max = softmax.max;
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(query.len())) {
            let mut sums = Sums::new(simd);
            sums.add(query, key);
            *score = sums.total() * scale;
            max = max.max(*score);
        }
        let shrink = exp_inlined(softmax.max - max);
        for score in &mut scores {
            *score = exp_inlined(*score - max);
        }
        let seen = values.len() / output.len();
        let sum = scores[..seen].iter().fold(softmax.sum * shrink, |sum, p| sum + p);
        *softmax = Softmax { max, sum };
        mix(simd, &scores[..seen], values, shrink, output);
    }
}

/// output = output · shrink + Σ pᵢ · valueᵢ.
#[inline(always)]
fn mix<S: Simd>(simd: S, p: &[f32], values: &[f32], shrink: f32, output: &mut [f32]) {
    let width = output.len();
    // Four vectors at a time, which stay in registers for all values.
    for start in (0..width).step_by(4 * S::F32_LANES) {
        let columns = start..(start + 4 * S::F32_LANES).min(width);
        let output = &mut output[columns.clone()];
        let mut sums = load(simd, output).map(|output| simd.mul_f32s(output, simd.splat_f32s(shrink)));
        for (p, value) in p.iter().zip(values.chunks_exact(width)) {
            let (p, value) = (simd.splat_f32s(*p), load(simd, &value[columns.clone()]));
            for i in 0..4 {
                sums[i] = simd.add_f32s(sums[i], simd.mul_f32s(p, value[i]));
            }
        }
        for (output, sum) in output.chunks_mut(S::F32_LANES).zip(sums) {
            simd.partial_store_f32s(output, sum);
        }
    }
}

/// Up to four vectors, zeros after the last element.
#[inline(always)]
fn load<S: Simd>(simd: S, elements: &[f32]) -> [S::f32s; 4] {
    match S::as_simd_f32s(elements).0.first_chunk() {
        Some(vectors) => *vectors,
        None => {
            let mut vectors = [simd.splat_f32s(0.0); 4];
            for (vector, elements) in vectors.iter_mut().zip(elements.chunks(S::F32_LANES)) {
                *vector = simd.partial_load_f32s(elements);
            }
            vectors
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::model::kv::{KvCache, KvShape, KvType};

    const HEADS: Heads = Heads { queries: 6, kv: 2, key_length: 24, value_length: 40 };

    fn attention(threads: usize) -> Attention {
        Attention::new(HEADS, 1.0 / 24f32.sqrt(), threads)
    }

    fn wave(elements: usize, step: f32) -> Vec<f32> {
        (0..elements).map(|i| (i as f32 * step).sin() * 3.0).collect()
    }

    fn filled(kv: KvType, tokens: usize) -> (KvCache, Vec<f32>, Vec<f32>) {
        let shape = KvShape { layers: 1, heads: HEADS.kv, key_length: 24, value_length: 40 };
        let mut cache = KvCache::new(kv, shape, tokens).unwrap();
        let (keys, values) = (wave(tokens * 2 * 24, 0.37), wave(tokens * 2 * 40, 0.73));
        cache.append(0, &keys, &values);
        (cache, keys, values)
    }

    /// Plain f64 softmax.
    fn expected(q: &[f32], keys: &[f32], values: &[f32], seen: Range<usize>, head: usize) -> Vec<f64> {
        let kv_head = head / (HEADS.queries / HEADS.kv);
        let scores: Vec<f64> = seen
            .clone()
            .map(|t| {
                let key = &keys[(t * 2 + kv_head) * 24..][..24];
                q.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>() / 24f64.sqrt()
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        (0..40)
            .map(|i| {
                let value = |t: usize| f64::from(values[(t * 2 + kv_head) * 40 + i]);
                scores.iter().zip(seen.clone()).map(|(s, t)| (s - max).exp() / sum * value(t)).sum()
            })
            .collect()
    }

    #[test]
    fn agrees_with_the_formula_and_the_mask() {
        let tokens = 75;
        let (cache, keys, values) = filled(KvType::F32, tokens);
        let q = wave(tokens * 6 * 24, 0.11);
        for window in [usize::MAX, tokens, 40, 32, 7, 1] {
            let mut out = vec![0f32; tokens * 6 * 40];
            assert!(attention(1).run(&Pool::new(1), cache.layer(0), &q, 0, window, &mut out));
            for token in 0..tokens {
                for head in 0..6 {
                    let seen = (token + 1).saturating_sub(window)..token + 1;
                    let exact = expected(&q[(token * 6 + head) * 24..][..24], &keys, &values, seen, head);
                    let found = &out[(token * 6 + head) * 40..][..40];
                    for (found, exact) in found.iter().zip(exact) {
                        assert!((f64::from(*found) - exact).abs() < 1e-5, "token {token}, head {head}, {window}");
                    }
                }
            }
        }
    }

    #[test]
    fn neither_threads_nor_batches_change_a_bit() {
        let tokens = 45;
        for (kv, window) in KvType::NAMES.iter().flat_map(|(kv, _)| [usize::MAX, 9].map(|window| (*kv, window))) {
            let (cache, ..) = filled(kv, tokens);
            let q = wave(tokens * 6 * 24, 0.11);
            let mut whole = vec![0f32; tokens * 6 * 40];
            assert!(attention(1).run(&Pool::new(1), cache.layer(0), &q, 0, window, &mut whole));
            let mut parts = vec![0f32; whole.len()];
            let (pool, mut attention) = (Pool::new(3), attention(3));
            for (first, end) in [(0, 1), (1, 12), (12, 45)] {
                let out = &mut parts[first * 6 * 40..end * 6 * 40];
                assert!(attention.run(&pool, cache.layer(0), &q[first * 6 * 24..end * 6 * 24], first, window, out));
            }
            assert!(whole.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits()), "{kv}, {window}");
        }
    }

    #[test]
    fn large_scores_do_not_overflow_and_nan_is_told() {
        let (mut cache, ..) = filled(KvType::F32, 3);
        let mut q: Vec<f32> = wave(6 * 24, 0.11).iter().map(|x| x * 1e4).collect();
        let mut out = vec![0f32; 6 * 40];
        let (pool, mut attention) = (Pool::new(1), attention(1));
        assert!(attention.run(&pool, cache.layer(0), &q, 2, usize::MAX, &mut out));
        q[5] = f32::NAN;
        assert!(!attention.run(&pool, cache.layer(0), &q, 2, usize::MAX, &mut out));
        cache.truncate(2);
        cache.append(0, &[1.0; 48], &[f32::INFINITY; 80]);
        q[5] = 0.0;
        assert!(!attention.run(&pool, cache.layer(0), &q, 2, usize::MAX, &mut out));
    }
}
