//! `tritune kernels --explain`: what a shape is computed with, and what was measured of everything that might have been.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tritune::kernels::{Choice, Isa, Op, Source, check_results, results_cache};
use tritune_tuning::explain::Explanation;
use tritune_tuning::machine::Machine;
use tritune_tuning::results::{self, Results};
use tritune_tuning::shapes::Shape;

/// What a file says of the shape.
#[derive(Serialize)]
pub(crate) struct Measured {
    file: PathBuf,
    #[serde(flatten)]
    explanation: Explanation,
}

/// What was measured for the shape, or for the one that stood for it, on the machine that the choice comes from, else on this
/// one: by the user, then in `folder`. Files that cannot be used are told on stderr, but for the user's own, of which the
/// choice tells.
pub(crate) fn measured(shape: Shape, choice: &Choice, threads: usize, folder: Option<&Path>) -> Result<Vec<Measured>> {
    let (shape, threads, machine) = match &choice.source {
        Source::Tuned { machine, nearest, threads: with, .. } => {
            (nearest.unwrap_or(shape), with.unwrap_or(threads), machine.clone())
        }
        _ => (shape, threads, Machine::detect(Isa::here()).id),
    };
    let mut files: Vec<(PathBuf, Results)> = Vec::new();
    if let Some(path) = results_cache()
        && let Ok(results) = Results::load(&path)
        && check_results(&results).is_ok()
    {
        files.push((path, results));
    }
    if let Some(folder) = folder {
        let found = results::load_dir(folder)?;
        found.refused.iter().for_each(|error| eprintln!("warning: {error}"));
        for (path, results) in found.results {
            match check_results(&results) {
                Ok(()) => files.push((path, results)),
                Err(error) => eprintln!("warning: {}: {error}", path.display()),
            }
        }
    }
    let mut measured = Vec::new();
    for (file, results) in files.into_iter().filter(|(_, results)| results.machine.id == machine) {
        if let Some(explanation) = Explanation::of(&results, shape, threads)? {
            measured.push(Measured { file, explanation });
        }
    }
    Ok(measured)
}

/// Says which kernels were chosen and why, and what was measured.
pub(crate) fn print(
    mut out: impl Write,
    shape: Shape,
    choice: &Choice,
    measured: &[Measured],
    json: bool,
) -> Result<()> {
    if json {
        let kernels: Vec<_> = choice
            .kernels()
            .iter()
            .map(|kernel| {
                let schedule = kernel.schedule();
                json!({
                    "kernel": kernel.id().to_string(), "tokens": kernel.tokens(),
                    "pieces": schedule.pieces, "ahead": schedule.ahead,
                })
            })
            .collect();
        let row = json!({
            "shape": shape.to_string(), "layout": choice.layout().to_string(), "kernels": kernels,
            "crossover": choice.crossover(), "why": choice.source.to_string(), "notes": choice.notes,
            "measured": measured,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&row)?)?;
        return Ok(());
    }
    writeln!(out, "{shape}: packed as {}; {}", choice.layout(), choice.source)?;
    for kernel in choice.kernels() {
        writeln!(out, "  {:>3} tokens at a time: {} ({})", kernel.tokens(), kernel.id(), kernel.schedule())?;
    }
    // As `Choice::kernel` has it: the narrowest gemm.
    let gemm = choice.kernels().iter().rfind(|kernel| kernel.id().op == Op::Gemm);
    if let Some((least, gemm)) = choice.crossover().zip(gemm).filter(|(least, gemm)| *least < gemm.tokens()) {
        writeln!(out, "  {least} tokens or more that are left over: one pass of {}", gemm.id())?;
    }
    for note in &choice.notes {
        writeln!(out, "  passed over: {note}")?;
    }
    for Measured { file, explanation } in measured {
        write!(out, "\n{}: {explanation}", file.display())?;
    }
    Ok(())
}
