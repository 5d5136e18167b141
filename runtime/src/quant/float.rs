//! Float types to f32, bit for bit as ggml's reference decoders define them (`ggml-quants.c`), and their products with
//! activations.
//!
//! Called for every row of every float matrix of every token: nothing is allocated, and everything is compiled once per
//! instruction set. Two things keep it fast, both learnt from what the compiler made of simpler code: types of blocks
//! are types, not closures, since a call through `Fn` is a function of its own, compiled for the poorest instruction
//! set; and blocks are decoded many at a time in steps, codes, floats and scales, since short loops over all of it at
//! once are unrolled before they could be vectorised, and then are not.

use std::array::from_fn;
use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::{Error, check_size};
use crate::gguf::Kind;
use crate::vector::Sums;

/// Decodes `bytes`, a whole number of blocks of `kind`, to as many floats as `out` has.
///
/// # Errors
/// If `kind` is not a float type, or `bytes` and `out` do not match.
pub fn decode(kind: Kind, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    check(kind, bytes, 1, out.len())?;
    Arch::new().dispatch(Decode { kind, bytes, out });
    Ok(())
}

/// y\[n\] = W\[n, k\] · x\[k\], for the rows W that `bytes` holds: each is read once, and stored as floats nowhere but
/// in the first-level cache.
///
/// A row's sum is formed in an order that its kind and length decide, whatever rows stand next to it.
///
/// # Errors
/// If `kind` is not a float type, or the lengths do not match.
pub fn multiply(kind: Kind, bytes: &[u8], x: &[f32], y: &mut [f32]) -> Result<(), Error> {
    if y.is_empty() {
        return Ok(());
    }
    check(kind, bytes, y.len(), x.len())?;
    Arch::new().dispatch(Multiply { kind, bytes, x, y });
    Ok(())
}

fn check(kind: Kind, bytes: &[u8], rows: usize, k: usize) -> Result<(), Error> {
    if kind.is_ternary() {
        return Err(Error::NotFloat { kind });
    }
    check_size(kind, bytes.len(), rows, k)
}

/// Elements decoded together: a whole number of blocks of every kind.
const CHUNK: usize = 1024;

/// Elements widened in a loop that is too long to be unrolled before it is vectorised, and short enough to be unrolled
/// then, so that between bytes and sums they need not leave the registers.
const RUN: usize = 128;

/// Of blocks of 32, the smallest that have scales.
const MAX_BLOCKS: usize = CHUNK / 32;

/// Of groups of 16, the smallest that share a scale.
const MAX_GROUPS: usize = CHUNK / 16;

/// Where vectors of elements do not cross cache lines.
#[repr(align(64))]
struct Aligned<T>(T);

/// How a kind is decoded.
trait Format {
    /// Bytes of [`CHUNK`] elements.
    const CHUNK_BYTES: usize;

    /// Up to [`CHUNK`] elements.
    fn decode<S: Simd>(simd: S, bytes: &[u8], out: &mut [f32]);

    /// Adds the products of up to [`CHUNK`] elements with as many of x.
    fn multiply<S: Simd>(bytes: &[u8], x: &[f32], sums: &mut Sums<S>);
}

/// Something to do with the format of a kind.
trait Task {
    fn run<F: Format>(self);
}

/// Runs `task` with the format of `kind`.
#[inline(always)]
fn with_format(kind: Kind, task: impl Task) {
    match kind {
        Kind::F32 => task.run::<Elements<F32, _>>(),
        Kind::F16 => task.run::<Elements<F16, _>>(),
        Kind::BF16 => task.run::<Elements<Bf16, _>>(),
        Kind::Q4_0 => task.run::<Blocks<Q4_0, _, _, _, _>>(),
        Kind::Q4_1 => task.run::<Blocks<Q4_1, _, _, _, _>>(),
        Kind::Q5_0 => task.run::<Blocks<Q5_0, _, _, _, _>>(),
        Kind::Q5_1 => task.run::<Blocks<Q5_1, _, _, _, _>>(),
        Kind::Q8_0 => task.run::<Blocks<Q8_0, _, _, _, _>>(),
        Kind::IQ4_NL => task.run::<Blocks<Iq4Nl, _, _, _, _>>(),
        Kind::Q2_K => task.run::<Blocks<Q2K, _, _, _, _>>(),
        Kind::Q3_K => task.run::<Blocks<Q3K, _, _, _, _>>(),
        Kind::Q4_K => task.run::<Blocks<Q4K, _, _, _, _>>(),
        Kind::Q5_K => task.run::<Blocks<Q5K, _, _, _, _>>(),
        Kind::Q6_K => task.run::<Blocks<Q6K, _, _, _, _>>(),
        // `check` has refused the others.
        _ => {}
    }
}

