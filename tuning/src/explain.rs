//! Why a shape gets its kernels: what was measured of each candidate, and which were not even tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use tritune_codegen::{Isa, KernelId, Op};

use crate::candidate::Candidate;
use crate::case::Case;
use crate::cost::{self, Roofline, Verdict};
use crate::report;
use crate::results::{Results, Sample};
use crate::shapes::Shape;
use crate::space::{Effort, Space, SpaceError};

/// What a results file says of one shape.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The machine that it was measured on.
    pub machine: String,
    /// When.
    pub date: String,
    /// The shape.
    #[serde(with = "crate::name")]
    pub shape: Shape,
    /// Threads: as many as asked for, or the nearest number that was measured.
    pub threads: usize,
    /// What was measured, case by case.
    pub cases: Vec<Comparison>,
    /// Kernels of the spaces that were searched which cannot win, and why.
    pub pruned: Vec<Pruned>,
    /// Kernels of these spaces that might have won, and were not measured.
    pub untried: usize,
}

/// The candidates of a case, the fastest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Few tokens or many.
    #[serde(with = "crate::name")]
    pub op: Op,
    /// Tokens.
    pub m: usize,
    /// Who was compared.
    pub candidates: Vec<Compared>,
}

/// A candidate in a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Kernel, and schedule where it has one of its own.
    pub candidate: String,
    /// Trimmed mean of its passes, in seconds; absent where it failed or was not measured.
    pub seconds: Option<f64>,
    /// Standard error of `seconds`, over `seconds`; absent where a single pass tells none.
    pub error: Option<f64>,
    /// Noise of a single pass, over `seconds`.
    pub noise: Option<f64>,
    /// How many passes.
    pub passes: usize,
    /// The least time that its bytes or its arithmetic allow, over `seconds`; above 1 where the machine is faster than the
    /// model takes it to be.
    pub roofline: Option<f64>,
    /// Whether it is picked for the case.
    pub picked: bool,
    /// Whether it would run had nothing been measured.
    pub default: bool,
    /// Why it was measured no further.
    pub eliminated: Option<String>,
    /// Why it is not to be used.
    pub failed: Option<String>,
}

/// A kernel that was not measured, because it cannot win.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pruned {
    /// The kernel.
    #[serde(with = "crate::name")]
    pub kernel: KernelId,
    /// In a few words, alike for all that are pruned for the same reason.
    pub kind: &'static str,
    /// Why.
    pub why: String,
}

impl Explanation {
    /// What `results` say of `shape` on `threads` threads, or on the nearest number of them; `None` where the shape was not
    /// measured.
    ///
    /// # Errors
    /// Where a space file is damaged.
    pub fn of(results: &Results, shape: Shape, threads: usize) -> Result<Option<Explanation>, SpaceError> {
        let of_shape = || results.samples.iter().filter(|sample| sample.case.shape == shape);
        let Some(threads) = of_shape().map(|sample| sample.case.threads).min_by_key(|&found| found.abs_diff(threads))
        else {
            return Ok(None);
        };
        let cases: BTreeSet<Case> =
            of_shape().filter(|sample| sample.case.threads == threads).map(|sample| sample.case).collect();
        let roofline = Roofline::new(&results.bandwidths);
        let comparison = |case: &Case| {
            let samples = results.samples.iter().filter(|sample| sample.case == *case);
            let mut candidates: Vec<Compared> =
                samples.map(|sample| Compared::of(sample, results, &roofline)).collect();
            let order = |compared: &Compared| compared.seconds.unwrap_or(f64::INFINITY);
            candidates.sort_by(|a, b| order(a).total_cmp(&order(b)));
            Comparison { op: case.op, m: case.m, candidates }
        };
        let (pruned, untried) = unmeasured(results)?;
        Ok(Some(Explanation {
            machine: results.machine.id.clone(),
            date: results.date.clone(),
            shape,
            threads,
            cases: cases.iter().map(comparison).collect(),
            pruned,
            untried,
        }))
    }
}

impl Compared {
    fn of(sample: &Sample, results: &Results, roofline: &Roofline) -> Compared {
        let pick = results.picks.iter().find(|pick| pick.case == sample.case);
        let summary = sample.summary();
        let bound = roofline.bound(&sample.kernel, &sample.case);
        Compared {
            candidate: sample.candidate().to_string(),
            seconds: summary.map(|summary| summary.mean),
            error: summary.map(|summary| summary.error).filter(|error| error.is_finite()),
            noise: summary.map(|summary| summary.noise),
            passes: sample.times.len(),
            roofline: summary.map(|summary| bound / summary.mean),
            picked: pick.is_some_and(|pick| (pick.kernel, pick.schedule) == (sample.kernel, sample.schedule)),
            default: pick.is_some_and(|pick| pick.default.map(Candidate::from) == Some(sample.candidate())),
            eliminated: sample.eliminated.clone(),
            failed: sample.failed.clone(),
        }
    }

