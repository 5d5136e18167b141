//! The models that are measured: files, and generated ones of real dimensions, which are kept in target/models.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::ablation::Parts;
use crate::inspect::Contents;
use crate::model::SHAPES;
use crate::{cargo, model, tune};

/// Shapes that are measured where no model is named.
pub(super) const USUAL: [&str; 3] = ["2b4t", "3b", "falcon3-1b"];

/// A model that is measured too, where it lies beside the repository.
const BESIDE: &str = "../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Shapes that not every program reads, what more of them do instead, and how that differs.
const STAND_INS: [(&str, &str, &str); 2] = [
    ("2b4t", "2b4t-bitnet", "the same dimensions in the architecture `bitnet`"),
    ("3b", "3b-256", "the same layers with rows of the next multiples of 256, as TQ2_0 asks for"),
];

/// The ternary type that llama.cpp reads and computes fast. It reads Q2_0, too, but has no vectors for it on x86-64: rows of
/// other lengths than multiples of 256 would be measured at a twentieth of what it can do.
pub(super) const FORM: &str = "TQ2_0";

/// A model to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// A shape's name, or a file's.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Whether it is one of [`SHAPES`], to be generated where it is missing.
    generated: bool,
}

impl Subject {
    /// The model that a word of the command line means: a file, or else a shape.
    pub(super) fn named(word: &str) -> Result<Subject> {
        let path = Path::new(word);
        if path.is_file() {
            tune::check_gguf(path)?;
            let name = path.file_name().map_or(word.into(), |name| name.to_string_lossy());
            return Ok(Subject { name: name.into_owned(), path: path.into(), generated: false });
        }
        if SHAPES.contains(&word) {
            return Ok(Subject::generated(word));
        }
        if path.components().count() > 1 || path.extension().is_some() || path.exists() {
            bail!("there is no file {word}; name a GGUF file, or one of the shapes {}", SHAPES.join(", "));
        }
        bail!("unknown shape {word}; shapes are {}; or name a GGUF file", SHAPES.join(", "));
    }

    fn generated(shape: &str) -> Subject {
        Subject { name: shape.into(), path: model::path(shape), generated: true }
    }

    /// Those that are measured where none is named.
    pub(super) fn usual() -> Vec<Subject> {
        let beside = cargo::root().join(BESIDE);
        let beside = Subject::named(&beside.to_string_lossy()).ok();
        USUAL.into_iter().map(Subject::generated).chain(beside).collect()
    }

    /// What more programs read and comes near it, and how that differs, if this is a shape that has such.
    pub(super) fn stand_in(&self) -> Option<(Subject, &'static str)> {
        let (_, name, how) = STAND_INS.iter().find(|(shape, ..)| self.generated && *shape == self.name)?;
        Some((Subject::generated(name), how))
    }

    /// Whether it is a stand-in for one of these.
    pub(super) fn stands_in_for(&self, others: &[Subject]) -> bool {
        others.iter().any(|other| other.stand_in().is_some_and(|(stand_in, _)| stand_in == *self))
    }

    /// Options of whoever reads it as a text: random weights read as badly in either layout, and do not say which is theirs.
    pub(super) fn read_as(&self) -> &'static [&'static str] {
        if self.generated { &["--i2s-layout", "x86"] } else { &[] }
    }

    /// What of it options can change, as `tritune inspect` tells it.
    pub(super) fn parts(&self, tritune: &Path) -> Result<Parts> {
        let run = |verb: &str, options: &[&str]| {
            let mut command = Command::new(tritune);
            command.arg(verb).arg(&self.path).args(options).stdin(Stdio::null());
            command.output().with_context(|| format!("cannot start {}", tritune.display()))
        };
        let inspected = run("inspect", &["--json"])?;
        let contents: Contents = serde_json::from_slice(&inspected.stdout)
            .with_context(|| format!("what inspect printed of {}", self.path.display()))?;
        // A chat template, and a training: random weights answer nothing.
        let answers = !self.generated && run("chat", &["-p", "x", "--dry-run"])?.status.success();
        Ok(Parts { ternary: contents.has_ternary(), copied_head: contents.has_float_head(), answers })
    }

    /// Writes the file where it is a shape's and is not there.
    pub(super) fn prepare(&self) -> Result<()> {
        if !self.generated || self.path.is_file() {
            return Ok(());
        }
        eprintln!("writing {}", self.path.display());
        model::write(&self.name, &self.path, 1)
    }

    /// The same trits in [`FORM`], converted where that has not been done since the file has changed.
    pub(super) fn converted(&self, tritune: &Path) -> Result<PathBuf> {
        let name = format!("{}-{}.gguf", self.name.trim_end_matches(".gguf"), FORM.to_lowercase());
        let out = model::path(&name);
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        if changed(&out).is_some_and(|made| changed(&self.path).is_some_and(|source| source <= made)) {
            return Ok(out);
        }
        let mut quantize = Command::new(tritune);
        quantize.arg("quantize").arg(&self.path).arg(&out).args([FORM, "--overwrite"]);
        let output = quantize.stdin(Stdio::null()).output().context("cannot start tritune")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.lines().last().unwrap_or("it did not say why").trim_start_matches("error: "));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_file_or_a_shape() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("3b");
        fs::write(&file, "GGUF").unwrap();
        let subject = Subject::named(file.to_str().unwrap()).unwrap();
        assert_eq!(subject, Subject { name: "3b".into(), path: file, generated: false });
        assert_eq!(subject.stand_in(), None);
        for shape in SHAPES {
            let subject = Subject::named(shape).unwrap();
            assert!(subject.generated && subject.path.ends_with(format!("target/models/{shape}.gguf")), "{subject:?}");
        }
        assert_eq!(Subject::named("2b4t").unwrap().stand_in().unwrap().0.name, "2b4t-bitnet");
        for (word, why) in [
            ("2b5t", "unknown shape 2b5t; shapes are 2b4t, "),
            ("", "unknown shape ;"),
            ("missing.gguf", "there is no file missing.gguf;"),
            ("models/missing", "there is no file models/missing;"),
            (folder.path().to_str().unwrap(), "there is no file "),
        ] {
            let error = Subject::named(word).unwrap_err().to_string();
            assert!(error.starts_with(why) && error.contains("falcon3-1b"), "{error}");
        }
    }

    #[test]
    fn usual_models_and_stand_ins_are_shapes() {
        let shapes = USUAL.into_iter().chain(STAND_INS.into_iter().flat_map(|(from, to, _)| [from, to]));
        assert!(shapes.into_iter().all(|shape| SHAPES.contains(&shape)));
        assert!(Subject::usual().len() >= USUAL.len());
    }
}
