//! Matrix products within vectors: two rows and two tokens, eight columns, in one instruction.
//!
//! ```text
//! begin: sums = 0
//! turn:  for step
//!          for two trits of a byte   codes of eight columns: pairs of rows
//!            for two tokens          eight activations each
//!              sums += codes · activations
//! finish: out = sums − Σ activations, sorted by token
//! ```

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::decode::{self, Decoder};
use super::nest::{Nest, x};
use super::{Kernel, Tally, offset};
use crate::code::LANE_BYTES;
use crate::kernel::KernelId;
use crate::vector::{Lowering, Pairs, lowering};

/// The kernel, where the instruction set lowers what it needs.
pub(super) fn kernel(id: &KernelId) -> Option<Kernel> {
    let v = lowering(id.isa);
    let product = Product {
        v,
        pairs: v.pairs()?,
        decoder: Decoder::new(id, 1)?,
        tokens: id.tile.mr.into(),
        vectors: usize::from(id.tile.nr) / id.isa.lanes(),
        lanes: id.isa.lanes(),
        trits: id.weights.trits(),
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

struct Product {
    v: &'static dyn Lowering,
    pairs: &'static dyn Pairs,
    decoder: Decoder,
    tokens: usize,
    /// Vectors that hold the rows of a panel.
    vectors: usize,
    lanes: usize,
    trits: usize,
}

impl Product {
    fn zeros(&self) -> TokenStream {
        let zero = self.v.zero();
        (0..self.tokens)
            .step_by(2)
            .flat_map(|token| (0..self.vectors).flat_map(move |vector| self.sums(token, vector)))
            .map(|sum| quote!(let mut #sum = #zero;))
            .collect()
    }

    fn turn(&self, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        for step in 0..self.decoder.steps() {
            code.extend(self.decoder.title(step));
            code.extend(self.decoder.load(step, tally));
            for trit in (0..self.trits).step_by(2) {
                code.extend(self.decoder.codes("c", step, trit, tally));
                code.extend(self.decoder.codes("d", step, trit + 1, tally));
                code.extend(self.products((step * self.trits + trit) * LANE_BYTES, tally));
            }
        }
        code
    }

    /// Eight columns of every row, from `column` of the turn on, times those of every token.
    fn products(&self, column: usize, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        for vector in 0..self.vectors {
            let [c, d, low, high] = ["c", "d", "low", "high"].map(|name| format_ident!("{name}{vector}"));
            let (low_pair, high_pair) =
                (self.pairs.low_pair(quote!(#c), quote!(#d)), self.pairs.high_pair(quote!(#c), quote!(#d)));
            tally.counts("zips", 2);
            code.extend(quote! {
                let #low = #low_pair;
                let #high = #high_pair;
            });
        }
        for token in (0..self.tokens).step_by(2) {
            let load = self.pairs.load_pair(offset(x(token), column), offset(x(token + 1), column));
            tally.count("loads of activations");
            code.extend(quote!(let x = #load;));
            for vector in 0..self.vectors {
                for (sum, half) in self.sums(token, vector).into_iter().zip(["low", "high"]) {
                    let codes = format_ident!("{half}{vector}");
                    let product = self.pairs.multiply(quote!(#sum), quote!(#codes), quote!(x));
                    tally.count("multiply-adds");
                    code.extend(quote!(#sum = #product;));
                }
            }
        }
        code
    }

    fn finish(&self) -> TokenStream {
        let mut code = quote!(comment!("A code is its trit + 1: take the sum of the activations off."););
        for token in 0..self.tokens {
            code.extend(decode::excess(self.v, token));
            for vector in 0..self.vectors {
                let [low, high] = self.sums(token & !1, vector);
                let sorted = match token % 2 {
                    0 => self.pairs.first_token(quote!(#low), quote!(#high)),
                    _ => self.pairs.second_token(quote!(#low), quote!(#high)),
                };
                let total = self.v.sub(sorted, quote!(excess));
                let store = self.v.store(offset("out", (token * self.vectors + vector) * self.lanes), total);
                code.extend(quote!(#store;));
            }
        }
        code
    }

    /// Sums of a pair of tokens with the first two rows of a vector, and with the other two.
    fn sums(&self, token: usize, vector: usize) -> [Ident; 2] {
        ["low", "high"].map(|half| format_ident!("sum{token}_{vector}_{half}"))
    }
}
