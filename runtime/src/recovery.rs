//! What is done when something fails: the user's choice, for each kind of thing.
//!
//! | what fails | Retry | Skip | Degrade | FailFast | ContinueWithWarning |
//! |---|---|---|---|---|---|
//! | reading a file that is interrupted or busy | waits and reads again | - | - | the error | - |
//! | an item of a batch | does it again | leaves it out, and lists it | - | the error | leaves it out, lists it, and warns |
//! | a kernel, at its self-check | - | - | takes the next kernel | the error | takes the next kernel |
//! | a device that is not there | - | - | takes the best there is, and warns | the error | - |
//! | a key of the metadata that is not known | - | - | - | the error | passes over it |
//!
//! Where nothing is said for a strategy, it is the error. Every recovery is told as a `tracing` event of the target
//! `tritune::recovery`; warnings are events of the level `WARN`.
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//! use tritune::recovery::Recovery;
//!
//! // Interrupted twice, then well.
//! let mut calls = 0;
//! let policy = Recovery::Retry { attempts: 5, backoff: Duration::from_millis(1) };
//! let read = policy.run("reading", || {
//!     calls += 1;
//!     if calls < 3 { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok("text") }
//! });
//! assert_eq!((read.unwrap(), calls), ("text", 3));
//!
//! // Without the third item, which is none.
//! let batch = Recovery::Skip.each(["1", "2", "x", "4"], |text| text.parse::<u32>().map_err(io::Error::other)).unwrap();
//! assert_eq!(batch.done, [(0, 1), (1, 2), (3, 4)]);
//! assert_eq!(batch.skipped[0].0, 2);
//! assert!(Recovery::FailFast.each(["x"], |text| text.parse::<u32>().map_err(io::Error::other)).is_err());
//! ```

use std::error::Error as StdError;
use std::io;
use std::thread;
use std::time::Duration;

use crate::{Error, gguf};

/// The longest that is waited between two attempts.
const LONGEST: Duration = Duration::from_secs(10);

/// A strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Try again what may go well another time.
    Retry {
        /// Attempts in all; 0 is one.
        attempts: u32,
        /// How long to wait before the second; twice as long before each that follows, up to ten seconds.
        backoff: Duration,
    },
    /// Leave it out.
    Skip,
    /// Do with something lesser.
    Degrade,
    /// Give up at once.
    FailFast,
    /// Go on, and warn.
    ContinueWithWarning,
}

/// A strategy for each kind of thing that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPolicy {
    /// Reading files.
    pub reads: Recovery,
    /// A kernel that fails its self-check.
    pub kernels: Recovery,
    /// Keys of the architecture that are not known. To pass over one may change what the model says: it is refused, unless
    /// this says otherwise.
    pub metadata: Recovery,
    /// A device that is not there.
    pub devices: Recovery,
}

impl Default for RecoveryPolicy {
    /// Three attempts to read, the next kernel, no unknown keys, no lesser device.
    fn default() -> Self {
        RecoveryPolicy {
            reads: Recovery::Retry { attempts: 3, backoff: Duration::from_millis(10) },
            kernels: Recovery::Degrade,
            metadata: Recovery::FailFast,
            devices: Recovery::FailFast,
        }
    }
}

/// An error that says whether the same may go well another time.
pub trait Transient {
    /// Whether it may.
    fn is_transient(&self) -> bool;
}

impl Transient for io::Error {
    fn is_transient(&self) -> bool {
        use io::ErrorKind::{Interrupted, ResourceBusy, TimedOut, WouldBlock};
        matches!(self.kind(), Interrupted | ResourceBusy | TimedOut | WouldBlock)
    }
}

impl Transient for gguf::Error {
    fn is_transient(&self) -> bool {
        matches!(self, gguf::Error::Io { source, .. } if source.is_transient())
    }
}

