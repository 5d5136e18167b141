//! Strings that end a text.

/// Passes a text on up to the first stop string, which may come in pieces: what may be the beginning of one is held back.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop {
    strings: Vec<String>,
    held: String,
}

impl Stop {
    /// None of `strings` is empty.
    pub(super) fn new(strings: &[String]) -> Stop {
        Stop { strings: strings.to_vec(), held: String::new() }
    }

    /// Takes the next piece; appends to `out` what is surely text, and returns the number of the stop string that the text
    /// ends before, if there is one now. Of several that begin in one place the first of the list is meant.
    pub(super) fn push(&mut self, piece: &str, out: &mut String) -> Option<usize> {
        self.held.push_str(piece);
        let places = self.strings.iter().enumerate().filter_map(|(number, stop)| Some((self.held.find(stop)?, number)));
        if let Some((at, number)) = places.min() {
            out.push_str(&self.held[..at]);
            self.held.clear();
            return Some(number);
        }
        let kept = self.strings.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let surely = self.held.len() - kept;
        out.push_str(&self.held[..surely]);
        self.held.drain(..surely);
        None
    }

    /// The text has ended: what was held back belongs to it.
    pub(super) fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

/// Bytes at the end of `text` that `stop`, which is not in it, begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
    lengths.filter(|&length| text.ends_with(&stop[..length])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<usize>, String) {
        let mut stop = Stop::new(&stops.iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>());
        let mut outs = Vec::new();
        for piece in pieces {
            let mut out = String::new();
            let found = stop.push(piece, &mut out);
            outs.push(out);
            if found.is_some() {
                return (outs, found, String::new());
            }
        }
        let mut rest = String::new();
        stop.finish(&mut rest);
        (outs, None, rest)
    }

    #[test]
    fn a_text_ends_before_a_stop_string_however_it_is_cut() {
        let text = "one, two; three";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let (outs, found, _) = through(&["; th", "nowhere"], &pieces);
                assert_eq!((outs.concat(), found), ("one, two".into(), Some(0)), "{pieces:?}");
            }
        }
    }

    #[test]
    fn what_only_began_like_one_is_text() {
        let (outs, found, rest) = through(&["###", "##x"], &["a#", "#", "b##"]);
        assert_eq!((outs, found, rest), (vec!["a".into(), String::new(), "##b".into()], None, "##".into()));
        assert_eq!(through(&[], &["abc"]).0, ["abc"]);
        let (outs, found, _) = through(&["bc", "abcd", "ab"], &["xabcd"]);
        assert_eq!((outs.concat(), found), ("x".into(), Some(1)), "the first to begin, the first of the list");
        let (outs, found, rest) = through(&["äö"], &["ä", "x", "ä", "ö"]);
        assert_eq!((outs.concat(), found, rest), ("äx".into(), Some(0), String::new()));
    }
}
