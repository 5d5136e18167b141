//! How floats become trits.

use super::{Error, QuantError};

/// What the scale of some weights is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Their mean magnitude, as BitNet b1.58 has it ("The Era of 1-bit LLMs", arXiv:2402.17764, equations 1 to 3).
    #[default]
    AbsMean,
    /// Their largest magnitude: weights below half of it become 0.
    AbsMax,
}

/// How many weights share a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// All.
    #[default]
    Tensor,
    /// Those of a row.
    Row,
    /// So many of a row, whose length is a multiple of it. Kernels sum blocks of 32, 64, 128 and 256 apart.
    Block(usize),
}

/// How floats become trits: w ≈ trit · scale.
///
/// The default is BitNet b1.58: the mean magnitude of the tensor as scale, and weights rounded to the nearest of −1, 0
/// and 1 scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantConfig {
    /// What a scale is.
    pub scheme: Scheme,
    /// How many weights share one.
    pub granularity: Granularity,
    /// Weights up to this share of their scale become 0, larger ones ±1. 0.5 rounds to the nearest, ties to even.
    pub threshold: f32,
}

impl QuantConfig {
    /// The threshold of rounding to the nearest.
    pub const NEAREST: f32 = 0.5;

    /// Weights that share a scale, of n rows of k.
    ///
    /// # Errors
    /// [`QuantError::Threshold`]; [`Error::Blocks`] where rows are not of whole blocks.
    pub(super) fn group(&self, n: usize, k: usize) -> Result<usize, QuantError> {
        let threshold = self.threshold;
        if !(threshold.is_finite() && threshold >= 0.0) {
            return Err(QuantError::Threshold { threshold });
        }
        match self.granularity {
            Granularity::Tensor => Ok(n * k),
            Granularity::Row => Ok(k),
            Granularity::Block(size) if size > 0 && k.is_multiple_of(size) => Ok(size),
            Granularity::Block(size) => Err(Error::Blocks { k, size }.into()),
        }
    }
}

impl Default for QuantConfig {
    fn default() -> Self {
        QuantConfig { scheme: Scheme::default(), granularity: Granularity::default(), threshold: QuantConfig::NEAREST }
    }
}
