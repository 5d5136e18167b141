//! A compiled kernel, the proof that this machine can run it, and the one place where it is called.

use std::ops::Range;

use tritune_codegen::code::TABLES_BYTES;
use tritune_codegen::{KernelId, Layout, MAX_AHEAD, MAX_PIECES, Operand, Schedule};

use super::packed::Packed;
use super::tables::{self, Tables, TokenTables};
use crate::memory::MemoryError;

/// What a generated kernel is called with.
///
/// For a tile of `mr` tokens, `nr` rows and `kb` columns a turn, these ranges are valid:
/// - `weights`: `panels` panels of the kernel's layout, with `blocks · turns` turns of `kb` columns each;
/// - `activations`: for token t of `mr`, `blocks · turns · kb` values from `activations + t · stride`; for lookups, the
///   tables of as many columns, `stride` bytes apart;
/// - `sums`: `mr · blocks` values, the sum of the activations of token t in block b at `t · blocks + b`;
/// - `out`: `panels · blocks · mr · nr` values, written in this order: panel, block, token, row.
#[derive(Debug)]
pub struct Args {
    /// First panel of packed weights.
    pub weights: *const u8,
    /// First token's int8 activations, or tables.
    pub activations: *const i8,
    /// Values from one token's activations (or bytes from its tables) to the next one's.
    pub stride: usize,
    /// Sums of activations, `[mr, blocks]`.
    pub sums: *const i32,
    /// Integer products, `[panels, blocks, mr, nr]`.
    pub out: *mut i32,
    /// Panels to compute.
    pub panels: usize,
    /// Blocks of columns that are summed apart.
    pub blocks: usize,
    /// Turns of `kb` columns in a block.
    pub turns: usize,
    /// Bytes ahead of their use at which a gemv asks for weights, which may be anywhere.
    pub ahead: usize,
}

/// A kernel that was compiled in.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// What it is.
    pub id: KernelId,
    /// Hash of its generated source, which ties a measurement to it.
    pub source_hash: &'static str,
    run: unsafe fn(&Args),
}

impl Kernel {
    /// A row of the table. `run` is the function generated for `id`.
    pub(super) const fn new(id: KernelId, source_hash: &'static str, run: unsafe fn(&Args)) -> Self {
        Kernel { id, source_hash, run }
    }

    /// The kernel as something that can be called, if this machine has its instruction set.
    pub fn detect(&'static self) -> Option<Runnable> {
        self.id.detected().then_some(Runnable { kernel: self, schedule: Schedule::default() })
    }

    /// Calls the generated function.
    ///
    /// # Safety
    /// This machine has the kernel's instruction set, and `args` is as [`Args`] states.
    pub(super) unsafe fn call(&self, args: &Args) {
        // SAFETY: the caller's promise is the function's.
        unsafe { (self.run)(args) }
    }
}

/// The activations of some tokens, as a kernel reads them.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// Int8 values; token t's row starts at `t · stride`, and holds the layout's padded k.
    pub values: &'a [i8],
    /// Values from one token's row to the next one's.
    pub stride: usize,
    /// Sum of the values of token t in block b at `t · blocks + b`.
    pub sums: &'a [i32],
    /// Tables of the same tokens, for kernels that read those instead; empty where none does.
    pub tables: TokenTables<'a>,
}

/// A kernel that this machine can run: only [`Kernel::detect`] makes one, to be run by the default schedule.
#[derive(Clone, Copy, Debug)]
pub struct Runnable {
    kernel: &'static Kernel,
    schedule: Schedule,
}

impl Runnable {
    /// What it is.
    pub fn id(&self) -> KernelId {
        self.kernel.id
    }

    /// How it is run.
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// The same kernel, run otherwise: by the nearest sound schedule ([`Schedule::is_sound`]).
    pub fn scheduled(self, Schedule { pieces, ahead }: Schedule) -> Self {
        let schedule = Schedule { pieces: pieces.clamp(1, MAX_PIECES), ahead: ahead.min(MAX_AHEAD) };
        Runnable { schedule, ..self }
    }

