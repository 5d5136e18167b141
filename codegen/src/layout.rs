//! Packed layouts: where the weight of row n, column k lies, as one formula that packer, emitters and tests share.

use std::fmt;

use crate::code::LANE_BYTES;
use crate::kernel::{MAX_KB, Weights};

/// How packed weights lie in memory.
///
/// Rows are grouped in *panels* of `nr`, stored one after the other. A panel is cut into *turns* of `kb` columns, and a
/// turn into *steps*. A step holds four bytes a row, row after row: a 32-bit *lane*. Byte `j` of a lane holds as many
/// trits as the weight code gives it ([`Weights::trits`]), of the columns `j`, `4 + j`, `8 + j`, …:
///
/// ```text
/// panel ─ turn ─┬ step ─ row r: [byte 0][byte 1][byte 2][byte 3]     t200, a step of 16 columns:
///               │                 bits 1:0  columns 0  1  2  3
///               │                 bits 3:2  columns 4  5  6  7
///               │                 bits 5:4  columns 8  9 10 11
///               │                 bits 7:6  columns 12 … 15
///               └ t167 alone: signs ─ step ─ half h ─ row r: 4 bits, one a byte
/// ```
///
/// Taking one trit out of every byte therefore yields, for as many rows as a vector has lanes, four consecutive columns
/// a lane: the operand of a four-way int8 dot product whose other operand is four activations broadcast to all lanes.
/// Sums stay in their row's lane, so that nothing is added across lanes. The formula does not know the vector width: one
/// layout serves every instruction set whose lanes divide `nr`, and the gemv and the gemm alike.
///
/// *t167* keeps the signs of its triples behind the bytes of each turn: for each step, first those of the low halves of
/// all bytes, then of the high ones; bit `4r + j` is that of row r, byte j. Behind all turns of a panel stands, for each
/// row, how many of its triples are negative (`u32`, little-endian): what the bias of lookup tables leaves to correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layout {
    /// How a weight is coded.
    pub weights: Weights,
    /// Rows in a panel; n is padded to a multiple.
    pub nr: u16,
    /// k is padded to a multiple of this.
    pub kb: u16,
}

/// Where one weight lies: which trit of which byte, and where its sign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Byte from the start of the packed matrix.
    pub byte: usize,
    /// Which of the byte's trits ([`Weights::decode`]).
    pub trit: usize,
    /// Where the signs of the byte's low and high half are: byte from the start of the packed matrix, and bit.
    pub signs: Option<[(usize, u32); 2]>,
}

impl Layout {
    /// Whether rows and columns can be laid out so: whole steps in a turn, 256 columns at most, and whole bytes of signs.
    pub fn is_sound(&self) -> bool {
        let (nr, kb) = (self.nr as usize, self.kb as usize);
        nr > 0
            && kb > 0
            && self.kb <= MAX_KB
            && kb.is_multiple_of(self.step())
            && !(self.weights.has_signs() && nr % 2 == 1)
    }

    /// Columns in a step.
    pub const fn step(&self) -> usize {
        self.weights.step()
    }

    /// Rows that hold `n` rows: `n` rounded up to whole panels.
    pub fn padded_n(&self, n: usize) -> usize {
        n.next_multiple_of(self.nr as usize)
    }

    /// Columns that hold `k` columns: `k` rounded up to a multiple of `kb`.
    pub fn padded_k(&self, k: usize) -> usize {
        k.next_multiple_of(self.kb as usize)
    }

    /// Whether blocks of `block` columns of a row of `k` can be summed apart: turns of the loop do not straddle them,
    /// and nothing of the layout belongs to the row as a whole.
    pub fn keeps_apart(&self, k: usize, block: usize) -> bool {
        let apart = !self.weights.has_signs() && block != 0 && k.is_multiple_of(block);
        block == k || apart && block.is_multiple_of(self.kb as usize)
    }

    /// Bytes of all rows of a panel in one step, without signs.
    pub const fn step_bytes(&self) -> usize {
        self.nr as usize * LANE_BYTES
    }

    /// Bytes of a panel's turn before its signs.
    pub const fn turn_codes(&self) -> usize {
        self.kb as usize / self.step() * self.step_bytes()
    }

