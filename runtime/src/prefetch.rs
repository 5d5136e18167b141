//! Asking for memory before it is used. What hardware fetches ahead by itself stops at pages of 4 KiB, and matrices are
//! read front to back: asked for in time they stream up to half as fast again.

/// How far ahead of its use memory is asked for, where it is read front to back.
pub(crate) const AHEAD: usize = 4096;

/// Bytes that are fetched together.
pub(crate) const LINE: usize = 64;

/// A cache that memory is fetched into.
#[derive(Clone, Copy)]
pub(crate) enum Cache {
    First,
    Second,
}

/// Asks for the cache lines that lie `ahead` bytes after those of `elements`.
#[inline(always)]
pub(crate) fn ask<T>(elements: &[T], ahead: usize, cache: Cache) {
    let start = elements.as_ptr().cast::<u8>().wrapping_add(ahead);
    // Of a slice that begins within a line, the last one too.
    let offset = start.addr() % LINE;
    for line in (0..offset + size_of_val(elements)).step_by(LINE) {
        fetch(start.wrapping_sub(offset).wrapping_add(line), cache);
    }
}

/// Asks for what follows elements that are read front to back, as kernels do by default: [`AHEAD`] into the second cache, and
/// into the first a quarter of that, for loads that wait for the second keep what would run ahead of them from starting.
#[inline(always)]
pub(crate) fn stream<T>(elements: &[T]) {
    let start = elements.as_ptr().cast::<u8>();
    for line in (0..size_of_val(elements)).step_by(LINE) {
        fetch(start.wrapping_add(AHEAD + line), Cache::Second);
        fetch(start.wrapping_add(AHEAD / 4 + line), Cache::First);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(address: *const u8, cache: Cache) {
    use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
    // SAFETY: SSE is part of x86-64. A prefetch is a hint: it reads nothing that the program sees, and faults at no address,
    // be it mapped or not (Intel SDM, volume 2, PREFETCHh).
    unsafe {
        match cache {
            Cache::First => _mm_prefetch::<_MM_HINT_T0>(address.cast()),
            Cache::Second => _mm_prefetch::<_MM_HINT_T1>(address.cast()),
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn fetch(address: *const u8, cache: Cache) {
    use std::arch::asm;
    // SAFETY: a prefetch is a hint: it changes no register, reads nothing that the program sees, and raises no fault at
    // any address (Arm ARM, PRFM).
    unsafe {
        match cache {
            Cache::First => asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)),
            Cache::Second => asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)),
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn fetch(_: *const u8, _: Cache) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_memory_may_be_passed() {
        for cache in [Cache::First, Cache::Second] {
            ask::<u8>(&[], AHEAD, cache);
            ask(&vec![0u8; 10_000], AHEAD, cache);
            ask(&[0f32; 100], usize::MAX, cache);
        }
        stream::<u8>(&[]);
        stream(&vec![0u8; 10_000]);
    }
}
