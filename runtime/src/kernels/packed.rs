//! Weights packed into a layout.

use tritune_codegen::code::LANE_BYTES;
use tritune_codegen::{Layout, Weights};

use super::lines::Lines;

/// Rows longer than this are refused: within it, no kernel's 32-bit sums can overflow. The tightest is a sum of codes
/// left in the upper bits of their byte: k / 4 terms of at most 64 · 2 · 128, which stays below 2³¹ for k < 2¹⁹.
pub const MAX_K: usize = 1 << 18;

/// A matrix of trits, packed for the kernels of one layout.
#[derive(Clone, Debug)]
pub struct Packed {
    layout: Layout,
    n: usize,
    k: usize,
    blocks: usize,
    lines: Lines,
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
        if !layout.is_sound() {
            return Err(PackError::Layout { layout });
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
        let lines = Lines::new(layout.bytes(n, k), padding(layout.weights));
        let mut packed = Packed { layout, n, k, blocks: k / block, lines };
        packed.fill(codes)?;
        Ok(packed)
    }

    fn fill(&mut self, codes: &[u8]) -> Result<(), PackError> {
        let (layout, k) = (self.layout, self.k);
        for (row, codes) in codes.chunks_exact(k).enumerate() {
            if let Some(column) = codes.iter().position(|&code| code > 2) {
                return Err(PackError::Code { row, column, code: codes[column] });
            }
            let bytes = self.lines.bytes_mut();
            match layout.weights {
                Weights::T200 => fill_row(layout, k, row, codes, bytes, |codes| (lane_t200(codes), 0)),
                Weights::T167 => fill_row(layout, k, row, codes, bytes, lane_t167),
                Weights::T160 => fill_row(layout, k, row, codes, bytes, |codes| (lane_t160(codes), 0)),
            }
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
        self.lines.bytes()
    }

    /// Packed weights from panel `index` on; none for the index after the last.
    pub(super) fn panel(&self, index: usize) -> &[u8] {
        &self.bytes()[index * self.layout.panel_bytes(self.k)..]
    }

    /// The code (trit + 1) of one weight: the slow way back, for tests and checks.
    pub fn code(&self, row: usize, column: usize) -> u8 {
        let position = self.layout.position(self.k, row, column);
        let bit = |(byte, bit): (usize, u32)| self.bytes()[byte] >> bit & 1;
        let signs = position.signs.map_or(0, |[low, high]| bit(low) | bit(high) << 1);
        self.layout.weights.decode(self.bytes()[position.byte], signs, position.trit)
    }
}

/// The byte that pads a matrix: trits 0, and signs and counts of 0 where there are any.
fn padding(weights: Weights) -> u8 {
    weights.encode(&[1; 6][..weights.trits()]).0
}

/// Writes one row of `K` columns a step; `lane` makes four bytes and their signs, bit 4h + j for half h of byte j.
fn fill_row<const K: usize>(
    layout: Layout,
    k: usize,
    row: usize,
    codes: &[u8],
    bytes: &mut [u8],
    lane: impl Fn(&[u8; K]) -> ([u8; LANE_BYTES], u8),
) {
    let (steps, rest) = codes.as_chunks::<K>();
    let mut last = [1; K];
    last[..rest.len()].copy_from_slice(rest);
    let steps = steps.iter().chain((!rest.is_empty()).then_some(&last));
    let mut negatives = 0;
    // The same place in every turn, and in every step of a turn.
    let (turn_steps, turn_bytes) = (usize::from(layout.kb) / K, layout.turn_bytes());
    let (first, row_in_panel) = (layout.position(k, row, 0).byte, row % usize::from(layout.nr));
    let panel = first - row_in_panel * LANE_BYTES;
    for (step, codes) in steps.enumerate() {
        let (turn, at) = (panel + step / turn_steps * turn_bytes, step % turn_steps);
        let (lane, signs) = lane(codes);
        bytes[turn + at * layout.step_bytes() + row_in_panel * LANE_BYTES..][..LANE_BYTES].copy_from_slice(&lane);
        if layout.weights.has_signs() {
            negatives += signs.count_ones();
            let place = turn + layout.turn_codes() + 2 * at * layout.half_signs() + row_in_panel / 2;
            let nibble = 4 * (row_in_panel % 2);
            bytes[place] |= (signs & 15) << nibble;
            bytes[place + layout.half_signs()] |= (signs >> 4) << nibble;
        }
    }
    if let Some(place) = layout.negatives(k, row) {
        bytes[place..][..4].copy_from_slice(&negatives.to_le_bytes());
    }
}

/// Codes of columns 4q … 4q + 3, side by side.
fn four(codes: &[u8], q: usize) -> u32 {
    u32::from_le_bytes([codes[4 * q], codes[4 * q + 1], codes[4 * q + 2], codes[4 * q + 3]])
}

fn lane_t200(codes: &[u8; Weights::T200.step()]) -> [u8; LANE_BYTES] {
    (four(codes, 0) | four(codes, 1) << 2 | four(codes, 2) << 4 | four(codes, 3) << 6).to_le_bytes()
}

fn lane_t167(codes: &[u8; Weights::T167.step()]) -> ([u8; LANE_BYTES], u8) {
    let (mut lane, mut signs) = ([0; LANE_BYTES], 0);
    for half in 0..2 {
        // Numbers of 0 … 26, of which 13 is balanced ternary's 0.
        let q = 3 * half;
        let numbers = (four(codes, q) + 3 * four(codes, q + 1) + 9 * four(codes, q + 2)).to_le_bytes();
        for (j, number) in numbers.into_iter().enumerate() {
            lane[j] |= number.abs_diff(13) << (4 * half);
            signs |= u8::from(number < 13) << (4 * half + j);
        }
    }
    (lane, signs)
}

fn lane_t160(codes: &[u8; Weights::T160.step()]) -> [u8; LANE_BYTES] {
    let byte = |j: usize| Weights::T160.encode(&[0, 1, 2, 3, 4].map(|q| codes[4 * q + j])).0;
    [byte(0), byte(1), byte(2), byte(3)]
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
    /// No layout of any kernel.
    #[error("layout {layout} cannot hold weights: kb is a multiple of {}, 256 at most, and signs want an even nr", layout.step())]
    Layout {
        /// The layout asked for.
        layout: Layout,
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

    use super::*;

    fn layout(nr: u16, kb: u16) -> Layout {
        Layout { weights: Weights::T200, nr, kb }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_there(
            n in 1..40usize, k in 1..150usize, w in 0..3usize, pairs in 1..10u16, steps in 1..5u16, seed: u64,
        ) {
            let weights = Weights::ALL[w];
            let layout = Layout { weights, nr: 2 * pairs, kb: weights.step() as u16 * steps };
            let codes: Vec<u8> =
                (0..n * k).map(|i| ((i as u64 + 1).wrapping_mul(seed | 1) >> 40) as u8 % 3).collect();
            let packed = Packed::new(layout, n, k, k, &codes).unwrap();
            for row in 0..layout.padded_n(n) {
                let mut signs = 0;
                for column in 0..layout.padded_k(k) {
                    let code = if row < n && column < k { codes[row * k + column] } else { 1 };
                    prop_assert_eq!(packed.code(row, column), code);
                    let position = layout.position(k, row, column);
                    if let Some(half) = position.signs.filter(|_| position.trit.is_multiple_of(3) && column % 4 == column % 12) {
                        let (byte, bit) = half[position.trit / 3];
                        signs += u32::from(packed.bytes()[byte] >> bit & 1);
                    }
                }
                if let Some(place) = layout.negatives(k, row) {
                    prop_assert_eq!(&packed.bytes()[place..][..4], &signs.to_le_bytes());
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
        for (weights, nr, kb) in [
            (Weights::T200, 0, 16),
            (Weights::T200, 8, 0),
            (Weights::T200, 8, 24),
            (Weights::T167, 1, 24),
            (Weights::T160, 8, 260),
        ] {
            let error = Packed::new(Layout { weights, nr, kb }, 1, 4, 4, &[1; 4]).unwrap_err();
            assert_eq!(error, PackError::Layout { layout: Layout { weights, nr, kb } });
        }
        assert!(new(1, 64, 16, &[0; 64]).contains("divides 16"));
        assert!(new(1, 64, 48, &[0; 64]).contains("48"));
        assert!(new(1, 64, 0, &[0; 64]).contains("for each 0"));
        assert!(new(1, 4, 4, &[0, 1, 2, 3]).contains("column 3"));
    }
}
