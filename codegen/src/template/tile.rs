//! Products in tile registers: up to 16 tokens × 16 rows × up to 64 columns in one instruction.
//!
//! ```text
//! begin: tiles of sums = 0
//! turn:  for step, for trit          codes of four columns, stored: one row of a tile of codes
//!        for columns of a tile       of the turn before: a tile of codes for 16 rows, one of activations for 16 tokens
//!          sums += activations · codes
//! finish: the last turn, likewise; tiles of sums to out; out −= Σ activations, since a code is its trit + 1
//! ```
//!
//! Codes are decoded once for all tokens of the tile. Two buffers take turns: loading a tile right after its rows were
//! stored would wait for the stores.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::decode::Decoder;
use super::nest::{Nest, prefetch, x};
use super::{Kernel, Tally, literal, offset};
use crate::code::LANE_BYTES;
use crate::kernel::{AMX_SIDE, KernelId, amx_columns};
use crate::vector::{Lowering, Tiles, lowering};

/// Rows of a tile, and outputs in a row of a tile of sums.
const SIDE: usize = AMX_SIDE as usize;
/// Bytes in a row of a tile of codes: four columns of 16 rows.
const ROW: usize = 64;

/// The kernel, where the instruction set lowers what it needs.
pub(super) fn kernel(id: &KernelId) -> Option<Kernel> {
    let v = lowering(id.isa);
    let product = Product {
        id: *id,
        v,
        tiles: v.tiles()?,
        decoder: Decoder::new(id, 1)?,
        tokens: usize::from(id.tile.mr).div_ceil(SIDE),
        tile_tokens: usize::from(id.tile.mr).min(SIDE),
        rows: usize::from(id.tile.nr) / SIDE,
        columns: amx_columns(id.weights).into(),
        parts: usize::from(id.tile.kb / amx_columns(id.weights)),
        trits: id.weights.trits(),
    };
    let mut tally = Tally::default();
    let nest = Nest {
        id,
        before: product.before(),
        begin: product.zeros(),
        turn: product.turn(&mut tally),
        apart: SIDE,
        advance: id.tile.kb.into(),
        finish: product.finish(),
        after: product.tiles.release(),
    };
    Some(Kernel { body: nest.emit(), tally })
}

struct Product {
    id: KernelId,
    v: &'static dyn Lowering,
    tiles: &'static dyn Tiles,
    decoder: Decoder,
    /// Tiles of tokens.
    tokens: usize,
    /// Tokens in each: 16, or the few that there are.
    tile_tokens: usize,
    /// Tiles of 16 rows.
    rows: usize,
    /// Columns of a tile of operands.
    columns: usize,
    /// Tiles of operands in a turn.
    parts: usize,
    trits: usize,
}

