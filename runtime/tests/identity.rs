//! Greedy texts are the same, token for token, whatever computes them: threads, lookup, head, packed cache, kernels.

mod predictors;
mod shared;
mod text;

use std::path::Path;

use predictors::PREDICTORS;
use text::Writer;
use tritune::gguf::File;
use tritune::kernels::{Force, Isa, Selection};
use tritune::lookup::{Chooser, Lookup, PASS};
use tritune::model::{HeadMode, LoadOptions, Model, Session, SessionOptions};
use tritune::pack::Pack;
use tritune::sample::{Sampler, SamplerOptions};
use tritune::threads::Pool;
use tritune::tokenizer::{Special, Tokenizer};

const DEMO: &[u8] = include_bytes!("../demo/austen-5m-i2_s.gguf");

/// Tokens of a text.
const TOKENS: usize = 200;

/// What must not show in a text.
#[derive(Clone, Copy, Debug)]
struct Way {
    threads: usize,
    head: HeadMode,
    lookup: bool,
    isa: Option<Isa>,
}

const PLAIN: Way = Way { threads: 1, head: HeadMode::Full, lookup: false, isa: None };

fn load(file: &File, way: Way, pack: Option<&Pack>) -> Model {
    let selection = Selection::new(way.isa.map(Force::Isa), way.threads).unwrap();
    let options = LoadOptions { head: way.head, pack, ..LoadOptions::default() };
    Model::from_gguf_with(file, &selection, Pool::new(way.threads), options, &|_, _| ()).unwrap()
}

/// The likeliest text of so many tokens after each prompt.
fn texts(model: &Model, way: Way, prompts: &[Vec<u32>], tokens: usize) -> Vec<Vec<u32>> {
    let mut proposed = 0;
    let write = |prompt: &Vec<u32>| {
        let context = Some(prompt.len() + tokens);
        let mut session = Session::new(model, SessionOptions { context, ..SessionOptions::default() }).unwrap();
        let sampler = Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap();
        let mut writer = Writer { sampler, most: tokens, end: None, tokens: Vec::new() };
        let mut lookup = way.lookup.then(|| Lookup::fixed(PASS - 1));
        if let Some(lookup) = &mut lookup {
            lookup.begin(prompt);
        }
        let scores = session.predict(prompt, writer.demand(&[])).unwrap();
        let mut next = writer.choose(scores).unwrap();
        while let Some(id) = next {
            next = match &mut lookup {
                None => {
                    let scores = session.predict(&[id], writer.demand(&[])).unwrap();
                    writer.choose(scores).unwrap()
                }
                Some(lookup) => {
                    let most = tokens - writer.tokens.len();
                    lookup.advance(&mut session, id, most, &mut writer).unwrap().1
                }
            };
        }
        proposed += lookup.map_or(0, |lookup| lookup.tally().proposed);
        writer.tokens
    };
    let texts = prompts.iter().map(write).collect();
    assert!(proposed > 0 || !way.lookup, "no pass had more than one token");
    texts
}

/// Compares texts of all ways, and of a packed cache, with the plainest one's.
fn check(name: &str, file: &File, prompts: &[Vec<u32>], tokens: usize, ways: &[Way]) {
    let expected = texts(&load(file, PLAIN, None), PLAIN, prompts, tokens);
    assert!(expected.iter().all(|text| text.len() == tokens));
    for &way in ways {
        assert!(texts(&load(file, way, None), way, prompts, tokens) == expected, "{name}: {way:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let open = || Pack::open(folder.path().join("pack"), file, &Pool::new(2));
    let way = Way { threads: 2, head: HeadMode::TwoStage, ..PLAIN };
    let pack = open();
    pack.write(load(file, way, Some(&pack)).weights().sections()).unwrap();
    let pack = open();
    assert!(pack.refusal().is_none(), "{name}");
    assert!(texts(&load(file, way, Some(&pack)), way, prompts, tokens) == expected, "{name}: out of a packed cache");
}

/// Threads up to 4, heads, lookup.
fn ways() -> Vec<Way> {
    use HeadMode::{Full, TwoStage};
    let combinations = [
        (1, TwoStage, false),
        (1, Full, true),
        (2, Full, false),
        (2, TwoStage, true),
        (4, TwoStage, false),
        (4, Full, true),
    ];
    combinations.map(|(threads, head, lookup)| Way { threads, head, lookup, isa: None }).to_vec()
}

#[test]
fn the_demo_writes_one_text_in_all_ways() {
    let file = File::from_static("demo", DEMO).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let prompts = ["It was", "Mr. Darcy", "she said. she said. she said.", "the", "Emma was not, it was said, very"];
    let prompts = prompts.map(|prompt| tokenizer.encode(prompt, Special::Parse).unwrap());
    let mut ways = ways();
    ways.extend(Isa::here().into_iter().map(|isa| Way { head: HeadMode::TwoStage, isa: Some(isa), ..PLAIN }));
    check("demo", &file, &prompts, TOKENS, &ways);
}

/// That instruction sets give the same bits is tested with their logits (`fixtures.rs`).
#[test]
fn fixtures_write_one_text_in_all_ways() {
    let Some(folder) = shared::find("fixtures") else { return };
    for name in PREDICTORS {
        let file = File::open(folder.join(format!("{name}.gguf"))).unwrap();
        let prompts: [Vec<u32>; 5] = std::array::from_fn(|i| (0..10).map(|j| (j * j + 7 * i as u32) % 97).collect());
        check(name, &file, &prompts, TOKENS, &ways());
    }
}

/// A model of float types, whose products have nothing to be chosen but the number of threads and of tokens.
fn check_real_model(tokens: usize) {
    let Some(path) = shared::find("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let file = File::open(Path::new(&path)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let prompts = [
        "The capital of France is",
        "Repeat: a rose is a rose is a rose. A rose is a rose is a",
        "Once upon a time, a dragon learnt to bake bread.",
        "fn main() {\n    println!(",
        "One, two, three, four, five, six,",
    ];
    let prompts = prompts.map(|prompt| tokenizer.encode(prompt, Special::Parse).unwrap());
    let way = |threads, lookup| Way { threads, lookup, ..PLAIN };
    check("SmolLM2", &file, &prompts, tokens, &[way(1, true), way(2, true), way(4, false), way(4, true)]);
}

#[test]
fn a_real_model_writes_one_text_in_all_ways() {
    check_real_model(20);
}

#[test]
#[ignore = "minutes: `cargo test -p tritune --test identity -- --ignored`"]
fn a_real_model_writes_one_long_text_in_all_ways() {
    check_real_model(TOKENS);
}
