//! Products of rows of weights and rows of activations in f32, a few of each at a time, kept in registers.
//!
//! Every sum has one order, which its length alone decides: of sixteen lanes, lane l takes the elements i with
//! i mod 16 = l, one after the other, each by a fused multiply-add; then the lanes are folded pairwise, lane l with lane
//! l + 8, then l + 4, l + 2, l + 1. So a token's product has the same bits however many tokens or rows stand next to it,
//! in however many chunks its elements come, and whatever the width of vectors is (x86-64; on Arm the last four lanes
//! are folded in another order).

use std::ops::Range;

use super::panel::{Cut, ROWS, padded};
use crate::lanes::{Dispatch, Here, LANES, Lanes, Task, multiply_add};

/// Some elements of all sums of a product of W\[n, k\] and x\[m, k\], both in panels.
pub(super) struct Chunk<'a> {
    /// These elements of panels of [`ROWS`] rows of W; of the last one, some rows may be anything.
    pub(super) weights: &'a [f32],
    /// Rows of W.
    pub(super) n: usize,
    /// All elements of panels of as many rows of x as [`tokens`] says.
    pub(super) x: &'a [f32],
    /// Rows of x.
    pub(super) m: usize,
    /// Elements of a sum.
    pub(super) k: usize,
    /// Which elements these are; they begin at a multiple of [`LANES`].
    pub(super) columns: Range<usize>,
    /// Sums so far, where this chunk is not all there is: at least [`sums`] floats.
    pub(super) sums: &'a mut [f32],
}

/// Roundings that a term of a sum of k products takes part in, at most: additions in its lane, and folds.
pub(super) fn roundings(k: usize) -> usize {
    k.div_ceil(LANES) + LANES.ilog2() as usize
}

/// Rows of x in a panel, at most.
pub(super) fn tokens() -> usize {
    Here.run(Tokens)
}

/// Asks for [`Lanes::TOKENS`].
struct Tokens;

impl Task for Tokens {
    type Output = usize;

    #[inline(always)]
    fn run<S: Lanes>(self, _: S) -> usize {
        S::TOKENS
    }
}

/// Room for unfinished sums.
pub(super) fn sums(n: usize, m: usize) -> usize {
    n.next_multiple_of(ROWS) * m * LANES
}

/// The sums of one row of x and some of W.
#[derive(Clone, Copy)]
pub(super) struct Totals {
    all: [f32; ROWS],
    rows: usize,
}

impl Totals {
    /// How many there are.
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// Writes them to as many outputs.
    #[inline(always)]
    pub(super) fn write(self, out: &mut [f32]) {
        // A known number is stored at once; others do not justify a call.
        if let Some(out) = out.as_mut_array() {
            *out = self.all;
            return;
        }
        for (out, total) in out.iter_mut().zip(self.all) {
            *out = total;
        }
    }
}

/// Adds to all sums and, where this chunk is the last, calls `out(t, r, totals)` with the sums of row t of x and rows r.. of
/// W.
///
/// # Panics
/// Where a slice is not as long as said.
pub(super) fn products(chunk: Chunk<'_>, out: impl FnMut(usize, usize, Totals)) {
    Products { chunk, out }.run(Here);
}

struct Products<'a, F> {
    chunk: Chunk<'a>,
    out: F,
}

impl<F: FnMut(usize, usize, Totals)> Products<'_, F> {
    fn run(mut self, machine: impl Dispatch) {
        let Chunk { weights, n, x, m, k, columns, sums: kept } = &self.chunk;
        let part = columns.len() < *k;
        assert!(weights.len() == n.next_multiple_of(ROWS) * padded(columns.len()), "elements of {n} rows");
        assert!(
            x.len() >= m * padded(*k) && columns.end <= *k && (!part || kept.len() >= sums(*n, *m)),
            "{m} x {n} x {k}"
        );
        let tokens = Cut { rows: *m, most: machine.run(Tokens) };
        for panel in 0..tokens.panels() {
            let t = tokens.rows_of(panel);
            match t.len() {
                1 => self.band::<1>(machine, t.start),
                2 => self.band::<2>(machine, t.start),
                3 => self.band::<3>(machine, t.start),
                4 => self.band::<4>(machine, t.start),
                5 => self.band::<5>(machine, t.start),
                _ => self.band::<6>(machine, t.start),
            }
        }
    }

    /// A panel of T rows of x, from row t on, with all of W; each T for itself: with other sums about, the compiler keeps
    /// these in memory.
    fn band<const T: usize>(&mut self, machine: impl Dispatch, t: usize) {
        machine.run(Band::<T, _> { products: self, t });
    }
}

