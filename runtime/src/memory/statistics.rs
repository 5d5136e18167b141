//! What a pool has and gives, in numbers.

/// A pool at one moment. While other threads allocate, the numbers may be of slightly different moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of live allocations, as they were asked for.
    pub asked_bytes: u64,
    /// The most that [`Statistics::asked_bytes`] was; for every thread it may be up to 256 KiB, or a block, too low.
    pub peak_asked_bytes: u64,
    /// Bytes of the system's memory: all that regions have ever handed out, in whole pages of 4 KiB, but for free pages
    /// that were given back. Where the system backs a region by huge pages, it may have up to 2 MiB more. The pool's own collections are not counted.
    pub held_bytes: u64,
    /// The most that [`Statistics::held_bytes`] was.
    pub peak_held_bytes: u64,
    /// Bytes of address space in regions. Beyond [`Statistics::held_bytes`] they cost nothing yet.
    pub mapped_bytes: u64,
    /// Bytes of free blocks that threads keep, for themselves and for each other.
    pub cached_bytes: u64,
    /// Every size class, the smallest first.
    pub classes: Vec<ClassStatistics>,
    /// Allocations so far that have no size class: of more than 64 KiB, or aligned to more than 64 bytes.
    pub large_allocations: u64,
    /// Those of them that are live.
    pub large_live: u64,
    /// Free bytes that blocks of more than 64 KiB have left.
    pub large_free_bytes: u64,
    /// Bytes of the longest run of these.
    pub large_free_longest: u64,
    /// Allocations of a size class that the thread had a free block for.
    pub cache_hits: u64,
    /// Allocations of a size class that it had none for.
    pub cache_misses: u64,
}

/// One size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassStatistics {
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Allocations so far.
    pub allocations: u64,
    /// Live ones.
    pub live: u64,
}

impl Statistics {
    /// Bytes held for a byte that is live, less one: 0.02 is 2 % of overhead. 0 where nothing is live.
    pub fn overhead(&self) -> f64 {
        if self.asked_bytes == 0 { 0.0 } else { self.held_bytes as f64 / self.asked_bytes as f64 - 1.0 }
    }

    /// The share of large free bytes that is not in their longest run: 0 where they are one run, or none.
    pub fn fragmentation(&self) -> f64 {
        if self.large_free_bytes == 0 {
            0.0
        } else {
            1.0 - self.large_free_longest as f64 / self.large_free_bytes as f64
        }
    }

    /// The share of allocations of a size class that the thread had a free block for; 0 where there were none.
    pub fn hit_rate(&self) -> f64 {
        let all = self.cache_hits + self.cache_misses;
        if all == 0 { 0.0 } else { self.cache_hits as f64 / all as f64 }
    }

    /// Live allocations.
    pub fn live(&self) -> u64 {
        self.large_live + self.classes.iter().map(|class| class.live).sum::<u64>()
    }
}
