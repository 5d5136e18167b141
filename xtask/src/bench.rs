use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::cargo;

/// `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// Models to measure as a whole; kernels alone where none is given
    models: Vec<std::path::PathBuf>,
    /// Numbers of threads, separated by commas
    #[arg(short, long, default_value = "1,2")]
    threads: String,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let mut kernels = cargo::cargo("bench");
        kernels.args(["--package", "tritune", "--bench", "kernels"]);
        cargo::run(kernels)?;
        let tritune = cargo::build_tritune()?;
        for model in &self.models {
            let mut bench = Command::new(&tritune);
            bench.arg("bench").arg(model).args(["-t", &self.threads]);
            cargo::run(bench)?;
        }
        Ok(())
    }
}
