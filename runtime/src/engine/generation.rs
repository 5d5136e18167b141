//! Writing a text, token after token.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::stop::Stop;
#[cfg(feature = "chat")]
use crate::chat::{self, Message};
use crate::lookup::{Chooser, Lookup};
use crate::model::{Model, Session, SessionError};
use crate::sample::{self, Demand, Sample, Sampler, SamplerOptions, Scores};
use crate::tokenizer::{self, Pending, Special};
use crate::vector::log_sum_exp;

/// What is written, and until when.
#[derive(Clone, Debug)]
pub struct GenerationConfig {
    /// Tokens at most.
    pub tokens: usize,
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Strings that end the text, which ends before the first of them.
    pub stop: Vec<String>,
    /// Tell with every token its log-probability, and so many of the likeliest tokens in its place. All logits are computed
    /// then, which [`Demand`] otherwise spares.
    pub logprobs: Option<usize>,
    /// Propose what followed in the text before, several tokens to a pass ([`lookup`](crate::lookup)): the same text, faster
    /// where it repeats itself.
    pub lookup: bool,
    /// Ends the text from outside.
    pub cancel: Option<Cancel>,
}

impl Default for GenerationConfig {
    /// 128 tokens, chosen as llama.cpp chooses by default, with lookup.
    fn default() -> Self {
        GenerationConfig {
            tokens: 128,
            sampler: SamplerOptions::default(),
            stop: Vec::new(),
            logprobs: None,
            lookup: true,
            cancel: None,
        }
    }
}

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The text that is certain now: mostly the token's own; less where a character or a stop string may go on, more where
    /// it does not. All texts together are the text.
    pub text: String,
    /// Its log-probability before temperature and filters, where asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place with theirs, the likeliest first, as many as asked for.
    pub alternatives: Vec<(u32, f32)>,
    /// Time since the token before it, or since its prompt was there.
    pub time: Duration,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it: by the last token, of which the text is not a part.
    End,
    /// It has as many tokens as were asked for.
    Length,
    /// A stop string came, by its number. The text ends before it; its tokens are part of the session.
    Stop(usize),
    /// The context is full.
    Context,
    /// It was cancelled.
    Cancelled,
    /// It failed: the error was the last item.
    Failed,
}

/// How long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Tokens of the prompt that were fed.
    pub prompt: usize,
    /// How long that took, with the choice of the first token.
    pub prompted: Duration,
    /// Tokens fed after it.
    pub written: usize,
    /// How long that took, as far as the generation itself was at work.
    pub writing: Duration,
}

impl From<SessionError> for GenerationError {
    fn from(error: SessionError) -> Self {
        GenerationError::Session(Box::new(error))
    }
}

impl From<tokenizer::Error> for GenerationError {
    fn from(error: tokenizer::Error) -> Self {
        GenerationError::Tokenizer(Box::new(error))
    }
}

#[cfg(feature = "chat")]
impl From<chat::Error> for GenerationError {
    fn from(error: chat::Error) -> Self {
        GenerationError::Chat(Box::new(error))
    }
}

impl AddAssign for Timing {
    /// Both one after the other.
    fn add_assign(&mut self, other: Timing) {
        self.prompt += other.prompt;
        self.prompted += other.prompted;
        self.written += other.written;
        self.writing += other.writing;
    }
}

/// A text that is not begun, or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// The model could not take the tokens.
    #[error(transparent)]
    Session(Box<SessionError>),
    /// Nothing could be chosen, or the options are out of range.
    #[error(transparent)]
    Sample(#[from] sample::Error),
    /// There is no tokenizer, or a text is not to be written in its tokens.
    #[error(transparent)]
    Tokenizer(Box<tokenizer::Error>),
    /// There is no chat template, or it refuses the messages.
    #[cfg(feature = "chat")]
    #[error(transparent)]
    Chat(Box<chat::Error>),
    /// A stop string that is everywhere.
    #[error("stop string {number} is empty: it would end every text before it begins; leave it out")]
    Stop {
        /// Its number.
        number: usize,
    },
}

