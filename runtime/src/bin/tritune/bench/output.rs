//! Rows as a table, as JSON, as CSV.

use std::io::{self, Write};

use anyhow::Result;

use super::row::{Row, amount};

pub(super) fn write_json(rows: &[Row]) -> Result<()> {
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string_pretty(rows)?)?)
}

/// Heads of columns, and whether what is below is a name.
const COLUMNS: [(&str, bool); 7] = [
    ("model", true),
    ("size", false),
    ("params", false),
    ("backend", true),
    ("threads", false),
    ("test", false),
    ("t/s", false),
];

/// What there is besides, where streams were measured.
const STREAM: [&str; 4] = ["GB a token", "roofline t/s", "reached", "read GB/s on 1, all"];

pub(super) fn write_table(rows: &[Row]) -> io::Result<()> {
    let streamed = rows.iter().any(|row| row.stream.own.is_some());
    let mut columns = COLUMNS.to_vec();
    if streamed {
        columns.extend(STREAM.map(|head| (head, false)));
    }
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(|row| cells(row, streamed))).collect();
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = io::stdout().lock();
    for (number, line) in lines.iter().enumerate() {
        // Names to the left, numbers to the right.
        let cell = |((text, width), (_, name)): ((&String, &usize), &(&str, bool))| {
            if *name { format!("{text:<width$}") } else { format!("{text:>width$}") }
        };
        let cells: Vec<String> = line.iter().zip(&widths).zip(&columns).map(cell).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
        if number == 0 {
            let rule = |(width, (_, name)): (&usize, &(&str, bool))| {
                if *name { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" }
            };
            let rules: Vec<String> = widths.iter().zip(&columns).map(rule).collect();
            writeln!(out, "| {} |", rules.join(" | "))?;
        }
    }
    out.flush()
}

fn cells(row: &Row, streamed: bool) -> Vec<String> {
    let mut cells = vec![
        row.model_type.clone(),
        format!("{:.2} MiB", row.model_size as f64 / 1024.0 / 1024.0),
        amount(row.model_n_params),
        row.backends.to_owned(),
        row.n_threads.to_string(),
        row.test(),
        format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts),
    ];
    if streamed {
        let of_token = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let roofline = row.roofline();
        cells.push(of_token(row.token.total().map(|bytes| format!("{:.3}", bytes as f64 / 1e9))));
        cells.push(of_token(roofline.map(|roofline| format!("{roofline:.2}"))));
        cells.push(of_token(roofline.map(|roofline| format!("{:.0} %", 100.0 * row.avg_ts / roofline))));
        let [one, all] = [row.stream.one, row.stream.all].map(|speed| speed.map_or("-".into(), |s| format!("{s:.1}")));
        cells.push(format!("{one}, {all}"));
    }
    cells
}

pub(super) fn write_csv(rows: &[Row]) -> Result<()> {
    let mut out = io::stdout().lock();
    for (number, row) in rows.iter().enumerate() {
        let serde_json::Value::Object(fields) = serde_json::to_value(row)? else { continue };
        // Lists of samples have no place in a table.
        let fields = fields.iter().filter(|(_, value)| !value.is_array());
        let (names, values): (Vec<_>, Vec<_>) = fields
            .map(|(name, value)| {
                let text = match value {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Null => String::new(),
                    other => other.to_string(),
                };
                (format!("\"{name}\""), format!("\"{}\"", text.replace('"', "\"\"")))
            })
            .unzip();
        if number == 0 {
            writeln!(out, "{}", names.join(","))?;
        }
        writeln!(out, "{}", values.join(","))?;
    }
    Ok(out.flush()?)
}
