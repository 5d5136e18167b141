//! config.json to the keys of a GGUF file.
//!
//! What would change the result and cannot be said, or is not known, is refused by name.

use serde_json::Value;

use super::Error;
use super::family::{self, Family, Width};
use super::folder::{Document, Folder};
use super::rope;
use crate::decision::Decision;
use crate::gguf;
use crate::model::Pooling;

/// Keys that change what a model computes, each with the numbers at which they change nothing: false is 0, true is 1.
#[rustfmt::skip]
const NEUTRAL: [(&str, &[f64]); 15] = [
    ("attn_logit_softcapping", &[0.0]),
    ("is_causal", &[1.0]),
    ("is_decoder_only", &[1.0]),
    ("use_bidirectional_attention", &[0.0]),
    ("use_sliding_window", &[0.0]),
    ("partial_rotary_factor", &[1.0]),
    ("num_experts", &[0.0]),
    ("num_local_experts", &[0.0]),
    ("num_nextn_predict_layers", &[0.0]),
    ("input_bits", &[8.0]),
    ("attention_multiplier", &[]),
    ("embedding_multiplier", &[1.0]),
    ("residual_multiplier", &[1.0]),
    ("logits_scaling", &[1.0]),
    ("no_rope_layers", &[]),
];

/// Layers, and elements of a head: far above those of any model, so that nothing is made for what cannot be.
const MOST: u32 = 1 << 16;

/// Keys of MiniCPM.
const SCALES: [&str; 3] = ["scale_emb", "scale_depth", "dim_model_base"];

/// Keys of Gemma.
const GEMMA: [&str; 2] = ["query_pre_attn_scalar", "final_logit_softcapping"];

/// Names of activations: as config.json has them, as GGUF files have them.
const ACTIVATIONS: [(&str, &str); 6] = [
    ("silu", "silu"),
    ("swish", "silu"),
    ("relu2", "relu2"),
    ("gelu_pytorch_tanh", "gelu_tanh"),
    ("gelu_new", "gelu_tanh"),
    ("gelu", "gelu"),
];

/// How weights were quantised, by `quantization_config`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantization {
    /// The layer that reads packed weights divides by `weight_scale`; else it multiplies.
    pub(super) divides: bool,
    /// Weights are ternarised at every pass.
    pub(super) online: bool,
    /// Parts of the names of matrices that are left alone.
    pub(super) except: Vec<String>,
    /// The key and its value, for messages.
    pub(super) says: String,
}

/// A model's dimensions, and everything about it that is no weight.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) family: &'static Family,
    pub(super) layers: u32,
    pub(super) hidden: u32,
    pub(super) feed_forward: u32,
    pub(super) heads: u32,
    pub(super) kv_heads: u32,
    pub(super) head: u32,
    /// Tokens: rows of the embedding.
    pub(super) vocab: u32,
    /// Whether the head is the embedding; None: config.json does not say.
    pub(super) tied: Option<bool>,
    /// The class ends at the last norm: an embedding model.
    pub(super) headless: bool,
    pub(super) quantization: Option<Quantization>,
    /// Keys of the GGUF file.
    pub(super) keys: Vec<(String, gguf::Value)>,
    /// Vectors that config.json holds and a GGUF file has as tensors.
    pub(super) tensors: Vec<(&'static str, Vec<f32>)>,
    pub(super) decisions: Vec<Decision>,
}

impl Configuration {
    /// The length that `width` stands for.
    pub(super) fn width(&self, width: Width) -> usize {
        let product = |heads: u32| heads as usize * self.head as usize;
        match width {
            Width::Hidden => self.hidden as usize,
            Width::FeedForward => self.feed_forward as usize,
            Width::Queries => product(self.heads),
            Width::Keys => product(self.kv_heads),
            Width::Head => self.head as usize,
        }
    }

