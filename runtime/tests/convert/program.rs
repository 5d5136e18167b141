//! The program, from the outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::Dtype;
use serde_json::Value;
use tritune::convert::Convention;

use crate::checkpoint::*;

#[test]
fn the_program_reports_and_overwrites_nothing_unasked() {
    let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint.save();
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("model.gguf");

    let dry = stdout(&run(&["convert", text(folder.path()), "--dry-run"]));
    assert!(dry.contains("nothing was written") && files(place.path()).is_empty(), "{dry}");
    stdout(&run(&["convert", text(folder.path()), text(&out), "--dry-run"]));
    assert!(files(place.path()).is_empty());

    let report = stdout(&run(&["convert", text(folder.path()), text(&out)]));
    for line in [
        "model.layers.*.self_attn.q_proj.weight",
        "blk.*.attn_q.weight",
        "trits, unpacked; rows in the order of neighbours",
        "weight_scale: reciprocal: trit / weight_scale",
        "architecture: llama (`architectures` is LlamaForCausalLM)",
        "pre-tokenizer: llama-bpe",
        "tokenizer's proof: the same ids for",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert_eq!(files(place.path()), std::slice::from_ref(&out));
    let said = stdout(&run(&["inspect", text(&out), "--json"]));
    assert!(said.contains("\"runnable\": true"), "{said}");

    let before = fs::read(&out).unwrap();
    let again = run(&["convert", text(folder.path()), text(&out)]);
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(stderr.contains("is there already") && stderr.contains("--overwrite"), "{stderr}");
    let more = ["--overwrite", "--embedding", "f32", "--type", "f16", "--json"];
    let json = stdout(&run(&[&["convert", text(folder.path()), text(&out)][..], &more].concat()));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["tensors"].as_array().unwrap().len(), 2 + LAYERS * 9);
    assert_eq!(json["tensors"][0]["type"], "F32");
    assert_ne!(fs::read(&out).unwrap(), before);

    // What fails halfway leaves what was there, and nothing else.
    let kept = fs::read(&out).unwrap();
    let mut spoilt = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint;
    spoilt.tensor("model.norm.weight").2 = Stored::Float(Dtype::F32, vec![f32::NAN; HIDDEN]);
    let spoilt = spoilt.save();
    let failed = run(&["convert", text(spoilt.path()), text(&out), "--overwrite"]);
    let stderr = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(failed.status.code() == Some(1) && stderr.contains("`model.norm.weight` has NaN"), "{stderr}");
    assert_eq!((fs::read(&out).unwrap(), files(place.path()).len()), (kept, 1));
    assert_eq!(run(&["convert", text(folder.path())]).status.code(), Some(2));
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tritune")).args(arguments).env_remove("TRITUNE_ISA").output().expect("it starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
