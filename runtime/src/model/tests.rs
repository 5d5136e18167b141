//! What the loader decides and refuses, on models too small to say anything.

use super::*;
use crate::gguf::{File, Header, Kind, Strings, Value, Writer};
use crate::model::activation::Activation;
use crate::model::rope::Pairing;

/// A model with a key of its architecture that nobody reads.
pub(crate) fn sketch_with_an_unknown_key() -> File {
    Sketch::new("llama").set("attention.novelty", 3u32).file()
}

const EMBEDDING: u64 = 64;
const FEED_FORWARD: u64 = 96;
const VOCAB: u64 = 16;

/// A model to be spoilt: keys without their architecture, and tensors with their shapes.
#[derive(Clone)]
struct Sketch {
    architecture: &'static str,
    tokenizer: Option<&'static str>,
    keys: Vec<(&'static str, Value)>,
    tensors: Vec<(String, Vec<u64>)>,
    /// A tensor whose first so many elements are another number.
    spoilt: Option<(&'static str, u64, f32)>,
}

impl Sketch {
    fn new(architecture: &'static str) -> Sketch {
        let keys = vec![
            ("block_count", Value::U32(1)),
            ("context_length", Value::U32(32)),
            ("embedding_length", Value::U32(EMBEDDING as u32)),
            ("feed_forward_length", Value::U32(FEED_FORWARD as u32)),
            ("attention.head_count", Value::U32(4)),
            ("attention.head_count_kv", Value::U32(2)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ];
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![EMBEDDING, VOCAB]),
            ("output_norm.weight".to_owned(), vec![EMBEDDING]),
        ];
        let layer: [(&str, &[u64]); 6] = [
            ("attn_norm", &[EMBEDDING]),
            ("ffn_norm", &[EMBEDDING]),
            ("attn_q", &[EMBEDDING, 64]),
            ("attn_k", &[EMBEDDING, 32]),
            ("attn_v", &[EMBEDDING, 32]),
            ("attn_output", &[64, EMBEDDING]),
        ];
        let dense: &[(&str, &[u64])] = &[
            ("ffn_gate", &[EMBEDDING, FEED_FORWARD]),
            ("ffn_up", &[EMBEDDING, FEED_FORWARD]),
            ("ffn_down", &[FEED_FORWARD, EMBEDDING]),
        ];
        let experts: &[(&str, &[u64])] = &[
            ("ffn_gate_inp", &[EMBEDDING, 4]),
            ("ffn_gate_exps", &[EMBEDDING, FEED_FORWARD, 4]),
            ("ffn_up_exps", &[EMBEDDING, FEED_FORWARD, 4]),
            ("ffn_down_exps", &[FEED_FORWARD, EMBEDDING, 4]),
        ];
        let head_norms: &[(&str, &[u64])] = &[("attn_q_norm", &[16]), ("attn_k_norm", &[16])];
        let post_norms: &[(&str, &[u64])] = &[("post_attention_norm", &[EMBEDDING]), ("post_ffw_norm", &[EMBEDDING])];
        let sub_norms: &[(&str, &[u64])] = &[("attn_sub_norm", &[64]), ("ffn_sub_norm", &[FEED_FORWARD])];
        let more: &[&[_]] = match architecture {
            "bitnet" | "bitnet-25" | "bitnet-b1.58" => &[dense, sub_norms],
            "qwen3" => &[dense, head_norms],
            "gemma3" => &[dense, head_norms, post_norms],
            "maple" => &[experts, head_norms],
            _ => &[dense],
        };
        let of_layer = layer.iter().chain(more.iter().copied().flatten());
        tensors.extend(of_layer.map(|(n, s)| (format!("blk.0.{n}.weight"), s.to_vec())));
        let sketch = Sketch { architecture, tokenizer: Some("gpt2"), keys, tensors, spoilt: None };
        match architecture {
            "maple" => sketch
                .set("expert_count", 4u32)
                .set("expert_used_count", 2u32)
                .set("expert_feed_forward_length", FEED_FORWARD as u32)
                .set("attention.sliding_window", 3u32)
                .set("attention.sliding_window_pattern", Value::Array(gguf::Array::Bool(vec![true]))),
            _ => sketch,
        }
    }

    fn set(mut self, key: &'static str, value: impl Into<Value>) -> Sketch {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value.into()));
        self
    }

    fn without(mut self, key: &str) -> Sketch {
        self.keys.retain(|(known, _)| *known != key);
        self.tensors.retain(|(name, _)| name != key);
        self
    }

    fn tensor(mut self, name: &str, shape: &[u64]) -> Sketch {
        self.tensors.retain(|(known, _)| known != name);
        self.tensors.push((name.into(), shape.to_vec()));
        self
    }

    fn filled(self, name: &'static str, value: f32) -> Sketch {
        Sketch { spoilt: Some((name, u64::MAX, value)), ..self }
    }

    fn spoilt(self, name: &'static str, value: f32) -> Sketch {
        Sketch { spoilt: Some((name, 1, value)), ..self }
    }

    fn file(&self) -> File {
        let mut header = Header::new();
        header.set("general.architecture", self.architecture.to_owned());
        if let Some(tokenizer) = self.tokenizer {
            header.set("tokenizer.ggml.model", tokenizer.to_owned());
        }
        for (key, value) in &self.keys {
            // A key with a space of its own is written as it is.
            let whole = ["general.", "split.", "tokenizer."].iter().any(|space| key.starts_with(space));
            header.set(if whole { (*key).to_owned() } else { format!("{}.{key}", self.architecture) }, value.clone());
        }
        for (name, shape) in &self.tensors {
            header.tensor(name.clone(), shape, Kind::F32).unwrap();
        }
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for (number, (name, shape)) in self.tensors.iter().enumerate() {
            let elements = shape.iter().product::<u64>();
            let wave =
                |i: u64| ((i * 37 + number as u64 * 11) as f32).sin() * 0.3 + if shape.len() == 1 { 1.0 } else { 0.0 };
            let spoilt = self.spoilt.filter(|(spoilt, ..)| spoilt == name);
            let value = |i: u64| spoilt.filter(|(_, end, _)| i < *end).map_or_else(|| wave(i), |(.., value)| value);
            let bytes: Vec<u8> = (0..elements).flat_map(|i| value(i).to_le_bytes()).collect();
            writer.write_tensor(name, &bytes).unwrap();
        }
        File::from_bytes("sketch.gguf", writer.finish().unwrap()).unwrap()
    }

    fn load(&self) -> Result<Model, Error> {
        Model::from_gguf(&self.file(), &Selection::new(None, 1).unwrap(), Pool::new(1), &|_, _| ())
    }

    fn config(&self) -> Config {
        Config::read(&self.file()).unwrap()
    }

    /// Logits of a few tokens.
    fn logits(&self) -> Vec<f32> {
        let model = self.load().unwrap();
        let mut session = Session::new(&model, SessionOptions::default()).unwrap();
        session.feed(&[3, 1, 4, 1, 5]).unwrap().to_vec()
    }
}

#[test]
fn every_family_loads_and_runs() {
    for family in &config::FAMILIES {
        let logits = Sketch::new(family.architecture).logits();
        assert_eq!(logits.len() as u64, VOCAB);
    }
}

#[test]
fn activation_is_the_keys_then_the_tokenizers() {
    let activation = |architecture, tokenizer: Option<&'static str>, key: Option<&str>| {
        let mut sketch = Sketch { tokenizer, ..Sketch::new(architecture) };
        if let Some(key) = key {
            sketch = sketch.set("hidden_activation", key.to_owned());
        }
        Config::read(&sketch.file()).map(|config| config.activation)
    };
    for architecture in ["bitnet-b1.58", "bitnet-25"] {
        assert_eq!(activation(architecture, Some("gpt2"), None).unwrap(), Activation::ReluSquared);
        assert_eq!(activation(architecture, Some("llama"), None).unwrap(), Activation::Silu);
        assert_eq!(activation(architecture, Some("gpt2"), Some("silu")).unwrap(), Activation::Silu);
        assert_eq!(activation(architecture, None, Some("relu2")).unwrap(), Activation::ReluSquared);
        for tokenizer in [None, Some("t5")] {
            let refusal = activation(architecture, tokenizer, None).unwrap_err().to_string();
            assert!(refusal.contains("hidden_activation"), "{refusal}");
        }
    }
    for tokenizer in [Some("gpt2"), Some("llama"), None] {
        assert_eq!(activation("bitnet", tokenizer, None).unwrap(), Activation::Silu);
        assert_eq!(activation("llama", tokenizer, None).unwrap(), Activation::Silu);
    }
    assert!(activation("llama", None, Some("gelu")).unwrap_err().to_string().contains("`gelu`"));
}

