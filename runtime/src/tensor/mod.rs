//! Tensors, as much of them as layers need: elements of one type, a shape, and views that share memory.

mod array;
#[cfg(feature = "convert")]
mod checkpoint;
mod dtype;
mod error;
mod normal;
mod shape;
mod storage;

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use ndarray::{ArcArray, IxDyn};

pub use dtype::DType;
pub use error::TensorError;
pub use shape::IntoShape;
pub use storage::Element;

use crate::device::Device;
use normal::Normal;
use storage::Storage;

/// Elements of one type in a shape, outermost dimension first: `[m, k]` is m rows of k.
///
/// Underneath is an array of the crate `ndarray`. Clones, rows, transposes and reshapes share its memory; nothing writes to
/// it any more. A view keeps all of it alive.
///
/// ```
/// use tritune::tensor::{DType, Tensor};
///
/// let x = Tensor::randn((32, 784), 42)?;
/// assert_eq!((x.shape(), x.dtype()), (&[32, 784][..], DType::F32));
/// let batch = x.rows(8..16)?;
/// assert_eq!(batch.as_slice::<f32>()?, &x.as_slice::<f32>()?[8 * 784..16 * 784]);
/// # Ok::<(), tritune::tensor::TensorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    storage: Storage,
    device: Device,
}

impl Tensor {
    /// An f32 tensor of zeros.
    ///
    /// # Errors
    /// [`TensorError::Overflow`] or [`TensorError::Memory`] where the shape is too large.
    pub fn zeros(shape: impl IntoShape) -> Result<Tensor, TensorError> {
        let shape = shape.into_shape();
        Tensor::from_vec(zeros(&shape)?, shape)
    }

    /// An f32 tensor of random numbers of the normal distribution, of mean 0 and variance 1. They hang on `seed` alone,
    /// and are the same in every version and on every machine.
    ///
    /// # Errors
    /// [`TensorError::Overflow`] or [`TensorError::Memory`] where the shape is too large.
    pub fn randn(shape: impl IntoShape, seed: u64) -> Result<Tensor, TensorError> {
        let shape = shape.into_shape();
        let mut data = shape::room::<f32>(&shape)?;
        let mut normal = Normal::new(seed);
        data.extend((0..shape.iter().product()).map(|_| normal.next()));
        Tensor::from_vec(data, shape)
    }

    /// A tensor of these elements, row by row; they are not copied.
    ///
    /// # Errors
    /// [`TensorError::Length`] where they do not fill the shape; [`TensorError::Overflow`] where that is too large.
    pub fn from_vec<T: Element>(data: Vec<T>, shape: impl IntoShape) -> Result<Tensor, TensorError> {
        let shape = shape.into_shape();
        let (need, found) = (shape::elements(&shape, size_of::<T>())?, data.len());
        if need != found {
            return Err(TensorError::Length { shape, need, found });
        }
        let array = ArcArray::from_shape_vec(IxDyn(&shape), data).map_err(|_| TensorError::Overflow { shape })?;
        Ok(Tensor::of(T::store(array)))
    }

    /// A tensor of a copy of these elements, row by row.
    ///
    /// # Errors
    /// Those of [`Tensor::from_vec`].
    pub fn from_slice<T: Element>(data: &[T], shape: impl IntoShape) -> Result<Tensor, TensorError> {
        Tensor::from_vec(data.to_vec(), shape)
    }

    fn of(storage: Storage) -> Tensor {
        Tensor { storage, device: Device::Cpu }
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.storage.shape()
    }

    /// Elements in all.
    pub fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// Where it lies.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The same tensor on another device.
    ///
    /// # Errors
    /// [`TensorError::Device`] where this build does not compute there.
    pub fn to_device(&self, device: Device) -> Result<Tensor, TensorError> {
        Ok(Tensor { device: device.check()?, ..self.clone() })
    }

