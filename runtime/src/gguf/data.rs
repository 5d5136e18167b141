//! Bytes of a model that many owners share without copying.

use std::fmt;
use std::fs;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::region::Region;

/// A range of a file's bytes; keeps the bytes alive, costs nothing to clone.
#[derive(Clone)]
pub struct Data {
    backing: Arc<Backing>,
    range: Range<usize>,
}

enum Backing {
    File { map: Mmap, modified: Option<SystemTime> },
    Memory(Region),
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
        // everything that steers (counts, offsets, shapes, strings) is copied out and checked once, in `File::open` or
        // `Pack::open`, and never read from the map again; what is read later are weights, as plain bytes of which every
        // value is valid, by decoders that check what they index with and by kernels that address nothing by what they
        // read, so a change gives other weights, or a decoder's error. Where the file is cut short, a read beyond its new
        // end stops the process (SIGBUS) and returns nothing. A file replaced by renaming, as downloaders do it, leaves
        // this map untouched. Users who share a file with a writer read it into memory instead (`File::from_bytes`). That
        // is the contract of every reader by memory map.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Data::whole(Backing::File { map, modified: kind.modified().ok() }))
    }

    /// Memory that nobody writes any more.
    pub(crate) fn memory(region: Region) -> Data {
        Data::whole(Backing::Memory(region))
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

    /// When the file was last written, of bytes that are a file's.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        match &*self.backing {
            Backing::File { modified, .. } => *modified,
            _ => None,
        }
    }

    /// Says that the part `range` of these bytes is not going to be read soon: of a file's, the pages that hold it leave the
    /// process's memory. They are there as before for whoever does read them, at the cost of getting them again.
    ///
    /// # Panics
    /// If `range` is not inside these bytes.
    pub fn release(&self, range: Range<usize>) {
        let Range { start, end } = self.slice(range).range;
        #[cfg(unix)]
        if let Backing::File { map, .. } = &*self.backing {
            // SAFETY: `DontNeed` of a shared map of a file takes pages out of the page table, and writes none: the next
            // access, to a byte of the range or to one that shares a page with it, finds the file's bytes as this one
            // would have. So every reference to them stays as valid as it was. A map that is private or anonymous, whose
            // changes or contents the call would throw away, is never a `Backing::File`.
            let released = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
            // A system that refuses keeps the pages, as if it had not been asked.
            drop(released);
        }
    }

    /// Says that these bytes are going to be read often: a file's are mapped in large pages where the system can.
    pub(crate) fn prefer_large_pages(&self) {
        #[cfg(target_os = "linux")]
        if let Backing::File { map, .. } = &*self.backing {
            // Where it cannot, the others serve.
            let _ = map.advise_range(memmap2::Advice::HugePage, self.range.start, self.range.len());
        }
    }

    /// Says that these bytes are going to be read soon: a file's are fetched meanwhile.
    pub fn prefetch(&self) {
        #[cfg(unix)]
        if let Backing::File { map, .. } = &*self.backing {
            for start in self.range.clone().step_by(FETCH) {
                // Who is refused waits when reading.
                let _ = map.advise_range(memmap2::Advice::WillNeed, start, FETCH.min(self.range.end - start));
            }
        }
    }
}

/// Linux fetches little more than this where more is asked for at once.
#[cfg(unix)]
const FETCH: usize = 1 << 20;

impl Backing {
    fn bytes(&self) -> &[u8] {
        match self {
            Backing::File { map, .. } => map,
            Backing::Memory(region) => region.bytes(),
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
            Backing::File { .. } => "file",
            Backing::Memory(_) => "memory",
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

    /// Bytes of this file that are in the process's memory.
    #[cfg(target_os = "linux")]
    fn resident(path: &Path) -> usize {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let size = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        size.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    fn what_is_released_leaves_memory_and_is_there_when_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 7) as u8 ^ i as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let data = Data::map(&path).unwrap();
        data.prefetch();
        assert!(*data == *bytes);
        let part = data.slice(100_001..2_900_001);
        part.release(7..2_700_000);
        #[cfg(target_os = "linux")]
        assert!((200_000..400_000).contains(&resident(&path)), "{} of {}", resident(&path), bytes.len());
        assert!(*data == *bytes);
        for range in [0..0, 2_800_000..2_800_000, 5..6, 0..2_800_000] {
            part.release(range);
            assert!(*part == bytes[100_001..2_900_001]);
        }
        // Of bytes that are no file's, none is lost.
        let mut region = Region::new(bytes.len()).unwrap();
        region.bytes_mut().copy_from_slice(&bytes);
        for data in [Data::memory(region), Data::owned(bytes.clone())] {
            data.release(0..data.len());
            assert!(*data == *bytes);
        }
    }

    #[test]
    #[should_panic(expected = "1..3 of 2 bytes")]
    fn what_is_not_there_is_not_released() {
        Data::fixed(b"ab").release(1..3);
    }

    #[test]
    fn a_directory_is_refused() {
        assert!(Data::map(&std::env::temp_dir()).unwrap_err().to_string().contains("a directory"));
    }
}
