//! What a search has found, for a person to read.

use crate::results::Results;

/// The columns, and whether numbers stand in them, which are set to the right.
const COLUMNS: [(&str, bool); 10] = [
    ("shape", false),
    ("threads", true),
    ("op", false),
    ("m", true),
    ("default", false),
    ("tuned", false),
    ("default µs", true),
    ("tuned µs", true),
    ("±", true),
    ("ratio", true),
];

/// The picks of a results file as a table: one line each, columns aligned. `±` is the standard error of the tuned time,
/// and a ratio above 1 is what tuning has gained.
pub fn table(results: &Results) -> String {
    let mut rows: Vec<[String; COLUMNS.len()]> = vec![COLUMNS.map(|(head, _)| head.into())];
    for pick in &results.picks {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let kernel = match pick.default {
            Some(default) if default == pick.kernel => "(default)".into(),
            _ => pick.kernel.to_string(),
        };
        rows.push([
            pick.case.shape.to_string(),
            pick.case.threads.to_string(),
            pick.case.op.to_string(),
            pick.case.m.to_string(),
            or_dash(pick.default.map(|kernel| kernel.to_string())),
            kernel,
            or_dash(pick.default_seconds.map(microseconds)),
            microseconds(pick.seconds),
            or_dash(pick.error.map(|error| format!("{:.1} %", error * 100.0))),
            or_dash(pick.ratio().map(|ratio| format!("{ratio:.2}"))),
        ]);
    }
    aligned(&rows)
}

fn microseconds(seconds: f64) -> String {
    let micros = seconds * 1e6;
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

/// Rows with each column as wide as its widest cell, two spaces apart.
fn aligned(rows: &[[String; COLUMNS.len()]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).zip(COLUMNS).map(|((cell, width), (_, is_number))| {
            if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn tables_are_aligned() {
        let expected = "\
shape      threads  op      m  default                               tuned                                default µs  tuned µs      ±  ratio
2560x6912        2  gemv    1  gemv_t200_1x16k64u2__avx512vnni_dot   gemv_t200_1x16k64u4__avx512vnni_dot         150       125  0.4 %   1.20
2560x6912        2  gemm  128  gemm_t200_16x16k64u1__avx512vnni_dot  (default)                                  8000      8000  0.4 %   1.00
";
        assert_eq!(table(&example()), expected);
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let mut results = example();
        results.picks.truncate(1);
        results.picks[0].default = None;
        results.picks[0].default_seconds = None;
        results.picks[0].error = None;
        let table = table(&results);
        let line = table.lines().nth(1).unwrap();
        assert_eq!(line.split_whitespace().filter(|word| *word == "-").count(), 4, "{table}");
    }
}
