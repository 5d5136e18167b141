//! Causal attention with grouped heads: softmax(q·Kᵀ/√d)·V, one pass over keys and values.
//!
//! Positions are cut into chunks, and each chunk has a softmax of its own; those are merged in order (the running maximum of
//! Milakov & Gimelshein, arXiv:1805.02867). A chunk is computed for a block of rows: the queries of a few tokens, of all
//! heads that share its keys and values, so that these are read once for all of them. Where there is but one block, as when
//! a token is decoded, threads share the chunks instead.
//!
//! No sum crosses lanes: scores have a key, mixtures an element in each. A query's result is formed in an order that its
//! position alone decides, be it computed alone or with others. Products are fused with their sums, on every machine.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pulp::{Arch, Simd, WithSimd};

use crate::memory::{HybridMemoryPool, MemoryError, ScopedAllocation};
use crate::model::kv::{Element, HeadCache, Store, TILE, Values};
use crate::prefetch;
use crate::threads::{Parts, Pool};
use crate::vector::{exp_inlined, greatest};

/// Positions whose scores are computed before their values are mixed: a whole number of tiles.
const CHUNK: usize = 256;

/// Elements of a key whose products are summed before they are added to the rest: the error of a sum grows with its terms.
/// Runs of 4 and 8, and none at all, are as good in f32; but each sends an activation of some fixture, which lies at a tie
/// of int8, to the other side than f64 does.
const RUN: usize = 16;

/// Rows of a block, unless one token has more.
const ROWS: usize = 32;

/// Claims of a single block for every thread, at least, where there are as many chunks.
const CLAIMS: usize = 4;

/// Chunks of a claim, at most: one after the other, so that what was asked for at the end of one is mostly read in the next.
const MOST_CHUNKS: usize = 8;

/// From so many rows on, keys and values of types other than f32 are widened once for all rows.
const WIDENED_ROWS: usize = 9;

/// What a row of a partial result holds behind its elements: the maximum, and the sum.
const TAIL: usize = 16;

/// Lanes of a sum of exponentials.
const LANES: usize = 16;

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

impl Heads {
    /// Heads of queries that share keys and values.
    fn group(&self) -> usize {
        self.queries / self.kv
    }

    /// Tokens of a block.
    fn block(&self) -> usize {
        (ROWS / self.group()).max(1)
    }

    /// Elements of a row of a partial result.
    fn partial(&self) -> usize {
        Values::padded(self.value_length) + TAIL
    }
}

/// Buffers of all threads, allocated once.
#[derive(Debug)]
pub struct Attention {
    heads: Heads,
    scale: f32,
    threads: Vec<Scratch>,
    /// Partial results of a single block: `[kv, chunks, rows, partial]`.
    partials: ScopedAllocation<f32>,
}

#[derive(Debug)]
struct Scratch {
    /// A tile of keys, or of values, as floats.
    tile: ScopedAllocation<f32>,
    /// Of each row of a block: `[rows, CHUNK]`.
    scores: ScopedAllocation<f32>,
    /// Of a chunk, and of all chunks before it: `[rows, partial]`.
    partial: ScopedAllocation<f32>,
    total: ScopedAllocation<f32>,
}

/// What one unit of work is about: the queries of some tokens, of the heads that share keys and values.
#[derive(Clone, Copy)]
struct Block<'a> {
    heads: Heads,
    scale: f32,
    cache: &'a HeadCache,
    /// `[tokens, queries, key_length]`, from the first head of the group on.
    q: &'a [f32],
    /// Position of the first token.
    first: usize,
    tokens: usize,
    window: usize,
}

