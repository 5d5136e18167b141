//! Sixteen numbers at a time, on every instruction set: what is spelt out where neither the compiler nor pulp's portable
//! vectors find it.

use pulp::{Arch, Scalar, Simd, bytemuck};

/// Numbers that are computed together, in as many vectors as hold them.
pub(crate) const LANES: usize = 16;

/// Something to do on an instruction set.
pub(crate) trait Task {
    type Output;

    fn run<S: Lanes>(self, simd: S) -> Self::Output;
}

/// What tasks are run on.
pub(crate) trait Dispatch: Copy {
    fn run<T: Task>(self, task: T) -> T::Output;
}

/// The best instruction set that there is here.
#[derive(Clone, Copy)]
pub(crate) struct Here;

impl Dispatch for Here {
    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        match Arch::new() {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(simd) => simd.run(task),
            #[cfg(target_arch = "x86_64")]
            Arch::V3(simd) => simd.run(task),
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(simd) => simd.run(task),
            _ => Scalar.run(task),
        }
    }
}

/// This instruction set; its having a value proves that it is here.
impl<S: Lanes> Dispatch for S {
    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        self.vectorize(
            #[inline(always)]
            || task.run(self),
        )
    }
}

/// What an instruction set does with [`LANES`] numbers.
pub(crate) trait Lanes: Simd {
    /// Rows of activations whose products with a few rows of weights fit into registers.
    const TOKENS: usize = 3;

    /// [`LANES`] floats.
    type Sixteen: Copy + AsRef<[Self::f32s]> + AsMut<[Self::f32s]>;

    /// The same vector everywhere.
    fn sixteen(self, vector: Self::f32s) -> Self::Sixteen;

    /// out = codes · factor + shift, rounded twice, of signed codes; without a shift where H is 1.
    #[inline(always)]
    fn scale<const H: usize>(self, codes: &[u8; LANES], scales: [f32; H], out: &mut [f32; LANES]) {
        for (out, code) in out.iter_mut().zip(codes) {
            let product = scales[0] * f32::from(*code as i8);
            *out = if H == 2 { product + scales[1] } else { product };
        }
    }

    /// Half to single precision, exactly.
    #[inline(always)]
    fn widen<const H: usize>(self, halves: [[u8; 2]; H]) -> [f32; H] {
        halves.map(widened)
    }

    /// The same of many.
    #[inline(always)]
    fn widen_all(self, halves: &[[u8; 2]; LANES]) -> [f32; LANES] {
        halves.map(widened)
    }

    /// What nibbles stand for, by a table: those of low nibbles, and those of high ones.
    #[inline(always)]
    fn look_up(self, qs: &[u8; LANES], table: &[i8; LANES]) -> [[u8; LANES]; 2] {
        [qs.map(|q| table[usize::from(q & 15)] as u8), qs.map(|q| table[usize::from(q >> 4)] as u8)]
    }

    /// The same, [scaled](Lanes::scale).
    #[inline(always)]
    fn look_up_scaled<const H: usize>(
        self,
        qs: &[u8; LANES],
        table: &[i8; LANES],
        scales: [f32; H],
        out: [&mut [f32; LANES]; 2],
    ) {
        for (codes, out) in self.look_up(qs, table).iter().zip(out) {
            self.scale(codes, scales, out);
        }
    }

    /// Adds products of int8 with 16-bit integers to sums, two to each, whichever they are; no sum leaves 32 bits.
    #[inline(always)]
    fn add_products(self, codes: &[u8; 2 * LANES], factors: &[i16; 2 * LANES], sums: &mut [i32; LANES]) {
        let pairs = codes.as_chunks::<2>().0.iter().zip(factors.as_chunks::<2>().0);
        for (sum, (codes, factors)) in sums.iter_mut().zip(pairs) {
            let [one, other] = [0, 1].map(|i| i32::from(codes[i] as i8) * i32::from(factors[i]));
            *sum += one + other;
        }
    }

    /// The sums of vectors, each over its lanes: lane l takes lane l + half, and so on.
    #[inline(always)]
    fn totals(self, sums: [Self::f32s; 4]) -> [f32; 4] {
        let [a, b, c, d] = sums;
        [self.reduce_sum_f32s(a), self.reduce_sum_f32s(b), self.reduce_sum_f32s(c), self.reduce_sum_f32s(d)]
    }
}

