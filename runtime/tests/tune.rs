//! The tuner with real kernels: what it measures is right, complete, and saved as it is read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tritune::kernels::{Isa, Op, Schedule};
use tritune::tune::Tuning;
use tritune_tuning::case::Case;
use tritune_tuning::journal::{Found, Record};
use tritune_tuning::lock::Lock;
use tritune_tuning::machine::Machine;
use tritune_tuning::pick::Weighting;
use tritune_tuning::results::{Results, Sample, Source};

fn tuning(seconds: f64) -> Tuning {
    Tuning {
        shapes: vec!["96x320".parse().expect("a shape")],
        threads: vec![1],
        isas: vec![],
        budget: Duration::from_secs_f64(seconds),
        objective: Weighting::default(),
        pool_bytes: Some(1 << 20),
        command: "a test".into(),
    }
}

#[test]
fn a_short_search_picks_for_every_shape() {
    let results = tuning(120.0).run(&AtomicBool::new(false), &mut ()).expect("there are kernels");
    assert!(results.complete);
    let failed: Vec<_> = results.samples.iter().filter_map(|sample| sample.failed.as_ref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(results.picks.iter().any(|pick| pick.case.m == 1), "no pick for decoding");
    assert!(results.picks.iter().any(|pick| pick.case.m > 8), "no pick for prompts");
    for pick in &results.picks {
        assert!(Isa::best_here().contains(&pick.kernel.isa));
        assert_eq!(pick.kernel.layout(), results.picks[0].kernel.layout(), "one tensor, one layout");
    }
    // The compiled-in hashes are those of the generator that compiled them.
    results.check(|kernel| kernel.source_hash().ok()).expect("measured today");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(results.file_name());
    results.save(&path).expect("saved");
    assert_eq!(Results::load(&path).expect("read again").picks, results.picks);
}

#[test]
fn an_interrupt_says_that_results_are_not_complete() {
    let results = tuning(5.0).run(&AtomicBool::new(true), &mut ()).expect("there are kernels");
    assert!(!results.complete);
    assert!(results.picks.is_empty());
}

#[test]
fn an_instruction_set_without_kernels_here_is_refused() {
    let missing = Isa::ALL.into_iter().find(|isa| !isa.detected());
    let Some(isa) = missing else { return println!("skipped: this machine runs every instruction set") };
    let error = Tuning { isas: vec![isa], ..tuning(0.1) }.run(&AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(error.to_string().contains(isa.name()), "{error}");
}

/// A tuner of tiny shapes, whose results go to a folder.
fn tuner(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tritune"));
    command.args(["tune", "--shape", "96x320", "--shape", "64x640", "--threads", "1", "--pool-bytes", "1000000"]);
    if !more.contains(&"--seconds") {
        command.args(["--seconds", "4"]);
    }
    command.arg("--out").arg(folder).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The files of this machine in a folder.
fn file(folder: &Path, extension: &str) -> PathBuf {
    folder.join(Machine::detect(Isa::here()).file_name()).with_extension(extension)
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs to the end, which is to be a good one; what was said on the way.
fn succeed(folder: &Path, more: &[&str]) -> String {
    let output = tuner(folder, more).output().expect("the binary starts");
    assert!(output.status.success(), "{}", words(&output));
    words(&output)
}

/// Runs to a failure that is told in one last line, which is returned.
fn fail(folder: &Path, more: &[&str]) -> String {
    let output = tuner(folder, more).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let said = words(&output);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{said}");
    last.into()
}

fn found(folder: &Path) -> Found {
    let record = Record::load(&file(folder, "journal")).expect("a journal that ends anywhere is read");
    record.map(|record| record.found).unwrap_or_default()
}

/// Waits until a tuner has finished some cases, for at most as long as it runs.
fn wait_for(folder: &Path, cases: usize, tuner: &mut Child) {
    while found(folder).finished.len() < cases {
        assert!(tuner.try_wait().expect("a status").is_none(), "it ended with {} cases", found(folder).finished.len());
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(mut tuner: Child) {
    // It may have ended by itself.
    let _ = tuner.kill();
    tuner.wait().expect("a status");
}

/// Whether results hold what was found of a case. A kernel that was compared with its own other schedules keeps the times that
/// it had among its rivals.
fn hold(results: &Results, samples: &[Sample]) -> bool {
    let alone = samples.iter().all(|sample| sample.kernel == samples[0].kernel);
    let usual = |sample: &Sample| sample.schedule == Schedule::default();
    let kept = |sample: &Sample| {
        let same = |other: &&Sample| other.case == sample.case && other.candidate() == sample.candidate();
        results.samples.iter().find(same).is_some_and(|other| (alone && usual(sample)) || other.times == sample.times)
    };
    samples.iter().all(kept)
}

#[test]
fn a_tuner_that_is_killed_leaves_valid_results_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let path = file(folder, "toml");
    succeed(folder, &[]);
    assert!(!file(folder, "journal").exists(), "it is of no use any more");
    let mut good = fs::read(&path).expect("results");
    let mut rng = SmallRng::seed_from_u64(11);
    let mut before = Found::default();
    for _ in 0..10 {
        let child = tuner(folder, &["--resume"]).spawn().expect("the binary starts");
        thread::sleep(Duration::from_millis(rng.random_range(0..1500)));
        kill(child);
        let now = fs::read(&path).expect("results");
        let results = Results::load(&path).expect("valid");
        assert!(results.complete);
        let after = found(folder);
        if now == good {
            assert_eq!(after.finished.get(..before.finished.len()), Some(&before.finished[..]), "nothing is forgotten");
            before = after;
        } else {
            // It came to the end before it could be killed.
            before.finished.iter().for_each(|(case, samples)| assert!(hold(&results, samples), "{case}"));
            (good, before) = (now, Found::default());
        }
    }
    // And once where it is certain that something had been finished, and something had not.
    let mut child = tuner(folder, &[]).spawn().expect("the binary starts");
    while found(folder).finished.len() >= 2 {
        thread::sleep(Duration::from_millis(5));
    }
    wait_for(folder, 2, &mut child);
    kill(child);
    assert_eq!(fs::read(&path).expect("results"), good, "unchanged");
    let found = found(folder);
    let said = succeed(folder, &["--resume"]);
    assert!(said.contains(&format!("{} cases are taken from", found.finished.len())), "{said}");
    let results = Results::load(&path).expect("valid");
    assert!(results.complete && !results.picks.is_empty());
    for (case, samples) in &found.finished {
        assert!(hold(&results, samples), "{case} was measured again");
    }
    let mut left: Vec<_> = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    // Journals that were not gone on with.
    left.retain(|path| path.extension().is_some_and(|extension| extension != "old"));
    left.sort();
    assert_eq!(left, [file(folder, "lock"), path], "side files of the killed are swept");
}

/// Killed at its very end, or a moment before, a search goes on to the same picks.
#[test]
fn a_journal_decides_the_picks() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (path, journal) = (file(folder, "toml"), file(folder, "journal"));
    // Time enough for everything to be settled.
    let mut child = tuner(folder, &["--seconds", "90"]).spawn().expect("the binary starts");
    let mut last = Vec::new();
    while child.try_wait().expect("a status").is_none() {
        last = fs::read(&journal).unwrap_or(last);
        thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().expect("a status").success());
    let picks = |results: Results| -> Vec<_> {
        results.picks.into_iter().map(|pick| (pick.case, pick.kernel, pick.schedule)).collect()
    };
    let first = picks(Results::load(&path).expect("valid"));
    fs::write(&journal, &last).expect("written");
    let whole = found(folder);
    assert!(!whole.crossovers.is_empty() && whole.finished.len() > first.len(), "{} cases", whole.finished.len());
    for _ in 0..2 {
        fs::remove_file(&path).expect("there are results");
        fs::write(&journal, &last).expect("written");
        succeed(folder, &["--resume", "--seconds", "90"]);
        assert_eq!(picks(Results::load(&path).expect("valid")), first);
    }
}

#[test]
fn a_second_tuner_is_told_of_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = Lock::take(&file(folder.path(), "lock"), "a test").expect("free");
    let error = fail(folder.path(), &[]);
    assert!(error.contains(&format!("process {}: a test", std::process::id())) && error.contains("wait"), "{error}");
    drop(lock);
    assert!(!file(folder.path(), "journal").exists(), "the second has left nothing");
}

#[test]
fn journals_of_other_searches_are_not_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let journal = file(folder, "journal");
    let mut child = tuner(folder, &[]).spawn().expect("the binary starts");
    wait_for(folder, 1, &mut child);
    kill(child);
    let good = fs::read_to_string(&journal).expect("a journal");

    let error = fail(folder, &["--resume", "--shape", "32x320"]);
    assert!(error.contains("other shapes") && error.contains("leave --resume out"), "{error}");
    assert_eq!(fs::read_to_string(&journal).expect("a journal"), good, "nothing is lost");
    fs::write(&journal, good.replacen("\"schema\":", "\"schema\":9", 1)).expect("written");
    let error = fail(folder, &["--resume"]);
    assert!(error.contains("written by schema 9") && error.contains("leave --resume out"), "{error}");
    fs::write(&journal, "scribbled\n").expect("written");
    let error = fail(folder, &["--resume"]);
    assert!(error.contains("line 1") && error.contains("leave --resume out"), "{error}");

    fs::write(&journal, &good).expect("written");
    let said = succeed(folder, &[]);
    let old = folder.join(format!("{}.old", journal.file_name().and_then(|name| name.to_str()).expect("a name")));
    assert!(
        said.contains("--resume would have gone on with it") && said.contains(&old.display().to_string()),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&old).expect("kept"), good);
    assert!(!journal.exists());
    fs::write(&journal, "scribbled\n").expect("written");
    let said = succeed(folder, &[]);
    assert!(said.contains("a journal is of no use, and kept as"), "{said}");
    assert_eq!(fs::read_to_string(old.with_extension("2.old")).expect("kept"), "scribbled\n");
    let said = succeed(folder, &["--resume"]);
    assert!(said.contains("the search begins anew"), "{said}");
}

#[test]
fn results_of_an_unset_clock_or_another_version_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let path = file(folder, "toml");
    succeed(folder, &[]);
    let good = fs::read_to_string(&path).expect("results");
    let date = Results::load(&path).expect("valid").date;
    fs::write(&path, good.replacen(&date, "2999-01-01T00:00:00Z", 1)).expect("written");
    let said = succeed(folder, &["--shape", "32x320"]);
    assert!(said.contains("2999-01-01T00:00:00Z, which is yet to come"), "{said}");
    let text = fs::read_to_string(&path).expect("results");
    fs::write(&path, text.replacen("schema = ", "schema = 9", 1)).expect("written");
    let future = fs::read_to_string(&path).expect("results");
    let said = succeed(folder, &[]);
    assert!(said.contains("nothing is taken over") && said.contains("was written by schema 9"), "{said}");
    assert!(Results::load(&path).expect("valid").complete);
    assert_eq!(fs::read_to_string(file(folder, "toml.refused")).expect("kept"), future);
}

