use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, bail};
use clap::Args;
use tritune_codegen::{Isa, KernelId, Op};
use tritune_tuning::cost::{self, Cost, Verdict};
use tritune_tuning::fleet;
use tritune_tuning::lock::Lock;
use tritune_tuning::machine::Machine;
use tritune_tuning::menu::Menu;
use tritune_tuning::request;
use tritune_tuning::results::refuse;
use tritune_tuning::shapes::{DEMO, Model, ModelError, Shape};
use tritune_tuning::space::{Effort, Space};

use crate::inspect::Contents;
use crate::{cargo, results};

/// `cargo xtask tune`.
#[derive(Args)]
pub(crate) struct Tune {
    /// Fewer candidates, and the shapes of one model: about two minutes of measuring, after compiling
    #[arg(long, conflicts_with = "exhaustive")]
    quick: bool,
    /// Every kernel of the space, also those that the cost model rules out
    #[arg(long)]
    exhaustive: bool,
    /// Shape of weights, rows x columns, such as 6912x2560; may be repeated
    #[arg(long = "shape", value_name = "NxK")]
    shapes: Vec<Shape>,
    /// Shapes of the ternary tensors of a GGUF file; may be repeated
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Shapes of a published model; may be repeated
    #[arg(long = "layers-of", value_name = "NAME", value_parser = Model::named)]
    published: Vec<Model>,
    /// Instruction set; may be repeated; the best of this machine where none is given
    #[arg(long = "isa")]
    isas: Vec<Isa>,
    /// Numbers of threads, separated by commas; as many as there are cores where none is given
    #[arg(short, long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Time for measuring; 110 with --quick, 1800 with --exhaustive, else 540
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(request::SECONDS))]
    seconds: Option<u64>,
    /// Share of decoding in what layouts are chosen for, from 0 to 1; the rest is prefill
    #[arg(long, value_name = "SHARE", value_parser = request::share)]
    decode: Option<f64>,
    /// Folder that keeps the results; the workspace's where none is given, which every build reads
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with a search that was interrupted
    #[arg(long)]
    resume: bool,
    /// Print what would be measured, and stop
    #[arg(long)]
    dry_run: bool,
}

impl Tune {
    pub(crate) fn run(self) -> Result<()> {
        // What cannot be is told before minutes of compiling.
        let machine = Machine::detect(Isa::here());
        let threads = request::threads(self.threads.clone(), machine.cores).map_err(Error::msg)?;
        let isas = self.isas();
        if let Some(isa) = isas.iter().find(|isa| !isa.detected()) {
            bail!("this machine does not run {isa}");
        }
        self.models.iter().try_for_each(|file| check_gguf(file))?;
        let folder = self.folder()?;
        if !self.dry_run {
            make_way(&folder.join(machine.file_name()))?;
        }
        let shapes = self.shapes()?;
        let judged = self.judge(&machine, &isas, &shapes)?;
        let measured = |(kernel, verdict): &(KernelId, Verdict)| match verdict {
            Verdict::Measured(_) => Some(*kernel),
            Verdict::Pruned(_) => None,
        };
        let menu: Menu = judged.iter().filter_map(measured).collect();
        if self.dry_run {
            return print(&judged, &shapes, self.seconds());
        }
        eprintln!(
            "candidates: {} kernels; {} more cannot win by the cost model",
            menu.len(),
            judged.len() - menu.len()
        );
        let file = write_menu("tuning", &menu)?;

        eprintln!("building tritune with all of them");
        let tuner = cargo::build_with(&file)?;
        // Ctrl-C reaches the child as well, which ends when it has written what it measured.
        ctrlc::set_handler(|| ()).context("cannot listen for Ctrl-C")?;
        cargo::run(self.tuner(&tuner, &folder, &shapes, &isas, &threads))?;

        if let Err(error) = results::table(&folder) {
            eprintln!("warning: {error}");
        }
        eprintln!("building tritune with the winners");
        let tritune = cargo::build_tritune()?;
        let mut demo = Command::new(tritune);
        demo.args(["run", "--demo", "-p", "It was", "-n", "100", "--seed", "7"]);
        cargo::run(demo)
    }

    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(match (self.quick, self.exhaustive) {
            (true, _) => 110,
            (_, true) => 1800,
            _ => 540,
        })
    }

    fn folder(&self) -> Result<PathBuf> {
        match &self.out {
            Some(folder) => std::path::absolute(folder).with_context(|| format!("cannot find {}", folder.display())),
            None => Ok(cargo::root().join("results")),
        }
    }

    /// The command that measures.
    fn tuner(&self, tritune: &Path, folder: &Path, shapes: &[Shape], isas: &[Isa], threads: &[usize]) -> Command {
        let mut tune = Command::new(tritune);
        tune.arg("tune").arg("--out").arg(folder);
        tune.args(["--seconds", &self.seconds().to_string()]);
        for shape in shapes {
            tune.args(["--shape", &shape.to_string()]);
        }
        for isa in isas {
            tune.args(["--isa", isa.name()]);
        }
        let threads: Vec<String> = threads.iter().map(usize::to_string).collect();
        tune.args(["--threads", &threads.join(",")]);
        if let Some(decode) = &self.decode {
            tune.args(["--decode", &decode.to_string()]);
        }
        if self.resume {
            tune.arg("--resume");
        }
        tune.args(["--command", &command()]);
        tune
    }

    fn isas(&self) -> Vec<Isa> {
        let mut isas = if self.isas.is_empty() { Isa::best_here() } else { self.isas.clone() };
        isas.sort_unstable();
        isas.dedup();
        if self.quick && self.isas.is_empty() {
            // The widest vectors win so often that a quick search leaves the others out.
            let widest = isas.iter().map(|isa| isa.vector_bytes()).max();
            isas.retain(|isa| Some(isa.vector_bytes()) == widest);
        }
        isas
    }

    /// The shapes that were named; else those of published models and of the demo.
    fn shapes(&self) -> Result<Vec<Shape>> {
        let mut shapes = self.shapes.clone();
        shapes.extend(self.published.iter().flat_map(Model::shapes));
        if !self.models.is_empty() {
            let tritune = cargo::build_tritune()?;
            for file in &self.models {
                shapes.extend(shapes_of(&tritune, file)?);
            }
        }
        if shapes.is_empty() {
            let names = Model::names().take(if self.quick { 1 } else { usize::MAX });
            let models: Vec<Model> = names.chain([DEMO]).map(Model::named).collect::<Result<_, ModelError>>()?;
            shapes.extend(models.iter().flat_map(Model::shapes));
        }
        shapes.sort_unstable();
        shapes.dedup();
        Ok(shapes)
    }

    /// The kernels of the space, and which of them are worth measuring.
    fn judge(&self, machine: &Machine, isas: &[Isa], shapes: &[Shape]) -> Result<Vec<(KernelId, Verdict)>> {
        let effort = if self.quick { Effort::Quick } else { Effort::Full };
        let mut kernels: Vec<KernelId> = Vec::new();
        for isa in isas {
            let space = Space::for_isa(*isa)?;
            for op in [Op::Gemv, Op::Gemm] {
                kernels.extend(space.kernels(op, effort));
            }
        }
        if self.exhaustive {
            let all = kernels.into_iter().map(|kernel| (kernel, Verdict::Measured(Cost::of(&kernel, shapes))));
            return Ok(all.collect());
        }
        Ok(cost::prune(&kernels, machine, shapes))
    }
}

