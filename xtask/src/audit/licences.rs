//! Whether every dependency is under a licence that `deny.toml` allows, and comes from crates.io.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package};
use clap::Args;
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::cargo;

/// `cargo xtask licences`.
#[derive(Args)]
pub(crate) struct Licences {}

/// What is read of cargo-deny's file.
#[derive(Deserialize)]
struct Deny {
    licenses: Allowed,
}

#[derive(Deserialize)]
struct Allowed {
    allow: Vec<String>,
}

impl Licences {
    pub(crate) fn run(self) -> Result<()> {
        let path = cargo::root().join("deny.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Deny { licenses: Allowed { allow } } =
            toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        let mut command = MetadataCommand::new();
        command.current_dir(cargo::root()).features(cargo_metadata::CargoOpt::AllFeatures);
        let metadata = command.other_options(["--locked".to_owned()]).exec()?;
        let mut counts = BTreeMap::<&str, usize>::new();
        let mut obstacles = Vec::new();
        for package in &metadata.packages {
            *counts.entry(package.license.as_deref().unwrap_or("none")).or_default() += 1;
            obstacles.extend(obstacle(package, &allow));
        }
        for (licence, count) in &counts {
            println!("{count:4} {licence}");
        }
        if obstacles.is_empty() {
            return Ok(());
        }
        bail!("{}; do without them, or allow it in deny.toml", obstacles.join("; "))
    }
}

/// What is wrong with a package.
fn obstacle(package: &Package, allow: &[String]) -> Option<String> {
    let name = format!("{} {}", package.name, package.version);
    // What has no source lies in this repository.
    if package.source.as_ref().is_some_and(|source| !source.is_crates_io()) {
        return Some(format!("{name} is not from crates.io"));
    }
    let Some(licence) = &package.license else { return Some(format!("{name} names no licence")) };
    match is_allowed(licence, allow) {
        Ok(true) => None,
        Ok(false) => Some(format!("{name} is under {licence}")),
        Err(error) => Some(format!("{name} is under {licence:?}, which is no SPDX expression ({error})")),
    }
}

/// Whether an expression can be met by what is allowed.
fn is_allowed(licence: &str, allow: &[String]) -> Result<bool> {
    let expression = Expression::parse_mode(licence, ParseMode::LAX)?;
    let allowed = |requirement: &LicenseReq| allow.iter().any(|allowed| *allowed == requirement.to_string());
    Ok(expression.evaluate(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_suffices_and_all_of_several_are_needed() {
        let allow = ["MIT".to_owned(), "Apache-2.0".to_owned()];
        let is = |licence| is_allowed(licence, &allow).unwrap();
        assert!(is("MIT") && is("GPL-3.0-only OR MIT") && is("MIT/Apache-2.0") && is("MIT AND Apache-2.0"));
        assert!(!is("GPL-3.0-only") && !is("MIT AND GPL-3.0-only") && !is("Apache-2.0 WITH LLVM-exception"));
        assert!(is_allowed("whatever I like", &allow).is_err());
    }
}
