//! Ternary types to trits and back. `code` = trit + 1: 0, 1 or 2.
//!
//! Where blocks and scales lie is in the table of [`Format`]s; how codes lie in a block is a file of its own for each
//! family of types.

use multiversion::multiversion;

pub use super::rows::Rows;
pub use super::scales::Scales;
use super::{Error, base3, each, lookup, planes, rows4, sequence, size};
use crate::gguf::{Format, Kind, ScalePlace};

/// A matrix of n rows of k ternary weights: trit times scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Trits {
    /// Rows: outputs.
    pub n: usize,
    /// Elements in a row: what is summed over.
    pub k: usize,
    /// trit + 1 of each weight, one byte each, row by row: `[n, k]`.
    pub codes: Vec<u8>,
    /// What the trits are multiplied with.
    pub scales: Scales,
}

impl Trits {
    /// The weights of one row: `[k]`.
    ///
    /// # Panics
    /// Where there is no such row, or `out` is not of its length.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let codes = &self.codes[row * self.k..][..self.k];
        assert_eq!(out.len(), self.k, "the length of a row");
        for (column, (out, &code)) in out.iter_mut().zip(codes).enumerate() {
            *out = (f32::from(code) - 1.0) * self.scales.at(self.k, row, column);
        }
    }
}

/// Decodes a tensor of `n` rows of `k` weights of a ternary `kind`.
///
/// The scale of a lookup type may be missing behind its blocks: it is 1 then, and the caller knows the tensor that has it.
///
/// # Errors
/// If `kind` is not ternary, `bytes` has the wrong size, a code is not 0, 1 or 2, or a scale is not finite; if the tiles
/// of a lookup type are not known.
pub fn decode(kind: Kind, bytes: &[u8], n: usize, k: usize) -> Result<Trits, Error> {
    let rows = Rows::new(kind, bytes, n, k)?;
    let mut codes = vec![0; n * k];
    rows.read(0..n, &mut codes)?;
    let scales = rows.scales_of(&codes)?;
    Ok(Trits { n, k, codes, scales })
}

/// Encodes weights as a tensor of a ternary `kind`, exactly.
///
/// # Errors
/// If `kind` is not ternary or cannot say these weights exactly: its scales may be for more weights, or half-precision
/// numbers ([`Scales::round_f16`]); or if the parts of `trits` do not fit together.
pub fn encode(kind: Kind, trits: &Trits) -> Result<Vec<u8>, Error> {
    let (format, place) = ternary(kind)?;
    let Trits { n, k, ref codes, ref scales } = *trits;
    let bytes = size(kind, n, k)?;
    let count = |what, need, found| {
        if need == found { Ok(()) } else { Err(Error::Count { what, rows: n, k, need, found }) }
    };
    count("codes", n * k, codes.len())?;
    check_codes(kind, codes, 0, k)?;
    let own = scales.size(n, k);
    if own == 0 || !(n * k).is_multiple_of(own) || own < k && !k.is_multiple_of(own) {
        return Err(Error::Blocks { k, size: own });
    }
    count("scales", n * k / own, scales.numbers().len())?;
    check_scales(kind, scales.numbers(), own, k)?;

    let under = elements_under_one(format, place, n, k);
    let Some(said) = scales.each(under, n, k) else {
        return Err(Error::Granularity { kind, found: scales.describe(), others: holding(trits) });
    };
    if place.is_half()
        && let Some(&scale) =
            said.iter().find(|scale| half::f16::from_f32(**scale).to_f32().to_bits() != scale.to_bits())
    {
        return Err(Error::Inexact { kind, scale });
    }
    let mut out = vec![0; bytes];
    if kind.is_lookup() {
        lookup::encode(kind, codes, n, k, &mut out)?;
    } else {
        let blocks = &mut out[..before_trailer(format, bytes)];
        let cut = Cut::new(format, blocks.len(), k);
        for (run, codes) in blocks.chunks_exact_mut(cut.bytes).zip(codes.chunks_exact(cut.elements)) {
            pack(kind, codes, &mut run[cut.head..]);
        }
    }
    write_scales(format, place, &said, k, &mut out);
    Ok(out)
}

