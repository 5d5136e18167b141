//! Tables for lookups: what each group of trits makes of a token's activations, computed once for all rows of weights.
//!
//! A table has 16 entries, one for each index of two trits (t200) or one for each class of three (t167): the sum of two
//! or three activations with those trits, plus a bias that lifts all sums above 0. Tables of the four bytes of a lane lie
//! together, their low bytes before their high ones ([`TABLES_BYTES`]).

use tritune_codegen::code::{LANE_BYTES, TABLE_ENTRIES, TABLES_BYTES};
use tritune_codegen::{MAX_KB, Weights};

use crate::memory::{Buffer, MemoryError};

/// The tables of some tokens.
#[derive(Debug, Default)]
pub struct Tables {
    bytes: Buffer<u8>,
    stride: usize,
}

impl Tables {
    /// Bytes of the tables of one token, whose rows may be padded to any layout's taste.
    ///
    /// # Panics
    /// Where nothing is looked up in tables for `weights`.
    pub fn stride(weights: Weights, k: usize) -> usize {
        groups(weights, k + usize::from(MAX_KB)) * TABLES_BYTES
    }

    /// Room for the tables of `m` tokens of `k` activations; what they hold is unspecified.
    ///
    /// # Errors
    /// Where there is no memory for them.
    ///
    /// # Panics
    /// Where nothing is looked up in tables for `weights`.
    pub(crate) fn reserve(&mut self, weights: Weights, m: usize, k: usize) -> Result<(), MemoryError> {
        self.stride = Tables::stride(weights, k);
        self.bytes.grown(m * self.stride)?;
        Ok(())
    }

    /// Builds the tables of token `token` from its activations.
    ///
    /// # Panics
    /// Where there is no room for it, or nothing is looked up in tables for `weights`.
    pub(crate) fn fill(&mut self, weights: Weights, token: usize, values: &[i8]) {
        let bytes = &mut self.bytes.all_mut()[token * self.stride..][..self.stride];
        match trits(weights) {
            2 => fill_groups(const { &trits_of::<2>(Weights::T200) }, weights.bias(), values, bytes),
            _ => fill_groups(const { &trits_of::<3>(Weights::T167) }, weights.bias(), values, bytes),
        }
    }

    /// The tables of `m` tokens, whose `k` activations begin `stride` values apart.
    ///
    /// # Errors
    /// Where there is no memory for them.
    ///
    /// # Panics
    /// Where `values` is too short, or nothing is looked up in tables for `weights`.
    pub fn new(weights: Weights, values: &[i8], stride: usize, m: usize, k: usize) -> Result<Self, MemoryError> {
        let mut tables = Tables::default();
        tables.reserve(weights, m, k)?;
        for token in 0..m {
            tables.fill(weights, token, &values[token * stride..][..k]);
        }
        Ok(tables)
    }

    /// The tables from `token` on.
    pub fn from(&self, token: usize) -> TokenTables<'_> {
        TokenTables { bytes: &self.bytes.all()[token * self.stride..], stride: self.stride }
    }
}

/// The tables of some tokens, as a kernel reads them.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenTables<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes from one token's tables to the next one's.
    pub(super) stride: usize,
}

/// Groups of four tables for `k` columns.
pub(super) fn groups(weights: Weights, k: usize) -> usize {
    k.div_ceil(LANE_BYTES * trits(weights))
}

#[allow(clippy::expect_used, reason = "a kernel's operand is tables only where its weights are looked up")]
fn trits(weights: Weights) -> usize {
    weights.trits_an_index().expect("tables are asked for where something is looked up")
}

/// The trits of every index.
const fn trits_of<const D: usize>(weights: Weights) -> [[i16; TABLE_ENTRIES]; D] {
    let mut trits = [[0; TABLE_ENTRIES]; D];
    let mut at = 0;
    while at < D * TABLE_ENTRIES {
        trits[at % D][at / D] = weights.index_trit(at / D, at % D);
        at += 1;
    }
    trits
}

