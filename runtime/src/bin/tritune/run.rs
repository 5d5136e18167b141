//! `tritune run`: complete a text.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use tritune::model::{KvType, Session, SessionOptions};
use tritune::sample::{Sampler, SamplerOptions};
use tritune::tokenizer::{Special, Tokenizer};

use crate::engine::{Engine, ModelFile, Threads, warn_beyond};

/// Complete a text; what is generated, and nothing else, goes to stdout
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    model: ModelFile,
    /// Text to complete
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// Tokens to generate at most
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 128)]
    tokens: usize,
    #[command(flatten)]
    sampling: Sampling,
    /// Room for so many tokens, prompt included; what is needed, up to what the model was made for, where not given
    #[arg(short, long)]
    context: Option<usize>,
    /// How keys and values are stored: f32, f16, i8; as is usual for the model (`inspect` shows it) where not given
    #[arg(long)]
    kv: Option<KvType>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    engine: Engine,
}

/// How tokens are chosen.
#[derive(clap::Args)]
struct Sampling {
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, default_value_t = SamplerOptions::default().temperature, allow_negative_numbers = true)]
    temp: f32,
    /// Choose among so many of the likeliest tokens; 0: all
    #[arg(long, default_value_t = SamplerOptions::default().top_k)]
    top_k: usize,
    /// Choose among the likeliest tokens that together have this probability; 1: all
    #[arg(long, default_value_t = SamplerOptions::default().top_p)]
    top_p: f32,
    /// Choose among tokens at least so likely in proportion to the likeliest; 0: all
    #[arg(long, default_value_t = SamplerOptions::default().min_p)]
    min_p: f32,
    /// Make tokens seen lately less likely; 1: no
    #[arg(long, default_value_t = SamplerOptions::default().repeat_penalty)]
    repeat_penalty: f32,
    /// The same seed gives the same text
    #[arg(long, default_value_t = SamplerOptions::default().seed)]
    seed: u64,
}

impl Sampling {
    fn options(&self) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            seed: self.seed,
            ..SamplerOptions::default()
        }
    }
}

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        let mut sampler = Sampler::new(self.sampling.options())?;
        let file = self.model.open()?;
        let tokenizer = Tokenizer::from_gguf(&file)?;
        if self.prompt.is_empty() {
            bail!("the prompt is empty; give a text with -p");
        }
        let prompt = tokenizer.encode(&self.prompt, Special::Parse)?;
        let model = self.engine.load(&file, self.threads.count())?;
        let made_for = model.config().context;
        let context = self.context.unwrap_or_else(|| prompt.len().saturating_add(self.tokens).min(made_for));
        warn_beyond(&model, context);
        let mut session = Session::new(&model, SessionOptions { kv: self.kv, context: Some(context) })?;

        let start = Instant::now();
        let mut logits = session.feed(&prompt)?;
        let (prompted, start) = (start.elapsed(), Instant::now());
        prompt.iter().for_each(|&id| sampler.accept(id));
        let mut text = tokenizer.stream_after(&prompt)?;
        let mut stdout = io::stdout().lock();
        // The first token comes out of the prompt's own pass, every other costs one of its own.
        let (mut passes, mut full) = (0, false);
        for number in 1..=self.tokens {
            let id = sampler.sample(logits)?;
            if tokenizer.end_tokens().contains(&id) {
                break;
            }
            sampler.accept(id);
            stdout.write_all(text.push(id)?.as_bytes())?;
            stdout.flush()?;
            if number == self.tokens {
                break;
            }
            full = session.position() == context;
            if full {
                break;
            }
            logits = session.feed(&[id])?;
            passes += 1;
        }
        stdout.write_all(text.finish().as_bytes())?;
        stdout.flush()?;
        let generated = start.elapsed();
        eprintln!();
        if full {
            eprintln!("stopped: the context of {context} tokens is full");
        }
        let speed = |tokens: usize, time: std::time::Duration| tokens as f64 / time.as_secs_f64();
        eprintln!(
            "prompt: {} tokens, {:.1} t/s; generation: {:.1} t/s on {} threads",
            prompt.len(),
            speed(prompt.len(), prompted),
            if passes > 0 { speed(passes, generated) } else { 0.0 },
            model.pool().threads(),
        );
        Ok(())
    }
}
