//! Hugging Face checkpoints to GGUF files: config.json, tokenizer.json and safetensors in, one file out.
//!
//! [`plan`] reads everything but the weights, decides, and refuses what cannot be said in a GGUF file or is not known;
//! [`Plan::write`] then converts tensor by tensor. What was decided is told with its reason, as when a file is loaded.
//! Names of keys and tensors are those of llama.cpp's converter, and of bitnet.cpp's for embedding models.

mod checkpoint;
mod configuration;
mod error;
mod family;
mod folder;
mod matrix;
mod planner;
mod proof;
mod rope;
mod vocabulary;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

pub use error::Error;
pub use matrix::Convention;

use crate::decision::Decision;
use crate::gguf::{Header, Kind, Value, Writer};
use crate::model::Pooling;
use checkpoint::{Checkpoint, Stored};
use configuration::Configuration;
use folder::Folder;
use matrix::{Changes, Matrix, Method};
use planner::Planned;

/// What may be asked of a conversion.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The type of ternary matrices, I2_S where not given; a plain float type holds for all matrices of layers.
    pub kind: Option<Kind>,
    /// The type of embedding and head, F16 where not given: F16, BF16 or F32.
    pub embedding: Option<Kind>,
    /// How `weight_scale` is meant, whatever config.json says.
    pub weight_scale: Option<Convention>,
    /// Rounds matrices to trits although config.json does not say that the model was trained for it.
    pub ternarise: bool,
    /// The pre-tokenizer, whatever tokenizer.json says.
    pub pre: Option<String>,
    /// How an embedding model pools, whatever modules.json says.
    pub pooling: Option<Pooling>,
}

/// The float types that are written.
const FLOATS: [Kind; 3] = [Kind::F16, Kind::BF16, Kind::F32];
/// The ternary types that are written.
const TERNARY: [Kind; 3] = [Kind::I2_S, Kind::TQ1_0, Kind::TQ2_0];

impl Options {
    fn check(&self, folder: &Folder) -> Result<(), Error> {
        let kind = self.kind.filter(|kind| !FLOATS.contains(kind) && !TERNARY.contains(kind));
        match kind.or(self.embedding.filter(|kind| !FLOATS.contains(kind))) {
            None => Ok(()),
            Some(kind) => {
                let why = format!("{kind} is not written here; convert to another type, and that file to {kind}");
                Err(Error::file(folder.path(), why))
            }
        }
    }
}

/// A conversion that is ready to be done.
#[derive(Debug)]
pub struct Plan {
    metadata: Vec<(String, Value)>,
    steps: Vec<Step>,
    decisions: Vec<Decision>,
    warnings: Vec<String>,
    files: usize,
}

/// A tensor to be written.
#[derive(Debug)]
struct Step {
    name: String,
    /// Innermost first.
    shape: Vec<u64>,
    kind: Kind,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Matrix(Matrix),
    /// A vector, and what is added to each element.
    Vector(Stored, f32),
    /// Rows of a vector that rope rotates, as in [`Matrix::rotated`].
    Rotated(Stored, usize),
    /// What config.json holds.
    Said(Vec<f32>),
}

/// What became of a tensor.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// Its name in the checkpoint.
    pub from: String,
    /// Its type there.
    pub stored: String,
    /// Its name in the GGUF file.
    pub to: String,
    /// Its shape there, innermost first.
    pub shape: Vec<u64>,
    /// Its type there.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it was made.
    pub how: String,
    /// The smallest and the largest scale of its trits.
    pub scales: Option<(f32, f32)>,
    /// Elements, or scales of trits, that its type cannot say exactly.
    pub rounded: usize,
    /// Elements that became 0.
    pub vanished: usize,
}

impl Plan {
    /// What was decided, with reasons.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// What a person should know before using the file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many files the weights are in.
    pub fn files(&self) -> usize {
        self.files
    }

    /// What will become of each tensor, as far as it is known before the weights are read.
    pub fn rows(&self) -> Vec<Row> {
        self.steps.iter().map(|step| step.row(&Changes::default())).collect()
    }

    /// Bytes of the tensors that will be written.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().map(Step::bytes).sum()
    }

    /// Writes the file: one tensor in memory at a time. `progress(done, all)` counts bytes, and may end it.
    ///
    /// # Errors
    /// A weight that is not finite or cannot be said in its type, or a file that cannot be written.
    pub fn write<W: Write>(
        &self,
        out: W,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<(W, Vec<Row>), Error> {
        let mut header = Header::new();
        for (key, value) in &self.metadata {
            header.set(key.clone(), value.clone());
        }
        for step in &self.steps {
            header.tensor(step.name.clone(), &step.shape, step.kind)?;
        }
        let mut writer = Writer::new(out, header)?;
        let (mut done, all, mut rows) = (0, self.bytes(), Vec::new());
        for step in &self.steps {
            let (bytes, changes) = step.make()?;
            writer.write_tensor(&step.name, &bytes)?;
            rows.push(step.row(&changes));
            done += bytes.len() as u64;
            if progress(done, all).is_break() {
                return Err(Error::Interrupted);
            }
        }
        Ok((writer.finish()?, rows))
    }
}

