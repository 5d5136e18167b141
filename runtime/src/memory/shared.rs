//! The inside of a pool, which its threads share.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::Block;
use super::counters::{By, Counters, LARGE, Sums};
use super::footprint::Footprint;
use super::heap::{Heap, Taken};
use super::ledger::Ledger;
use super::shelf::Shelves;
use super::statistics::{ClassStatistics, Statistics};
use super::{LINE, MemoryError, PoolConfig, class};

/// Everything of a pool but what its threads keep.
#[derive(Debug)]
pub(super) struct Shared {
    /// No two pools of a process ever have the same.
    pub(super) id: u64,
    pub(super) config: PoolConfig,
    /// Who is live, in debug builds.
    pub(super) ledger: Ledger,
    /// For blocks of up to 64 KiB.
    small: Mutex<Heap>,
    /// For larger ones: between long-lived small blocks they would find no room.
    large: Mutex<Heap>,
    shelves: Shelves,
    footprint: Arc<Footprint>,
    /// Bytes of blocks of the small heap that have no class, for their alignment.
    aligned: AtomicUsize,
    threads: Mutex<Vec<Arc<Counters>>>,
    /// Of threads that have ended, and of those that cannot have counters.
    common: Counters,
    live: AtomicI64,
    peak: AtomicI64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Without a region yet.
    pub(super) fn new(config: PoolConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let footprint = Arc::new(Footprint::new(config.limit_bytes));
        let heap = |waiting| Mutex::new(Heap::new(&config, Arc::clone(&footprint), waiting));
        Shared {
            id: NEXT.fetch_add(1, Relaxed),
            ledger: Ledger::default(),
            small: heap(0),
            large: heap(config.retained_bytes / 2),
            shelves: Shelves::new(
                (0..class::COUNT).map(|class| (class::places(class), class::size(class))),
                config.shared_cache_bytes,
            ),
            aligned: AtomicUsize::new(0),
            threads: Mutex::default(),
            common: Counters::new(),
            live: AtomicI64::new(0),
            peak: AtomicI64::new(0),
            footprint,
            config,
        }
    }

    /// From one to `most` blocks of a class, put to `blocks`.
    ///
    /// # Errors
    /// As [`Heap::take`]; then there is none.
    pub(super) fn supply(&self, class: usize, most: usize, blocks: &mut Vec<Block>) -> Result<(), MemoryError> {
        let size = class::size(class);
        let before = blocks.len();
        blocks.extend(std::iter::from_fn(|| self.shelves.take(class)).take(most));
        if blocks.len() > before {
            return Ok(());
        }
        let taken = self.carve(&self.small, size, LINE, most)?;
        // The first comes out first, so that neighbours are used one after the other.
        blocks.extend((0..taken.blocks).rev().map(|index| {
            // SAFETY: the heap handed out so many blocks of this size, one behind the other.
            Block::new(unsafe { taken.start.add(index * size) })
        }));
        Ok(())
    }

    /// Takes back blocks of a class: onto the shelf, the rest to the heap.
    pub(super) fn absorb(&self, class: usize, blocks: impl Iterator<Item = Block>) {
        let size = class::size(class);
        let mut blocks = blocks.filter_map(|block| self.shelves.put(class, block).err());
        let Some(first) = blocks.next() else { return };
        let mut gone = Vec::new();
        let mut heap = lock(&self.small);
        for block in std::iter::once(first).chain(blocks) {
            // What has lain on the shelves makes room, so that they do not fill with what nobody asks for.
            if let Some((other, old)) = self.shelves.evict() {
                heap.give(old, class::size(other), &mut gone);
            }
            let Err(block) = self.shelves.put(class, block) else { continue };
            heap.give(block, size, &mut gone);
        }
        // The system takes its time over a region: not while others wait.
        drop(heap);
        drop(gone);
    }

    /// A block without a class, and whether it is zeros.
    ///
    /// # Errors
    /// As [`Heap::take`].
    pub(super) fn take(&self, layout: Layout) -> Result<(NonNull<u8>, bool), MemoryError> {
        let size = class::lines(layout.size());
        let taken = self.carve(self.heap(layout), size, layout.align(), 1)?;
        if size <= class::LARGEST {
            self.aligned.fetch_add(size, Relaxed);
        }
        Ok((taken.start, taken.fresh))
    }

    /// Takes back a block without a class.
    pub(super) fn give(&self, start: NonNull<u8>, layout: Layout) {
        let (size, mut gone) = (class::lines(layout.size()), Vec::new());
        if size <= class::LARGEST {
            self.aligned.fetch_sub(size, Relaxed);
        }
        lock(self.heap(layout)).give(Block::new(start), size, &mut gone);
    }

