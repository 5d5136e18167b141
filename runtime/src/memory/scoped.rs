//! Elements in memory of a pool, for as long as they are needed.

use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use super::keeper::Keeper;
use super::pool;

/// A slice in a block of a pool. The block goes back to the pool when this is dropped, on any thread; its memory stays
/// where the pool is dropped before.
pub struct ScopedAllocation<T> {
    start: NonNull<T>,
    len: usize,
    layout: Layout,
    keeper: Keeper,
    elements: PhantomData<T>,
}

// SAFETY: it owns its elements, as a boxed slice does; the pool's inside is shared between threads anyway.
unsafe impl<T: Send> Send for ScopedAllocation<T> {}
// SAFETY: `&ScopedAllocation<T>` gives `&[T]` and no more.
unsafe impl<T: Sync> Sync for ScopedAllocation<T> {}

impl<T> ScopedAllocation<T> {
    /// Takes a block over.
    ///
    /// # Safety
    /// `start` is what the pool of `keeper` handed out for `layout`, which is that of `len` elements, all of them valid;
    /// nobody else uses or frees it. Elements need no drop.
    pub(super) unsafe fn new(start: NonNull<T>, len: usize, layout: Layout, keeper: Keeper) -> Self {
        ScopedAllocation { start, len, layout, keeper, elements: PhantomData }
    }
}

impl<T> Deref for ScopedAllocation<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` valid elements that this owns (`new`); the borrow of `self` keeps them from being written.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for ScopedAllocation<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow of `self` is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for ScopedAllocation<T> {
    fn drop(&mut self) {
        // SAFETY: what `new` took over, from this pool and with this layout; nothing can use it after this.
        unsafe { pool::deallocate(&self.keeper, self.start.cast(), self.layout) };
    }
}

impl<T: fmt::Debug> fmt::Debug for ScopedAllocation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
