//! The algorithms, each written once over [`crate::vector`].

mod product;

pub(crate) use product::product;

use std::fmt;

use proc_macro2::TokenStream;

/// The body of a kernel, and what one turn of its inner loop costs.
pub(crate) struct Kernel {
    pub(crate) body: TokenStream,
    pub(crate) tally: Tally,
}

/// Vector operations in one turn of the inner loop.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) loads: usize,
    pub(crate) ands: usize,
    pub(crate) shifts: usize,
    pub(crate) broadcasts: usize,
    pub(crate) products: usize,
    pub(crate) adds: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { loads, ands, shifts, broadcasts, products, adds } = *self;
        let counts = [
            (loads, "loads"),
            (ands, "ands"),
            (shifts, "shifts"),
            (broadcasts, "broadcasts"),
            (products, "multiply-adds"),
            (adds, "adds"),
        ];
        let words: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&words.join(", "))
    }
}