impl Attention {
    /// Buffers for `threads` threads, and contexts of up to `context` tokens. Scores are multiplied by `scale`.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new(heads: Heads, scale: f32, context: usize, threads: usize) -> Result<Self, MemoryError> {
        let rows = heads.block() * heads.group();
        let floats = |count| HybridMemoryPool::sparse().allocate_typed(count);
        let scratch = |_| {
            Ok(Scratch {
                tile: floats(TILE * heads.key_length.max(Values::padded(heads.value_length)))?,
                scores: floats(rows * CHUNK)?,
                partial: floats(rows * heads.partial())?,
                total: floats(rows * heads.partial())?,
            })
        };
        let threads = (0..threads).map(scratch).collect::<Result<_, MemoryError>>()?;
        let partials = floats(heads.kv * context.div_ceil(CHUNK) * rows * heads.partial())?;
        Ok(Attention { heads, scale, threads, partials })
    }

    /// out[m, queries · value_length] for the queries q[m, queries · key_length] of the tokens at positions
    /// `first..first + m`, over a cache that holds their own keys and values already. Each token sees the last `window`
    /// tokens, its own included. Returns whether all is finite.
    ///
    /// The pool has as many threads as the buffers were made for. The number of threads changes no bit, nor does the cut into
    /// batches.
    pub fn run(
        &mut self,
        pool: &Pool,
        cache: &[HeadCache],
        q: &[f32],
        first: usize,
        window: usize,
        out: &mut [f32],
    ) -> bool {
        let Attention { heads, scale, .. } = *self;
        let m = q.len() / (heads.queries * heads.key_length);
        let block = |head: usize, tokens: Range<usize>| Block {
            heads,
            scale,
            cache: &cache[head],
            q: &q[(tokens.start * heads.queries + head * heads.group()) * heads.key_length..],
            first: first + tokens.start,
            tokens: tokens.len(),
            window,
        };
        let finite = AtomicBool::new(true);
        let out = Parts::new(out);
        let threads = Parts::new(&mut self.threads);
        let blocks = m.div_ceil(heads.block());
        let chunks = block(0, 0..m).chunks();
        if blocks > 1 || chunks.len() == 1 {
            pool.for_each(blocks * heads.kv, |thread, unit| {
                // SAFETY: every thread takes its own scratch.
                let [scratch] = (unsafe { threads.part(thread..thread + 1) }) else { return };
                // Later blocks see more keys: they come first, so that all threads end at about one time.
                let (at, head) = (blocks - 1 - unit / heads.kv, unit % heads.kv);
                let tokens = at * heads.block()..((at + 1) * heads.block()).min(m);
                let block = block(head, tokens.clone());
                block.attend(scratch);
                if !block.finish(&scratch.total, head, tokens.start, &out) {
                    finite.store(false, Relaxed);
                }
            });
            return finite.into_inner();
        }
        let rows = m * heads.group() * heads.partial();
        let partials = Parts::new(&mut self.partials);
        let units = heads.kv * chunks.len();
        let claim = (units / (pool.threads() * CLAIMS)).clamp(1, MOST_CHUNKS);
        pool.for_each_range(units, claim, |thread, claimed| {
            // SAFETY: every thread takes its own scratch.
            let [scratch] = (unsafe { threads.part(thread..thread + 1) }) else { return };
            for unit in claimed {
                // SAFETY: each unit is in one claim, and has partial results of its own.
                let partial = unsafe { partials.part(unit * rows..(unit + 1) * rows) };
                let (head, chunk) = (unit / chunks.len(), chunks.start + unit % chunks.len());
                block(head, 0..m).attend_chunk(chunk, &mut scratch.tile, &mut scratch.scores, partial);
            }
        });
        let [scratch, ..] = &mut self.threads[..] else { return false };
        let mut all_finite = true;
        for head in 0..heads.kv {
            let total = &mut scratch.total[..rows];
            for chunk in 0..chunks.len() {
                let unit = head * chunks.len() + chunk;
                heads.merge(chunk == 0, &self.partials[unit * rows..(unit + 1) * rows], total);
            }
            all_finite &= block(head, 0..m).finish(total, head, 0, &out);
        }
        all_finite
    }
}

