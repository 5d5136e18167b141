//! A model's weights: checked all together, then made ready for the forward pass.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::gguf;
use crate::kernels::Selection;
use crate::linear::{Float, Linear, LinearError, Ternary};
use crate::model::LoadOptions;
use crate::model::activation::Activation;
use crate::model::config::{Config, Experts};
use crate::model::embedding::{Embedding, TernaryTable};
use crate::model::head::{Head, HeadMode};
use crate::model::rope::{Rope, RopeConfig, Ropes, Scaling};
use crate::quant::{self, Scales, Trits};
use crate::threads::Pool;
use crate::vector::all_finite;

/// A matrix, what it reads is normalised by, and what its product is multiplied with and added to.
#[derive(Debug)]
pub struct Projection {
    /// The matrix.
    pub linear: Linear,
    /// A norm of what the matrix reads, after the branch's own: `[k]`.
    pub norm: Option<Vec<f32>>,
    /// The factor of a tensor `NAME.scale`.
    pub scale: Option<f32>,
    /// The addend of a tensor `NAME.bias`: `[n]`.
    pub bias: Option<Vec<f32>>,
}

impl Projection {
    /// A matrix alone.
    fn plain(linear: Linear) -> Self {
        Projection { linear, norm: None, scale: None, bias: None }
    }
}

/// How much of the context a layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it.
    Whole,
    /// So many of the latest tokens, a token's own included.
    Window(usize),
}

/// The weights of one layer, and what was decided about it.
#[derive(Debug)]
pub struct Layer {
    /// `[embedding]`
    pub attn_norm: Vec<f32>,
    /// Queries.
    pub q: Projection,
    /// Keys.
    pub k: Projection,
    /// Values.
    pub v: Projection,
    /// Of each query before rope: `[key_length]`, where the family has it.
    pub q_norm: Option<Vec<f32>>,
    /// Of each key before rope: `[key_length]`, where the family has it.
    pub k_norm: Option<Vec<f32>>,
    /// What attention sees, and by which rope.
    pub reach: Reach,
    /// Back to the residual stream.
    pub output: Projection,
    /// Of what attention adds to the residual stream: `[embedding]`, where the family has it.
    pub attn_post_norm: Option<Vec<f32>>,
    /// `[embedding]`
    pub ffn_norm: Vec<f32>,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
    /// What is done to the gate before it multiplies.
    pub activation: Activation,
    /// Of what the feed-forward network adds to the residual stream: `[embedding]`, where the family has it.
    pub ffn_post_norm: Option<Vec<f32>>,
}

/// The feed-forward network of a layer.
#[derive(Debug)]
pub enum FeedForward {
    /// One for all tokens.
    Dense(Box<Gated>),
    /// Several, of which each token uses a few.
    Mixture {
        /// Row to a score for each expert.
        router: Box<Projection>,
        /// `[experts]`
        experts: Vec<Gated>,
        /// Experts of a token.
        used: usize,
    },
}

/// A gated feed-forward network: down(act(gate(x)) · up(x)).
#[derive(Debug)]
pub struct Gated {
    /// What the activation is applied to.
    pub gate: Projection,
    /// What it multiplies.
    pub up: Projection,
    /// Back to the residual stream.
    pub down: Projection,
}

impl Gated {
    fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down].map(|projection| &projection.linear)
    }
}

impl FeedForward {
    fn linears(&self) -> Vec<&Linear> {
        match self {
            FeedForward::Dense(gated) => gated.linears().to_vec(),
            FeedForward::Mixture { router, experts, .. } => {
                let of_experts = experts.iter().flat_map(Gated::linears);
                [&router.linear].into_iter().chain(of_experts).collect()
            }
        }
    }
}

/// All weights of a model.
#[derive(Debug)]
pub struct Weights {
    /// Token to row.
    pub embedding: Embedding,
    /// From the first to the last.
    pub layers: Vec<Layer>,
    /// `[embedding]`
    pub output_norm: Vec<f32>,
    /// Row to logits, the embedding's own matrix where the model ties them; `None` in a model of embeddings.
    pub head: Option<Head>,
    /// Position to rotation.
    ropes: Ropes,
    /// The rotations of longer contexts than so many tokens, where they differ.
    long: Option<(usize, Ropes)>,
}

