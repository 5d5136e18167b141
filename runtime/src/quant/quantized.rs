//! A tensor of trits, and what became of the floats that it was made of.

use super::rounding::ternarize;
use super::{Error, QuantConfig, QuantError, Scales, Trits, trits};
use crate::gguf::Kind;
use crate::kernels::{Layout, Packed};
use crate::tensor::{Tensor, TensorError};

/// Makes trits of the floats of `tensor`, f32 or f16: its innermost dimension is a row of k.
///
/// With the default configuration that is BitNet b1.58 (arXiv:2402.17764): scale = mean |w|, trit = round(w / scale), cut
/// off at ±1.
///
/// ```
/// use tritune::quant::{QuantConfig, quantize_tensor};
/// use tritune::tensor::Tensor;
///
/// let weights = Tensor::randn((256, 784), 1)?;
/// let quantized = quantize_tensor(&weights, &QuantConfig::default())?;
/// assert_eq!(format!("{:.2}", quantized.bit_width()), "1.58");
///
/// let report = quantized.report(&weights)?;
/// assert!(report.sparsity > 0.30 && report.sparsity < 0.32); // of normal weights nearly a third are zeros
/// assert!(report.cosine > 0.85);
/// # Ok::<(), tritune::quant::QuantError>(())
/// ```
///
/// # Errors
/// Integers, no elements, elements that are not finite; a configuration that does not fit the rows.
pub fn quantize_tensor(tensor: &Tensor, config: &QuantConfig) -> Result<QuantizedTensor, QuantError> {
    let (n, k) = tensor.matrix()?;
    let trits = ternarize(&tensor.floats()?, n, k, config)?;
    Ok(QuantizedTensor { trits, shape: tensor.shape().to_vec() })
}

/// A tensor of trits: each element is −1, 0 or 1 times a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor {
    trits: Trits,
    shape: Vec<usize>,
}

/// What quantising has changed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct QuantReport {
    /// The mean of (w − trit · scale)².
    pub mse: f64,
    /// The cosine of the angle between both as vectors: 1 is the same direction. 0 where one of them is all zeros.
    pub cosine: f64,
    /// Trits that are 0, of all.
    pub sparsity: f64,
    /// Bytes of two-bit codes, four to a byte and rows apart, and of the scales.
    pub bytes: usize,
    /// These bytes' bits for each weight.
    pub bits_per_weight: f64,
}

