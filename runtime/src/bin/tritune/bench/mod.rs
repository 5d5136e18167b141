//! `tritune bench`: speed of prompts and of generation, in llama-bench's rows, and what memory would allow.

mod memory;
mod output;
mod reads;
mod row;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;
use indicatif::HumanBytes;
use tritune::gguf::File;
use tritune::model::session::BATCH;
use tritune::model::{HeadUse, KvType, Model, ModelBytes, Session, SessionOptions};
use tritune::sample::Demand;
use tritune::threads;
use tritune_tuning::machine::Machine;
use tritune_tuning::results::Results;

use crate::engine::{Engine, ModelFile, tell_head, warn_beyond};
use reads::{Reads, Speeds};
use row::{Row, TokenBytes, mean_and_deviation, model_type, parameters};

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
    /// Tokens that are in the context before a test begins, separated by commas; computing them is not timed
    #[arg(short = 'd', long = "n-depth", value_name = "N", value_delimiter = ',', default_value = "0")]
    depths: Vec<usize>,
    /// Numbers of threads, separated by commas; as many as there are cores where not given
    #[arg(short, long, value_name = "T", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// How often each test is run, after a prompt or some tokens that do not count
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// How keys and values are stored: f32, f16, i8; as is usual for the model (`inspect` shows it) where not given
    #[arg(long)]
    kv: Option<KvType>,
    /// Measure after each repetition how fast this machine reads memory, too, and say how near generation comes to that
    #[arg(long)]
    stream: bool,
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

/// What is measured: one prompt, or one generation.
#[derive(Clone, Copy)]
enum Test {
    Prompt(usize),
    Generation(usize),
}

impl Test {
    fn tokens(self) -> usize {
        match self {
            Test::Prompt(n) | Test::Generation(n) => n,
        }
    }
}

/// What greedy decoding looks at.
const LIKELIEST: Demand<'_> = Demand::Top { count: 1, also: &[] };

/// Tokens generated before any is timed: all weights have been read then, and the clock has risen.
const WARM_UP: usize = 16;

/// What is timed one test after the other.
struct Bed<'m> {
    file: &'m File,
    model: &'m Model,
    session: Session,
    /// Tokens in the session before each test.
    depth: usize,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let prompts = self.prompts.iter().filter(|n| **n > 0).map(|&n| Test::Prompt(n));
        let generations = self.generations.iter().filter(|n| **n > 0).map(|&n| Test::Generation(n));
        let tests: Vec<Test> = prompts.chain(generations).collect();
        let Some(longest) = tests.iter().map(|test| test.tokens()).max() else {
            bail!("nothing to measure; ask for a prompt with -p or a generation with -n");
        };
        let file = self.model.open()?;
        let mut counts: Vec<usize> = self.threads.iter().copied().map(usize::from).collect();
        if counts.is_empty() {
            counts.push(threads::available());
        }
        let mut reads = self.stream.then(Reads::new);
        let mut rows = Vec::new();
        for threads in counts {
            let model = self.engine.load_to_measure(&file, threads)?;
            for &depth in &self.depths {
                let context = depth.saturating_add(longest);
                let options = SessionOptions { kv: self.kv, context: Some(context) };
                let mut session = Session::new(&model, options)?;
                warn_beyond(&model, context);
                if depth > 0 {
                    session.feed(&spread(depth, &model))?;
                }
                let mut bed = Bed { file: &file, model: &model, session, depth };
                for &test in &tests {
                    rows.push(self.measure(&mut bed, test, reads.as_mut())?);
                }
                tell_head(bed.session.head_use());
            }
            tell_weights(&model.weights().bytes());
        }
        match self.output {
            Form::Md => output::write_table(&rows)?,
            Form::Json => output::write_json(&rows)?,
            Form::Csv => output::write_csv(&rows)?,
        }
        tell_memory(&rows);
        Ok(())
    }

    fn measure(&self, bed: &mut Bed<'_>, test: Test, mut reads: Option<&mut Reads>) -> Result<Row> {
        let Bed { file, model, ref mut session, depth } = *bed;
        let ids = spread(test.tokens(), model);
        let test_time = Results::now();
        match test {
            Test::Prompt(_) => drop(session.predict(&ids, LIKELIEST)?),
            Test::Generation(_) => generate(session, &ids[..ids.len().min(WARM_UP)])?,
        }
        let before = session.head_use();
        let (mut samples_ns, mut speeds) = (Vec::new(), Speeds::default());
        for _ in 0..self.repetitions {
            session.rewind(depth);
            let start = Instant::now();
            match test {
                Test::Prompt(_) => drop(session.predict(&ids, LIKELIEST)?),
                Test::Generation(_) => generate(session, &ids)?,
            }
            samples_ns.push(start.elapsed().as_nanos() as u64);
            if let Some(reads) = &mut reads {
                speeds.push(reads.measure(model.pool()));
            }
        }
        session.rewind(depth);
        let samples_ts: Vec<f64> = samples_ns.iter().map(|&ns| ids.len() as f64 * 1e9 / ns as f64).collect();
        let (avg_ns, stddev_ns) = mean_and_deviation(&samples_ns.iter().map(|&ns| ns as f64).collect::<Vec<_>>());
        let (avg_ts, stddev_ts) = mean_and_deviation(&samples_ts);
        let kv = session.kv();
        let token = match test {
            Test::Prompt(_) => TokenBytes::default(),
            Test::Generation(n) => {
                let timed = n as u64 * u64::from(self.repetitions);
                let head = model.weights().head_bytes(&since(before, session.head_use())) / timed;
                let read = ModelBytes { head, ..model.weights().token_bytes() };
                TokenBytes::new(&read, model.kv_bytes(kv, depth..depth + n) / n as u64)
            }
        };
        Ok(Row {
            build_commit: "unknown",
            build_version: env!("CARGO_PKG_VERSION"),
            cpu_info: Machine::detect([]).model,
            backends: "CPU",
            model_filename: file.path().display().to_string(),
            model_type: model_type(file, model),
            model_size: file.tensors().iter().map(|tensor| tensor.bytes).sum(),
            model_n_params: parameters(file),
            n_batch: if let Test::Prompt(n) = test { n.min(BATCH) } else { 1 },
            n_threads: model.pool().threads(),
            type_k: kv.to_string(),
            type_v: kv.to_string(),
            n_prompt: if let Test::Prompt(n) = test { n } else { 0 },
            n_gen: if let Test::Generation(n) = test { n } else { 0 },
            n_depth: depth,
            test_time,
            avg_ns: avg_ns as u64,
            stddev_ns: stddev_ns as u64,
            avg_ts,
            stddev_ts,
            token,
            stream: speeds.medians(),
            memory_peak: memory::peak().map(|peak| peak.saturating_sub(reads.map_or(0, |reads| reads.bytes()))),
            memory_expected: model.weights().bytes().total() + session.kv_bytes() as u64,
            samples_ns,
            samples_ts,
        })
    }
}

