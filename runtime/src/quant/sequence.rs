//! Four codes in a byte, one after the other, behind a half-precision scale: Q2_0 in both sizes, and PQ2_0.

/// Codes of a block of N = 4 · (B − 2) elements.
#[inline(always)]
pub(super) fn unpack<const B: usize, const N: usize>(bytes: &[u8; B], out: &mut [u8; N]) {
    for (byte, out) in bytes[2..].iter().zip(out.as_chunks_mut::<4>().0) {
        *out = [byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6];
    }
}

/// The way back; leaves room for the scale.
pub(super) fn pack<const B: usize, const N: usize>(codes: &[u8; N], out: &mut [u8; B]) {
    for (out, [a, b, c, d]) in out[2..].iter_mut().zip(codes.as_chunks::<4>().0) {
        *out = a | b << 2 | c << 4 | d << 6;
    }
}