impl QuantizedTensor {
    /// The matrix that `trits` are, `[n, k]`.
    ///
    /// # Errors
    /// [`TensorError::Empty`] where there are none, [`Error::Count`] and [`Error::Blocks`] where codes or scales are not as
    /// many as there should be, [`QuantError::Code`] and [`QuantError::Scale`] where one is wrong.
    pub fn from_trits(trits: Trits) -> Result<Self, QuantError> {
        let Trits { n, k, ref codes, ref scales } = trits;
        let shape = vec![n, k];
        if n == 0 || k == 0 {
            return Err(TensorError::Empty { shape }.into());
        }
        let elements = n.checked_mul(k).ok_or_else(|| TensorError::Overflow { shape: shape.clone() })?;
        let count = |what, need, found| {
            if need == found { Ok(()) } else { Err(Error::Count { what, rows: n, k, need, found }) }
        };
        count("codes", elements, codes.len())?;
        if let Some(at) = codes.iter().position(|&code| code > 2) {
            return Err(QuantError::Code { row: at / k, column: at % k, code: codes[at] });
        }
        let size = scales.size(n, k);
        if size == 0 || !matches!(scales, Scales::Tensor(_)) && !k.is_multiple_of(size) {
            return Err(Error::Blocks { k, size }.into());
        }
        count("scales", elements / size, scales.numbers().len())?;
        if let Some((index, &scale)) = scales.numbers().iter().enumerate().find(|(_, scale)| !scale.is_finite()) {
            return Err(QuantError::Scale { index, scale });
        }
        Ok(QuantizedTensor { trits, shape })
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The trits, as rows of the innermost dimension.
    pub fn trits(&self) -> &Trits {
        &self.trits
    }

    /// The scales.
    pub fn scales(&self) -> &Scales {
        &self.trits.scales
    }

    /// Bits of information in a trit: log₂ 3, 1.58…, without scales. What a layout stores is [`stored_bits`].
    ///
    /// [`stored_bits`]: QuantizedTensor::stored_bits
    pub fn bit_width(&self) -> f64 {
        3f64.log2()
    }

    /// Bits for each weight that [`QuantizedTensor::packed`] stores: with scales, and with rows and columns that pad it.
    ///
    /// # Errors
    /// [`QuantError::Pack`] where the layout cannot hold the weights.
    pub fn stored_bits(&self, layout: Layout) -> Result<f64, QuantError> {
        let Trits { n, k, ref scales, .. } = self.trits;
        let bytes = Packed::room(layout, n, k, scales.block(k))? + scales.bytes();
        Ok(bytes as f64 * 8.0 / (n * k) as f64)
    }

    /// The floats that these trits stand for: trit · scale.
    ///
    /// # Errors
    /// [`TensorError::Memory`] where there is no room for them.
    pub fn dequantize(&self) -> Result<Tensor, QuantError> {
        let mut values = crate::tensor::zeros(&self.shape)?;
        values.chunks_exact_mut(self.trits.k).enumerate().for_each(|(row, out)| self.trits.row(row, out));
        Ok(Tensor::from_vec(values, &self.shape)?)
    }

    /// The trits in a layout of the kernels', without scales.
    ///
    /// # Errors
    /// [`QuantError::Pack`] where the layout cannot hold them.
    pub fn packed(&self, layout: Layout) -> Result<Packed, QuantError> {
        let Trits { n, k, ref codes, ref scales } = self.trits;
        Ok(Packed::new(layout, n, k, scales.block(k), codes)?)
    }

    /// The same trits with scales that half precision can say, which most of GGUF's types store.
    pub fn round_f16(mut self) -> Self {
        self.trits.scales = self.trits.scales.round_f16();
        self
    }

    /// The trits and scales as a tensor of a ternary type of GGUF holds them, exactly.
    ///
    /// # Errors
    /// [`QuantError::Trits`] where the type cannot say them: its rows are of whole blocks, its scales may be for more
    /// weights or half-precision numbers ([`QuantizedTensor::round_f16`]).
    pub fn to_gguf(&self, kind: Kind) -> Result<Vec<u8>, QuantError> {
        Ok(trits::encode(kind, &self.trits)?)
    }

    /// What quantising `original` has changed.
    ///
    /// # Errors
    /// [`TensorError::Fit`] where it has another shape; elements that are integers or not finite.
    pub fn report(&self, original: &Tensor) -> Result<QuantReport, QuantError> {
        if original.shape() != self.shape {
            let (left, right) = (original.shape().to_vec(), self.shape.clone());
            return Err(TensorError::Fit { left, what: "the quantised tensor's", right }.into());
        }
        let Trits { k, ref codes, ref scales, .. } = self.trits;
        let values = original.floats()?;
        super::failure::finite(&values, k)?;
        let (mut errors, mut products, mut squares, mut own) = (0.0, 0.0, 0.0, 0.0);
        let mut row = vec![0f32; k];
        for (index, values) in values.chunks_exact(k).enumerate() {
            self.trits.row(index, &mut row);
            for (value, trit) in values.iter().zip(&row) {
                let (value, trit) = (f64::from(*value), f64::from(*trit));
                errors += (value - trit).powi(2);
                products += value * trit;
                squares += value * value;
                own += trit * trit;
            }
        }
        let count = codes.len() as f64;
        let bytes = codes.len() / k * k.div_ceil(4) + scales.bytes();
        Ok(QuantReport {
            mse: errors / count,
            cosine: if squares > 0.0 && own > 0.0 { products / (squares.sqrt() * own.sqrt()) } else { 0.0 },
            sparsity: codes.iter().filter(|code| **code == 1).count() as f64 / count,
            bytes,
            bits_per_weight: bytes as f64 * 8.0 / count,
        })
    }
}

impl TryFrom<Trits> for QuantizedTensor {
    type Error = QuantError;

