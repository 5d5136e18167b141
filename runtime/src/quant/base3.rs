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

/// Which of a byte's digits is the first element's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// The one that weighs least: what ik_llama.cpp writes and reads as IQ1_BN.
    LeastFirst,
    /// The one that weighs most, as in TQ1_0: what descriptions of IQ1_BN after TQ1_0 say.
    MostFirst,
}

impl Digits {
    /// What the blocks of a tensor of IQ1_BN were written in. The 13th byte of a block holds four digits of five: written
    /// from the least on, the one that weighs most is 0 in all of them.
    pub(super) fn of<'a>(runs: impl IntoIterator<Item = &'a [u8]>) -> Digits {
        let most = |block: &[u8; 13]| digit(block[12], POWERS[0]) != 0;
        match runs.into_iter().any(|run| run.as_chunks().0.iter().any(most)) {
            true => Digits::MostFirst,
            false => Digits::LeastFirst,
        }
    }

    /// What moves the digit of each element before the point.
    fn powers(self) -> [u8; 5] {
        let [a, b, c, d, e] = POWERS;
        match self {
            Digits::LeastFirst => [e, d, c, b, a],
            Digits::MostFirst => POWERS,
        }
    }
}

/// Four times 16 elements: 15 in three bytes, one after the other, the last as a digit of the 13th byte.
#[inline(always)]
pub(super) fn unpack_iq1_bn([bytes @ .., extra]: &[u8; 13], digits: Digits, out: &mut [u8; 64]) {
    let powers = digits.powers();
    for ((out, bytes), power) in out.as_chunks_mut::<16>().0.iter_mut().zip(bytes.as_chunks::<3>().0).zip(powers) {
        let [out @ .., last] = out;
        for (out, byte) in out.as_chunks_mut::<5>().0.iter_mut().zip(bytes) {
            *out = powers.map(|power| digit(*byte, power));
        }
        *last = digit(*extra, power);
    }
}

/// The way back, from the least digit on.
pub(super) fn pack_iq1_bn(codes: &[u8; 64], [out @ .., extra]: &mut [u8; 13]) {
    for (codes, out) in codes.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<3>().0) {
        for (codes, out) in codes.as_chunks::<5>().0.iter().zip(out) {
            *out = byte(codes.iter().rev().copied());
        }
    }
    *extra = byte((0..4).rev().map(|group| codes[16 * group + 15]));
}
