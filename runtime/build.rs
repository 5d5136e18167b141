//! Generates the kernels of the menu: the defaults of every instruction set, and what results files name.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use tritune_codegen::{KernelId, source};

fn main() -> Result<(), Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut menu: Vec<KernelId> = Vec::new();
    for name in [
        "gemv_t200_1x16k64u8__avx512vnni_dot",
        "gemv_t200_4x16k64u4__avx512vnni_dot",
        "gemm_t200_16x16k64u1__avx512vnni_dot",
        "gemv_t200_1x16k64u4__avxvnni_dot",
        "gemm_t200_4x16k64u1__avxvnni_dot",
        "gemv_t200_1x16k64u1__avx2_mad",
        "gemm_t200_4x16k64u1__avx2_mad",
        "gemv_t200_1x4k64u1__scalar_dot",
        "gemm_t200_4x4k64u1__scalar_dot",
    ] {
        menu.push(name.parse()?);
    }
    menu.retain(|id| id.isa.arch().is_none_or(|needed| needed == arch));
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("kernels.rs"), source::menu_source(&menu, &menu, &[])?)?;
    Ok(())
}
