//! The search: what is measured, in which order, and when it is enough.
//!
//! **What is searched.** Every *case* (an operation on a shape, for so many tokens, on so many threads) has the
//! candidates that the space offers and the cost model left, or the schedules that a kernel may be run by. They differ in layout too, so a case does not pick alone:
//! [`pick::choose`](crate::pick::choose) weighs the cases of a shape against each other afterwards. The search only
//! measures, and hands back everything that it measured.
//!
//! **How.** First each candidate computes the case once and is compared with the reference: a kernel that is fast and
//! wrong is excluded, and the results say so. Then rounds: in each, every surviving candidate is timed once, beginning
//! one place further on than in the round before, so that none always runs in the wake of the same other. A machine
//! that throttles, or a neighbour that wakes up, slows a round for all, and ratios within rounds stay true
//! ([`stats::standing`]). After each round those that are slower than the leader beyond the noise leave. A case ends
//! when the leader is alone, or level with what is left, or when its time is up. Weights are cold in every pass, for
//! so they are in a model larger than the caches; a kernel that wins on warm weights wins nothing.
//!
//! **Trimmed mean, never minimum.** The minimum asks for the luckiest pass: the one in which weights happened to lie in
//! a cache, or another core left it all the memory's bandwidth. It falls the longer one measures, so that candidates
//! with more rounds look better, and it rewards kernels that are only sometimes fast. A model runs a kernel thousands of
//! times and pays for the typical pass; the trimmed mean estimates that one, and comes with an error that says when to
//! stop.
//!
//! **At what cost.** The budget is wall-clock time and is split evenly over the cases to come; what a case leaves is
//! for the others, and what it packs all cases to come pay for, since weights serve every case of a shape. A case of c candidates whose passes take t seconds needs about 6 · c · t for a first judgement
//! and seldom more than 20 · t for each close rival; checks and packing count too. The budget is looked at between
//! passes: a search overruns it by one pass, check or packing at most.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tritune_codegen::KernelId;

use crate::candidate::Candidate;
use crate::case::Case;
use crate::results::{Crossover, Sample, four_figures};
use crate::stats::{self, Caution, Standing};

/// Rounds after which candidates that still cannot be told apart are called equal.
const MAX_ROUNDS: usize = 100;

/// How candidates are run: the search itself knows no kernels.
pub trait Measure {
    /// Why a candidate cannot be used.
    type Error: fmt::Display;

    /// Packs weights for a candidate, without running it.
    ///
    /// # Errors
    /// Where they cannot be packed: the candidate is then excluded.
    fn pack(&mut self, candidate: Candidate, case: &Case) -> Result<(), Self::Error>;

    /// Computes the case once, with packed weights.
    ///
    /// # Errors
    /// Where the integers differ from the reference's, or the kernel cannot be run: it is then not timed.
    fn check(&mut self, candidate: Candidate, case: &Case) -> Result<(), Self::Error>;

    /// Seconds of one pass of a checked candidate, with cold weights.
    ///
    /// # Errors
    /// Where the pass failed, or its integers differ from the reference's: the candidate is then excluded.
    fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, Self::Error>;

    /// Whether an error shows that a kernel computes what is wrong: it is then out in every case, by whatever schedule.
    fn convicts(_error: &Self::Error) -> bool {
        false
    }
}

/// What a search is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Packing weights, which runs no kernel.
    Packing,
    /// Comparing with the reference.
    Checking,
    /// Timing passes.
    Timing,
    /// Looking for a crossover.
    Crossing,
}

/// How far a search is, and what it turns to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is done next.
    pub phase: Phase,
    /// For which case.
    pub case: Case,
    /// With which candidate.
    pub candidate: Candidate,
    /// Cases that are done.
    pub done: usize,
    /// Cases in all.
    pub cases: usize,
    /// Candidates of this case that are still in.
    pub left: usize,
    /// Rounds of this case that are done.
    pub rounds: usize,
    /// The fastest candidate so far.
    pub leader: Option<Leader>,
    /// Share of the search that is done, from 0 to 1; it never falls.
    pub fraction: f64,
    /// The longest that the search will still take.
    pub time_left: Duration,
}

/// The fastest candidate of a case, so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leader {
    /// Which.
    pub candidate: Candidate,
    /// The trimmed mean of its passes.
    pub seconds: f64,
}

/// A kernel that computed what is wrong, took the process that ran it down, or never came back: it is out in every case, by
/// whatever schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Where that was.
    #[serde(flatten)]
    pub case: Case,
    /// The kernel.
    #[serde(with = "crate::name")]
    pub kernel: KernelId,
    /// What it did.
    pub why: String,
}

