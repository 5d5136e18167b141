//! Float types to f32, bit for bit as ggml's reference decoders define them (`ggml-quants.c`).
//!
//! Called for every row of every float matrix of every token: nothing is allocated, and everything is compiled once per
//! instruction set. Two things keep it fast, both learnt from what the compiler made of simpler code: types of blocks
//! are types, not closures, since a call through `Fn` is a function of its own, compiled for the poorest instruction
//! set; and what is written has a shape that is known, so that no element asks whether there is room for it.

mod block;
mod element;
mod group;

use std::ops::Range;

use super::{Error, check_size};
use crate::gguf::Kind;
use crate::lanes::{Dispatch, Here, LANES, Lanes, Task};
use crate::prefetch::{self, Cache};
use block::{Blocks, Q2K, Q3K, Q4K, Q5_0, Q5_1, Q5K, Q6K};
use element::{Bf16, Elements, F16, F32};
use group::{Groups, Iq4Nl, Q4_0, Q4_1, Q8_0};

/// Decodes `bytes`, a whole number of blocks of `kind`, to as many floats as `out` has.
///
/// # Errors
/// If `kind` is not a float type, or `bytes` and `out` do not match.
pub fn decode(kind: Kind, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    let columns = 0..out.len();
    Rows::new(kind, bytes, 1, out.len())?.decode::<1>(0..1, columns, out);
    Ok(())
}

/// Floats of panels of R rows for `rows` rows of `k` elements, each padded to a multiple of [`LANES`].
pub(crate) fn panels<const R: usize>(rows: usize, k: usize) -> usize {
    rows.next_multiple_of(R) * k.next_multiple_of(LANES)
}

/// Rows `[rows, k]` of a float type, as they lie in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    kind: Kind,
    bytes: &'a [u8],
    /// Bytes of a row.
    row: usize,
    /// Bytes from what is decoded to what is asked for.
    ahead: usize,
}

impl<'a> Rows<'a> {
    /// # Errors
    /// If `kind` is not a float type, or the bytes are not those of so many elements.
    pub(crate) fn new(kind: Kind, bytes: &'a [u8], rows: usize, k: usize) -> Result<Self, Error> {
        if kind.is_ternary() {
            return Err(Error::NotFloat { kind });
        }
        check_size(kind, bytes.len(), rows, k)?;
        Ok(Rows { kind, bytes, row: bytes.len() / rows, ahead: prefetch::AHEAD })
    }

    /// The same, for who decodes some columns of so many rows, then others: asks for memory so many rows ahead.
    pub(crate) fn ahead(self, rows: usize) -> Self {
        Rows { ahead: rows * self.row, ..self }
    }

    /// Decodes the elements `columns` of some rows, R of them side by side: [`LANES`] elements of a row, then as many of the
    /// next one, and after R rows the next of the first. Columns begin where a block does and a multiple of [`LANES`], and
    /// end where a block does. Rows are padded with zeros to such a multiple, unless they end `out`; of the last R, those
    /// that there are not are left alone.
    ///
    /// # Panics
    /// Where there are no such rows.
    pub(crate) fn decode<const R: usize>(self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        let bytes = &self.bytes[rows.start * self.row..rows.end * self.row];
        Here.run(Decode::<R> { kind: self.kind, bytes, row: self.row, ahead: self.ahead, columns, out });
    }
}

/// Elements decoded together: a whole number of blocks of every kind.
const CHUNK: usize = 1024;

/// Of blocks of 32, the smallest that have scales.
const MAX_BLOCKS: usize = CHUNK / 32;

/// [`LANES`] elements of each of R rows.
type Panel<const R: usize> = [[f32; LANES]; R];

/// How a kind is decoded.
trait Format {
    /// Bytes of [`CHUNK`] elements.
    const CHUNK_BYTES: usize;

    /// Room for what is known of a chunk meanwhile.
    type Room;

    fn room() -> Self::Room;

    /// Up to [`CHUNK`] elements, to row `row` of `out`.
    fn decode<S: Lanes, const R: usize>(simd: S, bytes: &[u8], room: &mut Self::Room, out: &mut [Panel<R>], row: usize);
}

struct Decode<'a, const R: usize> {
    kind: Kind,
    bytes: &'a [u8],
    row: usize,
    ahead: usize,
    columns: Range<usize>,
    out: &'a mut [f32],
}

