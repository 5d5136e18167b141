//! What a file says about its model, and what was decided where it says nothing: every decision with its reason.
//!
//! A family of models is a row of [`FAMILIES`], not a forward pass of its own. A key that would change the result and
//! is not implemented is refused by name, and so is one that nobody here has heard of: a model that computes something
//! other than what its authors meant still writes fluent text.

mod attention;
mod family;
mod feed_forward;
mod pooling;
mod reader;
mod rope;
mod scale;

use std::path::PathBuf;

use crate::decision::Decision;
use crate::gguf::{self, Tensor};
use crate::model::activation::Activation;
use crate::model::attention::Heads;
use crate::model::kv::KvShape;
use crate::model::rope::RopeConfig;

pub use attention::Window;
pub use family::{FAMILIES, Family, Norms};
pub use feed_forward::Experts;
pub use pooling::{Pooling, UnknownPooling};
pub use scale::Scales;

use family::InputNorms;
use reader::Reader;

/// Everything about a model that is not a weight.
#[derive(Clone, Debug)]
pub struct Config {
    /// The architecture's row of [`FAMILIES`].
    pub family: &'static Family,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Width of the feed-forward network, or of an expert.
    pub feed_forward: usize,
    /// The experts of a layer's feed-forward network, where it is a mixture.
    pub experts: Option<Experts>,
    /// Tokens in the vocabulary: rows of the embedding.
    pub vocab: usize,
    /// Tokens that the model was made for.
    pub context: usize,
    /// Heads of attention.
    pub heads: Heads,
    /// What keeps a norm from dividing by zero.
    pub rms_epsilon: f32,
    /// Norms of what projections read.
    pub input_norms: Norms,
    /// What scores of attention are multiplied by.
    pub query_scale: f32,
    /// How positions are told apart in layers that see the whole context; `None`: they are not.
    pub rope: Option<RopeConfig>,
    /// Layers that see only the latest tokens.
    pub window: Option<Window>,
    /// The function of the feed-forward network.
    pub activation: Activation,
    /// Factors between the parts.
    pub scales: Scales,
    /// How tokens become the embedding of a text; `None`: the model predicts tokens.
    pub pooling: Option<Pooling>,
    /// All of it, with reasons.
    pub decisions: Vec<Decision>,
}

/// A model that is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key is missing, or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// An architecture that is in no row of [`FAMILIES`].
    #[error("{}: the architecture `{found}` cannot be run; known are {}", path.display(), known())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A key that changes the result.
    #[error("{}: `{key}` is {value}, which {why}; get a model that does without, or a newer tritune", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key of the architecture that nobody reads.
    #[error(
        "{}: `{key}` is {value}, which is not known here and may change the result (if you know that it does not: \
         --ignore-key {key}); get a model that does without, or a newer tritune", path.display()
    )]
    Unread {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A value that cannot be.
    #[error("{}: `{key}` is {value}, {why}; the file is damaged or its converter is at fault: download it again or \
             convert the model again", path.display())]
    Absurd {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it contradicts.
        why: String,
    },
    /// A key that was to be passed over.
    #[error("{}: it has no key `{key}` of the architecture {architecture} that would be refused as unknown; leave out \
             --ignore-key {key}", path.display())]
    Ignored {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The architecture.
        architecture: &'static str,
    },
}

fn known() -> String {
    FAMILIES.each_ref().map(|family| family.architecture).join(", ")
}

