//! Which kernel a shape is served by, and the one layout that all of its kernels read.
//!
//! A tensor is packed once, so its gemv and its gemm must share a [`Layout`]; the fastest gemv and the fastest gemm may
//! want different ones. [`choose`] therefore weighs whole layouts: for each case of a shape it takes the fastest kernel
//! that reads the layout, divides its time by that of the fastest kernel of all, and adds these slowdowns up with
//! [`Weighting`]. The layout with the least sum wins. [`predicted`] does the same with times that [`cost`]
//! predicts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tritune_codegen::{KernelId, Layout, Op, Schedule};

use crate::candidate::{Candidate, schedule};
use crate::case::Case;
use crate::cost::{self, Roofline};
use crate::results::{Sample, four_figures};
use crate::shapes::Shape;
use crate::stats::{MIN_ROUNDS, Summary, USEFUL};

/// The kernel for a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// The situation.
    #[serde(flatten)]
    pub case: Case,
    /// The kernel.
    #[serde(with = "crate::name")]
    pub kernel: KernelId,
    /// How it is run.
    #[serde(default, with = "schedule", skip_serializing_if = "schedule::is_default")]
    pub schedule: Schedule,
    /// Trimmed mean of its passes; with a schedule of its own, over what that one gained in the same rounds.
    pub seconds: f64,
    /// Standard error of the passes by the default schedule, over their mean; absent where too few tell none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// `seconds` over the time of the fastest kernel in any layout: what sharing packed weights costs here.
    pub regret: f64,
    /// What would run had nothing been measured.
    #[serde(default, with = "crate::name::option", skip_serializing_if = "Option::is_none")]
    pub default: Option<KernelId>,
    /// Trimmed mean of the default's passes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_seconds: Option<f64>,
    /// What the cost model would pick.
    #[serde(default, with = "crate::name::option", skip_serializing_if = "Option::is_none")]
    pub analytic: Option<KernelId>,
    /// Trimmed mean of that kernel's passes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analytic_seconds: Option<f64>,
}

impl Pick {
    /// Time of the default over that of the pick: above 1 where tuning paid.
    pub fn ratio(&self) -> Option<f64> {
        self.default_seconds.map(|default| default / self.seconds)
    }

    /// What was picked.
    pub fn candidate(&self) -> Candidate {
        Candidate { kernel: self.kernel, schedule: self.schedule }
    }

    /// Time of the fastest candidate of the case, in any layout.
    pub fn best_seconds(&self) -> f64 {
        self.seconds / self.regret
    }

    /// Takes the schedule by which its kernel was fastest, if it beats its own by what is of use and beyond the noise. `samples` are of its kernel in its case, all of the same rounds.
    pub fn schedule_by(&mut self, samples: &[Sample]) {
        let usual = self.candidate();
        let of = |sample: &&Sample| sample.case == self.case && sample.kernel == self.kernel;
        let timed = samples.iter().filter(of).filter_map(|sample| Some((sample, sample.summary()?)));
        let Some((base, base_summary)) = timed.clone().find(|(sample, _)| sample.candidate() == usual) else { return };
        let left = timed.filter(|(sample, _)| sample.eliminated.is_none());
        let Some((best, summary)) = left.min_by(|a, b| a.1.mean.total_cmp(&b.1.mean)) else { return };
        let gain = base_summary.mean / summary.mean;
        if base.eliminated.is_some() && gain > 1.0 + USEFUL {
            self.schedule = best.schedule;
            self.seconds = four_figures(self.seconds / gain);
            // Nobody knows how fast the others were by schedules of their own.
            self.regret = four_figures((self.regret / gain).max(1.0));
        }
    }
}

/// How much decoding and prefill count when a layout is chosen. Only their ratio matters.
///
/// Decoding's share goes to the gemv cases in proportion to 1/m, for single tokens are the common case; prefill's goes
/// to the gemm cases evenly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighting {
    /// Weight of all gemv cases.
    pub decode: f64,
    /// Weight of all gemm cases.
    pub prefill: f64,
}

