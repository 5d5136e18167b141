//! A buffer that keeps the size of its largest use.

use bytemuck::Pod;

use super::{HybridMemoryPool, MemoryError, ScopedAllocation};

/// Elements for one use after another, of the process's pool: as many as the largest use took.
#[derive(Debug)]
pub(crate) struct Buffer<T>(Option<ScopedAllocation<T>>);

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Buffer(None)
    }
}

impl<T: Pod> Buffer<T> {
    /// The first `len` elements, which begin a cache line; what they hold is unspecified where more than ever before are
    /// asked for.
    ///
    /// # Errors
    /// Where there is no memory for them; the buffer then is empty.
    pub(crate) fn grown(&mut self, len: usize) -> Result<&mut [T], MemoryError> {
        if self.0.as_ref().is_none_or(|block| block.len() < len) {
            // First, since the new block may take its place.
            self.0 = None;
            self.0 = Some(HybridMemoryPool::instance().allocate_typed(len)?);
        }
        Ok(&mut self.all_mut()[..len])
    }

    /// All elements that there are.
    pub(crate) fn all(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The same, to be written.
    pub(crate) fn all_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_from_the_start_of_a_line() {
        let mut buffer = Buffer::default();
        assert!(buffer.all().is_empty());
        for len in [1, 15, 16, 17, 1000, 3, 0] {
            buffer.grown(len).unwrap().fill(len as f32);
            assert!(buffer.all()[..len].iter().all(|&x| x == len as f32));
            assert_eq!(buffer.all().as_ptr().addr() % 64, 0);
        }
        assert!(buffer.all().len() >= 1000, "it keeps what it has");
    }

    #[test]
    fn more_than_there_can_be_is_refused_and_leaves_nothing() {
        let mut buffer = Buffer::<f32>::default();
        buffer.grown(10).unwrap();
        assert!(matches!(buffer.grown(usize::MAX), Err(MemoryError::SizeOverflow { .. })));
        assert!(buffer.all().is_empty());
        assert_eq!(buffer.grown(2).unwrap().len(), 2);
    }
}
