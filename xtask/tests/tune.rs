//! `cargo xtask tune` refuses what cannot be before it compiles anything.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tritune_codegen::Isa;
use tritune_tuning::lock::Lock;
use tritune_tuning::machine::Machine;

/// Runs in a folder, without a compiler: who builds all the same fails, with other words.
fn tune(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(folder).env("CARGO", folder.join("no-cargo")).arg("tune").args(arguments);
    command.output().expect("the binary starts")
}

/// What it said when it refused.
fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = tune(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.starts_with("error: "), "{arguments:?}: {said}");
    assert!(!said.contains("no-cargo"), "{arguments:?}: {said}");
    said
}

#[test]
fn wrong_flags_are_told_before_anything_is_built() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("file"), "GGML").expect("written");
    for (arguments, says) in [
        (&["--decode", "7"][..], "between 0 and 1"),
        (&["--threads", "1,99999"], "cannot measure 99999 threads on"),
        (&["--threads", "0"], "cannot measure 0 threads on"),
        (&["--seconds", "0"], "--seconds"),
        (&["--seconds", "18446744073709551615"], "--seconds"),
        (&["--layers-of", "gpt-5"], "no shapes are known for `gpt-5`"),
        (&["--shape", "12"], "not a shape"),
        (&["--model", "missing.gguf"], "cannot read missing.gguf"),
        (&["--model", "file"], "file is not a GGUF file"),
    ] {
        let said = refusal(folder, arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    if let Some(isa) = Isa::ALL.into_iter().find(|isa| !isa.detected()) {
        assert!(refusal(folder, &["--isa", isa.name()]).contains("does not run"));
    }
}

#[test]
fn folders_are_those_of_the_caller_and_tried_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("a folder");
    fs::write(folder.join("file"), "").expect("written");
    let said = refusal(&folder, &["--out", "file/below"]);
    assert!(said.contains(&format!("cannot make {}", folder.join("file/below").display())), "{said}");
    let results = folder.join("out").join(Machine::detect(Isa::here()).file_name());
    let _lock = Lock::of(&results, "another search").expect("free");
    let said = refusal(&folder, &["--out", "out"]);
    assert!(said.contains("another search") && said.contains("wait"), "{said}");
}

#[test]
fn a_dry_run_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let output = tune(folder, &["--dry-run", "--shape", "64x64", "--shape", "64x64", "--out", "out"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("for 1 shapes"), "{said}");
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 0);
}
