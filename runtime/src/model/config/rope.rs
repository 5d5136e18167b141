//! How positions are told apart, and how that is stretched over longer contexts.

use super::ConfigError;
use super::reader::Reader;
use crate::model::attention::Heads;
use crate::model::rope::{RopeConfig, Scaling, Yarn};

impl Reader<'_> {
    /// Rope of layers that see the whole context, and of layers that see a window, where there are any.
    pub fn rope(
        &mut self,
        heads: Heads,
        context: usize,
        windowed: bool,
    ) -> Result<(Option<RopeConfig>, RopeConfig), ConfigError> {
        let pairing = self.family.pairing;
        let rule = self.family.window.as_ref().filter(|_| windowed);
        let architecture = self.family.architecture;
        let of_whole = rule.is_none_or(|rule| rule.rope_of_whole);
        let value = format!("{pairing}{}", if of_whole { "" } else { "; in layers with a window only" });
        self.decide("rope", value, format!("architecture {architecture}"));

        let dimension = self.dimension("rope.dimension_count", heads.key_length, of_whole)?;
        let base = self.positive("rope base", "rope.freq_base", Some((10_000.0, "the usual value".into())))?;
        let (scaling, magnitude) = self.scaling(context)?;
        if self.file.opt_tensor("rope_freqs.weight").is_some() {
            self.decide("rope factors", "one for each pair", "tensor rope_freqs.weight");
        }
        let whole = RopeConfig { pairing, dimension, base, scaling, magnitude };
        let Some(rule) = rule else {
            if self.family.window.is_some() {
                // Of layers that the file does not have.
                for key in ["rope.freq_base_swa", "rope.dimension_count_swa"] {
                    self.key(key);
                }
            }
            return Ok((Some(whole), whole));
        };

        let dimension = match self.file.value(&self.name("rope.dimension_count_swa")) {
            Some(_) => self.dimension("rope.dimension_count_swa", heads.key_length, true)?,
            None => dimension,
        };
        if dimension == 0 {
            return Err(self.absurd(
                &self.name("rope.dimension_count"),
                0,
                "but layers with a window rotate something",
            ));
        }
        let default = match rule.base {
            Some(base) => (base, format!("as {architecture} was published")),
            None => (base, "as in the other layers".into()),
        };
        let base = self.positive("rope base of layers with a window", "rope.freq_base_swa", Some(default))?;
        let window = match (rule.scaled, scaling) {
            (true, _) => RopeConfig { dimension, base, ..whole },
            (false, Scaling::None | Scaling::Linear(_)) if magnitude == 1.0 => {
                RopeConfig { dimension, base, scaling: Scaling::None, ..whole }
            }
            (false, _) if magnitude_of(scaling) == magnitude => {
                RopeConfig { dimension, base, scaling: Scaling::None, magnitude: 1.0, ..whole }
            }
            (false, _) => {
                let why = "leaves open what holds in layers with a window";
                return Err(self.unsupported(&self.name("rope.scaling.attn_factor"), magnitude, why));
            }
        };
        let scaled = if rule.scaled { "as in the other layers" } else { "none" };
        self.decide("rope scaling of layers with a window", scaled, format!("architecture {architecture}"));
        Ok((of_whole.then_some(whole), window))
    }

    /// Elements of a head that are rotated; 0 is a number only where nothing needs to be.
    fn dimension(&mut self, suffix: &str, key_length: usize, needed: bool) -> Result<usize, ConfigError> {
        let key = self.key(suffix);
        let (dimension, why) = match self.file.opt_usize(&key)? {
            Some(dimension) => (dimension, key.clone()),
            None => (key_length, format!("no `{key}`: the whole key")),
        };
        if dimension > key_length || dimension % 2 != 0 || (needed && dimension == 0) {
            let why = format!("but must be even, above 0 and at most the key length of {key_length}");
            return Err(self.absurd(&key, dimension, why));
        }
        self.decide("rope dimensions", dimension, why);
        Ok(dimension)
    }

    /// How the rotation is stretched, and what lengths are multiplied by. Without a type, a factor means linear
    /// scaling, as llama.cpp has it.
    fn scaling(&mut self, context: usize) -> Result<(Scaling, f32), ConfigError> {
        let key = self.key("rope.scaling.type");
        let kind = self.file.opt_str(&key)?;
        // Older files call it so.
        let older = self.opt_positive("rope.scale_linear")?;
        let factor = self.opt_positive("rope.scaling.factor")?.or(older);
        let attention = self.opt_positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let scaling = match (kind, factor) {
            (Some("none"), _) | (None | Some("linear"), None) => Scaling::None,
            (None | Some("linear"), Some(divisor)) => Scaling::Linear(divisor),
            (Some("yarn"), Some(divisor)) => Scaling::Yarn(self.yarn(divisor, context)?),
            (Some("yarn"), None) => {
                self.file.f32(&self.name("rope.scaling.factor"))?;
                return Err(self.absurd(&self.name("rope.scaling.factor"), 0, "but YaRN needs a number above 0"));
            }
            (Some("longrope"), None | Some(1.0)) => {
                let original = self.original(context)?;
                for tensor in ["rope_factors_long.weight", "rope_factors_short.weight"] {
                    self.file.tensor(tensor)?;
                }
                Scaling::LongRope { original }
            }
            (Some("longrope"), Some(factor)) => {
                let why = "leaves open whether positions are divided as well, since the type is longrope";
                return Err(self.unsupported(&self.name("rope.scaling.factor"), factor, why));
            }
            (Some(kind), _) => {
                return Err(self.unsupported(
                    &key,
                    format!("`{kind}`"),
                    "is a scaling of rope that is not implemented",
                ));
            }
        };
        let why = match (kind, factor) {
            (Some(_), _) => key,
            (None, Some(_)) => format!("no `{key}`, but a factor"),
            (None, None) => format!("no `{key}`"),
        };
        self.decide("rope scaling", scaling, why);
        let magnitude = match self.log_multiplier(scaling)? {
            Some(all) => magnitude_with(scaling, all) * attention,
            None => magnitude_of(scaling) * attention,
        };
        if magnitude != 1.0 {
            let why = match scaling {
                Scaling::Yarn(_) => "YaRN's 1 + 0.1 ln factor, and the keys attn_factor and yarn_log_multiplier".into(),
                _ => self.name("rope.scaling.attn_factor"),
            };
            self.decide("rope magnitude", magnitude, why);
        }
        Ok((scaling, magnitude))
    }

    fn yarn(&mut self, divisor: f32, context: usize) -> Result<Yarn, ConfigError> {
        let fast = self.opt_positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
        let slow = self.opt_positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
        let key = self.key("rope.scaling.yarn_ext_factor");
        // Below 0, none is given.
        let share = self.file.opt_f32(&key)?.filter(|&share| share >= 0.0 || share.is_nan()).unwrap_or(1.0);
        if !share.is_finite() {
            return Err(self.absurd(&key, share, "but must be a finite number"));
        }
        Ok(Yarn { divisor, original: self.original(context)?, fast, slow, share })
    }

    /// Tokens that the model was first made for.
    fn original(&mut self, context: usize) -> Result<usize, ConfigError> {
        let default = Some((context, "the whole context".into()));
        self.count("original context", "rope.scaling.original_context_length", default)
    }

    /// Where YaRN's magnitude is divided by that of another multiplier: the multiplier.
    fn log_multiplier(&mut self, scaling: Scaling) -> Result<Option<f32>, ConfigError> {
        match scaling {
            Scaling::Yarn(_) => self.opt_positive("rope.scaling.yarn_log_multiplier"),
            _ => Ok(None),
        }
    }
}

/// What YaRN multiplies lengths by: 1 + 0.1 ln divisor, its paper's √(1/t).
fn magnitude_of(scaling: Scaling) -> f32 {
    match scaling {
        Scaling::Yarn(Yarn { divisor, share, .. }) if share != 0.0 && divisor > 1.0 => 1.0 + 0.1 * divisor.ln(),
        _ => 1.0,
    }
}

/// The same, relative to a multiplier of the logarithm that a file gives: DeepSeek's `mscale_all_dim`.
fn magnitude_with(scaling: Scaling, multiplier: f32) -> f32 {
    match scaling {
        Scaling::Yarn(Yarn { divisor, share, .. }) if share != 0.0 && divisor > 1.0 => {
            magnitude_of(scaling) / (1.0 + 0.1 * multiplier * divisor.ln())
        }
        _ => 1.0,
    }
}
