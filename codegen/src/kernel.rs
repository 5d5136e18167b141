//! A kernel is a value: everything that is to be known about one kernel, and its name.
//!
//! ```
//! use tritune_codegen::{Isa, KernelId, Op};
//!
//! let id: KernelId = "gemv_t200_1x16k64u4__avx512vnni_dot".parse()?;
//! assert_eq!((id.op, id.tile.nr, id.isa), (Op::Gemv, 16, Isa::Avx512Vnni));
//! assert_eq!(id.to_string(), "gemv_t200_1x16k64u4__avx512vnni_dot");
//! # Ok::<(), tritune_codegen::NameError>(())
//! ```

use std::fmt;
use std::str::FromStr;

use crate::detect;
use crate::isa::Isa;
use crate::layout::Layout;

/// What is computed: y\[m,n\] = x\[m,k\] · W\[n,k\]ᵀ, for few tokens or for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// Few tokens (m ≤ 8): bound by the bytes of the weights.
    Gemv,
    /// Many tokens: bound by arithmetic; a decoded weight is used for `mr` tokens.
    Gemm,
}

/// How a weight is coded; the number is bits per weight × 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weights {
    /// Two bits a weight: the code is trit + 1, and 3 does not occur.
    T200,
    /// Five bits for three weights: a sign and one of 14 classes.
    T167,
    /// A byte for five weights: base 3.
    T160,
}

/// How products are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Native four-way int8 dot product into 32 bits.
    Dot,
    /// Widening multiply-add: pairs of products in 16 bits, widened to 32 before they can overflow.
    Mad,
    /// Lookups: what a group of trits makes of their activations is read from a table that was built for the token.
    Lut,
    /// Matrix instructions: products of several rows and several tokens at once.
    Tile,
}

/// In which form a kernel reads activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The int8 values of each token.
    Rows,
    /// Tables built from them, for indices of these weights.
    Tables(Weights),
}

/// The piece of y that one pass of the inner loop computes, and how the loop is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Tokens computed together.
    pub mr: u16,
    /// Output rows computed together: the height of a panel of packed weights.
    pub nr: u16,
    /// Weights of a row handled by one turn of the loop; rows are padded to a multiple of it.
    pub kb: u16,
    /// Independent accumulators an output is dealt over: scheduling alone, the data do not depend on it.
    pub ku: u16,
}

/// One kernel, described completely.
///
/// From this value come its name ([`fmt::Display`], [`FromStr`]), its source ([`KernelId::source`]), the layout that its
/// weights are packed in ([`KernelId::layout`]), its tests, its benchmark and its row in a results file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId {
    /// What is computed.
    pub op: Op,
    /// How weights are coded.
    pub weights: Weights,
    /// How the work is cut.
    pub tile: Tile,
    /// What the machine must have.
    pub isa: Isa,
    /// How products are formed.
    pub method: Method,
}

/// The largest number of tokens that a gemv kernel computes together.
pub const GEMV_MAX_TOKENS: u16 = 8;
/// The largest number of tokens that any kernel computes together.
pub const MAX_MR: u16 = 64;
/// The largest number of rows that a kernel computes together.
pub const MAX_NR: u16 = 256;
/// The largest number of columns in a turn: no row is padded by as many.
pub const MAX_KB: u16 = 256;

impl KernelId {
    /// The layout that this kernel reads its weights in.
    pub fn layout(&self) -> Layout {
        Layout { weights: self.weights, nr: self.tile.nr, kb: self.tile.kb }
    }

    /// In which form it reads activations.
    pub fn operand(&self) -> Operand {
        match self.method {
            Method::Lut => Operand::Tables(self.weights),
            Method::Dot | Method::Mad | Method::Tile => Operand::Rows,
        }
    }

    /// For products of t200: positions in a byte that codes are multiplied at, 1, 2 or 4 of them, each with accumulators of
    /// its own; higher ones are shifted there.
    pub fn in_place(&self) -> usize {
        // NEON's `sdot` has signed codes: a sign bit is no place for one.
        let signed = self.isa == Isa::NeonDot;
        match (self.weights, self.method, self.tile.ku) {
            (Weights::T200, Method::Dot, 4..) if !signed => 4,
            (Weights::T200, Method::Dot, 2..) => 2,
            _ => 1,
        }
    }

