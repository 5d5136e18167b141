//! Results files of many machines in one folder: whether each is of use today, and how those of other machines get in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tritune_codegen::KernelId;

use crate::results::{self, Results, ResultsError};

/// Why a results file is of no use, or cannot be brought in.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The file cannot be read, believed or written.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// It was measured with other kernels.
    #[error("{}: {source}", path.display())]
    Stale {
        /// The file.
        path: PathBuf,
        /// Which kernels have changed.
        source: ResultsError,
    },
    /// The file is not named after its machine.
    #[error("{} holds the results for {id}, which belong in {id}.toml; bring them in with `cargo xtask results merge`", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The machine, by id.
        id: String,
    },
    /// A folder to be brought in has nothing in it.
    #[error("{} has no results files (*.toml); name the folder that they lie in", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of results cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A results file of a folder.
#[derive(Debug)]
pub struct Member {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds, or why it cannot be believed. Kernels may have changed since ([`match_today`]).
    pub results: Result<Results, FleetError>,
}

/// Every results file of a folder, sorted by path.
///
/// # Errors
/// [`ResultsError::Read`] where the folder cannot be listed.
pub fn members(folder: &Path) -> Result<Vec<Member>, FleetError> {
    let member = |path: PathBuf| {
        let results = Results::load(&path).map_err(FleetError::from).and_then(|results| match path.file_name() {
            Some(name) if name == &*results.file_name() => Ok(results),
            _ => Err(FleetError::Name { path: path.clone(), id: results.machine.id }),
        });
        Member { path, results }
    };
    Ok(results::list(folder)?.into_iter().map(member).collect())
}

/// Whether the results that `path` holds are of today's kernels: [`Results::check`], naming the file.
///
/// # Errors
/// [`FleetError::Stale`].
pub fn match_today(
    path: &Path,
    results: &Results,
    source_today: impl Fn(KernelId) -> Option<String>,
) -> Result<(), FleetError> {
    results.check(source_today).map_err(|source| FleetError::Stale { path: path.into(), source })
}

/// What became of a file that was brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// Its machine had no results.
    Added,
    /// It is newer than what its machine had, and prevails where both have measured.
    Newer,
    /// It is older than what its machine had, and adds what that lacks.
    Older,
    /// All of it was there.
    Nothing,
    /// It takes the place of results that were measured with other kernels than today's.
    Replaced,
}

/// The files that a path stands for: itself, or, where it is a folder, every `*.toml` in it.
///
/// # Errors
/// [`FleetError`]: a folder that cannot be listed or has none.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>, FleetError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let paths = results::list(path)?;
    if paths.is_empty() { Err(FleetError::Empty { path: path.into() }) } else { Ok(paths) }
}