impl Heads {
    /// Takes the partial result of a chunk into that of all chunks before it.
    fn merge(&self, is_first: bool, partial: &[f32], total: &mut [f32]) {
        if is_first {
            return total[..partial.len()].copy_from_slice(partial);
        }
        let rows = partial.chunks_exact(self.partial()).zip(total.chunks_exact_mut(self.partial()));
        for (partial, total) in rows {
            let (values, total_values) = (&partial[..partial.len() - TAIL], total.len() - TAIL);
            let (total, tail) = total.split_at_mut(total_values);
            let (max, sum) = (partial[values.len()], partial[values.len() + 1]);
            // A chunk that a row does not see changes nothing.
            if max == f32::NEG_INFINITY {
                continue;
            }
            let greatest = tail[0].max(max);
            let (old, new) = (factor(tail[0], greatest), factor(max, greatest));
            (tail[0], tail[1]) = (greatest, tail[1] * old + sum * new);
            mix_totals(values, new, total, old);
        }
    }
}

/// What a sum of exponentials relative to `max` is worth relative to `greatest`.
fn factor(max: f32, greatest: f32) -> f32 {
    if max == f32::NEG_INFINITY { 0.0 } else { exp_inlined(max - greatest) }
}

#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn mix_totals(values: &[f32], new: f32, total: &mut [f32], old: f32) {
    for (total, value) in total.iter_mut().zip(values) {
        *total = *total * old + value * new;
    }
}

impl<'a> Block<'a> {
    /// Chunks that any of the tokens sees.
    fn chunks(&self) -> Range<usize> {
        let begin = (self.first + 1).saturating_sub(self.window);
        begin / CHUNK..(self.first + self.tokens).div_ceil(CHUNK)
    }

    fn rows(&self) -> usize {
        self.tokens * self.heads.group()
    }

    /// Row r: token r / group, head r % group of the group.
    fn query(&self, row: usize) -> &'a [f32] {
        let Heads { queries, key_length, .. } = self.heads;
        let (token, head) = (row / self.heads.group(), row % self.heads.group());
        &self.q[(token * queries + head) * key_length..][..key_length]
    }

    /// Those of a chunk's positions that a row sees, relative to the first.
    fn seen(&self, row: usize, positions: &Range<usize>) -> Range<usize> {
        let end = self.first + row / self.heads.group() + 1;
        let to = end.min(positions.end).saturating_sub(positions.start);
        end.saturating_sub(self.window).saturating_sub(positions.start).min(to)..to
    }

    /// Leaves in `total` what the queries draw from the cache.
    fn attend(&self, Scratch { tile, scores, partial, total }: &mut Scratch) {
        let rows = self.rows() * self.heads.partial();
        let chunks = self.chunks();
        for chunk in chunks.clone() {
            self.attend_chunk(chunk, tile, scores, &mut partial[..rows]);
            self.heads.merge(chunk == chunks.start, &partial[..rows], total);
        }
    }

    /// Leaves in `partial` what the queries draw from one chunk.
    fn attend_chunk(&self, chunk: usize, tile: &mut [f32], scores: &mut [f32], partial: &mut [f32]) {
        let positions = chunk * CHUNK..((chunk + 1) * CHUNK).min(self.first + self.tokens);
        Arch::new().dispatch(Chunk { block: *self, positions, tile, scores, partial });
    }

    /// Divides by the sums, and writes the rows of a total to their places. Returns whether all is finite.
    fn finish(&self, total: &[f32], head: usize, token: usize, out: &Parts<'_, f32>) -> bool {
        let Heads { queries, value_length, .. } = self.heads;
        let (group, partial) = (self.heads.group(), self.heads.partial());
        let mut finite = true;
        for (row, total) in total.chunks_exact(partial).take(self.rows()).enumerate() {
            let start = ((token + row / group) * queries + head * group + row % group) * value_length;
            // SAFETY: a token's head is in one block alone, and this is the only part of it that is alive.
            let output = unsafe { out.part(start..start + value_length) };
            output.copy_from_slice(&total[..value_length]);
            crate::vector::scale(output, 1.0 / total[partial - TAIL + 1]);
            finite &= crate::vector::all_finite(output);
        }
        finite
    }
}

