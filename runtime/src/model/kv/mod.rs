//! Keys and values of the tokens seen so far.

use std::fmt;
use std::str::FromStr;

use half::f16;
use multiversion::multiversion;

use crate::memory::MemoryError;

mod element;
mod keys;
mod store;
mod values;

pub(super) use element::Element;
pub use keys::{Keys, TILE};
pub use store::Store;
pub use values::Values;

/// How a key or value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// As computed.
    F32,
    /// Rounded to half precision: half the memory.
    F16,
    /// int8 with one scale for each token and head, max|x| / 127: a quarter of the memory.
    I8,
}

impl KvType {
    /// Every type with its name in flags.
    pub const NAMES: [(KvType, &str); 3] = [(KvType::F32, "f32"), (KvType::F16, "f16"), (KvType::I8, "i8")];

    /// Whether every element of `x` is finite, and stays so when it is stored.
    pub fn holds(self, x: &[f32]) -> bool {
        within(
            x,
            match self {
                KvType::F32 | KvType::I8 => f32::INFINITY,
                KvType::F16 => F16_INFINITE,
            },
        )
    }

    /// Bytes that a row of `width` elements takes.
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            KvType::F32 => width * size_of::<f32>(),
            KvType::F16 => width * size_of::<f16>(),
            KvType::I8 => width + size_of::<f32>(),
        }
    }
}

/// The least number that rounds to infinity as f16: half a step above the greatest, 65504.
const F16_INFINITE: f32 = 65520.0;

/// Whether |x| < `limit` for every element; NaN is not.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn within(x: &[f32], limit: f32) -> bool {
    x.iter().fold(true, |within, x| within & (x.abs() < limit))
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::I8 => "i8",
        })
    }
}

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, UnknownKvType> {
        KvType::NAMES.into_iter().find(|(_, known)| *known == name).map(|(kv, _)| kv).ok_or(UnknownKvType(name.into()))
    }
}

/// A name that is no [`KvType`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown type `{0}` of keys and values; known: f32, f16, i8")]
pub struct UnknownKvType(String);

/// The keys and the values of one head in one layer.
#[derive(Debug)]
pub struct HeadCache {
    /// A column a token.
    pub keys: Keys,
    /// A row a token.
    pub values: Values,
}

/// What a cache holds: counts and lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers of the model.
    pub layers: usize,
    /// Heads of keys and values in a layer.
    pub heads: usize,
    /// Elements of a key.
    pub key_length: usize,
    /// Elements of a value.
    pub value_length: usize,
}

/// Keys and values that take no more than this are kept as computed.
const SMALL: usize = 64 << 20;

impl KvShape {
    /// The type to use where none is asked for: f16, as other runtimes do; but f32 where a context of `tokens` tokens is
    /// so small that rounding would save nothing worth having.
    pub fn usual_type(&self, tokens: usize) -> KvType {
        match self.bytes(KvType::F32, tokens) {
            Some(bytes) if bytes <= SMALL => KvType::F32,
            _ => KvType::F16,
        }
    }

    /// Bytes for `tokens` tokens, padding included; `None` where that is no number of bytes.
    pub fn bytes(&self, kv: KvType, tokens: usize) -> Option<usize> {
        let keys = kv.row_bytes(self.key_length).checked_mul(tokens.checked_next_multiple_of(TILE)?)?;
        let values = kv.row_bytes(Values::padded(self.value_length)).checked_mul(tokens)?;
        keys.checked_add(values)?.checked_mul(self.heads)?.checked_mul(self.layers)
    }
}

/// The keys and values of all layers, with room for a fixed number of tokens: nothing is allocated per token.
#[derive(Debug)]
pub struct KvCache {
    kv: KvType,
    layers: Vec<Vec<HeadCache>>,
    capacity: usize,
}

