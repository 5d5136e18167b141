//! `tritune quantize` and the reading of what it makes, from the outside: the demo model in every type.

mod shared;

use std::f32::consts::FRAC_2_PI;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use tritune::gguf::{File, Header, I2sLayout, Kind, ReadOptions, Value, Writer};
use tritune::quant::{Scales, Trits, convert::Conversion, float, trits};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

fn tritune(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tritune"));
    command.args(arguments).env_remove("TRITUNE_ISA").stdin(Stdio::null());
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-cache"));
    command.output().expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    let stderr = stderr(output);
    let line = stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("error: "), "{stderr}");
    line.into()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Converts, whatever is there, and returns the report.
fn quantize(from: &Path, to: &Path, kind: Kind, more: &[&str]) -> String {
    let kind = kind.to_string().to_lowercase();
    stdout(&tritune(&[&["quantize", path(from), path(to), &kind, "--overwrite"], more].concat()))
}

/// Some 2000 tokens of a novel, in a file.
fn novel() -> Option<&'static Path> {
    static NOVEL: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let novel = NOVEL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let start = folder.path().join("start.txt");
        let whole = fs::read(shared::find("texts/austen-heldout.txt")?).expect("read");
        fs::write(&start, &whole[..8000]).expect("written");
        Some((folder, start))
    });
    novel.as_ref().map(|(_, start)| start.as_path())
}

fn perplexity(model: &Path, text: &Path) -> f64 {
    let json = stdout(&tritune(&["perplexity", path(model), "-f", path(text), "-c", "64", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["scored"].as_u64().expect("a count") >= 1000, "{json}");
    json["perplexity"].as_f64().expect("a number")
}

#[test]
fn the_demo_reads_the_same_in_every_ternary_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(text) = novel() else { return };
    let published = perplexity(Path::new(DEMO), text);
    for kind in Conversion::targets().filter(|kind| kind.is_ternary()) {
        let out = folder.path().join(format!("{kind}.gguf"));
        let report = quantize(Path::new(DEMO), &out, kind, &[]);
        let how = if kind == Kind::I2_S { "kept" } else { "repacked" };
        let line = report.lines().find(|line| line.starts_with("I2_S ")).unwrap_or_else(|| panic!("{report}"));
        assert!(line.contains(how) && line.contains(" 42 "), "{report}");

        let file = File::open(&out).expect("sound");
        assert_eq!(file.tensor("blk.3.ffn_up.weight").expect("there").kind, kind);
        assert_eq!(file.tensor("token_embd.weight").expect("there").kind, Kind::F16);
        assert_eq!(
            file.opt_u32("general.file_type").expect("a number"),
            kind.format().and_then(|format| format.file_type)
        );
        assert_eq!(file.opt_u32("general.quantization_version").expect("a number"), Some(2));
        assert_eq!(file.str("general.name").expect("carried over"), "Austen-5M b1.58");

        let found = perplexity(&out, text);
        let half = kind.format().and_then(|format| format.scales).is_some_and(|place| place.is_half());
        assert_eq!(line.contains("none"), !half, "{report}");
        if half {
            assert!((found / published - 1.0).abs() < 2e-3, "{kind}: {found} instead of {published}");
        } else {
            assert!((found / published - 1.0).abs() < 1e-5, "{kind}: {found} instead of {published}");
        }

        // And back: the same trits, whatever became of the scales.
        let back = folder.path().join("back.gguf");
        quantize(&out, &back, Kind::I2_S, &[]);
        assert_same_codes(Path::new(DEMO), &back);
    }
}

fn assert_same_codes(one: &Path, other: &Path) {
    let (one, other) = (File::open(one).expect("sound"), File::open(other).expect("sound"));
    assert_eq!(one.tensors().len(), other.tensors().len());
    for tensor in one.tensors() {
        let again = other.tensor(&tensor.name).expect("there");
        if tensor.kind == Kind::I2_S {
            let decode = |file: &File, tensor: &tritune::gguf::Tensor| {
                trits::decode(tensor.kind, &file.data(tensor), tensor.n() as usize, tensor.k() as usize)
                    .expect("trits")
                    .codes
            };
            assert!(decode(&one, tensor) == decode(&other, again), "{}", tensor.name);
        } else {
            assert!(*one.data(tensor) == *other.data(again), "{}", tensor.name);
        }
    }
}

#[test]
fn float_types_hold_the_same_weights_and_give_them_back() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in [Kind::F32, Kind::F16, Kind::BF16] {
        let (out, back) = (folder.path().join("float.gguf"), folder.path().join("back.gguf"));
        let report = quantize(Path::new(DEMO), &out, kind, &[]);
        let line = report.lines().find(|line| line.starts_with("I2_S ")).unwrap_or_else(|| panic!("{report}"));
        assert!(line.contains("rounded") && line.contains("none") == (kind == Kind::F32), "{report}");
        let again = quantize(&out, &back, Kind::I2_S, &[]);
        assert!(again.contains("recognised"), "{again}");
        assert_same_codes(Path::new(DEMO), &back);
        if kind == Kind::F32 {
            // To the last byte, but for the metadata that were added.
            let (one, other) = (File::open(DEMO).expect("sound"), File::open(&back).expect("sound"));
            for tensor in one.tensors() {
                assert!(
                    *one.data(tensor) == *other.data(other.tensor(&tensor.name).expect("there")),
                    "{}",
                    tensor.name
                );
            }
        }
    }
}

