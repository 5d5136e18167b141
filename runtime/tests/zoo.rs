//! Every row of the model zoo, as its converters write it but tiny and random, against a second implementation of its
//! architecture: plain, in f64, without a cache, written from llama.cpp's graphs and the papers. It knows nothing of the
//! library: what it computes is told by its own description of each model, not by the file.

mod passes;

use std::collections::HashMap;
use std::f64::consts::{PI, TAU};

use passes::passes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tritune::gguf::{Array, File, Header, Kind, Strings, Value, Writer};
use tritune::kernels::Selection;
use tritune::lookup::PASS;
use tritune::model::{KvType, Model, Session, SessionOptions};
use tritune::quant::{Scales, Trits, trits};
use tritune::threads::Pool;

/// How far logits may be from the expected ones, as in `fixtures.rs`: f32 against f64 is about 1e-6.
const TOLERANCE: f64 = 1e-5;
/// How far those of ternary models may be: where an activation lies near a tie between two int8 values, f32 and f64 may
/// round it to different ones, and that spreads to later layers and tokens. About 1e-2 is found, but with one of the
/// seeds, tokens before the first such activation must be as exact as floats are.
const FLIPPED: f64 = 5e-2;
const SEEDS: [u64; 4] = [7, 8, 9, 10];
/// How far they are at least where something else is computed.
const OTHER: f64 = 1e-2;

const VOCAB: usize = 131;
const TOKENS: [u32; 14] = [3, 17, 99, 4, 4, 130, 0, 58, 77, 12, 101, 3, 25, 64];

/// What a model computes.
#[derive(Clone)]
struct Spec {
    architecture: &'static str,
    layers: usize,
    embedding: usize,
    feed_forward: usize,
    /// Of queries; of keys and values.
    heads: (usize, usize),
    head_length: usize,
    epsilon: f64,
    /// Rope rotates (2i, 2i + 1), not (i, i + d/2).
    adjacent: bool,
    rotated: usize,
    base: f64,
    stretch: Stretch,
    /// Cosine and sine are multiplied by this.
    magnitude: f64,
    /// Layers that see only the latest tokens.
    window: Option<Window>,
    /// Layers that see all tokens tell positions apart.
    rope_of_whole: bool,
    query_scale: f64,
    gate: fn(f64) -> f64,
    clamp: f64,
    embedding_scale: f64,
    residual_scale: f64,
    logit_divisor: f64,
    logit_cap: Option<f64>,
    /// How many experts, and how many a token uses.
    experts: Option<(usize, usize)>,
}

/// How many tokens, which layers, rope's base there, and whether it is stretched.
type Window = (usize, fn(usize) -> bool, f64, bool);

#[derive(Clone)]
enum Stretch {
    None,
    Linear(f64),
    Yarn {
        factor: f64,
        original: f64,
        fast: f64,
        slow: f64,
    },
    /// A tensor of factors.
    Factors(&'static str),
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn relu_squared(x: f64) -> f64 {
    x.max(0.0).powi(2)
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// A tensor's values, and its scale where it is ternary.
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f64>,
    scale: Option<f64>,
}

impl Tensor {
    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.shape[0])
    }

    /// x · Wᵀ for some rows of W. Ternary matrices read int8: round(x · 127 / max|x|).
    fn product(&self, x: &[f64], rows: std::ops::Range<usize>) -> Vec<f64> {
        let rows = self.rows().skip(rows.start).take(rows.len());
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        match self.scale {
            None => rows.map(|row| dot(row, x)).collect(),
            Some(_) => {
                let step = x.iter().fold(1e-5f64, |largest, x| largest.max(x.abs())) / 127.0;
                let x: Vec<f64> = x.iter().map(|x| (x / step).round_ties_even()).collect();
                rows.map(|row| dot(row, &x) * step).collect()
            }
        }
    }
}

struct Weights(HashMap<String, Tensor>);

impl Weights {
    fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    fn vector(&self, name: &str) -> Option<&[f64]> {
        self.get(name).map(|tensor| &tensor.values[..])
    }

    /// A matrix of a layer, with the norm of its input, its scale and its bias where there are such.
    fn project(&self, spec: &Spec, layer: usize, matrix: &str, x: &[f64]) -> Vec<f64> {
        let name = |what: &str| format!("blk.{layer}.{matrix}{what}");
        let normed = match self.vector(&name("_norm_in.weight")) {
            Some(weight) => rms(x, weight, spec.epsilon),
            None => x.to_vec(),
        };
        let matrix = &self.0[&name(".weight")];
        let mut y = matrix.product(&normed, 0..matrix.shape[1]);
        if let Some(scale) = self.vector(&name(".scale")) {
            y.iter_mut().for_each(|y| *y *= scale[0]);
        }
        if let Some(bias) = self.vector(&name(".bias")) {
            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
        y
    }
}

fn rms(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, weight)| x / (mean + epsilon).sqrt() * weight).collect()
}

