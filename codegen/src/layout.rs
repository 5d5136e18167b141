//! Packed layouts: where the weight of row n, column k lies, as one formula that packer, emitters and tests share.

use std::fmt;

use crate::kernel::Weights;

/// How packed weights lie in memory.
///
/// Rows are grouped in *panels* of `nr`, stored one after the other. Within a panel, *steps* of 16 columns follow each
/// other; a step holds four bytes a row, row after row. Byte `j` of a row holds columns `j`, `4 + j`, `8 + j` and
/// `12 + j` of the step in bits 1:0, 3:2, 5:4 and 7:6:
///
/// ```text
/// panel ─ step ─ row r: [byte 0][byte 1][byte 2][byte 3]
///                         bits 1:0  columns 0  1  2  3      position 0
///                         bits 3:2  columns 4  5  6  7      position 1
///                         bits 5:4  columns 8  9 10 11      position 2
///                         bits 7:6  columns 12 … 15         position 3
/// ```
///
/// One mask (and shift) of a vector therefore yields, for as many rows as it has 32-bit lanes, four consecutive columns
/// a lane: the operand of a four-way int8 dot product whose other operand is four activations broadcast to all lanes.
/// Sums stay in their row's lane, so that nothing is added across lanes. The formula does not know the vector width: one
/// layout serves every instruction set whose lanes divide `nr`, and the gemv and the gemm alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layout {
    /// How a weight is coded.
    pub weights: Weights,
    /// Rows in a panel; n is padded to a multiple.
    pub nr: u16,
    /// k is padded to a multiple of this.
    pub kb: u16,
}

/// Where one weight lies: a byte, and the shift that brings its code to bits 1:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Byte from the start of the packed matrix.
    pub byte: usize,
    /// Bits to shift right.
    pub shift: u32,
}

impl Layout {
    /// Columns in a step: four positions of four columns.
    pub const K_STEP: usize = 16;

    /// Rows that hold `n` rows: `n` rounded up to whole panels.
    pub fn padded_n(&self, n: usize) -> usize {
        n.next_multiple_of(self.nr as usize)
    }

    /// Columns that hold `k` columns: `k` rounded up to a multiple of `kb`.
    pub fn padded_k(&self, k: usize) -> usize {
        k.next_multiple_of(self.kb as usize)
    }

    /// Whether blocks of `block` columns of a row of `k` can be summed apart: turns of the loop do not straddle them.
    pub fn keeps_apart(&self, k: usize, block: usize) -> bool {
        block == k || (block != 0 && k.is_multiple_of(block) && block.is_multiple_of(self.kb as usize))
    }

    /// Bytes of one panel with `k` columns.
    pub fn panel_bytes(&self, k: usize) -> usize {
        self.nr as usize * self.padded_k(k) / 4
    }

    /// Bytes of a packed `n × k` matrix.
    pub fn bytes(&self, n: usize, k: usize) -> usize {
        self.padded_n(n) / self.nr as usize * self.panel_bytes(k)
    }

    /// Where weight (`row`, `column`) of a matrix with `k` columns lies.
    pub fn position(&self, k: usize, row: usize, column: usize) -> Position {
        let nr = self.nr as usize;
        let (panel, row) = (row / nr, row % nr);
        let (step, column) = (column / Self::K_STEP, column % Self::K_STEP);
        Position {
            byte: panel * self.panel_bytes(k) + (step * nr + row) * 4 + column % 4,
            shift: 2 * (column / 4) as u32,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}_n{}k{}", self.weights, self.nr, self.kb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every weight has a place of its own, and no place is left over.
    #[test]
    fn positions_fill_the_matrix_exactly() {
        for (nr, kb, n, k) in [(1, 16, 3, 32), (16, 64, 33, 100), (8, 32, 8, 32), (32, 128, 1, 1)] {
            let layout = Layout { weights: Weights::T200, nr, kb };
            let mut seen = vec![0u8; layout.bytes(n, k)];
            for row in 0..layout.padded_n(n) {
                for column in 0..layout.padded_k(k) {
                    let Position { byte, shift } = layout.position(k, row, column);
                    assert_eq!(seen[byte] >> shift & 1, 0, "{layout}: ({row}, {column}) overlaps");
                    seen[byte] |= 3 << shift;
                }
            }
            assert!(seen.iter().all(|&byte| byte == 0xff), "{layout}: holes");
        }
    }
}