impl Transient for Error {
    fn is_transient(&self) -> bool {
        match self.root() {
            Error::Io(error) => error.is_transient(),
            Error::Gguf(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// What came of a batch.
#[derive(Debug)]
pub struct Batch<T, E> {
    /// Items that were done, by number.
    pub done: Vec<(usize, T)>,
    /// Items that were left out, by number, and why.
    pub skipped: Vec<(usize, E)>,
}

impl Recovery {
    /// Does something, by [`Recovery::Retry`] again where its error is transient; every other strategy does it once.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn run<T, E: Transient + StdError>(
        self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let Recovery::Retry { attempts, backoff } = self else { return attempt() };
        let mut wait = backoff.min(LONGEST);
        for number in 1..attempts {
            match attempt() {
                Err(error) if error.is_transient() => {
                    tracing::info!(target: "tritune::recovery", what, number, %error, ?wait, "trying again");
                    thread::sleep(wait);
                    wait = wait.saturating_mul(2).min(LONGEST);
                }
                result => return result,
            }
        }
        attempt()
    }

    /// Does the same with every item, in order; what fails is left out by [`Recovery::Skip`] and
    /// [`Recovery::ContinueWithWarning`], and tried again by [`Recovery::Retry`].
    ///
    /// # Errors
    /// The first item's that fails, by any other strategy, or in spite of several attempts; what was done before it is dropped.
    pub fn each<I, T, E: Transient + StdError>(
        self,
        items: impl IntoIterator<Item = I>,
        mut each: impl FnMut(&I) -> Result<T, E>,
    ) -> Result<Batch<T, E>, E> {
        let mut batch = Batch { done: Vec::new(), skipped: Vec::new() };
        for (number, item) in items.into_iter().enumerate() {
            match self.run("an item of a batch", || each(&item)) {
                Ok(done) => batch.done.push((number, done)),
                Err(error) if self == Recovery::Skip => {
                    tracing::info!(target: "tritune::recovery", number, %error, "an item is left out");
                    batch.skipped.push((number, error));
                }
                Err(error) if self == Recovery::ContinueWithWarning => {
                    tracing::warn!(target: "tritune::recovery", number, %error, "an item is left out");
                    batch.skipped.push((number, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let policy = Recovery::Retry { attempts: 4, backoff: Duration::from_micros(10) };
        let calls = |policy: Recovery, kind: io::ErrorKind| {
            let mut calls = 0;
            let result = policy.run("a test", || {
                calls += 1;
                Err::<(), _>(io::Error::from(kind))
            });
            assert_eq!(result.unwrap_err().kind(), kind);
            calls
        };
        assert_eq!(calls(policy, io::ErrorKind::Interrupted), 4);
        assert_eq!(calls(policy, io::ErrorKind::NotFound), 1);
        for other in [Recovery::Skip, Recovery::Degrade, Recovery::FailFast, Recovery::ContinueWithWarning] {
            assert_eq!(calls(other, io::ErrorKind::Interrupted), 1, "{other:?}");
        }
        assert_eq!(calls(Recovery::Retry { attempts: 0, backoff: Duration::ZERO }, io::ErrorKind::Interrupted), 1);
    }

    #[test]
    fn batches_go_on_or_end() {
        let each = |policy: Recovery| {
            let mut busy = true;
            policy.each(0..4, |item| match item {
                1 if std::mem::take(&mut busy) => Err(io::Error::from(io::ErrorKind::ResourceBusy)),
                3 => Err(io::Error::from(io::ErrorKind::NotFound)),
                _ => Ok(10 * item),
            })
        };
        for policy in [Recovery::Skip, Recovery::ContinueWithWarning] {
            let Batch { done, skipped } = each(policy).unwrap();
            assert_eq!(done, [(0, 0), (2, 20)]);
            assert_eq!(skipped.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3]);
        }
        assert_eq!(each(Recovery::FailFast).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let retry = Recovery::Retry { attempts: 2, backoff: Duration::ZERO };
        assert_eq!(each(retry).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
