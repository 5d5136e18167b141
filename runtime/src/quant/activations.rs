//! Activations as int8: one rounding, for layers and for whoever looks at it.

use multiversion::multiversion;

use super::QuantError;
use super::failure::finite;
use crate::tensor::Tensor;

/// A largest magnitude below which a row counts as silent, as in BitNet b1.58's published code.
const SMALLEST: f32 = 1e-5;
/// The largest int8 in use: −128 is not, so that signs are alike.
const LARGEST: f64 = 127.0;

/// What a step of int8 is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ActivationScale {
    /// For each row, a 127th of its largest magnitude: what layers do, and BitNet b1.58 (arXiv:2402.17764).
    #[default]
    Token,
    /// A 127th of the largest magnitude of all.
    Tensor,
    /// So much, as a [`Calibrator`](super::Calibrator) has found; what is beyond 127 steps becomes ±127.
    Fixed(f32),
}

/// Activations as int8: x ≈ value · step.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedActivations {
    values: Tensor,
    steps: Vec<f64>,
}

/// Makes int8 of activations, f32 or f16: the innermost dimension is a token's row. Ties are rounded to even.
///
/// By [`ActivationScale::Token`] the values are those that a ternary layer multiplies its trits with.
///
/// ```
/// use tritune::quant::{ActivationScale, quantize_activations};
/// use tritune::tensor::Tensor;
///
/// let x = Tensor::from_slice(&[1.27f32, -0.5, 0.0, 254.0, -100.0, 2.0], (2, 3))?;
/// let quantized = quantize_activations(&x, ActivationScale::Token)?;
/// assert_eq!(quantized.values().as_slice::<i8>()?, [127, -50, 0, 127, -50, 1]);
/// assert_eq!(quantized.steps().len(), 2);
/// # Ok::<(), tritune::quant::QuantError>(())
/// ```
///
/// # Errors
/// Integers, no elements, elements that are not finite; a fixed step that is not finite and above 0.
pub fn quantize_activations(x: &Tensor, scale: ActivationScale) -> Result<QuantizedActivations, QuantError> {
    let (m, k) = x.matrix()?;
    let rows = x.floats()?;
    finite(&rows, k)?;
    let mut values = vec![0i8; m * k];
    let steps = match scale {
        ActivationScale::Token => {
            let rows = rows.chunks_exact(k).zip(values.chunks_exact_mut(k));
            // All are finite.
            rows.map(|(row, values)| quantize_row(row, values).unwrap_or(f64::NAN)).collect()
        }
        ActivationScale::Tensor => vec![quantize_row(&rows, &mut values).unwrap_or(f64::NAN)],
        ActivationScale::Fixed(step) => {
            if !(step.is_finite() && step > 0.0) {
                return Err(QuantError::Step { step });
            }
            let step = f64::from(step);
            for (value, x) in values.iter_mut().zip(rows.iter()) {
                *value = nearest((f64::from(*x) / step).clamp(-LARGEST, LARGEST));
            }
            vec![step]
        }
    };
    Ok(QuantizedActivations { values: Tensor::from_vec(values, x.shape())?, steps })
}

impl QuantizedActivations {
    /// The int8 values, in the shape of the activations.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// What a step is worth: one number for each token, or one for all.
    pub fn steps(&self) -> &[f64] {
        &self.steps
    }

    /// The floats that the values stand for: value · step.
    ///
    /// # Errors
    /// [`Memory`](crate::tensor::TensorError::Memory) where there is no room for them.
    pub fn dequantize(&self) -> Result<Tensor, QuantError> {
        let mut out = crate::tensor::zeros(self.values.shape())?;
        let values = self.values.as_slice::<i8>()?;
        let rows = out.len() / self.steps.len();
        for ((out, values), step) in out.chunks_mut(rows).zip(values.chunks(rows)).zip(&self.steps) {
            out.iter_mut().zip(values).for_each(|(out, value)| *out = (f64::from(*value) * step) as f32);
        }
        Ok(Tensor::from_vec(out, self.values.shape())?)
    }
}

