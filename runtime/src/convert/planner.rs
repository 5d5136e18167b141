//! Which tensor of a checkpoint becomes which of a GGUF file, and how.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::checkpoint::Stored;
use super::configuration::{Configuration, Quantization};
use super::family::MATRICES;
use super::folder::Folder;
use super::matrix::{Matrix, Method};
use super::{Convention, Error, Options, Step, Work};
use crate::decision::Decision;
use crate::gguf::Kind;
use crate::quant::Scales;

/// What is to be written, and what a person should know of it.
pub(super) struct Planned {
    pub(super) steps: Vec<Step>,
    pub(super) decisions: Vec<Decision>,
    pub(super) warnings: Vec<String>,
}

/// Gives every tensor its place. All names but the head's begin with `prefix`.
pub(super) fn plan(
    folder: &Folder,
    configuration: &Configuration,
    options: &Options,
    tensors: BTreeMap<String, Stored>,
    prefix: &'static str,
) -> Result<Planned, Error> {
    let norms_in = tensors.keys().any(|name| name.ends_with("_proj.norm.weight"));
    let mut planner = Planner {
        folder,
        configuration,
        options,
        left: tensors,
        prefix,
        norms_in,
        steps: Vec::new(),
        decisions: configuration.decisions.clone(),
        warnings: Vec::new(),
        matrices: Matrices::default(),
    };
    planner.tensors()?;
    planner.decide_matrices()?;
    let Planner { steps, decisions, warnings, .. } = planner;
    Ok(Planned { steps, decisions, warnings })
}

/// Tensors that hold nothing of the model: buffers that older versions of transformers saved.
const IGNORED: [&str; 3] = [".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias"];

/// How many matrices of layers were made in which way, with a scale of each for a look at its size.
#[derive(Debug, Default)]
struct Matrices {
    packed: usize,
    exact: usize,
    absmean: usize,
    float: usize,
    /// Of packed ones: the first that was met, its `weight_scale`, and what it was taken for.
    scale: Option<(String, f32, f32)>,
    /// Weights that are trits already, and that the model's code would scale again.
    twice: Option<String>,
}

struct Planner<'a> {
    folder: &'a Folder,
    configuration: &'a Configuration,
    options: &'a Options,
    /// Tensors that have no place yet.
    left: BTreeMap<String, Stored>,
    /// What stands before all names but the head's.
    prefix: &'static str,
    /// Projections have norms of their own: layers of BitNet.
    norms_in: bool,
    steps: Vec<Step>,
    decisions: Vec<Decision>,
    warnings: Vec<String>,
    matrices: Matrices,
}

