//! What can be said of a handful of noisy times.
//!
//! Times of one kernel have a hard floor, a cluster above it, and a tail of passes that something else interrupted. The
//! *trimmed mean* drops a quarter at each end and averages the rest: as calm as the median, but using more of what was
//! measured. Its standard error follows Tukey and McLaughlin (1963): from the variance of the values after the dropped
//! ones are set to the nearest kept.

use serde::{Deserialize, Serialize};

/// Share of the values that is dropped at each end.
const TRIM: f64 = 0.25;

/// A difference is believed when it exceeds this many standard errors: the question is asked after every round, and a
/// wrong yes drops a candidate for good.
const SIGMAS: f64 = 3.0;

/// Rounds before noise is estimated: with fewer there is none to speak of.
pub const MIN_ROUNDS: usize = 6;

/// Rounds before a candidate may go without an estimate of noise. With two, a default was lost to a burst of its neighbours
/// while memory was touched for the first time.
const HOPELESS_ROUNDS: usize = 4;

/// After those, it goes when even its best is this much slower than the worst of the leader.
const HOPELESS: f64 = 1.5;

/// Relative differences below this are of no use to anyone: a rebuild changes as much.
pub const USEFUL: f64 = 0.01;

/// Some times in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// Their trimmed mean.
    pub mean: f64,
    /// Their median.
    pub median: f64,
    /// Median absolute deviation over the median, scaled (1.4826) to a normal distribution's deviation: the noise of one
    /// pass, whatever the tail.
    pub noise: f64,
    /// Standard error of the trimmed mean, over that mean. Infinite for a single value.
    pub error: f64,
}

impl Summary {
    /// `None` where there are no values, or one is not finite.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let sorted = sorted(values)?;
        let (mean, error) = trimmed(&sorted);
        let median = middle(&sorted);
        let mut deviations: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let noise = 1.4826 * middle(&deviations) / median;
        Some(Summary { count: values.len(), mean, median, noise, error: error / mean })
    }
}

/// The mean of the middle half; `None` where there are no values, or one is not finite.
pub fn trimmed_mean(values: &[f64]) -> Option<f64> {
    sorted(values).map(|sorted| trimmed(&sorted).0)
}

/// How slowly a difference is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Caution {
    /// The machine has nothing else to do.
    #[default]
    Calm,
    /// Others use the machine as well: their share comes and goes, which makes single passes unlike each other and short
    /// runs of rounds alike by accident. Twice the rounds are made before a difference is believed, and it must be twice
    /// as many standard errors.
    Loaded,
}

impl Caution {
    /// Rounds before noise is estimated.
    pub fn rounds(self) -> usize {
        MIN_ROUNDS * self.factor()
    }

    /// By what rounds and margins are multiplied.
    pub(crate) fn factor(self) -> usize {
        match self {
            Caution::Calm => 1,
            Caution::Loaded => 2,
        }
    }
}

/// The median; `None` where there are no values, or one is not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    sorted(values).map(|sorted| middle(&sorted))
}

/// How a candidate stands against the leader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Slower beyond the noise: time over the leader's.
    Slower(f64),
    /// The difference is known to be too small to be of use.
    Level,
    /// More rounds are needed.
    Open,
}

/// Judges `other` against `leader`, whose times are paired by round: what slows a machine for a while slows both, and
/// cancels in the ratio.
pub fn standing(leader: &[f64], other: &[f64], caution: Caution) -> Standing {
    let caution = caution.factor();
    let rounds = leader.len().min(other.len());
    let (leader, other) = (&leader[..rounds], &other[..rounds]);
    let ratios: Vec<f64> = leader.iter().zip(other).map(|(leader, other)| (other / leader).ln()).collect();
    let Some(ratios) = sorted(&ratios) else { return Standing::Open };
    let (mean, error) = trimmed(&ratios);
    let slowest = leader.iter().copied().fold(0.0, f64::max);
    let fastest = other.iter().copied().fold(f64::INFINITY, f64::min);
    if rounds >= HOPELESS_ROUNDS * caution && fastest > HOPELESS * slowest {
        return Standing::Slower(mean.exp());
    }
    if rounds < MIN_ROUNDS * caution {
        return Standing::Open;
    }
    let margin = caution as f64 * SIGMAS * widened(kept(rounds) - 1) * error;
    if mean - margin > 0.0 {
        Standing::Slower(mean.exp())
    } else if mean.abs() + margin < USEFUL {
        Standing::Level
    } else {
        Standing::Open
    }
}

