//! `tritune kernels`: which kernels there are, what this machine runs, and what a shape is computed with.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};
use tritune::kernels::self_check::{self, Fault};
use tritune::kernels::{Isa, KERNELS, Kernel, KernelId, Operand};
use tritune_tuning::menu::Menu;
use tritune_tuning::shapes::Shape;

use crate::engine::{Policy, Threads};
use crate::explain;

/// List the kernels, and which of them this machine runs, or explain which one a shape gets
#[derive(clap::Args)]
pub(crate) struct Kernels {
    /// Say which kernels compute weights of this shape, rows x columns, and why
    #[arg(long, value_name = "NxK")]
    explain: Option<Shape>,
    /// Columns that share a scale, where a row has several (256 in TQ1_0 and TQ2_0)
    #[arg(long, value_name = "COLUMNS", requires = "explain", value_parser = clap::value_parser!(u32).range(1..))]
    block: Option<u32>,
    /// Folder with results, to explain from besides your own
    #[arg(long, value_name = "FOLDER", requires = "explain")]
    results: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    policy: Policy,
}

impl Kernels {
    pub(crate) fn run(self) -> Result<()> {
        let threads = self.threads.count();
        let selection = self.policy.selection(threads)?;
        let stdout = io::stdout().lock();
        match self.explain {
            Some(shape) => {
                let block = self.block.map_or(shape.k, |block| block as usize);
                let choice = selection.choose(shape.n, shape.k, block)?;
                let measured = explain::measured(shape, &choice, threads, self.results.as_deref())?;
                explain::print(stdout, shape, &choice, &measured, self.json)
            }
            None => list(stdout, &selection.isas(), self.json),
        }
    }
}

/// What a kernel is good for here.
enum State {
    /// It is another CPU family's, and not in this binary.
    Absent,
    /// The machine lacks these features.
    Lacks(Vec<&'static str>),
    /// It failed its self-check.
    Wrong(Fault),
    /// It passed.
    Right,
}

/// A kernel in the list.
struct Row {
    id: KernelId,
    source_hash: Option<&'static str>,
    state: State,
}

impl Row {
    fn compiled(kernel: &'static Kernel) -> Row {
        let state = match kernel.detect().map(|kernel| self_check::check(&kernel)) {
            None => State::Lacks(kernel.id.missing_features().collect()),
            Some(Err(fault)) => State::Wrong(fault),
            Some(Ok(())) => State::Right,
        };
        Row { id: kernel.id, source_hash: Some(kernel.source_hash), state }
    }

    fn absent(id: KernelId) -> Row {
        Row { id, source_hash: None, state: State::Absent }
    }

    /// Every kernel of this binary, then what a build for another CPU family compiles: together, every cell of the matrix.
    fn all() -> Result<Vec<Row>> {
        let absent = Menu::defaults()?.into_iter().filter(|id| KERNELS.iter().all(|kernel| kernel.id != *id));
        Ok(KERNELS.iter().map(Row::compiled).chain(absent.map(Row::absent)).collect())
    }

    /// Whether it may be chosen where these instruction sets are.
    fn is_used(&self, used: &[Isa]) -> bool {
        matches!(self.state, State::Right) && used.contains(&self.id.isa)
    }

    fn json(&self, used: &[Isa]) -> Value {
        let Row { id, source_hash, state } = self;
        json!({
            "kernel": id.to_string(), "op": id.op.to_string(), "weights": id.weights.to_string(),
            "tile": id.tile.to_string(), "isa": id.isa.to_string(), "method": id.method.to_string(),
            "layout": id.layout().to_string(), "features": id.features().collect::<Vec<_>>(),
            "operand": match id.operand() { Operand::Rows => "rows", Operand::Tables(_) => "tables" },
            "source_hash": source_hash, "compiled": !matches!(state, State::Absent),
            "runs": matches!(state, State::Wrong(_) | State::Right), "right": matches!(state, State::Right),
            "fault": if let State::Wrong(fault) = state { Some(fault.to_string()) } else { None },
            "used": self.is_used(used),
        })
    }

    fn text(&self, used: &[Isa]) -> String {
        match &self.state {
            State::Absent => format!("not compiled in, it is for {}", self.id.isa.arch().unwrap_or("any CPU family")),
            State::Lacks(features) => format!("this machine lacks {}", features.join(", ")),
            State::Wrong(fault) => format!("is not used: {fault}"),
            State::Right if self.is_used(used) => "runs, equal to the reference".into(),
            State::Right => "runs, equal to the reference; another instruction set is forced".into(),
        }
    }
}

fn list(mut out: impl Write, used: &[Isa], json: bool) -> Result<()> {
    let rows = Row::all()?;
    if json {
        let rows: Vec<_> = rows.iter().map(|row| row.json(used)).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    for row in &rows {
        writeln!(out, "{:44} {}", row.id, row.text(used))?;
    }
    let used: Vec<&str> = used.iter().map(|isa| isa.name()).collect();
    writeln!(out, "instruction sets, most wanted first: {}", used.join(", "))?;
    Ok(())
}
