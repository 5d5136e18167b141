//! What was measured, as a page and a picture.

use tritune_tuning::machine::Machine;
use tritune_tuning::plot::{self, Bar, ModelSpeeds, PlotError, Speeds, TestSpeeds};
use tritune_tuning::report::{self, speed};
use tritune_tuning::text::{code, counted, markdown};

use super::ablation::{self, Ablated};
use super::case::Task;
use super::rounds::{Cell, Samples};
use super::row::Limits;

/// Longest name and longest command on the page.
const NAME: usize = 60;
const LONGEST: usize = 600;

/// All that was measured in one run.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) date: String,
    /// The command line.
    pub(super) command: String,
    pub(super) compiler: String,
    /// Each program with its version.
    pub(super) versions: Vec<(String, String)>,
    /// The command line of each program.
    pub(super) calls: Vec<String>,
    pub(super) rounds: u32,
    /// Whether there is a counter of energy.
    pub(super) energy: bool,
    pub(super) sections: Vec<Section>,
}

/// What was measured with one model.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: String,
    /// Architecture, size and type, as tritune says it.
    pub(super) what: String,
    /// How keys and values are stored, program by program.
    pub(super) kv: Vec<(String, String)>,
    /// What there is to say of the files.
    pub(super) notes: Vec<String>,
    /// The programs, in the order of each cell's samples; the first is tritune.
    pub(super) programs: Vec<String>,
    pub(super) cells: Vec<Cell>,
    /// What options of tritune do.
    pub(super) ablated: Vec<Ablated>,
}

const COLUMNS: [(&str, bool); 10] = [
    ("test", false),
    ("threads", true),
    ("program", false),
    ("tokens/s", true),
    ("slowest to fastest", true),
    ("tritune ÷ it", true),
    ("read GB/s on 1, all", true),
    ("roofline", true),
    ("reached", true),
    ("J/token", true),
];

impl Report {
    /// The page; the picture lies beside it.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# Speed on {}\n\n", markdown(&self.machine.model, NAME));
        for ([what, value], row) in self.facts().into_iter().zip(0..) {
            let rule = if row == 0 { "| --- | --- |\n" } else { "" };
            text += &format!("| {what} | {value} |\n{rule}");
        }
        text += &format!("\n![Tokens per second of every program, and what memory allows]({}.svg)\n", self.machine.id);
        text += &format!(
            "\nMedians of {}. In a round each program is started once for each test, one right after the other, so that \
             what slows the machine for a while slows all; *tritune ÷ it* is the median of the ratios within rounds, with the \
             least and the most. *Read* is how fast the machine reads memory, measured by tritune's process right after its \
             test; *roofline* is that on the threads of the test over the bytes that a token reads, in tokens/s; *reached* is \
             the share of it within rounds, which prefetching may bring above 100 %. A prompt's tokens share what is read, and have no such roofline. A second table compares tritune with itself, \
             in turns as well, where the one that is first in one round is second in the next: *times as fast* is the right \
             side over the left, in the first row of the same with itself. Command lines are below it.\n",
            counted(self.rounds as usize, "round")
        );
        if !self.energy {
            text += "\nenergy: not readable here\n";
        } else {
            text += "\nEnergy is the mean power of the processors, and of memory where it has a counter of its own, while a \
                     program runs, loading included, times the time of a token.\n";
        }
        for section in &self.sections {
            text += &section.markdown(self.energy);
        }
        text
    }

    /// Rows of a table, the first its head.
    fn facts(&self) -> Vec<[String; 2]> {
        let Machine { id, microarchitecture, os, virtualised, cores, isas, .. } = &self.machine;
        let mut machine = vec![id.clone(), microarchitecture.clone(), counted(*cores, "core"), os.clone()];
        machine.extend(virtualised.and_then(|is| is.then(|| "virtual".into())));
        let shown = |text: &str| markdown(text, LONGEST);
        let mut facts = vec![["machine".into(), shown(&machine.join(", "))]];
        facts.push(["instruction sets".into(), shown(&isas.join(", "))]);
        facts.push(["measured".into(), format!("{} by {}", shown(&self.date), code(&self.command, LONGEST))]);
        facts.extend(self.versions.iter().map(|(name, version)| [shown(name), shown(version)]));
        facts.push(["compiler".into(), shown(&self.compiler)]);
        facts.push([
            "in each round".into(),
            self.calls.iter().map(|call| code(call, LONGEST)).collect::<Vec<_>>().join("<br>"),
        ]);
        facts
    }

    /// The picture.
    ///
    /// # Errors
    /// [`PlotError`] where the drawing library fails.
    pub(super) fn picture(&self) -> Result<String, PlotError> {
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        plot::speeds(&Speeds {
            machine: self.machine.clone(),
            date: self.date.clone(),
            command: self.command.clone(),
            versions: versions.join("; "),
            remark: format!("medians of {}", counted(self.rounds as usize, "round")),
            models: self.sections.iter().map(Section::speeds).collect(),
        })
    }
}

