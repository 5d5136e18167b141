//! Matrices of float types: rows are decoded as they are used, so that no more than the file's bytes are read.
//!
//! A few tokens at a time have sums of one order ([`tile`]): a token's products have the same bits alone, as in plain
//! decoding, and among others, as where several tokens are proposed. Many tokens, as of a prompt, take the product of matrices
//! that is fastest, whose order is its own.

use std::cell::RefCell;
use std::ops::Range;

use super::panel::{self, ROWS, padded};
use super::tile::{self, Chunk, Totals};
use super::{Activations, LinearError};
use crate::gguf::{Data, Kind};
use crate::lanes::LANES;
use crate::memory::Buffer;
use crate::quant;
use crate::quant::float::{Rows, panels};
use crate::threads::Parts;

thread_local! {
    /// Each thread's decoded rows, their products and a row of activations: grown to what the largest matrix needs, then
    /// kept.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Frees what this thread keeps.
pub(super) fn forget_scratch() {
    SCRATCH.take();
}

#[derive(Default)]
struct Scratch {
    weights: Buffer<f32>,
    /// Finished or not.
    sums: Buffer<f32>,
    x: Buffer<f32>,
}

/// Rows decoded together for a few tokens: two panels.
const FEW_ROWS: usize = 2 * ROWS;

/// Columns decoded together for a few tokens: whole blocks of every type, but for the last, and about as many as the
/// first-level cache has room for.
fn few_columns(k: usize) -> usize {
    if k <= 1024 { k } else { 512 }
}

/// A matrix `[n, k]` of a float type, as it lies in the file.
#[derive(Debug)]
pub struct Float {
    kind: Kind,
    n: usize,
    k: usize,
    /// Bytes of a row.
    row: usize,
    data: Data,
}

impl Float {
    /// Tokens that give each other the same bits: so many at most are taken through a matrix together for that.
    pub const FEW: usize = 8;

    /// Rows decoded together for many tokens. Work is cut at multiples of it, whatever the number of threads, so that the
    /// same products are formed from the same blocks.
    pub const BLOCK: usize = 64;

    /// A matrix of `n` rows of `k` elements.
    ///
    /// # Errors
    /// Where the type is no float type, or the bytes are not those of n · k elements.
    pub fn new(kind: Kind, n: usize, k: usize, data: Data) -> Result<Self, quant::Error> {
        let row = data.len() / n.max(1);
        let float = Float { kind, n, k, row, data };
        // One row that can be decoded proves that all can be.
        float.decode(0..1, &mut vec![0f32; k])?;
        Ok(float)
    }

    /// Rows: outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Elements of a row: inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The type of the elements in the file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Whether it reads these very bytes, not a copy.
    pub fn is_over(&self, data: &Data) -> bool {
        std::ptr::eq(&*self.data, &**data)
    }

    fn bytes_of(&self, rows: Range<usize>) -> &[u8] {
        &self.data[rows.start * self.row..rows.end * self.row]
    }

    fn decode(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), quant::Error> {
        quant::float::decode(self.kind, self.bytes_of(rows), out)
    }

    /// Rows that a thread claims at a time. For a few tokens, of the numbers between half of [`Float::BLOCK`] and that, the
    /// one with which the busiest thread has the least to do; the largest of equals.
    pub(super) fn piece(&self, threads: usize, m: usize) -> usize {
        if m > Self::FEW {
            return Self::BLOCK;
        }
        let busiest = |rows: &usize| self.n.div_ceil(*rows).div_ceil(threads) * rows;
        let sizes = (Self::BLOCK / 2..=Self::BLOCK).rev().step_by(FEW_ROWS);
        sizes.min_by_key(busiest).unwrap_or(Self::BLOCK)
    }

    /// Hands on some rows as floats, `[rows, k]`; they are decoded by this thread.
    ///
    /// # Errors
    /// Where there is no memory for what is decoded; of a matrix that [`Float::new`] has accepted, all rows can be.
    pub(super) fn with_rows<T>(&self, rows: Range<usize>, take: impl FnOnce(&[f32]) -> T) -> Result<T, LinearError> {
        SCRATCH.with_borrow_mut(|Scratch { weights, .. }| {
            let weights = weights.grown(rows.len() * self.k)?;
            self.decode(rows, weights)?;
            Ok(take(weights))
        })
    }

    /// Lets go of the file's pages with some rows, which are not going to be read soon.
    pub(super) fn release(&self, rows: Range<usize>) {
        self.data.release(rows.start * self.row..rows.end * self.row);
    }

    /// Asks for some rows that are going to be read soon.
    pub(super) fn prefetch(&self, rows: Range<usize>) {
        self.data.slice(rows.start * self.row..rows.end * self.row).prefetch();
    }

    /// The products of one row of activations with some rows of the matrix: to the last bit what a product with the whole
    /// matrix gives a few tokens.
    ///
    /// # Errors
    /// Where there is no memory for what is decoded; of a matrix that [`Float::new`] has accepted, all rows can be.
    ///
    /// # Panics
    /// Where x is no row of k values, y not as long as there are rows, or the matrix has no such rows.
    pub fn products(&self, rows: Range<usize>, x: &[f32], y: &mut [f32]) -> Result<(), LinearError> {
        assert!(x.len() == self.k && y.len() == rows.len(), "{} x {} x {}", x.len(), y.len(), self.k);
        if rows.is_empty() {
            return Ok(());
        }
        SCRATCH.with_borrow_mut(|Scratch { weights, sums, x: packed }| {
            let x = if self.k.is_multiple_of(LANES) {
                x
            } else {
                let packed = packed.grown(padded(self.k))?;
                panel::pack(x, self.k, packed);
                packed
            };
            self.few((x, 1), rows, weights, sums, |_, row, totals| totals.write(&mut y[row..][..totals.rows()]))
        })
    }

    /// y[m, n] = x[m, k] · Wᵀ for the outputs in `rows`, which the caller alone writes; x is [packed](Activations::pack) where
    /// it has a few tokens, and rows start at a multiple of [`Float::piece`]. Nothing is allocated once this thread has met the
    /// largest matrix.
    ///
    /// # Errors
    /// Where there is no memory for what is decoded; of a matrix that [`Float::new`] has accepted, all rows can be.
    pub(super) fn forward(&self, x: &Activations, rows: Range<usize>, y: &Parts<'_, f32>) -> Result<(), LinearError> {
        let m = x.m();
        SCRATCH.with_borrow_mut(|Scratch { weights, sums, .. }| {
            if m > Self::FEW {
                return self.many(x.rows(), rows, weights, y);
            }
            let start = rows.start;
            self.few((x.panels(), m), rows, weights, sums, |token, row, totals| {
                let at = token * self.n + start + row;
                // SAFETY: the caller gives these outputs to this call alone, and no part lives on.
                totals.write(unsafe { y.part(at..at + totals.rows()) });
            })
        })
    }

    /// Products of x, `m` tokens in panels, with some rows; `out` takes token, row behind the first, and products.
    fn few(
        &self,
        (x, m): (&[f32], usize),
        rows: Range<usize>,
        weights: &mut Buffer<f32>,
        sums: &mut Buffer<f32>,
        mut out: impl FnMut(usize, usize, Totals),
    ) -> Result<(), LinearError> {
        let (k, step) = (self.k, few_columns(self.k));
        let mut data = Rows::new(self.kind, self.bytes_of(rows.clone()), rows.len(), k)?;
        if step < k {
            // What is read next, of every row, is these columns of the next block.
            data = data.ahead(FEW_ROWS);
        }
        for start in (0..rows.len()).step_by(FEW_ROWS) {
            let block = start..(start + FEW_ROWS).min(rows.len());
            let n = block.len();
            let sums = sums.grown(if step < k { tile::sums(n, m) } else { 0 })?;
            for from in (0..k).step_by(step) {
                let columns = from..(from + step).min(k);
                let weights = weights.grown(panels::<ROWS>(n, columns.len()))?;
                data.decode::<ROWS>(block.clone(), columns.clone(), weights);
                let chunk = Chunk { weights, n, x, m, k, columns, sums };
                tile::products(chunk, |token, row, totals| out(token, start + row, totals));
            }
        }
        Ok(())
    }

    /// Products of the rows x[m, k] with some rows, which are decoded once for all.
    fn many(
        &self,
        x: &[f32],
        rows: Range<usize>,
        weights: &mut Buffer<f32>,
        y: &Parts<'_, f32>,
    ) -> Result<(), LinearError> {
        let m = x.len() / self.k;
        for start in rows.clone().step_by(Self::BLOCK) {
            let block = start..(start + Self::BLOCK).min(rows.end);
            let weights = weights.grown(block.len() * self.k)?;
            self.decode(block.clone(), weights)?;
            // The last output there is, so that all are.
            let _ = y.pointer((m - 1) * self.n + block.end - 1);
            // SAFETY: outputs of m tokens, a row of n apart, end at the one just asked for; the caller gives them to this call
            // alone, and no part lives on.
            unsafe { multiply(x, weights, self.k, y.pointer(block.start), self.n) };
        }
        Ok(())
    }
}

/// out[m, n] = x[m, k] · w[n, k]ᵀ on this thread, a row of `out` every `stride` elements.
///
/// # Panics
/// Where the lengths are not those of such matrices.
///
/// # Safety
/// The m rows of n elements at `out` are valid, and nobody else uses them.
unsafe fn multiply(x: &[f32], w: &[f32], k: usize, out: *mut f32, stride: usize) {
    let (m, n) = (x.len() / k, w.len() / k);
    assert!(x.len() == m * k && w.len() == n * k, "{m} x {n} x {k}");
    // SAFETY: the two ranges read are those of matrices with these shapes and strides (asserted); those written are
    // the caller's promise, by which they overlap neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride as isize,
            false,
            x.as_ptr(),
            1,
            k as isize,
            w.as_ptr(),
            k as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::gguf::{File, Header, Writer};

    fn wave(elements: usize, step: f32) -> Vec<f32> {
        (0..elements).map(|i| (i as f32 * step).sin()).collect()
    }

    /// A matrix of these weights.
    pub(crate) fn of_f32(n: usize, k: usize, weights: &[f32]) -> Float {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        stored(Kind::F32, n, k, &bytes)
    }

    fn stored(kind: Kind, n: usize, k: usize, bytes: &[u8]) -> Float {
        let mut header = Header::new();
        header.tensor("w", &[k as u64, n as u64], kind).unwrap();
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        writer.write_tensor("w", bytes).unwrap();
        let file = File::from_bytes("test", writer.finish().unwrap()).unwrap();
        Float::new(kind, n, k, file.data(file.tensor("w").unwrap())).unwrap()
    }

    fn matrix(n: usize, k: usize) -> (Float, Vec<f32>) {
        let weights = wave(n * k, 0.61);
        (of_f32(n, k, &weights), weights)
    }

    fn product(float: &Float, x: &[f32], cuts: &[usize]) -> Vec<f32> {
        let m = x.len() / float.k();
        let mut activations = Activations::new();
        activations.rows_mut(m, float.k()).unwrap().copy_from_slice(x);
        activations.pack().unwrap();
        let mut y = vec![f32::NAN; m * float.n()];
        let parts = Parts::new(&mut y);
        for cut in cuts.windows(2) {
            float.forward(&activations, cut[0]..cut[1], &parts).unwrap();
        }
        y
    }

    #[test]
    fn products_agree_with_f64_and_neither_cuts_nor_neighbours_change_a_bit() {
        for (n, k) in [(1, 1), (3, 40), (130, 96), (37, 33), (64, 576), (9, 1025), (5, 2600)] {
            let (float, weights) = matrix(n, k);
            let x = wave(40 * k, 0.37);
            let alone: Vec<f32> = x.chunks_exact(k).flat_map(|x| product(&float, x, &[0, n])).collect();
            for (i, &found) in alone.iter().enumerate() {
                let (token, row) = (i / n, i % n);
                let exact: f64 = (0..k).map(|j| f64::from(x[token * k + j]) * f64::from(weights[row * k + j])).sum();
                assert!((f64::from(found) - exact).abs() < 1e-4, "{n}x{k} at ({token}, {row})");
            }
            let cuts: Vec<usize> = (0..n).step_by(7).chain([n]).collect();
            for m in 1..=Float::FEW {
                for cuts in [&[0, n][..], &cuts] {
                    let together = product(&float, &x[..m * k], cuts);
                    assert!(together.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{m}x{n}x{k}");
                }
            }
            let cuts: Vec<usize> = (0..n).step_by(Float::BLOCK).chain([n]).collect();
            for m in [Float::FEW + 1, 12, 40] {
                let whole = product(&float, &x[..m * k], &[0, n]);
                assert!(whole.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-4), "{m}x{n}x{k}");
                let cut = product(&float, &x[..m * k], &cuts);
                assert!(whole.iter().zip(&cut).all(|(a, b)| a.to_bits() == b.to_bits()), "{m}x{n}x{k}");
            }
            float.products(n..n, &x[..k], &mut []).unwrap();
            let mut rows = vec![f32::NAN; n.div_ceil(2)];
            float.products(n / 2..n, &x[..k], &mut rows).unwrap();
            assert!(rows.iter().zip(&alone[n / 2..n]).all(|(a, b)| a.to_bits() == b.to_bits()), "{n}x{k}");
        }
    }

    /// Every type, at sizes that no cut divides.
    #[test]
    fn every_type_gives_a_token_the_same_bits_alone_and_among_others() {
        let kinds = [
            Kind::F16,
            Kind::BF16,
            Kind::Q4_0,
            Kind::Q4_1,
            Kind::Q5_0,
            Kind::Q5_1,
            Kind::Q8_0,
            Kind::IQ4_NL,
            Kind::Q2_K,
            Kind::Q3_K,
            Kind::Q4_K,
            Kind::Q5_K,
            Kind::Q6_K,
        ];
        for kind in kinds {
            let (n, k) = (11, if kind.format().unwrap().elements == 1 { 1051 } else { 5 * 256 });
            let bytes = kind.bytes(&[k as u64, n as u64]).unwrap().unwrap() as usize;
            // Exponents of halves stay in the middle.
            let noise: Vec<u8> = (0..bytes as u32).map(|i| (i * i % 251 % 0x40) as u8).collect();
            let float = stored(kind, n, k, &noise);
            let x = wave(Float::FEW * k, 0.37);
            let alone: Vec<f32> = x.chunks_exact(k).flat_map(|x| product(&float, x, &[0, n])).collect();
            assert!(alone.iter().all(|y| y.is_finite() && *y != 0.0), "{kind}");
            for m in 2..=Float::FEW {
                let together = product(&float, &x[..m * k], &[0, n]);
                assert!(together.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{kind}, {m} tokens");
            }
        }
    }

    #[test]
    fn products_of_other_lengths_panic() {
        let (float, _) = matrix(4, 33);
        for (x, y) in [(32, 4), (66, 4), (33, 3), (33, 5)] {
            let call = || float.products(0..4, &vec![1.0; x], &mut vec![0.0; y]);
            assert!(std::panic::catch_unwind(call).is_err(), "{x} {y}");
        }
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let (float, _) = matrix(4, 8);
        assert!(Float::new(Kind::F32, 4, 9, float.data.clone()).is_err());
        assert!(Float::new(Kind::TQ2_0, 4, 8, float.data.clone()).is_err());
    }
}
