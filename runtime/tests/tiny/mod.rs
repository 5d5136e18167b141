//! Sound models as small as can be, with random weights of any type.

use half::f16;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore};
use tritune::gguf::{Header, Kind, Strings, Value, Writer};
use tritune::quant::{Scales, Trits, trits};

/// Where half-precision scales are in a block of a type: anything else in it may be any byte.
fn scales(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Q4_0 | Kind::Q5_0 | Kind::Q8_0 | Kind::IQ4_NL => &[0],
        Kind::Q4_1 | Kind::Q5_1 | Kind::Q4_K | Kind::Q5_K => &[0, 2],
        Kind::Q2_K => &[80, 82],
        Kind::Q3_K => &[108],
        Kind::Q6_K => &[208],
        _ => panic!("{kind} has no blocks"),
    }
}

/// Random weights of any type.
fn weights(kind: Kind, n: usize, k: usize, rng: &mut SmallRng) -> Vec<u8> {
    let mut value = || rng.random_range(-0.1f32..0.1);
    match kind {
        Kind::F32 => (0..n * k).flat_map(|_| value().to_le_bytes()).collect(),
        Kind::F16 => (0..n * k).flat_map(|_| f16::from_f32(value()).to_le_bytes()).collect(),
        Kind::BF16 => (0..n * k).flat_map(|_| half::bf16::from_f32(value()).to_le_bytes()).collect(),
        _ if kind.is_ternary() => {
            let codes = (0..n * k).map(|_| rng.random_range(0..3)).collect();
            trits::encode(kind, &Trits { n, k, codes, scales: Scales::Tensor(0.125) }).unwrap()
        }
        _ => {
            let format = kind.format().unwrap();
            let mut bytes = vec![0; n * k / format.elements as usize * format.bytes as usize];
            rng.fill_bytes(&mut bytes);
            for block in bytes.chunks_exact_mut(format.bytes as usize) {
                for &at in scales(kind) {
                    block[at..at + 2].copy_from_slice(&f16::from_f32(1.0 / 4096.0).to_le_bytes());
                }
            }
            bytes
        }
    }
}

/// The types that weights may have.
pub const KINDS: [Kind; 23] = [
    Kind::F32,
    Kind::F16,
    Kind::BF16,
    Kind::Q4_0,
    Kind::Q4_1,
    Kind::Q5_0,
    Kind::Q5_1,
    Kind::Q8_0,
    Kind::IQ4_NL,
    Kind::Q2_K,
    Kind::Q3_K,
    Kind::Q4_K,
    Kind::Q5_K,
    Kind::Q6_K,
    Kind::TQ1_0,
    Kind::TQ2_0,
    Kind::I2_S,
    Kind::Q2_0,
    Kind::Q2_0_G128,
    Kind::PQ2_0,
    Kind::IQ1_BN,
    Kind::IQ2_BN,
    Kind::IQ2_BN_R4,
];

/// A byte-level vocabulary of letters and a few merges.
fn byte_level(header: &mut Header) -> u64 {
    let mut tokens: Strings = ('a'..='z').map(String::from).collect();
    for token in ["Ġ", "Ċ", "1", "5", "8", "th", "the", "Ġthe", "es", "<s>", "</s>"] {
        tokens.push(token);
    }
    let len = tokens.len();
    let types: Vec<i32> = (0..len).map(|id| if id < len - 2 { 1 } else { 3 }).collect();
    header.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "llama-bpe");
    header.set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.token_type", types);
    header.set("tokenizer.ggml.merges", ["t h", "th e", "Ġ the", "e s"].into_iter().collect::<Strings>());
    header.set("tokenizer.ggml.bos_token_id", len as u32 - 2).set("tokenizer.ggml.eos_token_id", len as u32 - 1);
    header.set("tokenizer.ggml.add_bos_token", true);
    len as u64
}

/// A SentencePiece vocabulary of bytes, letters and a few pieces.
fn sentence_piece(header: &mut Header) -> u64 {
    let mut tokens: Strings = ["<unk>", "<s>", "</s>"].into_iter().collect();
    (0..=255).for_each(|byte| tokens.push(&format!("<0x{byte:02X}>")));
    ('a'..='z').for_each(|letter| tokens.push(&letter.to_string()));
    for token in ["▁", "th", "the", "▁the", "es"] {
        tokens.push(token);
    }
    let len = tokens.len();
    let types: Vec<i32> =
        (0..len).map(|id| [2, 3, 3].get(id).copied().unwrap_or(if id < 259 { 6 } else { 1 })).collect();
    header.set("tokenizer.ggml.model", "llama").set("tokenizer.ggml.tokens", tokens);
    header.set("tokenizer.ggml.scores", (0..len).map(|id| -(id as f32)).collect::<Vec<f32>>());
    header.set("tokenizer.ggml.token_type", types);
    header.set("tokenizer.ggml.bos_token_id", 1u32).set("tokenizer.ggml.eos_token_id", 2u32);
    len as u64
}

/// A model of one layer, `width` wide, whose matrices are of this type.
pub fn model(kind: Kind, width: u64, rng: &mut SmallRng) -> Vec<u8> {
    let sub_norms = kind.is_ternary();
    let architecture = if sub_norms { "bitnet-b1.58" } else { "llama" };
    let mut header = Header::new();
    header.set("general.architecture", architecture);
    let vocab = if rng.random() { byte_level(&mut header) } else { sentence_piece(&mut header) };
    for (key, value) in [
        ("block_count", Value::U32(1)),
        ("context_length", Value::U32(64)),
        ("embedding_length", Value::U32(width as u32)),
        ("feed_forward_length", Value::U32(width as u32)),
        ("attention.head_count", Value::U32(4)),
        ("attention.head_count_kv", Value::U32(1)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
    ] {
        header.set(format!("{architecture}.{key}"), value);
    }
    let mut tensors = vec![("token_embd.weight", width, vocab, Kind::F16), ("output_norm.weight", width, 1, Kind::F32)];
    tensors.extend(["attn_norm", "ffn_norm"].map(|norm| (norm, width, 1, Kind::F32)));
    if sub_norms {
        tensors.extend(["attn_sub_norm", "ffn_sub_norm"].map(|norm| (norm, width, 1, Kind::F32)));
    }
    tensors.extend(["attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"].map(|name| (name, width, width, kind)));
    tensors.extend(["attn_k", "attn_v"].map(|name| (name, width, width / 4, kind)));
    let whole = |name: &str| if name.contains('.') { name.to_owned() } else { format!("blk.0.{name}.weight") };
    for (name, k, n, kind) in &tensors {
        let shape = if *n == 1 { vec![*k] } else { vec![*k, *n] };
        header.tensor(whole(name), &shape, *kind).unwrap();
    }
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for (name, k, n, kind) in tensors {
        writer.write_tensor(&whole(name), &weights(kind, n as usize, k as usize, rng)).unwrap();
    }
    writer.finish().unwrap()
}
