//! Tensors from and to the tensors of safetensors files.

use std::borrow::Cow;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView, View};

use super::{DType, Tensor, TensorError};

impl TryFrom<&TensorView<'_>> for Tensor {
    type Error = TensorError;

    /// A copy of a file's tensor. Elements of bf16 become f32, which says them exactly.
    ///
    /// # Errors
    /// [`TensorError::Foreign`] where its elements are of a type that tensors do not have.
    fn try_from(view: &TensorView<'_>) -> Result<Self, TensorError> {
        let (bytes, shape) = (view.data(), view.shape());
        match view.dtype() {
            Dtype::F32 => Tensor::from_vec(read(bytes, f32::from_le_bytes), shape),
            Dtype::F16 => Tensor::from_vec(read(bytes, f16::from_le_bytes), shape),
            Dtype::BF16 => Tensor::from_vec(read(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()), shape),
            Dtype::I8 => Tensor::from_vec(read(bytes, i8::from_le_bytes), shape),
            Dtype::I32 => Tensor::from_vec(read(bytes, i32::from_le_bytes), shape),
            other => Err(TensorError::Foreign { dtype: other.to_string() }),
        }
    }
}

fn read<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| element(*bytes)).collect()
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        match Tensor::dtype(self) {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::I8 => Dtype::I8,
            DType::I32 => Dtype::I32,
        }
    }

    fn shape(&self) -> &[usize] {
        Tensor::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.to_le_bytes().into()
    }

    fn data_len(&self) -> usize {
        self.elements() * Tensor::dtype(self).bytes()
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn files_hold_tensors_as_they_are() {
        let floats = Tensor::randn((3, 5), 1).unwrap();
        let tensors = [
            ("floats", floats.clone()),
            ("halves", floats.to_dtype(DType::F16).unwrap()),
            ("bytes", Tensor::from_slice(&[-128i8, 0, 127], 3).unwrap()),
            ("words", Tensor::from_slice(&[i32::MIN, i32::MAX], (2, 1)).unwrap()),
            ("turned", floats.transpose()),
        ];
        let file = safetensors::serialize(tensors.iter().map(|(name, tensor)| (*name, tensor)), None).unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        for (name, tensor) in &tensors {
            assert_eq!(Tensor::try_from(&file.tensor(name).unwrap()).as_ref(), Ok(tensor), "{name}");
        }
    }

    #[test]
    fn other_types_are_read_or_refused() {
        let view = TensorView::new(Dtype::BF16, vec![2], &[0x80, 0x3f, 0x00, 0xc0]).unwrap();
        assert_eq!(Tensor::try_from(&view), Ok(Tensor::from(vec![1.0f32, -2.0])));
        let view = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
        let error = Tensor::try_from(&view).unwrap_err();
        assert!(error.to_string().contains("F64") && error.code() == "TT0414", "{error}");
    }
}
