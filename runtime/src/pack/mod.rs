//! A file of packed weights beside a model, so that the next load maps them instead of packing them again.
//!
//! ```text
//! 0   magic "TRITPACK"
//! 8   version: u32                            ─┐
//! 12  0: u32                                   │
//! 16  bytes of the whole file: u64             │ numbers are little-endian
//! 24  bytes of the table: u64                  │
//! 32  key of the model's file: u128            │
//! 48  checksum of all this and the table: u128─┘
//! 64  the table, JSON: each section's name, form, place, a checksum for each 1 MiB
//!     sections, at multiples of 64 bytes, or of 4096 where they are as long
//! ```
//!
//! A section is bytes with a name, such as that of a tensor, and a form, which says all that gives the bytes their meaning:
//! whoever looks for it in another form does not find it. Checksums and key are XXH3, which finds any damage, but keeps no
//! secret: who can write the cache can write the model.

pub(crate) mod coarse;
mod key;
mod refusal;
mod table;
pub(crate) mod ternary;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use twox_hash::XxHash3_128;

use crate::gguf::{self, Data};
use crate::threads::Pool;
pub(crate) use key::content;
pub use refusal::Refusal;
use table::{Row, Table};

/// What follows the name of a model's file in that of its packed weights.
const EXTENSION: &str = "tritune";
/// Bytes that share a checksum.
const PIECE: usize = 1 << 20;

/// Bytes of a model in the form that the program computes with.
#[derive(Clone, Debug)]
pub struct Section {
    /// Whose: a tensor's name, or one of its own.
    pub name: String,
    /// What the bytes mean: layout, shape.
    pub form: String,
    /// The bytes.
    pub data: Data,
}

impl Section {
    /// A section without bytes: that something is so.
    pub fn mark(name: &str, form: &str) -> Section {
        Section { name: name.into(), form: form.into(), data: Data::owned(Vec::new()) }
    }
}

/// The packed weights of one model in a file, as far as they are there and sound.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    key: u128,
    sections: HashMap<String, Section>,
    refusal: Option<Refusal>,
}

impl Pack {
    /// The file of packed weights beside a model's file.
    pub fn beside(model: &Path) -> PathBuf {
        let mut name = OsString::from(model);
        name.push(".");
        name.push(EXTENSION);
        name.into()
    }

    /// Reads what the file at `path` has for `model`, and compares all of it with its checksums on the threads of `pool`.
    ///
    /// Whatever is wrong with the file, there is nothing in it then, and [`Pack::refusal`] says why. A file that is not there
    /// is an empty one.
    pub fn open(path: impl Into<PathBuf>, model: &gguf::File, pool: &Pool) -> Pack {
        let path = path.into();
        let key = key::of(model);
        // The looks here and there brought many pages.
        model.release();
        let (sections, refusal) = match read(&path, key, pool) {
            Ok((sections, refusal)) => (sections, refusal),
            Err(refusal) => (HashMap::new(), refusal),
        };
        Pack { path, key, sections, refusal }
    }

    /// Where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the file, or a part of it, is not used.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether nothing in it can be used.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The section of this name, where it is there.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }

    /// Whether it has this section, its bytes aside.
    pub fn holds(&self, section: &Section) -> bool {
        self.section(&section.name).is_some_and(|here| here.form == section.form)
    }

    /// Writes these sections, unless it has all of them, there is none, or it is not to be written to.
    ///
    /// # Errors
    /// Those of [`Pack::write`].
    pub fn update(&self, sections: &[Section]) -> io::Result<()> {
        let is_lasting = self.refusal.as_ref().is_some_and(Refusal::is_lasting);
        if is_lasting || sections.iter().all(|section| self.holds(section)) {
            return Ok(());
        }
        self.write(sections)
    }

