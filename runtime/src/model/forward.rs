//! The forward pass: tokens to logits, over one set of buffers that is allocated once.
//!
//! ```text
//! token → embedding ─┬────────────────────────────────────────────┐
//!                    └ attn_norm → q, k, v → rope → attention      │   per
//!                        → [attn_sub_norm] → attn_output ──────── +│   layer
//!                    ┌────────────────────────────────────────────┤
//!                    └ ffn_norm → gate, up → act(gate)·up          │
//!                        → [ffn_sub_norm] → ffn_down ──────────── +┘
//!          → output_norm → head → logits
//! ```
//!
//! BitNet models have the two norms in brackets, which keep what a ternary matrix reads in range; llama models do not.
//! Every pass says whether what it wrote is finite: int8, be it what a matrix takes or what the cache stores, would
//! quietly make numbers of NaN.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::linear::{self, Activations, LinearError};
use crate::model::attention::Attention;
use crate::model::config::Config;
use crate::model::kv::KvCache;
use crate::model::norm::{rms_norm, rms_norm_in_place};
use crate::model::rope::Turn;
use crate::model::weights::{Layer, Projection, Weights};
use crate::threads::{Parts, Pool};
use crate::vector::{add, all_finite, scale};

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
}

/// The buffers of a forward pass over up to `batch` tokens.
#[derive(Debug)]
pub struct Forward {
    /// `[m, embedding]`: the residual stream.
    hidden: Vec<f32>,
    /// What the next matrix reads.
    x: Activations,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// `[m, embedding]`: what is added to the residual stream.
    branch: Vec<f32>,
    turns: Vec<Turn>,
    attention: Attention,
    /// `[LOGIT_ROWS, vocab]`
    logits: Vec<f32>,
}