impl<const R: usize> Decode<'_, R> {
    #[inline(always)]
    fn run_as<F: Format>(self, simd: impl Lanes) {
        let Decode { bytes, row, ahead, columns, out, .. } = self;
        let bytes_of = |columns: usize| columns * F::CHUNK_BYTES / CHUNK;
        let part = bytes_of(columns.start)..bytes_of(columns.end);
        // Without padding where the end of the buffer says so.
        let panel = (columns.len().next_multiple_of(LANES) * R).min(out.len()).max(1);
        let mut room = F::room();
        for (rows, panel) in bytes.chunks(R * row).zip(out.chunks_mut(panel)) {
            let (groups, rest) = panel.as_chunks_mut();
            let groups = groups.as_chunks_mut::<R>().0;
            for (i, row) in rows.chunks_exact(row).enumerate() {
                for (bytes, out) in row[part.clone()].chunks(F::CHUNK_BYTES).zip(groups.chunks_mut(CHUNK / LANES)) {
                    prefetch::ask(bytes, ahead, Cache::First);
                    F::decode(simd, bytes, &mut room, out, i % R);
                }
                if !rest.is_empty() {
                    let mut last = [[[0.0; LANES]]];
                    let from = columns.start + columns.len() / LANES * LANES;
                    F::decode(simd, &row[bytes_of(from)..part.end], &mut room, &mut last, 0);
                    rest.copy_from_slice(&last[0][0][..rest.len()]);
                }
            }
        }
    }
}

