//! Lookups, a table for each: what a group of trits makes of its activations is read, not computed.
//!
//! ```text
//! begin: sums = 0
//! turn:  halves = 0
//!        for step                    four vectors of lanes become four planes: a byte a row
//!          for half of a byte        an index a row
//!            for plane 0..4          two or three trits of every row
//!              for token 0..mr       16 sums of two or three activations: the low bytes, the high bytes
//!                halves += ± entry
//!        sums += halves              before they leave 16 bits
//! finish: out = sums − the bias of all entries
//! ```
//!
//! Entries carry a bias, so that they are not below 0. A negative triple takes the complement of its entry e, which is
//! −e − 1: bias and 1 come off at the end, by the number of negative triples that the layout keeps for each row.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::nest::{Nest, prefetch, x};
use super::{Kernel, Tally, offset};
use crate::code::{LANE_BYTES, TABLE_ENTRIES, TABLES_BYTES};
use crate::kernel::KernelId;
use crate::layout::Layout;
use crate::vector::{Lowering, Shuffles, lowering};

/// Vectors of lanes, and planes that they become.
const PLANES: usize = 4;

/// The kernel, where the instruction set lowers what it needs.
pub(super) fn kernel(id: &KernelId) -> Option<Kernel> {
    let v = lowering(id.isa);
    let lut = Lut {
        id: *id,
        v,
        shuffles: v.shuffles()?,
        layout: id.layout(),
        trits: id.weights.trits_an_index()?,
        bias: id.weights.bias().into(),
        tokens: id.tile.mr.into(),
        lanes: id.isa.lanes(),
        groups: usize::from(id.tile.nr) / (PLANES * id.isa.lanes()),
        chains: id.tile.ku.into(),
    };
    let mut tally = Tally::default();
    let nest = Nest {
        id,
        before: lut.constants(),
        begin: lut.zeros(),
        turn: lut.turn(&mut tally),
        apart: 1,
        advance: usize::from(id.tile.kb) / (LANE_BYTES * lut.trits) * TABLES_BYTES,
        finish: lut.finish(),
        after: quote!(),
    };
    Some(Kernel { body: nest.emit(), tally })
}

struct Lut {
    id: KernelId,
    v: &'static dyn Lowering,
    shuffles: &'static dyn Shuffles,
    layout: Layout,
    /// Trits that an index stands for.
    trits: usize,
    bias: i32,
    tokens: usize,
    lanes: usize,
    /// Groups of rows that are looked up together.
    groups: usize,
    chains: usize,
}

impl Lut {
    fn constants(&self) -> TokenStream {
        let low = self.v.splat_byte(0x0f);
        let bits = (0..if self.layout.weights.has_signs() { PLANES } else { 0 }).map(|plane| {
            let (name, bits) = (format_ident!("bits{plane}"), self.shuffles.sign_bits(plane));
            quote!(let #name = #bits;)
        });
        quote! {
            comment!("The index in a half of a byte; where each plane has its signs.");
            let low = #low;
            #(#bits)*
        }
    }

    fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let groups = self.groups;
        (0..self.tokens).flat_map(move |token| (0..groups).map(move |group| (token, group)))
    }

