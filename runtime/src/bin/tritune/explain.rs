//! `tritune kernels --explain`: what a shape is computed with, and what was measured of everything that might have been.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tritune::kernels::{Choice, Isa, KERNELS, Source, results_cache};
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

/// What was measured on this machine for the shape, or for the one that stood for it: by the user, then in `folder`. Files
/// that cannot be used are told on stderr, but for the user's own, of which the choice tells.
pub(crate) fn measured(shape: Shape, choice: &Choice, threads: usize, folder: Option<&Path>) -> Result<Vec<Measured>> {
    let shape = match choice.source {
        Source::Tuned { nearest: Some(nearest), .. } => nearest,
        _ => shape,
    };
    let mut files: Vec<(PathBuf, Results)> = Vec::new();
    if let Some(path) = results_cache()
        && let Ok(results) = Results::load(&path)
        && is_current(&results).is_ok()
    {
        files.push((path, results));
    }
    if let Some(folder) = folder {
        let found = results::load_dir(folder)?;
        found.refused.iter().for_each(|error| eprintln!("warning: {error}"));
        for (path, results) in found.results {
            match is_current(&results) {
                Ok(()) => files.push((path, results)),
                Err(error) => eprintln!("warning: {}: {error}", path.display()),
            }
        }
    }
    let here = Machine::detect(Isa::here()).id;
    let mut measured = Vec::new();
    for (file, results) in files.into_iter().filter(|(_, results)| results.machine.id == here) {
        if let Some(explanation) = Explanation::of(&results, shape, threads)? {
            measured.push(Measured { file, explanation });
        }
    }
    Ok(measured)
}

/// Whether the kernels that this binary has are those that were measured; of others it cannot tell.
fn is_current(results: &Results) -> Result<(), results::ResultsError> {
    let mut sources: BTreeMap<_, _> =
        results.kernels.iter().map(|kernel| (kernel.name, kernel.source.clone())).collect();
    sources.extend(KERNELS.iter().map(|kernel| (kernel.id, kernel.source_hash.to_owned())));
    results.check(|id| sources.get(&id).cloned())
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
        writeln!(out, "  {:>3} tokens at a time: {}", kernel.tokens(), kernel.id())?;
    }
    for note in &choice.notes {
        writeln!(out, "  passed over: {note}")?;
    }
    for Measured { file, explanation } in measured {
        write!(out, "\n{}: {explanation}", file.display())?;
    }
    Ok(())
}
