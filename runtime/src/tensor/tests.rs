use ndarray::{Array2, ArrayD, array};
use proptest::prelude::*;

use super::*;

fn numbers(shape: impl IntoShape) -> Tensor {
    let shape = shape.into_shape();
    Tensor::from_vec((0..shape.iter().product::<usize>()).map(|i| i as f32).collect(), shape).unwrap()
}

#[test]
fn shapes_are_written_in_many_ways() {
    for tensor in [
        Tensor::zeros([2, 3]),
        Tensor::zeros((2, 3)),
        Tensor::zeros(vec![2, 3]),
        Tensor::zeros(numbers((2, 3)).shape()),
        Tensor::zeros([2, 3].as_slice()),
    ] {
        assert_eq!(tensor.unwrap().shape(), [2, 3]);
    }
    assert_eq!(Tensor::zeros(5).unwrap().shape(), [5]);
    assert_eq!(Tensor::zeros((2, 3, 4)).unwrap().elements(), 24);
    let scalar = Tensor::from_vec(vec![7i32], []).unwrap();
    assert_eq!((scalar.shape(), scalar.elements(), scalar.dtype()), (&[][..], 1, DType::I32));
}

#[test]
fn random_numbers_are_the_same_for_ever() {
    let tensor = Tensor::randn((2, 3), 42).unwrap();
    let bits: Vec<u32> = tensor.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, RANDOM, "{:?}", tensor.as_slice::<f32>());
    assert_eq!(Tensor::randn(6, 42).unwrap().reshape((2, 3)), Ok(tensor.clone()));
    assert_ne!(Tensor::randn((2, 3), 43).unwrap(), tensor);
}

/// The bits of the first six numbers of seed 42, as ChaCha8 and the polar method written in Python make them.
const RANDOM: [u32; 6] = [3_211_620_911, 3_215_436_392, 3_186_170_186, 3_222_498_460, 3_180_915_006, 3_219_066_639];

#[test]
fn views_share_memory() {
    let tensor = numbers((4, 3));
    let start = tensor.as_slice::<f32>().unwrap().as_ptr();
    let rows = tensor.rows(1..3).unwrap();
    assert_eq!((rows.shape(), rows.as_slice::<f32>().unwrap()), (&[2, 3][..], &[3.0, 4.0, 5.0, 6.0, 7.0, 8.0][..]));
    assert_eq!(rows.as_slice::<f32>().unwrap().as_ptr(), start.wrapping_add(3));
    let row = rows.row(1).unwrap();
    assert_eq!((row.shape(), row.as_slice::<f32>().unwrap()), (&[3][..], &[6.0, 7.0, 8.0][..]));
    let again = rows.reshape((3, 2)).unwrap();
    assert_eq!((again.shape(), again.as_slice::<f32>().unwrap().as_ptr()), (&[3, 2][..], start.wrapping_add(3)));
    let turned = rows.transpose();
    assert_eq!((turned.shape(), turned.is_contiguous()), (&[3, 2][..], false));
    assert_eq!(turned.to_vec::<f32>().unwrap(), [3.0, 6.0, 4.0, 7.0, 5.0, 8.0]);
    assert_eq!(turned.contiguous().as_slice::<f32>().unwrap(), [3.0, 6.0, 4.0, 7.0, 5.0, 8.0]);
    assert_eq!(turned.reshape(6).unwrap(), Tensor::from(vec![3.0f32, 6.0, 4.0, 7.0, 5.0, 8.0]));
    assert_eq!(turned.transpose(), rows);
    assert!(tensor.rows(4..4).unwrap().as_slice::<f32>().unwrap().is_empty());
}

#[test]
fn arrays_become_tensors_and_come_back() {
    let array: Array2<f32> = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let tensor = Tensor::from(array.clone());
    assert_eq!(tensor, Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 3)).unwrap());
    assert_eq!(tensor.view::<f32>().unwrap(), array.view().into_dyn());
    assert_eq!(tensor.to_array::<f32>().unwrap(), array.clone().into_dyn());
    assert_eq!(ArrayD::try_from(tensor.transpose()).unwrap(), array.t().into_dyn());
    assert_eq!(Tensor::from(array.reversed_axes()), tensor.transpose());
    assert_eq!(Tensor::from(&[1i8, 2][..]).shape(), [2]);
    let bytes = Tensor::from(vec![1i8]);
    let error = TensorError::DType { need: DType::F32, found: DType::I8 };
    assert_eq!(bytes.view::<f32>().unwrap_err(), error);
    assert_eq!(ArrayD::<f32>::try_from(bytes).unwrap_err(), error);
}