/// A text that is being written: an iterator over its tokens.
///
/// It ends for the reason that [`Generation::finish`] tells. What was written is then part of the session, and the next
/// text goes on from there.
#[derive(Debug)]
pub struct Generation<'s, S: Sample = Sampler> {
    session: &'s mut Session,
    writer: Writer<S>,
    lookup: Option<Lookup>,
    cancel: Option<Cancel>,
    /// Chosen, and not fed.
    next: Option<u32>,
    /// What ends it, once all that was chosen before has been told.
    failed: Option<GenerationError>,
    timing: Timing,
}

/// Chooses tokens, and makes text of them.
#[derive(Debug)]
struct Writer<S> {
    model: Model,
    sampler: S,
    pending: Pending,
    stop: Stop,
    logprobs: Option<usize>,
    /// Tokens that may still be chosen, and positions that they may be fed to.
    left: usize,
    room: usize,
    since: Instant,
    ready: VecDeque<Token>,
    finish: Option<Finish>,
    /// What was chosen last, unless it was fed.
    last: Option<u32>,
}

/// Whom a sampler knows of a text already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nobody: it is told of all of it.
    Nothing,
    /// What the session holds, and what was chosen last.
    Held,
}

impl Session {
    /// Writes what comes after `prompt`, which comes after what the session holds: feeds the prompt, and returns the tokens one
    /// by one. Spellings of special tokens in the prompt are those tokens.
    ///
    /// # Errors
    /// [`GenerationError`]: the session is as it was before.
    pub fn generate(&mut self, prompt: &str, config: &GenerationConfig) -> Result<Generation<'_>, GenerationError> {
        let sampler = Sampler::new(config.sampler.clone())?;
        let text = self.and(prompt)?;
        self.begin(&text, config, sampler, Told::Nothing)
    }

    /// The same, with tokens chosen by `sampler` in place of the configuration's. It is told of what is fed, but for what it
    /// chose last itself.
    ///
    /// # Errors
    /// Those of [`Session::generate`].
    pub fn generate_by<S: Sample>(
        &mut self,
        prompt: &str,
        config: &GenerationConfig,
        sampler: S,
    ) -> Result<Generation<'_, S>, GenerationError> {
        let text = self.and(prompt)?;
        self.begin(&text, config, sampler, Told::Held)
    }

    /// Writes what comes after a text, given as tokens. What the session holds of it is not fed again; what it holds besides is
    /// forgotten. The sampler is told of what is fed, but for what it chose last itself.
    ///
    /// # Errors
    /// Those of [`Session::generate`]; but what the text does not begin with is forgotten, unless the text itself is refused.
    pub fn write<S: Sample>(
        &mut self,
        text: &[u32],
        config: &GenerationConfig,
        sampler: S,
    ) -> Result<Generation<'_, S>, GenerationError> {
        self.begin(text, config, sampler, Told::Held)
    }

    /// Answers messages in the model's own format. What the session holds of the same chat is not fed again, and what it holds
    /// besides is forgotten.
    ///
    /// # Errors
    /// Those of [`Session::write`], and messages that the template refuses.
    #[cfg(feature = "chat")]
    pub fn chat(&mut self, messages: &[Message], config: &GenerationConfig) -> Result<Generation<'_>, GenerationError> {
        let model = self.model().clone();
        let prompt = model.template()?.encode(model.tokenizer()?, messages, &chat::Options::default())?;
        self.begin(&prompt, config, Sampler::new(config.sampler.clone())?, Told::Nothing)
    }

    /// What the session holds, and a text after it.
    fn and(&self, prompt: &str) -> Result<Vec<u32>, GenerationError> {
        let tokenizer = self.model().tokenizer()?;
        let mut text = self.tokens().to_vec();
        text.extend(self.unfed);
        let more = match text.last() {
            Some(&last) => tokenizer.encode_after(last, prompt)?,
            None => tokenizer.encode(prompt, Special::Parse)?,
        };
        text.extend(more);
        Ok(text)
    }

    fn begin<S: Sample>(
        &mut self,
        text: &[u32],
        config: &GenerationConfig,
        sampler: S,
        told: Told,
    ) -> Result<Generation<'_, S>, GenerationError> {
        let start = Instant::now();
        if let Some(number) = config.stop.iter().position(String::is_empty) {
            return Err(GenerationError::Stop { number });
        }
        // All that can be refused is, before anything is forgotten.
        self.check_text(text)?;
        let model = self.model().clone();
        let pending = model.tokenizer()?.stream_after(text)?.into_pending();
        let (held, unfed) = self.mark();
        let same = self.tokens().iter().zip(text).take_while(|(held, wanted)| held == wanted).count();
        // The last token is fed again where all are known: its logits are needed.
        let from = same.min(text.len() - 1);
        let fresh = &text[from..];
        // Where it comes back to: what was held, if by another name, or what of it the text begins with.
        let back = match from {
            _ if from == held => (held, unfed),
            _ if from + 1 == held && same == held => (from, Some(text[from])),
            _ => (from, None),
        };
        self.rewind(from);
        let known = usize::from(from == held && unfed == Some(text[from]));
        let untold = match told {
            Told::Nothing => text,
            Told::Held => &fresh[known..],
        };
        let mut writer = Writer {
            pending,
            stop: Stop::new(&config.stop),
            logprobs: config.logprobs,
            left: config.tokens,
            room: self.context() - text.len(),
            since: start,
            ready: VecDeque::new(),
            finish: (config.tokens == 0).then_some(Finish::Length),
            last: None,
            sampler,
            model,
        };
        let span = tracing::debug_span!("prefill", tokens = fresh.len());
        let entered = span.enter();
        let is_cancelled = || config.cancel.as_ref().is_some_and(Cancel::is_cancelled);
        let demand = writer.demand(untold);
        let mut next = None;
        let chosen = match self.predict_unless(fresh, demand, is_cancelled) {
            Ok(Some(scores)) => {
                untold.iter().for_each(|&id| writer.sampler.accept(id));
                writer.since = Instant::now();
                if config.tokens > 0 { writer.choose(scores).map(|chosen| next = chosen) } else { Ok(()) }
            }
            Ok(None) => {
                writer.finish = Some(Finish::Cancelled);
                Ok(())
            }
            Err(error) => Err(error.into()),
        };
        drop(entered);
        if chosen.is_err() || writer.finish == Some(Finish::Cancelled) {
            self.back(back);
        }
        chosen?;
        let lookup = config.lookup.then(|| {
            let mut lookup = std::mem::take(&mut self.lookup);
            lookup.begin(text);
            lookup
        });
        let prompt = if writer.finish == Some(Finish::Cancelled) { 0 } else { fresh.len() };
        let timing = Timing { prompt, prompted: start.elapsed(), ..Timing::default() };
        let cancel = config.cancel.clone();
        Ok(Generation { session: self, writer, lookup, cancel, next, failed: None, timing })
    }

    /// The embedding `[embedding]` of a text, of length 1, by a model that was made for it: see [`Session::embed`].
    ///
    /// # Errors
    /// Those of [`Session::embed`], and a text that makes no tokens.
    pub fn embed_text(&mut self, text: &str) -> Result<Vec<f32>, GenerationError> {
        let tokens = self.model().tokenizer()?.encode(text, Special::Parse)?;
        Ok(self.embed(&tokens)?)
    }
}

