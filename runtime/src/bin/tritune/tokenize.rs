//! `tritune tokenize`: text to ids, ids to text.

use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use tritune::tokenizer::{Special, Tokenizer};

use crate::engine::ModelFile;
use crate::logits::ids;

/// Text on stdin, byte for byte, to token ids on stdout
#[derive(clap::Args)]
pub(crate) struct Tokenize {
    #[command(flatten)]
    model: ModelFile,
    /// Add no BOS or EOS, and read spellings of special tokens as plain text
    #[arg(long)]
    no_special: bool,
    /// The way back: ids on stdin, separated by commas or white space, to text on stdout
    #[arg(long, conflicts_with = "no_special")]
    decode: bool,
}

impl Tokenize {
    pub(crate) fn run(self) -> Result<()> {
        let file = self.model.open_any()?;
        let tokenizer = Tokenizer::from_gguf(&file)?;
        let mut input = Vec::new();
        io::stdin().read_to_end(&mut input).context("cannot read stdin")?;
        let text = String::from_utf8(input).context("what stdin gives is not UTF-8 text; convert it first")?;
        let mut stdout = io::stdout().lock();
        if self.decode {
            stdout.write_all(&tokenizer.decode_bytes(&ids(&text)?)?)?;
        } else {
            let special = if self.no_special { Special::Plain } else { Special::Parse };
            let ids: Vec<String> = tokenizer.encode(&text, special)?.iter().map(u32::to_string).collect();
            writeln!(stdout, "{}", ids.join(" "))?;
        }
        Ok(stdout.flush()?)
    }
}
