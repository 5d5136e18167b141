//! Linear layers: y\[m,n\] = x\[m,k\] · W\[n,k\]ᵀ, several matrices to a fork.

mod activations;
mod coarse;
pub(crate) mod float;
mod panel;
mod scratch;
mod ternary;
mod tile;

pub use activations::{Activations, NotFinite};
pub use coarse::{Coarse, Estimate, Query};
pub use float::Float;
pub use ternary::Ternary;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::kernels::{CallError, PackError, SelectionError};
use crate::memory::MemoryError;
use crate::quant;
use crate::threads::{Parts, Pool};

/// The weights of a linear layer.
#[derive(Debug)]
pub enum Linear {
    /// Trits: int8 activations, exact integer products.
    Ternary(Ternary),
    /// A float type: float activations.
    Float(Float),
}

impl Linear {
    /// Output rows.
    pub fn n(&self) -> usize {
        match self {
            Linear::Ternary(ternary) => ternary.n(),
            Linear::Float(float) => float.n(),
        }
    }

    /// Columns.
    pub fn k(&self) -> usize {
        match self {
            Linear::Ternary(ternary) => ternary.k(),
            Linear::Float(float) => float.k(),
        }
    }

    /// Bytes that a pass over it reads.
    pub fn bytes(&self) -> usize {
        match self {
            Linear::Ternary(ternary) => ternary.bytes(),
            Linear::Float(float) => float.bytes(),
        }
    }
}

impl Linear {
    /// Output rows that a thread claims at a time.
    fn piece(&self, threads: usize, m: usize) -> usize {
        match self {
            Linear::Ternary(ternary) => ternary.piece(threads, m),
            Linear::Float(float) => float.piece(threads, m),
        }
    }

    /// Computes some rows, from a multiple of [`Linear::piece`] on, for all tokens of `x`.
    fn forward(&self, x: &Activations, rows: Range<usize>, y: &Parts<'_, f32>) -> Result<(), LinearError> {
        match self {
            Linear::Ternary(ternary) => ternary.forward(x, rows, y),
            Linear::Float(float) => float.forward(x, rows, y),
        }
    }
}

/// Computes `y[m, n] = x[m, k] · W[n, k]ᵀ` for matrices that share their input, in one fork.
///
/// The result does not depend on the number of threads, to the last bit.
///
/// # Errors
/// Where a shape does not fit, or activations are not finite.
pub fn project<const N: usize>(
    pool: &Pool,
    x: &mut Activations,
    outputs: [(&Linear, &mut [f32]); N],
) -> Result<(), LinearError> {
    for (linear, y) in &outputs {
        if linear.k() != x.k() || y.len() != x.m() * linear.n() {
            return Err(LinearError::Shape { m: x.m(), k: x.k(), weights: (linear.n(), linear.k()), y: y.len() });
        }
    }
    if outputs.iter().any(|(linear, _)| matches!(linear, Linear::Ternary(_))) {
        x.quantize(pool)?;
    }
    if x.m() <= Float::FEW && outputs.iter().any(|(linear, _)| matches!(linear, Linear::Float(_))) {
        x.pack()?;
    }
    let (x, threads) = (&*x, pool.threads());
    let outputs = outputs.map(|(linear, y)| (linear, linear.piece(threads, x.m()), Parts::new(y)));
    let failure = Mutex::new(None);
    let pieces = outputs.iter().map(|(linear, piece, _)| linear.n().div_ceil(*piece)).sum();
    pool.for_each(pieces, |_, item| {
        // The pieces of one matrix after those of the other.
        let mut start = item;
        for (linear, piece, y) in &outputs {
            let pieces = linear.n().div_ceil(*piece);
            if start < pieces {
                let rows = start * piece..((start + 1) * piece).min(linear.n());
                if let Err(error) = linear.forward(x, rows, y) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
                return;
            }
            start -= pieces;
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Frees what this thread keeps from one product to the next, which will be allocated again when it is needed. A thread that
/// ends frees it by itself, but for the main thread of some systems.
pub fn forget_scratch() {
    float::forget_scratch();
    ternary::forget_scratch();
}

/// A linear layer that cannot be built or computed.
#[derive(Debug, thiserror::Error)]
pub enum LinearError {
    /// Input, weights and output do not fit.
    #[error("activations of {m} × {k} and weights of {} × {} do not make an output of {y} values", weights.0, weights.1)]
    Shape {
        /// Tokens.
        m: usize,
        /// Values of a row of activations.
        k: usize,
        /// n and k of the weights.
        weights: (usize, usize),
        /// Length of the output.
        y: usize,
    },
    /// Activations hold a NaN or an infinity.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// There is no memory for what is computed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No kernel serves the matrix.
    #[error("weights {name}: {source}")]
    Selection {
        /// The tensor.
        name: String,
        /// Why.
        source: SelectionError,
    },
    /// The weights cannot be packed.
    #[error("weights {name}: {source}")]
    Pack {
        /// The tensor.
        name: String,
        /// Why.
        source: PackError,
    },
    /// Rows of a float matrix cannot be decoded.
    #[error(transparent)]
    Decode(#[from] quant::Error),
    /// A kernel refused its call.
    #[error(transparent)]
    Call(#[from] CallError),
}
