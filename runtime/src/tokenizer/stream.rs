use super::{Cursor, Error, Tokenizer};

/// Decodes ids one at a time into text that can be shown at once: a character whose bytes come from several tokens is
/// held back until it is whole. All that a stream gives, [`Stream::finish`] included, is what
/// [`Tokenizer::decode`] gives; only an EOS that ends the ids is written, since a stream cannot know that it is last.
#[derive(Debug, Clone)]
pub struct Stream<'t> {
    tokenizer: &'t Tokenizer,
    pending: Pending,
}

/// The same for who keeps the tokenizer elsewhere, and brings it every time.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    cursor: Cursor,
    /// The beginning of a character.
    bytes: Vec<u8>,
    ready: String,
}

impl<'t> Stream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, cursor: Cursor) -> Self {
        Stream { tokenizer, pending: Pending { cursor, bytes: Vec::new(), ready: String::new() } }
    }

    /// The text that `id` completes, often all of its own; bytes that are not UTF-8 become U+FFFD.
    pub fn push(&mut self, id: u32) -> Result<&str, Error> {
        self.pending.push(self.tokenizer, id)
    }

    /// Ends the text: a character that was begun and never completed becomes U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.pending.finish()
    }

    /// Without the tokenizer.
    pub(crate) fn into_pending(self) -> Pending {
        self.pending
    }
}

impl Pending {
    /// As [`Stream::push`].
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<&str, Error> {
        tokenizer.write(id, &mut self.cursor, &mut self.bytes)?;
        self.ready.clear();
        let mut left = self.bytes.len();
        let mut held = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.ready.push_str(chunk.valid());
            let broken = chunk.invalid();
            left -= chunk.valid().len() + broken.len();
            match str::from_utf8(broken) {
                Err(error) if left == 0 && error.error_len().is_none() => held = broken.len(),
                Err(_) => self.ready.push(char::REPLACEMENT_CHARACTER),
                Ok(_) => {}
            }
        }
        self.bytes.drain(..self.bytes.len() - held);
        Ok(&self.ready)
    }

    /// As [`Stream::finish`].
    pub(crate) fn finish(&mut self) -> &str {
        self.ready.clear();
        if !self.bytes.is_empty() {
            self.bytes.clear();
            self.ready.push(char::REPLACEMENT_CHARACTER);
        }
        &self.ready
    }
}
