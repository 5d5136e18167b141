//! The head: the last state of a token to logits, of all tokens or of those that decide a choice.
//!
//! A head of half-precision floats is the largest matrix that a ternary model reads for a token. Where a choice hangs on the
//! likeliest tokens alone, an int8 copy with a bound on its error ([`Coarse`]) is read instead: every token has a logit
//! between known limits, and those whose upper limit is below the lower limits of as many others as are asked for are out.
//! For the rest, the shortlist, the exact logits are computed from the exact rows, to the last bit what the whole head gives
//! them. Hence every choice is the same as with the whole head: not likely, but certainly.
//!
//! Where the bound leaves too many, the whole head is computed after all, and for a while no copy is asked first.

use std::ops::Range;

use crate::gguf::Kind;
use crate::linear::{Coarse, Linear, LinearError, Query};
use crate::memory::{Buffer, MemoryError};
use crate::model::config::Scales;
use crate::model::weights::Projection;
use crate::prefetch::{self, Cache};
use crate::sample::{Demand, Met, Scores};
use crate::threads::{Parts, Pool};

/// The head of a model.
#[derive(Debug)]
pub struct Head {
    /// Row to logits.
    pub projection: Projection,
    /// A copy of it, where there is one.
    pub coarse: Option<Coarse>,
}

/// How the head is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadMode {
    /// An int8 copy decides which logits matter, where the head is of f16, bf16 or f32; the results are the same.
    #[default]
    TwoStage,
    /// All logits of every token.
    Full,
}

/// Rows of which only the greatest lower limit is kept.
const GROUP: usize = 16;

const _: () = assert!(Coarse::PIECE.is_multiple_of(GROUP));

/// A shortlist of more than one in so many tokens costs more than the whole head.
const LONG: usize = 8;

/// Passes for which the copy is left alone, at most, after it has failed to decide.
const MOST_PATIENCE: u32 = 64;

/// Claims of the copy for every thread, about: the longer one is, the less often a thread waits for the first bytes of its next.
const CLAIMS: usize = 64;

/// Rows of a shortlist that a thread claims at a time: they lie anywhere, often in pages that nobody has touched yet.
const LISTED: usize = 4;

/// How often which part of the head was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadUse {
    /// Tokens whose logits a shortlist left for the choice of the next one.
    pub shortlists: u64,
    /// Exact rows computed for them.
    pub rows: u64,
    /// Tokens for which a shortlist was tried, and was too long.
    pub undecided: u64,
    /// Tokens of which all logits were computed, those included.
    pub full: u64,
}

/// The buffers of a head, and the tokens it left last.
/// Its parts are one token's after the other's.
#[derive(Debug, Default)]
pub struct Shortlist {
    queries: Vec<Query>,
    /// Upper limits: `[m, vocab]`.
    uppers: Buffer<f32>,
    /// The greatest lower limit of each group of rows: `[m, groups]`.
    peaks: Buffer<f32>,
    sorted: Vec<f32>,
    ids: Vec<u32>,
    logits: Vec<f32>,
    /// Where each token's ids end.
    ends: Vec<usize>,
    met: Met,
    /// Passes to come for which the copy is left alone, and how many it will be next time.
    rest: u32,
    patience: u32,
    use_of: HeadUse,
}

impl Head {
    /// A head without a copy.
    pub fn new(projection: Projection) -> Self {
        Head { projection, coarse: None }
    }

    /// Makes a copy, where one would have fewer bytes and could decide; `before(n, k)` may know one that was made before.
    ///
    /// # Errors
    /// Those of [`Coarse::new`].
    pub fn copy(
        &mut self,
        pool: &Pool,
        scales: &Scales,
        before: impl FnOnce(usize, usize) -> Option<Coarse>,
    ) -> Result<(), LinearError> {
        if let Linear::Float(float) = &self.projection.linear
            && matches!(float.kind(), Kind::F16 | Kind::BF16 | Kind::F32)
            && self.decides(scales)
        {
            self.coarse = match before(float.n(), float.k()) {
                None => Coarse::new(float, pool)?,
                known => known,
            };
        }
        Ok(())
    }

