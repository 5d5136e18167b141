//! Ternary types to trits and back. `code` = trit + 1: 0, 1 or 2.

use multiversion::multiversion;

use super::{Error, check_size, each, size};
use crate::gguf::Kind;

/// Elements under one scale in TQ1_0 and TQ2_0.
const BLOCK: usize = 256;

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

/// The scales of ternary weights, in the coarsest form that says it exactly.
#[derive(Clone, Debug, PartialEq)]
pub enum Scales {
    /// One for the tensor.
    Tensor(f32),
    /// One for each row: `[n]`.
    Row(Vec<f32>),
    /// One for each `size` elements of a row.
    Block {
        /// Elements under one scale; divides k.
        size: usize,
        /// `[n, k / size]`.
        scales: Vec<f32>,
    },
}

impl Scales {
    /// Scales for blocks of 256 in rows of `k`, as one for the tensor or each row where they are bit-equal.
    fn fold(scales: Vec<f32>, k: usize) -> Scales {
        let same = |scales: &[f32]| scales.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
        let row = k / BLOCK;
        if same(&scales) {
            Scales::Tensor(scales[0])
        } else if scales.chunks_exact(row).all(same) {
            Scales::Row(scales.into_iter().step_by(row).collect())
        } else {
            Scales::Block { size: BLOCK, scales }
        }
    }

    /// These scales rounded to the nearest half-precision numbers, which TQ1_0 and TQ2_0 store. The weights change by
    /// up to one part in 2048.
    pub fn round_f16(mut self) -> Scales {
        match &mut self {
            Scales::Tensor(scale) => round_f16(std::slice::from_mut(scale)),
            Scales::Row(scales) | Scales::Block { scales, .. } => round_f16(scales),
        }
        self
    }
}

fn round_f16(scales: &mut [f32]) {
    scales.iter_mut().for_each(|scale| *scale = half::f16::from_f32(*scale).to_f32());
}

/// Decodes a tensor of `n` rows of `k` weights of a ternary `kind`.
///
/// # Errors
/// If `kind` is not ternary, `bytes` has the wrong size, a code is not 0, 1 or 2, or a scale is not finite.
pub fn decode(kind: Kind, bytes: &[u8], n: usize, k: usize) -> Result<Trits, Error> {
    check_ternary(kind)?;
    check_size(kind, bytes.len(), n, k)?;
    let mut codes = vec![0; n * k];
    unpack(kind, bytes, &mut codes);
    check_codes(kind, &codes, k)?;
    let scales = match kind {
        Kind::I2_S => {
            let at = n * k / 4;
            vec![f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])]
        }
        _ => {
            let blocks = bytes.chunks_exact(bytes.len() / (n * k / BLOCK));
            blocks
                .map(|block| half::f16::from_le_bytes([block[block.len() - 2], block[block.len() - 1]]))
                .map(f32::from)
                .collect()
        }
    };
    let size = if kind == Kind::I2_S { n * k } else { BLOCK };
    check_scales(kind, &scales, size, k)?;
    Ok(Trits { n, k, codes, scales: Scales::fold(scales, k) })
}

