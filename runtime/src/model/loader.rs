//! Makes a model's weights of a file's tensors: floats as they are, trits packed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::packing::{self, Failure, Plan};
use super::weights::{
    EMBEDDING, FeedForward, Form, Gated, HEAD, HEAD_BIAS, LONG_FACTORS, Layer, OUTPUT_NORM, Place, Projection,
    ROPE_FACTORS, Reach, SHORT_FACTORS, Weights, WeightsError,
};
use crate::gguf::{self, Data, Tensor};
use crate::kernels::{Choice, PackError, Packed, Selection};
use crate::linear::{Float, Linear, LinearError, Ternary};
use crate::model::activation::Activation;
use crate::model::config::{Config, Experts};
use crate::model::embedding::{Embedding, TernaryTable};
use crate::model::head::{Head, HeadMode};
use crate::model::rope::{Rope, RopeConfig, Ropes, Scaling};
use crate::pack::{self, Pack, Section};
use crate::quant::{self, Rows, Scales};
use crate::threads::Pool;
use crate::tokenizer::LazyTokenizer;
use crate::vector::all_finite;

/// How a model is to be loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions<'a> {
    /// How the head is computed.
    pub head: HeadMode,
    /// Weights that were packed before, to be taken where they are as the kernels want them. Nothing is written to it:
    /// [`Weights::sections`] says what it is to hold next.
    pub pack: Option<&'a Pack>,
    /// The file's tokenizer, of who has made it, or has begun to; else it is made when the model is first asked for it.
    pub tokenizer: Option<&'a LazyTokenizer>,
}

/// What loading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Ternary matrices of the model.
    pub ternary: usize,
    /// How many of them were packed before.
    pub packed_before: usize,
    /// How long it took to pack the others.
    pub packing: Duration,
}

/// Matrices by their tensors' names, their sections, and how they came about.
type Made<'a> = (HashMap<&'a str, Vec<Linear>>, Vec<Section>, LoadReport);

/// Matrices that have been made, by their tensors' names.
struct Ready<'a> {
    loader: &'a Loader<'a>,
    matrices: HashMap<&'a str, Vec<Linear>>,
}

impl Ready<'_> {
    /// All matrices of a stack.
    fn stack(&mut self, name: &str) -> Result<Vec<Linear>, WeightsError> {
        self.matrices.remove(name).ok_or_else(|| self.loader.missing(name))
    }

    fn matrix(&mut self, name: &str) -> Result<Linear, WeightsError> {
        self.stack(name)?.pop().ok_or_else(|| self.loader.missing(name))
    }

    /// A matrix by its tensor's name, with the factor and the addend that are named after `stem`.
    fn named(&mut self, name: &str, stem: &str) -> Result<Projection, WeightsError> {
        Ok(Projection {
            linear: self.matrix(name)?,
            norm: None,
            scale: self.loader.opt_vector(&format!("{stem}.scale"))?.map(|scale| scale[0]),
            bias: self.loader.opt_vector(&format!("{stem}.bias"))?,
        })
    }

    /// A matrix of a layer with all that the file has for it.
    fn projection(&mut self, config: &Config, layer: usize, matrix: &str) -> Result<Projection, WeightsError> {
        let stem = format!("blk.{layer}.{matrix}");
        let norm = config.input_norms.iter().find(|(of, _)| *of == matrix);
        let norm = norm.map(|(_, norm)| self.loader.vector(&format!("blk.{layer}.{norm}.weight")));
        Ok(Projection { norm: norm.transpose()?, ..self.named(&format!("{stem}.weight"), &stem)? })
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

/// What weights are made of, and how.
pub(super) struct Loader<'a> {
    file: &'a gguf::File,
    selection: &'a Selection,
    pool: &'a Pool,
    options: LoadOptions<'a>,
    progress: &'a (dyn Fn(usize, usize) + Sync),
    /// By rows, columns, columns under a scale.
    choices: Mutex<HashMap<(usize, usize, usize), Choice>>,
}

