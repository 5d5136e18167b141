//! One tuner at a time for a machine's results.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Longest note of a holder that is shown.
const NOTE_LIMIT: u64 = 1000;

/// Held until it is dropped, or its process ends in whatever way. The file stays: were it removed, two tuners could hold
/// locks on two files of the same name.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another tuner has it.
    #[error("{} is held by another tuner ({holder}); wait until it is done, or end it", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// What the other one wrote there.
        holder: String,
    },
    /// The file cannot be locked.
    #[error("cannot lock {}: {source}; is its folder writable?", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock at once or not at all, and leaves a note of who holds it: `holder` and the process.
    ///
    /// # Errors
    /// [`LockError`]: another process has it, or the file cannot be made or locked.
    pub fn take(path: &Path, holder: &str) -> Result<Lock, LockError> {
        let failed = |source| LockError::Io { path: path.into(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                let mut note = Vec::new();
                // Who holds it is a courtesy; that it is held is certain.
                let _ = file.take(NOTE_LIMIT).read_to_end(&mut note);
                let note = String::from_utf8_lossy(&note);
                let holder = note.lines().next().filter(|line| !line.is_empty()).unwrap_or("which left no name").into();
                return Err(LockError::Held { path: path.into(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let note = format!("process {}: {}\n", std::process::id(), holder.replace('\n', " "));
        file.set_len(0).and_then(|()| file.write_all(note.as_bytes())).map_err(failed)?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.lock");
        let first = Lock::take(&path, "tritune tune --shape 64x64").unwrap();
        let error = Lock::take(&path, "me").unwrap_err().to_string();
        let process = format!("process {}: tritune tune --shape 64x64", std::process::id());
        assert!(error.contains(&process) && error.contains("m.lock"), "{error}");
        drop(first);
        Lock::take(&path, "me").unwrap();
        Lock::take(&path, "after me").unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Lock::take(&folder.path().join("missing/m.lock"), "me").unwrap_err().to_string();
        assert!(error.contains("m.lock") && error.contains("writable"), "{error}");
    }
}