#[test]
fn an_activation_may_be_called_as_config_json_calls_it() {
    let of = |sketch: Sketch| Config::read(&sketch.file()).map(|config| config.activation);
    let llama = || Sketch::new("llama").set("hidden_act", "relu2".to_owned());
    assert_eq!(of(llama()).unwrap(), Activation::ReluSquared);
    assert_eq!(of(llama().set("hidden_activation", "relu2".to_owned())).unwrap(), Activation::ReluSquared);
    let refusal = of(llama().set("hidden_activation", "silu".to_owned())).unwrap_err().to_string();
    assert!(refusal.contains("`llama.hidden_act` is ") && refusal.contains("`llama.hidden_activation`"), "{refusal}");
    assert!(of(Sketch::new("llama").set("hidden_act", "gelu".to_owned())).unwrap_err().to_string().contains("`gelu`"));
}

#[test]
fn unknown_keys_are_passed_over_where_that_is_asked_for() {
    let read = |sketch: &Sketch, keys: &[&str]| {
        let ignored_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let options = gguf::ReadOptions { ignored_keys, ..gguf::ReadOptions::default() };
        Config::read(&sketch.file().with_options(options).unwrap())
    };
    let sketch = Sketch::new("llama").set("training_steps", 5u32).set("tie_word_embeddings", true);
    let refusal = read(&sketch, &[]).unwrap_err().to_string();
    assert!(refusal.contains("--ignore-key llama.training_steps"), "{refusal}");
    let refusal = read(&sketch, &["llama.training_steps"]).unwrap_err().to_string();
    assert!(refusal.contains("--ignore-key llama.tie_word_embeddings"), "{refusal}");
    let config = read(&sketch, &["llama.tie_word_embeddings", "llama.training_steps"]).unwrap();
    let ignored: Vec<&str> =
        config.decisions.iter().filter(|row| row.what == "ignored key").map(|row| row.value.as_str()).collect();
    assert_eq!(ignored, ["llama.training_steps, the u32 5", "llama.tie_word_embeddings, the bool true"]);

    // What is known to change the result is still refused, and what is read, or is not there, cannot be passed over.
    let scaled = Sketch::new("llama").set("logit_scale", 0.5f32);
    let refusal = read(&scaled, &["llama.logit_scale"]).unwrap_err().to_string();
    assert!(refusal.contains("changes the result and is not implemented"), "{refusal}");
    for key in ["llama.block_count", "llama.nothing"] {
        let refusal = read(&Sketch::new("llama"), &[key]).unwrap_err().to_string();
        assert!(refusal.contains(&format!("leave out --ignore-key {key}")), "{refusal}");
    }
}

