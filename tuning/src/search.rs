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
//! for the others. A case of c candidates whose passes take t seconds needs about 6 · c · t for a first judgement
//! and seldom more than 20 · t for each close rival; checks and packing count too. The budget is looked at between
//! passes: a search overruns it by one pass or check at most.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::case::Case;
use crate::results::Sample;
use crate::stats::{self, Standing};

/// Rounds after which candidates that still cannot be told apart are called equal.
const MAX_ROUNDS: usize = 100;

/// How candidates are run: the search itself knows no kernels.
pub trait Measure {
    /// Why a candidate cannot be used.
    type Error: fmt::Display;

    /// Packs weights for a candidate and computes the case once.
    ///
    /// # Errors
    /// Where the integers differ from the reference's, or the kernel cannot be run: it is then not timed.
    fn prepare(&mut self, candidate: Candidate, case: &Case) -> Result<(), Self::Error>;

    /// Seconds of one pass of a prepared candidate, with cold weights.
    ///
    /// # Errors
    /// Where the pass failed: the candidate is then excluded.
    fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, Self::Error>;

    /// No more passes of `case` follow: what was prepared for it may be dropped.
    fn finish(&mut self, _case: &Case) {}
}

/// What a search is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Packing weights and comparing with the reference.
    Checking,
    /// Timing passes.
    Timing,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// For which case.
    pub case: Case,
    /// Cases that are done.
    pub done: usize,
    /// Cases in all.
    pub cases: usize,
    /// Candidates of this case that are still in.
    pub left: usize,
    /// Rounds of this case that are done.
    pub rounds: usize,
    /// The fastest candidate so far, and its trimmed mean in seconds.
    pub leader: Option<(Candidate, f64)>,
    /// Share of the search that is done, from 0 to 1; it never falls.
    pub fraction: f64,
    /// The longest that the search will still take.
    pub time_left: Duration,
}

/// Watches a search, after every check and every pass.
pub trait Observer {
    /// Called between passes, so it should be quick.
    fn progress(&mut self, progress: &Progress);
}

/// Nobody watches.
impl Observer for () {
    fn progress(&mut self, _: &Progress) {}
}

/// A case, and who is to be compared in it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    Eliminated(String),
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
        let mut findings = Findings { samples: Vec::new(), complete: true };
        for (done, Lineup { case, candidates }) in self.lineups.iter().enumerate() {
            let begin = clock(measure);
            let share = self.budget.saturating_sub(begin) / (self.lineups.len() - done) as u32;
            let mut trial = Trial {
                search: self,
                case,
                done,
                begin,
                share,
                contenders: candidates.iter().map(Contender::new).collect(),
            };
            trial.run(clock, measure, observer);
            findings.complete &= trial.contenders.iter().all(Contender::is_settled);
            findings.samples.extend(trial.contenders.into_iter().filter_map(|contender| contender.sample(*case)));
        }
        findings.complete &= !self.interrupt.load(Ordering::Relaxed);
        findings
    }
}

impl Contender {
    fn new(candidate: &Candidate) -> Self {
        Contender { candidate: *candidate, times: Vec::new(), fate: Fate::Waiting }
    }

    fn is_settled(&self) -> bool {
        !self.times.is_empty() || matches!(self.fate, Fate::Failed(_))
    }

    /// Its row in the results; none where nothing is known of it.
    fn sample(self, case: Case) -> Option<Sample> {
        let settled = self.is_settled();
        let mut sample = Sample::new(case, self.candidate, &self.times);
        match self.fate {
            Fate::Waiting | Fate::In => (),
            Fate::Eliminated(why) => sample.eliminated = Some(why),
            Fate::Failed(why) => sample.failed = Some(why),
        }
        settled.then_some(sample)
    }
}

/// One case's share of a search.
struct Trial<'a> {
    search: &'a Search<'a>,
    case: &'a Case,
    done: usize,
    begin: Duration,
    share: Duration,
    contenders: Vec<Contender>,
}

