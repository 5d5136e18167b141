//! What a pool takes of the system.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The page that `held` is counted in, in bytes.
pub(super) const PAGE: usize = 4096;

/// Bytes, counted where they change, which is under a heap's lock; readers may see one heap's change before the other's.
#[derive(Debug)]
pub(super) struct Footprint {
    mapped: AtomicUsize,
    held: AtomicUsize,
    peak: AtomicUsize,
    limit: usize,
}

impl Footprint {
    /// Nothing yet; at most `limit` bytes of regions.
    pub(super) fn new(limit: Option<usize>) -> Self {
        let zero = || AtomicUsize::new(0);
        Footprint { mapped: zero(), held: zero(), peak: zero(), limit: limit.unwrap_or(usize::MAX) }
    }

    /// Counts a region that is about to be mapped: as much of `wish` as the limit leaves, in whole pages, and at least
    /// `least`, which is pages and no more than `wish`; `None` where the limit leaves less.
    pub(super) fn map(&self, wish: usize, least: usize) -> Option<usize> {
        let grown = |mapped: usize| {
            let room = self.limit.saturating_sub(mapped);
            (room >= least).then(|| wish.min(room) / PAGE * PAGE)
        };
        let before = self.mapped.fetch_update(Relaxed, Relaxed, |mapped| mapped.checked_add(grown(mapped)?)).ok()?;
        grown(before)
    }

    /// Takes off a region that was not mapped after all, or is mapped no more.
    pub(super) fn unmap(&self, len: usize) {
        self.mapped.fetch_sub(len, Relaxed);
    }

    /// So many bytes are held more.
    pub(super) fn hold(&self, bytes: usize) {
        if bytes > 0 {
            let held = self.held.fetch_add(bytes, Relaxed) + bytes;
            self.peak.fetch_max(held, Relaxed);
        }
    }

    /// So many bytes are held no more.
    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    /// Bytes of regions.
    pub(super) fn mapped(&self) -> usize {
        self.mapped.load(Relaxed)
    }

    /// Bytes of their pages that were handed out, but for those that the system has back.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// The most that `held` ever was.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Relaxed)
    }

    /// Most bytes of regions.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}
