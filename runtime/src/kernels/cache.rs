//! What a user has measured without having the sources: a results file in the user's cache folder, for this machine and for
//! the kernels that are compiled in.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use tritune_tuning::machine::Machine;
use tritune_tuning::results::{Results, ResultsError};

use super::generated::KERNELS;
use super::runnable::Kernel;

const REMEDY: &str = "renew them with `tritune tune`";

/// The file that holds this machine's results in the user's cache folder, whether or not it is there:
/// `$XDG_CACHE_HOME/tritune/MACHINE.toml`, or in `~/.cache/tritune/` (on Windows, in the folder for local application data).
/// `None` where the user has no home.
pub fn results_cache() -> Option<PathBuf> {
    let folder = etcetera::choose_base_strategy().ok()?.cache_dir();
    Some(folder.join("tritune").join(format!("{}.toml", Machine::detect([]).id)))
}

/// Whether the kernels that are compiled in are those that were measured; of others it cannot be told.
///
/// # Errors
/// [`ResultsError::Stale`] names those that differ.
pub fn check_results(results: &Results) -> Result<(), ResultsError> {
    check(results, KERNELS)
}

/// The same for the kernels of a table.
fn check(results: &Results, table: &[Kernel]) -> Result<(), ResultsError> {
    results.check_known(|id| {
        let kernel = table.iter().find(|kernel| kernel.id == id);
        kernel.map(|kernel| kernel.source_hash.to_owned())
    })
}

/// The results in a file, if they are of `machine`, and if the kernels in `table` that were measured are as they were; `None`
/// where there is no such file.
///
/// # Errors
/// Why what is there is not used, and what renews it.
pub(super) fn read(path: &Path, machine: &Machine, table: &[Kernel]) -> Result<Option<Results>, String> {
    let results = match Results::load(path) {
        Err(ResultsError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        loaded => loaded.and_then(|results| check(&results, table).map(|()| results)),
    };
    let not_used = |why: String| {
        let why = why.lines().collect::<Vec<_>>().join(" ");
        Err(format!("the results in {} are not used: {why}", path.display()))
    };
    match results {
        Ok(results) if results.machine.id != machine.id => {
            not_used(format!("they are of {}, and this is {}; {REMEDY}", results.machine.id, machine.id))
        }
        Ok(results) => Ok(Some(results)),
        Err(error @ (ResultsError::Read { .. } | ResultsError::Size { .. })) => not_used(format!("{error}; {REMEDY}")),
        Err(error) => not_used(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tritune_codegen::Isa;
    use tritune_tuning::case::Case;
    use tritune_tuning::pick::{Weighting, choose};
    use tritune_tuning::results::{SCHEMA, Sample, Source};

    /// Results of the first kernel that is compiled in, for 640 × 2560 weights.
    fn results() -> Results {
        let kernel = &KERNELS[0];
        let m = kernel.id.tile.mr.into();
        let case = Case { shape: "640x2560".parse().unwrap(), threads: 1, op: kernel.id.op, m };
        let samples = vec![Sample::new(case, kernel.id, &[1e-3, 1.1e-3])];
        Results {
            schema: SCHEMA,
            complete: true,
            date: Results::now(),
            command: "a test".into(),
            compiler: "rustc".into(),
            machine: Machine::detect(Isa::here()),
            objective: Weighting::default(),
            pool_bytes: 1,
            load: None,
            bandwidths: Vec::new(),
            kernels: vec![Source { name: kernel.id, source: kernel.source_hash.into() }],
            picks: choose(&samples, &[], Weighting::default()),
            crossovers: Vec::new(),
            samples,
        }
    }

    #[test]
    fn a_file_of_this_machine_and_these_kernels_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let here = Machine::detect(Isa::here());
        assert_eq!(read(&path, &here, KERNELS), Ok(None), "a missing file is no fault");
        assert_eq!(read(&folder.path().join("missing/m.toml"), &here, KERNELS), Ok(None));
        let results = results();
        results.save(&path).unwrap();
        assert_eq!(read(&path, &here, KERNELS), Ok(Some(results)));
    }

    #[test]
    fn damaged_stale_and_foreign_files_are_named_with_what_renews_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let here = Machine::detect(Isa::here());
        let refused = |says: &str| {
            let note = read(&path, &here, KERNELS).unwrap_err();
            for part in ["m.toml", "`tritune tune`", says] {
                assert!(note.contains(part), "{part}: {note}");
            }
            assert_eq!(note.lines().count(), 1, "{note}");
        };
        for (text, says) in
            [("schema = 1", "schema 1"), ("schema =", "not a results file"), ("\u{0}", "not a results file")]
        {
            fs::write(&path, text).unwrap();
            refused(says);
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        refused("cannot read");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("cannot read");
        fs::remove_dir(&path).unwrap();

        let good = results();
        let mut stale = good.clone();
        stale.kernels[0].source = "0".into();
        stale.save(&path).unwrap();
        refused("other kernels than today's");
        let mut foreign = good.clone();
        foreign.machine.id = "another-machine".into();
        foreign.save(&path).unwrap();
        refused("another-machine");
        // Kernels that this binary lacks cannot be compared: who has them may have measured the rest.
        good.save(&path).unwrap();
        assert_eq!(read(&path, &here, &[]), Ok(Some(good)));
        // Cut short, it is not half believed.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(read(&path, &here, KERNELS).is_err());
    }
}
