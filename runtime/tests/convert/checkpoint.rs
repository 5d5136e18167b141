//! Small checkpoints, as Hugging Face's libraries save them, and the GGUF files that they must become.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;
use tritune::convert::{self, Convention, Options, Plan, Row};
use tritune::gguf::{File, Header, Kind, Writer};
use tritune::kernels::Selection;
use tritune::model::{KvType, Model, Session, SessionOptions};
use tritune::quant::{Scales, Trits, trits};
use tritune::threads::Pool;

pub(crate) const HIDDEN: usize = 256;
pub(crate) const FEED_FORWARD: usize = 384;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEAD: usize = 64;
pub(crate) const LAYERS: usize = 2;

/// How a tensor is stored.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Float(Dtype, Vec<f32>),
    Packed(Vec<u8>),
    /// So many zeros of type BF16.
    Zeros(usize),
}

/// A tensor: name, shape with the outermost dimension first, elements.
pub(crate) type Named = (String, Vec<usize>, Stored);

/// A folder with a model.
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    pub(crate) tensors: Vec<Named>,
    /// Other files.
    pub(crate) files: Vec<(&'static str, String)>,
}

impl Checkpoint {
    pub(crate) fn save(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.save_rest(folder.path());
        save_tensors(&folder.path().join("model.safetensors"), &self.tensors);
        folder
    }

    pub(crate) fn save_rest(&self, folder: &Path) {
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    /// In parts, with an index.
    pub(crate) fn save_parts(&self, parts: usize) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.save_rest(folder.path());
        let mut map = serde_json::Map::new();
        let each = self.tensors.len().div_ceil(parts);
        for (number, tensors) in self.tensors.chunks(each).enumerate() {
            let name = format!("model-{:05}-of-{parts:05}.safetensors", number + 1);
            save_tensors(&folder.path().join(&name), tensors);
            map.extend(tensors.iter().map(|(tensor, ..)| (tensor.clone(), name.clone().into())));
        }
        let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        folder
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Named {
        self.tensors.iter_mut().find(|(known, ..)| known == name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|(known, ..)| known != name);
        self
    }

    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub(crate) fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.retain(|(known, _)| *known != name);
        self.files.push((name, text.into()));
        self
    }
}

pub(crate) fn save_tensors(path: &Path, tensors: &[Named]) {
    let bytes: Vec<(Dtype, Vec<u8>)> = tensors.iter().map(|(.., stored)| bytes_of(stored)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), (dtype, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub(crate) fn bytes_of(stored: &Stored) -> (Dtype, Vec<u8>) {
    match stored {
        Stored::Packed(bytes) => (Dtype::U8, bytes.clone()),
        Stored::Zeros(count) => (Dtype::BF16, vec![0; 2 * count]),
        Stored::Float(dtype, floats) => {
            let bytes = |float: &f32| match dtype {
                Dtype::F32 => float.to_le_bytes().to_vec(),
                Dtype::F16 => f16::from_f32(*float).to_le_bytes().to_vec(),
                Dtype::BF16 => bf16::from_f32(*float).to_le_bytes().to_vec(),
                Dtype::I8 => vec![*float as i8 as u8],
                other => panic!("{other}"),
            };
            (*dtype, floats.iter().flat_map(bytes).collect())
        }
    }
}

/// Numbers that look random and are the same every time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    pub(crate) fn codes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() % 3) as u8).collect()
    }

    /// Of type BF16, about 0 or about 1.
    pub(crate) fn floats(&mut self, count: usize, about: f32) -> Vec<f32> {
        let float = |number: u64| bf16::from_f32(about + (number % 2001) as f32 / 10000.0 - 0.1).to_f32();
        (0..count).map(|_| float(self.next())).collect()
    }
}

/// The names that differ between families.
pub(crate) struct Names {
    pub(crate) class: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) sub_norms: Option<[&'static str; 2]>,
    /// Rows of queries and keys are stored in another order.
    pub(crate) neighbours: bool,
}

pub(crate) const LLAMA: Names =
    Names { class: "LlamaForCausalLM", architecture: "llama", sub_norms: None, neighbours: true };

pub(crate) const MICROSOFT: Names = Names {
    class: "BitNetForCausalLM",
    architecture: "bitnet-b1.58",
    sub_norms: Some(["self_attn.attn_sub_norm", "mlp.ffn_sub_norm"]),
    neighbours: false,
};

pub(crate) const ONE_BIT: Names = Names {
    class: "BitnetForCausalLM",
    architecture: "bitnet",
    sub_norms: Some(["self_attn.inner_attn_ln", "mlp.ffn_layernorm"]),
    neighbours: false,
};

