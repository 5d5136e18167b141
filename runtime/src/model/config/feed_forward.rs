//! The feed-forward network: its activation, and its experts where there are several.

use super::ConfigError;
use super::family::ActivationRule;
use super::reader::Reader;
use crate::gguf::Value;
use crate::model::activation::Activation;

/// A feed-forward network of many parts, of which each token uses a few (Shazeer et al., 2017, arXiv:1701.06538).
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Those that a token uses: the likeliest, their probabilities scaled to a sum of 1.
    pub used: usize,
    /// Where each layer's activation is clamped; 0: nowhere.
    pub limits: Vec<f32>,
}

impl Reader<'_> {
    /// The width of the feed-forward network, or of an expert.
    pub fn feed_forward(&mut self) -> Result<usize, ConfigError> {
        match self.family.experts {
            false => self.count_of_layers("feed-forward width", "feed_forward_length", None),
            true => self.count_of_layers("width of an expert", "expert_feed_forward_length", None),
        }
    }

    pub fn experts(&mut self, layers: usize) -> Result<Option<Experts>, ConfigError> {
        if !self.family.experts {
            return Ok(None);
        }
        let count = self.count("experts", "expert_count", None)?;
        let used = self.count("experts of a token", "expert_used_count", None)?;
        if used > count {
            return Err(self.absurd(&self.name("expert_used_count"), used, format!("but there are {count}")));
        }
        let key = self.key("expert_gating_func");
        let why = match self.file.opt_u32(&key)? {
            None => format!("no `{key}`: architecture {}", self.family.architecture),
            Some(0 | 1) => key,
            Some(other) => return Err(self.unsupported(&key, other, "is not implemented (1, softmax, is)")),
        };
        self.decide("gate of experts", "softmax over all, those chosen scaled to a sum of 1", why);
        let key = self.key("expert_weights_norm");
        if self.file.opt_bool(&key)? == Some(false) {
            return Err(self.unsupported(&key, false, "is not implemented for this architecture"));
        }
        Ok(Some(Experts { count, used, limits: self.limits(layers)? }))
    }

    /// Where the activation of each layer's experts is clamped.
    fn limits(&mut self, layers: usize) -> Result<Vec<f32>, ConfigError> {
        /// Maple's reference implementation has it fixed.
        const USUAL: f32 = 7.0;
        let key = self.key("swiglu_clamp_exp");
        let (limits, why) = match self.file.value(&key) {
            None => (vec![USUAL; layers], format!("no `{key}`: as {} was published", self.family.architecture)),
            Some(Value::Array(_)) => (self.file.f32s(&key)?, key.clone()),
            Some(_) => (vec![self.file.f32(&key)?; layers], key.clone()),
        };
        if limits.len() < layers || !limits.iter().all(|limit| limit.is_finite() && *limit >= 0.0) {
            let value = format!("a list of {}", limits.len());
            return Err(self.absurd(&key, value, format!("but must be {layers} finite numbers of 0 or more")));
        }
        let first = limits[0];
        let value = if limits.iter().all(|&limit| limit == first) { first.to_string() } else { "one a layer".into() };
        self.decide("activation's clamp", value, why);
        Ok(limits[..layers].to_vec())
    }

    /// The activation that the value of `key` names.
    fn named_activation(&self, key: &str) -> Result<Option<Activation>, ConfigError> {
        let Some(name) = self.file.opt_str(key)? else { return Ok(None) };
        Ok(Some(match name {
            "silu" | "swish" => Activation::Silu,
            "relu2" | "relu²" | "relu_squared" | "relu_sqr" => Activation::ReluSquared,
            // "gelu" alone would be another function, by the error function.
            "gelu_tanh" | "gelu_pytorch_tanh" | "gelu_new" => Activation::Gelu,
            _ => {
                let why = "is not implemented (silu, relu2 and gelu_tanh are)";
                return Err(self.unsupported(key, format!("`{name}`"), why));
            }
        }))
    }

    pub fn activation(&mut self) -> Result<Activation, ConfigError> {
        let key = self.key("hidden_activation");
        // As config.json calls it, and some converters after it.
        let other = self.key("hidden_act");
        match (self.named_activation(&key)?, self.named_activation(&other)?) {
            (Some(activation), Some(another)) if activation != another => {
                return Err(self.absurd(&other, another, format!("but `{key}` is {activation}")));
            }
            (Some(activation), _) => {
                self.decide("activation", activation, key);
                return Ok(activation);
            }
            (None, Some(activation)) => {
                self.decide("activation", activation, other);
                return Ok(activation);
            }
            (None, None) => {}
        }
        let architecture = self.family.architecture;
        let (activation, why) = match self.family.activation {
            ActivationRule::Silu => (Activation::Silu, format!("architecture {architecture}")),
            ActivationRule::Gelu => (Activation::Gelu, format!("architecture {architecture}")),
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
