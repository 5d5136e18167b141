//! Weights packed into a layout.

use tritune_codegen::code::LANE_BYTES;
use tritune_codegen::{Layout, Weights};

use super::lines::Lines;
use crate::gguf::Data;

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
        let bytes = Packed::room(layout, n, k, block)?;
        if n * k != codes.len() {
            return Err(PackError::Size { n, k, codes: codes.len() });
        }
        if let Some(at) = codes.iter().position(|&code| code > 2) {
            return Err(PackError::Code { row: at / k, column: at % k, code: codes[at] });
        }
        let mut lines = Lines::new(bytes);
        pack(layout, k, codes, lines.bytes_mut());
        Ok(Packed { layout, n, k, blocks: k / block, lines })
    }

    /// Bytes that an `n × k` matrix takes.
    ///
    /// # Errors
    /// [`PackError`] where the matrix is empty, too wide or too large to be in memory, or where the layout cannot keep
    /// blocks apart.
    pub(crate) fn room(layout: Layout, n: usize, k: usize, block: usize) -> Result<usize, PackError> {
        if n == 0 || k == 0 {
            return Err(PackError::Empty { n, k });
        }
        if !layout.is_sound() {
            return Err(PackError::Layout { layout });
        }
        if k > MAX_K {
            return Err(PackError::Wide { k });
        }
        if !layout.keeps_apart(k, block) {
            return Err(PackError::Block { layout, k, block });
        }
        // Padded, packed rows are no longer than so many codes.
        let padded = n.checked_next_multiple_of(layout.nr.into()).and_then(|n| n.checked_mul(layout.padded_k(k) + 4));
        padded.map(|_| layout.bytes(n, k)).ok_or(PackError::Large { n, k })
    }

    /// The matrix whose packed bytes are `data`.
    ///
    /// What they say is taken as it is: whoever has packed them has checked the codes.
    ///
    /// # Errors
    /// As [`Packed::room`], and where there are more bytes or fewer than that.
    pub(crate) fn of(layout: Layout, n: usize, k: usize, block: usize, data: Data) -> Result<Self, PackError> {
        let need = Packed::room(layout, n, k, block)?;
        if data.len() != need {
            return Err(PackError::Bytes { n, k, need, found: data.len() });
        }
        Ok(Packed { layout, n, k, blocks: k / block, lines: Lines::of(data) })
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

    /// The same, for who keeps them.
    pub(crate) fn data(&self) -> Data {
        self.lines.data()
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

/// Packs whole panels into `out`, which is all written: rows of `k` codes, none above 2; rows that are missing from the
/// last panel pad it.
///
/// # Panics
/// Where `out` is not as long as those panels.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn pack(layout: Layout, k: usize, codes: &[u8], out: &mut [u8]) {
    let panel = usize::from(layout.nr) * k;
    assert_eq!(out.len(), codes.len().div_ceil(panel) * layout.panel_bytes(k), "the panels of {} codes", codes.len());
    // Trits 0; signs and counts of 0 where there are any.
    let (padding, _) = layout.weights.encode(&[1; 6][..layout.weights.trits()]);
    for (codes, out) in codes.chunks(panel).zip(out.chunks_exact_mut(layout.panel_bytes(k))) {
        out.fill(padding);
        for (row, codes) in codes.chunks_exact(k).enumerate() {
            match layout.weights {
                Weights::T200 => pack_row_t200(layout, row, codes, out),
                Weights::T167 => pack_row(layout, row, codes, out, lane_t167),
                Weights::T160 => pack_row(layout, row, codes, out, |codes| (lane_t160(codes), 0)),
            }
        }
    }
}

/// Calls `visit` with each `K` codes of a row, the last padded with trits 0.
#[inline(always)]
fn steps<const K: usize>(codes: &[u8], mut visit: impl FnMut(usize, &[u8; K])) {
    let (whole, rest) = codes.as_chunks::<K>();
    for (step, codes) in whole.iter().enumerate() {
        visit(step, codes);
    }
    if !rest.is_empty() {
        let mut last = [1; K];
        last[..rest.len()].copy_from_slice(rest);
        visit(whole.len(), &last);
    }
}

/// Writes one row of a panel without signs, whose steps follow each other at even distances.
#[inline(always)]
fn pack_row_t200(layout: Layout, row: usize, codes: &[u8], panel: &mut [u8]) {
    let lanes = &mut panel.as_chunks_mut::<LANE_BYTES>().0[row..];
    let mut lanes = lanes.iter_mut().step_by(layout.nr.into());
    steps(codes, |_, codes: &[u8; Weights::T200.step()]| {
        let lane = four(codes, 0) | four(codes, 1) << 2 | four(codes, 2) << 4 | four(codes, 3) << 6;
        if let Some(out) = lanes.next() {
            *out = lane.to_le_bytes();
        }
    });
}

/// Writes one row of a panel, `K` columns a step; `lane` makes four bytes and their signs, bit 4h + j for half h of byte j.
#[inline(always)]
fn pack_row<const K: usize>(
    layout: Layout,
    row: usize,
    codes: &[u8],
    panel: &mut [u8],
    lane: impl Fn(&[u8; K]) -> ([u8; LANE_BYTES], u8),
) {
    let mut negatives = 0;
    let (turn_steps, turn_bytes) = (usize::from(layout.kb) / K, layout.turn_bytes());
    let (has_signs, half, nibble) = (layout.weights.has_signs(), layout.half_signs(), 4 * (row % 2));
    steps(codes, |step, codes| {
        let (turn, at) = (step / turn_steps * turn_bytes, step % turn_steps);
        let (lane, signs) = lane(codes);
        panel[turn + at * layout.step_bytes() + row * LANE_BYTES..][..LANE_BYTES].copy_from_slice(&lane);
        if has_signs {
            negatives += signs.count_ones();
            let place = turn + layout.turn_codes() + 2 * at * half + row / 2;
            panel[place] |= (signs & 15) << nibble;
            panel[place + half] |= (signs >> 4) << nibble;
        }
    });
    // Behind all turns.
    if let Some(place) = layout.negatives(codes.len(), row) {
        panel[place..][..4].copy_from_slice(&negatives.to_le_bytes());
    }
}

/// Codes of columns 4q … 4q + 3, side by side.
#[inline(always)]
fn four(codes: &[u8], q: usize) -> u32 {
    u32::from_le_bytes([codes[4 * q], codes[4 * q + 1], codes[4 * q + 2], codes[4 * q + 3]])
}

/// Four bytes of six trits each: numbers of three in balanced ternary as magnitudes, and their signs. All four at once, in
/// the bytes of a word: no sum carries into the next.
#[inline(always)]
fn lane_t167(codes: &[u8; Weights::T167.step()]) -> ([u8; LANE_BYTES], u8) {
    const ONES: u32 = 0x0101_0101;
    let half = |half: usize| {
        let q = 3 * half;
        // 0 … 26, of which 13 is balanced ternary's 0; with 115 more, bit 7 says that it is no less.
        let number = four(codes, q) + 3 * four(codes, q + 1) + 9 * four(codes, q + 2) + 115 * ONES;
        let negative = (!number >> 7) & ONES;
        let magnitude = ((number ^ (negative * 255)) & (127 * ONES)) + negative;
        // Bit 0 of byte j to bit 24 + j: shifted by 24, 17, 10, 3.
        (magnitude, (negative.wrapping_mul(0x0102_0408) >> 24) as u8 & 15)
    };
    let ((low, low_signs), (high, high_signs)) = (half(0), half(1));
    ((low | high << 4).to_le_bytes(), low_signs | high_signs << 4)
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
    /// Too many weights.
    #[error("a matrix of {n} × {k} weights is too large for this machine's memory")]
    Large {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// Not what such a matrix takes.
    #[error("{n} × {k} weights take {need} bytes in this layout, and {found} are given")]
    Bytes {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
        /// Bytes that they take.
        need: usize,
        /// Bytes given.
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
        assert!(new(usize::MAX, 4, 4, &[0; 4]).contains("too large"));
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
