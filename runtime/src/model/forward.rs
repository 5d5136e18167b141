//! The forward pass: tokens to logits or to an embedding, over one set of buffers that is allocated once.
//!
//! ```text
//! token → embedding [· scale] ─┬─────────────────────────────────────────┐
//!             └ attn_norm → [norms] q, k, v → [head norms] → rope         │   per
//!                 → attention → [norm] attn_output → [post norm · scale] +│   layer
//!                              ├─────────────────────────────────────────┤
//!             └ ffn_norm → [norms] gate, up → act(gate)·up                │
//!                 → [norm] ffn_down → [post norm · scale] ────────────── +┘
//!          → output_norm → head → logits [· scale, cap]
//! ```
//!
//! What is in brackets some models have and others do not: it was decided when the model was loaded, and stands in its
//! layers. Where the feed-forward network is a mixture of experts, its half of a layer is in `experts.rs`.
//! Every pass says whether what it wrote is finite: int8, be it what a matrix takes or what the cache stores, would
//! quietly make numbers of NaN.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::linear::{self, Activations, LinearError};
use crate::memory::{HybridMemoryPool, MemoryError, ScopedAllocation};
use crate::model::attention::Attention;
use crate::model::config::Config;
use crate::model::experts::Mixture;
use crate::model::head::{Head, HeadUse, Shortlist};
use crate::model::kv::KvCache;
use crate::model::norm::{rms_norm, rms_norm_heads, rms_norm_in_place, rms_norm_twice};
use crate::model::rope::{Ropes, Turn};
use crate::model::weights::{FeedForward, Gated, Layer, Projection, Reach, Weights};
use crate::sample::{Demand, Scores};
use crate::threads::{Parts, Pool};
use crate::vector::{add, all_finite, scale, squeeze};

/// Rows of logits computed together where all are asked for.
pub const LOGIT_ROWS: usize = 32;