impl Spec {
    fn few(&self, layer: usize) -> bool {
        self.window.is_some_and(|(_, few, ..)| few(layer))
    }

    /// Rotates one head at a position, as ggml's `rope_yarn` and its callers do.
    fn rotate(&self, weights: &Weights, layer: usize, position: usize, head: &mut [f64]) {
        let (base, stretched) = match self.window {
            Some((_, few, base, stretched)) if few(layer) => (base, stretched),
            _ if self.rope_of_whole => (self.base, true),
            _ => return,
        };
        let pairs = self.rotated / 2;
        for i in 0..pairs {
            let extrapolated = position as f64 * base.powf(-2.0 * i as f64 / self.rotated as f64);
            let (mut angle, mut magnitude) = (extrapolated, 1.0);
            if stretched {
                magnitude = self.magnitude;
                match self.stretch {
                    Stretch::None => {}
                    Stretch::Linear(factor) => angle /= factor,
                    Stretch::Factors(tensor) => angle /= weights.vector(tensor).unwrap()[i],
                    Stretch::Yarn { factor, original, fast, slow } => {
                        let pair_of =
                            |turns: f64| self.rotated as f64 * (original / (turns * TAU)).ln() / (2.0 * base.ln());
                        let (low, high) = (pair_of(fast).floor().max(0.0), pair_of(slow).ceil());
                        let high = high.min(self.rotated as f64 - 1.0);
                        let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                        angle = extrapolated / factor * ramp + extrapolated * (1.0 - ramp);
                    }
                }
            }
            let (a, b) = if self.adjacent { (2 * i, 2 * i + 1) } else { (i, i + pairs) };
            let (sin, cos) = angle.sin_cos();
            (head[a], head[b]) =
                (magnitude * (head[a] * cos - head[b] * sin), magnitude * (head[a] * sin + head[b] * cos));
        }
    }

    /// Queries or keys of a token: normalised head by head, then rotated.
    fn heads(&self, weights: &Weights, layer: usize, which: &str, position: usize, x: &[f64]) -> Vec<f64> {
        let mut heads = weights.project(self, layer, which, x);
        for head in heads.chunks_exact_mut(self.head_length) {
            if let Some(weight) = weights.vector(&format!("blk.{layer}.{which}_norm.weight")) {
                head.copy_from_slice(&rms(head, weight, self.epsilon));
            }
            self.rotate(weights, layer, position, head);
        }
        heads
    }

    /// What attention makes of the tokens' normalised states, before its last matrix.
    fn attend(&self, weights: &Weights, layer: usize, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let of = |which| {
            x.iter().enumerate().map(|(t, x)| self.heads(weights, layer, which, t, x)).collect::<Vec<Vec<f64>>>()
        };
        let (q, k) = (of("attn_q"), of("attn_k"));
        let v: Vec<Vec<f64>> = x.iter().map(|x| weights.project(self, layer, "attn_v", x)).collect();
        let (length, share) = (self.head_length, self.heads.0 / self.heads.1);
        let window = self.window.filter(|_| self.few(layer)).map_or(usize::MAX, |(tokens, ..)| tokens);
        let mut mixed = vec![vec![0.0; self.heads.0 * length]; x.len()];
        for (t, mixed) in mixed.iter_mut().enumerate() {
            for (h, mixed) in mixed.chunks_exact_mut(length).enumerate() {
                let query = &q[t][h * length..][..length];
                let of_kv = h / share * length..(h / share + 1) * length;
                let score = |s: usize| {
                    let key = &k[s][of_kv.clone()];
                    query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() * self.query_scale
                };
                let seen: Vec<usize> = (0..=t).filter(|s| t - s < window).collect();
                let scores: Vec<f64> = seen.iter().map(|&s| score(s)).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
                for (score, s) in scores.iter().zip(seen) {
                    let p = (score - max).exp() / sum;
                    mixed.iter_mut().zip(&v[s][of_kv.clone()]).for_each(|(mixed, v)| *mixed += p * v);
                }
            }
        }
        mixed
    }

    fn gated(&self, gate: &[f64], up: &[f64]) -> Vec<f64> {
        let clamp = self.clamp;
        gate.iter().zip(up).map(|(g, u)| (self.gate)(g.min(clamp)) * u.clamp(-clamp, clamp)).collect()
    }

