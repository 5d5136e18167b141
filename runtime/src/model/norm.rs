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
    of_squares(squares, rest, x.len(), epsilon)
}

/// The factor of what x · scale · weight is, without rounding it to f32.
#[inline(always)]
fn factor_of_product(x: &[f32], scale: f64, weight: &[f32], epsilon: f32) -> f64 {
    let mut squares = [0f64; 16];
    let ((chunks, rest), (weights, rest_weights)) = (x.as_chunks::<16>(), weight.as_chunks::<16>());
    let product = |x: f32, weight: f32| f64::from(x) * scale * f64::from(weight);
    for (chunk, weights) in chunks.iter().zip(weights) {
        for i in 0..16 {
            let product = product(chunk[i], weights[i]);
            squares[i] += product * product;
        }
    }
    let rest = rest.iter().zip(rest_weights).map(|(&x, &weight)| product(x, weight).powi(2)).sum::<f64>();
    of_squares(squares, rest, x.len(), epsilon)
}

#[inline(always)]
fn of_squares(squares: [f64; 16], rest: f64, length: usize, epsilon: f32) -> f64 {
    let mean = (squares.iter().sum::<f64>() + rest) / length as f64;
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

/// out = rms_norm(rms_norm(x, first), second), rounded once: in front of int8, a second rounding flips values.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn rms_norm_twice(x: &[f32], first: &[f32], second: &[f32], epsilon: f32, out: &mut [f32]) -> bool {
    let one = factor(x, epsilon);
    let two = factor_of_product(x, one, first, epsilon);
    for (((out, &x), &first), &second) in out.iter_mut().zip(x).zip(first).zip(second) {
        *out = (f64::from(x) * one * f64::from(first) * two * f64::from(second)) as f32;
    }
    two.is_finite()
}

/// Normalises each of a row's heads, as long as the weight, in place. Returns whether the row was finite.
pub fn rms_norm_heads(row: &mut [f32], weight: &[f32], epsilon: f32) -> bool {
    row.chunks_exact_mut(weight.len()).fold(true, |finite, head| rms_norm_in_place(head, weight, epsilon) & finite)
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
    fn twice_is_once_after_once_but_for_a_rounding() {
        for length in [1, 31, 64, 100] {
            let x: Vec<f32> = (0..length).map(|i| (i as f32 * 0.37).sin() * 9.0 + 0.5).collect();
            let [first, second] =
                [0.3f32, 0.7].map(|step| (0..length).map(|i| 1.0 + (i as f32 * step).cos()).collect::<Vec<f32>>());
            let mut once = vec![0f32; length];
            assert!(rms_norm(&x, &first, 1e-5, &mut once) && rms_norm_in_place(&mut once, &second, 1e-5));
            let mut twice = vec![0f32; length];
            assert!(rms_norm_twice(&x, &first, &second, 1e-5, &mut twice));
            for (a, b) in once.iter().zip(&twice) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} and {b}");
            }
        }
    }

    #[test]
    fn heads_are_normalised_one_by_one() {
        let mut row = [3.0, 4.0, 30.0, -40.0];
        assert!(rms_norm_heads(&mut row, &[1.0, 2.0], 1e-12));
        let root = 12.5f32.sqrt();
        let expected = [3.0 / root, 8.0 / root, 3.0 / root, -8.0 / root];
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?}");
        assert!(!rms_norm_heads(&mut [f32::NAN, 1.0, 1.0, 1.0], &[1.0, 1.0], 1e-6));
    }

    #[test]
    fn a_row_that_is_not_finite_is_told() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5f32; 40];
            x[33] = bad;
            assert!(!rms_norm_in_place(&mut x, &[1.0; 40], 1e-5), "{bad}");
            assert!(!rms_norm_twice(&x, &[1.0; 40], &[1.0; 40], 1e-5, &mut [0.0; 40]), "{bad}");
        }
    }

    #[test]
    fn a_row_of_zeros_stays_zero() {
        let mut x = vec![0f32; 8];
        assert!(rms_norm_in_place(&mut x, &[1.0; 8], 1e-5));
        assert_eq!(x, [0.0; 8]);
    }
}
