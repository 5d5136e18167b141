//! The demo model, made a checkpoint and converted back.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use serde_json::json;
use tritune::convert::{Convention, Options};
use tritune::gguf::{File, Kind};
use tritune::quant::{Scales, trits};

use crate::checkpoint::*;
use crate::program::{run, stdout, text};
use crate::tokenizers::tokenizer_files;

#[test]
fn the_demo_comes_back_bit_by_bit() {
    let demo = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/austen-5m-i2_s.gguf")).unwrap();
    for packed in [true, false] {
        let folder = demo_checkpoint(&demo, packed).save();
        let out = folder.path().join("back.gguf");
        let (file, rows) = converted_with(folder.path(), &Options::default());
        assert_same_tensors(&file, &demo);
        assert!(rows.iter().all(|row| row.rounded == 0));
        for key in ["model", "pre", "tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "add_bos_token"] {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(file.value(&key), demo.value(&key), "{key}");
        }
        // By the program, as a user has it: the same perplexity.
        stdout(&run(&["convert", text(folder.path()), text(&out)]));
        let prose = folder.path().join("prose.txt");
        fs::write(&prose, PROSE.repeat(6)).unwrap();
        let perplexity =
            |model: &[&str]| stdout(&run(&[&["perplexity"], model, &["-f", text(&prose), "-c", "64"]].concat()));
        let expected = perplexity(&["--demo"]);
        assert!(expected.starts_with("Final estimate: PPL = "), "{expected}");
        assert_eq!(perplexity(&[text(&out)]), expected);
    }
}

const PROSE: &str = "Emma Woodhouse, handsome, clever, and rich, with a comfortable home and happy disposition, seemed \
                     to unite some of the best blessings of existence; and had lived nearly twenty-one years in the \
                     world with very little to distress or vex her. ";

/// The demo model as a checkpoint of Microsoft's class: packed, or as f32.
fn demo_checkpoint(demo: &File, packed: bool) -> Checkpoint {
    let number = |key: &str| demo.usize(&format!("bitnet-b1.58.{key}")).unwrap();
    let mut tensors = Vec::new();
    for tensor in demo.tensors() {
        let shape: Vec<usize> = tensor.shape.iter().rev().map(|&size| size as usize).collect();
        let name = hugging_face(&tensor.name);
        if tensor.kind == Kind::I2_S {
            let trits = trits::decode(Kind::I2_S, &demo.data(tensor), shape[0], shape[1]).unwrap();
            let Scales::Tensor(scale) = trits.scales else { panic!("one scale") };
            let name = name.strip_suffix(".weight").unwrap();
            if packed {
                let kind = Matrices::Packed(Convention::Scale);
                tensors.extend(stored(name, shape[0], shape[1], &trits.codes, scale, kind));
                let Some((.., Stored::Float(dtype, _))) = tensors.last_mut() else { panic!("a scale") };
                *dtype = Dtype::F32;
            } else {
                tensors.extend(stored(name, shape[0], shape[1], &trits.codes, scale, Matrices::Exact(Dtype::F32)));
            }
            continue;
        }
        let mut floats = vec![0f32; tensor.elements() as usize];
        tritune::quant::float::decode(tensor.kind, &demo.data(tensor), &mut floats).unwrap();
        let dtype = if tensor.kind == Kind::F16 { Dtype::F16 } else { Dtype::F32 };
        tensors.push((name, shape, Stored::Float(dtype, floats)));
    }
    let mut config = json!({
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2",
        "hidden_size": number("embedding_length"), "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"), "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"), "vocab_size": number("vocab_size"),
        "max_position_embeddings": number("context_length"), "rope_theta": 10000, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
    });
    if packed {
        config["quantization_config"] =
            json!({ "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline" });
    }
    Checkpoint {
        config,
        tensors,
        files: tokenizer_files(
            demo,
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true }),
            false,
        ),
    }
}

/// A tensor's name in a checkpoint of Microsoft's class.
fn hugging_face(name: &str) -> String {
    let known = [
        ("attn_norm", "input_layernorm"),
        ("attn_sub_norm", "self_attn.attn_sub_norm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_sub_norm", "mlp.ffn_sub_norm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    match name.split('.').collect::<Vec<_>>()[..] {
        ["token_embd", _] => "model.embed_tokens.weight".into(),
        ["output_norm", _] => "model.norm.weight".into(),
        ["blk", layer, part, "weight"] => {
            let (_, theirs) = known.iter().find(|(ours, _)| *ours == part).unwrap();
            format!("model.layers.{layer}.{theirs}.weight")
        }
        _ => panic!("{name}"),
    }
}
