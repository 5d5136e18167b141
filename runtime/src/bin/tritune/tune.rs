//! `tritune tune`: time the kernels that are compiled in, on this machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tritune::kernels::{Isa, KERNELS};
use tritune::threads;
use tritune::tune::Tuning;
use tritune_tuning::pick::Weighting;
use tritune_tuning::report;
use tritune_tuning::results::Results;
use tritune_tuning::search::{Observer, Phase, Progress};
use tritune_tuning::shapes::{Model, Shape};

/// Steps of the progress bar.
const STEPS: u64 = 1000;

/// Time the compiled-in kernels on this machine, and keep what wins
#[derive(clap::Args)]
pub(crate) struct Tune {
    /// Shape of weights, rows x columns, such as 6912x2560; may be repeated
    #[arg(long = "shape", value_name = "NxK")]
    shapes: Vec<Shape>,
    /// Shapes of a model; may be repeated
    #[arg(long = "layers-of", value_name = "MODEL", value_parser = model)]
    models: Vec<Model>,
    /// Instruction set; may be repeated; the best of this machine where none is given
    #[arg(long = "isa")]
    isas: Vec<Isa>,
    /// Numbers of threads, separated by commas; as many as there are cores where none is given
    #[arg(short, long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Time for measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Folder that keeps the results, one file a machine; without it they are only shown
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The command line to record, where this is run by another program
    #[arg(long, hide = true)]
    command: Option<String>,
}

fn model(name: &str) -> Result<Model, String> {
    Model::named(name).map_err(|error| error.to_string())
}

impl Tune {
    pub(crate) fn run(self) -> Result<()> {
        let mut shapes = self.shapes;
        for shape in self.models.iter().flat_map(Model::shapes) {
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        if shapes.is_empty() {
            bail!("nothing to tune: name shapes with --shape NxK, or a model with --layers-of");
        }
        let mut counts = self.threads;
        if counts.is_empty() {
            counts.push(threads::available());
        }
        if let Some(count) = counts.iter().find(|count| **count == 0 || **count > threads::available()) {
            bail!("cannot measure {count} threads on {} cores", threads::available());
        }
        if let Some(isa) = self.isas.iter().find(|isa| !isa.detected()) {
            bail!("this machine does not run {isa}; `tritune kernels` lists what it runs");
        }
        let out = self.out.map(writable).transpose()?;

        let interrupt = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupt);
        ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst)).context("cannot listen for Ctrl-C")?;

        let command = self.command.unwrap_or_else(|| std::env::args().collect::<Vec<_>>().join(" "));
        let tuning = Tuning {
            shapes,
            threads: counts,
            isas: self.isas.clone(),
            budget: Duration::from_secs(self.seconds),
            objective: Weighting::default(),
            pool_bytes: None,
            command,
        };
        let mut bar = Bar::new();
        let results = tuning.run(&interrupt, &mut bar)?;
        bar.0.finish_and_clear();
        if results.samples.is_empty() && !interrupt.load(Ordering::SeqCst) {
            bail!("{} s are too short to measure anything; give it more with --seconds", self.seconds);
        }

        writeln!(std::io::stdout(), "{}", report::table(&results))?;
        for sample in results.samples.iter().filter(|sample| sample.failed.is_some()) {
            let why = sample.failed.as_deref().unwrap_or_default();
            eprintln!("warning: {} was excluded from {}: {why}", sample.kernel, sample.case);
        }
        let Some(folder) = out else { return Ok(()) };
        // Narrower vectors may be left out: a quick search does so.
        let widest = self.isas.iter().map(|isa| isa.vector_bytes()).max().unwrap_or(0);
        let passed_over = Isa::best_here()
            .into_iter()
            .find(|isa| isa.vector_bytes() >= widest && widest > 0 && !self.isas.contains(isa));
        if interrupt.load(Ordering::SeqCst) {
            aside(results, &folder, "interrupted")?;
            bail!("interrupted");
        } else if let Some(isa) = passed_over {
            aside(results, &folder, &format!("{isa} was not measured"))
        } else if !results.complete {
            aside(results, &folder, "the time was too short for every candidate; give it more with --seconds")
        } else {
            keep(results, &folder)
        }
    }
}

/// The folder, made if need be, after a trial that something can be written there: not after minutes of measuring.
fn writable(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let trial = folder.join(format!(".{}.part", std::process::id()));
    std::fs::write(&trial, []).with_context(|| format!("cannot write in {}", folder.display()))?;
    std::fs::remove_file(&trial).with_context(|| format!("cannot write in {}", folder.display()))?;
    Ok(folder)
}

/// Writes the results, with what is still true of earlier ones.
fn keep(mut results: Results, folder: &Path) -> Result<()> {
    let path = folder.join(results.file_name());
    if path.exists() {
        let hash = |id| KERNELS.iter().find(|kernel| kernel.id == id).map(|kernel| kernel.source_hash.to_owned());
        match Results::load(&path).and_then(|older| older.check(hash).map(|()| older)) {
            Ok(older) => results.absorb(older),
            Err(error) => eprintln!("warning: nothing is taken over from earlier results: {error}"),
        }
    }
    results.save(&path)?;
    eprintln!("results: {}", path.display());
    Ok(())
}

/// Writes results that are not to be picked from beside the last good ones.
fn aside(results: Results, folder: &Path, why: &str) -> Result<()> {
    let path = folder.join(results.file_name()).with_extension("aside");
    results.save(&path)?;
    eprintln!(
        "{why}: {} samples are kept in {}; earlier results are as they were",
        results.samples.len(),
        path.display()
    );
    Ok(())
}

/// The progress bar.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr_with_hz(5));
        // A template that does not parse would be a mistake in this line; the default bar would do.
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {prefix}  {msg}") {
            bar.set_style(style);
        }
        Bar(bar)
    }
}

impl Observer for Bar {
    fn progress(&mut self, progress: &Progress) {
        let phase = match progress.phase {
            Phase::Checking => "checking",
            Phase::Timing => "timing",
        };
        self.0.set_position((progress.fraction * STEPS as f64) as u64);
        self.0.set_prefix(format!("{} s left", progress.time_left.as_secs()));
        let mut message = format!("{phase} {} ({} left)", progress.case, progress.left);
        if let Some((candidate, seconds)) = progress.leader {
            message += &format!(", {:.1} µs {}", seconds * 1e6, candidate.kernel.tile);
        }
        self.0.set_message(message);
    }
}