/// Quantises a row and returns what a step is worth; `None` where it is not finite.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn quantize_row(row: &[f32], quantized: &mut [i8]) -> Option<f64> {
    // Magnitudes are in the order of their bits, an infinity and NaN above all numbers: one pass tells both, and integers have
    // a largest in vectors.
    let mut largest = [0u32; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for (largest, x) in largest.iter_mut().zip(chunk) {
            *largest = (*largest).max(x.abs().to_bits());
        }
    }
    let largest = largest.into_iter().chain(rest.iter().map(|x| x.abs().to_bits())).fold(SMALLEST.to_bits(), u32::max);
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return None;
    }
    // In f64: an f32 scale and product would take values near n + ½ to the wrong side some ten times as often.
    let scale = LARGEST / f64::from(largest);
    for (quantized, &x) in quantized.iter_mut().zip(row) {
        *quantized = nearest(f64::from(x) * scale);
    }
    Some(f64::from(largest) / LARGEST)
}

/// The nearest integer, ties to even, of what is within int8.
#[inline(always)]
fn nearest(x: f64) -> i8 {
    // Adding 1.5 · 2⁵² rounds so, and leaves the integer in the low bits.
    (x + 6_755_399_441_055_744.0).to_bits() as i8
}

/// What a step is worth where `largest` is the largest magnitude.
pub(super) fn step(largest: f32) -> f32 {
    (f64::from(largest.max(SMALLEST)) / LARGEST) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::Activations;
    use crate::tensor::TensorError;

    fn values(quantized: &QuantizedActivations) -> &[i8] {
        quantized.values().as_slice().unwrap()
    }

    proptest! {
        #[test]
        fn no_value_moves_by_more_than_half_a_step(m in 1usize..5, k in 1usize..50, seed: u64) {
            let x = Tensor::randn((m, k), seed).unwrap();
            for scale in [ActivationScale::Token, ActivationScale::Tensor, ActivationScale::Fixed(0.05)] {
                let quantized = quantize_activations(&x, scale).unwrap();
                let back = quantized.dequantize().unwrap();
                prop_assert_eq!((back.shape(), quantized.values().shape()), (x.shape(), x.shape()));
                let rows = m * k / quantized.steps().len();
                let pairs = x.as_slice::<f32>().unwrap().iter().zip(back.as_slice::<f32>().unwrap());
                for (at, (before, after)) in pairs.enumerate() {
                    let step = quantized.steps()[at / rows] as f32;
                    prop_assert!(before.abs() > 127.0 * step || (before - after).abs() <= 0.50001 * step);
                }
            }
        }

        /// What layers multiply with.
        #[test]
        fn tokens_are_quantised_as_layers_do(m in 1usize..12, k in 1usize..80, seed: u64) {
            let x = Tensor::randn((m, k), seed).unwrap();
            let quantized = quantize_activations(&x, ActivationScale::Token).unwrap();
            let mut layer = Activations::new();
            layer.rows_mut(m, k).unwrap().copy_from_slice(x.as_slice().unwrap());
            layer.quantize(&crate::threads::Pool::new(1)).unwrap();
            for token in 0..m {
                prop_assert_eq!(&values(&quantized)[token * k..][..k], &layer.quantized(token)[..k]);
                prop_assert_eq!(quantized.steps()[token], layer.step(token));
            }
        }
    }

    #[test]
    fn steps_are_a_tokens_a_tensors_or_fixed() {
        let x = Tensor::from_slice(&[127.0f32, 0.5, -2.5, 1.5, 12.7, 0.0], (2, 3)).unwrap();
        let of = |scale| values(&quantize_activations(&x, scale).unwrap()).to_vec();
        assert_eq!(of(ActivationScale::Token), [127, 0, -2, 15, 127, 0]);
        assert_eq!(of(ActivationScale::Tensor), [127, 0, -2, 2, 13, 0]);
        assert_eq!(of(ActivationScale::Fixed(0.5)), [127, 1, -5, 3, 25, 0]);
        assert_eq!(values(&quantize_activations(&Tensor::zeros(4).unwrap(), ActivationScale::Token).unwrap()), [0; 4]);
    }

    #[test]
    fn what_cannot_be_quantised_is_refused() {
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            let x = Tensor::from_slice(&[1.0, 2.0, 3.0, bad], (2, 2)).unwrap();
            let error = quantize_activations(&x, ActivationScale::Token).unwrap_err();
            assert!(error.to_string().contains("row 1, column 1"), "{error}");
        }
        for step in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = quantize_activations(&Tensor::zeros(4).unwrap(), ActivationScale::Fixed(step)).unwrap_err();
            assert_eq!(error.code(), "TT0335");
        }
        let error = quantize_activations(&Tensor::zeros((3, 0)).unwrap(), ActivationScale::Token).unwrap_err();
        assert_eq!(error, TensorError::Empty { shape: vec![3, 0] }.into());
    }
}