impl Step {
    fn bytes(&self) -> u64 {
        // The shape was checked when the step was planned.
        self.kind.bytes(&self.shape).ok().flatten().unwrap_or(0)
    }

    fn make(&self) -> Result<(Vec<u8>, Changes), Error> {
        let vector = |floats: Vec<f32>| floats.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        match &self.work {
            Work::Matrix(matrix) => matrix.bytes(self.kind),
            Work::Vector(stored, shift) => {
                Ok((vector(stored.floats()?.into_iter().map(|x| x + shift).collect()), Changes::default()))
            }
            Work::Rotated(stored, heads) => {
                let n = stored.elements();
                let column = Matrix { stored: stored.clone(), method: Method::Float, n, k: 1, rotated: Some(*heads) };
                column.bytes(self.kind)
            }
            Work::Said(floats) => Ok((vector(floats.clone()), Changes::default())),
        }
    }

    fn row(&self, changes: &Changes) -> Row {
        let (stored, how) = match &self.work {
            Work::Matrix(matrix) => {
                let how = match &matrix.method {
                    Method::Packed(_) => "trits, unpacked",
                    Method::Unpacked(_) => "trits times weight_scale",
                    Method::Exact(_) => "exactly trits times scales",
                    Method::Absmean => "rounded to trits (absmean)",
                    Method::Float => "as it is",
                };
                let order = if matrix.rotated.is_some() { "; rows in the order of neighbours" } else { "" };
                (Some(&matrix.stored), format!("{how}{order}"))
            }
            Work::Vector(stored, 0.0) => (Some(stored), "as it is".into()),
            Work::Vector(stored, shift) => (Some(stored), format!("+ {shift}")),
            Work::Rotated(stored, _) => (Some(stored), "in the order of neighbours".into()),
            Work::Said(_) => (None, "computed".into()),
        };
        Row {
            from: stored.map_or_else(|| "config.json".into(), |stored| stored.name.clone()),
            stored: stored.map_or_else(String::new, |stored| stored.dtype.to_string()),
            to: self.name.clone(),
            shape: self.shape.clone(),
            kind: self.kind.to_string(),
            how,
            scales: changes.scales,
            rounded: changes.rounded,
            vanished: changes.vanished,
        }
    }
}

/// Plans the conversion of the model in `folder`.
///
/// # Errors
/// What is no model of a known family, contradicts itself, or cannot be said in a GGUF file.
pub fn plan(folder: &Path, options: &Options) -> Result<Plan, Error> {
    let folder = Folder::open(folder)?;
    options.check(&folder)?;
    let configuration = Configuration::read(&folder, options.pooling)?;
    let Checkpoint { tensors, files } = Checkpoint::open(&folder)?;
    let prefix = if tensors.contains_key("model.embed_tokens.weight") { "model." } else { "" };
    let name = format!("{prefix}embed_tokens.weight");
    let missing = || Error::tensor(folder.path(), &name, "is missing; the folder holds no whole model");
    // Before room is made for as many tokens.
    let shape = [configuration.vocab, configuration.hidden].map(|size| size as usize);
    tensors.get(&name).ok_or_else(missing)?.expect_shape(&shape, "config.json makes it")?;
    let said = vocabulary::read(&folder, configuration.vocab as usize, options.pre.as_deref())?;
    let Planned { steps, mut decisions, mut warnings } =
        planner::plan(&folder, &configuration, options, tensors, prefix)?;
    decisions.extend(said.decisions);
    warnings.extend(said.warnings);

    let mut metadata: Vec<(String, Value)> = vec![
        ("general.architecture".into(), configuration.family.architecture.into()),
        ("general.type".into(), "model".into()),
        ("general.name".into(), folder.name().into()),
    ];
    if let Some(number) = file_type(&steps) {
        metadata.push(("general.file_type".into(), number.into()));
    }
    metadata.extend(configuration.keys);
    metadata.extend(said.keys);
    Ok(Plan { metadata, steps, decisions, warnings, files })
}

/// llama.cpp's number for the type that most weights have.
fn file_type(steps: &[Step]) -> Option<u32> {
    /// As in llama.cpp's `llama_ftype`; the last is bitnet.cpp's.
    const NUMBERS: [(Kind, u32); 6] =
        [(Kind::F32, 0), (Kind::F16, 1), (Kind::BF16, 32), (Kind::TQ1_0, 36), (Kind::TQ2_0, 37), (Kind::I2_S, 40)];
    let elements = |kind: Kind| -> u64 {
        let of_layers = steps.iter().filter(|step| step.kind == kind && step.name.starts_with("blk."));
        of_layers.map(|step| step.shape.iter().product::<u64>()).sum()
    };
    NUMBERS.into_iter().max_by_key(|(kind, _)| elements(*kind)).map(|(_, number)| number)
}
