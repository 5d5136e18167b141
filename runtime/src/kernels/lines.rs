//! Bytes that begin on a cache line: what vectors are loaded from.

use crate::gguf::Data;
use crate::region::Region;

/// The unit of allocation.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Bytes of a cache line.
const LINE: usize = 64;

/// From so many bytes on they have pages of their own, as a model's weights have, so that what is measured on them holds
/// for those.
const LARGE: usize = 256 << 10;

/// Bytes that begin on a cache line.
#[derive(Debug)]
pub(crate) struct Lines {
    store: Store,
    len: usize,
}

#[derive(Debug)]
enum Store {
    Small(Vec<Line>),
    Large(Region),
    /// Others hold them, too.
    Shared(Data),
}

impl Lines {
    /// `len` zeros.
    pub(crate) fn new(len: usize) -> Self {
        let large = if len < LARGE { None } else { Region::new(len).ok() };
        let small = || Store::Small(vec![Line([0; LINE]); len.div_ceil(LINE)]);
        Lines { store: large.map_or_else(small, Store::Large), len }
    }

    /// The same bytes elsewhere.
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut lines = Lines::new(bytes.len());
        lines.bytes_mut().copy_from_slice(bytes);
        lines
    }

    /// These bytes, which others may hold as well; a copy, where they do not begin on a cache line.
    pub(crate) fn of(data: Data) -> Self {
        match data.as_ptr().align_offset(LINE) {
            0 => Lines { len: data.len(), store: Store::Shared(data) },
            _ => Lines::copy(&data),
        }
    }

    /// The same, of which clones are no copies.
    pub(crate) fn shared(self) -> Self {
        match self.store {
            Store::Large(region) => Lines::of(Data::memory(region).slice(0..self.len)),
            store => Lines { store, ..self },
        }
    }

    /// The bytes, for who keeps them.
    pub(crate) fn data(&self) -> Data {
        match &self.store {
            Store::Shared(data) => data.clone(),
            _ => Data::owned(self.bytes().to_vec()),
        }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.store {
            // SAFETY: a `Line` is 64 initialised bytes without padding, and there are lines for `len` bytes.
            Store::Small(lines) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), self.len) },
            // It begins on a page.
            Store::Large(region) => &region.bytes()[..self.len],
            Store::Shared(data) => data,
        }
    }

    /// The bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        if let Store::Shared(data) = &self.store {
            *self = Lines::copy(data);
        }
        match &mut self.store {
            Store::Small(lines) => {
                // SAFETY: as in `bytes`, and the borrow is exclusive.
                unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u8>(), self.len) }
            }
            Store::Large(region) => &mut region.bytes_mut()[..self.len],
            // It was replaced by a copy of its own.
            Store::Shared(_) => &mut [],
        }
    }
}

impl Clone for Lines {
    fn clone(&self) -> Self {
        match &self.store {
            Store::Shared(data) => Lines { store: Store::Shared(data.clone()), len: self.len },
            _ => Lines::copy(self.bytes()),
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Lines::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_copies_are_apart() {
        for len in [0, 1, 63, 64, 65, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 17] {
            let mut lines = Lines::new(len);
            assert!(lines.bytes().len() == len && lines.bytes().iter().all(|&byte| byte == 0));
            assert_eq!(lines.bytes().as_ptr().align_offset(LINE), 0);
            lines.bytes_mut().iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
            let copy = lines.clone();
            lines.bytes_mut().fill(9);
            assert!(copy.bytes().iter().enumerate().all(|(i, &byte)| byte == i as u8));
            let mut shared = copy.shared();
            let other = shared.clone();
            assert!(len < LARGE || other.bytes().as_ptr() == shared.bytes().as_ptr());
            shared.bytes_mut().fill(7);
            assert!(shared.bytes().iter().all(|&byte| byte == 7));
            assert!(*other.data() == *other.bytes() && Lines::of(other.data()).bytes() == other.bytes());
            assert!(other.bytes().iter().enumerate().all(|(i, &byte)| byte == i as u8));
        }
        // Of what begins elsewhere there are copies.
        let odd = Lines::of(Data::owned((0..200).collect()).slice(0..200).slice(3..150));
        assert_eq!((odd.bytes().as_ptr().align_offset(LINE), odd.bytes()[0], odd.bytes().len()), (0, 3, 147));
    }
}