impl<S: Sample> Generation<'_, S> {
    /// Why the text ended; `None` while it goes on.
    pub fn finish(&self) -> Option<Finish> {
        self.writer.finish.filter(|_| self.writer.ready.is_empty())
    }

    /// How long it has taken so far.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The session, with what was fed so far.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// What was held back of a text that was cancelled or failed, since it could have become a stop string or a character.
    /// Every other end tells it with the last token.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        if matches!(self.finish(), Some(Finish::Cancelled | Finish::Failed)) {
            let Writer { stop, pending, .. } = &mut self.writer;
            // It is text now, whatever it may be the beginning of.
            stop.push(pending.finish(), &mut rest);
            stop.finish(&mut rest);
        }
        rest
    }

    /// The whole text, from here to its end.
    ///
    /// # Errors
    /// The first item that is one.
    pub fn text(&mut self) -> Result<String, GenerationError> {
        self.map(|token| Ok(token?.text)).collect()
    }

    /// Feeds a token and chooses those behind it.
    fn advance(&mut self, id: u32) -> Result<(), GenerationError> {
        let start = Instant::now();
        let _span = tracing::trace_span!("decode", position = self.session.position()).entered();
        let Generation { session, writer, lookup, next, timing, .. } = self;
        match lookup {
            None => {
                let scores = session.predict(&[id], writer.demand(&[]))?;
                timing.written += 1;
                *next = writer.choose(scores)?;
            }
            Some(lookup) => {
                let (kept, chosen) = lookup.advance(session, id, writer.left, writer)?;
                timing.written += kept.len();
                *next = chosen;
            }
        }
        timing.writing += start.elapsed();
        Ok(())
    }
}

