//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A file that takes its name only when it is whole: until then, and where writing fails, what had the name keeps it.
/// Links keep pointing where they did. Pipes and devices are written to as they are.
pub(crate) struct SideFile<'a> {
    /// To write to.
    pub(crate) file: File,
    name: &'a Path,
    /// Where it is until it is whole, and where it goes then; `None`: it is there already.
    way: Option<Way>,
}

struct Way {
    side: PathBuf,
    target: PathBuf,
}

impl<'a> SideFile<'a> {
    /// Beside what `name` means.
    pub(crate) fn create(name: &'a Path) -> Result<Self> {
        let place = || format!("cannot write {}", name.display());
        match fs::metadata(name) {
            Ok(found) if found.is_dir() => bail!("{} is a folder; name a file in it", name.display()),
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(name).with_context(place)?;
                return Ok(SideFile { file, name, way: None });
            }
            _ => {}
        }
        let target = target(name).with_context(place)?;
        let mut side = target.as_os_str().to_owned();
        side.push(format!(".{}.part", std::process::id()));
        let side = PathBuf::from(side);
        let file = File::create(&side).with_context(place)?;
        Ok(SideFile { file, name, way: Some(Way { side, target }) })
    }

    /// Where it can be read before it takes its name.
    pub(crate) fn path(&self) -> &Path {
        self.way.as_ref().map_or(self.name, |way| &way.side)
    }

    /// Gives it its name.
    pub(crate) fn put_in_place(self) -> Result<()> {
        let Some(Way { side, target }) = &self.way else { return Ok(()) };
        let place = || format!("cannot write {}", self.name.display());
        self.file.sync_all().with_context(place)?;
        fs::rename(side, target).with_context(place)
    }
}

impl Drop for SideFile<'_> {
    fn drop(&mut self) {
        if let Some(Way { side, .. }) = &self.way {
            // Once renamed, it is not there any more.
            let _ = fs::remove_file(side);
        }
    }
}

/// What a name means: the end of a link, which need not be there yet.
fn target(name: &Path) -> std::io::Result<PathBuf> {
    if !fs::symlink_metadata(name).is_ok_and(|found| found.is_symlink()) {
        return Ok(name.into());
    }
    match fs::canonicalize(name) {
        Ok(target) => Ok(target),
        Err(_) => Ok(name.parent().unwrap_or(Path::new("")).join(fs::read_link(name)?)),
    }
}

/// Refuses names that a model cannot be written to, before there is any work done; what is there only where it may not be
/// overwritten.
pub(crate) fn check_model_name(name: &Path, overwrite: bool) -> Result<()> {
    match fs::metadata(name) {
        Ok(found) if found.is_dir() => bail!("{} is a folder; name a file in it", name.display()),
        Ok(found) if !found.is_file() => {
            bail!("{} is a pipe or a device; a model is read again once it is written: name a file", name.display());
        }
        Ok(_) if !overwrite => {
            bail!("{} is there already; choose another name, or --overwrite it", name.display());
        }
        _ => {}
    }
    match name.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.is_dir() => {
            bail!("cannot write {}: there is no folder {}; make it, or name another", name.display(), folder.display())
        }
        _ => Ok(()),
    }
}
