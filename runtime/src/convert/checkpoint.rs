//! The tensors of a folder, in one or many safetensors files.
//!
//! The files are mapped into memory and read by the `safetensors` crate, which checks that the tensors of a file cover
//! it without gaps or overlaps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::folder::Folder;
use super::{Error, folder};
use crate::gguf::{Data, Kind};
use crate::quant;

/// Bytes of a file's header that are read: a model of a thousand tensors needs a hundredth of it. A header takes some
/// times its size in memory.
const MAX_HEADER: u64 = 16 << 20;

const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

/// All tensors of a model, by name.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) tensors: BTreeMap<String, Stored>,
    /// How many files they are in.
    pub(super) files: usize,
}

/// A tensor as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// The file that it is in.
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

impl Checkpoint {
    pub(super) fn open(folder: &Folder) -> Result<Checkpoint, Error> {
        let index = folder.json(INDEX)?;
        let names = match &index {
            None => files(folder)?,
            Some(index) => {
                let map = index.opt_object("weight_map")?.ok_or_else(|| index.error("weight_map", NO_MAP))?;
                let mut names = BTreeSet::new();
                for file in map.entries() {
                    names.insert(file.1.as_str().filter(|name| plain(name)).ok_or_else(|| map.error(file.0, NO_NAME))?);
                }
                let missing: Vec<&str> = names.iter().copied().filter(|name| !folder.has(name)).collect();
                if !missing.is_empty() {
                    let why = format!("{} of its {} files are missing: ", missing.len(), names.len());
                    return Err(Error::file(&index.path, why + &missing.join(", ") + "; download them too"));
                }
                names.into_iter().map(str::to_owned).collect()
            }
        };
        let mut tensors = BTreeMap::new();
        for name in &names {
            read(&folder.path().join(name), &mut tensors)?;
        }
        if let Some(index) = index
            && let Some(map) = index.opt_object("weight_map")?
        {
            check_index(&map, &tensors)?;
        }
        Ok(Checkpoint { tensors, files: names.len() })
    }
}

const NO_MAP: &str = "so that nobody knows which files the tensors are in; download the file again";
const NO_NAME: &str = "but must be the name of a file in this folder; download the file again";

/// Whether `name` is that of a file, not a path that leads elsewhere.
fn plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None)) && !name.contains('\\')
}

/// The files of a folder without an index.
fn files(folder: &Folder) -> Result<Vec<String>, Error> {
    if folder.has(WHOLE) {
        return Ok(vec![WHOLE.to_owned()]);
    }
    let found: Vec<&str> = folder.ending(".safetensors").collect();
    match found[..] {
        [] => {
            let pickles = folder.ending(".bin").chain(folder.ending(".pt")).chain(folder.ending(".pth"));
            let why = match pickles.into_iter().next() {
                Some(pickle) => format!(
                    "its weights are in a PyTorch file ({pickle}), which is a program rather than data; save the model \
                     as safetensors (`model.save_pretrained(folder, safe_serialization=True)` in transformers) and \
                     convert that folder"
                ),
                None => "there is no .safetensors file in it; name the folder of a whole model".to_owned(),
            };
            Err(Error::file(folder.path(), why))
        }
        [only] => match part(only) {
            Some((_, of)) if of != 1 => Err(incomplete(folder, only, of, 1)),
            _ => Ok(vec![only.to_owned()]),
        },
        [first, ..] => match part(first) {
            Some((stem, of)) => {
                let parts: Vec<&str> = found.iter().copied().filter(|name| part(name) == Some((stem, of))).collect();
                match parts.len() == of && parts.len() == found.len() {
                    true => Ok(found.into_iter().map(str::to_owned).collect()),
                    false => Err(incomplete(folder, first, of, parts.len())),
                }
            }
            None => {
                let why = format!("it has {} .safetensors files ({}, …)", found.len(), first);
                Err(Error::file(
                    folder.path(),
                    why + " and no " + INDEX + " that says which is what; download that too",
                ))
            }
        },
    }
}

fn incomplete(folder: &Folder, name: &str, of: usize, found: usize) -> Error {
    let why = format!("{name} is one of {of} parts, of which {found} are here, and there is no {INDEX}");
    Error::file(folder.path(), why + "; download what is missing")
}

/// What stands before the number, and the number of parts, in `model-00001-of-00003.safetensors`.
fn part(name: &str) -> Option<(&str, usize)> {
    let (rest, of) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    number.parse::<usize>().ok()?;
    Some((stem, of.parse().ok()?))
}

