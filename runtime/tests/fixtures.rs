//! The forward pass against logits that an independent implementation computed in f64.

mod passes;
mod predictors;
mod shared;

use std::path::Path;

use passes::passes;
use predictors::PREDICTORS;
use tritune::gguf::File;
use tritune::kernels::{Cell, Force, Isa, KERNELS, Selection};
use tritune::lookup::PASS;
use tritune::model::{KvType, Model, Session, SessionOptions};
use tritune::threads::Pool;

/// How far logits may be from the expected ones. About 3e-7 is found: f32 against f64. One activation that is rounded to
/// another int8 shows as about 1e-2, which a wider tolerance would let pass for inexact arithmetic.
const TOLERANCE: f64 = 1e-5;

/// Of architecture qwen3, with a norm before each projection; it pools the last token.
const EMBEDDER: &str = "qwen3-embedding-i2_s";

/// What is expected of a model, and what it was expected for.
struct Expected {
    tokens: Vec<u32>,
    /// `[tokens, vocab]`
    logits: Vec<f32>,
}

impl Expected {
    fn read(folder: &Path, name: &str) -> Expected {
        Expected { tokens: tokens(folder, name), logits: array(&folder.join(format!("{name}.logits.npy"))) }
    }
}

fn tokens(folder: &Path, name: &str) -> Vec<u32> {
    let json = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn array(path: &Path) -> Vec<f32> {
    let npy = std::fs::read(path).unwrap();
    npyz::NpyFile::new(&npy[..]).unwrap().into_vec().unwrap()
}

fn load(path: &Path, force: Option<Force>, threads: usize) -> Model {
    let file = File::open(path).unwrap();
    let selection = Selection::new(force, threads).unwrap();
    Model::from_gguf(&file, &selection, Pool::new(threads), &|_, _| ()).unwrap()
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions { kv: Some(KvType::F32), context: None }).unwrap()
}

/// Logits of all tokens, fed in one piece.
fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    passes(session(model), tokens, tokens.len())
}

fn deviation(values: &[f32]) -> f64 {
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64;
    (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Root mean square of the difference, in units of the expected values' standard deviation.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let squares: f64 = found.iter().zip(expected).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    (squares / found.len() as f64).sqrt() / deviation(expected)
}

fn largest(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

/// Where the best expected logit is clearly the best, it is the best that was found.
fn assert_same_choices(found: &[f32], expected: &[f32], vocab: usize, what: &str) {
    let clear = 1e-2 * deviation(expected);
    for (token, (found, expected)) in found.chunks_exact(vocab).zip(expected.chunks_exact(vocab)).enumerate() {
        let best = largest(expected);
        let second = (0..vocab).filter(|&i| i != best).map(|i| expected[i]).fold(f32::NEG_INFINITY, f32::max);
        if f64::from(expected[best] - second) > clear {
            assert_eq!(largest(found), best, "{what}, token {token}");
        }
    }
}

#[test]
fn every_instruction_set_and_number_of_threads_computes_the_expected_logits() {
    let Some(folder) = shared::find("fixtures") else { return };
    for name in PREDICTORS {
        let path = folder.join(format!("{name}.gguf"));
        let Expected { tokens, logits: expected } = Expected::read(&folder, name);
        let vocab = expected.len() / tokens.len();
        let mut first: Option<[Vec<u32>; 2]> = None;
        for isa in Isa::here() {
            let [one, two] = [1, 2].map(|threads| {
                let model = load(&path, Some(Force::Isa(isa)), threads);
                let (whole, steps) = (logits(&model, &tokens), passes(session(&model), &tokens, 1));
                for length in [3, PASS] {
                    assert!(
                        passes(session(&model), &tokens, length) == steps,
                        "{name} on {isa}: passes of {length} tokens show"
                    );
                }
                for (found, how) in [(&whole, "in one piece"), (&steps, "one by one")] {
                    let what = format!("{name} on {isa}, {threads} threads, {how}");
                    let distance = distance(found, &expected);
                    println!("{what}: {distance:.1e}");
                    assert!(distance <= TOLERANCE, "{what}: {distance}");
                    assert_same_choices(found, &expected, vocab, &what);
                }
                (whole, steps)
            });
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&one.0) == bits(&two.0) && bits(&one.1) == bits(&two.1), "{name} on {isa}: threads differ");
            let found = [bits(&one.0), bits(&one.1)];
            assert!(first.get_or_insert_with(|| found.clone()) == &found, "{name}: {isa} differs from scalar");
        }
    }
}

