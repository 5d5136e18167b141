//! Folders that are damaged, contradict themselves, or hold something else.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Value, json};
use tritune::convert::{Convention, Error, Options};

use crate::checkpoint::*;

#[test]
fn what_is_no_such_model_is_refused_by_name() {
    let base = || pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint;
    for (key, value, why) in [
        ("architectures", json!(["MambaForCausalLM"]), "what is converted: LlamaForCausalLM, "),
        ("architectures", Value::Null, "`architectures` is not there"),
        ("hidden_act", "gelu".into(), "`hidden_act` is \"gelu\""),
        ("hidden_size", 0.into(), "must be a whole number from 1"),
        ("hidden_size", Value::Null, "`hidden_size` is not there"),
        ("hidden_size", 512.into(), "has shape [272, 256], but config.json makes it [272, 512]"),
        ("intermediate_size", 128.into(), "the files are not of one model"),
        ("num_hidden_layers", 3.into(), "`model.layers.2.input_layernorm.weight` is missing"),
        ("num_hidden_layers", 1.into(), "has no place in llama models"),
        ("num_attention_heads", 6.into(), "does not divide the hidden size"),
        ("num_attention_heads", 2.into(), "self_attn.k_proj.weight"),
        ("vocab_size", 300.into(), "has shape [272, 256], but config.json makes it [300, 256]"),
        ("vocab_size", 4_000_000_000u32.into(), "but config.json makes it [4000000000, 256]"),
        ("num_key_value_heads", 3.into(), "does not divide the 4 heads"),
        ("head_dim", 65.into(), "`head_dim` is 65, but a head has an even number"),
        ("num_hidden_layers", 4_000_000_000u32.into(), "no model has more than 65536"),
        ("rms_norm_eps", 0.into(), "must be a number above 0"),
        ("tie_word_embeddings", false.into(), "`lm_head.weight` is missing"),
        ("num_local_experts", 8.into(), "`num_local_experts` is 8, which changes the result"),
        ("partial_rotary_factor", 0.5.into(), "`partial_rotary_factor` is 0.5"),
        ("scale_emb", 12.into(), "`scale_emb` is 12, which has no place in llama"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types`"),
        (
            "quantization_config",
            json!({ "quant_method": "gptq", "bits": 4 }),
            "`quantization_config.quant_method` is \"gptq\"",
        ),
        ("quantization_config", Value::Null, "say it with --weight-scale"),
        (
            "quantization_config",
            json!({ "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online" }),
            "these contradict each other",
        ),
    ] {
        let error = refusal(&base().set(key, value));
        assert!(error.contains(why), "{key}: {error}");
    }

    let spoilt = |name: &str, change: &dyn Fn(&mut Named)| {
        let mut checkpoint = base();
        change(checkpoint.tensor(name));
        refusal(&checkpoint)
    };
    let scale = "model.layers.0.self_attn.v_proj.weight_scale";
    let float = |value: f32| move |tensor: &mut Named| tensor.2 = Stored::Float(Dtype::F32, vec![value]);
    assert!(spoilt(scale, &float(f32::NAN)).contains("has NaN as element 0"));
    assert!(spoilt(scale, &float(0.0)).contains("is 0, but must be a number above 0"));
    assert!(spoilt(scale, &float(-1.0)).contains("is -1, but must be a number above 0"));
    let error = spoilt(scale, &|tensor| {
        (tensor.1, tensor.2) = (vec![128, 1], Stored::Float(Dtype::F32, vec![1.0; 128]));
    });
    assert!(error.contains("where one scale for the matrix is read"), "{error}");
    let norm = "model.layers.1.input_layernorm.weight";
    let error = spoilt(norm, &|tensor| tensor.2 = Stored::Float(Dtype::I8, vec![1.0; HIDDEN]));
    assert!(error.contains("is of I8, where F32, F16 or BF16 is read"), "{error}");
    let error = spoilt(norm, &|tensor| tensor.2 = Stored::Float(Dtype::F32, vec![f32::INFINITY; HIDDEN]));
    assert!(error.contains(norm) && error.contains("has inf as element 0"), "{error}");
    let error = spoilt("model.embed_tokens.weight", &|tensor| {
        tensor.2 = Stored::Float(Dtype::F32, vec![1e6; 272 * HIDDEN]);
    });
    assert!(error.contains("more than F16 can say; use bf16 or f32 for it"), "{error}");
    let error = spoilt("model.layers.0.mlp.up_proj.weight", &|tensor| {
        let Stored::Packed(bytes) = &mut tensor.2 else { panic!("packed") };
        bytes[HIDDEN + 5] = 0b1100;
    });
    assert!(error.contains("has the code 3 for the weight at row 97, column 5"), "{error}");

    // One head of two rows, of a byte each: rows that do not come in fours.
    let mut odd = base().set("num_attention_heads", 128.into());
    odd = odd.set("num_key_value_heads", 1.into()).set("head_dim", 2.into());
    for layer in 0..LAYERS {
        for projection in ["k_proj", "v_proj"] {
            let matrix = odd.tensor(&format!("model.layers.{layer}.self_attn.{projection}.weight"));
            (matrix.1, matrix.2) = (vec![2, HIDDEN], Stored::Packed(vec![0b01_01_01_01; 2 * HIDDEN]));
        }
    }
    let error = refusal(&odd);
    assert!(error.contains("k_proj.weight` is packed, four rows in one, but config.json gives it 2 rows"), "{error}");

    assert!(
        refusal(&base().without(scale))
            .contains("is packed, but `model.layers.0.self_attn.v_proj.weight_scale` is missing")
    );
    let mut extra = base();
    extra.tensors.push((
        "model.layers.0.self_attn.q_norm.weight".into(),
        vec![HEAD],
        Stored::Float(Dtype::F32, vec![1.0; HEAD]),
    ));
    assert!(refusal(&extra).contains("`model.layers.0.self_attn.q_norm.weight` has no place in llama models"));

    let options = Options { weight_scale: Some(Convention::Scale), ..Options::default() };
    let warnings = plan(base().save().path(), &options).warnings().to_vec();
    assert!(warnings.iter().any(|warning| warning.contains("the other --weight-scale is meant")), "{warnings:?}");
}

#[test]
fn folders_that_hold_something_else_are_refused() {
    let base = || pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint;
    let adapter = base().file("adapter_config.json", json!({ "base_model_name_or_path": "org/base" }).to_string());
    assert!(refusal(&adapter).contains("LoRA adapter for org/base"));
    let folder = base().save();
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("pytorch_model.bin")).unwrap();
    let error = refusal_with(folder.path(), &Options::default());
    assert!(error.contains("pytorch_model.bin") && error.contains("safe_serialization"), "{error}");
    fs::rename(folder.path().join("pytorch_model.bin"), folder.path().join("a.safetensors")).unwrap();
    assert_eq!(refusal_with(folder.path(), &Options::default()), "nothing");
    fs::copy(folder.path().join("a.safetensors"), folder.path().join("b.safetensors")).unwrap();
    assert!(refusal_with(folder.path(), &Options::default()).contains("says which is what"));

    let empty = tempfile::tempdir().unwrap();
    assert!(refusal_with(empty.path(), &Options::default()).contains("no config.json"));
    let file = empty.path().join("model.gguf");
    fs::write(&file, "GGUF").unwrap();
    assert!(refusal_with(&file, &Options::default()).contains("it is a GGUF file already"));
    assert!(refusal_with(Path::new("/nowhere"), &Options::default()).contains("cannot read /nowhere"));
    for text in ["[]", "{", "\u{0}"] {
        let folder = base().save();
        fs::write(folder.path().join("config.json"), text).unwrap();
        let error = refusal_with(folder.path(), &Options::default());
        assert!(error.contains("config.json: it ") && error.contains("download it again"), "{error}");
    }
}

#[test]
fn json_as_python_and_editors_write_it_is_read() {
    let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint.save();
    let config = folder.path().join("config.json");
    let whole = fs::read_to_string(&config).unwrap();
    let refused = |text: String| {
        fs::write(&config, text).unwrap();
        refusal_with(folder.path(), &Options::default())
    };
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
    }
    assert_eq!(refusal_with(folder.path(), &Options::default()), "nothing");
    let more = r#"{"loss":NaN,"range":[Infinity,-Infinity],"said":"\"NaN","#;
    assert_eq!(refused(whole.replacen('{', more, 1)), "nothing");
    let error = refused(whole.replace("10000.0", "Infinity"));
    assert!(error.contains("`rope_theta` is \"Infinity\", but must be a number above 0"), "{error}");
    let error = refused(whole.replacen('{', "{NaN:", 1));
    assert!(error.contains("it is not JSON"), "{error}");
}

