//! Running cargo, and the tritune that it built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A cargo command in the workspace.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).arg(verb);
    command
}

/// Builds tritune in release, its files under `target/<folder>`, and returns the binary's path.
pub(crate) fn build_tritune(folder: Option<&str>, menu: Option<&Path>) -> Result<PathBuf> {
    let target = root().join("target");
    let target = folder.map_or(target.clone(), |folder| target.join(folder));
    let mut build = cargo("build");
    build.args(["--release", "--package", "tritune", "--bin", "tritune", "--target-dir"]).arg(&target);
    match menu {
        Some(menu) => build.env("TRITUNE_MENU", menu),
        None => build.env_remove("TRITUNE_MENU"),
    };
    run(build)?;
    Ok(target.join("release").join(format!("tritune{}", std::env::consts::EXE_SUFFIX)))
}

/// Runs a command to its end, its output passed through.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}
