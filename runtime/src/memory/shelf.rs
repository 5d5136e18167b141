//! Free blocks that threads leave for each other, without a lock.
//!
//! A shelf is a row of places, each empty or with one block. Whoever swaps a block out of its place owns it; whoever turns
//! an empty place into one with a block has given it away. Nothing is linked, so that a place that was emptied and filled
//! in between is no trap, as it is for lock-free lists.

use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::block::Block;
use super::sync::{AtomicPtr, AtomicUsize};

/// Free blocks of one size.
#[derive(Debug)]
pub(super) struct Shelf {
    places: Box<[AtomicPtr<u8>]>,
}

impl Shelf {
    /// An empty one.
    pub(super) fn new(places: usize) -> Self {
        Shelf { places: (0..places).map(|_| AtomicPtr::new(ptr::null_mut())).collect() }
    }

    /// Leaves a block here; returns it where there is no place.
    pub(super) fn put(&self, block: Block) -> Result<(), Block> {
        let start = block.start();
        for place in &self.places {
            if place.load(Relaxed).is_null()
                // Release: what this thread did to the block is done before another has it.
                && place.compare_exchange(ptr::null_mut(), start.as_ptr(), Release, Relaxed).is_ok()
            {
                return Ok(());
            }
        }
        Err(Block::new(start))
    }

    /// Takes a block from here; `None` where there was none in any place when it was looked at.
    pub(super) fn take(&self) -> Option<Block> {
        self.places.iter().find_map(|place| {
            if place.load(Relaxed).is_null() {
                return None;
            }
            // Another may have been faster: then it is null now.
            ptr::NonNull::new(place.swap(ptr::null_mut(), Acquire)).map(Block::new)
        })
    }
}

/// A shelf for every class, with so many bytes in all.
#[derive(Debug)]
pub(super) struct Shelves {
    /// With the bytes of a block.
    shelves: Box<[(Shelf, usize)]>,
    bytes: AtomicUsize,
    limit: usize,
    /// Where to look next for what may go.
    cursor: AtomicUsize,
}

impl Shelves {
    /// Empty ones, of so many places for blocks of so many bytes each, for `limit` bytes.
    pub(super) fn new(shelves: impl Iterator<Item = (usize, usize)>, limit: usize) -> Self {
        let shelves = shelves.map(|(places, size)| (Shelf::new(places), size)).collect();
        Shelves { shelves, bytes: AtomicUsize::new(0), limit, cursor: AtomicUsize::new(0) }
    }

    /// Leaves a block on the shelf of its class; returns it where there is no room.
    pub(super) fn put(&self, class: usize, block: Block) -> Result<(), Block> {
        let (shelf, size) = &self.shelves[class];
        // Counted before it can be taken, so that the count is never below 0.
        if self.bytes.fetch_add(*size, Relaxed).saturating_add(*size) > self.limit {
            self.bytes.fetch_sub(*size, Relaxed);
            return Err(block);
        }
        shelf.put(block).inspect_err(|_| _ = self.bytes.fetch_sub(*size, Relaxed))
    }

    /// Takes a block from the shelf of a class.
    pub(super) fn take(&self, class: usize) -> Option<Block> {
        let (shelf, size) = &self.shelves[class];
        let block = shelf.take()?;
        self.bytes.fetch_sub(*size, Relaxed);
        Some(block)
    }

    /// Takes a block of any class, where there are few bytes of room: the classes have their turns.
    pub(super) fn evict(&self) -> Option<(usize, Block)> {
        /// So many shelves are looked at.
        const LOOKS: usize = 4;
        if self.bytes.load(Relaxed) <= self.limit / 4 * 3 {
            return None;
        }
        (0..LOOKS).find_map(|_| {
            let class = self.cursor.fetch_add(1, Relaxed) % self.shelves.len();
            Some((class, self.take(class)?))
        })
    }
}
