//! A folder as Hugging Face's libraries save models: JSON files beside the weights.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Error;

/// Bytes of a text file that are read: the longest known, a tokenizer.json for 262,144 tokens, has half of it.
const MAX_TEXT: u64 = 64 << 20;

/// A folder that may hold a model.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Names of the files in it, in order.
    files: Vec<String>,
}

impl Folder {
    /// Lists the folder, and refuses what is no model to convert.
    pub(super) fn open(path: &Path) -> Result<Folder, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        if !fs::metadata(path).map_err(io)?.is_dir() {
            let gguf = path.extension().is_some_and(|extension| extension == "gguf");
            let why = if gguf { "it is a GGUF file already" } else { "it is a file" };
            return Err(Error::file(path, format!("{why}; name the folder with the model's config.json")));
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(io)? {
            // A name that is not Unicode is none of those looked for.
            files.extend(entry.map_err(io)?.file_name().into_string());
        }
        files.sort_unstable();
        let folder = Folder { path: path.into(), files };
        folder.refuse_adapters()?;
        Ok(folder)
    }

    fn refuse_adapters(&self) -> Result<(), Error> {
        let Some(adapter) = self.json("adapter_config.json")? else { return Ok(()) };
        let base = adapter.opt_text("base_model_name_or_path")?.unwrap_or("its base model").to_owned();
        let why = format!(
            "the folder holds a LoRA adapter for {base}, which is no model by itself; merge it into the model first \
             (`merge_and_unload` of peft), save that, and convert its folder"
        );
        Err(Error::file(&adapter.path, why))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name.
    pub(super) fn name(&self) -> String {
        let whole = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        whole.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.binary_search_by(|file| file.as_str().cmp(name)).is_ok()
    }

    /// Names of files that end in `end`, in order.
    pub(super) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.iter().map(String::as_str).filter(move |name| name.ends_with(end))
    }

    /// The text of a file; `None` where there is none of that name. `name` may lead into a folder of this one.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path.join(name);
        let len = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { path, source }),
        };
        if len > MAX_TEXT {
            let why = format!("it has {len} bytes, and at most {MAX_TEXT} are read; it is not the file of this name");
            return Err(Error::file(&path, format!("{why} that Hugging Face's libraries write")));
        }
        match fs::read_to_string(&path) {
            // Editors on Windows put a byte order mark in front.
            Ok(text) => Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// The object in a JSON file; `None` where there is no such file.
    pub(super) fn json(&self, name: &str) -> Result<Option<Document>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        Document::parse(self.path.join(name), &text).map(Some)
    }
}

/// A JSON object, read key by key. A key that is null is one that is not there.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    /// What stands before a key in messages: `rope_scaling.`
    within: String,
    map: Map<String, Value>,
}

impl Document {
    pub(super) fn parse(path: PathBuf, text: &str) -> Result<Document, Error> {
        let parsed = serde_json::from_str(text);
        match parsed.or_else(|error| serde_json::from_str(&quote_what_is_no_number(text)).map_err(|_| error)) {
            Ok(Value::Object(map)) => Ok(Document { path, within: String::new(), map }),
            Ok(_) => Err(Error::file(&path, "it holds no JSON object; download it again")),
            Err(error) => {
                let pointer = text.starts_with("version https://git-lfs");
                let why = if pointer {
                    "it is a git-lfs pointer; fetch the file itself with `git lfs pull`".to_owned()
                } else {
                    format!("it is not JSON ({error}); download it again")
                };
                Err(Error::file(&path, why))
            }
        }
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Keys and values, in the order of the keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The first of `keys` that is there, and its value.
    pub(super) fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Value)> {
        keys.iter().find_map(|key| Some((*key, self.get(key)?)))
    }

    /// An error about `key`.
    pub(super) fn error(&self, key: &str, why: impl Into<String>) -> Error {
        let value = self.get(key).map_or_else(|| "not there".to_owned(), shown);
        Error::Key { path: self.path.clone(), key: format!("{}{key}", self.within), value, why: why.into() }
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || self.error(key, format!("but must be {expected}; correct it or download the file again"));
        read(value).ok_or_else(wrong).map(Some)
    }

    fn missing(&self, key: &str) -> Error {
        self.error(key, "and nothing else says it; download the file again, or add the key")
    }

    /// A whole number from 1 to 4294967295.
    pub(super) fn opt_size(&self, key: &str) -> Result<Option<u32>, Error> {
        self.read(key, "a whole number from 1 to 4294967295", |value| count(value).filter(|&size| size > 0))
    }

    pub(super) fn size(&self, key: &str) -> Result<u32, Error> {
        self.opt_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number.
    pub(super) fn opt_number(&self, key: &str) -> Result<Option<f64>, Error> {
        self.read(key, "a number", Value::as_f64)
    }

    pub(super) fn number(&self, key: &str) -> Result<f64, Error> {
        self.opt_number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number above 0.
    pub(super) fn opt_positive(&self, key: &str) -> Result<Option<f64>, Error> {
        self.read(key, "a number above 0", |value| value.as_f64().filter(|&number| number > 0.0))
    }

    pub(super) fn positive(&self, key: &str) -> Result<f64, Error> {
        self.opt_positive(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn opt_flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(super) fn opt_text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.read(key, "a text", Value::as_str)
    }

    /// A list of texts.
    pub(super) fn opt_texts(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        self.read(key, "a list of texts", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// A list of numbers above 0.
    pub(super) fn opt_positives(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        let positive = |value: &Value| value.as_f64().map(|number| number as f32).filter(|&number| number > 0.0);
        self.read(key, "a list of numbers above 0", |value| value.as_array()?.iter().map(positive).collect())
    }

    /// The object that is the value of `key`.
    pub(super) fn opt_object(&self, key: &str) -> Result<Option<Document>, Error> {
        let map = self.read(key, "an object", Value::as_object)?.cloned();
        let within = format!("{}{key}.", self.within);
        Ok(map.map(|map| Document { path: self.path.clone(), within, map }))
    }
}

/// JSON with NaN and infinities, which Python's `json` writes as bare words, as texts: a key that is read has another
/// value then than it must have, and others are no matter.
fn quote_what_is_no_number(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut rest = text;
    let mut within = false;
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| !within && rest.starts_with(word));
        let end = match (word, c) {
            (Some(word), _) => word.len(),
            // With what it escapes, a quotation mark perhaps.
            (None, '\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, c) => c.len_utf8(),
        };
        within ^= c == '"';
        match word {
            Some(word) => quoted.extend(["\"", word, "\""]),
            None => quoted.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    quoted
}

fn count(value: &Value) -> Option<u32> {
    match value.as_u64() {
        Some(number) => number.try_into().ok(),
        // Some programs write whole numbers as 8.0.
        None => value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=4294967295.0).contains(n)).map(|n| n as u32),
    }
}

/// Characters of a value that messages show.
const SHOWN: usize = 200;

/// A value as messages show it: JSON, cut short where it is long.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
