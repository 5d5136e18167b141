//! A matrix many times over, so that each is in no cache when its turn comes.

use std::sync::{Mutex, PoisonError};

use tritune_codegen::Layout;

use crate::gguf::Data;
use crate::kernels::{Choice, PackError, Packed};
use crate::linear::{Linear, Ternary};
use crate::quant::trits::{Scales, Trits};
use crate::region::Region;
use crate::threads::Pool;

/// Copies of a packed matrix, one behind the other.
///
/// They lie in one piece of memory with large pages: thousands of pieces took longer to get than to measure with.
#[derive(Debug)]
pub(super) struct Copies {
    layout: Layout,
    n: usize,
    k: usize,
    bytes: Data,
    /// Bytes of one copy.
    stride: usize,
    /// Whose turn is next.
    pub(super) next: usize,
}

impl Copies {
    /// More than `bytes` bytes of `trits` packed into `layout`.
    ///
    /// # Errors
    /// Where they cannot be packed, or there is no memory for so many.
    pub(super) fn new(trits: &Trits, layout: Layout, bytes: usize, pool: &Pool) -> Result<Copies, PackError> {
        let (n, k) = (trits.n, trits.k);
        let first = Packed::new(layout, n, k, k, &trits.codes)?;
        let stride = first.bytes().len();
        let room = (bytes / stride + 2).checked_mul(stride).and_then(|room| Region::new(room).ok());
        let mut region = room.ok_or(PackError::Large { n, k })?;
        let each = region.bytes().len().div_ceil(pool.threads()).next_multiple_of(stride);
        // A thread each: the system clears pages for whoever writes to them first.
        let parts: Vec<Mutex<&mut [u8]>> = region.bytes_mut().chunks_mut(each).map(Mutex::new).collect();
        pool.for_each(parts.len(), |_, part| {
            let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
            part.chunks_exact_mut(stride).for_each(|copy| copy.copy_from_slice(first.bytes()));
        });
        drop(parts);
        Ok(Copies { layout, n, k, bytes: Data::memory(region), stride, next: 0 })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// Those whose turn it is, from the one behind the last of the turn before on, to be computed by `choice`.
    ///
    /// # Errors
    /// Where `choice` reads another layout.
    pub(super) fn turn(&mut self, count: usize, choice: &Choice) -> Result<Vec<Linear>, PackError> {
        let first = self.next;
        self.next = (first + count) % self.count();
        let copy = |turn: usize| {
            let start = (first + turn) % self.count() * self.stride;
            let bytes = self.bytes.slice(start..start + self.stride);
            let packed = Packed::of(self.layout, self.n, self.k, self.k, bytes)?;
            Ternary::of(packed, &Scales::Tensor(1.0), choice.clone()).map(Linear::Ternary)
        };
        (0..count).map(copy).collect()
    }
}
