//! `tritune inspect`: what is in a file, and what the loader makes of it.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::{Map, json};
use tritune::chat::Template;
use tritune::decision::Decision;
use tritune::gguf::{Array, File, Kind, Tensor, Value};
use tritune::kernels::Selection;
use tritune::model::{Config, ConfigError, Weights};
use tritune::tokenizer::Tokenizer;

use crate::engine::{ModelFile, Policy, Threads};

/// Show metadata, tensors, and what the loader decides, with reasons
#[derive(clap::Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    model: ModelFile,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    policy: Policy,
}

/// What the loader makes of a file.
struct Verdict {
    decisions: Vec<Decision>,
    /// Why it cannot be run, where it cannot.
    obstacles: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
        let file = self.model.open_any()?;
        let selection = self.policy.selection(self.threads.count())?;
        let verdict = judge(&file, &selection);
        let out = io::stdout().lock();
        if self.json { write_json(out, &file, &verdict) } else { write_text(out, &file, &verdict) }
    }
}

fn judge(file: &File, selection: &Selection) -> Verdict {
    let (mut decisions, mut obstacles) = (Vec::new(), Vec::new());
    if file.parts().len() > 1 {
        let value = format!("{}, as one model", file.parts().len());
        decisions.push(Decision { what: "parts", value, why: "split.count".into() });
    }
    obstacles.extend(file.check_filled().err().map(|error| error.to_string()));
    match file.check_model().map_err(ConfigError::from).and_then(|()| Config::read(file)) {
        Ok(config) => {
            decisions.extend(config.decisions.iter().cloned());
            if let Err(error) = Weights::check(file, &config) {
                obstacles.push(error.to_string());
            }
            let own = file.opt_tensor("output.weight").is_some();
            let (head, why) = match (config.pooling, own) {
                (Some(_), _) => ("none", "a model of embeddings needs none"),
                (None, true) => ("output.weight", "the file has it"),
                (None, false) => ("token_embd.weight", "no output.weight: tied to the embedding"),
            };
            decisions.push(Decision { what: "head", value: head.into(), why: why.into() });
        }
        Err(error) => obstacles.push(error.to_string()),
    }
    match Tokenizer::from_gguf(file) {
        Ok(tokenizer) => {
            decisions.extend(tokenizer.decisions().iter().cloned());
            // Without one a model still completes texts.
            let none = |why: String| Decision { what: "chat template", value: "none".into(), why };
            let template = Template::from_gguf(file, &tokenizer);
            decisions.push(template.map_or_else(|error| none(error.to_string()), |found| found.decision().clone()));
        }
        Err(error) => obstacles.push(error.to_string()),
    }
    decisions.extend(formats(file));
    match layouts(file, selection) {
        Ok(layouts) => decisions.extend(layouts),
        Err(error) => obstacles.push(error.to_string()),
    }
    Verdict { decisions, obstacles }
}

/// What was decided where a type does not say all of how it lies in a file.
fn formats(file: &File) -> Vec<Decision> {
    let has = |kind: Kind| file.tensors().iter().any(|tensor| tensor.kind == kind);
    let layout = file.options().i2s_layout;
    let why = if layout.is_some() { "--i2s-layout" } else { "what current converters write: no file says it" };
    let rows = [
        (Kind::I2_S, "I2_S layout", "x86: blocks of 128", why),
        (Kind::I2_S_ARM64, "I2_S layout", "arm64: blocks of 64", why),
        (Kind::Q2_0, "Q2_0 group", "64", "the distances between the tensors"),
        (Kind::Q2_0_G128, "Q2_0 group", "128", "the distances between the tensors"),
        (Kind::TL1, "TL1 tiles", "of the published kernel configuration for each shape", "no other lists such shapes"),
        (Kind::TL2, "TL2 tiles", "of the published kernel configuration for each shape", "no other lists such shapes"),
    ];
    let decision = |(_, what, value, why): (Kind, &'static str, &str, &str)| Decision {
        what,
        value: value.into(),
        why: why.into(),
    };
    rows.into_iter().filter(|(kind, ..)| has(*kind)).map(decision).collect()
}

