//! 64-bit Arm: 128-bit vectors of NEON, with the dot product, with int8 matrix products (Arm ARM, A64 SIMD).

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::bits_literal;
use crate::isa::Isa;
use crate::vector::{Dots, Halves, Lookups, Lowering, Pairs, Shuffles};

/// One instruction set of the family.
pub(crate) struct Arm {
    isa: Isa,
    /// The instruction of a four-way dot product.
    dot: Option<&'static str>,
    pairs: bool,
}

impl Arm {
    pub(crate) const NEON: Arm = Arm { isa: Isa::Neon, dot: None, pairs: false };
    pub(crate) const NEONDOT: Arm = Arm { isa: Isa::NeonDot, dot: Some("sdot"), pairs: false };
    pub(crate) const NEONI8MM: Arm = Arm { isa: Isa::NeonI8mm, dot: Some("usdot"), pairs: true };

    /// A function around one instruction that stable Rust has no intrinsic for.
    fn instruction(&self, name: &str) -> TokenStream {
        let attribute = self.attributes(self.isa.features());
        let function = format_ident!("{name}");
        let doc = format!(" `{name}`: `sum` plus products of bytes, four or eight of them to a lane.");
        let text = format!("{name} {{0:v}}.4s, {{1:v}}.16b, {{2:v}}.16b");
        quote! {
            #[doc = #doc]
            #[inline]
            #[allow(dead_code)]
            #attribute
            fn #function(mut sum: int32x4_t, codes: uint8x16_t, activations: int8x16_t) -> int32x4_t {
                comment!("SAFETY: the instruction touches registers alone, and its feature is enabled here.");
                unsafe {
                    core::arch::asm!(
                        #text, inout(vreg) sum, in(vreg) codes, in(vreg) activations,
                        options(pure, nomem, nostack, preserves_flags)
                    );
                }
                sum
            }
        }
    }
}

/// The product of two rows and two tokens: codes are 0 to 2 and therefore signed bytes as well.
const MATRIX_PRODUCT: &str = "smmla";

impl Lowering for Arm {
    fn imports(&self) -> TokenStream {
        let attribute = self.attributes(self.isa.features());
        let dot = self.dot.map(|name| self.instruction(name));
        let pairs = self.pairs.then(|| self.instruction(MATRIX_PRODUCT));
        quote! {
            use core::arch::aarch64::*;
            #dot
            #pairs
            /// A bit for each byte, as 0xff or 0.
            ///
            /// # Safety
            /// 2 bytes at `pointer` are readable.
            #[inline]
            #[allow(dead_code)]
            #attribute
            unsafe fn expand(pointer: *const u8) -> uint8x16_t {
                comment!("SAFETY: the caller's promise.");
                let (low, high) = unsafe { (pointer.read(), pointer.add(1).read()) };
                let each = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
                vtstq_u8(vcombine_u8(vdup_n_u8(low), vdup_n_u8(high)), each)
            }
            /// Four bits a row, as a byte a row; rows 2i and 2i + 1 share a byte.
            ///
            /// # Safety
            /// 8 bytes at `pointer` are readable.
            #[inline]
            #[allow(dead_code)]
            #attribute
            unsafe fn spread(pointer: *const u8) -> uint8x16_t {
                comment!("SAFETY: the caller's promise.");
                let signs = unsafe { vld1_u8(pointer) };
                vcombine_u8(vzip1_u8(signs, signs), vzip2_u8(signs, signs))
            }
        }
    }

