//! Best fit over regions, in whole cache lines; what comes back is joined with its neighbours.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;

use super::block::Block;
use super::dry::Dry;
use super::footprint::{Footprint, PAGE};
use super::map::Map;
use super::runs::Runs;
use super::{LINE, MAX_ALIGN, MemoryError, PoolConfig};

/// Free runs of so many bytes are worth a call of the system, when it is asked for more memory anyway.
const WORTH: usize = 64 << 10;
/// Beyond this part of the live bytes, holes are given back to the system before it is asked for more.
const HOLES: usize = 16;
/// So many blocks that came back wait for the same size to be asked for again, before they are joined.
const WAITING: usize = 8;

/// Regions and the free runs in them. Its collections are the process's own: they take some hundred bytes a free run.
#[derive(Debug)]
pub(super) struct Heap {
    /// By the address of their first byte.
    regions: BTreeMap<usize, Region>,
    runs: Runs,
    /// Pages in free runs that the system has back.
    dry: Dry,
    /// Bytes of free runs that remained when pages last went back.
    wet: usize,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    waiting_limit: usize,
    /// Bytes handed out and not back, in regions as a whole.
    live: usize,
    /// Bytes ever handed out of regions in which nothing is live.
    idle: usize,
    retained: usize,
    region_bytes: usize,
    huge_pages: bool,
    footprint: Arc<Footprint>,
}

/// A part of address space. Bytes from `top` on were never handed out.
#[derive(Debug)]
pub(super) struct Region {
    map: Map,
    top: usize,
    live: usize,
}

#[derive(Debug)]
struct Waiting {
    block: Block,
    len: usize,
}

/// Memory of a heap, handed out.
#[derive(Debug)]
pub(super) struct Taken {
    /// The first byte.
    pub(super) start: NonNull<u8>,
    /// Blocks, one behind the other.
    pub(super) blocks: usize,
    /// Never handed out before, hence zeros.
    pub(super) fresh: bool,
}

impl Heap {
    /// Without a region yet. Up to `waiting_limit` bytes of what comes back wait for the same size to be asked for.
    pub(super) fn new(config: &PoolConfig, footprint: Arc<Footprint>, waiting_limit: usize) -> Self {
        Heap {
            regions: BTreeMap::new(),
            runs: Runs::default(),
            dry: Dry::default(),
            wet: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_limit,
            live: 0,
            idle: 0,
            retained: config.retained_bytes,
            region_bytes: config.region_bytes.clamp(MAX_ALIGN, isize::MAX as usize / 4),
            huge_pages: config.huge_pages,
            footprint,
        }
    }

    /// From one to `most` blocks of `size` bytes, whole lines, one behind the other; the first begins at a multiple of
    /// `align`, a power of two up to [`MAX_ALIGN`]. Few are taken from a run rather than many from a longer one, so that
    /// small holes fill first.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`], [`MemoryError::LimitReached`].
    pub(super) fn take(&mut self, size: usize, align: usize, most: usize) -> Result<Taken, MemoryError> {
        debug_assert!(size > 0 && size.is_multiple_of(LINE) && align.is_power_of_two() && align <= MAX_ALIGN);
        if let Some(taken) = self.take_waiting(size, align).or_else(|| self.take_run(size, align, most)) {
            return Ok(taken);
        }
        // Joined with their neighbours, those that wait may make room.
        if !self.waiting.is_empty() {
            self.settle();
            if let Some(taken) = self.take_run(size, align, most) {
                return Ok(taken);
            }
        }
        self.wet = self.wet.min(self.wet());
        if self.wet() - self.wet > self.live / HOLES + WORTH {
            self.purge(WORTH);
        }
        if let Some(taken) = self.take_top(size, align, most) {
            return Ok(taken);
        }
        self.map(size)?;
        self.take_top(size, align, most).ok_or_else(|| out_of_memory(size, std::io::ErrorKind::OutOfMemory.into()))
    }

