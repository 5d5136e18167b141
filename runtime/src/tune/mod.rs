//! Tuning with the kernels that are compiled in, on the machine at hand.
//!
//! What is tried, how it is judged and what the results look like is [`tritune_tuning`]'s; here are the clock, the weights
//! and the kernels.

mod bandwidth;
mod bench;
mod crossover;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use bandwidth::{Stream, bandwidth};
pub use bench::{Bench, BenchError, cold_pool};

use tritune_codegen::{Isa, KernelId, Op, Schedule};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::{self, Case, PROMPT};
use tritune_tuning::cost::Roofline;
use tritune_tuning::machine::Machine;
use tritune_tuning::pick::{self, Pick, Weighting};
use tritune_tuning::results::{Bandwidth, Crossover, Results, SCHEMA, Sample, Source};
use tritune_tuning::search::{Lineup, Observer, Search};
use tritune_tuning::shapes::Shape;
use tritune_tuning::space::{self, SpaceError};

use crate::kernels::{KERNELS, Kernel, Runnable};

/// Share of the budget for comparing kernels; then schedules of those that won are compared, and crossovers looked for.
const KERNELS_SHARE: f64 = 0.8;
/// Share of the budget by whose end schedules are settled.
const SCHEDULES_SHARE: f64 = 0.95;

/// Prefetch distances in bytes that are compared.
const AHEAD: [u32; 5] = [1024, 2048, 4096, 8192, 16384];
/// Pieces a thread that are compared.
const PIECES: [u16; 5] = [1, 2, 4, 8, 16];

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
    /// Measures, and settles what each shape is to be computed with.
    ///
    /// Set `interrupt` to stop between two passes: the results then hold what was measured, and say that they are not
    /// complete.
    ///
    /// # Errors
    /// Where a space file is damaged, or no compiled-in kernel is a candidate.
    pub fn run(&self, interrupt: &AtomicBool, observer: &mut impl Observer) -> Result<Results, TuneError> {
        let isas = if self.isas.is_empty() { Isa::best_here() } else { self.isas.clone() };
        let kernels: Vec<Runnable> =
            KERNELS.iter().filter(|kernel| isas.contains(&kernel.id.isa)).filter_map(Kernel::detect).collect();
        if kernels.is_empty() {
            return Err(TuneError::NoCandidates { isas: isas.iter().map(Isa::to_string).collect() });
        }
        let defaults: Vec<KernelId> =
            space::defaults(isas.iter().copied())?.into_iter().filter(KernelId::detected).collect();
        // Defaults first: they are what every other candidate is compared with.
        let mut candidates: Vec<KernelId> = defaults.clone();
        candidates.extend(kernels.iter().map(Runnable::id).filter(|id| !defaults.contains(id)));
        let candidates = case::partnered(candidates);
        let machine = Machine::detect(Isa::here());
        let begin = Instant::now();
        let pool_bytes = self.pool_bytes.unwrap_or_else(|| cold_pool(&machine));
        let bandwidths: Vec<Bandwidth> = self.threads.iter().map(|&threads| bandwidth(threads)).collect();
        let cases = case::telling(Case::list(&self.shapes, &self.threads, &candidates, &[PROMPT]), &candidates);
        let mut bench = Bench::new(&kernels, pool_bytes);
        let search = |lineups: &[Lineup], share: f64, bench: &mut Bench<'_>, observer: &mut _| {
            let budget = self.budget.mul_f64(share).saturating_sub(begin.elapsed());
            Search { lineups, budget, interrupt }.run(bench, observer)
        };
        let lineups: Vec<Lineup> = cases.into_iter().map(|case| lineup(case, &candidates)).collect();
        let mut findings = search(&lineups, KERNELS_SHARE, &mut bench, observer);
        let mut picks = pick::choose(&findings.samples, &defaults, self.objective);
        for (lineups, share) in
            [(ahead as fn(&Pick) -> Option<Lineup>, KERNELS_SHARE.midpoint(SCHEDULES_SHARE)), (pieces, SCHEDULES_SHARE)]
        {
            let lineups: Vec<Lineup> = picks.iter().filter_map(lineups).collect();
            // What they find improves on complete findings, whether or not there is time for all of it.
            let samples = search(&lineups, share, &mut bench, observer).samples;
            picks.iter_mut().for_each(|pick| pick.schedule_by(&samples));
            gather(&mut findings.samples, samples);
        }
        pick::compare(&mut picks, &findings.samples, &Roofline::new(&bandwidths), self.objective);
        let crossovers = self.crossovers(&picks, &kernels, &mut bench, begin + self.budget, interrupt);
        let measured: BTreeSet<KernelId> = findings.samples.iter().map(|sample| sample.kernel).collect();
        let source = |id: KernelId| {
            let kernel = kernels.iter().find(|kernel| kernel.id() == id)?;
            Some(Source { name: id, source: kernel.source_hash().into() })
        };
        Ok(Results {
            schema: SCHEMA,
            complete: findings.complete && !interrupt.load(Ordering::Relaxed),
            date: Results::now(),
            command: self.command.clone(),
            compiler: env!("TRITUNE_COMPILER").into(),
            machine,
            objective: self.objective,
            pool_bytes: pool_bytes as u64,
            load: None,
            bandwidths,
            kernels: measured.into_iter().filter_map(source).collect(),
            picks,
            crossovers,
            samples: findings.samples,
        })
    }

    /// The crossover of every tensor, for as long as there is time.
    fn crossovers(
        &self,
        picks: &[Pick],
        kernels: &[Runnable],
        bench: &mut Bench<'_>,
        until: Instant,
        interrupt: &AtomicBool,
    ) -> Vec<Crossover> {
        let mut crossovers = Vec::new();
        for of_tensor in picks.chunk_by(|a, b| (a.case.shape, a.case.threads) == (b.case.shape, b.case.threads)) {
            let runnable = |pick: &Pick| {
                let kernel = kernels.iter().find(|kernel| kernel.id() == pick.kernel)?;
                Some(kernel.scheduled(pick.schedule))
            };
            let runnables: Vec<Runnable> = of_tensor.iter().filter_map(runnable).collect();
            // A kernel that cannot be run any more has no crossover.
            let found = crossover::crossover(bench, &runnables, &of_tensor[0].case, until, interrupt);
            crossovers.extend(found.ok().flatten());
        }
        crossovers
    }
}

