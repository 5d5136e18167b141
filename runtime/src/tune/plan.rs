//! What is measured, in which order, and what follows from it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tritune_codegen::{Isa, KernelId, Op, Schedule};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::{self, Case, PROMPT};
use tritune_tuning::cost::Roofline;
use tritune_tuning::journal;
use tritune_tuning::machine::Machine;
use tritune_tuning::pick::{self, Pick};
use tritune_tuning::results::{Bandwidth, Crossover, Results, SCHEMA, Sample, Source};
use tritune_tuning::search::{Excluded, Lineup, Observer, Search};
use tritune_tuning::shapes::Shape;
use tritune_tuning::space;
use tritune_tuning::stats::Caution;

use super::{Runner, TuneError, Tuning, bandwidth, cold_pool};
use crate::kernels::{KERNELS, Kernel, Runnable};

/// Share of the budget for comparing kernels; then schedules of those that won are compared, and crossovers looked for.
const KERNELS_SHARE: f64 = 0.75;
/// Share of the budget by whose end kernels are compared in cases for which there was too little time at first: the first
/// ones pay for memory that nobody has touched before, and the last ones leave time.
const AGAIN_SHARE: f64 = 0.85;
/// Share of the budget by whose end schedules are settled.
const SCHEDULES_SHARE: f64 = 0.95;

/// Prefetch distances in bytes that are compared.
const AHEAD: [u32; 5] = [1024, 2048, 4096, 8192, 16384];
/// Pieces a thread that are compared.
const PIECES: [u16; 5] = [1, 2, 4, 8, 16];

/// A [`Tuning`], with the kernels and the machine at hand.
#[derive(Clone, Debug)]
pub struct Plan {
    tuning: Tuning,
    machine: Machine,
    kernels: Vec<Runnable>,
    defaults: Vec<KernelId>,
    candidates: Vec<KernelId>,
    cases: Vec<Case>,
    pool_bytes: usize,
}

impl Tuning {
    /// What is measured.
    ///
    /// # Errors
    /// As [`Tuning::run`].
    pub fn plan(&self) -> Result<Plan, TuneError> {
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
        let cases = case::telling(Case::list(&self.shapes, &self.threads, &candidates, &[PROMPT]), &candidates);
        let pool_bytes = self.pool_bytes.unwrap_or_else(|| cold_pool(&machine));
        Ok(Plan { tuning: self.clone(), machine, kernels, defaults, candidates, cases, pool_bytes })
    }
}

impl Plan {
    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The kernels that are measured.
    pub fn kernels(&self) -> &[Runnable] {
        &self.kernels
    }

    /// Bytes of weights to go through before any is used again.
    pub fn pool_bytes(&self) -> usize {
        self.pool_bytes
    }

    /// What a journal must agree with to go on with.
    pub fn journal(&self) -> journal::Plan {
        journal::Plan {
            machine: self.machine.id.clone(),
            compiler: env!("TRITUNE_COMPILER").into(),
            pool_bytes: self.pool_bytes,
            cases: self.cases.clone(),
            kernels: self.candidates.iter().filter_map(|id| self.source(*id)).collect(),
        }
    }