    /// Writes these sections in the place of those that are there: beside it first, so that no reader ever meets half of it,
    /// and what is mapped stays as it is.
    ///
    /// # Errors
    /// Where the file cannot be written, or something else has its name, which is left as it is.
    pub fn write(&self, sections: &[Section]) -> io::Result<()> {
        if self.refusal.as_ref().is_some_and(Refusal::is_lasting) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "what is there is no pack cache, and stays"));
        }
        // Links keep pointing where they did.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut side = target.clone().into_os_string();
        side.push(format!(".{}.part", std::process::id()));
        let side = PathBuf::from(side);
        let written = self.write_to(&side, sections).and_then(|()| fs::rename(&side, &target));
        written.inspect_err(|_| {
            // The error that matters is told.
            let _ = fs::remove_file(&side);
        })
    }

    fn write_to(&self, path: &Path, sections: &[Section]) -> io::Result<()> {
        let rows = sections.iter().map(|Section { name, form, data }| {
            let checksums = data.chunks(PIECE).map(checksum).collect();
            Row { name: Cow::Borrowed(name), form: Cow::Borrowed(form), offset: 0, bytes: data.len() as u64, checksums }
        });
        let table = Table::place(rows.collect())?;
        let mut out = Blocks { file: File::create(path)?, block: Vec::with_capacity(BLOCK), at: 0 };
        out.write(&table.header(self.key)?)?;
        for (row, section) in table.rows().iter().zip(sections) {
            out.pad(row.offset)?;
            out.write(&section.data)?;
        }
        // Not forced to the disk: what a crash leaves half written, checksums find.
        out.flush()
    }
}

/// Writes a file in blocks that begin where large pages do: file systems that can keep them in such pages then, which
/// whoever maps the file reads faster.
struct Blocks {
    file: File,
    block: Vec<u8>,
    /// Bytes written and to be written.
    at: u64,
}

/// Bytes of a large page on most machines.
const BLOCK: usize = 2 << 20;

impl Blocks {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        while !bytes.is_empty() {
            let part = bytes.split_off(..bytes.len().min(BLOCK - self.block.len())).unwrap_or_default();
            self.block.extend(part);
            if self.block.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Zeros up to a place that is no more than a page away.
    fn pad(&mut self, to: u64) -> io::Result<()> {
        self.write(&vec![0; to.saturating_sub(self.at) as usize])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

type Sections = HashMap<String, Section>;

/// The sections of a file that are sound, and why others are not there.
fn read(path: &Path, key: u128, pool: &Pool) -> Result<(Sections, Option<Refusal>), Option<Refusal>> {
    let data = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(Some(Refusal::Foreign)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(None),
        _ => Data::map(path).map_err(Refusal::Io)?,
    };
    if data.is_empty() {
        return Err(None);
    }
    let table = Table::read(&data, key)?;
    // Asking for pages ahead as well would bring small ones.
    data.prefer_large_pages();
    let rows = table.rows();
    let pieces: Vec<(usize, usize)> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, Row { checksums, .. })| (0..checksums.len()).map(move |at| (row, at)))
        .collect();
    let is_sound: Vec<AtomicBool> = rows.iter().map(|_| AtomicBool::new(true)).collect();
    pool.for_each(pieces.len(), |_, index| {
        let (row, at) = pieces[index];
        let bytes = &data[rows[row].range()];
        let bytes = &bytes[at * PIECE..(at * PIECE + PIECE).min(bytes.len())];
        if checksum(bytes) != rows[row].checksums[at] {
            is_sound[row].store(false, Relaxed);
        }
    });
    let damaged = is_sound.iter().filter(|is_sound| !is_sound.load(Relaxed)).count();
    let sections = rows.iter().zip(&is_sound).filter(|(_, is_sound)| is_sound.load(Relaxed)).map(|(row, _)| {
        let (name, form) = (row.name.to_string(), row.form.to_string());
        (name.clone(), Section { name, form, data: data.slice(row.range()) })
    });
    let sections = sections.collect();
    Ok((sections, (damaged > 0).then_some(Refusal::Damaged { sections: damaged, of: rows.len() })))
}

fn checksum(bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot(bytes)
}

#[cfg(test)]
mod tests;
