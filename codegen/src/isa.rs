//! Instruction sets: what a kernel needs of the machine, and which of two is to be preferred.

use std::fmt;
use std::str::FromStr;

use crate::detect;
use crate::kernel::{Method, NameError};
use crate::matrix::Cell;

/// A named set of CPU features that kernels are compiled for.
///
/// Instruction sets form a partial order ([`Isa::extends`]): AVX-VNNI and AVX-512 both extend AVX2, neither the
/// other. [`Isa::ALL`] lists them from the plainest to the most capable, which is the order of preference when nothing
/// has been measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, everywhere.
    Scalar,
    /// x86-64 with AVX2: 256-bit integers, `vpmaddubsw`, `vpshufb`.
    Avx2,
    /// AVX2 with the VEX-encoded `vpdpbusd` (client CPUs since Alder Lake, Zen 5).
    AvxVnni,
    /// AVX-512 F, BW and VL: the same as AVX2 on 512 bits (Skylake-X).
    Avx512Bw,
    /// AVX-512 with VNNI: 512-bit `vpdpbusd` with embedded broadcasts.
    Avx512Vnni,
    /// AMX with int8: products of 16 × 64 by 64 × 16 bytes in tile registers (Sapphire Rapids).
    Amx,
    /// 64-bit Arm: 128-bit vectors, `smlal`, `tbl`.
    Neon,
    /// 64-bit Arm with the dot product, `sdot`.
    NeonDot,
    /// 64-bit Arm with int8 matrix products, `smmla`, and `usdot`.
    NeonI8mm,
}

/// What is known of an instruction set.
struct Facts {
    name: &'static str,
    /// `None` where any architecture will do.
    arch: Option<&'static str>,
    features: &'static [&'static str],
    vector_bytes: usize,
    vector_registers: usize,
    below: Option<Isa>,
}

const X86: Option<&str> = Some("x86_64");
const ARM: Option<&str> = Some("aarch64");

impl Isa {
    /// Every instruction set, plainest first.
    pub const ALL: [Isa; 9] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512Bw,
        Isa::Avx512Vnni,
        Isa::Amx,
        Isa::Neon,
        Isa::NeonDot,
        Isa::NeonI8mm,
    ];

    #[rustfmt::skip]
    const fn facts(self) -> Facts {
        const fn facts(
            name: &'static str,
            arch: Option<&'static str>,
            features: &'static [&'static str],
            vector: [usize; 2],
            below: Option<Isa>,
        ) -> Facts {
            Facts { name, arch, features, vector_bytes: vector[0], vector_registers: vector[1], below }
        }
        use Isa::*;
        match self {
            Scalar => facts("scalar", None, &[], [4, 16], None),
            Avx2 => facts("avx2", X86, &["avx2"], [32, 16], Some(Scalar)),
            AvxVnni => facts("avxvnni", X86, &["avx2", "avxvnni"], [32, 16], Some(Avx2)),
            Avx512Bw => facts("avx512bw", X86, &["avx512f", "avx512bw", "avx512vl"], [64, 32], Some(Avx2)),
            Avx512Vnni =>
                facts("avx512vnni", X86, &["avx512f", "avx512bw", "avx512vl", "avx512vnni"], [64, 32], Some(Avx512Bw)),
            Amx => facts("amx", X86, &["avx512f", "avx512bw", "avx512vl", "avx512vnni", "amx-tile", "amx-int8"], [64, 32],
                Some(Avx512Vnni)),
            Neon => facts("neon", ARM, &["neon"], [16, 32], Some(Scalar)),
            NeonDot => facts("neondot", ARM, &["neon", "dotprod"], [16, 32], Some(Neon)),
            NeonI8mm => facts("neoni8mm", ARM, &["neon", "dotprod", "i8mm"], [16, 32], Some(NeonDot)),
        }
    }

    /// The name used in kernel names, results, flags and environment.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The `target_arch` whose kernels these are; `None` where any will do.
    pub const fn arch(self) -> Option<&'static str> {
        self.facts().arch
    }

    /// The CPU features that every kernel of this instruction set needs, in rustc's spelling.
    pub const fn features(self) -> &'static [&'static str] {
        self.facts().features
    }

    /// Whether the machine that this process runs on has all of [`Isa::features`], and the system lets them be used.
    pub fn detected(self) -> bool {
        self.features().iter().all(|feature| detect::has(feature))
    }

    /// The instruction sets of this machine, plainest first.
    pub fn here() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.detected()).collect()
    }

    /// Where this machine's fastest kernels are: those of its instruction sets that no other one of them extends, and
    /// what serves the single tokens that one of these leaves to others. Plainest first.
    pub fn best_here() -> Vec<Isa> {
        let here = Isa::here();
        let best = here.iter().filter(|isa| !here.iter().any(|other| other != *isa && other.extends(**isa)));
        let mut best: Vec<Isa> =
            best.flat_map(|isa| isa.descent().take(1 + isa.leaves_single_tokens() as usize)).collect();
        best.sort_unstable();
        best.dedup();
        best
    }

    /// Whether its kernels are all for several tokens at once.
    fn leaves_single_tokens(self) -> bool {
        Cell::all().filter(|cell| cell.isa == self).all(|cell| cell.method == Method::Tile)
    }

    /// Bytes in one vector register of this instruction set.
    pub const fn vector_bytes(self) -> usize {
        self.facts().vector_bytes
    }

    /// Number of vector registers: what a tile's accumulators, weights and activations must share.
    pub const fn vector_registers(self) -> usize {
        self.facts().vector_registers
    }

    /// Output rows in a vector: one for each 32-bit lane.
    pub const fn lanes(self) -> usize {
        self.vector_bytes() / 4
    }

    /// The instruction set that serves what this one has no kernel for.
    pub const fn below(self) -> Option<Isa> {
        self.facts().below
    }

    /// This instruction set and those that serve what it has no kernel for, most capable first.
    pub fn descent(self) -> impl Iterator<Item = Isa> {
        std::iter::successors(Some(self), |isa| isa.below())
    }

    /// Whether a machine with `self` also runs kernels for `other`.
    pub fn extends(self, other: Isa) -> bool {
        self.descent().any(|isa| isa == other)
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
        assert!(Isa::Avx512Vnni.extends(Isa::Avx2) && Isa::Amx.extends(Isa::Avx512Bw));
        assert!(Isa::AvxVnni.extends(Isa::Scalar) && Isa::NeonI8mm.extends(Isa::Neon));
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
    fn what_extends_another_has_its_features() {
        for isa in Isa::ALL {
            for other in isa.descent() {
                assert!(
                    other.features().iter().all(|feature| isa.features().contains(feature)
                    // VNNI in AVX-512's encoding implies what AVX2 kernels need without naming it.
                    || *feature == "avx2"),
                    "{isa} lacks what {other} needs"
                );
                assert!(!isa.detected() || other.detected(), "{isa} without {other}");
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
