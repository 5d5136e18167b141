//! `tritune kernels`: what is compiled in, what this machine runs, and what a shape is computed with.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::json;
use tritune::kernels::self_check::{self, Fault};
use tritune::kernels::{Choice, Isa, KERNELS, Kernel};
use tritune_tuning::shapes::Shape;

use crate::engine::{Policy, Threads};

/// List the kernels that are compiled in, or explain which one a shape gets
#[derive(clap::Args)]
pub(crate) struct Kernels {
    /// Say which kernels compute weights of this shape, rows x columns, and why
    #[arg(long, value_name = "NxK")]
    explain: Option<Shape>,
    /// Columns that share a scale, where a row has several (256 in TQ1_0 and TQ2_0)
    #[arg(long, value_name = "COLUMNS", requires = "explain", value_parser = clap::value_parser!(u32).range(1..))]
    block: Option<u32>,
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
        let selection = self.policy.selection(self.threads.count())?;
        let stdout = io::stdout().lock();
        match self.explain {
            Some(shape) => {
                let block = self.block.map_or(shape.k, |block| block as usize);
                let choice = selection.choose(shape.n, shape.k, block)?;
                explain(stdout, shape, &choice, self.json)
            }
            None => list(stdout, &selection.isas(), self.json),
        }
    }
}

/// What a compiled-in kernel is good for here.
enum State {
    /// The machine lacks its instruction set.
    Foreign,
    /// It failed its self-check.
    Wrong(Fault),
    /// It passed.
    Right,
}

impl State {
    fn of(kernel: &'static Kernel) -> State {
        match kernel.detect().map(|kernel| self_check::check(&kernel)) {
            None => State::Foreign,
            Some(Err(fault)) => State::Wrong(fault),
            Some(Ok(())) => State::Right,
        }
    }
}

fn list(mut out: impl Write, used: &[Isa], json: bool) -> Result<()> {
    if json {
        let rows: Vec<_> = KERNELS
            .iter()
            .map(|kernel| {
                let (id, state) = (kernel.id, State::of(kernel));
                json!({
                    "kernel": id.to_string(), "op": id.op.to_string(), "isa": id.isa.to_string(),
                    "method": id.method.to_string(), "layout": id.layout().to_string(), "source_hash": kernel.source_hash,
                    "runs": !matches!(state, State::Foreign), "right": matches!(state, State::Right),
                    "fault": if let State::Wrong(fault) = state { Some(fault.to_string()) } else { None },
                    "used": used.contains(&id.isa),
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    for kernel in KERNELS {
        let state = match State::of(kernel) {
            State::Foreign => "this machine does not run it".into(),
            State::Wrong(fault) => format!("is not used: {fault}"),
            State::Right if used.contains(&kernel.id.isa) => "runs, equal to the reference".into(),
            State::Right => "runs, equal to the reference; another instruction set is forced".into(),
        };
        writeln!(out, "{:44} {state}", kernel.id)?;
    }
    let used: Vec<&str> = used.iter().map(|isa| isa.name()).collect();
    writeln!(out, "instruction sets, most wanted first: {}", used.join(", "))?;
    Ok(())
}

fn explain(mut out: impl Write, shape: Shape, choice: &Choice, json: bool) -> Result<()> {
    if json {
        let kernels: Vec<_> = choice
            .kernels()
            .iter()
            .map(|kernel| json!({ "kernel": kernel.id().to_string(), "tokens": kernel.tokens() }))
            .collect();
        let row = json!({
            "shape": shape.to_string(), "layout": choice.layout().to_string(), "kernels": kernels,
            "why": choice.source.to_string(), "notes": choice.notes,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&row)?)?;
        return Ok(());
    }
    writeln!(out, "{shape}: packed as {}; {}", choice.layout(), choice.source)?;
    for kernel in choice.kernels() {
        writeln!(out, "  {:>3} tokens at a time: {}", kernel.tokens(), kernel.id())?;
    }
    for note in &choice.notes {
        writeln!(out, "  passed over: {note}")?;
    }
    Ok(())
}
