//! How a kernel is run: what may differ without other code.

use std::fmt;

/// How a kernel's work is cut and how far ahead it asks for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schedule {
    /// Pieces of a matrix for each thread, at least: whoever is done early takes from the others.
    pub pieces: u16,
    /// Bytes by which a gemv asks for weights ahead of their use; a quarter as far ahead they are asked for again, closer
    /// to the core.
    pub ahead: u32,
}

/// More pieces than this are smaller than a panel of any matrix worth cutting.
pub const MAX_PIECES: u16 = 64;

/// Weights asked for earlier than this have left the cache when they are used.
pub const MAX_AHEAD: u32 = 1 << 16;

impl Default for Schedule {
    /// 4 KiB ahead is farther than hardware looks on its own; measured on Sapphire Rapids, 2 KiB is too late for one core
    /// that has the memory to itself.
    fn default() -> Self {
        Schedule { pieces: 4, ahead: 4096 }
    }
}

impl Schedule {
    /// Whether it is one that can be run.
    pub fn is_sound(&self) -> bool {
        (1..=MAX_PIECES).contains(&self.pieces) && self.ahead <= MAX_AHEAD
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pieces {}, ahead {}", self.pieces, self.ahead)
    }
}