/// One chunk, for one block.
struct Chunk<'a> {
    block: Block<'a>,
    positions: Range<usize>,
    tile: &'a mut [f32],
    scores: &'a mut [f32],
    partial: &'a mut [f32],
}

impl WithSimd for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.block.cache.keys.store() {
            Store::F32(keys) => self.score(simd, keys, None),
            Store::F16(keys) => self.score(simd, keys, None),
            Store::I8 { codes, scales } => self.score(simd, codes, Some(scales)),
        }
        let value_scales = match self.block.cache.values.store() {
            Store::I8 { scales, .. } => Some(&scales[self.positions.clone()]),
            Store::F32(_) | Store::F16(_) => None,
        };
        self.normalise(value_scales);
        match self.block.cache.values.store() {
            Store::F32(values) => self.mix(simd, values),
            Store::F16(values) => self.mix(simd, values),
            Store::I8 { codes, .. } => self.mix(simd, codes),
        }
    }
}

impl Chunk<'_> {
    /// Scores of all rows and positions, tile by tile.
    #[inline(always)]
    fn score<S: Simd, E: Element>(&mut self, simd: S, keys: &[E], scales: Option<&[f32]>) {
        let width = self.block.heads.key_length;
        let (block, rows) = (self.block, self.block.rows());
        for at in (0..self.positions.len()).step_by(TILE) {
            let tile = (self.positions.start + at) / TILE;
            let keys = &keys[tile * TILE * width..][..TILE * width];
            if rows < WIDENED_ROWS {
                score_tile(simd, &block, keys, self.scores, at);
            } else {
                let wide = widen(simd, keys, self.tile);
                score_tile(simd, &block, wide, self.scores, at);
            }
            let scales = scales.map(|scales| &scales[tile * TILE..][..TILE]);
            for scores in self.scores.chunks_exact_mut(CHUNK).take(rows) {
                let scores = &mut scores[at..at + TILE];
                match scales {
                    Some(scales) => scores.iter_mut().zip(scales).for_each(|(score, scale)| {
                        *score *= scale * self.block.scale;
                    }),
                    None => scores.iter_mut().for_each(|score| *score *= self.block.scale),
                }
            }
        }
    }

    /// Scores to weights, 0 for what a row does not see; maxima and sums to the tails of the partial results.
    #[inline(always)]
    fn normalise(&mut self, value_scales: Option<&[f32]>) {
        let (block, partial) = (self.block, self.block.heads.partial());
        let whole = self.positions.len().div_ceil(TILE) * TILE;
        let rows = self.scores.chunks_exact_mut(CHUNK).zip(self.partial.chunks_exact_mut(partial));
        for (row, (scores, partial)) in rows.take(block.rows()).enumerate() {
            let seen = block.seen(row, &self.positions);
            let scores = &mut scores[..whole];
            let max = greatest(&scores[seen.clone()]);
            for score in scores.iter_mut() {
                *score = exp_inlined(*score - max);
            }
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            let mut sums = [0f32; LANES];
            for scores in scores.as_chunks::<LANES>().0 {
                for i in 0..LANES {
                    sums[i] += scores[i];
                }
            }
            let values = partial.len() - TAIL;
            let tail = &mut partial[values..];
            (tail[0], tail[1]) = (max, sums.into_iter().sum());
            // A score that is NaN must not be taken for one that is not seen.
            if !seen.is_empty() && max == f32::NEG_INFINITY {
                tail[0] = f32::NAN;
            }
            if let Some(scales) = value_scales {
                scores.iter_mut().zip(scales).for_each(|(score, scale)| *score *= scale);
            }
        }
    }

    /// Mixes the values of the chunk by the weights.
    #[inline(always)]
    fn mix<S: Simd, E: Element>(&mut self, simd: S, values: &[E]) {
        let padded = Values::padded(self.block.heads.value_length);
        let rows = self.block.rows();
        for partial in self.partial.chunks_exact_mut(padded + TAIL) {
            partial[..padded].fill(0.0);
        }
        let values = &values[self.positions.start * padded..self.positions.end * padded];
        for (tile, some) in values.chunks(TILE * padded).enumerate() {
            let weights = &self.scores[tile * TILE..];
            if rows < WIDENED_ROWS {
                mix_tile(simd, rows, weights, some, padded, self.partial);
            } else {
                let wide = widen(simd, some, self.tile);
                mix_tile(simd, rows, weights, wide, padded, self.partial);
            }
        }
    }
}

