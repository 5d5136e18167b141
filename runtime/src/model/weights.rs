//! A model's weights: checked all together, then made ready for the forward pass.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use crate::gguf;
use crate::kernels::Selection;
use crate::linear::{Linear, LinearError, Ternary};
use crate::model::activation::Activation;
use crate::model::config::Config;
use crate::model::embedding::Embedding;
use crate::model::head::Head;
use crate::model::loader::{LoadOptions, LoadReport, Loader};
use crate::model::rope::{RopeConfig, Ropes, Scaling};
use crate::pack::Section;
use crate::quant;
use crate::threads::Pool;

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
    pub(super) fn plain(linear: Linear) -> Self {
        Projection { linear, norm: None, scale: None, bias: None }
    }

    /// The matrix of `file` that is called `name`, with the factor and the addend that are named after it, made ready as
    /// a model's are.
    ///
    /// # Errors
    /// A tensor that is missing, of a shape that does not fit, or cannot be used.
    pub(crate) fn read(
        file: &gguf::File,
        name: &str,
        selection: &Selection,
        pool: &Pool,
    ) -> Result<Self, WeightsError> {
        let tensor = file.tensor(name)?;
        let (k, n) = (tensor.k() as usize, tensor.n() as usize);
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let matrix = Place { name: name.into(), shape: vec![k, n], required: true, form: Form::Matrix };
        let vector = |what: &str, length| Place {
            name: format!("{stem}.{what}"),
            shape: vec![length],
            required: false,
            form: Form::Vector,
        };
        for place in [&matrix, &vector("scale", 1), &vector("bias", n)] {
            check_place(file, place)?;
        }
        Loader::new(file, selection, pool, LoadOptions::default(), &|_, _| ()).projection(&matrix, stem)
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
    pub(super) ropes: Ropes,
    /// The rotations of longer contexts than so many tokens, where they differ.
    pub(super) long: Option<(usize, Ropes)>,
    pub(super) sections: Vec<Section>,
    pub(super) report: LoadReport,
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

    /// What a file of packed weights is to hold, so that the next load finds them as they are: none where this one was not
    /// asked to look for such a file. They share the weights' memory.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What loading came to.
    pub fn report(&self) -> LoadReport {
        self.report
    }

    /// How positions are told apart where there is to be room for `context` tokens.
    pub fn ropes(&self, context: usize) -> &Ropes {
        match &self.long {
            Some((_, long)) if self.is_long(context) => long,
            _ => &self.ropes,
        }
    }

    /// Whether a context of `context` tokens has other factors than a short one.
    pub fn is_long(&self, context: usize) -> bool {
        self.long.as_ref().is_some_and(|(original, _)| context > *original)
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
    /// No room for what is packed.
    #[error("{}: there is no memory for its packed weights ({source}); end other programs, or take a smaller model",
            path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
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

pub(super) const EMBEDDING: &str = "token_embd.weight";
pub(super) const HEAD: &str = "output.weight";
pub(super) const OUTPUT_NORM: &str = "output_norm.weight";
pub(super) const HEAD_BIAS: &str = "output.bias";
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
pub(super) const LONG_FACTORS: &str = "rope_factors_long.weight";
pub(super) const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// What a tensor is to be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Floats.
    Vector,
    /// Of any type.
    Matrix,
    /// Matrices of one shape, one behind the other.
    Stack,
}

/// A tensor that the architecture has a place for.
pub(super) struct Place {
    pub(super) name: String,
    /// Innermost first.
    pub(super) shape: Vec<usize>,
    required: bool,
    pub(super) form: Form,
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

/// Compares a place with the tensor that the file has for it.
fn check_place(file: &gguf::File, place: &Place) -> Result<(), WeightsError> {
    let Place { name, shape, required, .. } = place;
    let Some(tensor) = file.opt_tensor(name) else {
        return if *required { file.tensor(name).map(|_| ()).map_err(WeightsError::from) } else { Ok(()) };
    };
    let expected: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    // Dimensions of 1 may follow.
    let same = tensor.shape.starts_with(&expected) && tensor.shape[expected.len()..].iter().all(|&size| size == 1);
    if !same {
        let (path, tensor, found) = (file.path().into(), name.clone(), tensor.shape.clone());
        return Err(WeightsError::Shape { path, tensor, found, expected });
    }
    quant::check(tensor.kind, tensor.n() as usize, tensor.k() as usize).map_err(|source| WeightsError::Decode {
        path: file.path().into(),
        tensor: name.clone(),
        source,
    })
}

/// Compares the file's tensors with the places, in both directions.
fn check(file: &gguf::File, config: &Config, places: &[Place]) -> Result<(), WeightsError> {
    places.iter().try_for_each(|place| check_place(file, place))?;
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
        options: LoadOptions<'_>,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Weights, WeightsError> {
        let places = places(config);
        check(file, config, &places)?;
        Loader::new(file, selection, pool, options, progress).load(config, &places)
    }
}
