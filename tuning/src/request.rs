//! What may be asked of a tuner: checked before it has cost anything, alike by whoever asks.

use std::ops::RangeInclusive;

/// Seconds that a search may be given: to some thirty days.
pub const SECONDS: RangeInclusive<u64> = 1..=30 * 24 * 3600;

/// A share, from 0 to 1.
///
/// # Errors
/// Says what a share is.
pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share lies between 0 and 1".into())
}

/// Numbers of threads on a machine of so many cores, ascending and each once: a search is the same in whatever order it is
/// asked for. All cores where none is given.
///
/// # Errors
/// Names a number that the machine has no cores for.
pub fn threads(mut counts: Vec<usize>, cores: usize) -> Result<Vec<usize>, String> {
    if counts.is_empty() {
        counts.push(cores);
    }
    counts.sort_unstable();
    counts.dedup();
    match counts.iter().find(|count| !(1..=cores).contains(*count)) {
        Some(count) => Err(format!("cannot measure {count} threads on {cores} cores")),
        None => Ok(counts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lie_between_0_and_1() {
        assert_eq!(["0", "0.25", "1"].map(share), [Ok(0.0), Ok(0.25), Ok(1.0)]);
        for text in ["7", "-0.1", "nan", "", "half"] {
            assert!(share(text).unwrap_err().contains("between 0 and 1"), "{text}");
        }
    }

    #[test]
    fn threads_are_ascending_and_each_once() {
        assert_eq!(threads(vec![2, 1, 2], 2), Ok(vec![1, 2]));
        assert_eq!(threads(vec![], 8), Ok(vec![8]));
        for counts in [vec![0], vec![1, 99]] {
            assert!(threads(counts, 2).unwrap_err().contains("threads on 2 cores"));
        }
    }
}
