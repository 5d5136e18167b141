//! A file in the words of its architecture: keys are read by what follows the architecture's name, every decision is
//! noted, and what nobody asked for is refused unless it is known to change nothing.

use std::collections::HashSet;
use std::fmt;

use super::ConfigError;
use super::family::Family;
use crate::decision::Decision;
use crate::gguf::{self, Value};

/// Keys that do not change what is computed, read or not: about training, about files older than GGUF, about another
/// kind of norm, about scalings of rope that the file does not have.
#[rustfmt::skip]
const IGNORED: [&str; 9] = [
    "vocab_size", "feed_forward_length", "attention.layer_norm_epsilon", "expert_weights_norm", "tensor_data_layout",
    "rope.scaling.finetuned", "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
];

/// Keys that change the result and are not implemented for all architectures, each with the values at which it changes
/// nothing.
#[rustfmt::skip]
const NEUTRAL: [(&str, &[f64]); 29] = [
    ("attention.causal", &[1.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
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
    ("expert_group_count", &[0.0, 1.0]),
    ("expert_group_used_count", &[0.0, 1.0]),
    ("expert_feed_forward_length", &[0.0]),
    ("expert_shared_feed_forward_length", &[0.0]),
    ("expert_gating_func", &[0.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    ("leading_dense_block_count", &[0.0]),
    ("interleave_moe_layer_step", &[0.0]),
    ("nextn_predict_layers", &[0.0]),
    ("swin_norm", &[0.0]),
    ("use_parallel_residual", &[0.0]),
    ("rope.scaling.yarn_attn_factor", &[1.0]),
    ("rope.scaling.yarn_ext_factor", &[0.0, -1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
    ("rope.scaling.alpha", &[0.0]),
    ("rope.scaling.attn_factor", &[1.0]),
];

/// A file, and what has been read of it so far.
pub(super) struct Reader<'f> {
    pub file: &'f gguf::File,
    pub family: &'static Family,
    pub decisions: Vec<Decision>,
    read: HashSet<String>,
}

impl<'f> Reader<'f> {
    pub fn new(file: &'f gguf::File, family: &'static Family) -> Self {
        Reader { file, family, decisions: Vec::new(), read: HashSet::new() }
    }

    /// The whole name of a key.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.family.architecture)
    }

    /// The whole name of a key, which counts as read from now on.
    pub fn key(&mut self, suffix: &str) -> String {
        let key = self.name(suffix);
        self.read.insert(key.clone());
        key
    }

    pub fn decide(&mut self, what: &'static str, value: impl fmt::Display, why: impl fmt::Display) {
        self.decisions.push(Decision { what, value: value.to_string(), why: why.to_string() });
    }

    pub fn absurd(&self, key: &str, value: impl fmt::Display, why: impl fmt::Display) -> ConfigError {
        ConfigError::Absurd {
            path: self.file.path().into(),
            key: key.into(),
            value: value.to_string(),
            why: why.to_string(),
        }
    }

    pub fn unsupported(&self, key: &str, value: impl fmt::Display, why: impl fmt::Display) -> ConfigError {
        ConfigError::Unsupported {
            path: self.file.path().into(),
            key: key.into(),
            value: value.to_string(),
            why: why.to_string(),
        }
    }

    /// A count of at least 1; where it is absent, the default and why it is that.
    pub fn count(
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
        self.counted(what, &key, count, why)
    }

    fn counted(&mut self, what: &'static str, key: &str, count: usize, why: String) -> Result<usize, ConfigError> {
        if count == 0 {
            return Err(self.absurd(key, count, "but must be at least 1"));
        }
        self.decide(what, count, why);
        Ok(count)
    }

    /// The same, of a count that a file may give for each layer: one that differs between them is not implemented.
    pub fn count_of_layers(
        &mut self,
        what: &'static str,
        suffix: &str,
        default: Option<(usize, String)>,
    ) -> Result<usize, ConfigError> {
        let name = self.name(suffix);
        let Some(Value::Array(_)) = self.file.value(&name) else { return self.count(what, suffix, default) };
        let (key, counts) = (self.key(suffix), self.file.usizes(&name)?);
        let layers = self.file.usize(&self.name("block_count"))?;
        let value = format!("a list of {}", counts.len());
        let Some(&count) = counts.first().filter(|_| counts.len() == layers) else {
            return Err(self.absurd(&key, value, format!("but there are {layers} layers")));
        };
        if let Some(other) = counts.iter().find(|&&other| other != count) {
            let value = format!("{value} with {count} and {other}");
            return Err(self.unsupported(&key, value, "differs between layers, which is not implemented"));
        }
        self.counted(what, &key, count, format!("{key}, the same for each layer"))
    }

    /// A finite number above 0; where it is absent, the default and why it is that.
    pub fn positive(
        &mut self,
        what: &'static str,
        suffix: &str,
        default: Option<(f32, String)>,
    ) -> Result<f32, ConfigError> {
        let key = self.key(suffix);
        let (value, why) = match (self.file.opt_f32(&key)?, default) {
            (Some(value), _) => (value, key.clone()),
            (None, Some((value, why))) => (value, format!("no `{key}`: {why}")),
            (None, None) => (self.file.f32(&key)?, key.clone()),
        };
        self.sane(&key, value)?;
        self.decide(what, value, why);
        Ok(value)
    }

    /// A finite number above 0 of which nothing is told; `None` where it is absent or, as older writers have it, 0.
    pub fn opt_positive(&mut self, suffix: &str) -> Result<Option<f32>, ConfigError> {
        let key = self.key(suffix);
        match self.file.opt_f32(&key)?.filter(|&value| value != 0.0) {
            Some(value) => self.sane(&key, value).map(|()| Some(value)),
            None => Ok(None),
        }
    }

    fn sane(&self, key: &str, value: f32) -> Result<(), ConfigError> {
        match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(self.absurd(key, value, "but must be a finite number above 0")),
        }
    }

    /// Refuses files that are something other than a model.
    pub fn refuse_what_is_no_model(&self) -> Result<(), ConfigError> {
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

    /// Refuses the architecture's keys that have not been read, unless they change nothing.
    pub fn refuse_what_was_not_read(&mut self) -> Result<(), ConfigError> {
        let ignored = &self.file.options().ignored_keys;
        let mut unknown = Vec::new();
        let of_architecture = format!("{}.", self.family.architecture);
        for (key, value) in self.file.metadata() {
            let Some(suffix) = key.strip_prefix(&of_architecture).filter(|_| !self.read.contains(key)) else {
                continue;
            };
            match NEUTRAL.iter().find(|(name, _)| *name == suffix) {
                Some((_, neutral)) if number(value).is_some_and(|value| neutral.contains(&value)) => {}
                Some(_) => return Err(self.unsupported(key, value, "changes the result and is not implemented")),
                None if IGNORED.contains(&suffix) => {}
                None if ignored.contains(key) => unknown.push((key, value)),
                None => {
                    let (path, key, value) = (self.file.path().into(), key.clone(), value.to_string());
                    return Err(ConfigError::Unread { path, key, value });
                }
            }
        }
        if let Some(key) = ignored.iter().find(|key| !unknown.iter().any(|(unknown, _)| unknown == key)) {
            let architecture = self.family.architecture;
            return Err(ConfigError::Ignored { path: self.file.path().into(), key: key.clone(), architecture });
        }
        for (key, value) in unknown {
            self.decide("ignored key", format_args!("{key}, {value}"), "--ignore-key: it is not known here");
        }
        Ok(())
    }
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
