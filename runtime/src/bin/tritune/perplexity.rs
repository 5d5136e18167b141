//! `tritune perplexity`: how well a model foresees a text, in llama-perplexity's windows.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tritune::model::{KvType, Session, SessionOptions};
use tritune::tokenizer::{LazyTokenizer, Special};
use tritune::vector::log_sum_exp;

use crate::engine::{Engine, ModelFile, Threads, room, warn_beyond};

/// Perplexity over a text, windowed as llama-perplexity does
#[derive(clap::Args)]
pub(crate) struct Perplexity {
    #[command(flatten)]
    model: ModelFile,
    /// Text
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Tokens of a window, of which the second half is scored; 0: as many as the model was made for, and no more than 512 of
    /// them where not given
    #[arg(short, long, value_name = "TOKENS")]
    context: Option<usize>,
    /// How keys and values are stored: f32, f16, i8; as is usual for the model (`inspect` shows it) where not given
    #[arg(long)]
    kv: Option<KvType>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    engine: Engine,
}

/// Tokens of a window where nothing else is asked for, as llama-perplexity has it.
const WINDOW: usize = 512;

#[derive(Default)]
struct Estimate {
    count: usize,
    /// Σ −ln p.
    sum: f64,
    /// Σ (ln p)².
    squares: f64,
}

impl Estimate {
    fn add(&mut self, logits: &[f32], next: u32) {
        let surprise = log_sum_exp(logits) - f64::from(logits[next as usize]);
        self.count += 1;
        self.sum += surprise;
        self.squares += surprise * surprise;
    }

    fn perplexity(&self) -> f64 {
        (self.sum / self.count as f64).exp()
    }

    /// The standard error of the perplexity.
    fn error(&self) -> f64 {
        let (count, mean) = (self.count as f64, self.sum / self.count as f64);
        let variance = (self.squares / count - mean * mean).max(0.0);
        // One score has no spread.
        if self.count > 1 { (variance / (count - 1.0)).sqrt() * self.perplexity() } else { 0.0 }
    }
}

impl Perplexity {
    pub(crate) fn run(self) -> Result<()> {
        let text = fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let text = text_of(text).with_context(|| format!("{}", self.file.display()))?;
        let file = self.model.open()?;
        let lazy = LazyTokenizer::spawn(&file);
        let tokenizer = lazy.get()?;
        // As llama-perplexity has it: BOS is added where the model wants it, and spellings of control tokens are text.
        let begins = tokenizer.add_bos();
        if tokenizer.add_eos().is_some() {
            bail!(
                "{} has EOS put behind every text (tokenizer.ggml.add_eos_token), and windows of a longer one end \
                 without; get the model with this key false",
                file.path().display()
            );
        }
        let mut tokens = tokenizer.encode(&text, Special::Plain)?;
        tokens.splice(0..0, begins);
        let model = self.engine.load_with(&file, self.threads.count(), &lazy)?;
        let window = self.context.map_or(WINDOW.min(model.config().context), |asked| room(&model, asked));
        if window < 4 {
            bail!("a window of {window} tokens leaves nothing to score; ask for at least 4 with -c");
        }
        if tokens.len() < 2 * window {
            bail!(
                "{} has {} tokens, and two windows of {window} are needed; give a longer text or a smaller -c",
                self.file.display(),
                tokens.len()
            );
        }
        warn_beyond(&model, window);
        let mut session = Session::new(&model, SessionOptions { kv: self.kv, context: Some(window) })?;
        let (mut estimate, first, windows) = (Estimate::default(), window / 2, tokens.len() / window);
        for (number, window) in tokens.chunks_exact(window).enumerate() {
            let mut fed = window[..window.len() - 1].to_vec();
            if let Some(bos) = begins {
                fed[0] = bos;
            }
            session.rewind(0);
            session.feed_each::<anyhow::Error>(&fed, first, |token, logits| {
                estimate.add(logits, window[token + 1]);
                Ok(())
            })?;
            eprint!("[{}/{windows}] {:.4} ", number + 1, estimate.perplexity());
        }
        eprintln!();
        let (perplexity, error) = (estimate.perplexity(), estimate.error());
        if self.json {
            let (scored, context) = (estimate.count, window);
            let json = serde_json::json!({
                "perplexity": perplexity, "error": error, "tokens": tokens.len(), "scored": scored,
                "windows": windows, "context": context,
            });
            writeln!(io::stdout(), "{json}")?;
        } else {
            writeln!(io::stdout(), "Final estimate: PPL = {perplexity:.4} ± {error:.5}")?;
        }
        Ok(())
    }
}

/// The text, less a character that the file's end cuts in two: texts are often cut at a number of bytes.
fn text_of(bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if error.utf8_error().error_len().is_none() => {
            let valid = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(valid);
            eprintln!("warning: the text ends within a character, which is left out");
            Ok(String::from_utf8(bytes)?)
        }
        Err(error) => bail!("not UTF-8 text ({}); convert it first", error.utf8_error()),
    }
}
