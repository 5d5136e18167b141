//! `tritune tune`: time the kernels that are compiled in, on this machine.

use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tritune::gguf::File;
use tritune::kernels::{Isa, KERNELS, Kernel, Runnable, check_results, results_cache};
use tritune::threads;
use tritune::tune::{Bench, Plan, Supervisor, Tuning, serve};
use tritune_tuning::case::Case;
use tritune_tuning::fleet;
use tritune_tuning::journal::{Found, Journal, JournalError, Record};
use tritune_tuning::load::{self, Ticks};
use tritune_tuning::lock::Lock;
use tritune_tuning::pick::Weighting;
use tritune_tuning::results::{self, Crossover, Results, Sample, four_figures};
use tritune_tuning::search::{Excluded, Observer, Phase, Progress};
use tritune_tuning::shapes::{Model, Shape};
use tritune_tuning::stats::Caution;
use tritune_tuning::{report, request};

/// Steps of the progress bar.
const STEPS: u64 = 1000;

/// Time the compiled-in kernels on this machine, and keep what wins
#[derive(clap::Args)]
pub(crate) struct Tune {
    /// Models whose ternary matrices to tune for: GGUF files
    #[arg(value_name = "MODEL")]
    files: Vec<PathBuf>,
    /// Shape of weights, rows x columns, such as 6912x2560; may be repeated
    #[arg(long = "shape", value_name = "NxK")]
    shapes: Vec<Shape>,
    /// Shapes of a published model, by name; may be repeated
    #[arg(long = "layers-of", value_name = "NAME", value_parser = model)]
    models: Vec<Model>,
    /// Instruction set; may be repeated; the best of this machine where none is given
    #[arg(long = "isa")]
    isas: Vec<Isa>,
    /// Numbers of threads, separated by commas; as many as there are cores where none is given
    #[arg(short, long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Time for measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(request::SECONDS))]
    seconds: u64,
    /// Share of decoding in what layouts are chosen for, from 0 to 1; the rest is prefill
    #[arg(long, value_name = "SHARE", value_parser = request::share)]
    decode: Option<f64>,
    /// Folder that keeps the results, one file a machine; the user's cache where none is given, which is read at every load
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with a search that was interrupted: what it had finished is not measured again
    #[arg(long)]
    resume: bool,
    /// Measure for the tuner that started this process
    #[arg(long, hide = true)]
    worker: bool,
    /// Bytes of weights to go through before any is used again, where caches are to matter
    #[arg(long, hide = true)]
    pool_bytes: Option<usize>,
    /// The command line to record, where this is run by another program
    #[arg(long, hide = true)]
    command: Option<String>,
}

fn model(name: &str) -> Result<Model, String> {
    Model::named(name).map_err(|error| error.to_string())
}

/// The shapes of the ternary matrices of a file.
fn shapes_of(path: &Path) -> Result<Vec<Shape>> {
    let file = File::open(path)?;
    let shapes = tritune::tune::shapes(&file);
    if shapes.is_empty() {
        bail!("{} has no ternary matrix: there is nothing to tune for it", path.display());
    }
    Ok(shapes)
}

