//! How a text's tokens become its embedding, in models that are made for that.

use std::fmt;
use std::str::FromStr;

use super::ConfigError;
use super::family::{InputNorms, Norms};
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

impl Pooling {
    /// Every way, as llama.cpp's `--pooling` calls it.
    pub const NAMES: [(Pooling, &'static str); 3] =
        [(Pooling::Mean, "mean"), (Pooling::First, "cls"), (Pooling::Last, "last")];
}

impl FromStr for Pooling {
    type Err = UnknownPooling;

    fn from_str(name: &str) -> Result<Self, UnknownPooling> {
        let known = Pooling::NAMES.into_iter().find(|(_, known)| *known == name);
        known.map(|(pooling, _)| pooling).ok_or(UnknownPooling(name.into()))
    }
}

/// A name that is no [`Pooling`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown pooling `{0}`; known: mean, cls, last")]
pub struct UnknownPooling(String);

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
    /// How an embedding model pools; `None`: the model predicts tokens. Norms before every projection are those of BitNet
    /// embedding models alone, which pool the last token (their model cards), also where a converter has left the key out.
    pub fn pooling(&mut self, norms: Norms) -> Result<Option<Pooling>, ConfigError> {
        let key = self.key("pooling_type");
        let embeds = matches!(self.family.input_norms, InputNorms::Maybe(_)) && !norms.is_empty();
        let pooling = match self.file.opt_u32(&key)? {
            None if embeds => {
                let why = format!("no `{key}`: *_norm_in tensors are those of BitNet embedding models");
                self.decide("pooling", format!("{}, then scaled to length 1", Pooling::Last), why);
                return Ok(Some(Pooling::Last));
            }
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
            Some(pooling) => {
                // What Microsoft's converter writes where it does not find the checkpoint's own.
                let doubt = "; the cards of BitNet embedding models say last token: `embed --pooling last`";
                let doubt = if embeds && pooling != Pooling::Last { doubt } else { "" };
                self.decide("pooling", format!("{pooling}, then scaled to length 1"), format!("{key}{doubt}"));
            }
            None => self.decide("pooling", "none: predicts tokens", format!("no `{key}`")),
        }
        Ok(pooling)
    }
}
