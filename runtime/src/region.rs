//! Memory for what is packed once and read for as long as the model runs.

use std::io;

use memmap2::MmapMut;

/// Zeros of its own, to be written, then shared.
#[derive(Debug)]
pub(crate) struct Region(MmapMut);

impl Region {
    /// `len` bytes, which cost memory once they are written.
    ///
    /// # Errors
    /// Where the system has no room for them.
    pub(crate) fn new(len: usize) -> io::Result<Region> {
        // Of nothing there is no map.
        let map = MmapMut::map_anon(len.max(1))?;
        // Fewer, larger pages cost less to translate: products with packed weights were seen to be an eighth faster.
        // Where the system has none, the others serve.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Region(map))
    }

    /// The bytes: zeros where nothing was written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