    fn feed_forward(&self, weights: &Weights, layer: usize, x: &[f64]) -> Vec<f64> {
        let name = |what: &str| format!("blk.{layer}.{what}.weight");
        let Some((count, used)) = self.experts else {
            let [gate, up] = ["ffn_gate", "ffn_up"].map(|matrix| weights.project(self, layer, matrix, x));
            let mut gated = self.gated(&gate, &up);
            if let Some(weight) = weights.vector(&name("ffn_sub_norm")) {
                gated = rms(&gated, weight, self.epsilon);
            }
            return weights.project(self, layer, "ffn_down", &gated);
        };
        let scores = weights.project(self, layer, "ffn_gate_inp", x);
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
        let mut shares: Vec<(usize, f64)> = scores.iter().map(|score| (score - max).exp() / sum).enumerate().collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares.truncate(used);
        assert!(count > used);
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        let mut y = vec![0.0; self.embedding];
        for (expert, share) in shares {
            let expert = |what: &str, x: &[f64]| {
                let matrix = &weights.0[&name(what)];
                matrix.product(x, expert * matrix.shape[1]..(expert + 1) * matrix.shape[1])
            };
            let gated = self.gated(&expert("ffn_gate_exps", x), &expert("ffn_up_exps", x));
            y.iter_mut().zip(expert("ffn_down_exps", &gated)).for_each(|(y, out)| *y += share / total * out);
        }
        y
    }

    /// The last states of all tokens, normalised.
    fn states(&self, weights: &Weights, tokens: &[u32]) -> Vec<Vec<f64>> {
        let table = &weights.0["token_embd.weight"];
        let embed = |&token: &u32| {
            let row = table.rows().nth(token as usize).unwrap();
            row.iter().map(|x| x * self.embedding_scale).collect::<Vec<f64>>()
        };
        let mut hidden: Vec<Vec<f64>> = tokens.iter().map(embed).collect();
        for layer in 0..self.layers {
            let vector = |what: &str| weights.vector(&format!("blk.{layer}.{what}.weight"));
            let norm = |x: &[f64], what: &str| match vector(what) {
                Some(weight) => rms(x, weight, self.epsilon),
                None => x.to_vec(),
            };
            let add = |hidden: &mut Vec<f64>, branch: &[f64]| {
                hidden.iter_mut().zip(branch).for_each(|(x, branch)| *x += branch * self.residual_scale);
            };
            let x: Vec<Vec<f64>> = hidden.iter().map(|x| norm(x, "attn_norm")).collect();
            for (hidden, mixed) in hidden.iter_mut().zip(self.attend(weights, layer, &x)) {
                let out = weights.project(self, layer, "attn_output", &norm(&mixed, "attn_sub_norm"));
                add(hidden, &norm(&out, "post_attention_norm"));
            }
            for hidden in &mut hidden {
                let out = self.feed_forward(weights, layer, &norm(hidden, "ffn_norm"));
                add(hidden, &norm(&out, "post_ffw_norm"));
            }
        }
        hidden.iter().map(|x| rms(x, weights.vector("output_norm.weight").unwrap(), self.epsilon)).collect()
    }

    /// `[tokens, vocab]`
    fn logits(&self, weights: &Weights, tokens: &[u32]) -> Vec<f64> {
        let head = weights.get("output.weight").unwrap_or(&weights.0["token_embd.weight"]);
        let mut logits = Vec::new();
        for state in self.states(weights, tokens) {
            let mut row = head.product(&state, 0..VOCAB);
            for (i, logit) in row.iter_mut().enumerate() {
                *logit = *logit / self.logit_divisor + weights.vector("output.bias").map_or(0.0, |bias| bias[i]);
                if let Some(cap) = self.logit_cap {
                    *logit = cap * (*logit / cap).tanh();
                }
            }
            logits.extend(row);
        }
        logits
    }
}

