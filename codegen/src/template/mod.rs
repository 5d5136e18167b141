//! The algorithms, each written once over [`crate::vector`].

mod decode;
mod lut;
mod nest;
mod pairs;
mod permute;
mod product;
mod tile;

use std::fmt;

use proc_macro2::{Literal, TokenStream};
use quote::{IdentFragment, format_ident, quote};

use crate::isa::Isa;
use crate::kernel::{KernelError, KernelId, Method};

/// The kernel that `id` describes, which must pass [`KernelId::check`].
pub(crate) fn kernel(id: &KernelId) -> Result<Kernel, KernelError> {
    let kernel = match id.method {
        Method::Dot | Method::Mad => product::kernel(id),
        Method::Lut if id.isa == Isa::Avx512Vnni => permute::kernel(id),
        Method::Lut => lut::kernel(id),
        Method::Tile if id.isa == Isa::Amx => tile::kernel(id),
        Method::Tile => pairs::kernel(id),
    };
    kernel.ok_or_else(|| {
        let why = format!("{} does not lower all that {} of {} needs", id.isa, id.method, id.weights);
        KernelError { kernel: *id, why }
    })
}

/// The body of a kernel, and what one turn of its inner loop costs.
pub(crate) struct Kernel {
    pub(crate) body: TokenStream,
    pub(crate) tally: Tally,
}

/// Vector operations in one turn of the inner loop, in the order in which they were first met.
#[derive(Default)]
pub(crate) struct Tally(Vec<(&'static str, usize)>);

impl Tally {
    /// Counts one more `what`.
    fn count(&mut self, what: &'static str) {
        self.counts(what, 1);
    }

    /// Counts `number` more of `what`.
    fn counts(&mut self, what: &'static str, number: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += number,
            None => self.0.push((what, number)),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|(what, count)| format!("{count} {what}")).collect();
        f.write_str(&words.join(", "))
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
