//! What can go wrong, in one type: an area, what is wrong in it, and what was being done.
//!
//! Every area has a type of its own, which its functions return; all of them become an [`Error`] by `?`. Each kind of error
//! has a code that stays the same when messages change: `docs/errors.md` lists them.
//!
//! ```
//! use std::error::Error as _;
//! use tritune::{Context, Error};
//! use tritune::model::Model;
//!
//! let error: Error = Model::load("nowhere.gguf").context("preparing the assistant").unwrap_err();
//! assert_eq!(error.code(), "TT0601");
//! assert_eq!(error.to_string(), "preparing the assistant");
//! // The chain of sources, from what was being done to what the system said, which messages before it may quote.
//! let mut cause = error.source();
//! while let Some(source) = cause {
//!     println!("because {source}");
//!     cause = source.source();
//! }
//! assert!(error.report().starts_with("preparing the assistant: cannot read nowhere.gguf: "));
//! ```

mod codes;

use std::fmt;
use std::io;

pub use codes::{Code, codes};

#[cfg(feature = "chat")]
use crate::chat;
use crate::device::DeviceError;
use crate::engine::{GenerationError, StateError};
use crate::kernels::SelectionError;
use crate::layer::LayerError;
use crate::linear::LinearError;
use crate::memory::MemoryError;
use crate::model::{self, ConfigError, SessionError, WeightsError};
use crate::quant::QuantError;
use crate::tensor::TensorError;
use crate::tune::TuneError;
use crate::{gguf, quant, sample, tokenizer};

/// What an error is about: the first two digits of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Area {
    /// The pool of memory.
    Memory = 1,
    /// Devices.
    Device = 2,
    /// Types of weights, and how they are made.
    Quantization = 3,
    /// Tensors.
    Tensor = 4,
    /// Files and streams, but for models.
    Io = 5,
    /// Model files.
    Gguf = 6,
    /// Vocabularies, and texts as their tokens.
    Tokenizer = 7,
    /// Measuring kernels.
    Tuning = 8,
    /// Layers of networks of one's own.
    Layer = 9,
    /// What a model's file says, and its tensors.
    Model = 10,
    /// Sessions.
    Session = 11,
    /// Choosing tokens.
    Sampling = 12,
    /// Chat templates and messages.
    Chat = 13,
    /// Sessions as bytes.
    State = 14,
    /// Kernels, and products by them.
    Kernel = 15,
    /// Writing texts.
    Generation = 16,
}

/// Whatever can go wrong. What would make it large lies in boxes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool of memory has no block.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A device that cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Weights or activations that cannot be quantised.
    #[error(transparent)]
    Quantization(Box<QuantError>),
    /// A tensor that is not what is wanted.
    #[error(transparent)]
    Tensor(Box<TensorError>),
    /// A layer that cannot be made or computed.
    #[error(transparent)]
    Layer(Box<LayerError>),
    /// The system's word on a file or a stream.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A model file that cannot be read.
    #[error(transparent)]
    Gguf(Box<gguf::Error>),
    /// A vocabulary, or a text in it.
    #[error(transparent)]
    Tokenizer(Box<tokenizer::Error>),
    /// Nothing could be measured.
    #[error(transparent)]
    Tuning(Box<TuneError>),
    /// Metadata that are not understood.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// A tensor that cannot be used.
    #[error(transparent)]
    Weights(Box<WeightsError>),
    /// A session that could not be made, or could not take tokens.
    #[error(transparent)]
    Session(Box<SessionError>),
    /// Nothing could be chosen.
    #[error(transparent)]
    Sampling(#[from] sample::Error),
    /// A chat template, or messages in it.
    #[cfg(feature = "chat")]
    #[error(transparent)]
    Chat(Box<chat::Error>),
    /// A session's state that cannot be gone on with.
    #[error(transparent)]
    State(#[from] StateError),
    /// No kernel, or not the one that was asked for.
    #[error(transparent)]
    Kernel(Box<SelectionError>),
    /// A product that cannot be computed.
    #[error(transparent)]
    Linear(Box<LinearError>),
    /// A text that is not begun.
    #[error(transparent)]
    Generation(GenerationError),
    /// What was being done when something went wrong.
    #[error("{context}")]
    Context {
        /// What was being done.
        context: String,
        /// What went wrong.
        source: Box<Error>,
    },
}

/// What becomes an error by `?`, in a box.
macro_rules! boxed {
    ($($(#[$gate:meta])* $area:ident: $type:ty),* $(,)?) => {
        $($(#[$gate])*
        impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Error::$area(Box::new(error))
            }
        })*
    };
}

boxed!(
    Quantization: QuantError,
    Tensor: TensorError,
    Layer: LayerError,
    Gguf: gguf::Error,
    Tokenizer: tokenizer::Error,
    Tuning: TuneError,
    Config: ConfigError,
    Weights: WeightsError,
    Session: SessionError,
    #[cfg(feature = "chat")] Chat: chat::Error,
    Kernel: SelectionError,
    Linear: LinearError,
);

impl From<quant::Error> for Error {
    fn from(error: quant::Error) -> Self {
        QuantError::from(error).into()
    }
}

impl From<model::Error> for Error {
    fn from(error: model::Error) -> Self {
        match error {
            model::Error::Gguf(error) | model::Error::Config(ConfigError::Gguf(error)) => error.into(),
            model::Error::Weights(WeightsError::Gguf(error)) => error.into(),
            model::Error::Config(error) => error.into(),
            model::Error::Weights(error) => error.into(),
        }
    }
}

impl From<GenerationError> for Error {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Session(error) => Error::Session(error),
            GenerationError::Sample(error) => Error::Sampling(error),
            GenerationError::Tokenizer(error) => Error::Tokenizer(error),
            #[cfg(feature = "chat")]
            GenerationError::Chat(error) => Error::Chat(error),
            error => Error::Generation(error),
        }
    }
}

