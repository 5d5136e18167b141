//! What was decided while a file was read, for a person to check.

/// One thing that was decided.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// What was to be decided: `pre-tokenizer`.
    pub what: &'static str,
    /// What it was decided to be: `llama-bpe`.
    pub value: String,
    /// The key, or the rule: `the file names none`.
    pub why: String,
}