#[test]
fn damaged_safetensors_are_refused_in_words() {
    let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint.save();
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refusal_with(folder.path(), &Options::default())
    };
    let header = |text: &str, data: usize| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let entry = |name: &str, dtype: &str, shape: &str, from: u64, to: u64| {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let overlapping = format!("{{{},{}}}", entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 4, 12));
    let gap = format!("{{{},{}}}", entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 16, 24));
    let huge = format!("{{{}}}", entry("a", "F32", "[4294967296,4294967296,4294967296]", 0, 8));
    let wrong = format!("{{{}}}", entry("a", "F32", "[3]", 0, 8));
    let unknown = format!("{{{}}}", entry("a", "Q9", "[2]", 0, 8));
    for (bytes, why) in [
        (whole[..whole.len() / 2].to_vec(), "download it again"),
        (whole[..100].to_vec(), "less than its header takes"),
        (whole[..3].to_vec(), "less than its header takes"),
        (Vec::new(), "less than its header takes"),
        ([&whole[..], &[0; 8]].concat(), "are not what its tensors take"),
        (u64::MAX.to_le_bytes().to_vec(), "less than its header takes"),
        ([&(1u64 << 40).to_le_bytes()[..], &whole[8..]].concat(), "less than its header takes"),
        (header(&overlapping, 12), "the tensor `b` overlaps"),
        (header(&gap, 24), "the tensor `b` overlaps another one, or leaves a gap"),
        (header(&huge, 8), "another size than its shape and type say"),
        (header(&wrong, 8), "another size than its shape and type say"),
        (header(&unknown, 8), "invalid JSON in header"),
        (header("{\"a\": [", 0), "invalid JSON in header"),
        (header("\u{fffd}", 0), "invalid JSON in header"),
        (header("{}", 0), "`embed_tokens.weight` is missing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n".to_vec(), "git-lfs pointer"),
    ] {
        let error = refused(&bytes);
        assert!(error.contains(why), "{why}: {error}");
    }
    // A header that is larger than any model's, in a file that has it.
    let mut large = (17u64 << 20).to_le_bytes().to_vec();
    large.resize(large.len() + (17 << 20) + 1, b' ');
    assert!(refused(&large).contains("at most 16777216 are read"));
    assert_eq!(refused(&whole), "nothing");
}

