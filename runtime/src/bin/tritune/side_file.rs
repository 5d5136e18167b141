//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file that takes its name only when it is whole: until then, and where writing fails, what had the name keeps it.
pub(crate) struct SideFile<'a> {
    /// To write to.
    pub(crate) file: File,
    side: PathBuf,
    path: &'a Path,
}

impl<'a> SideFile<'a> {
    /// Beside `path`.
    pub(crate) fn create(path: &'a Path) -> Result<Self> {
        let mut side = path.as_os_str().to_owned();
        side.push(format!(".{}.part", std::process::id()));
        let side = PathBuf::from(side);
        let file = File::create(&side).with_context(|| format!("cannot write {}", side.display()))?;
        Ok(SideFile { file, side, path })
    }

    /// Where it is until then.
    pub(crate) fn path(&self) -> &Path {
        &self.side
    }

    /// Gives it its name.
    pub(crate) fn put_in_place(self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("cannot write {}", self.side.display()))?;
        fs::rename(&self.side, self.path).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for SideFile<'_> {
    fn drop(&mut self) {
        // Once renamed, it is not there any more.
        let _ = fs::remove_file(&self.side);
    }
}