impl Default for Weighting {
    /// Most of a conversation's time is decoding.
    fn default() -> Self {
        Weighting { decode: 0.7, prefill: 0.3 }
    }
}

/// A candidate with its time.
#[derive(Clone, Copy)]
struct Entry {
    case: Case,
    kernel: KernelId,
    summary: Summary,
    /// It was seen to be slower than another in the same rounds.
    eliminated: bool,
}

/// Settles every shape and number of threads that was measured: one layout, and a kernel for each case.
///
/// `defaults` are the kernels that would run had nothing been measured, in order of preference. A default stays where
/// what beats it does so by less than is of use, or than the noise, and so does its layout: a build need not compile more kernels for
/// noise. A layout that leaves a case without any kernel is chosen only where every layout does.
pub fn choose(samples: &[Sample], defaults: &[KernelId], weighting: Weighting) -> Vec<Pick> {
    let entries: Vec<Entry> = samples
        .iter()
        .filter_map(|sample| {
            let (summary, eliminated) = (sample.summary()?, sample.eliminated.is_some());
            // Who was cut off before noise could be told from speed displaces nobody.
            let error = if eliminated || summary.count >= MIN_ROUNDS { summary.error } else { f64::INFINITY };
            let summary = Summary { error, ..summary };
            Some(Entry { case: sample.case, kernel: sample.kernel, summary, eliminated })
        })
        .collect();
    settle(&entries, defaults, weighting, USEFUL)
}

/// Settles what [`choose`] would, had every one of `candidates` been measured in each of `cases` that it suits, and taken
/// the time that `roofline` predicts. A default stays unless it is beaten by more than the prediction's error,
/// [`cost::ERROR`]; a pick's times are predicted ones.
pub fn predicted(
    cases: &[Case],
    candidates: &[KernelId],
    defaults: &[KernelId],
    roofline: &Roofline,
    weighting: Weighting,
) -> Vec<Pick> {
    let entries: Vec<Entry> = cases
        .iter()
        .flat_map(|&case| {
            candidates.iter().filter(move |kernel| case.suits(kernel)).filter_map(move |&kernel| {
                // Predictions have no noise; what they may be wrong by is what is of no use to the rule.
                let summary = Summary { error: 0.0, ..Summary::of(&[roofline.seconds(&kernel, &case)])? };
                Some(Entry { case, kernel, summary, eliminated: false })
            })
        })
        .collect();
    let mut picks = settle(&entries, defaults, weighting, cost::ERROR);
    picks.iter_mut().for_each(|pick| pick.error = None);
    picks
}

/// Tells each pick what the cost model alone, without defaults to fall back on, would have picked of the kernels in
/// `samples`, and how long that took when it was measured.
pub fn compare(picks: &mut [Pick], samples: &[Sample], roofline: &Roofline, weighting: Weighting) {
    let cases: Vec<Case> = picks.iter().map(|pick| pick.case).collect();
    let kernels: BTreeSet<KernelId> = samples.iter().map(|sample| sample.kernel).collect();
    let kernels: Vec<KernelId> = kernels.into_iter().collect();
    let predicted = predicted(&cases, &kernels, &[], roofline, weighting);
    for pick in picks {
        pick.analytic = predicted.iter().find(|other| other.case == pick.case).map(|other| other.kernel);
        let is_it = |sample: &&Sample| {
            sample.case == pick.case && pick.analytic.map(Candidate::from) == Some(sample.candidate())
        };
        let measured = samples.iter().find(is_it).and_then(Sample::summary);
        pick.analytic_seconds = measured.map(|summary| four_figures(summary.mean));
    }
}