    pub(super) fn read(folder: &Folder, pooling: Option<Pooling>) -> Result<Configuration, Error> {
        let missing = || Error::file(folder.path(), "there is no config.json in it; name the folder of a whole model");
        let config = folder.json("config.json")?.ok_or_else(missing)?;
        let (family, class) = family_of(&config)?;
        let mut reader = Reader { config: &config, family, keys: Vec::new(), decisions: Vec::new() };
        reader.decide("architecture", family.architecture, format!("`architectures` is {class}"));
        reader.refuse_what_cannot_be_said()?;

        let layers = config.size("num_hidden_layers")?;
        if layers > MOST {
            return Err(config.error("num_hidden_layers", format!("and no model has more than {MOST}")));
        }
        let hidden = config.size("hidden_size")?;
        let feed_forward = config.size("intermediate_size")?;
        let heads = config.size("num_attention_heads")?;
        let kv_heads = config.opt_size("num_key_value_heads")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let why =
                format!("which does not divide the {heads} heads of queries; correct it or download the file again");
            return Err(config.error("num_key_value_heads", why));
        }
        let vocab = config.size("vocab_size")?;
        let head = reader.head(hidden, heads)?;
        let context = match (config.opt_size("max_position_embeddings")?, family.context) {
            (Some(context), _) => context,
            (None, Some(context)) => context,
            (None, None) => config.size("max_position_embeddings")?,
        };
        reader.key("block_count", layers);
        reader.key("context_length", context);
        reader.key("embedding_length", hidden);
        reader.key("feed_forward_length", feed_forward);
        reader.key("attention.head_count", heads);
        reader.key("attention.head_count_kv", kv_heads);
        reader.key("attention.key_length", head);
        reader.key("attention.value_length", head);
        reader.key("attention.layer_norm_rms_epsilon", config.positive("rms_norm_eps")? as f32);
        reader.key("rope.dimension_count", head);
        reader.key("vocab_size", vocab);
        reader.activation()?;
        reader.minicpm(hidden, layers)?;
        reader.gemma(head)?;
        let quantization = reader.quantization()?;
        let headless = class.ends_with("Model");
        reader.pooling(folder, headless, pooling)?;

        let rope = rope::read(&config, family, head, context, layers)?;
        for (suffix, value) in rope.keys {
            reader.key(suffix, value);
        }
        reader.decisions.extend(rope.decisions);
        let Reader { keys, decisions, .. } = reader;
        Ok(Configuration {
            family,
            layers,
            hidden,
            feed_forward,
            heads,
            kv_heads,
            head,
            vocab,
            tied: config.opt_flag("tie_word_embeddings")?,
            headless,
            quantization,
            keys,
            tensors: rope.tensors,
            decisions,
        })
    }
}

/// The family, and the class that told it.
fn family_of(config: &Document) -> Result<(&'static Family, String), Error> {
    let why = || format!("and nothing is known of such a model; what is converted: {}", family::classes());
    let class = match config.opt_texts("architectures")?.as_deref() {
        Some([class]) => (*class).to_owned(),
        _ => return Err(config.error("architectures", why())),
    };
    let family = family::of(&class).ok_or_else(|| config.error("architectures", why()))?;
    Ok((family, class))
}

struct Reader<'c> {
    config: &'c Document,
    family: &'static Family,
    keys: Vec<(String, gguf::Value)>,
    decisions: Vec<Decision>,
}

