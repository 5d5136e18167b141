//! `tritune bench`: speed of prompts and of generation, in llama-bench's rows.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use tritune::gguf::{File, Kind};
use tritune::model::{KvType, Model, Session, SessionOptions};
use tritune::sample::Demand;
use tritune::threads;
use tritune_tuning::machine::Machine;
use tritune_tuning::results::Results;

use crate::engine::{Engine, ModelFile, tell_head};

/// Measure tokens per second, as llama-bench does
#[derive(clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelFile,
    /// Tokens of a prompt, separated by commas; 0: no such test
    #[arg(short = 'p', long = "n-prompt", value_name = "N", value_delimiter = ',', default_value = "512")]
    prompts: Vec<usize>,
    /// Tokens to generate, separated by commas; 0: no such test
    #[arg(short = 'n', long = "n-gen", value_name = "N", value_delimiter = ',', default_value = "128")]
    generations: Vec<usize>,
    /// Numbers of threads, separated by commas; as many as there are cores where not given
    #[arg(short, long, value_name = "T", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// How often each test is run, after one run that does not count
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// How keys and values are stored: f32, f16, i8; as is usual for the model (`inspect` shows it) where not given
    #[arg(long)]
    kv: Option<KvType>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t = Form::Md)]
    output: Form,
    #[command(flatten)]
    engine: Engine,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Md,
    Json,
    Csv,
}

/// One test; the names are llama-bench's.
#[derive(Serialize)]
struct Row {
    build_commit: &'static str,
    build_version: &'static str,
    cpu_info: String,
    backends: &'static str,
    model_filename: String,
    model_type: String,
    /// Bytes of all tensors.
    model_size: u64,
    model_n_params: u64,
    n_batch: usize,
    n_threads: usize,
    type_k: String,
    type_v: String,
    n_prompt: usize,
    n_gen: usize,
    test_time: String,
    avg_ns: u64,
    stddev_ns: u64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
}

/// What is measured: one prompt, or one generation.
#[derive(Clone, Copy)]
enum Test {
    Prompt(usize),
    Generation(usize),
}

/// What greedy decoding looks at.
const LIKELIEST: Demand<'_> = Demand::Top { count: 1, also: &[] };

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let prompts = self.prompts.iter().filter(|n| **n > 0).map(|&n| Test::Prompt(n));
        let generations = self.generations.iter().filter(|n| **n > 0).map(|&n| Test::Generation(n));
        let tests: Vec<Test> = prompts.chain(generations).collect();
        if tests.is_empty() {
            bail!("nothing to measure; ask for a prompt with -p or a generation with -n");
        }
        let file = self.model.open()?;
        let mut counts: Vec<usize> = self.threads.iter().copied().map(usize::from).collect();
        if counts.is_empty() {
            counts.push(threads::available());
        }
        let mut rows = Vec::new();
        for threads in counts {
            let model = self.engine.load(&file, threads)?;
            for &test in &tests {
                rows.push(self.measure(&file, &model, test)?);
            }
        }
        match self.output {
            Form::Md => write_table(&rows)?,
            Form::Json => writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&rows)?)?,
            Form::Csv => write_csv(&rows)?,
        }
        if let Some(peak) = peak_memory() {
            eprintln!("memory: {:.1} MiB at most", peak as f64 / 1024.0 / 1024.0);
        }
        Ok(())
    }

    fn measure(&self, file: &File, model: &Model, test: Test) -> Result<Row> {
        let (tokens, batch) = match test {
            Test::Prompt(n) => (n, n.min(tritune::model::session::BATCH)),
            Test::Generation(n) => (n, 1),
        };
        let mut session = Session::new(model, SessionOptions { kv: self.kv, context: Some(tokens) })?;
        // Any tokens do; these are spread over the vocabulary, as text's are.
        let vocab = model.config().vocab;
        let ids: Vec<u32> = (0..tokens).map(|i| (i.wrapping_mul(7919) % vocab) as u32).collect();
        let test_time = Results::now();
        let mut samples_ns = Vec::new();
        for repetition in 0..=self.repetitions {
            session.rewind(0);
            let start = Instant::now();
            match test {
                Test::Prompt(_) => drop(session.predict(&ids, LIKELIEST)?),
                Test::Generation(_) => {
                    for id in &ids {
                        session.predict(std::slice::from_ref(id), LIKELIEST)?;
                    }
                }
            }
            if repetition > 0 {
                samples_ns.push(start.elapsed().as_nanos() as u64);
            }
        }
        tell_head(session.head_use());
        let samples_ts: Vec<f64> = samples_ns.iter().map(|&ns| tokens as f64 * 1e9 / ns as f64).collect();
        let (avg_ns, stddev_ns) = mean_and_deviation(&samples_ns.iter().map(|&ns| ns as f64).collect::<Vec<_>>());
        let (avg_ts, stddev_ts) = mean_and_deviation(&samples_ts);
        Ok(Row {
            build_commit: "unknown",
            build_version: env!("CARGO_PKG_VERSION"),
            cpu_info: Machine::detect([]).model,
            backends: "CPU",
            model_filename: file.path().display().to_string(),
            model_type: model_type(file, model),
            model_size: file.tensors().iter().map(|tensor| tensor.bytes).sum(),
            model_n_params: parameters(file),
            n_batch: batch,
            n_threads: model.pool().threads(),
            type_k: session.kv().to_string(),
            type_v: session.kv().to_string(),
            n_prompt: if let Test::Prompt(n) = test { n } else { 0 },
            n_gen: if let Test::Generation(n) = test { n } else { 0 },
            test_time,
            avg_ns: avg_ns as u64,
            stddev_ns: stddev_ns as u64,
            avg_ts,
            stddev_ts,
            samples_ns,
            samples_ts,
        })
    }
}

