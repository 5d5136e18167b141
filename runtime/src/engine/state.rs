//! A session's state as bytes: what was fed, with its keys and values, to go on with later, or elsewhere.
//!
//! Little-endian: the magic, the version, the hash of the model, how keys and values are stored, the number of tokens, the
//! token that is to be fed next (2³² − 1: none), whether positions are told apart as in a long context, the tokens; for each
//! layer and head the keys, in tiles, and the values; the hash of all that (XXH3, 128 bits). It is of one version: what
//! another one wrote is refused.

use twox_hash::XxHash3_128;

use crate::model::{KvType, Session};

const MAGIC: &[u8; 16] = b"tritune session\n";
const VERSION: u32 = 1;
const NONE: u32 = u32::MAX;
/// Bytes before the tokens: magic, version, model, type, number of tokens, the next one, kind of positions.
const HEAD: usize = 16 + 4 + 16 + 4 + 8 + 4 + 4;
const HASH: usize = 16;

/// A state that cannot be gone on with. The session is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not what [`Session::save`] wrote.
    #[error("these {bytes} bytes are no session's state: save one with `Session::save`")]
    Foreign {
        /// How many there are.
        bytes: usize,
    },
    /// Written by another version.
    #[error("the state is of version {found}, this tritune reads {VERSION}: feed the text again")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Of another model.
    #[error("the state is of another model than this session's: load the model that it was saved with")]
    Model,
    /// Keys and values of another type.
    #[error("the state has keys and values as {found}, this session as {kv}: make the session with the same type")]
    Type {
        /// The state's.
        found: String,
        /// The session's.
        kv: KvType,
    },
    /// More tokens than the session has room for.
    #[error("the state has {tokens} tokens, this session has room for {context}: make one with more")]
    Room {
        /// The state's tokens.
        tokens: u64,
        /// The session's room.
        context: usize,
    },
    /// Positions of a long context in one for a short one, or the other way round.
    #[error(
        "the state has positions of another length of context: make the session with the context that it was saved with"
    )]
    Rope,
    /// No memory for it.
    #[error("there is no memory for a state of {bytes} bytes")]
    Memory {
        /// Its size.
        bytes: usize,
    },
    /// Cut short, or changed.
    #[error("the state is damaged: {what}; feed the text again")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Session {
    /// The session's state, to be kept: as many bytes as its keys and values take, and four for each token.
    ///
    /// # Errors
    /// [`StateError::Memory`].
    pub fn save(&self) -> Result<Vec<u8>, StateError> {
        let bytes = HEAD + 4 * self.tokens.len() + self.cache.state_bytes(self.tokens.len()) + HASH;
        let mut out = Vec::new();
        out.try_reserve_exact(bytes).map_err(|_| StateError::Memory { bytes })?;
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(self.model.content().to_le_bytes());
        out.extend(number(self.kv()).to_le_bytes());
        out.extend((self.tokens.len() as u64).to_le_bytes());
        out.extend(self.unfed.unwrap_or(NONE).to_le_bytes());
        out.extend(u32::from(self.is_long).to_le_bytes());
        self.tokens.iter().for_each(|token| out.extend(token.to_le_bytes()));
        self.cache.save(&mut out);
        out.extend(XxHash3_128::oneshot(&out).to_le_bytes());
        Ok(out)
    }

    /// Takes over a state in place of the session's own, by the same model and the same type of keys and values: what is then
    /// fed has the results that it would have had in the session that was saved.
    ///
    /// # Errors
    /// [`StateError`]: the session is as it was before.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let foreign = StateError::Foreign { bytes: state.len() };
        if state.len() < HEAD + HASH || !state.starts_with(MAGIC) {
            return Err(foreign);
        }
        let (rest, hash) = state.split_at(state.len() - HASH);
        let mut reader = Reader(&rest[MAGIC.len()..]);
        let version = u32::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(StateError::Version { found: version });
        }
        if XxHash3_128::oneshot(rest).to_le_bytes() != *hash {
            return Err(StateError::Damaged { what: "its checksum is another's" });
        }
        if u128::from_le_bytes(reader.array()?) != self.model.content() {
            return Err(StateError::Model);
        }
        let kv = u32::from_le_bytes(reader.array()?);
        if kv != number(self.kv()) {
            let found = KvType::NAMES.iter().find(|(known, _)| number(*known) == kv);
            let found = found.map_or(format!("type {kv}"), |(kv, _)| kv.to_string());
            return Err(StateError::Type { found, kv: self.kv() });
        }
        let tokens = u64::from_le_bytes(reader.array()?);
        let count = usize::try_from(tokens).ok().filter(|count| *count <= self.context());
        let Some(count) = count else { return Err(StateError::Room { tokens, context: self.context() }) };
        let unfed = u32::from_le_bytes(reader.array()?);
        if u32::from_le_bytes(reader.array()?) != u32::from(self.is_long) {
            return Err(StateError::Rope);
        }
        let ids = reader.take(4 * count)?.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let vocab = self.model.config().vocab;
        if ids.clone().chain([unfed].into_iter().filter(|id| *id != NONE)).any(|id| id as usize >= vocab) {
            return Err(StateError::Damaged { what: "a token is not in the vocabulary" });
        }
        if !self.cache.is_state(reader.0, count) {
            return Err(StateError::Damaged {
                what: "its keys and values are not as many as its tokens need, or not finite",
            });
        }
        self.rewind(0);
        self.cache.load(reader.0, count);
        self.tokens.extend(ids);
        self.unfed = (unfed != NONE).then_some(unfed);
        Ok(())
    }
}

/// How a type is told in a state.
fn number(kv: KvType) -> u32 {
    match kv {
        KvType::F32 => 0,
        KvType::F16 => 1,
        KvType::I8 => 2,
    }
}

/// Bytes that are still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(StateError::Damaged { what: "it ends too soon" })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}
