//! What can be wrong with a layer, or with what goes into it.

use crate::linear::LinearError;
use crate::model::WeightsError;
use crate::quant::QuantError;
use crate::tensor::TensorError;

/// A layer that cannot be built or computed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// No inputs or no outputs.
    #[error("a layer from {inputs} values to {outputs} computes nothing")]
    Empty {
        /// Values of a row that goes in.
        inputs: usize,
        /// Values of a row that comes out.
        outputs: usize,
    },
    /// Rows that are not as long as the weights'.
    #[error("an input of shape {found:?} does not fit weights {weights:?}: its rows must have {} values", weights[1])]
    Input {
        /// The input's shape.
        found: Vec<usize>,
        /// Outputs and inputs of the layer.
        weights: [usize; 2],
    },
    /// A NaN or an infinity goes in.
    #[error("row {row} of the input holds a NaN or an infinity, or numbers too large to be normalised")]
    NotFinite {
        /// The row, counted over all dimensions but the innermost.
        row: usize,
    },
    /// A NaN or an infinity comes out.
    #[error("row {row}, column {column} of the output is {value}: the input, a scale or a bias is too large")]
    Overflow {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// What came out.
        value: f32,
    },
    /// Weights that are no matrix.
    #[error("weights of shape {shape:?} are no matrix of outputs and inputs")]
    Matrix {
        /// Their shape, outermost dimension first.
        shape: Vec<usize>,
    },
    /// A bias or a norm of another length than the layer's outputs or inputs.
    #[error("a {what} of shape {found:?} does not fit weights {weights:?}: its shape must be [{need}]")]
    Option {
        /// Which: `bias`.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// Its length, if it fitted.
        need: usize,
        /// Outputs and inputs of the layer.
        weights: [usize; 2],
    },
    /// A number that spoils every output.
    #[error("{value} is no {what}; it must be a finite number{}", if *what == "epsilon" { " above 0" } else { "" })]
    Number {
        /// What it is given as: `scale`.
        what: &'static str,
        /// The number.
        value: f32,
    },
    /// No kernel serves the weights, or one refused its call.
    #[error(transparent)]
    Linear(#[from] LinearError),
    /// A file's tensor cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights that cannot be quantised.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// A tensor that is not what is wanted.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