impl<S: Sample> Iterator for Generation<'_, S> {
    type Item = Result<Token, GenerationError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(token) = self.writer.ready.pop_front() {
                return Some(Ok(token));
            }
            if let Some(error) = self.failed.take() {
                self.writer.finish = Some(Finish::Failed);
                return Some(Err(error));
            }
            if self.writer.finish.is_some() {
                return None;
            }
            if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
                self.writer.finish = Some(Finish::Cancelled);
                return None;
            }
            let id = self.next.take()?;
            self.failed = self.advance(id).err();
        }
    }
}

impl<S: Sample> Drop for Generation<'_, S> {
    /// The session is left with what was told: a pass may have chosen more. What was told last is not fed yet: the next text
    /// begins with it.
    fn drop(&mut self) {
        let Generation { session, writer, .. } = self;
        let unseen = writer.ready.len();
        if unseen > 0 {
            // All that was chosen was fed, in order, but for the last.
            let at = session.position() - unseen + usize::from(writer.last.is_some()) - 1;
            let last = session.tokens().get(at).copied();
            session.back((at, last));
        } else if !matches!(writer.finish, Some(Finish::Cancelled)) || writer.last.is_some() {
            session.unfed = writer.last.filter(|_| writer.finish != Some(Finish::End));
        }
        if let Some(lookup) = self.lookup.take() {
            self.session.lookup = lookup;
        }
    }
}

impl<S: Sample> Chooser for Writer<S> {
    type Error = GenerationError;

    fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        match self.logprobs {
            Some(_) => Demand::All,
            None => self.sampler.demand(ahead),
        }
    }

    /// Returns the token if the text goes on after it.
    fn choose(&mut self, scores: Scores<'_>) -> Result<Option<u32>, GenerationError> {
        // The one before was fed: these are its scores.
        self.last = None;
        let id = self.sampler.sample(scores)?;
        let (logprob, alternatives) = match self.logprobs {
            Some(count) => likeliest(scores.logits(), id, count),
            None => (None, Vec::new()),
        };
        let tokenizer = self.model.tokenizer()?;
        let mut text = String::new();
        if tokenizer.end_tokens().contains(&id) {
            self.finish = Some(Finish::End);
        } else {
            self.sampler.accept(id);
            self.left -= 1;
            if let Some(number) = self.stop.push(self.pending.push(tokenizer, id)?, &mut text) {
                self.finish = Some(Finish::Stop(number));
            } else if self.left == 0 {
                self.finish = Some(Finish::Length);
            } else if self.room == 0 {
                self.finish = Some(Finish::Context);
            }
            self.room = self.room.saturating_sub(1);
        }
        if !matches!(self.finish, None | Some(Finish::Stop(_))) {
            let found = self.stop.push(self.pending.finish(), &mut text);
            self.stop.finish(&mut text);
            self.finish = found.map(Finish::Stop).or(self.finish);
        }
        self.last = Some(id);
        self.ready.push_back(Token { id, text, logprob, alternatives, time: self.since.elapsed() });
        self.since = Instant::now();
        Ok(self.finish.is_none().then_some(id))
    }
}

/// The log-probability of a token, and the likeliest `count` with theirs.
fn likeliest(logits: &[f32], id: u32, count: usize) -> (Option<f32>, Vec<(u32, f32)>) {
    let total = log_sum_exp(logits);
    let logprob = |logit: f32| (f64::from(logit) - total) as f32;
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let count = count.min(ids.len());
    if count > 0 && count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
    }
    ids.truncate(count);
    ids.sort_unstable_by(order);
    let alternatives = ids.into_iter().map(|id| (id, logprob(logits[id as usize]))).collect();
    (logits.get(id as usize).map(|&logit| logprob(logit)), alternatives)
}
