//! Two-bit codes times int8 activations: one loop nest for gemv and gemm, dot and mad.
//!
//! ```text
//! for panel of nr rows
//!   for block of columns            one, unless weights have a scale per block
//!     sums = 0
//!     for turn of kb columns
//!       for step of 16 columns      one load per vector of rows
//!         for position 0..4         one mask (and shift) per vector of rows: codes of four columns
//!           for token 0..mr         four activations, broadcast
//!             sums += codes · activations
//!     out = sums − Σ activations    since a code is its trit + 1
//! ```
//!
//! *Dot* adds to 32-bit lanes. With four accumulators or more, each has a position of its own, and codes are masked but
//! not shifted: what is summed is 4^position times too large and is shifted once, after the loop. That is exact, for
//! every term is a multiple of 4^position, and it saves the shifts.
//!
//! *Mad* adds pairs of products in 16 bits within a turn, and widens them to 32 at its end; [`MAD_MAX_TERMS`] bounds the
//! turn so that no sum can leave 16 bits.
//!
//! [`MAD_MAX_TERMS`]: crate::kernel::MAD_MAX_TERMS

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{IdentFragment, format_ident, quote};

use super::{Kernel, Tally};
use crate::kernel::{KernelError, KernelId, Method};
use crate::layout::Layout;
use crate::vector::{Halves, Lowering, lowering};

/// Positions of a code in its byte.
const POSITIONS: usize = 4;
/// Columns that one lane holds at one position.
const COLUMNS: usize = 4;

/// The kernel that `id` describes, which must pass [`KernelId::check`].
pub(crate) fn product(id: &KernelId) -> Result<Kernel, KernelError> {
    let v = lowering(id.isa);
    let missing = || KernelError { kernel: *id, why: format!("{} does not lower method {}", id.isa, id.method) };
    let multiply = match id.method {
        Method::Dot => {
            v.dot(quote!(), quote!(), quote!()).ok_or_else(missing)?;
            Multiply::Dot
        }
        Method::Mad => Multiply::Mad(v.halves().ok_or_else(missing)?),
    };
    let lanes = id.isa.vector_bytes() / 4;
    let nest = Nest {
        v,
        multiply,
        tokens: id.tile.mr.into(),
        vectors: usize::from(id.tile.nr) / lanes,
        lanes,
        kb: id.tile.kb.into(),
        chains: id.tile.ku.into(),
    };
    Ok(nest.emit())
}

enum Multiply {
    Dot,
    Mad(&'static dyn Halves),
}

struct Nest {
    v: &'static dyn Lowering,
    multiply: Multiply,
    tokens: usize,
    /// Vectors that hold the rows of a panel.
    vectors: usize,
    lanes: usize,
    kb: usize,
    chains: usize,
}

impl Nest {
    fn emit(&self) -> Kernel {
        let mut tally = Tally::default();
        let turn = self.turn(&mut tally);
        let (masks, zeros, finish) = (self.masks(), self.zeros(), self.finish());
        let first = self.x(0);
        let rows: TokenStream = (1..self.tokens)
            .map(|token| {
                let (x, before) = (self.x(token), self.x(token - 1));
                quote!(let mut #x = #before.add(args.stride);)
            })
            .collect();
        let body = quote! {
            comment!("The bits of each position.");
            #masks
            let mut weights = args.weights;
            let mut out = args.out;
            for _panel in 0..args.panels {
                let mut #first = args.activations;
                #rows
                for block in 0..args.blocks {
                    #zeros
                    for _turn in 0..args.turns {
                        #turn
                    }
                    #finish
                }
            }
        };
        Kernel { body, tally }
    }

    fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let vectors = self.vectors;
        (0..self.tokens).flat_map(move |token| (0..vectors).map(move |vector| (token, vector)))
    }

    /// Whether codes stay where they are in their byte, each position having accumulators of its own.
    fn in_place(&self) -> bool {
        matches!(self.multiply, Multiply::Dot) && self.chains >= POSITIONS
    }

