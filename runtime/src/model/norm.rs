//! Root-mean-square normalisation of rows.

use multiversion::multiversion;

/// 1 / √(mean(x²) + ε), or a number that is not finite where x is not.
///
/// In f64: a row that is quantised next should be rounded once before, not four times, since a value on the edge
/// between two integers falls to the wrong side then, and moves everything after it by far more than an f32 rounding.
#[inline(always)]
fn factor(x: &[f32], epsilon: f32) -> f64 {
    let mut squares = [0f64; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            squares[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
        }
    }
    let rest = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let mean = (squares.iter().sum::<f64>() + rest) / x.len() as f64;
    // An infinite mean would give a factor of 0.
    if mean.is_finite() { 1.0 / (mean + f64::from(epsilon)).sqrt() } else { f64::NAN }
}

/// out = x / √(mean(x²) + ε) · weight, for one row; all three have the same length. Returns whether the row was finite.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) -> bool {
    let factor = factor(x, epsilon);
    for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (f64::from(x) * factor * f64::from(weight)) as f32;
    }
    factor.is_finite()
}

/// [`rms_norm`] in place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], epsilon: f32) -> bool {
    let factor = factor(x, epsilon);
    for (x, &weight) in x.iter_mut().zip(weight) {
        *x = (f64::from(*x) * factor * f64::from(weight)) as f32;
    }
    factor.is_finite()
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
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
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
