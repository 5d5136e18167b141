//! The pool, as its users see it.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use bytemuck::Pod;

use super::block::Block;
use super::counters::LARGE;
use super::keeper::Keeper;
use super::leaks::LeakReport;
use super::scoped::ScopedAllocation;
use super::shared::Shared;
use super::statistics::Statistics;
use super::{MAX_ALIGN, MemoryError, PoolConfig, cache, class};

static INSTANCE: OnceLock<HybridMemoryPool> = OnceLock::new();
static SPARSE: OnceLock<HybridMemoryPool> = OnceLock::new();

/// A pool of memory, for any number of threads.
///
/// When it is dropped, its memory goes back to the system as soon as no [`ScopedAllocation`] of it is left; in debug
/// builds, a line to stderr says what was live.
#[derive(Debug)]
pub struct HybridMemoryPool {
    keeper: Keeper,
}

impl Default for HybridMemoryPool {
    fn default() -> Self {
        HybridMemoryPool::new(PoolConfig::default())
    }
}

impl HybridMemoryPool {
    /// A pool of its own. It asks the system for memory when it is first asked for some.
    pub fn new(config: PoolConfig) -> Self {
        HybridMemoryPool { keeper: Keeper::Counted(Arc::new(Shared::new(config))) }
    }

    /// The pool of the process, which is made by the first call and never dropped: see [`report_leaks`].
    pub fn instance() -> &'static Self {
        INSTANCE.get_or_init(|| HybridMemoryPool::forever(PoolConfig::default()))
    }

    /// The process's other pool, for large blocks that are touched little by little, or never in full, as the keys and
    /// values of a context are. It uses no huge pages, which one byte would touch, and retains nothing.
    pub fn sparse() -> &'static Self {
        let config = || PoolConfig { huge_pages: false, retained_bytes: 0, ..PoolConfig::default() };
        SPARSE.get_or_init(|| HybridMemoryPool::forever(config()))
    }

    fn forever(config: PoolConfig) -> Self {
        HybridMemoryPool { keeper: Keeper::Forever(Box::leak(Box::new(Shared::new(config)))) }
    }

    /// `len` elements, all bytes of them zero, which go back to the pool when the allocation is dropped. Their first
    /// byte is aligned to 64 bytes, or more where the type is.
    ///
    /// # Errors
    /// [`MemoryError::SizeOverflow`], where that many elements are more than `isize::MAX` bytes, and as
    /// [`HybridMemoryPool::allocate_raw`].
    pub fn allocate_typed<T: Pod>(&self, len: usize) -> Result<ScopedAllocation<T>, MemoryError> {
        let layout = array::<T>(len)?;
        let (start, zero) = allocate(&self.keeper, layout).map_err(|error| error.of(layout.size()))?;
        if !zero {
            // SAFETY: the block has the layout's bytes, and is ours alone.
            unsafe { start.write_bytes(0, layout.size()) };
        }
        // SAFETY: handed out for this layout, and of a `Pod` type zeros are a value, and there is nothing to drop.
        Ok(unsafe { ScopedAllocation::new(start.cast(), len, layout, self.keeper.clone()) })
    }

    /// `len` elements that are still to be written, which go back to the pool when the allocation is dropped; aligned as
    /// those of [`HybridMemoryPool::allocate_typed`]. Nothing in a block is touched.
    ///
    /// # Errors
    /// Those of [`HybridMemoryPool::allocate_typed`].
    pub fn allocate_uninit<T>(&self, len: usize) -> Result<ScopedAllocation<MaybeUninit<T>>, MemoryError> {
        let layout = array::<T>(len)?;
        let start = self.allocate_raw(layout)?;
        // SAFETY: handed out for this layout; any bytes are a `MaybeUninit`, and there is nothing to drop.
        Ok(unsafe { ScopedAllocation::new(start.cast(), len, layout, self.keeper.clone()) })
    }

    /// A block of `layout.size()` bytes, of any contents, that begins at a multiple of `layout.align()`, and of 64. It
    /// is valid until it is freed by [`HybridMemoryPool::deallocate`], or until the pool and all of its
    /// [`ScopedAllocation`]s have been dropped.
    ///
    /// For no bytes at all the pointer is one that nothing may be read from, and nothing is counted.
    ///
    /// # Errors
    /// [`MemoryError::AlignmentUnsupported`], beyond [`MAX_ALIGN`]; [`MemoryError::OutOfMemory`], where the system has
    /// no room; [`MemoryError::LimitReached`], where [`PoolConfig::limit_bytes`] leaves none.
    pub fn allocate_raw(&self, layout: Layout) -> Result<NonNull<u8>, MemoryError> {
        allocate(&self.keeper, layout).map(|(start, _)| start).map_err(|error| error.of(layout.size()))
    }

    /// Frees a block, on any thread. In debug builds one that is free already, or had another layout, is refused with a
    /// line to stderr.
    ///
    /// # Safety
    /// `start` is what [`HybridMemoryPool::allocate_raw`] of this pool returned for `layout`: that pointer or a copy,
    /// not one from a reference into the block. It was not freed since, and nobody uses the block any more.
    pub unsafe fn deallocate(&self, start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { deallocate(&self.keeper, start, layout) };
    }

    /// What the pool has and gives now. It costs some microseconds: counters of all threads are added up.
    pub fn statistics(&self) -> Statistics {
        self.keeper.statistics()
    }

    /// What is live now; sizes in debug builds alone.
    pub fn leaks(&self) -> LeakReport {
        let statistics = self.statistics();
        LeakReport::new(statistics.live(), statistics.asked_bytes, &self.keeper.ledger.layouts())
    }

    /// Gives back to the system what can be: the free blocks of this thread, and those that threads left for each other,
    /// are joined with their neighbours; no empty region is retained, nor (on Linux) a free page in the others.
    pub fn trim(&self) {
        cache::with(&self.keeper, |cache| cache.empty(&self.keeper), || ());
        self.keeper.trim();
    }
}