fn check_index(map: &folder::Document, tensors: &BTreeMap<String, Stored>) -> Result<(), Error> {
    for (name, file) in map.entries() {
        let found = tensors.get(name).and_then(|tensor| tensor.path.file_name()).and_then(|name| name.to_str());
        if found != file.as_str() {
            let found = found.map_or_else(|| "in none of the files".to_owned(), |found| format!("in {found}"));
            return Err(map.error(name, format!("but that tensor is {found}; download the folder again")));
        }
    }
    match tensors.values().find(|tensor| map.get(&tensor.name).is_none()) {
        Some(extra) => Err(Error::tensor(&extra.path, &extra.name, format!("is not in {INDEX}; download both again"))),
        None => Ok(()),
    }
}

/// Adds the tensors of one file.
fn read(path: &Path, tensors: &mut BTreeMap<String, Stored>) -> Result<(), Error> {
    let data = Data::map(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let refuse = |why: String| Error::file(path, why);
    if data.starts_with(b"version https://git-lfs") {
        return Err(refuse("it is a git-lfs pointer; fetch the file itself with `git lfs pull`".into()));
    }
    if let Some(len) = data.first_chunk().map(|len| u64::from_le_bytes(*len))
        && len > MAX_HEADER
        && len < data.len() as u64
    {
        let why = format!("its header is claimed to have {len} bytes, and at most {MAX_HEADER} are read");
        return Err(refuse(why + "; the file is damaged, or no safetensors file: download it again"));
    }
    let (header, metadata) = SafeTensors::read_metadata(&data).map_err(|error| refuse(why(&error, data.len())))?;
    let start = size_of::<u64>() + header;
    for (name, info) in metadata.tensors() {
        let TensorInfo { dtype, shape, data_offsets: (from, to) } = info.clone();
        let stored =
            Stored { path: path.into(), name: name.clone(), dtype, shape, data: data.slice(start + from..start + to) };
        if let Some(other) = tensors.insert(name.clone(), stored) {
            let why = format!("is in {} too; remove the file that does not belong to the model", other.path.display());
            return Err(Error::tensor(path, &name, why));
        }
    }
    Ok(())
}

/// What is wrong with a file of `len` bytes, and what to do about it.
fn why(error: &SafeTensorError, len: usize) -> String {
    let cut = "it is cut short, or still being downloaded; download it again";
    let damaged = "the file is damaged; download it again";
    match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooLarge => {
            format!("its {len} bytes are less than its header takes: no safetensors file, or {cut}")
        }
        SafeTensorError::MetadataIncompleteBuffer => format!("its {len} bytes are not what its tensors take: {cut}"),
        SafeTensorError::InvalidOffset(name) => {
            format!("the tensor `{name}` overlaps another one, or leaves a gap behind it; {damaged}")
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow | SafeTensorError::MisalignedSlice => {
            format!("a tensor has another size than its shape and type say; {damaged}")
        }
        other => format!("{other}; {damaged}"),
    }
}

impl Stored {
    /// An error about this tensor.
    pub(super) fn error(&self, why: impl Into<String>) -> Error {
        Error::tensor(&self.path, &self.name, why)
    }

    /// The number of elements.
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The float type, where it is one that is read.
    pub(super) fn float(&self) -> Option<Kind> {
        match self.dtype {
            Dtype::F32 => Some(Kind::F32),
            Dtype::F16 => Some(Kind::F16),
            Dtype::BF16 => Some(Kind::BF16),
            _ => None,
        }
    }

    /// The float type; an error where it is another one.
    pub(super) fn expect_float(&self) -> Result<Kind, Error> {
        self.float().ok_or_else(|| {
            let why = format!("is of {}, where F32, F16 or BF16 is read; save the model in one of these", self.dtype);
            self.error(why)
        })
    }

    pub(super) fn expect_shape(&self, expected: &[usize], says: &str) -> Result<(), Error> {
        if self.shape == expected {
            return Ok(());
        }
        let found = &self.shape;
        Err(self.error(format!("has shape {found:?}, but {says} {expected:?}; the files are not of one model")))
    }

    /// Elements `at..at + out.len()` as floats. NaN and infinity are errors.
    ///
    /// # Panics
    /// If the type is no float, or there are fewer elements.
    pub(super) fn read(&self, at: usize, out: &mut [f32]) -> Result<(), Error> {
        let kind = self.expect_float()?;
        let size = self.dtype.bitsize() / 8;
        let bytes = &self.data[at * size..(at + out.len()) * size];
        quant::float::decode(kind, bytes, out).map_err(|error| self.error(format!("cannot be read: {error}")))?;
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => {
                let why =
                    format!("has {} as element {}; the model is broken, or the file damaged", out[index], at + index);
                Err(self.error(why + ": download it again"))
            }
        }
    }

    /// All elements of a small tensor.
    pub(super) fn floats(&self) -> Result<Vec<f32>, Error> {
        let mut floats = vec![0f32; self.elements()];
        self.expect_float()?;
        self.read(0, &mut floats)?;
        Ok(floats)
    }
}
