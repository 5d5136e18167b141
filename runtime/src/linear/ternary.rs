//! A matrix of trits, packed for the kernels that were chosen for its shape.

use std::cell::RefCell;
use std::ops::Range;

use super::activations::{self, Activations};
use super::scratch::Scratch;
use super::{Float, LinearError};
use crate::kernels::{Choice, Operand, PackError, Packed, Runnable, Selection, TokenTables, Tokens};
use crate::prefetch::{self, Cache};
use crate::quant::trits::{Scales, Trits};
use crate::threads::Parts;

/// Packed weights that a thread works on before it turns to the next tokens: they stay in the L2 cache, or L1 even.
const CHUNK_BYTES: usize = 128 << 10;

/// A matrix of trits, packed for the kernels that were chosen for its shape.
#[derive(Clone, Debug)]
pub struct Ternary {
    weights: Packed,
    scales: Packing,
    /// Weights that share a scale within a row.
    block: usize,
    choice: Choice,
}

/// Scales in the order in which results arrive.
#[derive(Clone, Debug)]
enum Packing {
    Tensor(f32),
    /// For each panel, block and row.
    Blocks(Vec<f32>),
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Frees what this thread keeps.
pub(super) fn forget_scratch() {
    SCRATCH.take();
}

impl Ternary {
    /// Chooses kernels for the shape of `trits`, and packs it into their layout. `name` is for error messages.
    ///
    /// # Errors
    /// Where no kernel serves the shape, or the matrix cannot be packed.
    pub fn new(name: &str, trits: &Trits, selection: &Selection) -> Result<Self, LinearError> {
        let block = trits.scales.block(trits.k);
        let choice = selection
            .choose(trits.n, trits.k, block)
            .map_err(|source| LinearError::Selection { name: name.into(), source })?;
        Self::with(trits, choice).map_err(|source| LinearError::Pack { name: name.into(), source })
    }

    /// Packs `trits` for kernels that were chosen already.
    ///
    /// # Errors
    /// Where the matrix cannot be packed.
    pub fn with(trits: &Trits, choice: Choice) -> Result<Self, PackError> {
        let block = trits.scales.block(trits.k);
        let weights = Packed::new(choice.layout(), trits.n, trits.k, block, &trits.codes)?;
        Self::of(weights, &trits.scales, choice)
    }

    /// What is packed for these kernels, with its scales.
    ///
    /// # Errors
    /// Where there is not a scale for each row or block.
    pub(crate) fn of(weights: Packed, scales: &Scales, choice: Choice) -> Result<Self, PackError> {
        if let Scales::Row(scales) | Scales::Block { scales, .. } = scales
            && scales.len() != weights.n() * weights.blocks()
        {
            return Err(PackError::Scales { n: weights.n(), blocks: weights.blocks(), found: scales.len() });
        }
        let block = weights.k() / weights.blocks();
        let scales = match scales {
            Scales::Tensor(scale) => Packing::Tensor(*scale),
            Scales::Row(scales) | Scales::Block { scales, .. } => Packing::Blocks(pack_scales(&weights, scales)),
        };
        Ok(Ternary { weights, scales, block, choice })
    }

    /// Output rows.
    pub fn n(&self) -> usize {
        self.weights.n()
    }

    /// Columns.
    pub fn k(&self) -> usize {
        self.weights.k()
    }

    /// The kernels that compute it, and why.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// The packed weights.
    #[cfg(test)]
    pub(crate) fn packed(&self) -> &Packed {
        &self.weights
    }

    /// Bytes of packed weights and scales.
    pub fn bytes(&self) -> usize {
        let scales = match &self.scales {
            Packing::Tensor(_) => 1,
            Packing::Blocks(scales) => scales.len(),
        };
        self.weights.bytes().len() + scales * size_of::<f32>()
    }

    /// Rows that a thread claims at a time, for `m` tokens: enough pieces for every thread and, where tokens pass one after
    /// the other, few enough bytes to stay in a cache meanwhile.
    pub(super) fn piece(&self, threads: usize, m: usize) -> usize {
        let layout = self.weights.layout();
        let panels = self.weights.panels();
        let kernel = self.choice.kernel(m);
        let most = match m <= kernel.tokens() {
            true => usize::MAX,
            false => CHUNK_BYTES / layout.panel_bytes(self.k()),
        };
        let most = most.min(panels / (threads * usize::from(kernel.schedule().pieces))).max(1);
        // Of the larger sizes, the one with which the busiest thread has the least to do; the largest of equals.
        let busiest = |size: &usize| panels.div_ceil(*size).div_ceil(threads) * size;
        let panels = (most.div_ceil(2)..=most).rev().min_by_key(busiest).unwrap_or(1);
        panels * usize::from(layout.nr)
    }

