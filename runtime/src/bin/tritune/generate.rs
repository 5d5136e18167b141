//! Feeding a prompt and writing what the model says after it.

use std::io::Write;
use std::num::ParseFloatError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tritune::lookup::{Chooser, Lookup};
use tritune::model::Session;
use tritune::sample::{Demand, Sampler, SamplerOptions, Scores};
use tritune::tokenizer::{Stream, Tokenizer};

/// How tokens are chosen.
#[derive(clap::Args)]
pub(crate) struct Sampling {
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, value_parser = checked(|options, value| options.temperature = value), default_value_t = SamplerOptions::default().temperature, allow_negative_numbers = true)]
    temp: f32,
    /// Choose among so many of the likeliest tokens; 0: all
    #[arg(long, default_value_t = SamplerOptions::default().top_k)]
    top_k: usize,
    /// Choose among the likeliest tokens that together have this probability; 1: all
    #[arg(long, value_parser = checked(|options, value| options.top_p = value), default_value_t = SamplerOptions::default().top_p)]
    top_p: f32,
    /// Choose among tokens at least so likely in proportion to the likeliest; 0: all
    #[arg(long, value_parser = checked(|options, value| options.min_p = value), default_value_t = SamplerOptions::default().min_p)]
    min_p: f32,
    /// Make tokens seen lately less likely; 1: no
    #[arg(long, value_parser = checked(|options, value| options.repeat_penalty = value), default_value_t = SamplerOptions::default().repeat_penalty)]
    repeat_penalty: f32,
    /// The same seed gives the same text
    #[arg(long, default_value_t = SamplerOptions::default().seed)]
    seed: u64,
}

/// Reads how many tokens to generate at most; -1 is no limit.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "a number of tokens, or -1: until the text ends or the context is full".into()),
    }
}

/// Reads a number that `set` makes part of options that a sampler accepts.
fn checked(set: fn(&mut SamplerOptions, f32)) -> impl Fn(&str) -> Result<f32, String> + Clone {
    move |text| {
        let value = text.parse().map_err(|error: ParseFloatError| error.to_string())?;
        let mut options = SamplerOptions::default();
        set(&mut options, value);
        Sampler::new(options).map(|_| value).map_err(|error| error.to_string())
    }
}

impl Sampling {
    /// A sampler that has seen nothing yet.
    pub(crate) fn sampler(&self) -> Result<Sampler> {
        Ok(Sampler::new(SamplerOptions {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            seed: self.seed,
            ..SamplerOptions::default()
        })?)
    }
}

/// A text that a model goes on with.
pub(crate) struct Generator<'a, 'm> {
    pub(crate) session: &'a mut Session<'m>,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) sampler: &'a mut Sampler,
    /// Proposes several tokens to a pass; the text is the same with it and without.
    pub(crate) lookup: Option<&'a mut Lookup>,
}

/// What came of it.
pub(crate) struct Generated {
    /// What was written.
    pub(crate) text: String,
    /// Tokens fed after the prompt.
    pub(crate) fed: Vec<u32>,
    /// The context had no more room.
    pub(crate) full: bool,
    pub(crate) speed: Speed,
}

/// How long it took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Speed {
    prompt: usize,
    prompted: Duration,
    written: usize,
    generated: Duration,
}

impl Generator<'_, '_> {
    /// Feeds the last tokens of `prompt`, those from `from` on, and writes at most `tokens` more to `out`, each as soon as
    /// it is known; what ends a text or a turn ends it here.
    pub(crate) fn generate(
        &mut self,
        prompt: &[u32],
        from: usize,
        tokens: usize,
        out: impl Write,
    ) -> Result<Generated> {
        let start = Instant::now();
        let Generator { session, tokenizer, sampler, lookup } = self;
        let (mut fed, mut full) = (Vec::new(), false);
        let fresh = &prompt[from..];
        let scores = session.predict(fresh, sampler.demand(fresh))?;
        fresh.iter().for_each(|&id| sampler.accept(id));
        let mut speed = Speed { prompt: fresh.len(), prompted: start.elapsed(), ..Speed::default() };
        let start = Instant::now();
        if let Some(lookup) = lookup {
            lookup.begin(prompt);
        }
        let stream = tokenizer.stream_after(prompt)?;
        let mut writer = Writer { sampler, tokenizer, stream, left: tokens, text: String::new(), out };
        // The first token comes out of the prompt's own pass, every other costs one of its own, or a part of one.
        let mut next = if tokens > 0 { writer.choose(scores)? } else { None };
        while let Some(id) = next {
            full = session.position() == session.context();
            if full {
                break;
            }
            match lookup {
                None => {
                    let scores = session.predict(&[id], writer.demand(&[]))?;
                    next = writer.choose(scores)?;
                    fed.push(id);
                }
                Some(lookup) => {
                    let most = writer.left;
                    let (kept, chosen) = lookup.advance(session, id, most, &mut writer)?;
                    fed.extend(kept);
                    next = chosen;
                }
            }
        }
        let text = writer.finish()?;
        (speed.written, speed.generated) = (fed.len(), start.elapsed());
        Ok(Generated { text, fed, full, speed })
    }
}

/// Chooses tokens and writes them.
struct Writer<'a, W> {
    sampler: &'a mut Sampler,
    tokenizer: &'a Tokenizer,
    stream: Stream<'a>,
    /// Tokens to be written at most.
    left: usize,
    text: String,
    out: W,
}

impl<W: Write> Chooser for Writer<'_, W> {
    type Error = anyhow::Error;

    fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        self.sampler.demand(ahead)
    }

    /// Writes the token, too, and returns it if the text goes on after it.
    fn choose(&mut self, scores: Scores<'_>) -> Result<Option<u32>> {
        let id = self.sampler.sample(scores)?;
        if self.tokenizer.end_tokens().contains(&id) {
            return Ok(None);
        }
        self.sampler.accept(id);
        let text = self.stream.push(id)?;
        write(&mut self.out, text)?;
        self.text.push_str(text);
        self.left -= 1;
        Ok((self.left > 0).then_some(id))
    }
}

impl<W: Write> Writer<'_, W> {
    /// The whole text.
    fn finish(mut self) -> Result<String> {
        let text = self.stream.finish();
        write(&mut self.out, text)?;
        self.text.push_str(text);
        Ok(self.text)
    }
}

fn write(out: &mut impl Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the text")
}

impl Speed {
    /// Both taken together.
    pub(crate) fn and(self, other: Speed) -> Speed {
        Speed {
            prompt: self.prompt + other.prompt,
            prompted: self.prompted + other.prompted,
            written: self.written + other.written,
            generated: self.generated + other.generated,
        }
    }

    /// Tells it on stderr.
    pub(crate) fn tell(self, threads: usize) {
        let rate = |tokens: usize, time: Duration| if tokens > 0 { tokens as f64 / time.as_secs_f64() } else { 0.0 };
        eprintln!(
            "prompt: {} tokens, {:.1} t/s; generation: {:.1} t/s on {threads} threads",
            self.prompt,
            rate(self.prompt, self.prompted),
            rate(self.written, self.generated),
        );
    }
}