impl Section {
    /// The part of the page that tells of this model.
    pub(super) fn markdown(&self, energy: bool) -> String {
        let mut text = format!("\n## {}\n\n{}\n\n", markdown(&self.name, NAME), markdown(&self.what, LONGEST));
        let columns = if energy { &COLUMNS[..] } else { &COLUMNS[..9] };
        let rows = self.cells.iter().flat_map(|cell| self.rows(cell, columns.len()));
        text += &report::markdown(columns, &rows.collect::<Vec<_>>());
        let mut told = self.token_bytes();
        told.extend(self.memory());
        let kv: Vec<String> = self.kv.iter().map(|(program, kv)| format!("{kv} by {program}")).collect();
        if !kv.is_empty() {
            told.push(format!("Keys and values are stored as {}.", kv.join(", as ")));
        }
        told.extend(self.notes.iter().cloned());
        if !told.is_empty() {
            text.push('\n');
        }
        for line in told {
            text += &format!("- {}\n", markdown(&line, LONGEST));
        }
        if !self.ablated.is_empty() {
            let rows: Vec<Vec<String>> = self.ablated.iter().map(Ablated::row).collect();
            text += &format!("\n{}\n", report::markdown(&ablation::COLUMNS, &rows));
            for line in Ablated::list(&self.ablated).into_iter().chain(Ablated::prompts(&self.ablated)) {
                text += &format!("- {line}\n");
            }
        }
        text
    }

    fn rows(&self, cell: &Cell, columns: usize) -> Vec<Vec<String>> {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let row = |(program, samples): (&String, &Samples)| {
            let first = cell.samples.first().filter(|first| !std::ptr::eq(*first, samples));
            let ratio = first.and_then(|first| first.ratio(samples));
            let [one, all] = [|limits: &Limits| limits.stream_gbs_1, |limits: &Limits| limits.stream_gbs_all]
                .map(|of| samples.limit(of));
            let mut row = vec![
                cell.case.test(),
                cell.case.threads.to_string(),
                markdown(program, NAME),
                dash(samples.median().map(speed)),
                format!("{} to {}", speed(samples.slowest()), speed(samples.fastest())),
                dash(ratio.map(|[median, least, most]| format!("{median:.2} ({least:.2} to {most:.2})"))),
                dash(one.zip(all).map(|(one, all)| format!("{one:.1}, {all:.1}"))),
                dash(samples.limit(Limits::roofline).map(speed)),
                dash(samples.reached().map(|share| format!("{:.0} %", 100.0 * share))),
                dash(tritune_tuning::stats::median(&samples.joules).map(|joules| format!("{joules:.3}"))),
            ];
            row.truncate(columns);
            row
        };
        self.programs.iter().zip(&cell.samples).map(row).collect()
    }

