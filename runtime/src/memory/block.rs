//! A free block.

use std::ptr::NonNull;

/// The first byte of a free block; who has it owns the block, whose size is known from where it lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block(NonNull<u8>);

// SAFETY: a free block is memory that nobody has a reference to, and has no tie to a thread; a `Block` is not `Clone`, so
// that one thread has it.
unsafe impl Send for Block {}

impl Block {
    /// A block that begins here.
    pub(super) fn new(start: NonNull<u8>) -> Self {
        Block(start)
    }

    /// The address of its first byte.
    pub(super) fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// Where it begins.
    pub(super) fn start(self) -> NonNull<u8> {
        self.0
    }
}