/// Scores of all rows of a block with a tile of keys.
#[inline(always)]
fn score_tile<S: Simd, E: Element>(simd: S, block: &Block<'_>, keys: &[E], scores: &mut [f32], at: usize) {
    let (rows, together) = (block.rows(), rows_together::<S>());
    let mut row = 0;
    while row < rows {
        let left = &mut scores[row * CHUNK..];
        row += match (rows - row).min(together) {
            4 => score_rows::<S, E, 4>(simd, block, row, keys, left, at),
            3 => score_rows::<S, E, 3>(simd, block, row, keys, left, at),
            2 => score_rows::<S, E, 2>(simd, block, row, keys, left, at),
            _ => score_rows::<S, E, 1>(simd, block, row, keys, left, at),
        };
    }
}

/// Adds values to the mixtures of `rows` rows, by weights that lie [`CHUNK`] apart.
#[inline(always)]
fn mix_tile<S: Simd, E: Element>(
    simd: S,
    rows: usize,
    weights: &[f32],
    values: &[E],
    padded: usize,
    partial: &mut [f32],
) {
    let together = rows_together::<S>();
    let mut row = 0;
    while row < rows {
        let (weights, out) = (&weights[row * CHUNK..], &mut partial[row * (padded + TAIL)..]);
        let is_first = row == 0 && rows < WIDENED_ROWS;
        row += match (rows - row).min(together) {
            4 => mix_rows::<S, E, 4>(simd, weights, values, padded, out, is_first),
            3 => mix_rows::<S, E, 3>(simd, weights, values, padded, out, is_first),
            2 => mix_rows::<S, E, 2>(simd, weights, values, padded, out, is_first),
            _ => mix_rows::<S, E, 1>(simd, weights, values, padded, out, is_first),
        };
    }
}

/// Rows whose sums stay in registers together.
#[inline(always)]
fn rows_together<S: Simd>() -> usize {
    if S::F32_LANES >= 16 { 4 } else { 2 }
}

/// Elements to floats, a whole number of vectors of them.
#[inline(always)]
fn widen<'a, S: Simd, E: Element>(simd: S, elements: &[E], out: &'a mut [f32]) -> &'a [f32] {
    let out = &mut out[..elements.len()];
    let vectors = S::as_mut_simd_f32s(out).0;
    for (out, elements) in vectors.iter_mut().zip(elements.chunks_exact(S::F32_LANES)) {
        *out = E::widen(simd, elements);
    }
    out
}

