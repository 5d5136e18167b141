//! Scales for activations that are known before the activations are: from a sample of them.

use super::QuantError;
use super::activations::step;
use super::failure::finite;
use crate::tensor::Tensor;

/// How a scale is found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Calibration {
    /// The largest magnitude is the last step: nothing is cut off.
    #[default]
    MinMax,
    /// So many percent of the magnitudes are within the steps, above 0 and 100 at most: outliers are cut off.
    Percentile(f64),
    /// The distribution of the magnitudes loses the least information by rounding and cutting off: of all places to cut,
    /// from a sixteenth of the largest magnitude on, the one with the smallest Kullback-Leibler divergence of what int8
    /// makes of it (Migacz, "8-bit inference with TensorRT", GTC 2017).
    Entropy,
}

/// Finds the step of int8 for activations, from as many of them as it is shown.
///
/// Magnitudes are counted in 1024 to 2048 bins as wide as a power of two, so that neither their order nor their cut into tensors
/// changes what is found, and no sample is kept.
///
/// ```
/// use tritune::quant::{ActivationScale, Calibration, Calibrator, quantize_activations};
/// use tritune::tensor::Tensor;
///
/// let mut calibrator = Calibrator::new(Calibration::Percentile(99.9))?;
/// for seed in 0..4 {
///     calibrator.observe(&Tensor::randn((64, 784), seed)?)?;
/// }
/// let step = calibrator.scale()?;
/// assert!(127.0 * step > 3.2 && 127.0 * step < 3.4); // of normal numbers, one in a thousand is beyond 3.29
/// let x = quantize_activations(&Tensor::randn((32, 784), 9)?, ActivationScale::Fixed(step))?;
/// # Ok::<(), tritune::quant::QuantError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Calibrator {
    calibration: Calibration,
    histogram: Histogram,
}

impl Calibrator {
    /// A calibrator that has seen nothing.
    ///
    /// # Errors
    /// [`QuantError::Percentile`] for a percentile that is none.
    pub fn new(calibration: Calibration) -> Result<Self, QuantError> {
        match calibration {
            Calibration::Percentile(percentile) if !(percentile > 0.0 && percentile <= 100.0) => {
                Err(QuantError::Percentile { percentile })
            }
            _ => Ok(Calibrator { calibration, histogram: Histogram::default() }),
        }
    }

    /// Counts the elements of `x`, f32 or f16.
    ///
    /// # Errors
    /// Integers, no elements, elements that are not finite; nothing was counted then.
    pub fn observe(&mut self, x: &Tensor) -> Result<(), QuantError> {
        let (_, k) = x.matrix()?;
        let values = x.floats()?;
        finite(&values, k)?;
        self.histogram.count(&values);
        Ok(())
    }

    /// Elements seen.
    pub fn observed(&self) -> u64 {
        self.histogram.total()
    }

    /// What a step of int8 is worth: for [`ActivationScale::Fixed`](super::ActivationScale::Fixed).
    ///
    /// # Errors
    /// [`QuantError::Unseen`] where nothing was observed.
    pub fn scale(&self) -> Result<f32, QuantError> {
        if self.observed() == 0 {
            return Err(QuantError::Unseen);
        }
        Ok(step(match self.calibration {
            Calibration::MinMax => self.histogram.largest,
            Calibration::Percentile(percentile) => self.histogram.percentile(percentile),
            Calibration::Entropy => self.histogram.entropy(),
        }))
    }
}

/// Bins at most; the largest magnitude is in the upper half of them.
const BINS: usize = 2048;
/// Magnitudes that int8 tells apart.
const LEVELS: usize = 128;

/// How many magnitudes are how large.
#[derive(Clone, Debug, Default)]
struct Histogram {
    /// Bin i counts magnitudes from i · 2^exponent on, but for zeros.
    bins: Vec<u64>,
    exponent: i32,
    /// Zeros, which every scale says exactly.
    zeros: u64,
    largest: f32,
}

/// 2^exponent, for what magnitudes of f32 need.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

