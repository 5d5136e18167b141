//! GGUF files: a reader over a memory map that trusts nothing it reads, and a streaming writer.
//!
//! Versions 2 and 3, little-endian, as specified in ggml's `docs/gguf.md`. [`File::open`] checks the whole structure
//! before it returns: counts and lengths against the bytes that are left, before anything is allocated; shapes, offsets
//! and sizes against each other. After that, [`File::data`] cannot fail.

mod cursor;
mod data;
mod download;
mod error;
mod file;
mod folder;
mod foreign;
mod i2s;
mod kind;
mod metadata;
mod purpose;
mod settle;
mod split;
mod value;
mod writer;

pub use data::Data;
pub use error::Error;
pub use file::{File, ReadOptions, Tensor};
pub use folder::Folder;
pub use foreign::Foreign;
pub use i2s::I2sLayout;
pub use kind::{Format, Kind, ScalePlace, ShapeError, Span};
pub use purpose::Purpose;
pub use value::{Array, Strings, Value};
pub use writer::{Header, WriteError, Writer};

/// The first four bytes of a file.
const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensors start, in bytes, unless [`ALIGNMENT_KEY`] says otherwise.
const ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";

/// `at` rounded up to a multiple of `alignment`, a power of two.
fn align(at: u64, alignment: u64) -> Option<u64> {
    at.checked_next_multiple_of(alignment)
}

/// Whether tensors may be aligned to `alignment` bytes: a power of two, at least 8 as the specification says, and
/// at most a megabyte.
fn sane_alignment(alignment: u64) -> bool {
    alignment.is_power_of_two() && (8..=1 << 20).contains(&alignment)
}
