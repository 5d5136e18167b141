use super::{Cursor, Error, Tokenizer};

/// Decodes ids one at a time into text that can be shown at once: a character whose bytes come from several tokens is
/// held back until it is whole. All that a stream gives, [`Stream::finish`] included, is what
/// [`Tokenizer::decode`] gives; only an EOS that ends the ids is written, since a stream cannot know that it is last.
#[derive(Debug, Clone)]
pub struct Stream<'t> {
    tokenizer: &'t Tokenizer,
    cursor: Cursor,
    /// The beginning of a character.
    pending: Vec<u8>,
    ready: String,
}

impl<'t> Stream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, cursor: Cursor) -> Self {
        Stream { tokenizer, cursor, pending: Vec::new(), ready: String::new() }
    }

    /// The text that `id` completes, often all of its own; bytes that are not UTF-8 become U+FFFD.
    pub fn push(&mut self, id: u32) -> Result<&str, Error> {
        self.tokenizer.write(id, &mut self.cursor, &mut self.pending)?;
        self.ready.clear();
        let mut left = self.pending.len();
        let mut held = 0;
        for chunk in self.pending.utf8_chunks() {
            self.ready.push_str(chunk.valid());
            let broken = chunk.invalid();
            left -= chunk.valid().len() + broken.len();
            match str::from_utf8(broken) {
                Err(error) if left == 0 && error.error_len().is_none() => held = broken.len(),
                Err(_) => self.ready.push(char::REPLACEMENT_CHARACTER),
                Ok(_) => {}
            }
        }
        self.pending.drain(..self.pending.len() - held);
        Ok(&self.ready)
    }

    /// Ends the text: a character that was begun and never completed becomes U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.ready.clear();
        if !self.pending.is_empty() {
            self.pending.clear();
            self.ready.push(char::REPLACEMENT_CHARACTER);
        }
        &self.ready
    }
}
