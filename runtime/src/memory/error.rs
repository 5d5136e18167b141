//! Why there is no memory.

use std::io;

/// Why an allocation was refused. No call of the pool panics or aborts for want of room in its regions.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// More bytes than an allocation can have.
    #[error("{count} elements of {size} bytes are more than a block can have: isize::MAX bytes, less its alignment")]
    SizeOverflow {
        /// Elements that were asked for.
        count: usize,
        /// Bytes of each.
        size: usize,
    },

    /// An alignment beyond [`MAX_ALIGN`](super::MAX_ALIGN).
    #[error("an alignment of {align} bytes was asked for; at most {max} can be had")]
    AlignmentUnsupported {
        /// The alignment that was asked for, in bytes.
        align: usize,
        /// The largest there is, in bytes.
        max: usize,
    },

    /// The system gave no memory. One that overcommits may only find out when the memory is written, and end the process:
    /// that no allocator can tell.
    #[error("out of memory: the system has no room for a block of {bytes} bytes: {source}")]
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },

    /// The pool's own limit, [`PoolConfig::limit_bytes`](super::PoolConfig::limit_bytes), leaves no room.
    #[error(
        "a block of {bytes} bytes does not fit: the pool has {mapped} bytes of regions and may have {limit}; \
             raise `limit_bytes`, or free blocks first"
    )]
    LimitReached {
        /// Bytes that were asked for.
        bytes: usize,
        /// Bytes of the pool's regions.
        mapped: usize,
        /// Most bytes of regions that it may have.
        limit: usize,
    },
}

impl MemoryError {
    /// The same of so many bytes, where a heap was asked for more, to fill whole lines.
    #[cold]
    pub(super) fn of(mut self, asked: usize) -> Self {
        if let MemoryError::OutOfMemory { bytes, .. } | MemoryError::LimitReached { bytes, .. } = &mut self {
            *bytes = asked;
        }
        self
    }
}
