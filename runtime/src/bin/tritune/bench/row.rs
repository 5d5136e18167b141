//! A row of the result: one test.

use serde::Serialize;
use tritune::gguf::{File, Kind};
use tritune::model::{Model, ModelBytes};

use super::reads::StreamSpeed;

/// One test; the names are llama-bench's, as far as it has them.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) build_commit: &'static str,
    pub(super) build_version: &'static str,
    pub(super) cpu_info: String,
    pub(super) backends: &'static str,
    pub(super) model_filename: String,
    pub(super) model_type: String,
    /// Bytes of all tensors.
    pub(super) model_size: u64,
    pub(super) model_n_params: u64,
    pub(super) n_batch: usize,
    pub(super) n_threads: usize,
    pub(super) type_k: String,
    pub(super) type_v: String,
    pub(super) n_prompt: usize,
    pub(super) n_gen: usize,
    pub(super) n_depth: usize,
    pub(super) test_time: String,
    pub(super) avg_ns: u64,
    pub(super) stddev_ns: u64,
    pub(super) avg_ts: f64,
    pub(super) stddev_ts: f64,
    #[serde(flatten)]
    pub(super) token: TokenBytes,
    #[serde(flatten)]
    pub(super) stream: StreamSpeed,
    /// Bytes of memory that the process had held when the test ended, without those that streams are read from.
    pub(super) memory_peak: Option<u64>,
    /// Bytes of all weights as they are kept, and of keys and values of the whole context.
    pub(super) memory_expected: u64,
    pub(super) samples_ns: Vec<u64>,
    pub(super) samples_ts: Vec<f64>,
}

/// Bytes that a token of a generation must read; absent of prompts, whose tokens share them.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct TokenBytes {
    #[serde(rename = "token_bytes_ternary")]
    ternary: Option<u64>,
    #[serde(rename = "token_bytes_head")]
    head: Option<u64>,
    #[serde(rename = "token_bytes_other")]
    other: Option<u64>,
    /// Keys and values, at the mean length of the context.
    #[serde(rename = "token_bytes_kv")]
    kv: Option<u64>,
}

impl TokenBytes {
    pub(super) fn new(weights: &ModelBytes, kv: u64) -> TokenBytes {
        let ModelBytes { ternary, float, head, embedding, vectors } = *weights;
        let other = Some(float + embedding + vectors);
        TokenBytes { ternary: Some(ternary), head: Some(head), other, kv: Some(kv) }
    }

    /// All of them.
    pub(super) fn total(&self) -> Option<u64> {
        Some(self.ternary? + self.head? + self.other? + self.kv?)
    }
}

impl Row {
    /// The test's name: `tg128`, or `tg128 @ d4000` where tokens were there before.
    pub(super) fn test(&self) -> String {
        let test = if self.n_prompt > 0 { format!("pp{}", self.n_prompt) } else { format!("tg{}", self.n_gen) };
        if self.n_depth > 0 { format!("{test} @ d{}", self.n_depth) } else { test }
    }

    /// Tokens a second that memory allows: as fast as it is read, over what a token reads.
    pub(super) fn roofline(&self) -> Option<f64> {
        Some(self.stream.own? * 1e9 / self.token.total()? as f64)
    }
}

/// The mean, and the deviation of a sample: 0 where there is only one.
pub(super) fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, if samples.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 })
}

/// Weights of a file, whatever their types.
pub(super) fn parameters(file: &File) -> u64 {
    file.tensors().iter().map(|tensor| tensor.elements()).sum()
}

/// Architecture, number of weights, and the type of most matrices: `bitnet-b1.58 5.25 M I2_S`.
pub(super) fn model_type(file: &File, model: &Model) -> String {
    let matrices = || file.tensors().iter().filter(|tensor| tensor.n() > 1).map(|tensor| tensor.kind);
    let count = |kind: Kind| matrices().filter(|other| *other == kind).count();
    let kind = matrices().max_by_key(|kind| count(*kind)).map_or(String::new(), |kind| kind.to_string());
    format!("{} {} {kind}", model.config().family.architecture, amount(parameters(file)))
}

/// A number of weights as llama-bench writes it.
pub(super) fn amount(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} B", n / 1e9),
        n => format!("{:.2} M", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_is_a_samples() {
        assert_eq!(mean_and_deviation(&[4.0]), (4.0, 0.0));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (2.0, 2f64.sqrt()));
    }
}
