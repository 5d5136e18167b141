//! Feeding a prompt and writing what the model says after it.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::num::ParseFloatError;
use std::time::Duration;

use anyhow::{Context, Result};
use tritune::engine::{Generation, Timing};
use tritune::sample::{Sampler, SamplerOptions};

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
    /// The same seed gives the same text; -1: another one each time, which stderr tells
    #[arg(long, value_parser = seed, default_value_t = SamplerOptions::default().seed, allow_negative_numbers = true)]
    seed: u64,
}

/// Reads how many tokens to generate at most; -1 is no limit.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "a number of tokens, or -1: until the text ends or the context is full".into()),
    }
}

/// Reads a seed; -1 draws one.
fn seed(text: &str) -> Result<u64, String> {
    if text != "-1" {
        return text.parse().map_err(|_| "a whole number, or -1: another one each time".into());
    }
    // The standard library's own hashes begin with 64 bits that the system drew.
    let drawn = RandomState::new().hash_one("seed");
    eprintln!("seed: {drawn}");
    Ok(drawn)
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

/// Writes a text as it comes, and returns it.
pub(crate) fn write(generation: &mut Generation<'_, &mut Sampler>, mut out: impl Write) -> Result<String> {
    let mut text = String::new();
    for token in generation {
        let token = token?;
        out.write_all(token.text.as_bytes()).and_then(|()| out.flush()).context("cannot write the text")?;
        text.push_str(&token.text);
    }
    Ok(text)
}

/// Tells on stderr how long texts took.
pub(crate) fn tell(Timing { prompt, prompted, written, writing }: Timing, threads: usize) {
    let rate = |tokens: usize, time: Duration| if tokens > 0 { tokens as f64 / time.as_secs_f64() } else { 0.0 };
    eprintln!(
        "prompt: {prompt} tokens, {:.1} t/s; generation: {:.1} t/s on {threads} threads",
        rate(prompt, prompted),
        rate(written, writing),
    );
}
