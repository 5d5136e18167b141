//! Choosing the next token from logits.
//!
//! The steps and their order are llama.cpp's: repetition penalty, top-k, top-p, min-p, temperature, draw. Top-p and
//! min-p therefore look at the probabilities before the temperature flattens or sharpens them. A temperature of 0 is
//! greedy: the filters cannot remove the likeliest token, so only the penalty still counts.
//!
//! Randomness comes from ChaCha8, whose output is fixed by its specification, and is turned into a fraction here:
//! `rand` reserves the right to change what its generators and distributions return between versions. The same logits
//! and the same seed so give the same tokens, on every machine and after every upgrade.

mod demand;
mod error;
mod peak;

use std::cmp::Ordering;
use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub(crate) use demand::Met;
pub use demand::{Demand, Scores};
pub use error::Error;
use peak::peak;

/// How to choose; the defaults are llama.cpp's.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits before the draw: below 1 favours likely tokens, 0 takes the likeliest always.
    pub temperature: f32,
    /// Keep this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the likeliest tokens whose probabilities reach this sum, the token that reaches it included; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this likely in proportion to the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens accepted lately; 1 leaves them alone.
    pub repeat_penalty: f32,
    /// How many of the tokens accepted last the penalty regards.
    pub repeat_last: usize,
    /// Determines every draw.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last: 64,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    fn check(&self) -> Result<(), Error> {
        let finite = |value: f32, least: f32| value >= least && value.is_finite();
        let fraction = |value: f32| (0.0..=1.0).contains(&value);
        for (ok, option, value, range) in [
            (finite(self.temperature, 0.0), "temperature", self.temperature, "0 or more"),
            (fraction(self.top_p), "top_p", self.top_p, "from 0 to 1"),
            (fraction(self.min_p), "min_p", self.min_p, "from 0 to 1"),
            (finite(self.repeat_penalty, f32::MIN_POSITIVE), "repeat_penalty", self.repeat_penalty, "more than 0"),
        ] {
            if !ok {
                return Err(Error::Option { option, value, range });
            }
        }
        Ok(())
    }
}

/// Who chooses tokens: a [`Sampler`], or whatever likes to.
pub trait Sample {
    /// Which logits decide the next choice, if the tokens `ahead` are accepted before it: all of them, unless somebody knows
    /// better.
    fn demand(&mut self, _ahead: &[u32]) -> Demand<'_> {
        Demand::All
    }

    /// The id of the next token, given at least the logits that were demanded.
    ///
    /// # Errors
    /// Where nothing can be chosen.
    fn sample(&mut self, scores: Scores<'_>) -> Result<u32, Error>;

    /// A token is part of the text now: one of the prompt, or one that was chosen.
    fn accept(&mut self, _id: u32) {}
}

impl Sample for Sampler {
    fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        Sampler::demand(self, ahead)
    }

    fn sample(&mut self, scores: Scores<'_>) -> Result<u32, Error> {
        Sampler::sample(self, scores)
    }

    fn accept(&mut self, id: u32) {
        Sampler::accept(self, id);
    }
}

impl<S: Sample> Sample for &mut S {
    fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        S::demand(self, ahead)
    }

    fn sample(&mut self, scores: Scores<'_>) -> Result<u32, Error> {
        S::sample(self, scores)
    }

    fn accept(&mut self, id: u32) {
        S::accept(self, id);
    }
}

/// A token that may still be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Candidate {
    /// Likeliest first, lowest id first among equals: a total order, so that no result hangs on the sort's insides.
    fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

/// Chooses tokens; its buffers are reused, so that nothing is allocated once they have grown to the vocabulary's size.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    rng: ChaCha8Rng,
    /// The last `repeat_last` tokens accepted, oldest first.
    recent: VecDeque<u32>,
    /// `recent` without repetitions.
    distinct: Vec<u32>,
    penalised: Vec<f32>,
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
}