impl KvCache {
    /// Room for `capacity` tokens.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new(kv: KvType, shape: KvShape, capacity: usize) -> Result<Self, MemoryError> {
        let head = || {
            Ok::<_, MemoryError>(HeadCache {
                keys: Keys::new(kv, shape.key_length, capacity)?,
                values: Values::new(kv, shape.value_length, capacity)?,
            })
        };
        let layer = || (0..shape.heads).map(|_| head()).collect();
        let layers = (0..shape.layers).map(|_| layer()).collect::<Result<_, MemoryError>>()?;
        Ok(KvCache { kv, layers, capacity })
    }

    /// How keys and values are stored.
    pub fn kv(&self) -> KvType {
        self.kv
    }

    /// Tokens that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The heads of a layer.
    pub fn layer(&self, layer: usize) -> &[HeadCache] {
        &self.layers[layer]
    }

    /// Appends tokens to a layer: `keys` is `[m, heads · key_length]`, `values` `[m, heads · value_length]`; the type
    /// [holds](KvType::holds) all of them.
    pub fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let heads = &mut self.layers[layer];
        let count = heads.len();
        for (h, head) in heads.iter_mut().enumerate() {
            for key in keys.chunks_exact(head.keys.width()).skip(h).step_by(count) {
                head.keys.push(key);
            }
            for value in values.chunks_exact(head.values.width()).skip(h).step_by(count) {
                head.values.push(value);
            }
        }
    }

    /// Bytes that [`KvCache::save`] appends for `tokens` tokens.
    pub(crate) fn state_bytes(&self, tokens: usize) -> usize {
        self.parts(tokens).map(|(elements, tokens)| Store::state_bytes(self.kv, elements, tokens)).sum()
    }

    /// Appends all keys and values, as they are stored.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        for head in self.layers.iter().flatten() {
            head.keys.store().save(out);
            head.values.store().save(out);
        }
    }

    /// Whether `bytes` are keys and values that [`KvCache::save`] may have appended for `tokens` tokens.
    pub(crate) fn is_state(&self, mut bytes: &[u8], tokens: usize) -> bool {
        let mut next = |(elements, tokens)| {
            let part = bytes.split_off(..Store::state_bytes(self.kv, elements, tokens));
            part.is_some_and(|part| Store::is_finite(self.kv, elements, part))
        };
        self.parts(tokens).all(&mut next) && bytes.is_empty()
    }

    /// Takes over such keys and values in place of its own.
    pub(crate) fn load(&mut self, mut bytes: &[u8], tokens: usize) {
        let kv = self.kv;
        let mut next =
            |(elements, tokens)| bytes.split_off(..Store::state_bytes(kv, elements, tokens)).unwrap_or_default();
        for HeadCache { keys, values } in self.layers.iter_mut().flatten() {
            keys.load(next(keys.extent(tokens)), tokens);
            values.load(next(values.extent(tokens)), tokens);
        }
    }

    /// Elements and tokens of what is stored for `tokens` tokens, part after part.
    fn parts(&self, tokens: usize) -> impl Iterator<Item = (usize, usize)> {
        let heads = self.layers.iter().flatten();
        heads.flat_map(move |HeadCache { keys, values }| [keys.extent(tokens), values.extent(tokens)])
    }

    /// Forgets all tokens but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        for head in self.layers.iter_mut().flatten() {
            head.keys.truncate(tokens);
            head.values.truncate(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_or_would_become_infinite_or_nan_is_not_held() {
        for (kv, _) in KvType::NAMES {
            assert!(kv.holds(&[0.0, -65504.0, 1e-30]));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut row = [1.0; 37];
                row[36] = bad;
                assert!(!kv.holds(&row), "{bad} as {kv}");
            }
        }
        let below = F16_INFINITE.next_down();
        assert!(f16::from_f32(below).is_finite() && f16::from_f32(F16_INFINITE).is_infinite());
        assert!(KvType::F16.holds(&[below, -below]) && !KvType::F16.holds(&[-F16_INFINITE]));
        assert!(KvType::F32.holds(&[f32::MAX]) && KvType::I8.holds(&[f32::MAX]));
    }

    #[test]
    fn heads_are_dealt_and_truncated() {
        let shape = KvShape { layers: 2, heads: 3, key_length: 2, value_length: 4 };
        for (kv, _) in KvType::NAMES {
            let mut cache = KvCache::new(kv, shape, 4).unwrap();
            let (keys, values) = (vec![1.0; 2 * 3 * 2], vec![1.0; 2 * 3 * 4]);
            cache.append(1, &keys, &values);
            let token: Vec<f32> = (0..6).map(|i| if i / 2 == 1 { 0.5 } else { 1.0 }).collect();
            cache.append(1, &token, &values[..12]);
            let key = |cache: &KvCache, head: usize, token| {
                (0..2).map(|i| cache.layer(1)[head].keys.at(token, i)).collect::<Vec<_>>()
            };
            assert_eq!((key(&cache, 1, 2), key(&cache, 2, 2)), (vec![0.5; 2], vec![1.0; 2]));
            cache.truncate(1);
            cache.append(1, &token, &values[..12]);
            assert_eq!(key(&cache, 1, 1), [0.5; 2]);
            assert_eq!(cache.layer(1)[2].values.at(1, 3), 1.0);
        }
    }

    #[test]
    fn sizes_are_what_the_types_say_and_overflow_is_seen() {
        let shape = KvShape { layers: 30, heads: 5, key_length: 128, value_length: 128 };
        assert_eq!(shape.bytes(KvType::F16, 4096), Some(30 * 5 * 256 * 2 * 4096));
        assert_eq!(shape.bytes(KvType::I8, 1), Some(30 * 5 * (128 + 4) * (32 + 1)));
        assert_eq!(shape.bytes(KvType::F32, usize::MAX), None);
        assert_eq!((shape.usual_type(64), shape.usual_type(4096)), (KvType::F32, KvType::F16));
        assert_eq!(shape.usual_type(usize::MAX), KvType::F16);
        assert!(Keys::new(KvType::F32, usize::MAX, 2).is_err() && Values::new(KvType::F32, usize::MAX, 2).is_err());
    }

    #[test]
    fn names_round_trip() {
        for (kv, name) in KvType::NAMES {
            assert_eq!((kv.to_string(), name.parse()), (name.to_string(), Ok(kv)));
        }
        assert!("q4".parse::<KvType>().unwrap_err().to_string().contains("f32, f16, i8"));
    }
}
