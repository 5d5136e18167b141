//! What goes into a linear layer: rows of activations, in f32, side by side in panels and in int8.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tritune_codegen::{MAX_KB, MAX_MR};

use super::panel::{self, Cut, padded};
use super::{LinearError, tile};
use crate::lanes::LANES;
use crate::memory::{Buffer, MemoryError};
use crate::quant::quantize_row;
use crate::threads::{Parts, Pool};

/// Rows begin a cache line, an odd number of lines apart: rows of a power of two would fall into the same cache sets.
const SKEW: usize = 64;
/// No layout pads a row by as many columns.
const PADDING: usize = MAX_KB as usize;
/// Rows beyond the last token that a kernel may read: what it makes of them is not used.
const SPARE: usize = MAX_MR as usize - 1;

/// From this number of tokens on, quantising is worth a fork.
const FORK_TOKENS: usize = 8;

/// m rows of k activations, in f32 and, where a matrix asks for it, in panels or in int8.
///
/// A row is quantised as BitNet b1.58 does (arXiv:2402.17764, arXiv:2310.11453): s = 127 / max|x|, q = round(x · s), so
/// that x ≈ q / s. Buffers grow to the largest m and k seen and stay.
#[derive(Debug, Default)]
pub struct Activations {
    m: usize,
    k: usize,
    rows: Buffer<f32>,
    /// All rows, in panels.
    packed: Buffer<f32>,
    is_packed: bool,
    stride: usize,
    quantized: Buffer<i8>,
    /// 1 / s of each row.
    steps: Buffer<f64>,
    /// Σ q of each row.
    sums: Buffer<i32>,
    is_quantized: bool,
    /// Tells these rows from all others that there ever were in this process.
    version: u64,
}

impl Activations {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the shape, and hands out the `[m, k]` rows to be filled; what they hold is unspecified.
    ///
    /// # Errors
    /// Where there is no memory for them; then there are no rows.
    pub fn rows_mut(&mut self, m: usize, k: usize) -> Result<&mut [f32], MemoryError> {
        (self.m, self.k) = (0, 0);
        let rows = self.rows.grown(m.saturating_mul(k))?;
        (self.m, self.k, self.is_quantized, self.is_packed) = (m, k, false, false);
        self.version = next_version();
        Ok(rows)
    }

    /// The rows, `[m, k]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows.all()[..self.m * self.k]
    }

    /// Tokens.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Values of a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Puts the rows, which are few, side by side, unless they are already.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub(super) fn pack(&mut self) -> Result<(), MemoryError> {
        if self.is_packed || self.is_panel() {
            return Ok(());
        }
        let (m, k) = (self.m, self.k);
        let (rows, packed) = (&self.rows.all()[..m * k], self.packed.grown(m * padded(k))?);
        let cut = Cut { rows: m, most: tile::tokens() };
        for tokens in (0..cut.panels()).map(|panel| cut.rows_of(panel)) {
            let out = &mut packed[tokens.start * padded(k)..tokens.end * padded(k)];
            panel::pack(&rows[tokens.start * k..tokens.end * k], k, out);
        }
        self.is_packed = true;
        Ok(())
    }

    /// Whether the only row is a panel as it is.
    fn is_panel(&self) -> bool {
        self.m == 1 && self.k.is_multiple_of(LANES)
    }

    /// The rows in panels, once they are packed.
    pub(super) fn panels(&self) -> &[f32] {
        if self.is_panel() { self.rows() } else { &self.packed.all()[..self.m * padded(self.k)] }
    }

    /// Makes the int8 rows, unless they are there already.
    ///
    /// # Errors
    /// A row that holds a NaN or an infinity; where there is no memory for the int8 rows.
    pub fn quantize(&mut self, pool: &Pool) -> Result<(), LinearError> {
        if self.is_quantized {
            return Ok(());
        }
        let (m, k) = (self.m, self.k);
        let stride = (k + PADDING).next_multiple_of(2 * SKEW) + SKEW;
        self.stride = stride;
        let quantized = self.quantized.grown((m + SPARE).saturating_mul(stride))?;
        let (steps, sums) = (self.steps.grown(m)?, self.sums.grown(m + SPARE)?);
        let rows = &self.rows.all()[..m * k];
        let quantize = |token: usize, quantized: &mut [i8], step: &mut f64, sum: &mut i32| {
            let (values, padding) = quantized.split_at_mut(k);
            padding.fill(0);
            // A step of NaN marks a row that is not finite.
            *step = quantize_row(&rows[token * k..][..k], values).unwrap_or(f64::NAN);
            *sum = sum_row(values);
        };
        if m < FORK_TOKENS {
            let rows = quantized.chunks_exact_mut(stride).zip(&mut *steps).zip(sums);
            rows.enumerate().for_each(|(token, ((values, step), sum))| quantize(token, values, step, sum));
        } else {
            let quantized = Parts::new(quantized);
            let (steps, sums) = (Parts::new(&mut *steps), Parts::new(sums));
            pool.for_each(m, |_, token| {
                // SAFETY: each token is one item, and rows of tokens do not overlap.
                let (values, step, sum) = unsafe {
                    let row = token * stride..(token + 1) * stride;
                    (quantized.part(row), steps.part(token..token + 1), sums.part(token..token + 1))
                };
                quantize(token, values, &mut step[0], &mut sum[0]);
            });
        }
        if let Some(token) = steps.iter().position(|step| step.is_nan()) {
            return Err(NotFinite { token }.into());
        }
        self.is_quantized = true;
        Ok(())
    }

    /// Takes the rows for new ones: what was derived from them is derived again.
    pub(crate) fn renew(&mut self) {
        self.version = next_version();
    }

    /// Tells these rows from all others that there ever were in this process.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Int8 rows from `token` on: at least 64, each `stride` values apart.
    pub(crate) fn quantized(&self, token: usize) -> &[i8] {
        &self.quantized.all()[token * self.stride..]
    }

    /// Values from one int8 row to the next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// What one quantisation step of a token is worth: 1 / s.
    pub(crate) fn step(&self, token: usize) -> f64 {
        self.steps.all()[token]
    }

    /// Sums of the int8 rows from `token` on: at least 64.
    pub(super) fn sums(&self, token: usize) -> &[i32] {
        &self.sums.all()[token..]
    }
}

