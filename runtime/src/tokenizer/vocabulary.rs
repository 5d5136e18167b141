use super::Error;
use crate::gguf::{self, Value};

/// The values of `tokenizer.ggml.model` that are known.
pub(super) const MODELS: [&str; 2] = ["gpt2", "llama"];

/// What a GGUF file says about its tokenizer: the keys `tokenizer.ggml.*`, unchecked. Keys that the file lacks are
/// `None` or empty, as in the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vocabulary {
    /// `general.architecture`: for some, it tells what a missing key means.
    pub architecture: Option<String>,
    /// `model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// `pre`: how `gpt2` vocabularies cut text into words.
    pub pre: Option<String>,
    /// `tokens`: each token's text; its index is its id.
    pub tokens: Vec<String>,
    /// `scores`, one a token: which merges come first in `llama` vocabularies.
    pub scores: Vec<f32>,
    /// `token_type`, one a token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// `merges` of `gpt2` vocabularies: two tokens' texts with a space between, first merge first.
    pub merges: Vec<String>,
    /// `bos_token_id`: begins a text.
    pub bos: Option<u32>,
    /// `eos_token_id`: ends a text.
    pub eos: Option<u32>,
    /// `eos_token_ids`: all that end a text, as Ollama's converter writes them.
    pub all_eos: Vec<u32>,
    /// `eot_token_id`: ends a turn of a chat.
    pub eot: Option<u32>,
    /// `eom_token_id`: ends a message that calls a tool.
    pub eom: Option<u32>,
    /// `unknown_token_id`: stands for what no other token can write.
    pub unknown: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`: whether `llama` vocabularies put a space before the text.
    pub add_space_prefix: Option<bool>,
    /// Keys `tokenizer.ggml.*` that are set, and mean something in vocabularies of other models alone.
    pub foreign: Vec<String>,
    /// Keys `tokenizer.ggml.*` that are not known.
    pub others: Vec<String>,
}

/// Keys that, where they are set, change how text is read in a way that is not served.
const REFUSED: [&str; 4] =
    ["precompiled_charsmap", "normalizer.lowercase", "normalizer.strip_accents", "suppress_tokens"];

/// Keys of WordPiece and Unigram vocabularies, at which llama.cpp does not look for others.
const FOREIGN: [&str; 2] = ["remove_extra_whitespaces", "add_sep_token"];

/// Keys that are read, or name tokens that no text becomes by itself.
const KNOWN: [&str; 32] = [
    "model",
    "pre",
    "tokens",
    "scores",
    "token_type",
    "merges",
    "bos_token_id",
    "eos_token_id",
    "eot_token_id",
    "eom_token_id",
    "unknown_token_id",
    "seperator_token_id",
    "separator_token_id",
    "padding_token_id",
    "cls_token_id",
    "mask_token_id",
    "add_bos_token",
    "add_eos_token",
    "add_space_prefix",
    "token_type_count",
    "prefix_token_id",
    "suffix_token_id",
    "middle_token_id",
    "fim_pre_token_id",
    "fim_suf_token_id",
    "fim_mid_token_id",
    "fim_pad_token_id",
    "fim_rep_token_id",
    "fim_sep_token_id",
    "bos_token_ids",
    "eos_token_ids",
    "vocab_size",
];

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A piece of text.
    Text,
    /// Stands for what cannot be written.
    Unknown,
    /// Marks something; never comes of plain text.
    Control,
    /// A text always kept whole.
    UserDefined,
    /// One byte of text, in `llama` vocabularies.
    Byte(u8),
}

impl Role {
    /// Whether the token is decoded to its spelling as it stands.
    pub(super) fn is_special(self) -> bool {
        matches!(self, Role::Unknown | Role::Control | Role::UserDefined)
    }
}

impl Vocabulary {
    /// Reads the keys of a GGUF file. The model and the tokens must be there; every key must have its type.
    pub fn from_gguf(file: &gguf::File) -> Result<Vocabulary, gguf::Error> {
        Ok(Vocabulary {
            architecture: file.opt_str("general.architecture")?.map(str::to_owned),
            model: file.str("tokenizer.ggml.model")?.to_owned(),
            pre: file.opt_str("tokenizer.ggml.pre")?.map(str::to_owned),
            tokens: file.strings("tokenizer.ggml.tokens")?.iter().map(str::to_owned).collect(),
            scores: file.opt_f32s("tokenizer.ggml.scores")?.unwrap_or_default(),
            token_types: file.opt_i32s("tokenizer.ggml.token_type")?.unwrap_or_default(),
            merges: (file.opt_strings("tokenizer.ggml.merges")?.into_iter())
                .flat_map(|merges| merges.iter().map(str::to_owned))
                .collect(),
            bos: file.opt_u32("tokenizer.ggml.bos_token_id")?,
            eos: file.opt_u32("tokenizer.ggml.eos_token_id")?,
            all_eos: file.opt_u32s("tokenizer.ggml.eos_token_ids")?.unwrap_or_default(),
            eot: file.opt_u32("tokenizer.ggml.eot_token_id")?,
            eom: file.opt_u32("tokenizer.ggml.eom_token_id")?,
            unknown: file.opt_u32("tokenizer.ggml.unknown_token_id")?,
            add_bos: file.opt_bool("tokenizer.ggml.add_bos_token")?,
            add_eos: file.opt_bool("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: file.opt_bool("tokenizer.ggml.add_space_prefix")?,
            foreign: Self::keys(file)
                .filter(|(key, value)| FOREIGN.contains(key) && is_set(value))
                .map(|(key, _)| key.to_owned())
                .collect(),
            others: Self::keys(file)
                .filter(|(key, _)| [&KNOWN[..], &REFUSED, &FOREIGN].iter().all(|known| !known.contains(key)))
                .map(|(key, _)| key.to_owned())
                .collect(),
        })
    }

    /// The keys of a file's tokenizer, without `tokenizer.ggml.`, and their values.
    fn keys(file: &gguf::File) -> impl Iterator<Item = (&str, &Value)> {
        file.metadata().iter().filter_map(|(key, value)| Some((key.strip_prefix("tokenizer.ggml.")?, value)))
    }

    /// Refuses a file with a key that would change the result and is not served.
    pub(super) fn check_keys(file: &gguf::File) -> Result<(), Error> {
        let refused = Self::keys(file).find(|(key, value)| REFUSED.contains(key) && is_set(value));
        refused.map_or(Ok(()), |(key, _)| Err(Error::Key(format!("tokenizer.ggml.{key}"))))
    }

    /// Checks that the arrays fit together and that BOS and EOS are in range; gives each token's role.
    pub(super) fn roles(&self) -> Result<Vec<Role>, Error> {
        let tokens = self.tokens.len();
        if tokens == 0 {
            return Err(Error::Empty);
        }
        let sentence_piece = self.model == "llama";
        for (key, count, needed) in [
            ("tokenizer.ggml.token_type", self.token_types.len(), sentence_piece),
            ("tokenizer.ggml.scores", self.scores.len(), sentence_piece),
        ] {
            if count != tokens && (needed || count != 0) {
                return Err(Error::Length { key, count, tokens });
            }
        }
        for (key, id) in [("tokenizer.ggml.bos_token_id", self.bos), ("tokenizer.ggml.eos_token_id", self.eos)] {
            if let Some(id) = id
                && id as usize >= tokens
            {
                return Err(Error::SpecialId { key, id, tokens });
            }
        }
        if let Some(id) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(Error::Token { id, why: "its score is NaN".to_owned() });
        }
        if self.token_types.is_empty() {
            return Ok(vec![Role::Text; tokens]);
        }
        let roles = self.tokens.iter().zip(&self.token_types).enumerate();
        roles.map(|(id, (text, &kind))| role(text, kind).map_err(|why| Error::Token { id, why })).collect()
    }
}

/// Whether a key's value asks for something.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Bool(set) => *set,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn role(text: &str, kind: i32) -> Result<Role, String> {
    match kind {
        // 0 is llama.cpp's "undefined", 5 a piece that training left unused; both are text.
        0 | 1 | 5 => Ok(Role::Text),
        2 => Ok(Role::Unknown),
        3 => Ok(Role::Control),
        4 => Ok(Role::UserDefined),
        6 => {
            let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).unwrap_or_default();
            match u8::from_str_radix(digits, 16) {
                // The library looks byte tokens up by this very spelling.
                Ok(byte) if format!("{byte:02X}") == digits => Ok(Role::Byte(byte)),
                _ => Err("it is a byte, but not spelt as one, such as <0x0A>".to_owned()),
            }
        }
        _ => Err(format!("its type is {kind}; types go from 0 to 6")),
    }
}
