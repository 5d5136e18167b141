//! Bytes of a model that many owners share without copying.

use std::fmt;
use std::fs;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

/// A range of a file's bytes; keeps the bytes alive, costs nothing to clone.
#[derive(Clone)]
pub struct Data {
    backing: Arc<Backing>,
    range: Range<usize>,
}

enum Backing {
    Map(Mmap),
    Owned(Vec<u8>),
    Static(&'static [u8]),
}

impl Data {
    /// Maps a file into memory. Pages are read when they are first touched, and may be dropped again by the system.
    pub(crate) fn map(path: &Path) -> io::Result<Data> {
        let file = fs::File::open(path)?;
        let kind = file.metadata()?;
        if !kind.is_file() {
            let what = if kind.is_dir() { "a directory" } else { "not a regular file" };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}; name a .gguf file")));
        }
        if kind.len() == 0 {
            return Ok(Data::fixed(&[]));
        }
        // SAFETY: the map is read-only, and lives in the `Backing` that every reference to its bytes borrows from. What
        // no process can rule out is that another one writes to the file meanwhile. We bound what that can do:
        // everything that steers (counts, offsets, shapes, strings) is copied out and checked once, in `File::open`, and
        // never read from the map again; what is read later are weights, as plain bytes of which every value is valid,
        // by decoders that check what they index with, so a change gives other weights, or a decoder's error. Where the
        // file is cut short, a read beyond its new end stops the process (SIGBUS) and returns nothing. A file replaced
        // by renaming, as downloaders do it, leaves this map untouched. Users who share a file with a writer read
        // it into memory instead (`File::from_bytes`). That is the contract of every reader by memory map.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Data::whole(Backing::Map(map)))
    }

    pub(crate) fn owned(bytes: Vec<u8>) -> Data {
        Data::whole(Backing::Owned(bytes))
    }

    pub(super) fn fixed(bytes: &'static [u8]) -> Data {
        Data::whole(Backing::Static(bytes))
    }

    fn whole(backing: Backing) -> Data {
        let range = 0..backing.bytes().len();
        Data { backing: Arc::new(backing), range }
    }

    /// The part `range` of these bytes, sharing their storage.
    ///
    /// # Panics
    /// If `range` is not inside them.
    pub fn slice(&self, range: Range<usize>) -> Data {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} bytes", self.len());
        Data { backing: Arc::clone(&self.backing), range: self.range.start + range.start..self.range.start + range.end }
    }
}

impl Backing {
    fn bytes(&self) -> &[u8] {
        match self {
            Backing::Map(map) => map,
            Backing::Owned(bytes) => bytes,
            Backing::Static(bytes) => bytes,
        }
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.backing.bytes()[self.range.clone()]
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backing = match &*self.backing {
            Backing::Map(_) => "map",
            Backing::Owned(_) => "owned",
            Backing::Static(_) => "static",
        };
        write!(f, "Data({backing}, {:?})", self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_outlives_the_whole_and_crosses_threads() {
        let part = Data::owned((0..100).collect()).slice(10..50).slice(5..7);
        let copy = part.clone();
        assert_eq!(&*std::thread::spawn(move || copy.to_vec()).join().unwrap(), [15, 16]);
        assert_eq!(&*part, [15, 16]);
    }

    #[test]
    #[should_panic(expected = "1..3 of 2 bytes")]
    fn a_slice_does_not_reach_beyond_its_whole() {
        Data::fixed(b"abcdef").slice(2..4).slice(1..3);
    }

    #[test]
    fn a_directory_is_refused() {
        assert!(Data::map(&std::env::temp_dir()).unwrap_err().to_string().contains("a directory"));
    }
}
