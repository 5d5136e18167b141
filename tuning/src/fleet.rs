//! Results files of many machines in one folder: whether each is of use today, and how those of other machines get in.

use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tritune_codegen::KernelId;

use crate::lock::{Lock, LockError};
use crate::results::{self, Results, ResultsError};

/// Why a results file is of no use, or cannot be brought in.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The file cannot be read, believed or written.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// Another process writes the results of the machine.
    #[error(transparent)]
    Lock(#[from] LockError),
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
    let member = |path: PathBuf| Member { results: load_named(&path), path };
    Ok(results::list(folder)?.into_iter().map(member).collect())
}

/// A results file that is named after its machine.
fn load_named(path: &Path) -> Result<Results, FleetError> {
    let results = Results::load(path)?;
    match path.file_name() {
        Some(name) if name == &*results.file_name() => Ok(results),
        _ => Err(FleetError::Name { path: path.into(), id: results.machine.id }),
    }
}

/// The results in whose place others are to be written that take them over ([`Results::absorb`]); `None` where there are
/// none. `check` says whether they are of the kernels that are known.
///
/// # Errors
/// [`FleetError`]: what is there is not to be taken over; it is left to the caller to [`refuse`](results::refuse) it.
pub fn standing(
    path: &Path,
    check: impl Fn(&Results) -> Result<(), ResultsError>,
) -> Result<Option<Results>, FleetError> {
    match load_named(path) {
        Err(FleetError::Results(ResultsError::Read { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
        Ok(results) if !results.complete => Err(ResultsError::Incomplete { path: path.into() }.into()),
        Ok(results) => {
            check(&results).map_err(|source| FleetError::Stale { path: path.into(), source })?;
            Ok(Some(results))
        }
    }
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

/// Brings the results file `from` into a folder, under the name of its machine, whose [`Lock`] it takes meanwhile. Where the
/// folder has results for that machine, the file of the later date prevails, for each shape and number of threads that both
/// have ([`Results::absorb`]); of two of the same second, the one that was there. Returns where it went.
///
/// A file's date is that of its last search: what it took over from earlier ones counts as that new. Of three files, the
/// same comes out in whatever order they are brought in only where no two have measured the same; in the order of their
/// dates, what was measured last prevails.
///
/// # Errors
/// [`FleetError`]: `from` or what was there cannot be believed or was cut short, `from` was measured with other kernels than
/// today's, another process writes the machine's results, or the folder cannot be written. What the folder had is then as it
/// was.
pub fn merge(
    from: &Path,
    folder: &Path,
    source_today: impl Fn(KernelId) -> Option<String>,
) -> Result<(PathBuf, Merged), FleetError> {
    let new = Results::load(from)?;
    if !new.complete {
        return Err(ResultsError::Incomplete { path: from.into() }.into());
    }
    match_today(from, &new, &source_today)?;
    let path = folder.join(new.file_name());
    let _lock = Lock::of(&path, &format!("merging {}", from.display()))?;
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
    use std::fs;

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
        let cut = Results { complete: false, ..measured_with(1, LATE) };
        let error = merge(&saved(&cut, dir.path(), "cut.toml"), &into, today).unwrap_err().to_string();
        assert!(error.contains("cut.toml was cut short") && error.contains("--resume"), "{error}");
        // Another process has the machine's lock.
        let lock = Lock::of(&there, "tritune tune").unwrap();
        let later = saved(&measured_with(1, LATE), dir.path(), "later.toml");
        let error = merge(&later, &into, today).unwrap_err().to_string();
        assert!(error.contains("tritune tune") && error.contains("wait"), "{error}");
        drop(lock);
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
    fn what_is_written_over_is_believed_or_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("amd-epyc-2c.toml");
        let standing = |path: &Path| standing(path, |results| results.check(today));
        assert!(standing(&path).unwrap().is_none());
        assert!(standing(&dir.path().join("missing/m.toml")).unwrap().is_none());
        saved(&example(), dir.path(), "amd-epyc-2c.toml");
        assert_eq!(standing(&path).unwrap(), Some(Results::load(&path).unwrap()));
        let mut stale = example();
        stale.kernels[0].source = "old".into();
        let mut foreign = example();
        foreign.machine.id = "other-4c".into();
        let cut = Results { complete: false, ..example() };
        for (results, says) in [(stale, "other kernels"), (foreign, "belong in other-4c.toml"), (cut, "cut short")] {
            saved(&results, dir.path(), "amd-epyc-2c.toml");
            let error = standing(&path).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("amd-epyc-2c.toml"), "{error}");
        }
        fs::write(&path, [0xff]).unwrap();
        assert!(standing(&path).unwrap_err().to_string().contains("cannot read"));
    }

    /// As [`merge`] has it: in the order of dates, what was measured last prevails; otherwise a file's date counts for all that
    /// it holds.
    #[test]
    fn what_was_taken_over_counts_as_new_as_the_file() {
        let (second, third) = ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        let of = |threads: usize, date: &str, seconds: f64| {
            let mut results = measured_with(threads, date);
            results.picks.iter_mut().for_each(|pick| pick.seconds = seconds);
            results
        };
        let files = [of(1, EARLY, 1.0), of(1, second, 2.0), of(2, third, 3.0)];
        let merged = |order: [usize; 3]| {
            let dir = tempfile::tempdir().unwrap();
            let into = dir.path().join("into");
            for at in order {
                merge(&saved(&files[at], dir.path(), "from.toml"), &into, today).unwrap();
            }
            let results = Results::load(&into.join("amd-epyc-2c.toml")).unwrap();
            results.picks.iter().find(|pick| pick.case.threads == 1).unwrap().seconds
        };
        assert_eq!((merged([0, 1, 2]), merged([1, 0, 2]), merged([2, 1, 0])), (2.0, 2.0, 2.0));
        assert_eq!(merged([0, 2, 1]), 1.0);
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
