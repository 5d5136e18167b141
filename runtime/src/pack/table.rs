//! What a file of packed weights says of itself.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{PIECE, Refusal, checksum};

const MAGIC: [u8; 8] = *b"TRITPACK";
/// Of the file, and of how weights are packed in each layout: `tests.rs` holds them to it.
pub(super) const VERSION: u32 = 2;
/// Bytes before the table, the last of which are the checksum.
const HEADER: usize = 64;
const CHECKED: usize = 48;
/// Where longer sections begin, and shorter ones.
const PAGE: u64 = 4096;
const LINE: u64 = 64;

/// A section as the table has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) form: Cow<'a, str>,
    /// From the start of the file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// One for each [`PIECE`] bytes.
    pub(super) checksums: Vec<u128>,
}

impl Row<'_> {
    /// Its place in the file.
    pub(super) fn range(&self) -> Range<usize> {
        // Within a file in memory, as is checked when it is read.
        self.offset as usize..(self.offset + self.bytes) as usize
    }

    /// Whether it lies in a file of so many bytes, where its kind begins, with all its checksums.
    fn is_sound(&self, end: u64) -> bool {
        self.offset.is_multiple_of(alignment(self.bytes))
            && self.offset.checked_add(self.bytes).is_some_and(|own| own <= end)
            && self.bytes.div_ceil(PIECE as u64) == self.checksums.len() as u64
    }
}

fn alignment(bytes: u64) -> u64 {
    if bytes < PAGE { LINE } else { PAGE }
}

/// The table of a file.
#[derive(Debug)]
pub(super) struct Table<'a> {
    rows: Vec<Row<'a>>,
    json: Vec<u8>,
    end: u64,
}

impl<'a> Table<'a> {
    /// Gives sections their places, one after the other.
    pub(super) fn place(mut rows: Vec<Row<'a>>) -> io::Result<Self> {
        // The table's own length depends on the places that it says: they follow as many bytes as it can have at most.
        rows.iter_mut().for_each(|row| row.offset = u64::MAX);
        let mut end = (HEADER + serde_json::to_vec(&rows)?.len()) as u64;
        for row in &mut rows {
            row.offset = end.next_multiple_of(alignment(row.bytes));
            end = row.offset + row.bytes;
        }
        Ok(Table { json: serde_json::to_vec(&rows)?, rows, end })
    }

    /// The sections.
    pub(super) fn rows(&self) -> &[Row<'a>] {
        &self.rows
    }

    /// What the file begins with.
    pub(super) fn header(&self, key: u128) -> io::Result<Vec<u8>> {
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend([0; 4]);
        header.extend(self.end.to_le_bytes());
        header.extend((self.json.len() as u64).to_le_bytes());
        header.extend(key.to_le_bytes());
        let checksum = checksum(&[&header, &*self.json].concat());
        header.extend(checksum.to_le_bytes());
        header.extend(&self.json);
        Ok(header)
    }

    /// Reads and checks the table of a file for the model of this key.
    pub(super) fn read(file: &[u8], key: u128) -> Result<Self, Refusal> {
        if !file.starts_with(&MAGIC) {
            return Err(Refusal::Foreign);
        }
        let found = file.len() as u64;
        let header: &[u8; HEADER] = file.first_chunk().ok_or(Refusal::Size { need: HEADER as u64, found })?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let long = |at: usize| u128::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        if number(8) != u64::from(VERSION) {
            return Err(Refusal::Version);
        }
        let end = number(16);
        if end != found {
            return Err(Refusal::Size { need: end, found });
        }
        let json =
            usize::try_from(number(24)).ok().and_then(|bytes| file[HEADER..].get(..bytes)).ok_or(Refusal::Table)?;
        if checksum(&[&header[..CHECKED], json].concat()) != long(CHECKED) {
            return Err(Refusal::Table);
        }
        if long(32) != key {
            return Err(Refusal::Key);
        }
        let rows: Vec<Row<'_>> = serde_json::from_slice(json).map_err(|_| Refusal::Table)?;
        let all_sound = rows.iter().all(|row| row.is_sound(end));
        if !all_sound {
            return Err(Refusal::Table);
        }
        Ok(Table { rows, json: Vec::new(), end })
    }
}
