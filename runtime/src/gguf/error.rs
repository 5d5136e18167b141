//! What can be wrong with a GGUF file, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::{Folder, Foreign, Kind, Purpose, ShapeError, download};

/// Why a file was refused. Every message names the file, the thing in it, and the way out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error("{} is a directory {found}", path.display())]
    Folder { path: PathBuf, found: Folder },

    #[error("{} is not a GGUF file: {found}{}", path.display(), found.remedy(path))]
    Foreign { path: PathBuf, found: Foreign },

    #[error("{} is still being downloaded: {} is there; wait until aria2 is done, or delete that file if you know that \
             the model is whole", path.display(), control.display())]
    Unfinished { path: PathBuf, control: PathBuf },

    #[error("{} is a big-endian GGUF file; this program reads little-endian ones: convert the model again on, or for, \
             a little-endian machine", path.display())]
    BigEndian { path: PathBuf },

    #[error("{} is GGUF version {version}; versions 2 and 3 can be read: convert the model again with a current \
             converter", path.display())]
    Version { path: PathBuf, version: u32 },

    #[error("{}: the file ends within {what}: bytes {at}..{} are needed, the file has {len}; it is truncated or \
             damaged: {}", path.display(), at.saturating_add(*need), download::remedy(path))]
    Ends { path: PathBuf, what: String, at: u64, need: u64, len: u64 },

    #[error("{}: {what} is claimed to be {count}; at most {limit} can be read: the file is damaged, download it again",
             path.display())]
    Limit { path: PathBuf, what: String, count: u64, limit: u64 },

    #[error("{}: {what} at byte {at} is not UTF-8 text; the file is damaged or its converter is at fault: download it \
             again or convert the model again", path.display())]
    Text { path: PathBuf, what: String, at: u64 },

    #[error("{}: {what} has the value type {id}, which GGUF does not define; the file is damaged: download it again",
             path.display())]
    ValueType { path: PathBuf, what: String, id: u32 },

    #[error("{}: {what} is a bool with the byte {byte}, which is neither 0 nor 1; the file is damaged: download it \
             again", path.display())]
    Bool { path: PathBuf, what: String, byte: u8 },

    #[error("{}: the {what} `{name}` occurs twice; convert the model again", path.display())]
    Duplicate { path: PathBuf, what: &'static str, name: String },

    #[error("{}: the key `{key}` is missing; convert the model again with a current converter", path.display())]
    MissingKey { path: PathBuf, key: String },

    #[error("{}: the key `{key}` is {found}, but must be {expected}; convert the model again with a current converter",
             path.display())]
    WrongType { path: PathBuf, key: String, found: String, expected: &'static str },

    #[error("{}: `general.alignment` is {alignment}; it must be a power of two from 8 to 1048576: convert the model \
             again", path.display())]
    Alignment { path: PathBuf, alignment: u64 },

    #[error("{}: the tensor `{tensor}` is missing; the file is not a whole model, or not of the architecture that it \
             names: download it again", path.display())]
    MissingTensor { path: PathBuf, tensor: String },

    #[error("{}: the tensor `{tensor}` of shape {shape:?} cannot be: {source}; {}the file is damaged or its converter is \
             at fault: download it again or convert the model again", path.display(), source.layout())]
    Shape { path: PathBuf, tensor: String, shape: Vec<u64>, source: ShapeError },

    #[error("{}: the tensor `{tensor}` is at offset {offset}, which is not a multiple of the alignment {alignment}; the \
             file is damaged or its converter is at fault: download it again or convert the model again",
             path.display())]
    Misaligned { path: PathBuf, tensor: String, offset: u64, alignment: u64 },

    #[error("{}: the file is truncated: {} of its {whole} bytes are missing, from the tensor `{tensor}` on; {}",
             path.display(), whole - len, download::remedy(path))]
    Truncated { path: PathBuf, tensor: String, whole: u64, len: u64 },

    #[error("{}: the tensor `{tensor}` is zeros up to its end, as where a download has made room and not filled it; \
             {}", path.display(), download::remedy(path))]
    Unfilled { path: PathBuf, tensor: String },

    #[error("{} holds no model ({because}) but {found}", path.display())]
    Purpose { path: PathBuf, found: Purpose, because: String },

    #[error("{} is part {} of {count} of a model; name the first part, {}{}", path.display(), number + 1,
             first.display(), if first.exists() { "" } else { ", once it is downloaded into the same folder" })]
    NotFirst { path: PathBuf, number: u64, count: u64, first: PathBuf },

    #[error("{} is part {} of {count} of a model, but its name does not end in `{ending}`, by which the others are \
             found: give all parts their names back", path.display(), number + 1)]
    PartName { path: PathBuf, number: u64, count: u64, ending: String },

    #[error("{} is the first of {count} parts of a model, and {} missing: {}; download all parts into the same folder",
             path.display(), if missing.len() == 1 { "one is" } else { "some are" }, list(missing))]
    MissingParts { path: PathBuf, count: u64, missing: Vec<PathBuf> },

    #[error("{}: `{key}` is {found}, but {expected} in {}: the parts are not of one model, or one was renamed; download \
             them again", path.display(), first.display())]
    Part { path: PathBuf, key: String, found: String, expected: String, first: PathBuf },

    #[error("{}: the tensor `{tensor}` is in {} too: the parts are not of one model, or one is a copy; download them \
             again", path.display(), other.display())]
    PartTensor { path: PathBuf, tensor: String, other: PathBuf },

    #[error("{}: `split.tensors.count` is {expected}, but the {count} parts have {found} tensors together: the parts are \
             not of one model; download them again", path.display())]
    PartTensors { path: PathBuf, count: usize, expected: u64, found: usize },

    #[error("{}: the tensor `{tensor}` needs {need} bytes as {kind} (type id {}), but the next tensor, `{next}`, starts \
             {room} bytes after it: the tensors overlap or leave a gap, or the program that wrote the file means another \
             format by this id; get the model in a format that this program reads", path.display(), kind.id())]
    Conflict { path: PathBuf, tensor: String, kind: Kind, need: u64, room: u64, next: String },

    #[error("{}: the tensor `{tensor}` has type id {}, which means {kind} here, but by its size it is of {other}, which this \
             program does not read; get the model in another format", path.display(), kind.id())]
    Another { path: PathBuf, tensor: String, kind: Kind, other: &'static str },

    #[error("{}: the tensor `{tensor}` has type id {id}, which several formats share, and the file does not tell which it \
             means: {why}; it is damaged, or another format uses this id: download it again, or get the model in another \
             format", path.display())]
    Shared { path: PathBuf, tensor: String, id: u32, why: String },
}

/// Some paths in a message: the first few, and how many more.
fn list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let mut list: Vec<String> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    if paths.len() > SHOWN {
        list.push(format!("{} more", paths.len() - SHOWN));
    }
    list.join(", ")
}
