//! Plain Rust: a vector is one lane, four bytes in a `u32`.

use proc_macro2::TokenStream;
use quote::quote;

use super::bits_literal;
use crate::vector::{Dots, Lookups, Lowering};

pub(crate) struct Scalar;

impl Lowering for Scalar {
    fn attributes(&self, _features: &[&str]) -> TokenStream {
        quote!()
    }

    fn imports(&self) -> TokenStream {
        quote!(
            use super::lane::*;
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

    fn shift_left(&self, a: TokenStream, bits: u32) -> TokenStream {
        let bits = bits_literal(bits);
        quote!((#a << #bits))
    }

    fn times(&self, a: TokenStream, factor: i32) -> TokenStream {
        quote!(#a * #factor)
    }

    fn load_lanes(&self, pointer: TokenStream) -> TokenStream {
        quote!(i32::from_le(#pointer.cast::<i32>().read_unaligned()))
    }

    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream {
        quote!(#pointer.write(#a))
    }

    fn lookups(&self) -> Option<&dyn Lookups> {
        Some(self)
    }

    fn digit(&self, codes: TokenStream, q: usize) -> Option<TokenStream> {
        let q = proc_macro2::Literal::u32_unsuffixed(q as u32);
        Some(quote!(digit(#codes, #q)))
    }

    fn dots(&self) -> Option<&dyn Dots> {
        Some(self)
    }
}

impl Lookups for Scalar {
    fn table(&self, entries: [u8; 16]) -> TokenStream {
        let entries = entries.map(proc_macro2::Literal::u8_unsuffixed);
        quote!([#(#entries),*])
    }

    fn lookup(&self, table: TokenStream, indices: TokenStream) -> TokenStream {
        quote!(lookup(&#table, #indices))
    }

    fn expand(&self, pointer: TokenStream, nibble: usize) -> TokenStream {
        match nibble {
            0 => quote!(expand(#pointer.read())),
            _ => quote!(expand(#pointer.read() >> 4)),
        }
    }

    fn xor(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(#a ^ #b)
    }

    fn add_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(add_bytes(#a, #b))
    }

    fn sub_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        quote!(sub_bytes(#a, #b))
    }
}

impl Dots for Scalar {
    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream {
        quote!(dot(#sum, #codes, #activations))
    }
}