/// Encodes weights as a tensor of a ternary `kind`, exactly.
///
/// # Errors
/// If `kind` is not ternary or cannot say these weights exactly: I2_S needs one scale for the tensor, TQ1_0 and TQ2_0
/// need scales for 256 elements or more that are half-precision numbers; or if the parts of `trits` do not fit together.
pub fn encode(kind: Kind, trits: &Trits) -> Result<Vec<u8>, Error> {
    check_ternary(kind)?;
    let Trits { n, k, codes, scales } = trits;
    let bytes = size(kind, *n, *k)?;
    let count = |what, need, found| {
        if need == found { Ok(()) } else { Err(Error::Count { what, rows: *n, k: *k, need, found }) }
    };
    count("codes", n * k, codes.len())?;
    check_codes(kind, codes, *k)?;

    let mut out = vec![0; bytes];
    if kind == Kind::I2_S {
        let scale = match scales {
            Scales::Tensor(scale) => *scale,
            Scales::Row(_) => return Err(Error::Granularity { found: "row" }),
            Scales::Block { .. } => return Err(Error::Granularity { found: "block" }),
        };
        check_scales(kind, &[scale], n * k, *k)?;
        let (packed, trailer) = out.split_at_mut(n * k / 4);
        for (codes, packed) in codes.as_chunks().0.iter().zip(packed.as_chunks_mut().0) {
            pack_planes(codes, packed, I2_S_SHIFTS);
        }
        trailer[..4].copy_from_slice(&scale.to_le_bytes());
        return Ok(out);
    }

    let (scales, size) = match scales {
        Scales::Tensor(scale) => (std::slice::from_ref(scale), n * k),
        Scales::Row(scales) => (&scales[..], *k),
        Scales::Block { size, scales } if *size == BLOCK => (&scales[..], *size),
        Scales::Block { size, .. } => return Err(Error::BlockSize { kind, size: *size }),
    };
    count("scales", n * k / size, scales.len())?;
    check_scales(kind, scales, size, *k)?;
    let block = bytes / (n * k / BLOCK);
    for (index, (codes, out)) in codes.as_chunks().0.iter().zip(out.chunks_exact_mut(block)).enumerate() {
        let scale = scales[index * BLOCK / size];
        let half = half::f16::from_f32(scale);
        if half.to_f32().to_bits() != scale.to_bits() {
            return Err(Error::Inexact { kind, scale });
        }
        let (packed, tail) = out.split_at_mut(block - 2);
        if kind == Kind::TQ1_0 {
            pack_tq1_0(codes, packed)
        } else {
            pack_tq2_0(codes, packed)
        }
        tail.copy_from_slice(&half.to_le_bytes());
    }
    Ok(out)
}

fn check_ternary(kind: Kind) -> Result<(), Error> {
    match kind {
        ternary if ternary.is_ternary() => Ok(()),
        Kind::Unknown(_) => Err(Error::Unknown { kind }),
        _ => Err(Error::NotTernary { kind }),
    }
}

fn check_codes(kind: Kind, codes: &[u8], k: usize) -> Result<(), Error> {
    if largest(codes) <= 2 {
        return Ok(());
    }
    let invalid = codes.iter().enumerate().find(|&(_, &code)| code > 2);
    invalid.map_or(Ok(()), |(at, &code)| Err(Error::Code { kind, row: at / k, column: at % k, code }))
}

/// Checks scales for `size` elements each of rows of `k`.
fn check_scales(kind: Kind, scales: &[f32], size: usize, k: usize) -> Result<(), Error> {
    match scales.iter().position(|scale| !scale.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Scale { kind, row: at * size / k, column: at * size % k, scale: scales[at] }),
    }
}

/// The four shifts at which a byte of I2_S holds its elements p, p + 32, p + 64, p + 96.
const I2_S_SHIFTS: [u32; 4] = [6, 4, 2, 0];
/// The same for TQ2_0.
const TQ2_0_SHIFTS: [u32; 4] = [0, 2, 4, 6];

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn largest(codes: &[u8]) -> u8 {
    codes.iter().fold(0, |largest, &code| largest.max(code))
}

/// Decodes the blocks of a ternary `kind` at the start of `bytes` to as many codes as `out` has.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn unpack(kind: Kind, bytes: &[u8], out: &mut [u8]) {
    match kind {
        Kind::I2_S => each(bytes, out, |bytes, out| unpack_planes(bytes, out, I2_S_SHIFTS)),
        Kind::TQ2_0 => each(bytes, out, |[halves @ .., _, _]: &[u8; 66], out: &mut [u8; BLOCK]| {
            each(halves, out, |bytes, out| unpack_planes(bytes, out, TQ2_0_SHIFTS));
        }),
        _ => each(bytes, out, unpack_tq1_0),
    }
}

#[inline(always)]
fn unpack_planes(bytes: &[u8; 32], out: &mut [u8; 128], shifts: [u32; 4]) {
    for (out, shift) in out.as_chunks_mut::<32>().0.iter_mut().zip(shifts) {
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = byte >> shift & 3;
        }
    }
}

