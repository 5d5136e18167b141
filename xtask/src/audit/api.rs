//! The public interface of the library, an item a line, beside the one that was agreed on.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo;

/// The agreed interface.
const AGREED: &str = "runtime/api.txt";
/// Tells this program that it was started in place of rustdoc.
const AS_RUSTDOC: &str = "TRITUNE_XTASK_AS_RUSTDOC";

/// `cargo xtask api`.
#[derive(Args)]
pub(crate) struct Api {
    /// Write the interface as it is now: a line that goes or changes is for a version that may break its users
    #[arg(long)]
    bless: bool,
}

impl Api {
    pub(crate) fn run(self) -> Result<()> {
        let items = public_api::Builder::from_rustdoc_json(rustdoc_json()?)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()?;
        let found: String = items.items().map(|item| format!("{item}\n")).collect();
        let path = cargo::root().join(AGREED);
        if self.bless {
            return fs::write(&path, found).with_context(|| format!("cannot write {}", path.display()));
        }
        let agreed = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (gone, new) = difference(&agreed, &found);
        gone.iter().for_each(|line| println!("-{line}"));
        new.iter().for_each(|line| println!("+{line}"));
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        bail!(
            "{} public items went or changed, {} are new; where that is meant, `cargo run -p xtask --features audit -- api --bless`",
            gone.len(),
            new.len()
        )
    }
}

/// Lines of the first that the second lacks, and the other way round; both are sorted by the same rule.
fn difference<'t>(agreed: &'t str, found: &'t str) -> (Vec<&'t str>, Vec<&'t str>) {
    let without = |these: &'t str, others: &str| {
        let others: std::collections::HashSet<&str> = others.lines().collect();
        these.lines().filter(|line| !others.contains(line)).collect::<Vec<_>>()
    };
    (without(agreed, found), without(found, agreed))
}

/// What rustdoc knows of the library, as JSON.
fn rustdoc_json() -> Result<PathBuf> {
    let mut rustdoc = cargo::cargo("rustdoc");
    rustdoc.args(["--quiet", "--package", "tritune", "--lib", "--", "-Zunstable-options", "--output-format", "json"]);
    // Its JSON is for nightly compilers. Were the variable that says otherwise set for all of cargo, dependencies that ask for it
    // would be built again, here and the next time.
    rustdoc.env("RUSTDOC", std::env::current_exe()?).env(AS_RUSTDOC, "1");
    cargo::run(rustdoc)?;
    Ok(cargo::target().join("doc/tritune.json"))
}

/// Where this was started as rustdoc: it, as of a nightly compiler.
pub(crate) fn as_rustdoc() -> Option<ExitCode> {
    std::env::var_os(AS_RUSTDOC)?;
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").env_remove(AS_RUSTDOC);
    let status = rustdoc.status();
    if let Err(error) = &status {
        eprintln!("error: cannot start rustdoc: {error}");
    }
    Some(if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_and_what_is_new_is_told() {
        assert_eq!(difference("a\nb\nc\n", "a\nc\nd\n"), (vec!["b"], vec!["d"]));
        assert_eq!(difference("a\n", "a\n"), (vec![], vec![]));
    }
}