    /// The elements, row by row, where they lie.
    ///
    /// # Errors
    /// [`TensorError::DType`] where they are of another type, [`TensorError::Strided`] where they are not one slice.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.array::<T>()?.as_slice().ok_or_else(|| TensorError::Strided { shape: self.shape().to_vec() })
    }

    /// A copy of the elements, row by row.
    ///
    /// # Errors
    /// [`TensorError::DType`] where they are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, TensorError> {
        let array = self.array::<T>()?;
        Ok(array.as_slice().map_or_else(|| array.iter().copied().collect(), <[T]>::to_vec))
    }

    /// Whether the elements lie one behind the other, row by row.
    pub fn is_contiguous(&self) -> bool {
        self.storage.is_contiguous()
    }

    /// The same elements one behind the other: a copy, unless they are already.
    pub fn contiguous(&self) -> Tensor {
        Tensor { storage: self.storage.contiguous(), ..*self }
    }

    /// One of the outermost dimension, without that dimension: a view.
    ///
    /// # Errors
    /// [`TensorError::Rows`] where there is no such row, or no dimension.
    pub fn row(&self, row: usize) -> Result<Tensor, TensorError> {
        match self.shape().first() {
            Some(rows) if row < *rows => Ok(Tensor { storage: self.storage.row(row), ..*self }),
            _ => Err(TensorError::Rows { shape: self.shape().to_vec(), start: row, end: row.saturating_add(1) }),
        }
    }

    /// Some of the outermost dimension: a view.
    ///
    /// # Errors
    /// [`TensorError::Rows`] where there are no such rows, or no dimension.
    pub fn rows(&self, rows: Range<usize>) -> Result<Tensor, TensorError> {
        match self.shape().first() {
            Some(all) if rows.start <= rows.end && rows.end <= *all => {
                Ok(Tensor { storage: self.storage.rows(rows), ..*self })
            }
            _ => Err(TensorError::Rows { shape: self.shape().to_vec(), start: rows.start, end: rows.end }),
        }
    }

    /// The same elements, row by row, in another shape: a view where they lie one behind the other, else a copy.
    ///
    /// # Errors
    /// [`TensorError::Reshape`] where it has another number of elements; [`TensorError::Overflow`] where it is too large.
    pub fn reshape(&self, shape: impl IntoShape) -> Result<Tensor, TensorError> {
        let to = shape.into_shape();
        let fits = shape::elements(&to, self.dtype().bytes())? == self.elements();
        match self.storage.reshape(&to).filter(|_| fits) {
            Some(storage) => Ok(Tensor { storage, ..*self }),
            None => Err(TensorError::Reshape { from: self.shape().to_vec(), to }),
        }
    }

    /// The dimensions in the opposite order: of a matrix, rows become columns. A view.
    pub fn transpose(&self) -> Tensor {
        Tensor { storage: self.storage.transpose(), ..*self }
    }

    /// The same numbers as another type: f16 and integers exactly as f32; f32 rounded to the nearest f16, ties to even;
    /// i8 as i32.
    ///
    /// # Errors
    /// [`TensorError::Value`] for a finite number that is beyond f16's, or an integer that f32 cannot say;
    /// [`TensorError::Cast`] from floats to integers, and to fewer bits of an integer.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor, TensorError> {
        let exact = |index: usize, value: i32| {
            let float = value as f32;
            if float as i64 == i64::from(value) { Ok(float) } else { Err((index, f64::from(value))) }
        };
        let half = |index: usize, value: f32| {
            let half = f16::from_f32(value);
            if half.is_infinite() && value.is_finite() { Err((index, f64::from(value))) } else { Ok(half) }
        };
        match (&self.storage, dtype) {
            _ if dtype == self.dtype() => Ok(self.clone()),
            (Storage::F16(array), DType::F32) => self.mapped(array, dtype, |_, value| Ok(value.to_f32())),
            (Storage::I8(array), DType::F32) => self.mapped(array, dtype, |_, value| Ok(f32::from(value))),
            (Storage::I8(array), DType::I32) => self.mapped(array, dtype, |_, value| Ok(i32::from(value))),
            (Storage::I32(array), DType::F32) => self.mapped(array, dtype, exact),
            (Storage::F32(array), DType::F16) => self.mapped(array, dtype, half),
            _ => Err(TensorError::Cast { from: self.dtype(), to: dtype }),
        }
    }

    /// A tensor of the same shape of what `map` makes of each place and element.
    fn mapped<T: Element, U: Element>(
        &self,
        array: &ArcArray<T, IxDyn>,
        to: DType,
        map: impl Fn(usize, T) -> Result<U, (usize, f64)>,
    ) -> Result<Tensor, TensorError> {
        let data: Result<Vec<U>, _> = array.iter().enumerate().map(|(index, value)| map(index, *value)).collect();
        Tensor::from_vec(data.map_err(|(index, value)| TensorError::Value { index, value, to })?, self.shape())
    }

    /// The elements' bytes, row by row, as files hold them: least byte first.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match &self.storage {
            Storage::F32(array) => array.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Storage::F16(array) => array.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Storage::I8(array) => array.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Storage::I32(array) => array.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    fn array<T: Element>(&self) -> Result<&ArcArray<T, IxDyn>, TensorError> {
        T::array(&self.storage).ok_or(TensorError::DType { need: T::DTYPE, found: self.dtype() })
    }

    fn into_storage(self) -> Storage {
        self.storage
    }

    /// Float elements, row by row, as f32: where they lie, if they are that already.
    ///
    /// # Errors
    /// [`TensorError::DType`] where they are integers.
    pub(crate) fn floats(&self) -> Result<Cow<'_, [f32]>, TensorError> {
        match &self.storage {
            Storage::F32(array) => Ok(match array.as_slice() {
                Some(slice) => slice.into(),
                None => array.iter().copied().collect::<Vec<f32>>().into(),
            }),
            Storage::F16(array) => Ok(array.iter().map(|value| value.to_f32()).collect::<Vec<f32>>().into()),
            _ => Err(TensorError::DType { need: DType::F32, found: self.dtype() }),
        }
    }

    /// Rows and columns, the innermost dimension being a row: n and k of `[…, k]`.
    ///
    /// # Errors
    /// [`TensorError::Rank`] without a dimension, [`TensorError::Empty`] without elements.
    pub(crate) fn matrix(&self) -> Result<(usize, usize), TensorError> {
        let shape = self.shape();
        match shape.split_last() {
            None => Err(TensorError::Rank { shape: Vec::new(), need: "one or more" }),
            Some(_) if shape.contains(&0) => Err(TensorError::Empty { shape: shape.to_vec() }),
            Some((k, rest)) => Ok((rest.iter().product(), *k)),
        }
    }
}

/// A buffer of zeros for the elements of a shape.
///
/// # Errors
/// [`TensorError::Overflow`] and [`TensorError::Memory`].
pub(crate) fn zeros(shape: &[usize]) -> Result<Vec<f32>, TensorError> {
    let mut zeros = shape::room(shape)?;
    zeros.resize(shape.iter().product(), 0.0);
    Ok(zeros)
}

#[cfg(test)]
mod tests;