#[test]
fn decisions_name_their_reasons() {
    let config = Sketch::new("bitnet-b1.58").config();
    let why = |what: &str| config.decisions.iter().find(|row| row.what == what).map(|row| row.why.clone()).unwrap();
    assert_eq!(config.rope.map(|rope| rope.pairing), Some(Pairing::Halves));
    assert!(why("activation").contains("2B4T"));
    assert!(why("rope base").contains("no `bitnet-b1.58.rope.freq_base`"));
    assert!(why("layers") == "bitnet-b1.58.block_count");
    assert_eq!(Sketch::new("llama").config().rope.map(|rope| rope.pairing), Some(Pairing::Adjacent));
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    let llama = || Sketch::new("llama");
    for (sketch, name) in [
        (Sketch::new("mamba"), "`mamba` cannot be run; known are llama, bitnet"),
        (llama().set("rope.scaling.type", "ntk".to_owned()), "rope.scaling.type"),
        (llama().set("rope.scaling.type", "yarn".to_owned()), "rope.scaling.factor"),
        (llama().set("rope.scaling.type", "longrope".to_owned()), "rope_factors_long.weight"),
        (llama().set("rope.scaling.yarn_attn_factor", 2f32), "rope.scaling.yarn_attn_factor"),
        (llama().set("rope.scaling.yarn_log_multiplier", 1f32), "rope.scaling.yarn_log_multiplier"),
        (llama().set("rope.freq_base_swa", 1e4f32), "rope.freq_base_swa"),
        (llama().tensor("rope_factors_long.weight", &[8]), "rope_factors_long.weight"),
        (llama().set("pooling_type", 4u32), "llama.pooling_type"),
        (llama().set("embedding_scale", 2f32), "llama.embedding_scale"),
        (llama().set("residual_scale", 2f32), "llama.residual_scale"),
        (Sketch::new("qwen3").set("final_logit_softcapping", 30f32), "qwen3.final_logit_softcapping"),
        (Sketch::new("gemma3").set("attn_logit_softcapping", 30f32), "gemma3.attn_logit_softcapping"),
        (Sketch::new("maple").set("expert_gating_func", 2u32), "maple.expert_gating_func"),
        (Sketch::new("maple").set("expert_weights_norm", false), "maple.expert_weights_norm"),
        (Sketch::new("maple").set("expert_shared_count", 1u32), "maple.expert_shared_count"),
        (Sketch::new("qwen3").tensor("cls.output.weight", &[EMBEDDING, 1]), "cls.output.weight"),
        (llama().set("expert_count", 8u32), "llama.expert_count"),
        (llama().set("attention.sliding_window", 4096u32), "llama.attention.sliding_window"),
        (llama().set("logit_scale", 0.5f32), "llama.logit_scale"),
        (llama().set("attention.causal", false), "llama.attention.causal"),
        (llama().set("final_logit_softcapping", 30f32), "llama.final_logit_softcapping"),
        (llama().set("something.new", 1u32), "llama.something.new"),
        (llama().set("general.type", "adapter".to_owned()), "general.type"),
        (llama().set("split.count", 2u32), "split.count"),
        (llama().tensor("blk.0.attn_q_norm.weight", &[16]), "blk.0.attn_q_norm.weight"),
        (llama().tensor("blk.0.attn_sub_norm.weight", &[64]), "blk.0.attn_sub_norm.weight"),
        (llama().tensor("blk.1.attn_norm.weight", &[64]), "blk.1.attn_norm.weight"),
        (llama().tensor("output.bias", &[VOCAB]), "output.bias"),
    ] {
        let refusal = sketch.load().unwrap_err().to_string();
        assert!(refusal.contains(name) && refusal.contains("sketch.gguf"), "{name}: {refusal}");
    }
}

