//! Folders that people pass for a model.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a folder seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// One with GGUF files: the first of them by name, and how many more there are.
    Gguf(PathBuf, usize),
    /// A checkpoint as Hugging Face's libraries save it.
    HuggingFace(PathBuf),
    /// Another one.
    Other,
}

impl Folder {
    /// What the folder at `path` looks like.
    pub(super) fn recognise(path: &Path) -> Folder {
        let mut files: Vec<PathBuf> =
            fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let has = |file: &PathBuf, extension: &str| file.extension().is_some_and(|found| found == extension);
        let mut models = files.iter().filter(|file| has(file, "gguf"));
        if let Some(first) = models.next() {
            return Folder::Gguf(first.clone(), models.count());
        }
        let checkpoint = |file: &PathBuf| {
            has(file, "safetensors") || ["config.json", "pytorch_model.bin"].iter().any(|name| file.ends_with(name))
        };
        if files.iter().any(checkpoint) { Folder::HuggingFace(path.into()) } else { Folder::Other }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Folder::Gguf(first, more) => {
                write!(f, "with GGUF files; name one of them: {}", first.display())?;
                if *more > 0 { write!(f, " or another ({more} more)") } else { Ok(()) }
            }
            Folder::HuggingFace(path) => {
                let path = path.display();
                write!(f, "with a Hugging Face checkpoint; convert it first: `tritune convert {path} OUT.gguf`")
            }
            Folder::Other => write!(f, "without a GGUF file; name a .gguf file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_apart_by_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let found = || Folder::recognise(folder.path());
        assert_eq!(found(), Folder::Other);
        put("README.md");
        assert_eq!(found(), Folder::Other);
        put("model-00001-of-00002.safetensors");
        assert_eq!(found(), Folder::HuggingFace(folder.path().into()));
        put("b.gguf");
        put("a.gguf");
        assert_eq!(found(), Folder::Gguf(folder.path().join("a.gguf"), 1));
        assert!(found().to_string().ends_with("a.gguf or another (1 more)"), "{}", found());
    }
}