/// The layout of each shape of ternary matrices.
fn layouts(file: &File, selection: &Selection) -> Result<Vec<Decision>> {
    let mut shapes: Vec<(Kind, u64, u64)> = Vec::new();
    for tensor in file.tensors().iter().filter(|tensor| tensor.kind.is_ternary()) {
        // A stack of matrices has a third dimension.
        let shape = (tensor.kind, tensor.shape.get(1).copied().unwrap_or(1), tensor.k());
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    let mut decisions = Vec::new();
    for (kind, n, k) in shapes {
        // Scales that turn out to be equal within each row count as one a row when the weights are read.
        let choice = selection.choose(n as usize, k as usize, k as usize)?;
        let kernels: Vec<String> = choice.kernels().iter().map(|kernel| kernel.id().to_string()).collect();
        decisions.push(Decision {
            what: "kernels",
            value: format!("{n}x{k} {kind}: packed as {}; {}", choice.layout(), kernels.join(", ")),
            why: choice.source.to_string(),
        });
    }
    Ok(decisions)
}

fn write_text(mut out: impl Write, file: &File, verdict: &Verdict) -> Result<()> {
    writeln!(out, "{}: GGUF version {}, {} bytes", file.path().display(), file.version(), file.bytes())?;
    writeln!(out, "\nmetadata")?;
    for (key, value) in file.metadata() {
        writeln!(out, "  {key} = {}", text(value))?;
    }
    writeln!(out, "\ntensors")?;
    for tensor in file.tensors() {
        let Tensor { name, kind, bytes, .. } = tensor;
        writeln!(out, "  {name:32} {:>16} {kind:10} {bytes:>12} bytes", format!("{:?}", tensor.shape))?;
    }
    writeln!(out, "\ntypes")?;
    for (kind, tensors, bytes) in types(file) {
        writeln!(out, "  {kind:10} {tensors:>5} tensors {bytes:>12} bytes")?;
    }
    writeln!(out, "\ndecisions")?;
    for Decision { what, value, why } in &verdict.decisions {
        writeln!(out, "  {what}: {value} ({why})")?;
    }
    for obstacle in &verdict.obstacles {
        writeln!(out, "\ncannot be run: {obstacle}")?;
    }
    Ok(out.flush()?)
}

fn write_json(mut out: impl Write, file: &File, verdict: &Verdict) -> Result<()> {
    let metadata: Map<_, _> = file.metadata().iter().map(|(key, value)| (key.clone(), json_of(value))).collect();
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name, "shape": tensor.shape, "type": tensor.kind.to_string(), "offset": tensor.offset,
                "bytes": tensor.bytes, "ternary": tensor.kind.is_ternary(),
            })
        })
        .collect();
    let types: Map<_, _> = types(file)
        .into_iter()
        .map(|(kind, tensors, bytes)| (kind.to_string(), json!({ "tensors": tensors, "bytes": bytes })))
        .collect();
    let object = json!({
        "file": file.path().display().to_string(), "version": file.version(), "bytes": file.bytes(),
        "metadata": metadata, "tensors": tensors, "types": types, "decisions": verdict.decisions,
        "runnable": verdict.obstacles.is_empty(), "obstacles": verdict.obstacles,
    });
    writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    Ok(out.flush()?)
}

/// Each type with its number of tensors and bytes, in the order in which they come.
fn types(file: &File) -> Vec<(Kind, usize, u64)> {
    let mut types: Vec<(Kind, usize, u64)> = Vec::new();
    for tensor in file.tensors() {
        match types.iter_mut().find(|(kind, ..)| *kind == tensor.kind) {
            Some((_, tensors, bytes)) => (*tensors, *bytes) = (*tensors + 1, *bytes + tensor.bytes),
            None => types.push((tensor.kind, 1, tensor.bytes)),
        }
    }
    types
}

/// Characters of a string that are shown, elements of an array that are shown or written in full.
const SHOWN: usize = 64;

/// A value on one line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > SHOWN => {
            let start: String = text.chars().take(SHOWN).collect();
            format!("{start:?}… ({} bytes)", text.len())
        }
        Value::Array(items) if items.len() > SHOWN => value.to_string(),
        _ => json_of(value).to_string(),
    }
}

/// A value as JSON; of a long array, only what it is.
fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::U8(value) => json!(value),
        Value::I8(value) => json!(value),
        Value::U16(value) => json!(value),
        Value::I16(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::F32(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::Bool(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Array(items) if items.len() > SHOWN => json!({ "array": value.to_string(), "length": items.len() }),
        Value::Array(items) => json_of_array(items),
    }
}

fn json_of_array(items: &Array) -> serde_json::Value {
    match items {
        Array::U8(items) => json!(items),
        Array::I8(items) => json!(items),
        Array::U16(items) => json!(items),
        Array::I16(items) => json!(items),
        Array::U32(items) => json!(items),
        Array::I32(items) => json!(items),
        Array::U64(items) => json!(items),
        Array::I64(items) => json!(items),
        Array::F32(items) => json!(items),
        Array::F64(items) => json!(items),
        Array::Bool(items) => json!(items),
        Array::String(items) => json!(items.iter().collect::<Vec<_>>()),
        Array::Array(items) => items.iter().map(json_of_array).collect(),
    }
}
