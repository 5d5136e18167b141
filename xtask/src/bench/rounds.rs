//! Measuring in turns: in every round each program does each test once, one program right after the other.

use std::time::Instant;

use anyhow::Result;
use tritune_tuning::report::speed;
use tritune_tuning::stats;

use super::case::Case;
use super::contender::Contender;
use super::energy::Energy;
use super::row::{Limits, Row};
use super::subject::Subject;

/// What one program has done in one test, round by round.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// Tokens a second.
    pub(super) speeds: Vec<f64>,
    /// Joules a token, where there is a counter.
    pub(super) joules: Vec<f64>,
    /// What it says of memory.
    pub(super) limits: Vec<Limits>,
}

/// A test, and what each program has done in it, in the programs' order.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) case: Case,
    pub(super) samples: Vec<Samples>,
}

impl Samples {
    pub(super) fn median(&self) -> Option<f64> {
        stats::median(&self.speeds)
    }

    pub(super) fn slowest(&self) -> f64 {
        self.speeds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(super) fn fastest(&self) -> f64 {
        self.speeds.iter().copied().fold(0.0, f64::max)
    }

    /// How many times as fast as another, round by round: the median, the least, the most.
    pub(super) fn ratio(&self, other: &Samples) -> Option<[f64; 3]> {
        let ratios: Vec<f64> = self.speeds.iter().zip(&other.speeds).map(|(ours, theirs)| ours / theirs).collect();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0f64), |(least, most), &r| (least.min(r), most.max(r)));
        Some([stats::median(&ratios)?, least, most])
    }

    /// The median of something that memory's limits say; `None` where a round does not say it.
    pub(super) fn limit(&self, of: impl Fn(&Limits) -> Option<f64>) -> Option<f64> {
        stats::median(&self.limits.iter().map(of).collect::<Option<Vec<f64>>>()?)
    }

    /// Share of what memory allows, round by round: the median.
    pub(super) fn reached(&self) -> Option<f64> {
        let shares = self.speeds.iter().zip(&self.limits).map(|(speed, limits)| Some(speed / limits.roofline()?));
        stats::median(&shares.collect::<Option<Vec<f64>>>()?)
    }
}

/// All rounds of one model.
///
/// # Errors
/// The first that a program gives.
pub(super) fn measure(
    subject: &Subject,
    contenders: &[Contender],
    cases: &[Case],
    rounds: u32,
    energy: Option<&Energy>,
) -> Result<(Vec<Cell>, Vec<Row>)> {
    let mut cells: Vec<Cell> =
        cases.iter().map(|&case| Cell { case, samples: vec![Samples::default(); contenders.len()] }).collect();
    let mut rows = Vec::new();
    for round in 1..=rounds {
        for cell in &mut cells {
            let mut told = Vec::new();
            for (contender, samples) in contenders.iter().zip(&mut cell.samples) {
                let before = energy.and_then(Energy::read);
                let start = Instant::now();
                let row = contender.program.run(&contender.file, &cell.case)?;
                // The mean power of the whole run: loading is in it, a small part where rounds are long.
                let joules = before.and_then(|before| energy?.since(&before));
                samples.joules.extend(joules.map(|joules| joules / start.elapsed().as_secs_f64() / row.avg_ts));
                samples.speeds.push(row.avg_ts);
                samples.limits.push(row.limits);
                told.push(format!("{} {}", contender.program.name, speed(row.avg_ts)));
                if round == 1 && cell.case == cases[0] {
                    rows.push(row);
                }
            }
            eprintln!("round {round} of {rounds}: {}, {}: {} tokens/s", subject.name, cell.case, told.join(", "));
        }
    }
    Ok((cells, rows))
}

#[cfg(test)]
mod tests {
    use super::super::program::Program;
    use super::*;

    fn samples(speeds: &[f64]) -> Samples {
        Samples { speeds: speeds.into(), ..Samples::default() }
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // Both are slowed in the second round: the ratio of medians would be 1.0.
        let (ours, theirs) = (samples(&[12.0, 6.0, 10.0]), samples(&[10.0, 5.0, 10.0]));
        assert_eq!(ours.ratio(&theirs), Some([1.2, 1.0, 1.2]));
        assert_eq!((ours.median(), ours.slowest(), ours.fastest()), (Some(10.0), 6.0, 12.0));
        assert_eq!(samples(&[1.0, 2.0]).median(), Some(1.5));
        assert_eq!((samples(&[]).ratio(&theirs), samples(&[]).median()), (None, None));
    }

    #[test]
    fn shares_of_the_roofline_are_of_each_round() {
        let limits = |stream_gbs: f64| Limits {
            token_bytes_ternary: Some(1_000_000_000),
            token_bytes_head: Some(0),
            token_bytes_other: Some(0),
            token_bytes_kv: Some(0),
            stream_gbs: Some(stream_gbs),
            ..Limits::default()
        };
        let mut samples = samples(&[9.0, 10.0, 5.0]);
        assert_eq!((samples.reached(), samples.limit(Limits::roofline)), (None, None), "nothing was said");
        samples.limits = vec![limits(10.0), limits(20.0), limits(10.0)];
        assert_eq!((samples.reached(), samples.limit(Limits::roofline)), (Some(0.5), Some(10.0)));
        samples.limits[2] = Limits::default();
        assert_eq!(samples.reached(), None, "a round without");
    }

    #[cfg(unix)]
    #[test]
    fn programs_take_turns_in_every_round() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let contender = |name: &str| {
            let script = folder.path().join(name);
            let row = r#"[{\"n_prompt\": 0, \"n_gen\": 4, \"n_threads\": $8, \"avg_ts\": 2.5}]"#;
            std::fs::write(&script, format!("echo {name} $* >> {}; echo \"{row}\"", log.display())).unwrap();
            Contender {
                program: Program::python("/bin/sh".into(), script),
                file: format!("{name}.gguf").into(),
                form: None,
            }
        };
        let subject = Subject::named("3b").unwrap();
        let cases = Case::all(&[], &[4], &[0], &[1, 2]);
        let (cells, rows) = measure(&subject, &[contender("a"), contender("b")], &cases, 2, None).unwrap();
        let turn = |threads: u32| {
            let call = |name: &str| format!("{name} -m {name}.gguf -p 0 -n 4 -t {threads} -r 1 -o json\n");
            call("a") + &call("b")
        };
        assert_eq!(std::fs::read_to_string(&log).unwrap(), [turn(1), turn(2), turn(1), turn(2)].concat());
        assert_eq!((cells.len(), rows.len()), (2, 2));
        for cell in &cells {
            assert!(cell.samples.iter().all(|samples| samples.speeds == [2.5, 2.5] && samples.joules.is_empty()));
        }
    }
}
