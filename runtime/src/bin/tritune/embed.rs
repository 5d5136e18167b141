//! `tritune embed`: the embedding of a text, by a model that was made for that.

use std::fs;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use npyz::WriterBuilder;
use tritune::model::{KvType, Pooling, Session, SessionOptions};
use tritune::tokenizer::{Special, Tokenizer};

use crate::engine::{Engine, ModelFile, Threads, warn_beyond};
use crate::logits::ids;
use crate::side_file::SideFile;

/// Write the embedding of a text as a NumPy array, float32 [1, embd], of length 1
#[derive(clap::Args)]
pub(crate) struct Embed {
    #[command(flatten)]
    model: ModelFile,
    /// Text; BOS and EOS are added as the model asks
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, required_unless_present = "tokens")]
    prompt: Option<String>,
    /// Token ids, separated by commas or white space, taken as they are
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    tokens: Option<PathBuf>,
    /// Where to write the array
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// How keys and values are stored: f32, f16, i8
    #[arg(long, default_value_t = KvType::F32)]
    kv: KvType,
    /// How tokens become an embedding: mean, cls (the first token's), last; as the model asks where not given
    #[arg(long)]
    pooling: Option<Pooling>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    engine: Engine,
}

impl Embed {
    pub(crate) fn run(self) -> Result<()> {
        let listed = match &self.tokens {
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Some(ids(&text).with_context(|| format!("{}", path.display()))?)
            }
            None => None,
        };
        let file = self.model.open()?;
        let tokens = match (listed, &self.prompt) {
            (Some(tokens), _) => tokens,
            (None, text) => Tokenizer::from_gguf(&file)?.encode(text.as_deref().unwrap_or_default(), Special::Parse)?,
        };
        let side = SideFile::create(&self.out)?;
        let model = self.engine.load(&file, self.threads.count())?;
        let context = tokens.len().max(model.config().context);
        warn_beyond(&model, context);
        let options = SessionOptions { kv: Some(self.kv), context: Some(context) };
        let mut session = Session::with_room(&model, options, tokens.len().max(1))?;
        let embedding = match self.pooling {
            Some(pooling) => session.embed_by(&tokens, pooling)?,
            None => session.embed(&tokens)?,
        };
        let shape = [1, embedding.len() as u64];
        let writer = BufWriter::new(&side.file);
        let mut array = npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape).writer(writer).begin_nd()?;
        array.extend(embedding)?;
        array.finish()?;
        side.put_in_place()
    }
}