/// How matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Matrices {
    Packed(Convention),
    /// Trits times scales, as floats.
    Exact(Dtype),
    /// Floats that round to the trits: those that the model was trained with.
    Master(Dtype),
}

/// A checkpoint, and the GGUF file that it must become.
pub(crate) struct Pair {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) expected: File,
}

/// A model of random trits. The scale of each matrix is a power of two, which has an exact reciprocal.
pub(crate) fn pair(names: &Names, matrices: Matrices, tied: bool, tokenizer: &Spelt) -> Pair {
    let vocab = tokenizer.vocab;
    let mut numbers = Numbers(7);
    let mut tensors = Vec::new();
    let mut expected: Vec<(String, Vec<u64>, Kind, Vec<u8>)> = Vec::new();
    let mut float = |from: String, to: String, shape: &[usize], about: f32, kind: Kind, numbers: &mut Numbers| {
        let floats = numbers.floats(shape.iter().product(), about);
        let dims = shape.iter().rev().map(|&size| size as u64).collect();
        let bytes = match kind {
            Kind::F16 => floats.iter().flat_map(|float| f16::from_f32(*float).to_le_bytes()).collect(),
            _ => floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
        };
        expected.push((to, dims, kind, bytes));
        (from, shape.to_vec(), Stored::Float(Dtype::BF16, floats))
    };
    let table = [vocab, HIDDEN];
    tensors.push(float(
        "model.embed_tokens.weight".into(),
        "token_embd.weight".into(),
        &table,
        0.0,
        Kind::F16,
        &mut numbers,
    ));
    let mut trits_of = Vec::new();
    for layer in 0..LAYERS {
        let mut norms =
            vec![("input_layernorm", "attn_norm", HIDDEN), ("post_attention_layernorm", "ffn_norm", HIDDEN)];
        if let Some([attn, ffn]) = names.sub_norms {
            norms.extend([(attn, "attn_sub_norm", HEADS * HEAD), (ffn, "ffn_sub_norm", FEED_FORWARD)]);
        }
        for (from, to, width) in norms {
            let (from, to) = (format!("model.layers.{layer}.{from}.weight"), format!("blk.{layer}.{to}.weight"));
            tensors.push(float(from, to, &[width], 1.0, Kind::F32, &mut numbers));
        }
        for (from, to, n, k, heads) in [
            ("self_attn.q_proj", "attn_q", HEADS * HEAD, HIDDEN, HEADS),
            ("self_attn.k_proj", "attn_k", KV_HEADS * HEAD, HIDDEN, KV_HEADS),
            ("self_attn.v_proj", "attn_v", KV_HEADS * HEAD, HIDDEN, 0),
            ("self_attn.o_proj", "attn_output", HIDDEN, HEADS * HEAD, 0),
            ("mlp.gate_proj", "ffn_gate", FEED_FORWARD, HIDDEN, 0),
            ("mlp.up_proj", "ffn_up", FEED_FORWARD, HIDDEN, 0),
            ("mlp.down_proj", "ffn_down", HIDDEN, FEED_FORWARD, 0),
        ] {
            let codes = numbers.codes(n * k);
            let scale = [1.0 / 32.0, 1.0 / 16.0, 1.0 / 64.0][numbers.next() as usize % 3];
            let name = format!("model.layers.{layer}.{from}");
            tensors.extend(stored(&name, n, k, &codes, scale, matrices));
            let scale = match matrices {
                // The mean magnitude is what the model's code multiplies by.
                Matrices::Master(dtype) => 1.0 / (1.0 / mean(&codes, scale, dtype)),
                _ => scale,
            };
            let rotated = names.neighbours && heads > 0;
            let ordered = if rotated { neighbours(&codes, heads, k) } else { codes };
            trits_of.push((
                format!("blk.{layer}.{to}.weight"),
                Trits { n, k, codes: ordered, scales: Scales::Tensor(scale) },
            ));
        }
    }
    tensors.push(float(
        "model.norm.weight".into(),
        "output_norm.weight".into(),
        &[HIDDEN],
        1.0,
        Kind::F32,
        &mut numbers,
    ));
    if !tied {
        tensors.push(float("lm_head.weight".into(), "output.weight".into(), &table, 0.0, Kind::F16, &mut numbers));
    }
    for (name, trits) in trits_of {
        let bytes = trits::encode(Kind::I2_S, &trits).unwrap();
        expected.push((name, vec![trits.k as u64, trits.n as u64], Kind::I2_S, bytes));
    }

    let mut config = json!({
        "architectures": [names.class], "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "vocab_size": vocab, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": tied, "hidden_act": "silu", "torch_dtype": "bfloat16", "head_dim": null,
    });
    if let Matrices::Packed(convention) = matrices {
        let layer = if convention == Convention::Scale { "autobitlinear" } else { "bitlinear" };
        config["quantization_config"] = json!({
            "quant_method": "bitnet", "linear_class": layer, "quantization_mode": "offline",
            "modules_to_not_convert": null,
        });
    }
    Pair {
        checkpoint: Checkpoint { config, tensors, files: tokenizer.files.clone() },
        expected: gguf(names.architecture, vocab, &expected),
    }
}

