use anyhow::Result;
use clap::Args;

use crate::cargo;

/// `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Test {
    /// Compile and test every kernel that may be tuned, not only those of the menu
    #[arg(long)]
    space: bool,
}

impl Test {
    pub(crate) fn run(self) -> Result<()> {
        let mut test = cargo::cargo("test");
        if self.space {
            let menu = crate::tune::whole_space()?;
            test.args(["--package", "tritune", "--test", "kernels"]);
            test.env("TRITUNE_MENU", menu);
        } else {
            test.args(["--workspace"]).env_remove("TRITUNE_MENU");
        }
        cargo::run(test)
    }
}