/// Results of kernels that another build has are of use to that build, and stay.
#[test]
fn results_of_kernels_that_are_not_compiled_in_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let path = file(folder, "toml");
    succeed(folder, &[]);
    let mut older = Results::load(&path).expect("valid");
    // A loser, by the name of a kernel that no menu has.
    let absent = "gemv_t200_7x24k16u1__scalar_dot".parse().expect("a name");
    let case = Case { m: 7, op: Op::Gemv, ..older.samples[0].case };
    older.kernels.push(Source { name: absent, source: "1".into() });
    older.samples.push(Sample::new(case, absent, &[1.0]));
    older.samples.iter_mut().for_each(|sample| sample.case.threads = 2);
    older.picks.iter_mut().for_each(|pick| pick.case.threads = 2);
    older.crossovers.iter_mut().for_each(|crossover| crossover.threads = 2);
    older.save(&path).expect("written");
    let said = succeed(folder, &[]);
    assert!(!said.contains("nothing is taken over"), "{said}");
    let results = Results::load(&path).expect("valid");
    assert_eq!(results.tensors().len(), 4, "those on two threads stay");
    assert!(results.sample(&Case { threads: 2, ..case }, absent).is_some());

    older.kernels[0].source = "0".into();
    older.save(&path).expect("written");
    let said = succeed(folder, &[]);
    assert!(said.contains("other kernels than today's"), "{said}");
    assert_eq!(Results::load(&file(folder, "toml.refused")).expect("kept"), older);
}

