//! Keys: in tiles of 32 tokens, each transposed, so that one element of all keys of a tile is a vector or two, and no
//! score is summed across lanes.

use super::{KvType, Store};
use crate::memory::MemoryError;

/// Tokens of a tile.
pub const TILE: usize = 32;

/// The keys of one head: `[tiles, width, TILE]`.
#[derive(Debug)]
pub struct Keys {
    width: usize,
    tokens: usize,
    store: Store,
}

impl Keys {
    /// Room for the keys of `capacity` tokens. The memory is touched only as keys are pushed.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new(kv: KvType, width: usize, capacity: usize) -> Result<Self, MemoryError> {
        let tokens = capacity.div_ceil(TILE).saturating_mul(TILE);
        // A product that overflows becomes a capacity that no pool has.
        Ok(Keys { width, tokens: 0, store: Store::new(kv, tokens.saturating_mul(width), tokens)? })
    }

    /// Elements of a key.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All tiles; what lies behind the last token is unspecified, and finite.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Appends one key, all of which the type [holds](KvType::holds): i8 would make zeros of NaN.
    pub fn push(&mut self, key: &[f32]) {
        debug_assert_eq!(key.len(), self.width);
        let (tile, lane) = (self.tokens / TILE, self.tokens % TILE);
        if lane == 0 {
            self.store.resize((tile + 1) * TILE * self.width, (tile + 1) * TILE);
        }
        self.store.write(self.tokens, key, tile * TILE * self.width + lane, TILE);
        self.tokens += 1;
    }

    /// Elements and tokens that are stored where there are `tokens` keys.
    pub(super) fn extent(&self, tokens: usize) -> (usize, usize) {
        let kept = tokens.div_ceil(TILE) * TILE;
        (kept * self.width, kept)
    }

    /// Takes over `tokens` keys as [`Store::save`] wrote them.
    pub(super) fn load(&mut self, bytes: &[u8], tokens: usize) {
        let (elements, kept) = self.extent(tokens);
        self.tokens = tokens;
        self.store.resize(elements, kept);
        self.store.load(bytes);
    }

    /// Forgets all keys but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        let (elements, kept) = self.extent(self.tokens);
        self.store.resize(elements, kept);
    }

    /// One element: the slow way back, for tests.
    #[cfg(test)]
    pub(crate) fn at(&self, token: usize, element: usize) -> f32 {
        assert!(token < self.tokens);
        self.store.at(token, (token / TILE * self.width + element) * TILE + token % TILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_there() {
        for (kv, tolerance) in [(KvType::F32, 0.0), (KvType::F16, 5e-4), (KvType::I8, 1.0 / 127.0)] {
            let mut keys = Keys::new(kv, 70, 80).unwrap();
            let row = |token: usize| (0..70).map(|i| ((token * 70 + i) as f32).sin()).collect::<Vec<_>>();
            let check = |keys: &Keys, token: usize, from: usize| {
                for (i, expected) in row(from).into_iter().enumerate() {
                    let found = keys.at(token, i);
                    assert!((found - expected).abs() <= tolerance, "{kv}: {found} for {expected}");
                }
            };
            (0..75).for_each(|token| keys.push(&row(token)));
            (0..75).for_each(|token| check(&keys, token, token));
            keys.truncate(33);
            keys.push(&row(99));
            (0..33).for_each(|token| check(&keys, token, token));
            check(&keys, 33, 99);
            keys.push(&[0.0; 70]);
            assert!((0..70).all(|i| keys.at(34, i) == 0.0));
        }
    }
}