/// The tensors of a matrix.
pub(crate) fn stored(name: &str, n: usize, k: usize, codes: &[u8], scale: f32, matrices: Matrices) -> Vec<Named> {
    let weight = format!("{name}.weight");
    match matrices {
        Matrices::Packed(convention) => {
            let rows = n / 4;
            let byte = |at: usize| (0..4).map(|part| codes[part * rows * k + at] << (2 * part)).sum::<u8>();
            let packed = (0..rows * k).map(byte).collect();
            let said = if convention == Convention::Scale { scale } else { 1.0 / scale };
            vec![
                (weight, vec![rows, k], Stored::Packed(packed)),
                (format!("{name}.weight_scale"), vec![1], Stored::Float(Dtype::BF16, vec![said])),
            ]
        }
        Matrices::Exact(dtype) => {
            let floats = codes.iter().map(|&code| (f32::from(code) - 1.0) * scale).collect();
            vec![(weight, vec![n, k], Stored::Float(dtype, floats))]
        }
        Matrices::Master(dtype) => vec![(weight, vec![n, k], Stored::Float(dtype, masters(codes, scale)))],
    }
}

/// Weights around trits: zeros are small, others differ.
pub(crate) fn masters(codes: &[u8], scale: f32) -> Vec<f32> {
    let weight = |(at, &code): (usize, &u8)| match code {
        1 => (at % 7) as f32 * scale / 64.0,
        code => (f32::from(code) - 1.0) * scale * (1.0 + (at % 5) as f32 / 8.0),
    };
    codes.iter().enumerate().map(weight).collect()
}

pub(crate) fn mean(codes: &[u8], scale: f32, dtype: Dtype) -> f32 {
    let stored = |weight: f32| match dtype {
        Dtype::BF16 => bf16::from_f32(weight).to_f32(),
        Dtype::F16 => f16::from_f32(weight).to_f32(),
        _ => weight,
    };
    let sum: f64 = masters(codes, scale).into_iter().map(|weight| f64::from(stored(weight).abs())).sum();
    (sum / codes.len() as f64) as f32
}

/// Rows i and i + d/2 of each head, side by side: what llama.cpp's converter does to undo Hugging Face's order.
pub(crate) fn neighbours(codes: &[u8], heads: usize, k: usize) -> Vec<u8> {
    let rows: Vec<&[u8]> = codes.chunks_exact(k).collect();
    let mut ordered = Vec::new();
    for head in rows.chunks_exact(rows.len() / heads) {
        let (left, right) = head.split_at(head.len() / 2);
        for (left, right) in left.iter().zip(right) {
            ordered.extend_from_slice(left);
            ordered.extend_from_slice(right);
        }
    }
    ordered
}

pub(crate) fn gguf(architecture: &str, vocab: usize, tensors: &[(String, Vec<u64>, Kind, Vec<u8>)]) -> File {
    let mut header = Header::new();
    header.set("general.architecture", architecture);
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 128),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", FEED_FORWARD),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("vocab_size", vocab),
    ] {
        header.set(format!("{architecture}.{key}"), value as u32);
    }
    header.set(format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5f32);
    header.set(format!("{architecture}.rope.freq_base"), 10000f32);
    header.set(format!("{architecture}.hidden_activation"), "silu");
    for (name, shape, kind, _) in tensors {
        header.tensor(name.clone(), shape, *kind).unwrap();
    }
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for (name, .., bytes) in tensors {
        writer.write_tensor(name, bytes).unwrap();
    }
    File::from_bytes("expected.gguf", writer.finish().unwrap()).unwrap()
}

