//! `tritune convert`: a Hugging Face checkpoint to a GGUF file.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, Result};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tritune::convert::{self, Convention, Options, Plan, Row};
use tritune::decision::Decision;
use tritune::gguf::{File, Kind};
use tritune::model::{Config, Pooling, Weights};
use tritune::tokenizer::Tokenizer;

use crate::side_file::{SideFile, check_model_name};

/// Convert a Hugging Face checkpoint (config.json, tokenizer.json, safetensors) to a GGUF file
#[derive(clap::Args)]
pub(crate) struct Convert {
    /// Folder with the model
    #[arg(value_name = "HF_DIR")]
    folder: PathBuf,
    /// GGUF file to write
    #[arg(value_name = "OUT.gguf", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Type of ternary matrices; a float type holds for all matrices of layers
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Matrices>,
    /// Type of embedding and head
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Table::F16)]
    embedding: Table,
    /// How weight_scale is meant, whatever config.json says: w = trit / weight_scale, or trit * weight_scale
    #[arg(long, value_enum, value_name = "HOW")]
    weight_scale: Option<WeightScale>,
    /// Round matrices to trits although config.json does not say that the model was trained for it
    #[arg(long, alias = "ternarise")]
    ternarize: bool,
    /// The pre-tokenizer (tokenizer.ggml.pre), whatever tokenizer.json says
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
    /// How tokens become an embedding, whatever modules.json says: mean, cls (the first token's), last
    #[arg(long)]
    pooling: Option<Pooling>,
    /// Replace OUT.gguf if it is there
    #[arg(long)]
    overwrite: bool,
    /// Read, decide and report, but write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object, with every tensor
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
#[allow(non_camel_case_types)] // the names that every GGUF tool prints
enum Matrices {
    /// 2 bits, one scale for a matrix; what trits become where nothing is said
    #[value(name = "i2_s")]
    I2_S,
    /// 1.69 bits, an f16 scale for 256 weights
    #[value(name = "tq1_0")]
    TQ1_0,
    /// 2.06 bits, an f16 scale for 256 weights
    #[value(name = "tq2_0")]
    TQ2_0,
    F16,
    Bf16,
    F32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Table {
    F16,
    Bf16,
    F32,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightScale {
    Reciprocal,
    Scale,
}

impl Convert {
    fn options(&self) -> Options {
        Options {
            kind: self.kind.map(|kind| match kind {
                Matrices::I2_S => Kind::I2_S,
                Matrices::TQ1_0 => Kind::TQ1_0,
                Matrices::TQ2_0 => Kind::TQ2_0,
                Matrices::F16 => Kind::F16,
                Matrices::Bf16 => Kind::BF16,
                Matrices::F32 => Kind::F32,
            }),
            embedding: Some(match self.embedding {
                Table::F16 => Kind::F16,
                Table::Bf16 => Kind::BF16,
                Table::F32 => Kind::F32,
            }),
            weight_scale: self.weight_scale.map(|how| match how {
                WeightScale::Reciprocal => Convention::Reciprocal,
                WeightScale::Scale => Convention::Scale,
            }),
            ternarise: self.ternarize,
            pre: self.pre.clone(),
            pooling: self.pooling,
        }
    }

    pub(crate) fn run(self) -> Result<()> {
        let plan = convert::plan(&self.folder, &self.options())?;
        let (rows, obstacles) = match &self.out {
            Some(out) if !self.dry_run => self.write(&plan, out)?,
            _ => (plan.rows(), Vec::new()),
        };
        let out = io::stdout().lock();
        match self.json {
            true => self.write_json(out, &plan, &rows, &obstacles)?,
            false => self.write_text(out, &plan, &rows)?,
        }
        for warning in plan.warnings().iter().chain(&losses(&rows)) {
            eprintln!("warning: {warning}");
        }
        for obstacle in obstacles {
            eprintln!("warning: the file is written, but this program cannot run it: {obstacle}");
        }
        Ok(())
    }

    /// Writes the file; returns what became of each tensor, and what keeps this program from running it.
    fn write(&self, plan: &Plan, out: &Path) -> Result<(Vec<Row>, Vec<String>)> {
        check_model_name(out, self.overwrite)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        ctrlc::set_handler(move || flag.store(true, Relaxed))?;
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}")?;
        let bar =
            ProgressBar::with_draw_target(Some(plan.bytes()), ProgressDrawTarget::stderr_with_hz(10)).with_style(style);
        let side = SideFile::create(out)?;
        let writer = BufWriter::with_capacity(1 << 20, &side.file);
        let written = plan.write(writer, &mut |done, _| {
            bar.set_position(done);
            if interrupted.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        let (_, rows) = match written {
            Err(error @ convert::Error::Write(_)) => return Err(error).context(out.display().to_string()),
            written => written?,
        };
        // Nothing takes the name that cannot be read.
        File::open(side.path())?;
        side.put_in_place()?;
        Ok((rows, obstacles(out)?))
    }

    fn write_text(&self, mut out: impl Write, plan: &Plan, rows: &[Row]) -> Result<()> {
        writeln!(out, "{}: {} tensors in {} files", self.folder.display(), rows.len(), plan.files())?;
        writeln!(out, "\ntensors")?;
        for Group { from, stored, to, kind, how, scales, count } in groups(rows) {
            let scales = match scales {
                Some((least, most)) if least == most => format!(", scale {least}"),
                Some((least, most)) => format!(", scales {least} to {most}"),
                None => String::new(),
            };
            writeln!(out, "  {from:45} {stored:4} -> {to:32} {kind:5} x{count:<3} {how}{scales}")?;
        }
        writeln!(out, "\ndecisions")?;
        for Decision { what, value, why } in plan.decisions() {
            writeln!(out, "  {what}: {value} ({why})")?;
        }
        let bytes = plan.bytes();
        match &self.out {
            Some(path) if !self.dry_run => writeln!(out, "\n{}: {bytes} bytes of tensors", path.display())?,
            _ => writeln!(out, "\nnothing was written: {bytes} bytes of tensors would be")?,
        }
        Ok(out.flush()?)
    }

    fn write_json(&self, mut out: impl Write, plan: &Plan, rows: &[Row], obstacles: &[String]) -> Result<()> {
        let object = serde_json::json!({
            "folder": self.folder.display().to_string(),
            "out": self.out.as_ref().map(|out| out.display().to_string()),
            "written": !self.dry_run, "files": plan.files(), "bytes": plan.bytes(), "tensors": rows,
            "decisions": plan.decisions(), "warnings": plan.warnings(), "obstacles": obstacles,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
        Ok(out.flush()?)
    }
}

/// What keeps this program from running the file.
fn obstacles(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path)?;
    let mut obstacles = Vec::new();
    match Config::read(&file) {
        Ok(config) => obstacles.extend(Weights::check(&file, &config).err().map(|error| error.to_string())),
        Err(error) => obstacles.push(error.to_string()),
    }
    obstacles.extend(Tokenizer::from_gguf(&file).err().map(|error| error.to_string()));
    Ok(obstacles)
}

/// What types could not say, in words.
fn losses(rows: &[Row]) -> Vec<String> {
    let lossy = rows.iter().filter(|row| row.rounded > 0);
    lossy
        .map(|Row { to, kind, rounded, vanished, scales, .. }| match scales {
            Some(_) if *vanished == 0 => format!("{to}: {rounded} scales or weights were rounded to {kind}"),
            _ => format!("{to}: {rounded} elements were rounded to {kind}, {vanished} of them to 0"),
        })
        .collect()
}

/// Tensors of all layers that were treated alike.
struct Group {
    from: String,
    stored: String,
    to: String,
    kind: String,
    how: String,
    scales: Option<(f32, f32)>,
    count: usize,
}

fn groups(rows: &[Row]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let (from, to) = (layerless(&row.from), layerless(&row.to));
        let alike = |group: &&mut Group| {
            (&group.from, &group.stored, &group.to, &group.kind, &group.how)
                == (&from, &row.stored, &to, &row.kind, &row.how)
        };
        match groups.iter_mut().find(alike) {
            Some(group) => {
                group.count += 1;
                if let (Some((least, most)), Some((low, high))) = (&mut group.scales, row.scales) {
                    (*least, *most) = (least.min(low), most.max(high));
                }
            }
            None => groups.push(Group {
                from,
                stored: row.stored.clone(),
                to,
                kind: row.kind.clone(),
                how: row.how.clone(),
                scales: row.scales,
                count: 1,
            }),
        }
    }
    groups
}

/// A name without the number of its layer.
fn layerless(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part }).collect();
    parts.join(".")
}
