use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::cargo;

/// `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// Models to measure; kernels where none is given
    models: Vec<std::path::PathBuf>,
    /// Numbers of threads, separated by commas
    #[arg(short, long, default_value = "1,2")]
    threads: String,
    /// Runs of each test
    #[arg(short, long, default_value_t = 5)]
    repetitions: u32,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        if self.models.is_empty() {
            let mut kernels = cargo::cargo("bench");
            kernels.args(["--package", "tritune", "--bench", "kernels"]);
            return cargo::run(kernels);
        }
        let tritune = cargo::build_tritune()?;
        for model in &self.models {
            let mut bench = Command::new(&tritune);
            bench.arg("bench").arg(model).args(["-t", &self.threads, "-r", &self.repetitions.to_string()]);
            cargo::run(bench)?;
        }
        Ok(())
    }
}