    fn load(&self, pointer: TokenStream) -> TokenStream {
        quote!(vld1q_u8(#pointer))
    }

    fn splat_byte(&self, byte: u8) -> TokenStream {
        let byte: Literal = format!("0x{byte:02x}").parse().unwrap_or_else(|_| Literal::u8_unsuffixed(byte));
        quote!(vdupq_n_u8(#byte))
    }

    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vandq_u8(#a, #b))
    }

    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(vshrq_n_u8::<#bits>(#a))
    }

    fn broadcast(&self, pointer: TokenStream) -> TokenStream {
        quote!(vreinterpretq_s8_s32(vdupq_n_s32(#pointer.cast::<i32>().read_unaligned())))
    }

    fn zero(&self) -> TokenStream {
        quote!(vdupq_n_s32(0))
    }

    fn splat(&self, value: TokenStream) -> TokenStream {
        quote!(vdupq_n_s32(#value))
    }

    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vaddq_s32(#a, #b))
    }

    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vsubq_s32(#a, #b))
    }

    fn shift_left(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(vshlq_n_s32::<#bits>(#a))
    }

    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(vshrq_n_s32::<#bits>(#a))
    }

    fn times(&self, a: TokenStream, factor: i32) -> TokenStream {
        let factor = Literal::i32_unsuffixed(factor);
        quote!(vmulq_n_s32(#a, #factor))
    }

    fn load_lanes(&self, pointer: TokenStream) -> TokenStream {
        quote!(vreinterpretq_s32_u8(vld1q_u8(#pointer)))
    }

    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream {
        quote!(vst1q_s32(#pointer, #a))
    }

    fn lookups(&self) -> Option<&dyn Lookups> {
        Some(self)
    }

    fn dots(&self) -> Option<&dyn Dots> {
        self.dot.map(|_| self as &dyn Dots)
    }

    fn halves(&self) -> Option<&dyn Halves> {
        Some(self)
    }

    fn shuffles(&self) -> Option<&dyn Shuffles> {
        Some(self)
    }

    fn pairs(&self) -> Option<&dyn Pairs> {
        self.pairs.then_some(self as &dyn Pairs)
    }
}

impl Lookups for Arm {
    fn table(&self, entries: [u8; 16]) -> TokenStream {
        let entries = entries.map(Literal::u8_unsuffixed);
        quote!(vld1q_u8([#(#entries),*].as_ptr()))
    }

    fn lookup(&self, table: TokenStream, indices: TokenStream) -> TokenStream {
        quote!(vqtbl1q_u8(#table, #indices))
    }

    fn expand(&self, pointer: TokenStream, _nibble: usize) -> TokenStream {
        quote!(expand(#pointer))
    }

    fn xor(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(veorq_u8(#a, #b))
    }

    fn add_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vaddq_u8(#a, #b))
    }

    fn sub_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vsubq_u8(#a, #b))
    }
}

impl Dots for Arm {
    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream {
        let dot = self.dot.map(|name| format_ident!("{name}"));
        quote!(#dot(#sum, #codes, #activations))
    }
}

/// A product in each 16-bit number, at most 2 · 128 in magnitude: two vectors of them.
impl Halves for Arm {
    fn mad(&self, codes: TokenStream, activations: TokenStream) -> TokenStream {
        quote!(int16x8x2_t(
            vmull_s8(vget_low_s8(vreinterpretq_s8_u8(#codes)), vget_low_s8(#activations)),
            vmull_high_s8(vreinterpretq_s8_u8(#codes), #activations),
        ))
    }

    fn mad_add(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream {
        quote!(int16x8x2_t(
            vmlal_s8(#sum.0, vget_low_s8(vreinterpretq_s8_u8(#codes)), vget_low_s8(#activations)),
            vmlal_high_s8(#sum.1, vreinterpretq_s8_u8(#codes), #activations),
        ))
    }

    fn widen(&self, sum: TokenStream) -> TokenStream {
        quote!(vpaddq_s32(vpaddlq_s16(#sum.0), vpaddlq_s16(#sum.1)))
    }
}

/// Planes come from a load that sorts, rows in their own order.
impl Shuffles for Arm {
    fn planes(&self, pointer: TokenStream, planes: [TokenStream; 4]) -> TokenStream {
        quote!(let uint8x16x4_t(#(#planes),*) = vld4q_u8(#pointer);)
    }

    fn load_table(&self, pointer: TokenStream) -> TokenStream {
        quote!(vld1q_u8(#pointer.cast()))
    }

    fn signs(&self, pointer: TokenStream) -> TokenStream {
        quote!(spread(#pointer))
    }

    fn sign_bits(&self, j: usize) -> TokenStream {
        let bits = Literal::u16_unsuffixed(1 << j | 1 << (12 + j));
        quote!(vreinterpretq_u8_u16(vdupq_n_u16(#bits)))
    }

    fn test(&self, signs: TokenStream, bits: TokenStream) -> TokenStream {
        quote!(vtstq_u8(#signs, #bits))
    }

    fn low_halves(&self, low: TokenStream, high: TokenStream) -> TokenStream {
        quote!(vreinterpretq_s16_u8(vzip1q_u8(#low, #high)))
    }

    fn high_halves(&self, low: TokenStream, high: TokenStream) -> TokenStream {
        quote!(vreinterpretq_s16_u8(vzip2q_u8(#low, #high)))
    }

    fn zero_halves(&self) -> TokenStream {
        quote!(vdupq_n_s16(0))
    }

    fn add_halves(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vaddq_s16(#a, #b))
    }

    fn low_lanes(&self, halves: TokenStream) -> TokenStream {
        quote!(vmovl_s16(vget_low_s16(#halves)))
    }

    fn high_lanes(&self, halves: TokenStream) -> TokenStream {
        quote!(vmovl_high_s16(#halves))
    }
}

impl Pairs for Arm {
    fn load_pair(&self, first: TokenStream, second: TokenStream) -> TokenStream {
        quote!(vcombine_s8(vld1_s8(#first), vld1_s8(#second)))
    }

    fn low_pair(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(#a), vreinterpretq_u32_u8(#b))))
    }

    fn high_pair(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(#a), vreinterpretq_u32_u8(#b))))
    }

    fn multiply(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream {
        let product = format_ident!("{MATRIX_PRODUCT}");
        quote!(#product(#sum, #codes, #activations))
    }

    fn first_token(&self, low: TokenStream, high: TokenStream) -> TokenStream {
        quote!(vuzp1q_s32(#low, #high))
    }

    fn second_token(&self, low: TokenStream, high: TokenStream) -> TokenStream {
        quote!(vuzp2q_s32(#low, #high))
    }
}