impl Weights {
    /// The ternary matrices, from the first layer to the head.
    pub fn ternaries(&self) -> impl Iterator<Item = &Ternary> {
        let of_layers = self.layers.iter().flat_map(|Layer { q, k, v, output, feed_forward, .. }| {
            [q, k, v, output].map(|projection| &projection.linear).into_iter().chain(feed_forward.linears())
        });
        let head = self.head.iter().map(|head| &head.projection.linear);
        of_layers.chain(head).filter_map(|linear| match linear {
            Linear::Ternary(ternary) => Some(ternary),
            Linear::Float(_) => None,
        })
    }

    /// How positions are told apart where there is to be room for `context` tokens.
    pub fn ropes(&self, context: usize) -> &Ropes {
        match &self.long {
            Some((original, long)) if context > *original => long,
            _ => &self.ropes,
        }
    }
}

/// Weights that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A tensor is missing.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// A tensor of another shape than the metadata say.
    #[error(
        "{}: the tensor `{tensor}` has shape {found:?}, but the metadata make it {expected:?}; the file is damaged or its \
         converter is at fault: download it again or convert the model again", path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape, innermost first.
        found: Vec<u64>,
        /// The shape it should have.
        expected: Vec<u64>,
    },
    /// A tensor that the architecture does not have.
    #[error(
        "{}: the tensor `{tensor}` has no place in the architecture {architecture} as it is implemented, and ignoring it \
         would change the result; get the model in another form, or a newer tritune", path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// A tensor that cannot be decoded.
    #[error("{}: the tensor `{tensor}`: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Why.
        source: quant::Error,
    },
    /// A norm, scale or bias with an infinite or NaN element.
    #[error("{}: the tensor `{tensor}` has elements that are not finite; the file is damaged: download it again",
            path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A factor that no frequency can be divided by.
    #[error(
        "{}: the tensor `{tensor}` has the factor {factor} for pair {pair}, but frequencies are divided by what is \
         greater than 0; the file is damaged or its converter is at fault: download it again or convert the model again",
        path.display()
    )]
    RopeFactor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Which pair of elements turns at this frequency, from 0.
        pair: usize,
        /// The factor.
        factor: f32,
    },
    /// A matrix that no kernel serves.
    #[error("{}: {source}", path.display())]
    Linear {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LinearError,
    },
}

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";
const OUTPUT_NORM: &str = "output_norm.weight";
const HEAD_BIAS: &str = "output.bias";
const ROPE_FACTORS: &str = "rope_freqs.weight";
const LONG_FACTORS: &str = "rope_factors_long.weight";
const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// What a tensor is to be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Floats.
    Vector,
    /// Of any type.
    Matrix,
    /// Matrices of one shape, one behind the other.
    Stack,
}

/// A tensor that the architecture has a place for.
struct Place {
    name: String,
    /// Innermost first.
    shape: Vec<usize>,
    required: bool,
    form: Form,
}