struct Band<'a, 'b, const T: usize, F> {
    products: &'b mut Products<'a, F>,
    t: usize,
}

impl<const T: usize, F: FnMut(usize, usize, Totals)> Task for Band<'_, '_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(mut self, simd: S) {
        let panels = self.products.chunk.n.div_ceil(ROWS);
        let mut panel = 0;
        if T == 1 && S::F32_LANES == LANES {
            // One sum a row: those of two panels keep additions from waiting for each other.
            while panel + 2 <= panels {
                self.pair(simd, panel);
                panel += 2;
            }
        }
        while panel < panels {
            if T == 1 || S::F32_LANES == LANES {
                self.tile::<S, 0, ROWS>(simd, panel);
            } else {
                // As many sums as registers hold, beside what is multiplied.
                self.tile::<S, 0, { ROWS / 2 }>(simd, panel);
                self.tile::<S, { ROWS / 2 }, { ROWS / 2 }>(simd, panel);
            }
            panel += 1;
        }
    }
}

/// The elements of a panel, row after row in groups of [`LANES`].
type Runs<'a, const R: usize> = &'a [[[f32; LANES]; R]];

impl<const T: usize, F: FnMut(usize, usize, Totals)> Band<'_, '_, T, F> {
    /// Elements of a row in this chunk.
    #[inline(always)]
    fn len(&self) -> usize {
        padded(self.products.chunk.columns.len())
    }

