//! How fast this machine reads memory, measured between the repetitions of a test.

use serde::Serialize;
use tritune::threads::{self, Pool};
use tritune::tune::Stream;

/// Memory to read, and who reads it.
pub(super) struct Reads {
    stream: Stream,
    one: Pool,
    all: Pool,
}

impl Reads {
    pub(super) fn new() -> Reads {
        Reads { stream: Stream::default(), one: Pool::new(1), all: Pool::new(threads::available()) }
    }

    /// Bytes that this takes of the process's memory.
    pub(super) fn bytes(&self) -> u64 {
        Stream::BYTES as u64
    }

    /// GB/s on one thread, on those of a pool, and on as many as there are cores.
    pub(super) fn measure(&mut self, pool: &Pool) -> [f64; 3] {
        let one = self.stream.gigabytes_per_second(&self.one);
        let all = self.stream.gigabytes_per_second(&self.all);
        let own = match pool.threads() {
            1 => one,
            threads if threads == self.all.threads() => all,
            _ => self.stream.gigabytes_per_second(pool),
        };
        [one, own, all]
    }
}

/// What was measured beside the repetitions of a test.
#[derive(Default)]
pub(super) struct Speeds(Vec<[f64; 3]>);

/// GB/s that are read from memory; absent where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct StreamSpeed {
    /// On one thread.
    #[serde(rename = "stream_gbs_1")]
    pub(super) one: Option<f64>,
    /// On as many threads as the test has.
    #[serde(rename = "stream_gbs")]
    pub(super) own: Option<f64>,
    /// On as many threads as there are cores.
    #[serde(rename = "stream_gbs_all")]
    pub(super) all: Option<f64>,
}

impl Speeds {
    pub(super) fn push(&mut self, speeds: [f64; 3]) {
        self.0.push(speeds);
    }

    pub(super) fn medians(&self) -> StreamSpeed {
        let median = |of: usize| {
            let mut speeds: Vec<f64> = self.0.iter().map(|speeds| speeds[of]).collect();
            speeds.sort_by(f64::total_cmp);
            speeds.get(speeds.len() / 2).copied()
        };
        StreamSpeed { one: median(0), own: median(1), all: median(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_each_column() {
        assert_eq!(Speeds::default().medians(), StreamSpeed::default());
        let speeds = Speeds(vec![[1.0, 6.0, 5.0], [9.0, 2.0, 7.0], [3.0, 4.0, 6.0]]);
        assert_eq!(speeds.medians(), StreamSpeed { one: Some(3.0), own: Some(4.0), all: Some(6.0) });
    }
}