impl Reader<'_> {
    fn key(&mut self, suffix: &str, value: impl Into<gguf::Value>) {
        self.keys.push((format!("{}.{suffix}", self.family.architecture), value.into()));
    }

    fn decide(&mut self, what: &'static str, value: impl Into<String>, why: impl Into<String>) {
        self.decisions.push(Decision { what, value: value.into(), why: why.into() });
    }

    fn refuse_what_cannot_be_said(&self) -> Result<(), Error> {
        let config = self.config;
        for (key, neutral) in NEUTRAL {
            let value = config.get(key);
            if value.is_some_and(|value| number(value).is_none_or(|number| !neutral.contains(&number))) {
                return Err(config.error(key, "which changes the result and is not implemented"));
            }
        }
        for (keys, known) in [(&SCALES[..], self.family.minicpm), (&GEMMA[..], self.family.gemma)] {
            if !known && let Some((key, _)) = config.first(keys) {
                return Err(config.error(key, format!("which has no place in {}", self.family.architecture)));
            }
        }
        let known = |kind: &str| kind == "full_attention" || self.family.gemma && kind == "sliding_attention";
        if config.opt_texts("layer_types")?.is_some_and(|types| !types.into_iter().all(known)) {
            return Err(config.error("layer_types", "and other kinds than full_attention are not implemented"));
        }
        Ok(())
    }

    fn head(&mut self, hidden: u32, heads: u32) -> Result<u32, Error> {
        let (head, why) = match (self.config.opt_size("head_dim")?, self.family.head) {
            (Some(head), _) => (head, "`head_dim`"),
            (None, Some(head)) => (head, "config.json has no `head_dim`: the usual value"),
            (None, None) if hidden.is_multiple_of(heads) => (hidden / heads, "hidden size / heads"),
            (None, None) => {
                let why = format!("which does not divide the hidden size of {hidden}, and there is no `head_dim`");
                return Err(self.config.error("num_attention_heads", why));
            }
        };
        if !head.is_multiple_of(2) || head > MOST {
            let why = format!("but a head has an even number of elements, and at most {MOST}; {head} are none");
            return Err(self.config.error("head_dim", why));
        }
        self.decide("head length", head.to_string(), why);
        Ok(head)
    }

    fn activation(&mut self) -> Result<(), Error> {
        let keys = ["hidden_act", "hidden_activation"];
        let (name, why) = match self.config.first(&keys) {
            Some((key, _)) => (self.config.opt_text(key)?.unwrap_or_default(), format!("`{key}`")),
            None => (self.family.activation, "config.json names none: that of its class".into()),
        };
        let of = |name: &str| ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, ours)| *ours);
        let ours = of(name);
        let usual = ours == of(self.family.activation);
        match ours {
            // Readers know the architecture's own; only these two are known by name wherever names are read.
            Some(ours) if usual && !self.family.says_activation => self.decide("activation", ours, why),
            Some(ours @ ("silu" | "relu2")) => {
                self.key("hidden_activation", ours);
                self.decide("activation", ours, why);
            }
            _ => {
                let key = self.config.first(&keys).map_or(keys[0], |(key, _)| key);
                let why = format!("which {} models do not have", self.family.architecture);
                return Err(self.config.error(key, why));
            }
        }
        Ok(())
    }

    /// What MiniCPM multiplies by (maximal update parametrisation).
    fn minicpm(&mut self, hidden: u32, layers: u32) -> Result<(), Error> {
        if self.family.minicpm {
            let [embedding, depth, base] = SCALES;
            let depth = self.config.number(depth)? / f64::from(layers).sqrt();
            let logits = f64::from(hidden) / self.config.positive(base)?;
            self.key("embedding_scale", self.config.number(embedding)? as f32);
            self.key("residual_scale", depth as f32);
            self.key("logit_scale", logits as f32);
            self.decide("scales", format!("residual {depth}, logits 1 / {logits}"), SCALES.join(", "));
        }
        Ok(())
    }

    fn gemma(&mut self, head: u32) -> Result<(), Error> {
        if self.family.gemma {
            let [queries, cap] = GEMMA;
            let scalar = self.config.opt_positive(queries)?.unwrap_or(head.into());
            if scalar != f64::from(head) {
                self.key("attention.scale", (1.0 / scalar.sqrt()) as f32);
                self.decide("query scale", format!("1 / √{scalar}"), queries);
            }
            if let Some(cap) = self.config.opt_positive(cap)? {
                self.key("final_logit_softcapping", cap as f32);
            }
        }
        Ok(())
    }

    fn quantization(&mut self) -> Result<Option<Quantization>, Error> {
        let Some(config) = self.config.opt_object("quantization_config")? else { return Ok(None) };
        let method = config.opt_text("quant_method")?.unwrap_or_default();
        if method != "bitnet" {
            let why = "and only `bitnet` is read; convert the model from before it was quantised";
            return Err(config.error("quant_method", why));
        }
        // The defaults are those of transformers' BitNetQuantConfig.
        let layer = config.opt_text("linear_class")?.unwrap_or("bitlinear");
        let divides = match layer {
            "bitlinear" => true,
            "autobitlinear" => false,
            _ => return Err(config.error("linear_class", "and only bitlinear and autobitlinear are known")),
        };
        let mode = config.opt_text("quantization_mode")?.unwrap_or("offline");
        if !["online", "offline"].contains(&mode) {
            return Err(config.error("quantization_mode", "and only online and offline are known"));
        }
        if config.opt_flag("use_rms_norm")? == Some(true) {
            let own = config.opt_positive("rms_norm_eps")?.unwrap_or(1e-6);
            let others = self.config.positive("rms_norm_eps")?;
            if own != others {
                let why = format!("but {others} for the other norms, and a GGUF file has one for all");
                return Err(config.error("rms_norm_eps", why));
            }
        }
        let except = config.opt_texts("modules_to_not_convert")?.unwrap_or_default();
        Ok(Some(Quantization {
            divides,
            online: !divides && mode == "online",
            except: except.into_iter().map(str::to_owned).collect(),
            says: format!("`quantization_config.linear_class` is {layer}, `quantization_mode` {mode}"),
        }))
    }

    /// How embedding models make one vector of many: as it was asked for, or as sentence-transformers says it.
    fn pooling(&mut self, folder: &Folder, headless: bool, asked: Option<Pooling>) -> Result<(), Error> {
        const FILE: &str = "modules.json";
        if let Some((.., name, number, _)) = POOLING.into_iter().find(|(.., pooling)| Some(*pooling) == asked) {
            self.key("pooling_type", number);
            self.decide("pooling", name, "--pooling");
            return Ok(());
        }
        let path = folder.path().join(FILE);
        let Some(text) = folder.text(FILE)? else {
            let why = format!("it is the folder of an embedding model, but has no {FILE} that says how it pools");
            return if headless {
                Err(Error::file(folder.path(), why + "; download that too, or say it with --pooling"))
            } else {
                Ok(())
            };
        };
        let broken = |why: &str| Error::file(&path, format!("{why}; download it again"));
        let modules: Vec<Value> = serde_json::from_str(&text).map_err(|error| broken(&error.to_string()))?;
        let of = |module: &Value, key: &str| module.get(key).and_then(Value::as_str).map(str::to_owned);
        for module in &modules {
            let kind = of(module, "type").ok_or_else(|| broken("a module without a type"))?;
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" | "Normalize" => {}
                "Pooling" => {
                    let place = of(module, "path").ok_or_else(|| broken("a module without a path"))?;
                    let name = format!("{place}/config.json");
                    if place.split(['/', '\\']).any(|part| part == ".." || part.is_empty()) {
                        return Err(broken("a path that leads out of the folder"));
                    }
                    let missing = || Error::file(&folder.path().join(&name), "it is missing; download it too");
                    let pooling = folder.json(&name)?.ok_or_else(missing)?;
                    let mut modes = Vec::new();
                    for (key, name, number, _) in POOLING {
                        let named = pooling.opt_text("pooling_mode")? == Some(name);
                        if named || pooling.opt_flag(key)? == Some(true) {
                            modes.push((name, number));
                        }
                    }
                    let [(name, number)] = modes[..] else {
                        return Err(Error::file(&pooling.path, "it does not pool by mean, cls or lasttoken alone"));
                    };
                    self.key("pooling_type", number);
                    self.decide("pooling", name, format!("{FILE} and {}", pooling.path.display()));
                }
                _ => return Err(broken(&format!("a module of type {kind}, which is not implemented"))),
            }
        }
        Ok(())
    }
}

/// sentence-transformers' two spellings of a pooling, and llama.cpp's number for it.
const POOLING: [(&str, &str, u32, Pooling); 3] = [
    ("pooling_mode_mean_tokens", "mean", 1, Pooling::Mean),
    ("pooling_mode_cls_token", "cls", 2, Pooling::First),
    ("pooling_mode_lasttoken", "lasttoken", 3, Pooling::Last),
];

/// A number or a bool as a number.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(|flag| f64::from(u8::from(flag))))
}
