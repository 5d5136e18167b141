//! A few kernels as text, so that a change of the generator is reviewed by what it generates.

use std::fs;
use std::path::Path;

use tritune_codegen::{Isa, KernelId};

#[test]
fn sources_are_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut isas = Vec::new();
    for entry in fs::read_dir(folder).expect("tests/golden is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let kernel: KernelId = name.parse().expect("a golden file is named for its kernel");
        let reviewed = fs::read_to_string(&path).expect("a file");
        assert!(
            kernel.source().expect("a possible kernel") == reviewed,
            "{name} is generated differently now; if that is meant:\n  cargo xtask emit {name} > {}",
            path.display()
        );
        isas.push(kernel.isa);
    }
    for isa in Isa::ALL {
        assert!(isas.contains(&isa), "no golden file for {isa}");
    }
}

#[test]
fn no_marker_is_left_in_a_source() {
    for name in
        ["gemm_t200_8x64k128u1__scalar_dot", "gemm_t200_4x16k64u1__avx2_mad", "gemv_t200_8x32k64u8__avx512vnni_dot"]
    {
        let kernel: KernelId = name.parse().expect("a kernel");
        assert!(!kernel.source().expect("a possible kernel").contains("comment!"), "{name}");
    }
}