/// Types that can say these weights, but for the precision of their scales.
fn holding(trits: &Trits) -> String {
    let (n, k) = (trits.n, trits.k);
    let holds = |kind: &Kind| {
        let Ok((format, place)) = ternary(*kind) else { return false };
        let written = !kind.is_lookup() && *kind != Kind::I2_S_ARM64;
        written
            && size(*kind, n, k).is_ok()
            && trits.scales.each(elements_under_one(format, place, n, k), n, k).is_some()
    };
    let names: Vec<String> = Kind::all().filter(holds).chain([Kind::F32]).map(|kind| kind.to_string()).collect();
    names.join(", ")
}

pub(super) fn ternary(kind: Kind) -> Result<(&'static Format, ScalePlace), Error> {
    match (kind, kind.format()) {
        (_, Some(format @ Format { scales: Some(place), .. })) => Ok((format, *place)),
        (Kind::Unknown(_), _) => Err(Error::Unknown { kind }),
        _ => Err(Error::NotTernary { kind }),
    }
}

/// Elements that share a scale, of `n` rows of `k`.
pub(super) fn elements_under_one(format: &Format, place: ScalePlace, n: usize, k: usize) -> usize {
    match place {
        ScalePlace::Tensor => n * k,
        ScalePlace::RowF32 | ScalePlace::RowF16 => k,
        ScalePlace::BlockStart | ScalePlace::BlockEnd => format.elements as usize,
    }
}

/// How blocks are cut: into runs, and what lies before each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Bytes of a run with its head.
    pub(super) bytes: usize,
    /// Bytes of its head.
    pub(super) head: usize,
    /// Elements of a run.
    pub(super) elements: usize,
}

impl Cut {
    /// Of `bytes` bytes of blocks and heads.
    fn new(format: &Format, bytes: usize, k: usize) -> Cut {
        let unit = Cut::unit(format, k);
        if unit.head == 0 {
            // All of it is one run.
            return Cut { bytes, head: 0, elements: bytes / unit.bytes * unit.elements };
        }
        unit
    }

    /// The shortest run of rows of `k`: a block where nothing lies before those of a row, else the rows that lie together.
    pub(super) fn unit(format: &Format, k: usize) -> Cut {
        let (bytes, rows, head) = (format.bytes as usize, format.rows as usize, format.head as usize);
        let elements = format.elements as usize;
        match head {
            0 => Cut { bytes, head, elements },
            _ => Cut { bytes: rows * (head + k / elements * bytes), head: rows * head, elements: rows * k },
        }
    }
}

/// Bytes of blocks and heads, of `bytes` in all.
fn before_trailer(format: &Format, bytes: usize) -> usize {
    bytes - format.trailer as usize
}

pub(super) fn scales(format: &Format, place: ScalePlace, bytes: &[u8], k: usize) -> Vec<f32> {
    let half = |bytes: &[u8; 2]| half::f16::from_le_bytes(*bytes).to_f32();
    let single = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    let cut = Cut::new(format, before_trailer(format, bytes.len()), k);
    let heads = bytes.chunks_exact(cut.bytes).map(|run| &run[..cut.head]);
    let blocks = bytes.chunks_exact(format.bytes as usize);
    match place {
        ScalePlace::Tensor => {
            let trailer = &bytes[before_trailer(format, bytes.len())..];
            trailer.first_chunk().map(single).into_iter().collect()
        }
        ScalePlace::RowF32 => heads.flat_map(|head| head.as_chunks().0).map(single).collect(),
        ScalePlace::RowF16 => heads.flat_map(|head| head.as_chunks().0).map(half).collect(),
        ScalePlace::BlockStart => blocks.filter_map(|block| block.first_chunk()).map(half).collect(),
        ScalePlace::BlockEnd => blocks.filter_map(|block| block.last_chunk()).map(half).collect(),
    }
}