#[test]
fn a_full_disk_and_an_impatient_user_are_told() {
    let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint.save();
    let plan = plan(folder.path(), &Options::default());
    let mut room = vec![0; plan.bytes() as usize / 2];
    let full = plan.write(&mut room[..], &mut |_, _| ControlFlow::Continue(())).map(drop);
    let full = full.unwrap_err().to_string();
    assert!(full.contains("cannot write the model") && full.contains("free some space"), "{full}");
    let mut counted = Vec::new();
    let ended = plan.write(Vec::new(), &mut |done, all| {
        counted.push((done, all));
        if done * 2 > all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(ended.map(drop), Err(Error::Interrupted)));
    assert!(counted.is_sorted() && counted.iter().all(|(done, all)| done <= all && *all == plan.bytes()));
}

/// Bits that fall over, bytes that are lost or doubled, in any of the files: an error or a file, and never a panic.
#[test]
fn damaged_folders_are_refused_or_converted() {
    let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint.save();
    let mut numbers = Numbers(3);
    let mut refused = 0;
    for name in ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        // What steers is in front.
        let reach = whole.len().min(6000);
        for _ in 0..100 {
            let mut bytes = whole.clone();
            let at = numbers.next() as usize % reach;
            match numbers.next() % 4 {
                0 => bytes[at] ^= 1 << (numbers.next() % 8),
                1 => bytes.truncate(at),
                2 => bytes[at] = b"0123456789{}[]\",:"[numbers.next() as usize % 17],
                _ => {
                    let piece = bytes[at..whole.len().min(at + 9)].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
            fs::write(&path, &bytes).unwrap();
            let error = refusal_with(folder.path(), &Options::default());
            refused += usize::from(error != "nothing");
            assert!(!error.is_empty() && error.len() < 3000, "{error}");
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(refused > 100, "{refused}");
    assert_eq!(refusal_with(folder.path(), &Options::default()), "nothing");
}
