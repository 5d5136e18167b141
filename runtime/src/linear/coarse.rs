//! An int8 copy of a float matrix, with a bound on how far its products can be from the exact ones: half the bytes to
//! read of a matrix of half-precision floats, and enough to tell which few of its products matter.
//!
//! # The bound
//!
//! A row w is copied as s·q, q within ±127, and leaves the error e = w − s·q. A query x is rounded to t·u, u within
//! ±[`QUERY_MAX`], and leaves δ, with |δᵢ| ≤ t/2. Then
//!
//! ```text
//! w·x − (s·q)·(t·u) = e·x + (s·q)·δ
//! |e·x + (s·q)·δ| ≤ ‖e‖·‖x‖ + ‖s·q‖·‖δ‖                              (Cauchy and Schwarz)
//! ‖s·q‖ ≤ ‖w‖ + ‖e‖,   ‖δ‖ ≤ √k·t/2,   t = max|xᵢ| / QUERY_MAX ≤ ‖x‖ / QUERY_MAX
//! ```
//!
//! so that the distance is at most ‖x‖ times a number of the row's own. What is called exact is itself a sum of f32
//! products, in error by at most γ·‖w‖·‖x‖, where γ = d·2⁻²⁴ / (1 − d·2⁻²⁴) for a sum in which no term takes part in more than
//! d roundings (Higham, Accuracy and Stability of Numerical Algorithms, §3.1). Integers are summed exactly; the few roundings
//! that remain, of scales, of ‖x‖ and of the bound itself, are covered by [`SLACK`]·(‖w‖ + ‖e‖).

use std::ops::Range;

use multiversion::multiversion;

use super::{Float, LinearError, tile};
use crate::gguf::Data;
use crate::kernels::Lines;
use crate::lanes::{Dispatch, Here, LANES, Lanes, Task};
use crate::prefetch::{self, Cache};
use crate::threads::{Parts, Pool};

/// Columns between requests for memory further on, when products are formed.
const STRETCH: usize = 128;

/// Stretches whose products are summed in 32 bits, by each of [`LANES`] lanes its share.
const RUN: usize = 128;

/// Pieces between requests for the file's pages further on, and releases of those before, when a copy is made.
const STRIDE: usize = 64;

/// The largest magnitude of a query's codes: RUN · STRETCH / LANES · 128 · QUERY_MAX < 2³¹, for a file's codes may be anything.
const QUERY_MAX: i16 = 16383;

const _: () = assert!((RUN * STRETCH / LANES) as i64 * 128 * (QUERY_MAX as i64) < 1 << 31);

/// Covers roundings to f32 that are relative to ‖w‖·‖x‖: a few units of 2⁻²⁴.
const SLACK: f64 = 1.0 / (1 << 19) as f64;

/// Norms are summed in f32 over [`LANES`] lanes: in error by less than this, relatively, for rows of up to [`MAX_K`].
const NORM_ERROR: f64 = 1e-3;

/// Longer rows are not copied: their norms would be in doubt.
const MAX_K: usize = 1 << 17;

/// Weights and activations whose squares, or whose products, might overflow are not dealt with.
const LARGEST: f32 = 1e15;

/// Numbers below 10⁻¹⁹ have squares that f32 loses, digit by digit or wholly: taken for this much.
const VANISHING: f64 = 1e-18;

/// Shorter queries are not dealt with, but for 0: their products might vanish.
const SHORTEST: f64 = 1e-15;

/// An int8 copy of a matrix `[n, k]` of floats.
#[derive(Debug)]
pub struct Coarse {
    n: usize,
    k: usize,
    /// `[n, k]`
    codes: Lines,
    /// What one step of a row's codes is worth: `[n]`.
    scales: Vec<f32>,
    /// How far a row's products are from the exact ones, at most, for a query of length 1: `[n]`.
    errors: Vec<f32>,
}

/// A row of activations, as coarse matrices are multiplied with it.
#[derive(Clone, Debug, Default)]
pub struct Query {
    codes: Vec<i16>,
    step: f64,
    norm: f32,
}

/// A product with one row of a [`Coarse`] matrix: the exact one is within `error` of `value`.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// The product of the copies.
    pub value: f32,
    /// The bound.
    pub error: f32,
}

