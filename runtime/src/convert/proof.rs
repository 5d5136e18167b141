//! The proof that a vocabulary means the tokenizer that it was made from: both encode the same texts to the same ids.

use std::path::Path;

use super::Error;
use super::vocabulary::{Said, kind, library};
use crate::decision::Decision;
use crate::tokenizer::{self, Special, Tokenizer, Vocabulary};

/// Texts in which tokenizers are known to differ: digits, contractions, runs of spaces and line breaks, other scripts,
/// characters of many parts.
const TEXTS: [&str; 12] = [
    "Hello, world! It's 2024-11-25, isn't it?",
    " leading and trailing spaces  ",
    "a\n\nb\n \n\t c\r\n\r\n  d    e\u{a0}f",
    "1 12 123 1234 12345 1234567890 3.14 1,000,000 ½ ² ٣",
    "I've HE'LL we'RE 'tis y'all'd 'M don’t",
    "fn main() { println!(\"{:?}\", x[0..=3] as u8); } // == != -> :: ++ ###",
    "naïve café Ελληνικά кириллица العربية हिन्दी ไทย 한국어",
    "今天天气很好。東京タワー 我想在apple工作1314151天～",
    "🦙🦙 👩‍👩‍👧‍👦 🇺🇳 ✅",
    "............ !!!??? -------- ======= ''''''```````\"\"\"\"",
    "ThisIsCamelCase snake_case_here http://example.com/path?x=1&y=2#z",
    "",
];

/// What is not held against a vocabulary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    /// The pre-tokenizer was asked for: differences are told.
    pub(super) forced: bool,
    /// Texts that begin with a space are known to differ.
    pub(super) leading_spaces: bool,
}

/// The library's tokenizer and the vocabulary's, of which both encode the same texts.
struct Pair<'p> {
    path: &'p Path,
    theirs: &'p tokenizers::Tokenizer,
    ours: Tokenizer,
}

impl<'p> Pair<'p> {
    fn new(path: &'p Path, theirs: &'p tokenizers::Tokenizer, vocabulary: &Vocabulary) -> Result<Pair<'p>, Error> {
        let refuse = |error| Error::file(path, format!("it makes no tokenizer: {error}"));
        Ok(Pair { path, theirs, ours: Tokenizer::new(vocabulary.clone()).map_err(refuse)? })
    }

    /// The texts of tokens that are text.
    fn tokens<'t>(&'t self, vocabulary: &'t Vocabulary) -> impl Iterator<Item = String> + 't {
        (0..self.ours.vocab_size() as u32).filter_map(|id| {
            let is_text = matches!(vocabulary.token_types[id as usize], kind::NORMAL | kind::BYTE);
            // A token may be a part of a character.
            is_text
                .then(|| self.ours.decode_bytes(&[id]).ok().and_then(|bytes| String::from_utf8(bytes).ok()))
                .flatten()
        })
    }

    /// Encodes a text by both; whether the ids are the same, and if not, what they are.
    fn encode(&self, text: &str) -> Result<Found, Error> {
        let fails = |error| Error::file(self.path, format!("Hugging Face's library fails at {text:?}: {error}"));
        let expected = self.theirs.encode_fast(text, false).map_err(fails)?;
        let found = match self.ours.encode(text, Special::Plain) {
            // The library leaves such characters out.
            Err(tokenizer::Error::Unwritable(_)) => return Ok(Found::NotComparable),
            Ok(ids) if ids == expected.get_ids() => return Ok(Found::Same),
            Ok(ids) => format!("{ids:?}"),
            Err(error) => error.to_string(),
        };
        Ok(Found::Different(format!("{text:?} is {:?} there, and would be {found}", expected.get_ids())))
    }

    /// Encodes all of `texts`.
    fn encode_all(&self, texts: impl Iterator<Item = String>) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for text in texts {
            match self.encode(&text)? {
                Found::NotComparable => {}
                Found::Same => tally.same += 1,
                Found::Different(how) => {
                    tally.different += 1;
                    tally.first.get_or_insert(how);
                }
            }
        }
        Ok(tally)
    }
}

enum Found {
    Same,
    Different(String),
    NotComparable,
}

/// How many texts were encoded alike.
#[derive(Default)]
struct Tally {
    same: usize,
    different: usize,
    /// The first that was not.
    first: Option<String>,
}