/// Every tensor that a model of this configuration may have.
fn places(config: &Config) -> Vec<Place> {
    let Config { embedding, feed_forward, vocab, heads, .. } = *config;
    let (q, k) = (heads.queries * heads.key_length, heads.kv * heads.key_length);
    let (v, mixed) = (heads.kv * heads.value_length, heads.queries * heads.value_length);
    let mut places = Vec::new();
    let mut place = |name: String, shape: &[usize], required, form| {
        places.push(Place { name, shape: shape.to_vec(), required, form });
    };
    place(EMBEDDING.into(), &[embedding, vocab], true, Form::Matrix);
    place(HEAD.into(), &[embedding, vocab], false, Form::Matrix);
    if config.family.head_bias {
        place(HEAD_BIAS.into(), &[vocab], false, Form::Vector);
    }
    place(OUTPUT_NORM.into(), &[embedding], true, Form::Vector);
    match config.rope {
        Some(RopeConfig { scaling: Scaling::LongRope { .. }, dimension, .. }) => {
            for factors in [LONG_FACTORS, SHORT_FACTORS] {
                place(factors.into(), &[dimension / 2], true, Form::Vector);
            }
        }
        Some(RopeConfig { dimension, .. }) => place(ROPE_FACTORS.into(), &[dimension / 2], false, Form::Vector),
        None => {}
    }
    let attention = [
        ("attn_q", q, embedding),
        ("attn_k", k, embedding),
        ("attn_v", v, embedding),
        ("attn_output", embedding, mixed),
    ];
    let gated = [
        ("ffn_gate", feed_forward, embedding),
        ("ffn_up", feed_forward, embedding),
        ("ffn_down", embedding, feed_forward),
    ];
    let experts = config.experts.as_ref().map(|experts| experts.count);
    let dense = if experts.is_none() { &gated[..] } else { &[] };
    for layer in 0..config.layers {
        for &(matrix, n, k) in attention.iter().chain(dense) {
            place(format!("blk.{layer}.{matrix}.weight"), &[k, n], true, Form::Matrix);
            place(format!("blk.{layer}.{matrix}.scale"), &[1], false, Form::Vector);
            place(format!("blk.{layer}.{matrix}.bias"), &[n], false, Form::Vector);
        }
        if let Some(count) = experts {
            place(format!("blk.{layer}.ffn_gate_inp.weight"), &[embedding, count], true, Form::Matrix);
            for (matrix, n, k) in gated {
                place(format!("blk.{layer}.{matrix}_exps.weight"), &[k, n, count], true, Form::Stack);
            }
        }
        let mut norm = |norm: &str, width| place(format!("blk.{layer}.{norm}.weight"), &[width], true, Form::Vector);
        norm("attn_norm", embedding);
        norm("ffn_norm", embedding);
        if config.family.head_norms {
            norm("attn_q_norm", heads.key_length);
            norm("attn_k_norm", heads.key_length);
        }
        if config.family.post_norms {
            norm("post_attention_norm", embedding);
            norm("post_ffw_norm", embedding);
        }
        for (of, name) in config.input_norms {
            let width = attention.iter().chain(&gated).find(|(matrix, ..)| matrix == of).map_or(0, |&(.., k)| k);
            norm(name, width);
        }
    }
    places
}

/// Compares the file's tensors with the places, in both directions.
fn check(file: &gguf::File, config: &Config, places: &[Place]) -> Result<(), WeightsError> {
    for Place { name, shape, required, .. } in places {
        let Some(tensor) = file.opt_tensor(name) else {
            if *required {
                file.tensor(name)?;
            }
            continue;
        };
        let expected: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
        // Dimensions of 1 may follow.
        let same = tensor.shape.starts_with(&expected) && tensor.shape[expected.len()..].iter().all(|&size| size == 1);
        if !same {
            let (path, tensor, found) = (file.path().into(), name.clone(), tensor.shape.clone());
            return Err(WeightsError::Shape { path, tensor, found, expected });
        }
        if let Err(source) = quant::check(tensor.kind, tensor.n() as usize, tensor.k() as usize) {
            return Err(WeightsError::Decode { path: file.path().into(), tensor: name.clone(), source });
        }
    }
    let known: HashSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
    let placed = |tensor: &gguf::Tensor| known.contains(tensor.name.as_str()) || file.is_lookup_scale(tensor);
    match file.tensors().iter().find(|tensor| !placed(tensor)) {
        None => Ok(()),
        Some(tensor) => Err(WeightsError::Unknown {
            path: file.path().into(),
            tensor: tensor.name.clone(),
            architecture: config.family.architecture,
        }),
    }
}

impl Weights {
    /// Checks that the file has every tensor of such a model, in its shape, and no other.
    ///
    /// # Errors
    /// Names the first tensor that is missing, has another shape, or has no place.
    pub fn check(file: &gguf::File, config: &Config) -> Result<(), WeightsError> {
        check(file, config, &places(config))
    }

