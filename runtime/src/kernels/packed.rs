//! Weights packed into a layout.

use tritune_codegen::Layout;

/// Rows longer than this are refused: within it, no kernel's 32-bit sums can overflow. The tightest is a sum of codes
/// left in the upper bits of their byte: k / 4 terms of at most 64 · 2 · 128, which stays below 2³¹ for k < 2¹⁹.
pub const MAX_K: usize = 1 << 18;

/// The unit of allocation, so that packed weights start on a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A byte of four trits 0: what pads a matrix.
const PADDING: u8 = 0b01_01_01_01;

/// A matrix of trits, packed for the kernels of one layout.
#[derive(Clone, Debug)]
pub struct Packed {
    layout: Layout,
    n: usize,
    k: usize,
    blocks: usize,
    lines: Vec<Line>,
}

impl Packed {
    /// Packs an `n × k` matrix.
    ///
    /// `codes` holds trit + 1 for each weight, row after row. `block` is the number of columns that are summed apart,
    /// since they have a scale of their own; `k` where there is but one scale a row. Rows and columns that pad the
    /// matrix hold trit 0.
    ///
    /// # Errors
    /// [`PackError`] where the matrix is empty, too wide, of another size than `codes`, or holds a code above 2, or
    /// where the layout cannot keep blocks apart.
    pub fn new(layout: Layout, n: usize, k: usize, block: usize, codes: &[u8]) -> Result<Self, PackError> {
        if n == 0 || k == 0 {
            return Err(PackError::Empty { n, k });
        }
        if k > MAX_K {
            return Err(PackError::Wide { k });
        }
        if n.checked_mul(k) != Some(codes.len()) {
            return Err(PackError::Size { n, k, codes: codes.len() });
        }
        if !layout.keeps_apart(k, block) {
            return Err(PackError::Block { layout, k, block });
        }
        let lines = vec![Line([PADDING; 64]); layout.bytes(n, k).div_ceil(64)];
        let mut packed = Packed { layout, n, k, blocks: k / block, lines };
        packed.fill(codes)?;
        Ok(packed)
    }

    fn fill(&mut self, codes: &[u8]) -> Result<(), PackError> {
        let (layout, k) = (self.layout, self.k);
        let bytes = self.bytes_mut();
        // A row's words in two steps lie a step of the whole panel apart (`Layout::position`).
        let stride = Layout::K_STEP / 4 * usize::from(layout.nr);
        for (row, codes) in codes.chunks_exact(k).enumerate() {
            if let Some(column) = codes.iter().position(|&code| code > 2) {
                return Err(PackError::Code { row, column, code: codes[column] });
            }
            let (steps, rest) = codes.as_chunks::<{ Layout::K_STEP }>();
            let mut last = [1; Layout::K_STEP];
            last[..rest.len()].copy_from_slice(rest);
            let words = steps.iter().chain((!rest.is_empty()).then_some(&last)).map(word);
            let places = bytes[layout.position(k, row, 0).byte..].chunks_mut(stride);
            places.zip(words).for_each(|(place, word)| place[..4].copy_from_slice(&word));
        }
        Ok(())
    }

    /// The layout that the weights are packed in.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Output rows, without padding.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns, without padding.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Blocks of columns that are summed apart; 1 where a row has one scale.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Panels of `nr` rows.
    pub fn panels(&self) -> usize {
        self.layout.padded_n(self.n) / usize::from(self.layout.nr)
    }

    /// Packed weights, panel after panel.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a `Line` is 64 initialised bytes without padding.
        let bytes = unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>(), self.lines.len() * 64) };
        &bytes[..self.layout.bytes(self.n, self.k)]
    }

    /// Packed weights from panel `index` on; none for the index after the last.
    pub(super) fn panel(&self, index: usize) -> &[u8] {
        &self.bytes()[index * self.layout.panel_bytes(self.k)..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let lines = &mut self.lines;
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u8>(), lines.len() * 64) }
    }

    /// The code (trit + 1) of one weight: the slow way back, for tests and checks.
    pub fn code(&self, row: usize, column: usize) -> u8 {
        let position = self.layout.position(self.k, row, column);
        self.bytes()[position.byte] >> position.shift & 3
    }
}

