//! Address space of the system, zeros at first, that begins on a huge page.

use std::io;
use std::ptr::NonNull;

use super::MAX_ALIGN;

/// Bytes of the system that are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Map {
    base: NonNull<u8>,
    len: usize,
    owner: Owner,
}

// SAFETY: `base` points into what `owner` owns, which has no tie to a thread.
unsafe impl Send for Map {}

impl Map {
    /// `len` bytes from a multiple of [`MAX_ALIGN`] on.
    ///
    /// # Errors
    /// Where the system has no room for them.
    pub(super) fn new(len: usize, huge_pages: bool) -> io::Result<Map> {
        let none = || io::Error::from(io::ErrorKind::OutOfMemory);
        // The system promises an alignment of a page; the pages left out at both ends cost no memory.
        let whole = len.checked_add(MAX_ALIGN).ok_or_else(none)?;
        let owner = Owner::new(whole, huge_pages)?;
        let start = owner.start();
        let skip = start.addr().wrapping_neg() % MAX_ALIGN;
        // SAFETY: `skip` is less than MAX_ALIGN, and the map has `len` bytes more than that.
        let base = NonNull::new(unsafe { start.add(skip) }).ok_or_else(none)?;
        Ok(Map { base, len, owner })
    }

    /// The first byte; it may be used for all [`Map::len`] of them, for as long as the map lives.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Map {
    /// Lets the system have the pages of `len` bytes from `offset` on, whole pages, until they are written again; false
    /// where it does not take them.
    ///
    /// # Safety
    /// Nobody uses these bytes now, or will read them before writing them: what they were is lost.
    pub(super) unsafe fn purge(&self, offset: usize, len: usize) -> bool {
        let skip = self.base.addr().get() - self.owner.start().addr();
        // SAFETY: the caller's promise.
        offset.checked_add(len).is_some_and(|end| end <= self.len) && unsafe { self.owner.purge(skip + offset, len) }
    }
}

/// The system's map.
#[cfg(not(miri))]
#[derive(Debug)]
struct Owner(memmap2::MmapRaw);

#[cfg(not(miri))]
impl Owner {
    fn new(len: usize, huge_pages: bool) -> io::Result<Owner> {
        let map = memmap2::MmapRaw::from(memmap2::MmapMut::map_anon(len)?);
        // Fewer pages cost less to translate, and fewer faults to get. Where the system has none, the others serve.
        #[cfg(target_os = "linux")]
        if huge_pages {
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = huge_pages;
        Ok(Owner(map))
    }

    fn start(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// As [`Map::purge`].
    unsafe fn purge(&self, offset: usize, len: usize) -> bool {
        // Only here does it mean that the pages are free at once, and zeros after.
        #[cfg(target_os = "linux")]
        // SAFETY: the map is private and of no file, so that its pages alone change, in the range that nobody uses.
        unsafe {
            self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len).is_ok()
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (offset, len);
            false
        }
    }
}

/// Miri knows no maps; its allocator stands in.
#[cfg(miri)]
#[derive(Debug)]
struct Owner(*mut u8, std::alloc::Layout);

#[cfg(miri)]
impl Owner {
    fn new(len: usize, _: bool) -> io::Result<Owner> {
        let none = || io::Error::from(io::ErrorKind::OutOfMemory);
        // Miri gives up where its host has no room.
        if len > 1 << 30 {
            return Err(none());
        }
        let layout = std::alloc::Layout::from_size_align(len, 4096).map_err(|_| none())?;
        // SAFETY: `len` is more than MAX_ALIGN, hence not 0.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        if start.is_null() { Err(none()) } else { Ok(Owner(start, layout)) }
    }

    fn start(&self) -> *mut u8 {
        self.0
    }

    /// Never.
    unsafe fn purge(&self, _: usize, _: usize) -> bool {
        false
    }
}

#[cfg(miri)]
impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed here alone.
        unsafe { std::alloc::dealloc(self.0, self.1) };
    }
}