/// A search is the same however it is asked for.
#[test]
fn what_is_named_twice_is_measured_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut child = tuner(folder, &["--threads", "1,1", "--shape", "64x640"]).spawn().expect("the binary starts");
    wait_for(folder, 1, &mut child);
    kill(child);
    let said = succeed(folder, &["--resume"]);
    assert!(said.contains("cases are taken from"), "{said}");
}

/// Nothing is picked, which is no success: who started it would go on with what was there before.
#[test]
fn a_search_that_keeps_nothing_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if Isa::best_here() == [Isa::Scalar] {
        return println!("skipped: nothing can be left out on this machine");
    }
    // However often the time is too short, the search goes on from where it was, and ends.
    let mut tries = (0..20).map(|_| fail(folder, &["--isa", "scalar", "--resume"]));
    let left_out = tries.find(|error| !error.contains("the time was too short")).expect("an end");
    assert!(left_out.contains("was not measured") && left_out.contains("--isa"), "{left_out}");
    assert!(!file(folder, "toml").exists());
    assert!(file(folder, "journal").exists(), "to go on with, with what was left out");
    assert!(Results::load(&file(folder, "aside")).expect("valid").complete);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_without_room_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let missing = folder.join("file");
    fs::write(&missing, []).expect("written");
    let error = fail(&missing.join("folder"), &[]);
    assert!(error.contains("cannot make"), "{error}");
}