/// Writes scales, one for as many elements as the type has under one, in order.
fn write_scales(format: &Format, place: ScalePlace, scales: &[f32], k: usize, out: &mut [u8]) {
    let half = |scale: f32| half::f16::from_f32(scale).to_le_bytes();
    let (blocks, block) = (before_trailer(format, out.len()), format.bytes as usize);
    let cut = Cut::new(format, blocks, k);
    match place {
        ScalePlace::Tensor => out[blocks..][..4].copy_from_slice(&scales[0].to_le_bytes()),
        ScalePlace::RowF32 => {
            let heads = out.chunks_exact_mut(cut.bytes).map(|run| &mut run[..cut.head]);
            heads
                .flat_map(|head| head.as_chunks_mut::<4>().0)
                .zip(scales)
                .for_each(|(out, scale)| *out = scale.to_le_bytes());
        }
        ScalePlace::RowF16 => {
            let heads = out.chunks_exact_mut(cut.bytes).map(|run| &mut run[..cut.head]);
            heads.flat_map(|head| head.as_chunks_mut().0).zip(scales).for_each(|(out, scale)| *out = half(*scale));
        }
        ScalePlace::BlockStart => {
            let blocks = out.chunks_exact_mut(block).zip(scales);
            blocks.for_each(|(block, scale)| block[..2].copy_from_slice(&half(*scale)));
        }
        ScalePlace::BlockEnd => {
            let blocks = out.chunks_exact_mut(block).zip(scales);
            blocks.for_each(|(out, scale)| out[block - 2..].copy_from_slice(&half(*scale)));
        }
    }
}

/// Checks the codes of rows of `k`, of which `row` is the first.
pub(super) fn check_codes(kind: Kind, codes: &[u8], row: usize, k: usize) -> Result<(), Error> {
    if largest(codes) <= 2 {
        return Ok(());
    }
    let invalid = codes.iter().enumerate().find(|&(_, &code)| code > 2);
    invalid.map_or(Ok(()), |(at, &code)| Err(Error::Code { kind, row: row + at / k, column: at % k, code }))
}

/// Checks scales for `size` elements each of rows of `k`.
pub(super) fn check_scales(kind: Kind, scales: &[f32], size: usize, k: usize) -> Result<(), Error> {
    match scales.iter().position(|scale| !scale.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Scale { kind, row: at * size / k, column: at * size % k, scale: scales[at] }),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn largest(codes: &[u8]) -> u8 {
    codes.iter().fold(0, |largest, &code| largest.max(code))
}

/// Decodes a run of blocks of a ternary `kind` to as many codes as `out` has; `digits` are those of IQ1_BN.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn unpack(kind: Kind, digits: base3::Digits, bytes: &[u8], out: &mut [u8]) {
    match kind {
        Kind::I2_S => each(bytes, out, |bytes: &[u8; 32], out| planes::unpack::<_, 128>(bytes, out, planes::DOWN)),
        Kind::I2_S_ARM64 => each(bytes, out, |bytes: &[u8; 16], out| planes::unpack::<_, 64>(bytes, out, planes::DOWN)),
        Kind::TQ2_0 => each(bytes, out, |[halves @ .., _, _]: &[u8; 66], out: &mut [u8; 256]| {
            each(halves, out, |bytes: &[u8; 32], out| planes::unpack::<_, 128>(bytes, out, planes::UP));
        }),
        Kind::TQ1_0 => each(bytes, out, base3::unpack_tq1_0),
        Kind::Q2_0 => each(bytes, out, sequence::unpack::<18, 64>),
        Kind::Q2_0_G128 | Kind::PQ2_0 => each(bytes, out, sequence::unpack::<34, 128>),
        Kind::IQ1_BN => each(bytes, out, |bytes, out| base3::unpack_iq1_bn(bytes, digits, out)),
        Kind::IQ2_BN => each(bytes, out, |bytes: &[u8; 16], out| planes::unpack::<_, 64>(bytes, out, planes::UP)),
        Kind::IQ2_BN_R4 => rows4::unpack(bytes, out),
        // Lookup types have tiles, not runs, and `ternary` has refused the others.
        _ => {}
    }
}

