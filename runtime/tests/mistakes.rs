//! Files that people name for a model and that are none, or not all of one: the binary says what they are, and what to
//! do, in one line.

mod shared;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tritune::gguf::{File, Header, Kind, Strings, Value, Writer};

const DEMO: &[u8] = include_bytes!("../demo/austen-5m-i2_s.gguf");

/// The one line of a failed `tritune run`: exit code 1, nothing on stdout, nothing else on stderr.
fn refusal(path: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tritune"))
        .arg("run")
        .arg(path)
        .args(["-p", "It was", "-n", "1", "-t", "1"])
        .env_remove("TRITUNE_ISA")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty());
    let lines: Vec<&str> = stderr.lines().collect();
    let [line] = lines[..] else { panic!("{stderr}") };
    let line = line.strip_prefix("error: ").unwrap_or_else(|| panic!("{line}"));
    let name = path.file_name().expect("a name").to_str().expect("UTF-8");
    assert!(line.contains(name), "`{name}` not in: {line}");
    line.into()
}

#[track_caller]
fn assert_says(path: &Path, words: &[&str]) {
    let line = refusal(path);
    for words in words {
        assert!(line.contains(words), "`{words}` not in: {line}");
    }
}

/// A folder, and in it a file of this name and content.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    (folder, path)
}

#[test]
fn other_formats() {
    for (name, bytes, words) in [
        ("model.safetensors", &b"\x50\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"}}"[..], "`tritune convert"),
        ("pytorch_model.bin", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"),
        ("model.pt", b"PK\x03\x04", "zip archive"),
        ("model.gguf.gz", b"\x1f\x8b\x08\0", "unpack it first"),
        ("model.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        ("model.gguf", b"<!DOCTYPE html>\n<html>", "download the file itself"),
        ("model.gguf", b"{\"error\":\"Repository not found\"}", "a server's answer to a download"),
        ("model.gguf", b"Invalid username or password.", "\"Invalid username or password.\""),
        ("model.imatrix", b"\xd2\0\0\0\x13\0\0\0blk.0.attn_q.weight\0\0\0\0", "importance matrix"),
        ("model.bin", b"tjgg\x03\0\0\0", "before GGUF"),
        ("session.bin", b"nsgg\x09\0\0\0", "session"),
        ("model.gguf", b"GGUF\0\0\0\x03\0\0\0\0", "big-endian"),
        ("model.gguf", b"GGUF\x01\0\0\0\0\0\0\0", "GGUF version 1"),
        ("model.gguf", b"", "is empty; wait for the download to end, or download it again"),
    ] {
        let (_folder, path) = file(name, bytes);
        assert_says(&path, &[words]);
    }
}

#[test]
fn folders() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_says(folder.path(), &["is a directory without a GGUF file", "name a .gguf file"]);
    fs::write(folder.path().join("config.json"), "{}").expect("written");
    let convert = format!("`tritune convert {} OUT.gguf`", folder.path().display());
    assert_says(folder.path(), &["is a directory with a Hugging Face checkpoint", &convert]);
    fs::write(folder.path().join("model.gguf"), DEMO).expect("written");
    assert_says(folder.path(), &["name one of them: ", "model.gguf"]);
    let missing = folder.path().join("missing.gguf");
    assert_says(&missing, &["cannot read ", "No such file"]);
}

#[test]
fn downloads_that_are_not_finished() {
    let half = &DEMO[..DEMO.len() / 2];
    let missing = format!("{} of its {} bytes are missing", DEMO.len() - half.len(), DEMO.len());
    let (_folder, path) = file("model.gguf", half);
    assert_says(&path, &["truncated", &missing, "wait for the download to end, or download it again"]);
    for name in ["model.gguf.part", "model.gguf.crdownload", "model.gguf.incomplete"] {
        let (_folder, path) = file(name, half);
        assert_says(&path, &[&missing, "its name says that it is still being downloaded"]);
    }
    let (_folder, path) = file("model.gguf", &DEMO[..1000]);
    assert_says(&path, &["the file ends within", "truncated", "wait for the download to end"]);
    let (_folder, path) = file("model.gguf.part1of2", half);
    assert_says(&path, &[&missing, "piece of a larger file", "cat PIECES"]);

    let (folder, path) = file("model.gguf", DEMO);
    fs::write(folder.path().join("model.gguf.aria2"), "\0\x01").expect("written");
    assert_says(&path, &["is still being downloaded", "model.gguf.aria2", "wait until aria2 is done"]);
}

/// Some tools give a file its full length first; what has not come reads as zeros.
#[test]
fn room_that_a_download_has_not_filled() {
    for filled in [DEMO.len() / 4, DEMO.len() * 9 / 10] {
        let mut bytes = DEMO.to_vec();
        bytes[filled..].fill(0);
        let (_folder, path) = file("model.gguf", bytes);
        assert_says(&path, &["the tensor `", "is zeros up to its end", "wait for the download to end"]);
    }
    let (_folder, path) = file("model.gguf", vec![0; DEMO.len()]);
    assert_says(&path, &["begins with zeros", "wait for the download to end"]);
}