impl Config {
    /// What the keys and values of this model are.
    pub fn kv_shape(&self) -> KvShape {
        let Heads { kv: heads, key_length, value_length, .. } = self.heads;
        KvShape { layers: self.layers, heads, key_length, value_length }
    }

    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// What is missing, cannot be, or is not implemented: [`ConfigError`] names the key.
    pub fn read(file: &gguf::File) -> Result<Config, ConfigError> {
        let architecture = file.str("general.architecture")?;
        let family = Family::of(architecture)
            .ok_or_else(|| ConfigError::Architecture { path: file.path().into(), found: architecture.into() })?;
        let mut reader = Reader::new(file, family);
        reader.decide("architecture", architecture, "general.architecture");
        reader.refuse_what_is_no_model()?;

        let layers = reader.layers()?;
        let (embedding, vocab) = reader.embedding()?;
        let feed_forward = reader.feed_forward()?;
        let context = reader.count("context", "context_length", None)?;
        let heads = reader.heads(embedding)?;
        let query_scale = reader.query_scale(heads, embedding, layers)?;
        let of_window = reader.window_layers(layers)?;
        let rms_epsilon = reader.positive("norm ε", "attention.layer_norm_rms_epsilon", None)?;
        let (rope, rope_of_window) = reader.rope(heads, context, of_window.is_some())?;
        let window = of_window.map(|(tokens, layers)| Window { tokens, layers, rope: rope_of_window });
        let activation = reader.activation()?;
        let experts = reader.experts(layers)?;
        let scales = reader.scales(embedding, layers)?;
        let input_norms = reader.norms();
        let pooling = reader.pooling(input_norms)?;
        reader.refuse_what_was_not_read()?;
        let config = Config {
            family,
            layers,
            embedding,
            feed_forward,
            experts,
            vocab,
            context,
            heads,
            rms_epsilon,
            input_norms,
            query_scale,
            rope,
            window,
            activation,
            scales,
            pooling,
            decisions: Vec::new(),
        };
        let kv = config.kv_shape().usual_type(context);
        reader.decide("keys and values", kv, "the size of the whole context; --kv asks for another type");
        Ok(Config { decisions: reader.decisions, ..config })
    }
}

impl Reader<'_> {
    /// Which norms there are, and of those of projections all or none.
    fn norms(&mut self) -> Norms {
        let architecture = self.family.architecture;
        let mut places = vec!["before each branch"];
        let norms = match self.family.input_norms {
            InputNorms::Always(norms) => norms,
            // If one is missing, loading will say so.
            InputNorms::Maybe(norms) => {
                let any = norms.iter().any(|(_, norm)| self.file.opt_tensor(&format!("blk.0.{norm}.weight")).is_some());
                if any { norms } else { &[] }
            }
        };
        match norms.len() {
            0 => {}
            2 => places.push("before the last matrix of each branch"),
            _ => places.push("before each matrix"),
        }
        if self.family.head_norms {
            places.push("of each head's query and key");
        }
        if self.family.post_norms {
            places.push("after each branch");
        }
        let why = match self.family.input_norms {
            InputNorms::Always(_) => format!("architecture {architecture}"),
            InputNorms::Maybe(_) if norms.is_empty() => format!("architecture {architecture}; no *_norm_in tensors"),
            InputNorms::Maybe(_) => format!("architecture {architecture}; tensors blk.N.*_norm_in"),
        };
        self.decide("norms", places.join(", "), why);
        norms
    }

    fn layers(&mut self) -> Result<usize, ConfigError> {
        /// Norms, q, k, v, output, gate, up, down: what every layer has.
        const TENSORS: usize = 9;
        let layers = self.count("layers", "block_count", None)?;
        let tensors = self.file.tensors().len();
        if layers > tensors / TENSORS {
            let why = format!("but the file has {tensors} tensors, and a layer has at least {TENSORS}");
            return Err(self.absurd(&self.name("block_count"), layers, why));
        }
        Ok(layers)
    }

    fn embedding(&mut self) -> Result<(usize, usize), ConfigError> {
        let embedding = self.count("embedding width", "embedding_length", None)?;
        let table = self.file.tensor("token_embd.weight")?;
        if table.k() != embedding as u64 {
            let why = format!("but the rows of `token_embd.weight` have {} elements", table.k());
            return Err(self.absurd(&self.name("embedding_length"), embedding, why));
        }
        let vocab = rows(table);
        if let Some(tokens) = self.file.opt_strings("tokenizer.ggml.tokens")?
            && tokens.len() != vocab
        {
            let value = format!("a list of {} tokens", tokens.len());
            let why = format!("but `token_embd.weight` has {vocab} rows");
            return Err(self.absurd("tokenizer.ggml.tokens", value, why));
        }
        self.decide("vocabulary", vocab, "rows of token_embd.weight");
        Ok((embedding, vocab))
    }
}

fn rows(tensor: &Tensor) -> usize {
    usize::try_from(tensor.n()).unwrap_or(usize::MAX)
}
