//! What searches picked, held against the times that one of them, the reference, has measured: whether two searches agree, and
//! what a shorter one loses.

use crate::case::Case;
use crate::pick::Pick;
use crate::report::{markdown, microseconds};
use crate::results::Results;

/// The picks of some searches in the cases of a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Names of the searches.
    names: Vec<String>,
    rows: Vec<Row>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    case: Case,
    /// Seconds of the reference's pick.
    seconds: f64,
    /// Time of each search's pick over that of the reference's, all by the default schedule; none where the search has no
    /// pick, or the reference has not measured it.
    regrets: Vec<Option<f64>>,
}

/// Mean and worst of some ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratios {
    /// How many there are.
    pub cases: usize,
    /// Their mean.
    pub mean: f64,
    /// The largest.
    pub worst: f64,
}

impl Ratios {
    fn of(ratios: impl IntoIterator<Item = f64>) -> Option<Ratios> {
        let ratios: Vec<f64> = ratios.into_iter().collect();
        let worst = ratios.iter().copied().reduce(f64::max)?;
        Some(Ratios { cases: ratios.len(), mean: ratios.iter().sum::<f64>() / ratios.len() as f64, worst })
    }
}

impl Comparison {
    /// The picks of `searches`, by name, in every case that `reference` has a pick for.
    pub fn new(reference: &Results, searches: &[(String, &Results)]) -> Comparison {
        let row = |pick: &Pick| {
            let seconds = mean(reference, pick)?;
            let regret = |(_, search): &(String, &Results)| {
                let other = search.picks.iter().find(|other| other.case == pick.case)?;
                Some(mean(reference, other)? / seconds)
            };
            Some(Row { case: pick.case, seconds, regrets: searches.iter().map(regret).collect() })
        };
        let names = searches.iter().map(|(name, _)| name.clone()).collect();
        Comparison { names, rows: reference.picks.iter().filter_map(row).collect() }
    }

    /// What the picks of a search, by its place, cost over those of the reference.
    pub fn regret(&self, search: usize) -> Option<Ratios> {
        Ratios::of(self.rows.iter().filter_map(|row| row.regrets.get(search).copied().flatten()))
    }

    /// How far two searches, by their places, are apart: the slower pick over the faster, case by case.
    pub fn apart(&self, one: usize, other: usize) -> Option<Ratios> {
        let apart = |row: &Row| {
            let (a, b) = (row.regrets.get(one).copied().flatten()?, row.regrets.get(other).copied().flatten()?);
            Some(a.max(b) / a.min(b))
        };
        Ratios::of(self.rows.iter().filter_map(apart))
    }

    /// A table of all cases, and the summary of each search and each pair of them, as Markdown.
    pub fn markdown(&self) -> String {
        let text = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
        let summary = |what: String, ratios: Option<Ratios>| {
            let cells = match ratios {
                Some(Ratios { cases, mean, worst }) => [cases.to_string(), format!("{mean:.3}"), format!("{worst:.3}")],
                None => ["0", "-", "-"].map(String::from),
            };
            [vec![what], cells.into()].concat()
        };
        let mut summaries: Vec<Vec<String>> = Vec::new();
        for (i, name) in self.names.iter().enumerate() {
            summaries.push(summary(format!("{name} ÷ reference"), self.regret(i)));
        }
        for (i, one) in self.names.iter().enumerate() {
            for (j, other) in self.names.iter().enumerate().skip(i + 1) {
                summaries.push(summary(format!("{one} and {other}: slower ÷ faster"), self.apart(i, j)));
            }
        }
        let columns = [("times of picks", false), ("cases", true), ("mean", true), ("worst", true)];
        let mut page = markdown(&columns, &summaries) + "\n";
        let mut columns =
            vec![("shape", false), ("threads", true), ("op", false), ("m", true), ("reference, µs", true)];
        columns.extend(self.names.iter().map(|name| (name.as_str(), true)));
        let cells = |row: &Row| {
            let Row { case: Case { shape, threads, op, m }, seconds, regrets } = row;
            let mut cells = vec![shape.to_string(), threads.to_string(), op.to_string(), m.to_string()];
            cells.push(microseconds(*seconds));
            cells.extend(regrets.iter().map(|regret| text(*regret)));
            cells
        };
        page += &markdown(&columns, &self.rows.iter().map(cells).collect::<Vec<_>>());
        page
    }
}

/// The reference's own time of a picked kernel, by the default schedule.
fn mean(reference: &Results, pick: &Pick) -> Option<f64> {
    Some(reference.sample(&pick.case, pick.kernel)?.summary()?.mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn picks_are_compared_by_the_times_of_the_reference() {
        let reference = example();
        let (same, mut other) = (example(), example());
        // The reference has measured this one at 155 µs, where its own pick takes 125.
        other.picks[0].kernel = "gemv_t200_1x16k64u2__avx512vnni_dot".parse().unwrap();
        let comparison = Comparison::new(&reference, &[("same".into(), &same), ("other".into(), &other)]);
        assert_eq!(comparison.regret(0), Some(Ratios { cases: 2, mean: 1.0, worst: 1.0 }));
        assert_eq!(comparison.regret(1).map(|ratios| (ratios.cases, (ratios.worst * 1e3).round())), Some((2, 1240.0)));
        assert_eq!(comparison.apart(0, 1), comparison.regret(1));
        let page = comparison.markdown();
        assert!(page.contains("| same and other: slower ÷ faster | 2 | 1.120 | 1.240 |"), "{page}");
        assert!(page.contains("| 2560x6912 | 2 | gemv | 1 | 125 | 1.000 | 1.240 |"), "{page}");
    }

    #[test]
    fn what_was_not_measured_is_not_compared() {
        let (reference, mut other) = (example(), example());
        other.picks.remove(0);
        other.picks[0].kernel = "gemm_t200_8x32k64u1__avx512vnni_dot".parse().unwrap();
        let comparison = Comparison::new(&reference, &[("other".into(), &other)]);
        assert_eq!(comparison.regret(0), None, "one has no pick, the other failed in the reference");
        assert_eq!((comparison.regret(1), comparison.apart(0, 1)), (None, None));
        assert!(comparison.markdown().contains("| other ÷ reference | 0 | - | - |"));
    }
}