impl Trial<'_> {
    fn run<M: Measure>(
        &mut self,
        clock: &mut impl FnMut(&M) -> Duration,
        measure: &mut M,
        observer: &mut impl Observer,
    ) {
        let mut checked = false;
        for index in 0..self.contenders.len() {
            if self.is_over(clock(measure)) {
                break;
            }
            observer.progress(&self.progress(Phase::Checking, 0, clock(measure)));
            checked = true;
            let contender = &mut self.contenders[index];
            contender.fate = match measure.prepare(contender.candidate, self.case) {
                Ok(()) => Fate::In,
                Err(error) => Fate::Failed(error.to_string()),
            };
        }
        self.rounds(clock, measure, observer);
        if checked {
            measure.finish(self.case);
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
                if self.is_over(clock(measure)) {
                    return;
                }
                let contender = &mut self.contenders[index];
                match measure.time(contender.candidate, self.case) {
                    Ok(seconds) if seconds.is_finite() && seconds > 0.0 => contender.times.push(seconds),
                    Ok(seconds) => contender.fate = Fate::Failed(format!("a pass cannot take {seconds} seconds")),
                    Err(error) => contender.fate = Fate::Failed(error.to_string()),
                }
                observer.progress(&self.progress(Phase::Timing, round, clock(measure)));
            }
            if self.judge(round + 1) {
                return;
            }
        }
    }

    /// Drops those who are slower than the leader beyond the noise; whether that settles the case.
    fn judge(&mut self, round: usize) -> bool {
        let Some((leader, _)) = self.leader() else { return true };
        let (leading, times) = (self.contenders[leader].candidate, self.contenders[leader].times.clone());
        let mut settled = round >= stats::MIN_ROUNDS;
        for index in self.inside() {
            if index == leader {
                continue;
            }
            let contender = &mut self.contenders[index];
            match stats::standing(&times, &contender.times) {
                Standing::Slower(ratio) => {
                    let percent = (ratio - 1.0) * 100.0;
                    contender.fate =
                        Fate::Eliminated(format!("{percent:.1} % slower than {leading} after {round} rounds"));
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

    fn is_over(&self, now: Duration) -> bool {
        now >= self.begin.saturating_add(self.share) || self.search.interrupt.load(Ordering::Relaxed)
    }

    fn progress(&self, phase: Phase, rounds: usize, now: Duration) -> Progress {
        let cases = self.search.lineups.len();
        let spent = now.saturating_sub(self.begin).as_secs_f64() / self.share.as_secs_f64().max(f64::MIN_POSITIVE);
        Progress {
            phase,
            case: *self.case,
            done: self.done,
            cases,
            left: self.contenders.iter().filter(|c| matches!(c.fate, Fate::Waiting | Fate::In)).count(),
            rounds,
            leader: self.leader().map(|(index, seconds)| (self.contenders[index].candidate, seconds)),
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
        finished: usize,
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
                finished: 0,
                stop_at: None,
                lies: None,
                breaks: None,
                seconds,
            }
        }
    }

    impl Measure for Fake {
        type Error = String;

        fn prepare(&mut self, Candidate { kernel, .. }: Candidate, _: &Case) -> Result<(), String> {
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

        fn finish(&mut self, _: &Case) {
            self.finished += 1;
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

    fn cases() -> Vec<Case> {
        let case = |shape: &str| Case { shape: shape.parse().unwrap(), threads: 1, op: Op::Gemv, m: 1 };
        vec![case("640x2560"), case("2560x640")]
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
        let search = Search { lineups: &lineups, budget, interrupt };
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
        assert_eq!(fake.finished, 2);
        assert!(fake.elapsed < Duration::from_secs(1), "the budget was {:?} too much", fake.elapsed);

        assert!(diary.0.is_sorted_by_key(|progress| progress.fraction));
        assert!(diary.0.iter().all(|progress| (0.0..=1.0).contains(&progress.fraction) && progress.left <= 5));
        let last = diary.0.last().unwrap();
        assert_eq!((last.done, last.cases, last.phase), (1, 2, Phase::Timing));
        assert_eq!(last.leader.unwrap().0.kernel.tile.ku, 4);
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
        for sample in findings.samples.iter().filter(|sample| sample.kernel == kernels()[2]) {
            assert_eq!(sample.failed.as_deref(), Some("row 3 differs from the reference"));
            assert!(sample.times.is_empty() && sample.summary().is_none());
        }
        assert!(findings.samples.iter().any(|sample| sample.kernel.tile.ku == 2 && sample.eliminated.is_none()));
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
                fn prepare(&mut self, _: Candidate, _: &Case) -> Result<(), String> {
                    Ok(())
                }
                fn time(&mut self, candidate: Candidate, _: &Case) -> Result<f64, String> {
                    Ok((self.0)(candidate.kernel))
                }
            }
            let budget = Duration::from_secs(10);
            let search = Search { lineups: &lineups, budget, interrupt: &quiet() };
            let findings = search.run(&mut Nonsense(nonsense), &mut ());
            assert_eq!(findings.samples.len(), 10);
            assert!(findings.samples.iter().all(|sample| sample.failed.as_ref().unwrap().contains("cannot take")));
        }
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
        assert_eq!(fake.finished, 1);
    }

    #[test]
    fn a_flag_that_is_already_set_measures_nothing() {
        let mut fake = Fake::new(by_chains);
        let findings = search(&mut fake, 100.0, &AtomicBool::new(true), &mut ());
        assert_eq!(findings, Findings { samples: vec![], complete: false });
        assert_eq!((fake.passes, fake.finished), (0, 0));
    }

    #[test]
    fn budgets_are_kept_and_shared() {
        let mut fake = Fake::new(by_chains);
        let findings = search(&mut fake, 0.0, &quiet(), &mut ());
        assert_eq!(findings, Findings { samples: vec![], complete: false });
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

    #[test]
    fn nothing_to_search_is_soon_found() {
        let none = Search { lineups: &[], budget: Duration::MAX, interrupt: &quiet() };
        let findings = none.run(&mut Fake::new(by_chains), &mut ());
        assert_eq!(findings, Findings { samples: vec![], complete: true });
        let findings = Search { lineups: &lineups()[..1], ..none }.run(&mut Fake::new(by_chains), &mut ());
        assert_eq!((findings.samples.len(), findings.complete), (5, true), "no budget is too large");
    }
}
