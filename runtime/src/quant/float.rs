//! Float types to f32, bit for bit as ggml's reference decoders define them (`ggml-quants.c`).
//!
//! Called for every row of every float matrix of every token: nothing is allocated, and each type is a loop over blocks
//! of fixed size that is compiled once per instruction set.

use multiversion::multiversion;

use super::{Error, check_size, each};
use crate::gguf::Kind;

/// Decodes `bytes`, a whole number of blocks of `kind`, to as many floats as `out` has.
///
/// # Errors
/// If `kind` is not a float type, or `bytes` and `out` do not match.
pub fn decode(kind: Kind, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    if matches!(kind, Kind::I2_S | Kind::TQ1_0 | Kind::TQ2_0) {
        return Err(Error::NotFloat { kind });
    }
    check_size(kind, bytes.len(), 1, out.len())?;
    blocks(kind, bytes, out);
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn blocks(kind: Kind, bytes: &[u8], out: &mut [f32]) {
    match kind {
        Kind::F32 => each(bytes, out, |bytes, out: &mut [f32; 1]| out[0] = f32::from_le_bytes(*bytes)),
        Kind::F16 => each(bytes, out, |bytes, out: &mut [f32; 1]| out[0] = f16(*bytes)),
        Kind::BF16 => each(bytes, out, |bytes, out: &mut [f32; 1]| out[0] = bf16(*bytes)),
        Kind::Q4_0 => each(bytes, out, q4_0),
        Kind::Q4_1 => each(bytes, out, q4_1),
        Kind::Q5_0 => each(bytes, out, q5_0),
        Kind::Q5_1 => each(bytes, out, q5_1),
        Kind::Q8_0 => each(bytes, out, q8_0),
        Kind::Q2_K => each(bytes, out, q2_k),
        Kind::Q3_K => each(bytes, out, q3_k),
        Kind::Q4_K => each(bytes, out, q4_k),
        Kind::Q5_K => each(bytes, out, q5_k),
        Kind::Q6_K => each(bytes, out, q6_k),
        // `decode` has refused these.
        Kind::TQ1_0 | Kind::TQ2_0 | Kind::I2_S | Kind::Unknown(_) => {}
    }
}

/// Half to single precision, exactly: the exponent is moved by a multiplication by 2^112, which also makes subnormal
/// halves normal. No instruction set is needed, and no branch: loops over it become vectors.
#[inline(always)]
fn f16(bytes: [u8; 2]) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
    let not_finite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | not_finite | (bits & 0x8000) << 16)
}

#[inline(always)]
fn bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// Nibbles: byte p holds elements p and p + 16.
#[inline(always)]
fn q4_0([d0, d1, qs @ ..]: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16([*d0, *d1]);
    for p in 0..16 {
        out[p] = d * (i32::from(qs[p] & 15) - 8) as f32;
        out[p + 16] = d * (i32::from(qs[p] >> 4) - 8) as f32;
    }
}

#[inline(always)]
fn q4_1([d0, d1, m0, m1, qs @ ..]: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16([*d0, *d1]), f16([*m0, *m1]));
    for p in 0..16 {
        out[p] = d * f32::from(qs[p] & 15) + m;
        out[p + 16] = d * f32::from(qs[p] >> 4) + m;
    }
}

/// The fifth bits of all 32 elements, in order, are a number of their own.
#[inline(always)]
fn q5_0([d0, d1, h0, h1, h2, h3, qs @ ..]: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16([*d0, *d1]);
    let high = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
    for p in 0..16 {
        out[p] = d * ((u32::from(qs[p] & 15) | (high >> p & 1) << 4) as i32 - 16) as f32;
        out[p + 16] = d * ((u32::from(qs[p] >> 4) | (high >> (p + 16) & 1) << 4) as i32 - 16) as f32;
    }
}

#[inline(always)]
fn q5_1([d0, d1, m0, m1, h0, h1, h2, h3, qs @ ..]: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (f16([*d0, *d1]), f16([*m0, *m1]));
    let high = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
    for p in 0..16 {
        out[p] = d * (u32::from(qs[p] & 15) | (high >> p & 1) << 4) as f32 + m;
        out[p + 16] = d * (u32::from(qs[p] >> 4) | (high >> (p + 16) & 1) << 4) as f32 + m;
    }
}

#[inline(always)]
fn q8_0([d0, d1, qs @ ..]: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16([*d0, *d1]);
    for p in 0..32 {
        out[p] = d * f32::from(qs[p] as i8);
    }
}

/// Where the codes of group g of 16 start in the two-bit planes of Q2_K and Q3_K, and the shift that finds them: two
/// halves of 128 elements, 32 bytes each, four elements in a byte 32 apart.
#[inline(always)]
fn plane(g: usize) -> (usize, usize) {
    (g / 8 * 32 + g % 2 * 16, g % 8 / 2 * 2)
}

/// 16 bytes of scale and minimum, nibbles both; 64 of codes; their two factors.
#[inline(always)]
fn q2_k([blocks @ .., d0, d1, m0, m1]: &[u8; 84], out: &mut [f32; 256]) {
    let (d, m) = (f16([*d0, *d1]), f16([*m0, *m1]));
    let (scales, qs) = blocks.split_at(16);
    for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (d, m) = (d * f32::from(scales[g] & 15), m * f32::from(scales[g] >> 4));
        let (at, shift) = plane(g);
        for (out, q) in out.iter_mut().zip(&qs[at..at + 16]) {
            *out = d * f32::from(q >> shift & 3) - m;
        }
    }
}