impl Coarse {
    /// Rows that are copied, or multiplied, at a time.
    pub const PIECE: usize = Float::BLOCK;

    /// Copies a matrix, spread over the pool; `None` where no bound can be given: for rows that are not finite, hold
    /// numbers beyond 10¹⁵, or are longer than 2¹⁷.
    ///
    /// # Errors
    /// Where there is no memory for rows as floats.
    pub fn new(float: &Float, pool: &Pool) -> Result<Option<Self>, LinearError> {
        let (n, k) = (float.n(), float.k());
        if k > MAX_K {
            return Ok(None);
        }
        let (mut codes, mut scales, mut errors) = (Lines::new(n * k), vec![0f32; n], vec![0f32; n]);
        let failures = std::sync::Mutex::new(None);
        {
            let (codes, scales) = (Parts::new(codes.bytes_mut()), Parts::new(&mut scales));
            let errors = Parts::new(&mut errors);
            pool.for_each(n.div_ceil(Self::PIECE), |_, piece| {
                let rows = piece * Self::PIECE..((piece + 1) * Self::PIECE).min(n);
                // SAFETY: pieces do not overlap, and each is one item.
                let (codes, scales, errors) = unsafe {
                    (codes.part(rows.start * k..rows.end * k), scales.part(rows.clone()), errors.part(rows.clone()))
                };
                if piece.is_multiple_of(STRIDE) {
                    // What is to come is fetched meanwhile; of what was read, no page need stay in memory.
                    let stride = STRIDE * Self::PIECE;
                    float.prefetch((rows.start + stride).min(n)..(rows.start + 2 * stride).min(n));
                    float.release(rows.start.saturating_sub(2 * stride)..rows.start.saturating_sub(stride));
                }
                let copied = float.with_rows(rows, |weights| {
                    let rows = weights.chunks_exact(k).zip(codes.chunks_exact_mut(k));
                    rows.zip(scales).zip(errors).all(|(((weights, codes), scale), error)| {
                        let Some(copy) = copy_row(weights, codes) else { return false };
                        (*scale, *error) = (copy.scale, copy.bound(k));
                        true
                    })
                });
                if !matches!(copied, Ok(true)) {
                    *failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(copied);
                }
            });
        }
        match failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            None => Ok(Some(Coarse { n, k, codes: codes.shared(), scales, errors })),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(error),
        }
    }

    /// The copy of a matrix `[n, k]` that was made before: its codes, and of each row what a step is worth, and the bound.
    /// `None` where they are no such copy's, as far as that can be seen.
    pub(crate) fn of(n: usize, k: usize, codes: Data, scales: Vec<f32>, errors: Vec<f32>) -> Option<Self> {
        let whole = n.checked_mul(k) == Some(codes.len()) && scales.len() == n && errors.len() == n;
        let is_sound = |number: &f32| number.is_finite() && *number >= 0.0;
        let sound = k <= MAX_K && scales.iter().chain(&errors).all(is_sound);
        (whole && sound).then(|| Coarse { n, k, codes: Lines::of(codes), scales, errors })
    }

    /// The codes, for who keeps them: `[n, k]`.
    pub(crate) fn codes(&self) -> Data {
        self.codes.data()
    }

    /// What one step of each row's codes is worth, and how far its products are from the exact ones: `[n]` each.
    pub(crate) fn limits(&self) -> [&[f32]; 2] {
        [&self.scales, &self.errors]
    }

    /// Rows: outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Elements of a row: inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes of codes, scales and bounds.
    pub fn bytes(&self) -> usize {
        self.codes.bytes().len() + (self.scales.len() + self.errors.len()) * size_of::<f32>()
    }

    /// The products of a query of k elements with some rows.
    ///
    /// # Panics
    /// Where the query has another length, or there are no such rows.
    pub fn estimates(&self, query: &Query, rows: Range<usize>) -> impl Iterator<Item = Estimate> {
        assert!(query.codes.len() == self.k, "a query of {} elements for rows of {}", query.codes.len(), self.k);
        let codes = self.codes.bytes()[rows.start * self.k..rows.end * self.k].chunks_exact(self.k);
        let (scales, errors) = (&self.scales[rows.clone()], &self.errors[rows]);
        // All at once, for they lie apart from the codes.
        prefetch::ask(scales, 0, Cache::First);
        prefetch::ask(errors, 0, Cache::First);
        codes.zip(scales.iter().zip(errors)).map(|(codes, (&scale, &error))| {
            let products = Here.run(Products { codes, query: &query.codes });
            let value = products as f64 * (f64::from(scale) * query.step);
            Estimate { value: value as f32, error: error * query.norm }
        })
    }
}

