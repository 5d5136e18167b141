//! What a tuner and its worker say to each other: a line of JSON each.
//!
//! The tuner writes a [`Job`]; the worker writes an [`Event`] before whatever may crash or hang, and waits for the
//! [`Answer`]: so neither of them works while the other measures, and each learns at once that the other has ended.

use serde::{Deserialize, Serialize};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::results::{Crossover, Sample};
use tritune_tuning::search::{Excluded, Lineup, Progress};
use tritune_tuning::stats::Caution;

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Bytes of weights to go through before any is used again.
    pub pool_bytes: usize,
    /// One after the other.
    pub steps: Vec<Step>,
}

/// A part of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Step {
    /// A [`Search`](tritune_tuning::search::Search) with these values.
    Search {
        /// The cases and their candidates.
        lineups: Vec<Lineup>,
        /// Time for all of it.
        seconds: f64,
        /// How slowly a difference is believed.
        caution: Caution,
    },
    /// To look for a crossover.
    Crossover {
        /// The picks for a tensor.
        picks: Vec<Candidate>,
        /// Its shape and number of threads.
        case: Case,
        /// Time for it.
        seconds: f64,
    },
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It is about to run something, and waits for an answer.
    Progress(Progress),
    /// A case that was begun has ended.
    Finished {
        /// Which.
        case: Case,
        /// What was measured.
        samples: Vec<Sample>,
        /// Whether more time would not have told more.
        settled: bool,
    },
    /// A kernel computes what is wrong.
    Excluded(Excluded),
    /// What a crossover was found to be.
    Crossover(Option<Crossover>),
}

/// What a tuner says to an [`Event::Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Do it.
    Go,
    /// Do not, and end: what was measured is still wanted.
    Stop,
}
