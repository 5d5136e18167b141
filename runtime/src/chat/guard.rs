//! Keeping what messages say apart from what the template says, through a template that may do anything with both.
//!
//! Characters of a message that could begin or end the spelling of a control token are marked: a character that occurs
//! nowhere, one of those that Unicode keeps for private use within programs, is put behind them. The template is run
//! over marked messages too. If what it makes of them differs in the marks alone, the marks tell which characters came
//! from a message, and no spelling that contains one is read as a token.

use std::ops::Range;

/// Non-characters of Unicode: no text that is interchanged has them.
const MARKS: Range<u32> = 0xFDD0..0xFDF0;

/// Puts marks into texts, and takes them out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    mark: char,
}

/// How much of a message is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What spells a token, and both ends, which could complete what the template began.
    Ends,
    /// What spells a token.
    Spellings,
}

impl Guard {
    /// With a mark that occurs in none of `texts`; `None` where all do.
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Option<Guard> {
        let absent = |mark: &char| texts.clone().all(|text| !text.contains(*mark));
        MARKS.filter_map(char::from_u32).find(absent).map(|mark| Guard { mark })
    }

    /// `text` with marks; `spellings` gives where those begin that may not become tokens.
    pub(super) fn mark(self, text: &str, extent: Extent, spellings: &[usize]) -> String {
        let mut at: Vec<usize> = spellings.to_vec();
        if extent == Extent::Ends {
            // White space at the ends may be trimmed, and completes no token.
            let solid = |(_, c): &(usize, char)| !c.is_whitespace();
            at.extend(text.char_indices().find(solid).map(|(at, _)| at));
            at.extend(text.char_indices().rev().find(solid).map(|(at, _)| at));
        }
        at.sort_unstable();
        at.dedup();
        let mut marked = String::with_capacity(text.len() + at.len() * self.mark.len_utf8());
        let mut done = 0;
        for start in at {
            let end = start + text[start..].chars().next().map_or(0, char::len_utf8);
            marked.push_str(&text[done..end]);
            marked.push(self.mark);
            done = end;
        }
        marked + &text[done..]
    }

    /// `marked` without marks, and where in it the characters begin that had one.
    pub(super) fn unmark(self, marked: &str) -> (String, Vec<usize>) {
        let (mut text, mut at) = (String::with_capacity(marked.len()), Vec::new());
        for piece in marked.split(self.mark) {
            // A character that had several marks, or the beginning of the text, counts once or not at all.
            if !text.is_empty() || !at.is_empty() {
                let start = text.char_indices().next_back().map_or(0, |(start, _)| start);
                if at.last() != Some(&start) {
                    at.push(start);
                }
            }
            text.push_str(piece);
        }
        (text, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_and_go() {
        let guard = Guard::new(["a", "\u{fdd0}"].into_iter()).unwrap();
        assert_eq!(guard.mark, '\u{fdd1}');
        for text in ["", " ", "a", "é", " <s>é ", "<s><s>", "\n\n"] {
            let spellings: Vec<usize> = text.match_indices("<s>").map(|(at, _)| at).collect();
            let (back, at) = guard.unmark(&guard.mark(text, Extent::Spellings, &spellings));
            assert_eq!((back.as_str(), at), (text, spellings.clone()));
            let (back, at) = guard.unmark(&guard.mark(text, Extent::Ends, &spellings));
            assert_eq!(back, text);
            let solid: Vec<usize> = text.char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(at, _)| at).collect();
            assert_eq!(at.first(), solid.first(), "{text:?}");
            assert_eq!(at.last(), solid.last(), "{text:?}");
            assert!(spellings.iter().all(|start| at.contains(start)));
        }
    }

    #[test]
    fn marks_that_all_occur_are_told() {
        let all: String = MARKS.filter_map(char::from_u32).collect();
        assert!(Guard::new([all.as_str()].into_iter()).is_none());
    }
}
