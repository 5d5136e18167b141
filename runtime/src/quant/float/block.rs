//! Types of blocks whose codes are put in order first, all of many blocks, and scaled then: short loops over all of it at
//! once are unrolled before they could be vectorised, and then are not.

use std::array::from_fn;
use std::marker::PhantomData;

use super::{CHUNK, Format, MAX_BLOCKS, Panel};
use crate::lanes::Lanes;

/// Elements of a loop that is too long to be unrolled before it is vectorised.
const RUN: usize = 128;

/// Of groups of 16, the smallest that share a scale.
const MAX_GROUPS: usize = CHUNK / 16;

/// Where vectors of elements do not cross cache lines.
#[repr(align(64))]
struct OnLines<T>(T);

/// What B bytes say of N elements: a code each, and for each of G groups of them a factor and what is added to its
/// products, both made from H half-precision numbers; nothing is added where H is 1.
pub(super) trait Block<const B: usize, const N: usize, const G: usize, const H: usize> {
    /// Taken off each code.
    const ZERO: u8;

    /// Codes in order, as words of eight.
    fn codes(bytes: &[u8; B], codes: &mut [Word]);

    /// Puts signed numbers in the place of codes, those of many blocks together.
    #[inline(always)]
    fn sign(codes: &mut [u8; RUN]) {
        if Self::ZERO != 0 {
            for code in codes {
                *code = code.wrapping_sub(Self::ZERO);
            }
        }
    }

    /// Not widened yet: those of many blocks are widened together.
    fn halves(bytes: &[u8; B]) -> [[u8; 2]; H];

    /// Factors and shifts, from the halves.
    fn scales(bytes: &[u8; B], halves: [f32; H]) -> [[f32; G]; H];
}

/// The format that consists of such blocks.
pub(super) struct Blocks<K, const B: usize, const N: usize, const G: usize, const H: usize>(PhantomData<K>);

/// What blocks of up to [`CHUNK`] elements say: all codes; their halves, widened; and the factors and shifts of all
/// groups.
pub(super) struct Parsed<const H: usize> {
    codes: OnLines<[Word; CHUNK / 8]>,
    halves: [[f32; H]; MAX_BLOCKS],
    scales: [[f32; MAX_GROUPS]; H],
}

impl<K: Block<B, N, G, H>, const B: usize, const N: usize, const G: usize, const H: usize> Blocks<K, B, N, G, H> {
    #[inline(always)]
    fn parse(simd: impl Lanes, blocks: &[[u8; B]], parsed: &mut Parsed<H>) {
        let Parsed { codes, halves, scales } = parsed;
        for (bytes, codes) in blocks.iter().zip(codes.0.chunks_exact_mut(N / 8)) {
            K::codes(bytes, codes);
        }
        for codes in codes.0.as_flattened_mut().as_chunks_mut().0.iter_mut().take((blocks.len() * N).div_ceil(RUN)) {
            K::sign(codes);
        }
        for (halves, bytes) in halves.iter_mut().zip(blocks) {
            *halves = simd.widen(K::halves(bytes));
        }
        for (i, bytes) in blocks.iter().enumerate().take(MAX_BLOCKS.min(MAX_GROUPS / G)) {
            let block = K::scales(bytes, halves[i]);
            for (scales, block) in scales.iter_mut().zip(block) {
                scales[i * G..][..G].copy_from_slice(&block);
            }
        }
    }
}

impl<K: Block<B, N, G, H>, const B: usize, const N: usize, const G: usize, const H: usize> Format
    for Blocks<K, B, N, G, H>
{
    const CHUNK_BYTES: usize = CHUNK / N * B;

    type Room = Parsed<H>;

    #[inline(always)]
    fn room() -> Parsed<H> {
        Parsed { codes: OnLines([[0; 8]; CHUNK / 8]), halves: [[0.0; H]; MAX_BLOCKS], scales: [[0.0; MAX_GROUPS]; H] }
    }

    #[inline(always)]
    fn decode<S: Lanes, const R: usize>(
        simd: S,
        bytes: &[u8],
        parsed: &mut Parsed<H>,
        out: &mut [Panel<R>],
        row: usize,
    ) {
        let blocks = bytes.as_chunks().0;
        Self::parse(simd, blocks, parsed);
        let mut out = out.iter_mut();
        let codes = parsed.codes.0.as_flattened().chunks_exact(N / G);
        for (g, codes) in codes.enumerate().take((blocks.len() * G).min(MAX_GROUPS)) {
            let scales = parsed.scales.each_ref().map(|scales| scales[g]);
            for (codes, out) in codes.as_chunks().0.iter().zip(&mut out) {
                simd.scale(codes, scales, &mut out[row]);
            }
        }
    }
}

/// Eight codes, which are taken apart and put together all at once, as a number.
type Word = [u8; 8];

/// A number that repeats a byte.
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// `bits` of each byte from bit `at` on.
#[inline(always)]
fn field(bytes: &Word, at: u32, bits: u32) -> u64 {
    u64::from_le_bytes(*bytes) >> at & repeat((1 << bits) - 1)
}