/// The rule of [`choose`]; what beats a default by less than `useful` does not replace it.
fn settle(entries: &[Entry], defaults: &[KernelId], weighting: Weighting, useful: f64) -> Vec<Pick> {
    let tensors: BTreeSet<(Shape, usize)> = entries.iter().map(|e| (e.case.shape, e.case.threads)).collect();
    let mut picks = Vec::new();
    for tensor in tensors {
        let of_tensor = entries.iter().filter(|e| (e.case.shape, e.case.threads) == tensor).copied().collect();
        picks.extend(Contest { entries: of_tensor, defaults, weighting, useful }.picks());
    }
    picks
}

/// What is known of one shape and number of threads.
struct Contest<'a> {
    entries: Vec<Entry>,
    defaults: &'a [KernelId],
    weighting: Weighting,
    /// Relative differences below this are none.
    useful: f64,
}

impl Contest<'_> {
    fn picks(&self) -> Vec<Pick> {
        let Some(layout) = self.layout() else { return Vec::new() };
        self.served(layout).into_iter().filter_map(|(case, entry)| self.pick(&case, entry?)).collect()
    }

    /// All cases, of a gemv those with the fewest tokens first.
    fn cases(&self) -> BTreeSet<Case> {
        self.entries.iter().map(|entry| entry.case).collect()
    }

    /// What would run in this case had nothing been measured: of the first instruction set that has any, the kernel that takes
    /// the fewest passes.
    fn default(&self, case: &Case) -> Option<KernelId> {
        let suiting = || self.defaults.iter().copied().filter(|kernel| case.suits(kernel));
        let first = suiting().next()?;
        let alike = suiting().filter(|kernel| kernel.isa == first.isa && kernel.layout() == first.layout());
        // The first of equals.
        alike.min_by_key(|kernel| case.m.div_ceil(kernel.tile.mr.into()))
    }

    fn layout(&self) -> Option<Layout> {
        let layouts: BTreeSet<Layout> = self.entries.iter().map(|entry| entry.kernel.layout()).collect();
        let rated: Vec<(Layout, (f64, f64))> = layouts.into_iter().map(|layout| (layout, self.rate(layout))).collect();
        let order = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
        let (best, (unserved, slowdown)) = *rated.iter().min_by(|a, b| order(&a.1, &b.1))?;
        let by_default = self.cases().iter().find_map(|case| self.default(case)).map(|kernel| kernel.layout());
        let default = rated.iter().find(|(layout, _)| Some(*layout) == by_default);
        match default {
            Some((default, rating)) if rating.0 <= unserved && rating.1 <= slowdown * (1.0 + self.useful) => {
                Some(*default)
            }
            _ => Some(best),
        }
    }

    /// The weight of the cases that a layout leaves unserved, or serves worse than the default would, and its mean slowdown
    /// on the others: nobody is to lose by tuning.
    fn rate(&self, layout: Layout) -> (f64, f64) {
        let served = self.served(layout);
        let importance = |case: &Case| if case.op == Op::Gemv { 1.0 / case.m as f64 } else { 1.0 };
        let (mut unserved, mut weights, mut slowdown) = (0.0, 0.0, 0.0);
        for (case, entry) in &served {
            let alike = served.iter().filter(|(other, _)| other.op == case.op);
            let weight = importance(case) / alike.map(|(other, _)| importance(other)).sum::<f64>()
                * match case.op {
                    Op::Gemv => self.weighting.decode,
                    Op::Gemm => self.weighting.prefill,
                };
            match (entry, self.fastest(case, |_| true)) {
                (Some(here), Some(anywhere)) if !self.is_worse(here, case) => {
                    weights += weight;
                    slowdown += weight * here.summary.mean / anywhere.summary.mean;
                }
                _ => unserved += weight,
            }
        }
        (unserved, if weights > 0.0 { slowdown / weights } else { f64::INFINITY })
    }

    /// What serves each case in a layout. Passes for fewer tokens at a time are made by what serves so few: a layout has one
    /// kernel for each number of tokens.
    fn served(&self, layout: Layout) -> Vec<(Case, Option<&Entry>)> {
        let mut served: Vec<(Case, Option<&Entry>)> = Vec::new();
        for case in self.cases() {
            let picked = |kernel: KernelId| served.iter().any(|(_, entry)| entry.is_some_and(|e| e.kernel == kernel));
            let may = |kernel: KernelId| {
                kernel.layout() == layout && (case.op == Op::Gemm || case.is_own(&kernel) || picked(kernel))
            };
            let entry = self.fastest(&case, may).map(|fastest| {
                self.measured_default(&case)
                    .filter(|default| may(default.kernel) && self.stays(default, fastest))
                    .unwrap_or(fastest)
            });
            served.push((case, entry));
        }
        served
    }

    /// Whether a default is not known to be slower than the fastest.
    fn stays(&self, default: &Entry, fastest: &Entry) -> bool {
        !default.eliminated && default.summary.mean <= fastest.summary.mean * (1.0 + self.margin(default, fastest))
    }

    /// Whether the default is faster in a case, by what is of use and beyond the noise; or not known not to be.
    fn is_worse(&self, entry: &Entry, case: &Case) -> bool {
        self.measured_default(case).filter(|default| default.kernel != entry.kernel).is_some_and(|default| {
            let margin = self.margin(entry, default);
            margin.is_infinite() || entry.summary.mean > default.summary.mean * (1.0 + margin)
        })
    }

    fn measured_default(&self, case: &Case) -> Option<&Entry> {
        let default = self.default(case);
        self.entries.iter().find(|entry| entry.case == *case && Some(entry.kernel) == default)
    }

    /// The relative difference that two entries may have without one being faster: any, where too few passes were made to
    /// know.
    fn margin(&self, a: &Entry, b: &Entry) -> f64 {
        self.useful.max(2.0 * a.summary.error.hypot(b.summary.error))
    }

    /// The fastest kernel for a case, of those that `may` serve it; the first of equals. One that was eliminated is behind all
    /// that were not.
    fn fastest(&self, case: &Case, may: impl Fn(KernelId) -> bool) -> Option<&Entry> {
        let rivals = self.entries.iter().filter(|entry| entry.case == *case && may(entry.kernel));
        rivals.min_by(|a, b| a.eliminated.cmp(&b.eliminated).then(a.summary.mean.total_cmp(&b.summary.mean)))
    }

    fn pick(&self, case: &Case, Entry { kernel, summary, .. }: &Entry) -> Option<Pick> {
        let anywhere = self.fastest(case, |_| true)?;
        let measured = self.measured_default(case);
        Some(Pick {
            case: *case,
            kernel: *kernel,
            schedule: Schedule::default(),
            seconds: four_figures(summary.mean),
            error: Some(summary.error).filter(|error| error.is_finite()).map(four_figures),
            regret: four_figures(summary.mean / anywhere.summary.mean),
            default: self.default(case),
            default_seconds: measured.map(|entry| four_figures(entry.summary.mean)),
            analytic: None,
            analytic_seconds: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: [&str; 2] = ["gemv_t200_1x16k64u4__avx512vnni_dot", "gemm_t200_16x16k64u1__avx512vnni_dot"];
    const WIDE: [&str; 2] = ["gemv_t200_1x32k64u4__avx512vnni_dot", "gemm_t200_8x32k64u1__avx512vnni_dot"];

    fn case(op: Op, m: usize) -> Case {
        Case { shape: "2560x2560".parse().unwrap(), threads: 2, op, m }
    }

    fn sample(m: usize, kernel: &str, time: f64) -> Sample {
        let kernel: KernelId = kernel.parse().unwrap();
        Sample::new(case(kernel.op, m), kernel, &[1.0, 1.002, 0.998, 1.0, 1.002, 0.998].map(|noise| time * noise))
    }

    /// Times of the narrow gemv and gemm, and of the wide ones.
    fn samples(times: [f64; 4]) -> Vec<Sample> {
        let [a, b, c, d] = times;
        vec![sample(1, NARROW[0], a), sample(128, NARROW[1], b), sample(1, WIDE[0], c), sample(128, WIDE[1], d)]
    }

    fn names(picks: &[Pick]) -> Vec<String> {
        picks.iter().map(|pick| pick.kernel.to_string()).collect()
    }

    fn ids(names: &[&str]) -> Vec<KernelId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn gemv_and_gemm_share_a_layout() {
        // The wide gemv is 10 % faster, the wide gemm 20 % slower: 0.7 · 1.11 + 0.3 against 0.7 + 0.3 · 1.2.
        let picks = choose(&samples([1.0, 10.0, 0.9, 12.0]), &[], Weighting::default());
        assert_eq!(names(&picks), WIDE);
        assert_eq!((picks[0].regret, picks[1].regret), (1.0, 1.2));
        assert_eq!((picks[0].default, picks[0].ratio()), (None, None));
        // Prefill alone wants the narrow one.
        let picks = choose(&samples([1.0, 10.0, 0.9, 12.0]), &[], Weighting { decode: 0.0, prefill: 1.0 });
        assert_eq!(names(&picks), NARROW);
        assert!((picks[0].regret - 1.0 / 0.9).abs() < 1e-3);
    }

    #[test]
    fn defaults_stay_unless_beaten_by_what_is_of_use() {
        let defaults = ids(&WIDE);
        let choice = |times| names(&choose(&samples(times), &defaults, Weighting::default()));
        assert_eq!(choice([0.995, 10.0, 1.0, 10.0]), WIDE);
        assert_eq!(choice([0.9, 10.0, 1.0, 10.0]), NARROW);

        // Within the layout as well, kernel by kernel.
        let mut close = samples([1.0, 10.0, 2.0, 20.0]);
        close.push(sample(1, "gemv_t200_1x16k64u2__avx512vnni_dot", 0.995));
        let picks = choose(&close, &ids(&NARROW), Weighting::default());
        assert_eq!(names(&picks), NARROW);
        assert_eq!(picks[0].ratio(), Some(1.0));
        close.push(sample(1, "gemv_t200_1x16k64u1__avx512vnni_dot", 0.8));
        let picks = choose(&close, &ids(&NARROW), Weighting::default());
        assert_eq!(picks[0].kernel.tile.ku, 1);
        assert_eq!((picks[0].default, picks[0].ratio()), (Some(ids(&NARROW)[0]), Some(1.25)));
    }

    #[test]
    fn nobody_loses_by_tuning() {
        let defaults = ids(&WIDE);
        let choice = |times, weighting| names(&choose(&samples(times), &defaults, weighting));
        // Half the time for single tokens, and prompts a tenth slower than by default.
        assert_eq!(choice([0.5, 11.0, 1.0, 10.0], Weighting::default()), WIDE);
        assert_eq!(choice([0.5, 10.05, 1.0, 10.0], Weighting::default()), NARROW);
        // Unless prompts are said not to count.
        assert_eq!(choice([0.5, 11.0, 1.0, 10.0], Weighting { decode: 1.0, prefill: 0.0 }), NARROW);
    }

    #[test]
    fn several_tokens_are_computed_in_passes_where_that_is_faster() {
        let two = "gemv_t200_2x16k64u4__avx512vnni_dot";
        let choice = |by_two, by_one| {
            let mut all = samples([1.0, 10.0, 2.0, 20.0]);
            for (kernel, time) in [(two, by_two), (NARROW[0], by_one)] {
                let ratio = time / 1.0;
                let mut sample = sample(1, NARROW[0], ratio);
                (sample.case, sample.kernel) = (case(Op::Gemv, 2), kernel.parse().unwrap());
                all.push(sample);
            }
            let picks = choose(&all, &ids(&[NARROW[0], two]), Weighting::default());
            let pick = picks.iter().find(|pick| pick.case.m == 2).unwrap();
            assert_eq!(pick.default, Some(two.parse().unwrap()), "by default it takes one pass");
            pick.kernel.to_string()
        };
        assert_eq!(choice(1.5, 1.9), two);
        assert_eq!(choice(1.9, 1.5), NARROW[0]);
    }

    /// Who was cut off after a few rounds may have been lucky.
    #[test]
    fn too_few_rounds_displace_no_default() {
        let mut all = samples([0.5, 5.0, 1.0, 10.0]);
        assert_eq!(names(&choose(&all, &ids(&WIDE), Weighting::default())), NARROW);
        all.iter_mut().for_each(|sample| sample.times.truncate(MIN_ROUNDS - 1));
        assert_eq!(names(&choose(&all, &ids(&WIDE), Weighting::default())), WIDE);
        // Where there is none, it is all that is known.
        assert_eq!(names(&choose(&all, &[], Weighting::default())), NARROW);
    }

    #[test]
    fn a_layout_serves_every_case_or_is_passed_over() {
        let mut all = samples([1.0, 10.0, 0.1, 1.0]);
        all.push(sample(4, "gemv_t200_4x16k64u2__avx512vnni_dot", 2.0));
        let picks = choose(&all, &[], Weighting::default());
        assert_eq!(picks.len(), 3);
        assert!(picks.iter().all(|pick| pick.kernel.tile.nr == 16), "the fast layout cannot serve four tokens");
        // Where no layout serves all, the one that serves most of the weight.
        let picks = choose(&[sample(1, NARROW[0], 1.0), sample(128, WIDE[1], 1.0)], &[], Weighting::default());
        assert_eq!(names(&picks), NARROW[..1]);
    }

    #[test]
    fn failed_and_unmeasured_candidates_are_never_picked() {
        let mut all = samples([1.0, 10.0, 0.1, 1.0]);
        all[2].failed = Some("row 0 differs".into());
        all[3].times.clear();
        assert_eq!(names(&choose(&all, &[], Weighting::default())), NARROW);
        assert_eq!(choose(&[], &[], Weighting::default()), []);
        all.iter_mut().for_each(|sample| sample.failed = Some("no".into()));
        assert_eq!(choose(&all, &[], Weighting::default()), []);
    }

    #[test]
    fn tensors_are_settled_apart() {
        let mut all = samples([1.0, 10.0, 2.0, 20.0]);
        all.extend(samples([2.0, 20.0, 1.0, 10.0]).into_iter().map(|mut sample| {
            sample.case.threads = 1;
            sample
        }));
        let picks = choose(&all, &[], Weighting::default());
        assert_eq!(names(&picks), [WIDE, NARROW].concat());
        assert_eq!(picks.iter().map(|pick| pick.case.threads).collect::<Vec<_>>(), [1, 1, 2, 2]);
    }

    /// What the model alone makes of the default menu's own kernels and of these.
    fn analytic(shape: &str, candidates: &[&str], defaults: &[&str]) -> Vec<String> {
        let shape = [shape.parse().unwrap()];
        let candidates = ids(&[defaults, candidates].concat());
        let cases = Case::list(&shape, &[2], &candidates, &[240]);
        let picks = predicted(&cases, &candidates, &ids(defaults), &Roofline::default(), Weighting::default());
        assert!(picks.iter().all(|pick| pick.error.is_none() && pick.seconds > 0.0 && pick.default.is_some()));
        names(&picks)
    }

    #[test]
    fn predictions_keep_the_defaults_unless_they_are_sure() {
        // A sixth fewer bytes, and half a panel of padding, are within the error.
        let t167 = ["gemv_t167_1x64k48u2__avx512vnni_lut", "gemm_t167_4x64k48u1__avx512vnni_dot"];
        assert_eq!(analytic("2560x2560", &[&NARROW[..], &t167].concat(), &WIDE), WIDE);
        assert_eq!(analytic("208x2560", &NARROW, &WIDE), WIDE);
        // Half of the default's panel would be padding.
        assert_eq!(analytic("16x25600", &NARROW, &WIDE), NARROW);
        // Within a layout, a single chain of products is known to be slow.
        let slow = ["gemv_t200_1x8k64u1__avxvnni_dot", "gemm_t200_4x8k64u1__avxvnni_dot"];
        let quick = "gemv_t200_1x8k64u4__avxvnni_dot";
        assert_eq!(analytic("2560x2560", &[quick], &slow), [quick, slow[1]]);
    }

    #[test]
    fn picks_are_told_what_the_model_would_have_picked() {
        let samples = samples([1.0, 10.0, 0.9, 12.0]);
        let mut picks = choose(&samples, &[], Weighting::default());
        compare(&mut picks, &samples, &Roofline::default(), Weighting::default());
        for (pick, sample) in picks.iter().zip(&samples[2..]) {
            assert_eq!(
                (pick.analytic, pick.analytic_seconds),
                (Some(sample.kernel), sample.summary().map(|summary| four_figures(summary.mean)))
            );
        }
        // What it would pick was not measured, or failed.
        let mut failed = samples.clone();
        failed[2].failed = Some("wrong".into());
        compare(&mut picks, &failed, &Roofline::default(), Weighting::default());
        assert_eq!((picks[0].analytic, picks[0].analytic_seconds), (Some(samples[2].kernel), None));
        assert!(picks[1].analytic_seconds.is_some());
    }

    #[test]
    fn nothing_is_predicted_of_nothing() {
        let (case, roofline) = (case(Op::Gemv, 1), Roofline::default());
        assert_eq!(predicted(&[], &ids(&NARROW), &[], &roofline, Weighting::default()), []);
        assert_eq!(predicted(&[case], &[], &[], &roofline, Weighting::default()), []);
        assert_eq!(predicted(&[case], &ids(&NARROW[1..]), &[], &roofline, Weighting::default()), []);
    }

    #[test]
    fn schedules_are_taken_where_they_are_of_use() {
        let kernel: KernelId = NARROW[0].parse().unwrap();
        let mut pick = choose(&samples([1.0, 10.0, 2.0, 20.0]), &[], Weighting::default())[0].clone();
        let run = |pieces, time, eliminated: Option<&str>| {
            let candidate = Candidate { kernel, schedule: Schedule { pieces, ..Schedule::default() } };
            let sample = Sample::new(pick.case, candidate, &[time, time * 1.002, time * 0.998]);
            Sample { eliminated: eliminated.map(String::from), ..sample }
        };
        let usual = Schedule::default().pieces;
        let (level, slower) = ([run(usual, 1.2, None), run(2, 0.9, None)], run(usual, 1.2, Some("slower")));
        let faster = [slower.clone(), run(2, 0.8, None), run(8, 0.7, Some("slower than 2 in the same rounds"))];
        pick.schedule_by(&level);
        assert_eq!(pick.schedule, Schedule::default(), "not told apart");
        pick.schedule_by(&[slower]);
        pick.schedule_by(&[]);
        assert_eq!((pick.schedule, pick.seconds), (Schedule::default(), 1.0));
        pick.schedule_by(&faster);
        assert_eq!((pick.schedule.pieces, pick.seconds, pick.regret), (2, 0.6667, 1.0));
    }

    #[test]
    fn a_single_pass_tells_no_error() {
        let kernel: KernelId = NARROW[0].parse().unwrap();
        let picks = choose(&[Sample::new(case(Op::Gemv, 1), kernel, &[1.0])], &[], Weighting::default());
        assert_eq!((picks[0].seconds, picks[0].error), (1.0, None));
    }
}