impl Estimate {
    /// The exact product is not below this.
    pub fn lower(self) -> f32 {
        self.value - self.error
    }

    /// The exact product is not above this.
    pub fn upper(self) -> f32 {
        self.value + self.error
    }
}

impl Query {
    /// Takes a row of activations; `false` where it is not finite, or too large for the bound to hold.
    #[must_use]
    pub fn set(&mut self, x: &[f32]) -> bool {
        let (largest, norm) = extent(x);
        // A NaN is passed over by the largest, but not by the norm.
        if norm.is_nan() || norm > f64::from(LARGEST) || (norm > 0.0 && norm < SHORTEST) {
            return false;
        }
        self.step = f64::from(largest) / f64::from(QUERY_MAX);
        let factor = if largest > 0.0 { f64::from(QUERY_MAX) / f64::from(largest) } else { 0.0 };
        self.codes.resize(x.len(), 0);
        round(x, factor, &mut self.codes);
        self.norm = norm as f32;
        true
    }
}

/// The largest magnitude of a row, and its norm.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn extent(x: &[f32]) -> (f32, f64) {
    let (mut largest, mut squares) = ([0f32; LANES], [0f64; LANES]);
    let mut look = |i: usize, x: f32| {
        largest[i] = if x.abs() > largest[i] { x.abs() } else { largest[i] };
        squares[i] += f64::from(x) * f64::from(x);
    };
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (i, &x) in chunk.iter().enumerate() {
            look(i, x);
        }
    }
    rest.iter().enumerate().for_each(|(i, &x)| look(i, x));
    (largest.into_iter().fold(0.0, f32::max), squares.into_iter().sum::<f64>().sqrt())
}

/// x · factor, rounded to integers within ±[`QUERY_MAX`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn round(x: &[f32], factor: f64, codes: &mut [i16]) {
    for (code, &x) in codes.iter_mut().zip(x) {
        // Adding 1.5 · 2⁵² rounds to the nearest integer, and leaves it in the low bits.
        *code = (f64::from(x) * factor + 6_755_399_441_055_744.0).to_bits() as i16;
    }
}

/// What a row became.
struct Copy {
    scale: f32,
    /// ‖w‖, as computed in f32.
    norm: f64,
    /// ‖e‖, as computed in f32.
    error: f64,
}

impl Copy {
    /// How far products of a query of length 1 are from the exact ones, at most.
    fn bound(&self, k: usize) -> f32 {
        let (norm, error) = (self.norm * (1.0 + NORM_ERROR), self.error * (1.0 + NORM_ERROR));
        let depth = tile::roundings(k) as f64 * 0.5f64.powi(24);
        let query = (k as f64).sqrt() / (2.0 * f64::from(QUERY_MAX));
        let bound = error + (norm + error) * (query + depth / (1.0 - depth) + SLACK);
        (bound + (k as f64).sqrt() * VANISHING) as f32
    }
}

