//! What differs between families: rope, biases, norms, scales.

use std::fs;

use safetensors::Dtype;
use serde_json::{Value, json};
use tritune::convert::{Convention, Options};
use tritune::gguf::{Array, File, Kind};
use tritune::model::Pooling;
use tritune::quant::trits;

use crate::checkpoint::*;

#[test]
fn rope_of_long_contexts_is_carried_over() {
    let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes());
    let scaling = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 64 });
    let checkpoint = checkpoint.set("rope_scaling", scaling).set("rope_theta", 500.into());
    let file = converted(checkpoint.save().path());
    let tensor = file.tensor("rope_freqs.weight").unwrap();
    let data = file.data(tensor);
    let factors: Vec<f32> = data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    // As transformers computes them (modeling_rope_utils.py), frequency by frequency.
    for (pair, &factor) in factors.iter().enumerate() {
        let frequency = 500f64.powf(-2.0 * pair as f64 / HEAD as f64);
        let wave = std::f64::consts::TAU / frequency;
        let expected = if wave < 64.0 / 4.0 {
            frequency
        } else if wave > 64.0 {
            frequency / 8.0
        } else {
            let smooth = (64.0 / wave - 1.0) / (4.0 - 1.0);
            (1.0 - smooth) * frequency / 8.0 + smooth * frequency
        };
        assert!((frequency / expected / f64::from(factor) - 1.0).abs() < 1e-6, "pair {pair}: {factor}");
    }
    assert!(factors.len() == HEAD / 2 && factors[0] == 1.0 && factors[HEAD / 2 - 1] == 8.0);
    logits(&file);

    let with = |scaling: Value| {
        let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes());
        checkpoint.set("rope_scaling", scaling)
    };
    let linear = converted(with(json!({ "type": "linear", "factor": 4 })).save().path());
    assert_eq!(linear.f32("llama.rope.scaling.factor").unwrap(), 4.0);
    let yarn = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16 });
    let yarn = converted(with(yarn).save().path());
    assert_eq!(yarn.str("llama.rope.scaling.type").unwrap(), "yarn");
    assert_eq!(yarn.u32("llama.rope.scaling.original_context_length").unwrap(), 32);
    assert_eq!(yarn.f32("llama.rope.scaling.yarn_beta_fast").unwrap(), 16.0);
    let long = json!({ "rope_type": "longrope", "original_max_position_embeddings": 32,
                       "long_factor": vec![2.0; HEAD / 2], "short_factor": vec![1.0; HEAD / 2] });
    let long = converted(with(long).save().path());
    assert!(long.opt_tensor("rope_factors_long.weight").is_some());
    let magnitude = (1.0 + 4f64.ln() / 32f64.ln()).sqrt() as f32;
    assert_eq!(long.f32("llama.rope.scaling.attn_factor").unwrap(), magnitude);

    for (scaling, why) in [
        (json!({ "rope_type": "dynamic", "factor": 2.0 }), "which is not known here"),
        (json!({ "rope_type": "llama3", "factor": 8.0 }), "`rope_scaling.low_freq_factor` is not there"),
        (json!({ "rope_type": "linear", "factor": -1 }), "must be a number above 0"),
        (json!({ "rope_type": "linear" }), "`rope_scaling.factor` is not there"),
        (json!({ "rope_type": "yarn", "factor": 2, "mscale": 1, "original_max_position_embeddings": 8 }), "mscale"),
        (
            json!({ "rope_type": "longrope", "original_max_position_embeddings": 8, "long_factor": [1.0] }),
            "long_factor",
        ),
        (json!(5), "must be an object"),
    ] {
        let error = refusal(&with(scaling));
        assert!(error.contains(why) && error.contains("config.json: "), "{why}: {error}");
    }
}