fn pack_planes(codes: &[u8; 128], out: &mut [u8; 32], shifts: [u32; 4]) {
    for (codes, shift) in codes.as_chunks::<32>().0.iter().zip(shifts) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out |= code << shift;
        }
    }
}

/// The base-3 digits of a byte, read as a fraction of 256: multiplying by 3 moves the next digit before the point.
#[inline(always)]
fn digit(byte: u8, power: u8) -> u8 {
    ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8
}

const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// 32 bytes of five digits, 16 of five, 4 of four; digit i of neighbouring bytes is of neighbouring elements.
#[inline(always)]
fn unpack_tq1_0([bytes @ .., _, _]: &[u8; 54], out: &mut [u8; BLOCK]) {
    let (first, rest) = bytes.split_at(32);
    let (second, third) = rest.split_at(16);
    let (out_first, rest) = out.split_at_mut(160);
    let (out_second, out_third) = rest.split_at_mut(80);
    for (bytes, out) in [(first, out_first), (second, out_second), (third, out_third)] {
        for (out, power) in out.chunks_exact_mut(bytes.len()).zip(POWERS) {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = digit(*byte, power);
            }
        }
    }
}

fn pack_tq1_0(codes: &[u8; BLOCK], out: &mut [u8]) {
    let (first, rest) = out.split_at_mut(32);
    let (second, third) = rest.split_at_mut(16);
    let (codes_first, rest) = codes.split_at(160);
    let (codes_second, codes_third) = rest.split_at(80);
    for (codes, out) in [(codes_first, first), (codes_second, second), (codes_third, third)] {
        let stride = out.len();
        for (p, out) in out.iter_mut().enumerate() {
            let number =
                (0..5).fold(0, |number, i| number * 3 + codes.get(i * stride + p).map_or(0, |&c| u16::from(c)));
            // number / 243 as a fraction of 256, rounded up so that no digit is lost.
            *out = (number * 256).div_ceil(243) as u8;
        }
    }
}

