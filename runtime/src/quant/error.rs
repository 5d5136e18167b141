//! What can be wrong with a tensor's bytes. The caller knows, and adds, the file and the tensor's name.

use crate::gguf::{Kind, ShapeError};

/// Why weights could not be decoded or encoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Error {
    #[error(
        "this build cannot compute with tensors of {kind} (type id {}); get the model in another format", kind.id()
    )]
    Unknown { kind: Kind },

    #[error("{kind} is not a float type; read it as trits")]
    NotFloat { kind: Kind },

    #[error("{kind} is not a ternary type; read it as floats")]
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

    #[error(
        "its {kind} weights are not trits times scales, which is all that {to} can say; --ternarize makes the nearest trits \
             of them, which changes what the model says unless it was trained for it"
    )]
    NotTrits { kind: Kind, to: Kind },

    #[error("weights of {kind} are not finite; the file is damaged: download it again")]
    NotFinite { kind: Kind },

    #[error("{kind} has no room for numbers beyond half precision, which these weights have; use I2_S, IQ2_BN or F32")]
    HalfRange { kind: Kind },

    #[error("weights cannot be written as {kind}; use another type")]
    Target { kind: Kind },

    #[error("there are {found} {what} where {rows} x {k} weights need {need}; pass as many")]
    Count { what: &'static str, rows: usize, k: usize, need: usize, found: usize },

    #[error("{kind} cannot say these weights exactly, which have {found}; use {others}")]
    Granularity { kind: Kind, found: String, others: String },

    #[error("scales for blocks of {size} weights do not divide rows of {k}; pass some that do")]
    Blocks { k: usize, size: usize },

    #[error(
        "the tiles of {rows} x {k} weights of {kind} are not known: {why}; convert the original checkpoint to I2_S instead"
    )]
    Tiles { kind: Kind, rows: usize, k: usize, why: &'static str },

    #[error(
        "byte {at} of {kind} holds what no converter writes; the file is damaged, or tiled for another kernel \
             configuration: download it again, or convert the original checkpoint to I2_S"
    )]
    Lookup { kind: Kind, at: usize },

    #[error(
        "the scale {scale} is not a half-precision number, which {kind} needs; round the scales first \
             (`Scales::round_f16`)"
    )]
    Inexact { kind: Kind, scale: f32 },
}
