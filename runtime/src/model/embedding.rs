//! The table of token embeddings, decoded a row at a time.

use crate::gguf::{self, Kind};
use crate::quant::{self, Scales, Trits};
use crate::vector::all_finite;

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
    /// The table of these weights.
    pub fn new(trits: &Trits) -> Self {
        let byte = |codes: &[u8]| codes.iter().rev().fold(0, |byte, code| byte << 2 | code);
        let codes = trits.codes.chunks(trits.k).flat_map(|row| row.chunks(4).map(byte)).collect();
        TernaryTable { k: trits.k, codes, scales: trits.scales.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_its_trits_say() {
        let (n, k) = (3, 10);
        let codes: Vec<u8> = (0..n * k).map(|i| (i * i % 7 % 3) as u8).collect();
        for scales in [
            Scales::Tensor(0.5),
            Scales::Row(vec![0.5, 2.0, -1.0]),
            Scales::Block { size: 5, scales: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] },
        ] {
            let trits = Trits { n, k, codes: codes.clone(), scales };
            let table = Embedding::Ternary(TernaryTable::new(&trits));
            for row in 0..n {
                let (mut expected, mut found) = ([f32::NAN; 10], [f32::NAN; 10]);
                trits.row(row, &mut expected);
                assert!(table.look_up(row as u32, &mut found));
                assert_eq!(found, expected);
            }
        }
    }
}
