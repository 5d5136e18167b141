//! Who is live, in debug builds: the address and layout of every block that was handed out. In others it is empty.

use std::alloc::Layout;
#[cfg(debug_assertions)]
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Parts with a lock each, so that threads seldom meet.
#[cfg(debug_assertions)]
const PARTS: usize = 16;

/// All live blocks.
#[cfg(debug_assertions)]
#[derive(Debug, Default)]
pub(super) struct Ledger([Mutex<HashMap<usize, Layout>>; PARTS]);

#[cfg(debug_assertions)]
impl Ledger {
    fn part(&self, start: usize) -> MutexGuard<'_, HashMap<usize, Layout>> {
        self.0[start / super::LINE % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block was handed out.
    pub(super) fn enter(&self, start: usize, layout: Layout) {
        self.part(start).insert(start, layout);
    }

    /// A block comes back; false where it was not handed out with this layout, or is back already.
    pub(super) fn strike(&self, start: usize, layout: Layout) -> bool {
        let mut part = self.part(start);
        let known = part.get(&start) == Some(&layout);
        if known {
            part.remove(&start);
        }
        known
    }

    /// The layouts of all live blocks.
    pub(super) fn layouts(&self) -> Vec<Layout> {
        let part = |part: &Mutex<HashMap<_, Layout>>| {
            part.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect::<Vec<_>>()
        };
        self.0.iter().flat_map(part).collect()
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[derive(Debug, Default)]
pub(super) struct Ledger;

#[cfg(not(debug_assertions))]
impl Ledger {
    /// Does nothing.
    #[inline]
    pub(super) fn enter(&self, _: usize, _: Layout) {}

    /// Knows nothing, and believes it.
    #[inline]
    pub(super) fn strike(&self, _: usize, _: Layout) -> bool {
        true
    }

    /// None.
    pub(super) fn layouts(&self) -> Vec<Layout> {
        Vec::new()
    }
}
