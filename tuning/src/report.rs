//! What a search has found, for a person to read.

use std::fmt;

use crate::cost::{Accuracy, accuracy};
use crate::pick::Pick;
use crate::results::Results;

/// The columns, and whether numbers stand in them, which are set to the right.
const COLUMNS: &[(&str, bool)] = &[
    ("shape", false),
    ("threads", true),
    ("op", false),
    ("m", true),
    ("default", false),
    ("tuned", false),
    ("default µs", true),
    ("tuned µs", true),
    ("±", true),
    ("ratio", true),
    ("regret", true),
];

/// The picks of a results file as a table: one line each, columns aligned. `±` is the standard error of the tuned time, a
/// ratio above 1 is what tuning has gained, and a regret above 1 is what sharing packed weights costs.
pub fn table(results: &Results) -> String {
    aligned(COLUMNS, &rows(results))
}

/// The same as a table of Markdown.
pub fn markdown_table(results: &Results) -> String {
    markdown(COLUMNS, &rows(results))
}

/// A row for each pick.
fn rows(results: &Results) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for pick in &results.picks {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let candidate = pick.candidate();
        let tuned = match pick.default {
            Some(default) if candidate == default.into() => "(default)".into(),
            _ => candidate.to_string(),
        };
        rows.push(vec![
            pick.case.shape.to_string(),
            pick.case.threads.to_string(),
            pick.case.op.to_string(),
            pick.case.m.to_string(),
            or_dash(pick.default.map(|kernel| kernel.to_string())),
            tuned,
            or_dash(pick.default_seconds.map(microseconds)),
            microseconds(pick.seconds),
            or_dash(pick.error.map(|error| format!("{:.1} %", error * 100.0))),
            or_dash(pick.ratio().map(|ratio| format!("{ratio:.2}"))),
            format!("{:.2}", pick.regret),
        ]);
    }
    rows
}

/// By how many times kernels take as long as the fastest that was measured for their case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regret {
    /// Cases in which they were measured.
    pub cases: usize,
    /// The mean over these.
    pub mean: f64,
    /// The largest.
    pub worst: f64,
}

impl Regret {
    /// `None` where there is no case.
    fn of(regrets: impl Iterator<Item = f64>) -> Option<Regret> {
        let (cases, sum, worst) =
            regrets.fold((0, 0.0, 0.0f64), |(cases, sum, worst), regret| (cases + 1, sum + regret, worst.max(regret)));
        (cases > 0).then(|| Regret { cases, mean: sum / cases as f64, worst })
    }
}

/// What is lost by three ways to choose kernels; absent where none of their kernels was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regrets {
    /// The menu chosen by hand.
    pub default: Option<Regret>,
    /// The cost model alone.
    pub analytic: Option<Regret>,
    /// Measuring.
    pub tuned: Option<Regret>,
}

impl Regrets {
    /// Over all cases of a results file.
    pub fn of(results: &Results) -> Regrets {
        let regret = |seconds: fn(&Pick) -> Option<f64>| {
            Regret::of(results.picks.iter().filter_map(|pick| Some(seconds(pick)? / pick.best_seconds())))
        };
        Regrets {
            default: regret(|pick| pick.default_seconds),
            analytic: regret(|pick| pick.analytic_seconds),
            tuned: regret(|pick| Some(pick.seconds)),
        }
    }
}

/// The columns of a table of regrets.
const REGRET_COLUMNS: &[(&str, bool)] = &[("regret of", false), ("cases", true), ("mean", true), ("worst", true)];

impl Regrets {
    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        markdown(REGRET_COLUMNS, &self.rows())
    }

    /// A row for each way to choose.
    fn rows(&self) -> Vec<Vec<String>> {
        let ways = [("the default menu", self.default), ("the analytic model", self.analytic), ("tuning", self.tuned)];
        ways.into_iter()
            .map(|(way, regret)| match regret {
                Some(Regret { cases, mean, worst }) => {
                    vec![way.into(), cases.to_string(), format!("{mean:.2}"), format!("{worst:.2}")]
                }
                None => [way, "0", "-", "-"].map(String::from).into(),
            })
            .collect()
    }
}

/// A table: a line for each way to choose.
impl fmt::Display for Regrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&aligned(REGRET_COLUMNS, &self.rows()))
    }
}

/// How far the cost model's times are from those of a results file: a line for each operation.
pub fn error_of_model(results: &Results) -> String {
    let line = |Accuracy { op, samples, bias, spread }: &Accuracy| {
        let spread = spread * 100.0;
        format!(
            "{op}: predicted times are {bias:.2} of those measured (geometric mean, {samples} samples); that aside, half of \
             them are within {spread:.0} %\n"
        )
    };
    accuracy(results).iter().map(line).collect()
}