    /// The CPU features that it needs, in rustc's spelling: those of its instruction set, and one more where lookups
    /// are made in 64 entries at once.
    pub fn features(&self) -> impl Iterator<Item = &'static str> {
        let permutes = self.method == Method::Lut && self.isa == Isa::Avx512Vnni;
        self.isa.features().iter().copied().chain(permutes.then_some("avx512vbmi"))
    }

    /// Whether the machine that this process runs on has all of [`KernelId::features`].
    pub fn detected(&self) -> bool {
        self.missing_features().next().is_none()
    }

    /// Those of [`KernelId::features`] that the machine that this process runs on lacks, or that its system does not let
    /// be used.
    pub fn missing_features(&self) -> impl Iterator<Item = &'static str> {
        self.features().filter(|feature| !detect::has(feature))
    }

    /// Whether a kernel with this description can be generated.
    ///
    /// # Errors
    /// [`KernelError`] says which part contradicts which.
    pub fn check(&self) -> Result<(), KernelError> {
        self.contradiction().map_or(Ok(()), |why| Err(KernelError { kernel: *self, why }))
    }

    fn contradiction(&self) -> Option<String> {
        let KernelId { op, weights, tile: Tile { mr, nr, kb, ku }, isa, method } = *self;
        let step = weights.step() as u16;
        if !self.cell().exists() {
            return Some(format!("{isa} has no {op} of {weights} by method {method}"));
        }
        if mr == 0 || nr == 0 || kb == 0 {
            return Some("a tile has at least one token, one row and one weight".into());
        }
        if op == Op::Gemv && mr > GEMV_MAX_TOKENS {
            return Some(format!("a gemv computes at most {GEMV_MAX_TOKENS} tokens together"));
        }
        if mr > MAX_MR || nr > MAX_NR || kb > MAX_KB {
            return Some(format!("a tile is at most {MAX_MR} tokens by {MAX_NR} rows by {MAX_KB} weights"));
        }
        if kb % step != 0 || weights == Weights::T200 && !MAX_KB.is_multiple_of(kb) {
            let divides = if weights == Weights::T200 { format!(" that divides {MAX_KB}") } else { String::new() };
            return Some(format!("kb is a multiple of {step}{divides}"));
        }
        if ![1, 2, 4, 8].contains(&ku) {
            return Some("ku is 1, 2, 4 or 8".into());
        }
        match method {
            Method::Dot | Method::Mad => self.product_contradiction(),
            Method::Lut => self.lut_contradiction(),
            Method::Tile => self.tile_contradiction(),
        }
    }

    fn product_contradiction(&self) -> Option<String> {
        let Tile { nr, kb, ku, .. } = self.tile;
        // Signs of half a step are whole bytes.
        let lanes = (self.isa.lanes() as u16).max(if self.weights.has_signs() { 2 } else { 1 });
        if nr % lanes != 0 {
            return Some(format!("nr is a multiple of the {lanes} rows in a vector"));
        }
        let dots = kb / 4;
        if dots % ku != 0 {
            return Some(format!("the {dots} dot products of a turn are dealt evenly over ku accumulators"));
        }
        if self.method == Method::Mad && dots / ku > MAD_MAX_TERMS {
            return Some(format!("more than {MAD_MAX_TERMS} products in 16 bits could overflow"));
        }
        None
    }

    fn lut_contradiction(&self) -> Option<String> {
        let Tile { nr, kb, ku, .. } = self.tile;
        let permutes = self.isa == Isa::Avx512Vnni;
        let rows = self.isa.lanes() as u16 * if permutes { 1 } else { 4 };
        if nr % rows != 0 {
            return Some(format!("nr is a multiple of the {rows} rows that are looked up together"));
        }
        let trits = self.weights.trits_an_index().unwrap_or(1) as u16;
        let lookups = kb / trits / if permutes { 4 } else { 1 };
        if !lookups.is_multiple_of(ku) {
            return Some(format!("the {lookups} lookups of a turn are dealt evenly over ku accumulators"));
        }
        let most = self.weights.lookups_in_16_bits();
        if !permutes && lookups / ku > most {
            return Some(format!("more than {most} lookups in 16 bits could overflow"));
        }
        None
    }

    fn tile_contradiction(&self) -> Option<String> {
        let Tile { mr, nr, kb, ku } = self.tile;
        if ku != 1 {
            return Some("a matrix instruction has one accumulator an output".into());
        }
        if self.isa != Isa::Amx {
            return (mr % 2 != 0 || nr % 4 != 0 || kb % 8 != 0)
                .then(|| "mr is even, nr a multiple of 4 and kb of 8".into());
        }
        let columns = amx_columns(self.weights);
        if self.op == Op::Gemm && mr % AMX_SIDE != 0 || nr % AMX_SIDE != 0 || kb % columns != 0 {
            return Some(format!("mr and nr are multiples of {AMX_SIDE}, kb of {columns}"));
        }
        let (tokens, rows) = (mr.div_ceil(AMX_SIDE), nr / AMX_SIDE);
        let registers = tokens * rows + tokens.min(rows) + 1;
        (registers > AMX_REGISTERS).then(|| format!("{registers} tiles are needed, and there are {AMX_REGISTERS}"))
    }
}

