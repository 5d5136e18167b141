//! What a llama-bench prints of one test, and `tritune bench` besides.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::case::Case;

/// Longest piece of a program's output that an error quotes.
const QUOTED: usize = 80;

/// A row of llama-bench's JSON; what is absent there was not said.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    n_prompt: usize,
    n_gen: usize,
    n_threads: usize,
    /// Older llama-benches know no depth.
    #[serde(default)]
    n_depth: usize,
    /// Tokens a second.
    pub(super) avg_ts: f64,
    /// Architecture, size and type of the model, in the program's words.
    #[serde(default)]
    pub(super) model_type: String,
    /// Bytes of all tensors.
    #[serde(default)]
    pub(super) model_size: u64,
    #[serde(default)]
    build_commit: Option<String>,
    #[serde(default)]
    build_number: Option<u64>,
    #[serde(default)]
    build_version: Option<String>,
    /// How keys are stored.
    #[serde(default)]
    pub(super) type_k: Option<String>,
    #[serde(flatten)]
    pub(super) limits: Limits,
}

/// What `tritune bench --stream` says of the machine and of what a token needs of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Limits {
    /// Bytes of packed ternary weights that a token reads.
    #[serde(default)]
    pub(super) token_bytes_ternary: Option<u64>,
    /// Bytes of the head.
    #[serde(default)]
    pub(super) token_bytes_head: Option<u64>,
    /// Bytes of all other weights.
    #[serde(default)]
    pub(super) token_bytes_other: Option<u64>,
    /// Bytes of keys and values at the mean length of the context.
    #[serde(default)]
    pub(super) token_bytes_kv: Option<u64>,
    /// GB/s that one thread reads from memory.
    #[serde(default)]
    pub(super) stream_gbs_1: Option<f64>,
    /// GB/s that as many threads read as the test has.
    #[serde(default)]
    pub(super) stream_gbs: Option<f64>,
    /// GB/s that as many threads read as there are cores.
    #[serde(default)]
    pub(super) stream_gbs_all: Option<f64>,
    /// Bytes that the process held at most.
    #[serde(default)]
    pub(super) memory_peak: Option<u64>,
    /// Bytes of weights, keys and values.
    #[serde(default)]
    pub(super) memory_expected: Option<u64>,
}

impl Limits {
    /// Bytes that a token reads.
    pub(super) fn token_bytes(&self) -> Option<u64> {
        let Limits { token_bytes_ternary, token_bytes_head, token_bytes_other, token_bytes_kv, .. } = *self;
        Some(token_bytes_ternary? + token_bytes_head? + token_bytes_other? + token_bytes_kv?)
    }

    /// Tokens a second that memory allows.
    pub(super) fn roofline(&self) -> Option<f64> {
        Some(self.stream_gbs? * 1e9 / self.token_bytes()? as f64)
    }
}

impl Row {
    /// The row that a program has printed for one test.
    ///
    /// # Errors
    /// Where it is not one row of llama-bench's JSON, or of another test.
    pub(super) fn parse(output: &[u8], case: &Case) -> Result<Row> {
        let rows: Vec<Row> = serde_json::from_slice(output)
            .with_context(|| format!("it printed no JSON of llama-bench's but {}", quoted(output)))?;
        let [row] = &rows[..] else { bail!("it printed {} rows for one test", rows.len()) };
        let asked = (case.prompt(), case.generation(), case.depth, case.threads);
        let done = (row.n_prompt, row.n_gen, row.n_depth, row.n_threads);
        if asked != done {
            let [asked, done] = [asked, done].map(|(p, n, d, t)| format!("-p {p} -n {n} -d {d} -t {t}"));
            bail!("it was asked for {asked}, and says that it did {done}");
        }
        if !row.avg_ts.is_finite() || row.avg_ts <= 0.0 {
            bail!("it says that it did {} tokens a second", row.avg_ts);
        }
        Ok(row.clone())
    }

    /// What the program says of its own version.
    pub(super) fn version(&self) -> String {
        let known = |word: &&String| !word.is_empty() && *word != "unknown";
        let number = self.build_number.filter(|number| *number > 0).map(|number| format!("build {number}"));
        let words = [self.build_version.as_ref().filter(known).cloned(), number];
        let words = words.into_iter().chain([self.build_commit.as_ref().filter(known).cloned()]);
        let words: Vec<String> = words.flatten().collect();
        if words.is_empty() { "of an unknown version".into() } else { words.join(", ") }
    }
}

