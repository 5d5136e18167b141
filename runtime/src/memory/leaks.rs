//! What is live, for who thinks that nothing is.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::fmt;

use super::class;

/// Live allocations of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakReport {
    /// How many there are.
    pub allocations: u64,
    /// Bytes that were asked for in them.
    pub bytes: u64,
    /// By size, the largest first. Known in debug builds; empty in others.
    pub leaks: Vec<Leak>,
}

/// Live allocations of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Bytes that were asked for, in each.
    pub bytes: usize,
    /// Bytes of the block that each has, if it is of a size class; `None` for what is large or aligned to more than a
    /// line.
    pub class_bytes: Option<usize>,
    /// How many there are.
    pub count: u64,
}

impl LeakReport {
    /// A report on these totals and layouts.
    pub(super) fn new(allocations: u64, bytes: u64, layouts: &[Layout]) -> Self {
        let mut counts = BTreeMap::new();
        for &layout in layouts {
            *counts.entry((layout.size(), class::of(layout).map(class::size))).or_insert(0) += 1;
        }
        let leaks = counts.into_iter().rev().map(|((bytes, class_bytes), count)| Leak { bytes, class_bytes, count });
        LeakReport { allocations, bytes, leaks: leaks.collect() }
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.allocations == 0
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// So many sizes are told.
        const TOLD: usize = 8;
        write!(f, "{} live allocations of {} bytes", self.allocations, self.bytes)?;
        for (index, leak) in self.leaks.iter().take(TOLD).enumerate() {
            let kind = if leak.class_bytes.is_some() { "" } else { " (no class)" };
            write!(f, "{} {} × {} bytes{kind}", if index == 0 { ":" } else { "," }, leak.count, leak.bytes)?;
        }
        match self.leaks.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, ", and {more} smaller sizes"),
        }
    }
}
