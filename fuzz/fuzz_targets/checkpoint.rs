//! A Hugging Face checkpoint of any bytes: planned and converted, or refused; what is written can be read.
//!
//! The input is config.json, tokenizer.json and model.safetensors, cut at ASCII's record separator.

#![no_main]

use std::fs;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tritune::convert::{self, Options};
use tritune::gguf::File;

/// One process, one folder: the files in it are written anew for each input.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0x1e);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::write(FOLDER.path().join(name), parts.next().unwrap_or_default()).expect("written");
    }
    let options = Options { ternarise: true, ..Options::default() };
    let Ok(plan) = convert::plan(FOLDER.path(), &options) else { return };
    if let Ok((gguf, _)) = plan.write(Vec::new(), &mut |_, _| ControlFlow::Continue(())) {
        let file = File::from_bytes("converted.gguf", gguf).expect("what was written can be read");
        assert_eq!(file.tensors().len(), plan.rows().len());
    }
});
