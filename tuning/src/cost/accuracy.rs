//! How far predictions are from what was measured.

use tritune_codegen::Op;

use super::Roofline;
use crate::results::Results;
use crate::stats::median;

/// What predicted times are worth for one operation: each candidate of each case counts once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// The operation.
    pub op: Op,
    /// Samples that were compared.
    pub samples: usize,
    /// Geometric mean of predicted over measured time: 1 where the model is neither hopeful nor gloomy.
    pub bias: f64,
    /// Median deviation from the median of predicted over measured time, as a share: half of the predictions are nearer
    /// than this, bias aside. Choices suffer from this alone.
    pub spread: f64,
}

/// Compares the roofline with every sample of a results file, for each operation that has any.
pub fn accuracy(results: &Results) -> Vec<Accuracy> {
    let roofline = Roofline::new(&results.bandwidths);
    let of = |op: Op| {
        let errors: Vec<f64> = results
            .samples
            .iter()
            .filter(|sample| sample.case.op == op)
            .filter_map(|sample| {
                let measured = sample.summary()?.mean;
                Some((roofline.seconds(&sample.kernel, &sample.case) / measured).ln())
            })
            .collect();
        let samples = errors.len();
        let bias = (errors.iter().sum::<f64>() / samples as f64).exp();
        let middle = median(&errors)?;
        let deviations: Vec<f64> = errors.iter().map(|error| (error - middle).abs()).collect();
        Some(Accuracy { op, samples, bias, spread: median(&deviations)?.exp_m1() })
    };
    [Op::Gemv, Op::Gemm].into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Sample, tests::example};

    #[test]
    fn bias_and_spread_are_told_apart() {
        let mut results = example();
        let roofline = Roofline::new(&results.bandwidths);
        // Predictions are twice what is measured, and once four times.
        let timed = |sample: &Sample, factor: f64| {
            let seconds = roofline.seconds(&sample.kernel, &sample.case) / factor;
            Sample { case: sample.case, ..Sample::new(sample.case, sample.kernel, &[seconds]) }
        };
        let gemv = results.samples[0].clone();
        let mut samples: Vec<Sample> = Vec::new();
        for (threads, factor) in [(1, 2.0), (2, 2.0), (3, 2.0), (4, 4.0)] {
            let mut sample = gemv.clone();
            sample.case.threads = threads;
            samples.push(timed(&sample, factor));
        }
        results.samples = samples.clone();
        let [found] = accuracy(&results)[..] else { panic!("gemv alone was measured") };
        assert_eq!((found.op, found.samples), (Op::Gemv, 4));
        assert!((found.bias / 2f64.powf(1.25) - 1.0).abs() < 1e-3, "{found:?}");
        assert!(found.spread < 1e-3, "{found:?}");

        // Half of them 10 % above, half 10 % below.
        results.samples = samples
            .iter()
            .zip([1.1, 1.0 / 1.1, 1.1, 1.0 / 1.1])
            .map(|(sample, factor)| timed(sample, factor))
            .collect();
        let [found] = accuracy(&results)[..] else { panic!("gemv alone was measured") };
        assert!((found.bias - 1.0).abs() < 1e-3 && (found.spread - 0.1).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn failed_samples_say_nothing() {
        let mut results = example();
        let before = accuracy(&results);
        assert_eq!(before.iter().map(|found| found.samples).collect::<Vec<_>>(), [2, 1], "one of the gemms failed");
        results.samples.iter_mut().for_each(|sample| sample.failed = Some("wrong".into()));
        assert_eq!(accuracy(&results), []);
    }
}