impl Drop for HybridMemoryPool {
    fn drop(&mut self) {
        tell(self, "dropped");
    }
}

/// In debug builds, says on stderr what is live in the pools of the process, if anything is: for the end of `main`, since
/// these pools are never dropped.
pub fn report_leaks() {
    for pool in [&INSTANCE, &SPARSE].into_iter().filter_map(OnceLock::get) {
        tell(pool, "ends");
    }
}

/// The layout of so many elements.
fn array<T>(len: usize) -> Result<Layout, MemoryError> {
    Layout::array::<T>(len).map_err(|_| MemoryError::SizeOverflow { count: len, size: size_of::<T>() })
}

fn tell(pool: &HybridMemoryPool, when: &str) {
    if cfg!(debug_assertions) {
        let leaks = pool.leaks();
        if !leaks.is_empty() {
            eprintln!("memory pool {} {when} with {leaks}", pool.keeper.id);
        }
    }
}

/// A block for a layout, and whether it is zeros for sure.
#[inline]
fn allocate(keeper: &Keeper, layout: Layout) -> Result<(NonNull<u8>, bool), MemoryError> {
    let bytes = layout.size();
    if bytes == 0 {
        return Ok((layout.dangling_ptr(), true));
    }
    let (start, zero) = match class::of(layout) {
        Some(class) => {
            let bare = || {
                keeper.supply_one(class).inspect(|_| {
                    keeper.count(class, bytes, true);
                    keeper.miss();
                })
            };
            (cache::with(keeper, |cache| cache.allocate(keeper, class, bytes).map(Block::start), bare)?, false)
        }
        None if layout.align() > MAX_ALIGN => {
            return Err(MemoryError::AlignmentUnsupported { align: layout.align(), max: MAX_ALIGN });
        }
        None => {
            let taken = keeper.take(layout)?;
            let counted = |cache: &mut cache::Cache| cache.allocated_large(keeper, bytes);
            cache::with(keeper, counted, || keeper.count(LARGE, bytes, true));
            taken
        }
    };
    keeper.ledger.enter(start.addr().get(), layout);
    Ok((start, zero))
}

/// Frees a block.
///
/// # Safety
/// As [`HybridMemoryPool::deallocate`], for the pool of `keeper`.
#[inline]
pub(super) unsafe fn deallocate(keeper: &Keeper, start: NonNull<u8>, layout: Layout) {
    let bytes = layout.size();
    if bytes == 0 {
        return;
    }
    if !keeper.ledger.strike(start.addr().get(), layout) {
        eprintln!("memory pool {}: {start:p} of {bytes} bytes is free already, or not of this layout", keeper.id);
        return;
    }
    match class::of(layout) {
        Some(class) => cache::with(
            keeper,
            |cache| cache.free(keeper, class, bytes, Block::new(start)),
            || {
                keeper.absorb(class, std::iter::once(Block::new(start)));
                keeper.count(class, bytes, false);
            },
        ),
        None => {
            keeper.give(start, layout);
            let counted = |cache: &mut cache::Cache| cache.freed_large(keeper, bytes);
            cache::with(keeper, counted, || keeper.count(LARGE, bytes, false));
        }
    }
}
