use std::path::PathBuf;

use super::{split, vocabulary};
use crate::gguf;

/// Why a vocabulary makes no tokenizer, or a text or ids cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `tokenizer.ggml.model` is none of those known.
    #[error("the tokenizer model {0:?} is not known; known are {known}", known = vocabulary::MODELS.join(", "))]
    Model(String),
    /// `tokenizer.ggml.pre` is none of those known.
    #[error("the pre-tokenizer {0:?} is not known; known are {known}", known = split::names().join(", "))]
    PreTokenizer(String),
    /// There is no `tokenizer.ggml.pre`, and the vocabulary is none that is known by its tokens.
    #[error(
        "the file does not say how text is cut into words (tokenizer.ggml.pre), and its vocabulary does not tell; convert \
         the model again, or add the key with the model's own of {known}", known = split::names().join(", ")
    )]
    NoPreTokenizer,
    /// A `gpt2` vocabulary whose tokens are SentencePiece's, as some converters write Gemma's.
    #[error(
        "tokenizer.ggml.model is gpt2, but the vocabulary has SentencePiece's tokens ({0:?}, and none with GPT-2's Ġ); \
         get a file whose tokenizer.ggml.model is llama, or convert the checkpoint with `tritune convert`"
    )]
    NotByteLevel(String),
    /// A key asks for something that is not served.
    #[error("{0} is set, and asks for what is not served; convert the model again without it, if it can do without")]
    Key(String),
    /// There are no tokens.
    #[error("the vocabulary is empty; convert the model again with its tokenizer")]
    Empty,
    /// An array that holds one value a token holds fewer or more.
    #[error("{key} has {count} values for {tokens} tokens; convert the model again")]
    Length {
        /// The array's key.
        key: &'static str,
        /// How many values it has.
        count: usize,
        /// How many there should be.
        tokens: usize,
    },
    /// A special token's id lies outside the vocabulary.
    #[error("{key} is {id}, but the vocabulary has {tokens} tokens; correct the key or convert the model again")]
    SpecialId {
        /// Its key.
        key: &'static str,
        /// The id.
        id: u32,
        /// The vocabulary's size.
        tokens: usize,
    },
    /// The file asks for a token to be added, but does not say which.
    #[error("{key} is true, but the file names no such token")]
    NoSuchToken {
        /// The key that asks for it.
        key: &'static str,
    },
    /// A token's type, score or spelling makes no sense.
    #[error("token {id}: {why}; convert the model again")]
    Token {
        /// The token.
        id: usize,
        /// What is wrong.
        why: String,
    },
    /// A merge that cannot be followed.
    #[error("merge {index}, {merge:?}: {why}; convert the model again")]
    Merge {
        /// Its place in `tokenizer.ggml.merges`.
        index: usize,
        /// Its text, cut short if it is long.
        merge: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Some bytes have a token and others have none.
    #[error("{count} of the 256 byte tokens are there; a vocabulary has all of them or none: convert the model again")]
    Bytes {
        /// How many there are.
        count: usize,
    },
    /// A vocabulary that would take far more memory than its file.
    #[error("the vocabulary's {what} add up to more than {limit} bytes; no tokenizer needs as much")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The text has a character that no token can write.
    #[error("no token of the vocabulary can write {0}")]
    Unwritable(String),
    /// The text has a word too long for the pre-tokenizer's expression.
    #[error("the text has a word, or a run of white space, of more than {limit} bytes; break it up")]
    Word {
        /// The longest served, in bytes of the vocabulary's alphabet.
        limit: usize,
    },
    /// An id to be decoded is not in the vocabulary.
    #[error("there is no token {id}: the vocabulary has {tokens}")]
    Id {
        /// The id.
        id: u32,
        /// The vocabulary's size.
        tokens: usize,
    },
    /// The GGUF file lacks a key or has it with another type.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The vocabulary of a GGUF file makes no tokenizer.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with its vocabulary.
        source: Box<Error>,
    },
    /// The `tokenizers` library refused.
    #[error("the tokenizers library: {0}")]
    Library(#[from] tokenizers::Error),
}
