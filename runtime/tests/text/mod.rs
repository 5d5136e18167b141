//! A text that is written by a sampler.

use tritune::lookup::Chooser;
use tritune::model::SessionError;
use tritune::sample::{Demand, Sampler, Scores};

/// Keeps the tokens that it chooses.
pub struct Writer {
    pub sampler: Sampler,
    /// Tokens to be written.
    pub most: usize,
    /// What ends the text, and is no part of it.
    pub end: Option<u32>,
    pub tokens: Vec<u32>,
}

impl Chooser for Writer {
    type Error = SessionError;

    fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        self.sampler.demand(ahead)
    }

    fn choose(&mut self, scores: Scores<'_>) -> Result<Option<u32>, SessionError> {
        let id = self.sampler.sample(scores).unwrap();
        if Some(id) == self.end {
            return Ok(None);
        }
        self.sampler.accept(id);
        self.tokens.push(id);
        Ok((self.tokens.len() < self.most).then_some(id))
    }
}
