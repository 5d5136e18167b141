//! Prompt lookup: several tokens to a pass, where a text repeats what was in it before.
//!
//! A rewritten or quoted text goes on as it went on the last time that its last few tokens stood in it (Saxena, "Prompt
//! Lookup Decoding", 2023; after Leviathan et al., arXiv:2211.17192, and Chen et al., arXiv:2302.01318, with the text
//! itself in the place of a draft model). That continuation is fed behind the newest token in one pass, which reads the
//! weights once for all; the sampler then chooses at one position after the other, and what was proposed is kept as far
//! as it is what the sampler chose. What the sampler chose instead is the next token, and costs no pass.
//!
//! **The output is what it is without lookup, token for token**, for sampling as well as for the likeliest token.
//! Speculative sampling accepts a proposal g with probability min(1, p(g) / q(g)), and else draws from max(0, p − q),
//! scaled to a sum of 1. Here q is certain of one token: q(g) = 1. So g is accepted with probability p(g), and else a
//! token is drawn from p without g. To draw x from p, and to accept if x = g, is the same: P(x = g) = p(g), and given
//! x ≠ g, x has the distribution of p without g. So the ordinary sampler does it, one draw a token, in the order of the
//! text. And since a token's logits have the same bits whatever tokens share its pass, the same seed gives not a text of
//! the same distribution, but the same text.
//!
//! [`Proposer`] finds what to propose, [`Pace`] decides how much of it: as much as pays by what passes take and how often
//! proposals were right lately.

mod pace;
mod proposer;

use std::time::{Duration, Instant};

pub use pace::Pace;
pub use proposer::{Match, Proposer};

use crate::linear::Float;
use crate::model::{Session, SessionError};
use crate::sample::{Demand, Scores};

/// Tokens of a pass at most: as many as have the same logits in any company.
pub const PASS: usize = Float::FEW;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passes, those without proposals included.
    pub passes: usize,
    /// Tokens that were proposed.
    pub proposed: usize,
    /// Of these, those that the sampler chose.
    pub accepted: usize,
}

/// Who chooses tokens, and takes what was chosen for a part of the text.
pub trait Chooser {
    /// What can go wrong with a choice, or with the pass before it.
    type Error: From<SessionError>;

    /// What is looked at for the next choices, the tokens `ahead` being chosen first: see [`Sampler::demand`].
    ///
    /// [`Sampler::demand`]: crate::sample::Sampler::demand
    fn demand(&mut self, ahead: &[u32]) -> Demand<'_>;

    /// Chooses the next token; `None` ends the text.
    ///
    /// # Errors
    /// What the implementation likes.
    fn choose(&mut self, scores: Scores<'_>) -> Result<Option<u32>, Self::Error>;
}

/// A text that proposes how it goes on.
#[derive(Debug, Default)]
pub struct Lookup {
    proposer: Proposer,
    pace: Pace,
    /// Tokens to propose, whatever the pace says.
    fixed: Option<usize>,
    /// The newest token, and what is proposed after it.
    pass: Vec<u32>,
    found: Option<Match>,
    tally: Tally,
}

impl Lookup {
    /// No text yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with `length` proposals to a pass wherever there are some, be they right or wrong.
    pub fn fixed(length: usize) -> Self {
        Lookup { fixed: Some(length), ..Self::default() }
    }

    /// Begins with another text. What was learnt about passes and proposals stays.
    pub fn begin(&mut self, text: &[u32]) {
        self.proposer.clear();
        text.iter().for_each(|&id| self.proposer.push(id));
    }

    /// Feeds the token that the text goes on with, and proposals, `most` tokens at most, and has a token chosen after each,
    /// up to the first choice that was not proposed, or that there is none. Returns the tokens fed that are part of the text,
    /// with which the session then ends, and the last choice.
    ///
    /// # Errors
    /// Those of [`Session::predict`] for `id` alone: the session is as it was before, and the text is to be begun anew. Those
    /// of `chooser`: the session ends with what was chosen.
    pub fn advance<C: Chooser>(
        &mut self,
        session: &mut Session,
        id: u32,
        most: usize,
        chooser: &mut C,
    ) -> Result<(&[u32], Option<u32>), C::Error> {
        let start = Instant::now();
        let first = session.position();
        let mut pass = self.pass(id, most.min(session.context() - first));
        let predictions = match session.predict_each(pass, chooser.demand(&pass[1..])) {
            // Proposals that the text would not have gone on with have no say in whether its numbers are finite.
            Err(_) if pass.len() > 1 => {
                pass = &pass[..1];
                session.predict_each(pass, chooser.demand(&[]))
            }
            first_time => first_time,
        }?;
        let time = start.elapsed();
        let (mut kept, mut chosen) = (0, Ok(None));
        while let Some(scores) = predictions.scores(kept) {
            chosen = chooser.choose(scores);
            kept += 1;
            if !matches!(chosen, Ok(Some(id)) if pass.get(kept) == Some(&id)) {
                break;
            }
        }
        session.rewind(first + kept);
        self.learn(kept, time);
        Ok((&self.pass[..kept], chosen?))
    }

    /// The tokens of the next pass, `room` at most: `id`, which the text goes on with, and proposals.
    fn pass(&mut self, id: u32, room: usize) -> &[u32] {
        self.proposer.push(id);
        self.pass.clear();
        self.pass.push(id);
        self.found = self.proposer.find();
        if let Some(found) = self.found {
            let most = room.clamp(1, PASS) - 1;
            let length = self.fixed.unwrap_or_else(|| self.pace.length(found.length, most));
            self.pass.extend(self.proposer.continuation(found).take(length.min(most)));
        }
        &self.pass
    }

    /// Tells that the last pass took `time`, and that the first `kept` of its tokens are in the text now: the first one, and
    /// the proposals that were chosen.
    fn learn(&mut self, kept: usize, time: Duration) {
        let (proposed, accepted) = (self.pass.len().saturating_sub(1), kept.saturating_sub(1));
        self.pass.iter().take(kept).skip(1).for_each(|&id| self.proposer.push(id));
        self.pace.learn(self.found.map_or(0, |found| found.length), proposed, accepted, time);
        self.tally.passes += 1;
        self.tally.proposed += proposed;
        self.tally.accepted += accepted;
    }

    /// What came of all passes so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `text` after its first `prompt` tokens, by passes; returns how many it took.
    fn write(text: &[u32], prompt: usize) -> Tally {
        let mut lookup = Lookup::new();
        lookup.begin(&text[..prompt]);
        let mut at = prompt;
        while at < text.len() {
            let pass = lookup.pass(text[at], text.len() - at).to_vec();
            assert!((1..=PASS.min(text.len() - at)).contains(&pass.len()) && pass[0] == text[at]);
            let kept = pass.iter().zip(&text[at..]).take_while(|(a, b)| a == b).count();
            // More tokens take a little longer.
            lookup.learn(kept, Duration::from_micros(1000 + 80 * pass.len() as u64));
            at += kept;
        }
        assert_eq!(lookup.tally().passes + lookup.tally().accepted, text.len() - prompt);
        lookup.tally()
    }

    #[test]
    fn a_copy_takes_a_few_passes_and_a_text_without_repetition_one_a_token() {
        let original: Vec<u32> = (0..200).collect();
        let copied = write(&[&original[..], &original].concat(), 200);
        assert!(copied.passes < 60, "{copied:?}");
        assert_eq!(write(&original, 1), Tally { passes: 199, ..Tally::default() });
        let stuttering = write(&[7; 200], 1);
        assert!(stuttering.passes < 60, "{stuttering:?}");
    }
}
