//! A vector with room for a fixed number of elements.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use super::{HybridMemoryPool, MemoryError, ScopedAllocation};

/// Elements in a block of a pool. Memory behind the last one that there ever was is not touched.
pub struct FixedVec<T> {
    /// The first `len` elements are valid.
    block: ScopedAllocation<MaybeUninit<T>>,
    len: usize,
}

impl<T: Copy> FixedVec<T> {
    /// Room for so many elements.
    ///
    /// # Errors
    /// Those of [`HybridMemoryPool::allocate_uninit`].
    pub fn with_capacity(pool: &HybridMemoryPool, capacity: usize) -> Result<Self, MemoryError> {
        Ok(FixedVec { block: pool.allocate_uninit(capacity)?, len: 0 })
    }

    /// Sets the length; new elements are `value`.
    ///
    /// # Panics
    /// Where there is no room for so many.
    pub fn resize(&mut self, len: usize, value: T) {
        if len > self.len {
            self.block[self.len..len].fill(MaybeUninit::new(value));
        }
        self.len = len;
    }
}

impl<T> Deref for FixedVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `resize`, which alone sets the length, has written every element below it.
        unsafe { self.block[..self.len].assume_init_ref() }
    }
}

impl<T> DerefMut for FixedVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`.
        unsafe { self.block[..self.len].assume_init_mut() }
    }
}

impl<T: fmt::Debug> fmt::Debug for FixedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_within_its_room_and_shrinks() {
        let pool = HybridMemoryPool::default();
        let mut vec = FixedVec::with_capacity(&pool, 5).unwrap();
        assert!(vec.is_empty());
        vec.resize(3, 7u16);
        vec[1] = 8;
        vec.resize(2, 0);
        vec.resize(5, 9);
        assert_eq!(*vec, [7, 8, 9, 9, 9]);
        assert_eq!(pool.statistics().live(), 1);
        drop(vec);
        assert_eq!(pool.statistics().live(), 0);
        assert!(FixedVec::<f32>::with_capacity(&pool, usize::MAX).is_err());
    }

    #[test]
    #[should_panic(expected = "range end index 6")]
    fn beyond_its_room_it_panics() {
        FixedVec::with_capacity(&HybridMemoryPool::default(), 5).unwrap().resize(6, 0u8);
    }
}