#[test]
fn what_changes_nothing_is_accepted() {
    let plain = Sketch::new("llama").logits();
    for sketch in [
        Sketch::new("llama").set("expert_count", 0u32),
        Sketch::new("llama").set("attention.causal", true),
        Sketch::new("llama").set("logit_scale", 1f32),
        Sketch::new("llama").set("rope.scaling.type", "none".to_owned()).set("rope.scaling.factor", 4f32),
        Sketch::new("llama").set("rope.scaling.type", "linear".to_owned()).set("rope.scaling.factor", 1f32),
        Sketch::new("llama").set("rope.scaling.original_context_length", 16u32),
        Sketch::new("llama").set("general.type", "model".to_owned()),
        Sketch::new("llama").set("attention.scale", 0.25f32),
        Sketch::new("llama").set("rope.scaling.attn_factor", 1f32),
        Sketch::new("llama").set("pooling_type", 0u32),
    ] {
        assert_eq!(sketch.logits(), plain);
    }
}

#[test]
fn what_is_optional_has_its_effect() {
    let plain = Sketch::new("llama").logits();
    for sketch in [
        Sketch::new("llama").set("rope.scaling.factor", 4f32),
        Sketch::new("llama").set("rope.freq_base", 500f32),
        Sketch::new("llama").set("rope.dimension_count", 8u32),
        Sketch::new("llama").tensor("rope_freqs.weight", &[8]),
        Sketch::new("llama").tensor("blk.0.attn_q.bias", &[64]),
        Sketch::new("llama").tensor("blk.0.ffn_down.scale", &[1]),
        Sketch::new("llama").tensor("output.weight", &[EMBEDDING, VOCAB]),
        Sketch::new("llama").set("hidden_activation", "relu2".to_owned()),
        Sketch::new("llama").set("hidden_activation", "gelu_tanh".to_owned()),
        Sketch::new("llama").set("attention.scale", 0.1f32),
        Sketch::new("llama").set("rope.scaling.attn_factor", 1.5f32),
        Sketch::new("llama").set("rope.scaling.type", "yarn".to_owned()).set("rope.scaling.factor", 4f32),
        Sketch::new("bitnet"),
    ] {
        assert_ne!(sketch.logits(), plain, "{:?} {:?}", sketch.keys.last(), sketch.tensors.last());
    }
    let unit = Sketch::new("llama").tensor("blk.0.ffn_down.scale", &[1]).filled("blk.0.ffn_down.scale", 1.0);
    assert_eq!(unit.logits(), plain);
}