impl Tally {
    fn all(&self) -> usize {
        self.same + self.different
    }
}

/// The library's tokenizer, of the text of the file at `path`.
fn library_of(path: &Path, text: &str) -> Result<tokenizers::Tokenizer, Error> {
    library(text).map_err(|error| Error::file(path, format!("Hugging Face's library refuses it: {error}")))
}

/// Compares the vocabulary with the library's tokenizer in `text`, the file at `path`: in the texts above, in that of
/// every token, and in texts with added tokens, which are told where they differ.
///
/// # Errors
/// The first text that is encoded otherwise, unless that is to be left alone.
pub(super) fn compare(
    path: &Path,
    text: &str,
    vocabulary: &Vocabulary,
    leave: Leave,
    said: &mut Said,
) -> Result<(), Error> {
    let theirs = library_of(path, text)?;
    let pair = Pair::new(path, &theirs, vocabulary)?;
    let left_alone = |text: &str| leave.leading_spaces && text.starts_with([' ', '▁']);
    let texts = TEXTS.iter().map(|text| (*text).to_owned()).chain(pair.tokens(vocabulary));
    let texts = pair.encode_all(texts.filter(|text| !left_alone(text)))?;
    // The space behind a token begins a text too.
    let around: &[[&str; 2]] =
        if leave.leading_spaces { &[["", ""], ["a", "b"]] } else { &[["", ""], ["a", "b"], ["a ", " b"]] };
    let added = vocabulary.tokens.iter().zip(&vocabulary.token_types);
    let added = added.filter(|(text, kind)| **kind == kind::USER_DEFINED && !left_alone(text));
    let added =
        added.flat_map(|(text, _)| around.iter().map(move |[before, behind]| format!("{before}{text}{behind}")));
    let added = pair.encode_all(added)?;
    let all = texts.all();
    match texts.first {
        None => {
            let value = format!("the same ids for {} texts", texts.same + added.same);
            let why = "compared with Hugging Face's library, in the text of every token and in others";
            said.decisions.push(Decision { what: "tokenizer's proof", value, why: why.into() });
        }
        Some(first) if leave.forced => said.warnings.push(format!(
            "with the pre-tokenizer asked for, {} of {all} texts are encoded otherwise than by Hugging Face's library: \
             {first}",
            texts.different
        )),
        Some(first) => {
            let why = format!("a GGUF file cannot say this tokenizer: {} of {all} texts would be", texts.different);
            return Err(Error::file(path, format!("{why} encoded otherwise: {first}")));
        }
    }
    if let Some(first) = &added.first {
        said.warnings.push(format!(
            "{} of {} texts with added tokens are encoded otherwise than by Hugging Face's library: {first}",
            added.different,
            added.all()
        ));
    }
    Ok(())
}

/// Tokens whose texts make one text, where a pre-tokenizer is looked for: what cuts words alike may cut the boundaries
/// between them in another way.
const JOINED: usize = 7;

/// Which of `candidates`, names of pre-tokenizers, gives `vocabulary` the ids of the library's tokenizer in `text`, the
/// file at `path`, in the texts above, in that of every token and in those of tokens joined; and how many texts
/// these were.
pub(super) fn identify(
    path: &Path,
    text: &str,
    vocabulary: &Vocabulary,
    candidates: impl Iterator<Item = &'static str>,
) -> Result<Option<(&'static str, usize)>, Error> {
    let theirs = library_of(path, text)?;
    for name in candidates {
        let vocabulary = Vocabulary { pre: Some(name.to_owned()), ..vocabulary.clone() };
        let pair = Pair::new(path, &theirs, &vocabulary)?;
        let tokens: Vec<String> = pair.tokens(&vocabulary).collect();
        let texts =
            TEXTS.iter().map(|text| (*text).to_owned()).chain(tokens.chunks(JOINED).map(|texts| texts.concat()));
        let mut same = 0;
        let mut differs = false;
        for text in texts.chain(tokens.iter().cloned()) {
            match pair.encode(&text)? {
                Found::Same => same += 1,
                Found::NotComparable => {}
                Found::Different(_) => {
                    differs = true;
                    break;
                }
            }
        }
        if !differs {
            return Ok(Some((name, same)));
        }
    }
    Ok(None)
}
