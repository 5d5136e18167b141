//! Writes a model of real dimensions with random weights: to measure with, where the real file is not at hand.
//!
//! `random_model SHAPE OUT SEED`; SHAPE is one of [`SHAPES`].

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tritune::gguf::{Header, Kind, Strings, Writer};

/// Dimensions of a published model.
struct Shape {
    name: &'static str,
    architecture: &'static str,
    layers: u32,
    /// Width of the residual stream.
    e: u32,
    /// Width of the feed-forward layer.
    f: u32,
    heads: u32,
    kv_heads: u32,
    head: u32,
    vocabulary: u32,
    context: u32,
    rope_base: f32,
    sub_norms: bool,
    tied_head: bool,
}

/// BitNet b1.58 2B4T: huggingface.co/microsoft/bitnet-b1.58-2B-4T, config.json.
const BITNET_2B4T: Shape = Shape {
    name: "2b4t",
    architecture: "bitnet-b1.58",
    layers: 30,
    e: 2560,
    f: 6912,
    heads: 20,
    kv_heads: 5,
    head: 128,
    vocabulary: 128_256,
    context: 4096,
    rope_base: 500_000.0,
    sub_norms: true,
    tied_head: true,
};

/// bitnet_b1_58-3B: huggingface.co/1bitLLM/bitnet_b1_58-3B, config.json.
const BITNET_3B: Shape = Shape {
    name: "3b",
    architecture: "bitnet",
    layers: 26,
    e: 3200,
    f: 8640,
    heads: 32,
    kv_heads: 32,
    head: 100,
    vocabulary: 32_002,
    context: 2048,
    rope_base: 10_000.0,
    sub_norms: true,
    tied_head: true,
};

const SHAPES: &[Shape] = &[
    BITNET_2B4T,
    // The same in an architecture that llama.cpp reads: an activation of SiLU in place of relu², and nothing else.
    Shape { name: "2b4t-bitnet", architecture: "bitnet", ..BITNET_2B4T },
    BITNET_3B,
    // The same with rows of the next multiples of 256, as TQ1_0 and TQ2_0 have them.
    Shape { name: "3b-256", e: 3328, f: 8704, head: 104, ..BITNET_3B },
    // Falcon3-1B-Instruct-1.58bit: huggingface.co/tiiuae, config.json.
    Shape {
        name: "falcon3-1b",
        architecture: "llama",
        layers: 18,
        e: 2048,
        f: 8192,
        heads: 8,
        kv_heads: 4,
        head: 256,
        vocabulary: 131_072,
        context: 8192,
        rope_base: 1_000_042.0,
        sub_norms: false,
        tied_head: false,
    },
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, out, seed] = &arguments[..] else { bail!("usage: random_model SHAPE OUT SEED") };
    let names = || SHAPES.iter().map(|shape| shape.name).collect::<Vec<_>>().join(", ");
    let shape = SHAPES.iter().find(|row| row.name == shape).with_context(|| format!("shapes are: {}", names()))?;
    let out = Path::new(out);
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let seed = seed.parse().context("SEED is a number")?;
    // Half a file must not be taken for a model by who looks for one.
    let part = out.with_extension("gguf.part");
    let cannot = || format!("cannot write {}", out.display());
    let file = File::create(&part).with_context(cannot)?;
    write(shape, BufWriter::with_capacity(1 << 20, file), seed).with_context(cannot)?;
    fs::rename(&part, out).with_context(cannot)?;
    println!("{}", out.display());
    Ok(())
}

fn write(shape: &Shape, out: BufWriter<File>, seed: u64) -> Result<()> {
    let mut header = metadata(shape);
    let tensors = tensors(shape);
    for (name, dimensions, kind) in &tensors {
        header.tensor(name, dimensions, *kind)?;
    }
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut writer = Writer::new(out, header)?;
    for (name, dimensions, kind) in &tensors {
        let count = dimensions.iter().product::<u64>() as usize;
        let bytes = match kind {
            Kind::F32 => 1f32.to_le_bytes().repeat(count),
            Kind::F16 => {
                (0..count).flat_map(|_| half::f16::from_f32(rng.random_range(-0.05..0.05)).to_le_bytes()).collect()
            }
            _ => trits(count, dimensions[0], &mut rng),
        };
        writer.write_tensor(name, &bytes)?;
    }
    writer.finish()?;
    Ok(())
}

/// I2_S: four codes a byte, then the tensor's scale, which keeps outputs about as large as inputs.
fn trits(count: usize, k: u64, rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![0; count / 4];
    rng.fill_bytes(&mut bytes);
    for byte in &mut bytes {
        // 81 quadruples of trits, from 256 random values.
        let digits = (u16::from(*byte) * 81 / 256) as u8;
        *byte = (digits % 3) | ((digits / 3 % 3) << 2) | ((digits / 9 % 3) << 4) | ((digits / 27) << 6);
    }
    bytes.extend(((1.5 / k as f32).sqrt()).to_le_bytes());
    bytes.resize(count / 4 + 32, 0);
    bytes
}

