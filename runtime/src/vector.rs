//! The few operations on rows of f32 that are not matrix products.
//!
//! Each is a plain loop, compiled once per instruction set.
//!
//! Sums are taken in a fixed order that depends on the length alone: results are the same on every machine of a CPU
//! family, and for every number of threads. For the same reason nothing here is a fused multiply-add.

use multiversion::multiversion;

/// Partial sums of a reduction, whatever the width of a vector: two of 512 bits, or four of 256, so that additions do
/// not wait for each other.
const LANES: usize = 32;

/// eˣ to about 2 units in the last place, within the finite normal numbers: −87 and below give about 10⁻³⁸, 88 and above
/// about 10³⁸. NaN stays NaN. Cephes' reduction and polynomial (S. Moshier, `expf`), without branches.
#[inline(always)]
pub(crate) fn exp_inlined(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts: n times the first is exact.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The greatest number, passing over NaN; negative infinity where there is none.
#[inline(always)]
pub(crate) fn greatest(x: &[f32]) -> f32 {
    let of_two = |max: f32, x: f32| if x > max { x } else { max };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = of_two(*lane, x);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, of_two)
}

/// Folds partial sums pairwise: lane i takes lane i + half.
///
/// Not inlined: the compiler would arrange the loop before it for the folding, two lanes to a vector.
#[inline(never)]
fn fold(sums: &[f32; LANES]) -> f32 {
    let sums: [f32; 16] = std::array::from_fn(|i| sums[i] + sums[i + 16]);
    let sums: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let sums: [f32; 4] = std::array::from_fn(|i| sums[i] + sums[i + 4]);
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// y += x.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn add(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// y · factor, in place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn scale(y: &mut [f32], factor: f32) {
    for y in y {
        *y *= factor;
    }
}

/// cap · tanh(y / cap), in place: within ±cap.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn squeeze(y: &mut [f32], cap: f32) {
    for y in y {
        // (1 − e⁻²ᵘ) / (1 + e⁻²ᵘ), of |u|: e⁻²ᵘ does not overflow.
        let e = exp_inlined(-2.0 * (y.abs() / cap));
        *y = (cap * (1.0 - e) / (1.0 + e)).copysign(*y);
    }
}

/// Whether no element is infinite or NaN.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn all_finite(x: &[f32]) -> bool {
    // No short cut: the loop then vectorises, and what is looked for is the exception.
    x.iter().fold(true, |finite, x| finite & x.is_finite())
}

/// ln Σ exp(xᵢ), as if in f64 to about 10⁻⁶.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn log_sum_exp(x: &[f32]) -> f64 {
    /// Terms that are summed in f32.
    const RUN: usize = 1024;
    let max = greatest(x);
    let mut sum = 0f64;
    for run in x.chunks(RUN) {
        let mut sums = [0f32; LANES];
        let (chunks, rest) = run.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                sums[i] += exp_inlined(chunk[i] - max);
            }
        }
        sum += f64::from(fold(&sums) + rest.iter().map(|x| exp_inlined(x - max)).sum::<f32>());
    }
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_is_found_anywhere_and_nan_is_passed_over() {
        for length in [1, 31, 32, 33, 70] {
            for at in 0..length {
                let mut x: Vec<f32> =
                    (0..length).map(|i| if i % 3 == 0 { f32::NAN } else { -(i as f32) - 1.0 }).collect();
                x[at] = -0.5;
                assert_eq!(greatest(&x), -0.5, "{at} of {length}");
            }
        }
        assert_eq!(greatest(&[]), f32::NEG_INFINITY);
        assert_eq!(greatest(&[f32::NAN; 40]), f32::NEG_INFINITY);
    }

    #[test]
    fn exp_is_within_three_units_of_the_last_place() {
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let (exact, found) = (f64::from(x).exp(), f64::from(exp_inlined(x)));
            assert!((found / exact - 1.0).abs() < 3.0 * f64::from(f32::EPSILON), "exp({x}) = {found}, not {exact}");
        }
    }

    #[test]
    fn exp_of_the_extremes() {
        assert!(exp_inlined(f32::NAN).is_nan());
        assert!((0.0..1e-37).contains(&exp_inlined(f32::NEG_INFINITY)));
        assert!(exp_inlined(f32::INFINITY) > 1e38);
    }

    #[test]
    fn squeezing_is_a_tangent() {
        let mut y: Vec<f32> = (-400..400).map(|i| i as f32 / 4.0).chain([0.0, 1e30, -1e30]).collect();
        let exact: Vec<f64> = y.iter().map(|&y| 30.0 * (f64::from(y) / 30.0).tanh()).collect();
        squeeze(&mut y, 30.0);
        assert!(y.iter().zip(exact).all(|(&y, exact)| (f64::from(y) - exact).abs() < 1e-5));
    }

    #[test]
    fn log_sum_exp_agrees_with_f64() {
        for length in [1, 31, 1024, 5000] {
            let x: Vec<f32> = (0..length).map(|i| (i as f32 * 0.7).sin() * 30.0 + 500.0).collect();
            let exact = x.iter().map(|&x| (f64::from(x) - 500.0).exp()).sum::<f64>().ln() + 500.0;
            assert!((log_sum_exp(&x) - exact).abs() < 1e-6, "length {length}");
        }
    }

    #[test]
    fn one_bad_element_is_found() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1f32; 77];
            assert!(all_finite(&x));
            x[76] = bad;
            assert!(!all_finite(&x));
        }
    }
}
