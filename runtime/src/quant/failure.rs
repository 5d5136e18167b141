//! Why a tensor cannot be quantised.

use super::Error;
use crate::kernels::PackError;
use crate::tensor::TensorError;

/// A tensor that cannot be quantised, packed or calibrated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantError {
    /// The tensor itself is not of the kind that is wanted.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Trits that do not fit together, or that a type of GGUF cannot say.
    #[error(transparent)]
    Trits(#[from] Error),
    /// A layout that cannot hold these weights.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A NaN or an infinity.
    #[error("row {row}, column {column} is {value}; only finite numbers can be quantised")]
    NotFinite {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The element.
        value: f32,
    },
    /// A threshold that separates nothing.
    #[error("threshold {threshold} separates nothing; it is a finite share of the scale, 0 or more, by default 0.5")]
    Threshold {
        /// The threshold given.
        threshold: f32,
    },
    /// Not a trit.
    #[error("row {row}, column {column}: code {code} is no trit (0, 1, 2 stand for -1, 0, +1)")]
    Code {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The code.
        code: u8,
    },
    /// A scale that multiplies nothing.
    #[error("scale {index} is {scale}; scales are finite")]
    Scale {
        /// Which of the scales, in order.
        index: usize,
        /// The scale.
        scale: f32,
    },
    /// A step that counts nothing.
    #[error("a quantisation step of {step} cannot be; it is finite and above 0")]
    Step {
        /// The step given.
        step: f32,
    },
    /// A share that is none.
    #[error("percentile {percentile} cannot be; it is above 0, and 100 at most")]
    Percentile {
        /// The percentile given.
        percentile: f64,
    },
    /// A calibrator that has seen nothing.
    #[error("no activations were observed; give the calibrator some first")]
    Unseen,
}

/// Refuses n rows of k that are not all finite.
pub(super) fn finite(values: &[f32], k: usize) -> Result<(), QuantError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(QuantError::NotFinite { row: at / k, column: at % k, value: values[at] }),
    }
}
