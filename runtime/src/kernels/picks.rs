//! What was measured on this machine: kernels by shape and number of threads.

use std::sync::LazyLock;

use tritune_codegen::{KernelId, Schedule};
use tritune_tuning::machine::Machine;

use super::generated::PICKS;

/// The kernels that won for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The machine that they were measured on.
    pub machine: &'static str,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Threads that they were measured with.
    pub threads: usize,
    /// The kernels, all of one layout, and how each is run.
    pub kernels: &'static [(KernelId, Schedule)],
    /// So many tokens or more that are left over go to one pass of the gemm.
    pub crossover: Option<usize>,
}

/// The picks that apply to this machine.
#[derive(Clone, Debug, Default)]
pub struct Picks(Vec<&'static Pick>);

impl FromIterator<&'static Pick> for Picks {
    fn from_iter<T: IntoIterator<Item = &'static Pick>>(picks: T) -> Self {
        Picks(picks.into_iter().collect())
    }
}

impl Picks {
    /// What was compiled in for the machine that this process runs on.
    pub(super) fn here() -> Self {
        static HERE: LazyLock<String> = LazyLock::new(|| Machine::detect([]).id);
        PICKS.iter().filter(|pick| pick.machine == *HERE).collect()
    }

    /// The pick for a shape: measured with as many threads, or with the nearest number of them.
    pub(super) fn find(&self, n: usize, k: usize, threads: usize) -> Option<&'static Pick> {
        let shape = self.0.iter().filter(|pick| (pick.n, pick.k) == (n, k));
        shape.min_by_key(|pick| pick.threads.abs_diff(threads)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_number_of_threads() {
        const fn pick(n: usize, threads: usize) -> Pick {
            Pick { machine: "test", n, k: 64, threads, kernels: &[], crossover: None }
        }
        static ROWS: [Pick; 3] = [pick(64, 1), pick(64, 8), pick(32, 2)];
        let picks: Picks = ROWS.iter().collect();
        assert_eq!(picks.find(64, 64, 2).unwrap().threads, 1);
        assert_eq!(picks.find(64, 64, 6).unwrap().threads, 8);
        assert_eq!(picks.find(32, 64, 9).unwrap().threads, 2);
        assert_eq!(picks.find(33, 64, 1), None);
    }
}
