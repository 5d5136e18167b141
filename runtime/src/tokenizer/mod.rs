//! Text to token ids and back, from the vocabulary of a GGUF file.
//!
//! The work is done by Hugging Face's `tokenizers`: its byte-pair encoding and its pre-tokenizers, put together as the
//! file's keys ask. Two things are done here instead. Special tokens are found in the text here, and control tokens
//! are kept out of the model's vocabulary, so that plain text never becomes one. And ids are decoded to exact bytes
//! here, since one token may hold only a part of a character.

mod build;
mod bytes;
mod error;
mod lazy;
mod merges;
#[cfg(feature = "chat")]
mod prompt;
mod spellings;
mod split;
mod stream;
mod vocabulary;

use std::mem;
use std::ops::Range;

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{Model as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

pub use error::Error;
pub use lazy::LazyTokenizer;
#[cfg(feature = "convert")]
pub(crate) use split::pre_tokenizers;
pub(crate) use stream::Pending;
pub use stream::Stream;
pub use vocabulary::Vocabulary;

use crate::decision::Decision;
use crate::gguf;
use spellings::Spellings;
use vocabulary::Role;

/// SentencePiece's sign for a space.
const SPACE: char = '▁';
/// Bytes of a word that the pre-tokenizers' expressions can surely take: their engine gives up after a million steps
/// back, and the library then leaves the rest of the text uncut without a word.
const LONGEST_WORD: usize = 500_000;

/// How special tokens in a text are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Spellings of special tokens are those tokens; BOS and EOS are added where the file asks for them.
    Parse,
    /// Spellings of control tokens are text like any other, and nothing is added: for text that is not to be trusted.
    Plain,
}

/// A vocabulary ready for use.
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    model: BPE,
    /// By id: each token's text and role.
    tokens: Vec<(String, Role)>,
    /// All special tokens.
    special: Spellings,
    /// Those that are special even in plain text.
    user_defined: Spellings,
    /// Some text has no token: look before encoding, for the library would leave it out.
    gaps: bool,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: Option<u32>,
    add_eos: Option<u32>,
    end_tokens: Vec<u32>,
    decisions: Vec<Decision>,
}

/// How text is written in the vocabulary's tokens.
#[derive(Debug)]
enum Kind {
    /// Words of bytes in GPT-2's alphabet.
    ByteLevel(Vec<PreTokenizerWrapper>),
    SentencePiece {
        /// Spaces are written as [`SPACE`].
        escape: bool,
        /// A space is put before the text, and after special tokens.
        prefix: bool,
    },
}

/// Where in a text decoding stands.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Before the first token.
    first: bool,
    /// At the text's beginning or behind a special token: where a space prefix may be.
    boundary: bool,
}