    /// What a token of each generation reads.
    fn token_bytes(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for Cell { case, samples } in &self.cells {
            let Some(limits) = samples.first().and_then(|samples| samples.limits.first()) else { continue };
            let Some(total) = limits.token_bytes() else { continue };
            let parts = [
                (limits.token_bytes_ternary, "packed ternary weights"),
                (limits.token_bytes_head, "head"),
                (limits.token_bytes_other, "other weights"),
                (limits.token_bytes_kv, "keys and values at the mean context"),
            ];
            let parts: Vec<String> = parts.iter().filter_map(|(bytes, what)| part((*bytes)?, what)).collect();
            let line = format!("{}: a token reads {}: {}", case.test(), amount(total), parts.join(", "));
            // The same on any number of threads, unless their kernels have other layouts.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    /// What the process held at most.
    fn memory(&self) -> Option<String> {
        let of_ours = self.cells.iter().filter_map(|cell| cell.samples.first()).flat_map(|samples| &samples.limits);
        let (peak, expected) = of_ours.filter_map(|limits| limits.memory_peak.zip(limits.memory_expected)).max()?;
        let ratio = peak as f64 / expected as f64;
        Some(format!("memory: {} of {} expected ({ratio:.2})", amount(peak), amount(expected)))
    }

    fn speeds(&self) -> ModelSpeeds {
        let test = |cell: &Cell| TestSpeeds {
            name: cell.case.to_string(),
            roofline: cell.samples.first().and_then(|samples| samples.limit(Limits::roofline)),
            bars: self
                .programs
                .iter()
                .zip(&cell.samples)
                .filter_map(|(program, samples)| bar(program, samples))
                .collect(),
        };
        let is_prompt = |cell: &&Cell| matches!(cell.case.task, Task::Prompt(_));
        ModelSpeeds {
            name: self.name.clone(),
            what: self.what.clone(),
            prompts: self.cells.iter().filter(is_prompt).map(test).collect(),
            generations: self.cells.iter().filter(|cell| !is_prompt(cell)).map(test).collect(),
        }
    }
}

fn bar(program: &str, samples: &Samples) -> Option<Bar> {
    let median = samples.median()?;
    Some(Bar { program: program.into(), median, slowest: samples.slowest(), fastest: samples.fastest() })
}

/// Some bytes and what they are, if there are any.
fn part(bytes: u64, what: &str) -> Option<String> {
    (bytes > 0).then(|| format!("{} {what}", amount(bytes)))
}

/// Bytes in decimal units, as bandwidths are given.
pub(super) fn amount(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes => format!("{:.1} MB", bytes / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Case;
    use super::*;

    fn limits(stream_gbs: f64, task: Task) -> Limits {
        let of_token = |bytes: u64| matches!(task, Task::Generation(_)).then_some(bytes);
        Limits {
            token_bytes_ternary: of_token(521_000_000),
            token_bytes_head: of_token(656_670_720),
            token_bytes_other: of_token(1_290_000),
            token_bytes_kv: of_token(9_900_000),
            stream_gbs_1: Some(15.0),
            stream_gbs: Some(stream_gbs),
            stream_gbs_all: Some(26.0),
            memory_peak: Some(1_700_000_000),
            memory_expected: Some(1_200_000_000),
        }
    }

    fn cell(task: Task, threads: usize, ours: &[f64], theirs: &[f64], stream: f64) -> Cell {
        let ours = Samples {
            speeds: ours.into(),
            joules: ours.iter().map(|speed| 30.0 / speed).collect(),
            limits: vec![limits(stream, task); ours.len()],
        };
        let theirs = Samples {
            speeds: theirs.into(),
            joules: theirs.iter().map(|speed| 36.0 / speed).collect(),
            limits: vec![Limits::default(); theirs.len()],
        };
        Cell { case: Case { task, depth: 0, threads }, samples: vec![ours, theirs] }
    }

    pub(crate) fn example() -> Report {
        let machine = Machine {
            id: "amd-epyc-2c".into(),
            model: "AMD EPYC".into(),
            microarchitecture: "x86_64 AuthenticAMD family 25 model 1".into(),
            stepping: 1,
            os: "linux".into(),
            virtualised: Some(true),
            cores: 2,
            isas: vec!["scalar".into(), "avx2".into()],
            features: vec![],
            caches: vec![],
        };
        let cells = vec![
            cell(Task::Prompt(512), 2, &[71.0, 70.0, 72.5], &[40.0, 42.0, 41.0], 26.0),
            cell(Task::Generation(128), 1, &[8.3, 8.1, 8.4], &[6.4, 6.2, 6.6], 15.0),
            cell(Task::Generation(128), 2, &[14.9, 14.0, 15.1], &[9.7, 9.1, 9.8], 26.0),
        ];
        Report {
            machine,
            date: "2026-02-03T04:05:06Z".into(),
            command: "cargo xtask bench --peer llama.cpp=llama-bench".into(),
            compiler: "rustc 1.95.0".into(),
            versions: vec![
                ("tritune".into(), "0.1.0, commit 0123abc".into()),
                ("llama.cpp".into(), "build 6178, 5143fa895".into()),
            ],
            calls: vec!["tritune bench MODEL".into(), "llama-bench -m MODEL".into()],
            rounds: 3,
            energy: true,
            sections: vec![Section {
                name: "2b4t-bitnet".into(),
                what: "bitnet 2.41 B I2_S, 1.18 GB".into(),
                kv: vec![("tritune".into(), "f16".into()), ("llama.cpp".into(), "f16".into())],
                notes: vec!["llama.cpp does not read this file.".into()],
                programs: vec!["tritune".into(), "llama.cpp".into()],
                cells,
                ablated: vec![Ablated {
                    names: ["tg32 -t 2", "tg32 -t 4"].map(String::from),
                    commands: ["tritune bench MODEL -t 2", "tritune bench MODEL -t 4"].map(String::from),
                    speeds: [vec![10.0, 11.0, 12.0], vec![9.0, 11.0, 6.0]],
                    starts: false,
                }],
            }],
        }
    }

    #[test]
    fn the_page_has_every_figure() {
        let report = example();
        let page = report.markdown();
        for line in [
            "# Speed on AMD EPYC",
            "| measured | 2026-02-03T04:05:06Z by `cargo xtask bench --peer llama.cpp=llama-bench` |",
            "| llama.cpp | build 6178, 5143fa895 |",
            "| compiler | rustc 1.95.0 |",
            "| in each round | `tritune bench MODEL`<br>`llama-bench -m MODEL` |",
            "![Tokens per second of every program, and what memory allows](amd-epyc-2c.svg)",
            "## 2b4t-bitnet",
            "| pp512 | 2 | tritune | 71.0 | 70.0 to 72.5 | - | 15.0, 26.0 | - | - | 0.423 |",
            "| pp512 | 2 | llama.cpp | 41.0 | 40.0 to 42.0 | 1.77 (1.67 to 1.77) | - | - | - | 0.878 |",
            "| tg128 | 2 | tritune | 14.9 | 14.0 to 15.1 | - | 15.0, 26.0 | 21.9 | 68 % | 2.013 |",
            "| tg128 | 2 | llama.cpp | 9.70 | 9.10 to 9.80 | 1.54 (1.54 to 1.54) | - | - | - | 3.711 |",
            "- tg128: a token reads 1.19 GB: 521.0 MB packed ternary weights, 656.7 MB head, 1.3 MB other weights, 9.9 MB keys \
             and values at the mean context",
            "- memory: 1.70 GB of 1.20 GB expected (1.42)",
            "- Keys and values are stored as f16 by tritune, as f16 by llama.cpp.",
            "- llama.cpp does not read this file.",
            "| tg32 -t 2 | 11.0 (10.0 to 12.0) | tg32 -t 4 | 9.00 (6.00 to 11.0) | 0.90 (0.50 to 1.00) |",
            "- `tritune bench MODEL -t 4`",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert_eq!(page.matches("a token reads 1.19 GB").count(), 1, "on any number of threads");
        let tables = page.lines().filter(|line| line.starts_with("| tg") || line.starts_with("| pp"));
        assert!(
            tables.clone().count() == 7 && tables.clone().all(|line| [6, 11].contains(&line.matches('|').count())),
            "{page}"
        );
        assert!(page.contains("Medians of 3 rounds.") && !page.contains("not readable"));
    }

    #[test]
    fn without_a_counter_energy_is_not_spoken_of() {
        let mut report = example();
        report.energy = false;
        report.sections[0]
            .cells
            .iter_mut()
            .flat_map(|cell| &mut cell.samples)
            .for_each(|samples| samples.joules.clear());
        let page = report.markdown();
        assert!(page.lines().any(|line| line == "energy: not readable here"), "{page}");
        assert!(
            !page.contains("J/token") && page.contains("| 14.0 to 15.1 | - | 15.0, 26.0 | 21.9 | 68 % |\n"),
            "{page}"
        );
    }

    #[test]
    fn the_picture_has_all_bars() {
        let picture = example().picture().unwrap();
        for text in
            ["Tokens per second: AMD EPYC", "medians of 3 rounds", "2b4t-bitnet", "tg128, 1 thread", "9.70", "68 %"]
        {
            assert!(picture.contains(text), "{text}");
        }
        assert!(
            picture.contains("tritune 0.1.0, commit 0123abc; llama.cpp build") && picture.contains("prompt, tokens/s")
        );
    }
}
