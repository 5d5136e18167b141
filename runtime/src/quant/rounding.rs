//! Floats to trits: what all that makes trits shares.

use super::failure::finite;
use super::{Granularity, QuantConfig, QuantError, Scales, Scheme, Trits};
use crate::tensor::TensorError;

/// The least scale, so that zeros have one (WeightQuant of transformers).
pub(crate) const LEAST_SCALE: f32 = 1e-5;

/// trit + 1 of a weight, which is `ratio` times its scale: a trit of 0 up to the threshold, of ±1 beyond it.
///
/// With a threshold of ½ that is round(ratio), ties to even, cut off at ±1; with one of 0, the sign.
#[inline]
pub(crate) fn code(ratio: f32, threshold: f32) -> u8 {
    u8::from(ratio > threshold) + u8::from(ratio >= -threshold)
}

/// The trits of n rows of k floats.
///
/// # Errors
/// Where there are none, they are not finite, or do not fit the configuration.
pub(super) fn ternarize(values: &[f32], n: usize, k: usize, config: &QuantConfig) -> Result<Trits, QuantError> {
    if values.is_empty() {
        return Err(TensorError::Empty { shape: vec![n, k] }.into());
    }
    let group = config.group(n, k)?;
    finite(values, k)?;
    let groups = values.chunks_exact(group);
    let scales: Vec<f32> = groups.clone().map(|values| scale(values, config.scheme)).collect();
    let mut codes = Vec::with_capacity(values.len());
    for (values, scale) in groups.zip(&scales) {
        codes.extend(values.iter().map(|value| code(value / scale, config.threshold)));
    }
    let scales = match config.granularity {
        Granularity::Tensor => Scales::Tensor(scales[0]),
        Granularity::Row => Scales::Row(scales),
        Granularity::Block(size) => Scales::Block { size, scales },
    };
    Ok(Trits { n, k, codes, scales })
}

fn scale(values: &[f32], scheme: Scheme) -> f32 {
    let scale = match scheme {
        // In f64, which sums a tensor's magnitudes without losing the small ones.
        Scheme::AbsMean => {
            (values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64) as f32
        }
        Scheme::AbsMax => values.iter().fold(0.0, |largest, value| value.abs().max(largest)),
    };
    scale.max(LEAST_SCALE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_are_rounded_ratios(ratio in -3f32..3.0, ties in -6i8..=6) {
            for ratio in [ratio, f32::from(ties) / 2.0] {
                prop_assert_eq!(code(ratio, 0.5), (ratio.round_ties_even().clamp(-1.0, 1.0) + 1.0) as u8);
                let sign = if ratio == 0.0 { 1 } else { 2 * u8::from(ratio > 0.0) };
                prop_assert_eq!(code(ratio, 0.0), sign);
            }
        }
    }

    #[test]
    fn signed_zeros_and_infinities_have_codes() {
        assert_eq!([0.0, -0.0].map(|zero| code(zero, 0.0)), [1, 1]);
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY].map(|ratio| code(ratio, 0.5)), [2, 0]);
    }
}
