//! What a file says about its model, and what was decided where it says nothing: every decision with its reason.
//!
//! A family of models is a row of [`FAMILIES`], not a forward pass of its own. A key that would change the result and
//! is not implemented is refused by name, and so is one that nobody here has heard of: a model that computes something
//! other than what its authors meant still writes fluent text.

use std::fmt;
use std::path::PathBuf;

use crate::decision::Decision;
use crate::gguf::{self, Tensor, Value};
use crate::model::activation::Activation;
use crate::model::attention::Heads;
use crate::model::kv::KvShape;
use crate::model::rope::Pairing;

/// What distinguishes an architecture from the others.
#[derive(Debug)]
pub struct Family {
    /// The value of `general.architecture`.
    pub architecture: &'static str,
    /// Which elements rope rotates together.
    pub pairing: Pairing,
    /// Whether attention and feed-forward network normalise again before their last matrix.
    pub sub_norms: bool,
    /// Where the file does not name an activation.
    activation: ActivationRule,
}

#[derive(Debug)]
enum ActivationRule {
    Silu,
    /// Two models share the architecture, and only their tokenizers tell them apart.
    ByTokenizer,
}

/// Every architecture that can be run.
pub const FAMILIES: [Family; 4] = [
    Family { architecture: "llama", pairing: Pairing::Adjacent, sub_norms: false, activation: ActivationRule::Silu },
    Family { architecture: "bitnet", pairing: Pairing::Halves, sub_norms: true, activation: ActivationRule::Silu },
    Family {
        architecture: "bitnet-25",
        pairing: Pairing::Halves,
        sub_norms: true,
        activation: ActivationRule::ByTokenizer,
    },
    Family {
        architecture: "bitnet-b1.58",
        pairing: Pairing::Halves,
        sub_norms: true,
        activation: ActivationRule::ByTokenizer,
    },
];

/// Keys of an architecture that are read, or that do not change what is computed.
#[rustfmt::skip]
const KNOWN: [&str; 21] = [
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "attention.layer_norm_rms_epsilon", "hidden_activation",
    "rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear",
    // About training, about files older than GGUF, about another kind of norm.
    "rope.scaling.original_context_length", "rope.scaling.finetuned", "tensor_data_layout",
    "attention.layer_norm_epsilon", "expert_weights_norm",
];

