use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo;

/// `cargo xtask compare-logits`.
#[derive(Args)]
pub(crate) struct CompareLogits {
    /// Models that llama.cpp can read too
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Text to compute, where there are no tokens in MODEL.json
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Bytes of the text to take; all where not given
    #[arg(long)]
    bytes: Option<usize>,
    /// Tokens of a window
    #[arg(short, long, default_value_t = 512)]
    context: usize,
    /// Threads of each program
    #[arg(short, long, default_value_t = 2)]
    threads: usize,
}

impl CompareLogits {
    pub(crate) fn run(self) -> Result<()> {
        let tritune = cargo::build_tritune()?;
        let mut compare = Command::new(python()?);
        compare.arg(scripts().join("compare.py")).arg("--tritune").arg(tritune).arg("--text").arg(&self.file);
        compare.args(["--context", &self.context.to_string(), "--threads", &self.threads.to_string()]);
        if let Some(bytes) = self.bytes {
            compare.args(["--bytes", &bytes.to_string()]);
        }
        compare.args(&self.models);
        cargo::run(compare)
    }
}

/// Where the script and its requirements are.
pub(crate) fn scripts() -> PathBuf {
    cargo::root().join("xtask/compare")
}

/// A Python that has llama.cpp, in an environment of its own; making it takes as long as llama.cpp takes to build.
pub(crate) fn python() -> Result<PathBuf> {
    let environment = cargo::root().join("target/compare");
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let (wanted, made) = (scripts().join("requirements.txt"), environment.join("requirements.txt"));
    let text = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let wanted_text = text(&wanted)?;
    if text(&made).is_ok_and(|made| made == wanted_text) {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&environment);
    cargo::run(make)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--requirement"]).arg(&wanted);
    cargo::run(install)?;
    fs::write(&made, wanted_text).with_context(|| format!("cannot write {}", made.display()))?;
    Ok(python)
}