/// How many `vpmaddubsw` results (each at most 2 · 2 · 128 = 512 in magnitude) a 16-bit lane takes: 63 · 512 < 2¹⁵.
pub const MAD_MAX_TERMS: u16 = 63;

/// Rows of an AMX tile of products, and its tokens where there are as many.
pub const AMX_SIDE: u16 = 16;
/// Columns of an AMX tile of operands, 64 at most: whole steps.
pub const fn amx_columns(weights: Weights) -> u16 {
    let step = weights.step() as u16;
    64 / step * step
}
/// Tile registers.
const AMX_REGISTERS: u16 = 8;

/// A kernel that cannot be generated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel {kernel} cannot be generated: {why}")]
pub struct KernelError {
    /// The impossible kernel.
    pub kernel: KernelId,
    /// What contradicts what.
    pub why: String,
}

/// A name that is no kernel's, instruction set's, … name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A word that is not in its vocabulary.
    #[error("unknown {what} `{found}`; known: {known}")]
    Word {
        /// What the word should name.
        what: &'static str,
        /// The word.
        found: String,
        /// The vocabulary.
        known: String,
    },
    /// A name of the wrong shape.
    #[error("`{0}` is not a kernel name; one looks like gemv_t200_1x16k64u4__avx512vnni_dot")]
    Shape(String),
    /// A well-formed name of an impossible kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl NameError {
    pub(crate) fn word(what: &'static str, found: &str, known: impl IntoIterator<Item = &'static str>) -> Self {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        NameError::Word { what, found: found.into(), known }
    }
}

/// A closed vocabulary: one list gives `Display` and `FromStr`.
macro_rules! vocabulary {
    ($type:ident, $what:literal, $($variant:ident => $name:literal),+) => {
        impl $type {
            /// Every value, with its name.
            pub const NAMES: &[($type, &str)] = &[$(($type::$variant, $name)),+];
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($type::$variant => $name),+ })
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                match name {
                    $($name => Ok($type::$variant),)+
                    _ => Err(NameError::word($what, name, [$($name),+])),
                }
            }
        }
    };
}

vocabulary!(Op, "operation", Gemv => "gemv", Gemm => "gemm");
vocabulary!(Weights, "weight code", T200 => "t200", T167 => "t167", T160 => "t160");
vocabulary!(Method, "method", Dot => "dot", Mad => "mad", Lut => "lut", Tile => "tile");

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}k{}u{}", self.mr, self.nr, self.kb, self.ku)
    }
}