/// The beginning of some output, on one line.
fn quoted(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return "nothing at all".into();
    }
    let words = words.join(" ");
    let cut: String = words.chars().take(QUOTED).collect();
    if cut.len() < words.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
}

#[cfg(test)]
mod tests {
    use super::super::case::Task;
    use super::*;

    const CASE: Case = Case { task: Task::Generation(128), depth: 0, threads: 2 };

    /// As llama-bench prints it (`tools/llama-bench`), in part.
    const PEER: &str = r#"[
      {
        "build_commit": "5143fa895",
        "build_number": 6178,
        "cpu_info": "AMD EPYC",
        "model_filename": "model.gguf",
        "model_type": "bitnet ?B TQ2_0 - 2.06 bpw ternary",
        "model_size": 1183019520,
        "n_threads": 2,
        "type_k": "f16",
        "flash_attn": false,
        "n_prompt": 0,
        "n_gen": 128,
        "n_depth": 0,
        "avg_ns": 13257103041,
        "avg_ts": 9.655,
        "stddev_ts": 0.0,
        "samples_ns": [ 13257103041 ],
        "samples_ts": [ 9.655 ]
      }
    ]"#;

    #[test]
    fn a_peers_row_is_read() {
        let row = Row::parse(PEER.as_bytes(), &CASE).unwrap();
        assert_eq!((row.avg_ts, row.model_size, row.type_k.as_deref()), (9.655, 1_183_019_520, Some("f16")));
        assert_eq!(row.version(), "build 6178, 5143fa895");
        assert_eq!((row.limits, row.limits.roofline()), (Limits::default(), None));
        // As bitnet.cpp's prints it, which knows no depth, and numbers no builds.
        let old = PEER.replace("\"n_depth\": 0,", "").replace("6178", "0").replace("5143fa895", "unknown");
        assert_eq!(Row::parse(old.as_bytes(), &CASE).unwrap().version(), "of an unknown version");
    }

    #[test]
    fn our_own_row_has_the_roofline() {
        let more = r#""build_version": "0.1.0", "token_bytes_ternary": 500000000, "token_bytes_head": 400000000,
            "token_bytes_other": 60000000, "token_bytes_kv": 40000000, "stream_gbs_1": 15.0, "stream_gbs": 25.0,
            "n_gen": 128"#;
        let row = Row::parse(PEER.replace("\"n_gen\": 128", more).as_bytes(), &CASE).unwrap();
        assert_eq!(row.version(), "0.1.0, build 6178, 5143fa895");
        assert_eq!((row.limits.token_bytes(), row.limits.roofline()), (Some(1_000_000_000), Some(25.0)));
        assert_eq!((row.limits.stream_gbs_all, row.limits.memory_peak), (None, None));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let row = |from: &str, to: &str| PEER.replace(from, to);
        let two = format!("[{0}, {0}]", PEER.trim().trim_start_matches('[').trim_end_matches(']'));
        for (output, why) in [
            (String::new(), "but nothing at all"),
            ("\n main: error:\tout of luck\n".to_owned(), "but `main: error: out of luck`"),
            ("x".repeat(1 << 20), "xxx…`"),
            ("{}".to_owned(), "but `{}`"),
            ("[]".to_owned(), "0 rows"),
            (two, "2 rows"),
            (row("\"avg_ts\": 9.655,", ""), "avg_ts"),
            (row("9.655", "\"fast\""), "expected f64"),
            (row("9.655", "-1.0"), "-1 tokens a second"),
            (row("9.655", "0.0"), "0 tokens a second"),
            (row("\"n_gen\": 128", "\"n_gen\": 64"), "says that it did -p 0 -n 64 -d 0 -t 2"),
            (row("\"n_depth\": 0", "\"n_depth\": 9"), "-d 9"),
            (row("\"n_threads\": 2", "\"n_threads\": 1"), "-t 1"),
        ] {
            let error = format!("{:#}", Row::parse(output.as_bytes(), &CASE).unwrap_err());
            assert!(error.contains(why) && error.len() < 400 && !error.contains('\n'), "{why}: {error}");
        }
    }
}
