//! Feeding a prompt and writing what the model says after it.

use std::io::Write;
use std::num::ParseFloatError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tritune::model::Session;
use tritune::sample::{Sampler, SamplerOptions};
use tritune::tokenizer::Tokenizer;

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
}

/// What came of it.
#[derive(Default)]
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
    passes: usize,
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
        mut out: impl Write,
    ) -> Result<Generated> {
        let start = Instant::now();
        let mut generated = Generated::default();
        let fresh = &prompt[from..];
        let mut scores = self.session.predict(fresh, self.sampler.demand(fresh))?;
        fresh.iter().for_each(|&id| self.sampler.accept(id));
        generated.speed = Speed { prompt: fresh.len(), prompted: start.elapsed(), ..Speed::default() };
        let start = Instant::now();
        let mut stream = self.tokenizer.stream_after(prompt)?;
        // The first token comes out of the prompt's own pass, every other costs one of its own.
        for number in 1..=tokens {
            let id = self.sampler.sample(scores)?;
            if self.tokenizer.end_tokens().contains(&id) {
                break;
            }
            self.sampler.accept(id);
            let text = stream.push(id)?;
            write(&mut out, text)?;
            generated.text.push_str(text);
            if number == tokens {
                break;
            }
            generated.full = self.session.position() == self.session.context();
            if generated.full {
                break;
            }
            scores = self.session.predict(&[id], self.sampler.demand(&[]))?;
            generated.fed.push(id);
        }
        let text = stream.finish();
        write(&mut out, text)?;
        generated.text.push_str(text);
        generated.speed.passes = generated.fed.len();
        generated.speed.generated = start.elapsed();
        Ok(generated)
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
            passes: self.passes + other.passes,
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
            rate(self.passes, self.generated),
        );
    }
}