/// Encodes codes as a run of blocks of a ternary `kind`, into zeros.
fn pack(kind: Kind, codes: &[u8], out: &mut [u8]) {
    match kind {
        Kind::I2_S => each(codes, out, |codes: &[u8; 128], out| planes::pack::<32, _>(codes, out, planes::DOWN)),
        Kind::I2_S_ARM64 => each(codes, out, |codes: &[u8; 64], out| planes::pack::<16, _>(codes, out, planes::DOWN)),
        Kind::TQ2_0 => each(codes, out, |codes: &[u8; 256], [halves @ .., _, _]: &mut [u8; 66]| {
            each(codes, halves, |codes: &[u8; 128], out| planes::pack::<32, _>(codes, out, planes::UP));
        }),
        Kind::TQ1_0 => each(codes, out, base3::pack_tq1_0),
        Kind::Q2_0 => each(codes, out, sequence::pack::<18, 64>),
        Kind::Q2_0_G128 | Kind::PQ2_0 => each(codes, out, sequence::pack::<34, 128>),
        Kind::IQ1_BN => each(codes, out, base3::pack_iq1_bn),
        Kind::IQ2_BN => each(codes, out, |codes: &[u8; 64], out| planes::pack::<16, _>(codes, out, planes::UP)),
        Kind::IQ2_BN_R4 => rows4::pack(codes, out),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every ternary type whose blocks lie in runs.
    const KINDS: [Kind; 10] = [
        Kind::I2_S,
        Kind::I2_S_ARM64,
        Kind::TQ1_0,
        Kind::TQ2_0,
        Kind::Q2_0,
        Kind::Q2_0_G128,
        Kind::PQ2_0,
        Kind::IQ1_BN,
        Kind::IQ2_BN,
        Kind::IQ2_BN_R4,
    ];

    /// Digit i of a byte in base 3.
    fn digit(byte: u8, i: usize) -> u8 {
        ((u32::from(byte) * 3u32.pow(i as u32) % 256 * 3) >> 8) as u8
    }

    /// Whether a row of IQ1_BN is written from the digit on that weighs most: ik_llama.cpp's fifth digit of the 13th byte
    /// is always 0.
    fn most_first(row: &[u8]) -> bool {
        row[2..].chunks(13).any(|block| digit(block[12], 0) != 0)
    }

    /// The code of the element in `row` and `column` as the formats' descriptions have it: one element at a time. Digits
    /// of IQ1_BN as ik_llama.cpp's `quantize_row_iq1_bn` weighs them, 1, 3, 9, 27, 81, or the other way round.
    fn code(kind: Kind, most_first: bool, bytes: &[u8], k: usize, row: usize, column: usize) -> u8 {
        let (i, c) = (row * k + column, column);
        let two_bits = |byte: usize, shift: usize| bytes[byte] >> shift & 3;
        match kind {
            Kind::I2_S => two_bits(i / 128 * 32 + i % 32, 6 - 2 * (i % 128 / 32)),
            Kind::I2_S_ARM64 => two_bits(i / 64 * 16 + i % 16, 6 - 2 * (i % 64 / 16)),
            Kind::TQ2_0 => two_bits(i / 256 * 66 + i % 256 / 128 * 32 + i % 32, 2 * (i % 128 / 32)),
            Kind::Q2_0 => two_bits(i / 64 * 18 + 2 + i % 64 / 4, 2 * (i % 4)),
            Kind::Q2_0_G128 | Kind::PQ2_0 => two_bits(i / 128 * 34 + 2 + i % 128 / 4, 2 * (i % 4)),
            Kind::IQ2_BN => two_bits(row * (4 + k / 4) + 4 + c / 64 * 16 + c % 16, 2 * (c % 64 / 16)),
            Kind::IQ2_BN_R4 => {
                let (l, q, i) = (c % 64 / 16, c % 16 / 4, c % 4);
                two_bits(row / 4 * (16 + k) + 16 + c / 64 * 64 + 16 * l + 4 * (row % 4) + i, 2 * q)
            }
            Kind::IQ1_BN => {
                let block = row * (2 + k / 64 * 13) + 2 + c / 64 * 13;
                let (group, place) = (c % 64 / 16, c % 16);
                let (byte, i) = if place == 15 { (12, group) } else { (3 * group + place / 5, place % 5) };
                digit(bytes[block + byte], if most_first { i } else { 4 - i })
            }
            _ => {
                let (block, i) = (&bytes[i / 256 * 54..], i % 256);
                match i {
                    0..160 => digit(block[i % 32], i / 32),
                    160..240 => digit(block[32 + (i - 160) % 16], (i - 160) / 16),
                    _ => digit(block[48 + (i - 240) % 4], (i - 240) / 4),
                }
            }
        }
    }

    /// Weights of 4 · `fours` rows, whose scales are as fine as `grain` says: for the tensor, rows, or so many elements.
    fn trits(fours: usize, blocks: usize, grain: usize) -> impl Strategy<Value = Trits> {
        let (n, k) = (4 * fours, blocks * 256);
        let size = match grain {
            0 => n * k,
            1 => k,
            size => size,
        };
        let codes = prop::collection::vec(0u8..3, n * k);
        let scales = prop::collection::vec(-60000f32..60000.0, n * k / size);
        (codes, scales).prop_map(move |(codes, scales)| {
            // Rounded before they are folded: two that round to one are one.
            let halves = Scales::Row(scales).round_f16();
            Trits { n, k, codes, scales: Scales::fold(halves.numbers().to_vec(), size, k) }
        })
    }

    /// Whether a type has room for such scales.
    fn holds(kind: Kind, scales: &Scales, k: usize) -> bool {
        let size = scales.size(4, k);
        match kind {
            Kind::I2_S | Kind::I2_S_ARM64 => matches!(scales, Scales::Tensor(_)),
            Kind::IQ1_BN | Kind::IQ2_BN | Kind::IQ2_BN_R4 => !matches!(scales, Scales::Block { .. }),
            Kind::TQ1_0 | Kind::TQ2_0 => size.is_multiple_of(256),
            Kind::Q2_0 => true,
            _ => size.is_multiple_of(128),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            kind in prop::sample::select(&KINDS[..]),
            trits in (1usize..3, 1usize..4, prop::sample::select(&[0usize, 1, 64, 128, 256][..]))
                .prop_flat_map(|(fours, blocks, grain)| trits(fours, blocks, grain)),
        ) {
            let encoded = encode(kind, &trits);
            if !holds(kind, &trits.scales, trits.k) {
                prop_assert!(matches!(encoded, Err(Error::Granularity { .. })), "{encoded:?}");
                return Ok(());
            }
            let bytes = encoded.unwrap();
            prop_assert_eq!(decode(kind, &bytes, trits.n, trits.k).unwrap(), trits.clone());
            for (i, &expected) in trits.codes.iter().enumerate() {
                prop_assert_eq!(code(kind, false, &bytes, trits.k, i / trits.k, i % trits.k), expected, "{} at {}", kind, i);
            }
        }

        /// Every byte in base 3 means five trits, also the 13 that no encoder writes.
        #[test]
        fn any_byte_in_base_3_decodes_as_the_formula_says(
            mut bytes in prop::collection::vec(any::<u8>(), 2 * 54),
            mut row in prop::collection::vec(any::<u8>(), 2 + 3 * 13),
        ) {
            let one = half::f16::ONE.to_le_bytes();
            for block in bytes.chunks_exact_mut(54) {
                block[52..].copy_from_slice(&one);
            }
            row[..2].copy_from_slice(&one);
            for (kind, bytes, k) in [(Kind::TQ1_0, &bytes, 512), (Kind::IQ1_BN, &row, 192)] {
                let trits = decode(kind, bytes, 1, k).unwrap();
                let most_first = kind == Kind::IQ1_BN && most_first(bytes);
                for (i, &ours) in trits.codes.iter().enumerate() {
                    prop_assert_eq!(ours, code(kind, most_first, bytes, k, 0, i));
                }
            }
        }
    }

    /// A block as ik_llama.cpp's quantiser computes it: sums of codes times 1, 3, 9, 27, 81 as fractions of 256, rounded up.
    /// The same weights written from the digit on that weighs most, as some descriptions have it, decode too.
    #[test]
    fn both_orders_of_digits_of_iq1_bn_are_told_apart() {
        let codes: Vec<u8> = (0..2 * 128).map(|i| (i * i * 5 % 7 % 3) as u8).collect();
        let number = |weigh: &dyn Fn(usize) -> u32, codes: &mut dyn Iterator<Item = u8>| {
            let sum: u32 = codes.enumerate().map(|(i, code)| weigh(i) * u32::from(code)).sum();
            (256 * sum).div_ceil(243) as u8
        };
        for least_first in [true, false] {
            let weigh = |i: usize| 3u32.pow(if least_first { i } else { 4 - i } as u32);
            let mut bytes = Vec::new();
            for row in codes.chunks(128) {
                bytes.extend(half::f16::from_f32(0.5).to_le_bytes());
                for block in row.chunks(64) {
                    for fives in block.chunks(16).flat_map(|group| group[..15].chunks(5)) {
                        bytes.push(number(&weigh, &mut fives.iter().copied()));
                    }
                    bytes.push(number(&weigh, &mut block.chunks(16).map(|group| group[15])));
                }
            }
            let trits = Trits { n: 2, k: 128, codes: codes.clone(), scales: Scales::Tensor(0.5) };
            assert_eq!(decode(Kind::IQ1_BN, &bytes, 2, 128).unwrap(), trits, "least first: {least_first}");
            assert_eq!(encode(Kind::IQ1_BN, &trits).unwrap() == bytes, least_first);
        }
    }

    /// Encoders write 0 as the scale of zeros, whatever the others are.
    #[test]
    fn scales_of_zeros_say_nothing() {
        let (n, k) = (3, 512);
        let mut codes: Vec<u8> = (0..n * k).map(|i| (i % 3) as u8).collect();
        codes[..256].fill(1);
        codes[2 * k..].fill(1);
        let mut scales = vec![0.25; 6];
        for zero in [0, 4, 5] {
            scales[zero] = 0.0;
        }
        let trits = Trits { n, k, codes: codes.clone(), scales: Scales::Block { size: 256, scales } };
        let found = decode(Kind::TQ2_0, &encode(Kind::TQ2_0, &trits).unwrap(), n, k).unwrap();
        assert_eq!(found, Trits { codes, scales: Scales::Tensor(0.25), ..trits });
        // A row's own scale before another's.
        let rows = Scales::Block { size: 256, scales: vec![0.0, 0.25, 0.0, 0.5, 0.0, 0.0] };
        let mut codes = found.codes;
        codes[512..768].fill(1);
        let trits = Trits { n, k, codes, scales: rows };
        let found = decode(Kind::TQ2_0, &encode(Kind::TQ2_0, &trits).unwrap(), n, k).unwrap();
        assert_eq!(found.scales, Scales::Row(vec![0.25, 0.5, 0.5]));
        let zeros = Trits { n, k, codes: vec![1; n * k], scales: Scales::Tensor(0.0) };
        assert_eq!(decode(Kind::TQ2_0, &encode(Kind::TQ2_0, &zeros).unwrap(), n, k).unwrap(), zeros);
    }

    #[test]
    fn rows_of_i2_s_may_start_inside_a_block() {
        let codes: Vec<u8> = (0..4 * 160).map(|i| (i * 7 % 3) as u8).collect();
        let trits = Trits { n: 4, k: 160, codes, scales: Scales::Tensor(0.25) };
        for kind in [Kind::I2_S, Kind::I2_S_ARM64] {
            let bytes = encode(kind, &trits).unwrap();
            assert_eq!(bytes.len(), 4 * 160 / 4 + 32);
            assert_eq!(decode(kind, &bytes, 4, 160).unwrap(), trits);
        }
    }

    #[test]
    fn zeros_are_0x55_in_i2_s() {
        let trits = Trits { n: 1, k: 128, codes: vec![1; 128], scales: Scales::Tensor(1.0) };
        assert_eq!(encode(Kind::I2_S, &trits).unwrap()[..32], [0x55; 32]);
    }

    #[test]
    fn rows_are_trits_times_their_scales() {
        let scales = Scales::Block { size: 2, scales: vec![1.0, 2.0, -3.0, 0.5] };
        let trits = Trits { n: 2, k: 4, codes: vec![0, 1, 2, 2, 0, 2, 1, 0], scales };
        let mut row = [f32::NAN; 4];
        trits.row(0, &mut row);
        assert_eq!(row, [-1.0, 0.0, 2.0, 2.0]);
        trits.row(1, &mut row);
        assert_eq!(row, [3.0, -3.0, 0.0, -0.5]);
    }

    fn message(result: Result<impl std::fmt::Debug, Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn code_3_is_refused_where_it_stands() {
        let mut bytes = vec![0x55; 320 / 4 * 2 + 32];
        bytes[32 * 3 + 5] |= 0b11 << 4; // block 3 holds elements 384..512; this is the one at 384 + 32 + 5 = 421
        let error = message(decode(Kind::I2_S, &bytes, 2, 320));
        assert!(error.contains("row 1, column 101 has code 3, but I2_S ends at 2"), "{error}");

        let mut bytes = vec![0x55; 66];
        bytes[32 + 31] = 0xd5;
        bytes[64..].fill(0);
        let error = message(decode(Kind::TQ2_0, &bytes, 1, 256));
        assert!(error.contains("row 0, column 255 has code 3, but TQ2_0 ends at 2"), "{error}");

        // +2 in Q2_0: never taken for another weight.
        for (kind, block) in [(Kind::Q2_0, 18), (Kind::PQ2_0, 34)] {
            let mut bytes = vec![0x55; block];
            bytes[..2].fill(0);
            bytes[2 + 4] = 0xd5;
            let error = message(decode(kind, &bytes, 1, 4 * (block - 2)));
            assert!(error.contains(&format!("row 0, column 19 has code 3, but {kind} ends at 2")), "{error}");
        }
    }

    #[test]
    fn scales_that_are_not_numbers_are_refused_where_they_stand() {
        for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut bytes = vec![0x55; 32 + 32];
            bytes[32..36].copy_from_slice(&scale.to_le_bytes());
            let error = message(decode(Kind::I2_S, &bytes, 1, 128));
            assert!(error.contains("scale at row 0, column 0 of I2_S") && error.contains("not a finite"), "{error}");
            for (kind, block) in [(Kind::TQ1_0, 54), (Kind::TQ2_0, 66)] {
                let mut bytes = vec![0; 4 * block];
                bytes[4 * block - 2..].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
                let error = message(decode(kind, &bytes, 2, 512));
                assert!(error.contains(&format!("scale at row 1, column 256 of {kind}")), "{error}");
            }
            let mut bytes = vec![0; 2 * 36];
            bytes[36..40].copy_from_slice(&scale.to_le_bytes());
            let error = message(decode(Kind::IQ2_BN, &bytes, 2, 128));
            assert!(error.contains("scale at row 1, column 0 of IQ2_BN"), "{error}");
        }
    }

    #[test]
    fn sizes_must_match() {
        let error = message(decode(Kind::I2_S, &[0; 32], 1, 128));
        assert!(error.contains("1 x 128 weights are 64 bytes as I2_S, not 32"), "{error}");
        let error = message(decode(Kind::TQ2_0, &[0; 66], 1, 320));
        assert!(error.contains("rows of 320 elements are not a multiple of the 256"), "{error}");
        let error = message(decode(Kind::IQ2_BN_R4, &[0; 66], 2, 64));
        assert!(error.contains("its 2 rows are not a multiple of the 4"), "{error}");
        let error = message(decode(Kind::TQ2_0, &[0; 66], usize::MAX, 256));
        assert!(error.contains("overflows"), "{error}");
        let error = message(decode(Kind::Unknown(143), &[0; 66], 1, 256));
        assert!(error.contains("cannot compute with tensors of PTQ1_0 (type id 143)"), "{error}");
        let error = message(decode(Kind::Q8_0, &[0; 34], 1, 32));
        assert!(error.contains("Q8_0 is not a ternary type"), "{error}");
    }

    #[test]
    fn what_a_type_cannot_say_is_not_encoded() {
        let trits = |codes, scales| Trits { n: 2, k: 256, codes, scales };
        let error = message(encode(Kind::TQ2_0, &trits(vec![1; 512], Scales::Tensor(0.1))));
        assert!(error.contains("0.1 is not a half-precision number"), "{error}");
        assert!(encode(Kind::TQ2_0, &trits(vec![1; 512], Scales::Tensor(0.1).round_f16())).is_ok());
        let error = message(encode(Kind::TQ1_0, &trits(vec![1; 511], Scales::Tensor(1.0))));
        assert!(error.contains("511 codes where 2 x 256 weights need 512"), "{error}");
        let error = message(encode(Kind::TQ1_0, &trits(vec![1; 512], Scales::Row(vec![1.0; 3]))));
        assert!(error.contains("3 scales where 2 x 256 weights need 2"), "{error}");
        let error = message(encode(Kind::TQ1_0, &trits(vec![3; 512], Scales::Tensor(1.0))));
        assert!(error.contains("row 0, column 0 has code 3"), "{error}");
        let error = message(encode(Kind::I2_S, &trits(vec![0; 512], Scales::Row(vec![1.0, 2.0]))));
        assert!(error.contains("a scale for each row") && error.contains("TQ1_0, TQ2_0, Q2_0"), "{error}");
        assert!(encode(Kind::I2_S, &trits(vec![0; 512], Scales::Row(vec![1.0; 2]))).is_ok());
        let error = message(encode(Kind::I2_S, &trits(vec![0; 512], Scales::Tensor(f32::NAN))));
        assert!(error.contains("not a finite number"), "{error}");
        let halves = Scales::Block { size: 128, scales: vec![1.0, 2.0, 3.0, 4.0] };
        let error = message(encode(Kind::TQ2_0, &trits(vec![0; 512], halves)));
        assert!(error.contains("a scale for each 128 weights; use Q2_0, Q2_0_G128, PQ2_0, F32"), "{error}");
        for size in [0, 3, 100, 300] {
            let odd = Scales::Block { size, scales: vec![1.0; 4] };
            let error = message(encode(Kind::Q2_0, &trits(vec![0; 512], odd)));
            assert!(error.contains(&format!("blocks of {size}")), "{error}");
        }
    }
}
