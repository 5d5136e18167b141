//! How a text's tokens become its embedding, in models that are made for that.

use std::fmt;

use super::ConfigError;
use super::reader::Reader;

/// Which of the tokens' last states make the text's embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pooling::Mean => "mean of all tokens",
            Pooling::First => "first token",
            Pooling::Last => "last token",
        })
    }
}

impl Reader<'_> {
    /// How an embedding model pools; `None`: the model predicts tokens.
    pub fn pooling(&mut self) -> Result<Option<Pooling>, ConfigError> {
        let key = self.key("pooling_type");
        let pooling = match self.file.opt_u32(&key)? {
            None | Some(0) => None,
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::First),
            Some(3) => Some(Pooling::Last),
            Some(other) => {
                let why = "is not implemented (1, mean; 2, first token; 3, last token are)";
                return Err(self.unsupported(&key, other, why));
            }
        };
        match pooling {
            Some(pooling) => self.decide("pooling", format!("{pooling}, then scaled to length 1"), key),
            None => self.decide("pooling", "none: predicts tokens", format!("no `{key}`")),
        }
        Ok(pooling)
    }
}
