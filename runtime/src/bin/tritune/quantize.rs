//! `tritune quantize`: a model's matrices in another type, one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tritune::gguf::{File, Header, Kind, Tensor, Value, Writer};
use tritune::quant::convert::{Conversion, How};

use crate::engine::Reading;
use crate::side_file::{SideFile, check_model_name};

/// Convert a model's matrices to another type; between ternary types trits stay as they are
#[derive(clap::Args)]
#[command(after_help = "\
The matrices of the blocks are converted (attn_q, ffn_down and the like), the rest is carried over, metadata included.
Trits stay as they are. What may change are scales, where the type stores them in half precision: the report says by how
much. A type that has no room for scales as fine as a model's is refused, with those that have. Float matrices that hold
trits times scales are recognised; others are refused unless --ternarize is given.")]
pub(crate) struct Quantize {
    /// GGUF file to read
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// GGUF file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// i2_s, tq1_0, tq2_0, q2_0, q2_0_g128, pq2_0, iq1_bn, iq2_bn, iq2_bn_r4, f16, bf16, f32
    #[arg(value_name = "TYPE", value_parser = target)]
    kind: Kind,
    /// Replace OUT if it is there
    #[arg(long)]
    overwrite: bool,
    /// Convert and report, but write nothing
    #[arg(long)]
    dry_run: bool,
    /// Convert the embedding and the head, too
    #[arg(long)]
    embedding: bool,
    /// Make the nearest trits of float matrices that hold none, by their mean magnitude, as BitNet b1.58 does; a model that
    /// was not trained for it loses what it knows
    #[arg(long)]
    ternarize: bool,
    #[command(flatten)]
    reading: Reading,
}

fn target(name: &str) -> Result<Kind, String> {
    let found = Kind::from_name(name).filter(|kind| Conversion::targets().any(|target| target == *kind));
    let names = || Conversion::targets().map(|kind| kind.to_string().to_lowercase()).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("types that can be written are {}", names()))
}

/// The matrices of a block that a model multiplies with.
const MATRICES: [&str; 8] = ["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// What follows a matrix's name where there is one for each expert, or one that all share.
const EXPERTS: [&str; 3] = ["", "_exps", "_shexp"];

const EMBEDDING: [&str; 2] = ["token_embd.weight", "output.weight"];

/// The layer's prefix and the name of a matrix of a block, without `.weight`.
fn matrix(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".weight")?;
    let (layer, matrix) = stem.strip_prefix("blk.")?.split_once('.')?;
    let known = MATRICES.iter().any(|known| matrix.strip_prefix(known).is_some_and(|rest| EXPERTS.contains(&rest)));
    (known && layer.parse::<u32>().is_ok()).then_some(stem)
}

/// What becomes of a tensor.
struct Step<'a> {
    tensor: &'a Tensor,
    /// Its type in the new file, if another one.
    to: Option<Kind>,
    /// The tensor that multiplies it, which the new type has room for.
    factor: Option<&'a Tensor>,
}

impl Step<'_> {
    fn kind(&self) -> Kind {
        self.to.unwrap_or(self.tensor.kind)
    }
}

impl Quantize {
    pub(crate) fn run(self) -> Result<()> {
        let file = File::open_with(&self.input, self.reading.options())?;
        if same_file(&self.input, &self.output) {
            bail!("{} would be overwritten while it is read; name another file to write", self.input.display());
        }
        check_model_name(&self.output, self.overwrite || self.dry_run)?;
        let whole = file.opt_u64("split.tensors.count")?;
        if whole.is_some_and(|whole| whole > file.tensors().len() as u64) {
            bail!("{} is a part of a model in several files; merge them first", file.path().display());
        }
        let steps = self.plan(&file);
        if !steps.iter().any(|step| self.is_asked_for(step.tensor)) {
            bail!("{} has no matrix of a block (such as blk.0.attn_q.weight) to convert", file.path().display());
        }
        let header = self.header(&file, &steps)?;
        let report = if self.dry_run {
            self.write(&file, &steps, header, io::sink())?
        } else {
            let side = SideFile::create(&self.output)?;
            let report = self.write(&file, &steps, header, BufWriter::with_capacity(1 << 20, &side.file))?;
            // What no reader could make sense of must not take the place of anything.
            File::open(side.path()).context("what was written cannot be read; this is an error of tritune")?;
            side.put_in_place()?;
            report
        };
        report.print(&self, steps.len(), file.tensors().len())?;
        let made: usize =
            report.rows.iter().filter(|((.., how), _)| *how == Some(How::Ternarised)).map(|(_, row)| row.tensors).sum();
        if made > 0 {
            eprintln!(
                "warning: {made} matrices have new weights, the nearest trits: a model that was not trained for it has lost \
                 what it knew"
            );
        }
        Ok(())
    }