impl Forward {
    /// Buffers for up to `batch` tokens on `threads` threads.
    pub fn new(config: &Config, batch: usize, threads: usize) -> Self {
        let heads = config.heads;
        // Zeroed memory is not touched before it is used: a session that never sees `batch` tokens does not pay for them.
        let rows = |width: usize| vec![0f32; batch * width];
        Forward {
            hidden: rows(config.embedding),
            x: Activations::new(),
            q: rows(heads.queries * heads.key_length),
            k: rows(heads.kv * heads.key_length),
            v: rows(heads.kv * heads.value_length),
            gate: rows(config.feed_forward),
            up: rows(config.feed_forward),
            branch: rows(config.embedding),
            turns: Vec::with_capacity(batch * config.rope.dimension / 2),
            attention: Attention::new(heads, threads),
            logits: vec![0f32; batch.min(LOGIT_ROWS) * config.vocab],
        }
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
        let embedded = each_row(pool, hidden, config.embedding, |i, row| weights.embedding.look_up(tokens[i], row));
        finite(embedded, || "the embedding of a token".into())?;
        weights.rope.turns(first..first + m, &mut self.turns);
        for (index, layer) in weights.layers.iter().enumerate() {
            let at = |what: &str| format!("{what} of layer {index}");
            self.attend(pool, config, weights, layer, cache, index, first, m, &at)?;
            self.feed_forward(pool, config, layer, m, &at)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the pass reads everything there is")]
    fn attend(
        &mut self,
        pool: &Pool,
        config: &Config,
        weights: &Weights,
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
        let hidden = &mut self.hidden[..m * embedding];
        let (q, k, v) = (&mut self.q[..m * q_width], &mut self.k[..m * k_width], &mut self.v[..m * v_width]);
        normalise(pool, hidden, &layer.attn_norm, rms_epsilon, self.x.rows_mut(m, embedding), || at("the input"))?;
        project(pool, &mut self.x, [(&layer.q, q), (&layer.k, k), (&layer.v, v)])?;

        let (q, k, v) = (&mut self.q[..m * q_width], &mut self.k[..m * k_width], &mut self.v[..m * v_width]);
        let pairs = weights.rope.pairs();
        let turns = |token: usize| &self.turns[token * pairs..][..pairs];
        let rotate = |token: usize, row: &mut [f32]| weights.rope.rotate(turns(token), row, heads.key_length);
        let rotated = each_row(pool, q, q_width, |token, row| {
            rotate(token, row);
            all_finite(row)
        });
        finite(rotated, || at("a query"))?;
        let kv = cache.kv();
        let rotated = each_row(pool, k, k_width, |token, row| {
            rotate(token, row);
            kv.holds(row)
        });
        finite(rotated, || format!("{}, stored as {kv},", at("a key")))?;
        finite(each_row(pool, v, v_width, |_, row| kv.holds(row)), || format!("{}, stored as {kv},", at("a value")))?;
        cache.append(index, k, v);

        let mixed = self.x.rows_mut(m, out_width);
        finite(self.attention.run(pool, cache.layer(index), q, first, mixed), || at("the attention"))?;
        if let Some(norm) = &layer.attn_sub_norm {
            let normed = each_row(pool, mixed, out_width, |_, row| rms_norm_in_place(row, norm, rms_epsilon));
            finite(normed, || at("the attention"))?;
        }
        self.join(pool, &layer.output, m, embedding)
    }

    fn feed_forward(
        &mut self,
        pool: &Pool,
        config: &Config,
        layer: &Layer,
        m: usize,
        at: &dyn Fn(&str) -> String,
    ) -> Result<(), ForwardError> {
        let Config { embedding, feed_forward: width, rms_epsilon, activation, .. } = *config;
        let hidden = &mut self.hidden[..m * embedding];
        let x = self.x.rows_mut(m, embedding);
        normalise(pool, hidden, &layer.ffn_norm, rms_epsilon, x, || at("the feed-forward input"))?;
        project(
            pool,
            &mut self.x,
            [(&layer.gate, &mut self.gate[..m * width]), (&layer.up, &mut self.up[..m * width])],
        )?;

        let (gate, up) = (&self.gate, &self.up);
        let gated = each_row(pool, self.x.rows_mut(m, width), width, |i, row| {
            let row_of = i * width..(i + 1) * width;
            let finite = activation.gated(&gate[row_of.clone()], &up[row_of], row);
            finite && layer.ffn_sub_norm.as_ref().is_none_or(|norm| rms_norm_in_place(row, norm, rms_epsilon))
        });
        finite(gated, || at("the feed-forward network"))?;
        self.join(pool, &layer.down, m, embedding)
    }

    /// hidden += x · Wᵀ.
    fn join(&mut self, pool: &Pool, weights: &Projection, m: usize, embedding: usize) -> Result<(), ForwardError> {
        let branch = &mut self.branch[..m * embedding];
        project(pool, &mut self.x, [(weights, branch)])?;
        let branch = &self.branch;
        each_row(pool, &mut self.hidden[..m * embedding], embedding, |i, row| {
            add(row, &branch[i * embedding..][..embedding]);
            true
        });
        Ok(())
    }

    /// Computes the logits of up to [`LOGIT_ROWS`] of the tokens last taken through the layers.
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
        let width = config.embedding;
        let hidden = &self.hidden[rows.start * width..rows.end * width];
        let x = self.x.rows_mut(rows.len(), width);
        normalise(pool, hidden, &weights.output_norm, config.rms_epsilon, x, || "the last layer's output".into())?;
        let logits = &mut self.logits[..rows.len() * config.vocab];
        project(pool, &mut self.x, [(&weights.head, &mut *logits)])?;
        finite(all_finite(logits), || "a logit".into())
    }

    /// The logits last computed, `[rows, vocab]`; what follows them is unspecified.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

fn finite(finite: bool, place: impl FnOnce() -> String) -> Result<(), ForwardError> {
    if finite { Ok(()) } else { Err(ForwardError::NotFinite { place: place() }) }
}

/// Runs `row(i, rows[i])` for every row of `rows`, spread over the pool where there are several. Returns whether every
/// call did.
fn each_row(pool: &Pool, rows: &mut [f32], width: usize, row: impl Fn(usize, &mut [f32]) -> bool + Sync) -> bool {
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

/// One fork-join for matrices that read the same rows; then, for those that have them, scale and bias.
fn project<const N: usize>(
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
