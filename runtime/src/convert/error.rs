//! What can stand in the way of a conversion.

use std::io;
use std::path::{Path, PathBuf};

use crate::gguf::WriteError;

/// Why a folder was not converted. Every message names the file, the thing in it, and the way out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },

    #[error("{}: `{key}` is {value}, {why}", path.display())]
    Key { path: PathBuf, key: String, value: String, why: String },

    #[error("{}: the tensor `{tensor}` {why}", path.display())]
    Tensor { path: PathBuf, tensor: String, why: String },

    #[error(transparent)]
    Write(#[from] WriteError),

    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl Error {
    pub(super) fn file(path: &Path, why: impl Into<String>) -> Error {
        Error::File { path: path.into(), why: why.into() }
    }

    pub(super) fn tensor(path: &Path, tensor: &str, why: impl Into<String>) -> Error {
        Error::Tensor { path: path.into(), tensor: tensor.into(), why: why.into() }
    }
}