    /// Takes back `len` bytes, whole lines, of what [`Heap::take`] handed out, in any parts. A region that is to be given
    /// back to the system is put to `gone`, to be dropped once the heap is unlocked.
    pub(super) fn give(&mut self, block: Block, len: usize, gone: &mut Vec<Region>) {
        if len > self.waiting_limit {
            return self.join(block, len, gone);
        }
        while self.waiting.len() >= WAITING || self.waiting_bytes + len > self.waiting_limit {
            let oldest = self.waiting.remove(0);
            self.waiting_bytes -= oldest.len;
            self.join(oldest.block, oldest.len, gone);
        }
        self.waiting.push(Waiting { block, len });
        self.waiting_bytes += len;
    }

    /// Joins what waits, and gives back every region that nothing lives in, and every free page of the others.
    pub(super) fn trim(&mut self, gone: &mut Vec<Region>) {
        self.settle();
        let idle: Vec<usize> = self.regions.iter().filter(|(_, region)| region.live == 0).map(|(&at, _)| at).collect();
        for base in idle {
            self.idle -= self.regions.get(&base).map_or(0, |region| region.top);
            gone.extend(self.remove(base));
        }
        self.purge(PAGE);
    }

    /// Bytes handed out and not back, those that wait not counted.
    pub(super) fn live(&self) -> usize {
        self.live - self.waiting_bytes
    }

    /// Bytes that were handed out and are free, and those of the longest run of them.
    pub(super) fn free(&self) -> (usize, usize) {
        let longest = self.waiting.iter().map(|waiting| waiting.len).max().unwrap_or(0);
        (self.runs.bytes() + self.waiting_bytes, self.runs.longest().max(longest))
    }

    fn take_waiting(&mut self, size: usize, align: usize) -> Option<Taken> {
        // The last is the likeliest to be in a cache.
        let fits = |waiting: &Waiting| waiting.len == size && waiting.block.address().is_multiple_of(align);
        let Waiting { block, len } = self.waiting.remove(self.waiting.iter().rposition(fits)?);
        self.waiting_bytes -= len;
        Some(Taken { start: block.start(), blocks: 1, fresh: false })
    }

    fn take_run(&mut self, size: usize, align: usize, most: usize) -> Option<Taken> {
        let (start, blocks) = self.runs.cut(size, align, most)?;
        self.enliven(start, blocks * size);
        Some(Taken { start: self.pointer(start)?, blocks, fresh: false })
    }

    /// From the end of a region, where nothing was yet, and from the free run before it.
    fn take_top(&mut self, size: usize, align: usize, most: usize) -> Option<Taken> {
        let (base, tail, start, blocks) = self.regions.iter().find_map(|(&base, region)| {
            let (top, end) = (base + region.top, base + region.map.len());
            if top == end {
                return None;
            }
            let tail = self.runs.ending(top).filter(|&tail| tail >= base).unwrap_or(top);
            let start = tail.next_multiple_of(align);
            let blocks = (end.saturating_sub(start) / size).min(most);
            (blocks > 0).then_some((base, tail, start, blocks))
        })?;
        let end = start + blocks * size;
        self.runs.remove(tail);
        let region = self.regions.get_mut(&base)?;
        let (before, top) = (region.top, region.top.max(end - base));
        region.top = top;
        self.footprint.hold(top.next_multiple_of(PAGE) - before.next_multiple_of(PAGE));
        if region.live == 0 {
            self.idle += top - before;
        }
        self.runs.insert(tail, start - tail);
        self.runs.insert(end, base + top - end);
        self.enliven(start, end - start);
        Some(Taken { start: self.pointer(start)?, blocks, fresh: start >= base + before })
    }

    /// One more region, with room for `size` bytes.
    fn map(&mut self, size: usize) -> Result<(), MemoryError> {
        let least = size.checked_next_multiple_of(PAGE).filter(|&least| least <= isize::MAX as usize - MAX_ALIGN);
        let least = least.ok_or_else(|| out_of_memory(size, std::io::ErrorKind::OutOfMemory.into()))?;
        let wish = self.region_bytes.max(least).next_multiple_of(MAX_ALIGN);
        let footprint = &self.footprint;
        let len = footprint.map(wish, least).ok_or_else(|| MemoryError::LimitReached {
            bytes: size,
            mapped: footprint.mapped(),
            limit: footprint.limit(),
        })?;
        // Where there is no room for a whole region, there may be for the block.
        let map = Map::new(len, self.huge_pages).or_else(|error| {
            if len == least {
                return Err(error);
            }
            let map = Map::new(least, self.huge_pages)?;
            footprint.unmap(len - least);
            Ok(map)
        });
        match map {
            Ok(map) => {
                self.regions.insert(map.base().addr().get(), Region { map, top: 0, live: 0 });
                Ok(())
            }
            Err(source) => {
                footprint.unmap(len);
                Err(out_of_memory(size, source))
            }
        }
    }