    /// Measures, and settles what each shape is to be computed with. Set `interrupt` to stop between two passes.
    ///
    /// # Errors
    /// Where nothing can be run at all.
    pub fn run(
        &self,
        runner: &mut impl Runner,
        caution: Caution,
        interrupt: &AtomicBool,
        observer: &mut impl Observer,
    ) -> Result<Results, TuneError> {
        let begin = Instant::now();
        let Tuning { budget, objective, .. } = self.tuning;
        let left = |share: f64| budget.mul_f64(share).saturating_sub(begin.elapsed());
        let lineups: Vec<Lineup> = self.cases.iter().map(|case| lineup(*case, &self.candidates)).collect();
        let search = Search { lineups: &lineups, budget: left(KERNELS_SHARE), caution, interrupt };
        let mut findings = runner.search(&search, observer)?;
        if !findings.complete && !interrupt.load(Ordering::Relaxed) {
            let unsettled: Vec<Lineup> =
                lineups.into_iter().filter(|lineup| !is_settled(lineup, &findings.samples)).collect();
            let search = Search { lineups: &unsettled, budget: left(AGAIN_SHARE), caution, interrupt };
            let again = runner.search(&search, observer)?;
            findings.samples.retain(|sample| unsettled.iter().all(|lineup| lineup.case != sample.case));
            findings.samples.extend(again.samples);
            findings.samples.sort_by_key(|sample| sample.case);
            findings.complete = again.complete;
        }
        exclude(&mut findings.samples, runner.excluded());
        let mut picks = pick::choose(&findings.samples, &self.defaults, objective);
        for (lineups, share) in
            [(ahead as fn(&Pick) -> Option<Lineup>, AGAIN_SHARE.midpoint(SCHEDULES_SHARE)), (pieces, SCHEDULES_SHARE)]
        {
            let lineups: Vec<Lineup> = picks.iter().filter_map(lineups).collect();
            // What they find improves on complete findings, whether or not there is time for all of it.
            let search = Search { lineups: &lineups, budget: left(share), caution, interrupt };
            let samples = runner.search(&search, observer)?.samples;
            picks.iter_mut().for_each(|pick| pick.schedule_by(&samples));
            gather(&mut findings.samples, samples);
        }
        let mut crossovers: Vec<Crossover> = Vec::new();
        for of_tensor in picks.chunk_by(|a, b| tensor(&a.case) == tensor(&b.case)) {
            let picked: Vec<Candidate> =
                of_tensor.iter().map(|pick| Candidate { kernel: pick.kernel, schedule: pick.schedule }).collect();
            crossovers.extend(runner.crossover(&picked, &of_tensor[0].case, left(1.0), interrupt, observer)?);
        }
        let crashed = |kernel: KernelId| runner.excluded().iter().any(|out| out.kernel == kernel);
        if picks.iter().any(|pick| crashed(pick.kernel)) {
            // It was picked before it crashed: its tensors are picked for again.
            exclude(&mut findings.samples, runner.excluded());
            let usual: Vec<Sample> =
                findings.samples.iter().filter(|sample| sample.schedule == Schedule::default()).cloned().collect();
            let touched: BTreeSet<(Shape, usize)> =
                picks.iter().filter(|pick| crashed(pick.kernel)).map(|pick| tensor(&pick.case)).collect();
            picks.retain(|pick| !touched.contains(&tensor(&pick.case)));
            crossovers.retain(|crossover| !touched.contains(&(crossover.shape, crossover.threads)));
            let again = pick::choose(&usual, &self.defaults, objective).into_iter();
            picks.extend(again.filter(|pick| touched.contains(&tensor(&pick.case))));
            picks.sort_by_key(|pick| pick.case);
        }
        let measured: BTreeSet<KernelId> = findings.samples.iter().map(|sample| sample.kernel).collect();
        let complete = findings.complete && !interrupt.load(Ordering::Relaxed);
        // Results that are not complete are for nobody who compares them with the machine.
        let threads = if complete { &self.tuning.threads[..] } else { &[] };
        let bandwidths: Vec<Bandwidth> = threads.iter().map(|&threads| bandwidth(threads)).collect();
        if complete {
            pick::compare(&mut picks, &findings.samples, &Roofline::new(&bandwidths), objective);
        }
        Ok(Results {
            schema: SCHEMA,
            complete,
            date: Results::now(),
            command: self.tuning.command.clone(),
            compiler: env!("TRITUNE_COMPILER").into(),
            machine: self.machine.clone(),
            objective,
            pool_bytes: self.pool_bytes as u64,
            load: None,
            bandwidths,
            kernels: measured.into_iter().filter_map(|id| self.source(id)).collect(),
            picks,
            crossovers,
            samples: findings.samples,
        })
    }

    fn source(&self, id: KernelId) -> Option<Source> {
        let kernel = self.kernels.iter().find(|kernel| kernel.id() == id)?;
        Some(Source { name: id, source: kernel.source_hash().into() })
    }
}

/// What is packed once.
fn tensor(case: &Case) -> (Shape, usize) {
    (case.shape, case.threads)
}

/// Takes kernels that crashed or hung out of what was measured, by whatever schedule and in whatever case.
fn exclude(samples: &mut [Sample], excluded: &[Excluded]) {
    for sample in samples {
        if let Some(out) = excluded.iter().find(|out| out.kernel == sample.kernel) {
            sample.failed = Some(out.reason(&sample.case));
        }
    }
}

/// Whether something is known of every candidate.
fn is_settled(lineup: &Lineup, samples: &[Sample]) -> bool {
    let known = |candidate: &Candidate| {
        samples.iter().any(|sample| sample.case == lineup.case && sample.candidate() == *candidate)
    };
    lineup.candidates.iter().all(known)
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
