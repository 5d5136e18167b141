//! A model's weights: checked all together, then made ready for the forward pass.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::gguf::{self, Kind};
use crate::kernels::Selection;
use crate::linear::{Float, Linear, LinearError, Ternary};
use crate::model::config::Config;
use crate::model::rope::Rope;
use crate::quant::{self, Scales, Trits};
use crate::threads::Pool;
use crate::vector::all_finite;

/// A matrix, and what its product is multiplied with and added to.
#[derive(Debug)]
pub struct Projection {
    /// The matrix.
    pub linear: Linear,
    /// The factor of a tensor `NAME.scale`.
    pub scale: Option<f32>,
    /// The addend of a tensor `NAME.bias`: `[n]`.
    pub bias: Option<Vec<f32>>,
}

/// The weights of one layer.
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
    /// `[heads · value_length]`, where the family has it.
    pub attn_sub_norm: Option<Vec<f32>>,
    /// Back to the residual stream.
    pub output: Projection,
    /// `[embedding]`
    pub ffn_norm: Vec<f32>,
    /// What the activation is applied to.
    pub gate: Projection,
    /// What it multiplies.
    pub up: Projection,
    /// `[feed_forward]`, where the family has it.
    pub ffn_sub_norm: Option<Vec<f32>>,
    /// Back to the residual stream.
    pub down: Projection,
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
    /// Row to logits; the embedding's own matrix where the model ties them.
    pub head: Projection,
    /// Position to rotation.
    pub rope: Rope,
}

impl Weights {
    /// The ternary matrices, from the first layer to the head.
    pub fn ternaries(&self) -> impl Iterator<Item = &Ternary> {
        let of_layers = self.layers.iter().flat_map(|Layer { q, k, v, output, gate, up, down, .. }| {
            [q, k, v, output, gate, up, down].map(|projection| &projection.linear)
        });
        of_layers.chain([&self.head.linear]).filter_map(|linear| match linear {
            Linear::Ternary(ternary) => Some(ternary),
            Linear::Float(_) => None,
        })
    }
}