/// As converters write them of models whose layers may differ.
#[test]
fn counts_may_be_given_for_each_layer_where_they_are_the_same() {
    for (architecture, key, count) in [
        ("llama", "feed_forward_length", FEED_FORWARD as u32),
        ("llama", "attention.head_count", 4),
        ("llama", "attention.head_count_kv", 2),
        ("maple", "expert_feed_forward_length", FEED_FORWARD as u32),
    ] {
        let sketch = |counts: &[u32]| Sketch::new(architecture).set(key, counts.to_vec());
        assert_eq!(sketch(&[count]).logits(), Sketch::new(architecture).logits(), "{key}");
        let deep = |counts: &[u32]| {
            let deep = sketch(counts).set("block_count", 2u32);
            (0..18).fold(deep, |deep, number| deep.tensor(&format!("blk.1.{number}"), &[1]))
        };
        for (sketch, why) in [
            (sketch(&[]), "a list of 0"),
            (sketch(&[count, count]), "a list of 2, but there are 1 layers"),
            (sketch(&[0]), "must be at least 1"),
            (deep(&[count, 3]), "differs between layers"),
        ] {
            let refusal = sketch.load().unwrap_err().to_string();
            assert!(refusal.contains(key) && refusal.contains(why), "{key}: {refusal}");
        }
    }
}

