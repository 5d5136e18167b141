//! One file per instruction set: the vector operations as Rust expressions.

mod avx2;
mod avx512vnni;
mod avxvnni;
mod scalar;

pub(crate) use avx2::Avx2;
pub(crate) use avx512vnni::Avx512Vnni;
pub(crate) use avxvnni::AvxVnni;
pub(crate) use scalar::Scalar;

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::isa::Isa;

/// `#[target_feature(enable = "…")]` with all features of an instruction set.
fn target_feature(isa: Isa) -> TokenStream {
    let features = isa.features().join(",");
    quote!(#[target_feature(enable = #features)])
}

/// A byte as x86 intrinsics want it: `i8`, in hexadecimal.
fn byte_literal(byte: u8) -> TokenStream {
    let hex: Literal = format!("0x{byte:02x}u8").parse().unwrap_or_else(|_| Literal::u8_suffixed(byte));
    quote!(#hex as i8)
}

/// A number of bits as a const argument.
fn bits_literal(bits: u32) -> Literal {
    Literal::u32_unsuffixed(bits)
}
