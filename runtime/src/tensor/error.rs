//! What can be wrong with a tensor, or with two that meet.

use super::DType;
use crate::device::{Device, DeviceError};

/// A tensor that cannot be made, read or used where it is given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// Elements do not fill the shape.
    #[error("{found} elements do not fill shape {shape:?}, which has {need}")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// Elements that it has.
        need: usize,
        /// Elements given.
        found: usize,
    },
    /// More elements than can be counted or addressed.
    #[error("shape {shape:?} has more elements than can be in memory")]
    Overflow {
        /// The shape.
        shape: Vec<usize>,
    },
    /// The system has no room for it.
    #[error("there is no memory for the {bytes} bytes of shape {shape:?}")]
    Memory {
        /// The shape.
        shape: Vec<usize>,
        /// Bytes of its elements.
        bytes: usize,
    },
    /// Elements of another type than asked for.
    #[error("elements are {found}, and {need} is asked for; `to_dtype` converts")]
    DType {
        /// The type asked for.
        need: DType,
        /// The tensor's.
        found: DType,
    },
    /// There is no conversion between the types that keeps the numbers.
    #[error("{from} cannot become {to}; floats are quantised by the functions of `quant`")]
    Cast {
        /// The tensor's type.
        from: DType,
        /// The type asked for.
        to: DType,
    },
    /// A number that the type asked for cannot say.
    #[error("element {index} is {value}, which {to} cannot say")]
    Value {
        /// Its place, in the order of rows.
        index: usize,
        /// The number.
        value: f64,
        /// The type asked for.
        to: DType,
    },
    /// Elements do not lie one behind the other.
    #[error(
        "the elements of shape {shape:?} are not one slice, as after `transpose`; `contiguous` copies them into one"
    )]
    Strided {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Another number of elements.
    #[error("shape {from:?} cannot become {to:?}: it has {} elements, not {}", count(from), count(to))]
    Reshape {
        /// The tensor's shape.
        from: Vec<usize>,
        /// The shape asked for.
        to: Vec<usize>,
    },
    /// No such rows.
    #[error("shape {shape:?} has no rows {start}..{end}")]
    Rows {
        /// The tensor's shape.
        shape: Vec<usize>,
        /// The first row asked for.
        start: usize,
        /// The row after the last.
        end: usize,
    },
    /// Too few dimensions, or too many.
    #[error("shape {shape:?} has {} dimensions, and {need} is asked for", shape.len())]
    Rank {
        /// The tensor's shape.
        shape: Vec<usize>,
        /// What is asked for: `one or more`.
        need: &'static str,
    },
    /// No elements, where there must be some.
    #[error("shape {shape:?} has no elements")]
    Empty {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Two shapes that do not go together.
    #[error("shape {left:?} does not fit {what} {right:?}")]
    Fit {
        /// The tensor's shape.
        left: Vec<usize>,
        /// What the other is: `weights`.
        what: &'static str,
        /// The other shape.
        right: Vec<usize>,
    },
    /// Two tensors that do not lie on the same device.
    #[error("a tensor on the {left} cannot meet one on the {right}; `to_device` moves it")]
    Devices {
        /// The tensor's device.
        left: Device,
        /// The other one's.
        right: Device,
    },
    /// Elements of a type that tensors do not have.
    #[error("elements of {dtype} cannot be read; f32, f16, bf16, i8 and i32 can")]
    Foreign {
        /// The type, as the file names it.
        dtype: String,
    },
    /// A device that cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Elements of a shape, for a message: more than can be counted are as many as can.
fn count(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
}
