//! Types of blocks of 32 elements with one scale, each decoded at once.

use std::marker::PhantomData;

use super::{CHUNK, Format, MAX_BLOCKS, Panel};
use crate::lanes::{LANES, Lanes};

/// What B bytes say of 32 elements, all at once. They begin with H half-precision numbers: a factor and, where H is 2, what is
/// added to its products.
pub(super) trait Group<const B: usize, const H: usize> {
    /// The elements, by these numbers.
    fn expand<S: Lanes>(simd: S, bytes: &[u8; B], scales: [f32; H], out: [&mut [f32; LANES]; 2]);
}

/// The format that consists of such groups.
pub(super) struct Groups<K, const B: usize, const H: usize>(PhantomData<K>);

impl<K: Group<B, H>, const B: usize, const H: usize> Format for Groups<K, B, H> {
    const CHUNK_BYTES: usize = CHUNK / 32 * B;

    /// A number of every block.
    type Room = [[f32; MAX_BLOCKS]; H];

    #[inline(always)]
    fn room() -> Self::Room {
        [[0.0; MAX_BLOCKS]; H]
    }

    #[inline(always)]
    fn decode<S: Lanes, const R: usize>(
        simd: S,
        bytes: &[u8],
        scales: &mut Self::Room,
        out: &mut [Panel<R>],
        row: usize,
    ) {
        let blocks = bytes.as_chunks().0;
        for (i, bytes) in blocks.iter().enumerate().take(MAX_BLOCKS) {
            let halves = bytes.as_chunks().0.first_chunk().copied().unwrap_or([[0; 2]; H]);
            for (scales, scale) in scales.iter_mut().zip(simd.widen(halves)) {
                scales[i] = scale;
            }
        }
        let out = out.as_chunks_mut::<2>().0;
        for (i, (bytes, [low, high])) in blocks.iter().zip(out).enumerate().take(MAX_BLOCKS) {
            let scales = scales.each_ref().map(|scales| scales[i]);
            K::expand(simd, bytes, scales, [&mut low[row], &mut high[row]]);
        }
    }
}

/// Nibbles less 8, after their factor.
pub(super) struct Q4_0;

impl Group<18, 1> for Q4_0 {
    #[inline(always)]
    fn expand<S: Lanes>(simd: S, [_, _, qs @ ..]: &[u8; 18], scales: [f32; 1], out: [&mut [f32; LANES]; 2]) {
        simd.look_up_scaled(qs, &[-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7], scales, out);
    }
}

/// Nibbles after their factor and minimum.
pub(super) struct Q4_1;

impl Group<20, 2> for Q4_1 {
    #[inline(always)]
    fn expand<S: Lanes>(simd: S, [_, _, _, _, qs @ ..]: &[u8; 20], scales: [f32; 2], out: [&mut [f32; LANES]; 2]) {
        simd.look_up_scaled(qs, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], scales, out);
    }
}

/// Signed bytes after their factor.
pub(super) struct Q8_0;

impl Group<34, 1> for Q8_0 {
    #[inline(always)]
    fn expand<S: Lanes>(simd: S, [_, _, qs @ ..]: &[u8; 34], scales: [f32; 1], out: [&mut [f32; LANES]; 2]) {
        for (codes, out) in qs.as_chunks().0.iter().zip(out) {
            simd.scale(codes, scales, out);
        }
    }
}

/// Laid out as Q4_0; the nibbles stand for the numbers of a table.
pub(super) struct Iq4Nl;

impl Iq4Nl {
    /// `kvalues_iq4nl` of ggml: the nearer to 0, the finer.
    const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
}

impl Group<18, 1> for Iq4Nl {
    #[inline(always)]
    fn expand<S: Lanes>(simd: S, [_, _, qs @ ..]: &[u8; 18], scales: [f32; 1], out: [&mut [f32; LANES]; 2]) {
        simd.look_up_scaled(qs, &Self::TABLE, scales, out);
    }
}
