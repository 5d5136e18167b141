//! Heads, how queries are scaled, and which layers see only the latest tokens.

use super::ConfigError;
use super::family::QueryScaleRule;
use super::reader::Reader;
use crate::gguf::{Array, Value};
use crate::model::attention::Heads;
use crate::model::rope::RopeConfig;

/// Layers that see only the latest tokens: sliding-window attention (Beltagy et al., 2020, arXiv:2004.05150).
#[derive(Clone, Debug)]
pub struct Window {
    /// How many tokens, a token's own included.
    pub tokens: usize,
    /// Which layers, from the first to the last.
    pub layers: Vec<bool>,
    /// How they tell positions apart.
    pub rope: RopeConfig,
}

impl Reader<'_> {
    pub fn heads(&mut self, embedding: usize) -> Result<Heads, ConfigError> {
        let queries = self.count_of_layers("heads", "attention.head_count", None)?;
        let as_many = Some((queries, "as many".into()));
        let kv = self.count_of_layers("heads of keys and values", "attention.head_count_kv", as_many)?;
        if kv > queries || !queries.is_multiple_of(kv) {
            let why = format!("but must divide the {queries} heads of queries");
            return Err(self.absurd(&self.name("attention.head_count_kv"), kv, why));
        }
        let length = self.name("attention.key_length");
        if !embedding.is_multiple_of(queries) && self.file.value(&length).is_none() {
            let why = format!("which does not divide the embedding of {embedding}, and there is no `{length}`");
            return Err(self.absurd(&self.name("attention.head_count"), queries, why));
        }
        let default = |why: &str| Some((embedding / queries, why.into()));
        let key_length = self.count("key length", "attention.key_length", default("embedding / heads"))?;
        let value_length = self.count("value length", "attention.value_length", default("embedding / heads"))?;
        // The shape of the tensors is compared later; here it is only that the products can be formed.
        for (suffix, length) in [("attention.key_length", key_length), ("attention.value_length", value_length)] {
            if queries.checked_mul(length).is_none_or(|width| width > 1 << 31) {
                return Err(self.absurd(&self.name(suffix), length, "which no model has"));
            }
        }
        Ok(Heads { queries, kv, key_length, value_length })
    }

    /// What scores are multiplied by.
    pub fn query_scale(&mut self, heads: Heads, embedding: usize, layers: usize) -> Result<f32, ConfigError> {
        if let Some(scale) = self.opt_positive("attention.scale")? {
            let key = self.name("attention.scale");
            self.decide("query scale", scale, key);
            return Ok(scale);
        }
        let (length, why) = match self.family.query_scale {
            QueryScaleRule::Gemma { of_width_at } if layers == of_width_at => {
                (embedding / heads.queries, format!("1/√(embedding / heads): {layers} layers are Gemma 3 27B"))
            }
            QueryScaleRule::KeyLength | QueryScaleRule::Gemma { .. } => (heads.key_length, "1/√key length".into()),
        };
        let scale = 1.0 / (length as f32).sqrt();
        self.decide("query scale", scale, format!("no `{}`: {why}", self.name("attention.scale")));
        Ok(scale)
    }

    /// How many tokens the layers that see few see, and which layers these are, where there are any.
    pub fn window_layers(&mut self, layers: usize) -> Result<Option<(usize, Vec<bool>)>, ConfigError> {
        let Some(rule) = &self.family.window else {
            self.decide("sliding window", "none", format!("architecture {}", self.family.architecture));
            return Ok(None);
        };
        let [key, pattern] = ["attention.sliding_window", "attention.sliding_window_pattern"].map(|key| self.key(key));
        let tokens = match (self.file.opt_usize(&key)?, rule.period) {
            (Some(0) | None, Some(_)) => {
                self.decide("sliding window", "none", format!("no `{key}`"));
                return Ok(None);
            }
            (Some(0), None) => return Err(self.absurd(&key, 0, "but must be at least 1")),
            (Some(tokens), _) => tokens,
            (None, None) => self.file.usize(&key)?,
        };
        let every = |period: usize| (1..=layers).map(|layer| period == 0 || layer % period != 0).collect();
        let (of_layers, why): (Vec<bool>, _) = match (self.file.value(&pattern), rule.period) {
            (None, Some(period)) => (every(period), format!("no `{pattern}`: each {period}th layer sees all")),
            (Some(Value::Array(Array::Bool(of_layers))), _) => (of_layers.clone(), pattern.clone()),
            (Some(Value::Array(_)), _) => {
                (self.file.u32s(&pattern)?.iter().map(|&of_layer| of_layer != 0).collect(), pattern.clone())
            }
            _ => (every(self.file.usize(&pattern)?), pattern.clone()),
        };
        if of_layers.len() < layers {
            let value = format!("a list of {}", of_layers.len());
            return Err(self.absurd(&pattern, value, format!("but there are {layers} layers")));
        }
        let of_layers = of_layers[..layers].to_vec();
        let few = of_layers.iter().filter(|&&few| few).count();
        let value = format!("{tokens} tokens in {few} of {layers} layers");
        self.decide("sliding window", value, format!("{key}; {why}"));
        Ok(Some((tokens, of_layers)))
    }
}