/// Copies a row as int8; `None` where it is not finite, or too large.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn copy_row(weights: &[f32], codes: &mut [u8]) -> Option<Copy> {
    /// Adding it rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let mut largest = [0f32; LANES];
    let mut nothing = [0f32; LANES];
    let mut look = |i: usize, w: f32| {
        largest[i] = if w.abs() > largest[i] { w.abs() } else { largest[i] };
        // 0 · w is 0 for what is finite, and NaN else.
        nothing[i] += 0.0 * w;
    };
    for chunk in chunks {
        for (i, &w) in chunk.iter().enumerate() {
            look(i, w);
        }
    }
    rest.iter().enumerate().for_each(|(i, &w)| look(i, w));
    let largest = largest.into_iter().fold(0f32, f32::max);
    if nothing != [0.0; LANES] || largest > LARGEST {
        return None;
    }
    // A scale that is subnormal would be too coarse a number itself.
    let scale = if largest / 127.0 >= f32::MIN_POSITIVE { largest / 127.0 } else { 0.0 };
    let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let (mut norms, mut errors) = ([0f32; LANES], [0f32; LANES]);
    let mut copy = |i: usize, w: f32, code: &mut u8| {
        // No more than 127 · (1 + 2⁻²²) before rounding.
        let q = (w * factor + ROUND) - ROUND;
        let error = w - q * scale;
        norms[i] += w * w;
        errors[i] += error * error;
        *code = (q + ROUND).to_bits() as u8;
    };
    let (code_chunks, code_rest) = codes.as_chunks_mut::<LANES>();
    for (chunk, codes) in chunks.iter().zip(code_chunks) {
        for i in 0..LANES {
            copy(i, chunk[i], &mut codes[i]);
        }
    }
    for (i, (&w, code)) in rest.iter().zip(code_rest).enumerate() {
        copy(i, w, code);
    }
    let length = |squares: [f32; LANES]| squares.into_iter().map(f64::from).sum::<f64>().sqrt();
    Some(Copy { scale, norm: length(norms), error: length(errors) })
}

/// Σ qᵢ·uᵢ, exactly, of a row and a query of one length.
struct Products<'a> {
    codes: &'a [u8],
    query: &'a [i16],
}