    /// Checks all tensors, then decodes and packs them, spread over the pool. `progress(done, matrices)` is called from
    /// whichever thread has finished a matrix.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape than the metadata say, or cannot be used; one that has no place.
    pub fn load(
        file: &gguf::File,
        config: &Config,
        selection: &Selection,
        pool: &Pool,
        options: LoadOptions,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Weights, WeightsError> {
        let places = places(config);
        check(file, config, &places)?;
        let tied = file.opt_tensor(HEAD).is_none();
        // A model of embeddings has no use for a head.
        let head = config.pooling.is_none().then_some(if tied { EMBEDDING } else { HEAD });
        let matrices: Vec<&Place> = places
            .iter()
            .filter(|place| place.form != Form::Vector && file.opt_tensor(&place.name).is_some())
            .filter(|place| ![EMBEDDING, HEAD].contains(&place.name.as_str()) || Some(place.name.as_str()) == head)
            .collect();
        let loader = Loader { file, selection };
        let made: Vec<OnceLock<Result<Vec<Linear>, WeightsError>>> = matrices.iter().map(|_| OnceLock::new()).collect();
        let done = AtomicUsize::new(0);
        pool.for_each(matrices.len(), |_, index| {
            made[index].get_or_init(|| loader.matrices(matrices[index]));
            progress(done.fetch_add(1, Relaxed) + 1, matrices.len());
        });
        let mut ready = HashMap::new();
        for (place, made) in matrices.iter().zip(made) {
            // Every index was taken by some thread, and a panic would have been passed on.
            if let Some(made) = made.into_inner() {
                ready.insert(place.name.as_str(), made?);
            }
        }
        let mut weights = loader.assemble(config, &mut Ready { loader: &loader, matrices: ready }, head)?;
        if let Some(head) = weights.head.as_mut().filter(|_| options.head == HeadMode::TwoStage) {
            head.copy(pool, &config.scales).map_err(loader.decode_error(if tied { EMBEDDING } else { HEAD }))?;
        }
        Ok(weights)
    }
}

/// Matrices that have been made, by their tensors' names.
struct Ready<'a> {
    loader: &'a Loader<'a>,
    matrices: HashMap<&'a str, Vec<Linear>>,
}

impl Ready<'_> {
    /// All matrices of a stack.
    fn stack(&mut self, name: &str) -> Result<Vec<Linear>, WeightsError> {
        match self.matrices.remove(name) {
            Some(matrices) => Ok(matrices),
            None => Ok(vec![self.loader.matrix(name)?]),
        }
    }

    fn matrix(&mut self, name: &str) -> Result<Linear, WeightsError> {
        match self.matrices.remove(name).and_then(|mut matrices| matrices.pop()) {
            Some(linear) => Ok(linear),
            None => self.loader.matrix(name),
        }
    }

    /// A matrix of a layer with all that the file has for it.
    fn projection(&mut self, config: &Config, layer: usize, matrix: &str) -> Result<Projection, WeightsError> {
        let name = |what: &str| format!("blk.{layer}.{matrix}.{what}");
        let norm = config.input_norms.iter().find(|(of, _)| *of == matrix);
        let norm = norm.map(|(_, norm)| self.loader.vector(&format!("blk.{layer}.{norm}.weight")));
        Ok(Projection {
            linear: self.matrix(&name("weight"))?,
            norm: norm.transpose()?,
            scale: self.loader.opt_vector(&name("scale"))?.map(|scale| scale[0]),
            bias: self.loader.opt_vector(&name("bias"))?,
        })
    }

    fn feed_forward(&mut self, config: &Config, layer: usize) -> Result<FeedForward, WeightsError> {
        let Some(Experts { used, .. }) = config.experts else {
            return Ok(FeedForward::Dense(Box::new(Gated {
                gate: self.projection(config, layer, "ffn_gate")?,
                up: self.projection(config, layer, "ffn_up")?,
                down: self.projection(config, layer, "ffn_down")?,
            })));
        };
        let router = Box::new(self.projection(config, layer, "ffn_gate_inp")?);
        let mut stack = |matrix: &str| self.stack(&format!("blk.{layer}.{matrix}_exps.weight"));
        let (gates, ups, downs) = (stack("ffn_gate")?, stack("ffn_up")?, stack("ffn_down")?);
        let experts = gates.into_iter().zip(ups).zip(downs).map(|((gate, up), down)| {
            let [gate, up, down] = [gate, up, down].map(Projection::plain);
            Gated { gate, up, down }
        });
        Ok(FeedForward::Mixture { router, experts: experts.collect(), used })
    }
}

struct Loader<'a> {
    file: &'a gguf::File,
    selection: &'a Selection,
}