proptest! {
    /// Every f16 is an f32, and comes back; every f32 becomes the nearest f16.
    #[test]
    fn halves_are_exact_as_floats(bits in prop::collection::vec(any::<u16>(), 1..50), x in -65000f32..65000.0) {
        let halves: Vec<f16> = bits.into_iter().map(f16::from_bits).filter(|half| !half.is_nan()).collect();
        let tensor = Tensor::from(halves);
        let floats = tensor.to_dtype(DType::F32).unwrap();
        prop_assert_eq!(floats.to_dtype(DType::F16).unwrap(), tensor.clone());
        prop_assert_eq!(&floats.as_slice::<f32>().unwrap(), &&*tensor.floats().unwrap());
        let half = Tensor::from(vec![x]).to_dtype(DType::F16).unwrap();
        let back = half.to_dtype(DType::F32).unwrap().as_slice::<f32>().unwrap()[0];
        prop_assert!((back - x).abs() <= x.abs() / 2048.0 + 3e-8, "{} {}", back, x);
    }

    #[test]
    fn bytes_are_floats_exactly(data in prop::collection::vec(any::<i8>(), 1..50)) {
        let tensor = Tensor::from(data.clone());
        let floats: Vec<f32> = data.iter().map(|value| f32::from(*value)).collect();
        prop_assert_eq!(tensor.to_dtype(DType::F32).unwrap(), Tensor::from(floats.clone()));
        prop_assert_eq!(tensor.to_dtype(DType::I32).unwrap().to_dtype(DType::F32).unwrap(), Tensor::from(floats));
    }
}

#[test]
fn conversions_that_lose_numbers_are_refused() {
    let error = Tensor::from(vec![1.0f32, 1e6]).to_dtype(DType::F16).unwrap_err();
    assert_eq!(error, TensorError::Value { index: 1, value: 1e6, to: DType::F16 });
    assert!(Tensor::from(vec![f32::INFINITY]).to_dtype(DType::F16).is_ok());
    for value in [(1 << 24) + 1, i32::MAX] {
        let error = Tensor::from(vec![value]).to_dtype(DType::F32).unwrap_err();
        assert!(error.to_string().contains(&value.to_string()), "{error}");
    }
    assert!(Tensor::from(vec![i32::MIN]).to_dtype(DType::F32).is_ok());
    let error = Tensor::from(vec![1.0f32]).to_dtype(DType::I8).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("f32 cannot become i8")), ("TT0405", true));
    assert_eq!(Tensor::from(vec![1i8]).floats().unwrap_err().code(), "TT0404");
}

#[test]
fn what_does_not_fit_is_refused_and_both_sides_are_named() {
    let tensor = numbers((4, 3));
    let huge = usize::MAX / 2;
    let errors = [
        (Tensor::from_vec(vec![0f32; 5], (2, 3)), "5 elements do not fill shape [2, 3], which has 6"),
        (Tensor::zeros((huge, huge)), "more elements than can be in memory"),
        (Tensor::zeros((huge, huge, 0)), "more elements than can be in memory"),
        (Tensor::randn(usize::MAX, 0), "more elements than can be in memory"),
        (Tensor::zeros(1usize << 60), "no memory for the 4611686018427387904 bytes"),
        (tensor.reshape((5, 2)), "shape [4, 3] cannot become [5, 2]: it has 12 elements, not 10"),
        (tensor.reshape((huge, huge)), "more elements than can be in memory"),
        (tensor.row(4), "shape [4, 3] has no rows 4..5"),
        (tensor.rows(3..5), "shape [4, 3] has no rows 3..5"),
        (tensor.rows(Range { start: 2, end: 1 }), "has no rows 2..1"),
        (Tensor::from_vec(vec![1f32], []).unwrap().row(0), "shape [] has no rows"),
        (tensor.to_device(Device::Gpu), "no kernels for the gpu"),
    ];
    for (found, message) in errors {
        let error = found.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(tensor.to_device(Device::Gpu).unwrap_err().code(), "TT0201");
    assert_eq!(tensor.to_device(Device::Cpu), Ok(tensor.clone()));
    let error = tensor.as_slice::<i8>().unwrap_err();
    assert_eq!(error.to_string(), "elements are f32, and i8 is asked for; `to_dtype` converts");
    let error = tensor.transpose().as_slice::<f32>().unwrap_err();
    assert!(error.to_string().contains("`contiguous`") && error.code() == "TT0407", "{error}");
    assert_eq!(Tensor::zeros((0, 3)).unwrap().matrix().unwrap_err().code(), "TT0411");
    assert_eq!(Tensor::from_vec(vec![1f32], []).unwrap().matrix().unwrap_err().code(), "TT0410");
    assert_eq!((tensor.matrix(), numbers((2, 3, 4)).matrix()), (Ok((4, 3)), Ok((6, 4))));
}

#[test]
fn tensors_may_be_empty() {
    let empty = Tensor::zeros((0, 3)).unwrap();
    assert_eq!((empty.elements(), empty.as_slice::<f32>().unwrap()), (0, &[][..]));
    assert_eq!(empty.reshape((3, 0)).unwrap().shape(), [3, 0]);
    assert_eq!(empty.to_dtype(DType::F16).unwrap().shape(), [0, 3]);
}
