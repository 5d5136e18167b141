//! A ternary tensor whose rows are decoded some at a time: who packs it needs no byte a weight for all of it.

use std::ops::Range;

use super::trits::{self, Cut, Scales};
use super::{Error, base3, check_size, lookup, size};
use crate::gguf::{Format, Kind, ScalePlace};

/// Codes that are decoded together where only one question is asked about them: they stay in the cache.
const CHUNK: usize = 64 << 10;

/// A ternary tensor of n rows of k weights, as it lies in a file.
#[derive(Debug)]
pub struct Rows<'a> {
    kind: Kind,
    format: &'static Format,
    place: ScalePlace,
    n: usize,
    k: usize,
    bytes: &'a [u8],
    /// Bytes of blocks and heads, without what follows them.
    blocks: &'a [u8],
    /// The least that can be decoded alone: a block, or the rows that lie together.
    unit: Cut,
    digits: base3::Digits,
}

impl<'a> Rows<'a> {
    /// The tensor of a ternary `kind` in `bytes`.
    ///
    /// The scale of a lookup type may be missing behind its blocks: it is 1 then, and the caller knows the tensor that has
    /// it.
    ///
    /// # Errors
    /// If `kind` is not ternary or `bytes` has the wrong size; if the tiles of a lookup type are not known.
    pub fn new(kind: Kind, bytes: &'a [u8], n: usize, k: usize) -> Result<Self, Error> {
        let (format, place) = trits::ternary(kind)?;
        super::check(kind, n, k)?;
        let trailer = format.trailer as usize;
        let payload = size(kind, n, k)? - trailer;
        if !(kind.is_lookup() && bytes.len() == payload) {
            check_size(kind, bytes.len(), n, k)?;
        }
        let blocks = &bytes[..payload];
        let unit = Cut::unit(format, k);
        let digits = match kind {
            Kind::IQ1_BN => base3::Digits::of(blocks.chunks_exact(unit.bytes).map(|run| &run[unit.head..])),
            _ => base3::Digits::MostFirst,
        };
        Ok(Rows { kind, format, place, n, k, bytes, blocks, unit, digits })
    }

    /// Rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Weights of a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Whether any rows cost little more than their share; if not, all are decoded for any.
    pub fn is_divisible(&self) -> bool {
        !self.kind.is_lookup()
    }

    /// Decodes some rows: trit + 1 of each weight, `[rows, k]`.
    ///
    /// # Errors
    /// Where a code is not 0, 1 or 2.
    ///
    /// # Panics
    /// Where there are no such rows, or `out` is not of their size.
    pub fn read(&self, rows: Range<usize>, out: &mut [u8]) -> Result<(), Error> {
        assert!(rows.end <= self.n && out.len() == rows.len() * self.k, "rows {rows:?} of {}", self.n);
        let (start, end) = (rows.start * self.k, rows.end * self.k);
        if self.kind.is_lookup() {
            let all = lookup::decode(self.kind, self.blocks, self.n, self.k)?;
            out.copy_from_slice(&all[start..end]);
        } else {
            let units = start / self.unit.elements..end.div_ceil(self.unit.elements);
            let covered = units.start * self.unit.elements..units.end * self.unit.elements;
            if covered == (start..end) {
                self.unpack(units, out);
            } else {
                // A row may begin inside a block.
                let mut codes = vec![0; covered.len()];
                self.unpack(units, &mut codes);
                out.copy_from_slice(&codes[start - covered.start..][..out.len()]);
            }
        }
        trits::check_codes(self.kind, out, rows.start, self.k)
    }

    fn unpack(&self, units: Range<usize>, out: &mut [u8]) {
        let Cut { bytes, head, elements } = self.unit;
        let blocks = &self.blocks[units.start * bytes..units.end * bytes];
        if head == 0 {
            return trits::unpack(self.kind, self.digits, blocks, out);
        }
        for (run, codes) in blocks.chunks_exact(bytes).zip(out.chunks_exact_mut(elements)) {
            trits::unpack(self.kind, self.digits, &run[head..], codes);
        }
    }

    /// The scales of all rows. Where they differ, codes are looked at: scales of nothing but zeros say nothing.
    ///
    /// # Errors
    /// Where a scale is not finite; where a code that had to be looked at is not 0, 1 or 2.
    pub fn scales(&self) -> Result<Scales, Error> {
        self.scales_with(|size| {
            let mut used = Vec::with_capacity(self.n * (self.k / size).max(1));
            // Whole units, so that none is decoded twice.
            let rows = (CHUNK / self.k).max(1).next_multiple_of(self.format.rows as usize);
            let mut codes = Vec::new();
            for start in (0..self.n).step_by(rows) {
                let rows = start..(start + rows).min(self.n);
                codes.resize(rows.len() * self.k, 0);
                self.read(rows, &mut codes)?;
                used.extend(is_used(&codes, size));
            }
            Ok(used)
        })
    }

    /// The scales of all rows, whose `codes` are known.
    pub(super) fn scales_of(&self, codes: &[u8]) -> Result<Scales, Error> {
        self.scales_with(|size| Ok(is_used(codes, size).collect()))
    }