    /// Computes some rows, which begin a panel and end one or the matrix, for all tokens of `x`, which is quantised,
    /// into `y[m, n]`.
    ///
    /// Nobody else may hold those columns of `y` meanwhile.
    pub(super) fn forward(&self, x: &Activations, rows: Range<usize>, y: &Parts<'_, f32>) -> Result<(), LinearError> {
        let nr = usize::from(self.weights.layout().nr);
        let panels = rows.start / nr..rows.end.div_ceil(nr);
        SCRATCH.with_borrow_mut(|Scratch { out, sums, tables }| {
            let mut token = 0;
            while token < x.m() {
                let kernel = self.choice.kernel(x.m() - token);
                let mr = kernel.tokens();
                let len = kernel.outputs(&self.weights, panels.len());
                let out = out.grown(len)?;
                let tokens = Tokens {
                    values: x.quantized(token),
                    stride: x.stride(),
                    sums: self.sums(x, token, mr, sums),
                    tables: match kernel.id().operand() {
                        Operand::Tables(weights) => tables.make(x, weights, token, mr)?,
                        Operand::Rows => TokenTables::default(),
                    },
                };
                if x.m() > Float::FEW {
                    // The outputs of so many tokens are in no cache: they come while their products are formed.
                    for t in token..(token + mr).min(x.m()) {
                        // SAFETY: threads hold disjoint panels, hence disjoint columns of y, and this one holds no other part.
                        let y = unsafe { y.part(t * self.n() + rows.start..t * self.n() + rows.end) };
                        prefetch::ask(y, 0, Cache::Second);
                    }
                }
                kernel.products(&self.weights, panels.clone(), tokens, out)?;
                self.scale(x, token, kernel, panels.clone(), out, y);
                token += mr;
            }
            Ok(())
        })
    }

    /// Sums of the activations of `mr` tokens in each block.
    fn sums<'a>(&self, x: &'a Activations, token: usize, mr: usize, sums: &'a mut Vec<i32>) -> &'a [i32] {
        if self.weights.blocks() == 1 {
            return x.sums(token);
        }
        sums.clear();
        for row in x.quantized(token).chunks(x.stride()).take(mr) {
            sums.extend(row[..self.k()].chunks_exact(self.block).map(activations::sum_row));
        }
        sums
    }

    /// Integers times the scales of weights and activations, into their place in `y`.
    fn scale(
        &self,
        x: &Activations,
        token: usize,
        kernel: &Runnable,
        panels: Range<usize>,
        out: &[i32],
        y: &Parts<'_, f32>,
    ) {
        let (n, mr, nr) = (self.n(), kernel.tokens(), usize::from(self.weights.layout().nr));
        let blocks = self.weights.blocks();
        for (panel, out) in panels.zip(out.chunks_exact(blocks * mr * nr)) {
            let rows = panel * nr..((panel + 1) * nr).min(n);
            for t in 0..mr.min(x.m() - token) {
                let row = (token + t) * n;
                // SAFETY: threads hold disjoint panels, hence disjoint columns of y, and this one holds no other part.
                let y = unsafe { y.part(row + rows.start..row + rows.end) };
                let step = x.step(token + t);
                match &self.scales {
                    Packing::Tensor(scale) => {
                        scale_row(y, &out[t * nr..], step * f64::from(*scale));
                    }
                    Packing::Blocks(scales) => {
                        y.fill(0.0);
                        let scales = scales[panel * blocks * nr..].chunks_exact(nr);
                        for (out, scales) in out.chunks_exact(mr * nr).zip(scales) {
                            for ((y, &sum), scale) in y.iter_mut().zip(&out[t * nr..]).zip(scales) {
                                *y += sum as f32 * scale;
                            }
                        }
                        y.iter_mut().for_each(|y| *y = (f64::from(*y) * step) as f32);
                    }
                }
            }
        }
    }
}

/// Integers times what one step of them is worth, rounded once.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn scale_row(y: &mut [f32], sums: &[i32], step: f64) {
    for (y, &sum) in y.iter_mut().zip(sums) {
        *y = (f64::from(sum) * step) as f32;
    }
}

/// Scales `[n, blocks]`, reordered to panel, block, row.
fn pack_scales(weights: &Packed, scales: &[f32]) -> Vec<f32> {
    let (nr, blocks) = (usize::from(weights.layout().nr), weights.blocks());
    let mut packed = vec![0.0; weights.panels() * blocks * nr];
    for (row, scales) in scales.chunks_exact(blocks).enumerate() {
        for (block, scale) in scales.iter().enumerate() {
            packed[(row / nr * blocks + block) * nr + row % nr] = *scale;
        }
    }
    packed
}
