//! A file for each family of instruction sets: the vector operations as Rust expressions.

mod amx;
mod arm;
mod scalar;
mod x86;

pub(crate) use arm::Arm;
pub(crate) use scalar::Scalar;
pub(crate) use x86::X86;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

/// `#[target_feature(enable = "…")]`, of the features that stable Rust can enable. Nothing is to be enabled for AMX:
/// its instructions are written out.
pub(crate) fn target_feature(features: &[&str]) -> TokenStream {
    let features: Vec<_> = features.iter().copied().filter(|feature| !feature.starts_with("amx")).collect();
    let features = features.join(",");
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

/// An intrinsic's name.
fn intrinsic(name: String) -> Ident {
    format_ident!("{name}")
}
