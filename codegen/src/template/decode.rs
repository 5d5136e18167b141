//! From packed bytes to codes (trit + 1): vectors with four columns of a row in each lane.
//!
//! - *t200*: a mask, and a shift unless the codes may stay where they are.
//! - *t167*: the class in each half of a byte selects three digits from tables; its sign turns them round. With m = −1
//!   where a sign is set and 0 where not, code = (digit xor m) + (1 − m).
//! - *t160*: multiplications bring the digits up one after the other.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{Tally, literal, offset};
use crate::code::{self, TABLE_ENTRIES};
use crate::kernel::{KernelId, Weights};
use crate::layout::Layout;
use crate::vector::{Lookups, Lowering, lowering};

/// Trits that share a sign.
const SHARE_A_SIGN: usize = 3;

/// Decodes the rows of a panel, a step at a time.
pub(super) struct Decoder {
    v: &'static dyn Lowering,
    layout: Layout,
    lanes: usize,
    /// For t200: the positions in a byte that codes may be at, 1, 2 or 4 of them: higher ones are shifted there.
    in_place: usize,
}

impl Decoder {
    /// A decoder for the weights of `id`; `None` where the instruction set cannot decode them.
    pub(super) fn new(id: &KernelId, in_place: usize) -> Option<Self> {
        let v = lowering(id.isa);
        match id.weights {
            Weights::T200 => (),
            Weights::T167 => {
                v.lookups()?;
            }
            Weights::T160 => {
                v.digit(quote!(), 0)?;
            }
        }
        Some(Decoder { v, layout: id.layout(), lanes: id.isa.lanes(), in_place })
    }

    /// Vectors that hold the rows of a panel.
    fn vectors(&self) -> usize {
        usize::from(self.layout.nr) / self.lanes
    }

