//! Files that are not GGUF but that people pass for one.

use std::fmt;
use std::path::Path;

use super::download;

/// What a file without GGUF's first four bytes seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// No bytes at all.
    Empty,
    /// Zeros where the magic should be.
    Zeros,
    /// The few lines that stand in for a large file in a git checkout.
    LfsPointer,
    /// Hugging Face's weights format.
    Safetensors,
    /// What PyTorch writes: a zip archive with a pickle in it.
    PyTorch,
    /// Another zip archive.
    Zip,
    /// A Python pickle: what old PyTorch wrote.
    Pickle,
    /// Compressed, or packed into an archive, by the format of this name.
    Packed(&'static str),
    /// The formats before GGUF: ggml, ggmf, ggjt, ggla; whisper.cpp still writes the first.
    LegacyGgml,
    /// A llama.cpp session: the state of a context.
    Session,
    /// A llama.cpp importance matrix in the format before GGUF.
    Imatrix,
    /// Another format that holds tensors, of this name.
    Tensors(&'static str),
    /// A web page.
    Html,
    /// JSON: a model's configuration or tokenizer, or a server's answer.
    Json,
    /// Other text; how it begins.
    Text(String),
    /// None of these; its first bytes, zeros where it has fewer than four.
    Other([u8; 4]),
}

/// Formats known by how they begin.
static MAGICS: [(&[u8], Foreign); 20] = [
    (b"version https://git-lfs", Foreign::LfsPointer),
    (b"\x1f\x8b", Foreign::Packed("gzip")),
    (b"\xfd7zXZ\0", Foreign::Packed("xz")),
    (b"\x28\xb5\x2f\xfd", Foreign::Packed("zstd")),
    (b"BZh", Foreign::Packed("bzip2")),
    (b"7z\xbc\xaf\x27\x1c", Foreign::Packed("7z")),
    (b"Rar!", Foreign::Packed("rar")),
    (b"\x04\x22\x4d\x18", Foreign::Packed("lz4")),
    // The magics are numbers there: ggml, ggmf, ggjt, ggla, ggsn, ggsq, lowest byte first.
    (b"lmgg", Foreign::LegacyGgml),
    (b"fmgg", Foreign::LegacyGgml),
    (b"tjgg", Foreign::LegacyGgml),
    (b"algg", Foreign::LegacyGgml),
    (b"nsgg", Foreign::Session),
    (b"qsgg", Foreign::Session),
    (b"\x93NUMPY", Foreign::Tensors("a NumPy array")),
    (b"\x89HDF", Foreign::Tensors("an HDF5 file")),
    (b"PK\x05\x06", Foreign::Zip),
    (b"<!--", Foreign::Html),
    (b"\x80\x02\x8a\x0a", Foreign::Pickle),
    (b"\0\0\0\0\0\0\0\0", Foreign::Zeros),
];

impl Foreign {
    /// What `bytes`, which do not start with GGUF's magic, look like.
    pub(super) fn recognise(bytes: &[u8]) -> Foreign {
        let text = bytes.trim_ascii_start();
        let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        if let Some((_, known)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return known.clone();
        }
        match bytes {
            [] => Foreign::Empty,
            [b'P', b'K', 3, 4, ..] => zip(bytes),
            [0x80, 2..=5, ..] => Foreign::Pickle,
            // The length of a JSON header, then the header.
            [_, _, _, _, _, _, 0, 0, b'{', ..] => Foreign::Safetensors,
            [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Foreign::Tensors("a TensorFlow Lite model"),
            _ if bytes.get(257..262) == Some(b"ustar") => Foreign::Packed("tar"),
            _ if imatrix(bytes) => Foreign::Imatrix,
            _ if begins(b"<!doctype") || begins(b"<html") || begins(b"<?xml") => Foreign::Html,
            _ => match beginning(bytes) {
                Some(text) if text.starts_with(['{', '[']) => Foreign::Json,
                Some(text) => Foreign::Text(text),
                None => {
                    let mut first = [0; 4];
                    bytes.iter().zip(&mut first).for_each(|(byte, first)| *first = *byte);
                    Foreign::Other(first)
                }
            },
        }
    }
}

/// PyTorch's archives begin with their pickle, `NAME/data.pkl`. A member's name follows its header of 30 bytes.
fn zip(bytes: &[u8]) -> Foreign {
    let name = match bytes.get(26..28) {
        Some(&[low, high]) => bytes.get(30..30 + usize::from(u16::from_le_bytes([low, high]))),
        _ => None,
    };
    if name.is_some_and(|name| name.ends_with(b"data.pkl")) { Foreign::PyTorch } else { Foreign::Zip }
}

/// Whether it is the number of entries, the length of a tensor's name, and the name.
fn imatrix(bytes: &[u8]) -> bool {
    let Some((&[_, _, _, 0, length, 0, 0, 0], rest)) = bytes.split_first_chunk::<8>() else { return false };
    let name = rest.get(..usize::from(length)).unwrap_or_default();
    [&b"blk."[..], b"output", b"token_embd"].iter().any(|start| name.starts_with(start))
}

/// The first line of a text, cut short; `None` where it is too short to tell, or not text.
fn beginning(bytes: &[u8]) -> Option<String> {
    /// Bytes looked at.
    const LOOK: usize = 256;
    /// Bytes that tell text from chance.
    const LEAST: usize = 8;
    /// Characters shown.
    const SHOWN: usize = 60;
    let look = &bytes[..bytes.len().min(LOOK)];
    let text = match std::str::from_utf8(look) {
        Ok(text) => text,
        // The look may have cut a character in two.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&look[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if bytes.len() < LEAST || text.is_empty() || text.chars().any(|c| c.is_control() && !"\n\r\t".contains(c)) {
        return None;
    }
    Some(text.lines().next()?.chars().take(SHOWN).collect())
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Empty => "it is empty",
            Foreign::Zeros => "it begins with zeros, as a file does that a download has made room for but not filled",
            Foreign::LfsPointer => "it is a git-lfs pointer; fetch the file itself with `git lfs pull`",
            Foreign::Safetensors => {
                "it is a safetensors file; convert the folder that it is in (`tritune convert FOLDER OUT.gguf`), or \
                 download the model's GGUF version"
            }
            Foreign::PyTorch => {
                "it is a PyTorch checkpoint; download the model's GGUF version, or its safetensors version and convert \
                 that (`tritune convert FOLDER OUT.gguf`)"
            }
            Foreign::Zip => "it is a zip archive; unpack it first",
            Foreign::Pickle => {
                "it is a Python pickle (an old PyTorch checkpoint); download the model's GGUF version, or its \
                 safetensors version and convert that (`tritune convert FOLDER OUT.gguf`)"
            }
            Foreign::Packed(format) => return write!(f, "it is packed with {format}; unpack it first"),
            Foreign::LegacyGgml => {
                "it is a ggml file from before GGUF (2023), or a whisper.cpp model; download a newer version of the model"
            }
            Foreign::Session => "it is a session that llama.cpp has saved, not a model; name the model's .gguf file",
            Foreign::Imatrix => {
                "it is an importance matrix, with which models are quantised, not a model; name the model's .gguf file"
            }
            Foreign::Tensors(format) => return write!(f, "it is {format}; download the model's GGUF version"),
            Foreign::Html => "it is a web page; download the file itself, not the page that shows it",
            Foreign::Json => {
                "it is JSON: part of a checkpoint, whose folder `tritune convert FOLDER OUT.gguf` converts, or a \
                 server's answer to a download; name a .gguf file"
            }
            Foreign::Text(beginning) => {
                return write!(
                    f,
                    "it is text that begins {beginning:?}; if a download gave it, its address was wrong or needs a \
                     login: name a .gguf file"
                );
            }
            Foreign::Other([a, b, c, d]) => {
                return write!(
                    f,
                    "it starts with {a:02x} {b:02x} {c:02x} {d:02x}, not with 47 47 55 46 (`GGUF`)"
                );
            }
        })
    }
}

impl Foreign {
    /// What else helps with the file at `path`, for the end of the message.
    pub(super) fn remedy(&self, path: &Path) -> String {
        match self {
            Foreign::Empty | Foreign::Zeros => format!("; {}", download::remedy(path)),
            Foreign::Other(_) => {
                format!("; {}", download::sign(path).unwrap_or("name a .gguf file, or download it again"))
            }
            _ => String::new(),
        }
    }
}
