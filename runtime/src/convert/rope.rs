//! How config.json says that positions are told apart, and how a GGUF file does.

use super::Error;
use super::family::Family;
use super::folder::Document;
use crate::decision::Decision;
use crate::gguf::{Array, Value};

/// What a GGUF file says about positions.
#[derive(Debug, Default)]
pub(super) struct Rope {
    /// Without the architecture before them.
    pub(super) keys: Vec<(&'static str, Value)>,
    pub(super) tensors: Vec<(&'static str, Vec<f32>)>,
    pub(super) decisions: Vec<Decision>,
}

impl Rope {
    fn decide(&mut self, what: &'static str, value: impl Into<String>, why: impl Into<String>) {
        self.decisions.push(Decision { what, value: value.into(), why: why.into() });
    }
}

/// Reads what `config` says about rope; heads are `head` long, the context is `context` tokens.
pub(super) fn read(config: &Document, family: &Family, head: u32, context: u32, layers: u32) -> Result<Rope, Error> {
    let mut rope = Rope::default();
    // `rope_parameters` is what transformers 5 writes; models with windows have one for each kind of layer there.
    let outer = match config.opt_object("rope_parameters")? {
        Some(outer) => Some(outer),
        None => config.opt_object("rope_scaling")?,
    };
    let of_kind = |kind: &str| outer.as_ref().map_or(Ok(None), |outer| outer.opt_object(kind));
    let [full, sliding] = [of_kind("full_attention")?, of_kind("sliding_attention")?];
    let parameters = full.or(outer);

    let within = parameters.as_ref().map_or(Ok(None), |parameters| parameters.opt_positive("rope_theta"))?;
    let base = match (within, config.opt_positive("rope_theta")?) {
        (Some(base), _) => base,
        (None, Some(base)) => base,
        (None, None) => {
            rope.decide("rope base", family.rope_base.to_string(), "config.json does not say: that of its class");
            family.rope_base
        }
    };
    rope.keys.push(("rope.freq_base", Value::F32(base as f32)));
    if let Some(parameters) = &parameters {
        let original = match parameters.opt_size("original_max_position_embeddings")? {
            Some(original) => Some(original),
            None => config.opt_size("original_max_position_embeddings")?,
        };
        scaling(parameters, &mut rope, base, Lengths { head, context, original })?;
    }
    if family.gemma {
        let local = sliding.map_or(Ok(None), |sliding| sliding.opt_positive("rope_theta"))?;
        let local = local.or(config.opt_positive("rope_local_base_freq")?);
        window(config, &mut rope, base, local, context, layers)?;
    }
    Ok(rope)
}

struct Lengths {
    head: u32,
    context: u32,
    /// The context that the model was first made for.
    original: Option<u32>,
}

/// Rope with corrections for contexts longer than those first made for.
fn scaling(parameters: &Document, rope: &mut Rope, base: f64, lengths: Lengths) -> Result<(), Error> {
    let Lengths { head, context, original } = lengths;
    let key = if parameters.get("rope_type").is_some() { "rope_type" } else { "type" };
    let kind = parameters.opt_text(key)?.unwrap_or("default");
    let original = || original.map_or_else(|| parameters.size("original_max_position_embeddings"), Ok);
    let refuse = |keys: &[&str]| match parameters.first(keys) {
        Some((key, _)) => Err(parameters.error(key, "which changes the result and is not implemented")),
        None => Ok(()),
    };
    match kind {
        "default" => return Ok(()),
        "linear" => {
            rope.keys.push(("rope.scaling.type", "linear".into()));
            rope.keys.push(("rope.scaling.factor", Value::F32(parameters.positive("factor")? as f32)));
        }
        "llama3" => {
            let slowest = parameters.positive("factor")?;
            let [low, high] = [parameters.positive("low_freq_factor")?, parameters.positive("high_freq_factor")?];
            if low >= high {
                return Err(parameters.error("low_freq_factor", format!("but must be below high_freq_factor, {high}")));
            }
            let original = f64::from(original()?);
            let factors = (0..head / 2).map(|pair| {
                let wave = std::f64::consts::TAU * base.powf(2.0 * f64::from(pair) / f64::from(head));
                // Waves that fit into the old context often enough stay; long ones are stretched; between them both.
                let smooth = ((original / wave - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 / ((1.0 - smooth) / slowest + smooth)) as f32
            });
            rope.tensors.push(("rope_freqs.weight", factors.collect()));
        }
        "yarn" => {
            refuse(&["mscale", "mscale_all_dim"])?;
            if parameters.opt_flag("truncate")? == Some(false) {
                return Err(parameters.error("truncate", "which changes the result and cannot be said in a GGUF file"));
            }
            rope.keys.push(("rope.scaling.type", "yarn".into()));
            let factor = parameters.positive("factor")?;
            rope.keys.push(("rope.scaling.factor", Value::F32(factor as f32)));
            rope.keys.push(("rope.scaling.original_context_length", original()?.into()));
            // In a GGUF file, this multiplies what YaRN's paper recommends; here it replaces it.
            let usual = if factor > 1.0 { 1.0 + 0.1 * factor.ln() } else { 1.0 };
            let magnitude = (parameters.opt_positive("attention_factor")?.unwrap_or(usual) / usual) as f32;
            if magnitude != 1.0 {
                rope.keys.push(("rope.scaling.attn_factor", Value::F32(magnitude)));
            }
            for (key, suffix) in [
                ("extrapolation_factor", "rope.scaling.yarn_ext_factor"),
                ("beta_fast", "rope.scaling.yarn_beta_fast"),
                ("beta_slow", "rope.scaling.yarn_beta_slow"),
            ] {
                if let Some(value) = parameters.opt_number(key)? {
                    rope.keys.push((suffix, Value::F32(value as f32)));
                }
            }
        }
        "longrope" | "su" => {
            let original = original()?;
            rope.keys.push(("rope.scaling.type", "longrope".into()));
            rope.keys.push(("rope.scaling.original_context_length", original.into()));
            for (key, tensor) in
                [("long_factor", "rope_factors_long.weight"), ("short_factor", "rope_factors_short.weight")]
            {
                let factors = parameters.opt_positives(key)?.unwrap_or_default();
                if factors.len() != head as usize / 2 {
                    let why = format!("but must be {} numbers above 0, one for each pair of a head", head / 2);
                    return Err(parameters.error(key, why));
                }
                rope.tensors.push((tensor, factors));
            }
            refuse(&["short_mscale", "long_mscale"])?;
            // Attention is sharpened as contexts grow (the LongRoPE paper; transformers' modeling_rope_utils.py).
            let longer = f64::from(context) / f64::from(original);
            let usual =
                if longer > 1.0 && original > 1 { (1.0 + longer.ln() / f64::from(original).ln()).sqrt() } else { 1.0 };
            let magnitude = parameters.opt_positive("attention_factor")?.unwrap_or(usual) as f32;
            if magnitude != 1.0 {
                rope.keys.push(("rope.scaling.attn_factor", Value::F32(magnitude)));
            }
        }
        _ => return Err(parameters.error(key, "which is not known here; linear, llama3, yarn and longrope are")),
    }
    rope.decide("rope scaling", kind, format!("`{key}` in config.json"));
    Ok(())
}

/// Layers that see only the last tokens, with a rope of their own.
fn window(
    config: &Document,
    rope: &mut Rope,
    base: f64,
    local: Option<f64>,
    context: u32,
    layers: u32,
) -> Result<(), Error> {
    /// Of so many layers the last one sees everything, where nothing else is said.
    const PERIOD: u32 = 6;
    let Some(window) = config.opt_size("sliding_window")? else { return Ok(()) };
    let local = local.unwrap_or(10_000.0);
    let periodic = |period: u32| (1..=layers).map(|layer| layer % period != 0).collect::<Vec<bool>>();
    let (few, why) = match config.opt_texts("layer_types")? {
        Some(types) if types.len() == layers as usize => {
            (types.into_iter().map(|kind| kind != "full_attention").collect(), "layer_types")
        }
        Some(_) => {
            return Err(config.error("layer_types", format!("but must have one entry for each of {layers} layers")));
        }
        None => match config.first(&["sliding_window_pattern", "_sliding_window_pattern"]) {
            Some((key, _)) => (periodic(config.opt_size(key)?.unwrap_or(PERIOD)), key),
            None => (periodic(PERIOD), "config.json does not say: as in all of them"),
        },
    };
    if !few.contains(&true) || window >= context && local == base {
        rope.decide("window", "none", format!("of {window} tokens in a context of {context}; one rope for all layers"));
        return Ok(());
    }
    rope.keys.push(("attention.sliding_window", window.into()));
    rope.keys.push(("rope.freq_base_swa", Value::F32(local as f32)));
    rope.decide("window", format!("{window} tokens in some layers, rope base {local}"), why);
    if few != periodic(PERIOD) {
        rope.keys.push(("attention.sliding_window_pattern", Value::Array(Array::Bool(few))));
    }
    Ok(())
}
