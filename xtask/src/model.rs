use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cargo;

/// `cargo xtask model`.
#[derive(Args)]
pub(crate) struct Model {
    /// Dimensions to take
    #[arg(value_parser = ["2b4t", "2b4t-small"], default_value = "2b4t")]
    shape: String,
    /// File to write
    #[arg(short, long, default_value = "target/models/2b4t.gguf")]
    out: PathBuf,
    /// Seed of the random trits
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Model {
    pub(crate) fn run(self) -> Result<()> {
        let mut example = cargo::cargo("run");
        example.args(["--release", "--quiet", "--package", "tritune", "--example", "random_model", "--"]);
        example.arg(&self.shape).arg(&self.out).arg(self.seed.to_string());
        cargo::run(example)
    }
}