impl Tune {
    pub(crate) fn run(self) -> Result<()> {
        if self.worker {
            return work();
        }
        let mut shapes = self.shapes;
        shapes.extend(self.models.iter().flat_map(Model::shapes));
        for file in &self.files {
            shapes.extend(shapes_of(file)?);
        }
        // A search is the same in whatever order it is asked for.
        shapes.sort_unstable();
        shapes.dedup();
        let mut isas = self.isas;
        isas.sort_unstable();
        isas.dedup();
        if shapes.is_empty() {
            bail!("nothing to tune: name a GGUF file, shapes with --shape NxK, or a published model with --layers-of");
        }
        let counts = request::threads(self.threads, threads::available()).map_err(Error::msg)?;
        if let Some(isa) = isas.iter().find(|isa| !isa.detected()) {
            bail!("this machine does not run {isa}; `tritune kernels` lists what it runs");
        }
        let cache = || results_cache().and_then(|path| path.parent().map(Path::to_path_buf));
        let folder =
            self.out.or_else(cache).context("there is no home folder to keep results in; name one with --out")?;

        let interrupt = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupt);
        ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst)).context("cannot listen for Ctrl-C")?;

        let command = self.command.unwrap_or_else(|| std::env::args().collect::<Vec<_>>().join(" "));
        let tuning = Tuning {
            shapes,
            threads: counts,
            isas: isas.clone(),
            budget: Duration::from_secs(self.seconds),
            objective: self
                .decode
                .map_or_else(Weighting::default, |decode| Weighting { decode, prefill: 1.0 - decode }),
            pool_bytes: self.pool_bytes,
            command,
        };
        let plan = tuning.plan()?;
        if plan.journal().cases.is_empty() {
            bail!("the kernels that are compiled in leave nothing to compare; `tritune kernels` lists them");
        }
        let (mut kept, found) = Kept::new(folder, &plan, &tuning.command, self.resume)?;

        let load = load::glimpse().filter(|load| *load > load::LOADED);
        if let Some(load) = load {
            eprintln!(
                "warning: others take {:.0} % of the CPU time of this machine: differences are believed later, and fewer \
                 are found; a quiet machine measures better",
                load * 100.0
            );
        }
        let caution = if load.is_some() { Caution::Loaded } else { Caution::Calm };
        let before = Ticks::now();
        // By this name it is the program that runs, even if another one has been built in its place.
        let program = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
        let program = program.context("cannot find this program, which is to run as a worker")?;
        let worker = || {
            let mut command = Command::new(&program);
            command.args(["tune", "--worker"]);
            command
        };
        let mut supervisor = Supervisor::new(worker, plan.pool_bytes(), found);
        let mut watcher = Watcher { bar: bar(), journal: &mut kept.journal, told: false };
        let results = plan.run(&mut supervisor, caution, &interrupt, &mut watcher);
        watcher.bar.finish_and_clear();
        let mut results = results?;
        results.load = before.zip(Ticks::now()).and_then(|(before, now)| before.others_until(&now)).map(four_figures);
        if results.samples.is_empty() && !interrupt.load(Ordering::SeqCst) {
            bail!("{} s are too short to measure anything; give it more with --seconds", self.seconds);
        }

        writeln!(io::stdout(), "{}", report::table(&results))?;
        tell_failures(&results);
        if let Some(load) = results.load.filter(|load| *load > load::LOADED) {
            eprintln!("warning: others took {:.0} % of the CPU time while this was measured", load * 100.0);
        }
        // Narrower vectors may be left out: a quick search does so.
        let widest = isas.iter().map(|isa| isa.vector_bytes()).max().unwrap_or(0);
        let passed_over =
            Isa::best_here().into_iter().find(|isa| isa.vector_bytes() >= widest && widest > 0 && !isas.contains(isa));
        if interrupt.load(Ordering::SeqCst) {
            kept.aside(&results)?;
            bail!("interrupted; --resume goes on");
        } else if !results.complete {
            kept.aside(&results)?;
            bail!("the time was too short for every candidate; go on with --resume, or give it more with --seconds");
        } else if let Some(isa) = passed_over {
            kept.aside(&results)?;
            bail!("nothing is picked, for {isa} was not measured, which may be faster; add --isa {isa}");
        }
        kept.save(results)
    }
}

/// Runs candidates for the tuner that has started this process.
fn work() -> Result<()> {
    let kernels: Vec<Runnable> = KERNELS.iter().filter_map(Kernel::detect).collect();
    serve(BufReader::new(io::stdin()), io::stdout(), |pool_bytes| Bench::new(&kernels, pool_bytes))?;
    Ok(())
}

/// One line for each kernel that was excluded.
fn tell_failures(results: &Results) {
    let failed = |sample: &&Sample| sample.failed.is_some();
    let mut told = Vec::new();
    for sample in results.samples.iter().filter(failed) {
        if told.contains(&sample.kernel) {
            continue;
        }
        told.push(sample.kernel);
        let more = results.samples.iter().filter(failed).filter(|other| other.kernel == sample.kernel).count() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let why = sample.failed.as_deref().unwrap_or_default();
        eprintln!("warning: {} was excluded from {}{more}: {why}", sample.kernel, sample.case);
    }
}

/// Where results are kept, and what is kept until there are any.
struct Kept {
    /// The results file.
    path: PathBuf,
    journal: Journal,
    /// Held until the end.
    _lock: Lock,
}