pub(crate) fn plan(folder: &Path, options: &Options) -> Plan {
    convert::plan(folder, options).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn converted_with(folder: &Path, options: &Options) -> (File, Vec<Row>) {
    let write = plan(folder, options).write(Vec::new(), &mut |_, _| ControlFlow::Continue(()));
    let (bytes, rows) = write.unwrap_or_else(|error| panic!("{error}"));
    (File::from_bytes("converted.gguf", bytes).unwrap(), rows)
}

pub(crate) fn converted(folder: &Path) -> File {
    converted_with(folder, &Options::default()).0
}

/// Why a folder is refused, while it is planned or written.
pub(crate) fn refusal_with(folder: &Path, options: &Options) -> String {
    let written = convert::plan(folder, options)
        .and_then(|plan| plan.write(Vec::new(), &mut |_, _| ControlFlow::Continue(())).map(|_| ()));
    written.err().map_or_else(|| "nothing".into(), |error| error.to_string())
}

pub(crate) fn refusal(checkpoint: &Checkpoint) -> String {
    refusal_with(checkpoint.save().path(), &Options::default())
}

pub(crate) fn logits(file: &File) -> Vec<f32> {
    let selection = Selection::new(None, 1).unwrap();
    let model = Model::from_gguf(file, &selection, Pool::new(1), &|_, _| ()).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::new(&model, SessionOptions { kv: Some(KvType::F32), context: None }).unwrap();
    session.feed(&[3, 14, 15, 92, 65, 35, 89]).unwrap().to_vec()
}

/// The same tensors, bit by bit.
pub(crate) fn assert_same_tensors(found: &File, expected: &File) {
    assert_eq!(found.tensors().len(), expected.tensors().len());
    for tensor in expected.tensors() {
        let ours = found.tensor(&tensor.name).unwrap();
        assert_eq!((&ours.shape, ours.kind), (&tensor.shape, tensor.kind), "{}", tensor.name);
        assert!(*found.data(ours) == *expected.data(tensor), "{} differs", tensor.name);
    }
}

/// A tokenizer's files.
pub(crate) struct Spelt {
    pub(crate) vocab: usize,
    pub(crate) files: Vec<(&'static str, String)>,
}

/// GPT-2's letters for bytes.
pub(crate) fn letters() -> Vec<char> {
    let mut next = 0x100;
    let letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap()
        }
    };
    (0..=255).map(letter).collect()
}

pub(crate) const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(crate) fn llama_3_steps() -> Value {
    json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": LLAMA_3 }, "behavior": "Isolated", "invert": false },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ] })
}

/// A tokenizer of bytes and a few merges, with special tokens behind them. `change` may spoil it.
pub(crate) fn byte_level(change: impl Fn(&mut Value)) -> Spelt {
    let mut vocab: HashMap<String, u32> =
        letters().iter().zip(0..).map(|(letter, id)| (letter.to_string(), id)).collect();
    let merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "s"), ("Ġ", "is"), ("1", "2"), ("12", "3")];
    for (left, right) in merges {
        vocab.insert(format!("{left}{right}"), vocab.len() as u32);
    }
    let special = |id: u32, content: &str, special: bool| {
        json!({ "id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false })
    };
    let mut tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(263, "<|begin|>", true), special(264, "<|end|>", true), special(265, "<tool>", false)],
        "normalizer": null,
        "pre_tokenizer": llama_3_steps(),
        "post_processor": { "type": "Sequence", "processors": [
            { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
            { "type": "TemplateProcessing",
              "single": [{ "SpecialToken": { "id": "<|begin|>", "type_id": 0 } },
                         { "Sequence": { "id": "A", "type_id": 0 } }],
              "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
              "special_tokens": { "<|begin|>": { "id": "<|begin|>", "ids": [263], "tokens": ["<|begin|>"] } } },
        ] },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                   "vocab": vocab,
                   "merges": merges.map(|(left, right)| format!("{left} {right}")) },
    });
    change(&mut tokenizer);
    let config = json!({
        "bos_token": "<|begin|>", "eos_token": { "content": "<|end|>", "lstrip": false },
        "chat_template": "{{ messages[0].content }}",
    });
    let generation = json!({ "bos_token_id": 263, "eos_token_id": [264, 265] });
    Spelt {
        vocab: 272,
        files: vec![
            ("tokenizer.json", tokenizer.to_string()),
            ("tokenizer_config.json", config.to_string()),
            ("generation_config.json", generation.to_string()),
        ],
    }
}

pub(crate) fn bytes() -> Spelt {
    byte_level(|_| ())
}

impl Checkpoint {
    /// Adds a vector to each layer: 0, 1, 2, … times `step`.
    pub(crate) fn vectors(mut self, names: &[(&str, usize)], step: f32) -> Self {
        for layer in 0..LAYERS {
            for (name, length) in names {
                let floats = (0..*length).map(|i| i as f32 * step).collect();
                self.tensors.push((
                    format!("model.layers.{layer}.{name}"),
                    vec![*length],
                    Stored::Float(Dtype::F32, floats),
                ));
            }
        }
        self
    }

    pub(crate) fn rename(mut self, from: &str, to: &str) -> Self {
        self.tensors.iter_mut().for_each(|(name, ..)| *name = name.replace(from, to));
        self
    }
}

pub(crate) fn floats(file: &File, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let mut floats = vec![0f32; tensor.elements() as usize];
    tritune::quant::float::decode(tensor.kind, &file.data(tensor), &mut floats).unwrap();
    floats
}