#[test]
fn biases_follow_the_rows_of_their_matrices() {
    let biased = |class: &str| {
        let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes());
        let names = [
            ("self_attn.q_proj.bias", HEADS * HEAD),
            ("self_attn.k_proj.bias", KV_HEADS * HEAD),
            ("self_attn.v_proj.bias", KV_HEADS * HEAD),
        ];
        converted(checkpoint.set("architectures", json!([class])).vectors(&names, 1.0).save().path())
    };
    let llama = biased("LlamaForCausalLM");
    let keys = floats(&llama, "blk.1.attn_k.bias");
    assert_eq!(keys[..4], [0.0, 32.0, 1.0, 33.0]);
    assert_eq!(keys[62..66], [31.0, 63.0, 64.0, 96.0]);
    assert_eq!(floats(&llama, "blk.0.attn_v.bias")[..3], [0.0, 1.0, 2.0]);
    logits(&llama);

    // Rope by halves there too: nothing changes places.
    let qwen = biased("Qwen2ForCausalLM");
    assert_eq!(qwen.str("general.architecture").unwrap(), "qwen2");
    assert_eq!(floats(&qwen, "blk.1.attn_k.bias")[..3], [0.0, 1.0, 2.0]);
    let k = |file: &File| {
        trits::decode(Kind::I2_S, &file.data(file.tensor("blk.0.attn_k.weight").unwrap()), KV_HEADS * HEAD, HIDDEN)
    };
    let [ours, theirs] = [k(&llama).unwrap().codes, k(&qwen).unwrap().codes];
    assert!(ours != theirs && ours == neighbours(&theirs, KV_HEADS, HIDDEN));
}