struct Decode<'a> {
    kind: Kind,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl WithSimd for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Decode { kind, bytes, out } = self;
        with_format(kind, DecodeWith { simd, bytes, out });
    }
}

struct DecodeWith<'a, S> {
    simd: S,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl<S: Simd> Task for DecodeWith<'_, S> {
    #[inline(always)]
    fn run<F: Format>(self) {
        for (bytes, out) in self.bytes.chunks(F::CHUNK_BYTES).zip(self.out.chunks_mut(CHUNK)) {
            F::decode(self.simd, bytes, out);
        }
    }
}

struct Multiply<'a> {
    kind: Kind,
    bytes: &'a [u8],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Multiply { kind, bytes, x, y } = self;
        with_format(kind, MultiplyWith { simd, bytes, x, y });
    }
}

struct MultiplyWith<'a, S> {
    simd: S,
    bytes: &'a [u8],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<S: Simd> Task for MultiplyWith<'_, S> {
    #[inline(always)]
    fn run<F: Format>(self) {
        let MultiplyWith { simd, bytes, x, y } = self;
        for (row, y) in bytes.chunks_exact(bytes.len() / y.len()).zip(y) {
            let mut sums = Sums::new(simd);
            for (bytes, x) in row.chunks(F::CHUNK_BYTES).zip(x.chunks(CHUNK)) {
                F::multiply(bytes, x, &mut sums);
            }
            *y = sums.total();
        }
    }
}

/// The format of plain elements.
struct Elements<E, const B: usize>(PhantomData<E>);

/// An element of B bytes.
trait Element<const B: usize> {
    fn widen(bytes: [u8; B]) -> f32;
}

struct F32;

impl Element<4> for F32 {
    #[inline(always)]
    fn widen(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

struct F16;

impl Element<2> for F16 {
    #[inline(always)]
    fn widen(bytes: [u8; 2]) -> f32 {
        f16(bytes)
    }
}

struct Bf16;

impl Element<2> for Bf16 {
    #[inline(always)]
    fn widen(bytes: [u8; 2]) -> f32 {
        bf16(bytes)
    }
}

impl<E: Element<B>, const B: usize> Elements<E, B> {
    #[inline(always)]
    fn widen(bytes: &[[u8; B]], out: &mut [f32]) {
        for (out, bytes) in out.iter_mut().zip(bytes) {
            *out = E::widen(*bytes);
        }
    }
}

impl<E: Element<B>, const B: usize> Format for Elements<E, B> {
    const CHUNK_BYTES: usize = CHUNK * B;

    #[inline(always)]
    fn decode<S: Simd>(_: S, bytes: &[u8], out: &mut [f32]) {
        Self::widen(bytes.as_chunks().0, out);
    }

    #[inline(always)]
    fn multiply<S: Simd>(bytes: &[u8], x: &[f32], sums: &mut Sums<S>) {
        let (bytes, bytes_rest) = bytes.as_chunks::<B>().0.as_chunks::<RUN>();
        let (x, x_rest) = x.as_chunks::<RUN>();
        for (bytes, x) in bytes.iter().zip(x) {
            let mut wide = Aligned([0f32; RUN]);
            Self::widen(bytes, &mut wide.0);
            sums.add(&wide.0, x);
        }
        let mut wide = Aligned([0f32; RUN]);
        Self::widen(bytes_rest, &mut wide.0);
        sums.add(&wide.0[..x_rest.len()], x_rest);
    }
}

/// Half to single precision, exactly: the exponent is moved by a multiplication by 2^112, which also makes subnormal
/// halves normal. No instruction set is needed, and no branch: loops over it become vectors.
#[inline(always)]
fn f16(bytes: [u8; 2]) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    // Shifted with its sign, so that one mask keeps the sign and the magnitude.
    let bits = (i32::from(i16::from_le_bytes(bytes)) << 13) as u32 & 0x8fff_e000;
    let not_finite = if bits & 0x0f80_0000 == 0x0f80_0000 { 0x7f80_0000 } else { 0 };
    f32::from_bits((f32::from_bits(bits) * TWO_TO_112).to_bits() | not_finite)
}

#[inline(always)]
fn bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// What B bytes say of N elements: a code each, and for each of G groups of them a factor and what is added to its
/// products, both made from H half-precision numbers; nothing is added where H is 1.
trait Block<const B: usize, const N: usize, const G: usize, const H: usize> {
    /// Taken off each code.
    const ZERO: i8;