/// The demo, packed as old builds for Arm packed it.
fn arm64(folder: &Path) -> PathBuf {
    let file = File::open(DEMO).expect("sound");
    let out = folder.join("arm64.gguf");
    let mut header = Header::new();
    for (key, value) in file.metadata() {
        header.set(key.clone(), value.clone());
    }
    for tensor in file.tensors() {
        header.tensor(&tensor.name, &tensor.shape, tensor.kind).expect("it fits");
    }
    let mut writer = Writer::new(fs::File::create(&out).expect("made"), header).expect("written");
    for tensor in file.tensors() {
        let data = file.data(tensor);
        let bytes = if tensor.kind == Kind::I2_S {
            let trits = trits::decode(Kind::I2_S, &data, tensor.n() as usize, tensor.k() as usize).expect("trits");
            trits::encode(Kind::I2_S_ARM64, &trits).expect("it fits")
        } else {
            data.to_vec()
        };
        writer.write_tensor(&tensor.name, &bytes).expect("written");
    }
    writer.finish().expect("written");
    out
}

#[test]
fn the_layout_of_old_builds_for_arm_is_warned_of_and_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = arm64(folder.path());
    let run = |more: &[&str]| tritune(&[&["run", path(&old), "-p", "It was", "-n", "8", "--temp", "0"], more].concat());

    let warned = run(&[]);
    let nonsense = stdout(&warned);
    assert!(!nonsense.starts_with(" a very unfortunate one."), "{nonsense}");
    let stderr_of_warned = stderr(&warned);
    let warning = stderr_of_warned.lines().find(|line| line.contains("--i2s-layout arm64")).unwrap_or_default();
    assert!(warning.starts_with("warning: ") && warning.contains("reads as nonsense"), "{stderr_of_warned}");

    let told = run(&["--i2s-layout", "arm64"]);
    assert!(stdout(&told).starts_with(" a very unfortunate one."));
    assert!(!stderr(&told).contains("warning: "), "{}", stderr(&told));
    let (tokens, logits) = (folder.path().join("tokens"), folder.path().join("logits.npy"));
    fs::write(&tokens, "1 500 2 77").expect("written");
    let logits = |model: &[&str]| {
        stdout(&tritune(&[&["logits", "--tokens", path(&tokens), "--out", path(&logits)], model].concat()));
        fs::read(&logits).expect("written")
    };
    assert!(logits(&[DEMO]) == logits(&[path(&old), "--i2s-layout", "arm64"]));

    let plain = tritune(&["run", DEMO, "-p", "It was", "-n", "2", "--temp", "0"]);
    stdout(&plain);
    assert!(!stderr(&plain).contains("--i2s-layout"), "{}", stderr(&plain));
    // Who asks for the wrong one gets it.
    let wrong = tritune(&["run", DEMO, "-p", "It was", "-n", "2", "--temp", "0", "--i2s-layout", "arm64"]);
    assert!(!stderr(&wrong).contains("warning: "), "{}", stderr(&wrong));

    let inspect = |more: &[&str]| stdout(&tritune(&[&["inspect", path(&old)], more].concat()));
    assert!(inspect(&[]).contains("I2_S layout: x86: blocks of 128 (what current converters write"));
    assert!(inspect(&["--i2s-layout", "arm64"]).contains("I2_S layout: arm64: blocks of 64 (--i2s-layout)"));
    let unknown = tritune(&["inspect", path(&old), "--i2s-layout", "sparc"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("x86 and arm64"));

    // The remedy for good.
    let new = folder.path().join("new.gguf");
    let report = quantize(&old, &new, Kind::I2_S, &["--i2s-layout", "arm64"]);
    assert!(report.contains("I2_S_ARM64") && report.contains("repacked"), "{report}");
    assert_same_codes(Path::new(DEMO), &new);
}