/// A model of the zoo: what it computes, and how a file says so.
struct Row {
    spec: Spec,
    /// Keys of the architecture, as its converter writes them.
    keys: Vec<(&'static str, Value)>,
    /// Of the tokenizer: its model and, where converters write it, its pre-tokenizer.
    tokenizer: (&'static str, Option<&'static str>),
    /// The type of its matrices where it is published ternary.
    ternary: Kind,
    /// Whether the embedding is ternary too.
    ternary_embedding: bool,
    /// Tensors beyond llama's, and their shapes.
    tensors: Vec<(String, Vec<usize>)>,
    /// Changes of the computation that must show, lest the comparison compare nothing.
    matters: Vec<fn(&mut Spec)>,
}

impl Row {
    /// A llama of these dimensions; the file has no more keys than every converter writes.
    fn new(architecture: &'static str, layers: usize, embedding: usize, feed_forward: usize) -> Row {
        let spec = Spec {
            architecture,
            layers,
            embedding,
            feed_forward,
            heads: (4, 2),
            head_length: embedding / 4,
            epsilon: f64::from(1e-5f32),
            adjacent: false,
            rotated: embedding / 4,
            base: 10_000.0,
            stretch: Stretch::None,
            magnitude: 1.0,
            window: None,
            rope_of_whole: true,
            query_scale: 1.0 / (embedding as f64 / 4.0).sqrt(),
            gate: silu,
            clamp: f64::INFINITY,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_divisor: 1.0,
            logit_cap: None,
            experts: None,
        };
        let mut row = Row {
            spec,
            keys: Vec::new(),
            tokenizer: ("gpt2", Some("llama-bpe")),
            ternary: Kind::I2_S,
            ternary_embedding: false,
            tensors: Vec::new(),
            matters: Vec::new(),
        };
        for (key, value) in [
            ("block_count", layers),
            ("context_length", 64),
            ("embedding_length", embedding),
            ("feed_forward_length", feed_forward),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("vocab_size", VOCAB),
        ] {
            row.set(key, value as u32);
        }
        row.set("attention.layer_norm_rms_epsilon", 1e-5f32);
        row
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) -> &mut Row {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value.into()));
        self
    }

    fn without(&mut self, key: &str) -> &mut Row {
        self.keys.retain(|(known, _)| *known != key);
        self
    }

    /// Heads that are not embedding / heads wide.
    fn head_length(&mut self, length: usize) -> &mut Row {
        (self.spec.head_length, self.spec.rotated) = (length, length);
        self.spec.query_scale = 1.0 / (length as f64).sqrt();
        self.set("attention.key_length", length as u32).set("attention.value_length", length as u32)
    }

    fn base(&mut self, base: f32) -> &mut Row {
        self.spec.base = f64::from(base);
        self.set("rope.freq_base", base)
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> &mut Row {
        self.tensors.push((name.into(), shape.to_vec()));
        self
    }

    fn of_layers(&mut self, tensors: &[(&str, usize)]) -> &mut Row {
        for layer in 0..self.spec.layers {
            for (name, width) in tensors {
                self.tensors.push((format!("blk.{layer}.{name}"), vec![*width]));
            }
        }
        self
    }

    fn sub_norms(&mut self) -> &mut Row {
        let mixed = self.spec.heads.0 * self.spec.head_length;
        self.of_layers(&[("attn_sub_norm.weight", mixed), ("ffn_sub_norm.weight", self.spec.feed_forward)])
    }

    fn head_norms(&mut self) -> &mut Row {
        let length = self.spec.head_length;
        self.of_layers(&[("attn_q_norm.weight", length), ("attn_k_norm.weight", length)])
    }

    fn norms_in(&mut self) -> &mut Row {
        let Spec { embedding, feed_forward, heads, head_length, .. } = self.spec;
        self.of_layers(&[
            ("attn_q_norm_in.weight", embedding),
            ("attn_k_norm_in.weight", embedding),
            ("attn_v_norm_in.weight", embedding),
            ("attn_output_norm_in.weight", heads.0 * head_length),
            ("ffn_gate_norm_in.weight", embedding),
            ("ffn_up_norm_in.weight", embedding),
            ("ffn_down_norm_in.weight", feed_forward),
        ])
    }

    fn head(&mut self) -> &mut Row {
        self.tensor("output.weight", &[self.spec.embedding, VOCAB])
    }

    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let Spec { embedding, feed_forward, heads, head_length, .. } = self.spec;
        let (q, kv) = (heads.0 * head_length, heads.1 * head_length);
        let mut shapes = vec![
            ("token_embd.weight".to_owned(), vec![embedding, VOCAB]),
            ("output_norm.weight".to_owned(), vec![embedding]),
        ];
        for layer in 0..self.spec.layers {
            let mut add =
                |name: &str, shape: &[usize]| shapes.push((format!("blk.{layer}.{name}.weight"), shape.to_vec()));
            add("attn_norm", &[embedding]);
            add("attn_q", &[embedding, q]);
            add("attn_k", &[embedding, kv]);
            add("attn_v", &[embedding, kv]);
            add("attn_output", &[q, embedding]);
            add("ffn_norm", &[embedding]);
            match self.spec.experts {
                Some((count, _)) => {
                    add("ffn_gate_inp", &[embedding, count]);
                    add("ffn_gate_exps", &[embedding, feed_forward, count]);
                    add("ffn_up_exps", &[embedding, feed_forward, count]);
                    add("ffn_down_exps", &[feed_forward, embedding, count]);
                }
                None => {
                    add("ffn_gate", &[embedding, feed_forward]);
                    add("ffn_up", &[embedding, feed_forward]);
                    add("ffn_down", &[feed_forward, embedding]);
                }
            }
        }
        shapes.extend(self.tensors.iter().cloned());
        shapes
    }

    /// The file, its matrices in their ternary type or as floats, and what is in it.
    fn build(&self, ternary: bool, seed: u64) -> (File, Weights) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let architecture = self.spec.architecture;
        let mut header = Header::new();
        header.set("general.architecture", architecture).set("general.type", "model").set("general.name", "zoo");
        header.set("general.file_type", 36u32).set("general.quantization_version", 2u32);
        header.set("general.size_label", "1K").set("general.license", "cc0-1.0");
        for (key, value) in &self.keys {
            header.set(format!("{architecture}.{key}"), value.clone());
        }
        header.set("tokenizer.ggml.model", self.tokenizer.0);
        if let Some(pre) = self.tokenizer.1 {
            header.set("tokenizer.ggml.pre", pre);
        }
        header.set("tokenizer.ggml.tokens", (0..VOCAB).map(|id| format!("<{id}>")).collect::<Strings>());
        let mut weights = HashMap::new();
        let mut contents = Vec::new();
        for (name, shape) in self.shapes() {
            let matrix = shape.len() > 1 && name != "token_embd.weight" && !name.contains("gate_inp");
            let matrix = matrix && (name != "output.weight" || self.ternary_embedding)
                || name == "token_embd.weight" && self.ternary_embedding;
            let kind = if ternary && matrix { self.ternary } else { Kind::F32 };
            let (bytes, tensor) = random(&mut rng, &name, shape, kind);
            let shape: Vec<u64> = tensor.shape.iter().map(|&size| size as u64).collect();
            header.tensor(name.clone(), &shape, kind).unwrap();
            weights.insert(name.clone(), tensor);
            contents.push((name, bytes));
        }
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for (name, bytes) in contents {
            writer.write_tensor(&name, &bytes).unwrap();
        }
        (File::from_bytes("zoo.gguf", writer.finish().unwrap()).unwrap(), Weights(weights))
    }

    /// Loads the model as floats and as it is published, and compares its logits with this file's own.
    fn check(&self) {
        self.agrees(
            VOCAB,
            |model| {
                let passes = |length| passes(session(model), &TOKENS, length);
                let steps = passes(1);
                assert!([3, PASS].iter().all(|&length| passes(length) == steps), "passes of a few tokens show");
                vec![("in one piece", passes(TOKENS.len())), ("one by one", steps)]
            },
            |spec, weights| spec.logits(weights, &TOKENS),
        );
        let (_, weights) = self.build(false, SEEDS[0]);
        let expected = self.spec.logits(&weights, &TOKENS);
        for (number, change) in self.matters.iter().enumerate() {
            let mut spec = self.spec.clone();
            change(&mut spec);
            let other = distance(&spec.logits(&weights, &TOKENS), &expected);
            assert!(other > OTHER, "{}: change {number} makes {other} alone", spec.architecture);
        }
    }

    /// The same for an embedding model.
    fn check_embedding(&self, pool: fn(&[Vec<f64>]) -> Vec<f64>) {
        self.agrees(
            self.spec.embedding,
            |model| vec![("embedding", session(model).embed(&TOKENS).unwrap())],
            |spec, weights| {
                let mut expected = pool(&spec.states(weights, &TOKENS));
                let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
                expected.iter_mut().for_each(|x| *x /= length);
                expected
            },
        );
    }

    /// Compares rows of `width` numbers that a model computes, in several ways, with those expected.
    fn agrees(
        &self,
        width: usize,
        compute: impl Fn(&Model) -> Vec<(&'static str, Vec<f32>)>,
        expect: impl Fn(&Spec, &Weights) -> Vec<f64>,
    ) {
        for ternary in [false, true] {
            let exact = |seed: &u64| {
                let (file, weights) = self.build(ternary, *seed);
                let expected = expect(&self.spec, &weights);
                let mut exact = true;
                for threads in [1, 2] {
                    for (how, found) in compute(&load(&file, threads)) {
                        let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                        let whole = distance(&found, &expected);
                        let rows = found.chunks_exact(width).zip(expected.chunks_exact(width));
                        let best = rows.map(|(found, expected)| distance(found, expected)).fold(whole, f64::min);
                        let what = format!("{}, ternary: {ternary}, {how}", self.spec.architecture);
                        println!("{what}: {whole:.1e}, best row {best:.1e}");
                        assert!(whole <= if ternary { FLIPPED } else { TOLERANCE }, "{what}: {whole}");
                        exact &= best <= TOLERANCE;
                    }
                }
                exact
            };
            assert!(SEEDS.iter().any(exact), "{}: no token is exact", self.spec.architecture);
        }
    }
}

