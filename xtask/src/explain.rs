use anyhow::Result;
use clap::Args;

use crate::cargo;

/// `cargo xtask explain`.
#[derive(Args)]
pub(crate) struct Explain {
    /// Shape of the weights: rows x columns, such as 6912x2560
    shape: String,
    /// Use this kernel or instruction set
    #[arg(long, value_name = "KERNEL_OR_ISA")]
    force: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(self) -> Result<()> {
        let mut tritune = std::process::Command::new(cargo::build_tritune()?);
        tritune.args(["kernels", "--explain", &self.shape]);
        tritune.arg("--results").arg(cargo::root().join("results"));
        if let Some(force) = &self.force {
            tritune.args(["--force", force]);
        }
        if self.json {
            tritune.arg("--json");
        }
        cargo::run(tritune)
    }
}