    /// What is made ready once.
    pub(super) fn constants(&self) -> TokenStream {
        match (self.layout.weights, self.v.lookups()) {
            (Weights::T167, Some(lookups)) => {
                let (low, one) = (self.v.splat_byte(0x0f), self.v.splat_byte(1));
                let tables = (0..SHARE_A_SIGN).map(|d| {
                    let name = format_ident!("digits{d}");
                    let entries: [u8; TABLE_ENTRIES] = std::array::from_fn(|class| code::digit(class as u8, d) as u8);
                    let table = lookups.table(entries);
                    quote!(let #name = #table;)
                });
                quote! {
                    comment!("The classes of a half, the digits of each class, and 1.");
                    let low = #low;
                    #(#tables)*
                    let one = #one;
                }
            }
            (Weights::T160, _) => quote!(),
            _ => {
                let masks = (0..self.in_place).map(|position| {
                    let (mask, value) = (format_ident!("mask{position}"), self.v.splat_byte(3 << (2 * position)));
                    quote!(let #mask = #value;)
                });
                quote! {
                    comment!("The bits of each position.");
                    #(#masks)*
                }
            }
        }
    }

    /// Binds `w0`, `w1`, … to the bytes of step `step` of the turn.
    pub(super) fn load(&self, step: usize, tally: &mut Tally) -> TokenStream {
        let loads = (0..self.vectors()).map(|vector| {
            let w = format_ident!("w{vector}");
            let load = self.v.load(offset("weights", step * self.layout.step_bytes() + vector * self.lanes * 4));
            tally.count("loads");
            quote!(let #w = #load;)
        });
        quote!(#(#loads)*)
    }

    /// Binds `{name}0`, `{name}1`, … to the codes of trit `q` of every byte of step `step`. The trits of a step must be
    /// asked for in order.
    pub(super) fn codes(&self, name: &str, step: usize, q: usize, tally: &mut Tally) -> TokenStream {
        let mut code = match (self.layout.weights, self.v.lookups()) {
            (Weights::T167, Some(lookups)) if q.is_multiple_of(SHARE_A_SIGN) => {
                self.half(lookups, step, q / SHARE_A_SIGN, tally)
            }
            _ => quote!(),
        };
        for vector in 0..self.vectors() {
            let (c, w) = (format_ident!("{name}{vector}"), format_ident!("w{vector}"));
            let codes = match (self.layout.weights, self.v.lookups()) {
                (Weights::T200, _) => self.two_bits(quote!(#w), q, tally),
                (Weights::T167, Some(lookups)) => {
                    let [class, turn, unit] = ["class", "turn", "unit"].map(|name| format_ident!("{name}{vector}"));
                    let digits = format_ident!("digits{}", q % SHARE_A_SIGN);
                    tally.count("lookups");
                    tally.count("xors");
                    tally.count("byte adds");
                    let digit = lookups.lookup(quote!(#digits), quote!(#class));
                    lookups.add_bytes(lookups.xor(digit, quote!(#turn)), quote!(#unit))
                }
                // `new` has seen to it that there is one.
                _ => {
                    tally.count("digits");
                    self.v.digit(quote!(#w), q).unwrap_or_default()
                }
            };
            code.extend(quote!(let #c = #codes;));
        }
        code
    }

    fn two_bits(&self, w: TokenStream, q: usize, tally: &mut Tally) -> TokenStream {
        tally.count("ands");
        let mask = format_ident!("mask{}", q % self.in_place);
        let shifted = match q - q % self.in_place {
            0 => w,
            positions => {
                // Once for all positions that are shifted as far.
                tally.counts("shifts", usize::from(q.is_multiple_of(self.in_place)));
                self.v.shift_right(w, 2 * positions as u32)
            }
        };
        self.v.and(shifted, quote!(#mask))
    }

    /// Classes and signs of one half of every byte.
    fn half(&self, lookups: &dyn Lookups, step: usize, half: usize, tally: &mut Tally) -> TokenStream {
        let signs = self.layout.turn_codes() + (2 * step + half) * self.layout.half_signs();
        let vectors = (0..self.vectors()).map(|vector| {
            let [w, class, turn, unit] = ["w", "class", "turn", "unit"].map(|name| format_ident!("{name}{vector}"));
            let shifted = if half == 0 { quote!(#w) } else { self.v.shift_right(quote!(#w), 4) };
            tally.counts("shifts", half);
            tally.count("ands");
            tally.count("expansions of signs");
            tally.count("byte subs");
            let nibble = vector * self.lanes;
            let (classes, sign, units) = (
                self.v.and(shifted, quote!(low)),
                lookups.expand(offset("weights", signs + nibble / 2), nibble % 2),
                lookups.sub_bytes(quote!(one), quote!(#turn)),
            );
            quote! {
                let #class = #classes;
                let #turn = #sign;
                let #unit = #units;
            }
        });
        let comment = format!("Classes and signs of the {} halves.", ["low", "high"][half]);
        quote!(comment!(#comment); #(#vectors)*)
    }

    /// A comment that says which columns of the turn step `step` has.
    pub(super) fn title(&self, step: usize) -> TokenStream {
        let columns = self.layout.step();
        let text = format!("Columns {}..{} of the turn.", step * columns, (step + 1) * columns);
        quote!(comment!(#text);)
    }

    /// Steps in a turn.
    pub(super) fn steps(&self) -> usize {
        usize::from(self.layout.kb) / self.layout.step()
    }
}

/// Takes Σ activations of a block off the products of codes with token `token`'s activations: a code is its trit + 1.
/// Binds `excess`.
pub(super) fn excess(v: &dyn Lowering, token: usize) -> TokenStream {
    let index = match token {
        0 => quote!(block),
        1 => quote!(args.blocks + block),
        _ => {
            let token = literal(token);
            quote!(#token * args.blocks + block)
        }
    };
    let excess = v.splat(quote!(args.sums.add(#index).read()));
    quote!(let excess = #excess;)
}
