//! Types that store every element by itself.

use std::marker::PhantomData;

use super::{CHUNK, Format, Panel};
use crate::lanes::{LANES, Lanes};

/// The format of plain elements.
pub(super) struct Elements<E, const B: usize>(PhantomData<E>);

/// An element of B bytes.
pub(super) trait Element<const B: usize> {
    fn widen<S: Lanes>(simd: S, bytes: &[[u8; B]; LANES]) -> [f32; LANES];
}

pub(super) struct F32;

impl Element<4> for F32 {
    #[inline(always)]
    fn widen<S: Lanes>(_: S, bytes: &[[u8; 4]; LANES]) -> [f32; LANES] {
        bytes.map(f32::from_le_bytes)
    }
}

pub(super) struct F16;

impl Element<2> for F16 {
    #[inline(always)]
    fn widen<S: Lanes>(simd: S, bytes: &[[u8; 2]; LANES]) -> [f32; LANES] {
        simd.widen_all(bytes)
    }
}

pub(super) struct Bf16;

impl Element<2> for Bf16 {
    #[inline(always)]
    fn widen<S: Lanes>(_: S, bytes: &[[u8; 2]; LANES]) -> [f32; LANES] {
        bytes.map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
    }
}

impl<E: Element<B>, const B: usize> Format for Elements<E, B> {
    const CHUNK_BYTES: usize = CHUNK * B;

    type Room = ();

    #[inline(always)]
    fn room() {}

    #[inline(always)]
    fn decode<S: Lanes, const R: usize>(simd: S, bytes: &[u8], (): &mut (), out: &mut [Panel<R>], row: usize) {
        let (elements, rest) = bytes.as_chunks().0.as_chunks();
        for (elements, out) in elements.iter().zip(&mut *out) {
            out[row] = E::widen(simd, elements);
        }
        if let (false, Some(out)) = (rest.is_empty(), out.get_mut(elements.len())) {
            let mut padded = [[0; B]; LANES];
            padded[..rest.len()].copy_from_slice(rest);
            out[row] = E::widen(simd, &padded);
        }
    }
}
