//! AVX-VNNI: AVX2 plus the VEX-encoded 256-bit `vpdpbusd`.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Avx2, target_feature};
use crate::isa::Isa;
use crate::vector::Lowering;

pub(crate) struct AvxVnni;

/// Operations that are spelt as in another lowering.
macro_rules! as_in {
    ($other:ident: $($method:ident($($argument:ident: $type:ty),*);)+) => {
        $(fn $method(&self, $($argument: $type),*) -> TokenStream {
            $other.$method($($argument),*)
        })+
    };
}

impl Lowering for AvxVnni {
    fn attributes(&self) -> TokenStream {
        target_feature(Isa::AvxVnni)
    }

    as_in! { Avx2:
        imports();
        load(pointer: TokenStream);
        splat_byte(byte: u8);
        and(a: TokenStream, b: TokenStream);
        shift_right(a: TokenStream, bits: u32);
        broadcast(pointer: TokenStream);
        zero();
        splat(value: TokenStream);
        add(a: TokenStream, b: TokenStream);
        sub(a: TokenStream, b: TokenStream);
        shift_right_signed(a: TokenStream, bits: u32);
        store(pointer: TokenStream, a: TokenStream);
    }

    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> Option<TokenStream> {
        Some(quote!(_mm256_dpbusd_avx_epi32(#sum, #codes, #activations)))
    }
}
