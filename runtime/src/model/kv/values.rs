//! Values: a row a token, padded with zeros to whole vectors.

use super::{KvType, Store};
use crate::memory::MemoryError;

/// Rows are padded to a multiple of the elements of the widest vectors.
const PADDING: usize = 16;

/// The values of one head: `[tokens, padded]`.
#[derive(Debug)]
pub struct Values {
    width: usize,
    tokens: usize,
    store: Store,
}

impl Values {
    /// Elements from one row of `width` elements to the next.
    pub fn padded(width: usize) -> usize {
        width.saturating_add(PADDING - 1) / PADDING * PADDING
    }

    /// Room for the values of `capacity` tokens. The memory is touched only as values are pushed.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new(kv: KvType, width: usize, capacity: usize) -> Result<Self, MemoryError> {
        // A product that overflows becomes a capacity that no pool has.
        let elements = Self::padded(width).saturating_mul(capacity);
        Ok(Values { width, tokens: 0, store: Store::new(kv, elements, capacity)? })
    }

    /// Elements of a value.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All rows.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Appends one value, all of which the type [holds](KvType::holds): i8 would make zeros of NaN.
    pub fn push(&mut self, value: &[f32]) {
        debug_assert_eq!(value.len(), self.width);
        let (token, padded) = (self.tokens, Self::padded(self.width));
        self.tokens += 1;
        self.store.resize(self.tokens * padded, self.tokens);
        self.store.write(token, value, token * padded, 1);
    }

    /// Elements and tokens that are stored where there are `tokens` values.
    pub(super) fn extent(&self, tokens: usize) -> (usize, usize) {
        (tokens * Self::padded(self.width), tokens)
    }

    /// Takes over `tokens` values as [`Store::save`] wrote them.
    pub(super) fn load(&mut self, bytes: &[u8], tokens: usize) {
        let (elements, kept) = self.extent(tokens);
        self.tokens = tokens;
        self.store.resize(elements, kept);
        self.store.load(bytes);
    }

    /// Forgets all values but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        let (elements, kept) = self.extent(self.tokens);
        self.store.resize(elements, kept);
    }

    /// One element: the slow way back, for tests.
    #[cfg(test)]
    pub(crate) fn at(&self, token: usize, element: usize) -> f32 {
        assert!(token < self.tokens);
        self.store.at(token, token * Self::padded(self.width) + element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_there() {
        for (kv, tolerance) in [(KvType::F32, 0.0), (KvType::F16, 5e-4), (KvType::I8, 1.0 / 127.0)] {
            let mut values = Values::new(kv, 70, 10).unwrap();
            let row = |token: usize| (0..70).map(|i| ((token * 70 + i) as f32).sin()).collect::<Vec<_>>();
            (0..10).for_each(|token| values.push(&row(token)));
            values.truncate(7);
            values.push(&[0.0; 70]);
            for (token, expected) in (0..7).flat_map(|token| {
                row(token).into_iter().map(move |x| (token, x)).enumerate().map(|(i, (token, x))| ((token, i), x))
            }) {
                let found = values.at(token.0, token.1);
                assert!((found - expected).abs() <= tolerance, "{kv}: {found} for {expected}");
            }
            assert!((0..70).all(|i| values.at(7, i) == 0.0));
            // What pads a row is zero: it is summed as well.
            let padded = Values::padded(70);
            assert_eq!(padded, 80);
            assert!((0..8).all(|token| (70..80).all(|i| values.store.at(token, token * padded + i) == 0.0)));
        }
    }
}