/// One that no rows had yet.
fn next_version() -> u64 {
    static VERSIONS: AtomicU64 = AtomicU64::new(1);
    VERSIONS.fetch_add(1, Relaxed)
}

/// A row of activations that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("activations of token {token} hold a NaN or an infinity: the model or its file is damaged")]
pub struct NotFinite {
    /// The row.
    pub token: usize,
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn sum_row(values: &[i8]) -> i32 {
    values.iter().map(|&x| i32::from(x)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantized(row: &[f32]) -> Result<(Vec<i8>, f64), LinearError> {
        let mut x = Activations::new();
        x.rows_mut(1, row.len())?.copy_from_slice(row);
        x.quantize(&Pool::new(1))?;
        assert!(x.quantized(0)[row.len()..x.stride()].iter().all(|&q| q == 0));
        assert_eq!(x.sums(0)[0], x.quantized(0)[..row.len()].iter().map(|&q| i32::from(q)).sum::<i32>());
        Ok((x.quantized(0)[..row.len()].to_vec(), x.step(0)))
    }

    proptest! {
        #[test]
        fn as_defined(row in prop::collection::vec(-1e4f32..1e4, 1..100)) {
            let largest = row.iter().fold(1e-5f32, |largest, x| largest.max(x.abs()));
            let (q, step) = quantized(&row).unwrap();
            prop_assert_eq!(step, f64::from(largest) / 127.0);
            for (q, x) in q.into_iter().zip(row) {
                prop_assert_eq!(f64::from(q), (f64::from(x) * (127.0 / f64::from(largest))).round_ties_even());
            }
        }
    }

    proptest! {
        /// Whole and half steps, and their nearest neighbours among floats, in any order of magnitude.
        #[test]
        fn as_defined_near_ties(
            steps in prop::collection::vec((-254i32..=254, -3i32..=3), 1..700),
            largest in prop::num::f32::NORMAL.prop_map(f32::abs).prop_filter("not rounded up", |x| *x > 1e-5),
        ) {
            let near = |(halves, ulps): (i32, i32)| {
                let x = (f64::from(largest) / 127.0 * f64::from(halves) / 2.0) as f32;
                f32::from_bits(x.to_bits().wrapping_add_signed(ulps)).clamp(-largest, largest)
            };
            let row: Vec<f32> = steps.into_iter().map(near).map(|x| if x.is_nan() { 0.0 } else { x }).chain([largest]).collect();
            let (q, _) = quantized(&row).unwrap();
            for (q, x) in q.into_iter().zip(row) {
                prop_assert_eq!(f64::from(q), (f64::from(x) * (127.0 / f64::from(largest))).round_ties_even(), "{}", x);
            }
        }
    }

    #[test]
    fn silence_and_ties() {
        assert_eq!(quantized(&[0.0; 40]).unwrap().0, [0; 40]);
        assert_eq!(quantized(&[127.0, 0.5, 1.5, -2.5, -127.0]).unwrap().0, [127, 0, 2, -2, -127]);
        assert_eq!(quantized(&[f32::MIN_POSITIVE; 3]).unwrap().0, [0; 3]);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, 18] {
                let mut row = [1.0; 19];
                row[at] = bad;
                let refused = quantized(&row);
                assert!(matches!(refused, Err(LinearError::NotFinite(NotFinite { token: 0 }))), "{bad} at {at}");
            }
        }
    }

    #[test]
    fn shapes_may_change() {
        let (mut x, pool) = (Activations::new(), Pool::new(2));
        for (m, k) in [(1, 2560), (9, 100), (2, 300), (1, 1)] {
            x.rows_mut(m, k).unwrap().fill(-1.0);
            x.quantize(&pool).unwrap();
            for token in 0..m {
                assert!(x.quantized(token)[..k].iter().all(|&q| q == -127));
                assert!(x.quantized(token)[k..x.stride()].iter().all(|&q| q == 0));
                assert_eq!(x.sums(token)[0], -127 * k as i32);
            }
        }
    }
}
