use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cargo;

/// `cargo xtask model`.
#[derive(Args)]
pub(crate) struct Model {
    /// Dimensions to take: 2b4t, falcon3-1b
    #[arg(default_value = "2b4t")]
    shape: String,
    /// File to write; target/models/SHAPE.gguf where not given
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Seed of the random trits
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Model {
    pub(crate) fn run(self) -> Result<()> {
        let mut example = cargo::cargo("run");
        example.args(["--release", "--quiet", "--package", "tritune", "--example", "random_model", "--"]);
        let out = match self.out {
            Some(out) => std::path::absolute(out)?,
            None => cargo::root().join("target/models").join(format!("{}.gguf", self.shape)),
        };
        example.arg(&self.shape).arg(out).arg(self.seed.to_string());
        cargo::run(example)
    }
}
