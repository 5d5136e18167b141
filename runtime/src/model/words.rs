//! What a model's file says of words: made when it is first asked for, for who feeds tokens of their own needs none of it.

#[cfg(feature = "chat")]
use std::sync::OnceLock;

#[cfg(feature = "chat")]
use crate::chat::{self, Template};
#[cfg(feature = "chat")]
use crate::gguf::File;
use crate::tokenizer::{self, LazyTokenizer, Tokenizer};

#[derive(Debug)]
pub(super) struct Words {
    tokenizer: LazyTokenizer,
    #[cfg(feature = "chat")]
    template: OnceLock<Template>,
}

impl Words {
    /// Of a file with this tokenizer.
    pub(super) fn new(tokenizer: LazyTokenizer) -> Self {
        Words {
            tokenizer,
            #[cfg(feature = "chat")]
            template: OnceLock::new(),
        }
    }

    /// The file's tokenizer.
    pub(super) fn tokenizer(&self) -> Result<&Tokenizer, tokenizer::Error> {
        self.tokenizer.get()
    }

    /// The file's chat template.
    #[cfg(feature = "chat")]
    pub(super) fn template(&self, file: &File) -> Result<&Template, chat::Error> {
        if let Some(template) = self.template.get() {
            return Ok(template);
        }
        let made = Template::from_gguf(file, self.tokenizer()?)?;
        Ok(self.template.get_or_init(|| made))
    }
}
