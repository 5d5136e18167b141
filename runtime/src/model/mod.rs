//! Models: configuration, weights, and sessions that run them.

pub mod activation;
pub mod attention;
pub mod bytes;
pub mod config;
pub mod embedding;
pub mod experts;
pub mod forward;
pub mod head;
pub mod kv;
mod loader;
pub mod norm;
mod packing;
pub mod rope;
pub mod session;
pub mod weights;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, OnceLock};

#[cfg(feature = "chat")]
use crate::chat::{self, Template};
use crate::gguf;
use crate::kernels::Selection;
use crate::pack;
use crate::threads::Pool;
use crate::tokenizer::{self, LazyTokenizer, Tokenizer};

pub use bytes::ModelBytes;
pub use config::{Config, ConfigError, Pooling, UnknownPooling};
pub use forward::ForwardError;
pub use head::{HeadMode, HeadUse};
pub use kv::{KvShape, KvType};
pub use loader::{LoadOptions, LoadReport};
pub use session::{Predictions, Session, SessionError, SessionOptions};
#[cfg(test)]
pub(crate) use tests::sketch_with_an_unknown_key;
pub use weights::{Weights, WeightsError};
use words::Words;

/// A model that is ready to run. Clones share it: any number of sessions, on any threads, run on one copy of the weights.
#[derive(Clone, Debug)]
pub struct Model(Arc<Contents>);

#[derive(Debug)]
struct Contents {
    file: gguf::File,
    config: Config,
    weights: Weights,
    pool: Pool,
    words: Words,
    /// The hash of the file's content, once somebody asked.
    content: OnceLock<u128>,
}

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no sound GGUF file.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The metadata are not understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl Model {
    /// Makes the model in `file` ready to run: checks everything, then packs the ternary matrices for the kernels that
    /// `selection` chooses. `progress(done, all)` counts matrices; it may be called from any thread.
    ///
    /// # Errors
    /// What is wrong with the file, or not implemented.
    pub fn from_gguf(
        file: &gguf::File,
        selection: &Selection,
        pool: Pool,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Model, Error> {
        Model::from_gguf_with(file, selection, pool, LoadOptions::default(), progress)
    }

    /// The same, with choices of the caller's.
    ///
    /// # Errors
    /// Those of [`Model::from_gguf`].
    pub fn from_gguf_with(
        file: &gguf::File,
        selection: &Selection,
        pool: Pool,
        options: LoadOptions<'_>,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Model, Error> {
        file.check_model()?;
        file.check_filled()?;
        let config = Config::read(file)?;
        let weights = Weights::load(file, &config, selection, &pool, options, progress)?;
        Ok(Model(Arc::new(Contents {
            file: file.clone(),
            config,
            weights,
            pool,
            words: Words::new(options.tokenizer.cloned().unwrap_or_else(|| LazyTokenizer::new(file))),
            content: OnceLock::new(),
        })))
    }

    /// Where the file is, or the name that it was given.
    pub fn path(&self) -> &Path {
        self.0.file.path()
    }

    /// What the metadata say.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.0.weights
    }

    /// The threads that the model runs on.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Tells the model from all others: of a copy of its file it is the same.
    pub(crate) fn content(&self) -> u128 {
        *self.0.content.get_or_init(|| pack::content(&self.0.file))
    }

    /// The file that it was loaded from.
    pub fn file(&self) -> &gguf::File {
        &self.0.file
    }

    /// The file's tokenizer, made when it is first asked for.
    ///
    /// # Errors
    /// A vocabulary that is missing or not understood.
    pub fn tokenizer(&self) -> Result<&Tokenizer, tokenizer::Error> {
        self.0.words.tokenizer()
    }

    /// The file's chat template, or the built-in one that its vocabulary tells; read when it is first asked for.
    ///
    /// # Errors
    /// None, or one that cannot be read.
    #[cfg(feature = "chat")]
    pub fn template(&self) -> Result<&Template, chat::Error> {
        self.0.words.template(&self.0.file)
    }

    /// An empty session with the usual options: room for as many tokens as the model was made for.
    ///
    /// # Errors
    /// Keys and values for so many tokens do not fit into memory: see [`Model::session_with`].
    pub fn session(&self) -> Result<Session, SessionError> {
        self.session_with(SessionOptions::default())
    }

    /// An empty session.
    ///
    /// # Errors
    /// Those of [`Session::new`].
    pub fn session_with(&self, options: SessionOptions) -> Result<Session, SessionError> {
        Session::new(self, options)
    }
}