    #[inline(always)]
    fn weights(&self, panel: usize) -> Runs<'_, ROWS> {
        let elements = ROWS * self.len();
        self.products.chunk.weights[panel * elements..][..elements].as_chunks().0.as_chunks().0
    }

    #[inline(always)]
    fn x(&self) -> Runs<'_, T> {
        let Chunk { x, k, columns, .. } = &self.products.chunk;
        x[self.t * padded(*k)..][T * columns.start..T * (columns.start + self.len())].as_chunks().0.as_chunks().0
    }

    /// Whether these are the first elements, and whether they are the last.
    #[inline(always)]
    fn ends(&self) -> (bool, bool) {
        let Chunk { k, columns, .. } = &self.products.chunk;
        (columns.start == 0, columns.end == *k)
    }

    /// Unfinished sums of R rows of a panel, from FIRST on, and all rows of x, one after the other.
    #[inline(always)]
    fn kept<const FIRST: usize, const R: usize>(&mut self, panel: usize) -> &mut [[f32; LANES]] {
        let Chunk { sums, m, .. } = &mut self.products.chunk;
        &mut sums.as_chunks_mut().0[(panel * *m + self.t) * ROWS + FIRST * T..][..R * T]
    }

    /// Hands out the sums of R rows, from `row` on, as far as there are such rows.
    #[inline(always)]
    fn finish<S: Lanes, const R: usize>(&mut self, simd: S, t: usize, row: usize, vectors: [S::f32s; ROWS]) {
        let rows = R.min(self.products.chunk.n.saturating_sub(row));
        if rows > 0 {
            (self.products.out)(t, row, Totals { all: simd.totals(vectors), rows });
        }
    }

    /// R rows of a panel of weights, from FIRST on, with T rows of x.
    ///
    /// Loops are over numbers, and few: else the compiler takes them apart too late to keep sums in registers.
    #[inline(always)]
    fn tile<S: Lanes, const FIRST: usize, const R: usize>(&mut self, simd: S, panel: usize) {
        let (first, last) = self.ends();
        let mut sums = [[Sum::new(simd); R]; T];
        if !first {
            let kept = self.kept::<FIRST, R>(panel);
            for j in 0..T {
                for i in 0..R {
                    sums[j][i] = Sum::load(simd, &kept[j * R + i]);
                }
            }
        }
        for (w, x) in self.weights(panel).iter().zip(self.x()) {
            for j in 0..T {
                for i in 0..R {
                    sums[j][i].add(simd, &w[FIRST + i], &x[j]);
                }
            }
        }
        if !last {
            let kept = self.kept::<FIRST, R>(panel);
            for j in 0..T {
                for i in 0..R {
                    sums[j][i].store(&mut kept[j * R + i]);
                }
            }
            return;
        }
        let mut vectors = [[simd.splat_f32s(0.0); ROWS]; T];
        for j in 0..T {
            for i in 0..R {
                vectors[j][i] = sums[j][i].folded(simd);
            }
        }
        for (j, vectors) in vectors.iter().enumerate() {
            self.finish::<S, R>(simd, self.t + j, panel * ROWS + FIRST, *vectors);
        }
    }

    /// Two panels of weights with one row of x.
    #[inline(always)]
    fn pair<S: Lanes>(&mut self, simd: S, panel: usize) {
        let (first, last) = self.ends();
        let mut sums = [Sum::new(simd); 2 * ROWS];
        if !first {
            for p in 0..2 {
                let kept = self.kept::<0, ROWS>(panel + p);
                for i in 0..ROWS {
                    sums[p * ROWS + i] = Sum::load(simd, &kept[i]);
                }
            }
        }
        for ((one, other), x) in self.weights(panel).iter().zip(self.weights(panel + 1)).zip(self.x()) {
            for i in 0..ROWS {
                sums[i].add(simd, &one[i], &x[0]);
            }
            for i in 0..ROWS {
                sums[ROWS + i].add(simd, &other[i], &x[0]);
            }
        }
        let mut vectors = [[simd.splat_f32s(0.0); ROWS]; 2];
        for p in 0..2 {
            for i in 0..ROWS {
                vectors[p][i] = sums[p * ROWS + i].folded(simd);
            }
        }
        for p in 0..2 {
            if last {
                self.finish::<S, ROWS>(simd, self.t, (panel + p) * ROWS, vectors[p]);
                continue;
            }
            let kept = self.kept::<0, ROWS>(panel + p);
            for i in 0..ROWS {
                sums[p * ROWS + i].store(&mut kept[i]);
            }
        }
    }
}

/// [`LANES`] partial sums.
#[derive(Clone, Copy)]
struct Sum<S: Lanes>(S::Sixteen);