/// A case with every kernel that suits it.
fn lineup(case: Case, kernels: &[KernelId]) -> Lineup {
    let suiting = kernels.iter().filter(|kernel| case.suits(kernel));
    Lineup { case, candidates: suiting.map(|kernel| Candidate::from(*kernel)).collect() }
}

/// Prefetch distances to compare for a pick: only kernels for few tokens look ahead.
fn ahead(pick: &Pick) -> Option<Lineup> {
    let schedules = AHEAD.map(|ahead| Schedule { ahead, ..pick.schedule });
    (pick.case.op == Op::Gemv).then(|| variants(pick, &schedules))
}

/// Pieces to compare for a pick: a single thread has nobody to share with.
fn pieces(pick: &Pick) -> Option<Lineup> {
    let schedules = PIECES.map(|pieces| Schedule { pieces, ..pick.schedule });
    (pick.case.threads > 1).then(|| variants(pick, &schedules))
}

fn variants(pick: &Pick, schedules: &[Schedule]) -> Lineup {
    let candidates = schedules.iter().map(|&schedule| Candidate { kernel: pick.kernel, schedule }).collect();
    Lineup { case: pick.case, candidates }
}

/// Adds samples to others; passes of the same candidate in the same case become one sample.
fn gather(samples: &mut Vec<Sample>, more: Vec<Sample>) {
    for new in more {
        match samples.iter_mut().find(|old| old.case == new.case && old.candidate() == new.candidate()) {
            Some(old) => {
                old.times.extend(new.times);
                old.times.sort_by(f64::total_cmp);
            }
            None => samples.push(new),
        }
    }
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
}