#[test]
fn embedding_models_have_norms_before_projections_and_a_pooling() {
    let inputs = [
        ("self_attn.q_proj", HIDDEN),
        ("self_attn.k_proj", HIDDEN),
        ("self_attn.v_proj", HIDDEN),
        ("self_attn.o_proj", HEADS * HEAD),
        ("mlp.gate_proj", HIDDEN),
        ("mlp.up_proj", HIDDEN),
        ("mlp.down_proj", FEED_FORWARD),
    ];
    let norms: Vec<(String, usize)> =
        inputs.iter().map(|(name, width)| (format!("{name}.norm.weight"), *width)).collect();
    let mut norms: Vec<(&str, usize)> = norms.iter().map(|(name, width)| (name.as_str(), *width)).collect();
    norms.extend([("self_attn.q_norm.weight", HEAD), ("self_attn.k_norm.weight", HEAD)]);
    let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Master(Dtype::BF16), true, &bytes());
    let modules = json!([
        { "idx": 0, "path": "", "type": "sentence_transformers.models.Transformer" },
        { "idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
        { "idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" },
    ]);
    let checkpoint = checkpoint
        .set("head_dim", HEAD.into())
        .set("architectures", json!(["Qwen3Model"]))
        .vectors(&norms, 0.25)
        .rename("model.", "")
        .file("modules.json", modules.to_string());
    let folder = checkpoint.save();
    let pooling = folder.path().join("1_Pooling");
    let missing = refusal_with(folder.path(), &Options::default());
    assert!(missing.contains("1_Pooling/config.json: it is missing"), "{missing}");
    fs::create_dir(&pooling).unwrap();
    let modes =
        json!({ "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true });
    fs::write(pooling.join("config.json"), modes.to_string()).unwrap();
    let file = converted(folder.path());
    assert_eq!(file.str("general.architecture").unwrap(), "qwen3");
    assert_eq!(file.u32("qwen3.pooling_type").unwrap(), 3);
    assert_eq!(file.tensor("blk.0.attn_q.weight").unwrap().kind, Kind::I2_S);
    assert_eq!(floats(&file, "blk.1.attn_q_norm.weight")[..3], [0.0, 0.25, 0.5]);
    for (ours, width) in [("attn_q", HIDDEN), ("attn_output", HEADS * HEAD), ("ffn_down", FEED_FORWARD)] {
        let norm = floats(&file, &format!("blk.1.{ours}_norm_in.weight"));
        assert_eq!((norm.len(), norm[2]), (width, 0.5));
    }
    let cls = json!({ "pooling_mode_cls_token": true, "pooling_mode_lasttoken": true });
    fs::write(pooling.join("config.json"), cls.to_string()).unwrap();
    assert!(refusal_with(folder.path(), &Options::default()).contains("does not pool by mean, cls or lasttoken alone"));
    let dense = json!([{ "path": "2_Dense", "type": "sentence_transformers.models.Dense" }]);
    fs::write(folder.path().join("modules.json"), dense.to_string()).unwrap();
    assert!(refusal_with(folder.path(), &Options::default()).contains("models.Dense, which is not implemented"));
    fs::remove_file(folder.path().join("modules.json")).unwrap();
    let error = refusal_with(folder.path(), &Options::default());
    assert!(error.contains("no modules.json that says how it pools") && error.contains("--pooling"), "{error}");
    for (pooling, number) in [(Pooling::Mean, 1), (Pooling::First, 2), (Pooling::Last, 3)] {
        let (file, _) = converted_with(folder.path(), &Options { pooling: Some(pooling), ..Options::default() });
        let architecture = file.str("general.architecture").unwrap();
        assert_eq!(file.u32(&format!("{architecture}.pooling_type")).unwrap(), number);
    }
}

#[test]
fn gemmas_own_norms_are_one_more_than_their_weights() {
    let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes());
    let more = [
        ("self_attn.q_norm.weight", HEAD),
        ("self_attn.k_norm.weight", HEAD),
        ("pre_feedforward_layernorm.weight", HIDDEN),
        ("post_feedforward_layernorm.weight", HIDDEN),
        ("self_attn.q_proj.norm.weight", HIDDEN),
    ];
    let checkpoint = checkpoint
        .set("architectures", json!(["Gemma3ForCausalLM"]))
        .set("hidden_act", Value::Null)
        .set("hidden_activation", "gelu_pytorch_tanh".into())
        .set("head_dim", HEAD.into())
        .set("query_pre_attn_scalar", HEAD.into())
        .set("rope_theta", 1e6.into())
        .vectors(&more, 0.5);
    let plain = converted(checkpoint.save().path());
    assert_eq!(floats(&plain, "blk.1.attn_q_norm.weight")[..3], [1.0, 1.5, 2.0]);
    assert_eq!(floats(&plain, "blk.1.post_ffw_norm.weight")[..3], [1.0, 1.5, 2.0]);
    assert_eq!(floats(&plain, "blk.1.ffn_norm.weight")[..3], [1.0, 1.5, 2.0]);
    // A projection's norm is no norm of Gemma's.
    assert_eq!(floats(&plain, "blk.1.attn_q_norm_in.weight")[..3], [0.0, 0.5, 1.0]);
    assert!(plain.opt_tensor("blk.1.post_attention_norm.weight").is_some());
    for key in ["attention.scale", "attention.sliding_window", "hidden_activation"] {
        assert!(plain.value(&format!("gemma3.{key}")).is_none(), "{key}");
    }
    let checkpoint = checkpoint
        .set("sliding_window", 32.into())
        .set("rope_local_base_freq", 10000.into())
        .set("query_pre_attn_scalar", 100.into())
        .set("layer_types", json!(["sliding_attention", "full_attention"]));
    let sliding = converted(checkpoint.save().path());
    assert_eq!(sliding.f32("gemma3.attention.scale").unwrap(), 0.1);
    assert_eq!(sliding.u32("gemma3.attention.sliding_window").unwrap(), 32);
    assert_eq!(sliding.f32("gemma3.rope.freq_base_swa").unwrap(), 10000.0);
    let pattern = sliding.value("gemma3.attention.sliding_window_pattern");
    assert_eq!(pattern, Some(&tritune::gguf::Value::Array(Array::Bool(vec![true, false]))));
    let error = refusal(&checkpoint.set("layer_types", json!(["sliding_attention"])));
    assert!(error.contains("must have one entry for each of 2 layers"), "{error}");
}

#[test]
fn minicpm_scales_what_others_do_not() {
    let Pair { checkpoint, expected } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes());
    let checkpoint = checkpoint.set("architectures", json!(["MiniCPMForCausalLM"])).set("scale_emb", 12.into());
    assert!(
        refusal(&Checkpoint { config: checkpoint.config.clone(), tensors: Vec::new(), files: Vec::new() })
            .contains("`scale_depth` is not there")
    );
    let file = converted(checkpoint.set("scale_depth", 1.4.into()).set("dim_model_base", 64.into()).save().path());
    let key = |key: &str| file.f32(&format!("minicpm.{key}")).unwrap();
    assert_eq!((key("embedding_scale"), key("logit_scale")), (12.0, 4.0));
    assert_eq!(key("residual_scale"), (1.4 / (LAYERS as f64).sqrt()) as f32);
    assert_same_tensors(&file, &expected);
}