/// Nibbles: byte p holds elements p and p + 16.
#[inline(always)]
fn nibbles(qs: &[u8; 16], codes: &mut [Word]) {
    // Into arrays of its own: the compiler need not ask whether they overlap with what is read.
    let (mut low, mut high) = ([0; 16], [0; 16]);
    for ((low, high), q) in low.iter_mut().zip(&mut high).zip(qs) {
        (*low, *high) = (q & 15, q >> 4);
    }
    codes[..2].as_flattened_mut().copy_from_slice(&low);
    codes[2..4].as_flattened_mut().copy_from_slice(&high);
}

/// Nibbles with fifth bits, which are those of 32 elements in order.
#[inline(always)]
fn five_bits(high: &[u8; 4], qs: &[u8; 16], codes: &mut [Word]) {
    nibbles(qs, codes);
    for (codes, high) in codes.iter_mut().zip(high) {
        // In byte p, bit p is kept; 0x7f carries it to the top, whatever p is.
        let bits = repeat(*high) & 0x8040_2010_0804_0201;
        let fifth = (bits + repeat(0x7f)) >> 3 & repeat(16);
        *codes = (u64::from_le_bytes(*codes) | fifth).to_le_bytes();
    }
}

/// Five bits less 16, after their factor.
pub(super) struct Q5_0;

impl Block<22, 32, 1, 1> for Q5_0 {
    const ZERO: u8 = 16;

    #[inline(always)]
    fn codes([_, _, h0, h1, h2, h3, qs @ ..]: &[u8; 22], codes: &mut [Word]) {
        five_bits(&[*h0, *h1, *h2, *h3], qs, codes);
    }

    #[inline(always)]
    fn halves([d0, d1, ..]: &[u8; 22]) -> [[u8; 2]; 1] {
        [[*d0, *d1]]
    }

    #[inline(always)]
    fn scales(_: &[u8; 22], [d]: [f32; 1]) -> [[f32; 1]; 1] {
        [[d]]
    }
}

/// Five bits after their factor and minimum.
pub(super) struct Q5_1;

impl Block<24, 32, 1, 2> for Q5_1 {
    const ZERO: u8 = 0;

    #[inline(always)]
    fn codes([_, _, _, _, h0, h1, h2, h3, qs @ ..]: &[u8; 24], codes: &mut [Word]) {
        five_bits(&[*h0, *h1, *h2, *h3], qs, codes);
    }

    #[inline(always)]
    fn halves([d0, d1, m0, m1, ..]: &[u8; 24]) -> [[u8; 2]; 2] {
        [[*d0, *d1], [*m0, *m1]]
    }

    #[inline(always)]
    fn scales(_: &[u8; 24], [d, m]: [f32; 2]) -> [[f32; 1]; 2] {
        [[d], [m]]
    }
}

/// The codes of Q2_K, and the low bits of Q3_K's: two halves of 128 elements, 32 bytes each, four elements in a byte 32
/// apart.
#[inline(always)]
fn two_bits(qs: &[u8], codes: &mut [Word]) {
    for (codes, qs) in codes.as_chunks_mut::<16>().0.iter_mut().zip(qs.as_chunks::<8>().0.as_chunks::<4>().0) {
        for (p, q) in qs.iter().enumerate() {
            for quarter in 0..4 {
                codes[4 * quarter + p] = field(q, 2 * quarter as u32, 2).to_le_bytes();
            }
        }
    }
}

/// The nibbles of Q4_K and Q5_K: 32 bytes hold a group low and the next one high.
#[inline(always)]
fn grouped_nibbles(qs: &[u8], codes: &mut [Word]) {
    for (codes, qs) in codes.as_chunks_mut::<8>().0.iter_mut().zip(qs.as_chunks::<8>().0.as_chunks::<4>().0) {
        for (p, q) in qs.iter().enumerate() {
            codes[p] = field(q, 0, 4).to_le_bytes();
            codes[p + 4] = field(q, 4, 4).to_le_bytes();
        }
    }
}

/// Sets bit `at` in the codes whose bit in `high` is set: bit g of byte p belongs to element p of 32 elements g.
#[inline(always)]
fn set_bits(codes: &mut [Word], high: &[u8], at: u32) {
    for (g, codes) in codes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for (codes, high) in codes.iter_mut().zip(high.as_chunks().0) {
            *codes = (u64::from_le_bytes(*codes) | field(high, g as u32, 1) << at).to_le_bytes();
        }
    }
}

/// 16 bytes of scale and minimum, nibbles both; 64 of codes; their two factors.
pub(super) struct Q2K;

impl Block<84, 256, 16, 2> for Q2K {
    const ZERO: u8 = 0;

    #[inline(always)]
    fn codes(bytes: &[u8; 84], codes: &mut [Word]) {
        two_bits(&bytes[16..80], codes);
    }

    #[inline(always)]
    fn halves([.., d0, d1, m0, m1]: &[u8; 84]) -> [[u8; 2]; 2] {
        [[*d0, *d1], [*m0, *m1]]
    }

