//! AMX: int8 products in tile registers (Intel SDM vol. 2, TDPBSUD; vol. 1, ch. 18).
//!
//! Stable Rust has no intrinsics for tiles, hence a line of assembly for each instruction. No type of Rust's lives in a
//! tile register and the calling convention knows none, so that tiles keep their contents from one line to the next.
//! A tile's number is part of the instruction, hence a const argument.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::vector::Tiles;

pub(crate) struct Amx;

impl Amx {
    /// What the expressions need besides intrinsics.
    pub(crate) fn items(&self) -> TokenStream {
        quote! {
            use core::arch::asm;

            /// Memory on a cache line: what tiles are loaded from.
            #[repr(C, align(64))]
            struct Buffers<const N: usize>([u8; N]);

            /// `ldtilecfg`'s operand: palette 1; from 16 on the bytes in a row and from 48 on the rows of each tile.
            const fn shapes(tokens: usize, [sums, codes, activations]: [usize; 3], columns: usize) -> Buffers<64> {
                let mut config = [0; 64];
                config[0] = 1;
                let mut tile = 0;
                while tile < sums + codes + activations {
                    let (bytes, rows) = if tile < sums {
                        (64, tokens)
                    } else if tile < sums + codes {
                        (64, columns / 4)
                    } else {
                        (columns, tokens)
                    };
                    config[16 + 2 * tile] = bytes as u8;
                    config[48 + tile] = rows as u8;
                    tile += 1;
                }
                Buffers(config)
            }

            /// Shapes the tiles.
            ///
            /// # Safety
            /// The machine has AMX, and the system has granted its use.
            #[inline(always)]
            unsafe fn configure(shapes: &Buffers<64>) {
                comment!("SAFETY: 64 bytes are read; the caller's promise.");
                unsafe { asm!("ldtilecfg [{}]", in(reg) shapes.0.as_ptr(), options(readonly, nostack, preserves_flags)) }
            }

            /// Gives the tiles back.
            ///
            /// # Safety
            /// The machine has AMX.
            #[inline(always)]
            unsafe fn release() {
                comment!("SAFETY: the caller's promise; no memory is touched.");
                unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
            }

            /// Sets a tile to zero.
            ///
            /// # Safety
            /// Tiles are configured.
            #[inline(always)]
            unsafe fn zero<const TILE: u8>() {
                comment!("SAFETY: the caller's promise; no memory is touched.");
                unsafe { asm!("tilezero tmm{}", const TILE, options(nomem, nostack, preserves_flags)) }
            }

            /// Loads a tile.
            ///
            /// # Safety
            /// Tiles are configured, and all rows of this one are readable, `stride` bytes apart.
            #[inline(always)]
            unsafe fn load<const TILE: u8>(pointer: *const u8, stride: usize) {
                comment!("SAFETY: the caller's promise.");
                unsafe {
                    asm!(
                        "tileloadd tmm{}, [{} + {}]", const TILE, in(reg) pointer, in(reg) stride,
                        options(readonly, nostack, preserves_flags)
                    )
                }
            }

            /// Stores a tile.
            ///
            /// # Safety
            /// Tiles are configured, and all rows of this one are writable, `stride` bytes apart.
            #[inline(always)]
            unsafe fn store<const TILE: u8>(pointer: *mut i32, stride: usize) {
                comment!("SAFETY: the caller's promise.");
                unsafe {
                    asm!(
                        "tilestored [{} + {}], tmm{}", in(reg) pointer, in(reg) stride, const TILE,
                        options(nostack, preserves_flags)
                    )
                }
            }

            /// Adds to a tile of sums the products of signed activations and unsigned codes.
            ///
            /// # Safety
            /// Tiles are configured, in shapes that fit.
            #[inline(always)]
            unsafe fn multiply<const SUMS: u8, const ACTIVATIONS: u8, const CODES: u8>() {
                comment!("SAFETY: the caller's promise; no memory is touched.");
                unsafe {
                    asm!(
                        "tdpbsud tmm{}, tmm{}, tmm{}", const SUMS, const ACTIVATIONS, const CODES,
                        options(nomem, nostack, preserves_flags)
                    )
                }
            }
        }
    }
}

/// A tile's number as a const argument.
fn number(tile: usize) -> Literal {
    Literal::usize_unsuffixed(tile)
}

impl Tiles for Amx {
    fn configure(&self, tokens: usize, counts: [usize; 3], columns: usize) -> TokenStream {
        let [sums, codes, activations] = counts;
        let text = format!("{sums} tiles hold sums, then {codes} codes, then {activations} activations.");
        let [tokens, columns] = [tokens, columns].map(Literal::usize_unsuffixed);
        let counts = counts.map(Literal::usize_unsuffixed);
        quote! {
            comment!(#text);
            static SHAPES: Buffers<64> = shapes(#tokens, [#(#counts),*], #columns);
            configure(&SHAPES);
        }
    }

    fn release(&self) -> TokenStream {
        quote!(release();)
    }

    fn zero(&self, tile: usize) -> TokenStream {
        let tile = number(tile);
        quote!(zero::<#tile>();)
    }

    fn load(&self, tile: usize, pointer: TokenStream, stride: TokenStream) -> TokenStream {
        let tile = number(tile);
        quote!(load::<#tile>(#pointer, #stride);)
    }

    fn store(&self, tile: usize, pointer: TokenStream, stride: TokenStream) -> TokenStream {
        let tile = number(tile);
        quote!(store::<#tile>(#pointer, #stride);)
    }

    fn multiply(&self, sum: usize, activations: usize, codes: usize) -> TokenStream {
        let [sum, activations, codes] = [sum, activations, codes].map(number);
        quote!(multiply::<#sum, #activations, #codes>();)
    }
}
