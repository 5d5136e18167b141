use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use tritune_codegen::{Isa, KernelId, Op};
use tritune_tuning::cost::{self, Verdict};
use tritune_tuning::machine::Machine;
use tritune_tuning::menu::Menu;
use tritune_tuning::shapes::{Model, Shape};
use tritune_tuning::space::{Effort, Space};

use crate::cargo;

/// Shapes of the embedded demo model, beside those of a model worth tuning for.
const DEMO_SHAPES: [&str; 4] = ["256x256", "128x256", "768x256", "256x768"];

/// `cargo xtask tune`.
#[derive(Args)]
pub(crate) struct Tune {
    /// Fewer candidates and the shapes of one model: about two minutes of measuring, after compiling
    #[arg(long)]
    quick: bool,
    /// Instruction set; may be repeated; the best of this machine where none is given
    #[arg(long = "isa")]
    isas: Vec<Isa>,
    /// Numbers of threads, separated by commas
    #[arg(short, long)]
    threads: Option<String>,
}

impl Tune {
    pub(crate) fn run(self) -> Result<()> {
        let (effort, seconds) = if self.quick { (Effort::Quick, 110) } else { (Effort::Full, 540) };
        let shapes = self.shapes()?;
        let mut isas = if self.isas.is_empty() { Isa::best_here() } else { self.isas.clone() };
        if self.quick && self.isas.is_empty() {
            // The widest vectors win so often that a quick search leaves the others out.
            let widest = isas.iter().map(|isa| isa.vector_bytes()).max();
            isas.retain(|isa| Some(isa.vector_bytes()) == widest);
        }
        if let Some(isa) = isas.iter().find(|isa| !isa.detected()) {
            bail!("this machine does not run {isa}");
        }
        let (menu, pruned) = candidates(&isas, effort, &shapes)?;
        eprintln!("candidates: {} kernels; {pruned} more cannot win by the cost model", menu.len());
        let file = write_menu("tuning", &menu)?;

        eprintln!("building tritune with all of them");
        let tuner = cargo::build_with(&file)?;
        let mut tune = Command::new(tuner);
        tune.arg("tune").arg("--out").arg(cargo::root().join("results"));
        tune.args(["--seconds", &seconds.to_string()]);
        for shape in &shapes {
            tune.args(["--shape", &shape.to_string()]);
        }
        for isa in &isas {
            tune.args(["--isa", isa.name()]);
        }
        if let Some(threads) = &self.threads {
            tune.args(["--threads", threads]);
        }
        let words: Vec<String> = std::env::args().skip(1).collect();
        tune.args(["--command", &format!("cargo xtask {}", words.join(" "))]);
        // Ctrl-C reaches the child as well, which ends when it has written what it measured.
        ctrlc::set_handler(|| ()).context("cannot listen for Ctrl-C")?;
        cargo::run(tune)?;

        eprintln!("building tritune with the winners");
        let tritune = cargo::build_tritune()?;
        let mut demo = Command::new(tritune);
        demo.args(["run", "--demo", "-p", "It was", "-n", "100", "--seed", "7"]);
        cargo::run(demo)
    }

    fn shapes(&self) -> Result<Vec<Shape>> {
        let mut shapes = Vec::new();
        for name in Model::names().take(if self.quick { 1 } else { usize::MAX }) {
            shapes.extend(Model::named(name)?.shapes());
        }
        for shape in DEMO_SHAPES {
            shapes.push(shape.parse()?);
        }
        let mut seen = std::collections::HashSet::new();
        shapes.retain(|shape| seen.insert(*shape));
        Ok(shapes)
    }
}

/// The kernels worth measuring, and how many are not.
fn candidates(isas: &[Isa], effort: Effort, shapes: &[Shape]) -> Result<(Menu, usize)> {
    let machine = Machine::detect(Isa::here());
    let mut kernels: Vec<KernelId> = Vec::new();
    for isa in isas {
        let space = Space::for_isa(*isa)?;
        for op in [Op::Gemv, Op::Gemm] {
            kernels.extend(space.kernels(op, effort));
        }
    }
    let judged = cost::prune(&kernels, &machine, shapes);
    let menu: Menu = judged
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Measured(_)))
        .map(|(kernel, _)| *kernel)
        .collect();
    let pruned = judged.len() - menu.len();
    Ok((menu, pruned))
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
