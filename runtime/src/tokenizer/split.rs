//! The pre-tokenizers: how text is cut into words before byte-pair encoding.

use tokenizers::SplitDelimiterBehavior::{Contiguous, Isolated};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::Error;

/// What a value of `tokenizer.ggml.pre` stands for.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    /// The values that mean this one; the first is its own name.
    pub(crate) names: &'static [&'static str],
    steps: &'static [Step],
    /// A word that is a token stays one, whatever the merges would make of it.
    pub(crate) ignore_merges: bool,
    /// BOS goes before the text unless the file says otherwise (as in llama.cpp).
    pub(super) add_bos: bool,
}

#[derive(Debug)]
enum Step {
    /// Cut out the matches of an expression.
    Split(&'static str),
    /// Cut out every digit.
    Digits,
    /// Cut out runs of punctuation.
    Punctuation,
    /// Cut as GPT-2 does, then write bytes in GPT-2's alphabet.
    Gpt2Bytes,
    /// Write bytes in GPT-2's alphabet.
    Bytes,
}

/// The one meant by files that name none: published BitNet b1.58 2B4T files do not.
pub(super) const UNNAMED: &str = "llama-bpe";

/// Every pre-tokenizer known. The expressions are those of the models' own tokenizer.json files; `falcon_e` is read as
/// the one engine that knew it reads it.
const PRE_TOKENIZERS: [PreTokenizer; 5] = [
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon_e"],
        steps: &[
            Step::Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            Step::Bytes,
        ],
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen"],
        steps: &[
            Step::Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            Step::Bytes,
        ],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer { names: &["gpt-2", "olmo", "mpt"], steps: &[Step::Gpt2Bytes], ignore_merges: false, add_bos: false },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact"],
        steps: &[Step::Digits, Step::Gpt2Bytes],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["falcon"],
        steps: &[Step::Punctuation, Step::Gpt2Bytes, Step::Split("[0-9][0-9][0-9]")],
        ignore_merges: false,
        add_bos: false,
    },
];

/// The values of `tokenizer.ggml.pre` that are known.
pub(super) fn names() -> Vec<&'static str> {
    PRE_TOKENIZERS.iter().flat_map(|known| known.names).copied().collect()
}

/// Every pre-tokenizer known.
#[cfg(feature = "convert")]
pub(crate) fn pre_tokenizers() -> impl Iterator<Item = &'static PreTokenizer> {
    const { &PRE_TOKENIZERS }.iter()
}

impl PreTokenizer {
    pub(super) fn named(name: &str) -> Result<&'static PreTokenizer, Error> {
        let known = const { &PRE_TOKENIZERS }.iter().find(|known| known.names.contains(&name));
        known.ok_or_else(|| Error::PreTokenizer(name.to_owned()))
    }

    /// The library's pre-tokenizers for the steps, in their order.
    pub(crate) fn build(&self) -> Result<Vec<PreTokenizerWrapper>, Error> {
        let build = |step: &Step| -> Result<PreTokenizerWrapper, Error> {
            Ok(match *step {
                Step::Split(expression) => {
                    Split::new(SplitPattern::Regex(expression.to_owned()), Isolated, false)?.into()
                }
                Step::Digits => Digits::new(true).into(),
                Step::Punctuation => Punctuation::new(Contiguous).into(),
                Step::Gpt2Bytes => ByteLevel::new(false, false, true).into(),
                Step::Bytes => ByteLevel::new(false, false, false).into(),
            })
        };
        self.steps.iter().map(build).collect()
    }
}