impl Excluded {
    /// What a sample of `case` says of it.
    pub fn reason(&self, case: &Case) -> String {
        if self.case == *case { self.why.clone() } else { format!("left out: in {} it {}", self.case, self.why) }
    }
}

/// Watches a search.
pub trait Observer {
    /// Called before weights are packed, before every check and every pass, outside of what is timed.
    fn progress(&mut self, progress: &Progress);

    /// A case that was begun has ended. `settled`: more time would not have told more, and nobody interrupted.
    fn finished(&mut self, _case: &Case, _samples: &[Sample], _settled: bool) {}

    /// A kernel is out. That one crashed or hung, only a search whose candidates run in another process lives to tell.
    fn excluded(&mut self, _excluded: &Excluded) {}

    /// A crossover was found.
    fn crossed(&mut self, _crossover: &Crossover) {}
}

/// Nobody watches.
impl Observer for () {
    fn progress(&mut self, _: &Progress) {}
}

/// A case, and who is to be compared in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineup {
    /// The case.
    pub case: Case,
    /// Those that suit it, in the order in which they are checked.
    pub candidates: Vec<Candidate>,
}

/// A search to be made.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The cases, the most important first: an interrupted search has measured those.
    pub lineups: &'a [Lineup],
    /// Time for all of it.
    pub budget: Duration,
    /// How slowly a difference is believed.
    pub caution: Caution,
    /// Set from outside to stop between two passes.
    pub interrupt: &'a AtomicBool,
}

/// What a search has measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// One for each case and candidate that was measured or failed, in order.
    pub samples: Vec<Sample>,
    /// Whether every candidate of every case was measured or has failed.
    pub complete: bool,
    /// Kernels that were seen to compute what is wrong.
    pub excluded: Vec<Excluded>,
}

/// One candidate's way through a case.
#[derive(Debug)]
struct Contender {
    candidate: Candidate,
    /// Seconds of its passes, one a round.
    times: Vec<f64>,
    fate: Fate,
}

#[derive(Debug, PartialEq)]
enum Fate {
    /// Not checked yet.
    Waiting,
    In,
    /// Slower than another, the leader at that time.
    Eliminated {
        by: usize,
        why: String,
    },
    Failed(String),
}

impl Search<'_> {
    /// Measures. Given the same times, it does the same.
    pub fn run<M: Measure>(&self, measure: &mut M, observer: &mut impl Observer) -> Findings {
        let start = Instant::now();
        self.run_by(&mut |_: &M| start.elapsed(), measure, observer)
    }

    /// The same by another clock, which tells the time since the start.
    fn run_by<M: Measure>(
        &self,
        clock: &mut impl FnMut(&M) -> Duration,
        measure: &mut M,
        observer: &mut impl Observer,
    ) -> Findings {
        let mut findings = Findings { samples: Vec::new(), complete: true, excluded: Vec::new() };
        for (done, Lineup { case, candidates }) in self.lineups.iter().enumerate() {
            let begin = clock(measure);
            let contenders = candidates.iter().map(|candidate| Contender::new(candidate, case, &findings.excluded));
            let contenders = contenders.collect();
            let mut trial =
                Trial { search: self, case, done, begin, packing: Duration::ZERO, contenders, excluded: Vec::new() };
            let begun = trial.run(clock, measure, observer);
            let Trial { contenders, excluded, .. } = trial;
            findings.excluded.extend(excluded);
            let enough = self.caution.rounds();
            let settled = contenders.iter().all(|contender| contender.is_settled(enough)) && !self.is_interrupted();
            let complete = contenders.iter().all(Contender::is_known);
            let samples = samples(*case, contenders);
            if begun {
                observer.finished(case, &samples, settled);
            }
            findings.complete &= complete;
            findings.samples.extend(samples);
        }
        findings.complete &= !self.is_interrupted();
        findings
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

impl Contender {
    fn new(candidate: &Candidate, case: &Case, excluded: &[Excluded]) -> Self {
        let out = excluded.iter().find(|out| out.kernel == candidate.kernel);
        let fate = out.map_or(Fate::Waiting, |out| Fate::Failed(out.reason(case)));
        Contender { candidate: *candidate, times: Vec::new(), fate }
    }

    /// Whether anything is known of it.
    fn is_known(&self) -> bool {
        !self.times.is_empty() || matches!(self.fate, Fate::Failed(_))
    }

    /// Whether what is known is `enough`, that is so many rounds, to compare it with others.
    fn is_settled(&self, enough: usize) -> bool {
        matches!(self.fate, Fate::Failed(_) | Fate::Eliminated { .. }) || self.times.len() >= enough
    }
}

/// The rows of contenders in the results; those of whom nothing is known have none.
fn samples(case: Case, contenders: Vec<Contender>) -> Vec<Sample> {
    let inside = contenders.iter().filter(|contender| contender.fate == Fate::In);
    let leader = inside.max_by_key(|contender| contender.times.len()).map(|leader| leader.times.clone());
    let drift = |rounds: usize| {
        let leader = leader.as_ref().filter(|leader| (1..leader.len()).contains(&rounds))?;
        Some(four_figures(stats::trimmed_mean(leader)? / stats::trimmed_mean(&leader[..rounds])?))
    };
    let sample = |contender: Contender| {
        let mut sample = Sample::new(case, contender.candidate, &contender.times);
        match contender.fate {
            Fate::Waiting | Fate::In => (),
            Fate::Eliminated { why, .. } => {
                sample.eliminated = Some(why);
                sample.drift = drift(contender.times.len());
            }
            Fate::Failed(why) => sample.failed = Some(why),
        }
        sample
    };
    contenders.into_iter().filter(Contender::is_known).map(sample).collect()
}

/// One case's share of a search.
struct Trial<'a> {
    search: &'a Search<'a>,
    case: &'a Case,
    done: usize,
    begin: Duration,
    /// Time that packing took.
    packing: Duration,
    contenders: Vec<Contender>,
    /// Kernels that were seen to be wrong in this case.
    excluded: Vec<Excluded>,
}

