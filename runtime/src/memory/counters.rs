//! What was allocated and freed, counted by each thread for itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::class;

/// The counter of blocks that have no class.
pub(super) const LARGE: usize = class::COUNT;

/// Sums that only grow; what is live is the difference of two of them over all threads, since a block may be freed by
/// another thread than had it.
#[derive(Debug)]
pub(super) struct Counters {
    /// By class, the last for blocks without one.
    classes: [Class; LARGE + 1],
    asked: AtomicU64,
    returned: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Class {
    allocations: AtomicU64,
    frees: AtomicU64,
}

/// How a counter is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By the one thread that raises it.
    Owner,
    /// By any.
    Anyone,
}

impl By {
    #[inline]
    fn raise(self, counter: &AtomicU64, by: u64) {
        match self {
            // Two plain moves, where a locked addition takes some twenty cycles.
            By::Owner => counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed),
            By::Anyone => _ = counter.fetch_add(by, Relaxed),
        }
    }
}

/// Sums over threads.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    /// Allocations and frees of every class, and last of blocks without one.
    pub(super) classes: Vec<(u64, u64)>,
    /// Bytes asked for, ever.
    pub(super) asked: u64,
    /// Bytes of those that were freed.
    pub(super) returned: u64,
    /// Allocations of a class that the thread had no block for.
    pub(super) misses: u64,
}

impl Counters {
    /// All zero.
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Counters { classes: std::array::from_fn(|_| Class::default()), asked: zero(), returned: zero(), misses: zero() }
    }

    /// A block of a class, or of none ([`LARGE`]), was handed out for `bytes`.
    #[inline]
    pub(super) fn allocated(&self, by: By, class: usize, bytes: usize) {
        by.raise(&self.classes[class].allocations, 1);
        by.raise(&self.asked, bytes as u64);
    }

    /// A block came back.
    #[inline]
    pub(super) fn freed(&self, by: By, class: usize, bytes: usize) {
        by.raise(&self.classes[class].frees, 1);
        by.raise(&self.returned, bytes as u64);
    }

    /// The thread had no block of the class.
    pub(super) fn missed(&self, by: By) {
        by.raise(&self.misses, 1);
    }

    /// Adds those of a thread that ends.
    pub(super) fn merge(&self, other: &Counters) {
        let add = |to: &AtomicU64, from: &AtomicU64| By::Anyone.raise(to, from.load(Relaxed));
        for (to, from) in self.classes.iter().zip(&other.classes) {
            add(&to.allocations, &from.allocations);
            add(&to.frees, &from.frees);
        }
        add(&self.asked, &other.asked);
        add(&self.returned, &other.returned);
        add(&self.misses, &other.misses);
    }
}

impl Sums {
    /// All zero.
    pub(super) fn new() -> Self {
        Sums { classes: vec![(0, 0); LARGE + 1], asked: 0, returned: 0, misses: 0 }
    }

    /// Adds those of a thread.
    pub(super) fn add(&mut self, counters: &Counters) {
        for ((allocations, frees), class) in self.classes.iter_mut().zip(&counters.classes) {
            *allocations += class.allocations.load(Relaxed);
            *frees += class.frees.load(Relaxed);
        }
        self.asked += counters.asked.load(Relaxed);
        self.returned += counters.returned.load(Relaxed);
        self.misses += counters.misses.load(Relaxed);
    }
}