/// So many tokens. Any do; these are spread over the vocabulary, as text's are.
fn spread(tokens: usize, model: &Model) -> Vec<u32> {
    let vocab = model.config().vocab;
    (0..tokens).map(|i| (i.wrapping_mul(7919) % vocab) as u32).collect()
}

/// How often which part of the head was computed since.
fn since(before: HeadUse, now: HeadUse) -> HeadUse {
    HeadUse {
        shortlists: now.shortlists - before.shortlists,
        rows: now.rows - before.rows,
        undecided: now.undecided - before.undecided,
        full: now.full - before.full,
    }
}

fn generate(session: &mut Session, ids: &[u32]) -> Result<()> {
    for id in ids {
        session.predict(std::slice::from_ref(id), LIKELIEST)?;
    }
    Ok(())
}

fn tell_weights(bytes: &ModelBytes) {
    let ModelBytes { ternary, float, head, embedding, vectors } = *bytes;
    let parts = [
        (ternary, "packed ternary"),
        (float, "of other types"),
        (head, "head"),
        (embedding, "embeddings"),
        (vectors, "norms and the like"),
    ];
    let parts =
        parts.iter().filter(|(bytes, _)| *bytes > 0).map(|(bytes, what)| format!("{} {what}", HumanBytes(*bytes)));
    eprintln!("weights: {}", parts.collect::<Vec<_>>().join(", "));
}

/// Models of fewer bytes take less memory than the program.
const SMALL: u64 = 16 << 20;

/// The most that was held, beside weights with keys and values: what is more are pages of the file that are no longer needed,
/// buffers, and the program.
fn tell_memory(rows: &[Row]) {
    let expected = rows.iter().map(|row| row.memory_expected).max();
    if let (Some(peak), Some(expected)) = (rows.iter().filter_map(|row| row.memory_peak).max(), expected) {
        let ratio = peak as f64 / expected as f64;
        let program = if expected < SMALL { "; the program itself is most of it" } else { "" };
        eprintln!("memory: {} of {} expected ({ratio:.2}){program}", HumanBytes(peak), HumanBytes(expected));
    }
}
