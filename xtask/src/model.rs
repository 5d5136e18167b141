use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::cargo;

/// Dimensions that `runtime/examples/random_model.rs` knows.
pub(crate) const SHAPES: [&str; 5] = ["2b4t", "2b4t-bitnet", "3b", "3b-256", "falcon3-1b"];

/// `cargo xtask model`.
#[derive(Args)]
pub(crate) struct Model {
    /// Dimensions to take
    #[arg(default_value = SHAPES[0], value_parser = SHAPES)]
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
        let out = match self.out {
            Some(out) => std::path::absolute(out)?,
            None => path(&self.shape),
        };
        write(&self.shape, &out, self.seed)
    }
}

/// Where models are kept.
pub(crate) fn path(name: &str) -> PathBuf {
    cargo::root().join("target/models").join(format!("{}.gguf", name.trim_end_matches(".gguf")))
}

/// Writes a model of random trits; `out` is absolute.
pub(crate) fn write(shape: &str, out: &Path, seed: u64) -> Result<()> {
    let mut example = cargo::cargo("run");
    example.args(["--release", "--quiet", "--package", "tritune", "--example", "random_model", "--"]);
    example.arg(shape).arg(out).arg(seed.to_string());
    cargo::run(example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_these_shapes() {
        let example = include_str!("../../runtime/examples/random_model.rs");
        let mut names: Vec<&str> =
            example.split(" name: \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let mut shapes = SHAPES;
        names.sort_unstable();
        shapes.sort_unstable();
        assert_eq!(names, shapes);
    }
}