/// A file of one block's `attn_q`, of 8 rows of 256, its scale, and an embedding.
struct Small {
    weights: Vec<u8>,
    kind: Kind,
    scale: Option<f32>,
}

impl Small {
    fn floats(values: impl Iterator<Item = f32>) -> Small {
        Small { weights: values.flat_map(f32::to_le_bytes).collect(), kind: Kind::F32, scale: None }
    }

    fn write(&self, path: &Path) {
        let mut header = Header::new();
        header.set("general.architecture", "bitnet").set("general.file_type", 0u32);
        header.tensor("token_embd.weight", &[256, 2], Kind::F32).expect("it fits");
        header.tensor("blk.0.attn_q.weight", &[256, 8], self.kind).expect("it fits");
        if self.scale.is_some() {
            header.tensor("blk.0.attn_q.scale", &[1], Kind::F32).expect("it fits");
        }
        let mut writer = Writer::new(fs::File::create(path).expect("made"), header).expect("written");
        let wave: Vec<u8> = (0..512).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        writer.write_tensor("token_embd.weight", &wave).expect("written");
        writer.write_tensor("blk.0.attn_q.weight", &self.weights).expect("written");
        if let Some(scale) = self.scale {
            writer.write_tensor("blk.0.attn_q.scale", &scale.to_le_bytes()).expect("written");
        }
        writer.finish().expect("written");
    }
}

fn read(path: &Path) -> Trits {
    let file = File::open(path).expect("sound");
    let tensor = file.tensor("blk.0.attn_q.weight").expect("there");
    trits::decode(tensor.kind, &file.data(tensor), 8, 256).expect("trits")
}

#[test]
fn scales_that_are_tensors_are_folded_into_ternary_types() {
    let folder = tempfile::tempdir().expect("a folder");
    let (small, out) = (folder.path().join("small.gguf"), folder.path().join("out.gguf"));
    let ones = (0..2048).map(|i| (i % 3) as f32 - 1.0);
    Small { scale: Some(0.3), ..Small::floats(ones.clone()) }.write(&small);
    let report = quantize(&small, &out, Kind::I2_S, &[]);
    assert!(report.contains("now part of their matrices: 1\n"), "{report}");
    assert_eq!(read(&out).scales, Scales::Tensor(0.3));
    let file = File::open(&out).expect("sound");
    assert_eq!((file.tensors().len(), file.u32("general.file_type").expect("a number")), (2, 40));
    assert_eq!(file.tensor("token_embd.weight").expect("there").kind, Kind::F32);

    // A float type multiplies by the tensor as before.
    quantize(&small, &out, Kind::F16, &[]);
    let file = File::open(&out).expect("sound");
    assert!(file.opt_tensor("blk.0.attn_q.scale").is_some());
    assert_eq!(file.value("general.quantization_version"), None::<&Value>);
    let tensor = file.tensor("blk.0.attn_q.weight").expect("there");
    let mut values = vec![0.0; 2048];
    float::decode(tensor.kind, &file.data(tensor), &mut values).expect("floats");
    assert!(values.into_iter().eq(ones));
}

#[test]
fn ternarising_and_the_embedding_are_for_those_who_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let (small, out) = (folder.path().join("small.gguf"), folder.path().join("out.gguf"));
    Small::floats((0..2048).map(|i| (i as f32 * 0.7).sin())).write(&small);
    let refused = refusal(&tritune(&["quantize", path(&small), path(&out), "i2_s"]));
    assert!(refused.contains("`blk.0.attn_q.weight`") && refused.contains("--ternarize"), "{refused}");
    assert!(!out.exists());

    let report = quantize(&small, &out, Kind::TQ2_0, &["--ternarize"]);
    assert!(report.contains("ternarised"), "{report}");
    assert!(matches!(read(&out).scales, Scales::Tensor(scale) if (scale - FRAC_2_PI).abs() < 0.01));
    assert_eq!(File::open(&out).expect("sound").tensor("token_embd.weight").expect("there").kind, Kind::F32);
    quantize(&small, &out, Kind::TQ2_0, &["--ternarize", "--embedding"]);
    assert_eq!(File::open(&out).expect("sound").tensor("token_embd.weight").expect("there").kind, Kind::TQ2_0);
}