/// Root mean square of the difference, in units of the expected values' standard deviation.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let spread: f64 = expected.iter().map(|x| (x - mean).powi(2)).sum();
    let squares: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / spread).sqrt()
}

fn load(file: &File, threads: usize) -> Model {
    Model::from_gguf(file, &Selection::new(None, threads).unwrap(), Pool::new(threads), &|_, _| ()).unwrap()
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions { kv: Some(KvType::F32), context: Some(TOKENS.len()) }).unwrap()
}

/// A tensor of about the right size: its bytes, and its values.
fn random(rng: &mut SmallRng, name: &str, shape: Vec<usize>, kind: Kind) -> (Vec<u8>, Tensor) {
    let (k, count) = (shape[0], shape.iter().product::<usize>());
    if kind != Kind::F32 {
        // A power of two is exact in every type.
        let scale = 2f32.powi(-(k as f32).log2().round() as i32 / 2);
        let codes: Vec<u8> = (0..count).map(|_| rng.random_range(0..3)).collect();
        let values = codes.iter().map(|&code| (f64::from(code) - 1.0) * f64::from(scale)).collect();
        let bytes = trits::encode(kind, &Trits { n: count / k, k, codes, scales: Scales::Tensor(scale) }).unwrap();
        return (bytes, Tensor { shape, values, scale: Some(scale.into()) });
    }
    let (middle, spread) = match name {
        _ if name.ends_with("norm.weight") || name.ends_with("norm_in.weight") => (1.0, 0.5),
        _ if name.starts_with("rope_f") => (2.0, 1.0),
        _ if name.ends_with(".scale") => (1.0, 0.5),
        _ if name.ends_with(".bias") => (0.0, 0.5),
        _ => (0.0, 1.7 / (k as f32).sqrt()),
    };
    let values: Vec<f32> = (0..count).map(|_| middle + rng.random_range(-spread..spread)).collect();
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    (bytes, Tensor { shape, values: values.into_iter().map(f64::from).collect(), scale: None })
}