impl Loader<'_> {
    fn decode_error(&self, name: &str) -> impl FnOnce(quant::Error) -> WeightsError {
        let (path, tensor) = (self.file.path().into(), name.into());
        move |source| WeightsError::Decode { path, tensor, source }
    }

    fn matrix(&self, name: &str) -> Result<Linear, WeightsError> {
        let tensor = self.file.tensor(name)?;
        let (n, k) = (tensor.n() as usize, tensor.k() as usize);
        if tensor.kind.is_ternary() {
            let trits = self.trits(name)?;
            let packed = Ternary::new(name, &trits, self.selection);
            return packed
                .map(Linear::Ternary)
                .map_err(|source| WeightsError::Linear { path: self.file.path().into(), source });
        }
        let float = Float::new(tensor.kind, n, k, self.file.data(tensor)).map_err(self.decode_error(name))?;
        Ok(Linear::Float(float))
    }

    /// The matrices of a place: one, but for stacks.
    fn matrices(&self, place: &Place) -> Result<Vec<Linear>, WeightsError> {
        let (Form::Stack, &[k, n, count]) = (place.form, &place.shape[..]) else {
            return Ok(vec![self.matrix(&place.name)?]);
        };
        let (name, tensor) = (&place.name, self.file.tensor(&place.name)?);
        if !tensor.kind.is_ternary() {
            let data = self.file.data(tensor);
            let bytes = data.len() / count;
            let float = |i: usize| Float::new(tensor.kind, n, k, data.slice(i * bytes..(i + 1) * bytes));
            let floats = (0..count).map(|i| float(i).map(Linear::Float)).collect::<Result<_, quant::Error>>();
            return floats.map_err(self.decode_error(name));
        }
        let packed = |trits: &Trits| {
            let packed = Ternary::new(name, trits, self.selection).map(Linear::Ternary);
            packed.map_err(|source| WeightsError::Linear { path: self.file.path().into(), source })
        };
        let data = self.file.data(tensor);
        if tensor.kind.is_sliced_by_rows(n) {
            let bytes = data.len() / count;
            let decoded = (0..count).map(|i| quant::trits::decode(tensor.kind, &data[i * bytes..][..bytes], n, k));
            return decoded.map(|trits| packed(&trits.map_err(self.decode_error(name))?)).collect();
        }
        let all = self.trits(name)?;
        (0..count).map(|i| packed(&rows_of(&all, i * n..(i + 1) * n))).collect()
    }

    fn trits(&self, name: &str) -> Result<Trits, WeightsError> {
        let tensor = self.file.tensor(name)?;
        let (n, k) = (tensor.n() as usize, tensor.k() as usize);
        let mut trits =
            quant::trits::decode(tensor.kind, &self.file.data(tensor), n, k).map_err(self.decode_error(name))?;
        if let Some(scale) = self.file.lookup_scale(tensor) {
            trits.scales = trits.scales.times(self.vector(&scale.name)?[0]);
        }
        Ok(trits)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.file.tensor(name)?;
        let mut vector = vec![0f32; tensor.elements() as usize];
        quant::float::decode(tensor.kind, &self.file.data(tensor), &mut vector).map_err(self.decode_error(name))?;
        if all_finite(&vector) {
            Ok(vector)
        } else {
            Err(WeightsError::NotFinite { path: self.file.path().into(), tensor: name.into() })
        }
    }

    fn opt_vector(&self, name: &str) -> Result<Option<Vec<f32>>, WeightsError> {
        self.file.opt_tensor(name).map(|_| self.vector(name)).transpose()
    }

    fn embedding(&self) -> Result<Embedding, WeightsError> {
        let tensor = self.file.tensor(EMBEDDING)?;
        if tensor.kind.is_ternary() {
            return Ok(Embedding::Ternary(TernaryTable::new(&self.trits(EMBEDDING)?)));
        }
        let (rows, data) = (tensor.n() as usize, self.file.data(tensor));
        // Decoding the first row proves that the others can be.
        let row = data.len() / rows;
        let mut first = vec![0f32; tensor.k() as usize];
        quant::float::decode(tensor.kind, &data[..row], &mut first).map_err(self.decode_error(EMBEDDING))?;
        Ok(Embedding::Float { kind: tensor.kind, row, data })
    }

    fn assemble(&self, config: &Config, ready: &mut Ready<'_>, head: Option<&str>) -> Result<Weights, WeightsError> {
        let layers = (0..config.layers).map(|index| {
            let norm = |norm: &str| self.vector(&format!("blk.{index}.{norm}.weight"));
            let opt_norm = |name: &str, there: bool| there.then(|| norm(name)).transpose();
            let window = config.window.as_ref().filter(|window| window.layers[index]);
            let limit = config.experts.as_ref().map_or(0.0, |experts| experts.limits[index]);
            Ok::<_, WeightsError>(Layer {
                attn_norm: norm("attn_norm")?,
                q: ready.projection(config, index, "attn_q")?,
                k: ready.projection(config, index, "attn_k")?,
                v: ready.projection(config, index, "attn_v")?,
                q_norm: opt_norm("attn_q_norm", config.family.head_norms)?,
                k_norm: opt_norm("attn_k_norm", config.family.head_norms)?,
                reach: window.map_or(Reach::Whole, |window| Reach::Window(window.tokens)),
                output: ready.projection(config, index, "attn_output")?,
                attn_post_norm: opt_norm("post_attention_norm", config.family.post_norms)?,
                ffn_norm: norm("ffn_norm")?,
                feed_forward: ready.feed_forward(config, index)?,
                activation: match config.activation {
                    Activation::Silu if limit > LEAST_LIMIT => Activation::ClampedSilu { limit },
                    activation => activation,
                },
                ffn_post_norm: opt_norm("post_ffw_norm", config.family.post_norms)?,
            })
        });
        let layers = layers.collect::<Result<_, WeightsError>>()?;
        let head = head.map(|name| {
            let bias = self.opt_vector(HEAD_BIAS)?;
            Ok::<_, WeightsError>(Head::new(Projection { bias, ..Projection::plain(ready.matrix(name)?) }))
        });
        let (ropes, long) = self.ropes(config)?;
        Ok(Weights {
            embedding: self.embedding()?,
            layers,
            output_norm: self.vector(OUTPUT_NORM)?,
            head: head.transpose()?,
            ropes,
            long,
        })
    }

    /// The rotations, and those of longer contexts than so many tokens.
    fn ropes(&self, config: &Config) -> Result<(Ropes, Option<(usize, Ropes)>), WeightsError> {
        let window = config.window.as_ref().map(|window| Rope::new(&window.rope, &[]));
        let with = |factors: &[f32]| Ropes {
            whole: config.rope.map(|rope| Rope::new(&rope, factors)),
            window: window.clone(),
        };
        match config.rope {
            Some(RopeConfig { scaling: Scaling::LongRope { original }, .. }) => {
                let (short, long) = (self.rope_factors(SHORT_FACTORS)?, self.rope_factors(LONG_FACTORS)?);
                Ok((with(&short), Some((original, with(&long)))))
            }
            _ => Ok((with(&self.rope_factors(ROPE_FACTORS)?), None)),
        }
    }

    fn rope_factors(&self, tensor: &str) -> Result<Vec<f32>, WeightsError> {
        let factors = self.opt_vector(tensor)?.unwrap_or_default();
        match factors.iter().enumerate().find(|&(_, &factor)| factor <= 0.0) {
            Some((pair, &factor)) => {
                let path = self.file.path().into();
                Err(WeightsError::RopeFactor { path, tensor: tensor.into(), pair, factor })
            }
            None => Ok(factors),
        }
    }
}

/// Limits up to this clamp nothing, as llama.cpp has it.
const LEAST_LIMIT: f32 = 1e-6;

/// Some rows of a matrix of trits.
fn rows_of(trits: &Trits, rows: Range<usize>) -> Trits {
    let Trits { k, codes, scales, .. } = trits;
    let scales = match scales {
        Scales::Tensor(scale) => Scales::Tensor(*scale),
        Scales::Row(scales) => Scales::Row(scales[rows.clone()].to_vec()),
        Scales::Block { size, scales } => {
            let blocks = k / size;
            Scales::Block { size: *size, scales: scales[rows.start * blocks..rows.end * blocks].to_vec() }
        }
    };
    Trits { n: rows.len(), k: *k, codes: codes[rows.start * k..rows.end * k].to_vec(), scales }
}
