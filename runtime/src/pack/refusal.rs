//! Why a file of packed weights is not used.

use std::io;

/// Why a file of packed weights is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// It is something else.
    #[error("it is no pack cache, and is left as it is; name another file, or remove this one")]
    Foreign,
    /// Another version of the program has written it.
    #[error("another version of tritune wrote it")]
    Version,
    /// It is shorter or longer than it was.
    #[error("it has {found} bytes, not {need}")]
    Size {
        /// Bytes that it says it has.
        need: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// What it says of itself is not what was written.
    #[error("its table is damaged")]
    Table,
    /// It is another model's, or the model has changed.
    #[error("it was made for another model, or from what this one was before")]
    Key,
    /// Some weights are not what was written.
    #[error("{sections} of its {of} sections are damaged")]
    Damaged {
        /// Sections that are damaged.
        sections: usize,
        /// All sections.
        of: usize,
    },
}

impl Refusal {
    /// Whether the file is not to be replaced: somebody may want to keep it.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Refusal::Io(_) | Refusal::Foreign)
    }
}