    /// Of a heap; where there is no room, once more after all that can be has gone back to the system.
    fn carve(&self, heap: &Mutex<Heap>, size: usize, align: usize, most: usize) -> Result<Taken, MemoryError> {
        let taken = lock(heap).take(size, align, most);
        taken.or_else(|_| {
            self.trim();
            lock(heap).take(size, align, most)
        })
    }

    fn heap(&self, layout: Layout) -> &Mutex<Heap> {
        if layout.size() <= class::LARGEST { &self.small } else { &self.large }
    }

    /// A block of a class, for a thread that has no cache.
    ///
    /// # Errors
    /// As [`Heap::take`].
    pub(super) fn supply_one(&self, class: usize) -> Result<NonNull<u8>, MemoryError> {
        let size = class::size(class);
        match self.shelves.take(class) {
            Some(block) => Ok(block.start()),
            None => Ok(self.carve(&self.small, size, LINE, 1)?.start),
        }
    }

    /// Counters for a thread of its own.
    pub(super) fn enrol(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::new());
        lock(&self.threads).push(Arc::clone(&counters));
        counters
    }

    /// A thread ends: what it counted stays.
    pub(super) fn retire(&self, counters: &Arc<Counters>) {
        let mut threads = lock(&self.threads);
        if let Some(at) = threads.iter().position(|thread| Arc::ptr_eq(thread, counters)) {
            threads.swap_remove(at);
            self.common.merge(counters);
        }
    }

    /// Live bytes have changed; the peak follows.
    pub(super) fn change(&self, bytes: i64) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        // Seldom so, and a load is cheaper.
        if live > self.peak.load(Relaxed) {
            self.peak.fetch_max(live, Relaxed);
        }
    }

    /// Gives back to the system what the heaps can, after what is on the shelves has gone to them.
    pub(super) fn trim(&self) {
        let mut gone = Vec::new();
        let mut small = lock(&self.small);
        for class in 0..class::COUNT {
            let size = class::size(class);
            while let Some(block) = self.shelves.take(class) {
                small.give(block, size, &mut gone);
            }
        }
        small.trim(&mut gone);
        drop(small);
        lock(&self.large).trim(&mut gone);
    }

    /// What there is now.
    pub(super) fn statistics(&self) -> Statistics {
        let mut sums = Sums::new();
        let threads = lock(&self.threads);
        sums.add(&self.common);
        threads.iter().for_each(|counters| sums.add(counters));
        drop(threads);
        let asked = sums.asked.saturating_sub(sums.returned);
        let in_small = lock(&self.small).live();
        let (free, largest) = lock(&self.large).free();
        let classes: Vec<ClassStatistics> = (0..class::COUNT)
            .map(|class| {
                let (allocations, frees) = sums.classes[class];
                ClassStatistics {
                    block_bytes: class::size(class),
                    allocations,
                    live: allocations.saturating_sub(frees),
                }
            })
            .collect();
        let in_classes: u64 = classes.iter().map(|class| class.live * class.block_bytes as u64).sum();
        let of_classes: u64 = classes.iter().map(|class| class.allocations).sum();
        let (large, large_freed) = sums.classes[LARGE];
        Statistics {
            asked_bytes: asked,
            peak_asked_bytes: asked.max(self.peak.load(Relaxed).max(0) as u64),
            held_bytes: self.footprint.held() as u64,
            peak_held_bytes: self.footprint.peak() as u64,
            mapped_bytes: self.footprint.mapped() as u64,
            cached_bytes: (in_small as u64).saturating_sub(in_classes + self.aligned.load(Relaxed) as u64),
            classes,
            large_allocations: large,
            large_live: large.saturating_sub(large_freed),
            large_free_bytes: free as u64,
            large_free_longest: largest as u64,
            cache_hits: of_classes.saturating_sub(sums.misses),
            cache_misses: sums.misses,
        }
    }

    /// Counts a block of a class, or of none, for a thread that has no counters.
    pub(super) fn count(&self, class: usize, bytes: usize, allocated: bool) {
        if allocated {
            self.common.allocated(By::Anyone, class, bytes);
            self.change(bytes as i64);
        } else {
            self.common.freed(By::Anyone, class, bytes);
            self.change(-(bytes as i64));
        }
    }

    /// Counts a block of a class that no thread had at hand.
    pub(super) fn miss(&self) {
        self.common.missed(By::Anyone);
    }
}
