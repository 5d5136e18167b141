//! Files of packed weights: with one or without, sound or not, a model says the same to the last bit.

mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tempfile::TempDir;
use tritune::gguf::{File, Kind};
use tritune::kernels::Selection;
use tritune::linear::Coarse;
use tritune::model::{LoadOptions, LoadReport, Model, Session, SessionOptions};
use tritune::pack::Pack;
use tritune::sample::Demand;
use tritune::threads::Pool;

const DEMO: &[u8] = include_bytes!("../demo/austen-5m-i2_s.gguf");

/// Logits of some tokens, as bits.
fn logits(model: &Model) -> Vec<u32> {
    let mut session = Session::new(model, SessionOptions::default()).expect("a session");
    let mut bits: Vec<u32> = Vec::new();
    for tokens in [&[3, 1, 4][..], &[1], &[5, 9, 2, 6, 5, 3, 5]] {
        bits.extend(session.feed(tokens).expect("logits").iter().map(|logit| logit.to_bits()));
    }
    // What the head's copy leaves of them is told apart from all by its number.
    let demand = Demand::Top { count: 1, also: &[2] };
    let scores = session.predict(&[8, 9, 7], demand).expect("logits");
    bits.extend(scores.logits().iter().map(|logit| logit.to_bits()));
    bits.push(scores.logits().len() as u32);
    bits
}

fn load(file: &File, pack: Option<&Pack>) -> Model {
    let selection = Selection::new(None, 2).expect("kernels");
    let options = LoadOptions { pack, ..LoadOptions::default() };
    Model::from_gguf_with(file, &selection, Pool::new(2), options, &|_, _| ()).expect("it is sound")
}

fn counts(model: &Model) -> (usize, usize) {
    let LoadReport { ternary, packed_before, .. } = model.weights().report();
    (ternary, packed_before)
}

#[test]
fn every_type_is_the_same_out_of_a_pack() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = SmallRng::seed_from_u64(11);
    for kind in tiny::KINDS {
        let file = File::from_bytes("tiny.gguf", tiny::model(kind, 256, &mut rng)).expect("sound");
        let path = folder.path().join(kind.to_string());
        let open = || Pack::open(&path, &file, &Pool::new(2));
        let plain = load(&file, None);
        assert!(plain.weights().sections().is_empty());
        let ternary = if kind.is_ternary() { 7 } else { 0 };

        let pack = open();
        let first = load(&file, Some(&pack));
        assert_eq!(counts(&first), (ternary, 0), "{kind}");
        pack.write(first.weights().sections()).expect("written");
        let pack = open();
        let second = load(&file, Some(&pack));
        assert_eq!(counts(&second), (ternary, ternary), "{kind}");
        // Two for each, and two for the head's copy.
        assert_eq!(second.weights().sections().len(), 2 * ternary + 2, "{kind}");
        let copy =
            |model: &Model| model.weights().head.as_ref().and_then(|head| head.coarse.as_ref()).map(Coarse::bytes);
        assert!(copy(&second).is_some() && copy(&second) == copy(&plain));
        assert!(second.weights().sections().iter().all(|section| pack.holds(section)));
        let expected = logits(&plain);
        assert!(logits(&first) == expected && logits(&second) == expected, "{kind}");

        // What is of another model is not taken.
        let other = File::from_bytes("tiny.gguf", tiny::model(kind, 256, &mut rng)).expect("sound");
        let pack = Pack::open(&path, &other, &Pool::new(2));
        assert!(pack.refusal().is_some(), "{kind}");
        assert_eq!(counts(&load(&other, Some(&pack))), (ternary, 0));
    }
}

/// Scales for blocks, which fewer layouts serve, and codes that decide which.
#[test]
fn scales_come_out_of_a_pack_as_they_went_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = SmallRng::seed_from_u64(12);
    let mut bytes = tiny::model(Kind::TQ2_0, 512, &mut rng);
    let file = File::from_bytes("tiny.gguf", bytes.clone()).expect("sound");
    for name in ["blk.0.attn_q.weight", "blk.0.ffn_up.weight"] {
        let tensor = file.tensor(name).expect("there");
        let blocks = bytes[tensor.offset as usize..][..tensor.bytes as usize].chunks_exact_mut(66);
        for (number, block) in blocks.enumerate() {
            match number % 5 {
                0 => block.copy_from_slice(&[[0x55; 64].as_slice(), &[0; 2]].concat()),
                more => block[64..].copy_from_slice(&half::f16::from_f32(more as f32 / 8.0).to_le_bytes()),
            }
        }
    }
    let file = File::from_bytes("tiny.gguf", bytes).expect("sound");
    let path = folder.path().join("pack");
    let pack = Pack::open(&path, &file, &Pool::new(1));
    let first = load(&file, Some(&pack));
    let forms: Vec<&str> = first.weights().sections().iter().map(|section| section.form.as_str()).collect();
    assert!(forms.contains(&"block 256") && forms.contains(&"tensor"), "{forms:?}");
    pack.write(first.weights().sections()).expect("written");
    let pack = Pack::open(&path, &file, &Pool::new(1));
    let second = load(&file, Some(&pack));
    assert_eq!(counts(&second), (7, 7));
    assert!(logits(&second) == logits(&load(&file, None)));
}

