//! Special tokens within a text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::Error;

/// Bytes that spellings may add up to: the automaton takes some tens of bytes for each of theirs.
const LIMIT: usize = 8 << 20;

/// Tokens that are found in a text by their spelling, before anything else is done to it.
#[derive(Debug)]
pub(super) struct Spellings {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

impl Spellings {
    /// Of two tokens with one spelling, the first is found.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = (u32, &'a str)>) -> Result<Spellings, Error> {
        let (ids, texts): (Vec<u32>, Vec<&str>) = tokens.filter(|(_, text)| !text.is_empty()).unzip();
        let too_large = Error::TooLarge { what: "special tokens", limit: LIMIT };
        if texts.iter().map(|text| text.len()).sum::<usize>() > LIMIT {
            return Err(too_large);
        }
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
        Ok(Spellings { automaton: automaton.map_err(|_| too_large)?, ids })
    }

    /// The tokens in `text` from left to right, the longest first where several begin, and where they stand.
    pub(super) fn find<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (u32, Range<usize>)> + 't {
        self.automaton.find_iter(text).map(|found| (self.ids[found.pattern().as_usize()], found.range()))
    }

    /// The first token that lies within `range` of `text`, the longest where several begin.
    #[cfg(feature = "chat")]
    pub(super) fn first(&self, text: &str, range: Range<usize>) -> Option<(u32, Range<usize>)> {
        let found = self.automaton.find(aho_corasick::Input::new(text).range(range))?;
        Some((self.ids[found.pattern().as_usize()], found.range()))
    }
}
