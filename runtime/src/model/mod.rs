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

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::gguf;
use crate::kernels::Selection;
use crate::threads::Pool;

pub use bytes::ModelBytes;
pub use config::{Config, ConfigError, Pooling, UnknownPooling};
pub use forward::ForwardError;
pub use head::{HeadMode, HeadUse};
pub use kv::{KvShape, KvType};
pub use loader::{LoadOptions, LoadReport};
pub use session::{Predictions, Session, SessionError, SessionOptions};
pub use weights::{Weights, WeightsError};

/// A model that is ready to run.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    config: Config,
    weights: Weights,
    pool: Pool,
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
    pub fn load(
        file: &gguf::File,
        selection: &Selection,
        pool: Pool,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Model, Error> {
        Model::load_with(file, selection, pool, LoadOptions::default(), progress)
    }

    /// The same, with choices of the caller's.
    ///
    /// # Errors
    /// Those of [`Model::load`].
    pub fn load_with(
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
        Ok(Model { path: file.path().into(), config, weights, pool })
    }

    /// Where the file is, or the name that it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the metadata say.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The threads that the model runs on.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