fn pack_tq2_0(codes: &[u8; BLOCK], out: &mut [u8]) {
    for (codes, out) in codes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        pack_planes(codes, out, TQ2_0_SHIFTS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The trit of element `i` as the formats' descriptions have it: one element at a time.
    fn code(kind: Kind, bytes: &[u8], i: usize) -> u8 {
        match kind {
            Kind::I2_S => bytes[i / 128 * 32 + i % 32] >> (6 - 2 * (i % 128 / 32)) & 3,
            Kind::TQ2_0 => bytes[i / 256 * 66 + i % 256 / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3,
            _ => {
                let (block, i) = (&bytes[i / 256 * 54..], i % 256);
                let (byte, digit) = match i {
                    0..160 => (block[i % 32], i / 32),
                    160..240 => (block[32 + (i - 160) % 16], (i - 160) / 16),
                    _ => (block[48 + (i - 240) % 4], (i - 240) / 4),
                };
                ((u32::from(byte) * 3u32.pow(digit as u32) % 256 * 3) >> 8) as u8
            }
        }
    }

    /// Weights whose scales are as fine as `grain` says: 0 for the tensor, 1 for rows, 2 for blocks.
    fn trits(n: usize, blocks: usize, grain: u32) -> impl Strategy<Value = Trits> {
        let k = blocks * BLOCK;
        let codes = prop::collection::vec(0u8..3, n * k);
        let scales = prop::collection::vec(-60000f32..60000.0, n * blocks);
        (codes, scales).prop_map(move |(codes, mut scales)| {
            for at in 0..scales.len() {
                scales[at] = match grain {
                    0 => scales[0],
                    1 => scales[at / blocks * blocks],
                    _ => scales[at],
                };
            }
            // Rounded before they are folded: two that round to one are one.
            round_f16(&mut scales);
            Trits { n, k, codes, scales: Scales::fold(scales, k) }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            kind in prop::sample::select(&[Kind::I2_S, Kind::TQ1_0, Kind::TQ2_0][..]),
            trits in (1usize..5, 1usize..4, 0u32..3).prop_flat_map(|(n, blocks, grain)| trits(n, blocks, grain)),
        ) {
            let encoded = encode(kind, &trits);
            if kind == Kind::I2_S && !matches!(trits.scales, Scales::Tensor(_)) {
                prop_assert!(matches!(encoded, Err(Error::Granularity { .. })), "{encoded:?}");
                return Ok(());
            }
            let bytes = encoded.unwrap();
            prop_assert_eq!(decode(kind, &bytes, trits.n, trits.k).unwrap(), trits.clone());
            for (i, &expected) in trits.codes.iter().enumerate() {
                prop_assert_eq!(code(kind, &bytes, i), expected);
            }
        }

        /// Every byte of TQ1_0 means five trits, also the 13 that no encoder writes.
        #[test]
        fn any_byte_of_tq1_0_decodes_as_the_formula_says(mut bytes in prop::collection::vec(any::<u8>(), 2 * 54)) {
            for block in bytes.chunks_exact_mut(54) {
                block[52..].copy_from_slice(&half::f16::ONE.to_le_bytes());
            }
            let trits = decode(Kind::TQ1_0, &bytes, 1, 512).unwrap();
            for (i, &ours) in trits.codes.iter().enumerate() {
                prop_assert_eq!(ours, code(Kind::TQ1_0, &bytes, i));
            }
        }
    }

    #[test]
    fn rows_of_i2_s_may_start_inside_a_block() {
        let codes: Vec<u8> = (0..4 * 160).map(|i| (i * 7 % 3) as u8).collect();
        let trits = Trits { n: 4, k: 160, codes, scales: Scales::Tensor(0.25) };
        let bytes = encode(Kind::I2_S, &trits).unwrap();
        assert_eq!(bytes.len(), 4 * 160 / 4 + 32);
        assert_eq!(decode(Kind::I2_S, &bytes, 4, 160).unwrap(), trits);
    }

    #[test]
    fn zeros_are_0x55_in_i2_s() {
        let trits = Trits { n: 1, k: 128, codes: vec![1; 128], scales: Scales::Tensor(1.0) };
        assert_eq!(encode(Kind::I2_S, &trits).unwrap()[..32], [0x55; 32]);
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
        }
    }

    #[test]
    fn sizes_must_match() {
        let error = message(decode(Kind::I2_S, &[0; 32], 1, 128));
        assert!(error.contains("1 x 128 weights are 64 bytes as I2_S, not 32"), "{error}");
        let error = message(decode(Kind::TQ2_0, &[0; 66], 1, 320));
        assert!(error.contains("rows of 320 elements are not a multiple of the 256"), "{error}");
        let error = message(decode(Kind::TQ2_0, &[0; 66], usize::MAX, 256));
        assert!(error.contains("overflows"), "{error}");
        let error = message(decode(Kind::Unknown(42), &[0; 66], 1, 256));
        assert!(error.contains("cannot compute with tensors of type 42"), "{error}");
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
        let error = message(encode(Kind::I2_S, &trits(vec![0; 512], Scales::Row(vec![1.0; 2]))));
        assert!(error.contains("one for each row"), "{error}");
        let error = message(encode(Kind::I2_S, &trits(vec![0; 512], Scales::Tensor(f32::NAN))));
        assert!(error.contains("not a finite number"), "{error}");
        let halves = Scales::Block { size: 128, scales: vec![1.0; 4] };
        let error = message(encode(Kind::TQ2_0, &trits(vec![0; 512], halves)));
        assert!(error.contains("blocks of 128 cannot be written as TQ2_0"), "{error}");
    }

    #[test]
    fn scales_fold_only_where_they_are_bit_equal() {
        let fold = |scales: &[f32]| Scales::fold(scales.into(), 2 * BLOCK);
        assert_eq!(fold(&[1.0; 4]), Scales::Tensor(1.0));
        assert_eq!(fold(&[1.0, 1.0, 2.0, 2.0]), Scales::Row(vec![1.0, 2.0]));
        assert!(matches!(fold(&[1.0, 2.0, 2.0, 2.0]), Scales::Block { size: BLOCK, .. }));
        assert!(matches!(fold(&[0.0, -0.0, 0.0, 0.0]), Scales::Block { size: BLOCK, .. }));
    }
}
