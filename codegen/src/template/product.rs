//! Codes times int8 activations: one loop nest for gemv and gemm, dot and mad, and every weight code.
//!
//! ```text
//! begin: sums = 0
//! turn:  for step                    one load for a vector of rows
//!          for trit of a byte        codes of four columns
//!            for token 0..mr         four activations, broadcast
//!              sums += codes · activations
//! finish: out = sums − Σ activations   since a code is its trit + 1
//! ```
//!
//! *Dot* adds to 32-bit lanes. With four accumulators or more, each position of a two-bit code has one of its own, and
//! codes are masked but not shifted: what is summed is 4^position times too large and is shifted once, after the loop.
//! That is exact, for every term is a multiple of 4^position, and it saves the shifts. With two accumulators, or where a
//! byte's upper bit would be a sign, the lower two positions stay, and one shift brings the upper two in their places.
//!
//! *Mad* adds pairs of products in 16 bits within a turn, and widens them to 32 at its end; [`MAD_MAX_TERMS`] bounds the
//! turn so that no sum can leave 16 bits.
//!
//! [`MAD_MAX_TERMS`]: crate::kernel::MAD_MAX_TERMS

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::decode::{self, Decoder};
use super::nest::{Nest, prefetch, x};
use super::{Kernel, Tally, offset};
use crate::code::LANE_BYTES;
use crate::kernel::{KernelId, Method};
use crate::vector::{Dots, Halves, Lowering, lowering};

/// The kernel, where the instruction set lowers what it needs.
pub(super) fn kernel(id: &KernelId) -> Option<Kernel> {
    let v = lowering(id.isa);
    let chains = usize::from(id.tile.ku);
    let multiply = match id.method {
        Method::Mad => Multiply::Mad(v.halves()?),
        _ => Multiply::Dot(v.dots()?),
    };
    let in_place = id.in_place();
    let product = Product {
        id: *id,
        v,
        multiply,
        decoder: Decoder::new(id, in_place)?,
        in_place,
        tokens: id.tile.mr.into(),
        vectors: usize::from(id.tile.nr) / id.isa.lanes(),
        lanes: id.isa.lanes(),
        trits: id.weights.trits(),
        chains,
    };
    let mut tally = Tally::default();
    let nest = Nest {
        id,
        before: product.decoder.constants(),
        begin: product.zeros(),
        turn: product.turn(&mut tally),
        apart: 1,
        advance: id.tile.kb.into(),
        finish: product.finish(),
        after: quote!(),
    };
    Some(Kernel { body: nest.emit(), tally })
}

enum Multiply {
    Dot(&'static dyn Dots),
    Mad(&'static dyn Halves),
}

struct Product {
    id: KernelId,
    v: &'static dyn Lowering,
    multiply: Multiply,
    decoder: Decoder,
    /// Positions in a byte that codes are multiplied at, each having accumulators of its own.
    in_place: usize,
    tokens: usize,
    /// Vectors that hold the rows of a panel.
    vectors: usize,
    lanes: usize,
    trits: usize,
    chains: usize,
}

impl Product {
    fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let vectors = self.vectors;
        (0..self.tokens).flat_map(move |token| (0..vectors).map(move |vector| (token, vector)))
    }

    /// 32-bit accumulators of an output.
    fn accumulators(&self) -> usize {
        match self.multiply {
            Multiply::Dot(_) => self.chains,
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
        for step in 0..self.decoder.steps() {
            code.extend(self.decoder.title(step));
            code.extend(prefetch(&self.id, step, self.decoder.steps()));
            code.extend(self.decoder.load(step, tally));
            for trit in 0..self.trits {
                code.extend(self.decoder.codes("c", step, trit, tally));
                code.extend(self.products(step * self.trits + trit, tally));
            }
        }
        if let Multiply::Mad(halves) = self.multiply {
            code.extend(self.widen(halves, tally));
        }
        code
    }

    /// Four columns of every row, times those of every token: the `dealt`-th such product of a turn.
    fn products(&self, dealt: usize, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        let chain = dealt % self.chains;
        for token in 0..self.tokens {
            let activations = self.v.broadcast(offset(x(token), dealt * LANE_BYTES));
            tally.count("broadcasts");
            code.extend(quote!(let x = #activations;));
            for vector in 0..self.vectors {
                let c = format_ident!("c{vector}");
                tally.count("multiply-adds");
                code.extend(match self.multiply {
                    Multiply::Dot(dots) => {
                        let sum = self.sum(token, vector, chain);
                        let product = dots.dot(quote!(#sum), quote!(#c), quote!(x));
                        quote!(#sum = #product;)
                    }
                    Multiply::Mad(halves) => {
                        let half = self.half(token, vector, chain);
                        if dealt < self.chains {
                            let product = halves.mad(quote!(#c), quote!(x));
                            quote!(let mut #half = #product;)
                        } else {
                            let sum = halves.mad_add(quote!(#half), quote!(#c), quote!(x));
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
                tally.count("widenings");
                code.extend(quote!(#sum = #wide;));
            }
        }
        code
    }

    /// One number an output: accumulators folded, Σ activations taken off, stored.
    fn finish(&self) -> TokenStream {
        let mut code = quote!(comment!("A code is its trit + 1: take the sum of the activations off."););
        for token in 0..self.tokens {
            code.extend(decode::excess(self.v, token));
            for vector in 0..self.vectors {
                let total = self.v.sub(self.fold(token, vector), quote!(excess));
                let store = self.v.store(offset("out", (token * self.vectors + vector) * self.lanes), total);
                code.extend(quote!(#store;));
            }
        }
        code
    }

    fn fold(&self, token: usize, vector: usize) -> TokenStream {
        let name = |chain| {
            let sum = self.sum(token, vector, chain);
            quote!(#sum)
        };
        let add = |a, b| self.v.add(a, b);
        if self.in_place == 1 {
            return (1..self.accumulators()).map(name).fold(name(0), add);
        }
        let position = |position: usize| {
            let sum =
                (position + self.in_place..self.chains).step_by(self.in_place).map(name).fold(name(position), add);
            match position {
                0 => sum,
                _ => self.v.shift_right_signed(sum, 2 * position as u32),
            }
        };
        (1..self.in_place).map(position).fold(position(0), add)
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