    /// Whether a tensor is one of those that this is about.
    fn is_asked_for(&self, tensor: &Tensor) -> bool {
        matrix(&tensor.name).is_some() || self.embedding && EMBEDDING.contains(&tensor.name.as_str())
    }

    /// Every tensor of the new file, in the order of the old one.
    fn plan<'a>(&self, file: &'a File) -> Vec<Step<'a>> {
        let mut dropped: Vec<&str> = Vec::new();
        let mut steps = Vec::new();
        for tensor in file.tensors() {
            let wanted = if self.is_asked_for(tensor) || tensor.kind.id() == self.kind.id() {
                // Formats that share an id must not meet in a file.
                self.kind
            } else if tensor.kind == Kind::I2_S_ARM64 {
                // Only who has converted it knows about it.
                Kind::I2_S
            } else {
                tensor.kind
            };
            let apart = file.lookup_scale(tensor);
            let scale = || matrix(&tensor.name).and_then(|stem| file.opt_tensor(&format!("{stem}.scale")));
            let factor = apart.or_else(|| scale().filter(|_| wanted.is_ternary() && self.is_asked_for(tensor)));
            let factor = factor.filter(|factor| factor.elements() == 1);
            let to = (wanted != tensor.kind || factor.is_some()).then_some(wanted);
            dropped.extend(factor.map(|factor| factor.name.as_str()));
            steps.push(Step { tensor, to, factor });
        }
        steps.retain(|step| !dropped.contains(&step.tensor.name.as_str()));
        steps
    }

    fn header(&self, file: &File, steps: &[Step<'_>]) -> Result<Header> {
        let mut header = Header::new();
        let file_type = self.kind.format().and_then(|format| format.file_type);
        let mut said = Vec::new();
        for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with("split.")) {
            said.push(key.as_str());
            match (key.as_str(), file_type) {
                (FILE_TYPE, Some(file_type)) => header.set(FILE_TYPE, Value::U32(file_type)),
                (FILE_TYPE, None) => &mut header,
                _ => header.set(key.clone(), value.clone()),
            };
        }
        if let Some(file_type) = file_type.filter(|_| !said.contains(&FILE_TYPE)) {
            header.set(FILE_TYPE, Value::U32(file_type));
        }
        let plain = [Kind::F32, Kind::F16, Kind::BF16].contains(&self.kind);
        if !plain && !said.contains(&QUANTIZATION_VERSION) {
            header.set(QUANTIZATION_VERSION, Value::U32(2));
        }
        for step in steps {
            let Tensor { name, shape, .. } = step.tensor;
            let place = || format!("{}: the tensor `{name}`", file.path().display());
            if let Err(source) = step.kind().bytes(shape) {
                bail!("{} cannot be {}: {source}; use {}", place(), step.kind(), fitting(steps));
            }
            header.tensor(name, shape, step.kind()).with_context(place)?;
        }
        Ok(header)
    }

    fn write(&self, file: &File, steps: &[Step<'_>], header: Header, out: impl Write) -> Result<Report> {
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {eta} left, {wide_msg}");
        let bar = ProgressBar::with_draw_target(
            Some(steps.iter().map(|step| step.tensor.bytes).sum()),
            ProgressDrawTarget::stderr_with_hz(10),
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let written = self.write_all(file, steps, header, out, &bar);
        bar.finish_and_clear();
        written
    }

    fn write_all(
        &self,
        file: &File,
        steps: &[Step<'_>],
        header: Header,
        out: impl Write,
        bar: &ProgressBar,
    ) -> Result<Report> {
        let mut writer = Writer::new(out, header)?;
        let mut report = Report::default();
        for step in steps {
            let tensor = step.tensor;
            bar.set_message(tensor.name.clone());
            let data = file.data(tensor);
            let (bytes, how, change) = match step.to {
                None => {
                    writer.write_tensor(&tensor.name, &data)?;
                    (tensor.bytes, None, 0.0)
                }
                Some(to) => {
                    let place = || format!("{}: the tensor `{}`", file.path().display(), tensor.name);
                    let factor = step.factor.map(|factor| single(file, factor)).transpose()?;
                    let conversion = Conversion { to, ternarize: self.ternarize };
                    let stacked: u64 = tensor.shape.iter().skip(2).product();
                    let shape = [tensor.k(), tensor.n() / stacked, stacked].map(|size| size as usize);
                    let converted = conversion.run(tensor.kind, &data, shape, factor).with_context(place)?;
                    writer.write_tensor(&tensor.name, &converted.bytes)?;
                    report.folded += usize::from(step.factor.is_some());
                    (converted.bytes.len() as u64, Some(converted.how), converted.change)
                }
            };
            report.add(tensor, step.kind(), how, bytes, change);
            bar.inc(tensor.bytes);
        }
        writer.finish()?;
        Ok(report)
    }
}

/// The types that have room for the shapes of all tensors that are converted, for a message.
fn fitting(steps: &[Step<'_>]) -> String {
    let fits = |kind: &Kind| {
        let mut converted = steps.iter().filter(|step| step.to.is_some());
        converted.all(|step| kind.bytes(&step.tensor.shape).is_ok())
    };
    Conversion::targets().filter(fits).map(|kind| kind.to_string().to_lowercase()).collect::<Vec<_>>().join(", ")
}

const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";

/// The element of a tensor that has but one.
fn single(file: &File, tensor: &Tensor) -> Result<f32> {
    let mut value = [0.0];
    let decoded = tritune::quant::float::decode(tensor.kind, &file.data(tensor), &mut value);
    decoded.with_context(|| format!("{}: the tensor `{}`", file.path().display(), tensor.name))?;
    if !value[0].is_finite() {
        bail!("{}: the tensor `{}` is not finite; download the file again", file.path().display(), tensor.name);
    }
    Ok(value[0])
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// What changed, for each pair of types and way.
#[derive(Default)]
struct Report {
    rows: BTreeMap<(Kind, Kind, Option<How>), Row>,
    /// Scales that had tensors of their own.
    folded: usize,
}

#[derive(Default)]
struct Row {
    tensors: usize,
    before: u64,
    after: u64,
    change: f32,
}

impl Report {
    fn add(&mut self, tensor: &Tensor, to: Kind, how: Option<How>, bytes: u64, change: f32) {
        let row = self.rows.entry((tensor.kind, to, how)).or_default();
        row.tensors += 1;
        row.before += tensor.bytes;
        row.after += bytes;
        row.change = row.change.max(change);
    }

    fn print(&self, quantize: &Quantize, tensors: usize, tensors_before: usize) -> Result<()> {
        let mut out = io::stdout().lock();
        let line = |cells: [&str; 7]| {
            let [from, to, how, tensors, before, after, change] = cells;
            format!("{from:10} {to:10} {how:11} {tensors:>7} {before:>15} {after:>15} {change:>16}")
        };
        writeln!(out, "{}", line(["from", "to", "how", "tensors", "bytes before", "bytes after", "largest change"]))?;
        let (mut before, mut after) = (0, 0);
        for ((from, to, how), row) in &self.rows {
            let how = match how {
                None => "kept",
                Some(How::Repacked) => "repacked",
                Some(How::Recognised) => "recognised",
                Some(How::Ternarised) => "ternarised",
                Some(How::Floats) => "rounded",
            };
            let change = match row.change {
                0.0 => "none".into(),
                change => format!("{:.4} %", 100.0 * change),
            };
            let numbers = [row.tensors.to_string(), row.before.to_string(), row.after.to_string()];
            writeln!(
                out,
                "{}",
                line([&from.to_string(), &to.to_string(), how, &numbers[0], &numbers[1], &numbers[2], &change])
            )?;
            (before, after) = (before + row.before, after + row.after);
        }
        if self.folded > 0 {
            writeln!(out, "scales that were tensors of their own, now part of their matrices: {}", self.folded)?;
        }
        let done = if quantize.dry_run { "would be" } else { "is" };
        writeln!(
            out,
            "{} {done} {} of {tensors} tensors, from {} of {tensors_before}",
            quantize.output.display(),
            HumanBytes(after),
            HumanBytes(before),
        )?;
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_of_blocks_are_told_from_the_rest() {
        for name in
            ["blk.0.attn_q.weight", "blk.17.ffn_down.weight", "blk.3.ffn_up_exps.weight", "blk.0.attn_qkv.weight"]
        {
            assert!(matrix(name).is_some(), "{name}");
        }
        for name in [
            "blk.0.attn_norm.weight",
            "blk.0.attn_q_norm.weight",
            "blk.0.attn_q.scale",
            "blk.0.attn_q.bias",
            "blk.0.ffn_gate_inp.weight",
            "blk.x.attn_q.weight",
            "token_embd.weight",
        ] {
            assert_eq!(matrix(name), None, "{name}");
        }
        assert_eq!(matrix("blk.2.attn_q.weight"), Some("blk.2.attn_q"));
    }

    #[test]
    fn every_type_that_can_be_written_is_in_the_help() {
        use clap::Args;
        let help = Quantize::augment_args(clap::Command::new("quantize")).render_long_help().to_string();
        let names: Vec<String> = Conversion::targets().map(|kind| kind.to_string().to_lowercase()).collect();
        assert!(names.iter().all(|name| help.contains(name.as_str()) && target(name).is_ok()), "{help}");
        assert!(target("i2_s_arm64").unwrap_err().contains("tq1_0, tq2_0, i2_s") && target("tl1").is_err());
        assert!(names.len() == 12, "{names:?}");
    }
}
