//! What a model's file says of words: made when it is first asked for, for who feeds tokens of their own needs none of it.

use std::sync::OnceLock;

#[cfg(feature = "chat")]
use crate::chat::{self, Template};
use crate::gguf::File;
use crate::tokenizer::{self, Tokenizer};

#[derive(Debug, Default)]
pub(super) struct Words {
    tokenizer: OnceLock<Tokenizer>,
    #[cfg(feature = "chat")]
    template: OnceLock<Template>,
}

impl Words {
    /// The file's tokenizer. Two who ask at once may both make one; the first is kept.
    pub(super) fn tokenizer(&self, file: &File) -> Result<&Tokenizer, tokenizer::Error> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer);
        }
        let made = Tokenizer::from_gguf(file)?;
        Ok(self.tokenizer.get_or_init(|| made))
    }

    /// The file's chat template.
    #[cfg(feature = "chat")]
    pub(super) fn template(&self, file: &File) -> Result<&Template, chat::Error> {
        if let Some(template) = self.template.get() {
            return Ok(template);
        }
        let tokenizer = self.tokenizer(file)?;
        let made = Template::from_gguf(file, tokenizer)?;
        Ok(self.template.get_or_init(|| made))
    }
}
