//! Weights: packed in either way, exact, to be rounded, as they are; in one file and in many.

use std::fs;

use safetensors::Dtype;
use serde_json::{Value, json};
use tritune::convert::{Convention, Options};
use tritune::gguf::Kind;
use tritune::quant::{Scales, trits};

use crate::checkpoint::*;

#[test]
fn packed_weights_of_both_conventions_are_the_same_model() {
    for names in [LLAMA, MICROSOFT, ONE_BIT] {
        for convention in [Convention::Reciprocal, Convention::Scale] {
            for tied in [true, false] {
                let Pair { checkpoint, expected } = pair(&names, Matrices::Packed(convention), tied, &bytes());
                let folder = checkpoint.save();
                let file = converted(folder.path());
                assert_same_tensors(&file, &expected);
                assert_eq!(logits(&file), logits(&expected), "{} {convention:?}", names.class);
                let said = plan(folder.path(), &Options::default());
                let why = said.decisions().iter().find(|decision| decision.what == "weight_scale").unwrap();
                let expected =
                    if convention == Convention::Scale { "AutoBitLinear multiplies" } else { "BitLinear divides" };
                assert!(why.why.contains(expected), "{why:?}");
                assert_eq!(said.warnings(), [""; 0]);
            }
        }
    }
}

#[test]
fn master_weights_are_rounded_as_the_models_code_does_it() {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        // 1bitLLM's class rounds by itself; Microsoft's does where config.json says so.
        let Pair { checkpoint, expected } = pair(&ONE_BIT, Matrices::Master(dtype), true, &bytes());
        let file = converted(checkpoint.save().path());
        assert_same_tensors(&file, &expected);
        assert_eq!(logits(&file), logits(&expected));

        let Pair { checkpoint, expected } = pair(&MICROSOFT, Matrices::Master(dtype), true, &bytes());
        let online =
            json!({ "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online" });
        assert_same_tensors(&converted(checkpoint.set("quantization_config", online).save().path()), &expected);

        let Pair { checkpoint, expected } = pair(&LLAMA, Matrices::Master(dtype), false, &bytes());
        let folder = checkpoint.save();
        let options = Options { ternarise: true, ..Options::default() };
        assert_same_tensors(&converted_with(folder.path(), &options).0, &expected);
    }
}

#[test]
fn exactly_ternary_weights_are_seen() {
    for names in [LLAMA, MICROSOFT] {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            let Pair { checkpoint, expected } = pair(&names, Matrices::Exact(dtype), true, &bytes());
            assert_same_tensors(&converted(checkpoint.save().path()), &expected);
        }
    }
    // 1bitLLM's code would scale them once more, which is done, and said.
    let Pair { checkpoint, .. } = pair(&ONE_BIT, Matrices::Exact(Dtype::BF16), true, &bytes());
    let warnings = plan(checkpoint.save().path(), &Options::default()).warnings().to_vec();
    assert!(warnings.len() == 1 && warnings[0].contains("is trits times a scale already"), "{warnings:?}");
}

#[test]
fn floats_stay_floats_where_nothing_says_otherwise() {
    let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Master(Dtype::BF16), true, &bytes());
    let folder = checkpoint.save();
    let file = converted(folder.path());
    assert_eq!(file.tensor("blk.1.ffn_down.weight").unwrap().kind, Kind::BF16);
    let as_f32 = converted_with(folder.path(), &Options { kind: Some(Kind::F32), ..Options::default() }).0;
    assert_eq!(as_f32.tensor("blk.1.ffn_down.weight").unwrap().kind, Kind::F32);
    assert_eq!(logits(&file), logits(&as_f32));
    let error = refusal_with(folder.path(), &Options { kind: Some(Kind::TQ2_0), ..Options::default() });
    assert!(error.contains("no ternary weights") && error.contains("--ternarize"), "{error}");
    let decisions = plan(folder.path(), &Options::default()).decisions().to_vec();
    assert!(decisions.iter().any(|decision| decision.what == "float weights" && decision.why.contains("--ternarize")));
}