impl Product {
    fn before(&self) -> TokenStream {
        let (sums, (activations, codes)) = (self.tokens * self.rows, self.operands());
        let (configure, constants) = (
            self.tiles.configure(self.tile_tokens, [sums, codes, activations], self.columns),
            self.decoder.constants(),
        );
        let bytes = literal(2 * self.buffer());
        quote! {
            #configure
            #constants
            comment!("Decoded codes of this turn, and of the one before.");
            let mut buffers = Buffers([0u8; #bytes]);
            let buffers = buffers.0.as_mut_ptr();
            let mut side = 0;
        }
    }

    /// Bytes of the decoded codes of a turn.
    fn buffer(&self) -> usize {
        self.rows * self.parts * self.tile()
    }

    /// Bytes of a tile of codes.
    fn tile(&self) -> usize {
        self.columns / LANE_BYTES * ROW
    }

    fn zeros(&self) -> TokenStream {
        (0..self.tokens * self.rows).map(|tile| self.tiles.zero(tile)).collect()
    }

    /// The tile of sums of 16 tokens and 16 rows.
    fn sum(&self, token: usize, row: usize) -> usize {
        token * self.rows + row
    }

    /// Decodes this turn, and multiplies the one before.
    fn turn(&self, tally: &mut Tally) -> TokenStream {
        let size = literal(self.buffer());
        let mut code = quote! {
            let last = buffers.add(side);
            side = #size - side;
            let codes = buffers.add(side);
        };
        for step in 0..self.decoder.steps() {
            code.extend(self.decoder.title(step));
            code.extend(prefetch(&self.id, step, self.decoder.steps()));
            code.extend(self.decoder.load(step, tally));
            for trit in 0..self.trits {
                code.extend(self.decoder.codes("c", step, trit, tally));
                for row in 0..self.rows {
                    let c = format_ident!("c{row}");
                    let at = (step * self.trits + trit) * ROW;
                    // The tiles of a turn after each other, for the first 16 rows, then for the next.
                    let store = self.v.store(offset("codes", row * self.parts * self.tile() + at), quote!(#c));
                    tally.count("stores");
                    code.extend(quote!(#store;));
                }
            }
        }
        let multiply = self.multiply_last(tally);
        quote! {
            #code
            if turn > 0 {
                #multiply
            }
        }
    }

    /// The turn before the one that token pointers are at, whose codes begin at `last`.
    fn multiply_last(&self, tally: &mut Tally) -> TokenStream {
        let kb = literal(self.parts * self.columns);
        let pointers = (0..self.tokens).map(|token| {
            let (x, a) = (x(token * SIDE), format_ident!("a{token}"));
            quote!(let #a = #x.sub(#kb).cast();)
        });
        let parts = (0..self.parts).map(|part| self.multiply(part, tally));
        quote! {
            #(#pointers)*
            #(#parts)*
        }
    }

    /// The columns of a tile, the `part`-th of the turn.
    fn multiply(&self, part: usize, tally: &mut Tally) -> TokenStream {
        let text =
            format!("Columns {}..{} of the turn before, in tiles.", part * self.columns, (part + 1) * self.columns);
        let mut code = quote!(comment!(#text););
        let (activations, codes) = self.operands();
        let [first_activations, first_codes] = [self.tokens * self.rows + codes, self.tokens * self.rows];
        let load_codes = |row: usize| {
            let at = (row * self.parts + part) * self.tile();
            let stride = literal(ROW);
            self.tiles.load(first_codes + row % codes, offset("last", at), quote!(#stride))
        };
        let load_activations = |token: usize| {
            let pointer = offset(format_ident!("a{token}"), part * self.columns);
            self.tiles.load(first_activations + token % activations, pointer, quote!(args.stride))
        };
        let multiply = |token: usize, row: usize| {
            let (activations, codes) = (first_activations + token % activations, first_codes + row % codes);
            self.tiles.multiply(self.sum(token, row), activations, codes)
        };
        tally.counts("loads of tiles", self.tokens + self.rows);
        tally.counts("products of tiles", self.tokens * self.rows);
        if self.tokens < self.rows {
            code.extend((0..self.tokens).map(load_activations));
            for row in 0..self.rows {
                code.extend(load_codes(row));
                code.extend((0..self.tokens).map(|token| multiply(token, row)));
            }
        } else {
            code.extend((0..self.rows).map(load_codes));
            for token in 0..self.tokens {
                code.extend(load_activations(token));
                code.extend((0..self.rows).map(|row| multiply(token, row)));
            }
        }
        code
    }

    /// Tile registers for activations and for codes: all tiles of the fewer of the two stay while the others pass.
    fn operands(&self) -> (usize, usize) {
        if self.tokens < self.rows { (self.tokens, 1) } else { (1, self.rows) }
    }

    fn finish(&self) -> TokenStream {
        let multiply = self.multiply_last(&mut Tally::default());
        let mut code = quote! {
            let last = buffers.add(side);
            #multiply
        };
        let nr = self.rows * SIDE;
        let stride = literal(nr * size_of::<i32>());
        for token in 0..self.tokens {
            for row in 0..self.rows {
                let pointer = offset("out", token * SIDE * nr + row * SIDE);
                code.extend(self.tiles.store(self.sum(token, row), pointer, quote!(#stride)));
            }
        }
        code.extend(quote!(comment!("A code is its trit + 1: take the sum of the activations off.");));
        let (tokens, nr) = (literal(self.tokens * self.tile_tokens), literal(nr));
        let excess = self.v.splat(quote!(args.sums.add(token * args.blocks + block).read()));
        let rows = (0..self.rows).map(|row| {
            let pointer = offset("row", row * SIDE);
            let total = self.v.sub(self.v.load_lanes(pointer.clone()), quote!(excess));
            let store = self.v.store(pointer, total);
            quote!(#store;)
        });
        quote! {
            #code
            for token in 0..#tokens {
                let excess = #excess;
                let row = out.add(token * #nr);
                #(#rows)*
            }
        }
    }
}