#[test]
fn absurd_numbers_are_refused() {
    let llama = || Sketch::new("llama");
    let yarn = || llama().set("rope.scaling.type", "yarn".to_owned()).set("rope.scaling.factor", 4f32);
    let tokens = Value::Array(gguf::Array::String(["a", "b"].into_iter().collect::<Strings>()));
    let no_layers = Value::Array(gguf::Array::Bool(Vec::new()));
    for (sketch, name) in [
        (llama().set("block_count", 1_000_000_000u32), "block_count"),
        (llama().set("block_count", 0u32), "block_count"),
        (llama().set("context_length", 0u32), "context_length"),
        (llama().set("embedding_length", 63u32), "embedding_length"),
        (llama().set("embedding_length", "wide".to_owned()), "embedding_length"),
        (llama().set("feed_forward_length", 97u32), "blk.0.ffn_gate.weight"),
        (llama().set("feed_forward_length", u64::MAX), "blk.0.ffn_gate.weight"),
        (llama().set("attention.head_count", 0u32), "attention.head_count"),
        (llama().set("attention.head_count", 5u32), "attention.head_count"),
        (llama().set("attention.head_count_kv", 3u32), "attention.head_count_kv"),
        (llama().set("attention.head_count_kv", 8u32), "attention.head_count_kv"),
        (llama().set("attention.key_length", u64::MAX), "attention.key_length"),
        (llama().set("attention.key_length", 32u32), "blk.0.attn_q.weight"),
        (llama().set("attention.layer_norm_rms_epsilon", 0f32), "rms_epsilon"),
        (llama().set("attention.layer_norm_rms_epsilon", f32::NAN), "rms_epsilon"),
        (llama().set("rope.dimension_count", 7u32), "rope.dimension_count"),
        (llama().set("rope.dimension_count", 18u32), "rope.dimension_count"),
        (llama().set("rope.freq_base", -1f32), "rope.freq_base"),
        (llama().set("rope.scaling.factor", f32::INFINITY), "rope.scaling.factor"),
        (llama().set("tokenizer.ggml.tokens", tokens), "tokenizer.ggml.tokens"),
        (llama().without("attention.head_count"), "attention.head_count"),
        (llama().without("blk.0.ffn_up.weight").tensor("output.weight", &[EMBEDDING, VOCAB]), "blk.0.ffn_up.weight"),
        (llama().without("token_embd.weight").tensor("output.weight", &[EMBEDDING, VOCAB]), "token_embd.weight"),
        (llama().tensor("blk.0.attn_k.weight", &[EMBEDDING, 64]), "blk.0.attn_k.weight"),
        (llama().tensor("output_norm.weight", &[EMBEDDING, 2]), "output_norm.weight"),
        (Sketch::new("bitnet").without("blk.0.ffn_sub_norm.weight"), "blk.0.ffn_sub_norm.weight"),
        (Sketch::new("qwen3").without("blk.0.attn_k_norm.weight"), "blk.0.attn_k_norm.weight"),
        (Sketch::new("qwen3").tensor("blk.0.attn_q_norm_in.weight", &[EMBEDDING]), "blk.0.attn_k_norm_in.weight"),
        (Sketch::new("gemma3").without("blk.0.post_ffw_norm.weight"), "blk.0.post_ffw_norm.weight"),
        (Sketch::new("maple").without("attention.sliding_window"), "attention.sliding_window"),
        (Sketch::new("maple").without("attention.sliding_window_pattern"), "sliding_window_pattern"),
        (Sketch::new("maple").set("attention.sliding_window_pattern", no_layers), "sliding_window_pattern"),
        (Sketch::new("maple").set("attention.sliding_window", 0u32), "attention.sliding_window"),
        (Sketch::new("maple").set("expert_count", 1_000_000_000u32), "blk.0.ffn_gate_inp.weight"),
        (Sketch::new("maple").set("expert_used_count", 5u32), "expert_used_count"),
        (Sketch::new("maple").set("swiglu_clamp_exp", f32::NAN), "swiglu_clamp_exp"),
        (Sketch::new("minicpm").set("logit_scale", -1f32), "logit_scale"),
        (llama().set("attention.scale", f32::NAN), "attention.scale"),
        (llama().set("rope.dimension_count", 0u32), "rope.dimension_count"),
        (yarn().set("rope.scaling.yarn_beta_fast", -1f32), "yarn_beta_fast"),
        (yarn().set("rope.scaling.yarn_ext_factor", f32::NAN), "yarn_ext_factor"),
    ] {
        let refusal = sketch.load().unwrap_err().to_string();
        assert!(refusal.contains(name) && refusal.contains("sketch.gguf"), "{name}: {refusal}");
    }
}

#[test]
fn rope_factors_are_greater_than_zero() {
    let with = |factor| {
        Sketch::new("llama").tensor("rope_freqs.weight", &[8]).spoilt("rope_freqs.weight", factor).load().map(drop)
    };
    assert!(with(2.0).is_ok());
    for (factor, what) in [(0.0, "the factor 0 for pair 0"), (-1.5, "the factor -1.5 for pair 0"), (f32::NAN, "finite")]
    {
        let refusal = with(factor).unwrap_err().to_string();
        assert!(refusal.contains(what) && refusal.contains("`rope_freqs.weight`"), "{refusal}");
    }
}

#[test]
fn damaged_numbers_are_told_where_they_show() {
    let refusal = Sketch::new("llama").filled("blk.0.ffn_norm.weight", f32::NAN).load().unwrap_err().to_string();
    assert!(refusal.contains("blk.0.ffn_norm.weight"), "{refusal}");
    for (tensor, place) in [
        ("token_embd.weight", "the embedding"),
        ("blk.0.attn_q.weight", "a query of layer 0"),
        ("blk.0.attn_k.weight", "a key of layer 0"),
        ("blk.0.attn_v.weight", "a value of layer 0"),
        ("blk.0.attn_output.weight", "the feed-forward input of layer 0"),
        ("blk.0.ffn_gate.weight", "the feed-forward network of layer 0"),
        ("blk.0.ffn_down.weight", "the last layer's output"),
    ] {
        let model = Sketch::new("llama").filled(tensor, f32::INFINITY).load().unwrap();
        let mut session = Session::new(&model, SessionOptions::default()).unwrap();
        let refusal = session.feed(&[1, 2]).unwrap_err().to_string();
        assert!(refusal.contains(place) && refusal.contains("at positions"), "{tensor}: {refusal}");
        assert_eq!(session.position(), 0);
    }
}