#[test]
fn every_type_holds_the_same_trits() {
    let Pair { checkpoint, expected } = pair(&MICROSOFT, Matrices::Packed(Convention::Scale), true, &bytes());
    // Rows of 384 are no multiple of 256: this matrix stays out.
    let folder = checkpoint.save();
    let error = refusal_with(folder.path(), &Options { kind: Some(Kind::TQ2_0), ..Options::default() });
    assert!(error.contains("mlp.down_proj.weight` cannot be TQ2_0") && error.contains("--type i2_s"), "{error}");
    let plain = logits(&expected);
    for kind in [Kind::F16, Kind::BF16, Kind::F32] {
        let (file, rows) = converted_with(folder.path(), &Options { kind: Some(kind), ..Options::default() });
        let name = "blk.0.attn_k.weight";
        let tensor = file.tensor(name).unwrap();
        let mut floats = vec![0f32; tensor.elements() as usize];
        tritune::quant::float::decode(kind, &file.data(tensor), &mut floats).unwrap();
        let source = expected.tensor(name).unwrap();
        let trits = trits::decode(Kind::I2_S, &expected.data(source), KV_HEADS * HEAD, HIDDEN).unwrap();
        let Scales::Tensor(scale) = trits.scales else { panic!("one scale") };
        let back: Vec<f32> = trits.codes.iter().map(|&code| (f32::from(code) - 1.0) * scale).collect();
        assert_eq!(floats, back, "{kind}");
        assert!(rows.iter().all(|row| row.rounded == 0), "{kind}");
        // Activations are not rounded then: near, and not the same.
        let found = logits(&file);
        let error: f32 = found.iter().zip(&plain).map(|(a, b)| (a - b) * (a - b)).sum();
        let size: f32 = plain.iter().map(|x| x * x).sum();
        assert!((error / size).sqrt() < 0.1, "{kind}: {}", (error / size).sqrt());
    }
}

#[test]
fn parts_are_put_together() {
    let Pair { checkpoint, expected } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), false, &bytes());
    let parts = checkpoint.save_parts(3);
    assert_same_tensors(&converted(parts.path()), &expected);
    assert_eq!(plan(parts.path(), &Options::default()).files(), 3);

    fs::remove_file(parts.path().join("model.safetensors.index.json")).unwrap();
    assert_same_tensors(&converted(parts.path()), &expected);
    fs::remove_file(parts.path().join("model-00002-of-00003.safetensors")).unwrap();
    let error = refusal_with(parts.path(), &Options::default());
    assert!(error.contains("one of 3 parts, of which 2 are here"), "{error}");

    let parts = checkpoint.save_parts(3);
    fs::remove_file(parts.path().join("model-00003-of-00003.safetensors")).unwrap();
    let error = refusal_with(parts.path(), &Options::default());
    assert!(error.contains("1 of its 3 files are missing: model-00003-of-00003.safetensors"), "{error}");

    let index = |change: &dyn Fn(&mut Value)| {
        let parts = checkpoint.save_parts(2);
        let path = parts.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut index);
        fs::write(&path, index.to_string()).unwrap();
        refusal_with(parts.path(), &Options::default())
    };
    let error = index(&|index| index["weight_map"]["model.norm.weight"] = "../model.safetensors".into());
    assert!(error.contains("must be the name of a file in this folder"), "{error}");
    let error = index(&|index| index["weight_map"]["model.extra"] = "model-00001-of-00002.safetensors".into());
    assert!(error.contains("`weight_map.model.extra`") && error.contains("in none of the files"), "{error}");
    let error = index(&|index| {
        index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight");
    });
    assert!(error.contains("`model.norm.weight` is not in model.safetensors.index.json"), "{error}");
    assert!(index(&|index| *index = json!({})).contains("`weight_map` is not there"));
}