fn tensors(shape: &Shape) -> Vec<(String, Vec<u64>, Kind)> {
    let [e, f, vocabulary] = [shape.e, shape.f, shape.vocabulary].map(u64::from);
    let (q, kv) = (u64::from(shape.heads * shape.head), u64::from(shape.kv_heads * shape.head));
    let mut tensors = vec![("token_embd.weight".into(), vec![e, vocabulary], Kind::F16)];
    for layer in 0..shape.layers {
        let mut add = |name: &str, dimensions: &[u64]| {
            let kind = if dimensions.len() == 1 { Kind::F32 } else { Kind::I2_S };
            tensors.push((format!("blk.{layer}.{name}.weight"), dimensions.to_vec(), kind));
        };
        add("attn_norm", &[e]);
        add("attn_q", &[e, q]);
        add("attn_k", &[e, kv]);
        add("attn_v", &[e, kv]);
        add("attn_output", &[q, e]);
        add("ffn_norm", &[e]);
        add("ffn_gate", &[e, f]);
        add("ffn_up", &[e, f]);
        add("ffn_down", &[f, e]);
        if shape.sub_norms {
            add("attn_sub_norm", &[q]);
            add("ffn_sub_norm", &[f]);
        }
    }
    tensors.push(("output_norm.weight".into(), vec![e], Kind::F32));
    if !shape.tied_head {
        tensors.push(("output.weight".into(), vec![e, vocabulary], Kind::F16));
    }
    tensors
}

fn metadata(shape: &Shape) -> Header {
    let mut header = Header::new();
    let architecture = shape.architecture;
    header.set("general.architecture", architecture);
    header.set("general.name", format!("random {}", shape.name));
    for (key, value) in [
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.e),
        ("feed_forward_length", shape.f),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head),
        ("attention.value_length", shape.head),
        ("rope.dimension_count", shape.head),
        ("vocab_size", shape.vocabulary),
    ] {
        header.set(format!("{architecture}.{key}"), value);
    }
    header.set(format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5f32);
    header.set(format!("{architecture}.rope.freq_base"), shape.rope_base);
    let (begin, end) = (shape.vocabulary - 2, shape.vocabulary - 1);
    let (tokens, merges) = vocabulary(shape.vocabulary);
    let types: Vec<i32> = (0..shape.vocabulary).map(|id| if id < shape.vocabulary - CONTROL { 1 } else { 3 }).collect();
    header.set("tokenizer.ggml.model", "gpt2");
    header.set("tokenizer.ggml.pre", "llama-bpe");
    header.set("tokenizer.ggml.tokens", tokens);
    header.set("tokenizer.ggml.token_type", types);
    header.set("tokenizer.ggml.merges", merges);
    header.set("tokenizer.ggml.bos_token_id", begin);
    header.set("tokenizer.ggml.eos_token_id", end);
    header.set("tokenizer.ggml.add_bos_token", true);
    header
}

/// Control tokens, at the end of a vocabulary, as Llama 3's has them.
const CONTROL: u32 = 256;

/// Texts and merges that take about as long to read as those of a trained vocabulary: single bytes, pairs, triples of them, each
/// with all ways to make it of two shorter ones; then control tokens.
fn vocabulary(size: u32) -> (Strings, Strings) {
    let letters = byte_letters();
    let text = |bytes: &[u8]| bytes.iter().map(|&byte| letters[usize::from(byte)]).collect::<String>();
    let (mut tokens, mut merges) = (Vec::new(), Vec::new());
    for id in 0..size - CONTROL {
        // An odd factor reaches every pair, and every triple, once.
        let bytes = match id {
            0..0x100 => vec![id as u8],
            0x100..0x1_0100 => ((id - 0x100) as u16).wrapping_mul(40_503).to_be_bytes().to_vec(),
            _ => (id - 0x1_0100).wrapping_mul(0x009e_3779).to_be_bytes()[1..].to_vec(),
        };
        merges.extend((1..bytes.len()).map(|cut| format!("{} {}", text(&bytes[..cut]), text(&bytes[cut..]))));
        tokens.push(text(&bytes));
    }
    tokens.extend((size - CONTROL..size).map(|id| format!("<|{id}|>")));
    (tokens.into_iter().collect(), merges.into_iter().collect())
}

/// The letters that stand for bytes in byte-level vocabularies: printable ones for themselves, the rest from U+0100 on.
fn byte_letters() -> Vec<char> {
    let mut next = 0x100;
    let letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or('?')
        }
    };
    (0..=255).map(letter).collect()
}
