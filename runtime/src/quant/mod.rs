//! Weights as numbers: blocks of float types to f32, blocks of ternary types to trits and back; floats to trits
//! ([`quantize_tensor`]) and to int8 ([`quantize_activations`]).
//!
//! # Ways to store trits
//!
//! | bits a weight | how | where |
//! |---|---|---|
//! | 2 | a code of two bits | `t200` of the kernels' layouts; in files Q2_0, and as planes of bits I2_S, TQ2_0, IQ2_BN |
//! | 1.67 | triples: four bits and a sign apart | `t167` of the kernels' layouts; in files TL2 |
//! | 1.6 | five in a byte, in base 3 | `t160` of the kernels' layouts; in files TQ1_0, IQ1_BN |
//!
//! Runs of zeros and sparse forms are not among them, for they are larger. Of normal weights b1.58 makes 31 % zeros, so that
//! a trit carries 1.58 bits, and runs are short: run lengths take 1.69 bits a weight at best, as a bit that says where weights
//! are with signs for these does; distances and signs take 3.45, the best code of single trits 1.66. A code of variable length
//! for many trits together could come below base 3, by a hundredth; it could not be decoded by all lanes of a vector at once. (A
//! test of `quant/quantized.rs` computes these figures.)

mod activations;
mod base3;
mod calibration;
mod config;
pub mod convert;
mod error;
mod failure;
pub mod float;
mod lookup;
mod planes;
mod quantized;
pub mod recognise;
mod rounding;
mod rows;
mod rows4;
mod scales;
mod sequence;
pub mod trits;

pub use activations::{ActivationScale, QuantizedActivations, quantize_activations};
pub use calibration::{Calibration, Calibrator};
pub use config::{Granularity, QuantConfig, Scheme};
pub use error::Error;
pub use failure::QuantError;
pub use quantized::{QuantReport, QuantizedTensor, quantize_tensor};
pub use rows::Rows;
pub use scales::Scales;
pub use trits::Trits;

pub(crate) use activations::quantize_row;
#[cfg(feature = "convert")]
pub(crate) use rounding::{LEAST_SCALE, code};

use crate::gguf::{Kind, ShapeError};

/// Whether `rows` rows of `k` weights of `kind` can be decoded, as far as their bytes do not matter.
///
/// # Errors
/// Where the type is not known, cannot have such a shape, or does not say how such a shape lies in it.
pub fn check(kind: Kind, rows: usize, k: usize) -> Result<(), Error> {
    size(kind, rows, k)?;
    if kind.is_lookup() { lookup::check(kind, rows, k) } else { Ok(()) }
}

/// Bytes of `rows` rows of `k` elements of `kind`.
fn size(kind: Kind, rows: usize, k: usize) -> Result<usize, Error> {
    let refuse = |source| Error::Shape { kind, rows, k, source };
    let bytes = kind.bytes(&[k as u64, rows as u64]).map_err(refuse)?.ok_or(Error::Unknown { kind })?;
    // Elements, too, are counted in usize from here on.
    rows.checked_mul(k).and(usize::try_from(bytes).ok()).ok_or_else(|| refuse(ShapeError::Overflow))
}

/// Checks that `bytes` is the size of `rows` rows of `k` elements of `kind`.
fn check_size(kind: Kind, bytes: usize, rows: usize, k: usize) -> Result<(), Error> {
    let need = size(kind, rows, k)?;
    if bytes == need { Ok(()) } else { Err(Error::Size { kind, rows, k, need, found: bytes }) }
}

/// Runs `block` on each B bytes of `bytes` and the N elements of `out` that they hold. Inlined, so that it is compiled
/// for the instruction set of its caller.
#[inline(always)]
fn each<const B: usize, const N: usize, T>(bytes: &[u8], out: &mut [T], block: impl Fn(&[u8; B], &mut [T; N])) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(bytes, out);
    }
}
