//! What a thread needs while it computes, and keeps for the next time.

use std::ops::Range;

use super::activations::Activations;
use crate::kernels::{Tables, TokenTables, Weights};
use crate::memory::{Buffer, MemoryError};

/// Tables are made for so many tokens at a time, at most: few enough to stay in a cache, and more than kernels that read
/// tables are left with where others compute a prompt.
const TOKENS: usize = 32;

/// Integer products, sums of activations, and tables for lookups.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Integer products of some panels.
    pub(super) out: Buffer<i32>,
    /// Sums of activations in each block.
    pub(super) sums: Vec<i32>,
    pub(super) tables: Tabulated,
}

/// Tables of a thread's own: fetching them from another core's cache takes longer than building them.
#[derive(Debug, Default)]
pub(super) struct Tabulated {
    /// The rows, the weights and the tokens that they are for; none while they are being made.
    of: Option<(u64, Weights, Range<usize>)>,
    tables: Tables,
}

impl Tabulated {
    /// The tables of the tokens from `token` on, `mr` of them, made now unless they are there already. The rows are
    /// quantised; tables of tokens behind the last are unspecified.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub(super) fn make(
        &mut self,
        x: &Activations,
        weights: Weights,
        token: usize,
        mr: usize,
    ) -> Result<TokenTables<'_>, MemoryError> {
        let needed = token..(token + mr).min(x.m());
        let there = |of: &(u64, Weights, Range<usize>)| {
            (of.0, of.1) == (x.version(), weights) && of.2.start <= needed.start && needed.end <= of.2.end
        };
        let start = match self.of.as_ref().filter(|of| there(of)) {
            Some((_, _, tokens)) => tokens.start,
            None => {
                self.of = None;
                let tokens = token..(token + TOKENS.max(mr)).min(x.m());
                // A kernel reads on behind the last token, by as many as it computes together.
                self.tables.reserve(weights, tokens.len() + mr - 1, x.k())?;
                for at in tokens.clone() {
                    self.tables.fill(weights, at - token, &x.quantized(at)[..x.k()]);
                }
                self.of = Some((x.version(), weights, tokens));
                token
            }
        };
        Ok(self.tables.from(token - start))
    }
}