/// Keys that change the result and are not implemented, each with the values at which it changes nothing.
#[rustfmt::skip]
const NEUTRAL: [(&str, &[f64]); 22] = [
    ("attention.causal", &[1.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.scale", &[0.0]),
    ("attention.sliding_window", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("expert_count", &[0.0]),
    ("expert_used_count", &[0.0]),
    ("expert_shared_count", &[0.0]),
    ("leading_dense_block_count", &[0.0]),
    ("interleave_moe_layer_step", &[0.0]),
    ("nextn_predict_layers", &[0.0]),
    ("pooling_type", &[0.0]),
    ("swin_norm", &[0.0]),
    ("use_parallel_residual", &[0.0]),
    ("rope.scaling.attn_factor", &[1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
];

/// How positions are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Which elements are rotated together.
    pub pairing: Pairing,
    /// Elements of a head that are rotated.
    pub dimension: usize,
    /// The slowest pair turns by about 1/base a position.
    pub base: f32,
    /// Positions are divided by this: linear scaling.
    pub divisor: f32,
}

/// Everything about a model that is not a weight.
#[derive(Clone, Debug)]
pub struct Config {
    /// The architecture's row of [`FAMILIES`].
    pub family: &'static Family,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Width of the feed-forward network.
    pub feed_forward: usize,
    /// Tokens in the vocabulary: rows of the embedding.
    pub vocab: usize,
    /// Tokens that the model was made for.
    pub context: usize,
    /// Heads of attention.
    pub heads: Heads,
    /// What keeps a norm from dividing by zero.
    pub rms_epsilon: f32,
    /// How positions are told apart.
    pub rope: RopeConfig,
    /// The function of the feed-forward network.
    pub activation: Activation,
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
}

fn known() -> String {
    FAMILIES.map(|family| family.architecture).join(", ")
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
        let family = FAMILIES
            .iter()
            .find(|family| family.architecture == architecture)
            .ok_or_else(|| ConfigError::Architecture { path: file.path().into(), found: architecture.into() })?;
        let mut reader = Reader { file, family, decisions: Vec::new() };
        reader.decide("architecture", architecture, "general.architecture");
        reader.refuse_what_is_not_implemented()?;

        let layers = reader.layers()?;
        let (embedding, vocab) = reader.embedding()?;
        let feed_forward = reader.count("feed-forward width", "feed_forward_length", None)?;
        let context = reader.count("context", "context_length", None)?;
        let heads = reader.heads(embedding)?;
        let rms_epsilon = reader.positive("norm ε", "attention.layer_norm_rms_epsilon", None)?;
        let rope = reader.rope(heads.key_length)?;
        let activation = reader.activation()?;
        let norms = if family.sub_norms { "before the last matrix of each branch too" } else { "before each branch" };
        reader.decide("norms", norms, format!("architecture {architecture}"));
        let config = Config {
            family,
            layers,
            embedding,
            feed_forward,
            vocab,
            context,
            heads,
            rms_epsilon,
            rope,
            activation,
            decisions: Vec::new(),
        };
        let kv = config.kv_shape().usual_type(context);
        reader.decide("keys and values", kv, "the size of the whole context; --kv asks for another type");
        Ok(Config { decisions: reader.decisions, ..config })
    }
}

/// A file in the words of its architecture, and the decisions so far.
struct Reader<'f> {
    file: &'f gguf::File,
    family: &'static Family,
    decisions: Vec<Decision>,
}

impl Reader<'_> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.family.architecture)
    }

    fn decide(&mut self, what: &'static str, value: impl fmt::Display, why: impl fmt::Display) {
        self.decisions.push(Decision { what, value: value.to_string(), why: why.to_string() });
    }

    fn absurd(&self, key: &str, value: impl fmt::Display, why: impl fmt::Display) -> ConfigError {
        ConfigError::Absurd {
            path: self.file.path().into(),
            key: key.into(),
            value: value.to_string(),
            why: why.to_string(),
        }
    }

    fn unsupported(&self, key: &str, value: impl fmt::Display, why: impl fmt::Display) -> ConfigError {
        ConfigError::Unsupported {
            path: self.file.path().into(),
            key: key.into(),
            value: value.to_string(),
            why: why.to_string(),
        }
    }

    fn refuse_what_is_not_implemented(&self) -> Result<(), ConfigError> {
        let of_architecture = format!("{}.", self.family.architecture);
        for (key, value) in self.file.metadata() {
            if let Some(suffix) = key.strip_prefix(&of_architecture) {
                match NEUTRAL.iter().find(|(name, _)| *name == suffix) {
                    Some((_, neutral)) if number(value).is_some_and(|value| neutral.contains(&value)) => {}
                    Some(_) => return Err(self.unsupported(key, value, "changes the result and is not implemented")),
                    None if KNOWN.contains(&suffix) => {}
                    None => return Err(self.unsupported(key, value, "is not known here and may change the result")),
                }
            }
        }
        if let Some(kind) = self.file.opt_str("general.type")?
            && kind != "model"
        {
            return Err(self.unsupported("general.type", format!("`{kind}`"), "is not a model to run"));
        }
        if let Some(parts) = self.file.opt_usize("split.count")?
            && parts > 1
        {
            return Err(self.unsupported("split.count", parts, "is a part of a model; join the parts first"));
        }
        Ok(())
    }

    /// A count of at least 1.
    fn count(
        &mut self,
        what: &'static str,
        suffix: &str,
        default: Option<(usize, String)>,
    ) -> Result<usize, ConfigError> {
        let key = self.key(suffix);
        let (count, why) = match (self.file.opt_usize(&key)?, default) {
            (Some(count), _) => (count, key.clone()),
            (None, Some((count, why))) => (count, format!("no `{key}`: {why}")),
            (None, None) => (self.file.usize(&key)?, key.clone()),
        };
        if count == 0 {
            return Err(self.absurd(&key, count, "but must be at least 1"));
        }
        self.decide(what, count, why);
        Ok(count)
    }

    /// A finite number above 0.
    fn positive(&mut self, what: &'static str, suffix: &str, default: Option<f32>) -> Result<f32, ConfigError> {
        let key = self.key(suffix);
        let (value, why) = match (self.file.opt_f32(&key)?, default) {
            (Some(value), _) => (value, key.clone()),
            (None, Some(value)) => (value, format!("no `{key}`: the usual value")),
            (None, None) => (self.file.f32(&key)?, key.clone()),
        };
        if !(value.is_finite() && value > 0.0) {
            return Err(self.absurd(&key, value, "but must be a finite number above 0"));
        }
        self.decide(what, value, why);
        Ok(value)
    }

    fn layers(&mut self) -> Result<usize, ConfigError> {
        /// Norms, q, k, v, output, gate, up, down: what every layer has.
        const TENSORS: usize = 9;
        let layers = self.count("layers", "block_count", None)?;
        let tensors = self.file.tensors().len();
        if layers > tensors / TENSORS {
            let why = format!("but the file has {tensors} tensors, and a layer has at least {TENSORS}");
            return Err(self.absurd(&self.key("block_count"), layers, why));
        }
        Ok(layers)
    }

    fn embedding(&mut self) -> Result<(usize, usize), ConfigError> {
        let embedding = self.count("embedding width", "embedding_length", None)?;
        let table = self.file.tensor("token_embd.weight")?;
        if table.k() != embedding as u64 {
            let why = format!("but the rows of `token_embd.weight` have {} elements", table.k());
            return Err(self.absurd(&self.key("embedding_length"), embedding, why));
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

    fn heads(&mut self, embedding: usize) -> Result<Heads, ConfigError> {
        let queries = self.count("heads", "attention.head_count", None)?;
        let kv =
            self.count("heads of keys and values", "attention.head_count_kv", Some((queries, "as many".into())))?;
        if kv > queries || !queries.is_multiple_of(kv) {
            let why = format!("but must divide the {queries} heads of queries");
            return Err(self.absurd(&self.key("attention.head_count_kv"), kv, why));
        }
        let length = self.key("attention.key_length");
        if !embedding.is_multiple_of(queries) && self.file.value(&length).is_none() {
            let why = format!("which does not divide the embedding of {embedding}, and there is no `{length}`");
            return Err(self.absurd(&self.key("attention.head_count"), queries, why));
        }
        let default = |why: &str| Some((embedding / queries, why.into()));
        let key_length = self.count("key length", "attention.key_length", default("embedding / heads"))?;
        let value_length = self.count("value length", "attention.value_length", default("embedding / heads"))?;
        // The shape of the tensors is compared later; here it is only that the products can be formed.
        for (suffix, length) in [("attention.key_length", key_length), ("attention.value_length", value_length)] {
            if queries.checked_mul(length).is_none_or(|width| width > 1 << 31) {
                return Err(self.absurd(&self.key(suffix), length, "which no model has"));
            }
        }
        Ok(Heads { queries, kv, key_length, value_length })
    }

    fn rope(&mut self, key_length: usize) -> Result<RopeConfig, ConfigError> {
        let pairing = self.family.pairing;
        self.decide("rope", pairing, format!("architecture {}", self.family.architecture));
        let default = Some((key_length, "the whole key".into()));
        let dimension = self.count("rope dimensions", "rope.dimension_count", default)?;
        if dimension > key_length || dimension % 2 != 0 {
            let why = format!("but must be even and at most the key length of {key_length}");
            return Err(self.absurd(&self.key("rope.dimension_count"), dimension, why));
        }
        let base = self.positive("rope base", "rope.freq_base", Some(10_000.0))?;
        let divisor = self.rope_divisor()?;
        if self.file.opt_tensor("rope_freqs.weight").is_some() {
            self.decide("rope factors", "one for each pair", "tensor rope_freqs.weight");
        }
        Ok(RopeConfig { pairing, dimension, base, divisor })
    }

    /// The divisor of linear scaling. Without a type, a factor means linear scaling, as llama.cpp has it.
    fn rope_divisor(&mut self) -> Result<f32, ConfigError> {
        let key = self.key("rope.scaling.type");
        let kind = self.file.opt_str(&key)?;
        if let Some(kind) = kind
            && !["none", "linear"].contains(&kind)
        {
            return Err(self.unsupported(&key, format!("`{kind}`"), "is a scaling of rope that is not implemented"));
        }
        let [factor, older] = [self.key("rope.scaling.factor"), self.key("rope.scale_linear")];
        let found = match self.file.opt_f32(&factor)? {
            Some(value) => Some((factor, value)),
            None => self.file.opt_f32(&older)?.map(|value| (older, value)),
        };
        match found {
            Some((key, value)) if kind != Some("none") && value != 0.0 => {
                if !(value.is_finite() && value > 0.0) {
                    return Err(self.absurd(&key, value, "but must be a finite number above 0"));
                }
                self.decide("rope scaling", format!("linear, positions / {value}"), key);
                Ok(value)
            }
            _ => Ok(1.0),
        }
    }

    fn activation(&mut self) -> Result<Activation, ConfigError> {
        let key = self.key("hidden_activation");
        if let Some(name) = self.file.opt_str(&key)? {
            let activation = match name {
                "silu" | "swish" => Activation::Silu,
                "relu2" | "relu²" | "relu_squared" | "relu_sqr" => Activation::ReluSquared,
                _ => {
                    return Err(self.unsupported(&key, format!("`{name}`"), "is not implemented (silu and relu2 are)"));
                }
            };
            self.decide("activation", activation, key);
            return Ok(activation);
        }
        let architecture = self.family.architecture;
        let (activation, why) = match self.family.activation {
            ActivationRule::Silu => (Activation::Silu, format!("architecture {architecture}")),
            ActivationRule::ByTokenizer => match self.file.opt_str("tokenizer.ggml.model")? {
                Some("gpt2") => {
                    (Activation::ReluSquared, format!("{architecture} with a gpt2 tokenizer is BitNet b1.58 2B4T"))
                }
                Some("llama") => {
                    (Activation::Silu, format!("{architecture} with a llama tokenizer is 1bitLLM's bitnet_b1_58"))
                }
                other => {
                    let other = other.map_or("absent".into(), |other| format!("`{other}`"));
                    let why = format!("leaves open which of two activations is meant: set `{key}` to silu or relu2");
                    return Err(self.unsupported("tokenizer.ggml.model", other, why));
                }
            },
        };
        self.decide("activation", activation, format!("no `{key}`: {why}"));
        Ok(activation)
    }
}

fn rows(tensor: &Tensor) -> usize {
    usize::try_from(tensor.n()).unwrap_or(usize::MAX)
}

/// A number or a bool as a number.
fn number(value: &Value) -> Option<f64> {
    Some(match *value {
        Value::U8(value) => value.into(),
        Value::I8(value) => value.into(),
        Value::U16(value) => value.into(),
        Value::I16(value) => value.into(),
        Value::U32(value) => value.into(),
        Value::I32(value) => value.into(),
        Value::U64(value) => value as f64,
        Value::I64(value) => value as f64,
        Value::F32(value) => value.into(),
        Value::F64(value) => value,
        Value::Bool(value) => f64::from(u8::from(value)),
        Value::String(_) | Value::Array(_) => return None,
    })
}