impl FromStr for Tile {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let parse = || {
            let (mr, rest) = name.split_once('x')?;
            let (nr, rest) = rest.split_once('k')?;
            let (kb, ku) = rest.split_once('u')?;
            Some(Tile { mr: mr.parse().ok()?, nr: nr.parse().ok()?, kb: kb.parse().ok()?, ku: ku.parse().ok()? })
        };
        // Only the canonical spelling is a name: `01x16…` or `+1x16…` would be a second one.
        parse().filter(|tile| tile.to_string() == name).ok_or_else(|| NameError::Shape(name.into()))
    }
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelId { op, weights, tile, isa, method } = self;
        f.pad(&format!("{op}_{weights}_{tile}__{isa}_{method}"))
    }
}

impl FromStr for KernelId {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let shape = || NameError::Shape(name.into());
        let (what, how) = name.split_once("__").ok_or_else(shape)?;
        let [op, weights, tile] = what.split('_').collect::<Vec<_>>()[..] else { return Err(shape()) };
        let (isa, method) = how.split_once('_').ok_or_else(shape)?;
        let id = KernelId {
            op: op.parse()?,
            weights: weights.parse()?,
            tile: tile.parse().map_err(|_| shape())?,
            isa: isa.parse()?,
            method: method.parse()?,
        };
        id.check()?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_id() -> impl Strategy<Value = KernelId> {
        let tile = (1..=64u16, 1..=256u16, 1..=64u16, 0..4u32).prop_map(|(mr, nr, steps, log_ku)| Tile {
            mr,
            nr,
            kb: 16 * steps,
            ku: 1 << log_ku,
        });
        (
            prop::sample::select(Op::NAMES),
            prop::sample::select(Weights::NAMES),
            tile,
            prop::sample::select(Isa::ALL.to_vec()),
            prop::sample::select(Method::NAMES),
        )
            .prop_map(|(op, weights, tile, isa, method)| KernelId {
                op: op.0,
                weights: weights.0,
                tile,
                isa,
                method: method.0,
            })
    }

    proptest! {
        #[test]
        fn names_round_trip(id in any_id()) {
            let name = id.to_string();
            match id.check() {
                Ok(()) => prop_assert_eq!(name.parse::<KernelId>().unwrap(), id),
                Err(error) => prop_assert_eq!(name.parse::<KernelId>().unwrap_err(), NameError::Kernel(error)),
            }
        }

        #[test]
        fn any_text_is_refused_or_canonical(text in "[a-z0-9_x]{0,48}") {
            if let Ok(id) = text.parse::<KernelId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn impossible_kernels_say_why() {
        for (name, why) in [
            ("gemv_t200_1x16k64u4__avx2_dot", "no gemv of t200 by method dot"),
            ("gemv_t160_1x16k80u1__amx_tile", "no gemv of t160"),
            ("gemm_t160_1x16k64u1__avx2_mad", "no gemm of t160"),
            ("gemv_t167_1x32k64u1__avx2_lut", "multiple of 24"),
            ("gemv_t167_1x16k96u1__avx2_lut", "multiple of the 32"),
            ("gemv_t167_1x32k144u1__avx2_lut", "more than 42 lookups"),
            ("gemv_t167_1x1k24u1__scalar_dot", "multiple of the 2"),
            ("gemm_t200_32x24k64u1__amx_tile", "multiples of 16"),
            ("gemm_t200_64x32k64u1__amx_tile", "11 tiles"),
            ("gemm_t200_3x16k64u1__neoni8mm_tile", "mr is even"),
            ("gemv_t200_9x16k64u4__avx512vnni_dot", "at most 8"),
            ("gemv_t200_1x8k64u4__avx512vnni_dot", "multiple of the 16"),
            ("gemv_t200_1x16k24u4__avx512vnni_dot", "multiple of 16"),
            ("gemv_t200_1x16k48u4__avx512vnni_dot", "divides 256"),
            ("gemv_t200_1x16k64u3__avx512vnni_dot", "1, 2, 4 or 8"),
            ("gemv_t200_1x16k256u1__avx2_mad", "overflow"),
            ("gemv_t200_0x16k64u4__scalar_dot", "at least one"),
            ("gemv_t999_1x16k64u4__scalar_dot", "unknown weight code"),
            ("gemv_t200_01x16k64u4__scalar_dot", "not a kernel name"),
            ("gemv", "not a kernel name"),
        ] {
            let error = name.parse::<KernelId>().unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}
