//! Five codes in a byte as the digits of a number in base 3: TQ1_0, IQ1_BN.
//!
//! The byte is that number as a fraction of 256: multiplying by 3 moves the next digit before the point.

#[inline(always)]
fn digit(byte: u8, power: u8) -> u8 {
    ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8
}

const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// The byte of five digits, the first weighing most.
fn byte(digits: impl IntoIterator<Item = u8>) -> u8 {
    let number = digits.into_iter().fold(0, |number: u16, digit| number * 3 + u16::from(digit));
    // number / 243 as a fraction of 256, rounded up so that no digit is lost.
    (number * 256).div_ceil(243) as u8
}

/// 32 bytes of five digits, 16 of five, 4 of four; digit i of neighbouring bytes is of neighbouring elements.
#[inline(always)]
pub(super) fn unpack_tq1_0([bytes @ .., _, _]: &[u8; 54], out: &mut [u8; 256]) {
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

/// The way back; leaves room for the scale.
pub(super) fn pack_tq1_0(codes: &[u8; 256], [out @ .., _, _]: &mut [u8; 54]) {
    let (first, rest) = out.split_at_mut(32);
    let (second, third) = rest.split_at_mut(16);
    let (codes_first, rest) = codes.split_at(160);
    let (codes_second, codes_third) = rest.split_at(80);
    for (codes, out) in [(codes_first, first), (codes_second, second), (codes_third, third)] {
        let stride = out.len();
        for (p, out) in out.iter_mut().enumerate() {
            *out = byte((0..5).map(|i| codes.get(i * stride + p).copied().unwrap_or(0)));
        }
    }
}

/// Four times 16 elements: 15 in three bytes, one after the other, the last as a digit of the 13th byte.
#[inline(always)]
pub(super) fn unpack_iq1_bn([bytes @ .., extra]: &[u8; 13], out: &mut [u8; 64]) {
    for ((out, bytes), power) in out.as_chunks_mut::<16>().0.iter_mut().zip(bytes.as_chunks::<3>().0).zip(POWERS) {
        let [out @ .., last] = out;
        for (out, byte) in out.as_chunks_mut::<5>().0.iter_mut().zip(bytes) {
            *out = POWERS.map(|power| digit(*byte, power));
        }
        *last = digit(*extra, power);
    }
}

/// The way back.
pub(super) fn pack_iq1_bn(codes: &[u8; 64], [out @ .., extra]: &mut [u8; 13]) {
    for (codes, out) in codes.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<3>().0) {
        for (codes, out) in codes.as_chunks::<5>().0.iter().zip(out) {
            *out = byte(*codes);
        }
    }
    *extra = byte((0..5).map(|group| codes.get(16 * group + 15).copied().unwrap_or(0)));
}
