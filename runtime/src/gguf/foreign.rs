//! Files that are not GGUF but that people pass for one.

use std::fmt;

/// What a file without GGUF's first four bytes seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// No bytes at all.
    Empty,
    /// The few lines that stand in for a large file in a git checkout.
    LfsPointer,
    /// Hugging Face's weights format.
    Safetensors,
    /// A zip archive: also what PyTorch writes.
    Zip,
    /// A Python pickle: what old PyTorch wrote.
    Pickle,
    /// gzip.
    Gzip,
    /// The formats before GGUF: ggml, ggmf, ggjt, ggla.
    LegacyGgml,
    /// A web page.
    Html,
    /// None of these; its first bytes, zeros where it has fewer than four.
    Other([u8; 4]),
}

impl Foreign {
    /// What `bytes`, which do not start with GGUF's magic, look like.
    pub(super) fn recognise(bytes: &[u8]) -> Foreign {
        let text = bytes.trim_ascii_start();
        let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        match bytes {
            [] => Foreign::Empty,
            _ if bytes.starts_with(b"version https://git-lfs") => Foreign::LfsPointer,
            [b'P', b'K', 3, 4, ..] => Foreign::Zip,
            [0x80, 2..=5, ..] => Foreign::Pickle,
            [0x1f, 0x8b, ..] => Foreign::Gzip,
            // The magics are numbers there: ggml, ggmf, ggjt, ggla, lowest byte first.
            _ if [b"lmgg", b"fmgg", b"tjgg", b"algg"].iter().any(|magic| bytes.starts_with(*magic)) => {
                Foreign::LegacyGgml
            }
            // The length of a JSON header, then the header.
            [_, _, _, _, _, _, 0, 0, b'{', ..] => Foreign::Safetensors,
            _ if begins(b"<!doctype") || begins(b"<html") || begins(b"<?xml") => Foreign::Html,
            _ => {
                let mut first = [0; 4];
                bytes.iter().zip(&mut first).for_each(|(byte, first)| *first = *byte);
                Foreign::Other(first)
            }
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Empty => "it is empty; download it again",
            Foreign::LfsPointer => "it is a git-lfs pointer; fetch the file itself with `git lfs pull`",
            Foreign::Safetensors => "it is a safetensors file; convert it, or download the model's GGUF version",
            Foreign::Zip => {
                "it is a zip archive, which PyTorch checkpoints are too; unpack or convert it, or download the model's \
                 GGUF version"
            }
            Foreign::Pickle => "it is a Python pickle (an old PyTorch checkpoint); download the model's GGUF version",
            Foreign::Gzip => "it is compressed with gzip; unpack it first",
            Foreign::LegacyGgml => "it is a ggml file from before GGUF (2023); download a newer version of the model",
            Foreign::Html => "it is a web page; download the file itself, not the page that shows it",
            Foreign::Other([a, b, c, d]) => {
                return write!(
                    f,
                    "it starts with {a:02x} {b:02x} {c:02x} {d:02x}, not with 47 47 55 46 (`GGUF`); name a .gguf file, \
                     or download it again"
                );
            }
        })
    }
}
