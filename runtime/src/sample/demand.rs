//! What a sampler looks at: seldom all logits.

use super::Error;

/// The logits that decide a choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand<'a> {
    /// All of them.
    All,
    /// Those of the likeliest tokens, and of some others.
    Top {
        /// How many of the likeliest; 1 or more.
        count: usize,
        /// The others, in order of their ids.
        also: &'a [u32],
    },
    /// Those that are at most `margin` below the greatest.
    Near {
        /// 0 or more.
        margin: f32,
    },
}

/// Logits of all tokens, or of those that meet a [`Demand`].
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// `None`: all tokens, in order.
    ids: Option<&'a [u32]>,
    logits: &'a [f32],
    met: Met,
}

/// The demand that logits meet; which other tokens it names is seen from the ids.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Met {
    #[default]
    All,
    Top(usize),
    Near(f32),
}

impl From<Demand<'_>> for Met {
    fn from(demand: Demand<'_>) -> Self {
        match demand {
            Demand::All => Met::All,
            Demand::Top { count, .. } => Met::Top(count),
            Demand::Near { margin } => Met::Near(margin),
        }
    }
}

impl<'a> Scores<'a> {
    /// The logits `[vocab]` of all tokens.
    pub fn all(logits: &'a [f32]) -> Self {
        Scores { ids: None, logits, met: Met::All }
    }

    /// The logits of some tokens, in order of their ids: at least of those that `met` demands.
    pub(crate) fn some(ids: &'a [u32], logits: &'a [f32], met: Met) -> Self {
        debug_assert_eq!(ids.len(), logits.len(), "a logit for each id");
        Scores { ids: Some(ids), logits, met }
    }

    /// The logits, in order of their tokens' ids.
    pub fn logits(&self) -> &'a [f32] {
        self.logits
    }

    /// The tokens' ids, each with its logit.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> + 'a {
        let Scores { ids, logits, .. } = *self;
        let id = move |index: usize| ids.map_or(index as u32, |ids| ids[index]);
        logits.iter().enumerate().map(move |(index, &logit)| (id(index), logit))
    }

    /// The token whose logit is number `index` of those given.
    pub(super) fn id(&self, index: usize) -> u32 {
        self.ids.map_or(index as u32, |ids| ids[index])
    }

    /// Where the logit of a token is, if it is among those given.
    pub(super) fn index(&self, id: u32) -> Option<usize> {
        match self.ids {
            None => Some(id as usize).filter(|&index| index < self.logits.len()),
            Some(ids) => ids.binary_search(&id).ok(),
        }
    }

    /// Refuses logits that do not decide what `demand` is to decide.
    pub(super) fn check(&self, demand: Demand<'_>) -> Result<(), Error> {
        let met = match (self.met, demand) {
            (Met::All, _) => true,
            (Met::Top(count), Demand::Top { count: wanted, also }) => {
                count >= wanted && also.iter().all(|&id| self.index(id).is_some())
            }
            (Met::Near(margin), Demand::Near { margin: wanted }) => margin >= wanted,
            _ => false,
        };
        if met { Ok(()) } else { Err(Error::Undecided { logits: self.logits.len() }) }
    }
}

impl<'a> From<&'a [f32]> for Scores<'a> {
    fn from(logits: &'a [f32]) -> Self {
        Scores::all(logits)
    }
}

impl<'a> From<&'a Vec<f32>> for Scores<'a> {
    fn from(logits: &'a Vec<f32>) -> Self {
        Scores::all(logits)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Scores<'a> {
    fn from(logits: &'a [f32; N]) -> Self {
        Scores::all(logits)
    }
}