impl Kept {
    /// Takes the folder for this tuner, and begins a journal or goes on with one.
    fn new(folder: PathBuf, plan: &Plan, command: &str, resume: bool) -> Result<(Kept, Found)> {
        let path = folder.join(plan.machine().file_name());
        let lock = Lock::of(&path, command)?;
        let (entries, identity) = (path.with_extension("journal"), plan.journal());
        let resumed = if resume { Journal::resume(&entries, &identity)? } else { None };
        let (journal, found) = match resumed {
            Some((journal, found)) => {
                eprintln!("{} cases are taken from {}", found.finished.len(), entries.display());
                (journal, found)
            }
            None => {
                match Record::load(&entries) {
                    Ok(None) if resume => eprintln!("there is no journal to go on with: the search begins anew"),
                    Ok(None) => (),
                    // Nothing had been finished.
                    Ok(Some(record)) if record.found == Found::default() => (),
                    Ok(Some(Record { command, date, plan, .. })) => {
                        let old = Journal::retire(&entries)?;
                        let same = if plan == identity { "; --resume would have gone on with it" } else { "" };
                        eprintln!(
                            "warning: the journal of an interrupted search (`{command}`, {date}) is kept as {}{same}; as \
                             {}, it can be gone on with",
                            old.display(),
                            entries.display()
                        );
                    }
                    Err(error) => {
                        let old = Journal::retire(&entries)?;
                        eprintln!("warning: a journal is of no use, and kept as {}: {error}", old.display());
                    }
                }
                (Journal::begin(&entries, &identity, command)?, Found::default())
            }
        };
        Ok((Kept { path, journal, _lock: lock }, found))
    }

    /// Writes the results, with what is still true of earlier ones.
    fn save(self, mut results: Results) -> Result<()> {
        match fleet::standing(&self.path, check_results) {
            Ok(None) => (),
            Ok(Some(older)) => {
                if older.is_dated_after(&results) {
                    eprintln!(
                        "warning: {} is dated {}, which is yet to come: a clock was set back; it is taken as it is",
                        self.path.display(),
                        older.date
                    );
                }
                results.absorb(older);
            }
            Err(error) => {
                let kept = results::refuse(&self.path)?;
                eprintln!(
                    "warning: nothing is taken over from earlier results, which are kept as {}: {error}",
                    kept.display()
                );
            }
        }
        let saved = results.save(&self.path);
        saved.map_err(|error| anyhow!("{error}; with --resume nothing is measured again"))?;
        eprintln!("results: {}", self.path.display());
        self.done()
    }

    /// What was measured is kept elsewhere.
    fn done(self) -> Result<()> {
        self.journal.remove().context("the results are complete, but their journal is left")
    }

    /// Writes results that are not to be picked from beside the last good ones, to be looked at; none, where nothing was
    /// measured.
    fn aside(&self, results: &Results) -> Result<()> {
        if !results.samples.is_empty() {
            let path = self.path.with_extension("aside");
            results.save(&path)?;
            let (count, path) = (results.samples.len(), path.display());
            eprintln!("{count} samples are kept in {path}; earlier results are as they were");
        }
        Ok(())
    }
}

/// Shows how far the search is, and writes down what it has found.
struct Watcher<'a> {
    bar: ProgressBar,
    journal: &'a mut Journal,
    /// Whether it was said that the journal cannot be written.
    told: bool,
}

/// A progress bar on a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr_with_hz(5));
    // A template that does not parse would be a mistake in this line; the default bar would do.
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {prefix}  {msg}") {
        bar.set_style(style);
    }
    bar
}

impl Watcher<'_> {
    fn write(&mut self, write: impl FnOnce(&mut Journal) -> Result<(), JournalError>) {
        let Err(error) = write(self.journal) else { return };
        if !self.told {
            self.told = true;
            let warning = format!("warning: {error}; the search goes on, but --resume would measure this again");
            self.bar.suspend(|| eprintln!("{warning}"));
        }
    }
}

impl Observer for Watcher<'_> {
    fn progress(&mut self, progress: &Progress) {
        let phase = match progress.phase {
            Phase::Packing => "packing",
            Phase::Checking => "checking",
            Phase::Timing => "timing",
            Phase::Crossing => "crossover",
        };
        self.bar.set_position((progress.fraction * STEPS as f64) as u64);
        self.bar.set_prefix(format!("{} s left", progress.time_left.as_secs()));
        let mut message = format!("{phase} {} ({} left)", progress.case, progress.left);
        if let Some(leader) = progress.leader {
            message += &format!(", {:.1} µs {}", leader.seconds * 1e6, leader.candidate.kernel.tile);
        }
        self.bar.set_message(message);
    }

    fn finished(&mut self, case: &Case, samples: &[Sample], settled: bool) {
        if settled {
            self.write(|journal| journal.finished(case, samples));
        }
    }

    fn excluded(&mut self, excluded: &Excluded) {
        self.write(|journal| journal.excluded(excluded));
    }

    fn crossed(&mut self, crossover: &Crossover) {
        self.write(|journal| journal.crossed(crossover));
    }
}
