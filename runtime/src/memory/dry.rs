//! Pages of free runs that the system has back, and that cost nothing until they are used again.

use std::collections::BTreeMap;
use std::ops::Range;

use super::footprint::PAGE;

/// Ranges of addresses, whole pages, that neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Dry {
    /// Ends, by starts.
    ranges: BTreeMap<usize, usize>,
    bytes: usize,
}

impl Dry {
    /// Adds pages; returns how many bytes of them were not dry before.
    pub(super) fn insert(&mut self, pages: Range<usize>) -> usize {
        let before = self.bytes;
        let (mut start, mut end) = (pages.start, pages.end);
        // With all that it overlaps or touches it becomes one.
        while let Some((&from, &to)) = self.ranges.range(..=end).next_back()
            && to >= start
        {
            self.ranges.remove(&from);
            self.bytes -= to - from;
            (start, end) = (start.min(from), end.max(to));
        }
        self.ranges.insert(start, end);
        self.bytes += end - start;
        self.bytes - before
    }

    /// Bytes are used: takes out their pages, and returns how many bytes of pages were dry.
    pub(super) fn remove(&mut self, bytes: Range<usize>) -> usize {
        if self.ranges.is_empty() {
            return 0;
        }
        let before = self.bytes;
        let (start, end) = (bytes.start / PAGE * PAGE, bytes.end.next_multiple_of(PAGE));
        while let Some((&from, &to)) = self.ranges.range(..end).next_back()
            && to > start
        {
            self.ranges.remove(&from);
            self.bytes -= to - from;
            for (from, to) in [(from, start), (end, to)] {
                if from < to {
                    self.ranges.insert(from, to);
                    self.bytes += to - from;
                }
            }
        }
        before - self.bytes
    }

    /// Whether all of these pages are dry.
    pub(super) fn covers(&self, pages: &Range<usize>) -> bool {
        self.ranges.range(..=pages.start).next_back().is_some_and(|(_, &end)| end >= pages.end)
    }

    /// Bytes that are dry.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
