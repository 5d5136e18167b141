//! One conversation with a model: the tokens so far, their keys and values, and the buffers of the forward pass.

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;

use crate::linear::Float;
use crate::lookup::{Lookup, Tally};
use crate::model::Model;
use crate::model::config::Pooling;
use crate::model::forward::{Forward, ForwardError, LOGIT_ROWS};
use crate::model::head::HeadUse;
use crate::model::kv::{KvCache, KvType};
use crate::sample::{Demand, Scores};

/// Tokens taken through the layers together: enough to make matrix products of them, few enough to stay in cache.
pub const BATCH: usize = 512;

/// What a session is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// How keys and values are stored; `None`: as is usual for the model ([`super::KvShape::usual_type`] of its whole context,
    /// so that a shorter one does not change the result).
    pub kv: Option<KvType>,
    /// Tokens that there is to be room for; `None`: as many as the model was made for.
    pub context: Option<usize>,
}

/// A session that could not be made, or could not take tokens.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A context of no tokens.
    #[error("a context has room for at least one token")]
    NoContext,
    /// More memory than there is.
    #[error(
        "keys and values for {context} tokens as {kv} take {needed}; {available}. A smaller context, or i8 keys and \
         values, take less"
    )]
    Memory {
        /// Tokens.
        context: usize,
        /// How they are stored.
        kv: KvType,
        /// Bytes, for a person.
        needed: String,
        /// What there is.
        available: String,
    },
    /// Logits of a model that has none.
    #[error(
        "{}: this model turns texts into embeddings (`{key}`) and predicts no tokens; ask it for an embedding \
         (`tritune embed`)", path.display()
    )]
    Embedder {
        /// The file.
        path: PathBuf,
        /// The key that says so.
        key: String,
    },
    /// An embedding by a model that was not made for it.
    #[error(
        "{}: no `{key}` says how tokens become an embedding: the model predicts tokens; get a model that was made for \
         embeddings, or choose a pooling yourself (`--pooling last`)", path.display()
    )]
    Generator {
        /// The file.
        path: PathBuf,
        /// The key that is missing.
        key: String,
    },
    /// Nothing to feed.
    #[error("no tokens to feed; the text must give at least one")]
    Empty,
    /// An id that the vocabulary does not have.
    #[error("token id {id} (number {index} of those fed) is not in the vocabulary of {vocab} tokens")]
    Token {
        /// The id.
        id: u32,
        /// Where it stands.
        index: usize,
        /// Ids are below this.
        vocab: usize,
    },
    /// More tokens than the context has room for.
    #[error(
        "{} do not fit into a context of {context}; ask for a larger one (`-c`), or shorten the text",
        tokens(*position, *more)
    )]
    Overrun {
        /// Tokens already fed.
        position: usize,
        /// Tokens to feed.
        more: usize,
        /// Room.
        context: usize,
    },
    /// More tokens than are predicted together.
    #[error("{tokens} tokens are more than are predicted together; feed {} at most", Float::FEW)]
    Pass {
        /// Tokens to feed.
        tokens: usize,
    },
    /// The forward pass failed.
    #[error(
        "at positions {from} to {to}: {source}; the file is damaged, or the model needs a wider type of keys and values"
    )]
    Forward {
        /// First position of the batch.
        from: usize,
        /// Last position of the batch.
        to: usize,
        /// What failed.
        source: ForwardError,
    },
}

fn tokens(position: usize, more: usize) -> String {
    if position == 0 { format!("{more} tokens") } else { format!("{position} tokens and {more} more") }
}

/// One sequence of tokens, fed in pieces. It holds the model, which any number of sessions share.
#[derive(Debug)]
pub struct Session {
    pub(crate) model: Model,
    pub(crate) cache: KvCache,
    forward: Forward,
    /// What was fed; room for all that fit.
    pub(crate) tokens: Vec<u32>,
    /// What was chosen last, and is to be fed before what comes next.
    pub(crate) unfed: Option<u32>,
    /// What was learnt about proposals in the texts so far.
    pub(crate) lookup: Lookup,
    kv: KvType,
    kv_bytes: usize,
    /// Whether positions are told apart as for a context that is longer than the one that the model was first made for.
    pub(crate) is_long: bool,
}