/// The tables of one token.
fn fill_groups<const D: usize>(trits: &[[i16; TABLE_ENTRIES]; D], bias: i16, values: &[i8], bytes: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(avx2::Fill { simd, trits, bias, values, bytes });
    }
    let lanes = values.chunks(LANE_BYTES * D).chain(std::iter::repeat(&[][..]));
    for (bytes, lane) in bytes.as_chunks_mut::<TABLES_BYTES>().0.iter_mut().zip(lanes) {
        // Columns beyond the last count nothing.
        let mut columns = [[0; LANE_BYTES]; D];
        columns.as_flattened_mut()[..lane.len()].copy_from_slice(lane);
        let (low, high) = bytes.split_at_mut(TABLES_BYTES / 2);
        for byte in 0..LANE_BYTES {
            let mut sums = [bias; TABLE_ENTRIES];
            for (trits, column) in trits.iter().zip(&columns) {
                sums.iter_mut().zip(trits).for_each(|(sum, trit)| *sum += trit * i16::from(column[byte]));
            }
            let at = byte * TABLE_ENTRIES;
            for (entry, sum) in sums.into_iter().enumerate() {
                [low[at + entry], high[at + entry]] = sum.to_le_bytes();
            }
        }
    }
}

/// The same over vectors of 16 entries, which compilers were not seen to find.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;

    /// Entries of the tables of two bytes.
    const PAIR: usize = 2 * TABLE_ENTRIES;

    pub(super) struct Fill<'a, const D: usize> {
        pub(super) simd: pulp::x86::V3,
        pub(super) trits: &'a [[i16; TABLE_ENTRIES]; D],
        pub(super) bias: i16,
        pub(super) values: &'a [i8],
        pub(super) bytes: &'a mut [u8],
    }

    impl<const D: usize> pulp::NullaryFnOnce for Fill<'_, D> {
        type Output = ();

        // Loops rather than closures: a closure would be compiled without the vectors.
        #[inline(always)]
        fn call(self) {
            let Fill { simd: pulp::x86::V3 { avx, avx2, .. }, trits, bias, values, bytes } = self;
            let (bias, low_byte) = (avx._mm256_set1_epi16(bias), avx._mm256_set1_epi16(0xff));
            let mut rest = values;
            for bytes in bytes.as_chunks_mut::<TABLES_BYTES>().0 {
                let lane;
                (lane, rest) = rest.split_at(rest.len().min(LANE_BYTES * D));
                let mut columns = [[0; LANE_BYTES]; D];
                columns.as_flattened_mut()[..lane.len()].copy_from_slice(lane);
                let (low, high) = bytes.split_at_mut(TABLES_BYTES / 2);
                for pair in 0..LANE_BYTES / 2 {
                    let (mut a, mut b) = (bias, bias);
                    for d in 0..D {
                        let trits = pulp::cast(trits[d]);
                        let x = avx._mm256_set1_epi16(i16::from(columns[d][2 * pair]));
                        let y = avx._mm256_set1_epi16(i16::from(columns[d][2 * pair + 1]));
                        a = avx2._mm256_add_epi16(a, avx2._mm256_mullo_epi16(trits, x));
                        b = avx2._mm256_add_epi16(b, avx2._mm256_mullo_epi16(trits, y));
                    }
                    let lows = avx2
                        ._mm256_packus_epi16(avx2._mm256_and_si256(a, low_byte), avx2._mm256_and_si256(b, low_byte));
                    let highs =
                        avx2._mm256_packus_epi16(avx2._mm256_srli_epi16::<8>(a), avx2._mm256_srli_epi16::<8>(b));
                    // Packing works within 128 bits: its quarters are put in order.
                    let lows: [u8; PAIR] = pulp::cast(avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(lows));
                    let highs: [u8; PAIR] = pulp::cast(avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(highs));
                    low[pair * PAIR..][..PAIR].copy_from_slice(&lows);
                    high[pair * PAIR..][..PAIR].copy_from_slice(&highs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sums_with_their_bias() {
        for weights in [Weights::T200, Weights::T167] {
            let d = trits(weights);
            for x in [[-128; 50], [127; 50], std::array::from_fn(|i| (i * 37) as i8)] {
                let tables = Tables::new(weights, &x, 50, 1, 50).unwrap();
                for (group, bytes) in tables.from(0).bytes.chunks_exact(TABLES_BYTES).enumerate() {
                    for (byte, entry) in (0..4).flat_map(|byte| (0..TABLE_ENTRIES).map(move |entry| (byte, entry))) {
                        let column = |i: usize| x.get(group * 4 * d + 4 * i + byte).map_or(0, |&x| i16::from(x));
                        let sum: i16 = (0..d).map(|i| weights.index_trit(entry, i) * column(i)).sum();
                        let at = byte * TABLE_ENTRIES + entry;
                        let found = i16::from_le_bytes([bytes[at], bytes[at + TABLES_BYTES / 2]]);
                        assert_eq!(
                            found,
                            sum + weights.bias(),
                            "{weights}: entry {entry} of byte {byte}, group {group}"
                        );
                        assert!((0..=2 * weights.bias()).contains(&found));
                    }
                }
            }
        }
    }
}