/// The disk fills while it searches, and later has room again.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_costs_the_journal_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return println!("skipped: a small disk is only for who may mount one");
    }
    let mut child = tuner(folder, &[]).spawn().expect("the binary starts");
    // The plan is written, and nothing else has room: the journal is there whole from the beginning.
    while !file(folder, "journal").metadata().is_ok_and(|journal| journal.len() > 0) {
        assert!(child.try_wait().expect("a status").is_none(), "it ended without a journal");
        thread::sleep(Duration::from_millis(1));
    }
    let filler = folder.join("filler");
    let filled = fs::write(&filler, vec![1; 1 << 20]);
    let output = child.wait_with_output().expect("a status");
    let whole = found(folder);
    let _ = fs::remove_file(&filler);
    let resumed = tuner(folder, &["--resume"]).output().expect("the binary starts");
    let results = Results::load(&file(folder, "toml"));
    let unmounted = Command::new("umount").arg(folder).status().expect("umount");
    assert!(unmounted.success() && filled.is_err());
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("No space left"), "{}", words(&output));
    let said = words(&resumed);
    assert!(resumed.status.success(), "{said}");
    assert!(said.contains(&format!("{} cases are taken from", whole.finished.len())), "{said}");
    assert!(results.expect("valid").complete);
}

/// The binary alone, as it is installed, with a model: its next load knows what was measured.
#[test]
fn a_binary_alone_tunes_for_a_model_and_remembers() {
    let (home, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let binary = folder.path().join("tritune");
    std::fs::copy(env!("CARGO_BIN_EXE_tritune"), &binary).expect("copied");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.current_dir(folder.path()).env("XDG_CACHE_HOME", home.path()).args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("the binary starts");
        assert!(output.status.success(), "{}", words(&output));
        (String::from_utf8_lossy(&output.stdout).into_owned(), words(&output))
    };
    let explain = ["kernels", "--explain", "256x256", "-t", "1"];
    let results = file(&home.path().join("tritune"), "toml");
    let from_cache = |text: &str| text.contains(&results.display().to_string());
    assert!(!from_cache(&run(&explain).0));
    let (_, tuned) = run(&["tune", model, "--threads", "1", "--pool-bytes", "1000000", "--seconds", "12"]);
    assert!(tuned.contains(&format!("results: {}", results.display())), "{tuned}");
    let shapes: Vec<String> =
        Results::load(&results).expect("valid").tensors().iter().map(|tensor| tensor.shape.to_string()).collect();
    assert_eq!(shapes.len(), 4, "{shapes:?}");
    assert!(from_cache(&run(&explain).0));
    let (_, said) = run(&["bench", model, "-p", "8", "-n", "1", "-r", "1", "-t", "1"]);
    assert!(said.contains("kernels of 42 ternary matrices: tuned here"), "{said}");
    assert!(!said.contains("warning"), "{said}");
}