impl Lanes for Scalar {
    type Sixteen = [Self::f32s; 16];

    #[inline(always)]
    fn sixteen(self, vector: Self::f32s) -> Self::Sixteen {
        [vector; 16]
    }
}

#[cfg(target_arch = "aarch64")]
impl Lanes for pulp::aarch64::Neon {
    type Sixteen = [Self::f32s; 4];

    #[inline(always)]
    fn sixteen(self, vector: Self::f32s) -> Self::Sixteen {
        [vector; 4]
    }

    #[inline(always)]
    fn look_up(self, qs: &[u8; LANES], table: &[i8; LANES]) -> [[u8; LANES]; 2] {
        let (table, qs) = (pulp::cast(*table), pulp::cast(*qs));
        let (low, high) = (self.neon.vandq_u8(qs, self.neon.vdupq_n_u8(15)), self.neon.vshrq_n_u8::<4>(qs));
        [low, high].map(|nibbles| pulp::cast(self.neon.vqtbl1q_u8(table, nibbles)))
    }

    #[inline(always)]
    fn add_products(self, codes: &[u8; 2 * LANES], factors: &[i16; 2 * LANES], sums: &mut [i32; LANES]) {
        let neon = self.neon;
        let eights = codes.as_chunks::<8>().0.iter().zip(factors.as_chunks::<8>().0);
        for (i, (codes, factors)) in eights.enumerate() {
            let (codes, factors) = (neon.vmovl_s8(pulp::cast(*codes)), pulp::cast(*factors));
            // The first eight of the sums, then the others.
            let sums = &mut sums.as_chunks_mut::<8>().0[i % 2].as_chunks_mut::<4>().0;
            let low = neon.vmlal_s16(pulp::cast(sums[0]), neon.vget_low_s16(codes), neon.vget_low_s16(factors));
            let high = neon.vmlal_s16(pulp::cast(sums[1]), neon.vget_high_s16(codes), neon.vget_high_s16(factors));
            (sums[0], sums[1]) = (pulp::cast(low), pulp::cast(high));
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for pulp::x86::V3 {
    type Sixteen = [Self::f32s; 2];

    #[inline(always)]
    fn sixteen(self, vector: Self::f32s) -> Self::Sixteen {
        [vector; 2]
    }

    #[inline(always)]
    fn scale<const H: usize>(self, codes: &[u8; LANES], scales: [f32; H], out: &mut [f32; LANES]) {
        let (factor, avx) = (self.avx._mm256_set1_ps(scales[0]), self.avx);
        for (codes, out) in codes.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            let codes = self.sse2._mm_set_epi64x(0, i64::from_le_bytes(*codes));
            let codes = avx._mm256_cvtepi32_ps(self.avx2._mm256_cvtepi8_epi32(codes));
            let product = avx._mm256_mul_ps(factor, codes);
            let shifted = |shift| avx._mm256_add_ps(product, avx._mm256_set1_ps(shift));
            *out = pulp::cast(if H == 2 { shifted(scales[1]) } else { product });
        }
    }

    #[inline(always)]
    fn look_up(self, qs: &[u8; LANES], table: &[i8; LANES]) -> [[u8; LANES]; 2] {
        let (table, low, nibble) = (pulp::cast(*table), pulp::cast(*qs), self.sse2._mm_set1_epi8(15));
        let nibbles = |bytes| self.sse2._mm_and_si128(bytes, nibble);
        [low, self.sse2._mm_srli_epi16::<4>(low)]
            .map(|bytes| pulp::cast(self.ssse3._mm_shuffle_epi8(table, nibbles(bytes))))
    }

    #[inline(always)]
    fn add_products(self, codes: &[u8; 2 * LANES], factors: &[i16; 2 * LANES], sums: &mut [i32; LANES]) {
        let avx2 = self.avx2;
        let sixteens = codes.as_chunks::<16>().0.iter().zip(factors.as_chunks::<16>().0);
        for ((codes, factors), sums) in sixteens.zip(sums.as_chunks_mut::<8>().0) {
            let codes = avx2._mm256_cvtepi8_epi16(pulp::cast(*codes));
            let products = avx2._mm256_madd_epi16(codes, pulp::cast(*factors));
            *sums = pulp::cast(avx2._mm256_add_epi32(pulp::cast(*sums), products));
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for pulp::x86::V4 {
    const TOKENS: usize = 6;

    type Sixteen = [Self::f32s; 1];

    #[inline(always)]
    fn sixteen(self, vector: Self::f32s) -> Self::Sixteen {
        [vector; 1]
    }

    #[inline(always)]
    fn scale<const H: usize>(self, codes: &[u8; LANES], scales: [f32; H], out: &mut [f32; LANES]) {
        let avx512 = self.avx512f;
        let codes = avx512._mm512_cvtepi32_ps(avx512._mm512_cvtepi8_epi32(pulp::cast(*codes)));
        let product = avx512._mm512_mul_ps(avx512._mm512_set1_ps(scales[0]), codes);
        let shifted = |shift| avx512._mm512_add_ps(product, avx512._mm512_set1_ps(shift));
        *out = pulp::cast(if H == 2 { shifted(scales[1]) } else { product });
    }

    #[inline(always)]
    fn widen<const H: usize>(self, halves: [[u8; 2]; H]) -> [f32; H] {
        const { assert!(H <= 2) };
        let mut bytes = [[0; 2]; 2];
        bytes[..H].copy_from_slice(&halves);
        let bytes = self.sse2._mm_cvtsi32_si128(i32::from_le_bytes(pulp::cast(bytes)));
        let wide: [f32; LANES] = pulp::cast(self.avx512f._mm512_cvtph_ps(self.avx._mm256_zextsi128_si256(bytes)));
        std::array::from_fn(|i| wide[i])
    }

    #[inline(always)]
    fn widen_all(self, halves: &[[u8; 2]; LANES]) -> [f32; LANES] {
        pulp::cast(self.avx512f._mm512_cvtph_ps(pulp::cast(*halves)))
    }

    /// The table is scaled, in place of what is looked up in it.
    #[inline(always)]
    fn look_up_scaled<const H: usize>(
        self,
        qs: &[u8; LANES],
        table: &[i8; LANES],
        scales: [f32; H],
        [low, high]: [&mut [f32; LANES]; 2],
    ) {
        let avx512 = self.avx512f;
        let mut values = [0.0; LANES];
        self.scale(&pulp::cast(*table), scales, &mut values);
        // Of an index, the low four bits count.
        let (qs, values) = (avx512._mm512_cvtepu8_epi32(pulp::cast(*qs)), pulp::cast(values));
        *low = pulp::cast(avx512._mm512_permutexvar_ps(qs, values));
        *high = pulp::cast(avx512._mm512_permutexvar_ps(avx512._mm512_srli_epi32::<4>(qs), values));
    }

    #[inline(always)]
    fn add_products(self, codes: &[u8; 2 * LANES], factors: &[i16; 2 * LANES], sums: &mut [i32; LANES]) {
        let codes = self.avx512bw._mm512_cvtepi8_epi16(pulp::cast(*codes));
        let products = self.avx512bw._mm512_madd_epi16(codes, pulp::cast(*factors));
        *sums = pulp::cast(self.avx512f._mm512_add_epi32(pulp::cast(*sums), products));
    }

    /// All four in the steps of one.
    #[inline(always)]
    fn totals(self, sums: [Self::f32s; 4]) -> [f32; 4] {
        let avx512 = self.avx512f;
        let [a, b, c, d]: [std::arch::x86_64::__m512; 4] = pulp::cast(sums);
        // Halves of a and b: the low one of a, the high one of b; and the others.
        let eight = |a, b| {
            let (own, other) = (avx512._mm512_mask_blend_ps(0xff00, a, b), avx512._mm512_shuffle_f32x4::<0x4e>(a, b));
            avx512._mm512_add_ps(own, other)
        };
        let (ab, cd) = (eight(a, b), eight(c, d));
        let crossed = pulp::cast([4u32, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27]);
        let (own, other) =
            (avx512._mm512_mask_blend_ps(0xf0f0, ab, cd), avx512._mm512_permutex2var_ps(ab, crossed, cd));
        // Four lanes of each: a, c, b, d.
        let four = avx512._mm512_add_ps(own, other);
        let two = avx512._mm512_add_ps(four, avx512._mm512_permute_ps::<0b01_00_11_10>(four));
        let one = avx512._mm512_add_ps(two, avx512._mm512_permute_ps::<0b10_11_00_01>(two));
        let firsts =
            avx512._mm512_permutexvar_ps(pulp::cast([0u32, 8, 4, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), one);
        pulp::cast(avx512._mm512_castps512_ps128(firsts))
    }
}

/// Half to single precision, exactly. No instruction set is needed, and no branch: loops over it become vectors. No
/// subnormal number is computed with, which costs as much as a hundred that are normal.
#[inline(always)]
pub(crate) fn widened(bytes: [u8; 2]) -> f32 {
    /// What is added to an exponent.
    const REBIAS: u32 = 112 << 23;
    const SMALLEST_NORMAL: u32 = 1 << 23;
    let half = u32::from(u16::from_le_bytes(bytes));
    let (sign, magnitude) = ((half & 0x8000) << 16, (half & 0x7fff) << 13);
    // A subnormal half is so many steps of 2^-24: above the smallest normal half, so many steps of that one.
    let above = f32::from_bits(magnitude + REBIAS + SMALLEST_NORMAL) - f32::from_bits(REBIAS + SMALLEST_NORMAL);
    let not_finite = if magnitude >= 31 << 23 { REBIAS } else { 0 };
    let finite = if magnitude < SMALLEST_NORMAL { above.to_bits() } else { magnitude + REBIAS };
    f32::from_bits(sign | (finite + not_finite))
}

/// a · b + c, rounded once.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if S::F32_LANES == 1 && cfg!(target_arch = "x86_64") {
        let one = |x: S::f32s| bytemuck::cast_slice::<S::f32s, f32>(&[x]).first().copied().unwrap_or_default();
        return simd.splat_f32s(fused(one(a), one(b), one(c)));
    }
    simd.mul_add_f32s(a, b, c)
}

/// a · b + c, rounded once, where there is no instruction for it, and the C library would take some hundred.
///
/// The product is exact in f64. The sum is rounded to odd there: to the neighbour whose last bit is set, where it is not
/// exact. With more than two bits over f32's, rounding that to f32 is as good as rounding once (Boldo & Melquiond,
/// "Emulation of a FMA and correctly rounded sums", 2008).
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What was rounded off, exactly (Knuth's two-sum).
    let added = sum - product;
    let error = (product - (sum - added)) + (c - added);
    let to_odd = error != 0.0 && sum.is_finite() && sum.to_bits().is_multiple_of(2);
    // Numbers of one sign are in the order of their bits: up where the error has the sign of the sum.
    let up = (error > 0.0) == (sum > 0.0);
    let bits = match (to_odd, up) {
        (false, _) => sum.to_bits(),
        (true, true) => sum.to_bits() + 1,
        (true, false) => sum.to_bits() - 1,
    };
    f64::from_bits(bits) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_fused_addition_is_rounded_once(
            a in any::<u32>(),
            b in any::<u32>(),
            c in any::<u32>(),
            near in -40i32..40,
        ) {
            let [a, b, c] = [a, b, c].map(f32::from_bits);
            // What cancels, or nearly does, and sums of all magnitudes.
            let mantissa = f32::from_bits(c.to_bits() & 0x807f_ffff | 0x3f80_0000);
            let scaled = mantissa * (a * b).abs().max(f32::MIN_POSITIVE) * 2f32.powi(near);
            for c in [c, scaled, -(a * b), (-(a * b)).next_up(), 0.0, -0.0] {
                let (found, exact) = (fused(a, b, c), a.mul_add(b, c));
                let same = found.to_bits() == exact.to_bits() || found.is_nan() && exact.is_nan();
                prop_assert!(same, "{a:e} · {b:e} + {c:e}: {found:e}, not {exact:e}");
            }
        }
    }
}