    /// Codes in order, as words of eight.
    fn codes(bytes: &[u8; B], codes: &mut [Word]);

    /// Puts signed numbers in the place of codes that only stand for them, those of many blocks together.
    #[inline(always)]
    fn look_up(_: &mut [u8; CHUNK]) {}

    /// Not widened yet: those of many blocks are widened together.
    fn halves(bytes: &[u8; B]) -> [[u8; 2]; H];

    /// Factors and shifts, from the halves.
    fn scales(bytes: &[u8; B], halves: [f32; H]) -> [[f32; G]; H];
}

/// The format that consists of such blocks.
struct Blocks<K, const B: usize, const N: usize, const G: usize, const H: usize>(PhantomData<K>);

/// What blocks of up to [`CHUNK`] elements say: all codes, and the factors and shifts of all groups.
struct Parsed<const H: usize> {
    codes: Aligned<[Word; CHUNK / 8]>,
    scales: [[f32; MAX_GROUPS]; H],
}

impl<K: Block<B, N, G, H>, const B: usize, const N: usize, const G: usize, const H: usize> Blocks<K, B, N, G, H> {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Parsed<H> {
        let blocks = bytes.as_chunks::<B>().0;
        let mut halves = [[[0u8; 2]; MAX_BLOCKS]; H];
        for (i, bytes) in blocks.iter().enumerate().take(MAX_BLOCKS) {
            for (halves, half) in halves.iter_mut().zip(K::halves(bytes)) {
                halves[i] = half;
            }
        }
        let mut codes = Aligned([[0u8; 8]; CHUNK / 8]);
        for (bytes, codes) in blocks.iter().zip(codes.0.chunks_exact_mut(N / 8)) {
            K::codes(bytes, codes);
        }
        if let Some(codes) = codes.0.as_flattened_mut().first_chunk_mut() {
            K::look_up(codes);
        }
        let mut wide = [[0f32; MAX_BLOCKS]; H];
        for (wide, half) in wide.as_flattened_mut().iter_mut().zip(halves.as_flattened()) {
            *wide = f16(*half);
        }
        let mut scales = [[0f32; MAX_GROUPS]; H];
        for (i, bytes) in blocks.iter().enumerate().take(MAX_BLOCKS.min(MAX_GROUPS / G)) {
            let block = K::scales(bytes, wide.each_ref().map(|wide| wide[i]));
            for (scales, block) in scales.iter_mut().zip(block) {
                scales[i * G..][..G].copy_from_slice(&block);
            }
        }
        Parsed { codes, scales }
    }

    #[inline(always)]
    fn widen(codes: &[u8], out: &mut [f32]) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from((*code as i8).wrapping_sub(K::ZERO));
        }
    }

    /// Adds the products of the elements, whose groups are those from `first` on, with x.
    #[inline(always)]
    fn sum<S: Simd>(parsed: &Parsed<H>, first: usize, codes: &[f32], x: &[f32], sums: &mut Sums<S>) {
        let simd = sums.simd();
        for (g, (codes, x)) in codes.chunks_exact(N / G).zip(x.chunks_exact(N / G)).enumerate() {
            let scales = parsed.scales.each_ref().map(|scales| simd.splat_f32s(scales[first + g]));
            let vectors = S::as_simd_f32s(codes).0.iter().zip(S::as_simd_f32s(x).0);
            for (i, (codes, x)) in vectors.enumerate() {
                sums.add_vector(g * (N / G / S::F32_LANES) + i, scaled(simd, *codes, scales), *x);
            }
        }
    }
}