    fn masks(&self) -> TokenStream {
        let positions = if self.in_place() { POSITIONS } else { 1 };
        (0..positions)
            .map(|position| {
                let (mask, value) = (format_ident!("mask{position}"), self.v.splat_byte(3 << (2 * position)));
                quote!(let #mask = #value;)
            })
            .collect()
    }

    /// 32-bit accumulators of an output.
    fn accumulators(&self) -> usize {
        match self.multiply {
            Multiply::Dot => self.chains,
            Multiply::Mad(_) => 1,
        }
    }

    fn zeros(&self) -> TokenStream {
        let zero = self.v.zero();
        self.each()
            .flat_map(|(token, vector)| (0..self.accumulators()).map(move |chain| (token, vector, chain)))
            .map(|(token, vector, chain)| {
                let sum = self.sum(token, vector, chain);
                quote!(let mut #sum = #zero;)
            })
            .collect()
    }

    /// One turn of the inner loop: kb columns.
    fn turn(&self, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        for step in 0..self.kb / Layout::K_STEP {
            let column = step * Layout::K_STEP;
            let text = format!("Columns {column}..{} of the turn.", column + Layout::K_STEP);
            code.extend(quote!(comment!(#text);));
            for vector in 0..self.vectors {
                let w = format_ident!("w{vector}");
                let load = self.v.load(offset("weights", (step * self.vectors + vector) * self.lanes * 4));
                tally.loads += 1;
                code.extend(quote!(let #w = #load;));
            }
            for position in 0..POSITIONS {
                code.extend(self.position(step, position, tally));
            }
        }
        if let Multiply::Mad(halves) = self.multiply {
            code.extend(self.widen(halves, tally));
        }
        let bytes = literal(self.vectors * self.lanes * self.kb / 4);
        let kb = literal(self.kb);
        code.extend(quote!(weights = weights.add(#bytes);));
        for token in 0..self.tokens {
            let x = self.x(token);
            code.extend(quote!(#x = #x.add(#kb);));
        }
        code
    }

    /// Four columns of every row, times those of every token.
    fn position(&self, step: usize, position: usize, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        for vector in 0..self.vectors {
            let (c, w) = (format_ident!("c{vector}"), format_ident!("w{vector}"));
            let codes = if self.in_place() {
                let mask = format_ident!("mask{position}");
                self.v.and(quote!(#w), quote!(#mask))
            } else if position == 0 {
                self.v.and(quote!(#w), quote!(mask0))
            } else {
                tally.shifts += 1;
                self.v.and(self.v.shift_right(quote!(#w), 2 * position as u32), quote!(mask0))
            };
            tally.ands += 1;
            code.extend(quote!(let #c = #codes;));
        }
        let dealt = step * POSITIONS + position;
        let chain = dealt % self.chains;
        for token in 0..self.tokens {
            let x = self.x(token);
            let activations = self.v.broadcast(offset(x, step * Layout::K_STEP + position * COLUMNS));
            tally.broadcasts += 1;
            code.extend(quote!(let x = #activations;));
            for vector in 0..self.vectors {
                let c = format_ident!("c{vector}");
                tally.products += 1;
                code.extend(match self.multiply {
                    Multiply::Dot => {
                        let sum = self.sum(token, vector, chain);
                        let product = self.v.dot(quote!(#sum), quote!(#c), quote!(x));
                        quote!(#sum = #product;)
                    }
                    Multiply::Mad(halves) => {
                        let half = self.half(token, vector, chain);
                        let product = halves.mad(quote!(#c), quote!(x));
                        if dealt < self.chains {
                            quote!(let mut #half = #product;)
                        } else {
                            tally.adds += 1;
                            let sum = halves.add_halves(quote!(#half), product);
                            quote!(#half = #sum;)
                        }
                    }
                });
            }
        }
        code
    }

    /// The 16-bit sums of a turn, added to the 32-bit ones.
    fn widen(&self, halves: &dyn Halves, tally: &mut Tally) -> TokenStream {
        let mut code = quote!(comment!("Widen what the turn has summed."););
        for (token, vector) in self.each() {
            let sum = self.sum(token, vector, 0);
            for chain in 0..self.chains {
                let half = self.half(token, vector, chain);
                let wide = self.v.add(quote!(#sum), halves.widen(quote!(#half)));
                tally.adds += 2;
                code.extend(quote!(#sum = #wide;));
            }
        }
        code
    }

    /// One number an output: accumulators folded, Σ activations taken off, stored.
    fn finish(&self) -> TokenStream {
        let mut code = quote!(comment!("A code is its trit + 1: take the sum of the activations off."););
        for token in 0..self.tokens {
            let index = match token {
                0 => quote!(block),
                1 => quote!(args.blocks + block),
                _ => {
                    let token = literal(token);
                    quote!(#token * args.blocks + block)
                }
            };
            let excess = self.v.splat(quote!(args.sums.add(#index).read()));
            code.extend(quote!(let excess = #excess;));
            for vector in 0..self.vectors {
                let total = self.v.sub(self.fold(token, vector), quote!(excess));
                let store = self.v.store(offset("out", (token * self.vectors + vector) * self.lanes), total);
                code.extend(quote!(#store;));
            }
        }
        let outputs = literal(self.tokens * self.vectors * self.lanes);
        code.extend(quote!(out = out.add(#outputs);));
        code
    }

    fn fold(&self, token: usize, vector: usize) -> TokenStream {
        let name = |chain| {
            let sum = self.sum(token, vector, chain);
            quote!(#sum)
        };
        let add = |a, b| self.v.add(a, b);
        if !self.in_place() {
            return (1..self.accumulators()).map(name).fold(name(0), add);
        }
        let position = |position: usize| {
            let sum = (position + POSITIONS..self.chains).step_by(POSITIONS).map(name).fold(name(position), add);
            match position {
                0 => sum,
                _ => self.v.shift_right_signed(sum, 2 * position as u32),
            }
        };
        (1..POSITIONS).map(position).fold(position(0), add)
    }

    /// Pointer to the activations of a token.
    fn x(&self, token: usize) -> Ident {
        format_ident!("x{token}")
    }

    fn sum(&self, token: usize, vector: usize, chain: usize) -> Ident {
        match self.accumulators() {
            1 => format_ident!("sum{token}_{vector}"),
            _ => format_ident!("sum{token}_{vector}_{chain}"),
        }
    }

    fn half(&self, token: usize, vector: usize, chain: usize) -> Ident {
        format_ident!("half{token}_{vector}_{chain}")
    }
}

/// `pointer.add(offset)`, or the pointer itself.
fn offset(pointer: impl IdentFragment, offset: usize) -> TokenStream {
    let pointer = format_ident!("{}", pointer);
    if offset == 0 {
        return quote!(#pointer);
    }
    let offset = literal(offset);
    quote!(#pointer.add(#offset))
}

fn literal(number: usize) -> Literal {
    Literal::usize_unsuffixed(number)
}