impl Tokenizer {
    /// Checks the vocabulary and builds its tokenizer. What it had to decide is told by [`Tokenizer::decisions`].
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
        build::build(vocabulary)
    }

    /// The tokenizer of a GGUF file; errors name the file.
    pub fn from_gguf(file: &gguf::File) -> Result<Tokenizer, Error> {
        let vocabulary = Vocabulary::from_gguf(file)?;
        Vocabulary::check_keys(file)
            .and_then(|()| Tokenizer::new(vocabulary))
            .map_err(|error| Error::File { path: file.path().to_owned(), source: Box::new(error) })
    }

    /// The ids of `text`. BOS and EOS are added at most once: not where the text already spells them.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        let spellings = match special {
            Special::Parse => &self.special,
            Special::Plain => &self.user_defined,
        };
        let mut ids = self.encode_around(text, spellings.find(text), true)?;
        if special == Special::Parse {
            self.begin(&mut ids);
            if let Some(eos) = self.add_eos
                && ids.last() != Some(&eos)
            {
                ids.push(eos);
            }
        }
        Ok(ids)
    }

    /// The ids of a `text` that goes on after other tokens, of which `last` is the last: nothing is added to it, neither BOS,
    /// nor EOS, nor a space, where the one before was no special token. Spellings of special tokens are those tokens.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`], and an id that is not in the vocabulary.
    pub fn encode_after(&self, last: u32, text: &str) -> Result<Vec<u32>, Error> {
        let (_, role) = self.token(last)?;
        self.encode_around(text, self.special.find(text), role.is_special())
    }

    /// The ids of `text` in which special tokens were found; it begins `at_boundary`: at the beginning of all text, or behind a
    /// special token.
    fn encode_around(
        &self,
        text: &str,
        found: impl Iterator<Item = (u32, Range<usize>)>,
        at_boundary: bool,
    ) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        let (mut done, mut at_boundary) = (0, at_boundary);
        for (id, place) in found {
            self.encode_between(&text[done..place.start], at_boundary, &mut ids)?;
            at_boundary = true;
            ids.push(id);
            done = place.end;
        }
        self.encode_between(&text[done..], at_boundary, &mut ids)?;
        Ok(ids)
    }

    /// Puts BOS in front where the file asks for it and the text has none.
    fn begin(&self, ids: &mut Vec<u32>) {
        if let Some(bos) = self.add_bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
    }

    /// Text without special tokens.
    fn encode_between(&self, text: &str, at_boundary: bool, ids: &mut Vec<u32>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        match &self.kind {
            Kind::ByteLevel(steps) => {
                let mut words = PreTokenizedString::from(text);
                for step in steps {
                    step.pre_tokenize(&mut words)?;
                }
                for (word, ..) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                    if word.len() > LONGEST_WORD {
                        return Err(Error::Word { limit: LONGEST_WORD });
                    }
                    self.encode_word(word, ids)?;
                }
                Ok(())
            }
            Kind::SentencePiece { escape: false, .. } => self.encode_word(text, ids),
            Kind::SentencePiece { escape: true, prefix } => {
                let mut word = String::with_capacity(text.len() + text.len() / 2);
                word.extend((*prefix && at_boundary).then_some(SPACE));
                word.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
                self.encode_word(&word, ids)
            }
        }
    }

    fn encode_word(&self, word: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        let unknown = |c: &char| self.model.token_to_id(c.encode_utf8(&mut [0; 4])).is_none();
        if self.gaps
            && self.model.token_to_id(word).is_none()
            && let Some(c) = word.chars().find(unknown)
        {
            return Err(Error::Unwritable(match (&self.kind, bytes::byte(c)) {
                (Kind::ByteLevel(_), Some(byte)) => format!("byte 0x{byte:02x}"),
                _ => format!("{c:?}"),
            }));
        }
        ids.extend(self.model.tokenize(word)?.iter().map(|token| token.id));
        Ok(())
    }

    /// The text of `ids`: what [`Tokenizer::encode`] made them of. Special tokens are spelt out, except for a BOS in
    /// front and an EOS at the end where the file has them added. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        let bytes = self.decode_bytes(ids)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// As [`Tokenizer::decode`], with the bytes as they are: ids of a model's choosing need not be UTF-8.
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>, Error> {
        let ids = match ids {
            [text @ .., last] if self.add_eos == Some(*last) => text,
            _ => ids,
        };
        let mut cursor = Cursor { first: true, boundary: true };
        let mut bytes = Vec::new();
        for &id in ids {
            self.write(id, &mut cursor, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Decodes ids one by one, from the beginning of a text.
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self, Cursor { first: true, boundary: true })
    }

    /// Decodes ids one by one that go on after `prompt`.
    pub fn stream_after(&self, prompt: &[u32]) -> Result<Stream<'_>, Error> {
        let Some(&last) = prompt.last() else { return Ok(self.stream()) };
        let (_, role) = self.token(last)?;
        Ok(Stream::new(self, Cursor { first: false, boundary: role.is_special() }))
    }

    /// Appends the bytes of one token.
    fn write(&self, id: u32, cursor: &mut Cursor, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let (text, role) = self.token(id)?;
        if mem::take(&mut cursor.first) && self.add_bos == Some(id) {
            return Ok(());
        }
        match (&self.kind, role) {
            (_, Role::Byte(byte)) => bytes.push(*byte),
            (_, Role::Control | Role::Unknown) | (Kind::ByteLevel(_), Role::UserDefined) => bytes.extend(text.bytes()),
            (Kind::ByteLevel(_), Role::Text) => {
                let start = bytes.len();
                bytes.extend(text.chars().map_while(bytes::byte));
                // A token that is not written in the alphabet stands for itself; the alphabet's characters take one
                // byte each once decoded.
                if bytes.len() - start < text.chars().count() {
                    bytes.truncate(start);
                    bytes.extend(text.bytes());
                }
            }
            (Kind::SentencePiece { escape: false, .. }, _) => bytes.extend(text.bytes()),
            (Kind::SentencePiece { escape: true, prefix }, _) => {
                let prefixed = *prefix && cursor.boundary && *role == Role::Text;
                let text = text.strip_prefix(SPACE).filter(|_| prefixed).unwrap_or(text);
                let mut buffer = [0; 4];
                for c in text.chars().map(|c| if c == SPACE { ' ' } else { c }) {
                    bytes.extend(c.encode_utf8(&mut buffer).bytes());
                }
            }
        }
        cursor.boundary = role.is_special();
        Ok(())
    }

    fn token(&self, id: u32) -> Result<&(String, Role), Error> {
        self.tokens.get(id as usize).ok_or(Error::Id { id, tokens: self.tokens.len() })
    }

    /// How many tokens there are; ids are smaller.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// A token's text as the vocabulary has it: `Ġthe`, `▁the`, `<0x0A>`.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(|(text, _)| text.as_str())
    }

    /// The special token with this spelling: `<|eot_id|>`.
    pub fn special_id(&self, spelling: &str) -> Option<u32> {
        let mut found = self.special.find(spelling);
        found.next().filter(|(_, place)| *place == (0..spelling.len())).map(|(id, _)| id)
    }

    /// The token that begins a text, whether it is added or not.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text, whether it is added or not.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that is put before a text, if any.
    pub fn add_bos(&self) -> Option<u32> {
        self.add_bos
    }

    /// The token that is put behind a text, if any.
    pub fn add_eos(&self) -> Option<u32> {
        self.add_eos
    }

    /// Tokens with which a model says that it has finished: EOS, the end of a turn, and their like.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// What was decided while building, and why.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }
}

#[cfg(test)]
mod tests;
