//! Plain Rust: a vector is one lane, four bytes in a `u32`.

use proc_macro2::TokenStream;
use quote::quote;

use super::bits_literal;
use crate::vector::Lowering;

pub(crate) struct Scalar;

impl Lowering for Scalar {
    fn attributes(&self) -> TokenStream {
        quote!()
    }

    fn imports(&self) -> TokenStream {
        quote!(
            use super::lane::{broadcast, dot};
        )
    }

    fn load(&self, pointer: TokenStream) -> TokenStream {
        quote!(u32::from_le(#pointer.cast::<u32>().read_unaligned()))
    }

    fn splat_byte(&self, byte: u8) -> TokenStream {
        let word: proc_macro2::Literal = format!("0x{byte:02x}{byte:02x}_{byte:02x}{byte:02x}u32")
            .parse()
            .unwrap_or_else(|_| proc_macro2::Literal::u32_suffixed(u32::from_ne_bytes([byte; 4])));
        quote!(#word)
    }

    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(#a & #b)
    }

    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!((#a >> #bits))
    }

    fn broadcast(&self, pointer: TokenStream) -> TokenStream {
        quote!(broadcast(#pointer))
    }

    fn zero(&self) -> TokenStream {
        quote!(0i32)
    }

    fn splat(&self, value: TokenStream) -> TokenStream {
        value
    }

    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(#a + #b)
    }

    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(#a - #b)
    }

    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!((#a >> #bits))
    }

    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream {
        quote!(#pointer.write(#a))
    }

    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> Option<TokenStream> {
        Some(quote!(dot(#sum, #codes, #activations)))
    }
}
