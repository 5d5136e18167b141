//! What a thread needs while it computes, and keeps for the next time.

use tritune_codegen::kernel::GEMV_MAX_TOKENS;

use super::activations::Activations;
use crate::kernels::{Tables, TokenTables, Weights};

/// Integer products, sums of activations, and tables for lookups.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Integer products of some panels.
    pub(super) out: Vec<i32>,
    /// Sums of activations in each block.
    pub(super) sums: Vec<i32>,
    pub(super) tables: Tabulated,
}

/// Tables of a thread's own: fetching them from another core's cache takes longer than building them.
#[derive(Debug, Default)]
pub(super) struct Tabulated {
    /// The rows, the weights and the first token that they are for.
    of: Option<(u64, Weights, usize)>,
    tables: Tables,
}

impl Tabulated {
    /// Makes the tables of the tokens from `first` on, unless they are there already. The rows are quantised.
    pub(super) fn make(&mut self, x: &Activations, weights: Weights, first: usize) {
        let of = (x.version(), weights, first);
        if self.of == Some(of) {
            return;
        }
        self.of = Some(of);
        // A kernel may read on behind the last token, by as many as it computes together.
        let tokens = x.m() - first;
        self.tables.reserve(weights, tokens + usize::from(GEMV_MAX_TOKENS) - 1, x.k());
        for token in 0..tokens {
            self.tables.fill(weights, token, &x.quantized(first + token)[..x.k()]);
        }
    }

    /// The tables from `token` on, one of those that they were made for.
    pub(super) fn from(&self, token: usize) -> TokenTables<'_> {
        let first = self.of.map_or(0, |(_, _, first)| first);
        self.tables.from(token - first)
    }
}
