//! Writes small sound inputs into the corpora of `gguf`, `chat` and `checkpoint`, for them to begin with.

#[path = "../../runtime/tests/tiny/mod.rs"]
mod tiny;

use std::fs;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde_json::{Map, Value, json};
use tritune::chat::Template;

/// Bytes of a file that is still mutated quickly.
const LARGEST: usize = 128 << 10;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    models(&corpus.join("gguf"))?;
    templates(&corpus.join("chat"))?;
    checkpoints(&corpus.join("checkpoint"))
}

fn models(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for (seed, kind) in tiny::KINDS.into_iter().enumerate() {
        // Rows hold whole blocks.
        let width = if kind.format().is_some_and(|format| format.elements > 128) { 256 } else { 128 };
        let bytes = tiny::model(kind, width, &mut SmallRng::seed_from_u64(seed as u64));
        if bytes.len() <= LARGEST {
            fs::write(folder.join(format!("{kind}.gguf")), bytes)?;
        }
    }
    Ok(())
}

/// The built-in templates, each with a short chat.
fn templates(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["bitnet", "chatml", "falcon3", "gemma", "llama-3", "minicpm"] {
        let template = Template::named(name).map_err(std::io::Error::other)?;
        let chat = ["Be brief.", "Hello<|im_end|>", "Hi.", "And?"];
        fs::write(folder.join(name), format!("{}\u{1e}{}", template.source(), chat.join("\u{1e}")))?;
    }
    Ok(())
}

/// A model with packed trits, and one with its master weights.
fn checkpoints(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, packed) in [("packed", true), ("master", false)] {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "intermediate_size": WIDTH,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": LETTERS + 2,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
            "hidden_act": "silu", "torch_dtype": "bfloat16",
            "quantization_config": { "quant_method": "bitnet", "linear_class": "bitlinear" },
        });
        let mut bytes = config.to_string().into_bytes();
        bytes.push(0x1e);
        bytes.extend(tokenizer().to_string().into_bytes());
        bytes.push(0x1e);
        bytes.extend(safetensors(packed));
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

const WIDTH: usize = 32;
/// Letters that bytes are written in, one each.
const LETTERS: usize = 256;

fn tokenizer() -> Value {
    let plain = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let letters = (0..256).filter(plain).chain((0x100..).take(256 - (0..256).filter(plain).count()));
    let vocab: Map<String, Value> =
        letters.filter_map(char::from_u32).zip(0..).map(|(letter, id)| (letter.to_string(), Value::from(id))).collect();
    let special = |id: usize, content: &str| {
        json!({ "id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(LETTERS, "<|begin|>"), special(LETTERS + 1, "<|end|>")],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocab, "merges": [] },
    })
}

/// The weights: the length of a header, the header in JSON, and what it speaks of.
fn safetensors(packed: bool) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut header, mut data) = (Map::new(), Vec::new());
    let mut add = |name: String, dtype: &str, shape: &[usize], bytes: Vec<u8>| {
        let from = data.len();
        data.extend(bytes);
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, data.len()] }));
    };
    // The upper half of 0.5 … 1.
    let floats = |count: usize, rng: &mut SmallRng| -> Vec<u8> {
        (0..count).flat_map(|_| (0x3f00u16 | (rng.next_u32() as u16 & 0x7f)).to_le_bytes()).collect()
    };
    add("model.embed_tokens.weight".into(), "BF16", &[LETTERS + 2, WIDTH], floats((LETTERS + 2) * WIDTH, &mut rng));
    for norm in ["layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"] {
        add(format!("model.{norm}.weight"), "BF16", &[WIDTH], floats(WIDTH, &mut rng));
    }
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| format!("self_attn.{name}"));
    let feed_forward = ["gate_proj", "up_proj", "down_proj"].map(|name| format!("mlp.{name}"));
    for name in attention.into_iter().chain(feed_forward) {
        let weight = format!("model.layers.0.{name}.weight");
        if packed {
            // Four codes of two bits, none of which is 3.
            let byte = |number: u32| (0..4).fold(0, |byte, part| byte << 2 | (number >> (8 * part)) as u8 % 3);
            let bytes = (0..WIDTH / 4 * WIDTH).map(|_| byte(rng.next_u32())).collect();
            add(weight.clone(), "U8", &[WIDTH / 4, WIDTH], bytes);
            add(format!("{weight}_scale"), "BF16", &[1], floats(1, &mut rng));
        } else {
            add(weight, "BF16", &[WIDTH, WIDTH], floats(WIDTH * WIDTH, &mut rng));
        }
    }
    let header = Value::from(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(data);
    bytes
}
