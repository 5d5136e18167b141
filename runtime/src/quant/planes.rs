//! Four codes in a byte, a plane of neighbouring elements for each two bits: I2_S, TQ2_0, IQ2_BN.

/// The shifts of the planes of I2_S, first to last.
pub(super) const DOWN: [u32; 4] = [6, 4, 2, 0];
/// The shifts of the planes of TQ2_0 and IQ2_BN.
pub(super) const UP: [u32; 4] = [0, 2, 4, 6];

/// Codes of a block of N = 4 · B elements: those of plane i are at `shifts[i]`.
#[inline(always)]
pub(super) fn unpack<const B: usize, const N: usize>(bytes: &[u8; B], out: &mut [u8; N], shifts: [u32; 4]) {
    for (out, shift) in out.as_chunks_mut::<B>().0.iter_mut().zip(shifts) {
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = byte >> shift & 3;
        }
    }
}

/// The way back, into zeros.
pub(super) fn pack<const B: usize, const N: usize>(codes: &[u8; N], out: &mut [u8; B], shifts: [u32; 4]) {
    for (codes, shift) in codes.as_chunks::<B>().0.iter().zip(shifts) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out |= code << shift;
        }
    }
}