#[test]
fn bitnet_b1_58_2b4t() {
    for architecture in ["bitnet-b1.58", "bitnet-25"] {
        let mut row = Row::new(architecture, 2, 160, 352);
        row.spec.gate = relu_squared;
        row.tokenizer = ("gpt2", None);
        row.base(500_000.0).set("rope.dimension_count", 40u32).sub_norms();
        row.matters = vec![|spec| spec.gate = silu, |spec| spec.adjacent = true];
        row.check();
    }
}

#[test]
fn bitnet_b1_58_large_xl_3b() {
    for architecture in ["bitnet", "bitnet-b1.58"] {
        let mut row = Row::new(architecture, 2, 160, 352);
        row.tokenizer = ("llama", None);
        row.base(10_000.0).set("rope.dimension_count", 40u32).sub_norms();
        for matrix in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            row.of_layers(&[(&format!("{matrix}.scale"), 1)]);
        }
        row.matters = vec![|spec| spec.gate = relu_squared];
        row.check();
    }
}

/// Llama3-8B-1.58, Falcon3, Falcon-E, TriLM; Llama 3.1 has factors.
#[test]
fn llama() {
    for (ternary, pre, factors) in
        [(Kind::I2_S, "falcon3", false), (Kind::TQ1_0, "olmo", false), (Kind::TQ2_0, "llama-bpe", true)]
    {
        let mut row = Row::new("llama", 2, 256, 512);
        row.spec.adjacent = true;
        (row.ternary, row.tokenizer) = (ternary, ("gpt2", Some(pre)));
        row.base(500_000.0).set("rope.dimension_count", 64u32).head();
        row.matters = vec![|spec| spec.adjacent = false, |spec| spec.base = 10_000.0];
        if factors {
            row.tensor("rope_freqs.weight", &[32]);
            row.spec.stretch = Stretch::Factors("rope_freqs.weight");
            row.matters.push(|spec| spec.stretch = Stretch::None);
        }
        row.check();
    }
}

#[test]
fn qwen2() {
    let mut row = Row::new("qwen2", 2, 160, 352);
    row.tokenizer = ("gpt2", Some("qwen2"));
    let kv = row.spec.heads.1 * row.spec.head_length;
    row.base(1e6).of_layers(&[("attn_q.bias", 160), ("attn_k.bias", kv), ("attn_v.bias", kv)]);
    row.tensor("output.bias", &[VOCAB]);
    row.check();
}

