//! Matrices of float types: rows are decoded as they are used, so that no more than the file's bytes are read.

use std::cell::RefCell;
use std::ops::Range;

use crate::gguf::{Data, Kind};
use crate::linear::Activations;
use crate::quant;
use crate::threads::Parts;

thread_local! {
    /// Each thread's decoded rows and their products: grown to what the largest matrix needs, then kept.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    products: Vec<f32>,
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
    /// Rows decoded together where there are several tokens. Work is cut at multiples of it, whatever the number of
    /// threads, so that the same products are formed from the same blocks.
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

    /// Hands on some rows as floats, `[rows, k]`; they are decoded by this thread.
    ///
    /// # Errors
    /// Never, for a matrix that [`Float::new`] has accepted.
    pub(super) fn with_rows<T>(&self, rows: Range<usize>, take: impl FnOnce(&[f32]) -> T) -> Result<T, quant::Error> {
        SCRATCH.with_borrow_mut(|Scratch { weights, .. }| {
            grow(weights, rows.len() * self.k);
            let weights = &mut weights[..rows.len() * self.k];
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
    /// matrix gives them.
    ///
    /// # Errors
    /// Never, for a matrix that [`Float::new`] has accepted.
    pub fn products(&self, rows: Range<usize>, x: &[f32], y: &mut [f32]) -> Result<(), quant::Error> {
        quant::float::multiply(self.kind, self.bytes_of(rows), x, y)
    }

    /// y[m, n] = x[m, k] · Wᵀ for the outputs in `rows`, which the caller alone writes; they start at a multiple of
    /// [`Float::BLOCK`]. Nothing is allocated once this thread has met the largest matrix.
    ///
    /// # Errors
    /// Never, for a matrix that [`Float::new`] has accepted.
    pub(super) fn forward(&self, x: &Activations, rows: Range<usize>, y: &Parts<'_, f32>) -> Result<(), quant::Error> {
        SCRATCH.with_borrow_mut(|Scratch { weights, products }| {
            if x.m() == 1 {
                // SAFETY: the caller gives these outputs to this call alone.
                let y = unsafe { y.part(rows.clone()) };
                return quant::float::multiply(self.kind, self.bytes_of(rows), x.rows(), y);
            }
            grow(weights, Self::BLOCK * self.k);
            grow(products, Self::BLOCK * x.m());
            for start in rows.clone().step_by(Self::BLOCK) {
                let block = start..(start + Self::BLOCK).min(rows.end);
                let weights = &mut weights[..block.len() * self.k];
                let products = &mut products[..block.len() * x.m()];
                self.decode(block.clone(), weights)?;
                multiply(x.rows(), weights, self.k, products);
                for (token, products) in products.chunks_exact(block.len()).enumerate() {
                    let start = token * self.n;
                    // SAFETY: the caller gives these outputs to this call alone.
                    unsafe { y.part(start + block.start..start + block.end) }.copy_from_slice(products);
                }
            }
            Ok(())
        })
    }
}

fn grow(buffer: &mut Vec<f32>, elements: usize) {
    if buffer.len() < elements {
        buffer.resize(elements, 0.0);
    }
}

/// out[m, n] = x[m, k] · w[n, k]ᵀ on this thread.
///
/// # Panics
/// Where the lengths are not those of such matrices.
fn multiply(x: &[f32], w: &[f32], k: usize, out: &mut [f32]) {
    let (m, n) = (x.len() / k, w.len() / k);
    assert!(x.len() == m * k && w.len() == n * k && out.len() == m * n, "{m} x {n} x {k}");
    // SAFETY: the three ranges are those of matrices with these shapes and strides (asserted), and `out` is borrowed
    // mutably, so that it overlaps neither of the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
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
        let mut header = Header::new();
        header.tensor("w", &[k as u64, n as u64], Kind::F32).unwrap();
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        writer.write_tensor("w", &bytes).unwrap();
        let file = File::from_bytes("test", writer.finish().unwrap()).unwrap();
        Float::new(Kind::F32, n, k, file.data(file.tensor("w").unwrap())).unwrap()
    }

    fn matrix(n: usize, k: usize) -> (Float, Vec<f32>) {
        let weights = wave(n * k, 0.61);
        (of_f32(n, k, &weights), weights)
    }

    fn product(float: &Float, x: &[f32], cuts: &[usize]) -> Vec<f32> {
        let m = x.len() / float.k();
        let mut activations = Activations::new();
        activations.rows_mut(m, float.k()).copy_from_slice(x);
        let mut y = vec![f32::NAN; m * float.n()];
        let parts = Parts::new(&mut y);
        for cut in cuts.windows(2) {
            float.forward(&activations, cut[0]..cut[1], &parts).unwrap();
        }
        y
    }

    #[test]
    fn products_agree_with_f64_and_cuts_change_no_bit() {
        for (m, n, k) in [(1, 3, 40), (1, 130, 96), (2, 130, 96), (7, 200, 33), (40, 64, 576)] {
            let (float, weights) = matrix(n, k);
            let x = wave(m * k, 0.37);
            let whole = product(&float, &x, &[0, n]);
            for (i, &found) in whole.iter().enumerate() {
                let (token, row) = (i / n, i % n);
                let exact: f64 = (0..k).map(|j| f64::from(x[token * k + j]) * f64::from(weights[row * k + j])).sum();
                assert!((f64::from(found) - exact).abs() < 1e-4, "{m}x{n}x{k} at ({token}, {row})");
            }
            let cuts: Vec<usize> = (0..n).step_by(Float::BLOCK).chain([n]).collect();
            let cut = product(&float, &x, &cuts);
            assert!(whole.iter().zip(&cut).all(|(a, b)| a.to_bits() == b.to_bits()), "{m}x{n}x{k}");
        }
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let (float, _) = matrix(4, 8);
        assert!(Float::new(Kind::F32, 4, 9, float.data.clone()).is_err());
        assert!(Float::new(Kind::TQ2_0, 4, 8, float.data.clone()).is_err());
    }
}
