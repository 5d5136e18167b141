//! `cargo xtask bench`, from the outside: what cannot be is told at once, in one line.

use std::fs;
use std::process::Command;

#[test]
fn what_cannot_be_measured_is_told_before_anything_is_built() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, file) = (folder.path().join("out"), folder.path().join("file"));
    fs::write(&file, "GGML").expect("written");
    let file = file.to_str().expect("UTF-8");
    for (arguments, code, why) in [
        (&["2b5t"][..], 1, "error: unknown shape 2b5t; shapes are 2b4t, "),
        (&["models/missing.gguf"], 1, "error: there is no file models/missing.gguf; name a GGUF file, "),
        (&[file], 1, "file is not a GGUF file: it begins otherwise"),
        (&["3b", "--peer", "llama.cpp=/nowhere/llama-bench"], 1, "there is no program /nowhere/llama-bench"),
        (&["3b", "--peer", "a=/bin/sh", "--peer", "a=/bin/sh"], 1, "two peers are called a;"),
        (&["3b", "-p", "0", "-n", "0"], 1, "nothing to measure"),
        (&["3b", "--peer", "llama-bench"], 2, "a peer is `python`, or NAME=/path/to/llama-bench"),
        (&["3b", "--peer", "tritune=/bin/sh"], 2, "call the peer something else"),
        (&["3b", "-t", "0"], 2, "--threads"),
        (&["3b", "-r", "0"], 2, "--repetitions"),
        (&["3b", "--depth", "-1"], 2, "-1"),
        (&["3b", "--kernels"], 2, "--kernels"),
    ] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // Without a compiler: who builds all the same fails, with other words.
        let output = bench
            .env("CARGO", "no-cargo")
            .arg("bench")
            .arg("--out")
            .arg(&out)
            .args(arguments)
            .output()
            .expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
        assert!(code == 2 || stderr.lines().count() == 1, "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty() && !out.exists());
    }
}
