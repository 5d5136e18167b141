//! Prompts that are in part not to be trusted.

use std::collections::HashSet;

use super::{Error, Role, Tokenizer};

impl Tokenizer {
    /// Whether a token is one that text never becomes: a control token, or the unknown one.
    pub(crate) fn is_control(&self, id: u32) -> bool {
        matches!(self.tokens.get(id as usize), Some((_, Role::Control | Role::Unknown)))
    }

    /// The user-defined tokens that `text` spells, those of white space left out.
    pub(crate) fn user_defined_in(&self, text: &str) -> HashSet<u32> {
        let found = self.user_defined.find(text).filter(|(_, place)| !text[place.clone()].trim().is_empty());
        found.map(|(id, _)| id).collect()
    }

    /// Where in `text` the spellings of special tokens begin for which `wanted` holds, overlapping ones included.
    pub(crate) fn spellings(&self, text: &str, wanted: &dyn Fn(u32) -> bool) -> Vec<usize> {
        let (mut starts, mut at) = (Vec::new(), 0);
        while let Some((id, place)) = self.special.first(text, at..text.len()) {
            if wanted(id) {
                starts.push(place.start);
            }
            at = text.ceil_char_boundary(place.start + 1);
        }
        starts
    }

    /// The ids of a prompt, as [`super::Special::Parse`] reads it, but for two things. What spells a special token for
    /// which `guarded` holds is text where it contains one of the characters that begin at `plain`, in rising order.
    /// And EOS is not added, since an answer is to follow.
    pub(crate) fn encode_prompt(
        &self,
        text: &str,
        plain: &[usize],
        guarded: &dyn Fn(u32) -> bool,
    ) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some((id, place)) = self.special.first(text, at..text.len()) {
            let next = plain.partition_point(|start| *start < place.start);
            match plain.get(next).filter(|start| guarded(id) && **start < place.end) {
                None => {
                    at = place.end;
                    found.push((id, place));
                }
                // A shorter one may end before that character, and another begin behind this one's beginning.
                Some(&stop) => match self.special.first(text, place.start..stop) {
                    Some((id, place)) => {
                        at = place.end;
                        found.push((id, place));
                    }
                    None => at = text.ceil_char_boundary(place.start + 1),
                },
            }
        }
        let mut ids = self.encode_around(text, found.into_iter(), true)?;
        self.begin(&mut ids);
        Ok(ids)
    }
}
