//! What may be tried: for each instruction set a file of values and reasons, and the menu chosen by hand.

use std::collections::HashSet;

use serde::Deserialize;
use tritune_codegen::{Cell, Isa, KernelId, Method, Op, Tile, Weights};

use crate::name::Named;

/// The files, one an instruction set.
const FILES: [(&str, &str); 9] = [
    ("scalar", include_str!("../spaces/scalar.toml")),
    ("avx2", include_str!("../spaces/avx2.toml")),
    ("avxvnni", include_str!("../spaces/avxvnni.toml")),
    ("avx512bw", include_str!("../spaces/avx512bw.toml")),
    ("avx512vnni", include_str!("../spaces/avx512vnni.toml")),
    ("amx", include_str!("../spaces/amx.toml")),
    ("neon", include_str!("../spaces/neon.toml")),
    ("neondot", include_str!("../spaces/neondot.toml")),
    ("neoni8mm", include_str!("../spaces/neoni8mm.toml")),
];

/// How much of a space to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A dozen kernels an operation: compiled and measured in minutes.
    Quick,
    /// All of it.
    Full,
}

/// What may be tried on one instruction set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    #[serde(with = "crate::name")]
    isa: Isa,
    default: Chosen,
    others: Chosen,
    #[serde(rename = "grid")]
    grids: Vec<Grid>,
}

/// Kernels chosen by hand.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    why: String,
    kernels: Vec<Named<KernelId>>,
}

/// All combinations of some values.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grid {
    #[serde(with = "crate::name")]
    op: Op,
    weights: Parameter<Named<Weights>>,
    method: Parameter<Named<Method>>,
    mr: Parameter<u16>,
    nr: Parameter<u16>,
    kb: Parameter<u16>,
    ku: Parameter<u16>,
}

/// The values of one parameter, which of them a quick search tries, and why these.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter<T> {
    values: Vec<T>,
    quick: Vec<T>,
    why: String,
}

/// A space that is missing, or that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// Nobody has written down what may be tried there.
    #[error("no space is known for {0}; add tuning/spaces/{0}.toml and list it in tuning/src/space.rs")]
    Missing(Isa),
    /// Not a space.
    #[error("tuning/spaces/{file}.toml: {source}")]
    Parse {
        /// The instruction set whose file it is.
        file: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A space that contradicts itself.
    #[error("tuning/spaces/{file}.toml: {what}")]
    Invalid {
        /// The instruction set whose file it is.
        file: String,
        /// The contradiction.
        what: String,
    },
}

impl<T: PartialEq> Parameter<T> {
    fn at(&self, effort: Effort) -> &[T] {
        match effort {
            Effort::Quick => &self.quick,
            Effort::Full => &self.values,
        }
    }

    fn validate(&self, name: &str) -> Result<(), String> {
        if self.quick.is_empty() || !self.quick.iter().all(|value| self.values.contains(value)) {
            return Err(format!("`quick` of {name} holds some of its `values`"));
        }
        if self.why.trim().is_empty() {
            return Err(format!("{name} does not say why"));
        }
        Ok(())
    }
}

impl Grid {
    fn validate(&self) -> Result<(), String> {
        self.weights.validate("weights")?;
        self.method.validate("method")?;
        for (name, parameter) in [("mr", &self.mr), ("nr", &self.nr), ("kb", &self.kb), ("ku", &self.ku)] {
            parameter.validate(name)?;
        }
        Ok(())
    }

    /// Every combination that can be generated.
    fn kernels(&self, isa: Isa, effort: Effort) -> Vec<KernelId> {
        let mut kernels = Vec::new();
        for &Named(weights) in self.weights.at(effort) {
            for &Named(method) in self.method.at(effort) {
                for &mr in self.mr.at(effort) {
                    for &nr in self.nr.at(effort) {
                        for &kb in self.kb.at(effort) {
                            for &ku in self.ku.at(effort) {
                                let tile = Tile { mr, nr, kb, ku };
                                kernels.push(KernelId { op: self.op, weights, tile, isa, method });
                            }
                        }
                    }
                }
            }
        }
        kernels.retain(|kernel| kernel.check().is_ok());
        kernels
    }
}

