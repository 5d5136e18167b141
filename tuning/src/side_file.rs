//! Files that are replaced whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a side file in the same folder, which then takes the place of `path`: no reader ever meets half a file, and an
/// interrupted writer leaves the old one.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut side = path.as_os_str().to_owned();
    side.push(format!(".{}.part", std::process::id()));
    let side = PathBuf::from(side);
    let written = File::create(&side).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&side, path)).inspect_err(|_| {
        // The error that matters is told; a side file that cannot even be removed is ignored by git.
        let _ = fs::remove_file(&side);
    })
}