    fn zeros(&self) -> TokenStream {
        let zero = self.v.zero();
        self.each()
            .flat_map(|(token, group)| (0..PLANES).map(move |vector| (token, group, vector)))
            .map(|(token, group, vector)| {
                let sum = self.sum(token, group, vector);
                quote!(let mut #sum = #zero;)
            })
            .collect()
    }

    fn turn(&self, tally: &mut Tally) -> TokenStream {
        let zero = self.shuffles.zero_halves();
        let mut code: TokenStream = self
            .each()
            .flat_map(|(token, group)| (0..self.chains).map(move |chain| (token, group, chain)))
            .map(|(token, group, chain)| {
                let [low, high] = self.halves(token, group, chain);
                quote! {
                    let mut #low = #zero;
                    let mut #high = #zero;
                }
            })
            .collect();
        let columns = self.layout.step();
        let steps = usize::from(self.layout.kb) / columns;
        for step in 0..steps {
            let text = format!("Columns {}..{} of the turn.", step * columns, (step + 1) * columns);
            code.extend(quote!(comment!(#text);));
            code.extend(prefetch(&self.id, step, steps));
            for group in 0..self.groups {
                let planes = [0, 1, 2, 3].map(|plane| {
                    let name = self.plane(group, plane);
                    quote!(#name)
                });
                let at = step * self.layout.step_bytes() + group * PLANES * self.lanes * LANE_BYTES;
                tally.counts("loads", PLANES);
                tally.count("sortings into planes");
                code.extend(self.shuffles.planes(offset("weights", at), planes));
            }
            for half in 0..2 {
                code.extend(self.half(step, half, tally));
            }
        }
        code.extend(self.widen(tally));
        code
    }

    /// The indices in one half of every byte of a step.
    fn half(&self, step: usize, half: usize, tally: &mut Tally) -> TokenStream {
        let mut code = TokenStream::new();
        let signs = self.layout.turn_codes() + (2 * step + half) * self.layout.half_signs();
        if self.layout.weights.has_signs() {
            for group in 0..self.groups {
                let name = format_ident!("signs{group}");
                let load = self.shuffles.signs(offset("weights", signs + group * PLANES * self.lanes / 2));
                tally.count("loads of signs");
                code.extend(quote!(let #name = #load;));
            }
        }
        for plane in 0..PLANES {
            for group in 0..self.groups {
                let (index, p) = (format_ident!("index{group}"), self.plane(group, plane));
                let shifted = if half == 0 { quote!(#p) } else { self.v.shift_right(quote!(#p), 4) };
                let indices = self.v.and(shifted, quote!(low));
                tally.counts("shifts", half);
                tally.count("ands");
                code.extend(quote!(let #index = #indices;));
                if self.layout.weights.has_signs() {
                    let [turn, signs, bits] =
                        [format_ident!("turn{group}"), format_ident!("signs{group}"), format_ident!("bits{plane}")];
                    let turned = self.shuffles.test(quote!(#signs), quote!(#bits));
                    tally.count("tests of signs");
                    code.extend(quote!(let #turn = #turned;));
                }
            }
            for token in 0..self.tokens {
                code.extend(self.look_up(token, 2 * step + half, plane, tally));
            }
        }
        code
    }

    /// One index of every row, for one token.
    fn look_up(&self, token: usize, tables: usize, plane: usize, tally: &mut Tally) -> TokenStream {
        let s = self.shuffles;
        let at = tables * TABLES_BYTES + plane * TABLE_ENTRIES;
        let low = s.load_table(offset(x(token), at));
        let high = s.load_table(offset(x(token), at + TABLES_BYTES / 2));
        tally.counts("loads of tables", 2);
        let mut code = quote! {
            let low_table = #low;
            let high_table = #high;
        };
        let chain = (tables * PLANES + plane) % self.chains;
        for group in 0..self.groups {
            let index = format_ident!("index{group}");
            let turn = |bytes| match self.layout.weights.has_signs() {
                true => {
                    let turn = format_ident!("turn{group}");
                    s.xor(bytes, quote!(#turn))
                }
                false => bytes,
            };
            let low = turn(s.lookup(quote!(low_table), quote!(#index)));
            let high = turn(s.lookup(quote!(high_table), quote!(#index)));
            tally.counts("lookups", 2);
            tally.counts("xors", if self.layout.weights.has_signs() { 2 } else { 0 });
            tally.counts("unpackings", 2);
            tally.counts("adds", 2);
            let [low_halves, high_halves] = self.halves(token, group, chain);
            let low_sum = s.add_halves(quote!(#low_halves), s.low_halves(quote!(low_bytes), quote!(high_bytes)));
            let high_sum = s.add_halves(quote!(#high_halves), s.high_halves(quote!(low_bytes), quote!(high_bytes)));
            code.extend(quote! {
                let low_bytes = #low;
                let high_bytes = #high;
                #low_halves = #low_sum;
                #high_halves = #high_sum;
            });
        }
        code
    }

    /// The 16-bit sums of a turn, added to the 32-bit ones.
    fn widen(&self, tally: &mut Tally) -> TokenStream {
        let s = self.shuffles;
        let mut code = quote!(comment!("Widen what the turn has summed."););
        for (token, group) in self.each() {
            for chain in 0..self.chains {
                let [low, high] = self.halves(token, group, chain);
                let lanes = [
                    s.low_lanes(quote!(#low)),
                    s.high_lanes(quote!(#low)),
                    s.low_lanes(quote!(#high)),
                    s.high_lanes(quote!(#high)),
                ];
                for (vector, lanes) in lanes.into_iter().enumerate() {
                    let sum = self.sum(token, group, vector);
                    let wide = self.v.add(quote!(#sum), lanes);
                    tally.count("widenings");
                    code.extend(quote!(#sum = #wide;));
                }
            }
        }
        code
    }

    fn finish(&self) -> TokenStream {
        // Entries in a turn of a row, each with its bias.
        let entries = i32::from(self.layout.kb) / self.trits as i32;
        let (bias, pair) = (entries * self.bias, 2 * self.bias + 1);
        let excess = self.v.splat(quote!(#bias * args.turns as i32));
        let mut code = quote! {
            comment!("Take the bias of all entries off, and what complements are short of negatives.");
            let excess = #excess;
        };
        for group in 0..self.groups {
            for vector in 0..PLANES {
                let at = (group * PLANES + vector) * self.lanes;
                let (correction, first) = (format_ident!("correction"), self.layout.weights.has_signs());
                if first {
                    let negatives = self.v.load_lanes(offset("weights", at * size_of::<u32>()));
                    let corrected = self.v.sub(quote!(excess), self.v.times(negatives, pair));
                    code.extend(quote!(let #correction = #corrected;));
                } else {
                    code.extend(quote!(let #correction = excess;));
                }
                for token in 0..self.tokens {
                    let sum = self.sum(token, group, vector);
                    let total = self.v.sub(quote!(#sum), quote!(#correction));
                    let store = self.v.store(offset("out", token * usize::from(self.layout.nr) + at), total);
                    code.extend(quote!(#store;));
                }
            }
        }
        code
    }

    fn plane(&self, group: usize, plane: usize) -> Ident {
        format_ident!("plane{group}_{plane}")
    }

    fn sum(&self, token: usize, group: usize, vector: usize) -> Ident {
        format_ident!("sum{token}_{group}_{vector}")
    }

    fn halves(&self, token: usize, group: usize, chain: usize) -> [Ident; 2] {
        ["low", "high"].map(|half| format_ident!("{half}{token}_{group}_{chain}"))
    }
}
