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

/// Llama 3's expression, and with it that of all who took over its way to cut text.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The same with one digit at a time.
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral Nemo's and Small's: a word begins where capitals begin anew, and only one digit is taken at a time.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The letters that DeepSeek LLM's tokenizer.json lists: cased ones, as of its Unicode version.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}",
    r"\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}",
    r"\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}",
    r"\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}",
    r"\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}",
    r"\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}",
    r"\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}",
    r"\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}",
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}",
    r"\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}",
    r"\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+"
);
const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+";
const DEEPSEEK_CJK: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";

/// Every pre-tokenizer known. The expressions are those of the models' own tokenizer.json files; which names share one,
/// and the defaults, are llama.cpp's (`src/llama-vocab.cpp`); `falcon_e` is read as the forks that knew it read it.
const PRE_TOKENIZERS: [PreTokenizer; 11] = [
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon_e", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        steps: &[Step::Split(LLAMA_3), Step::Bytes],
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        steps: &[Step::Split(LLAMA_3), Step::Bytes],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "kormo", "f2llmv2", "grok-2"],
        steps: &[Step::Split(QWEN_2), Step::Bytes],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer { names: &["tekken"], steps: &[Step::Split(TEKKEN), Step::Bytes], ignore_merges: true, add_bos: true },
    PreTokenizer {
        names: &[
            "gpt-2", "gpt-neox", "olmo", "mpt", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "jais", "trillion",
        ],
        steps: &[Step::Gpt2Bytes],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
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
    PreTokenizer {
        names: &["deepseek-coder"],
        steps: &[
            Step::Split(r"[\r\n]"),
            Step::Split(r"\s?\p{L}+"),
            Step::Split(r"\s?\p{P}+"),
            Step::Split(DEEPSEEK_CJK),
            Step::Digits,
            Step::Bytes,
        ],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        steps: &[
            Step::Split(r"[\r\n]"),
            Step::Split(DEEPSEEK_LETTERS),
            Step::Split(DEEPSEEK_PUNCTUATION),
            Step::Split(r"\s+$"),
            Step::Split(DEEPSEEK_CJK),
            Step::Split(r"\p{N}+"),
            Step::Bytes,
        ],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["minicpm5"],
        steps: &[
            Step::Split(r"\p{N}{1,3}"),
            Step::Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            Step::Bytes,
        ],
        ignore_merges: true,
        add_bos: false,
    },
    // What llama.cpp falls back to; files that were tried with it may say so.
    PreTokenizer {
        names: &["default"],
        steps: &[
            Step::Split(r"[\p{P}$+<=>^~|]+"),
            Step::Split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
            Step::Split(r"\p{N}+"),
            Step::Split("[0-9][0-9][0-9]"),
            Step::Bytes,
        ],
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
