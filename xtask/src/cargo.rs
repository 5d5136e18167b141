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

/// Builds tritune in release, and returns the binary's path.
pub(crate) fn build_tritune() -> Result<PathBuf> {
    let mut build = build();
    build.env_remove("TRITUNE_MENU");
    run(build)?;
    Ok(binary())
}

/// Builds tritune in release with the kernels of a menu besides its own, and returns the path of a copy of the binary:
/// the next build replaces the original.
pub(crate) fn build_with(menu: &Path) -> Result<PathBuf> {
    let mut build = build();
    build.env("TRITUNE_MENU", menu);
    run(build)?;
    let copy = menu.with_extension(std::env::consts::EXE_EXTENSION);
    std::fs::copy(binary(), &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

fn build() -> Command {
    let mut build = cargo("build");
    build.args(["--release", "--package", "tritune", "--bin", "tritune"]);
    build
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

fn binary() -> PathBuf {
    target().join("release").join(format!("tritune{}", std::env::consts::EXE_SUFFIX))
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
