//! The loops that all kernels share: panels of rows, blocks of columns, turns.
//!
//! ```text
//! for panel of nr rows
//!   for block of columns            one, unless weights have a scale per block
//!     begin: sums = 0
//!     for turn of kb columns: what the template does
//!     finish: one integer for each output
//! ```

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{format_ident, quote};

use super::literal;
use crate::kernel::{KernelId, Op};
use crate::vector::{Cache, lowering};

/// Bytes that one request brings.
const LINE: usize = 64;

/// The parts of a kernel that its template fills in.
pub(super) struct Nest<'a> {
    pub(super) id: &'a KernelId,
    /// Constants, and what is made ready once.
    pub(super) before: TokenStream,
    pub(super) begin: TokenStream,
    pub(super) turn: TokenStream,
    /// Tokens from one that has a pointer of its own to the next.
    pub(super) apart: usize,
    /// What a token's pointer moves by in a turn, in elements of it.
    pub(super) advance: usize,
    /// Ends with all outputs of the block stored from `out` on.
    pub(super) finish: TokenStream,
    /// What is undone at the end.
    pub(super) after: TokenStream,
}

/// The pointer to what a kernel reads of token `t`: its activations or tables.
pub(super) fn x(token: usize) -> Ident {
    format_ident!("x{token}")
}

impl Nest<'_> {
    pub(super) fn emit(self) -> TokenStream {
        let Nest { id, before, begin, turn, apart, advance, finish, after } = self;
        let tokens = usize::from(id.tile.mr);
        let layout = id.layout();
        let first = x(0);
        let pointers = || (0..tokens).step_by(apart);
        let distance = match apart {
            1 => quote!(args.stride),
            _ => {
                let apart = literal(apart);
                quote!(#apart * args.stride)
            }
        };
        let others: TokenStream = pointers()
            .skip(1)
            .map(|token| {
                let (x, before) = (x(token), x(token - apart));
                quote!(let mut #x = #before.add(#distance);)
            })
            .collect();
        let (advance, turn_bytes) = (literal(advance), literal(layout.turn_bytes()));
        let advances: TokenStream = pointers()
            .map(|token| {
                let x = x(token);
                quote!(#x = #x.add(#advance);)
            })
            .collect();
        let outputs = literal(tokens * usize::from(layout.nr));
        let trailer = match layout.trailer_bytes() {
            0 => quote!(),
            bytes => {
                let bytes = literal(bytes);
                quote!(weights = weights.add(#bytes);)
            }
        };
        let ahead = mentions(&turn, "far").then(|| quote!(let (far, near) = (args.ahead, args.ahead / 4);));
        let (turn_index, block_index) = (counter("turn", &turn), counter("block", &finish));
        let overlap = (tokens > 1).then(|| quote!(debug_assert!(args.stride >= args.blocks * args.turns * #advance);));
        quote! {
            debug_assert!(args.blocks > 0 && args.turns > 0);
            #overlap
            #before
            #ahead
            let mut weights = args.weights;
            let mut out = args.out;
            for _panel in 0..args.panels {
                let mut #first = args.activations;
                #others
                for #block_index in 0..args.blocks {
                    #begin
                    for #turn_index in 0..args.turns {
                        #turn
                        weights = weights.add(#turn_bytes);
                        #advances
                    }
                    #finish
                    out = out.add(#outputs);
                }
                #trailer
            }
            #after
        }
    }
}

/// The variable of a loop: without a use in `body`, its name says so.
fn counter(name: &str, body: &TokenStream) -> Ident {
    format_ident!("{}{name}", if mentions(body, name) { "" } else { "_" })
}

/// Whether a name is used somewhere.
fn mentions(tokens: &TokenStream, name: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(&group.stream(), name),
        _ => false,
    })
}

/// Asks for weights that a later turn will load: at step `step` of `steps`, its share of a turn. First into the second
/// cache, farther ahead than hardware looks on its own, since panels are read once, in order; then into the first, for
/// loads that wait for the second keep what would run ahead of them from starting. Only for few tokens: with many, weights
/// are used too often to be waited for.
pub(super) fn prefetch(id: &KernelId, step: usize, steps: usize) -> TokenStream {
    let v = lowering(id.isa);
    if id.op == Op::Gemm {
        return quote!();
    }
    let bytes = id.layout().turn_bytes();
    let share = |step: usize| (bytes * step / steps).next_multiple_of(LINE);
    let lines = (share(step)..share(step + 1).min(bytes)).step_by(LINE).flat_map(|byte| {
        [("far", Cache::Second), ("near", Cache::First)].map(|(ahead, cache)| {
            let ahead = format_ident!("{ahead}");
            let offset = match byte {
                0 => quote!(#ahead),
                _ => {
                    let byte = literal(byte);
                    quote!(#ahead + #byte)
                }
            };
            v.prefetch(quote!(weights.wrapping_add(#offset)), cache).map(|prefetch| quote!(#prefetch;))
        })
    });
    quote!(#(#lines)*)
}