/// 32 bytes of third bits, 64 of low bits, 12 of scales, one factor. A third bit that is *not* set subtracts 4.
#[inline(always)]
fn q3_k([blocks @ .., d0, d1]: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16([*d0, *d1]);
    let (high, blocks) = blocks.split_at(32);
    let (qs, scales) = blocks.split_at(64);
    for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // Six bits each: the low four of group g in byte g % 8, the high two in byte 8 + g % 4.
        let scale = scales[g % 8] >> (g / 8 * 4) & 15 | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
        let d = d * f32::from(scale as i8 - 32);
        let (at, shift) = plane(g);
        for ((out, q), high) in out.iter_mut().zip(&qs[at..at + 16]).zip(&high[g % 2 * 16..][..16]) {
            let third = (high >> (g / 2) & 1) << 2;
            *out = d * f32::from((q >> shift & 3 | third) as i8 - 4);
        }
    }
}

/// Scale and minimum of group g of 32 in Q4_K and Q5_K: six bits each, the first four groups' in the low bits of bytes
/// 0..4 and 4..8, the rest spread over bytes 8..12 and the spare high bits.
#[inline(always)]
fn scale_min(scales: &[u8], g: usize) -> (f32, f32) {
    let (scale, min) = if g < 4 {
        (scales[g] & 63, scales[g + 4] & 63)
    } else {
        (scales[g + 4] & 15 | scales[g - 4] >> 6 << 4, scales[g + 4] >> 4 | scales[g] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// Two factors, 12 bytes of scales and minimums, 128 of nibbles: 32 bytes hold a group low and the next one high.
#[inline(always)]
fn q4_k([d0, d1, m0, m1, blocks @ ..]: &[u8; 144], out: &mut [f32; 256]) {
    let (d, m) = (f16([*d0, *d1]), f16([*m0, *m1]));
    let (scales, qs) = blocks.split_at(12);
    for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_min(scales, g);
        let (d, m) = (d * scale, m * min);
        for (out, q) in out.iter_mut().zip(&qs[g / 2 * 32..][..32]) {
            *out = d * f32::from(q >> (g % 2 * 4) & 15) - m;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit g of byte p belongs to element p of group g.
#[inline(always)]
fn q5_k([d0, d1, m0, m1, blocks @ ..]: &[u8; 176], out: &mut [f32; 256]) {
    let (d, m) = (f16([*d0, *d1]), f16([*m0, *m1]));
    let (scales, blocks) = blocks.split_at(12);
    let (high, qs) = blocks.split_at(32);
    for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_min(scales, g);
        let (d, m) = (d * scale, m * min);
        for ((out, q), high) in out.iter_mut().zip(&qs[g / 2 * 32..][..32]).zip(high) {
            *out = d * f32::from(q >> (g % 2 * 4) & 15 | (high >> g & 1) << 4) - m;
        }
    }
}

/// 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, one factor. Each half of 128 elements has 64
/// bytes of nibbles, low ones first, and 32 of pairs.
#[inline(always)]
fn q6_k([blocks @ .., d0, d1]: &[u8; 210], out: &mut [f32; 256]) {
    let d = f16([*d0, *d1]);
    let (low, blocks) = blocks.split_at(128);
    let (high, scales) = blocks.split_at(64);
    for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = d * f32::from(scales[g] as i8);
        let (half, quarter) = (g / 8, g % 8 / 2);
        let low = &low[half * 64 + quarter % 2 * 32 + g % 2 * 16..][..16];
        let high = &high[half * 32 + g % 2 * 16..][..16];
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            let q = low >> (quarter / 2 * 4) & 15 | (high >> (quarter * 2) & 3) << 4;
            *out = d * f32::from(q as i8 - 32);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_half_and_bfloat_widens_exactly() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits).to_f32();
            let ours = f16(bits.to_le_bytes());
            assert!(ours.to_bits() == half.to_bits() || ours.is_nan() && half.is_nan(), "{bits:04x}: {ours} {half}");
            let brain = half::bf16::from_bits(bits).to_f32();
            let ours = bf16(bits.to_le_bytes());
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
    const KINDS: [Kind; 13] = [
        Kind::F32, Kind::F16, Kind::BF16, Kind::Q4_0, Kind::Q4_1, Kind::Q5_0, Kind::Q5_1, Kind::Q8_0,
        Kind::Q2_K, Kind::Q3_K, Kind::Q4_K, Kind::Q5_K, Kind::Q6_K,
    ];

    proptest! {
        /// Any bytes whatever, infinite and NaN scales among them.
        #[test]
        fn decodes_as_the_formula_says(
            kind in prop::sample::select(&KINDS[..]),
            blocks in 0usize..5,
            noise in prop::collection::vec(any::<u8>(), 4 * 210),
        ) {
            let format = kind.format().unwrap();
            let bytes = &noise[..blocks * format.bytes as usize];
            let mut out = vec![f32::NAN; blocks * format.elements as usize];
            if blocks == 0 {
                prop_assert!(decode(kind, bytes, &mut out).unwrap_err().to_string().contains("dimension 0 is 0"));
                return Ok(());
            }
            decode(kind, bytes, &mut out).unwrap();
            for (i, &ours) in out.iter().enumerate() {
                let theirs = element(kind, bytes, i);
                prop_assert!(
                    ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(),
                    "{kind} element {i}: {ours} instead of {theirs}"
                );
            }
        }
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
