//! From stored elements to vectors of f32, in registers.

use half::f16;
use pulp::Simd;

/// An element as it is stored.
pub(crate) trait Element: Copy {
    /// As many as a vector has lanes, as floats, exactly.
    fn widen<S: Simd>(simd: S, elements: &[Self]) -> S::f32s;
}

/// The lanes of the widest vector.
const LANES: usize = 16;

impl Element for f32 {
    #[inline(always)]
    fn widen<S: Simd>(_: S, elements: &[f32]) -> S::f32s {
        S::as_simd_f32s(elements).0[0]
    }
}

impl Element for i8 {
    #[inline(always)]
    fn widen<S: Simd>(_: S, elements: &[i8]) -> S::f32s {
        lanes::<S, i8>(elements, f32::from)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, elements: &[f16]) -> S::f32s {
        #[cfg(target_arch = "x86_64")]
        if let (Some(v4), Some(elements)) =
            ((&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>(), elements.first_chunk::<LANES>())
        {
            let bits: [u16; LANES] = elements.map(f16::to_bits);
            let wide: [f32; LANES] = pulp::cast(v4.avx512f._mm512_cvtph_ps(pulp::cast(bits)));
            return S::as_simd_f32s(&wide).0[0];
        }
        let _ = simd;
        lanes::<S, f16>(elements, finite)
    }
}

/// A loop over the lanes, which the compiler makes a vector of.
#[inline(always)]
fn lanes<S: Simd, E: Copy>(elements: &[E], widen: impl Fn(E) -> f32) -> S::f32s {
    let mut wide = [0f32; LANES];
    for (wide, element) in wide[..S::F32_LANES].iter_mut().zip(elements) {
        *wide = widen(*element);
    }
    S::as_simd_f32s(&wide).0[0]
}

/// Half to single precision, of finite numbers: the exponent is moved by a multiplication by 2^112, which also makes
/// subnormal halves normal.
#[inline(always)]
fn finite(half: f16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let bits = (i32::from(half.to_bits() as i16) << 13) as u32 & 0x8fff_e000;
    f32::from_bits(bits) * TWO_TO_112
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::*;

    struct Widen<'a, E>(&'a [E]);

    impl<E: Element> WithSimd for Widen<'_, E> {
        type Output = Vec<f32>;

        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let vectors = self.0.chunks_exact(S::F32_LANES).map(|elements| [E::widen(simd, elements)]);
            vectors.flat_map(|vector| pulp::bytemuck::cast_slice::<_, f32>(&vector).to_vec()).collect()
        }
    }

    #[test]
    fn every_element_is_widened_exactly() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).collect();
        let halves = &halves[..halves.len() / LANES * LANES];
        for found in [Arch::new().dispatch(Widen(halves)), Simd::vectorize(pulp::Scalar, Widen(halves))] {
            assert!(found.iter().zip(halves).all(|(found, half)| found.to_bits() == half.to_f32().to_bits()));
        }
        let codes: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let found = Arch::new().dispatch(Widen(&codes));
        assert!(found.iter().zip(&codes).all(|(found, &code)| *found == f32::from(code)));
    }
}