impl<S: Lanes> Sum<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        Sum(simd.sixteen(simd.splat_f32s(0.0)))
    }

    #[inline(always)]
    fn load(simd: S, lanes: &[f32; LANES]) -> Self {
        let mut sum = Sum::new(simd);
        for (sum, lanes) in sum.0.as_mut().iter_mut().zip(S::as_simd_f32s(lanes).0) {
            *sum = *lanes;
        }
        sum
    }

    #[inline(always)]
    fn store(&self, lanes: &mut [f32; LANES]) {
        for (lanes, sum) in S::as_mut_simd_f32s(lanes).0.iter_mut().zip(self.0.as_ref()) {
            *lanes = *sum;
        }
    }

    #[inline(always)]
    fn add(&mut self, simd: S, w: &[f32; LANES], x: &[f32; LANES]) {
        let (w, x) = (S::as_simd_f32s(w).0, S::as_simd_f32s(x).0);
        for (sum, (w, x)) in self.0.as_mut().iter_mut().zip(w.iter().zip(x)) {
            *sum = multiply_add(simd, *w, *x, *sum);
        }
    }

    /// Lanes folded pairwise until they are one vector.
    #[inline(always)]
    fn folded(mut self, simd: S) -> S::f32s {
        let sums = self.0.as_mut();
        let mut half = sums.len() / 2;
        while half > 0 {
            for i in 0..half {
                sums[i] = simd.add_f32s(sums[i], sums[i + half]);
            }
            half /= 2;
        }
        sums[0]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::panel;

    /// The order of a sum, said plainly.
    fn expected(w: &[f32], x: &[f32]) -> f32 {
        let mut lanes = [0f32; LANES];
        for (i, (w, x)) in w.iter().zip(x).enumerate() {
            lanes[i % LANES] = w.mul_add(*x, lanes[i % LANES]);
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    }

    fn wave(elements: usize, step: f32) -> Vec<f32> {
        (0..elements).map(|i| (i as f32 * step).sin()).collect()
    }

    /// Rows `[rows, k]` in panels.
    fn packed(rows: &[f32], k: usize, cut: Cut) -> Vec<f32> {
        let mut out = vec![f32::NAN; cut.rows * padded(k)];
        for panel in (0..cut.panels()).map(|panel| cut.rows_of(panel)) {
            panel::pack(
                &rows[panel.start * k..panel.end * k],
                k,
                &mut out[panel.start * padded(k)..panel.end * padded(k)],
            );
        }
        out
    }

    /// In two chunks.
    fn product(machine: impl Dispatch, w: &[f32], x: &[f32], k: usize, cut: usize) -> Vec<f32> {
        let (n, m) = (w.len() / k, x.len() / k);
        let mut w = w.to_vec();
        w.resize(n.next_multiple_of(ROWS) * k, f32::NAN);
        let x = packed(x, k, Cut { rows: m, most: machine.run(Tokens) });
        let (mut kept, mut y) = (vec![f32::NAN; sums(n, m)], vec![f32::NAN; n * m]);
        for range in [0..cut, cut..k] {
            if !range.is_empty() {
                let columns: Vec<f32> = w.chunks_exact(k).flat_map(|row| &row[range.clone()]).copied().collect();
                let weights = packed(&columns, range.len(), Cut { rows: columns.len() / range.len(), most: ROWS });
                let chunk = Chunk { weights: &weights, n, x: &x, m, k, columns: range, sums: &mut kept };
                let out = |t: usize, r: usize, totals: Totals| totals.write(&mut y[t * n + r..][..totals.rows()]);
                Products { chunk, out }.run(machine);
            }
        }
        y
    }

    proptest! {
        #[test]
        fn every_sum_has_one_order(n in 1usize..20, m in 1usize..15, k in 1usize..150, cut in 0usize..10) {
            let (w, x) = (wave(n * k, 0.61), wave(m * k, 0.37));
            let found = product(Here, &w, &x, k, (cut * LANES).min(k / LANES * LANES));
            for (i, found) in found.iter().enumerate() {
                let (t, r) = (i / n, i % n);
                let sum = expected(&w[r * k..][..k], &x[t * k..][..k]);
                let same = match cfg!(target_arch = "x86_64") {
                    true => found.to_bits() == sum.to_bits(),
                    false => (found - sum).abs() < 1e-4,
                };
                prop_assert!(same, "token {t}, row {r}: {found}, not {sum}");
            }
        }

        #[test]
        #[cfg(target_arch = "x86_64")]
        fn the_width_of_vectors_changes_no_bit(n in 1usize..20, m in 1usize..9, k in 1usize..100, cut in 0usize..7) {
            let cut = (cut * LANES).min(k / LANES * LANES);
            let (w, x) = (wave(n * k, 0.61), wave(m * k, 0.37));
            let widest = product(Here, &w, &x, k, cut);
            let mut narrower = vec![product(pulp::Scalar, &w, &x, k, cut)];
            narrower.extend(pulp::x86::V3::try_new().map(|v3| product(v3, &w, &x, k, cut)));
            for narrower in narrower {
                prop_assert!(narrower.iter().zip(&widest).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}
