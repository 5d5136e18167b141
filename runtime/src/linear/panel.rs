//! Rows side by side, as products read them: sixteen elements of each row of a panel, then the next sixteen of each. A
//! panel is read front to back, whatever the number of its rows.

use std::ops::Range;

use crate::lanes::LANES;

/// Rows of weights in a panel.
pub(super) const ROWS: usize = 4;

/// Elements of a row in a panel: padded with zeros.
pub(super) fn padded(k: usize) -> usize {
    k.next_multiple_of(LANES)
}

/// Rows that lie in panels of `most` rows at most, and of as equal numbers as can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) rows: usize,
    pub(super) most: usize,
}

impl Cut {
    /// How many there are.
    pub(super) fn panels(self) -> usize {
        self.rows.div_ceil(self.most)
    }

    /// The rows of a panel.
    pub(super) fn rows_of(self, panel: usize) -> Range<usize> {
        panel * self.rows / self.panels()..(panel + 1) * self.rows / self.panels()
    }
}

/// Puts rows `[rows, k]` side by side, as many as `out` has room for; `out` is a panel of [`padded`] elements each.
pub(super) fn pack(rows: &[f32], k: usize, out: &mut [f32]) {
    let stride = out.len() / padded(k) * LANES;
    for (row, elements) in rows.chunks_exact(k).enumerate() {
        let groups = out[row * LANES..].chunks_mut(stride);
        for (elements, out) in elements.chunks(LANES).zip(groups) {
            out[..elements.len()].copy_from_slice(elements);
            out[elements.len()..LANES].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_have_nearly_equal_numbers_of_rows() {
        for (rows, most, expected) in [(6, 6, vec![6]), (7, 6, vec![3, 4]), (8, 3, vec![2, 3, 3]), (1, 6, vec![1])] {
            let cut = Cut { rows, most };
            let found: Vec<usize> = (0..cut.panels()).map(|panel| cut.rows_of(panel).len()).collect();
            assert_eq!(found, expected);
            assert_eq!(cut.rows_of(cut.panels() - 1).end, rows);
        }
    }

    #[test]
    fn rows_lie_side_by_side() {
        let (k, rows) = (21, 3);
        let elements: Vec<f32> = (1..=rows * k).map(|i| i as f32).collect();
        let mut panel = vec![f32::NAN; rows * padded(k)];
        pack(&elements, k, &mut panel);
        for (at, &found) in panel.iter().enumerate() {
            let (group, row, lane) = (at / LANES / rows, at / LANES % rows, at % LANES);
            let column = group * LANES + lane;
            assert_eq!(found, if column < k { elements[row * k + column] } else { 0.0 });
        }
    }
}