/// Ternary Bonsai: embedding and head are ternary too, and rope is stretched.
#[test]
fn qwen3_bonsai() {
    for own_head in [false, true] {
        let mut row = Row::new("qwen3", 3, 256, 512);
        row.tokenizer = ("gpt2", Some("qwen2"));
        (row.ternary, row.ternary_embedding) = (Kind::TQ2_0, true);
        row.head_length(128).base(1e6).head_norms();
        row.set("rope.dimension_count", 128u32);
        row.set("rope.scaling.type", "yarn").set("rope.scaling.factor", 4f32);
        row.set("rope.scaling.original_context_length", 32u32);
        row.spec.stretch = Stretch::Yarn { factor: 4.0, original: 32.0, fast: 32.0, slow: 1.0 };
        row.spec.magnitude = 1.0 + 0.1 * 4f64.ln();
        if own_head {
            row.head();
        }
        row.matters = vec![
            |spec| spec.magnitude = 1.0,
            |spec| spec.stretch = Stretch::None,
            |spec| spec.stretch = Stretch::Linear(4.0),
            |spec| spec.query_scale = 0.125,
        ];
        row.check();
    }
}

#[test]
fn yarn_with_every_key() {
    let mut row = Row::new("qwen3", 2, 160, 352);
    row.head_norms().base(10_000.0);
    row.set("rope.scaling.type", "yarn").set("rope.scaling.factor", 8f32);
    row.set("rope.scaling.original_context_length", 256u32).set("rope.scaling.attn_factor", 1.25f32);
    row.set("rope.scaling.yarn_beta_fast", 16f32).set("rope.scaling.yarn_beta_slow", 2f32);
    row.set("rope.scaling.yarn_ext_factor", 1f32).set("rope.scaling.yarn_log_multiplier", 0.5f32);
    row.spec.stretch = Stretch::Yarn { factor: 8.0, original: 256.0, fast: 16.0, slow: 2.0 };
    row.spec.magnitude = 1.25 * (1.0 + 0.1 * 8f64.ln()) / (1.0 + 0.05 * 8f64.ln());
    row.check();
}

/// BitNet-embedding-0.6B.
#[test]
fn qwen3_embedding() {
    let mut row = Row::new("qwen3", 3, 160, 352);
    row.tokenizer = ("gpt2", Some("qwen2"));
    row.head_length(64).base(1e6).head_norms().norms_in();
    row.set("rope.dimension_count", 64u32).set("pooling_type", 3u32);
    row.check_embedding(|states| states[states.len() - 1].clone());
    row.set("pooling_type", 1u32);
    row.check_embedding(|states| (0..states[0].len()).map(|i| states.iter().map(|state| state[i]).sum()).collect());
}

/// Layers 5, 11, … see all tokens.
fn five_of_six(layer: usize) -> bool {
    layer % 6 != 5
}

fn gemma3(layers: usize) -> Row {
    let mut row = Row::new("gemma3", layers, 160, 352);
    row.spec.gate = gelu;
    row.spec.embedding_scale = f64::from(160f32.sqrt());
    row.tokenizer = ("llama", Some("default"));
    let width = row.spec.embedding;
    row.head_length(64).head_norms();
    row.of_layers(&[("post_attention_norm.weight", width), ("post_ffw_norm.weight", width)]);
    row
}

/// BitNet-embedding-270M: its converter writes no window.
#[test]
fn gemma3_embedding() {
    let mut row = gemma3(3);
    row.norms_in().base(10_000.0).set("rope.dimension_count", 64u32).set("pooling_type", 3u32);
    row.check_embedding(|states| states[states.len() - 1].clone());
    row.set("pooling_type", 2u32);
    row.check_embedding(|states| states[0].clone());
}

#[test]
fn gemma3_generator() {
    let mut row = gemma3(7);
    row.base(1e6).set("attention.sliding_window", 5u32);
    row.set("rope.scaling.type", "linear").set("rope.scaling.factor", 8f32);
    row.spec.stretch = Stretch::Linear(8.0);
    row.spec.window = Some((5, five_of_six, 10_000.0, false));
    row.matters = vec![
        |spec| spec.window = None,
        |spec| spec.window = Some((6, five_of_six, 10_000.0, false)),
        |spec| spec.window = Some((5, five_of_six, 10_000.0, true)),
        |spec| spec.window = Some((5, five_of_six, 1e6, false)),
        |spec| spec.window = Some((5, |_| true, 10_000.0, false)),
        |spec| spec.embedding_scale = 1.0,
        |spec| spec.gate = silu,
    ];
    row.check();
}

/// What later converters write of the same.
#[test]
fn gemma3_with_every_key() {
    let mut row = gemma3(4);
    row.base(1e6).set("attention.sliding_window", 5u32).set("rope.freq_base_swa", 20_000f32);
    row.set("attention.sliding_window_pattern", Value::Array(Array::Bool(vec![true, false, false, true])));
    row.set("attention.scale", 0.0625f32).set("final_logit_softcapping", 3f32);
    row.spec.window = Some((5, |layer| [true, false, false, true][layer], 20_000.0, false));
    (row.spec.query_scale, row.spec.logit_cap) = (0.0625, Some(3.0));
    row.matters = vec![|spec| spec.logit_cap = None, |spec| spec.query_scale = 0.125];
    row.check();
    row.set("attention.sliding_window_pattern", 2u32);
    row.spec.window = Some((5, |layer| layer % 2 == 0, 20_000.0, false));
    row.check();
}