#[test]
fn one_nan_or_overflow_on_the_way_to_the_cache_is_told_however_they_are_stored() {
    for (kv, _) in KvType::NAMES {
        for (tensor, place) in [
            ("blk.0.attn_q.weight", "a query of layer 0 is not finite".to_owned()),
            ("blk.0.attn_k.weight", format!("a key of layer 0, stored as {kv}, is not finite")),
            ("blk.0.attn_v.weight", format!("a value of layer 0, stored as {kv}, is not finite")),
        ] {
            let model = Sketch::new("llama").spoilt(tensor, f32::NAN).load().unwrap();
            let mut session = Session::new(&model, SessionOptions { kv: Some(kv), context: None }).unwrap();
            for tokens in [&[3][..], &[3, 1, 4]] {
                let refusal = session.feed(tokens).unwrap_err().to_string();
                assert!(refusal.contains(&place), "{tensor}, {kv}: {refusal}");
                assert_eq!(session.position(), 0);
            }
        }
        // Finite, but more than f16 can say.
        let model = Sketch::new("llama").filled("blk.0.attn_k.weight", 1e6).load().unwrap();
        let mut session = Session::new(&model, SessionOptions { kv: Some(kv), context: None }).unwrap();
        let told = session.feed(&[3]).err().map(|error| error.to_string());
        match kv {
            KvType::F16 => assert!(told.unwrap().contains("a key of layer 0, stored as f16, is not finite")),
            KvType::F32 | KvType::I8 => assert_eq!(told, None),
        }
    }
}

#[test]
fn a_mixture_of_experts_tells_what_is_not_finite() {
    for (tensor, place) in [
        ("blk.0.ffn_gate_inp.weight", "the choice of experts"),
        ("blk.0.ffn_up_exps.weight", " of layer 0 is not finite"),
        ("blk.0.ffn_down_exps.weight", "the last layer's output"),
    ] {
        let model = Sketch::new("maple").filled(tensor, f32::INFINITY).load().unwrap();
        let mut session = Session::new(&model, SessionOptions::default()).unwrap();
        let refusal = session.feed(&[1, 2]).unwrap_err().to_string();
        assert!(refusal.contains(place), "{tensor}: {refusal}");
    }
}