pub(crate) fn microseconds(seconds: f64) -> String {
    let micros = seconds * 1e6;
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

/// Tokens per second, in three figures.
pub fn speed(tokens_per_second: f64) -> String {
    match tokens_per_second {
        speed if speed >= 99.95 => format!("{speed:.0}"),
        speed if speed >= 9.995 => format!("{speed:.1}"),
        speed => format!("{speed:.2}"),
    }
}

/// A head and rows with each column as wide as its widest cell, two spaces apart. A column is its head, and whether numbers
/// stand in it, which are set to the right.
pub fn aligned(columns: &[(&str, bool)], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = columns.iter().map(|(head, _)| (*head).into()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| lines().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in lines() {
        let cells = row.iter().zip(&widths).zip(columns).map(|((cell, &width), (_, is_number))| {
            if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The same as a table of Markdown. Cells hold nothing that is markup.
pub fn markdown(columns: &[(&str, bool)], rows: &[Vec<String>]) -> String {
    let head = columns.iter().map(|(head, _)| (*head).into()).collect();
    let rule = columns.iter().map(|(_, is_number)| String::from(if *is_number { "--:" } else { "---" })).collect();
    let lines = [head, rule];
    lines.iter().chain(rows).map(|row: &Vec<String>| format!("| {} |\n", row.join(" | "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn tables_are_aligned() {
        let expected = "\
shape      threads  op      m  default                               tuned                                default µs  tuned µs      ±  ratio  regret
2560x6912        2  gemv    1  gemv_t200_1x16k64u2__avx512vnni_dot   gemv_t200_1x16k64u4__avx512vnni_dot         150       125  0.4 %   1.20    1.00
2560x6912        2  gemm  128  gemm_t200_16x16k64u1__avx512vnni_dot  (default)                                  8000      8000  0.4 %   1.00    1.00
";
        assert_eq!(table(&example()), expected);
    }

    #[test]
    fn speeds_have_three_figures() {
        let shown = [0.123, 9.994, 9.996, 14.94, 99.94, 99.96, 421.4, 5722.0].map(speed);
        assert_eq!(shown, ["0.12", "9.99", "10.0", "14.9", "99.9", "100", "421", "5722"]);
    }

    #[test]
    fn markdown_has_a_rule_and_the_same_cells() {
        let mut results = example();
        results.picks[0].schedule.pieces = 2;
        let (markdown, plain) = (markdown_table(&results), table(&results));
        let lines: Vec<&str> = markdown.lines().collect();
        assert_eq!(lines[1], "| --- | --: | --- | --: | --- | --- | --: | --: | --: | --: | --: |");
        let words =
            |line: &str| -> Vec<String> { line.replace('|', " ").split_whitespace().map(String::from).collect() };
        let without_rule = [&lines[..1], &lines[2..]].concat();
        assert_eq!(without_rule.len(), 3);
        for (markdown, plain) in without_rule.iter().zip(plain.lines()) {
            assert_eq!(words(markdown), words(plain));
        }
        assert!(lines[2].contains("avx512vnni_dot (pieces 2, ahead 4096) |"), "{markdown}");
        let regrets = Regrets::of(&results).markdown();
        assert!(regrets.starts_with("| regret of | cases | mean | worst |\n| --- | --: | --: | --: |\n"), "{regrets}");
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let mut results = example();
        results.picks.truncate(1);
        results.picks[0].default = None;
        results.picks[0].default_seconds = None;
        results.picks[0].error = None;
        let table = table(&results);
        let line = table.lines().nth(1).unwrap();
        assert_eq!(line.split_whitespace().filter(|word| *word == "-").count(), 4, "{table}");
    }

    #[test]
    fn regrets_are_over_the_best_of_each_case() {
        let mut results = example();
        // The first pick is the best of its case, the second a tenth slower than the best.
        results.picks[0].analytic = results.picks[0].default;
        results.picks[0].analytic_seconds = Some(2.5e-4);
        results.picks[1].regret = 1.1;
        let Regrets { default, analytic, tuned } = Regrets::of(&results);
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        let regret = default.unwrap();
        assert!(regret.cases == 2 && close(regret.mean, 1.15) && close(regret.worst, 1.2), "{regret:?}");
        assert_eq!(analytic, Some(Regret { cases: 1, mean: 2.0, worst: 2.0 }));
        assert!(close(tuned.unwrap().mean, 1.05));
        let expected = "\
regret of           cases  mean  worst
the default menu        2  1.15   1.20
the analytic model      1  2.00   2.00
tuning                  2  1.05   1.10
";
        assert_eq!(Regrets::of(&results).to_string(), expected);
        results.picks.clear();
        assert_eq!(Regrets::of(&results), Regrets { default: None, analytic: None, tuned: None });
        assert_eq!(Regrets::of(&results).to_string().matches('-').count(), 6);
    }

    #[test]
    fn the_error_of_the_model_is_a_line_an_operation() {
        let text = error_of_model(&example());
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("gemv: predicted times are ") && text.contains("2 samples"), "{text}");
        assert!(text.contains("\ngemm: ") && !text.contains("NaN"), "{text}");
    }
}