    #[inline(always)]
    fn scales(bytes: &[u8; 84], [d, m]: [f32; 2]) -> [[f32; 16]; 2] {
        [from_fn(|g| d * f32::from(bytes[g] & 15)), from_fn(|g| -(m * f32::from(bytes[g] >> 4)))]
    }
}

/// 32 bytes of third bits, 64 of low bits, 12 of scales, one factor. A third bit that is *not* set subtracts 4.
pub(super) struct Q3K;

impl Block<110, 256, 16, 1> for Q3K {
    const ZERO: u8 = 4;

    #[inline(always)]
    fn codes(bytes: &[u8; 110], codes: &mut [Word]) {
        two_bits(&bytes[32..96], codes);
        set_bits(codes, &bytes[..32], 2);
    }

    #[inline(always)]
    fn halves([.., d0, d1]: &[u8; 110]) -> [[u8; 2]; 1] {
        [[*d0, *d1]]
    }

    #[inline(always)]
    fn scales(bytes: &[u8; 110], [d]: [f32; 1]) -> [[f32; 16]; 1] {
        let scales = &bytes[96..108];
        // Six bits each: the low four of group g in byte g % 8, the high two in byte 8 + g % 4.
        let scale = |g| scales[g % 8] >> (g / 8 * 4) & 15 | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
        [from_fn(|g| d * f32::from(scale(g) as i8 - 32))]
    }
}

/// Scales and minimums of the groups of 32 in Q4_K and Q5_K: six bits each, the first four groups' in the low bits of
/// bytes 0..4 and 4..8, the rest spread over bytes 8..12 and the spare high bits.
#[inline(always)]
fn six_bits(bytes: &[u8], [d, m]: [f32; 2]) -> [[f32; 8]; 2] {
    let scale = |g: usize| if g < 4 { bytes[g] & 63 } else { bytes[g + 4] & 15 | bytes[g - 4] >> 6 << 4 };
    let min = |g: usize| if g < 4 { bytes[g + 4] & 63 } else { bytes[g + 4] >> 4 | bytes[g] >> 6 << 4 };
    [from_fn(|g| d * f32::from(scale(g))), from_fn(|g| -(m * f32::from(min(g))))]
}

/// Two factors, 12 bytes of scales and minimums, 128 of nibbles.
pub(super) struct Q4K;

impl Block<144, 256, 8, 2> for Q4K {
    const ZERO: u8 = 0;

    #[inline(always)]
    fn codes(bytes: &[u8; 144], codes: &mut [Word]) {
        grouped_nibbles(&bytes[16..], codes);
    }

    #[inline(always)]
    fn halves([d0, d1, m0, m1, ..]: &[u8; 144]) -> [[u8; 2]; 2] {
        [[*d0, *d1], [*m0, *m1]]
    }

    #[inline(always)]
    fn scales(bytes: &[u8; 144], halves: [f32; 2]) -> [[f32; 8]; 2] {
        six_bits(&bytes[4..16], halves)
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles.
pub(super) struct Q5K;

impl Block<176, 256, 8, 2> for Q5K {
    const ZERO: u8 = 0;

    #[inline(always)]
    fn codes(bytes: &[u8; 176], codes: &mut [Word]) {
        grouped_nibbles(&bytes[48..], codes);
        set_bits(codes, &bytes[16..48], 4);
    }

    #[inline(always)]
    fn halves([d0, d1, m0, m1, ..]: &[u8; 176]) -> [[u8; 2]; 2] {
        [[*d0, *d1], [*m0, *m1]]
    }

    #[inline(always)]
    fn scales(bytes: &[u8; 176], halves: [f32; 2]) -> [[f32; 8]; 2] {
        six_bits(&bytes[4..16], halves)
    }
}

/// 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, one factor. Each half of 128 elements has 64
/// bytes of nibbles, low ones first, and 32 of pairs.
pub(super) struct Q6K;

impl Block<210, 256, 16, 1> for Q6K {
    const ZERO: u8 = 32;

    #[inline(always)]
    fn codes(bytes: &[u8; 210], codes: &mut [Word]) {
        let (low, high) =
            (bytes[..128].as_chunks().0.as_chunks::<8>().0, bytes[128..192].as_chunks().0.as_chunks::<4>().0);
        for (codes, (low, high)) in codes.as_chunks_mut::<16>().0.iter_mut().zip(low.iter().zip(high)) {
            for (i, code) in codes.iter_mut().enumerate() {
                let (quarter, p) = (i as u32 / 4, i % 4);
                let low = field(&low[i % 8], quarter / 2 * 4, 4);
                *code = (low | field(&high[p], quarter * 2, 2) << 4).to_le_bytes();
            }
        }
    }

    #[inline(always)]
    fn halves([.., d0, d1]: &[u8; 210]) -> [[u8; 2]; 1] {
        [[*d0, *d1]]
    }

    #[inline(always)]
    fn scales(bytes: &[u8; 210], [d]: [f32; 1]) -> [[f32; 16]; 1] {
        [from_fn(|g| d * f32::from(bytes[192 + g] as i8))]
    }
}