    /// What became of it, in words.
    fn fate(&self) -> String {
        let picked = self.picked.then(|| "picked".to_string());
        let default = self.default.then(|| "default".to_string());
        let failed = self.failed.as_ref().map(|why| format!("failed: {why}"));
        let eliminated = self.eliminated.as_ref().map(|why| format!("eliminated: {why}"));
        [picked, default, failed.or(eliminated)].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Of the spaces whose kernels were measured: what the cost model rules out on the shapes that were, and how many kernels
/// it does not that were not measured either.
fn unmeasured(results: &Results) -> Result<(Vec<Pruned>, usize), SpaceError> {
    let measured: BTreeSet<KernelId> = results.samples.iter().map(|sample| sample.kernel).collect();
    let isas: BTreeSet<Isa> = measured.iter().map(|kernel| kernel.isa).collect();
    let shapes: BTreeSet<Shape> = results.samples.iter().map(|sample| sample.case.shape).collect();
    let mut kernels = Vec::new();
    for isa in isas {
        let space = Space::for_isa(isa)?;
        kernels.extend([Op::Gemv, Op::Gemm].into_iter().flat_map(|op| space.kernels(op, Effort::Full)));
    }
    let shapes: Vec<Shape> = shapes.into_iter().collect();
    let (mut pruned, mut untried) = (Vec::new(), 0);
    for (kernel, verdict) in cost::prune(&kernels, &results.machine, &shapes) {
        match verdict {
            _ if measured.contains(&kernel) => (),
            Verdict::Measured(_) => untried += 1,
            Verdict::Pruned(reason) => {
                pruned.push(Pruned { kernel, kind: reason.kind(), why: reason.to_string() });
            }
        }
    }
    Ok((pruned, untried))
}

/// A table for each case, and a line on what was not measured.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { machine, date, shape, threads, cases, pruned, untried } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        writeln!(f, "{shape} on {threads} thread{plural}, measured on {machine}, {date}:")?;
        for Comparison { op, m, candidates } in cases {
            let head = format!("{op} m={m}");
            let columns =
                [(head.as_str(), false), ("µs", true), ("±", true), ("noise", true), ("roofline", true), ("", false)];
            let percent = |share: Option<f64>, digits: usize| {
                share.map_or_else(|| "-".into(), |share| format!("{:.digits$} %", share * 100.0))
            };
            let row = |compared: &Compared| {
                let time = compared.seconds.map_or_else(|| "-".into(), report::microseconds);
                let shares = [(compared.error, 1), (compared.noise, 1), (compared.roofline, 0)];
                let mut row = vec![compared.candidate.clone(), time];
                row.extend(shares.map(|(share, digits)| percent(share, digits)));
                row.push(compared.fate());
                row
            };
            let rows: Vec<Vec<String>> = candidates.iter().map(row).collect();
            write!(f, "\n{}", report::aligned(&columns, &rows))?;
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        pruned.iter().for_each(|pruned| *kinds.entry(pruned.kind).or_default() += 1);
        let kinds: Vec<String> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        writeln!(f, "\nnot measured: {} kernels that the cost model prunes{kinds}, {untried} others", pruned.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn every_candidate_has_its_line() {
        let results = example();
        let shape = results.samples[0].case.shape;
        assert_eq!(Explanation::of(&results, "640x2560".parse().unwrap(), 2).unwrap(), None);
        let explanation = Explanation::of(&results, shape, 16).unwrap().unwrap();
        assert_eq!((explanation.threads, explanation.cases.len()), (2, 2), "the nearest number of threads");
        let [gemv, gemm] = &explanation.cases[..] else { panic!("two cases") };
        let fates: Vec<String> = gemv.candidates.iter().chain(&gemm.candidates).map(Compared::fate).collect();
        assert_eq!(fates, ["picked", "default; eliminated: 20 % slower", "picked; default", "failed: row 7 differs"]);
        // 2560 × 6912 weights of two bits at 41.5 GB/s, over 125 µs: more than they allow.
        let share = gemv.candidates[0].roofline.unwrap();
        assert!((share - 2560.0 * 6912.0 / 4.0 / 41.5e9 / 1.25e-4).abs() < 1e-3, "{share}");
        assert_eq!((gemv.candidates[0].passes, gemm.candidates[1].seconds), (3, None));

        let text = explanation.to_string();
        assert!(text.contains("2560x6912 on 2 threads, measured on amd-epyc-2c"), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("__avx512vnni_dot")).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains("125") && lines[0].contains("picked"), "{text}");
    }

    #[test]
    fn what_was_not_measured_is_pruned_or_counted() {
        let results = example();
        let explanation = Explanation::of(&results, results.samples[0].case.shape, 2).unwrap().unwrap();
        let space = Space::for_isa(Isa::Avx512Vnni).unwrap();
        let all = [Op::Gemv, Op::Gemm].map(|op| space.kernels(op, Effort::Full)).concat();
        let measured = |kernel: &KernelId| results.samples.iter().any(|sample| sample.kernel == *kernel);
        let left = all.iter().filter(|kernel| !measured(kernel)).count();
        assert_eq!(explanation.pruned.len() + explanation.untried, left);
        let spilling = explanation.pruned.iter().find(|pruned| pruned.kind == "would spill").unwrap();
        assert!(spilling.why.contains("registers are live"), "{}", spilling.why);
        let text = explanation.to_string();
        assert!(text.lines().last().unwrap().contains("would spill"), "{text}");
    }
}