    /// Whether a shortlist can decide: what is done to logits afterwards must keep their order, to the last bit.
    fn decides(&self, scales: &Scales) -> bool {
        let Projection { norm, scale, bias, .. } = &self.projection;
        let plain = norm.is_none() && scale.is_none() && bias.is_none() && scales.cap.is_none();
        plain && scales.logits.is_none_or(|factor| factor.is_finite() && factor > 1e-6)
    }
}

impl Shortlist {
    /// How often which part of the head was computed.
    pub fn use_of(&self) -> HeadUse {
        self.use_of
    }

    /// Counts tokens of which all logits are computed.
    pub fn count_full(&mut self, tokens: usize) {
        self.use_of.full += tokens as u64;
    }

    /// What the last call of [`Shortlist::decide`] left for one of its tokens.
    pub fn scores(&self, token: usize) -> Scores<'_> {
        let range = self.range(token);
        Scores::some(&self.ids[range.clone()], &self.logits[range], self.met)
    }

    /// Computes for each row of states `x[m, k]` the exact logits that the demand asks for. `false`: the whole head is to be
    /// computed instead.
    ///
    /// # Errors
    /// Where there is no memory for limits of so many logits.
    pub fn decide(
        &mut self,
        pool: &Pool,
        head: &Head,
        scales: &Scales,
        x: &[f32],
        demand: Demand<'_>,
    ) -> Result<bool, LinearError> {
        let (Some(coarse), Linear::Float(exact)) = (&head.coarse, &head.projection.linear) else { return Ok(false) };
        let (n, k) = (coarse.n(), coarse.k());
        let m = x.len() / k;
        let asked = match demand {
            Demand::All => false,
            Demand::Top { count, also } => (1..=n / GROUP).contains(&count) && also.iter().all(|&id| (id as usize) < n),
            Demand::Near { .. } => scales.logits.is_none(),
        };
        if !asked {
            return Ok(false);
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Ok(false);
        }
        self.queries.resize_with(m.max(self.queries.len()), Query::default);
        for (query, x) in self.queries.iter_mut().zip(x.chunks_exact(k)) {
            if !query.set(x) {
                return Ok(false);
            }
        }
        self.estimate(pool, coarse, m)?;
        self.ids.clear();
        self.ends.clear();
        // Room for the longest that is looked at, from the first pass of so many tokens on.
        self.ids.reserve(m * n);
        self.logits.reserve((m * n / LONG).saturating_sub(self.logits.len()));
        for token in 0..m {
            self.choose(n, token, demand);
        }
        if self.ids.len() > m * n / LONG {
            self.patience = (self.patience * 2).clamp(1, MOST_PATIENCE);
            self.rest = self.patience;
            self.use_of.undecided += m as u64;
            return Ok(false);
        }
        (self.met, self.patience) = (demand.into(), 0);
        self.use_of.shortlists += m as u64;
        self.use_of.rows += self.ids.len() as u64;
        self.logits.resize(self.ids.len(), 0.0);
        for token in 0..m {
            let range = self.range(token);
            let (ids, x) = (&self.ids[range.clone()], &x[token * k..][..k]);
            let logits = Parts::new(&mut self.logits[range]);
            pool.for_each_range(ids.len(), LISTED, |_, claimed| {
                // SAFETY: claims do not overlap.
                let logits = unsafe { logits.part(claimed.clone()) };
                for (&id, logit) in ids[claimed].iter().zip(logits) {
                    let row = id as usize;
                    // It can fail for no row, or `Float::new` would have refused the matrix; NaN would be told as such.
                    if exact.products(row..row + 1, x, std::slice::from_mut(logit)).is_err() {
                        *logit = f32::NAN;
                    }
                }
            });
        }
        if let Some(factor) = scales.logits {
            crate::vector::scale(&mut self.logits, factor);
        }
        Ok(true)
    }

    fn range(&self, token: usize) -> Range<usize> {
        if token == 0 { 0..self.ends[0] } else { self.ends[token - 1]..self.ends[token] }
    }

    /// Upper limits of all rows, and the greatest lower limit of each group of them.
    fn estimate(&mut self, pool: &Pool, coarse: &Coarse, m: usize) -> Result<(), MemoryError> {
        let (n, groups) = (coarse.n(), coarse.n().div_ceil(GROUP));
        let (uppers, peaks) = (self.uppers.grown(m * n)?, self.peaks.grown(m * groups)?);
        let queries = &self.queries[..m];
        let (uppers, peaks) = (Parts::new(uppers), Parts::new(peaks));
        let pieces = n.div_ceil(Coarse::PIECE);
        let claim = pieces.div_ceil(pool.threads() * CLAIMS).max(1);
        let estimate = |piece: usize| {
            let rows = piece * Coarse::PIECE..((piece + 1) * Coarse::PIECE).min(n);
            // What the first token's products have read is in a cache for the others'.
            for (token, query) in queries.iter().enumerate() {
                let of_rows = token * n + rows.start..token * n + rows.end;
                let of_groups = token * groups + rows.start / GROUP..token * groups + rows.end.div_ceil(GROUP);
                // SAFETY: each piece is in one claim, and pieces are whole groups but for the last: none shares rows or groups.
                let (uppers, peaks) = unsafe { (uppers.part(of_rows), peaks.part(of_groups)) };
                prefetch::ask(uppers, 0, Cache::First);
                peaks.fill(f32::NEG_INFINITY);
                for (row, (upper, estimate)) in uppers.iter_mut().zip(coarse.estimates(query, rows.clone())).enumerate()
                {
                    *upper = estimate.upper();
                    peaks[row / GROUP] = peaks[row / GROUP].max(estimate.lower());
                }
            }
        };
        pool.for_each_range(pieces, claim, |_, claimed| claimed.for_each(&estimate));
        Ok(())
    }

    /// Appends the ids that cannot be excluded for a token.
    fn choose(&mut self, n: usize, token: usize, demand: Demand<'_>) {
        let groups = n.div_ceil(GROUP);
        let peaks = &self.peaks.all()[token * groups..][..groups];
        let (threshold, also) = match demand {
            Demand::All => (f32::NEG_INFINITY, &[][..]),
            // As many rows as there are groups with such a peak are certainly not below it.
            Demand::Top { count, also } => {
                self.sorted.clear();
                self.sorted.extend_from_slice(peaks);
                (*self.sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1, also)
            }
            Demand::Near { margin } => (peaks.iter().copied().fold(f32::NEG_INFINITY, f32::max) - margin, &[][..]),
        };
        // A little lower: what is done to logits afterwards is rounded, and may make equals of neighbours.
        let threshold = threshold - threshold.abs() * 1e-6 - f32::MIN_POSITIVE;
        let mut also = also.iter().copied().peekable();
        let uppers = &self.uppers.all()[token * n..][..n];
        for (piece, uppers) in uppers.chunks(Coarse::PIECE).enumerate() {
            let start = (piece * Coarse::PIECE) as u32;
            let asked = also.peek().is_some_and(|&id| id < start + Coarse::PIECE as u32);
            // Most pieces hold none: looked at as a whole.
            if !asked && !uppers.iter().fold(false, |any, &upper| any | (upper >= threshold)) {
                continue;
            }
            for (id, &upper) in (start..).zip(uppers) {
                let asked = also.next_if_eq(&id).is_some();
                if asked || upper >= threshold {
                    self.ids.push(id);
                }
            }
        }
        self.ends.push(self.ids.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::float::tests::of_f32;
    use crate::sample::{Sampler, SamplerOptions};

    const PLAIN: Scales = Scales { embedding: None, residual: None, logits: None, cap: None };

    fn head(n: usize, k: usize, weights: &[f32], scales: &Scales) -> Head {
        let linear = Linear::Float(of_f32(n, k, weights));
        let mut head = Head::new(Projection { linear, norm: None, scale: None, bias: None });
        head.copy(&Pool::new(1), scales, |_, _| None).unwrap();
        head
    }

    /// All logits, to the last bit what a session gives.
    fn all(head: &Head, x: &[f32], scales: &Scales) -> Vec<f32> {
        let Linear::Float(exact) = &head.projection.linear else { unreachable!("a head of floats") };
        let mut logits = vec![0f32; exact.n()];
        exact.products(0..exact.n(), x, &mut logits).unwrap();
        if let Some(factor) = scales.logits {
            crate::vector::scale(&mut logits, factor);
        }
        logits
    }

    fn options() -> impl Strategy<Value = SamplerOptions> {
        let temperature = prop_oneof![Just(0.0f32), Just(0.8)];
        let top_k = prop_oneof![Just(0usize), Just(1), Just(5)];
        let top_p = prop_oneof![Just(1.0f32), Just(0.9)];
        let min_p = prop_oneof![Just(0.0f32), Just(0.05), Just(1.0)];
        let repeat_penalty = prop_oneof![Just(1.0f32), Just(1.3), Just(0.7)];
        (temperature, top_k, top_p, min_p, repeat_penalty, any::<u64>()).prop_map(
            |(temperature, top_k, top_p, min_p, repeat_penalty, seed)| SamplerOptions {
                temperature,
                top_k,
                top_p,
                min_p,
                repeat_penalty,
                repeat_last: 4,
                seed,
            },
        )
    }

    /// Rows that differ by little or nothing, so that choices are close, among others.
    fn rows(n: usize, k: usize, seed: u64, closeness: f32) -> Vec<f32> {
        let noise = |i: usize| ((i as u64 + 1).wrapping_mul(seed | 1) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..n * k)
            .map(|i| {
                let (row, column) = (i / k, i % k);
                // Every third row repeats one, up to a disturbance.
                if row % 3 == 0 { noise(column) + closeness * noise(i) } else { noise(i * 7) }
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// Whatever is asked of a sampler, a shortlist and all logits lead to the same tokens, one after the other.
        #[test]
        fn choices_are_the_same(
            n in 100usize..700,
            k in 1usize..80,
            seed: u64,
            closeness in prop_oneof![Just(0.0f32), Just(1e-7), Just(1e-4), Just(1e-2)],
            length in prop_oneof![Just(1e-3f32), Just(1.0), Just(30.0)],
            factor in prop_oneof![Just(None), Just(Some(0.07f32)), Just(Some(16.0))],
            options in options(),
            threads in 1usize..3,
        ) {
            let scales = Scales { logits: factor, ..PLAIN };
            let head = head(n, k, &rows(n, k, seed, closeness), &scales);
            prop_assert!(head.coarse.is_some());
            let (pool, mut shortlist) = (Pool::new(threads), Shortlist::default());
            let [mut by_all, mut by_some] = [(); 2].map(|()| Sampler::new(options.clone()).unwrap());
            for step in 0..6u64 {
                let x: Vec<f32> = rows(1, k, seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0.5)
                    .into_iter().map(|x| x * length).collect();
                let logits = all(&head, &x, &scales);
                let expected = by_all.sample(&logits).unwrap();
                let demand = by_some.demand(&[]);
                let found = if shortlist.decide(&pool, &head, &scales, &x, demand).unwrap() {
                    by_some.sample(shortlist.scores(0)).unwrap()
                } else {
                    by_some.sample(&logits).unwrap()
                };
                prop_assert_eq!(found, expected);
                by_all.accept(expected);
                by_some.accept(found);
            }
        }

        /// What is handed on is exact, and nothing that was asked for is missing.
        #[test]
        fn nothing_is_missing(
            n in 100usize..700, k in 1usize..80, seed: u64, m in 1usize..4, count in 1usize..7, also in prop::collection::btree_set(0u32..100, 0..5),
        ) {
            let head = head(n, k, &rows(n, k, seed, 1e-3), &PLAIN);
            let x = rows(m, k, seed ^ 0x5555, 0.5);
            let also: Vec<u32> = also.into_iter().collect();
            let mut shortlist = Shortlist::default();
            if shortlist.decide(&Pool::new(2), &head, &PLAIN, &x, Demand::Top { count, also: &also }).unwrap() {
                for (token, x) in x.chunks_exact(k).enumerate() {
                    let logits = all(&head, x, &PLAIN);
                    let range = shortlist.range(token);
                    let ids = &shortlist.ids[range.clone()];
                    prop_assert!(ids.is_sorted());
                    for (&id, logit) in ids.iter().zip(&shortlist.logits[range]) {
                        prop_assert_eq!(logit.to_bits(), logits[id as usize].to_bits());
                    }
                    let mut order: Vec<u32> = (0..n as u32).collect();
                    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
                    prop_assert!(order[..count].iter().chain(&also).all(|id| ids.contains(id)));
                }
            }
        }
    }

    /// Of so many rows that threads claim several pieces at a time, and fewer at the end.
    #[test]
    fn nothing_is_missing_of_large_heads() {
        let (n, k, count, seed) = (10_007, 24, 5, 0x9e37_79b9_7f4a_7c15u64);
        let head = head(n, k, &rows(n, k, seed, 1.0), &PLAIN);
        let x = rows(1, k, seed.rotate_left(17), 0.5);
        let logits = all(&head, &x, &PLAIN);
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let last = [n as u32 - 1];
        for threads in 1..4 {
            let mut shortlist = Shortlist::default();
            let demand = Demand::Top { count, also: &last };
            assert!(shortlist.decide(&Pool::new(threads), &head, &PLAIN, &x, demand).unwrap());
            assert!(shortlist.ids.len() < n / LONG && shortlist.ids.is_sorted());
            assert!(order[..count].iter().chain(&last).all(|id| shortlist.ids.contains(id)), "{threads} threads");
            for (&id, logit) in shortlist.ids.iter().zip(&shortlist.logits) {
                assert_eq!(logit.to_bits(), logits[id as usize].to_bits());
            }
        }
    }

    #[test]
    fn a_flat_distribution_is_left_to_the_whole_head_and_for_a_while_not_tried_again() {
        let (n, k) = (640, 32);
        let (head, pool) = (head(n, k, &vec![0.5; n * k], &PLAIN), Pool::new(1));
        let (mut shortlist, x) = (Shortlist::default(), vec![1f32; k]);
        let likeliest = Demand::Top { count: 1, also: &[] };
        for _ in 0..12 {
            assert!(!shortlist.decide(&pool, &head, &PLAIN, &x, likeliest).unwrap());
        }
        // Tried, 1 passed over, tried, 2 passed over, tried, 4 passed over, tried.
        assert_eq!(shortlist.use_of(), HeadUse { undecided: 4, ..HeadUse::default() });
    }

    #[test]
    fn what_a_bound_cannot_follow_is_left_to_the_whole_head() {
        let (n, k) = (640, 8);
        let weights = rows(n, k, 3, 0.1);
        assert!(head(n, k, &weights, &Scales { cap: Some(30.0), ..PLAIN }).coarse.is_none());
        assert!(head(n, k, &weights, &Scales { logits: Some(-1.0), ..PLAIN }).coarse.is_none());
        let (head, pool, mut shortlist) = (head(n, k, &weights, &PLAIN), Pool::new(1), Shortlist::default());
        let x = vec![1f32; k];
        let foreign = [n as u32];
        let mut decide = |x: &[f32], demand| shortlist.decide(&pool, &head, &PLAIN, x, demand).unwrap();
        assert!(!decide(&x, Demand::All));
        assert!(!decide(&x, Demand::Top { count: n, also: &[] }));
        assert!(!decide(&x, Demand::Top { count: 1, also: &foreign }));
        assert!(!decide(&[f32::NAN; 8], Demand::Top { count: 1, also: &[] }));
    }
}