#[test]
fn what_a_type_has_no_room_for_is_refused_with_those_that_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let (small, out) = (folder.path().join("small.gguf"), folder.path().join("out.gguf"));
    let scales = Scales::Block { size: 64, scales: (1..=32).map(|i| i as f32 / 8.0).collect() };
    let fine = Trits { n: 8, k: 256, codes: (0..2048).map(|i| (i * i % 3) as u8).collect(), scales };
    Small { weights: trits::encode(Kind::Q2_0, &fine).expect("it fits"), kind: Kind::Q2_0, scale: None }.write(&small);
    let refused = refusal(&tritune(&["quantize", path(&small), path(&out), "tq2_0"]));
    assert!(refused.contains("a scale for each 64 weights; use Q2_0, F32"), "{refused}");
    assert!(refused.contains("small.gguf") && refused.contains("blk.0.attn_q.weight"), "{refused}");
    quantize(&small, &out, Kind::F32, &[]);
    let back = folder.path().join("back.gguf");
    assert!(quantize(&out, &back, Kind::Q2_0, &[]).contains("recognised"));
    assert_eq!(read(&back), fine);
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (demo, out) = (folder.path().join("demo.gguf"), folder.path().join("out.gguf"));
    fs::copy(DEMO, &demo).expect("copied");
    let whole = fs::read(&demo).expect("read");
    let onto = refusal(&tritune(&["quantize", path(&demo), path(&demo), "tq2_0", "--overwrite"]));
    assert!(onto.contains("would be overwritten"), "{onto}");
    assert!(fs::read(&demo).expect("read") == whole);

    let dry = stdout(&tritune(&["quantize", path(&demo), path(&out), "iq1_bn", "--dry-run"]));
    assert!(dry.contains("would be") && dry.contains("repacked") && !out.exists(), "{dry}");
    let real = quantize(&demo, &out, Kind::IQ1_BN, &[]);
    assert_eq!(real.replace(" is ", " would be "), dry);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "a side file is left over");

    // What is there stays, unless that is said.
    let written = fs::read(&out).expect("read");
    let there = refusal(&tritune(&["quantize", path(&demo), path(&out), "tq2_0"]));
    assert!(there.contains("out.gguf is there already; choose another name, or --overwrite it"), "{there}");
    assert!(fs::read(&out).expect("read") == written);
    stdout(&tritune(&["quantize", path(&demo), path(&out), "tq2_0", "--dry-run"]));

    // Damage within a matrix: nothing takes its place.
    let file = File::open(&demo).expect("sound");
    let mut damaged = whole;
    damaged[file.tensor("blk.4.ffn_down.weight").expect("there").offset as usize] = 0xff;
    drop(file);
    fs::write(&demo, damaged).expect("written");
    let refused = refusal(&tritune(&["quantize", path(&demo), path(&out), "tq2_0", "--overwrite"]));
    assert!(refused.contains("blk.4.ffn_down.weight") && refused.contains("code 3"), "{refused}");
    assert!(fs::read(&out).expect("read") == written);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "a side file is left over");

    for (arguments, code, why) in [
        (["quantize", "/nowhere.gguf", path(&out), "tq2_0"], 1, "/nowhere.gguf"),
        (["quantize", DEMO, "/nowhere/out.gguf", "tq2_0"], 1, "cannot write /nowhere/out.gguf"),
        (["quantize", DEMO, path(&out), "q4_k"], 2, "types that can be written are tq1_0, tq2_0, i2_s"),
        (["quantize", DEMO, path(&out), "tl1"], 2, "types that can be written"),
    ] {
        let output = tritune(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{arguments:?}: {}", stderr(&output));
    }
}