impl Space {
    /// The space of an instruction set.
    ///
    /// # Errors
    /// [`SpaceError`]: none is written down, or what is contradicts itself.
    pub fn for_isa(isa: Isa) -> Result<Space, SpaceError> {
        let file = FILES.iter().find(|(name, _)| *name == isa.name());
        let (_, text) = file.ok_or(SpaceError::Missing(isa))?;
        Space::parse(isa, text)
    }

    fn parse(isa: Isa, text: &str) -> Result<Space, SpaceError> {
        let refuse = |source| SpaceError::Parse { file: isa.to_string(), source: Box::new(source) };
        let space: Space = toml::from_str(text).map_err(refuse)?;
        match space.validate(isa) {
            Ok(()) => Ok(space),
            Err(what) => Err(SpaceError::Invalid { file: isa.to_string(), what }),
        }
    }

    fn validate(&self, isa: Isa) -> Result<(), String> {
        if self.isa != isa {
            return Err(format!("it is the space of {}", self.isa));
        }
        for (name, chosen) in [("default", &self.default), ("others", &self.others)] {
            if chosen.why.trim().is_empty() {
                return Err(format!("{name} does not say why"));
            }
        }
        let cells = || Cell::all().filter(|cell| cell.isa == isa);
        for op in [Op::Gemv, Op::Gemm] {
            if cells().any(|cell| cell.op == op) && !self.defaults().any(|kernel| kernel.op == op) {
                return Err(format!("no default {op} is named"));
            }
        }
        if let Some(foreign) = self.compiled().find(|kernel| kernel.isa != isa) {
            return Err(format!("{foreign} is for another instruction set"));
        }
        if let Some(Cell { op, weights, method, .. }) = cells().find(|cell| !self.compiled().any(|k| k.cell() == *cell))
        {
            return Err(format!("neither default nor others name a {op} of {weights} by {method}"));
        }
        let layouts: HashSet<_> = self.defaults().map(|kernel| kernel.layout()).collect();
        if layouts.len() > 1 {
            return Err("its default kernels do not share a layout; a tensor is packed once".into());
        }
        self.grids.iter().try_for_each(Grid::validate)
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The menu chosen by hand: what runs where nothing was measured. All of it shares one layout.
    pub fn defaults(&self) -> impl Iterator<Item = KernelId> {
        self.default.kernels.iter().map(|&Named(kernel)| kernel)
    }

    /// The defaults, and a kernel for every cell of the matrix that they leave out: what every build compiles.
    pub fn compiled(&self) -> impl Iterator<Item = KernelId> {
        self.defaults().chain(self.others.kernels.iter().map(|&Named(kernel)| kernel))
    }

    /// The candidates for an operation: first the defaults, which every search measures, then every other combination
    /// that can be generated.
    pub fn kernels(&self, op: Op, effort: Effort) -> Vec<KernelId> {
        let combined = self.grids.iter().filter(|grid| grid.op == op).flat_map(|grid| grid.kernels(self.isa, effort));
        let mut seen = HashSet::new();
        let others = self.compiled().filter(|_| effort == Effort::Full);
        let all = self.defaults().chain(others).filter(|kernel| kernel.op == op).chain(combined);
        all.filter(|kernel| seen.insert(*kernel)).collect()
    }
}

/// What every build compiles: for each instruction set the defaults, and a kernel for every other cell of the matrix.
///
/// # Errors
/// As [`Space::for_isa`].
pub fn compiled() -> Result<Vec<KernelId>, SpaceError> {
    let mut kernels = Vec::new();
    for isa in Isa::ALL {
        kernels.extend(Space::for_isa(isa)?.compiled());
    }
    Ok(kernels)
}

/// The default kernels for a machine that runs `isas`, in order of preference: the most capable instruction set first.
///
/// # Errors
/// As [`Space::for_isa`].
pub fn defaults(isas: impl IntoIterator<Item = Isa>) -> Result<Vec<KernelId>, SpaceError> {
    let mut isas: Vec<Isa> = isas.into_iter().collect();
    isas.sort_unstable_by(|a, b| b.cmp(a));
    isas.dedup();
    let mut kernels = Vec::new();
    for isa in isas {
        kernels.extend(Space::for_isa(isa)?.defaults());
    }
    Ok(kernels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_space() {
        for isa in Isa::ALL {
            let space = Space::for_isa(isa).unwrap();
            assert_eq!(space.isa(), isa);
            assert!(space.defaults().any(|kernel| kernel.op == Op::Gemv), "{isa}");
        }
        assert_eq!(FILES.len(), Isa::ALL.len());
    }

    #[test]
    fn spaces_stay_small_enough_to_search() {
        for isa in Isa::ALL {
            let space = Space::for_isa(isa).unwrap();
            let count = |op, effort| space.kernels(op, effort).len();
            assert!(count(Op::Gemv, Effort::Quick) <= 20, "{isa}: {}", count(Op::Gemv, Effort::Quick));
            assert!(count(Op::Gemm, Effort::Quick) <= 12, "{isa}: {}", count(Op::Gemm, Effort::Quick));
            let full = count(Op::Gemv, Effort::Full) + count(Op::Gemm, Effort::Full);
            assert!(full <= 100, "{isa}: {full}");
        }
    }

    #[test]
    fn candidates_can_be_generated_and_include_the_defaults_and_the_quick_ones() {
        for isa in Isa::ALL {
            let space = Space::for_isa(isa).unwrap();
            for op in [Op::Gemv, Op::Gemm] {
                let full = space.kernels(op, Effort::Full);
                assert!(full.iter().all(|kernel| kernel.op == op && kernel.isa == isa && kernel.check().is_ok()));
                assert_eq!(full.iter().collect::<HashSet<_>>().len(), full.len(), "{isa} {op}: twice the same");
                assert!(space.kernels(op, Effort::Quick).iter().all(|kernel| full.contains(kernel)));
                let defaults: Vec<KernelId> = space.defaults().filter(|kernel| kernel.op == op).collect();
                assert!(full.starts_with(&defaults));
            }
        }
    }

    #[test]
    fn defaults_are_ordered_by_preference() {
        let kernels = defaults([Isa::Scalar, Isa::Avx512Vnni, Isa::Avx2, Isa::Scalar]).unwrap();
        let mut isas: Vec<Isa> = kernels.iter().map(|kernel| kernel.isa).collect();
        isas.dedup();
        assert_eq!(isas, [Isa::Avx512Vnni, Isa::Avx2, Isa::Scalar]);
    }

    #[test]
    fn contradictions_are_told() {
        let (_, good) = FILES[0];
        for (from, to, says) in [
            ("isa = \"scalar\"", "isa = \"avx2\"", "space of avx2"),
            ("isa = \"scalar\"", "isa = \"sse9\"", "unknown instruction set"),
            ("gemv_t200_2x8k64u1__scalar_dot", "gemv_t200_2x4k64u1__scalar_dot", "share a layout"),
            ("gemv_t200_2x8k64u1__scalar_dot", "gemv_t200_2x8k64u1__avx2_mad", "another instruction set"),
            ("gemv_t200_2x8k64u1__scalar_dot", "gemv_t200_2x8k60u1__scalar_dot", "multiple of 16"),
            ("gemm_t200_4x8k64u1__scalar_dot", "gemv_t200_8x8k64u1__scalar_dot", "no default gemm"),
            ("quick = [1]", "quick = [3]", "`quick` of mr"),
            ("quick = [1]", "quick = []", "`quick` of mr"),
            ("why = \"As for gemv.\"", "why = \" \"", "does not say why"),
            ("why = \"As for gemv.\"", "", "missing field `why`"),
            ("[grid.mr]", "[grid.mt]", "unknown field `mt`"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Space::parse(Isa::Scalar, &good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("spaces/scalar.toml"), "{from} -> {to}: {error}");
        }
    }
}