/// By what the quantile of a normal distribution at [`SIGMAS`] is to be multiplied for Student's with few degrees of
/// freedom: Abramowitz and Stegun 26.7.5, two terms.
fn widened(freedom: usize) -> f64 {
    let (z2, d) = (SIGMAS * SIGMAS, freedom.max(1) as f64);
    1.0 + (z2 + 1.0) / (4.0 * d) + (5.0 * z2 * z2 + 16.0 * z2 + 3.0) / (96.0 * d * d)
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// Values dropped at each end of `count`.
fn dropped(count: usize) -> usize {
    (count as f64 * TRIM) as usize
}

fn kept(count: usize) -> usize {
    count - 2 * dropped(count)
}

/// Trimmed mean and its standard error; `sorted` is not empty.
fn trimmed(sorted: &[f64]) -> (f64, f64) {
    let (count, dropped, kept) = (sorted.len(), dropped(sorted.len()), kept(sorted.len()));
    let middle = &sorted[dropped..count - dropped];
    let mean = middle.iter().sum::<f64>() / kept as f64;
    if count < 2 {
        return (mean, f64::INFINITY);
    }
    let (low, high) = (middle[0], middle[kept - 1]);
    let winsorised = || sorted.iter().map(|value| value.clamp(low, high));
    let centre = winsorised().sum::<f64>() / count as f64;
    let variance = winsorised().map(|value| (value - centre).powi(2)).sum::<f64>() / (count - 1) as f64;
    (mean, variance.sqrt() * (count as f64).sqrt() / kept as f64)
}

/// The median; `sorted` is not empty.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn times() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(1e-7..10.0f64, 1..60)
    }

    proptest! {
        #[test]
        fn centres_lie_within(times in times()) {
            let summary = Summary::of(&times).unwrap();
            let (low, high) = times.iter().fold((f64::MAX, 0f64), |(low, high), &t| (low.min(t), high.max(t)));
            for centre in [summary.mean, summary.median] {
                prop_assert!(centre >= low * (1.0 - 1e-12) && centre <= high * (1.0 + 1e-12));
            }
            prop_assert!(summary.noise >= 0.0 && summary.error >= 0.0);
        }

        #[test]
        fn order_does_not_matter_and_scale_scales(times in times(), scale in 1e-3..1e3f64) {
            let summary = Summary::of(&times).unwrap();
            let reversed: Vec<f64> = times.iter().rev().copied().collect();
            prop_assert_eq!(Summary::of(&reversed), Some(summary));
            let scaled = Summary::of(&times.iter().map(|t| t * scale).collect::<Vec<_>>()).unwrap();
            prop_assert!((scaled.mean / summary.mean / scale - 1.0).abs() < 1e-9);
            prop_assert!((scaled.median / summary.median / scale - 1.0).abs() < 1e-9);
        }

        /// A quarter of the passes may be arbitrarily interrupted.
        #[test]
        fn outliers_do_not_move_the_mean(calm in prop::collection::vec(1.0..1.01f64, 9..30), outlier in 2.0..1e6f64) {
            let mut times = calm.clone();
            times.extend(vec![outlier; calm.len() / 4]);
            prop_assert!(trimmed_mean(&times).unwrap() <= 1.01);
        }

        #[test]
        fn a_candidate_is_never_slower_than_itself(times in times()) {
            prop_assert!(!matches!(standing(&times, &times, Caution::Calm), Standing::Slower(_)));
        }

        #[test]
        fn not_both_are_slower(a in times(), b in times()) {
            let slower = |a, b| matches!(standing(a, b, Caution::Calm), Standing::Slower(_));
            prop_assert!(!(slower(&a, &b) && slower(&b, &a)));
        }

        /// The machine slowing down for some rounds changes nothing: rounds are paired.
        #[test]
        fn drift_cancels(drift in prop::collection::vec(1.0..5.0f64, MIN_ROUNDS..40)) {
            let slower: Vec<f64> = drift.iter().map(|t| 1.02 * t).collect();
            let standing = standing(&drift, &slower, Caution::Calm);
            prop_assert!(matches!(standing, Standing::Slower(ratio) if (ratio - 1.02).abs() < 1e-6));
        }
    }

    #[test]
    fn known_values() {
        // Eight values: two dropped at each end; winsorised 3 3 3 4 5 6 6 6 about 4.5.
        let summary = Summary::of(&[8.0, 1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 100.0]).unwrap();
        assert_eq!((summary.count, summary.mean, summary.median), (8, 4.5, 4.5));
        let deviation = (14.0f64 / 7.0).sqrt();
        assert!((summary.error * 4.5 - deviation * 8f64.sqrt() / 4.0).abs() < 1e-12);
        assert!((summary.noise * 4.5 - 1.4826 * 2.0).abs() < 1e-12);
        assert_eq!(Summary::of(&[2.0]).unwrap().error, f64::INFINITY);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(trimmed_mean(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn the_hopeless_go_early_and_the_close_do_not() {
        assert_eq!(standing(&[1.0; 3], &[9.0; 3], Caution::Calm), Standing::Open, "a few rounds may be an accident");
        assert_eq!(standing(&[1.0; 4], &[2.0; 4], Caution::Calm), Standing::Slower(2.0));
        assert_eq!(standing(&[1.0; 4], &[1.4; 4], Caution::Calm), Standing::Open);
        assert_eq!(standing(&[1.0; 6], &[1.001; 6], Caution::Calm), Standing::Slower(1.001));
        let (a, b) = ([1.0, 1.001, 0.999, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0; 8]);
        assert_eq!(standing(&a, &b, Caution::Calm), Standing::Level);
        assert_eq!(standing(&[], &[1.0], Caution::Calm), Standing::Open);
    }

    #[test]
    fn a_loaded_machine_is_believed_later() {
        let both = |other: &dyn Fn(usize) -> f64, rounds: usize| {
            let (leader, other): (Vec<f64>, Vec<f64>) = (0..rounds).map(|i| (1.0, other(i))).unzip();
            [Caution::Calm, Caution::Loaded].map(|caution| standing(&leader, &other, caution))
        };
        assert!(matches!(both(&|_| 2.0, 4), [Standing::Slower(_), Standing::Open]));
        assert!(matches!(both(&|_| 2.0, 8), [Standing::Slower(_), Standing::Slower(_)]));
        assert!(matches!(both(&|_| 1.1, MIN_ROUNDS), [Standing::Slower(_), Standing::Open]));
        // 5 % slower, with noise of 2 %: six standard errors do for a calm machine, not for a loaded one.
        assert!(matches!(both(&|i| 1.05 + [0.02, -0.02][i % 2], 24), [Standing::Slower(_), Standing::Open]));
        assert!(matches!(both(&|i| 1.05 + [0.02, -0.02][i % 2], 90), [Standing::Slower(_), Standing::Slower(_)]));
    }

    /// With equal candidates and one-sided noise, a wrong `Slower` in any of 40 rounds is rare; a true 5 % is found.
    #[test]
    fn noise_is_seldom_taken_for_a_difference() {
        let (mut wrong, mut found, games) = (0, 0, 300);
        for seed in 0..games {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut pass = |base: f64| {
                let interrupted = if rng.random_bool(0.05) { rng.random_range(0.0..3.0) } else { 0.0 };
                base * (1.0 + rng.random_range(0.0..0.04) + interrupted)
            };
            let [a, b, slow] = [1.0, 1.0, 1.05].map(|base| (0..40).map(|_| pass(base)).collect::<Vec<_>>());
            let slower = |a: &[f64], b: &[f64]| {
                (2..=40)
                    .any(|rounds| matches!(standing(&a[..rounds], &b[..rounds], Caution::Calm), Standing::Slower(_)))
            };
            wrong += usize::from(slower(&a, &b));
            found += usize::from(slower(&a, &slow));
        }
        assert!(wrong * 20 <= games as usize, "{wrong} of {games} equal candidates were dropped");
        assert!(found * 20 >= 19 * games as usize, "{found} of {games} slower candidates were found");
    }
}