/// Where a pass went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Infinite or NaN numbers appeared.
    #[error("{place} is not finite")]
    NotFinite {
        /// What was being computed, in which layer.
        place: String,
    },
    /// A matrix product could not be formed.
    #[error(transparent)]
    Linear(#[from] LinearError),
    /// There is no memory for what is computed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// The buffers of a forward pass over up to `batch` tokens.
#[derive(Debug)]
pub struct Forward {
    /// `[m, embedding]`: the residual stream.
    hidden: ScopedAllocation<f32>,
    /// What the next matrix reads.
    x: Activations,
    q: ScopedAllocation<f32>,
    k: ScopedAllocation<f32>,
    v: ScopedAllocation<f32>,
    gate: ScopedAllocation<f32>,
    up: ScopedAllocation<f32>,
    /// `[m, embedding]`: what is added to the residual stream.
    branch: ScopedAllocation<f32>,
    ropes: Ropes,
    /// Of layers that see the whole context, and of those that see a window.
    turns: [Vec<Turn>; 2],
    attention: Attention,
    mixture: Mixture,
    /// `[LOGIT_ROWS, vocab]`
    logits: ScopedAllocation<f32>,
    shortlist: Shortlist,
    /// What was decided last is in the shortlist.
    is_shortlisted: bool,
}

impl Forward {
    /// Buffers for contexts of up to `context` tokens, up to `batch` of them at a time, on `threads` threads. `ropes` tell positions apart.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new(
        config: &Config,
        ropes: Ropes,
        context: usize,
        batch: usize,
        threads: usize,
    ) -> Result<Self, MemoryError> {
        let heads = config.heads;
        // A session that never sees `batch` tokens does not pay for them.
        let rows = |width: usize| HybridMemoryPool::sparse().allocate_typed(batch.saturating_mul(width));
        let logits = if config.pooling.is_none() { batch.min(LOGIT_ROWS) * config.vocab } else { 0 };
        Ok(Forward {
            hidden: rows(config.embedding)?,
            x: Activations::new(),
            q: rows(heads.queries * heads.key_length)?,
            k: rows(heads.kv * heads.key_length)?,
            v: rows(heads.kv * heads.value_length)?,
            gate: rows(config.feed_forward)?,
            up: rows(config.feed_forward)?,
            branch: rows(config.embedding)?,
            turns: [&ropes.whole, &ropes.window]
                .map(|rope| Vec::with_capacity(rope.as_ref().map_or(0, |rope| batch * rope.pairs()))),
            ropes,
            attention: Attention::new(heads, config.query_scale, context, threads)?,
            mixture: Mixture::default(),
            logits: HybridMemoryPool::sparse().allocate_typed(logits)?,
            shortlist: Shortlist::default(),
            is_shortlisted: false,
        })
    }

    /// Takes tokens at positions `first..` through all layers, appending their keys and values to the cache, and leaves
    /// their residual streams in the buffers.
    ///
    /// # Errors
    /// Numbers that are not finite; the cache then holds the tokens in some layers only, and must be truncated.
    pub fn layers(
        &mut self,
        pool: &Pool,
        config: &Config,
        weights: &Weights,
        cache: &mut KvCache,
        tokens: &[u32],
        first: usize,
    ) -> Result<(), ForwardError> {
        let m = tokens.len();
        let hidden = &mut self.hidden[..m * config.embedding];
        let embedded = each_row(pool, hidden, config.embedding, |i, row| {
            let finite = weights.embedding.look_up(tokens[i], row);
            if let Some(factor) = config.scales.embedding {
                scale(row, factor);
            }
            finite
        });
        finite(embedded, || "the embedding of a token".into())?;
        for (rope, turns) in [&self.ropes.whole, &self.ropes.window].into_iter().zip(&mut self.turns) {
            if let Some(rope) = rope {
                rope.turns(first..first + m, turns);
            }
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            let at = |what: &str| format!("{what} of layer {index}");
            self.attend(pool, config, layer, cache, index, first, m, &at)?;
            self.feed_forward(pool, config, layer, m, &at)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the pass reads everything there is")]
    fn attend(
        &mut self,
        pool: &Pool,
        config: &Config,
        layer: &Layer,
        cache: &mut KvCache,
        index: usize,
        first: usize,
        m: usize,
        at: &dyn Fn(&str) -> String,
    ) -> Result<(), ForwardError> {
        let Config { embedding, heads, rms_epsilon, .. } = *config;
        let (q_width, k_width) = (heads.queries * heads.key_length, heads.kv * heads.key_length);
        let (v_width, out_width) = (heads.kv * heads.value_length, heads.queries * heads.value_length);
        let hidden = &self.hidden[..m * embedding];
        let (q, k, v) = (&mut self.q[..m * q_width], &mut self.k[..m * k_width], &mut self.v[..m * v_width]);
        let outputs = [(&layer.q, q), (&layer.k, k), (&layer.v, v)];
        project_normed(pool, &mut self.x, hidden, &layer.attn_norm, rms_epsilon, outputs, || at("the input"))?;

        let (q, k, v) = (&mut self.q[..m * q_width], &mut self.k[..m * k_width], &mut self.v[..m * v_width]);
        let (window, rope, turns) = match layer.reach {
            Reach::Whole => (usize::MAX, self.ropes.whole.as_ref(), &self.turns[0]),
            Reach::Window(tokens) => (tokens, self.ropes.window.as_ref(), &self.turns[1]),
        };
        let normalise_and_rotate = |token: usize, row: &mut [f32], norm: Option<&[f32]>| {
            let finite = norm.is_none_or(|norm| rms_norm_heads(row, norm, rms_epsilon));
            if let Some(rope) = rope {
                let pairs = rope.pairs();
                rope.rotate(&turns[token * pairs..][..pairs], row, heads.key_length);
            }
            finite
        };
        let rotated = each_row(pool, q, q_width, |token, row| {
            normalise_and_rotate(token, row, layer.q_norm.as_deref()) && all_finite(row)
        });
        finite(rotated, || at("a query"))?;
        let kv = cache.kv();
        let rotated = each_row(pool, k, k_width, |token, row| {
            normalise_and_rotate(token, row, layer.k_norm.as_deref()) && kv.holds(row)
        });
        finite(rotated, || format!("{}, stored as {kv},", at("a key")))?;
        finite(each_row(pool, v, v_width, |_, row| kv.holds(row)), || format!("{}, stored as {kv},", at("a value")))?;
        cache.append(index, k, v);

        let mixed = self.x.rows_mut(m, out_width)?;
        finite(self.attention.run(pool, cache.layer(index), q, first, window, mixed), || at("the attention"))?;
        if let Some(norm) = &layer.output.norm {
            let normed = each_row(pool, mixed, out_width, |_, row| rms_norm_in_place(row, norm, rms_epsilon));
            finite(normed, || at("the attention"))?;
        }
        project(pool, &mut self.x, [(&layer.output, &mut self.branch[..m * embedding])])?;
        self.join(pool, config, layer.attn_post_norm.as_deref(), m, || at("the attention's output"))
    }

    fn feed_forward(
        &mut self,
        pool: &Pool,
        config: &Config,
        layer: &Layer,
        m: usize,
        at: &dyn Fn(&str) -> String,
    ) -> Result<(), ForwardError> {
        let Config { embedding, rms_epsilon, .. } = *config;
        let Layer { ffn_norm, activation, .. } = layer;
        let hidden = &self.hidden[..m * embedding];
        let (gate, up, branch) = (&mut self.gate, &mut self.up, &mut self.branch[..m * embedding]);
        match &layer.feed_forward {
            FeedForward::Mixture { router, experts, used } => {
                let mixture = &mut self.mixture;
                let x = self.x.rows_mut(m, embedding)?;
                normalise(pool, hidden, ffn_norm, rms_epsilon, x, || at("the feed-forward input"))?;
                mixture.route(pool, router, *used, &mut self.x)?;
                branch.fill(0.0);
                for (index, expert) in experts.iter().enumerate() {
                    let place = || format!("expert {index}{}", at(""));
                    mixture.add(pool, index, expert, *activation, &self.x, gate, up, branch, place)?;
                }
            }
            FeedForward::Dense(network) => {
                let Gated { gate: gates, up: ups, down } = &**network;
                let width = config.feed_forward;
                let outputs = [(gates, &mut gate[..m * width]), (ups, &mut up[..m * width])];
                let place = || at("the feed-forward input");
                project_normed(pool, &mut self.x, hidden, ffn_norm, rms_epsilon, outputs, place)?;
                let gated = each_row(pool, self.x.rows_mut(m, width)?, width, |i, row| {
                    let row_of = i * width..(i + 1) * width;
                    let finite = activation.gated(&gate[row_of.clone()], &up[row_of], row);
                    finite && down.norm.as_ref().is_none_or(|norm| rms_norm_in_place(row, norm, rms_epsilon))
                });
                finite(gated, || at("the feed-forward network"))?;
                project(pool, &mut self.x, [(down, branch)])?;
            }
        }
        self.join(pool, config, layer.ffn_post_norm.as_deref(), m, || at("the feed-forward network's output"))
    }

    /// hidden += branch, after the branch's own norm and factor.
    fn join(
        &mut self,
        pool: &Pool,
        config: &Config,
        norm: Option<&[f32]>,
        m: usize,
        place: impl FnOnce() -> String,
    ) -> Result<(), ForwardError> {
        let width = config.embedding;
        let branch = &mut self.branch[..m * width];
        if let Some(norm) = norm {
            finite(each_row(pool, branch, width, |_, row| rms_norm_in_place(row, norm, config.rms_epsilon)), place)?;
        }
        if let Some(factor) = config.scales.residual {
            scale(branch, factor);
        }
        let branch = &self.branch;
        each_row(pool, &mut self.hidden[..m * width], width, |i, row| {
            add(row, &branch[i * width..][..width]);
            true
        });
        Ok(())
    }

    /// The last states of some of the tokens last taken through the layers, normalised: `[rows, embedding]`.
    ///
    /// # Errors
    /// States that are not finite.
    pub fn states(
        &mut self,
        pool: &Pool,
        config: &Config,
        weights: &Weights,
        rows: Range<usize>,
    ) -> Result<&[f32], ForwardError> {
        let width = config.embedding;
        let hidden = &self.hidden[rows.start * width..rows.end * width];
        let x = self.x.rows_mut(rows.len(), width)?;
        normalise(pool, hidden, &weights.output_norm, config.rms_epsilon, x, || "the last layer's output".into())?;
        Ok(self.x.rows())
    }

    /// Computes the logits of up to [`LOGIT_ROWS`] of the tokens last taken through the layers, by a model that has a
    /// head.
    ///
    /// # Errors
    /// Logits that are not finite.
    pub fn score(
        &mut self,
        pool: &Pool,
        config: &Config,
        weights: &Weights,
        rows: Range<usize>,
    ) -> Result<(), ForwardError> {
        self.states(pool, config, weights, rows)?;
        self.score_states(pool, config, weights)
    }

    /// The logits of the states in `x`.
    fn score_states(&mut self, pool: &Pool, config: &Config, weights: &Weights) -> Result<(), ForwardError> {
        let Some(Head { projection: head, .. }) = &weights.head else { return Ok(()) };
        let count = self.x.m();
        self.shortlist.count_full(count);
        let logits = &mut self.logits[..count * config.vocab];
        project(pool, &mut self.x, [(head, &mut *logits)])?;
        if let Some(factor) = config.scales.logits {
            scale(logits, factor);
        }
        finite(all_finite(logits), || "a logit".into())?;
        if let Some(cap) = config.scales.cap {
            squeeze(logits, cap);
        }
        Ok(())
    }

    /// Computes of the logits of such tokens what a demand asks for: see [`Forward::scores`].
    ///
    /// # Errors
    /// Logits that are not finite.
    pub fn decide(
        &mut self,
        pool: &Pool,
        config: &Config,
        weights: &Weights,
        rows: Range<usize>,
        demand: Demand<'_>,
    ) -> Result<(), ForwardError> {
        let Some(head) = &weights.head else { return Ok(()) };
        self.states(pool, config, weights, rows)?;
        self.is_shortlisted = self.shortlist.decide(pool, head, &config.scales, self.x.rows(), demand)?;
        if self.is_shortlisted { Ok(()) } else { self.score_states(pool, config, weights) }
    }

    /// What the demand that was decided last asks for, of one of its tokens.
    pub fn scores(&self, vocab: usize, token: usize) -> Scores<'_> {
        if self.is_shortlisted {
            self.shortlist.scores(token)
        } else {
            Scores::all(&self.logits[token * vocab..][..vocab])
        }
    }

    /// How often which part of the head was computed.
    pub fn head_use(&self) -> HeadUse {
        self.shortlist.use_of()
    }

    /// The logits last computed, `[rows, vocab]`; what follows them is unspecified.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

pub(super) fn finite(finite: bool, place: impl FnOnce() -> String) -> Result<(), ForwardError> {
    if finite { Ok(()) } else { Err(ForwardError::NotFinite { place: place() }) }
}

/// Runs `row(i, rows[i])` for every row of `rows`, spread over the pool where there are several. Returns whether every
/// call did.
pub(crate) fn each_row(
    pool: &Pool,
    rows: &mut [f32],
    width: usize,
    row: impl Fn(usize, &mut [f32]) -> bool + Sync,
) -> bool {
    let m = rows.len() / width;
    if m == 1 {
        return row(0, rows);
    }
    let (all, parts) = (AtomicBool::new(true), Parts::new(rows));
    pool.for_each(m, |_, i| {
        // SAFETY: rows of different items do not overlap.
        if !row(i, unsafe { parts.part(i * width..(i + 1) * width) }) {
            all.store(false, Relaxed);
        }
    });
    all.into_inner()
}

fn normalise(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
    place: impl FnOnce() -> String,
) -> Result<(), ForwardError> {
    let width = weight.len();
    finite(each_row(pool, out, width, |i, out| rms_norm(&x[i * width..][..width], weight, epsilon, out)), place)
}

/// Matrices that read the same normalised rows: in one fork-join, but for those with norms of their own.
fn project_normed<const N: usize>(
    pool: &Pool,
    x: &mut Activations,
    hidden: &[f32],
    norm: &[f32],
    epsilon: f32,
    outputs: [(&Projection, &mut [f32]); N],
    place: impl Fn() -> String,
) -> Result<(), ForwardError> {
    let width = norm.len();
    let m = hidden.len() / width;
    if outputs.iter().all(|(weights, _)| weights.norm.is_none()) {
        normalise(pool, hidden, norm, epsilon, x.rows_mut(m, width)?, place)?;
        return Ok(project(pool, x, outputs)?);
    }
    for (weights, y) in outputs {
        let rows = x.rows_mut(m, width)?;
        match &weights.norm {
            Some(own) => {
                let normed = each_row(pool, rows, width, |i, out| {
                    rms_norm_twice(&hidden[i * width..][..width], norm, own, epsilon, out)
                });
                finite(normed, &place)?;
            }
            None => normalise(pool, hidden, norm, epsilon, rows, &place)?,
        }
        project(pool, x, [(weights, y)])?;
    }
    Ok(())
}

/// One fork-join for matrices that read the same rows; then, for those that have them, scale and bias.
pub(crate) fn project<const N: usize>(
    pool: &Pool,
    x: &mut Activations,
    mut outputs: [(&Projection, &mut [f32]); N],
) -> Result<(), LinearError> {
    linear::project(pool, x, outputs.each_mut().map(|(weights, y)| (&weights.linear, &mut **y)))?;
    for (weights, y) in outputs {
        if let Some(factor) = weights.scale {
            scale(y, factor);
        }
        if let Some(bias) = &weights.bias {
            each_row(pool, y, bias.len(), |_, row| {
                add(row, bias);
                true
            });
        }
    }
    Ok(())
}