impl<K: Block<B, N, G, H>, const B: usize, const N: usize, const G: usize, const H: usize> Format
    for Blocks<K, B, N, G, H>
{
    const CHUNK_BYTES: usize = CHUNK / N * B;

    #[inline(always)]
    fn decode<S: Simd>(simd: S, bytes: &[u8], out: &mut [f32]) {
        let parsed = Self::parse(bytes);
        Self::widen(parsed.codes.0.as_flattened(), out);
        for (g, out) in out.chunks_exact_mut(N / G).enumerate().take(MAX_GROUPS) {
            let scales = parsed.scales.each_ref().map(|scales| simd.splat_f32s(scales[g]));
            for out in S::as_mut_simd_f32s(out).0 {
                *out = scaled(simd, *out, scales);
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd>(bytes: &[u8], x: &[f32], sums: &mut Sums<S>) {
        let parsed = Self::parse(bytes);
        let (x, x_rest) = x.as_chunks::<RUN>();
        let codes = parsed.codes.0.as_flattened().as_chunks::<RUN>().0;
        for (i, (codes, x)) in codes.iter().zip(x).enumerate() {
            let mut wide = Aligned([0f32; RUN]);
            Self::widen(codes, &mut wide.0);
            Self::sum(&parsed, i * (RUN * G / N), &wide.0, x, sums);
        }
        if let Some(codes) = codes.get(x.len()) {
            let mut wide = Aligned([0f32; RUN]);
            Self::widen(codes, &mut wide.0);
            Self::sum(&parsed, x.len() * (RUN * G / N), &wide.0, x_rest, sums);
        }
    }
}

/// codes · factor + shift, rounded twice, as the reference does.
#[inline(always)]
fn scaled<S: Simd, const H: usize>(simd: S, codes: S::f32s, scales: [S::f32s; H]) -> S::f32s {
    let product = simd.mul_f32s(scales[0], codes);
    if H == 2 { simd.add_f32s(product, scales[1]) } else { product }
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
    let (low, high) = codes.as_flattened_mut().split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(qs) {
        *low = q & 15;
        *high = q >> 4;
    }
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

/// Nibbles less 8, after their factor.
struct Q4_0;

impl Block<18, 32, 1, 1> for Q4_0 {
    const ZERO: i8 = 8;

    #[inline(always)]
    fn codes([_, _, qs @ ..]: &[u8; 18], codes: &mut [Word]) {
        nibbles(qs, codes);
    }

    #[inline(always)]
    fn halves([d0, d1, ..]: &[u8; 18]) -> [[u8; 2]; 1] {
        [[*d0, *d1]]
    }

    #[inline(always)]
    fn scales(_: &[u8; 18], [d]: [f32; 1]) -> [[f32; 1]; 1] {
        [[d]]
    }
}

/// Nibbles after their factor and minimum.
struct Q4_1;

impl Block<20, 32, 1, 2> for Q4_1 {
    const ZERO: i8 = 0;

    #[inline(always)]
    fn codes([_, _, _, _, qs @ ..]: &[u8; 20], codes: &mut [Word]) {
        nibbles(qs, codes);
    }

    #[inline(always)]
    fn halves([d0, d1, m0, m1, ..]: &[u8; 20]) -> [[u8; 2]; 2] {
        [[*d0, *d1], [*m0, *m1]]
    }

    #[inline(always)]
    fn scales(_: &[u8; 20], [d, m]: [f32; 2]) -> [[f32; 1]; 2] {
        [[d], [m]]
    }
}

/// Five bits less 16, after their factor.
struct Q5_0;

impl Block<22, 32, 1, 1> for Q5_0 {
    const ZERO: i8 = 16;

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
struct Q5_1;

impl Block<24, 32, 1, 2> for Q5_1 {
    const ZERO: i8 = 0;

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

/// Signed bytes after their factor.
struct Q8_0;

impl Block<34, 32, 1, 1> for Q8_0 {
    const ZERO: i8 = 0;

    #[inline(always)]
    fn codes([_, _, qs @ ..]: &[u8; 34], codes: &mut [Word]) {
        codes.copy_from_slice(qs.as_chunks().0);
    }

    #[inline(always)]
    fn halves([d0, d1, ..]: &[u8; 34]) -> [[u8; 2]; 1] {
        [[*d0, *d1]]
    }

    #[inline(always)]
    fn scales(_: &[u8; 34], [d]: [f32; 1]) -> [[f32; 1]; 1] {
        [[d]]
    }
}

/// Nibbles that stand for the numbers of a table, after their factor.
struct Iq4Nl;

impl Iq4Nl {
    /// `kvalues_iq4nl` of ggml: the nearer to 0, the finer.
    const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
}

/// Laid out as Q4_0.
impl Block<18, 32, 1, 1> for Iq4Nl {
    const ZERO: i8 = 0;

    #[inline(always)]
    fn codes(bytes: &[u8; 18], codes: &mut [Word]) {
        Q4_0::codes(bytes, codes);
    }

    #[inline(always)]
    fn look_up(codes: &mut [u8; CHUNK]) {
        for code in codes {
            // The steps up to it, added: loads by index would not become vectors.
            let mut number = Self::TABLE[0];
            for (below, pair) in (0..).zip(Self::TABLE.windows(2)) {
                number += if *code as i8 > below { pair[1] - pair[0] } else { 0 };
            }
            *code = number as u8;
        }
    }

    #[inline(always)]
    fn halves(bytes: &[u8; 18]) -> [[u8; 2]; 1] {
        Q4_0::halves(bytes)
    }

    #[inline(always)]
    fn scales(bytes: &[u8; 18], halves: [f32; 1]) -> [[f32; 1]; 1] {
        Q4_0::scales(bytes, halves)
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
struct Q2K;

impl Block<84, 256, 16, 2> for Q2K {
    const ZERO: i8 = 0;

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
struct Q3K;

impl Block<110, 256, 16, 1> for Q3K {
    const ZERO: i8 = 4;

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
struct Q4K;

impl Block<144, 256, 8, 2> for Q4K {
    const ZERO: i8 = 0;

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
struct Q5K;

impl Block<176, 256, 8, 2> for Q5K {
    const ZERO: i8 = 0;

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
struct Q6K;

impl Block<210, 256, 16, 1> for Q6K {
    const ZERO: i8 = 32;

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
            Kind::IQ4_NL => {
                let steps = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
                half(0) * steps[nibble(2) as usize] as f32
            }
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
    const KINDS: [Kind; 14] = [
        Kind::F32, Kind::F16, Kind::BF16, Kind::Q4_0, Kind::Q4_1, Kind::Q5_0, Kind::Q5_1, Kind::Q8_0,
        Kind::IQ4_NL, Kind::Q2_K, Kind::Q3_K, Kind::Q4_K, Kind::Q5_K, Kind::Q6_K,
    ];

    /// Some blocks of a kind, and the elements in them.
    fn cycled(kind: Kind, blocks: usize, noise: &[u8]) -> (Vec<u8>, usize) {
        let format = kind.format().unwrap();
        // Enough of plain elements for more than one of everything, and some over.
        let blocks = if format.elements == 1 { blocks * 31 } else { blocks };
        let bytes = noise.iter().copied().cycle().take(blocks * format.bytes as usize);
        (bytes.collect(), blocks * format.elements as usize)
    }

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
    }

    proptest! {
        /// Any bytes whatever, infinite and NaN scales among them.
        #[test]
        fn decodes_as_the_formula_says(
            kind in prop::sample::select(&KINDS[..]),
            blocks in 0usize..70,
            noise in prop::collection::vec(any::<u8>(), 4 * 210),
        ) {
            let (bytes, elements) = cycled(kind, blocks, &noise);
            let mut out = vec![f32::NAN; elements];
            if blocks == 0 {
                prop_assert!(decode(kind, &bytes, &mut out).unwrap_err().to_string().contains("dimension 0 is 0"));
                return Ok(());
            }
            decode(kind, &bytes, &mut out).unwrap();
            for (i, &ours) in out.iter().enumerate() {
                let theirs = element(kind, &bytes, i);
                prop_assert!(same(ours, theirs), "{kind} element {i}: {ours} instead of {theirs}");
            }
        }

        /// To the last bit, and whatever rows stand next to each other.
        #[test]
        fn multiplies_as_it_decodes(
            kind in prop::sample::select(&KINDS[..]),
            blocks in 1usize..70,
            rows in 1usize..4,
            noise in prop::collection::vec(any::<u8>(), 4 * 210),
        ) {
            let (bytes, elements) = cycled(kind, rows * blocks, &noise);
            let x: Vec<f32> = (0..elements / rows).map(|i| (i as f32 * 0.37).sin()).collect();
            let (mut weights, mut y) = (vec![f32::NAN; elements], vec![f32::NAN; rows]);
            decode(kind, &bytes, &mut weights).unwrap();
            multiply(kind, &bytes, &x, &mut y).unwrap();
            for (weights, y) in weights.chunks_exact(x.len()).zip(y) {
                let expected = crate::vector::dot(weights, &x);
                prop_assert!(same(y, expected), "{kind}: {y} instead of {expected}");
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
        let error = multiply(Kind::Q8_0, &[0; 34], &[0.0; 32], &mut [0.0; 2]).unwrap_err();
        assert!(error.to_string().contains("2 x 32 weights are 68 bytes as Q8_0, not 34"));
    }
}
