//! Where candidates run: in this process, or in one that may crash.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::results::Crossover;
use tritune_tuning::search::{Excluded, Findings, Measure, Observer, Search};

use super::crossover::{Failure, crossover};
use super::{Bench, TuneError};
use crate::kernels::Runnable;

/// Measures with real kernels.
pub trait Runner {
    /// Makes a search.
    ///
    /// # Errors
    /// Where nothing can be run at all.
    fn search(&mut self, search: &Search<'_>, observer: &mut impl Observer) -> Result<Findings, TuneError>;

    /// Looks for the crossover between the picks for a tensor; `None` where there is none, or it was not found in time.
    /// `case` says the shape and the number of threads.
    ///
    /// # Errors
    /// As [`Runner::search`].
    fn crossover(
        &mut self,
        picks: &[Candidate],
        case: &Case,
        budget: Duration,
        interrupt: &AtomicBool,
        observer: &mut impl Observer,
    ) -> Result<Option<Crossover>, TuneError>;

    /// The kernels that computed what is wrong, crashed or hung until now.
    fn excluded(&self) -> &[Excluded] {
        &[]
    }
}

/// In this process: a kernel that crashes takes it with it.
impl Runner for Bench<'_> {
    fn search(&mut self, search: &Search<'_>, observer: &mut impl Observer) -> Result<Findings, TuneError> {
        let findings = search.run(self, observer);
        self.exclude(findings.excluded.iter().cloned());
        Ok(findings)
    }

    fn crossover(
        &mut self,
        picks: &[Candidate],
        case: &Case,
        budget: Duration,
        interrupt: &AtomicBool,
        observer: &mut impl Observer,
    ) -> Result<Option<Crossover>, TuneError> {
        let runnables: Vec<Runnable> = picks.iter().filter_map(|pick| self.runnable(*pick).ok()).collect();
        let until = Instant::now().checked_add(budget);
        match crossover(self, &runnables, case, until, interrupt, observer) {
            Ok(found) => {
                found.iter().for_each(|found| observer.crossed(found));
                Ok(found)
            }
            Err(failure) => {
                let Failure { case, kernel, error } = *failure;
                if Self::convicts(&error) {
                    let out = Excluded { case, kernel, why: format!("computed what is wrong: {error}") };
                    observer.excluded(&out);
                    self.exclude([out]);
                }
                // A kernel that cannot be run has no crossover.
                Ok(None)
            }
        }
    }

    fn excluded(&self) -> &[Excluded] {
        Bench::excluded(self)
    }
}
