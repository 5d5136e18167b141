//! What a thread keeps for itself: free blocks of every class, and its counters.

use std::cell::RefCell;
use std::sync::Arc;

use super::block::Block;
use super::counters::{By, Counters, LARGE};
use super::keeper::{Home, Keeper};
use super::shared::Shared;
use super::{MemoryError, class};

/// Live bytes that a thread may have got or lost before the pool is told: so far may a peak be off, for each thread.
const UNTOLD: i64 = 256 << 10;

thread_local! {
    static CACHES: RefCell<Caches> = const { RefCell::new(Caches { caches: Vec::new(), last: 0 }) };
}

/// A thread's caches, one for each pool that it uses.
struct Caches {
    caches: Vec<Cache>,
    /// The one that was used last.
    last: usize,
}

/// A thread's part of one pool. Dropped when the thread ends; the blocks then go back to the pool, where there still is
/// one.
pub(super) struct Cache {
    pool: u64,
    home: Home,
    /// By class, never more than its capacity.
    magazines: Box<[Vec<Block>]>,
    /// Of all magazines.
    bytes: usize,
    limit: usize,
    counters: Arc<Counters>,
    /// Live bytes, more or less, that the pool was not told of.
    untold: i64,
}

/// Calls `cached` with this thread's cache of a pool; where there can be none, which is so while a thread ends, `bare`.
#[inline]
pub(super) fn with<R>(keeper: &Keeper, cached: impl FnOnce(&mut Cache) -> R, bare: impl FnOnce() -> R) -> R {
    let result = CACHES.try_with(|caches| {
        // Borrowed already: the pool serves the very vectors that it consists of.
        caches.try_borrow_mut().ok().map(|mut caches| cached(caches.of(keeper)))
    });
    match result {
        Ok(Some(result)) => result,
        _ => bare(),
    }
}

impl Caches {
    #[inline]
    fn of(&mut self, keeper: &Keeper) -> &mut Cache {
        if self.caches.get(self.last).is_none_or(|cache| cache.pool != keeper.id) {
            self.seek(keeper);
        }
        &mut self.caches[self.last]
    }

    #[cold]
    fn seek(&mut self, keeper: &Keeper) {
        let found = self.caches.iter().position(|cache| cache.pool == keeper.id);
        self.last = found.unwrap_or_else(|| {
            self.caches.retain(|cache| !cache.home.ended());
            self.caches.push(Cache::new(keeper));
            self.caches.len() - 1
        });
    }
}

impl Cache {
    fn new(keeper: &Keeper) -> Self {
        Cache {
            pool: keeper.id,
            home: keeper.home(),
            magazines: (0..class::COUNT).map(|_| Vec::new()).collect(),
            bytes: 0,
            limit: keeper.config.thread_cache_bytes,
            counters: keeper.enrol(),
            untold: 0,
        }
    }

    /// A block of a class, for `bytes`.
    ///
    /// # Errors
    /// As [`Shared::supply`].
    #[inline]
    pub(super) fn allocate(&mut self, shared: &Shared, class: usize, bytes: usize) -> Result<Block, MemoryError> {
        let block = match self.magazines[class].pop() {
            Some(block) => block,
            None => self.refill(shared, class)?,
        };
        self.bytes -= class::size(class);
        self.allocated(shared, class, bytes);
        Ok(block)
    }

    /// Takes back a block of a class that was for `bytes`.
    #[inline]
    pub(super) fn free(&mut self, shared: &Shared, class: usize, bytes: usize, block: Block) {
        let magazine = &mut self.magazines[class];
        // What has no capacity yet is full, too.
        if magazine.len() == magazine.capacity() {
            self.make_room(shared, class);
        }
        self.magazines[class].push(block);
        self.bytes += class::size(class);
        self.freed(shared, class, bytes);
        if self.bytes > self.limit {
            self.shed(shared);
        }
    }

    /// Counts a block without a class that was handed out for `bytes`.
    pub(super) fn allocated_large(&mut self, shared: &Shared, bytes: usize) {
        self.allocated(shared, LARGE, bytes);
    }

    /// Counts one that came back.
    pub(super) fn freed_large(&mut self, shared: &Shared, bytes: usize) {
        self.freed(shared, LARGE, bytes);
    }

    /// Gives all blocks back to the pool.
    pub(super) fn empty(&mut self, shared: &Shared) {
        for class in 0..class::COUNT {
            self.give(shared, class, usize::MAX);
        }
    }

    #[inline]
    fn allocated(&mut self, shared: &Shared, class: usize, bytes: usize) {
        self.counters.allocated(By::Owner, class, bytes);
        self.untold += bytes as i64;
        if self.untold > UNTOLD {
            self.tell(shared);
        }
    }

    #[inline]
    fn freed(&mut self, shared: &Shared, class: usize, bytes: usize) {
        self.counters.freed(By::Owner, class, bytes);
        self.untold -= bytes as i64;
        if self.untold < -UNTOLD {
            self.tell(shared);
        }
    }

    #[cold]
    fn tell(&mut self, shared: &Shared) {
        shared.change(std::mem::take(&mut self.untold));
    }

    /// Fills a magazine that is empty, and takes a block from it. It stays counted in `bytes`.
    #[cold]
    fn refill(&mut self, shared: &Shared, class: usize) -> Result<Block, MemoryError> {
        let size = class::size(class);
        // Not into a cache that is full already.
        let room = self.limit.saturating_sub(self.bytes) / size;
        let magazine = &mut self.magazines[class];
        reserve(magazine, class);
        shared.supply(class, class::batch(class).min(room).max(1), magazine)?;
        self.counters.missed(By::Owner);
        self.bytes += magazine.len() * size;
        match magazine.pop() {
            Some(block) => Ok(block),
            // Not so: there is one, or the error above.
            None => shared.supply_one(class).map(Block::new).inspect(|_| self.bytes += size),
        }
    }

    #[cold]
    fn make_room(&mut self, shared: &Shared, class: usize) {
        reserve(&mut self.magazines[class], class);
        if self.magazines[class].len() == self.magazines[class].capacity() {
            self.give(shared, class, self.magazines[class].len() / 2);
        }
    }

    /// Gives back half of what classes have, the largest first, until the bytes are half of the limit: small blocks are
    /// few bytes and many calls.
    #[cold]
    fn shed(&mut self, shared: &Shared) {
        while self.bytes > self.limit / 2 {
            for class in (0..class::COUNT).rev() {
                self.give(shared, class, self.magazines[class].len().div_ceil(2));
                if self.bytes <= self.limit / 2 {
                    return;
                }
            }
        }
    }

    /// Gives back so many blocks of a class: those that were not used for longest.
    fn give(&mut self, shared: &Shared, class: usize, count: usize) {
        let magazine = &mut self.magazines[class];
        let count = count.min(magazine.len());
        if count > 0 {
            self.bytes -= count * class::size(class);
            shared.absorb(class, magazine.drain(..count));
        }
    }
}

/// Makes room for all blocks that a magazine may have, the first time.
fn reserve(magazine: &mut Vec<Block>, class: usize) {
    if magazine.capacity() == 0 {
        magazine.reserve_exact(class::capacity(class));
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Where the pool has ended, so have the blocks; they are forgotten.
        if let Some(keeper) = self.home.keeper() {
            self.empty(&keeper);
            self.tell(&keeper);
            keeper.retire(&self.counters);
        }
    }
}