#[test]
fn embeddings_are_of_length_one_and_pooled_as_the_file_says() {
    let load = |pooling: u32| Sketch::new("qwen3").set("pooling_type", pooling).load().unwrap();
    let embed =
        |model: &Model, tokens: &[u32]| Session::new(model, SessionOptions::default()).unwrap().embed(tokens).unwrap();
    let [mean, first, last] = [1, 2, 3].map(load);
    assert_eq!(last.config().pooling, Some(Pooling::Last));
    let tokens = [3, 1, 4, 1, 5];
    for model in [&mean, &first, &last] {
        let embedding = embed(model, &tokens);
        assert_eq!(embedding.len() as u64, EMBEDDING);
        assert!((embedding.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
    }
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    // The first token sees no other; one token is its own mean.
    assert!(near(&embed(&first, &tokens), &embed(&last, &tokens[..1])));
    assert!(near(&embed(&mean, &tokens[..1]), &embed(&last, &tokens[..1])));
    assert!(!near(&embed(&mean, &tokens), &embed(&last, &tokens)));
    // Chosen by the caller, also of a model that predicts tokens.
    let mut session = Session::new(&mean, SessionOptions::default()).unwrap();
    assert!(near(&session.embed_by(&tokens, Pooling::Last).unwrap(), &embed(&last, &tokens)));
    let generator = Sketch::new("qwen3").load().unwrap();
    let mut session = Session::new(&generator, SessionOptions::default()).unwrap();
    assert!(near(&session.embed_by(&tokens, Pooling::Last).unwrap(), &embed(&last, &tokens)));
    // A session's past does not matter.
    let mut session = Session::new(&last, SessionOptions::default()).unwrap();
    let once = session.embed(&tokens).unwrap();
    assert_eq!((session.embed(&tokens).unwrap(), session.position()), (once, 0));
}

#[test]
fn embedders_and_generators_are_told_apart() {
    let embedder = Sketch::new("qwen3").set("pooling_type", 3u32).load().unwrap();
    assert!(embedder.weights().head.is_none());
    let mut session = Session::new(&embedder, SessionOptions::default()).unwrap();
    for refused in [session.feed(&[1]).err(), session.feed_each(&[1], 0, |_, _| Ok::<_, SessionError>(())).err()] {
        let refusal = refused.unwrap().to_string();
        assert!(
            ["sketch.gguf", "qwen3.pooling_type", "tritune embed"].iter().all(|word| refusal.contains(word)),
            "{refusal}"
        );
    }
    assert!(session.embed(&[99]).unwrap_err().to_string().contains("not in the vocabulary"));
    assert!(session.embed(&[]).unwrap_err().to_string().contains("at least one"));
    let generator = Sketch::new("qwen3").load().unwrap();
    let mut session = Session::new(&generator, SessionOptions::default()).unwrap();
    let refusal = session.embed(&[1]).unwrap_err().to_string();
    assert!(refusal.contains("sketch.gguf") && refusal.contains("no `qwen3.pooling_type`"), "{refusal}");
}

/// All tensors of a sketch are f32.
#[test]
fn bytes_are_the_tensors_and_a_token_reads_what_it_uses() {
    for family in &config::FAMILIES {
        let sketch = Sketch::new(family.architecture);
        let bytes_of = |chosen: &dyn Fn(&str, &[u64]) -> bool| -> u64 {
            let elements = |(name, shape): &(String, Vec<u64>)| {
                if chosen(name, shape) { shape.iter().product::<u64>() } else { 0 }
            };
            4 * sketch.tensors.iter().map(elements).sum::<u64>()
        };
        let model = sketch.load().unwrap();
        let (held, read) = (model.weights().bytes(), model.weights().token_bytes());
        // The head is the table of embeddings: it is held once, but for its copy of bytes with two floats a row.
        let (all, exact, copy) = (bytes_of(&|_, _| true), 4 * EMBEDDING * VOCAB, (EMBEDDING + 8) * VOCAB);
        let copied = model.weights().head.as_ref().is_some_and(|head| head.coarse.is_some());
        let copy = if copied { copy } else { 0 };
        assert_eq!((held.total(), held.ternary, held.embedding), (all + copy, 0, 0), "{}", family.architecture);
        assert_eq!(held.head, exact + copy);
        assert_eq!(held.vectors, bytes_of(&|_, shape| shape.len() == 1));
        // Of four experts, two.
        let experts = bytes_of(&|name, _| name.contains("_exps"));
        let head = if copied { copy } else { exact };
        assert_eq!(read, ModelBytes { float: held.float - experts / 2, embedding: 4 * EMBEDDING, head, ..held });
    }
    let untied = Sketch::new("llama").tensor("output.weight", &[EMBEDDING, VOCAB]).load().unwrap();
    let (exact, copy) = (4 * EMBEDDING * VOCAB, (EMBEDDING + 8) * VOCAB);
    let held = untied.weights().bytes();
    assert_eq!((held.head, held.embedding), (exact + copy, exact));
    // A token by all, two by shortlists of five rows in all, and one by all for which that was tried.
    let used = HeadUse { shortlists: 2, rows: 5, undecided: 1, full: 2 };
    assert_eq!(untied.weights().head_bytes(&used), 2 * exact + 3 * copy + 5 * 4 * EMBEDDING);
    let embedder = Sketch::new("qwen3").set("pooling_type", 3u32).load().unwrap().weights().bytes();
    assert_eq!((embedder.head, embedder.embedding), (0, 4 * EMBEDDING * VOCAB));
}

#[test]
fn keys_and_values_are_counted_as_far_as_a_layer_sees() {
    // Two heads of 16 elements, keys and values.
    let row = 2 * 2 * 16 * 4;
    let llama = Sketch::new("llama").load().unwrap();
    assert_eq!(llama.kv_bytes(KvType::F32, 0..0), 0);
    assert_eq!(llama.kv_bytes(KvType::F32, 0..4), (1 + 2 + 3 + 4) * row);
    assert_eq!(llama.kv_bytes(KvType::F16, 10..12), (11 + 12) * row / 2);
    let window = Sketch::new("maple").load().unwrap();
    assert_eq!(window.kv_bytes(KvType::F32, 0..5), (1 + 2 + 3 + 3 + 3) * row);
}
