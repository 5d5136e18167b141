//! What is measured, in which order, and what follows from it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tritune_codegen::{Isa, KernelId, Layout, Op, Schedule};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::{self, Case, PROMPT};
use tritune_tuning::cost::Roofline;
use tritune_tuning::journal;
use tritune_tuning::machine::Machine;
use tritune_tuning::pick::{self, Pick};
use tritune_tuning::request;
use tritune_tuning::results::{Bandwidth, Crossover, Results, SCHEMA, Sample, Source};
use tritune_tuning::search::{Excluded, Lineup, Observer, Progress, Search};
use tritune_tuning::shapes::Shape;
use tritune_tuning::space;
use tritune_tuning::stats::Caution;

use super::{Runner, TuneError, Tuning, bandwidth, cold_pool};
use crate::kernels::{KERNELS, Kernel, Runnable};
use crate::model::session::available_memory;

/// Share of the budget for comparing kernels; then schedules of those that won are compared, and crossovers looked for.
const KERNELS_SHARE: f64 = 0.75;
/// Share of the budget by whose end kernels are compared in cases for which there was too little time at first: the first
/// ones pay for memory that nobody has touched before, and the last ones leave time.
const AGAIN_SHARE: f64 = 0.85;
/// Share of the budget by whose end schedules are settled.
const SCHEDULES_SHARE: f64 = 0.95;

/// A pool of weights is not made smaller than this, however little memory there is.
const LEAST_POOL: usize = 64 << 20;

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
        let layouts: BTreeSet<Layout> = candidates.iter().map(KernelId::layout).collect();
        let pool_bytes = self.pool_bytes.unwrap_or_else(|| affordable(cold_pool(&machine), layouts.len()));
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
        let budget = budget.min(Duration::from_secs(*request::SECONDS.end()));
        let left = |share: f64| budget.mul_f64(share).saturating_sub(begin.elapsed());
        let mut watched = Whole { observer, begin, budget, done: 0.0, share: (0.0, KERNELS_SHARE) };
        let lineups: Vec<Lineup> = self.cases.iter().map(|case| lineup(*case, &self.candidates)).collect();
        let search = Search { lineups: &lineups, budget: left(KERNELS_SHARE), caution, interrupt };
        let mut findings = runner.search(&search, &mut watched)?;
        let unsettled: Vec<Lineup> =
            lineups.iter().filter(|lineup| !is_settled(lineup, &findings.samples, caution)).cloned().collect();
        if !unsettled.is_empty() && !interrupt.load(Ordering::Relaxed) {
            watched.share = (KERNELS_SHARE, AGAIN_SHARE);
            let search = Search { lineups: &unsettled, budget: left(AGAIN_SHARE), caution, interrupt };
            let again = runner.search(&search, &mut watched)?;
            for lineup in &unsettled {
                replace(&mut findings.samples, &again.samples, &lineup.case);
            }
            findings.samples.sort_by_key(|sample| sample.case);
            findings.complete = lineups.iter().all(|lineup| is_known(lineup, &findings.samples));
        }
        exclude(&mut findings.samples, runner.excluded());
        let mut picks = pick::choose(&findings.samples, &self.defaults, objective);
        for (lineups, share) in
            [(ahead as fn(&Pick) -> Option<Lineup>, AGAIN_SHARE.midpoint(SCHEDULES_SHARE)), (pieces, SCHEDULES_SHARE)]
        {
            watched.share = (watched.share.1, share);
            let lineups: Vec<Lineup> = picks.iter().filter_map(lineups).collect();
            // What they find improves on complete findings, whether or not there is time for all of it.
            let search = Search { lineups: &lineups, budget: left(share), caution, interrupt };
            let samples = runner.search(&search, &mut watched)?.samples;
            picks.iter_mut().for_each(|pick| pick.schedule_by(&samples));
            gather(&mut findings.samples, samples);
        }
        let mut crossovers: Vec<Crossover> = Vec::new();
        let tensors: Vec<&[Pick]> = picks.chunk_by(|a, b| tensor(&a.case) == tensor(&b.case)).collect();
        for (index, of_tensor) in tensors.iter().enumerate() {
            let at = |index: usize| SCHEDULES_SHARE + (1.0 - SCHEDULES_SHARE) * index as f64 / tensors.len() as f64;
            watched.share = (at(index), at(index + 1));
            let picked: Vec<Candidate> =
                of_tensor.iter().map(|pick| Candidate { kernel: pick.kernel, schedule: pick.schedule }).collect();
            crossovers.extend(runner.crossover(&picked, &of_tensor[0].case, left(1.0), interrupt, &mut watched)?);
        }
        let out = |kernel: KernelId| runner.excluded().iter().any(|out| out.kernel == kernel);
        if picks.iter().any(|pick| out(pick.kernel)) {
            // It was picked before it crashed, or was found to be wrong: its tensors are picked for again.
            exclude(&mut findings.samples, runner.excluded());
            let usual: Vec<Sample> =
                findings.samples.iter().filter(|sample| sample.schedule == Schedule::default()).cloned().collect();
            let touched: BTreeSet<(Shape, usize)> =
                picks.iter().filter(|pick| out(pick.kernel)).map(|pick| tensor(&pick.case)).collect();
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

/// As much of a pool as there is memory for as many pools, with as much again for everything else: halved until it fits, but
/// for the smallest that says anything.
fn affordable(pool_bytes: usize, pools: usize) -> usize {
    let Some(available) = available_memory() else { return pool_bytes };
    let fits = |bytes: &usize| *bytes as u64 * pools as u64 <= available / 2;
    let halved =
        std::iter::successors(Some(pool_bytes), |bytes| Some(bytes / 2)).take_while(|bytes| *bytes >= LEAST_POOL);
    halved.clone().find(fits).or(halved.last()).unwrap_or(pool_bytes)
}

/// What is packed once.
fn tensor(case: &Case) -> (Shape, usize) {
    (case.shape, case.threads)
}

/// Takes kernels that computed what is wrong, crashed or hung out of what was measured, by whatever schedule and in whatever case.
fn exclude(samples: &mut [Sample], excluded: &[Excluded]) {
    for sample in samples {
        if let Some(out) = excluded.iter().find(|out| out.kernel == sample.kernel) {
            sample.failed = Some(out.reason(&sample.case));
        }
    }
}

/// Takes over what was measured of a case another time, if it is more.
fn replace(samples: &mut Vec<Sample>, again: &[Sample], case: &Case) {
    let of_case = |sample: &&Sample| sample.case == *case;
    let measured = |samples: &[Sample]| {
        let of_case = || samples.iter().filter(of_case);
        (of_case().count(), of_case().map(|sample| sample.times.len()).sum::<usize>())
    };
    if measured(again) > measured(samples) {
        samples.retain(|sample| sample.case != *case);
        samples.extend(again.iter().filter(of_case).cloned());
    }
}

/// Whether something is known of every candidate.
fn is_known(lineup: &Lineup, samples: &[Sample]) -> bool {
    all_candidates(lineup, samples, |_| true)
}

/// Whether every candidate has been through enough rounds, or has lost or failed before.
fn is_settled(lineup: &Lineup, samples: &[Sample], caution: Caution) -> bool {
    all_candidates(lineup, samples, |sample| {
        sample.failed.is_some() || sample.eliminated.is_some() || sample.times.len() >= caution.rounds()
    })
}

fn all_candidates(lineup: &Lineup, samples: &[Sample], is: impl Fn(&Sample) -> bool) -> bool {
    let of = |candidate: &Candidate| {
        samples.iter().find(|sample| sample.case == lineup.case && sample.candidate() == *candidate)
    };
    lineup.candidates.iter().all(|candidate| of(candidate).is_some_and(&is))
}

/// Watches a part of a plan for who watches the whole.
struct Whole<'o, O> {
    observer: &'o mut O,
    begin: Instant,
    budget: Duration,
    /// Of the whole, so far.
    done: f64,
    /// Where in the whole the part begins and ends.
    share: (f64, f64),
}

