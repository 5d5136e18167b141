//! Scales of ternary weights: how many there are, and how exactly they can be said.

use std::ops::Range;

/// The scales of ternary weights, in the coarsest form that says it exactly.
#[derive(Clone, Debug, PartialEq)]
pub enum Scales {
    /// One for the tensor.
    Tensor(f32),
    /// One for each row: `[n]`.
    Row(Vec<f32>),
    /// One for each `size` elements of a row.
    Block {
        /// Elements under one scale; divides k.
        size: usize,
        /// `[n, k / size]`.
        scales: Vec<f32>,
    },
}

/// Blocks are not merged beyond this: no kernel sums larger ones apart.
const MAX_BLOCK: usize = 256;

/// Whether all are equal to the last bit.
fn same(scales: &[f32]) -> bool {
    scales.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits())
}

/// Gives what is not known what is known before it, or else after it.
fn spread(scales: &mut [f32], known: &mut [bool]) {
    let count = scales.len();
    let mut take = |to: usize, from: usize| {
        if known[from] && !known[to] {
            (scales[to], known[to]) = (scales[from], true);
        }
    };
    (1..count).for_each(|i| take(i, i - 1));
    (1..count).rev().for_each(|i| take(i - 1, i));
}

impl Scales {
    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        match self {
            Scales::Tensor(scale) => size_of_val(scale),
            Scales::Row(scales) | Scales::Block { scales, .. } => size_of_val(&scales[..]),
        }
    }

    /// Scales for `size` elements each of rows of `k`, or for all, in the coarsest form that says the same bits.
    pub(super) fn fold(mut scales: Vec<f32>, mut size: usize, k: usize) -> Scales {
        if same(&scales) {
            return Scales::Tensor(scales.first().copied().unwrap_or(0.0));
        }
        if scales.chunks_exact((k / size).max(1)).all(same) {
            return Scales::Row(scales.into_iter().step_by((k / size).max(1)).collect());
        }
        while 2 * size <= MAX_BLOCK && k.is_multiple_of(2 * size) && scales.chunks_exact(2).all(same) {
            scales = scales.into_iter().step_by(2).collect();
            size *= 2;
        }
        Scales::Block { size, scales }
    }

    /// Whether all are equal to the last bit.
    pub(super) fn are_same(scales: &[f32]) -> bool {
        same(scales)
    }

    /// Scales, `of_row` of them to a row, where those that are not `used`, since they are for nothing but zeros, are a
    /// neighbour's, first one of the same row: they say nothing, and encoders write 0 there.
    pub(super) fn over_zeros(mut scales: Vec<f32>, mut used: Vec<bool>, of_row: usize) -> Vec<f32> {
        let of_row = of_row.max(1);
        for (scales, used) in scales.chunks_mut(of_row).zip(used.chunks_mut(of_row)) {
            spread(scales, used);
        }
        spread(&mut scales, &mut used);
        scales
    }

    /// Elements under one scale, of `n` rows of `k`.
    pub(super) fn size(&self, n: usize, k: usize) -> usize {
        match self {
            Scales::Tensor(_) => n * k,
            Scales::Row(_) => k,
            Scales::Block { size, .. } => *size,
        }
    }

    /// Elements that share a scale within a row of `k`.
    pub(crate) fn block(&self, k: usize) -> usize {
        match self {
            Scales::Tensor(_) | Scales::Row(_) => k,
            Scales::Block { size, .. } => *size,
        }
    }

    /// Those of some of the rows of `k`.
    ///
    /// # Panics
    /// Where there are no such rows.
    pub(crate) fn of_rows(&self, rows: Range<usize>, k: usize) -> Scales {
        match self {
            Scales::Tensor(scale) => Scales::Tensor(*scale),
            Scales::Row(scales) => Scales::Row(scales[rows].to_vec()),
            Scales::Block { size, scales } => {
                let blocks = k / size;
                Scales::Block { size: *size, scales: scales[rows.start * blocks..rows.end * blocks].to_vec() }
            }
        }
    }

    /// The numbers.
    pub(crate) fn numbers(&self) -> &[f32] {
        match self {
            Scales::Tensor(scale) => std::slice::from_ref(scale),
            Scales::Row(scales) | Scales::Block { scales, .. } => scales,
        }
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        match self {
            Scales::Tensor(scale) => std::slice::from_mut(scale),
            Scales::Row(scales) | Scales::Block { scales, .. } => scales,
        }
    }

    /// The scale of the element in `row` and `column` of rows of `k`.
    pub fn at(&self, k: usize, row: usize, column: usize) -> f32 {
        match self {
            Scales::Tensor(scale) => *scale,
            Scales::Row(scales) => scales[row],
            Scales::Block { size, scales } => scales[(row * k + column) / size],
        }
    }

    /// These scales for `size` elements each, of `n` rows of `k`; `None` where one does not serve so many.
    pub(super) fn each(&self, size: usize, n: usize, k: usize) -> Option<Vec<f32>> {
        let (own, numbers) = (self.size(n, k), self.numbers());
        if own.is_multiple_of(size) {
            return Some(numbers.iter().flat_map(|scale| std::iter::repeat_n(*scale, own / size)).collect());
        }
        if !size.is_multiple_of(own) {
            return None;
        }
        let merged = numbers.chunks_exact(size / own);
        merged.clone().all(same).then(|| merged.map(|scales| scales[0]).collect())
    }

    /// What these are, for a message: `a scale for each row`.
    pub(super) fn describe(&self) -> String {
        match self {
            Scales::Tensor(_) => "one scale for the tensor".into(),
            Scales::Row(_) => "a scale for each row".into(),
            Scales::Block { size, .. } => format!("a scale for each {size} weights"),
        }
    }

    /// These scales times `factor`, each rounded once.
    pub fn times(mut self, factor: f32) -> Scales {
        self.numbers_mut().iter_mut().for_each(|scale| *scale *= factor);
        self
    }

    /// Whether all are numbers that half precision can say.
    pub fn is_half(&self) -> bool {
        self.numbers().iter().all(|scale| half::f16::from_f32(*scale).to_f32().to_bits() == scale.to_bits())
    }

    /// These scales rounded to the nearest half-precision numbers, which most types store. Within half precision's normal
    /// range the weights change by up to one part in 2048.
    pub fn round_f16(mut self) -> Scales {
        self.numbers_mut().iter_mut().for_each(|scale| *scale = half::f16::from_f32(*scale).to_f32());
        self
    }

    /// The most that a scale differs from its counterpart in `other`, in parts of it: infinite where one has become 0 or
    /// infinite.
    ///
    /// # Panics
    /// Where there are fewer in `other`.
    pub fn change(&self, other: &Scales) -> f32 {
        let others = other.numbers();
        let change = |(at, scale): (usize, &f32)| match (*scale, others[at]) {
            (scale, other) if scale == other => 0.0,
            (scale, other) if scale != 0.0 && other != 0.0 && other.is_finite() => ((other - scale) / scale).abs(),
            _ => f32::INFINITY,
        };
        self.numbers().iter().enumerate().map(change).fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_fold_only_where_they_are_bit_equal() {
        let fold = |size: usize, scales: &[f32]| Scales::fold(scales.into(), size, 512);
        assert_eq!(fold(256, &[1.0; 4]), Scales::Tensor(1.0));
        assert_eq!(fold(256, &[1.0, 1.0, 2.0, 2.0]), Scales::Row(vec![1.0, 2.0]));
        assert_eq!(fold(256, &[1.0, 2.0, 2.0, 2.0]), Scales::Block { size: 256, scales: vec![1.0, 2.0, 2.0, 2.0] });
        assert!(matches!(fold(256, &[0.0, -0.0, 0.0, 0.0]), Scales::Block { size: 256, .. }));
        assert_eq!(
            fold(128, &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]),
            Scales::Block { size: 256, scales: vec![1.0, 2.0, 3.0, 3.0] }
        );
        assert!(matches!(fold(128, &[1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]), Scales::Block { size: 128, .. }));
        assert_eq!(fold(512, &[1.0, 2.0]), Scales::Row(vec![1.0, 2.0]));
        // Pairs must not straddle rows.
        let odd = Scales::fold(vec![1.0, 1.0, 2.0, 2.0, 3.0, 3.0], 64, 192);
        assert!(matches!(odd, Scales::Block { size: 64, .. }), "{odd:?}");
    }

    #[test]
    fn scales_are_said_finer_and_coarser_where_that_says_the_same() {
        let rows = Scales::Row(vec![1.0, 2.0]);
        assert_eq!(rows.each(64, 2, 128), Some(vec![1.0, 1.0, 2.0, 2.0]));
        assert_eq!(rows.each(256, 2, 128), None);
        assert_eq!(Scales::Row(vec![3.0, 3.0]).each(256, 2, 128), Some(vec![3.0]));
        let blocks = Scales::Block { size: 64, scales: vec![1.0, 1.0, 2.0, 2.0] };
        assert_eq!(blocks.each(128, 2, 128), Some(vec![1.0, 2.0]));
        assert_eq!(Scales::Block { size: 64, scales: vec![1.0, 2.0, 2.0, 2.0] }.each(128, 2, 128), None);
        assert_eq!(Scales::Tensor(5.0).each(64, 1, 128), Some(vec![5.0; 2]));
        assert_eq!(Scales::Block { size: 96, scales: vec![1.0, 2.0] }.each(64, 1, 192), None);
    }

    #[test]
    fn changes_are_in_parts_of_the_scale() {
        let scales = Scales::Row(vec![0.1, -0.1, 0.0]);
        let change = scales.change(&scales.clone().round_f16());
        assert!(change > 0.0 && change < 1.0 / 2048.0, "{change}");
        assert!(!scales.is_half() && scales.round_f16().is_half());
        let change = |scale: f32| Scales::Tensor(scale).change(&Scales::Tensor(scale).round_f16());
        assert_eq!(change(0.25), 0.0);
        assert_eq!((change(1e-9), change(1e6)), (f32::INFINITY, f32::INFINITY));
        assert_eq!(Scales::Tensor(3.0).times(0.5), Scales::Tensor(1.5));
    }
}