/// The mean, and the deviation of a sample: 0 where there is only one.
fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, if samples.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 })
}

fn parameters(file: &File) -> u64 {
    file.tensors().iter().map(|tensor| tensor.elements()).sum()
}

/// Architecture, number of weights, and the type of most matrices: `bitnet-b1.58 5.25 M I2_S`.
fn model_type(file: &File, model: &Model) -> String {
    let matrices = || file.tensors().iter().filter(|tensor| tensor.n() > 1).map(|tensor| tensor.kind);
    let count = |kind: Kind| matrices().filter(|other| *other == kind).count();
    let kind = matrices().max_by_key(|kind| count(*kind)).map_or(String::new(), |kind| kind.to_string());
    format!("{} {} {kind}", model.config().family.architecture, amount(parameters(file)))
}

/// A number of weights as llama-bench writes it.
fn amount(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} B", n / 1e9),
        n => format!("{:.2} M", n / 1e6),
    }
}

impl Row {
    fn test(&self) -> String {
        if self.n_prompt > 0 { format!("pp{}", self.n_prompt) } else { format!("tg{}", self.n_gen) }
    }
}

fn write_table(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let head = ["model", "size", "params", "backend", "threads", "test", "t/s"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        [
            row.model_type.clone(),
            format!("{:.2} MiB", row.model_size as f64 / 1024.0 / 1024.0),
            amount(row.model_n_params),
            row.backends.to_owned(),
            row.n_threads.to_string(),
            row.test(),
            format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts),
        ]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(cells).collect();
    let widths: Vec<usize> =
        (0..7).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    for (number, line) in lines.iter().enumerate() {
        // Names to the left, numbers to the right.
        let cell = |(i, (text, width)): (usize, (&String, &usize))| {
            if i == 0 || i == 3 { format!("{text:<width$}") } else { format!("{text:>width$}") }
        };
        let cells: Vec<String> = line.iter().zip(&widths).enumerate().map(cell).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
        if number == 0 {
            let rules: Vec<String> = widths
                .iter()
                .enumerate()
                .map(|(i, width)| if i == 0 || i == 3 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" })
                .collect();
            writeln!(out, "| {} |", rules.join(" | "))?;
        }
    }
    out.flush()
}

fn write_csv(rows: &[Row]) -> Result<()> {
    let mut out = io::stdout().lock();
    for (number, row) in rows.iter().enumerate() {
        let serde_json::Value::Object(fields) = serde_json::to_value(row)? else { continue };
        // Lists of samples have no place in a table.
        let fields = fields.iter().filter(|(_, value)| !value.is_array());
        let (names, values): (Vec<_>, Vec<_>) = fields
            .map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (format!("\"{name}\""), format!("\"{}\"", text.replace('"', "\"\"")))
            })
            .unzip();
        if number == 0 {
            writeln!(out, "{}", names.join(","))?;
        }
        writeln!(out, "{}", values.join(","))?;
    }
    Ok(out.flush()?)
}

/// The most memory that this process has held, in bytes, where the system says so (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_is_a_samples() {
        assert_eq!(mean_and_deviation(&[4.0]), (4.0, 0.0));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (2.0, 2f64.sqrt()));
    }
}
