//! Lookups, one table of 64 entries for the four indices of a lane.
//!
//! ```text
//! begin: sums = 0
//! turn:  for step
//!          for half of a byte        an index a byte, which with its place in the lane names one of 64 entries
//!            for token 0..mr         64 low bytes, 64 high bytes
//!              low sums += low entries · signs, high sums += high entries · signs
//! finish: out = low sums + 256 · high sums − the bias of all entries
//! ```
//!
//! Four bytes of a lane are four lookups of one row, so that a four-way dot product with signs of ±1 adds them up: the
//! entries, which carry a bias and are not below 0, are its unsigned operand. An entry of a negative triple takes the bias
//! away instead of adding it: the layout keeps for each row how many triples are negative.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::nest::{Nest, prefetch, x};
use super::{Kernel, Tally, offset};
use crate::code::{LANE_BYTES, TABLES_BYTES};
use crate::kernel::KernelId;
use crate::layout::Layout;
use crate::vector::{Dots, Lowering, Permutes, lowering};

/// The kernel, where the instruction set lowers what it needs.
pub(super) fn kernel(id: &KernelId) -> Option<Kernel> {
    let v = lowering(id.isa);
    let permute = Permute {
        id: *id,
        v,
        dots: v.dots()?,
        permutes: v.permutes()?,
        layout: id.layout(),
        trits: id.weights.trits_an_index()?,
        bias: id.weights.bias().into(),
        tokens: id.tile.mr.into(),
        lanes: id.isa.lanes(),
        vectors: usize::from(id.tile.nr) / id.isa.lanes(),
        chains: id.tile.ku.into(),
    };
    let mut tally = Tally::default();
    let nest = Nest {
        id,
        before: permute.constants(),
        begin: permute.zeros(),
        turn: permute.turn(&mut tally),
        apart: 1,
        advance: usize::from(id.tile.kb) / (LANE_BYTES * permute.trits) * TABLES_BYTES,
        finish: permute.finish(),
        after: quote!(),
    };
    Some(Kernel { body: nest.emit(), tally })
}

struct Permute {
    id: KernelId,
    v: &'static dyn Lowering,
    dots: &'static dyn Dots,
    permutes: &'static dyn Permutes,
    layout: Layout,
    /// Trits that an index stands for.
    trits: usize,
    bias: i32,
    tokens: usize,
    lanes: usize,
    vectors: usize,
    chains: usize,
}

impl Permute {
    fn constants(&self) -> TokenStream {
        let (low, quarters) = (self.v.splat_byte(0x0f), self.permutes.quarters());
        let (plus, minus) = (self.v.splat_byte(1), self.v.splat_byte(0xff));
        quote! {
            comment!("The index in a half of a byte, the quarter of the table for each byte of a lane, and signs.");
            let low = #low;
            let quarters = #quarters;
            let plus = #plus;
            let minus = #minus;
        }
    }

    fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let vectors = self.vectors;
        (0..self.tokens).flat_map(move |token| (0..vectors).map(move |vector| (token, vector)))
    }

    fn zeros(&self) -> TokenStream {
        let zero = self.v.zero();
        self.each()
            .flat_map(|(token, vector)| (0..self.chains).map(move |chain| (token, vector, chain)))
            .flat_map(|(token, vector, chain)| self.sums(token, vector, chain))
            .map(|sum| quote!(let mut #sum = #zero;))
            .collect()
    }

    fn turn(&self, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        let columns = self.layout.step();
        let steps = usize::from(self.layout.kb) / columns;
        for step in 0..steps {
            let text = format!("Columns {}..{} of the turn.", step * columns, (step + 1) * columns);
            code.extend(quote!(comment!(#text);));
            code.extend(prefetch(&self.id, step, steps));
            for vector in 0..self.vectors {
                let w = format_ident!("w{vector}");
                let at = step * self.layout.step_bytes() + vector * self.lanes * LANE_BYTES;
                let load = self.v.load(offset("weights", at));
                tally.count("loads");
                code.extend(quote!(let #w = #load;));
            }
            for half in 0..2 {
                code.extend(self.half(2 * step + half, half, tally));
            }
        }
        code
    }

    /// The indices in one half of every byte: the `tables`-th group of tables of the turn.
    fn half(&self, tables: usize, half: usize, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        let signs = self.layout.turn_codes() + tables * self.layout.half_signs();
        for vector in 0..self.vectors {
            let [w, index, sign] = ["w", "index", "sign"].map(|name| format_ident!("{name}{vector}"));
            let shifted = if half == 0 { quote!(#w) } else { self.v.shift_right(quote!(#w), 4) };
            let indices = self.permutes.or(self.v.and(shifted, quote!(low)), quote!(quarters));
            let pointer = offset("weights", signs + vector * self.lanes / 2);
            let chosen = self.permutes.choose(pointer, quote!(plus), quote!(minus));
            tally.counts("shifts", half);
            tally.count("ands and ors");
            tally.count("choices of signs");
            code.extend(quote! {
                let #index = #indices;
                let #sign = #chosen;
            });
        }
        for token in 0..self.tokens {
            let at = tables * TABLES_BYTES;
            let low = self.permutes.load_table(offset(x(token), at));
            let high = self.permutes.load_table(offset(x(token), at + TABLES_BYTES / 2));
            tally.counts("loads of tables", 2);
            code.extend(quote! {
                let low_table = #low;
                let high_table = #high;
            });
            for vector in 0..self.vectors {
                let [index, sign] = ["index", "sign"].map(|name| format_ident!("{name}{vector}"));
                let sums = self.sums(token, vector, tables % self.chains);
                for (sum, table) in sums.into_iter().zip([quote!(low_table), quote!(high_table)]) {
                    let entries = self.permutes.permute(table, quote!(#index));
                    let product = self.dots.dot(quote!(#sum), entries, quote!(#sign));
                    tally.count("lookups");
                    tally.count("multiply-adds");
                    code.extend(quote!(#sum = #product;));
                }
            }
        }
        code
    }

    fn finish(&self) -> TokenStream {
        // Entries in a turn of a row, each with its bias.
        let entries = i32::from(self.layout.kb) / self.trits as i32;
        let (bias, pair) = (entries * self.bias, 2 * self.bias);
        let excess = self.v.splat(quote!(#bias * args.turns as i32));
        let mut code = quote! {
            comment!("Take the bias off: positive entries have added it, negative ones taken it away.");
            let excess = #excess;
        };
        for vector in 0..self.vectors {
            let at = vector * self.lanes;
            let negatives = self.v.load_lanes(offset("weights", at * size_of::<u32>()));
            let correction = self.v.sub(quote!(excess), self.v.times(negatives, pair));
            code.extend(quote!(let correction = #correction;));
            for token in 0..self.tokens {
                let fold = |which: usize| {
                    let names = (0..self.chains).map(|chain| {
                        let sum = &self.sums(token, vector, chain)[which];
                        quote!(#sum)
                    });
                    names.reduce(|a, b| self.v.add(a, b)).unwrap_or_default()
                };
                let sum = self.v.add(fold(0), self.v.shift_left(fold(1), 8));
                let total = self.v.sub(sum, quote!(correction));
                let store = self.v.store(offset("out", token * usize::from(self.layout.nr) + at), total);
                code.extend(quote!(#store;));
            }
        }
        code
    }

    fn sums(&self, token: usize, vector: usize, chain: usize) -> [Ident; 2] {
        ["low", "high"].map(|half| match self.chains {
            1 => format_ident!("{half}{token}_{vector}"),
            _ => format_ident!("{half}{token}_{vector}_{chain}"),
        })
    }
}
