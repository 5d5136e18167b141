//! A mixture of experts: which of a layer's feed-forward networks each token uses, and what they make of it.
//!
//! The router's scores become probabilities over all experts; a token uses the likeliest, their probabilities scaled to
//! a sum of 1 (Mixtral's rule, Jiang et al., 2024, arXiv:2401.04088). An expert takes all of its tokens at once, and the
//! experts take turns, so that a token's sum has one order.

use crate::linear::Activations;
use crate::memory::Buffer;
use crate::model::activation::Activation;
use crate::model::forward::{ForwardError, each_row, finite, project};
use crate::model::weights::{Gated, Projection};
use crate::threads::Pool;
use crate::vector::all_finite;

/// One of a token's experts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    expert: usize,
    share: f32,
}

/// The buffers of a mixture.
#[derive(Debug, Default)]
pub struct Mixture {
    /// `[m, experts]`
    scores: Buffer<f32>,
    /// `[m, used]`
    chosen: Vec<Choice>,
    /// The expert's tokens, each with its share.
    tokens: Vec<(usize, f32)>,
    /// What the expert reads.
    x: Activations,
    /// `[tokens, embedding]`: what it makes of it.
    out: Buffer<f32>,
}

impl Mixture {
    /// Chooses `used` experts for each row of `x`.
    ///
    /// # Errors
    /// Scores that are not finite.
    pub(super) fn route(
        &mut self,
        pool: &Pool,
        router: &Projection,
        used: usize,
        x: &mut Activations,
    ) -> Result<(), ForwardError> {
        let count = router.linear.n();
        let scores = self.scores.grown(x.m() * count)?;
        project(pool, x, [(router, &mut *scores)])?;
        finite(all_finite(scores), || "the choice of experts".into())?;
        self.chosen.clear();
        for scores in scores.chunks_exact_mut(count) {
            choose(scores, used, &mut self.chosen);
        }
        Ok(())
    }

    /// branch += what an expert makes of the rows of `x` that chose it, by its share in each. `gate` and `up` are room
    /// for as many rows as `x` has.
    ///
    /// # Errors
    /// Numbers that are not finite, where `place` says.
    #[expect(clippy::too_many_arguments, reason = "buffers are shared with dense layers")]
    pub(super) fn add(
        &mut self,
        pool: &Pool,
        index: usize,
        expert: &Gated,
        activation: Activation,
        x: &Activations,
        gate: &mut [f32],
        up: &mut [f32],
        branch: &mut [f32],
        place: impl FnOnce() -> String,
    ) -> Result<(), ForwardError> {
        let (used, embedding, width) = (self.chosen.len() / x.m(), x.k(), expert.gate.linear.n());
        self.tokens.clear();
        for (token, chosen) in self.chosen.chunks_exact(used).enumerate() {
            self.tokens
                .extend(chosen.iter().filter(|choice| choice.expert == index).map(|choice| (token, choice.share)));
        }
        let m = self.tokens.len();
        if m == 0 {
            return Ok(());
        }
        let rows = self.x.rows_mut(m, embedding)?;
        for (row, (token, _)) in rows.chunks_exact_mut(embedding).zip(&self.tokens) {
            row.copy_from_slice(&x.rows()[token * embedding..][..embedding]);
        }
        let (gate, up, out) = (&mut gate[..m * width], &mut up[..m * width], self.out.grown(m * embedding)?);
        project(pool, &mut self.x, [(&expert.gate, &mut *gate), (&expert.up, &mut *up)])?;
        let gated = each_row(pool, self.x.rows_mut(m, width)?, width, |i, row| {
            activation.gated(&gate[i * width..][..width], &up[i * width..][..width], row)
        });
        finite(gated, place)?;
        project(pool, &mut self.x, [(&expert.down, &mut *out)])?;
        for (out, &(token, share)) in out.chunks_exact(embedding).zip(&self.tokens) {
            for (sum, out) in branch[token * embedding..][..embedding].iter_mut().zip(out) {
                *sum += share * out;
            }
        }
        Ok(())
    }
}

/// Appends the `used` experts with the highest scores, the first of equals, from the highest on. Leaves the scores
/// of those chosen at −∞.
fn choose(scores: &mut [f32], used: usize, chosen: &mut Vec<Choice>) {
    let start = chosen.len();
    let mut highest = f32::NEG_INFINITY;
    for _ in 0..used {
        let mut best = 0;
        for (expert, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = expert;
            }
        }
        highest = highest.max(scores[best]);
        // Shares of all experts and of those chosen differ by a factor, which scaling to a sum of 1 takes away.
        chosen.push(Choice { expert: best, share: (scores[best] - highest).exp() });
        scores[best] = f32::NEG_INFINITY;
    }
    let sum: f32 = chosen[start..].iter().map(|choice| choice.share).sum();
    chosen[start..].iter_mut().for_each(|choice| choice.share /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_are_chosen_and_share_one() {
        let mut chosen = vec![Choice { expert: 9, share: 1.0 }];
        choose(&mut [0.5, 2.0, -1.0, 2.0, 1.0], 3, &mut chosen);
        let experts: Vec<usize> = chosen.iter().map(|choice| choice.expert).collect();
        assert_eq!(experts, [9, 1, 3, 4]);
        let e = (-1f32).exp();
        for (choice, share) in chosen[1..].iter().zip([1.0, 1.0, e]) {
            assert!((choice.share - share / (2.0 + e)).abs() < 1e-6);
        }
        chosen.clear();
        choose(&mut [-1e30, 1e30], 2, &mut chosen);
        assert_eq!((chosen[0], chosen[1].share), (Choice { expert: 1, share: 1.0 }, 0.0));
    }
}
