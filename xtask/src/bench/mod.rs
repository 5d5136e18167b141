//! `cargo xtask bench`: kernels, and whole models beside peers and beside what memory allows.

mod ablation;
mod case;
mod contender;
mod energy;
mod program;
mod report;
mod rounds;
mod row;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use tritune_codegen::Isa;
use tritune_tuning::machine::Machine;
use tritune_tuning::results::Results;

use crate::{cargo, compare};
use ablation::Ablated;
use case::Case;
use contender::{Contender, contenders};
use energy::Energy;
use program::{OURS, Peer, Program};
use report::{Report, Section};
use row::Row;
use subject::Subject;

/// `cargo xtask bench`.
#[derive(Args)]
#[command(after_help = "\
Where no model is named, kernels and models are measured: shapes of published models with random trits, written to
target/models on the first run (some 4 GB, twice that for peers), and SmolLM2 where it lies in ../shared/models.
A peer is measured on the same file where it can read it, else on the same trits in a type that it reads.")]
pub(crate) struct Bench {
    /// Models to measure, and no kernels: GGUF files, or 2b4t, 2b4t-bitnet, 3b, 3b-256, falcon3-1b
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Measure kernels alone
    #[arg(long = "kernels", conflicts_with_all = ["models", "only_models", "peers"])]
    only_kernels: bool,
    /// Measure models alone
    #[arg(long = "models")]
    only_models: bool,
    /// Compare with this program: python (llama-cpp-python), or NAME=/path/to/llama-bench; may be repeated
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<Peer>,
    /// Numbers of threads, separated by commas; 1 and as many as there are cores where not given
    #[arg(short, long, value_name = "T", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Rounds: how often each program does each test; 5 where not given, 2 with --quick
    #[arg(short, long = "repetitions", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Tokens of a prompt, separated by commas; 512 where not given, 128 with --quick; 0: no such test
    #[arg(short, long = "n-prompt", value_name = "N", value_delimiter = ',')]
    prompts: Vec<usize>,
    /// Tokens to generate, separated by commas; 128 where not given, 16 with --quick; 0: no such test
    #[arg(short = 'n', long = "n-gen", value_name = "N", value_delimiter = ',')]
    generations: Vec<usize>,
    /// Tokens that are in the context before a test, separated by commas; computing them takes its time in every round
    #[arg(short, long = "depth", value_name = "N", value_delimiter = ',', default_value = "0")]
    depths: Vec<usize>,
    /// Measure no options of tritune beside each other: packed weights, the head, long contexts, threads, lookup
    #[arg(long)]
    no_ablations: bool,
    /// Shorter tests and fewer rounds: to see that it works
    #[arg(long)]
    quick: bool,
    /// Folder for the report; results/bench where all models are measured in full, else target/bench
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        // What cannot be is told before minutes of compiling.
        let named = self.models.iter().map(|word| Subject::named(word)).collect::<Result<Vec<_>>>()?;
        Peer::check(&self.peers)?;
        let cases = self.cases();
        if cases.is_empty() {
            bail!("nothing to measure; ask for a prompt with -p or a generation with -n");
        }
        if self.only_kernels || !self.only_models && named.is_empty() {
            self.kernels()?;
        }
        if self.only_kernels {
            return Ok(());
        }
        let all = named.is_empty();
        let subjects = if all { Subject::usual() } else { named };
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => cargo::root().join(if all && !self.quick { "results/bench" } else { "target/bench" }),
        };
        // Whether the folder can be written to is told before it takes hours to fill it.
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let report = self.measure(subjects, &cases)?;
        write(&report, &folder)
    }

    fn cases(&self) -> Vec<Case> {
        let or = |given: &[usize], quick, full| match given {
            [] => vec![if self.quick { quick } else { full }],
            given => given.to_vec(),
        };
        let mut threads: Vec<usize> = self.threads.iter().copied().map(usize::from).collect();
        if threads.is_empty() {
            threads = vec![1, std::thread::available_parallelism().map_or(1, usize::from)];
            threads.dedup();
        }
        Case::all(&or(&self.prompts, 128, 512), &or(&self.generations, 16, 128), &self.depths, &threads)
    }

    fn kernels(&self) -> Result<()> {
        let mut kernels = cargo::cargo("bench");
        kernels.args(["--package", "tritune", "--bench", "kernels"]);
        if self.quick {
            kernels.args(["--", "--quick"]);
        }
        cargo::run(kernels)
    }

    fn measure(&self, mut subjects: Vec<Subject>, cases: &[Case]) -> Result<Report> {
        let tritune = cargo::build_tritune()?;
        let mut programs = vec![Program::tritune(&tritune)];
        for peer in &self.peers {
            programs.push(match peer {
                Peer::Python => Program::python(compare::python()?, compare::scripts().join("bench.py")),
                Peer::LlamaBench { name, path } => Program::llama_bench(name, &std::path::absolute(path)?),
            });
        }
        let energy = Energy::here();
        let mut report = Report {
            machine: Machine::detect(Isa::here()),
            date: Results::now(),
            command: command(),
            compiler: first_line("rustc", "--version").unwrap_or_else(|| "of an unknown version".into()),
            versions: Vec::new(),
            calls: programs.iter().map(|program| program.command(&cases[cases.len() - 1])).collect(),
            rounds: self.rounds.unwrap_or(if self.quick { 2 } else { 5 }),
            energy: energy.is_some(),
            sections: Vec::new(),
        };
        let mut next = 0;
        while let Some(subject) = subjects.get(next).cloned() {
            next += 1;
            subject.prepare()?;
            let (contenders, notes) = contenders(&programs, &subject, &tritune, cases[0].threads)?;
            // Where a peer cannot read a model, one that comes near it is measured as well.
            if contenders.len() < programs.len()
                && let Some((stand_in, _)) = subject.stand_in()
                && !subjects.contains(&stand_in)
            {
                subjects.insert(next, stand_in);
            }
            let (cells, rows) = rounds::measure(&subject, &contenders, cases, report.rounds, energy.as_ref())?;
            for (Contender { program, .. }, row) in contenders.iter().zip(&rows) {
                if !report.versions.iter().any(|(name, _)| *name == program.name) {
                    report.versions.push((program.name.clone(), version(program, row)));
                }
            }
            let mut section = section(&subject, &contenders, cells, &rows, notes);
            if !self.no_ablations && !subject.stands_in_for(&subjects) {
                let (ablated, failed) = self.ablate(&subject, &tritune, report.rounds)?;
                section.ablated = ablated;
                section.notes.extend(failed);
            }
            println!("{}", section.markdown(report.energy));
            report.sections.push(section);
        }
        if !report.energy {
            println!("energy: not readable here");
        }
        Ok(report)
    }
}

