//! AVX-512 with VNNI: 512-bit vectors, `vpdpbusd` with activations broadcast from memory.

use proc_macro2::TokenStream;
use quote::quote;

use super::{bits_literal, byte_literal, target_feature};
use crate::isa::Isa;
use crate::vector::Lowering;

pub(crate) struct Avx512Vnni;

impl Lowering for Avx512Vnni {
    fn attributes(&self) -> TokenStream {
        target_feature(Isa::Avx512Vnni)
    }

    fn imports(&self) -> TokenStream {
        quote!(
            use core::arch::x86_64::*;
        )
    }

    fn load(&self, pointer: TokenStream) -> TokenStream {
        quote!(_mm512_loadu_si512(#pointer.cast()))
    }

    fn splat_byte(&self, byte: u8) -> TokenStream {
        let byte = byte_literal(byte);
        quote!(_mm512_set1_epi8(#byte))
    }

    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm512_and_si512(#a, #b))
    }

    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(_mm512_srli_epi16::<#bits>(#a))
    }

    fn broadcast(&self, pointer: TokenStream) -> TokenStream {
        quote!(_mm512_set1_epi32(#pointer.cast::<i32>().read_unaligned()))
    }

    fn zero(&self) -> TokenStream {
        quote!(_mm512_setzero_si512())
    }

    fn splat(&self, value: TokenStream) -> TokenStream {
        quote!(_mm512_set1_epi32(#value))
    }

    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm512_add_epi32(#a, #b))
    }

    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(_mm512_sub_epi32(#a, #b))
    }

    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!(_mm512_srai_epi32::<#bits>(#a))
    }

    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream {
        quote!(_mm512_storeu_si512(#pointer.cast(), #a))
    }

    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> Option<TokenStream> {
        Some(quote!(_mm512_dpbusd_epi32(#sum, #codes, #activations)))
    }
}
