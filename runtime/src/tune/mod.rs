//! Tuning with the kernels that are compiled in, on the machine at hand.
//!
//! What is tried, how it is judged and what the results look like is [`tritune_tuning`]'s; here are the clock, the weights
//! and the kernels.

mod bandwidth;
mod bench;
mod copies;
mod crossover;
pub mod job;
mod plan;
mod runner;
mod supervisor;
mod worker;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use bandwidth::{Stream, bandwidth};
pub use bench::{Bench, BenchError, cold_pool};
pub use plan::Plan;
pub use runner::Runner;
pub use supervisor::{Supervisor, SupervisorError, TIMEOUT};
pub use worker::{WorkerError, serve};

use tritune_codegen::Isa;
use tritune_tuning::pick::Weighting;
use tritune_tuning::results::Results;
use tritune_tuning::search::Observer;
use tritune_tuning::shapes::Shape;
use tritune_tuning::space::SpaceError;
use tritune_tuning::stats::Caution;

use crate::gguf::{File, Tensor};

/// What to tune, and for how long.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Shapes of weights.
    pub shapes: Vec<Shape>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Instruction sets; those that no other one on this machine extends, where empty.
    pub isas: Vec<Isa>,
    /// Wall-clock time for all measuring.
    pub budget: Duration,
    /// How much decoding and prefill count when a layout is chosen.
    pub objective: Weighting,
    /// Bytes of weights to go through before any is used again; `None`: more than this machine's caches hold.
    pub pool_bytes: Option<usize>,
    /// The command line, for the record.
    pub command: String,
}

impl Tuning {
    /// What there is to tune for a model: the shapes of its ternary matrices, on so many threads; with all kernels of the best
    /// instruction sets of this machine, for decoding and for prompts.
    pub fn of_file(file: &File, threads: usize, budget: Duration) -> Tuning {
        let objective = Weighting::default();
        let command = "tritune::tune::Tuning".into();
        Tuning {
            shapes: shapes(file),
            threads: vec![threads],
            isas: Vec::new(),
            budget,
            objective,
            pool_bytes: None,
            command,
        }
    }

    /// Measures in this process, and settles what each shape is to be computed with. A kernel that crashes takes the process
    /// with it; a [`Plan`] that a [`Supervisor`] runs goes on without that kernel.
    ///
    /// Set `interrupt` to stop between two passes: the results then hold what was measured, and say that they are not
    /// complete.
    ///
    /// # Errors
    /// Where a space file is damaged, or no compiled-in kernel is a candidate.
    pub fn run(&self, interrupt: &AtomicBool, observer: &mut impl Observer) -> Result<Results, TuneError> {
        let plan = self.plan()?;
        let mut bench = Bench::new(plan.kernels(), plan.pool_bytes());
        plan.run(&mut bench, Caution::Calm, interrupt, observer)
    }
}

/// The shapes of the ternary matrices of a file, each once.
pub fn shapes(file: &File) -> Vec<Shape> {
    let ternary = file.tensors().iter().filter(|tensor| tensor.kind.is_ternary());
    let shape = |tensor: &Tensor| match tensor.shape[..] {
        [k, n] | [k, n, _] => Shape::new(n.try_into().ok()?, k.try_into().ok()?),
        _ => None,
    };
    let shapes: BTreeSet<Shape> = ternary.filter_map(shape).collect();
    shapes.into_iter().collect()
}

/// Why nothing was tuned.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// No kernel to measure.
    #[error("no kernel for {} is compiled in that this machine runs; `tritune kernels` lists them", isas.join(", "))]
    NoCandidates {
        /// The instruction sets asked for.
        isas: Vec<String>,
    },
    /// A damaged space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// No worker to measure with.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}
