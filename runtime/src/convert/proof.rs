//! The proof that a vocabulary means the tokenizer that it was made from: both encode the same texts to the same ids.

use std::path::Path;

use super::Error;
use super::vocabulary::{Said, library};
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

/// Compares the vocabulary with the library's tokenizer in `text`, the file at `path`: in the texts above and in that
/// of every token.
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
    let refuse = |why: String| Error::file(path, why);
    let theirs = library(text).map_err(|error| refuse(format!("Hugging Face's library refuses it: {error}")))?;
    let ours = Tokenizer::new(vocabulary.clone()).map_err(|error| refuse(format!("it makes no tokenizer: {error}")))?;
    let of_tokens = (0..ours.vocab_size() as u32).filter_map(|id| {
        let is_text = matches!(vocabulary.token_types[id as usize], 1 | 6);
        // A token may be a part of a character.
        is_text.then(|| ours.decode_bytes(&[id]).ok().and_then(|bytes| String::from_utf8(bytes).ok())).flatten()
    });
    let (mut compared, mut differing, mut first) = (0, 0, None);
    for text in TEXTS.iter().map(|text| (*text).to_owned()).chain(of_tokens) {
        if leave.leading_spaces && text.starts_with([' ', '▁']) {
            continue;
        }
        let expected = theirs.encode_fast(text.as_str(), false);
        let expected =
            expected.map_err(|error| refuse(format!("Hugging Face's library fails at {text:?}: {error}")))?;
        let found = match ours.encode(&text, Special::Plain) {
            // The library leaves such characters out.
            Err(tokenizer::Error::Unwritable(_)) => continue,
            found => found,
        };
        compared += 1;
        if !found.as_ref().is_ok_and(|ids| ids == expected.get_ids()) {
            differing += 1;
            let found = found.map_or_else(|error| error.to_string(), |ids| format!("{ids:?}"));
            first.get_or_insert_with(|| format!("{text:?} is {:?} there, and would be {found}", expected.get_ids()));
        }
    }
    match first {
        None => {
            let value = format!("the same ids for {compared} texts");
            let why = "compared with Hugging Face's library, in the text of every token and in others";
            said.decisions.push(Decision { what: "tokenizer's proof", value, why: why.into() });
        }
        Some(first) if leave.forced => said.warnings.push(format!(
            "with the pre-tokenizer asked for, {differing} of {compared} texts are encoded otherwise than by Hugging \
             Face's library: {first}"
        )),
        Some(first) => {
            let why =
                format!("a GGUF file cannot say this tokenizer: {differing} of {compared} texts would be encoded");
            return Err(refuse(format!("{why} otherwise: {first}")));
        }
    }
    Ok(())
}
