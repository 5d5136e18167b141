//! Shapes: how they are written, and how many elements they have.

use super::TensorError;

/// What a shape may be written as: `[32, 784]`, `(32, 784)`, `784`, a slice or a vector; outermost dimension first.
pub trait IntoShape {
    /// The dimensions, outermost first.
    fn into_shape(self) -> Vec<usize>;
}

impl IntoShape for usize {
    fn into_shape(self) -> Vec<usize> {
        vec![self]
    }
}

impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Vec<usize> {
        self
    }
}

impl IntoShape for &Vec<usize> {
    fn into_shape(self) -> Vec<usize> {
        self.clone()
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl<const N: usize> IntoShape for &[usize; N] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl IntoShape for (usize, usize) {
    fn into_shape(self) -> Vec<usize> {
        vec![self.0, self.1]
    }
}

impl IntoShape for (usize, usize, usize) {
    fn into_shape(self) -> Vec<usize> {
        vec![self.0, self.1, self.2]
    }
}

/// Elements of a shape, of `bytes` bytes each.
///
/// Dimensions of 0 are left out while counting, so that a tensor without elements has strides that can be counted, too.
///
/// # Errors
/// [`TensorError::Overflow`] where they could not be addressed.
pub(super) fn elements(shape: &[usize], bytes: usize) -> Result<usize, TensorError> {
    let mut filled = shape.iter().filter(|size| **size != 0);
    let most = filled.try_fold(bytes, |product, size| product.checked_mul(*size));
    match most {
        Some(most) if isize::try_from(most).is_ok() => Ok(shape.iter().product()),
        _ => Err(TensorError::Overflow { shape: shape.to_vec() }),
    }
}

/// Room for the elements of a shape, empty.
///
/// # Errors
/// [`TensorError::Overflow`] and [`TensorError::Memory`].
pub(super) fn room<T>(shape: &[usize]) -> Result<Vec<T>, TensorError> {
    let elements = elements(shape, size_of::<T>())?;
    let mut room = Vec::new();
    match room.try_reserve_exact(elements) {
        Ok(()) => Ok(room),
        Err(_) => Err(TensorError::Memory { shape: shape.to_vec(), bytes: elements * size_of::<T>() }),
    }
}