impl Session {
    /// An empty session.
    ///
    /// # Errors
    /// A context of 0, or one whose keys and values do not fit into memory.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, SessionError> {
        Session::with_room(model, options, usize::MAX)
    }

    /// The same, for who knows that there will be no more than `tokens` tokens: memory for them alone. What depends on the
    /// length of the context, such as the factors of LongRoPE, still follows [`SessionOptions::context`].
    ///
    /// # Errors
    /// Those of [`Session::new`].
    pub fn with_room(model: &Model, options: SessionOptions, tokens: usize) -> Result<Self, SessionError> {
        let config = model.config();
        let whole = options.context.unwrap_or(config.context);
        let context = whole.min(tokens);
        if context == 0 {
            return Err(SessionError::NoContext);
        }
        let shape = config.kv_shape();
        let kv = options.kv.unwrap_or_else(|| shape.usual_type(config.context));
        let refuse = |needed: Option<usize>, available: String| {
            let needed = needed.map_or("more bytes than can be counted".into(), |bytes| format!("{} MiB", bytes >> 20));
            SessionError::Memory { context, kv, needed, available }
        };
        let bytes = shape.bytes(kv, context).ok_or_else(|| refuse(None, "no machine has them".into()))?;
        if let Some(available) = available_memory()
            && bytes as u64 > available
        {
            return Err(refuse(Some(bytes), format!("{} MiB are available", available >> 20)));
        }
        let no_room = |error: &dyn Error| refuse(Some(bytes), error.to_string());
        let cache = KvCache::new(kv, shape, context).map_err(|error| no_room(&error))?;
        let mut tokens = Vec::new();
        tokens.try_reserve_exact(context).map_err(|error| no_room(&error))?;
        let ropes = model.weights().ropes(whole).clone();
        let is_long = model.weights().is_long(whole);
        let forward = Forward::new(config, ropes, context, context.min(BATCH), model.pool().threads());
        let forward = forward.map_err(|error| no_room(&error))?;
        Ok(Session {
            model: model.clone(),
            cache,
            forward,
            tokens,
            unfed: None,
            lookup: Lookup::new(),
            kv,
            kv_bytes: bytes,
            is_long,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokens fed so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens were fed so far.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens that there is room for in all.
    pub fn context(&self) -> usize {
        self.cache.capacity()
    }

    /// How keys and values are stored.
    pub fn kv(&self) -> KvType {
        self.kv
    }

    /// Bytes that keys and values take when the context is full.
    pub fn kv_bytes(&self) -> usize {
        self.kv_bytes
    }

    /// Forgets all tokens but the first `tokens`; more than were fed means all of them.
    pub fn rewind(&mut self, tokens: usize) {
        self.unfed = None;
        self.tokens.truncate(tokens);
        self.cache.truncate(self.tokens.len());
    }

    /// Feeds tokens and returns the logits `[vocab]` of the last one.
    ///
    /// # Errors
    /// A model of embeddings; no tokens, ids out of range, more than fit; numbers that are not finite. The session then is as it was before.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], SessionError> {
        let before = self.mark();
        if let Err(error) = self.advance(tokens) {
            self.back(before);
            return Err(error);
        }
        Ok(&self.forward.logits()[..self.model.config().vocab])
    }

    fn advance(&mut self, tokens: &[u32]) -> Result<(), SessionError> {
        let last = self.advance_layers(tokens)?;
        self.score(last..last + 1, self.position() - 1)
    }

    /// Feeds tokens and returns of the logits of the last one those that `demand` asks for, be it
    /// [a sampler's](crate::sample::Sampler::demand): to choose by them is to choose by all, and mostly takes less time.
    ///
    /// # Errors
    /// Those of [`Session::feed`]. The session then is as it was before.
    pub fn predict(&mut self, tokens: &[u32], demand: Demand<'_>) -> Result<Scores<'_>, SessionError> {
        let before = self.mark();
        let decided = self.advance_layers(tokens).and_then(|last| self.decide(last..last + 1, demand));
        if let Err(error) = decided {
            self.back(before);
            return Err(error);
        }
        Ok(self.forward.scores(self.model.config().vocab, 0))
    }

    /// As [`Session::predict`], but `None`, the session being as it was before, where `is_cancelled` says so before a batch of
    /// [`BATCH`] tokens.
    pub(crate) fn predict_unless(
        &mut self,
        tokens: &[u32],
        demand: Demand<'_>,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Option<Scores<'_>>, SessionError> {
        let before = self.mark();
        let taken = self.take_unless(tokens, demand, is_cancelled);
        if !matches!(taken, Ok(true)) {
            self.back(before);
            return taken.map(|_| None);
        }
        Ok(Some(self.forward.scores(self.model.config().vocab, 0)))
    }

    /// Whether it was not cancelled.
    fn take_unless(
        &mut self,
        tokens: &[u32],
        demand: Demand<'_>,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<bool, SessionError> {
        self.check_head()?;
        self.check(tokens)?;
        let mut last = 0;
        for batch in tokens.chunks(BATCH) {
            if is_cancelled() {
                return Ok(false);
            }
            self.take(batch)?;
            last = batch.len() - 1;
        }
        self.decide(last..last + 1, demand)?;
        Ok(true)
    }

    /// Where it stands, to come [back](Self::back) to.
    pub(crate) fn mark(&self) -> (usize, Option<u32>) {
        (self.position(), self.unfed)
    }

    /// Forgets what was fed since, and nothing else.
    pub(crate) fn back(&mut self, (position, unfed): (usize, Option<u32>)) {
        self.rewind(position);
        self.unfed = unfed;
    }

    /// Refuses a text that the session cannot hold as a whole.
    pub(crate) fn check_text(&self, text: &[u32]) -> Result<(), SessionError> {
        self.check_head()?;
        self.check_from(0, text)
    }

    /// Feeds up to [`Float::FEW`] tokens, and returns what `demand` asks for of every one of them: see
    /// [`Predictions::scores`]. Every logit has the bits that [`Session::predict`] gives it; which there are beyond those asked
    /// for may differ.
    ///
    /// # Errors
    /// Those of [`Session::feed`], and more tokens than that. The session then is as it was before.
    pub fn predict_each(&mut self, tokens: &[u32], demand: Demand<'_>) -> Result<Predictions<'_>, SessionError> {
        if tokens.len() > Float::FEW {
            return Err(SessionError::Pass { tokens: tokens.len() });
        }
        let before = self.mark();
        let decided = self.advance_layers(tokens).and_then(|_| self.decide(0..tokens.len(), demand));
        if let Err(error) = decided {
            self.back(before);
            return Err(error);
        }
        Ok(Predictions { forward: &self.forward, vocab: self.model.config().vocab, tokens: tokens.len() })
    }

    /// How often which part of the head was computed.
    pub fn head_use(&self) -> HeadUse {
        self.forward.head_use()
    }

    /// What came of prompt lookup in all texts that were written so far.
    pub fn lookup_tally(&self) -> Tally {
        self.lookup.tally()
    }

    /// Takes tokens through the layers; returns the number of the last one in its batch.
    fn advance_layers(&mut self, tokens: &[u32]) -> Result<usize, SessionError> {
        self.check_head()?;
        self.check(tokens)?;
        let mut last = 0;
        for batch in tokens.chunks(BATCH) {
            self.take(batch)?;
            last = batch.len() - 1;
        }
        Ok(last)
    }

    /// Computes what a demand asks for of the logits of some tokens of the last batch.
    fn decide(&mut self, rows: Range<usize>, demand: Demand<'_>) -> Result<(), SessionError> {
        let to = self.position() - 1;
        let from = to + 1 - rows.len();
        let Session { model, forward, .. } = self;
        let decided = forward.decide(model.pool(), model.config(), model.weights(), rows, demand);
        decided.map_err(|source| SessionError::Forward { from, to, source })
    }

    /// Feeds tokens and hands `each` the logits `[vocab]` of every token from number `from` on, in order, with the
    /// token's number among those fed.
    ///
    /// # Errors
    /// Those of [`Session::feed`], and those of `each`; the session then is as it was before.
    pub fn feed_each<E: From<SessionError>>(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.mark();
        let fed = self.advance_each(tokens, from, each);
        if fed.is_err() {
            self.back(before);
        }
        fed
    }

    fn advance_each<E: From<SessionError>>(
        &mut self,
        tokens: &[u32],
        from: usize,
        mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_head()?;
        self.check(tokens)?;
        let (vocab, start) = (self.model.config().vocab, self.position());
        for batch in tokens.chunks(BATCH) {
            let first = self.position();
            self.take(batch)?;
            let mut row = (start + from).saturating_sub(first);
            while row < batch.len() {
                let rows = row..(row + LOGIT_ROWS).min(batch.len());
                self.score(rows.clone(), first + row)?;
                for (row, logits) in rows.clone().zip(self.forward.logits().chunks_exact(vocab)) {
                    each(first + row - start, logits)?;
                }
                row = rows.end;
            }
        }
        Ok(())
    }

    /// The embedding `[embedding]` of the text that these tokens are, of length 1: the last states of its tokens, pooled
    /// as the model asks ([`Pooling`]). What was fed before is forgotten, and so are these tokens.
    ///
    /// # Errors
    /// A model that predicts tokens; no tokens, ids out of range, more than fit; numbers that are not finite.
    pub fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, SessionError> {
        let Some(pooling) = self.model.config().pooling else {
            let key = format!("{}.pooling_type", self.model.config().family.architecture);
            return Err(SessionError::Generator { path: self.model.path().into(), key });
        };
        self.embed_by(tokens, pooling)
    }

    /// The same, pooled in a way that the caller chose, by any model.
    ///
    /// # Errors
    /// No tokens, ids out of range, more than fit; numbers that are not finite.
    pub fn embed_by(&mut self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>, SessionError> {
        self.rewind(0);
        let pooled = self.check(tokens).and_then(|()| self.pool(tokens, pooling));
        self.rewind(0);
        let mut pooled = pooled?;
        let length = pooled.iter().map(|x| x * x).sum::<f64>().sqrt();
        // A text that says nothing at all has no direction.
        if length > 0.0 {
            pooled.iter_mut().for_each(|x| *x /= length);
        }
        Ok(pooled.iter().map(|&x| x as f32).collect())
    }

    /// The sum of the states that count, in f64: what is scaled to length 1 afterwards needs no mean.
    fn pool(&mut self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f64>, SessionError> {
        let width = self.model.config().embedding;
        let mut sum = vec![0f64; width];
        for batch in tokens.chunks(BATCH) {
            let from = self.position();
            self.take(batch)?;
            let rows = match pooling {
                Pooling::Mean => 0..batch.len(),
                Pooling::First if from == 0 => 0..1,
                Pooling::Last if self.position() == tokens.len() => batch.len() - 1..batch.len(),
                Pooling::First | Pooling::Last => continue,
            };
            let to = self.position() - 1;
            let Session { model, forward, .. } = &mut *self;
            let states = forward.states(model.pool(), model.config(), model.weights(), rows);
            let states = states.map_err(|source| SessionError::Forward { from, to, source })?;
            for state in states.chunks_exact(width) {
                sum.iter_mut().zip(state).for_each(|(sum, &x)| *sum += f64::from(x));
            }
        }
        Ok(sum)
    }

    /// Computes the logits of some tokens of the last batch, the first of them at position `from`.
    fn score(&mut self, rows: Range<usize>, from: usize) -> Result<(), SessionError> {
        let to = from + rows.len() - 1;
        let Session { model, forward, .. } = self;
        let scored = forward.score(model.pool(), model.config(), model.weights(), rows);
        scored.map_err(|source| SessionError::Forward { from, to, source })
    }

    fn check_head(&self) -> Result<(), SessionError> {
        match self.model.config().pooling {
            None => Ok(()),
            Some(_) => {
                let key = format!("{}.pooling_type", self.model.config().family.architecture);
                Err(SessionError::Embedder { path: self.model.path().into(), key })
            }
        }
    }

    fn check(&self, tokens: &[u32]) -> Result<(), SessionError> {
        self.check_from(self.position(), tokens)
    }

    fn check_from(&self, position: usize, tokens: &[u32]) -> Result<(), SessionError> {
        let (vocab, context) = (self.model.config().vocab, self.context());
        if tokens.is_empty() {
            return Err(SessionError::Empty);
        }
        if let Some((index, &id)) = tokens.iter().enumerate().find(|&(_, &id)| id as usize >= vocab) {
            return Err(SessionError::Token { id, index, vocab });
        }
        if tokens.len() > context - position {
            return Err(SessionError::Overrun { position, more: tokens.len(), context });
        }
        Ok(())
    }

    /// Takes one batch through the layers.
    fn take(&mut self, batch: &[u32]) -> Result<(), SessionError> {
        let from = self.position();
        let Session { model, cache, forward, tokens, .. } = self;
        let taken = forward.layers(model.pool(), model.config(), model.weights(), cache, batch, from);
        let to = from + batch.len() - 1;
        taken.map_err(|source| SessionError::Forward { from, to, source })?;
        tokens.extend_from_slice(batch);
        self.unfed = None;
        Ok(())
    }
}

/// What was asked for of the logits of some tokens.
#[derive(Debug)]
pub struct Predictions<'a> {
    forward: &'a Forward,
    vocab: usize,
    tokens: usize,
}

impl Predictions<'_> {
    /// What was asked for of the logits of one of the tokens, counted from the first that was fed; `None` behind the last.
    pub fn scores(&self, token: usize) -> Option<Scores<'_>> {
        (token < self.tokens).then(|| self.forward.scores(self.vocab, token))
    }
}

/// Bytes of memory that the system could give, where it says so (Linux).
pub(crate) fn available_memory() -> Option<u64> {
    let report = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = report.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