/// A folder with the demo as a file.
struct Demo {
    folder: TempDir,
    model: PathBuf,
}

impl Demo {
    fn new() -> Demo {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("model.gguf");
        fs::write(&model, DEMO).expect("written");
        Demo { folder, model }
    }

    fn pack(&self) -> PathBuf {
        self.folder.path().join("model.gguf.tritune")
    }

    /// What the program writes to stdout, and to stderr.
    fn run(&self, arguments: &[&str]) -> (String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tritune"))
            .arg("run")
            .arg(&self.model)
            .args(["-p", "It was", "-n", "8", "--temp", "0", "-t", "2"])
            .args(arguments)
            .env_remove("TRITUNE_ISA")
            .env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-cache"))
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{stderr}");
        (String::from_utf8(output.stdout).expect("UTF-8"), stderr)
    }

    /// What is said of packed weights by a run that says the same as ever; the warnings of it apart.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> (String, Vec<String>) {
        let (text, stderr) = self.run(arguments);
        assert!(text.starts_with(" a very unfortunate one."), "{text}");
        let warnings = stderr.lines().filter(|line| line.starts_with("warning: ")).map(String::from).collect();
        (stderr, warnings)
    }
}

const USED: &str = "matrices out of ";
const KEPT: &str = "for the next time";
const REPLACED: &str = "in place of what was there";

#[test]
fn a_pack_is_made_where_it_is_asked_for_and_used_while_it_is_sound() {
    let demo = Demo::new();
    let (stderr, _) = demo.said(&[]);
    assert!(!demo.pack().exists() && !stderr.contains(KEPT));
    let (stderr, warnings) = demo.said(&["--pack-cache"]);
    assert!(stderr.contains(KEPT) && !stderr.contains(USED) && warnings.is_empty(), "{stderr}");
    let sound = fs::read(demo.pack()).expect("written");
    let (stderr, warnings) = demo.said(&["--pack-cache"]);
    assert!(stderr.contains(USED) && !stderr.contains(KEPT) && warnings.is_empty(), "{stderr}");
    let (stderr, _) = demo.said(&[]);
    assert!(!stderr.contains(USED));
    // Kernels of another layout want other sections; then these are there.
    for expected in [KEPT, USED] {
        let (stderr, warnings) = demo.said(&["--pack-cache", "--force", "scalar"]);
        assert!(stderr.contains(expected) && warnings.is_empty(), "{stderr}");
    }

    let flip = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    for (what, bytes) in [
        ("another version", flip(9)),
        ("table is damaged", flip(70)),
        ("1 of its ", flip(sound.len() - 1)),
        ("bytes, not ", sound[..sound.len() / 2].to_vec()),
        ("bytes, not ", [&sound[..], b"more"].concat()),
    ] {
        fs::write(demo.pack(), bytes).expect("written");
        let (stderr, warnings) = demo.said(&["--pack-cache"]);
        assert!(matches!(&warnings[..], [one] if one.contains(what)), "{stderr}");
        assert!(stderr.contains(REPLACED), "{stderr}");
        // Of one damaged section, the others serve.
        assert_eq!(stderr.contains("some packed weights"), what == "1 of its ", "{stderr}");
        let (stderr, warnings) = demo.said(&["--pack-cache"]);
        assert!(stderr.contains(USED) && warnings.is_empty(), "{stderr}");
    }

    // The model has changed, if but in its time.
    fs::write(&demo.model, DEMO).expect("written");
    fs::File::options()
        .append(true)
        .open(&demo.model)
        .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
        .expect("set");
    let (stderr, warnings) = demo.said(&["--pack-cache"]);
    assert!(matches!(&warnings[..], [one] if one.contains("another model")), "{stderr}");
    assert!(stderr.contains(REPLACED), "{stderr}");
    let (stderr, warnings) = demo.said(&["--pack-cache"]);
    assert!(stderr.contains(USED) && warnings.is_empty(), "{stderr}");
}

#[test]
fn a_pack_that_cannot_be_kept_is_one_warning() {
    let demo = Demo::new();
    let at = |path: &Path| format!("--pack-cache={}", path.display());
    let (stderr, warnings) = demo.said(&[&at(&demo.folder.path().join("missing/pack"))]);
    assert!(matches!(&warnings[..], [one] if one.contains("cannot be kept in")), "{stderr}");
    // What somebody named by mistake stays.
    for (path, bytes) in [(demo.model.clone(), DEMO), (demo.folder.path().join("text"), &b"dear diary"[..])] {
        fs::write(&path, bytes).expect("written");
        let (stderr, warnings) = demo.said(&[&at(&path)]);
        assert!(matches!(&warnings[..], [one] if one.contains("is no pack cache, and is left as it is")), "{stderr}");
        assert!(fs::read(&path).expect("there") == bytes && !stderr.contains(KEPT));
    }
}