/// A row's four bytes in a step: byte j holds columns j, 4 + j, 8 + j and 12 + j.
fn word(codes: &[u8; Layout::K_STEP]) -> [u8; 4] {
    let position = |p: usize| u32::from_le_bytes([codes[p], codes[p + 1], codes[p + 2], codes[p + 3]]);
    (position(0) | position(4) << 2 | position(8) << 4 | position(12) << 6).to_le_bytes()
}

/// A matrix that cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// No rows or no columns.
    #[error("a matrix of {n} × {k} weights cannot be packed: it is empty")]
    Empty {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// Sums over a row this long might overflow.
    #[error("rows of {k} weights are too long: 32-bit sums are exact up to {MAX_K}")]
    Wide {
        /// Columns.
        k: usize,
    },
    /// Size and shape contradict each other.
    #[error("{codes} codes do not fill a matrix of {n} × {k}")]
    Size {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
        /// Codes given.
        codes: usize,
    },
    /// Blocks that do not fit rows or layout.
    #[error(
        "rows of {k} weights, a scale for each {block}, do not fit layout {layout}; choose a kb that divides {block}"
    )]
    Block {
        /// The layout asked for.
        layout: Layout,
        /// Columns.
        k: usize,
        /// Columns of a block.
        block: usize,
    },
    /// Scales do not match rows and blocks.
    #[error("{n} rows of {blocks} blocks have {} scales, and {found} are given", n * blocks)]
    Scales {
        /// Rows.
        n: usize,
        /// Blocks in a row.
        blocks: usize,
        /// Scales given.
        found: usize,
    },
    /// Not a trit.
    #[error("row {row}, column {column}: code {code} is no trit (0, 1, 2 stand for -1, 0, +1); the file is damaged")]
    Code {
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// The code.
        code: u8,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tritune_codegen::Weights;

    use super::*;

    fn layout(nr: u16, kb: u16) -> Layout {
        Layout { weights: Weights::T200, nr, kb }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_there(n in 1..40usize, k in 1..100usize, nr in 1..20u16, steps in 1..5u16, seed: u64) {
            let codes: Vec<u8> =
                (0..n * k).map(|i| ((i as u64 + 1).wrapping_mul(seed | 1) >> 40) as u8 % 3).collect();
            let packed = Packed::new(layout(nr, 16 * steps), n, k, k, &codes).unwrap();
            for row in 0..packed.layout().padded_n(n) {
                for column in 0..packed.layout().padded_k(k) {
                    let code = if row < n && column < k { codes[row * k + column] } else { 1 };
                    prop_assert_eq!(packed.code(row, column), code);
                }
            }
        }
    }

    #[test]
    fn impossible_matrices_are_refused() {
        let new = |n, k, block, codes: &[u8]| Packed::new(layout(16, 32), n, k, block, codes).unwrap_err().to_string();
        assert!(new(0, 4, 4, &[]).contains("empty"));
        assert!(new(1, 4, 4, &[0; 3]).contains("do not fill"));
        assert!(new(usize::MAX, 4, 4, &[0; 4]).contains("do not fill"));
        assert!(new(1, MAX_K + 1, MAX_K + 1, &[]).contains("too long"));
        assert!(new(1, 64, 16, &[0; 64]).contains("divides 16"));
        assert!(new(1, 64, 48, &[0; 64]).contains("48"));
        assert!(new(1, 64, 0, &[0; 64]).contains("for each 0"));
        assert!(new(1, 4, 4, &[0, 1, 2, 3]).contains("column 3"));
    }
}
