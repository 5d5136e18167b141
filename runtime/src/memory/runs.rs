//! Free runs of bytes, by where they begin and by how long they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::LINE;

/// So many runs that are long enough are tried for their alignment before one is taken that is long enough for any.
const TRIES: usize = 16;

/// Runs that do not overlap. Addresses stand for themselves here: nothing is read or written through them.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_start: BTreeMap<usize, usize>,
    /// Length, then start: of equally long ones the lowest comes first, which leaves the high ends of regions free.
    by_len: BTreeSet<(usize, usize)>,
    bytes: usize,
}

impl Runs {
    /// Adds a run.
    pub(super) fn insert(&mut self, start: usize, len: usize) {
        if len > 0 {
            self.by_start.insert(start, len);
            self.by_len.insert((len, start));
            self.bytes += len;
        }
    }

    /// Takes out the run that begins here, and returns its length.
    pub(super) fn remove(&mut self, start: usize) -> Option<usize> {
        let len = self.by_start.remove(&start)?;
        self.by_len.remove(&(len, start));
        self.bytes -= len;
        Some(len)
    }

    /// Adds a run, joined with the runs beside it that are in `bounds`, too.
    pub(super) fn join(&mut self, run: Range<usize>, bounds: Range<usize>) {
        self.bytes += run.len();
        let (start, mut end) = (run.start, run.end);
        if end < bounds.end
            && let Some(more) = self.by_start.remove(&end)
        {
            self.by_len.remove(&(more, end));
            end += more;
        }
        if start > bounds.start
            && let Some((&from, len)) = self.by_start.range_mut(..start).next_back()
            && from + *len == start
        {
            self.by_len.remove(&(*len, from));
            *len = end - from;
            self.by_len.insert((end - from, from));
        } else {
            self.by_start.insert(start, end - start);
            self.by_len.insert((end - start, start));
        }
    }

    /// Takes from one to `most` blocks of `size` bytes, whole lines, from the end of the shortest run that one fits in at
    /// a multiple of `align`, a power of two; of one that is more than a line, one block. Returns where they begin and how
    /// many they are.
    pub(super) fn cut(&mut self, size: usize, align: usize, most: usize) -> Option<(usize, usize)> {
        let fits = |&&(len, start): &&(usize, usize)| start.next_multiple_of(align) - start + size <= len;
        let (len, start) = *self.by_len.range((size, 0)..).take(TRIES).find(fits).or_else(|| {
            // Rare: of many runs, none of the shortest is aligned.
            self.by_len.range((size.checked_add(align)?, 0)..).next()
        })?;
        let end = start + len;
        let blocks = if align <= LINE { (len / size).min(most) } else { 1 };
        let at = (end - blocks * size) & !(align - 1);
        self.by_len.remove(&(len, start));
        self.bytes -= end - at;
        // The end, since a run that is cut there stays where it is.
        if at == start {
            self.by_start.remove(&start);
        } else if let Some(left) = self.by_start.get_mut(&start) {
            *left = at - start;
            self.by_len.insert((at - start, start));
        }
        let rest = at + blocks * size;
        self.insert(rest, end - rest);
        Some((at, blocks))
    }

    /// Where the run begins that ends here.
    pub(super) fn ending(&self, end: usize) -> Option<usize> {
        let (&start, &len) = self.by_start.range(..end).next_back()?;
        (start + len == end).then_some(start)
    }

    /// All runs of `len` bytes or more.
    pub(super) fn at_least(&self, len: usize) -> Vec<Range<usize>> {
        self.by_len.range((len, 0)..).map(|&(len, start)| start..start + len).collect()
    }

    /// Takes out all runs that begin in `range`.
    pub(super) fn clear(&mut self, range: Range<usize>) {
        while let Some((&start, _)) = self.by_start.range(range.clone()).next() {
            self.remove(start);
        }
    }

    /// Bytes of all runs.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the longest.
    pub(super) fn longest(&self) -> usize {
        self.by_len.last().map_or(0, |&(len, _)| len)
    }
}
