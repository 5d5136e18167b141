//! What can be wrong with a tensor's bytes. The caller knows, and adds, the file and the tensor's name.

use crate::gguf::{Kind, ShapeError};

/// Why weights could not be decoded or encoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Error {
    #[error("this build cannot compute with tensors of {kind}; get the model in another format")]
    Unknown { kind: Kind },

    #[error("{kind} is not a float type; read it as trits")]
    NotFloat { kind: Kind },

    #[error("{kind} is not a ternary type; use I2_S, TQ1_0 or TQ2_0, or read it as floats")]
    NotTernary { kind: Kind },

    #[error("{rows} x {k} weights cannot be {kind}: {source}; use another type")]
    Shape { kind: Kind, rows: usize, k: usize, source: ShapeError },

    #[error("{rows} x {k} weights are {need} bytes as {kind}, not {found}; download the file again")]
    Size { kind: Kind, rows: usize, k: usize, need: usize, found: usize },

    #[error(
        "the weight at row {row}, column {column} has code {code}, but {kind} ends at 2; the file is damaged, or \
             holds another format under this type's id: download it again, or get the model in another format"
    )]
    Code { kind: Kind, row: usize, column: usize, code: u8 },

    #[error(
        "the scale at row {row}, column {column} of {kind} is {scale}, not a finite number; the file is damaged: \
             download it again"
    )]
    Scale { kind: Kind, row: usize, column: usize, scale: f32 },

    #[error("there are {found} {what} where {rows} x {k} weights need {need}; pass as many")]
    Count { what: &'static str, rows: usize, k: usize, need: usize, found: usize },

    #[error("I2_S has one scale for a tensor, but these weights have one for each {found}; use TQ1_0 or TQ2_0")]
    Granularity { found: &'static str },

    #[error("scales for blocks of {size} cannot be written as {kind}, whose blocks are of 256; use another type")]
    BlockSize { kind: Kind, size: usize },

    #[error(
        "the scale {scale} is not a half-precision number, which {kind} needs; round the scales first \
             (`Scales::round_f16`)"
    )]
    Inexact { kind: Kind, scale: f32 },
}
