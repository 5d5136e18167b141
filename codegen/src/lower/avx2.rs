//! AVX2: 256-bit vectors, products through `vpmaddubsw` in 16 bits (Intel SDM vol. 2, PMADDUBSW).

use proc_macro2::TokenStream;
use quote::quote;

use super::{bits_literal, byte_literal, target_feature};
use crate::isa::Isa;
use crate::vector::{Halves, Lowering};

pub(crate) struct Avx2;

impl Lowering for Avx2 {
    fn attributes(&self) -> TokenStream {
        target_feature(Isa::Avx2)
    }

    fn imports(&self) -> TokenStream {
        quote!(
            use core::arch::x86_64::*;
        )
    }

    fn load(&self, pointer: TokenStream) -> TokenStream {
        quote!(_mm256_loadu_si256(#pointer.cast()))
    }

    fn splat_byte(&self, byte: u8) -> TokenStream {
        let byte = byte_literal(byte);
        quote!(_mm256_set1_epi8(#byte))
    }

    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm256_and_si256(#a, #b))
    }

    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(_mm256_srli_epi16::<#bits>(#a))
    }

    fn broadcast(&self, pointer: TokenStream) -> TokenStream {
        quote!(_mm256_set1_epi32(#pointer.cast::<i32>().read_unaligned()))
    }

    fn zero(&self) -> TokenStream {
        quote!(_mm256_setzero_si256())
    }

    fn splat(&self, value: TokenStream) -> TokenStream {
        quote!(_mm256_set1_epi32(#value))
    }

    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm256_add_epi32(#a, #b))
    }

    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm256_sub_epi32(#a, #b))
    }

    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(_mm256_srai_epi32::<#bits>(#a))
    }

    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream {
        quote!(_mm256_storeu_si256(#pointer.cast(), #a))
    }

    fn halves(&self) -> Option<&dyn Halves> {
        Some(self)
    }
}

impl Halves for Avx2 {
    fn mad(&self, codes: TokenStream, activations: TokenStream) -> TokenStream {
        quote!(_mm256_maddubs_epi16(#codes, #activations))
    }

    fn add_halves(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm256_add_epi16(#a, #b))
    }

    fn widen(&self, a: TokenStream) -> TokenStream {
        quote!(_mm256_madd_epi16(#a, _mm256_set1_epi16(1)))
    }
}
