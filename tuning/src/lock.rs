//! One writer at a time for a machine's results.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::side_file;

/// Longest note of a holder that is shown.
const NOTE_LIMIT: u64 = 1000;

/// Held until it is dropped, or its process ends in whatever way. The file stays: were it removed, two processes could hold
/// locks on two files of the same name.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is held by another process ({holder}); wait until it is done, or end it", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// What the other one wrote there.
        holder: String,
    },
    /// The folder cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be written.
    #[error("cannot write in {}: {source}", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
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
    /// Takes the lock of a results file, which lies beside it, as [`Lock::take`] does. The folder is made if need be; what
    /// writers that were killed have left of the file is removed; and it is tried whether the file can be written: not after
    /// minutes of measuring.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn of(results: &Path, holder: &str) -> Result<Lock, LockError> {
        let folder = results.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(|source| LockError::Folder { path: folder.into(), source })?;
        let lock = Lock::take(&results.with_extension("lock"), holder)?;
        let tried = side_file::sweep(results).and_then(|()| side_file::attempt(results));
        tried.map_err(|source| LockError::Unwritable { path: folder.into(), source })?;
        Ok(lock)
    }

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
    fn the_lock_of_results_lies_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("new/m.toml");
        let lock = Lock::of(&results, "me").unwrap();
        assert!(Lock::of(&results, "another").unwrap_err().to_string().contains("m.lock"));
        fs::write(folder.path().join("new/m.toml.7.part"), "half").unwrap();
        drop(lock);
        let _lock = Lock::of(&results, "me").unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path().join("new")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["m.lock"]);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Lock::of(&file.join("folder/m.toml"), "me").unwrap_err().to_string();
        assert!(error.contains("cannot make") && error.contains("folder"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Lock::take(&folder.path().join("missing/m.lock"), "me").unwrap_err().to_string();
        assert!(error.contains("m.lock") && error.contains("writable"), "{error}");
    }
}