    /// Tells apart kernels of the same id in different tables.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self.kernel).addr()
    }

    /// Tokens that one call computes.
    pub fn tokens(&self) -> usize {
        usize::from(self.id().tile.mr)
    }

    /// Hash of its generated source.
    pub fn source_hash(&self) -> &'static str {
        self.kernel.source_hash
    }

    /// The tables that it reads of `values`, its tokens' rows of `k` activations `stride` values apart; none where it
    /// reads the rows.
    ///
    /// # Errors
    /// Where there is no memory for them.
    ///
    /// # Panics
    /// Where `values` is too short.
    pub fn tables(&self, values: &[i8], stride: usize, k: usize) -> Result<Tables, MemoryError> {
        match self.id().operand() {
            Operand::Rows => Ok(Tables::default()),
            Operand::Tables(weights) => Tables::new(weights, values, stride, self.tokens(), k),
        }
    }

    /// Integers that [`Runnable::products`] writes for `panels` panels of `weights`.
    pub fn outputs(&self, weights: &Packed, panels: usize) -> usize {
        panels * weights.blocks() * self.tokens() * usize::from(self.id().tile.nr)
    }

    /// The exact products of `mr` tokens with the rows of some panels: Σ activation · trit for each block of columns,
    /// in the order panel, block, token, row.
    ///
    /// # Errors
    /// [`CallError`] where the layouts differ or a length does not fit; nothing was run then.
    pub fn products(
        &self,
        weights: &Packed,
        panels: Range<usize>,
        tokens: Tokens<'_>,
        out: &mut [i32],
    ) -> Result<(), CallError> {
        let kernel = self.id();
        let layout = weights.layout();
        if layout != kernel.layout() {
            return Err(CallError::Layout { kernel, found: layout });
        }
        let columns = layout.padded_k(weights.k());
        let mr = self.tokens();
        let (activations, stride, row, found) = match kernel.operand() {
            Operand::Rows => (tokens.values.as_ptr(), tokens.stride, columns, tokens.values.len()),
            Operand::Tables(code) => {
                let TokenTables { bytes, stride } = tokens.tables;
                (bytes.as_ptr().cast(), stride, tables::groups(code, columns) * TABLES_BYTES, bytes.len())
            }
        };
        // Lengths that cannot be counted are longer than any slice.
        let all = (mr - 1).checked_mul(stride).and_then(|last| last.checked_add(row)).unwrap_or(usize::MAX);
        for (what, need, found) in [
            ("panels", panels.end.max(panels.start), weights.panels()),
            ("activations from one token to the next", row, if mr > 1 { stride } else { row }),
            ("activations or bytes of tables", all, found),
            ("sums", mr * weights.blocks(), tokens.sums.len()),
        ] {
            if found < need {
                return Err(CallError::Short { kernel, what, need, found });
            }
        }
        let need = self.outputs(weights, panels.len());
        if out.len() < need {
            return Err(CallError::Short { kernel, what: "outputs", need, found: out.len() });
        }
        let args = Args {
            weights: weights.panel(panels.start).as_ptr(),
            activations,
            stride,
            sums: tokens.sums.as_ptr(),
            out: out.as_mut_ptr(),
            panels: panels.len(),
            blocks: weights.blocks(),
            turns: columns / weights.blocks() / usize::from(kernel.tile.kb),
            ahead: self.schedule.ahead as usize,
        };
        // SAFETY: a `Runnable` exists only where the machine has the kernel's features. `weights` is in its layout, in
        // which `Packed` holds `panels` panels of padded k, blocks cutting that into whole turns, and `panels` lies within
        // it. What `Args` states of the other ranges was compared above, without overflow: counts of
        // panels, blocks and rows are those of a matrix in memory, and the product with the stride is checked.
        unsafe { self.kernel.call(&args) };
        Ok(())
    }
}

/// A call that was refused before any unsafe code ran.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The weights are not in the layout that the kernel reads.
    #[error("kernel {kernel} reads layout {}, these weights are packed as {found}; pack them again", kernel.layout())]
    Layout {
        /// The kernel.
        kernel: KernelId,
        /// The weights' layout.
        found: Layout,
    },
    /// A range is shorter than what the kernel would access.
    #[error("kernel {kernel} needs {need} {what}, and {found} are there")]
    Short {
        /// The kernel.
        kernel: KernelId,
        /// Which range.
        what: &'static str,
        /// Elements needed.
        need: usize,
        /// Elements there.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::super::KERNELS;
    use super::*;

    #[test]
    fn schedules_are_sound() {
        let kernel = KERNELS.iter().find_map(Kernel::detect).unwrap();
        for (given, run) in [
            (Schedule { pieces: 0, ahead: 0 }, Schedule { pieces: 1, ahead: 0 }),
            (Schedule { pieces: 4, ahead: 4096 }, Schedule { pieces: 4, ahead: 4096 }),
            (Schedule { pieces: u16::MAX, ahead: u32::MAX }, Schedule { pieces: MAX_PIECES, ahead: MAX_AHEAD }),
        ] {
            assert_eq!(kernel.scheduled(given).schedule(), run);
            assert!(run.is_sound());
        }
    }
}