impl Error {
    /// The code of this kind of error, the same in all versions: `TT0601`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Memory(error) => error.code(),
            Error::Device(error) => error.code(),
            Error::Quantization(error) => error.code(),
            Error::Tensor(error) => error.code(),
            Error::Layer(error) => error.code(),
            Error::Io(_) => codes::IO,
            Error::Gguf(error) => error.code(),
            Error::Tokenizer(error) => error.code(),
            Error::Tuning(error) => error.code(),
            Error::Config(error) => error.code(),
            Error::Weights(error) => error.code(),
            Error::Session(error) => error.code(),
            Error::Sampling(error) => error.code(),
            #[cfg(feature = "chat")]
            Error::Chat(error) => error.code(),
            Error::State(error) => error.code(),
            Error::Kernel(error) => error.code(),
            Error::Linear(error) => error.code(),
            Error::Generation(error) => error.code(),
            Error::Context { source, .. } => source.code(),
        }
    }

    /// The error without what was being done.
    pub fn root(&self) -> &Error {
        match self {
            Error::Context { source, .. } => source.root(),
            error => error,
        }
    }

    /// The whole chain in one line: what was being done, and what went wrong.
    pub fn report(&self) -> String {
        match self {
            Error::Context { context, source } => format!("{context}: {}", source.report()),
            error => error.to_string(),
        }
    }
}

/// Says what was being done when something went wrong.
pub trait Context<T> {
    /// Puts what was being done before the error.
    ///
    /// # Errors
    /// The same, in [`Error::Context`].
    fn context(self, doing: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|error| Error::Context { context: doing.to_string(), source: Box::new(error.into()) })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    // Without chat its codes are missing.
    #[cfg(feature = "chat")]
    #[test]
    fn codes_are_told_apart_and_listed_in_the_docs() {
        let mut seen = std::collections::BTreeSet::new();
        let mut table = String::new();
        for Code { code, area, name, what } in codes() {
            assert!(seen.insert(code), "{code} is there twice");
            assert!(code.starts_with(&format!("TT{:02}", area as u32)) && code.len() == 6, "{code}");
            table += &format!("| {code} | {area:?} | `{name}` | {what} |\n");
        }
        let page = include_str!("../../../docs/errors.md");
        let listed: String =
            page.lines().filter(|line| line.starts_with("| TT")).map(|line| format!("{line}\n")).collect();
        assert_eq!(listed, table, "docs/errors.md is to have these rows");
    }

    #[test]
    fn errors_keep_their_code_and_their_source() {
        let error: Result<(), _> = Err(sample::Error::Empty).context("choosing").context("writing");
        let error = error.unwrap_err();
        assert_eq!((error.code(), error.to_string()), ("TT1202", "writing".into()));
        assert_eq!(error.source().unwrap().to_string(), "choosing");
        assert_eq!(error.report(), "writing: choosing: there is nothing to choose from: the model gave no logits");
        assert!(matches!(error.root(), Error::Sampling(sample::Error::Empty)));
        let io = Error::from(io::Error::other("the disk is full"));
        assert_eq!((io.code(), io.to_string()), ("TT0501", "the disk is full".into()));
    }
}