impl Bench {
    /// What options do, on as many threads as the tests have at most; and what of it could not be measured.
    fn ablate(&self, subject: &Subject, tritune: &Path, rounds: u32) -> Result<(Vec<Ablated>, Vec<String>)> {
        let folder = cargo::root().join("target/bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = tempfile::tempdir_in(&folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        let threads = self.cases().iter().map(|case| case.threads).max().unwrap_or(1);
        let parts = subject.parts(tritune)?;
        let (mut ablated, mut failed) = (Vec::new(), Vec::new());
        for ablation in ablation::ablations(subject, parts, threads, &folder.path().join("packed"), self.quick) {
            match ablation.measure(tritune, &subject.path, rounds) {
                Ok(measured) => ablated.push(measured),
                // The hours before it are not lost for it.
                Err(error) => failed.push(format!("not measured: {error:#}")),
            }
        }
        failed.iter().for_each(|failed| eprintln!("{failed}"));
        Ok((ablated, failed))
    }
}

fn section(
    subject: &Subject,
    contenders: &[Contender],
    cells: Vec<rounds::Cell>,
    rows: &[Row],
    notes: Vec<String>,
) -> Section {
    let name = |contender: &Contender| contender.program.name.clone();
    let kv = contenders.iter().zip(rows).filter_map(|(contender, row)| Some((name(contender), row.type_k.clone()?)));
    let what = rows.first().map(|row| format!("{}, {}", row.model_type, report::amount(row.model_size)));
    let as_form = |contender: &Contender| Some(format!("{} by {}", contender.form?, name(contender)));
    let what: Vec<String> = what.into_iter().chain(contenders.iter().filter_map(as_form)).collect();
    Section {
        name: subject.name.clone(),
        what: what.join("; "),
        kv: kv.collect(),
        notes,
        programs: contenders.iter().map(name).collect(),
        cells,
        ablated: Vec::new(),
    }
}

/// A program's version; of our own also the commit, where there is git.
fn version(program: &Program, row: &Row) -> String {
    let version = row.version();
    let commit = (program.name == OURS).then(commit).flatten();
    commit.map_or(version.clone(), |commit| format!("{version}, commit {commit}"))
}

fn commit() -> Option<String> {
    let mut describe = Command::new("git");
    let output = describe.current_dir(cargo::root()).args(["describe", "--always", "--dirty"]).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !name.trim().is_empty()).then(|| name.trim().into())
}

fn first_line(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.into())
}

/// The command line for the record, without folders: they are this machine's alone.
fn command() -> String {
    let last = |word: String| {
        let (before, path) =
            word.split_once('=').map_or((String::new(), &*word), |(name, path)| (format!("{name}="), path));
        let path = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
        format!("{before}{path}")
    };
    let words: Vec<String> = std::env::args().skip(1).map(last).collect();
    format!("cargo xtask {}", words.join(" "))
}

/// Writes the page and its picture.
fn write(report: &Report, folder: &Path) -> Result<()> {
    let id = &report.machine.id;
    for (name, text) in [(format!("{id}.svg"), report.picture()?), (format!("{id}.md"), report.markdown())] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