/// Brings the results file `from` into a folder, under the name of its machine. Where the folder has results for that
/// machine, what was measured later prevails, for each shape and number of threads ([`Results::absorb`]); of two of
/// the same second, what was there. Returns where it went.
///
/// # Errors
/// [`FleetError`]: `from` or what was there cannot be believed, `from` was measured with other kernels than today's, or
/// the folder cannot be written. The folder is then as it was.
pub fn merge(
    from: &Path,
    folder: &Path,
    source_today: impl Fn(KernelId) -> Option<String>,
) -> Result<(PathBuf, Merged), FleetError> {
    let new = Results::load(from)?;
    match_today(from, &new, &source_today)?;
    fs::create_dir_all(folder).map_err(|source| FleetError::Folder { path: folder.into(), source })?;
    let path = folder.join(new.file_name());
    let (results, merged) = match Results::load(&path) {
        Err(ResultsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => (new, Merged::Added),
        Err(error) => return Err(error.into()),
        Ok(there) if there.check(&source_today).is_err() => (new, Merged::Replaced),
        Ok(there) if there == new => (there, Merged::Nothing),
        Ok(there) if measured(&new) > measured(&there) => (united(new, there), Merged::Newer),
        Ok(there) => {
            let united = united(there.clone(), new);
            if united == there { (there, Merged::Nothing) } else { (united, Merged::Older) }
        }
    };
    if merged != Merged::Nothing {
        results.save(&path)?;
    }
    Ok((path, merged))
}

fn united(mut newer: Results, older: Results) -> Results {
    newer.absorb(older);
    newer
}

/// When; a file that was validated has a date that can be read.
fn measured(results: &Results) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&results.date, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    /// What [`example`] says of its kernels' sources.
    fn today(kernel: KernelId) -> Option<String> {
        Some(format!("{:x}", kernel.tile.mr))
    }

    /// Results with one number of threads, of a date.
    fn measured_with(threads: usize, date: &str) -> Results {
        let mut results = example();
        results.date = date.into();
        results.picks.iter_mut().for_each(|pick| pick.case.threads = threads);
        results.samples.iter_mut().for_each(|sample| sample.case.threads = threads);
        results.crossovers.iter_mut().for_each(|crossover| crossover.threads = threads);
        results
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    /// Later, though its text sorts before.
    const LATE: &str = "2026-01-01T00:30:00-01:00";

    fn saved(results: &Results, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        results.save(&path).unwrap();
        path
    }

    #[test]
    fn machines_come_in_and_what_is_newer_prevails() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("into");
        let put = |results: &Results| merge(&saved(results, dir.path(), "from.toml"), &into, today).unwrap();

        let (path, merged) = put(&measured_with(1, EARLY));
        assert_eq!((path.as_path(), merged), (into.join("amd-epyc-2c.toml").as_path(), Merged::Added));
        assert_eq!(put(&measured_with(1, EARLY)).1, Merged::Nothing);

        // Of another number of threads: both stay.
        assert_eq!(put(&measured_with(2, LATE)).1, Merged::Newer);
        let both = Results::load(&path).unwrap();
        assert_eq!((both.picks.len(), both.date.as_str()), (4, LATE));
        assert_eq!(put(&measured_with(1, EARLY)).1, Merged::Nothing);

        // The same cases: the later date prevails, whichever comes in.
        let mut renewed = measured_with(2, "2026-02-01T00:00:00Z");
        renewed.picks[0].seconds = 1e-4;
        assert_eq!(put(&renewed).1, Merged::Newer);
        assert_eq!(put(&measured_with(2, LATE)).1, Merged::Nothing);
        let kept = Results::load(&path).unwrap();
        assert!(kept.picks.iter().any(|pick| pick.case.threads == 2 && pick.seconds == 1e-4));
        assert_eq!(kept.picks.len(), 4);

        // An older file of other cases adds them.
        assert_eq!(put(&measured_with(3, EARLY)).1, Merged::Older);
        assert_eq!(Results::load(&path).unwrap().picks.len(), 6);

        let mut other = example();
        other.machine.id = "other-4c".into();
        assert_eq!(put(&other), (into.join("other-4c.toml"), Merged::Added));
        let members = members(&into).unwrap();
        assert_eq!(members.iter().filter(|member| member.results.is_ok()).count(), 2);
    }

    #[test]
    fn what_cannot_be_believed_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("into");
        fs::create_dir(&into).unwrap();
        let there = saved(&example(), &into, "amd-epyc-2c.toml");
        let before = fs::read(&there).unwrap();
        let good = fs::read_to_string(&there).unwrap();
        let from = dir.path().join("from.toml");
        for (text, says) in [
            (good[..good.len() / 2].to_owned(), "from.toml"),
            (good.replace("schema = ", "schema = 9"), "written by schema 9"),
            (String::new(), "not a results file"),
        ] {
            fs::write(&from, text).unwrap();
            let error = merge(&from, &into, today).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("`cargo xtask tune`"), "{error}");
        }
        let error = merge(&dir.path().join("missing.toml"), &into, today).unwrap_err().to_string();
        assert!(error.contains("missing.toml"), "{error}");
        // Measured with other kernels.
        let stale = saved(&measured_with(1, LATE), dir.path(), "stale.toml");
        let error = merge(&stale, &into, |_| Some("other".into())).unwrap_err().to_string();
        assert!(error.contains("stale.toml") && error.contains("other kernels"), "{error}");
        assert_eq!(fs::read(&there).unwrap(), before);

        // What is there and damaged is not written over.
        fs::write(&there, "schema = ").unwrap();
        let error = merge(&saved(&example(), dir.path(), "from.toml"), &into, today).unwrap_err().to_string();
        assert!(error.contains("amd-epyc-2c.toml"), "{error}");
        assert_eq!(fs::read_to_string(&there).unwrap(), "schema = ");
    }

    #[test]
    fn results_of_other_kernels_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = measured_with(1, LATE);
        old.kernels.iter_mut().for_each(|kernel| kernel.source = "old".into());
        saved(&old, dir.path(), "amd-epyc-2c.toml");
        let from = saved(&measured_with(2, EARLY), dir.path(), "from.toml");
        let (path, merged) = merge(&from, dir.path(), today).unwrap();
        assert_eq!(merged, Merged::Replaced);
        assert_eq!(Results::load(&path).unwrap(), measured_with(2, EARLY));
    }

    #[test]
    fn every_file_of_a_folder_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(expand(dir.path()), Err(FleetError::Empty { .. })));
        saved(&example(), dir.path(), "amd-epyc-2c.toml");
        saved(&example(), dir.path(), "copy.toml");
        fs::write(dir.path().join("damaged.toml"), "schema = 1\nx").unwrap();
        fs::write(dir.path().join("README.md"), "").unwrap();
        assert_eq!(expand(dir.path()).unwrap().len(), 3);
        assert_eq!(expand(&dir.path().join("copy.toml")).unwrap(), [dir.path().join("copy.toml")]);
        let judged = members(dir.path()).unwrap();
        assert!(judged[0].results.is_ok());
        let why = |member: &Member| member.results.as_ref().unwrap_err().to_string();
        assert!(why(&judged[1]).contains("belong in amd-epyc-2c.toml"), "{}", why(&judged[1]));
        assert!(why(&judged[2]).contains("damaged.toml"), "{}", why(&judged[2]));
        let results = judged[0].results.as_ref().unwrap();
        match_today(&judged[0].path, results, today).unwrap();
        let stale = match_today(&judged[0].path, results, |_| None).unwrap_err().to_string();
        assert!(stale.contains("amd-epyc-2c.toml: the results for amd-epyc-2c"), "{stale}");
        assert!(members(&dir.path().join("missing")).is_err());
    }
}