impl Planner<'_> {
    fn decide(&mut self, what: &'static str, value: impl Into<String>, why: impl Into<String>) {
        self.decisions.push(Decision { what, value: value.into(), why: why.into() });
    }

    fn take(&mut self, name: &str) -> Option<Stored> {
        self.left.remove(&format!("{}{name}", self.prefix))
    }

    fn expect(&mut self, name: &str) -> Result<Stored, Error> {
        let whole = format!("{}{name}", self.prefix);
        let missing = || Error::tensor(self.folder.path(), &whole, "is missing; the folder holds no whole model");
        self.left.remove(&whole).ok_or_else(missing)
    }

    fn step(&mut self, name: impl Into<String>, shape: &[usize], kind: Kind, work: Work) {
        let shape = shape.iter().map(|&size| size as u64).collect();
        self.steps.push(Step { name: name.into(), shape, kind, work });
    }

    fn tensors(&mut self) -> Result<(), Error> {
        let configuration = self.configuration;
        let [hidden, vocab] = [configuration.hidden, configuration.vocab].map(|size| size as usize);
        let embedding = self.expect("embed_tokens.weight")?;
        let table = self.table(&embedding, [vocab, hidden])?;
        self.step(
            "token_embd.weight",
            &[hidden, vocab],
            table,
            Work::Matrix(plain(embedding.clone(), [vocab, hidden])),
        );
        for (name, floats) in &configuration.tensors {
            self.step(*name, &[floats.len()], Kind::F32, Work::Said(floats.clone()));
        }
        for layer in 0..configuration.layers {
            self.layer(layer)?;
        }
        let norm = self.expect("norm.weight")?;
        self.vector("output_norm.weight".into(), norm, hidden, configuration.family.norm_shift)?;
        self.head(&embedding, [vocab, hidden])?;

        self.left.retain(|name, _| !IGNORED.iter().any(|end| name.ends_with(end)));
        match self.left.values().next() {
            None => Ok(()),
            Some(extra) => {
                let class = configuration.family.architecture;
                let why =
                    format!("has no place in {class} models as they are converted here, {} in all", self.left.len());
                Err(extra.error(why + "; leaving it out would change the result"))
            }
        }
    }

    /// The type of embedding or head.
    fn table(&self, stored: &Stored, shape: [usize; 2]) -> Result<Kind, Error> {
        stored.expect_shape(&shape, "config.json makes it")?;
        stored.expect_float()?;
        Ok(self.options.embedding.unwrap_or(Kind::F16))
    }

    fn head(&mut self, embedding: &Stored, shape: [usize; 2]) -> Result<(), Error> {
        const NAME: &str = "lm_head.weight";
        let head = self.left.remove(NAME);
        let tied = self.configuration.tied;
        let (value, why) = match head {
            _ if self.configuration.headless => ("none", "an embedding model".to_owned()),
            Some(head) if tied == Some(true) || self.configuration.family.gemma => {
                if head.dtype != embedding.dtype || *head.data != *embedding.data {
                    let why = format!("{NAME} is left out: config.json ties the head to the embedding, which differs");
                    self.warnings.push(why);
                }
                ("token_embd.weight", "`tie_word_embeddings`".into())
            }
            Some(head) => {
                let kind = self.table(&head, shape)?;
                self.step("output.weight", &[shape[1], shape[0]], kind, Work::Matrix(plain(head, shape)));
                ("output.weight", format!("{NAME} is there, and nothing ties it to the embedding"))
            }
            None if tied == Some(false) => {
                let why = "is missing, and `tie_word_embeddings` of config.json is false; download what is missing";
                return Err(Error::tensor(self.folder.path(), NAME, why));
            }
            None => ("token_embd.weight", format!("there is no {NAME}")),
        };
        self.decide("head", value, why);
        Ok(())
    }

    fn vector(&mut self, name: String, stored: Stored, length: usize, shift: f32) -> Result<(), Error> {
        stored.expect_shape(&[length], "config.json makes it")?;
        stored.expect_float()?;
        self.step(name, &[length], Kind::F32, Work::Vector(stored, shift));
        Ok(())
    }

    fn layer(&mut self, layer: u32) -> Result<(), Error> {
        let configuration = self.configuration;
        for &(name, ours, width) in configuration.family.norms {
            let stored = self.expect(&format!("layers.{layer}.{name}.weight"))?;
            let ours = format!("blk.{layer}.{ours}.weight");
            self.vector(ours, stored, configuration.width(width), configuration.family.norm_shift)?;
        }
        for (name, ours, n, k) in MATRICES {
            let [n, k] = [n, k].map(|width| configuration.width(width));
            let heads = match ours {
                "attn_q" => Some(configuration.heads),
                "attn_k" => Some(configuration.kv_heads),
                _ => None,
            };
            let rotated = heads.filter(|_| configuration.family.neighbours).map(|heads| heads as usize);
            self.matrix(&format!("layers.{layer}.{name}"), &format!("blk.{layer}.{ours}"), [n, k], rotated)?;
        }
        Ok(())
    }

    fn matrix(&mut self, name: &str, ours: &str, [n, k]: [usize; 2], rotated: Option<usize>) -> Result<(), Error> {
        let stored = self.expect(&format!("{name}.weight"))?;
        let method = self.method(name, &stored, [n, k])?;
        let kind = self.kind(&stored, &method, [n, k])?;
        let matrix = Matrix { stored, method, n, k, rotated };
        self.step(format!("{ours}.weight"), &[k, n], kind, Work::Matrix(matrix));
        if let Some(bias) = self.take(&format!("{name}.bias")) {
            bias.expect_shape(&[n], "config.json makes it")?;
            bias.expect_float()?;
            let work = match rotated {
                Some(heads) => Work::Rotated(bias, heads),
                None => Work::Vector(bias, 0.0),
            };
            self.step(format!("{ours}.bias"), &[n], Kind::F32, work);
        }
        // Not Gemma's norms, where there are others of that kind: they multiply by their weights alone.
        for norm in ["norm", "rms_norm"] {
            if let Some(norm) = self.take(&format!("{name}.{norm}.weight")) {
                self.vector(format!("{ours}_norm_in.weight"), norm, k, 0.0)?;
            }
        }
        Ok(())
    }

    /// How the weights of a matrix are stored, and what becomes of them.
    fn method(&mut self, name: &str, stored: &Stored, [n, k]: [usize; 2]) -> Result<Method, Error> {
        let scale = self.take(&format!("{name}.weight_scale"));
        let packed = stored.dtype == Dtype::U8;
        if packed {
            if !n.is_multiple_of(4) {
                let why = format!("is packed, four rows in one, but config.json gives it {n} rows; the files are not");
                return Err(stored.error(why + " of one model, or packed otherwise: convert the unpacked checkpoint"));
            }
            stored.expect_shape(&[n / 4, k], "four codes a byte make it")?;
        } else {
            stored.expect_shape(&[n, k], "config.json makes it")?;
        }
        match (packed, scale) {
            (true, None) => {
                let why = format!("is packed, but `{}{name}.weight_scale` is missing; download what is", self.prefix);
                Err(stored.error(why))
            }
            (true, Some(scale)) => Ok(Method::Packed(self.scale(&scale)?)),
            (false, Some(scale)) => {
                stored.expect_float()?;
                if !stored.is_trits()? {
                    let why = "has a weight_scale, but other elements than -1, 0 and 1; it is unclear what they mean";
                    return Err(stored.error(why));
                }
                Ok(Method::Unpacked(self.scale(&scale)?))
            }
            (false, None) => {
                stored.expect_float()?;
                self.float_method(name, stored, k)
            }
        }
    }

    fn float_method(&mut self, name: &str, stored: &Stored, k: usize) -> Result<Method, Error> {
        let Configuration { family, quantization, .. } = self.configuration;
        let whole = format!("{}{name}", self.prefix);
        let spared = quantization.as_ref().is_some_and(|q| q.except.iter().any(|part| whole.contains(part.as_str())));
        let online = family.ternarises || self.norms_in || quantization.as_ref().is_some_and(|q| q.online);
        let exact = if spared { None } else { stored.exact_scales(k)? };
        let method = match exact {
            _ if spared => Method::Float,
            exact if online => {
                if exact.is_some() {
                    self.matrices.twice.get_or_insert_with(|| stored.name.clone());
                }
                Method::Absmean
            }
            Some(scales) => Method::Exact(scales),
            None if self.options.ternarise => Method::Absmean,
            None => Method::Float,
        };
        match method {
            Method::Absmean => self.matrices.absmean += 1,
            Method::Exact(_) => self.matrices.exact += 1,
            _ => self.matrices.float += 1,
        }
        Ok(method)
    }

    /// What trits are multiplied by, from `weight_scale`.
    fn scale(&mut self, stored: &Stored) -> Result<f32, Error> {
        if stored.elements() != 1 {
            let why = format!("has shape {:?}, where one scale for the matrix is read", stored.shape);
            return Err(stored.error(why + "; a newer tritune may know the format"));
        }
        let said = stored.floats()?[0];
        let scale = match self.convention()? {
            Convention::Scale => said,
            Convention::Reciprocal => 1.0 / said,
        };
        if !(said > 0.0 && scale.is_finite() && scale > 0.0) {
            return Err(stored.error(format!("is {said}, but must be a number above 0; the file is damaged")));
        }
        self.matrices.packed += 1;
        self.matrices.scale.get_or_insert_with(|| (stored.name.clone(), said, scale));
        Ok(scale)
    }

    fn convention(&self) -> Result<Convention, Error> {
        match (self.options.weight_scale, &self.configuration.quantization) {
            (Some(convention), _) => Ok(convention),
            (None, Some(Quantization { online: true, says, .. })) => {
                let why =
                    format!("weights are packed, but {says}: these contradict each other; say how weight_scale is");
                Err(Error::file(&self.folder.path().join("config.json"), why + " meant with --weight-scale"))
            }
            (None, Some(Quantization { divides: true, .. })) => Ok(Convention::Reciprocal),
            (None, Some(_)) => Ok(Convention::Scale),
            (None, None) => {
                let why = "weights are packed, but there is no `quantization_config` that says whether trits are \
                           multiplied by weight_scale or divided; say it with --weight-scale";
                Err(Error::file(&self.folder.path().join("config.json"), why))
            }
        }
    }

    /// The type of a matrix of a layer.
    fn kind(&self, stored: &Stored, method: &Method, [n, k]: [usize; 2]) -> Result<Kind, Error> {
        let asked = self.options.kind;
        let kind = match (method, asked) {
            (Method::Float, Some(kind)) if !kind.is_ternary() => return Ok(kind),
            (Method::Float, _) => return stored.expect_float(),
            (_, asked) => asked.unwrap_or(Kind::I2_S),
        };
        if let Err(source) = kind.bytes(&[k as u64, n as u64]) {
            let other = if kind == Kind::I2_S { "f16" } else { "i2_s" };
            return Err(stored.error(format!("cannot be {kind}: {source}; use --type {other}")));
        }
        let several = matches!(method, Method::Exact(Scales::Row(_) | Scales::Block { .. }));
        if kind == Kind::I2_S && several {
            let why = "is trits times several scales, and I2_S has one for a matrix; use --type tq2_0";
            return Err(stored.error(why));
        }
        Ok(kind)
    }

    /// Tells how the matrices of layers are made, once for all.
    fn decide_matrices(&mut self) -> Result<(), Error> {
        let Matrices { packed, exact, absmean, float, scale, twice } = std::mem::take(&mut self.matrices);
        let quantization = self.configuration.quantization.as_ref();
        let says = quantization.map_or_else(|| "config.json says nothing of it".into(), |q| q.says.clone());
        if packed > 0 {
            let (value, rule) = match self.convention()? {
                Convention::Reciprocal => ("reciprocal: trit / weight_scale", "BitLinear divides"),
                Convention::Scale => ("scale: trit · weight_scale", "AutoBitLinear multiplies"),
            };
            let why =
                if self.options.weight_scale.is_some() { "--weight-scale".into() } else { format!("{says}: {rule}") };
            self.decide("weight_scale", value, why);
        }
        if let Some((name, said, taken)) = scale {
            // Weights of trained models are about 1/√k in size. That is no proof: scales of 1 occur, and tell nothing.
            if !(1e-4..=10.0).contains(&taken) {
                self.warnings.push(format!(
                    "trits are multiplied by {taken}, since {name} is {said}: that is far from usual weights; if what \
                     the model says is nonsense, the other --weight-scale is meant"
                ));
            }
        }
        if absmean > 0 {
            let why = match self.configuration {
                Configuration { family, .. } if family.ternarises => "its class rounds weights at every pass",
                _ if self.norms_in => {
                    "projections with norms of their own are BitNet's, which rounds weights at every pass"
                }
                Configuration { quantization: Some(Quantization { online: true, .. }), .. } => &says,
                _ => "--ternarize",
            };
            self.decide("master weights", format!("{absmean} matrices rounded to trits (absmean)"), why);
        }
        if exact > 0 {
            let why = "all their weights have one magnitude, or are 0";
            self.decide("ternary weights", format!("{exact} matrices are trits times scales exactly"), why);
        }
        if float > 0 {
            let why =
                "they are no trits, and nothing says that the model was trained to have them rounded (--ternarize)";
            self.decide("float weights", format!("{float} matrices stay floats"), why);
            if self.configuration.family.says_activation {
                let class = self.configuration.family.classes[0];
                self.warnings
                    .push(format!("{class} is a class of BitNet, whose weights are to be rounded: --ternarize"));
            }
        }
        if let Some(name) = twice {
            self.warnings.push(format!(
                "{name} is trits times a scale already, and is scaled once more, by its mean, as the model's own code \
                 does it; if the weights were made of a packed checkpoint, convert that one"
            ));
        }
        if packed + exact + absmean == 0 && self.options.kind.is_some_and(Kind::is_ternary) {
            let why = "it has no ternary weights, so that --type is of no use; choose --type f16, or round its weights \
                       with --ternarize, which it was not trained for";
            return Err(Error::file(self.folder.path(), why));
        }
        Ok(())
    }
}

/// A table that stays what it is.
fn plain(stored: Stored, [n, k]: [usize; 2]) -> Matrix {
    Matrix { stored, method: Method::Float, n, k, rotated: None }
}