#[test]
fn every_instruction_set_and_number_of_threads_computes_the_expected_embedding() {
    let Some(folder) = shared::find("fixtures") else { return };
    let path = folder.join(format!("{EMBEDDER}.gguf"));
    let tokens = tokens(&folder, EMBEDDER);
    let expected = array(&folder.join(format!("{EMBEDDER}.embedding.npy")));
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::here() {
        for threads in [1, 2] {
            let model = load(&path, Some(Force::Isa(isa)), threads);
            let found = session(&model).embed(&tokens).unwrap();
            let distance = distance(&found, &expected);
            println!("{EMBEDDER} on {isa}, {threads} threads: {distance:.1e}");
            assert!(distance <= TOLERANCE, "{isa}: {distance}");
            assert!(first.get_or_insert_with(|| found.clone()) == &found, "{isa}, {threads} threads differ");
        }
    }
}

/// Every kernel that was compiled in and runs here, forced: the same logits to the last bit, hence the same integers.
#[test]
fn every_kernel_computes_the_logits_of_the_scalar_ones() {
    let Some(folder) = shared::find("fixtures") else { return };
    let path = folder.join("bitnet-2b4t-i2_s.gguf");
    let Expected { tokens, logits: expected } = Expected::read(&folder, "bitnet-2b4t-i2_s");
    let compute = |force| logits(&load(&path, Some(force), 1), &tokens);
    let scalar = compute(Force::Isa(Isa::Scalar));
    assert!(distance(&scalar, &expected) <= TOLERANCE);
    let mut forced = 0;
    for kernel in KERNELS.iter().filter(|kernel| kernel.detect().is_some()) {
        let found = compute(Force::Kernel(kernel.id));
        let same = found.iter().zip(&scalar).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{}: {:.1e} from the scalar logits", kernel.id, distance(&found, &scalar));
        forced += 1;
    }
    println!("{forced} kernels");
    assert!(forced >= Cell::all().filter(|cell| cell.isa == Isa::Scalar).count());
}

#[test]
fn rounded_keys_and_values_stay_close() {
    let Some(folder) = shared::find("fixtures") else { return };
    let Expected { tokens, logits: expected } = Expected::read(&folder, "llama-falcon3-i2_s");
    let model = load(&folder.join("llama-falcon3-i2_s.gguf"), None, 1);
    // Flipped int8 roundings spread in these random models.
    for (kv, tolerance) in [(KvType::F16, 5e-2), (KvType::I8, 0.2)] {
        let mut session = Session::new(&model, SessionOptions { kv: Some(kv), context: None }).unwrap();
        let last = session.feed(&tokens).unwrap();
        let distance = distance(last, &expected[expected.len() - last.len()..]);
        println!("{kv}: {distance:.1e}");
        assert!(distance <= tolerance, "{kv}: {distance}");
    }
}

#[test]
fn sessions_rewind_and_refuse() {
    let Some(folder) = shared::find("fixtures") else { return };
    let Expected { tokens, .. } = Expected::read(&folder, "bitnet-2b4t-i2_s");
    let model = load(&folder.join("bitnet-2b4t-i2_s.gguf"), None, 1);
    let mut session =
        Session::new(&model, SessionOptions { kv: Some(KvType::F32), context: Some(tokens.len()) }).unwrap();
    let straight = session.feed(&tokens).unwrap().to_vec();
    let (half, last) = (tokens.len() / 2, tokens.len() - 1);
    session.rewind(half);
    assert_eq!(session.position(), half);
    for (refused, why) in [
        (session.feed(&[]).err(), "at least one"),
        (session.feed(&[1024]).err(), "not in the vocabulary of 1024"),
        (session.feed(&tokens).err(), "do not fit into a context of 24"),
    ] {
        assert!(refused.unwrap().to_string().contains(why));
    }
    assert_eq!(session.position(), half);
    session.feed(&tokens[half..last]).unwrap();
    let again = session.feed(&tokens[last..]).unwrap();
    assert!(distance(again, &straight) < 1e-3);

    let refused =
        |context| Session::new(&model, SessionOptions { kv: Some(KvType::F32), context: Some(context) }).err();
    assert!(refused(0).unwrap().to_string().contains("at least one token"));
    for absurd in [1 << 40, usize::MAX] {
        assert!(refused(absurd).unwrap().to_string().contains("smaller context"));
    }
}
