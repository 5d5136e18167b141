use std::path::PathBuf;

use super::builtin;
use crate::{gguf, tokenizer};

/// Why messages could not be rendered, or there is no template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file has no template, and none of those built in is known to be its.
    #[error(
        "the file has no chat template, and its vocabulary does not tell which built-in one fits; choose one with \
         --chat-template: {}, a file or a text",
        builtin::names()
    )]
    Unknown,
    /// The file has templates for special purposes only.
    #[error("the file has no chat template for general use, but {0}; choose one with --chat-template")]
    NoDefault(String),
    /// No built-in template has this name.
    #[error("there is no built-in chat template {0:?}; there are {names}", names = builtin::names())]
    Name(String),
    /// A template larger than any known.
    #[error("the chat template has {bytes} bytes; at most {limit} are run")]
    Long {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The template is not Jinja as it is known here.
    #[error("the chat template cannot be read: {0}; choose another one with --chat-template")]
    Syntax(String),
    /// The template refused the messages, or failed.
    #[error("the chat template fails: {0}; change the messages, or choose another one with --chat-template")]
    Render(String),
    /// The template asked for more work than messages can be worth.
    #[error("the chat template does not come to an end; choose another one with --chat-template")]
    Endless,
    /// A message spells a control token, and the template changes messages so that it cannot be told from its own.
    #[error(
        "a message spells the control token {0:?}, and the chat template treats messages in a way that would make it \
         one; take it out of the message"
    )]
    Injection(String),
    /// The rendered text makes no tokens.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// The GGUF file has a key with another type.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The template of a GGUF file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
}