impl<O: Observer> Observer for Whole<'_, O> {
    fn progress(&mut self, progress: &Progress) {
        let (from, to) = self.share;
        self.done = self.done.max(from + (to - from) * progress.fraction);
        let time_left = self.budget.saturating_sub(self.begin.elapsed());
        self.observer.progress(&Progress { fraction: self.done, time_left, ..*progress });
    }

    fn finished(&mut self, case: &Case, samples: &[Sample], settled: bool) {
        self.observer.finished(case, samples, settled);
    }

    fn excluded(&mut self, excluded: &Excluded) {
        self.observer.excluded(excluded);
    }

    fn crossed(&mut self, crossover: &Crossover) {
        self.observer.crossed(crossover);
    }
}

/// A case with every kernel that suits it.
fn lineup(case: Case, kernels: &[KernelId]) -> Lineup {
    let suiting = kernels.iter().filter(|kernel| case.suits(kernel));
    Lineup { case, candidates: suiting.map(|kernel| Candidate::from(*kernel)).collect() }
}

/// Prefetch distances to compare for a pick: only kernels for few tokens look ahead. One that serves more tokens in several
/// passes is run as it is where it serves its own number.
fn ahead(pick: &Pick) -> Option<Lineup> {
    let schedules = AHEAD.map(|ahead| Schedule { ahead, ..pick.schedule });
    (pick.case.op == Op::Gemv && pick.case.is_own(&pick.kernel)).then(|| variants(pick, &schedules))
}

/// Pieces to compare for a pick: a single thread has nobody to share with.
fn pieces(pick: &Pick) -> Option<Lineup> {
    let schedules = PIECES.map(|pieces| Schedule { pieces, ..pick.schedule });
    let in_passes = pick.case.op == Op::Gemv && !pick.case.is_own(&pick.kernel);
    (pick.case.threads > 1 && !in_passes).then(|| variants(pick, &schedules))
}

fn variants(pick: &Pick, schedules: &[Schedule]) -> Lineup {
    let candidates = schedules.iter().map(|&schedule| Candidate { kernel: pick.kernel, schedule }).collect();
    Lineup { case: pick.case, candidates }
}

/// Adds samples to others. Those of a candidate that was compared in the same case before are of other rivals' rounds, and
/// tell no more than whether it has failed since.
fn gather(samples: &mut Vec<Sample>, more: Vec<Sample>) {
    for new in more {
        match samples.iter_mut().find(|old| old.case == new.case && old.candidate() == new.candidate()) {
            Some(old) => old.failed = old.failed.take().or(new.failed),
            None => samples.push(new),
        }
    }
}
