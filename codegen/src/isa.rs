//! Instruction sets: what a kernel needs of the machine, and which of two is to be preferred.

use std::fmt;
use std::str::FromStr;

use crate::kernel::NameError;

/// A named set of CPU features that kernels are compiled for.
///
/// Instruction sets form a partial order ([`Isa::extends`]): AVX-VNNI and AVX-512 VNNI both extend AVX2, neither the
/// other. [`Isa::ALL`] lists them from the plainest to the most capable, which is the order of preference when nothing
/// has been measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, everywhere.
    Scalar,
    /// x86-64 with AVX2: 256-bit integers, `vpmaddubsw`.
    Avx2,
    /// AVX2 with the VEX-encoded `vpdpbusd` (client CPUs since Alder Lake, Zen 5).
    AvxVnni,
    /// AVX-512 F, BW and VL with VNNI: 512-bit `vpdpbusd` with embedded broadcasts.
    Avx512Vnni,
}

impl Isa {
    /// Every instruction set, plainest first.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni];

    /// The name used in kernel names, results, flags and environment.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
        }
    }

    /// The `target_arch` whose kernels these are; `None` where any will do.
    pub const fn arch(self) -> Option<&'static str> {
        match self {
            Isa::Scalar => None,
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => Some("x86_64"),
        }
    }

    /// The CPU features to enable, in rustc's spelling; all of them must be detected before a kernel is called.
    pub const fn features(self) -> &'static [&'static str] {
        match self {
            Isa::Scalar => &[],
            Isa::Avx2 => &["avx2"],
            Isa::AvxVnni => &["avx2", "avxvnni"],
            Isa::Avx512Vnni => &["avx512f", "avx512bw", "avx512vl", "avx512vnni"],
        }
    }

    /// Whether the machine that this process runs on has all of [`Isa::features`].
    pub fn detected(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            match self {
                Isa::Scalar => true,
                Isa::Avx2 => has!("avx2"),
                Isa::AvxVnni => has!("avx2") && has!("avxvnni"),
                Isa::Avx512Vnni => has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni"),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Isa::Scalar
        }
    }

    /// The instruction sets of this machine, plainest first.
    pub fn here() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.detected()).collect()
    }

    /// Those of this machine's instruction sets that no other one of them extends: where the fastest kernels are.
    pub fn best_here() -> Vec<Isa> {
        let here = Isa::here();
        here.iter().copied().filter(|isa| !here.iter().any(|other| other != isa && other.extends(*isa))).collect()
    }

    /// Bytes in one vector register of this instruction set.
    pub const fn vector_bytes(self) -> usize {
        match self {
            Isa::Scalar => 4,
            Isa::Avx2 | Isa::AvxVnni => 32,
            Isa::Avx512Vnni => 64,
        }
    }

    /// Number of vector registers: what a tile's accumulators, weights and activations must share.
    pub const fn vector_registers(self) -> usize {
        match self {
            Isa::Scalar | Isa::Avx2 | Isa::AvxVnni => 16,
            Isa::Avx512Vnni => 32,
        }
    }

    /// The instruction set that serves what this one has no kernel for.
    pub const fn below(self) -> Option<Isa> {
        match self {
            Isa::Scalar => None,
            Isa::Avx2 => Some(Isa::Scalar),
            Isa::AvxVnni | Isa::Avx512Vnni => Some(Isa::Avx2),
        }
    }

    /// Whether a machine with `self` also runs kernels for `other`.
    pub fn extends(self, other: Isa) -> bool {
        std::iter::successors(Some(self), |isa| isa.below()).any(|isa| isa == other)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| NameError::word("instruction set", name, Isa::ALL.map(Isa::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_partial() {
        assert!(Isa::Avx512Vnni.extends(Isa::Avx2));
        assert!(Isa::AvxVnni.extends(Isa::Scalar));
        assert!(!Isa::Avx512Vnni.extends(Isa::AvxVnni));
        assert!(!Isa::AvxVnni.extends(Isa::Avx512Vnni));
    }

    #[test]
    fn preference_never_contradicts_the_order() {
        for (i, isa) in Isa::ALL.into_iter().enumerate() {
            for better in &Isa::ALL[i + 1..] {
                assert!(!isa.extends(*better), "{isa} is listed before {better}, which it extends");
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
        }
        assert!("sse9".parse::<Isa>().unwrap_err().to_string().contains("avx512vnni"));
    }
}
