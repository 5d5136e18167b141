//! A pool of memory for what an engine allocates again and again: rows of activations, tables, caches of keys and values.
//!
//! A block of up to 64 KiB belongs to one of 192 size classes (`class.rs`), which waste less than a cache line or 1/32 of
//! it, whichever is more. Each thread keeps a few free blocks of each class (`cache.rs`) and shares nothing while these
//! last. They come from, and go to, a lock-free shelf of the class (`shelf.rs`); behind the shelves there is a heap of
//! best fit (`heap.rs`), which carves regions of the system's memory at cache lines and joins neighbours as they come
//! back. Larger blocks, and those aligned to more than a line, come from a heap directly. Regions that nothing lives in
//! are given back to the system, but for so many bytes that are retained; of the others free pages are, before more
//! memory is asked for and by [`HybridMemoryPool::trim`].
//!
//! Nothing is stored in or beside a block: what a block is follows from its [`Layout`](std::alloc::Layout), which who
//! frees it says again. So a block costs its class, and memory that was freed is never read.
//!
//! ```
//! use tritune::memory::HybridMemoryPool;
//!
//! let pool = HybridMemoryPool::instance();
//! let mut row = pool.allocate_typed::<f32>(2560)?; // zeros
//! row[7] = 1.5;
//! assert_eq!(row.iter().sum::<f32>(), 1.5);
//! drop(row); // back to the pool
//! # Ok::<(), tritune::memory::MemoryError>(())
//! ```

mod block;
mod buffer;
mod cache;
mod class;
mod config;
mod counters;
mod dry;
mod error;
mod fixed_vec;
mod footprint;
mod heap;
mod keeper;
mod leaks;
mod ledger;
mod map;
mod pool;
mod runs;
mod scoped;
mod shared;
mod shelf;
mod statistics;
mod sync;
#[cfg(test)]
mod tests;

pub(crate) use buffer::Buffer;
pub use config::PoolConfig;
pub use error::MemoryError;
pub(crate) use fixed_vec::FixedVec;
pub use leaks::{Leak, LeakReport};
pub use pool::{HybridMemoryPool, report_leaks};
pub use scoped::ScopedAllocation;
pub use statistics::{ClassStatistics, Statistics};

/// The largest alignment, in bytes: a huge page of x86-64 and of AArch64 with pages of 4 KiB.
pub const MAX_ALIGN: usize = 2 << 20;

/// The unit that memory is cut into, in bytes, and the least alignment of a block: a cache line.
pub const LINE: usize = 64;
