//! Generates the kernels to compile: the defaults of every instruction set, and what results files name or, where the
//! variable `TRITUNE_MENU` names a file, the kernels listed there: a tuner measures those, whatever was picked before.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use tritune_codegen::source::{PickRow, menu_source};
use tritune_codegen::{Isa, KernelId};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::menu::Menu;
use tritune_tuning::results::{self, Results, Tensor};
use tritune_tuning::space;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-env-changed=TRITUNE_MENU");

    let defaults = space::defaults(Isa::ALL)?;
    let mut menu = Menu::defaults()?;
    let mut picks = Vec::new();
    if let Some(file) = env::var_os("TRITUNE_MENU") {
        println!("cargo::rerun-if-changed={}", Path::new(&file).display());
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        menu.extend(text.parse::<Menu>()?.iter());
    } else {
        for results in believed(&folder) {
            menu.extend(results.picked());
            picks.extend(rows(&results));
        }
    }

    // Another CPU family's kernels could neither be compiled nor run.
    let family = env::var("CARGO_CFG_TARGET_ARCH")?;
    let runs = |id: &KernelId| id.isa.arch().is_none_or(|arch| arch == family);
    let menu: Vec<KernelId> = menu.iter().filter(runs).collect();
    let defaults: Vec<KernelId> = defaults.into_iter().filter(runs).collect();
    picks.retain(|pick| pick.kernels.iter().all(|(id, _)| runs(id)));

    let out = Path::new(&env::var("OUT_DIR")?).join("kernels.rs");
    fs::write(out, menu_source(&menu, &defaults, &picks)?)?;
    println!("cargo::rustc-env=TRITUNE_COMPILER={}", compiler()?);
    Ok(())
}

/// The results that match the kernels that would be generated today; of the others, a warning.
fn believed(folder: &Path) -> Vec<Results> {
    let found = match results::load_dir(folder) {
        Ok(found) => found,
        Err(_) if !folder.exists() => return Vec::new(),
        Err(error) => {
            warn(&error);
            return Vec::new();
        }
    };
    for refused in &found.refused {
        warn(refused);
    }
    let checked =
        found.results.into_iter().filter_map(|(_, results)| match results.check(|kernel| kernel.source_hash().ok()) {
            Ok(()) => Some(results),
            Err(stale) => {
                warn(&stale);
                None
            }
        });
    checked.collect()
}

/// A warning of cargo's has one line.
fn warn(what: &impl std::fmt::Display) {
    println!("cargo::warning={}", what.to_string().lines().collect::<Vec<_>>().join(" "));
}

/// The picks of a results file, a row for each shape and number of threads.
fn rows(results: &Results) -> impl Iterator<Item = PickRow> {
    let machine = &results.machine;
    results.tensors().into_iter().map(|Tensor { shape, threads, candidates, crossover }| PickRow {
        machine: machine.id.clone(),
        microarchitecture: machine.microarchitecture.clone(),
        isas: machine.tier(),
        n: shape.n,
        k: shape.k,
        threads,
        kernels: candidates.into_iter().map(|Candidate { kernel, schedule }| (kernel, schedule)).collect(),
        crossover,
    })
}

/// What compiles the kernels, as it names itself.
fn compiler() -> Result<String, Box<dyn Error>> {
    let version = Command::new(env::var("RUSTC")?).arg("--version").output()?;
    Ok(String::from_utf8(version.stdout)?.trim().to_owned())
}
