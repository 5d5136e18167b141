//! Size classes: every line up to 2 KiB, then 32 sizes in each doubling up to 64 KiB.
//!
//! Steps are that fine since the buffers of a model have a few sizes, each a small number times a power of two: a row of
//! 6912 floats fits its class to the byte, where four classes in a doubling would waste 4 % of it.

use std::alloc::Layout;

use super::LINE;

/// The largest block that has a class, in bytes.
pub(super) const LARGEST: usize = 64 << 10;
/// Classes in a doubling, and classes of a line each before the first.
const STEPS: usize = 32;
/// Doublings from `STEPS` lines to `LARGEST`.
const DOUBLINGS: usize = (LARGEST / LINE / STEPS).ilog2() as usize;
/// How many classes there are.
pub(super) const COUNT: usize = STEPS * (1 + DOUBLINGS);

/// Bytes of a block of each class.
const SIZES: [usize; COUNT] = {
    let mut sizes = [0; COUNT];
    let mut class = 0;
    while class < COUNT {
        sizes[class] =
            LINE * if class < STEPS { class + 1 } else { (STEPS + 1 + class % STEPS) << (class / STEPS - 1) };
        class += 1;
    }
    sizes
};

/// The class of a layout; `None` where the block comes from a heap. Nothing of no size may be asked for.
#[inline]
pub(super) fn of(layout: Layout) -> Option<usize> {
    if layout.size() > LARGEST || layout.align() > LINE {
        return None;
    }
    let last = layout.size().saturating_sub(1) / LINE;
    if last < STEPS {
        return Some(last);
    }
    // `last` has its highest bit `doubling` places above that of STEPS; the next bits are the step.
    let doubling = (last / STEPS).ilog2() as usize;
    Some(STEPS * (1 + doubling) + (last >> doubling) - STEPS)
}

/// Bytes of a block of a class.
///
/// # Panics
/// Where there is no such class.
#[inline]
pub(super) fn size(class: usize) -> usize {
    SIZES[class]
}

/// Most free blocks of a class that a thread keeps.
#[inline]
pub(super) fn capacity(class: usize) -> usize {
    ((256 << 10) / size(class)).clamp(4, 64)
}

/// Free blocks of a class that a thread takes at once where it has none: 16 KiB, so that what it may never use is little.
pub(super) fn batch(class: usize) -> usize {
    ((16 << 10) / size(class)).clamp(1, 32)
}

/// Places on the shelf of a class.
pub(super) fn places(class: usize) -> usize {
    ((128 << 10) / size(class)).clamp(2, 32)
}

/// Bytes of a block that comes from a heap: whole lines. A layout's size is at most `isize::MAX`, so that this cannot
/// overflow.
pub(super) fn lines(size: usize) -> usize {
    size.next_multiple_of(LINE)
}