/// A file with these keys and one tensor.
fn gguf(keys: &[(&str, Value)], tensor: Option<&str>) -> Vec<u8> {
    let mut header = Header::new();
    for (key, value) in keys {
        header.set(*key, value.clone());
    }
    if let Some(name) = tensor {
        header.tensor(name, &[8], Kind::F32).expect("a shape");
    }
    let mut writer = Writer::new(Vec::new(), header).expect("a header");
    if let Some(name) = tensor {
        writer.write_tensor(name, &[1; 32]).expect("written");
    }
    writer.finish().expect("whole")
}

#[test]
fn files_that_go_with_a_model() {
    let architecture = |name: &str| ("general.architecture", Value::from(name));
    let kind = |name: &str| ("general.type", Value::from(name));
    for (bytes, words) in [
        (gguf(&[architecture("llama"), kind("adapter")], Some("blk.0.attn_q.weight.lora_a")), "an adapter (LoRA)"),
        (gguf(&[architecture("llama")], Some("blk.0.attn_q.weight.lora_a")), "an adapter (LoRA)"),
        (gguf(&[architecture("controlvector")], Some("direction.1")), "a control vector"),
        (gguf(&[architecture("clip")], Some("v.blk.0.attn_q.weight")), "reads images or sound (mmproj)"),
        (gguf(&[kind("imatrix")], Some("blk.0.attn_q.weight.in_sum2")), "an importance matrix"),
        (gguf(&[architecture("llama")], None), "metadata without weights"),
    ] {
        let (_folder, path) = file("model.gguf", bytes);
        assert_says(&path, &["holds no model (", words, ": "]);
    }
    let tokens = Value::from(["a", "b"].into_iter().collect::<Strings>());
    let vocabulary = gguf(&[architecture("llama"), ("tokenizer.ggml.tokens", tokens)], None);
    let (_folder, path) = file("vocabulary.gguf", vocabulary);
    assert_says(&path, &["a vocabulary without weights", "`tritune tokenize`", "name a file that has both"]);
}

#[test]
fn vocabularies_tokenize_and_do_not_run() {
    for name in ["gpt-2", "llama-spm"] {
        let Some(path) = shared::find(&format!("vocab/ggml-vocab-{name}.gguf")) else { return };
        assert_says(&path, &["a vocabulary without weights", "`tritune tokenize`"]);
    }
}

#[test]
fn architectures_that_cannot_be_run() {
    let mut header = Header::new();
    for (key, value) in File::from_static("demo", DEMO).expect("sound").metadata() {
        if key == "general.architecture" {
            header.set(key, "mamba")
        } else {
            header.set(key, value.clone())
        };
    }
    header.tensor("a", &[8], Kind::F32).expect("a shape");
    let mut writer = Writer::new(Vec::new(), header).expect("a header");
    writer.write_tensor("a", &[1; 32]).expect("written");
    let (_folder, path) = file("model.gguf", writer.finish().expect("whole"));
    assert_says(&path, &["the architecture `mamba` cannot be run", "known are llama, bitnet"]);
}