/// Nobody can give a model another shape.
#[test]
fn rows_that_a_type_has_no_blocks_for_are_refused_with_types_that_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let (narrow, out) = (folder.path().join("narrow.gguf"), folder.path().join("out.gguf"));
    let mut header = Header::new();
    header.set("general.architecture", "bitnet");
    header.tensor("blk.0.attn_q.weight", &[192, 6], Kind::F32).expect("it fits");
    let mut writer = Writer::new(fs::File::create(&narrow).expect("made"), header).expect("written");
    writer.write_tensor("blk.0.attn_q.weight", &[0; 192 * 6 * 4]).expect("written");
    writer.finish().expect("written");
    let refused = refusal(&tritune(&["quantize", path(&narrow), path(&out), "tq2_0"]));
    assert!(refused.contains("`blk.0.attn_q.weight` cannot be TQ2_0: its rows of 192 elements"), "{refused}");
    assert!(refused.ends_with("; use i2_s, q2_0, iq1_bn, iq2_bn, f16, bf16, f32"), "{refused}");
    quantize(&narrow, &out, Kind::IQ1_BN, &[]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.gguf");
    // As full as a disk can be made without one: a limit on the size of files.
    let script = format!(
        "ulimit -f 64; trap '' XFSZ; exec {} quantize {DEMO} {} tq2_0",
        env!("CARGO_BIN_EXE_tritune"),
        path(&out)
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
    let refused = refusal(&output);
    assert!(refused.contains("cannot write the model") && refused.contains("free some space"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "a side file is left over");
}

#[test]
fn models_that_share_an_id_do_not_meet_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = ["old.gguf", "new.gguf"].map(|name| folder.path().join(name));
    quantize(Path::new(DEMO), &old, Kind::Q2_0_G128, &["--embedding", "--ternarize"]);
    let kinds = |path: &Path| -> Vec<Kind> {
        let file = File::open_with(path, ReadOptions { i2s_layout: Some(I2sLayout::X86), ..ReadOptions::default() })
            .expect("sound");
        ["token_embd.weight", "blk.0.attn_q.weight"].map(|name| file.tensor(name).expect("there").kind).to_vec()
    };
    assert_eq!(kinds(&old), [Kind::Q2_0_G128; 2]);
    assert!(stdout(&tritune(&["inspect", path(&old)])).contains("Q2_0 group: 128 (the distances between the tensors)"));
    quantize(&old, &new, Kind::Q2_0, &[]);
    assert_eq!(kinds(&new), [Kind::Q2_0; 2]);
}

/// Trits in a float type take float activations, and their `.scale` multiplies the product.
#[test]
fn trits_in_floats_with_scales_of_their_own_are_the_weights_that_they_make() {
    let Some(text) = novel() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [parts, whole] = ["parts.gguf", "whole.gguf"].map(|name| folder.path().join(name));
    quantize(Path::new(DEMO), &whole, Kind::F32, &[]);
    let file = File::open(DEMO).expect("sound");
    let mut header = Header::new();
    for (key, value) in file.metadata() {
        header.set(key.clone(), value.clone());
    }
    let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
    for tensor in file.tensors() {
        if tensor.kind != Kind::I2_S {
            header.tensor(&tensor.name, &tensor.shape, tensor.kind).expect("it fits");
            tensors.push((tensor.name.clone(), file.data(tensor).to_vec()));
            continue;
        }
        let trits =
            trits::decode(tensor.kind, &file.data(tensor), tensor.n() as usize, tensor.k() as usize).expect("trits");
        let Scales::Tensor(scale) = trits.scales else { panic!("{:?}", trits.scales) };
        let ones =
            trits.codes.iter().flat_map(|&code| half::f16::from_f32(f32::from(code) - 1.0).to_le_bytes()).collect();
        header.tensor(&tensor.name, &tensor.shape, Kind::F16).expect("it fits");
        tensors.push((tensor.name.clone(), ones));
        let name = tensor.name.replace(".weight", ".scale");
        header.tensor(&name, &[1], Kind::F32).expect("it fits");
        tensors.push((name, scale.to_le_bytes().to_vec()));
    }
    let mut writer = Writer::new(fs::File::create(&parts).expect("made"), header).expect("written");
    tensors.iter().for_each(|(name, bytes)| writer.write_tensor(name, bytes).expect("written"));
    writer.finish().expect("written");

    let (expected, found) = (perplexity(&whole, text), perplexity(&parts, text));
    assert!((found / expected - 1.0).abs() < 1e-4, "{found} instead of {expected}");
    // Folded into a ternary type, they are the demo again, to the last bit.
    let back = folder.path().join("back.gguf");
    let report = quantize(&parts, &back, Kind::I2_S, &[]);
    assert!(report.contains("now part of their matrices: 42\n"), "{report}");
    assert_eq!(perplexity(&back, text), perplexity(Path::new(DEMO), text));
}