/// As for Gemma 3's relatives without a window, of whose rope converters write all the same.
#[test]
fn gemma3_without_a_window() {
    let mut row = gemma3(3);
    row.base(1e6).set("rope.freq_base_swa", 10_000f32).set("rope.dimension_count_swa", 64u32);
    row.set("rope.scaling.type", "yarn").set("rope.scaling.factor", 4f32);
    row.set("rope.scaling.original_context_length", 32u32).set("final_logit_softcapping", 30f32);
    row.spec.stretch = Stretch::Yarn { factor: 4.0, original: 32.0, fast: 32.0, slow: 1.0 };
    (row.spec.magnitude, row.spec.logit_cap) = (1.0 + 0.1 * 4f64.ln(), Some(30.0));
    row.matters = vec![|spec| spec.magnitude = 1.0, |spec| spec.base = 10_000.0, |spec| spec.logit_cap = Some(3.0)];
    row.check();
}

/// BitCPM. The context in use decides which factors hold: 14 tokens are more than 10, and fewer than 20.
#[test]
fn minicpm() {
    for (original, factors) in [(10, "rope_factors_long.weight"), (20, "rope_factors_short.weight")] {
        let mut row = Row::new("minicpm", 3, 256, 512);
        (row.ternary, row.tokenizer) = (Kind::TQ2_0, ("llama", Some("default")));
        row.spec.adjacent = true;
        row.set("embedding_scale", 12f32).set("residual_scale", 0.75f32).set("logit_scale", 3f32);
        (row.spec.embedding_scale, row.spec.residual_scale, row.spec.logit_divisor) = (12.0, 0.75, 3.0);
        row.set("rope.scaling.type", "longrope").set("rope.scaling.original_context_length", original as u32);
        row.set("rope.scaling.attn_factor", 1.25f32);
        row.tensor("rope_factors_long.weight", &[32]).tensor("rope_factors_short.weight", &[32]);
        row.spec.stretch = Stretch::Factors(factors);
        row.spec.magnitude = 1.25;
        row.matters = vec![
            |spec| spec.stretch = Stretch::None,
            |spec| spec.magnitude = 1.0,
            |spec| spec.embedding_scale = 1.0,
            |spec| spec.residual_scale = 1.0,
            |spec| spec.logit_divisor = 1.0,
        ];
        row.check();
    }
}

/// Files from before the keys were written.
#[test]
fn minicpm_without_keys() {
    let mut row = Row::new("minicpm", 4, 512, 512);
    (row.ternary, row.tokenizer) = (Kind::TQ2_0, ("llama", None));
    row.spec.adjacent = true;
    (row.spec.embedding_scale, row.spec.residual_scale, row.spec.logit_divisor) = (12.0, 0.7, 2.0);
    row.check();
}

/// Maple preview: experts, a window in three of four layers, and rope in these alone.
#[test]
fn maple() {
    let mut row = Row::new("maple", 4, 256, 256);
    row.spec.experts = Some((8, 3));
    (row.ternary, row.tokenizer) = (Kind::TQ2_0, ("gpt2", Some("qwen2")));
    row.head_length(128).base(1e6).head_norms().head();
    row.spec.rotated = 64;
    row.without("feed_forward_length").set("rope.dimension_count", 64u32);
    row.set("expert_count", 8u32).set("expert_used_count", 3u32).set("expert_feed_forward_length", 256u32);
    row.set("attention.sliding_window", 5u32);
    row.set("attention.sliding_window_pattern", Value::Array(Array::Bool(vec![true, true, true, false])));
    row.set("swiglu_clamp_exp", vec![0.5f32; 4]);
    row.spec.window = Some((5, |layer| layer % 4 != 3, 1e6, true));
    (row.spec.rope_of_whole, row.spec.clamp) = (false, 0.5);
    row.matters = vec![
        |spec| spec.window = Some((6, |layer| layer % 4 != 3, 1e6, true)),
        |spec| spec.window = Some((5, |_| true, 1e6, true)),
        |spec| spec.rope_of_whole = true,
        |spec| spec.clamp = f64::INFINITY,
        |spec| spec.experts = Some((8, 2)),
    ];
    row.check();
    // Files from before the clamp's key; those of another converter, which says it of layers with a window alone.
    row.without("swiglu_clamp_exp").set("rope.dimension_count", 0u32).set("rope.dimension_count_swa", 64u32);
    row.spec.clamp = 7.0;
    row.matters.truncate(3);
    row.check();
}