impl Task for Products<'_> {
    type Output = i64;

    #[inline(always)]
    fn run<S: Lanes>(self, simd: S) -> i64 {
        let (codes, code_rest) = self.codes.as_chunks::<STRETCH>();
        let (query, query_rest) = self.query.as_chunks::<STRETCH>();
        let mut total = 0;
        for (codes, query) in codes.chunks(RUN).zip(query.chunks(RUN)) {
            let mut sums = [0; LANES];
            for (codes, query) in codes.iter().zip(query) {
                prefetch::stream(codes);
                for (codes, query) in codes.as_chunks().0.iter().zip(query.as_chunks().0) {
                    simd.add_products(codes, query, &mut sums);
                }
            }
            total += sums.into_iter().map(i64::from).sum::<i64>();
        }
        let ((codes, code_rest), (query, query_rest)) = (code_rest.as_chunks(), query_rest.as_chunks());
        let mut sums = [0; LANES];
        for (codes, query) in codes.iter().zip(query) {
            simd.add_products(codes, query, &mut sums);
        }
        let products = code_rest.iter().zip(query_rest).map(|(&q, &u)| i32::from(q as i8) * i32::from(u));
        total + sums.into_iter().chain(products).map(i64::from).sum::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::float::tests::of_f32;

    fn exact(w: &[f32], x: &[f32]) -> f64 {
        w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum()
    }

    /// Compares estimates with what is called exact, and with what is.
    fn check(k: usize, weights: &[f32], x: &[f32]) -> f64 {
        let n = weights.len() / k;
        let float = of_f32(n, k, weights);
        let coarse = Coarse::new(&float, &Pool::new(2)).unwrap().unwrap();
        let mut query = Query::default();
        assert!(query.set(x));
        let mut nearest = 0f64;
        assert_eq!(coarse.estimates(&query, 0..n).count(), n);
        for (row, estimate) in coarse.estimates(&query, 0..n).enumerate() {
            let mut product = [f32::NAN];
            float.products(row..row + 1, x, &mut product).unwrap();
            let (lower, upper) = (estimate.lower(), estimate.upper());
            assert!(
                lower <= product[0] && product[0] <= upper,
                "row {row}: {} not within {lower}..{upper}",
                product[0]
            );
            let true_product = exact(&weights[row * k..][..k], x);
            let distance = (f64::from(estimate.value) - true_product).abs();
            assert!(distance <= f64::from(estimate.error), "row {row}");
            nearest = nearest.max(distance / f64::from(estimate.error).max(1e-300));
        }
        nearest
    }

    #[test]
    fn products_are_exact_on_every_instruction_set() {
        for k in [1, 31, 32, 33, 127, 128, 129, 2560, RUN * STRETCH + 33] {
            for (q, u) in [(127, QUERY_MAX), (-128, QUERY_MAX), (-128, -QUERY_MAX), (3, 5)] {
                // The same everywhere, for the largest sums; then of all signs and sizes.
                for mixed in [false, true] {
                    let code = |i: usize| if mixed { (i * 37 % 256) as u8 as i8 } else { q };
                    let factor = |i: usize| if mixed { (i * 7919 % 32767) as i16 - QUERY_MAX } else { u };
                    let codes: Vec<u8> = (0..k).map(|i| code(i) as u8).collect();
                    let query: Vec<i16> = (0..k).map(factor).collect();
                    let expected: i64 = (0..k).map(|i| i64::from(code(i)) * i64::from(factor(i))).sum();
                    let products = || Products { codes: &codes, query: &query };
                    assert_eq!(Here.run(products()), expected, "{k} columns");
                    assert_eq!(pulp::Scalar.run(products()), expected, "{k} columns");
                    #[cfg(target_arch = "x86_64")]
                    if let Some(v3) = pulp::x86::V3::try_new() {
                        assert_eq!(Dispatch::run(v3, products()), expected, "{k} columns");
                    }
                }
            }
        }
    }

    fn magnitude() -> impl Strategy<Value = f32> {
        prop_oneof![Just(0.0), Just(1e-20f32), Just(1.0), Just(3e4), -1e-3f32..1e-3, -100f32..100.0]
    }

    proptest! {
        #[test]
        fn products_lie_within_their_bounds(
            k in 1usize..300,
            n in 1usize..70,
            values in prop::collection::vec(magnitude(), 1..400),
            step in 1usize..17,
        ) {
            let value = |i: usize| values[i * step % values.len()] * if i.is_multiple_of(3) { -1.0 } else { 1.0 };
            let weights: Vec<f32> = (0..n * k).map(value).collect();
            let x: Vec<f32> = (0..k).map(|i| value(i * 7 + 3)).collect();
            prop_assume!(Query::default().set(&x) || x.iter().any(|x| x.abs() > 1e-19));
            check(k, &weights, &x);
        }
    }

    /// Long rows of what int8 holds exactly: what is left of the bound is the roundings of the exact sums.
    #[test]
    fn long_sums_lie_within_their_bounds() {
        for k in [1152, 2560, 4097, 20_000] {
            for step in [1, 3, 7, 64] {
                let weights: Vec<f32> = (0..k).map(|i| if i == 0 { 127.0 } else { (i / step % 120) as f32 }).collect();
                // Sums that grow, so that every addition rounds.
                let x: Vec<f32> = (0..k).map(|i| 1.0 + (i * i % 8191) as f32 / 8192.0).collect();
                check(k, &weights, &x);
            }
        }
    }

    /// Errors that all point in the query's direction, which is what the bound is for: it is nearly reached.
    #[test]
    fn the_bound_is_tight_where_errors_conspire() {
        let k = 2048;
        // Steps of 1/127 of the largest; every other weight lies half a step off.
        let mut weights: Vec<f32> = (0..k).map(|i| ((i % 100) as f32 - 50.0 + 0.49) / 127.0).collect();
        weights[0] = 1.0;
        let x = vec![1f32; k];
        let reached = check(k, &weights, &x);
        assert!(reached > 0.8, "{reached}");
    }

    #[test]
    fn extremes_reach_no_overflow() {
        for k in [1, 31, 1024, 1025, 5000, RUN * STRETCH, 2 * RUN * STRETCH + 33] {
            check(k, &vec![1e4; k], &vec![-1e4; k]);
            check(k, &vec![-65504.0; k], &vec![-3e4; k]);
            check(k, &vec![0.0; k], &vec![1.0; k]);
            check(k, &vec![1.0; k], &vec![0.0; k]);
        }
    }

    #[test]
    fn what_no_bound_holds_for_is_not_copied() {
        for bad in [f32::NAN, f32::INFINITY, 1e16] {
            for at in [0, 17, 39] {
                let mut weights = vec![1f32; 40];
                weights[at] = bad;
                assert!(Coarse::new(&of_f32(2, 20, &weights), &Pool::new(1)).unwrap().is_none());
                let mut x = vec![1f32; 40];
                x[at] = bad;
                assert!(!Query::default().set(&x));
            }
        }
    }
}
