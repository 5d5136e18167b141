//! Who keeps the inside of a pool alive.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use super::shared::Shared;

/// The inside of a pool, which lives as long as this does.
#[derive(Clone, Debug)]
pub(super) enum Keeper {
    /// Of the process's pool: it is never dropped, and nothing is counted.
    Forever(&'static Shared),
    /// Of any other.
    Counted(Arc<Shared>),
}

/// The inside of a pool, which may have ended.
#[derive(Clone, Debug)]
pub(super) enum Home {
    /// Of the process's pool.
    Forever(&'static Shared),
    /// Of any other.
    Counted(Weak<Shared>),
}

impl Keeper {
    /// Does not keep it.
    pub(super) fn home(&self) -> Home {
        match self {
            Keeper::Forever(shared) => Home::Forever(shared),
            Keeper::Counted(shared) => Home::Counted(Arc::downgrade(shared)),
        }
    }
}

impl Deref for Keeper {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        match self {
            Keeper::Forever(shared) => shared,
            Keeper::Counted(shared) => shared,
        }
    }
}

impl Home {
    /// Keeps it, where it has not ended.
    pub(super) fn keeper(&self) -> Option<Keeper> {
        match self {
            Home::Forever(shared) => Some(Keeper::Forever(shared)),
            Home::Counted(shared) => shared.upgrade().map(Keeper::Counted),
        }
    }

    /// Whether it has ended.
    pub(super) fn ended(&self) -> bool {
        matches!(self, Home::Counted(shared) if shared.strong_count() == 0)
    }
}
