//! Root-mean-square normalisation of rows.

use multiversion::multiversion;

use crate::vector::dot_inlined;

/// out = x / √(mean(x²) + ε) · weight, for one row; all three have the same length.
///
/// Returns whether the row was finite: a row with an infinite or NaN element, or whose squares overflow, is not.
#[multiversion(targets = "simd")]
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) -> bool {
    let mean_square = dot_inlined(x, x) / x.len() as f32;
    let factor = 1.0 / (mean_square + epsilon).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * factor * weight;
    }
    mean_square.is_finite()
}

/// [`rms_norm`] in place.
#[multiversion(targets = "simd")]
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], epsilon: f32) -> bool {
    let mean_square = dot_inlined(x, x) / x.len() as f32;
    let factor = 1.0 / (mean_square + epsilon).sqrt();
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * factor * weight;
    }
    mean_square.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_formula() {
        for length in [1, 2, 31, 64, 100] {
            let x: Vec<f32> = (0..length).map(|i| i as f32 - 20.5).collect();
            let weight: Vec<f32> = (0..length).map(|i| 1.0 + i as f32 / 64.0).collect();
            let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / length as f64;
            let mut out = vec![0f32; length];
            assert!(rms_norm(&x, &weight, 1e-5, &mut out));
            for i in 0..length {
                let exact = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
                assert!((f64::from(out[i]) - exact).abs() < 1e-5);
            }
            let mut in_place = x.clone();
            assert!(rms_norm_in_place(&mut in_place, &weight, 1e-5));
            assert_eq!(in_place, out);
        }
    }

    #[test]
    fn a_row_that_is_not_finite_is_told() {
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut x = vec![0.5f32; 40];
            x[33] = bad;
            assert!(!rms_norm_in_place(&mut x, &[1.0; 40], 1e-5), "{bad}");
        }
    }

    #[test]
    fn a_row_of_zeros_stays_zero() {
        let mut x = vec![0f32; 8];
        assert!(rms_norm_in_place(&mut x, &[1.0; 8], 1e-5));
        assert_eq!(x, [0.0; 8]);
    }
}