/// The table of token embeddings, decoded a row at a time.
#[derive(Debug)]
pub enum Embedding {
    /// As in the file.
    Float {
        /// The type of its elements.
        kind: Kind,
        /// Bytes of a row.
        row: usize,
        /// All rows.
        data: gguf::Data,
    },
    /// A ternary table.
    Ternary(Trits),
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
        tensor: &'static str,
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
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A tensor that the architecture has a place for.
struct Place {
    name: String,
    /// Innermost first.
    shape: Vec<usize>,
    required: bool,
    /// Whether it is a matrix, which may be of any type; the others are read as floats.
    matrix: bool,
}

/// Every tensor that a model of this configuration may have.
fn places(config: &Config) -> Vec<Place> {
    let Config { embedding, feed_forward, vocab, heads, .. } = *config;
    let (q, k) = (heads.queries * heads.key_length, heads.kv * heads.key_length);
    let (v, mixed) = (heads.kv * heads.value_length, heads.queries * heads.value_length);
    let mut places = Vec::new();
    let mut place = |name: String, shape: &[usize], required, matrix| {
        places.push(Place { name, shape: shape.to_vec(), required, matrix });
    };
    place(EMBEDDING.into(), &[embedding, vocab], true, true);
    place(HEAD.into(), &[embedding, vocab], false, true);
    place(OUTPUT_NORM.into(), &[embedding], true, false);
    place(ROPE_FACTORS.into(), &[config.rope.dimension / 2], false, false);
    for layer in 0..config.layers {
        for (matrix, n, k) in [
            ("attn_q", q, embedding),
            ("attn_k", k, embedding),
            ("attn_v", v, embedding),
            ("attn_output", embedding, mixed),
            ("ffn_gate", feed_forward, embedding),
            ("ffn_up", feed_forward, embedding),
            ("ffn_down", embedding, feed_forward),
        ] {
            place(format!("blk.{layer}.{matrix}.weight"), &[k, n], true, true);
            place(format!("blk.{layer}.{matrix}.scale"), &[1], false, false);
            place(format!("blk.{layer}.{matrix}.bias"), &[n], false, false);
        }
        for (norm, width) in [("attn_norm", embedding), ("ffn_norm", embedding)] {
            place(format!("blk.{layer}.{norm}.weight"), &[width], true, false);
        }
        if config.family.sub_norms {
            for (norm, width) in [("attn_sub_norm", mixed), ("ffn_sub_norm", feed_forward)] {
                place(format!("blk.{layer}.{norm}.weight"), &[width], true, false);
            }
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
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Weights, WeightsError> {
        let places = places(config);
        check(file, config, &places)?;
        let tied = file.opt_tensor(HEAD).is_none();
        let matrices: Vec<&Place> = places
            .iter()
            .filter(|place| place.matrix && file.opt_tensor(&place.name).is_some())
            .filter(|place| place.name != EMBEDDING || tied)
            .collect();
        let loader = Loader { file, selection };
        let made: Vec<OnceLock<Result<Linear, WeightsError>>> = matrices.iter().map(|_| OnceLock::new()).collect();
        let done = AtomicUsize::new(0);
        pool.for_each(matrices.len(), |_, index| {
            made[index].get_or_init(|| loader.matrix(&matrices[index].name));
            progress(done.fetch_add(1, Relaxed) + 1, matrices.len());
        });
        let mut ready = HashMap::new();
        for (place, made) in matrices.iter().zip(made) {
            // Every index was taken by some thread, and a panic would have been passed on.
            if let Some(made) = made.into_inner() {
                ready.insert(place.name.as_str(), made?);
            }
        }
        loader.assemble(config, ready, tied)
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
            return Ok(Embedding::Ternary(self.trits(EMBEDDING)?));
        }
        let (rows, data) = (tensor.n() as usize, self.file.data(tensor));
        // Decoding the first row proves that the others can be.
        let row = data.len() / rows;
        let mut first = vec![0f32; tensor.k() as usize];
        quant::float::decode(tensor.kind, &data[..row], &mut first).map_err(self.decode_error(EMBEDDING))?;
        Ok(Embedding::Float { kind: tensor.kind, row, data })
    }

    fn assemble(&self, config: &Config, mut ready: HashMap<&str, Linear>, tied: bool) -> Result<Weights, WeightsError> {
        let mut take = |name: &str| match ready.remove(name) {
            Some(linear) => Ok(linear),
            None => self.matrix(name),
        };
        let mut layers = Vec::new();
        for index in 0..config.layers {
            let mut projection = |matrix: &str| {
                Ok::<_, WeightsError>(Projection {
                    linear: take(&format!("blk.{index}.{matrix}.weight"))?,
                    scale: self.opt_vector(&format!("blk.{index}.{matrix}.scale"))?.map(|scale| scale[0]),
                    bias: self.opt_vector(&format!("blk.{index}.{matrix}.bias"))?,
                })
            };
            let norm = |norm: &str| self.vector(&format!("blk.{index}.{norm}.weight"));
            let sub_norm = |name: &str| config.family.sub_norms.then(|| norm(name)).transpose();
            layers.push(Layer {
                attn_norm: norm("attn_norm")?,
                q: projection("attn_q")?,
                k: projection("attn_k")?,
                v: projection("attn_v")?,
                attn_sub_norm: sub_norm("attn_sub_norm")?,
                output: projection("attn_output")?,
                ffn_norm: norm("ffn_norm")?,
                gate: projection("ffn_gate")?,
                up: projection("ffn_up")?,
                ffn_sub_norm: sub_norm("ffn_sub_norm")?,
                down: projection("ffn_down")?,
            });
        }
        let head = take(if tied { EMBEDDING } else { HEAD })?;
        let rope = config.rope;
        let factors = self.opt_vector(ROPE_FACTORS)?.unwrap_or_default();
        if let Some((pair, &factor)) = factors.iter().enumerate().find(|&(_, &factor)| factor <= 0.0) {
            return Err(WeightsError::RopeFactor { path: self.file.path().into(), tensor: ROPE_FACTORS, pair, factor });
        }
        Ok(Weights {
            embedding: self.embedding()?,
            layers,
            output_norm: self.vector(OUTPUT_NORM)?,
            head: Projection { linear: head, scale: None, bias: None },
            rope: Rope::new(rope.pairing, rope.dimension, rope.base, rope.divisor, &factors),
        })
    }
}

impl Embedding {
    /// Decodes the row of a token that the vocabulary has; returns whether it is finite.
    pub fn look_up(&self, token: u32, out: &mut [f32]) -> bool {
        let token = token as usize;
        match self {
            Embedding::Float { kind, row, data } => {
                quant::float::decode(*kind, &data[token * row..][..*row], out).is_ok() && all_finite(out)
            }
            Embedding::Ternary(trits) => {
                let codes = &trits.codes[token * trits.k..][..trits.k];
                for (i, (out, &code)) in out.iter_mut().zip(codes).enumerate() {
                    let scale = match &trits.scales {
                        Scales::Tensor(scale) => *scale,
                        Scales::Row(scales) => scales[token],
                        Scales::Block { size, scales } => scales[(token * trits.k + i) / size],
                    };
                    *out = (f32::from(code) - 1.0) * scale;
                }
                true
            }
        }
    }
}