    /// Bytes of the signs of one half of a step: four bits a row.
    pub const fn half_signs(&self) -> usize {
        if self.weights.has_signs() { self.nr as usize / 2 } else { 0 }
    }

    /// Bytes of one turn of a panel.
    pub const fn turn_bytes(&self) -> usize {
        self.turn_codes() + self.kb as usize / self.step() * 2 * self.half_signs()
    }

    /// Bytes behind the turns of a panel.
    pub const fn trailer_bytes(&self) -> usize {
        if self.weights.has_signs() { self.nr as usize * size_of::<u32>() } else { 0 }
    }

    /// Bytes of one panel with `k` columns.
    pub fn panel_bytes(&self, k: usize) -> usize {
        self.padded_k(k) / self.kb as usize * self.turn_bytes() + self.trailer_bytes()
    }

    /// Bytes of a packed `n × k` matrix.
    pub fn bytes(&self, n: usize, k: usize) -> usize {
        self.padded_n(n) / self.nr as usize * self.panel_bytes(k)
    }

    /// Where weight (`row`, `column`) of a matrix with `k` columns lies.
    pub fn position(&self, k: usize, row: usize, column: usize) -> Position {
        let (nr, kb, step) = (self.nr as usize, self.kb as usize, self.step());
        let (panel, row) = (row / nr, row % nr);
        let turn = panel * self.panel_bytes(k) + column / kb * self.turn_bytes();
        let (at, column) = (column % kb / step, column % step);
        let (trit, byte) = (column / LANE_BYTES, column % LANE_BYTES);
        let bit = LANE_BYTES * row + byte;
        let sign = |half| (turn + self.turn_codes() + (2 * at + half) * self.half_signs() + bit / 8, (bit % 8) as u32);
        Position {
            byte: turn + at * self.step_bytes() + LANE_BYTES * row + byte,
            trit,
            signs: self.weights.has_signs().then(|| [sign(0), sign(1)]),
        }
    }

    /// Where the number of negative triples of a row of a matrix with `k` columns stands, if the layout counts them.
    pub fn negatives(&self, k: usize, row: usize) -> Option<usize> {
        let (panel, row) = (row / self.nr as usize, row % self.nr as usize);
        let trailer = (panel + 1) * self.panel_bytes(k) - self.trailer_bytes();
        self.weights.has_signs().then(|| trailer + row * size_of::<u32>())
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

    /// Every trit, sign and count has a place of its own, and no place is left over.
    #[test]
    fn positions_fill_the_matrix_exactly() {
        for (weights, nr, kb, n, k) in [
            (Weights::T200, 1, 16, 3, 32),
            (Weights::T200, 16, 64, 33, 100),
            (Weights::T200, 32, 128, 1, 1),
            (Weights::T167, 2, 24, 3, 32),
            (Weights::T167, 16, 96, 33, 100),
            (Weights::T160, 8, 20, 9, 30),
        ] {
            let layout = Layout { weights, nr, kb };
            let mut seen = vec![0usize; layout.bytes(n, k)];
            let mut bits = vec![0u8; layout.bytes(n, k)];
            for row in 0..layout.padded_n(n) {
                for column in 0..layout.padded_k(k) {
                    let Position { byte, trit, signs } = layout.position(k, row, column);
                    assert_eq!(seen[byte] >> trit & 1, 0, "{layout}: ({row}, {column}) overlaps");
                    seen[byte] |= 1 << trit;
                    for (byte, bit) in signs.into_iter().flatten() {
                        assert_eq!(bits[byte] >> bit & 1, u8::from(trit > 0), "{layout}: a sign overlaps");
                        bits[byte] |= 1 << bit;
                    }
                }
                for byte in layout.negatives(k, row).into_iter().flat_map(|byte| byte..byte + 4) {
                    assert_eq!(bits[byte], 0, "{layout}: a count overlaps");
                    bits[byte] = 0xff;
                }
            }
            let all = (1 << weights.trits()) - 1;
            assert!(seen.iter().zip(&bits).all(|place| matches!(place, (s, 0) if *s == all) || place == (&0, &0xff)));
        }
    }
}
