//! Merges for SentencePiece vocabularies, which have scores instead.
//!
//! SentencePiece joins, of all neighbours whose concatenation is a piece, those whose piece scores highest. The same
//! comes of byte-pair encoding whose merges are all pairs of pieces that make a piece, ordered by its score.

use super::Error;

/// Bytes that the merges may take. Real vocabularies need some tens of millions; pieces that begin and end with each
/// other (`a`, `aa`, `aaa`, …) would need the cube of the longest's length.
const LIMIT: usize = 256 << 20;

/// A text that merges may join or make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) id: u32,
    pub(super) text: &'a str,
    pub(super) score: f32,
}

/// All pairs of pieces whose concatenation is a piece, highest score of that piece first; then lowest left id, lowest
/// right id. No two pieces may have the same text, and none may be empty.
///
/// Takes the time of sorting the texts, and of the merges found; never that of trying every cut of every piece.
pub(super) fn merges(pieces: &[Piece]) -> Result<Vec<(String, String)>, Error> {
    let starts = longest_starts(&pieces.iter().map(|piece| piece.text.bytes().collect()).collect::<Vec<_>>());
    let ends = longest_starts(&pieces.iter().map(|piece| piece.text.bytes().rev().collect()).collect::<Vec<_>>());
    let length = |index: usize| pieces[index].text.len();
    let mut found = Vec::new();
    let mut size = 0;
    let mut rights = Vec::new();
    for (whole, piece) in pieces.iter().enumerate() {
        // The starts come longest first, the ends are taken shortest first: each pair is met once.
        rights.clear();
        rights.extend(chain(&ends, whole));
        for left in chain(&starts, whole) {
            let missing = piece.text.len() - length(left);
            while let Some(right) = rights.pop_if(|right| length(*right) <= missing) {
                if length(right) == missing {
                    found.push((whole, left, right));
                    size += piece.text.len() + 2 * size_of::<String>();
                }
            }
            if size > LIMIT {
                return Err(Error::TooLarge { what: "merges", limit: LIMIT });
            }
        }
    }
    found.sort_unstable_by(|&(whole, left, right), &(other, other_left, other_right)| {
        let ids = |left: usize, right: usize| (pieces[left].id, pieces[right].id);
        pieces[other].score.total_cmp(&pieces[whole].score).then(ids(left, right).cmp(&ids(other_left, other_right)))
    });
    Ok(found
        .into_iter()
        .map(|(_, left, right)| (pieces[left].text.to_owned(), pieces[right].text.to_owned()))
        .collect())
}

/// For each text, the longest other one that it starts with.
fn longest_starts(texts: &[Vec<u8>]) -> Vec<Option<usize>> {
    let mut sorted: Vec<usize> = (0..texts.len()).collect();
    sorted.sort_unstable_by_key(|&index| &texts[index]);
    let mut starts = vec![None; texts.len()];
    // In sorted order a text comes after all it starts with, and what lies between starts with them too.
    let mut open: Vec<usize> = Vec::new();
    for index in sorted {
        while open.pop_if(|start| !texts[index].starts_with(&texts[*start])).is_some() {}
        starts[index] = open.last().copied();
        open.push(index);
    }
    starts
}

/// All that a text starts with, longest first.
fn chain(starts: &[Option<usize>], text: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(starts[text], |&start| starts[start])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn pieces<'a>(texts: &'a [String], score: impl Fn(usize) -> f32) -> Vec<Piece<'a>> {
        texts.iter().enumerate().map(|(index, text)| Piece { id: index as u32, text, score: score(index) }).collect()
    }

    /// Every cut of every piece, tried.
    fn tried(pieces: &[Piece]) -> Vec<(String, String)> {
        let by_text: HashMap<&str, &Piece> = pieces.iter().map(|piece| (piece.text, piece)).collect();
        let mut found = Vec::new();
        for piece in pieces {
            for (cut, _) in piece.text.char_indices().skip(1) {
                let (left, right) = piece.text.split_at(cut);
                if let (Some(left), Some(right)) = (by_text.get(left), by_text.get(right)) {
                    found.push((piece.score, left.id, right.id, left.text.to_owned(), right.text.to_owned()));
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        found.into_iter().map(|(_, _, _, left, right)| (left, right)).collect()
    }

    proptest! {
        #[test]
        fn are_those_that_trying_every_cut_finds(texts in proptest::collection::btree_set("[ab▁é]{1,6}", 0..80)) {
            let texts: Vec<String> = texts.into_iter().collect();
            let pieces = pieces(&texts, |index| -((index * 7 % 5) as f32));
            prop_assert_eq!(merges(&pieces).unwrap(), tried(&pieces));
        }
    }

    #[test]
    fn pieces_within_pieces_are_refused_before_they_fill_the_memory() {
        let texts: Vec<String> = (1..3000).map(|length| "a".repeat(length)).collect();
        assert!(matches!(merges(&pieces(&texts, |_| 0.0)), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn a_long_piece_costs_no_more_than_its_length() {
        let texts = ["a".to_owned(), "b".repeat(10 << 20), "a".repeat(10 << 20)];
        assert_eq!(merges(&pieces(&texts, |_| 0.0)).unwrap(), []);
    }
}
