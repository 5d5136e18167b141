//! Tensors from and to slices, vectors and `ndarray`'s arrays.

use ndarray::{Array, Array1, ArrayD, ArrayViewD, Dimension};

use super::storage::Stored;
use super::{Element, Tensor, TensorError};

impl<T: Element> From<Vec<T>> for Tensor {
    /// A vector of as many elements; nothing is copied.
    fn from(data: Vec<T>) -> Self {
        Array1::from_vec(data).into()
    }
}

impl<T: Element> From<&[T]> for Tensor {
    /// A vector of as many elements.
    fn from(data: &[T]) -> Self {
        data.to_vec().into()
    }
}

impl<T: Element, D: Dimension> From<Array<T, D>> for Tensor {
    /// An array of any number of dimensions; nothing is copied.
    fn from(array: Array<T, D>) -> Self {
        Tensor::of(T::store(array.into_dyn().into_shared()))
    }
}

impl TryFrom<Tensor> for ArrayD<f32> {
    type Error = TensorError;

    /// Copies where others share the elements.
    fn try_from(tensor: Tensor) -> Result<Self, TensorError> {
        let found = tensor.dtype();
        match f32::take(tensor.into_storage()) {
            Ok(array) => Ok(array.into_owned()),
            Err(_) => Err(TensorError::DType { need: f32::DTYPE, found }),
        }
    }
}

impl Tensor {
    /// The elements as an array of `ndarray`'s, where they lie.
    ///
    /// # Errors
    /// [`TensorError::DType`] where they are of another type.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>, TensorError> {
        Ok(self.array::<T>()?.view())
    }

    /// A copy of the elements as an array of `ndarray`'s.
    ///
    /// # Errors
    /// [`TensorError::DType`] where they are of another type.
    pub fn to_array<T: Element>(&self) -> Result<ArrayD<T>, TensorError> {
        Ok(self.array::<T>()?.to_owned())
    }
}