/// The command line, for the record.
fn command() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}

/// Whether results can be kept in a file; what is there and would not be taken over, or not be believed by the next build,
/// makes way.
fn make_way(path: &Path) -> Result<()> {
    let _lock = Lock::of(path, &command())?;
    if let Err(error) = fleet::standing(path, |results| results.check(results::sources_today())) {
        let kept = refuse(path)?;
        eprintln!("warning: earlier results are of no use, and kept as {}: {error}", kept.display());
    }
    Ok(())
}

/// Whether a file can be read and begins as a GGUF file does.
pub(crate) fn check_gguf(path: &Path) -> Result<()> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if &magic != b"GGUF" {
        bail!("{} is not a GGUF file: it begins otherwise", path.display());
    }
    Ok(())
}

/// Shapes of the ternary tensors of a file, as `tritune inspect` reads it.
fn shapes_of(tritune: &Path, file: &Path) -> Result<Vec<Shape>> {
    let output = Command::new(tritune).arg("inspect").arg(file).arg("--json").stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cannot read the shapes of {}", file.display());
    }
    let contents: Contents = serde_json::from_slice(&output.stdout).context("what inspect printed")?;
    let shapes = contents.shapes();
    if shapes.is_empty() {
        bail!("{} has no ternary matrix: there is nothing to tune for it", file.display());
    }
    Ok(shapes)
}

/// The space, kernel by kernel, and its size.
fn print(judged: &[(KernelId, Verdict)], shapes: &[Shape], seconds: u64) -> Result<()> {
    let mut text = String::new();
    let mut measured = 0;
    for (kernel, verdict) in judged {
        let what = match verdict {
            Verdict::Measured(cost) => {
                measured += 1;
                format!("measured: {cost}")
            }
            Verdict::Pruned(why) => format!("left out: {why}"),
        };
        text += &format!("{:44} {what}\n", kernel.to_string());
    }
    let names: Vec<String> = shapes.iter().map(Shape::to_string).collect();
    text += &format!(
        "{} kernels, {measured} to measure, for {} shapes in at most {seconds} s: ",
        judged.len(),
        names.len()
    );
    text += &format!("{}\n", names.join(" "));
    io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
}

/// Every kernel that may be tuned, on any instruction set, as a menu file.
pub(crate) fn whole_space() -> Result<PathBuf> {
    let mut menu = Menu::default();
    for isa in Isa::ALL {
        let space = Space::for_isa(isa)?;
        for op in [Op::Gemv, Op::Gemm] {
            menu.extend(space.kernels(op, Effort::Full));
        }
    }
    write_menu("space", &menu)
}

/// Writes a menu, unless the file has it already: then cargo need not build again.
pub(crate) fn write_menu(name: &str, menu: &Menu) -> Result<PathBuf> {
    let folder = cargo::root().join("target").join("menus");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (path, text) = (folder.join(format!("{name}.txt")), menu.to_string());
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;
    use tritune_tuning::results::Results;

    #[test]
    fn results_that_the_next_build_would_refuse_make_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/one-2c.toml");
        make_way(&path).unwrap();
        let good = example("one-2c", 1);
        good.save(&path).unwrap();
        make_way(&path).unwrap();
        assert_eq!(Results::load(&path).unwrap(), good, "it stays");
        // A kernel that nobody picks has changed: a search that took this over would be refused whole.
        let mut stale = good.clone();
        stale.kernels[1].source = "old".into();
        for (results, name) in [(stale, "one-2c.toml.refused"), (example("x-4c", 1), "one-2c.toml.2.refused")] {
            results.save(&path).unwrap();
            make_way(&path).unwrap();
            assert!(!path.exists());
            assert_eq!(Results::load(&path.with_file_name(name)).unwrap(), results);
        }
        let _lock = Lock::of(&path, "tritune tune").unwrap();
        assert!(make_way(&path).unwrap_err().to_string().contains("tritune tune"));
    }
}
