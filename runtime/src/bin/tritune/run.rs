//! `tritune run`: complete a text, as it is.

use std::io;

use anyhow::{Result, bail};
use tritune::engine::{Finish, GenerationConfig};
use tritune::model::{KvType, Session, SessionOptions};
use tritune::tokenizer::{LazyTokenizer, Special};

use crate::engine::{Engine, ModelFile, Threads, room, tell_head, tell_lookup, warn_beyond};
use crate::generate::{Sampling, limit, tell, write};

/// Complete a text; what is generated, and nothing else, goes to stdout
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    model: ModelFile,
    /// Text to complete
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// Tokens to generate at most; -1: until the text ends or the context is full
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = limit, default_value = "128", allow_negative_numbers = true)]
    tokens: usize,
    #[command(flatten)]
    sampling: Sampling,
    /// Write one token to a pass always. Else what followed when the last tokens stood in the text before is proposed, several
    /// tokens to a pass: faster where a text repeats its prompt or itself, and the same text
    #[arg(long)]
    no_lookup: bool,
    /// Room for so many tokens, prompt included; what is needed, up to what the model was made for, where not given, or 0
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

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        let mut sampler = self.sampling.sampler()?;
        let file = self.model.open()?;
        if self.prompt.is_empty() {
            bail!("the prompt is empty; give a text with -p");
        }
        let tokenizer = LazyTokenizer::spawn(&file);
        let model = self.engine.load_with(&file, self.threads.count(), &tokenizer)?;
        let prompt = tokenizer.get()?.encode(&self.prompt, Special::Parse)?;
        let whole = room(&model, self.context.unwrap_or(0));
        let context = prompt.len().saturating_add(self.tokens).min(whole);
        warn_beyond(&model, context);
        let mut session = Session::with_room(&model, SessionOptions { kv: self.kv, context: Some(whole) }, context)?;
        let lookup = !self.no_lookup;
        let config = GenerationConfig { tokens: self.tokens, lookup, ..GenerationConfig::default() };
        let mut generation = session.write(&prompt, &config, &mut sampler)?;
        write(&mut generation, io::stdout().lock())?;
        let (finish, timing) = (generation.finish(), generation.timing());
        drop(generation);
        eprintln!();
        if finish == Some(Finish::Context) {
            eprintln!("stopped: the context of {context} tokens is full");
        }
        tell(timing, model.pool().threads());
        tell_head(session.head_use());
        tell_lookup(lookup.then(|| session.lookup_tally()));
        Ok(())
    }
}
