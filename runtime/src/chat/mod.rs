//! Chats: from messages to the prompt that a model was trained on, and from there to its tokens.
//!
//! A chat template is a Jinja text that comes with the model, `tokenizer.chat_template` in a GGUF file. It is run by
//! `minijinja`, set up as Hugging Face's `transformers` sets up Jinja. Files without one get a built-in template where
//! their vocabulary tells which; where it does not, they are refused, for a model that is addressed in another's format
//! answers fluent nonsense.
//!
//! What the messages say never becomes a control token, whatever it spells: [`Template::encode`] reads such spellings as
//! tokens only where the template wrote them.

mod builtin;
mod dialect;
mod environment;
mod error;
mod guard;
mod json;
mod methods;
mod namespaces;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

pub use error::Error;
pub use template::Template;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who sets the model's task.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
    /// What a tool answered to the model.
    Tool,
}

impl fmt::Display for Role {
    /// The name that templates know: `system`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        })
    }
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said: text, of which no part becomes a control token.
    pub content: String,
}

impl Message {
    /// What the system says.
    pub fn system(content: impl Into<String>) -> Message {
        Message { role: Role::System, content: content.into() }
    }

    /// What the user says.
    pub fn user(content: impl Into<String>) -> Message {
        Message { role: Role::User, content: content.into() }
    }

    /// What the model says.
    pub fn assistant(content: impl Into<String>) -> Message {
        Message { role: Role::Assistant, content: content.into() }
    }
}

/// How messages are rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// End with what comes before the model's answer (`add_generation_prompt`).
    pub answer: bool,
    /// What `strftime_now` tells, as UTC.
    pub now: SystemTime,
    /// Further variables that the template knows: `enable_thinking`.
    pub variables: BTreeMap<String, serde_json::Value>,
}

impl Default for Options {
    /// For an answer, now, without further variables.
    fn default() -> Self {
        Options { answer: true, now: SystemTime::now(), variables: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests;
