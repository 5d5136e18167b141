use anyhow::Result;
use clap::Args;
use tritune_codegen::KernelId;

/// `cargo xtask emit`.
#[derive(Args)]
pub(crate) struct Emit {
    /// Name of the kernel, such as gemv_t200_1x16k64u4__avx512vnni_dot
    kernel: KernelId,
}

impl Emit {
    pub(crate) fn run(self) -> Result<()> {
        print!("{}", self.kernel.source()?);
        Ok(())
    }
}