/// A matrix on its way.
enum Stage {
    Float(Float),
    Packed(Packed, Scales, Choice),
    /// A tensor of those that are to be packed, the first of its rows, and what is known of them.
    Unpacked(usize, usize, Scales, Choice),
}

/// The matrices of a place on their way: one, but for stacks.
struct Stages<'a> {
    name: &'a str,
    n: usize,
    k: usize,
    /// Where they are still to be packed: all their rows, or those of each.
    rows: Vec<Rows<'a>>,
    matrices: Vec<Stage>,
}

impl Stages<'_> {
    /// What a matrix is called in a file of packed weights.
    fn name(&self, index: usize) -> Cow<'_, str> {
        section_name(self.name, index, self.matrices.len())
    }
}

fn section_name(tensor: &str, index: usize, count: usize) -> Cow<'_, str> {
    if count == 1 { tensor.into() } else { format!("{tensor}[{index}]").into() }
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        file: &'a gguf::File,
        selection: &'a Selection,
        pool: &'a Pool,
        options: LoadOptions<'a>,
        progress: &'a (dyn Fn(usize, usize) + Sync),
    ) -> Self {
        Loader { file, selection, pool, options, progress, choices: Mutex::default() }
    }

    /// All weights that the file has of `places`, which it has been compared with.
    pub(super) fn load(&self, config: &Config, places: &[Place]) -> Result<Weights, WeightsError> {
        let tied = self.file.opt_tensor(HEAD).is_none();
        // A model of embeddings has no use for a head.
        let head = config.pooling.is_none().then_some(if tied { EMBEDDING } else { HEAD });
        let matrices: Vec<&Place> = places
            .iter()
            .filter(|place| place.form != Form::Vector && self.file.opt_tensor(&place.name).is_some())
            .filter(|place| ![EMBEDDING, HEAD].contains(&place.name.as_str()) || Some(place.name.as_str()) == head)
            .collect();
        let (matrices, mut sections, report) = self.matrices(&matrices)?;
        let mut weights = self.assemble(config, &mut Ready { loader: self, matrices }, head)?;
        if let (Some(name), Some(head), HeadMode::TwoStage) = (head, &mut weights.head, self.options.head) {
            let before = |n, k| self.options.pack.and_then(|pack| pack::coarse::find(pack, name, n, k));
            let refuse = |source| WeightsError::Linear { path: self.file.path().into(), source };
            head.copy(self.pool, &config.scales, before).map_err(refuse)?;
            if let (Some(coarse), Some(_)) = (&head.coarse, self.options.pack) {
                sections.extend(pack::coarse::sections(name, coarse));
            }
        }
        // What was read is there in another form; what is not will be read when it is wanted.
        self.file.release();
        Ok(Weights { sections, report, ..weights })
    }

    /// One matrix, with the factor and the addend that are named after `stem`; the file has been compared with its place.
    pub(super) fn projection(&self, place: &Place, stem: &str) -> Result<Projection, WeightsError> {
        let (matrices, ..) = self.matrices(&[place])?;
        Ready { loader: self, matrices }.named(&place.name, stem)
    }

    fn missing(&self, tensor: &str) -> WeightsError {
        gguf::Error::MissingTensor { path: self.file.path().into(), tensor: tensor.into() }.into()
    }

    fn decode_error(&self, name: &str) -> impl FnOnce(quant::Error) -> WeightsError {
        let (path, tensor) = (self.file.path().into(), name.into());
        move |source| WeightsError::Decode { path, tensor, source }
    }

    fn pack_error(&self, name: &str, source: PackError) -> WeightsError {
        let source = LinearError::Pack { name: name.into(), source };
        WeightsError::Linear { path: self.file.path().into(), source }
    }

    /// The matrices of these places by their tensors' names, what a file of packed weights is to hold of them, and how many
    /// came out of one.
    fn matrices<'p>(&self, places: &[&'p Place]) -> Result<Made<'p>, WeightsError> {
        let tensors = places.iter().map(|place| Ok(self.file.tensor(&place.name)?));
        let tensors: Vec<&Tensor> = tensors.collect::<Result<_, WeightsError>>()?;
        let data: Vec<Data> = tensors.iter().map(|tensor| self.file.data(tensor)).collect();
        let stages: Vec<OnceLock<Result<Stages<'_>, WeightsError>>> = places.iter().map(|_| OnceLock::new()).collect();
        self.pool.for_each(places.len(), |_, index| {
            stages[index].get_or_init(|| self.stages(places[index], tensors[index], &data[index]));
        });
        // Every index was taken by some thread, and a panic would have been passed on.
        let stages = stages.into_iter().filter_map(OnceLock::into_inner);
        let stages: Vec<Stages<'_>> = stages.collect::<Result<_, WeightsError>>()?;

        let of =
            |stages: &Stages<'_>, which: fn(&Stage) -> bool| stages.matrices.iter().filter(|one| which(one)).count();
        let count = |which: fn(&Stage) -> bool| stages.iter().map(|stages| of(stages, which)).sum::<usize>();
        let all = count(|_| true);
        let mut report = LoadReport {
            ternary: count(|stage| !matches!(stage, Stage::Float(_))),
            packed_before: count(|stage| matches!(stage, Stage::Packed(..))),
            packing: Duration::ZERO,
        };

        let mut names = Vec::new();
        let mut plans = Vec::new();
        for (stages, data) in stages.iter().zip(&data) {
            for stage in &stages.matrices {
                if let &Stage::Unpacked(tensor, first, ref scales, ref choice) = stage {
                    let (rows, n) = (&stages.rows[tensor], stages.n);
                    // The share of the tensor's bytes that are this one's.
                    let share = data.len() / stages.rows.len();
                    let data = data.slice(tensor * share..(tensor + 1) * share);
                    let (layout, block) = (choice.layout(), scales.block(stages.k));
                    plans.push(Plan { rows, data, first, n, layout, block });
                    names.push(stages.name);
                }
            }
        }
        let done = AtomicUsize::new(all - plans.len());
        let progress = |done| (self.progress)(done, all);
        progress(done.load(Relaxed));
        let _span = tracing::info_span!("pack", matrices = plans.len()).entered();
        let start = Instant::now();
        let packed = packing::pack(self.pool, &plans, &|| progress(done.fetch_add(1, Relaxed) + 1));
        report.packing = start.elapsed();
        let packed = packed.map_err(|failure| match failure {
            Failure::Memory(source) => WeightsError::Memory { path: self.file.path().into(), source },
            Failure::Decode(index, why) => self.decode_error(names[index])(why),
            Failure::Pack(index, why) => self.pack_error(names[index], why),
        })?;

        let mut packed = packed.into_iter();
        let (mut made, mut sections) = (HashMap::new(), Vec::new());
        for (stages, place) in stages.into_iter().zip(places) {
            let mut linears = Vec::new();
            let names: Vec<String> = (0..stages.matrices.len()).map(|index| stages.name(index).into_owned()).collect();
            for (stage, name) in stages.matrices.into_iter().zip(&names) {
                let (weights, scales, choice) = match stage {
                    Stage::Float(float) => {
                        linears.push(Linear::Float(float));
                        continue;
                    }
                    Stage::Packed(packed, scales, choice) => (packed, scales, choice),
                    Stage::Unpacked(_, _, scales, choice) => match packed.next() {
                        Some(packed) => (packed, scales, choice),
                        None => return Err(self.missing(name)),
                    },
                };
                if self.options.pack.is_some() {
                    sections.extend(pack::ternary::sections(name, &weights, &scales));
                }
                let ternary = Ternary::of(weights, &scales, choice).map_err(|why| self.pack_error(name, why))?;
                linears.push(Linear::Ternary(ternary));
            }
            made.insert(place.name.as_str(), linears);
        }
        Ok((made, sections, report))
    }

    /// The matrices of a place: as they are, out of a file of packed weights, or to be packed.
    fn stages<'t>(&self, place: &'t Place, tensor: &Tensor, data: &'t Data) -> Result<Stages<'t>, WeightsError> {
        let (k, n, count) = match (place.form, &place.shape[..]) {
            (Form::Stack, &[k, n, count]) => (k, n, count),
            _ => (tensor.k() as usize, tensor.n() as usize, 1),
        };
        let (name, kind) = (place.name.as_str(), tensor.kind);
        let stages = |rows, matrices| Stages { name, n, k, rows, matrices };
        let refuse = |why| self.decode_error(name)(why);
        let bytes = data.len() / count;
        if !kind.is_ternary() {
            let float = |i: usize| Float::new(kind, n, k, data.slice(i * bytes..(i + 1) * bytes)).map(Stage::Float);
            let floats: Result<_, quant::Error> = (0..count).map(float).collect();
            return Ok(stages(Vec::new(), floats.map_err(refuse)?));
        }
        let before = (0..count).map(|i| self.packed_before(&section_name(name, i, count), n, k));
        if let Some(before) = before.collect() {
            return Ok(stages(Vec::new(), before));
        }
        let unpacked = |tensor, first, scales: Scales| {
            let choice = self.choose(name, n, k, scales.block(k))?;
            Ok::<_, WeightsError>(Stage::Unpacked(tensor, first, scales, choice))
        };
        if count > 1 && kind.is_sliced_by_rows(n) {
            let rows = (0..count).map(|i| Rows::new(kind, &data[i * bytes..][..bytes], n, k));
            let rows: Vec<Rows<'_>> = rows.collect::<Result<_, _>>().map_err(refuse)?;
            let matrices = rows.iter().enumerate().map(|(i, rows)| unpacked(i, 0, rows.scales().map_err(refuse)?));
            let matrices = matrices.collect::<Result<_, _>>()?;
            return Ok(stages(rows, matrices));
        }
        let (rows, scales) = self.rows(tensor, data)?;
        let matrices = (0..count).map(|i| unpacked(0, i * n, scales.of_rows(i * n..(i + 1) * n, k)));
        let matrices = matrices.collect::<Result<_, _>>()?;
        Ok(stages(vec![rows], matrices))
    }

    /// A ternary matrix as the file of packed weights has it, if it has it as it is wanted.
    fn packed_before(&self, name: &str, n: usize, k: usize) -> Option<Stage> {
        let pack = self.options.pack?;
        let scales = pack::ternary::scales(pack, name, n, k)?;
        let choice = self.choose(name, n, k, scales.block(k)).ok()?;
        let packed = pack::ternary::weights(pack, name, choice.layout(), n, k, scales.block(k))?;
        Some(Stage::Packed(packed, scales, choice))
    }

    /// The kernels of a matrix.
    fn choose(&self, name: &str, n: usize, k: usize, block: usize) -> Result<Choice, WeightsError> {
        let mut choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(choice) = choices.get(&(n, k, block)) {
            return Ok(choice.clone());
        }
        let choice = self.selection.choose(n, k, block).map_err(|source| {
            let source = LinearError::Selection { name: name.into(), source };
            WeightsError::Linear { path: self.file.path().into(), source }
        })?;
        Ok(choices.entry((n, k, block)).or_insert(choice).clone())
    }

    /// The rows of a ternary tensor, and their scales.
    fn rows<'t>(&self, tensor: &Tensor, data: &'t Data) -> Result<(Rows<'t>, Scales), WeightsError> {
        let refuse = |why| self.decode_error(&tensor.name)(why);
        let rows = Rows::new(tensor.kind, data, tensor.n() as usize, tensor.k() as usize).map_err(refuse)?;
        let scales = rows.scales().map_err(refuse)?;
        match self.file.lookup_scale(tensor) {
            Some(scale) => Ok((rows, scales.times(self.vector(&scale.name)?[0]))),
            None => Ok((rows, scales)),
        }
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
        let data = self.file.data(tensor);
        if tensor.kind.is_ternary() {
            let (rows, scales) = self.rows(tensor, &data)?;
            let table = TernaryTable::new(&rows, scales, self.pool).map_err(self.decode_error(EMBEDDING))?;
            return Ok(Embedding::Ternary(table));
        }
        let rows = tensor.n() as usize;
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
            sections: Vec::new(),
            report: LoadReport::default(),
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
