//! `tritune logits`: the logits of every token, for comparing with other programs.

use std::fs;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use npyz::WriterBuilder;
use tritune::model::{KvType, Session, SessionOptions};

use crate::engine::{Engine, ModelFile, Threads, room, warn_beyond};
use crate::side_file::SideFile;

/// Write the logits of every token as a NumPy array, float32 [tokens, vocab]
#[derive(clap::Args)]
pub(crate) struct Logits {
    #[command(flatten)]
    model: ModelFile,
    /// Token ids, separated by commas or white space
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Where to write the array
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// How keys and values are stored: f32, f16, i8
    #[arg(long, default_value_t = KvType::F32)]
    kv: KvType,
    /// Room for so many tokens; as many as the model was made for where not given, or 0
    #[arg(short, long)]
    context: Option<usize>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    engine: Engine,
}

impl Logits {
    pub(crate) fn run(self) -> Result<()> {
        let text = fs::read_to_string(&self.tokens);
        let text = text.with_context(|| format!("cannot read {}", self.tokens.display()))?;
        let tokens = ids(&text).with_context(|| format!("{}", self.tokens.display()))?;
        let file = self.model.open()?;
        let side = SideFile::create(&self.out)?;
        let model = self.engine.load(&file, self.threads.count())?;
        let context = self.context.map(|asked| room(&model, asked));
        let options = SessionOptions { kv: Some(self.kv), context };
        warn_beyond(&model, context.map_or(tokens.len(), |context| context.min(tokens.len())));
        let mut session = Session::with_room(&model, options, tokens.len().max(1))?;
        let shape = [tokens.len() as u64, model.config().vocab as u64];
        let writer = BufWriter::new(&side.file);
        let mut array = npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape).writer(writer).begin_nd()?;
        session.feed_each::<anyhow::Error>(&tokens, 0, |_, logits| Ok(array.extend(logits.iter().copied())?))?;
        array.finish()?;
        side.put_in_place()
    }
}

/// Token ids, separated by commas or white space.
pub(crate) fn ids(text: &str) -> Result<Vec<u32>> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|_| anyhow!("`{word}` is not a token id; ids are whole numbers"))).collect()
}
