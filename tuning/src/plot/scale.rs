//! From values to pixels, and where ticks go.

/// An axis: values from `low` to `high`, spread over pixels.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    pixels: (i32, i32),
    logarithmic: bool,
}

/// Ticks that an axis has at most.
const TICKS: usize = 9;

impl Scale {
    /// Equal ratios take equal room. `0 < low < high`, both finite.
    pub(super) fn log(low: f64, high: f64, pixels: (i32, i32)) -> Scale {
        Scale { low, high, pixels, logarithmic: true }
    }

    /// Equal differences take equal room. `low < high`, both finite.
    pub(super) fn linear(low: f64, high: f64, pixels: (i32, i32)) -> Scale {
        Scale { low, high, pixels, logarithmic: false }
    }

    pub(super) fn low(&self) -> f64 {
        self.low
    }

    pub(super) fn high(&self) -> f64 {
        self.high
    }

    /// Where a value lies; at the end of the axis where it lies beyond.
    pub(super) fn place(&self, value: f64) -> i32 {
        let bend = |value: f64| if self.logarithmic { value.ln() } else { value };
        let share = (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low));
        let (from, to) = self.pixels;
        from + (share.clamp(0.0, 1.0) * f64::from(to - from)).round() as i32
    }

    /// Whether a value lies on the axis.
    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Round values on the axis, few enough to be labelled, ascending.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic { self.log_ticks() } else { self.linear_ticks() }
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let sets: [&[f64]; 3] = [&[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0], &[1.0, 2.0, 5.0], &[1.0]];
        let ticks = |set: &[f64], stride: usize| -> Vec<f64> {
            let decades = decades.clone().step_by(stride);
            let ticks = decades.flat_map(|decade| set.iter().map(move |digit| digit * 10f64.powi(decade)));
            ticks.filter(|tick| self.holds(*tick)).collect()
        };
        let within = sets.iter().map(|set| ticks(set, 1)).find(|ticks| ticks.len() <= TICKS);
        within.unwrap_or_else(|| ticks(&[1.0], decades.clone().count().div_ceil(TICKS)))
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let least = (self.high - self.low) / TICKS as f64;
        let power = 10f64.powf(least.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= least);
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).take(TICKS + 2).map(|count| count as f64 * step).collect()
    }
}

/// The range of `values` that an axis can show: above 0, finite, and so far from either that widening the range leaves
/// it so. `None` where there is no such value.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let shown = values.filter(|value| (1e-200..1e200).contains(value));
    shown.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// A tick's label: as short as it can be.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:e}");
    }
    // Ticks have two digits; six places keep those and drop what binary fractions add.
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ticks_are_few_ascending_and_on_the_axis(low in -12.0..12.0f64, span in 0.01..20.0f64) {
            let (low, high) = (10f64.powf(low), 10f64.powf(low + span));
            for scale in [Scale::log(low, high, (0, 100)), Scale::linear(low, high, (0, 100))] {
                let ticks = scale.ticks();
                prop_assert!(ticks.len() <= TICKS + 2, "{ticks:?}");
                prop_assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{ticks:?}");
                let slack = (high - low) * 1e-9;
                prop_assert!(ticks.iter().all(|tick| (low - slack..=high + slack).contains(tick)), "{ticks:?}");
                prop_assert!(ticks.iter().all(|tick| (0..=100).contains(&scale.place(*tick))));
            }
        }
    }

    #[test]
    fn ends_and_middles() {
        let log = Scale::log(1.0, 100.0, (200, 0));
        assert_eq!([0.1, 1.0, 10.0, 100.0, 1e9].map(|value| log.place(value)), [200, 200, 100, 0, 0]);
        assert_eq!(log.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        let linear = Scale::linear(0.8, 2.0, (0, 120));
        assert_eq!([0.8, 1.4, 2.0].map(|value| linear.place(value)), [0, 60, 120]);
        assert_eq!(
            linear.ticks().into_iter().map(label).collect::<Vec<_>>(),
            ["0.8", "1", "1.2", "1.4", "1.6", "1.8", "2"]
        );
        assert_eq!([0.0, 0.25, 1000.0, 2e7, 1e-4].map(label), ["0", "0.25", "1000", "2e7", "1e-4"]);
        assert_eq!(range([f64::NAN, 3.0, f64::INFINITY, f64::MAX, 0.0, 2.0].into_iter()), Some((2.0, 3.0)));
        assert_eq!(range([f64::INFINITY].into_iter()), None);
    }
}
