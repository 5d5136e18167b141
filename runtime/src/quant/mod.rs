//! Weights as numbers: blocks of float types to f32, blocks of ternary types to trits and back.

mod base3;
pub mod convert;
mod error;
pub mod float;
mod lookup;
mod planes;
pub mod recognise;
mod rows;
mod rows4;
mod scales;
mod sequence;
pub mod trits;

pub use error::Error;
pub use rows::Rows;
pub use scales::Scales;
pub use trits::Trits;

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
