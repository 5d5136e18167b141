//! The table of token embeddings, decoded a row at a time.

use std::sync::{Mutex, PoisonError};

use crate::gguf::{self, Kind};
use crate::quant::{self, Rows, Scales};
use crate::threads::Pool;
use crate::vector::all_finite;

/// Weights that a thread claims at a time.
const PIECE: usize = 1 << 20;

/// The vector of every token: `[vocab, embedding]`.
#[derive(Debug)]
pub enum Embedding {
    /// As in the file.
    Float {
        /// The type of its elements.
        kind: Kind,
        /// Bytes of a row.
        row: usize,
        /// All rows.
        data: gguf::Data,
    },
    /// A ternary table.
    Ternary(TernaryTable),
}

impl Embedding {
    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        match self {
            Embedding::Float { data, .. } => data.len(),
            Embedding::Ternary(table) => table.codes.len() + table.scales.bytes(),
        }
    }

    /// Bytes of a token's row, without scales.
    pub fn row_bytes(&self) -> usize {
        match self {
            Embedding::Float { row, .. } => *row,
            Embedding::Ternary(table) => table.k.div_ceil(4),
        }
    }

    /// Decodes the row of a token that the vocabulary has; returns whether it is finite.
    pub fn look_up(&self, token: u32, out: &mut [f32]) -> bool {
        let token = token as usize;
        match self {
            Embedding::Float { kind, row, data } => {
                quant::float::decode(*kind, &data[token * row..][..*row], out).is_ok() && all_finite(out)
            }
            Embedding::Ternary(table) => {
                table.look_up(token, out);
                true
            }
        }
    }
}

/// Trits of any type of file, two bits each, whatever blocks they came in: rows of some types begin inside a block.
#[derive(Debug)]
pub struct TernaryTable {
    k: usize,
    /// Four codes a byte, the first in the lowest bits; rows begin with a byte.
    codes: Vec<u8>,
    scales: Scales,
}

impl TernaryTable {
    /// The table of these weights, made by the threads of `pool`.
    ///
    /// # Errors
    /// Where a weight is no trit.
    pub fn new(rows: &Rows<'_>, scales: Scales, pool: &Pool) -> Result<Self, quant::Error> {
        let (n, k) = (rows.n(), rows.k());
        let bytes = k.div_ceil(4);
        let mut table = vec![0; n * bytes];
        let step = if rows.is_divisible() { PIECE.div_ceil(k) } else { n };
        let pieces: Vec<_> = table.chunks_mut(step * bytes).map(Mutex::new).collect();
        let failure = Mutex::new(None);
        pool.for_each(pieces.len(), |_, index| {
            let range = index * step..((index + 1) * step).min(n);
            let mut codes = vec![0; range.len() * k];
            match rows.read(range, &mut codes) {
                Ok(()) => {
                    let mut out = pieces[index].lock().unwrap_or_else(PoisonError::into_inner);
                    for (out, codes) in out.chunks_exact_mut(bytes).zip(codes.chunks_exact(k)) {
                        quarters(codes, out);
                    }
                }
                Err(why) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why),
            }
        });
        drop(pieces);
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(TernaryTable { k, codes: table, scales }),
            Some(why) => Err(why),
        }
    }

    fn look_up(&self, row: usize, out: &mut [f32]) {
        let bytes = self.k.div_ceil(4);
        let codes = &self.codes[row * bytes..][..bytes];
        for (column, out) in out.iter_mut().enumerate() {
            let code = codes[column / 4] >> (2 * (column % 4)) & 3;
            *out = (f32::from(code) - 1.0) * self.scales.at(self.k, row, column);
        }
    }
}

/// Four codes to a byte.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn quarters(codes: &[u8], out: &mut [u8]) {
    let (whole, rest) = codes.as_chunks::<4>();
    for (out, [a, b, c, d]) in out.iter_mut().zip(whole) {
        *out = a | b << 2 | c << 4 | d << 6;
    }
    if let Some(out) = out.get_mut(whole.len()) {
        *out = rest.iter().rev().fold(0, |byte, code| byte << 2 | code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Trits;

    #[test]
    fn a_table_says_what_its_trits_say() {
        // Rows begin inside blocks, and there are pieces of several rows.
        let (n, k) = (16_384, 74);
        let codes: Vec<u8> = (0..n * k).map(|i| (i * i % 7 % 3) as u8).collect();
        let trits = Trits { n, k, codes, scales: Scales::Tensor(1.0) };
        let bytes = quant::trits::encode(Kind::I2_S, &trits).unwrap();
        let rows = Rows::new(Kind::I2_S, &bytes, n, k).unwrap();
        for scales in [
            Scales::Tensor(0.5),
            Scales::Row((0..n).map(|row| row as f32).collect()),
            Scales::Block { size: 37, scales: (0..2 * n).map(|block| block as f32).collect() },
        ] {
            let trits = Trits { scales, ..trits.clone() };
            let table = TernaryTable::new(&rows, trits.scales.clone(), &Pool::new(2)).unwrap();
            let table = Embedding::Ternary(table);
            for row in (0..n).step_by(101).chain([n - 1]) {
                let (mut expected, mut found) = (vec![f32::NAN; k], vec![f32::NAN; k]);
                trits.row(row, &mut expected);
                assert!(table.look_up(row as u32, &mut found));
                assert_eq!(found, expected);
            }
        }
    }
}