impl<const R: usize> Task for Decode<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, simd: S) {
        match self.kind {
            Kind::F32 => self.run_as::<Elements<F32, _>>(simd),
            Kind::F16 => self.run_as::<Elements<F16, _>>(simd),
            Kind::BF16 => self.run_as::<Elements<Bf16, _>>(simd),
            Kind::Q4_0 => self.run_as::<Groups<Q4_0, _, _>>(simd),
            Kind::Q4_1 => self.run_as::<Groups<Q4_1, _, _>>(simd),
            Kind::Q5_0 => self.run_as::<Blocks<Q5_0, _, _, _, _>>(simd),
            Kind::Q5_1 => self.run_as::<Blocks<Q5_1, _, _, _, _>>(simd),
            Kind::Q8_0 => self.run_as::<Groups<Q8_0, _, _>>(simd),
            Kind::IQ4_NL => self.run_as::<Groups<Iq4Nl, _, _>>(simd),
            Kind::Q2_K => self.run_as::<Blocks<Q2K, _, _, _, _>>(simd),
            Kind::Q3_K => self.run_as::<Blocks<Q3K, _, _, _, _>>(simd),
            Kind::Q4_K => self.run_as::<Blocks<Q4K, _, _, _, _>>(simd),
            Kind::Q5_K => self.run_as::<Blocks<Q5K, _, _, _, _>>(simd),
            Kind::Q6_K => self.run_as::<Blocks<Q6K, _, _, _, _>>(simd),
            // `Rows::new` has refused the others.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lanes::widened;

    fn decoded(kind: Kind, bits: u16) -> f32 {
        let mut out = [f32::NAN; 17];
        decode(kind, &bits.to_le_bytes().repeat(17), &mut out).unwrap();
        assert!(out.iter().all(|x| x.to_bits() == out[0].to_bits()), "{bits:04x}");
        out[0]
    }

    #[test]
    fn every_half_and_bfloat_widens_exactly() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits).to_f32();
            let ours = widened(bits.to_le_bytes());
            assert!(decoded(Kind::F16, bits).to_bits() == ours.to_bits() || ours.is_nan(), "{bits:04x}");
            assert!(ours.to_bits() == half.to_bits() || ours.is_nan() && half.is_nan(), "{bits:04x}: {ours} {half}");
            let brain = half::bf16::from_bits(bits).to_f32();
            let ours = decoded(Kind::BF16, bits);
            assert!(ours.to_bits() == brain.to_bits() || ours.is_nan() && brain.is_nan(), "{bits:04x}: {ours} {brain}");
        }
    }

    /// Element `i` of a tensor, by the formula of its type and nothing else: one element at a time, bit by bit.
    fn element(kind: Kind, bytes: &[u8], i: usize) -> f32 {
        let format = kind.format().unwrap();
        let (size, i, block) = (format.bytes as usize, i % format.elements as usize, i / format.elements as usize);
        let b = &bytes[block * size..][..size];
        let half = |at: usize| half::f16::from_le_bytes([b[at], b[at + 1]]).to_f32();
        let bits = |byte: u8, at: usize, count: u32| i32::from(byte) >> at & ((1 << count) - 1);
        // Scale and minimum of Q4_K and Q5_K, whose 12 bytes start at 4.
        let pair = |g: usize| {
            let s = &b[4..16];
            match g {
                0..4 => (bits(s[g], 0, 6), bits(s[g + 4], 0, 6)),
                _ => (bits(s[g + 4], 0, 4) + 16 * bits(s[g - 4], 6, 2), bits(s[g + 4], 4, 4) + 16 * bits(s[g], 6, 2)),
            }
        };
        let nibble = |at: usize| bits(b[at + i % 16], i / 16 * 4, 4);
        let (half128, quarter, p) = (i / 128, i % 128 / 32, i % 32);
        match kind {
            Kind::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Kind::F16 => half(0),
            Kind::BF16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            Kind::Q4_0 => half(0) * (nibble(2) - 8) as f32,
            Kind::Q4_1 => half(0) * nibble(4) as f32 + half(2),
            Kind::Q5_0 => half(0) * (nibble(6) + 16 * bits(b[2 + i / 8], i % 8, 1) - 16) as f32,
            Kind::Q5_1 => half(0) * (nibble(8) + 16 * bits(b[4 + i / 8], i % 8, 1)) as f32 + half(2),
            Kind::Q8_0 => half(0) * f32::from(b[2 + i] as i8),
            Kind::IQ4_NL => {
                let steps = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
                half(0) * steps[nibble(2) as usize] as f32
            }
            Kind::Q2_K => {
                let (scale, min) = (bits(b[i / 16], 0, 4), bits(b[i / 16], 4, 4));
                let q = bits(b[16 + 32 * half128 + p], 2 * quarter, 2);
                half(80) * scale as f32 * q as f32 - half(82) * min as f32
            }
            Kind::Q3_K => {
                let g = i / 16;
                let scale = bits(b[96 + g % 8], g / 8 * 4, 4) + 16 * bits(b[104 + g % 4], g / 4 * 2, 2) - 32;
                let q = bits(b[32 + 32 * half128 + p], 2 * quarter, 2) + 4 * bits(b[p], i / 32, 1) - 4;
                half(108) * scale as f32 * q as f32
            }
            Kind::Q4_K => {
                let (scale, min) = pair(i / 32);
                let q = bits(b[16 + i / 64 * 32 + p], i / 32 % 2 * 4, 4);
                half(0) * scale as f32 * q as f32 - half(2) * min as f32
            }
            Kind::Q5_K => {
                let (scale, min) = pair(i / 32);
                let q = bits(b[48 + i / 64 * 32 + p], i / 32 % 2 * 4, 4) + 16 * bits(b[16 + p], i / 32, 1);
                half(0) * scale as f32 * q as f32 - half(2) * min as f32
            }
            Kind::Q6_K => {
                let low = bits(b[64 * half128 + quarter % 2 * 32 + p], quarter / 2 * 4, 4);
                let q = low + 16 * bits(b[128 + 32 * half128 + p], 2 * quarter, 2) - 32;
                half(208) * f32::from(b[192 + i / 16] as i8) * q as f32
            }
            _ => unreachable!("{kind} is not a float type"),
        }
    }

    #[rustfmt::skip]
    const KINDS: [Kind; 14] = [
        Kind::F32, Kind::F16, Kind::BF16, Kind::Q4_0, Kind::Q4_1, Kind::Q5_0, Kind::Q5_1, Kind::Q8_0,
        Kind::IQ4_NL, Kind::Q2_K, Kind::Q3_K, Kind::Q4_K, Kind::Q5_K, Kind::Q6_K,
    ];

    /// Some blocks of a kind, and the elements in them.
    fn cycled(kind: Kind, blocks: usize, noise: &[u8]) -> (Vec<u8>, usize) {
        let format = kind.format().unwrap();
        // Enough of plain elements for more than one of everything, and some over.
        let blocks = if format.elements == 1 { blocks * 31 } else { blocks };
        let bytes = noise.iter().copied().cycle().take(blocks * format.bytes as usize);
        (bytes.collect(), blocks * format.elements as usize)
    }

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
    }

    proptest! {
        /// Any bytes whatever, infinite and NaN scales among them.
        #[test]
        fn decodes_as_the_formula_says(
            kind in prop::sample::select(&KINDS[..]),
            blocks in 0usize..70,
            noise in prop::collection::vec(any::<u8>(), 4 * 210),
        ) {
            let (bytes, elements) = cycled(kind, blocks, &noise);
            let mut out = vec![f32::NAN; elements];
            if blocks == 0 {
                prop_assert!(decode(kind, &bytes, &mut out).unwrap_err().to_string().contains("dimension 0 is 0"));
                return Ok(());
            }
            decode(kind, &bytes, &mut out).unwrap();
            for (i, &ours) in out.iter().enumerate() {
                let theirs = element(kind, &bytes, i);
                prop_assert!(same(ours, theirs), "{kind} element {i}: {ours} instead of {theirs}");
            }
        }

        /// Whatever columns are asked for, and whatever rows stand next to each other.
        #[test]
        fn panels_hold_what_rows_do(
            kind in prop::sample::select(&KINDS[..]),
            blocks in 1usize..70,
            rows in 1usize..7,
            cut in (0.0..1.0, 0.0..1.0),
            noise in prop::collection::vec(any::<u8>(), 4 * 210),
        ) {
            let (bytes, elements) = cycled(kind, rows * blocks, &noise);
            let (k, block) = (elements / rows, kind.format().unwrap().elements as usize);
            let first = block.max(LANES);
            let from = (cut.0 * (k / first) as f64) as usize * first;
            let to = from + (cut.1 * ((k - from) / block) as f64) as usize * block + block;
            let to = to.min(k);
            let mut whole = vec![f32::NAN; elements];
            decode(kind, &bytes, &mut whole).unwrap();
            let data = Rows::new(kind, &bytes, rows, k).unwrap();
            let check = |side_by_side: usize, part: &[f32]| {
                let padded = (to - from).next_multiple_of(LANES);
                for (at, &found) in part.iter().enumerate() {
                    let (panel, at) = (at / (side_by_side * padded), at % (side_by_side * padded));
                    let row = panel * side_by_side + at / LANES % side_by_side;
                    let column = from + at / LANES / side_by_side * LANES + at % LANES;
                    let expected = match (row < rows, column < to) {
                        (false, _) => 7.5,
                        (true, false) => 0.0,
                        (true, true) => whole[row * k + column],
                    };
                    prop_assert!(same(found, expected), "{kind} {from}..{to}, row {row}, column {column}");
                }
                Ok(())
            };
            let mut part = vec![7.5; panels::<4>(rows, to - from)];
            data.decode::<4>(0..rows, from..to, &mut part);
            check(4, &part)?;
            let mut part = vec![7.5; panels::<1>(rows, to - from)];
            data.decode::<1>(0..rows, from..to, &mut part);
            check(1, &part)?;
        }
    }

    /// Every instruction set that this machine has.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_width_of_vectors_changes_no_bit() {
        let noise: Vec<u8> = (0..4 * 210u32).map(|i| (i * i % 251) as u8).collect();
        for kind in KINDS {
            let (bytes, elements) = cycled(kind, 37, &noise);
            let scalar = decoded_by(pulp::Scalar, kind, &bytes, elements);
            let mut wider = vec![decoded_by(Here, kind, &bytes, elements)];
            wider.extend(pulp::x86::V3::try_new().map(|v3| decoded_by(v3, kind, &bytes, elements)));
            for wider in wider {
                assert!(wider.iter().zip(&scalar).all(|(&a, &b)| same(a, b)), "{kind}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn decoded_by(machine: impl Dispatch, kind: Kind, bytes: &[u8], elements: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; elements];
        let row = bytes.len();
        machine.run(Decode::<1> { kind, bytes, row, ahead: 0, columns: 0..elements, out: &mut out });
        out
    }

    #[test]
    fn what_does_not_match_is_refused() {
        let refused = |kind, bytes, floats| decode(kind, &vec![0; bytes], &mut vec![0.0; floats]).unwrap_err();
        assert_eq!(refused(Kind::TQ1_0, 54, 256), Error::NotFloat { kind: Kind::TQ1_0 });
        assert!(refused(Kind::Unknown(42), 18, 64).to_string().contains("cannot compute with tensors of type 42"));
        assert!(refused(Kind::Q8_0, 33, 32).to_string().contains("1 x 32 weights are 34 bytes as Q8_0, not 33"));
        assert!(refused(Kind::Q8_0, 34, 33).to_string().contains("not a multiple of the 32 in a block of Q8_0"));
    }
}