impl Histogram {
    fn count(&mut self, values: &[f32]) {
        let largest = values.iter().fold(self.largest, |largest, value| value.abs().max(largest));
        if largest > self.largest {
            self.largest = largest;
            // All of f32's magnitudes are normal numbers of f64.
            let log2 = (f64::from(largest).to_bits() >> 52) as i32 - 1023;
            self.widen(log2 + 1 - BINS.ilog2() as i32);
        }
        let factor = power(-self.exponent);
        for value in values {
            if *value == 0.0 {
                self.zeros += 1;
            } else {
                self.bins[(f64::from(value.abs()) * factor) as usize] += 1;
            }
        }
    }

    /// Makes bins as wide as that, which no bin exceeds.
    fn widen(&mut self, exponent: i32) {
        if self.bins.is_empty() {
            self.bins = vec![0; BINS];
        } else {
            let shift = exponent.abs_diff(self.exponent);
            let mut bins = vec![0; BINS];
            for (bin, count) in self.bins.iter().enumerate() {
                bins[bin.checked_shr(shift).unwrap_or(0)] += count;
            }
            self.bins = bins;
        }
        self.exponent = exponent;
    }

    fn total(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// The upper end of so many bins, or the largest magnitude below.
    fn end(&self, bins: usize) -> f32 {
        ((bins as f64 * power(self.exponent)) as f32).min(self.largest)
    }

    /// A magnitude that so many percent do not exceed.
    fn percentile(&self, percentile: f64) -> f32 {
        let need = (percentile / 100.0 * self.total() as f64).ceil() as u64;
        let mut count = self.zeros;
        if count >= need {
            return 0.0;
        }
        for (bin, more) in self.bins.iter().enumerate() {
            count += more;
            if count >= need {
                return self.end(bin + 1);
            }
        }
        self.largest
    }

    /// The magnitude beyond which cutting off costs the least information.
    fn entropy(&self) -> f32 {
        let used = self.bins.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let mut best = (f64::INFINITY, used);
        let mut beyond: u64 = self.bins.iter().skip(LEVELS.min(used)).sum();
        for kept in LEVELS..=used {
            let found = divergence(&self.bins[..kept], beyond);
            if found < best.0 {
                best = (found, kept);
            }
            beyond -= self.bins.get(kept).copied().unwrap_or(0);
        }
        self.end(best.1)
    }
}

/// The Kullback-Leibler divergence of what int8 makes of these bins, each of its levels spread evenly over the bins of it
/// that have any, from these bins with what is beyond in the last of them. Where that was empty, int8 is taken to say it as
/// often as half an element: if never, the divergence had no end.
fn divergence(bins: &[u64], beyond: u64) -> f64 {
    const HALF: f64 = 0.5;
    let kept: u64 = bins.iter().sum();
    if kept == 0 {
        return f64::INFINITY;
    }
    let unsaid = bins.last() == Some(&0) && beyond > 0;
    let (all, said) = ((kept + beyond) as f64, kept as f64 + if unsaid { HALF } else { 0.0 });
    let of = |exact: u64, approximate: f64| {
        let exact = exact as f64 / all;
        exact * (exact / (approximate / said)).ln()
    };
    let mut divergence = if unsaid { of(beyond, HALF) } else { 0.0 };
    for level in 0..LEVELS {
        let (start, end) = (level * bins.len() / LEVELS, (level + 1) * bins.len() / LEVELS);
        let level = &bins[start..end];
        let filled = level.iter().filter(|count| **count > 0).count();
        let approximate = level.iter().sum::<u64>() as f64 / filled.max(1) as f64;
        for (bin, count) in level.iter().enumerate().filter(|(_, count)| **count > 0) {
            let more = if start + bin + 1 == bins.len() { beyond } else { 0 };
            divergence += of(count + more, approximate);
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn largest(calibration: Calibration, tensors: &[Tensor]) -> f32 {
        let mut calibrator = Calibrator::new(calibration).unwrap();
        tensors.iter().for_each(|tensor| calibrator.observe(tensor).unwrap());
        calibrator.scale().unwrap() * 127.0
    }

    const ALL: [Calibration; 3] = [Calibration::MinMax, Calibration::Percentile(97.0), Calibration::Entropy];

    proptest! {
        #[test]
        fn order_does_not_matter(seeds in prop::collection::vec(any::<u64>(), 1..6), scales in prop::collection::vec(-30i32..30, 6)) {
            let scaled = |(seed, scale): (&u64, &i32)| {
                let values = Tensor::randn(200, *seed).unwrap();
                Tensor::from(values.as_slice::<f32>().unwrap().iter().map(|x| x * 2f32.powi(*scale)).collect::<Vec<_>>())
            };
            let mut tensors: Vec<Tensor> = seeds.iter().zip(&scales).map(scaled).collect();
            for calibration in ALL {
                let forwards = largest(calibration, &tensors);
                tensors.reverse();
                prop_assert_eq!(largest(calibration, &tensors), forwards);
            }
        }

        #[test]
        fn percentiles_are_those_of_the_sorted(seed: u64, percentile in 1.0f64..=100.0) {
            let tensor = Tensor::randn(3000, seed).unwrap();
            let mut sorted: Vec<f32> = tensor.as_slice::<f32>().unwrap().iter().map(|x| x.abs()).collect();
            sorted.sort_by(f32::total_cmp);
            let exact = sorted[((percentile / 100.0 * 3000.0).ceil() as usize).clamp(1, 3000) - 1];
            let found = largest(Calibration::Percentile(percentile), &[tensor]);
            // A bin is a 1024th of the largest magnitude at most.
            prop_assert!((found - exact).abs() <= sorted[2999] / 1000.0, "{} for {}", found, exact);
        }
    }

    #[test]
    fn the_largest_magnitude_is_the_last_step() {
        let tensors = [Tensor::from(vec![0.5f32, -12.7, 3.0]), Tensor::from(vec![1e-30f32, 0.0])];
        assert!((largest(Calibration::MinMax, &tensors) - 12.7).abs() < 1e-5);
        assert_eq!(largest(Calibration::Percentile(100.0), &tensors), largest(Calibration::MinMax, &tensors));
    }

    #[test]
    fn outliers_are_cut_off_where_that_costs_less_than_coarse_steps() {
        let bulk = Tensor::randn(100_000, 3).unwrap();
        let outliers = Tensor::from(vec![80.0f32, -100.0]);
        let found = largest(Calibration::Entropy, &[bulk.clone(), outliers]);
        assert!(found > 2.5 && found < 25.0, "{found}");
        let alone = largest(Calibration::Entropy, std::slice::from_ref(&bulk));
        assert!(alone > 2.5 && alone < 5.5, "{alone}");
        // Of evenly spread numbers nothing is worth cutting.
        let even = Tensor::from((0..60_000).map(|i| i as f32 / 60_000.0).collect::<Vec<_>>());
        let found = largest(Calibration::Entropy, &[even]);
        assert!(found > 0.97 && found <= 1.0, "{found}");
    }

    #[test]
    fn extremes_are_counted() {
        let tensors = [f32::MIN_POSITIVE / 8.0, 1.0, f32::MAX / 2.0].map(|x| Tensor::from(vec![x]));
        for calibration in ALL {
            let found = largest(calibration, &tensors);
            assert!(found.is_finite() && found >= f32::MAX * 0.49, "{calibration:?}: {found}");
        }
        // Silence has the step of a silent row.
        for calibration in ALL {
            assert_eq!(largest(calibration, &[Tensor::zeros(5).unwrap()]), 1e-5f32 / 127.0 * 127.0);
        }
    }

    #[test]
    fn what_cannot_be_calibrated_is_refused() {
        for percentile in [0.0, -1.0, 100.1, f64::NAN] {
            assert_eq!(Calibrator::new(Calibration::Percentile(percentile)).unwrap_err().code(), "TT0336");
        }
        let mut calibrator = Calibrator::new(Calibration::Entropy).unwrap();
        assert_eq!(calibrator.scale(), Err(QuantError::Unseen));
        assert_eq!(calibrator.observe(&Tensor::from(vec![1.0, f32::NAN])).unwrap_err().code(), "TT0331");
        assert_eq!((calibrator.observed(), calibrator.scale()), (0, Err(QuantError::Unseen)));
    }
}
