//! What a pool keeps, and how much.

/// Sizes of a pool's parts. All of them are wishes that any value is fine for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Bytes of a region, the address space that is asked of the system at once; rounded up to 2 MiB, and at least what
    /// the block that needs it takes. A region costs memory where blocks were in it, not before.
    pub region_bytes: usize,
    /// Bytes in regions without a live block that are kept for later, for blocks of up to 64 KiB and for larger ones
    /// each.
    pub retained_bytes: usize,
    /// Bytes of free blocks that a thread keeps for itself. It may keep one block more.
    pub thread_cache_bytes: usize,
    /// Bytes of free blocks that threads leave for each other, without a lock.
    pub shared_cache_bytes: usize,
    /// Most bytes of regions; `None` where the system alone decides.
    pub limit_bytes: Option<usize>,
    /// Whether the system is asked to back regions by huge pages, where it has them (Linux).
    pub huge_pages: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            // Miri stores every byte several times over.
            region_bytes: if cfg!(miri) { 2 << 20 } else { 64 << 20 },
            retained_bytes: 64 << 20,
            thread_cache_bytes: 512 << 10,
            shared_cache_bytes: 512 << 10,
            limit_bytes: None,
            huge_pages: true,
        }
    }
}