impl Trial<'_> {
    /// Whether there was time for any candidate.
    fn run<M: Measure>(
        &mut self,
        clock: &mut impl FnMut(&M) -> Duration,
        measure: &mut M,
        observer: &mut impl Observer,
    ) -> bool {
        let mut begun = false;
        for index in 0..self.contenders.len() {
            let Contender { candidate, fate: Fate::Waiting, .. } = self.contenders[index] else { continue };
            if !self.goes_on(Phase::Packing, candidate, 0, clock(measure), observer) {
                break;
            }
            begun = true;
            let before = clock(measure);
            let mut checked = measure.pack(candidate, self.case);
            let now = clock(measure);
            self.packing += now.saturating_sub(before);
            if checked.is_ok() {
                if !self.goes_on(Phase::Checking, candidate, 0, now, observer) {
                    break;
                }
                checked = measure.check(candidate, self.case);
            }
            match checked {
                Ok(()) => self.contenders[index].fate = Fate::In,
                Err(error) => self.fail::<M>(index, &error, observer),
            }
        }
        self.rounds(clock, measure, observer);
        begun
    }

    /// Puts a candidate out. Who left because it was faster comes back, and rounds are counted anew: they are compared one
    /// by one.
    fn fail<M: Measure>(&mut self, index: usize, error: &M::Error, observer: &mut impl Observer) {
        self.put_out(index, error.to_string());
        let kernel = self.contenders[index].candidate.kernel;
        if M::convicts(error) && self.excluded.iter().all(|out| out.kernel != kernel) {
            let out = Excluded { case: *self.case, kernel, why: format!("computed what is wrong: {error}") };
            observer.excluded(&out);
            for other in 0..self.contenders.len() {
                let Contender { candidate, fate, .. } = &self.contenders[other];
                if candidate.kernel == kernel && !matches!(fate, Fate::Failed(_)) {
                    self.put_out(other, out.reason(self.case));
                }
            }
            self.excluded.push(out);
        }
    }

    fn put_out(&mut self, index: usize, why: String) {
        self.contenders[index].fate = Fate::Failed(why);
        let victim = |contender: &Contender| matches!(contender.fate, Fate::Eliminated { by, .. } if by == index);
        if self.contenders.iter().any(victim) {
            self.contenders.iter_mut().filter(|contender| victim(contender)).for_each(|it| it.fate = Fate::In);
            let inside = self.contenders.iter_mut().filter(|contender| contender.fate == Fate::In);
            inside.for_each(|contender| contender.times.clear());
        }
    }

    fn rounds<M: Measure>(
        &mut self,
        clock: &mut impl FnMut(&M) -> Duration,
        measure: &mut M,
        observer: &mut impl Observer,
    ) {
        for round in 0..MAX_ROUNDS {
            let mut order = self.inside();
            if order.is_empty() {
                return;
            }
            let first = round % order.len();
            order.rotate_left(first);
            for index in order {
                let Contender { candidate, fate: Fate::In, .. } = self.contenders[index] else { continue };
                if !self.goes_on(Phase::Timing, candidate, round, clock(measure), observer) {
                    return;
                }
                match measure.time(candidate, self.case) {
                    Ok(seconds) if seconds.is_finite() && seconds > 0.0 => self.contenders[index].times.push(seconds),
                    Ok(seconds) => self.put_out(index, format!("a pass cannot take {seconds} seconds")),
                    Err(error) => self.fail::<M>(index, &error, observer),
                }
            }
            if self.judge() {
                return;
            }
        }
    }

    /// Says what is about to be done, unless it is too late for it; whether it is to be done. The observer may interrupt.
    fn goes_on(
        &self,
        phase: Phase,
        candidate: Candidate,
        rounds: usize,
        now: Duration,
        observer: &mut impl Observer,
    ) -> bool {
        if self.is_over(now) {
            return false;
        }
        observer.progress(&self.progress(phase, candidate, rounds, now));
        !self.is_over(now)
    }

    /// Drops those who are slower than the leader beyond the noise; whether that settles the case.
    fn judge(&mut self) -> bool {
        let Some((leader, _)) = self.leader() else { return self.inside().is_empty() };
        let (leading, times) = (self.contenders[leader].candidate, self.contenders[leader].times.clone());
        let round = times.len();
        let mut settled = round >= self.search.caution.rounds();
        for index in self.inside() {
            if index == leader {
                continue;
            }
            let contender = &mut self.contenders[index];
            match stats::standing(&times, &contender.times, self.search.caution) {
                Standing::Slower(ratio) => {
                    let percent = (ratio - 1.0) * 100.0;
                    let why = format!("{percent:.1} % slower than {leading} after {round} rounds");
                    contender.fate = Fate::Eliminated { by: leader, why };
                }
                Standing::Level => (),
                Standing::Open => settled = false,
            }
        }
        settled
    }

    /// Places of those who are still in.
    fn inside(&self) -> Vec<usize> {
        let contenders = self.contenders.iter().enumerate();
        contenders.filter(|(_, contender)| contender.fate == Fate::In).map(|(index, _)| index).collect()
    }

    /// Place and time of the fastest who is still in; the first of equals.
    fn leader(&self) -> Option<(usize, f64)> {
        let times = self.inside().into_iter();
        let timed = times.filter_map(|index| Some((index, stats::trimmed_mean(&self.contenders[index].times)?)));
        timed.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Its part of what the cases before it have left, and the time that packing took.
    fn share(&self) -> Duration {
        let left = self.search.budget.saturating_sub(self.begin).saturating_sub(self.packing);
        self.packing + left / (self.search.lineups.len() - self.done) as u32
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.begin.saturating_add(self.share()) || self.search.is_interrupted()
    }

    fn progress(&self, phase: Phase, candidate: Candidate, rounds: usize, now: Duration) -> Progress {
        let cases = self.search.lineups.len();
        let share = self.share().as_secs_f64().max(f64::MIN_POSITIVE);
        let spent = now.saturating_sub(self.begin).as_secs_f64() / share;
        Progress {
            phase,
            case: *self.case,
            candidate,
            done: self.done,
            cases,
            left: self.contenders.iter().filter(|c| matches!(c.fate, Fate::Waiting | Fate::In)).count(),
            rounds,
            leader: self
                .leader()
                .map(|(index, seconds)| Leader { candidate: self.contenders[index].candidate, seconds }),
            fraction: (self.done as f64 + spent.min(1.0)) / cases as f64,
            time_left: self.search.budget.saturating_sub(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use tritune_codegen::{KernelId, Op};

    /// A machine of made-up times, whose clock moves by what it measures.
    struct Fake {
        rng: SmallRng,
        elapsed: Duration,
        passes: usize,
        /// Interrupts the search at this pass.
        stop_at: Option<(usize, &'static AtomicBool)>,
        lies: Option<KernelId>,
        breaks: Option<KernelId>,
        /// Seconds of a pass, before noise.
        seconds: fn(KernelId) -> f64,
    }

    impl Fake {
        fn new(seconds: fn(KernelId) -> f64) -> Self {
            Fake {
                rng: SmallRng::seed_from_u64(7),
                elapsed: Duration::ZERO,
                passes: 0,
                stop_at: None,
                lies: None,
                breaks: None,
                seconds,
            }
        }
    }

    impl Measure for Fake {
        type Error = String;

        fn pack(&mut self, _: Candidate, _: &Case) -> Result<(), String> {
            Ok(())
        }

        fn check(&mut self, Candidate { kernel, .. }: Candidate, _: &Case) -> Result<(), String> {
            self.elapsed += Duration::from_millis(1);
            if self.lies == Some(kernel) { Err("row 3 differs from the reference".into()) } else { Ok(()) }
        }

        fn time(&mut self, Candidate { kernel, .. }: Candidate, _: &Case) -> Result<f64, String> {
            assert_ne!(self.lies, Some(kernel), "a kernel that failed its check is timed");
            self.passes += 1;
            if let Some((_, flag)) = self.stop_at.filter(|(pass, _)| *pass == self.passes) {
                flag.store(true, Ordering::Relaxed);
            }
            if self.breaks == Some(kernel) && self.passes > 20 {
                return Err("the pool died".into());
            }
            let interrupted = if self.rng.random_bool(0.05) { 2.0 } else { 0.0 };
            let seconds = (self.seconds)(kernel) * (1.0 + self.rng.random_range(0.0..0.02) + interrupted);
            self.elapsed += Duration::from_secs_f64(seconds);
            Ok(seconds)
        }

        fn convicts(error: &String) -> bool {
            error.contains("reference")
        }
    }

    /// Writes down what it is told.
    #[derive(Default)]
    struct Diary(Vec<Progress>);

    impl Observer for Diary {
        fn progress(&mut self, progress: &Progress) {
            self.0.push(*progress);
        }
    }

    fn kernels() -> Vec<KernelId> {
        ["1x16k64u1", "1x16k64u2", "1x16k64u4", "1x32k64u1", "1x32k64u2"]
            .map(|tile| format!("gemv_t200_{tile}__avx512vnni_dot").parse().unwrap())
            .into()
    }

    fn lineups() -> Vec<Lineup> {
        let candidates: Vec<Candidate> = kernels().into_iter().map(Candidate::from).collect();
        cases().into_iter().map(|case| Lineup { case, candidates: candidates.clone() }).collect()
    }

    fn cases() -> [Case; 2] {
        ["640x2560", "2560x640"].map(|shape| Case { shape: shape.parse().unwrap(), threads: 1, op: Op::Gemv, m: 1 })
    }

    /// u4 is best by 5 %, u2 is next, u1 is hopeless.
    fn by_chains(kernel: KernelId) -> f64 {
        1e-3 * match kernel.tile.ku {
            4 => 1.0,
            2 => 1.05,
            _ => 2.5,
        }
    }

    fn search(fake: &mut Fake, budget: f64, interrupt: &AtomicBool, observer: &mut impl Observer) -> Findings {
        let (lineups, budget) = (lineups(), Duration::from_secs_f64(budget));
        let search = Search { lineups: &lineups, budget, caution: Caution::Calm, interrupt };
        search.run_by(&mut |fake: &Fake| fake.elapsed, fake, observer)
    }

    fn quiet() -> AtomicBool {
        AtomicBool::new(false)
    }

    #[test]
    fn the_fastest_is_left_and_the_rest_leave_early() {
        let mut fake = Fake::new(by_chains);
        let mut diary = Diary::default();
        let findings = search(&mut fake, 100.0, &quiet(), &mut diary);
        assert!(findings.complete);
        assert_eq!(findings.samples.len(), 10);
        for sample in &findings.samples {
            let (rounds, left) = (sample.times.len(), sample.eliminated.is_none());
            match sample.kernel.tile.ku {
                4 => assert!(left && rounds >= stats::MIN_ROUNDS),
                2 => assert!(!left && (stats::MIN_ROUNDS..MAX_ROUNDS).contains(&rounds)),
                _ => assert!(!left && rounds < stats::MIN_ROUNDS, "{rounds} rounds for a hopeless candidate"),
            }
        }
        let reason = findings.samples[1].eliminated.as_ref().unwrap();
        assert!(reason.contains("% slower than gemv_t200_1x16k64u4__avx512vnni_dot after"), "{reason}");
        assert!(fake.elapsed < Duration::from_secs(1), "the budget was {:?} too much", fake.elapsed);

        assert!(diary.0.is_sorted_by_key(|progress| progress.fraction));
        assert!(diary.0.iter().all(|progress| (0.0..=1.0).contains(&progress.fraction) && progress.left <= 5));
        let last = diary.0.last().unwrap();
        assert_eq!((last.done, last.cases, last.phase), (1, 2, Phase::Timing));
        assert_eq!(last.leader.unwrap().candidate.kernel.tile.ku, 4);
    }

    #[test]
    fn the_same_times_give_the_same_findings() {
        let findings = || search(&mut Fake::new(by_chains), 100.0, &quiet(), &mut ());
        assert_eq!(findings(), findings());
    }

    #[test]
    fn equals_are_called_level() {
        let mut fake = Fake::new(|_| 1e-3);
        let findings = search(&mut fake, 1000.0, &quiet(), &mut ());
        assert!(findings.complete);
        let survivors = findings.samples.iter().filter(|sample| sample.eliminated.is_none());
        assert!(survivors.clone().count() >= 6, "{} of ten equals survive", survivors.count());
    }

    #[test]
    fn liars_are_excluded_with_their_reason() {
        let mut fake = Fake::new(by_chains);
        fake.lies = Some(kernels()[2]);
        let findings = search(&mut fake, 100.0, &quiet(), &mut ());
        assert!(findings.complete);
        let of_liar: Vec<&Sample> = findings.samples.iter().filter(|sample| sample.kernel == kernels()[2]).collect();
        assert!(of_liar.iter().all(|sample| sample.times.is_empty() && sample.summary().is_none()));
        let reasons: Vec<&str> = of_liar.iter().filter_map(|sample| sample.failed.as_deref()).collect();
        let [first, second] = reasons[..] else { panic!("{reasons:?}") };
        assert_eq!(first, "row 3 differs from the reference");
        assert!(second.starts_with("left out: in gemv 640x2560 m=1 threads=1 it computed what is wrong"), "{second}");
        assert_eq!(findings.excluded.len(), 1, "a kernel that is wrong once is not asked again");
        assert!(findings.samples.iter().any(|sample| sample.kernel.tile.ku == 2 && sample.eliminated.is_none()));
    }

    /// Twice as fast as all others until it is found out.
    #[test]
    fn who_lost_to_a_liar_comes_back() {
        struct Late(Fake);
        impl Measure for Late {
            type Error = String;
            fn pack(&mut self, _: Candidate, _: &Case) -> Result<(), String> {
                Ok(())
            }
            fn check(&mut self, _: Candidate, _: &Case) -> Result<(), String> {
                Ok(())
            }
            fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, String> {
                if candidate.kernel != kernels()[0] {
                    return self.0.time(candidate, case);
                }
                self.0.passes += 1;
                if self.0.passes > 10 { Err("not the reference's".into()) } else { Ok(1e-4) }
            }
            fn convicts(_: &String) -> bool {
                true
            }
        }
        let lineups = lineups();
        let budget = Duration::from_secs(100);
        let search = Search { lineups: &lineups, budget, caution: Caution::Loaded, interrupt: &quiet() };
        let findings = search.run_by(&mut |late: &Late| late.0.elapsed, &mut Late(Fake::new(|_| 1e-3)), &mut ());
        for sample in findings.samples {
            match sample.kernel == kernels()[0] {
                true => assert!(sample.failed.is_some()),
                false => assert!(sample.failed.is_none() && sample.times.len() > stats::MIN_ROUNDS, "{sample:?}"),
            }
        }
        assert_eq!(findings.excluded.len(), 1);
    }

    /// A machine slows down to half its speed; who left before is not the faster for it.
    #[test]
    fn times_of_those_who_left_are_those_of_a_slower_machine_too() {
        let times = |rounds: usize, factor: f64| -> Vec<f64> {
            (0..rounds).map(|round| factor * if round < 6 { 1.0 } else { 2.0 }).collect()
        };
        let contender = |index: usize, times, fate| Contender { candidate: kernels()[index].into(), times, fate };
        let leader = contender(0, times(60, 1.0), Fate::In);
        let loser = contender(1, times(6, 1.2), Fate::Eliminated { by: 0, why: "slower".into() });
        let samples = samples(cases()[0], vec![leader, loser]);
        assert_eq!((samples[0].drift, samples[1].drift), (None, Some(2.0)));
        let means = [0, 1].map(|index| samples[index].summary().unwrap().mean);
        assert!((means[1] / means[0] - 1.2).abs() < 1e-9, "{means:?}");
    }

    #[test]
    fn a_candidate_that_breaks_or_measures_nonsense_is_excluded() {
        let mut fake = Fake::new(by_chains);
        fake.breaks = Some(kernels()[2]);
        let findings = search(&mut fake, 100.0, &quiet(), &mut ());
        let broken = &findings.samples[2];
        assert_eq!(broken.failed.as_deref(), Some("the pool died"));
        assert!(!broken.times.is_empty() && broken.summary().is_none(), "its times are kept, but not believed");

        for nonsense in [|_| 0.0, |_| -1.0, |_| f64::NAN] {
            let lineups = lineups();
            struct Nonsense(fn(KernelId) -> f64);
            impl Measure for Nonsense {
                type Error = String;
                fn pack(&mut self, _: Candidate, _: &Case) -> Result<(), String> {
                    Ok(())
                }
                fn check(&mut self, _: Candidate, _: &Case) -> Result<(), String> {
                    Ok(())
                }
                fn time(&mut self, candidate: Candidate, _: &Case) -> Result<f64, String> {
                    Ok((self.0)(candidate.kernel))
                }
            }
            let budget = Duration::from_secs(10);
            let search = Search { lineups: &lineups, budget, caution: Caution::Calm, interrupt: &quiet() };
            let findings = search.run(&mut Nonsense(nonsense), &mut ());
            assert_eq!(findings.samples.len(), 10);
            assert!(findings.samples.iter().all(|sample| sample.failed.as_ref().unwrap().contains("cannot take")));
        }
    }

    /// A machine whose cache holds some of the matrices that passes go through in turn: one kernel is ten times as fast as
    /// any other on a matrix that is in it, and slower on all others.
    struct Cached {
        inner: Fake,
        /// Matrices that are gone through before one is met again.
        pool: usize,
        /// Matrices, of those met last, that the cache holds.
        cache: usize,
        met: Vec<usize>,
    }

    impl Measure for Cached {
        type Error = String;

        fn pack(&mut self, candidate: Candidate, case: &Case) -> Result<(), String> {
            self.inner.pack(candidate, case)
        }

        fn check(&mut self, candidate: Candidate, case: &Case) -> Result<(), String> {
            self.inner.check(candidate, case)
        }

        fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, String> {
            let matrix = self.met.len() % self.pool;
            let warm = self.met.iter().rev().take(self.cache).any(|met| *met == matrix);
            self.met.push(matrix);
            let seconds = self.inner.time(candidate, case)?;
            Ok(if warm && candidate.kernel == kernels()[0] { 1e-4 } else { seconds })
        }
    }

    #[test]
    fn a_kernel_that_is_fast_on_warm_weights_alone_does_not_win() {
        let winner = |pool: usize| {
            let lineups = lineups();
            let budget = Duration::from_secs(100);
            let interrupt = quiet();
            let search = Search { lineups: &lineups, budget, caution: Caution::Calm, interrupt: &interrupt };
            let mut cached = Cached { inner: Fake::new(by_chains), pool, cache: 16, met: Vec::new() };
            let findings = search.run_by(&mut |cached: &Cached| cached.inner.elapsed, &mut cached, &mut ());
            let best = |sample: &&Sample| sample.eliminated.is_none() && sample.case == lineups[0].case;
            let best: Vec<KernelId> = findings.samples.iter().filter(best).map(|sample| sample.kernel).collect();
            assert_eq!(best.len(), 1);
            best[0]
        };
        assert_eq!(winner(17), kernels()[2], "of what is cold, the fastest");
        assert_eq!(winner(8), kernels()[0], "the trap is one");
    }

    #[test]
    fn on_a_loaded_machine_candidates_stay_longer() {
        let rounds = |caution: Caution| {
            let lineups = lineups();
            let budget = Duration::from_secs(100);
            let search = Search { lineups: &lineups, budget, caution, interrupt: &quiet() };
            let mut fake = Fake::new(by_chains);
            let findings = search.run_by(&mut |fake: &Fake| fake.elapsed, &mut fake, &mut ());
            findings.samples.iter().map(|sample| sample.times.len()).collect::<Vec<_>>()
        };
        let (calm, loaded) = (rounds(Caution::Calm), rounds(Caution::Loaded));
        assert!(calm.iter().zip(&loaded).all(|(calm, loaded)| *loaded >= 2 * calm.min(&stats::MIN_ROUNDS)));
    }

    /// Writes down how cases end.
    #[derive(Default)]
    struct Ends(Vec<(Case, usize, bool)>);

    impl Observer for Ends {
        fn progress(&mut self, _: &Progress) {}

        fn finished(&mut self, case: &Case, samples: &[Sample], settled: bool) {
            self.0.push((*case, samples.len(), settled));
        }
    }

    #[test]
    fn ends_of_cases_are_told() {
        let mut ends = Ends::default();
        search(&mut Fake::new(by_chains), 100.0, &quiet(), &mut ends);
        assert_eq!(ends.0, cases().map(|case| (case, 5, true)));

        let interrupt: &'static AtomicBool = Box::leak(Box::new(quiet()));
        let mut fake = Fake::new(by_chains);
        fake.stop_at = Some((8, interrupt));
        let mut ends = Ends::default();
        search(&mut fake, 100.0, interrupt, &mut ends);
        assert_eq!(ends.0, [(cases()[0], 5, false)], "a case that was not begun has no end");
    }

    #[test]
    fn an_observer_may_interrupt_before_a_pass() {
        struct Stop<'a>(&'a AtomicBool);
        impl Observer for Stop<'_> {
            fn progress(&mut self, progress: &Progress) {
                self.0.store(progress.phase == Phase::Timing, Ordering::Relaxed);
            }
        }
        let interrupt = quiet();
        let mut fake = Fake::new(by_chains);
        search(&mut fake, 100.0, &interrupt, &mut Stop(&interrupt));
        assert_eq!(fake.passes, 0);
    }

    #[test]
    fn an_interrupt_keeps_what_was_measured() {
        let interrupt: &'static AtomicBool = Box::leak(Box::new(quiet()));
        let mut fake = Fake::new(by_chains);
        fake.stop_at = Some((8, interrupt));
        let findings = search(&mut fake, 100.0, interrupt, &mut ());
        assert!(!findings.complete);
        assert_eq!(fake.passes, 8, "no pass follows the interrupt");
        assert_eq!(findings.samples.iter().map(|sample| sample.times.len()).sum::<usize>(), 8);
        assert!(findings.samples.iter().all(|sample| sample.case == cases()[0]));
    }

    #[test]
    fn a_flag_that_is_already_set_measures_nothing() {
        let mut fake = Fake::new(by_chains);
        let findings = search(&mut fake, 100.0, &AtomicBool::new(true), &mut ());
        assert_eq!(findings, Findings { samples: vec![], complete: false, excluded: vec![] });
        assert_eq!(fake.passes, 0);
    }

    #[test]
    fn budgets_are_kept_and_shared() {
        let mut fake = Fake::new(by_chains);
        let findings = search(&mut fake, 0.0, &quiet(), &mut ());
        assert_eq!(findings, Findings { samples: vec![], complete: false, excluded: vec![] });
        assert_eq!(fake.passes, 0);

        // 40 ms for two cases: each is checked (5 ms) and has some rounds; equals would take far longer.
        let mut fake = Fake::new(|_| 1e-3);
        let findings = search(&mut fake, 0.04, &quiet(), &mut ());
        assert!(findings.complete, "each candidate was measured");
        assert!(fake.elapsed < Duration::from_millis(44), "{:?}", fake.elapsed);
        for case in cases() {
            assert!(findings.samples.iter().filter(|sample| sample.case == case).count() == 5);
        }
        // Too little for all candidates of the first case to be timed once.
        let mut fake = Fake::new(|_| 1e-3);
        let findings = search(&mut fake, 0.014, &quiet(), &mut ());
        assert!(!findings.complete && !findings.samples.is_empty());
    }

    /// The first case of a shape packs weights for all of them, which takes longer than its own part of the time.
    #[test]
    fn what_one_case_packs_all_pay_for() {
        struct Packing(Fake);
        impl Measure for Packing {
            type Error = String;
            fn pack(&mut self, _: Candidate, case: &Case) -> Result<(), String> {
                self.0.elapsed += Duration::from_millis(if *case == cases()[0] { 20 } else { 0 });
                Ok(())
            }
            fn check(&mut self, candidate: Candidate, case: &Case) -> Result<(), String> {
                self.0.check(candidate, case)
            }
            fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, String> {
                self.0.time(candidate, case)
            }
        }
        let (lineups, budget) = (lineups(), Duration::from_millis(200));
        let search = Search { lineups: &lineups, budget, caution: Caution::Calm, interrupt: &quiet() };
        let mut packing = Packing(Fake::new(|_| 1e-3));
        let findings = search.run_by(&mut |packing: &Packing| packing.0.elapsed, &mut packing, &mut ());
        assert!(findings.complete);
        assert!(packing.0.elapsed < Duration::from_millis(206), "{:?}", packing.0.elapsed);
        let rounds =
            cases().map(|case| findings.samples.iter().find(|sample| sample.case == case).unwrap().times.len());
        assert!(rounds.iter().all(|&rounds| rounds >= 6), "{rounds:?}");
    }

    #[test]
    fn nothing_to_search_is_soon_found() {
        let none = Search { lineups: &[], budget: Duration::MAX, caution: Caution::Calm, interrupt: &quiet() };
        let findings = none.run(&mut Fake::new(by_chains), &mut ());
        assert_eq!(findings, Findings { samples: vec![], complete: true, excluded: vec![] });
        let findings = Search { lineups: &lineups()[..1], ..none }.run(&mut Fake::new(by_chains), &mut ());
        assert_eq!((findings.samples.len(), findings.complete), (5, true), "no budget is too large");
    }
}
