//! Which CPU features this machine has, and whether the system lets a process use them.

/// Whether a feature, in rustc's spelling, can be used. One that nothing here asks for is absent.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has(feature: &str) -> bool {
    use std::arch::is_x86_feature_detected as detected;
    match feature {
        "avx2" => detected!("avx2"),
        "avxvnni" => detected!("avxvnni"),
        "avx512f" => detected!("avx512f"),
        "avx512bw" => detected!("avx512bw"),
        "avx512vl" => detected!("avx512vl"),
        "avx512vnni" => detected!("avx512vnni"),
        "avx512vbmi" => detected!("avx512vbmi"),
        "amx-tile" | "amx-int8" => amx::usable(),
        _ => false,
    }
}

/// Whether a feature, in rustc's spelling, can be used. One that nothing here asks for is absent.
#[cfg(target_arch = "aarch64")]
pub(crate) fn has(feature: &str) -> bool {
    use std::arch::is_aarch64_feature_detected as detected;
    match feature {
        "neon" => detected!("neon"),
        "dotprod" => detected!("dotprod"),
        "i8mm" => detected!("i8mm"),
        _ => false,
    }
}

/// Nothing is known of other architectures: scalar kernels run there.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn has(_feature: &str) -> bool {
    false
}

/// AMX: tiles and int8 products (Intel SDM vol. 1, ch. 18).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::sync::LazyLock;

    /// Leaf 7 of `cpuid`, EDX: AMX-TILE and AMX-INT8.
    const CPUID: u32 = 1 << 24 | 1 << 25;
    /// The state component that Linux hands out on request: tile data (asm/prctl.h, Documentation/arch/x86/xstate.rst).
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;

    /// Whether the CPU has both and the system lets this process use them: asked once, for all its threads.
    pub(super) fn usable() -> bool {
        static USABLE: LazyLock<bool> = LazyLock::new(|| present() && permitted());
        *USABLE
    }

    fn present() -> bool {
        // AVX-512 implies that leaf 7 exists.
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::x86_64::__cpuid_count(7, 0).edx & CPUID == CPUID
    }

    /// Linux checks the system's own state (XCR0) before it permits.
    fn permitted() -> bool {
        // SAFETY: this call takes two integers, and touches no memory of ours; a kernel that does not know it fails.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
}

/// AMX state is asked for in Linux's way alone.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
mod amx {
    pub(super) fn usable() -> bool {
        false
    }
}
