//! Trits in float matrices: found where they are, made where that is asked for.

use super::rounding::{code, ternarize};
use super::{QuantConfig, Scales, Trits};

/// Elements of a row that may share a scale, for types whose scales are finer than rows.
const BLOCKS: [usize; 3] = [256, 128, 64];

/// The trits that `values`, n rows of k floats, are: with one scale for all, for each row or for each block of 256, 128 or
/// 64, whichever is the coarsest that says the same numbers. `None` where they are not trits, or not finite.
pub fn exact(values: &[f32], n: usize, k: usize) -> Option<Trits> {
    let blocks = BLOCKS.into_iter().filter(|block| k.is_multiple_of(*block));
    let (size, scales) = [n * k, k].into_iter().chain(blocks).find_map(|size| {
        let scales: Option<Vec<f32>> = values.chunks_exact(size.max(1)).map(magnitude).collect();
        scales.map(|scales| (size, scales))
    })?;
    let codes = values.iter().map(|value| code(*value, 0.0)).collect();
    Some(Trits { n, k, codes, scales: Scales::fold(scales, size, k) })
}

/// The one magnitude that all `values` but zeros have; 0 where all are zeros.
fn magnitude(values: &[f32]) -> Option<f32> {
    let magnitude = values.iter().find(|value| **value != 0.0).map_or(0.0, |value| value.abs());
    let fits = |value: &f32| *value == 0.0 || value.abs() == magnitude;
    (magnitude.is_finite() && values.iter().all(fits)).then_some(magnitude)
}

/// n rows of k floats as the nearest trits, as BitNet b1.58 makes them: with the mean magnitude γ as scale, and
/// round(w / γ), clipped, as trits. `None` where they are not finite.
///
/// Source: "The Era of 1-bit LLMs" (arXiv 2402.17764), equations 1 to 3.
pub fn absmean(values: &[f32], n: usize, k: usize) -> Option<Trits> {
    ternarize(values, n, k, &QuantConfig::default()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn trits_times_scales_are_recognised(
            n in 1usize..4, codes in prop::collection::vec(0u8..3, 3 * 512), scales in prop::collection::vec(1e-3f32..9.0, 24),
            size in prop::sample::select(&[0usize, 64, 128, 256, 512][..]),
        ) {
            let (k, all) = (512, n * 512);
            let size = if size == 0 { all } else { size };
            let scales = Scales::fold(scales[..all / size].to_vec(), size, k);
            let trits = Trits { n, k, codes: codes[..all].to_vec(), scales };
            let mut values = vec![0.0; all];
            values.chunks_exact_mut(k).enumerate().for_each(|(row, out)| trits.row(row, out));
            let found = exact(&values, n, k).unwrap();
            let mut again = vec![0.0; all];
            again.chunks_exact_mut(k).enumerate().for_each(|(row, out)| found.row(row, out));
            prop_assert_eq!(again, values);
            prop_assert_eq!(found.codes, trits.codes);
            prop_assert!(found.scales.size(n, k) >= trits.scales.size(n, k));
        }
    }

    #[test]
    fn what_is_no_trit_is_not_recognised() {
        assert_eq!(exact(&[0.5, -0.5, 0.0, 0.25], 1, 4), None);
        assert_eq!(exact(&[0.5, f32::INFINITY], 1, 2), None);
        assert_eq!(exact(&[f32::NAN, 0.0], 1, 2), None);
        let zeros = exact(&[0.0, -0.0], 1, 2).unwrap();
        assert_eq!((zeros.codes, zeros.scales), (vec![1, 1], Scales::Tensor(0.0)));
        let rows = exact(&[0.5, -0.5, 0.25, 0.0], 2, 2).unwrap();
        assert_eq!((rows.codes, rows.scales), (vec![2, 0, 2, 1], Scales::Row(vec![0.5, 0.25])));
    }

    #[test]
    fn absmean_is_that_of_the_paper() {
        // γ = 0.5: 0.2 and 0.25 round to 0, the latter as a tie to even; 0.3 and 1.2 to 1.
        let trits = absmean(&[0.2, 0.25, -0.3, 1.25], 1, 4).unwrap();
        assert_eq!((trits.codes, trits.scales), (vec![1, 1, 0, 2], Scales::Tensor(0.5)));
        assert_eq!(absmean(&[0.0; 4], 2, 2).unwrap().scales, Scales::Tensor(1e-5));
        assert_eq!(absmean(&[1.0, f32::NAN], 1, 2), None);
        assert_eq!(absmean(&[1.0, f32::NEG_INFINITY], 1, 2), None);
    }
}