    fn scales_with(&self, used: impl FnOnce(usize) -> Result<Vec<bool>, Error>) -> Result<Scales, Error> {
        let (n, k) = (self.n, self.k);
        let scales = match self.bytes.len() == self.blocks.len() && self.kind.is_lookup() {
            true => vec![1.0],
            false => trits::scales(self.format, self.place, self.bytes, k),
        };
        let size = trits::elements_under_one(self.format, self.place, n, k);
        trits::check_scales(self.kind, &scales, size, k)?;
        let scales = match Scales::are_same(&scales) {
            true => scales,
            false => Scales::over_zeros(scales, used(size)?, k / size),
        };
        Ok(Scales::fold(scales, size, k))
    }
}

/// Whether each `size` codes have one that is no zero.
fn is_used(codes: &[u8], size: usize) -> impl Iterator<Item = bool> {
    codes.chunks_exact(size).map(|codes| codes.iter().any(|&code| code != 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quant::Trits;

    /// Types, and a shape of each: as few rows as lie together, rows that begin inside a block, tiles that are published.
    const CASES: [(Kind, usize, usize); 15] = [
        (Kind::I2_S, 5, 256),
        (Kind::I2_S, 8, 80),
        (Kind::I2_S, 64, 6),
        (Kind::I2_S_ARM64, 4, 80),
        (Kind::TQ1_0, 3, 512),
        (Kind::TQ2_0, 3, 512),
        (Kind::Q2_0, 5, 192),
        (Kind::Q2_0_G128, 3, 384),
        (Kind::PQ2_0, 3, 384),
        (Kind::IQ1_BN, 5, 192),
        (Kind::IQ2_BN, 5, 192),
        (Kind::IQ2_BN_R4, 4, 128),
        (Kind::IQ2_BN_R4, 12, 64),
        (Kind::TL1, 1536, 1536),
        (Kind::TL2, 1536, 1536),
    ];

    /// Codes of which a third of the runs of 64 are zeros throughout, and scales as fine as the type has them, 0 for zeros.
    fn trits(kind: Kind, n: usize, k: usize, seed: u64) -> Trits {
        let random =
            |i: usize| ((i as u64 + 1).wrapping_mul(seed | 1).rotate_left(29).wrapping_mul(seed | 3) >> 40) as usize;
        let codes: Vec<u8> =
            (0..n * k).map(|i| if random(i / 64) % 3 == 0 { 1 } else { (random(i) % 3) as u8 }).collect();
        let (format, place) = trits::ternary(kind).unwrap();
        let size = trits::elements_under_one(format, place, n, k);
        let scale = |(i, codes): (usize, &[u8])| match codes.iter().all(|&code| code == 1) {
            true => 0.0,
            false => [0.25, 0.5, 0.5, 2.0][random(i) % 4],
        };
        let scales: Vec<f32> = codes.chunks(size).enumerate().map(scale).collect();
        let scales = match size {
            _ if scales.len() == 1 => Scales::Tensor(scales[0]),
            size if size == k => Scales::Row(scales),
            size => Scales::Block { size, scales },
        };
        Trits { n, k, codes, scales }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn some_rows_are_those_of_the_whole(case in prop::sample::select(&CASES[..13]), seed: u64) {
            let (kind, n, k) = case;
            let trits = trits(kind, n, k, seed);
            let bytes = trits::encode(kind, &trits).unwrap();
            let rows = Rows::new(kind, &bytes, n, k).unwrap();
            for (start, end) in (0..n).flat_map(|start| (start..=n).map(move |end| (start, end))) {
                let mut codes = vec![9; (end - start) * k];
                rows.read(start..end, &mut codes).unwrap();
                prop_assert_eq!(&codes[..], &trits.codes[start * k..end * k], "{} {}..{}", kind, start, end);
            }
            prop_assert_eq!(rows.scales().unwrap(), trits::decode(kind, &bytes, n, k).unwrap().scales);
        }
    }

    #[test]
    fn rows_of_tiles_are_those_of_the_whole() {
        for (kind, n, k) in CASES[13..].iter().copied() {
            let trits = trits(kind, n, k, 7);
            let bytes = trits::encode(kind, &trits).unwrap();
            let rows = Rows::new(kind, &bytes, n, k).unwrap();
            let mut codes = vec![9; 40 * k];
            rows.read(700..740, &mut codes).unwrap();
            assert!(!rows.is_divisible() && codes == trits.codes[700 * k..740 * k], "{kind}");
            assert_eq!(rows.scales().unwrap(), trits.scales);
            // The scale is another tensor's.
            let apart = Rows::new(kind, &bytes[..bytes.len() - 32], n, k).unwrap();
            assert_eq!(apart.scales().unwrap(), Scales::Tensor(1.0));
        }
    }

    #[test]
    fn damage_is_told_where_it_is() {
        let (n, k) = (6, 256);
        let mut bytes = trits::encode(Kind::I2_S, &trits(Kind::I2_S, n, k, 5)).unwrap();
        bytes[4 * k / 4 + 7] |= 3 << 4;
        let rows = Rows::new(Kind::I2_S, &bytes, n, k).unwrap();
        let mut codes = vec![0; 2 * k];
        rows.read(0..2, &mut codes).unwrap();
        let error = rows.read(3..5, &mut codes).unwrap_err().to_string();
        assert!(error.contains("row 4, column 39 has code 3"), "{error}");
        assert!(Rows::new(Kind::I2_S, &bytes[1..], n, k).is_err());
        assert!(Rows::new(Kind::F16, &bytes, n, k).is_err());
    }
}
