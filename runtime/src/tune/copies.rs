//! A matrix many times over, so that each is in no cache when its turn comes.

use std::sync::{Mutex, PoisonError};

use tritune_codegen::Layout;

use super::BenchError;
use crate::gguf::Data;
use crate::kernels::{Choice, PackError, Packed};
use crate::linear::{Linear, Ternary};
use crate::quant::trits::{Scales, Trits};
use crate::region::Region;
use crate::threads::Pool;

/// Copies begin on cache lines, as kernels want them.
const LINE: usize = 64;

/// Copies of a packed matrix, one behind the other.
///
/// They lie in one piece of memory with large pages: thousands of pieces took longer to get than to measure with.
#[derive(Debug)]
pub(super) struct Copies {
    layout: Layout,
    n: usize,
    k: usize,
    all: Data,
    /// Bytes of one copy.
    len: usize,
    /// How many were taken.
    taken: usize,
}

impl Copies {
    /// More than `bytes` bytes of `trits` packed into `layout`.
    ///
    /// # Errors
    /// Where they cannot be packed, or there is no memory for so many.
    pub(super) fn new(trits: &Trits, layout: Layout, bytes: usize, pool: &Pool) -> Result<Copies, BenchError> {
        let (n, k) = (trits.n, trits.k);
        let first = Packed::new(layout, n, k, k, &trits.codes)?;
        let len = first.bytes().len();
        let stride = len.next_multiple_of(LINE);
        let bytes = (bytes / len).saturating_add(2).saturating_mul(stride);
        let mut region = Region::new(bytes).map_err(|source| BenchError::Room { bytes, source })?;
        let each = bytes.div_ceil(pool.threads()).next_multiple_of(stride);
        // A thread each: the system clears pages for whoever writes to them first.
        let parts: Vec<Mutex<&mut [u8]>> = region.bytes_mut().chunks_mut(each).map(Mutex::new).collect();
        pool.for_each(parts.len(), |_, part| {
            let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
            part.chunks_exact_mut(stride).for_each(|copy| copy[..len].copy_from_slice(first.bytes()));
        });
        drop(parts);
        Ok(Copies { layout, n, k, all: Data::memory(region), len, taken: 0 })
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.all.len() / self.len.next_multiple_of(LINE)
    }

    /// The next `count` copies, to be computed by `choice`; the first follows the last.
    ///
    /// # Errors
    /// Where `choice` reads another layout.
    pub(super) fn take(&mut self, count: usize, choice: &Choice) -> Result<Vec<Linear>, PackError> {
        let first = self.taken % self.count();
        self.taken += count;
        let copy = |number: usize| {
            let packed = Packed::of(self.layout, self.n, self.k, self.k, self.copy((first + number) % self.count()))?;
            Ternary::of(packed, &Scales::Tensor(1.0), choice.clone()).map(Linear::Ternary)
        };
        (0..count).map(copy).collect()
    }

    /// How many were taken so far.
    #[cfg(test)]
    pub(super) fn passed(&self) -> usize {
        self.taken
    }

    fn copy(&self, number: usize) -> Data {
        let start = number * self.len.next_multiple_of(LINE);
        self.all.slice(start..start + self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kernels::{KERNELS, Kernel, Weights};

    /// Who meets a copy again has met all others in between; none is a copy of a copy, which a cache would hold.
    #[test]
    fn copies_take_turns_where_they_lie() {
        const BYTES: usize = 200_000;
        // Rows of which a packed matrix is no multiple of a cache line, too.
        for (n, k, weights) in [(96, 320, Weights::T200), (96, 320, Weights::T167), (7, 130, Weights::T167)] {
            let kernels = KERNELS.iter().filter(|kernel| kernel.id.weights == weights);
            let kernel = kernels.filter_map(Kernel::detect).next().expect("a kernel");
            let choice = Choice::only(kernel);
            let codes: Vec<u8> = (0..n * k).map(|i| (i * i % 7 % 3) as u8).collect();
            let trits = Trits { n, k, codes, scales: Scales::Tensor(1.0) };
            let expected = Packed::new(choice.layout(), n, k, k, &trits.codes).expect("packed");
            for threads in [1, 3] {
                let mut copies =
                    Copies::new(&trits, choice.layout(), BYTES, &Pool::new(threads)).expect("there is room");
                assert!(copies.count() * copies.len > BYTES);
                let whole = copies.all.as_ptr_range();
                let mut met: BTreeMap<*const u8, usize> = BTreeMap::new();
                let mut time = 0;
                while time < 3 * copies.count() {
                    for linear in copies.take(5, &choice).expect("its layout") {
                        let Linear::Ternary(ternary) = linear else { panic!("floats") };
                        let bytes = ternary.packed().bytes();
                        assert!(whole.contains(&bytes.as_ptr()) && bytes == expected.bytes());
                        let before = met.insert(bytes.as_ptr(), time);
                        assert!(before.is_none_or(|before| time - before == copies.count()));
                        time += 1;
                    }
                }
                assert_eq!(met.len(), copies.count());
            }
        }
    }
}