    fn try_from(trits: Trits) -> Result<Self, QuantError> {
        QuantizedTensor::from_trits(trits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::{KERNELS, Kernel, Weights};
    use crate::quant::{Granularity, Scheme, recognise};
    use crate::tensor::DType;

    fn config(granularity: Granularity) -> QuantConfig {
        QuantConfig { granularity, ..QuantConfig::default() }
    }

    fn values(tensor: &Tensor) -> &[f32] {
        tensor.as_slice().unwrap()
    }

    proptest! {
        /// What is trits already stays what it is, by every granularity that is as fine as its scales.
        #[test]
        fn trits_stay_trits(n in 1usize..6, k in 1usize..40, seed: u64) {
            let weights = Tensor::randn((n, k), seed).unwrap();
            for granularity in [Granularity::Tensor, Granularity::Row, Granularity::Block(k)] {
                let config = QuantConfig { scheme: Scheme::AbsMax, ..config(granularity) };
                let quantized = quantize_tensor(&weights, &config).unwrap();
                let there = quantized.dequantize().unwrap();
                prop_assert_eq!(there.shape(), weights.shape());
                prop_assert_eq!(&quantize_tensor(&there, &config).unwrap(), &quantized);
            }
        }

        /// No weight within a scale and a half of zero moves by more than half a scale.
        #[test]
        fn weights_go_to_the_nearest_trit(n in 1usize..6, blocks in 1usize..4, seed: u64) {
            let weights = Tensor::randn((n, blocks * 8), seed).unwrap();
            for granularity in [Granularity::Tensor, Granularity::Row, Granularity::Block(8)] {
                let quantized = quantize_tensor(&weights, &config(granularity)).unwrap();
                let there = quantized.dequantize().unwrap();
                for (at, (before, after)) in values(&weights).iter().zip(values(&there)).enumerate() {
                    let scale = quantized.scales().at(blocks * 8, at / (blocks * 8), at % (blocks * 8));
                    prop_assert!(before.abs() > 1.5 * scale || (before - after).abs() <= 0.500001 * scale);
                }
                prop_assert_eq!(QuantizedTensor::from_trits(quantized.trits().clone()), Ok(quantized));
            }
        }
    }

    #[test]
    fn the_default_is_that_of_the_paper() {
        let weights = Tensor::from_slice(&[0.2f32, 0.25, -0.3, 1.25], (1, 4)).unwrap();
        let quantized = quantize_tensor(&weights, &QuantConfig::default()).unwrap();
        assert_eq!(Some(quantized.trits()), recognise::absmean(values(&weights), 1, 4).as_ref());
        assert_eq!((&quantized.trits().codes[..], quantized.scales()), (&[1, 1, 0, 2][..], &Scales::Tensor(0.5)));
        assert_eq!(values(&quantized.dequantize().unwrap()), [0.0, 0.0, -0.5, 0.5]);
        let report = quantized.report(&weights).unwrap();
        let mse = (0.04 + 0.0625 + 0.04 + 0.5625) / 4.0;
        assert!((report.mse - mse).abs() < 1e-7 && report.sparsity == 0.5, "{report:?}");
        assert_eq!((report.bytes, report.bits_per_weight), (1 + 4, 10.0));
        assert!(report.cosine > 0.75 && report.cosine < 0.85, "{report:?}");
        let absmax = QuantConfig { scheme: Scheme::AbsMax, threshold: 0.2, ..QuantConfig::default() };
        let quantized = quantize_tensor(&weights, &absmax).unwrap();
        assert_eq!((&quantized.trits().codes[..], quantized.scales()), (&[1, 1, 0, 2][..], &Scales::Tensor(1.25)));
    }

    #[test]
    fn scales_are_as_fine_as_asked_for() {
        let weights = Tensor::from_slice(&[1.0f32, -1.0, 2.0, 2.0, 0.0, 0.0, 8.0, -8.0], (2, 4)).unwrap();
        let scales = |granularity| quantize_tensor(&weights, &config(granularity)).unwrap().scales().clone();
        assert_eq!(scales(Granularity::Tensor), Scales::Tensor(2.75));
        assert_eq!(scales(Granularity::Row), Scales::Row(vec![1.5, 4.0]));
        assert_eq!(scales(Granularity::Block(2)), Scales::Block { size: 2, scales: vec![1.0, 2.0, 1e-5, 8.0] });
        let halves = quantize_tensor(&weights.to_dtype(DType::F16).unwrap(), &config(Granularity::Row)).unwrap();
        assert_eq!(halves.scales(), &Scales::Row(vec![1.5, 4.0]));
        let deep = quantize_tensor(&weights.reshape((2, 2, 2)).unwrap(), &config(Granularity::Row)).unwrap();
        assert_eq!((deep.shape(), deep.trits().n, deep.trits().k), (&[2, 2, 2][..], 4, 2));
    }

    #[test]
    fn what_cannot_be_quantised_is_refused() {
        let weights = Tensor::randn((2, 6), 1).unwrap();
        let of = |tensor: &Tensor, config: QuantConfig| quantize_tensor(tensor, &config).unwrap_err();
        for size in [0, 4, 12] {
            let error = of(&weights, config(Granularity::Block(size)));
            assert!(error.to_string().contains("rows of 6") && error.code() == "TT0314", "{error}");
        }
        for threshold in [f32::NAN, -0.1, f32::INFINITY] {
            assert_eq!(of(&weights, QuantConfig { threshold, ..QuantConfig::default() }).code(), "TT0332");
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut data = vec![1.0; 6];
            data[4] = bad;
            let error = of(&Tensor::from_vec(data, (2, 3)).unwrap(), QuantConfig::default());
            assert!(error.to_string().contains("row 1, column 1") && error.code() == "TT0331", "{error}");
        }
        assert_eq!(of(&Tensor::zeros((0, 3)).unwrap(), QuantConfig::default()).code(), "TT0411");
        assert_eq!(of(&Tensor::from(vec![1i8]), QuantConfig::default()).code(), "TT0404");
        let quantized = quantize_tensor(&weights, &QuantConfig::default()).unwrap();
        let error = quantized.report(&Tensor::zeros((2, 5)).unwrap()).unwrap_err();
        assert!(error.to_string().contains("[2, 5]") && error.to_string().contains("[2, 6]"), "{error}");
    }

    #[test]
    fn trits_that_do_not_fit_together_are_refused() {
        let trits = Trits { n: 2, k: 4, codes: vec![1; 8], scales: Scales::Tensor(1.0) };
        let code = |trits: Trits| QuantizedTensor::from_trits(trits).unwrap_err().code();
        assert_eq!(code(Trits { n: 0, codes: Vec::new(), ..trits.clone() }), "TT0411");
        assert_eq!(code(Trits { n: usize::MAX, ..trits.clone() }), "TT0402");
        assert_eq!(code(Trits { codes: vec![1; 7], ..trits.clone() }), "TT0312");
        assert_eq!(code(Trits { codes: vec![3; 8], ..trits.clone() }), "TT0333");
        assert_eq!(code(Trits { scales: Scales::Row(vec![1.0]), ..trits.clone() }), "TT0312");
        assert_eq!(code(Trits { scales: Scales::Tensor(f32::NAN), ..trits.clone() }), "TT0334");
        let block = |size| Scales::Block { size, scales: vec![1.0; 4] };
        assert_eq!(code(Trits { scales: block(0), ..trits.clone() }), "TT0314");
        assert_eq!(code(Trits { scales: block(8), ..trits.clone() }), "TT0314");
        assert!(QuantizedTensor::try_from(Trits { scales: block(2), ..trits }).is_ok());
    }

    #[test]
    fn layouts_hold_the_trits_in_as_many_bits_as_they_say() {
        let quantized = quantize_tensor(&Tensor::randn((320, 960), 3).unwrap(), &QuantConfig::default()).unwrap();
        let layouts = [(Weights::T200, 2.0), (Weights::T167, 5.0 / 3.0), (Weights::T160, 1.6)];
        for (weights, bits) in layouts {
            let layout = Layout { weights, nr: 16, kb: 2 * weights.step() as u16 };
            let packed = quantized.packed(layout).unwrap();
            let stored = quantized.stored_bits(layout).unwrap();
            assert_eq!(stored, (packed.bytes().len() + 4) as f64 * 8.0 / (320.0 * 960.0));
            assert!(stored >= bits && stored < 1.05 * bits, "{layout}: {stored}");
            assert!((0..320).all(|row| packed.code(row, 7) == quantized.trits().codes[row * 960 + 7]));
        }
        for kernel in KERNELS.iter().filter_map(Kernel::detect) {
            assert!(quantized.packed(kernel.id().layout()).is_ok());
        }
        let error = quantized.packed(Layout { weights: Weights::T200, nr: 0, kb: 16 }).unwrap_err();
        assert_eq!(error.code(), "TT0330");
    }

    #[test]
    fn types_of_gguf_hold_the_trits() {
        let quantized = quantize_tensor(&Tensor::randn((8, 512), 5).unwrap(), &QuantConfig::default()).unwrap();
        assert!(quantized.to_gguf(Kind::TQ2_0).unwrap_err().to_string().contains("round"));
        let halves = quantized.clone().round_f16();
        for (quantized, kind) in
            [(&quantized, Kind::I2_S), (&quantized, Kind::IQ2_BN), (&halves, Kind::TQ1_0), (&halves, Kind::TQ2_0)]
        {
            let bytes = quantized.to_gguf(kind).unwrap();
            assert_eq!(&trits::decode(kind, &bytes, 8, 512).unwrap(), quantized.trits(), "{kind}");
        }
        assert_eq!(quantized.to_gguf(Kind::F16).unwrap_err().code(), "TT0303");
    }

    /// Bits a weight by other ways of storing trits, of weights as training leaves them: normal, a scale for the tensor.
    #[test]
    fn neither_runs_nor_sparse_forms_are_smaller_than_base_3() {
        let quantized = quantize_tensor(&Tensor::randn((1024, 1024), 9).unwrap(), &QuantConfig::default()).unwrap();
        let codes = &quantized.trits().codes;
        let count = codes.len() as f64;
        let share = |code: u8| codes.iter().filter(|&&one| one == code).count() as f64 / count;
        let shares = [share(0), share(1), share(2)];
        let (zeros, others) = (shares[1], shares[0] + shares[2]);
        assert!((zeros - 0.31).abs() < 0.005, "{zeros}");
        // What no code that looks at single weights can go below.
        let entropy: f64 = shares.iter().map(|share| -share * share.log2()).sum();
        // The best prefix code: a bit for the commonest, two for the others.
        let prefix = 2.0 - shares.into_iter().fold(0.0, f64::max);
        // Runs of zeros, each in so many bits, then the sign of the weight that ends it; the longest ends without one.
        let runs = |bits: u32| {
            let (longest, mut run, mut total) = ((1u32 << bits) - 1, 0, 0u32);
            for code in codes {
                run += u32::from(*code == 1);
                if *code != 1 || run == longest {
                    total += bits + u32::from(*code != 1);
                    run = 0;
                }
            }
            f64::from(total) / count
        };
        let shortest = (1..=6).map(runs).fold(f64::INFINITY, f64::min);
        // A bit says where weights are, another their sign; or their distance, in four bits, and sign.
        let (bitmap, distances) = (1.0 + others, 5.0 * others);
        println!(
            "entropy {entropy:.3}, prefix {prefix:.3}, runs {shortest:.3}, bitmap {bitmap:.3}, distances {distances:.3}"
        );
        assert!(entropy > 1.58 && entropy < 1.585, "{entropy}");
        for bits in [prefix, shortest, bitmap, distances] {
            assert!(bits > 1.6, "{bits}");
        }
    }
}
