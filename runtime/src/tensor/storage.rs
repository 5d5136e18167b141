//! Elements of one type or another, in `ndarray`'s arrays, whose memory clones and views share.

use std::ops::Range;

use half::f16;
use ndarray::{ArcArray, Axis, IxDyn, Slice};

use super::DType;

/// An array of one of the types.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    F32(ArcArray<f32, IxDyn>),
    F16(ArcArray<f16, IxDyn>),
    I8(ArcArray<i8, IxDyn>),
    I32(ArcArray<i32, IxDyn>),
}

/// A type that elements may have: `f32`, `f16` (of the crate `half`), `i8` or `i32`.
pub trait Element: Stored {
    /// Its name at run time.
    const DTYPE: DType;
}

/// How an element's type and its place in [`Storage`] go together; sealed by being out of reach.
pub trait Stored: Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    fn array(storage: &Storage) -> Option<&ArcArray<Self, IxDyn>>;
    fn store(array: ArcArray<Self, IxDyn>) -> Storage;
    fn take(storage: Storage) -> Result<ArcArray<Self, IxDyn>, Storage>;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$variant;
        }

        impl Stored for $type {
            fn array(storage: &Storage) -> Option<&ArcArray<Self, IxDyn>> {
                if let Storage::$variant(array) = storage { Some(array) } else { None }
            }

            fn store(array: ArcArray<Self, IxDyn>) -> Storage {
                Storage::$variant(array)
            }

            fn take(storage: Storage) -> Result<ArcArray<Self, IxDyn>, Storage> {
                if let Storage::$variant(array) = storage { Ok(array) } else { Err(storage) }
            }
        }
    };
}

element!(f32, F32);
element!(f16, F16);
element!(i8, I8);
element!(i32, I32);

/// `$body` of the array, whatever its type.
macro_rules! with {
    ($storage:expr, $array:ident => $body:expr) => {
        match $storage {
            Storage::F32($array) => $body,
            Storage::F16($array) => $body,
            Storage::I8($array) => $body,
            Storage::I32($array) => $body,
        }
    };
}

impl Storage {
    pub(super) fn dtype(&self) -> DType {
        match self {
            Storage::F32(_) => DType::F32,
            Storage::F16(_) => DType::F16,
            Storage::I8(_) => DType::I8,
            Storage::I32(_) => DType::I32,
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        with!(self, array => array.shape())
    }

    pub(super) fn is_contiguous(&self) -> bool {
        with!(self, array => array.is_standard_layout())
    }

    /// Some of the outermost dimension, which has them.
    pub(super) fn rows(&self, rows: Range<usize>) -> Storage {
        with!(self.clone(), array => Stored::store(rows_of(array, rows)))
    }

    /// One of the outermost dimension, which has it.
    pub(super) fn row(&self, row: usize) -> Storage {
        with!(self.clone(), array => Stored::store(array.index_axis_move(Axis(0), row)))
    }

    pub(super) fn transpose(&self) -> Storage {
        with!(self.clone(), array => Stored::store(array.reversed_axes()))
    }

    pub(super) fn contiguous(&self) -> Storage {
        with!(self.clone(), array => Stored::store(contiguous(array)))
    }

    /// The same elements in another shape; `None` where it has another number of them.
    pub(super) fn reshape(&self, shape: &[usize]) -> Option<Storage> {
        with!(self.clone(), array => {
            contiguous(array).into_shape_with_order(IxDyn(shape)).ok().map(Stored::store)
        })
    }
}

fn rows_of<T>(mut array: ArcArray<T, IxDyn>, rows: Range<usize>) -> ArcArray<T, IxDyn> {
    array.slice_axis_inplace(Axis(0), Slice::from(rows));
    array
}

fn contiguous<T: Clone>(array: ArcArray<T, IxDyn>) -> ArcArray<T, IxDyn> {
    if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned().into_shared() }
}
