//! Files that are replaced whole or not at all, and files that make room for others.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ends the names of side files.
const PART: &str = "part";

/// Writes a side file in the same folder, which then takes the place of `path`: no reader ever meets half a file, and an
/// interrupted writer leaves the old one. Returns the file, open for writing.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<File> {
    let side = side(path);
    let written = File::create(&side).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&side, path)?;
        Ok(file)
    });
    written.inspect_err(|_| {
        // The error that matters is told; a side file that cannot even be removed is ignored by git.
        let _ = fs::remove_file(&side);
    })
}

/// Whether `path` could be written, found out by a side file that is gone again.
pub(crate) fn attempt(path: &Path) -> io::Result<()> {
    let side = side(path);
    File::create(&side)?;
    fs::remove_file(&side)
}

/// Removes the side files that killed writers have left of `path` and of its namesakes with other extensions. Only for who
/// keeps others from writing these.
pub(crate) fn sweep(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(()) };
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_left = || {
            let rest = name.to_str()?.strip_prefix(stem.to_str()?)?.strip_prefix('.')?;
            let (extension, process) = rest.strip_suffix(PART)?.strip_suffix('.')?.split_once('.')?;
            let plain = |word: &str, is: fn(&char) -> bool| !word.is_empty() && word.chars().all(|c| is(&c));
            (plain(extension, char::is_ascii_lowercase) && plain(process, char::is_ascii_digit)).then_some(())
        };
        if is_left().is_some() {
            fs::remove_file(folder.join(&name))?;
        }
    }
    Ok(())
}

/// Gives `path` another name, its own with `.ending`, or with `.2.ending` and so on where that is taken. Returns it.
pub(crate) fn keep(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let mut kept = with(path, ending);
    let mut number = 2;
    while kept.symlink_metadata().is_ok() {
        kept = with(path, &format!("{number}.{ending}"));
        number += 1;
    }
    fs::rename(path, &kept)?;
    Ok(kept)
}

fn side(path: &Path) -> PathBuf {
    with(path, &format!("{}.{PART}", std::process::id()))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{ending}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_writers_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let all = [
            "m-2c.toml.17.part",
            "m-2c.journal.4.part",
            "m-2c.toml",
            "m-2c.toml.part",
            "m-2c.toml.x7.part",
            "m-2c-x.toml.17.part",
            "README.md.17.part",
        ];
        all.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        sweep(&folder.path().join("m-2c.toml")).unwrap();
        let left: Vec<bool> = all.iter().map(|name| folder.path().join(name).exists()).collect();
        assert_eq!(left, [false, false, true, true, true, true, true]);
        assert!(sweep(&folder.path().join("missing/m-2c.toml")).is_err());
    }

    #[test]
    fn nothing_is_kept_in_the_place_of_what_was_kept_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        for (text, name) in [("1", "m.toml.old"), ("2", "m.toml.2.old"), ("3", "m.toml.3.old")] {
            fs::write(&path, text).unwrap();
            assert_eq!(keep(&path, "old").unwrap(), folder.path().join(name));
        }
        for (text, name) in [("1", "m.toml.old"), ("2", "m.toml.2.old"), ("3", "m.toml.3.old")] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        assert_eq!(keep(&path, "old").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_attempt_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        attempt(&folder.path().join("m.toml")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(attempt(&folder.path().join("missing/m.toml")).is_err());
    }
}