    /// Counts bytes that were handed out.
    fn enliven(&mut self, start: usize, len: usize) {
        self.live += len;
        if let Some((_, region)) = self.regions.range_mut(..=start).next_back() {
            if region.live == 0 {
                self.idle -= region.top;
            }
            region.live += len;
        }
        self.footprint.hold(self.dry.remove(start..start + len));
    }

    /// Gives the pages of all free runs of `least` bytes or more back to the system.
    fn purge(&mut self, least: usize) {
        for run in self.runs.at_least(least) {
            let pages = run.start.next_multiple_of(PAGE)..run.end / PAGE * PAGE;
            let Some((&base, region)) = self.regions.range(..=run.start).next_back() else { continue };
            if pages.is_empty() || self.dry.covers(&pages) {
                continue;
            }
            // SAFETY: within a free run, of which nobody uses a byte; who gets it next is told that it may be anything.
            if unsafe { region.map.purge(pages.start - base, pages.len()) } {
                self.footprint.release(self.dry.insert(pages));
            }
        }
        self.wet = self.wet();
    }

    /// Bytes of free runs that the system does not have back.
    fn wet(&self) -> usize {
        self.runs.bytes() - self.dry.bytes()
    }

    fn settle(&mut self) {
        for Waiting { block, len } in std::mem::take(&mut self.waiting) {
            self.waiting_bytes -= len;
            // Regions that become empty stay: there is need of memory, or `trim` will find them.
            self.join_runs(block, len);
        }
    }

    /// Makes bytes a free run; gives their region back to the system where it is empty and enough is retained.
    fn join(&mut self, block: Block, len: usize, gone: &mut Vec<Region>) {
        if let Some((base, top)) = self.join_runs(block, len)
            && self.idle > self.retained
        {
            self.idle -= top;
            gone.extend(self.remove(base));
        }
    }

    /// Makes bytes a free run, joined with its neighbours; returns base and top of their region where it is now empty.
    fn join_runs(&mut self, block: Block, len: usize) -> Option<(usize, usize)> {
        let start = block.address();
        // Of another allocator, or of other bytes than were handed out: better lost than handed out again.
        let (&base, region) = self.regions.range_mut(..=start).next_back()?;
        if start - base + len > region.top || region.live < len {
            return None;
        }
        region.live -= len;
        self.live -= len;
        // Of two regions side by side the runs stay apart: a pointer into one may not leave it.
        self.runs.join(start..start + len, base..base + region.top);
        if region.live > 0 {
            return None;
        }
        self.idle += region.top;
        Some((base, region.top))
    }

    /// Takes out a region in which nothing lives.
    fn remove(&mut self, base: usize) -> Option<Region> {
        let region = self.regions.remove(&base)?;
        self.runs.clear(base..base + region.map.len());
        let dry = self.dry.remove(base..base + region.map.len());
        self.footprint.release(region.top.next_multiple_of(PAGE) - dry);
        self.footprint.unmap(region.map.len());
        Some(region)
    }

    /// The pointer to an address in a region.
    fn pointer(&self, address: usize) -> Option<NonNull<u8>> {
        let (&base, region) = self.regions.range(..=address).next_back()?;
        let offset = address - base;
        // SAFETY: the offset is checked to lie within the map, which is one allocation.
        (offset < region.map.len()).then(|| unsafe { region.map.base().add(offset) })
    }
}

fn out_of_memory(bytes: usize, source: std::io::Error) -> MemoryError {
    MemoryError::OutOfMemory { bytes, source }
}