/// Scores of R rows with a tile of keys, each in one order: element after element. Returns R.
#[inline(always)]
fn score_rows<S: Simd, E: Element, const R: usize>(
    simd: S,
    block: &Block<'_>,
    row: usize,
    keys: &[E],
    scores: &mut [f32],
    at: usize,
) -> usize {
    let queries: [&[f32]; R] = std::array::from_fn(|r| block.query(row + r));
    let vectors = TILE / S::F32_LANES;
    let is_first = row == 0 && block.rows() < WIDENED_ROWS;
    // Four vectors at a time at most, so that the sums of R rows stay in registers.
    let step = vectors.min(4);
    for part in (0..vectors).step_by(step) {
        let mut sums = [[simd.splat_f32s(0.0); 4]; R];
        for (run, keys) in keys.chunks(RUN * TILE).enumerate() {
            let mut some = [[simd.splat_f32s(0.0); 4]; R];
            for (element, keys) in keys.chunks_exact(TILE).enumerate() {
                // Once for each line.
                if is_first && part == 0 && (element * size_of_val(keys)).is_multiple_of(prefetch::LINE) {
                    prefetch::stream(keys);
                }
                let keys = &keys[part * S::F32_LANES..];
                for v in 0..step {
                    let key = E::widen(simd, &keys[v * S::F32_LANES..(v + 1) * S::F32_LANES]);
                    for r in 0..R {
                        let query = simd.splat_f32s(queries[r][run * RUN + element]);
                        some[r][v] = simd.mul_add_f32s(query, key, some[r][v]);
                    }
                }
            }
            for (sums, some) in sums.iter_mut().zip(some) {
                for v in 0..step {
                    sums[v] = simd.add_f32s(sums[v], some[v]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let scores = &mut scores[r * CHUNK + at + part * S::F32_LANES..][..step * S::F32_LANES];
            S::as_mut_simd_f32s(scores).0.copy_from_slice(&sums[..step]);
        }
    }
    R
}

/// out[R rows] += weights · values, each in one order: position after position. Asks for values further on, where
/// these rows are the first to read these. Returns R.
#[inline(always)]
fn mix_rows<S: Simd, E: Element, const R: usize>(
    simd: S,
    weights: &[f32],
    values: &[E],
    padded: usize,
    out: &mut [f32],
    is_first: bool,
) -> usize {
    let vectors = padded / S::F32_LANES;
    let begins_line = |done: usize| (done * S::F32_LANES * size_of::<E>()).is_multiple_of(prefetch::LINE);
    let mut done = 0;
    while done + 4 <= vectors {
        mix_vectors::<S, E, R, 4>(simd, weights, values, padded, out, done, is_first && begins_line(done));
        done += 4;
    }
    while done < vectors {
        mix_vectors::<S, E, R, 1>(simd, weights, values, padded, out, done, is_first && begins_line(done));
        done += 1;
    }
    R
}

#[inline(always)]
fn mix_vectors<S: Simd, E: Element, const R: usize, const V: usize>(
    simd: S,
    weights: &[f32],
    values: &[E],
    padded: usize,
    out: &mut [f32],
    first: usize,
    is_first: bool,
) {
    let columns = first * S::F32_LANES..(first + V) * S::F32_LANES;
    let of_row = |r: usize| r * (padded + TAIL) + columns.start..r * (padded + TAIL) + columns.end;
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&S::as_simd_f32s(&out[of_row(r)]).0[..V]);
    }
    let weights: [&[f32]; R] = std::array::from_fn(|r| &weights[r * CHUNK..][..values.len() / padded]);
    for (position, row) in values.chunks_exact(padded).enumerate() {
        let values = &row[columns.clone()];
        if is_first {
            prefetch::stream(values);
        }
        let values: [S::f32s; V] =
            std::array::from_fn(|v| E::widen(simd, &values[v * S::F32_LANES..(v + 1) * S::F32_LANES]));
        for r in 0..R {
            let weight = simd.splat_f32s(weights[r][position]);
            for v in 0..V {
                sums[r][v] = simd.mul_add_f32s(weight, values[v], sums[r][v]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        S::as_mut_simd_f32s(&mut out[of_row(r)]).0.copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::model::kv::{KvCache, KvShape, KvType};

    const HEADS: Heads = Heads { queries: 6, kv: 2, key_length: 24, value_length: 40 };

    fn attention(threads: usize) -> Attention {
        Attention::new(HEADS, 1.0 / 24f32.sqrt(), 1000, threads).unwrap()
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
        let tokens = 600;
        let (cache, keys, values) = filled(KvType::F32, tokens);
        let q = wave(tokens * 6 * 24, 0.11);
        for window in [usize::MAX, tokens, 300, 256, 40, 7, 1] {
            let mut out = vec![0f32; tokens * 6 * 40];
            assert!(attention(1).run(&Pool::new(1), cache.layer(0), &q, 0, window, &mut out));
            for token in [0usize, 1, 2, 31, 32, 74, 254, 255, 256, 257, 300, 511, 512, 513, 599] {
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
        let tokens = 600;
        for (kv, window) in KvType::NAMES.iter().flat_map(|(kv, _)| [usize::MAX, 270, 9].map(|window| (*kv, window))) {
            let (cache, ..) = filled(kv, tokens);
            let q = wave(tokens * 6 * 24, 0.11);
            let mut whole = vec![0f32; tokens * 6 * 40];
            assert!(attention(1).run(&Pool::new(1), cache.layer(0), &q, 0, window, &mut whole));
            let mut parts = vec![0f32; whole.len()];
            let (pool, mut attention) = (Pool::new(3), attention(3));
            for (first, end) in
                [(0, 1), (1, 12), (12, 255), (255, 256), (256, 257), (257, 560), (560, 561), (561, 592), (592, 600)]
            {
                let out = &mut parts[first * 6 * 40..end * 6 * 40];
                assert!(attention.run(&pool, cache.layer(0), &q[first * 6 * 24..end * 6 * 24], first, window, out));
            }
            assert!(whole.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits()), "{kv}, {window}");
        }
    }

    /// One thread claims three chunks at a time here, across heads, and two at the end.
    #[test]
    fn neither_do_claims_of_several_chunks() {
        let (tokens, m) = (7 * CHUNK - 90, 12);
        for (kv, window) in KvType::NAMES.iter().flat_map(|(kv, _)| [usize::MAX, 1000].map(|window| (*kv, window))) {
            let (cache, ..) = filled(kv, tokens);
            let q = wave(m * 6 * 24, 0.11);
            let run = |threads: usize, q: &[f32]| {
                let mut out = vec![f32::NAN; q.len() / 24 * 40];
                let mut attention = Attention::new(HEADS, 1.0 / 24f32.sqrt(), tokens, threads).unwrap();
                let first = tokens - q.len() / (6 * 24);
                assert!(attention.run(&Pool::new(threads), cache.layer(0), q, first, window, &mut out));
                out.split_off(out.len() - 6 * 40)
            };
            // In blocks, chunk after chunk, of which the last row is the same.
            let expected = run(1, &q);
            for threads in 1..4 {
                let found = run(threads, &q[(m - 1) * 6 * 24..]);
                assert!(
                    expected.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{kv}, {window}, {threads}"
                );
            }
        }
    }

    /// Of everything that a chunk leaves, on vectors of every width, and on none.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_width_of_vectors_changes_no_bit() {
        for (kv, tokens, m) in KvType::NAMES.iter().flat_map(|(kv, _)| [(*kv, 75, 1), (*kv, 200, 5)]) {
            let (cache, ..) = filled(kv, tokens);
            let q = wave(m * 6 * 24, 0.11);
            let block = Block {
                heads: HEADS,
                scale: 0.2,
                cache: &cache.layer(0)[1],
                q: &q[3 * 24..],
                first: tokens - m,
                tokens: m,
                window: usize::MAX,
            };
            let rows = block.rows() * HEADS.partial();
            let run = |dispatch: &dyn Fn(Chunk<'_>)| {
                let mut tile = vec![0f32; TILE * Values::padded(40)];
                let (mut scores, mut partial) = (vec![0f32; block.rows() * CHUNK], vec![0f32; rows]);
                let (scores, partial_of) = (&mut scores, &mut partial);
                dispatch(Chunk { block, positions: 0..tokens, tile: &mut tile, scores, partial: partial_of });
                partial.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
            };
            let scalar = run(&|chunk| Simd::vectorize(pulp::Scalar, chunk));
            assert!(scalar == run(&|chunk| Arch::new().dispatch(chunk)), "{kv}, {m}");
            if let Some(v3) = pulp::x86::V3::try_new() {
                assert!(scalar == run(&|chunk| Simd::vectorize(v3, chunk)), "{kv}, {m}");
            }
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
