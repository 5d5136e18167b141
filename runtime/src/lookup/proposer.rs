//! Where the last tokens of a text stood before.

use std::collections::HashMap;

/// Tokens that must stand before a continuation at least.
const SHORTEST: usize = 2;
/// Tokens that are looked for first.
const LONGEST: usize = 4;
/// No more of what precedes two places is compared.
const COMPARED: usize = 32;

/// Tokens in a row, and zeros after them.
type Gram = [u32; LONGEST];

/// A text, and for every few tokens in a row where they stood last.
#[derive(Debug, Default)]
pub struct Proposer {
    text: Vec<u32>,
    /// For each length, what stands before a position, and the last such position. That of the end is not in it yet.
    last: [HashMap<Gram, usize>; LONGEST - SHORTEST + 1],
}

/// An earlier place in a text that is preceded by the same tokens as its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The position after them.
    pub end: usize,
    /// How many are the same: from 2 to 32, where no more are compared.
    pub length: usize,
}

impl Proposer {
    /// No text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        self.text.clear();
        self.last.iter_mut().for_each(HashMap::clear);
    }

    /// Appends a token.
    pub fn push(&mut self, id: u32) {
        for (length, last) in (SHORTEST..).zip(&mut self.last) {
            if let Some(gram) = gram(&self.text, length) {
                last.insert(gram, self.text.len());
            }
        }
        self.text.push(id);
    }

    /// The latest earlier place that is preceded by the last four tokens; if there is none, by the last three, or two.
    pub fn find(&self) -> Option<Match> {
        let mut longest_first = self.last.iter().enumerate().rev();
        let end = *longest_first.find_map(|(i, last)| last.get(&gram(&self.text, SHORTEST + i)?))?;
        let same = self.text[..end].iter().rev().zip(self.text.iter().rev());
        Some(Match { end, length: same.take(COMPARED).take_while(|(a, b)| a == b).count() })
    }

    /// What followed there, without end: where it has reached the end of the text, it goes on with what it said itself. Nothing, for a match of a longer
    /// text.
    pub fn continuation(&self, found: Match) -> impl Iterator<Item = u32> {
        self.text.get(found.end..).unwrap_or_default().iter().copied().cycle()
    }
}

/// The last tokens of a text, if there are so many.
fn gram(text: &[u32], length: usize) -> Option<Gram> {
    let mut gram = [0; LONGEST];
    gram[..length].copy_from_slice(&text[text.len().checked_sub(length)?..]);
    Some(gram)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks everywhere.
    fn naive(text: &[u32]) -> Option<Match> {
        for length in (SHORTEST..=LONGEST.min(text.len())).rev() {
            for end in (length..text.len()).rev() {
                if text[..end].ends_with(&text[text.len() - length..]) {
                    let same = (1..=end.min(COMPARED)).take_while(|i| text[end - i] == text[text.len() - i]).count();
                    return Some(Match { end, length: same });
                }
            }
        }
        None
    }

    proptest! {
        /// Few different tokens, so that much repeats.
        #[test]
        fn finds_what_is_found_by_looking_everywhere(text in prop::collection::vec(0u32..4, 0..120), cleared in any::<bool>()) {
            let mut proposer = Proposer::new();
            if cleared {
                text.iter().for_each(|id| proposer.push(id ^ 1));
                proposer.clear();
            }
            for end in 0..=text.len() {
                let found = proposer.find();
                prop_assert_eq!(found, naive(&text[..end]), "{:?}", &text[..end]);
                if let Some(found) = found {
                    let mut whole = text[..end].to_vec();
                    for id in proposer.continuation(found).take(20) {
                        prop_assert_eq!(id, whole[found.end + (whole.len() - end)]);
                        whole.push(id);
                    }
                }
                if let Some(&id) = text.get(end) {
                    proposer.push(id);
                }
            }
        }
    }

    #[test]
    fn any_id_is_a_token() {
        let mut proposer = Proposer::new();
        for id in [u32::MAX, u32::MAX, 5, u32::MAX, u32::MAX] {
            proposer.push(id);
        }
        assert_eq!(proposer.find(), Some(Match { end: 2, length: 2 }));
    }
}