impl Sampler {
    /// A sampler that has accepted nothing yet; options out of range, or NaN, are refused.
    pub fn new(options: SamplerOptions) -> Result<Sampler, Error> {
        options.check()?;
        // `seed_from_u64` is rand_core's own expansion, which a version may change: write the seed out instead.
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&options.seed.to_le_bytes());
        Ok(Sampler {
            options,
            rng: ChaCha8Rng::from_seed(seed),
            recent: VecDeque::new(),
            distinct: Vec::new(),
            penalised: Vec::new(),
            candidates: Vec::new(),
            weights: Vec::new(),
        })
    }

    /// Tells the repetition penalty that `id` is now part of the text: the prompt's tokens as well as chosen ones.
    pub fn accept(&mut self, id: u32) {
        if !self.is_penalising() {
            return;
        }
        if self.recent.len() == self.options.repeat_last {
            self.recent.pop_front();
        }
        self.recent.push_back(id);
    }

    /// Which logits decide the next choice, if the tokens `ahead` are accepted before it.
    ///
    /// The order of the filters makes it so: the penalty changes the logits of known tokens alone, so that the k likeliest
    /// after it are among them and the k likeliest others before; top-p and min-p then look at what top-k left.
    pub fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        self.distinct.clear();
        if self.is_penalising() {
            self.distinct.extend(self.recent.iter().chain(ahead));
            self.distinct.sort_unstable();
            self.distinct.dedup();
        }
        let SamplerOptions { temperature, top_k, top_p, min_p, .. } = self.options;
        let also = &self.distinct[..];
        if temperature == 0.0 {
            Demand::Top { count: 1 + also.len(), also }
        } else if top_k > 0 {
            Demand::Top { count: top_k.saturating_add(also.len()), also }
        } else if top_p >= 1.0 && min_p > 0.0 && also.is_empty() {
            // What is kept is at most this far from the best, rounded up.
            Demand::Near { margin: (-f64::from(min_p).ln() * (1.0 + 1e-6)) as f32 + 1e-6 }
        } else {
            Demand::All
        }
    }

    fn is_penalising(&self) -> bool {
        self.options.repeat_last > 0 && self.options.repeat_penalty != 1.0
    }

    /// The next token's id, given the logits of all tokens of the vocabulary, or of those that [`Sampler::demand`] asks for:
    /// the choice is the same. A logit of −∞ forbids its token; NaN and +∞ are errors, as are logits that forbid every token,
    /// or do not decide the choice. The choice is not accepted by itself: see [`Sampler::accept`].
    pub fn sample<'a>(&mut self, scores: impl Into<Scores<'a>>) -> Result<u32, Error> {
        let scores = scores.into();
        scores.check(self.demand(&[]))?;
        if self.recent.is_empty() {
            return self.choose(scores.logits(), scores);
        }
        let mut penalised = std::mem::take(&mut self.penalised);
        penalised.clear();
        penalised.extend_from_slice(scores.logits());
        self.penalise(&mut penalised, scores);
        let chosen = self.choose(&penalised, scores);
        self.penalised = penalised;
        chosen
    }

    /// Once for each of the `distinct` tokens accepted lately, however often it was (Keskar et al. 2019, arXiv:1909.05858, §4.1, with
    /// negative logits multiplied, so that a penalty never favours).
    fn penalise(&self, logits: &mut [f32], scores: Scores<'_>) {
        for &id in &self.distinct {
            // A token accepted from another vocabulary has no logit here.
            if let Some(logit) = scores.index(id).and_then(|index| logits.get_mut(index)) {
                *logit = if *logit > 0.0 {
                    *logit / self.options.repeat_penalty
                } else {
                    *logit * self.options.repeat_penalty
                };
            }
        }
    }

    /// Chooses by `logits`, those of the tokens that `scores` are for.
    fn choose(&mut self, logits: &[f32], scores: Scores<'_>) -> Result<u32, Error> {
        let best = peak(logits, scores)?;
        if self.options.temperature == 0.0 {
            return Ok(best.id);
        }
        self.candidates.clear();
        let possible = logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        self.candidates.extend(possible.map(|(index, &logit)| Candidate { logit, id: scores.id(index) }));
        self.keep_top_k();
        self.keep_top_p(best.logit);
        self.keep_min_p(best.logit);
        Ok(self.draw(best))
    }

    fn keep_top_k(&mut self) {
        let k = self.options.top_k;
        if k == 0 || k > self.candidates.len() {
            return;
        }
        self.candidates.select_nth_unstable_by(k - 1, Candidate::order);
        self.candidates.truncate(k);
        // The selection leaves an order of its own making, and the draw walks in order.
        self.candidates.sort_unstable_by(Candidate::order);
    }

    fn keep_top_p(&mut self, best: f32) {
        if self.options.top_p >= 1.0 {
            return;
        }
        let weight = |candidate: &Candidate| (f64::from(candidate.logit) - f64::from(best)).exp();
        let target = f64::from(self.options.top_p) * self.candidates.iter().map(weight).sum::<f64>();
        // Sort only as far as the sum reaches: a few hundred tokens of a vocabulary, as a rule.
        let (mut sorted, mut sum) = (0, 0.0);
        while sorted < self.candidates.len() {
            let unsorted = &mut self.candidates[sorted..];
            let block = (sorted * 3).max(256).min(unsorted.len());
            if block < unsorted.len() {
                unsorted.select_nth_unstable_by(block, Candidate::order);
            }
            unsorted[..block].sort_unstable_by(Candidate::order);
            for (offset, candidate) in unsorted[..block].iter().enumerate() {
                sum += weight(candidate);
                if sum >= target {
                    self.candidates.truncate(sorted + offset + 1);
                    return;
                }
            }
            sorted += block;
        }
    }

    fn keep_min_p(&mut self, best: f32) {
        if self.options.min_p > 0.0 {
            let least = f64::from(best) + f64::from(self.options.min_p).ln();
            self.candidates.retain(|candidate| f64::from(candidate.logit) >= least);
        }
    }

    /// `best` is always among the candidates: no filter removes it.
    fn draw(&mut self, best: Candidate) -> u32 {
        let temperature = f64::from(self.options.temperature);
        let weight = |candidate: &Candidate| ((f64::from(candidate.logit) - f64::from(best.logit)) / temperature).exp();
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(weight));
        let fraction = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut rest = fraction * self.weights.iter().sum::<f64>();
        let mut chosen = best.id;
        for (candidate, &weight) in self.candidates.iter().zip(&self.weights) {
            // Rounding can leave a rest after the last candidate: then the last that had any weight is meant.
            if weight > 0.0 {
                chosen = candidate.id;
            }
            rest -= weight;
            if rest < 0.0 {
                break;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests;
