//! Texts written with prompt lookup are those written without, token for token.

mod shared;
mod text;

use std::path::Path;

use text::Writer;
use tritune::gguf::File;
use tritune::kernels::Selection;
use tritune::lookup::{Chooser, Lookup, PASS};
use tritune::model::{KvType, Model, Session, SessionError, SessionOptions};
use tritune::sample::{Demand, Sampler, SamplerOptions, Scores};
use tritune::threads::Pool;
use tritune::tokenizer::{Special, Tokenizer};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

fn load(path: &Path, threads: usize) -> (File, Model) {
    let file = File::open(path).unwrap();
    let model =
        Model::from_gguf(&file, &Selection::new(None, threads).unwrap(), Pool::new(threads), &|_, _| ()).unwrap();
    (file, model)
}

fn greedy() -> SamplerOptions {
    SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }
}

fn sampled(seed: u64) -> SamplerOptions {
    SamplerOptions { seed, ..SamplerOptions::default() }
}

/// Of tokens that occurred, likely ones become less so: a sampler that remembers.
fn penalised(seed: u64) -> SamplerOptions {
    SamplerOptions { temperature: 1.2, repeat_penalty: 1.3, repeat_last: 20, seed, ..SamplerOptions::default() }
}

/// What is asked for, and what ends it.
#[derive(Clone)]
struct Asked {
    prompt: Vec<u32>,
    tokens: usize,
    context: usize,
    options: SamplerOptions,
    end: Option<u32>,
    kv: KvType,
}

/// What was written, what was fed after the prompt, and where the session ended.
#[derive(Debug, PartialEq)]
struct Written {
    tokens: Vec<u32>,
    fed: Vec<u32>,
    position: usize,
    /// Logits after one more token: what the cache holds is the same, too.
    after: Option<Vec<u32>>,
}

/// Plainly by all logits; with lookup by those that the sampler asks for.
fn write(model: &Model, asked: &Asked, mut lookup: Option<&mut Lookup>) -> Written {
    let options = SessionOptions { kv: Some(asked.kv), context: Some(asked.context) };
    let mut session = Session::new(model, options).unwrap();
    let sampler = Sampler::new(asked.options.clone()).unwrap();
    let mut writer = Writer { sampler, most: asked.tokens, end: asked.end, tokens: Vec::new() };
    let mut fed = Vec::new();
    let mut next = writer.choose(session.feed(&asked.prompt).unwrap().into()).unwrap();
    if let Some(lookup) = &mut lookup {
        lookup.begin(&asked.prompt);
    }
    let mut left = asked.tokens - 1;
    while let Some(id) = next.filter(|_| session.position() < session.context()) {
        match &mut lookup {
            None => {
                fed.push(id);
                next = writer.choose(session.feed(&[id]).unwrap().into()).unwrap();
            }
            Some(lookup) => {
                let (kept, chosen) = lookup.advance(&mut session, id, left, &mut writer).unwrap();
                assert!((1..=PASS.min(left)).contains(&kept.len()));
                left -= kept.len();
                fed.extend(kept);
                next = chosen;
            }
        }
    }
    let position = session.position();
    let after = session.feed(&[1]).ok().map(|logits| logits.iter().map(|x| x.to_bits()).collect());
    Written { tokens: writer.tokens, fed, position, after }
}

/// Compares for proposals of every kind of length; returns how many were accepted.
fn compare(model: &Model, asked: &Asked, what: &str) -> usize {
    let plain = write(model, asked, None);
    let mut accepted = 0;
    for mut lookup in [Lookup::new(), Lookup::fixed(1), Lookup::fixed(3), Lookup::fixed(PASS)] {
        let written = write(model, asked, Some(&mut lookup));
        assert_eq!(written.tokens, plain.tokens, "{what}");
        assert!(written == plain, "{what}: the session ended elsewhere");
        let tally = lookup.tally();
        assert_eq!(tally.passes + tally.accepted, plain.fed.len(), "{what}");
        assert!(tally.accepted <= tally.proposed, "{what}");
        accepted += tally.accepted;
    }
    accepted
}

#[test]
fn the_demo_writes_the_same_text() {
    let (file, model) = load(Path::new(DEMO), 2);
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let text = "It was a truth. Emma was not, it was said, a very unfortunate one. It was a truth, and Emma was";
    let prompts = [text.to_owned(), "It was".to_owned(), "was was ".repeat(20), format!("{text} {text}")];
    let mut accepted = 0;
    for prompt in prompts {
        let prompt = tokenizer.encode(&prompt, Special::Parse).unwrap();
        for options in [greedy(), sampled(1), sampled(2), penalised(3)] {
            let what = format!("{options:?}");
            let asked = Asked { prompt: prompt.clone(), tokens: 60, context: 256, options, end: None, kv: KvType::F16 };
            accepted += compare(&model, &asked, &what);
        }
    }
    assert!(accepted > 0);
}

/// Proposals that are taken back lie in chunks and tiles of keys that have begun, and in those that begin with them.
#[test]
fn long_texts_are_the_same_with_keys_and_values_of_every_type() {
    let (file, model) = load(Path::new(DEMO), 2);
    let sentence = "It was a truth. Emma was not, it was said, a very unfortunate one. It was a truth, and Emma was ";
    let prompt = Tokenizer::from_gguf(&file).unwrap().encode(&sentence.repeat(9), Special::Parse).unwrap();
    let prompt = prompt[..240].to_vec();
    let mut accepted = 0;
    for kv in [KvType::F32, KvType::F16, KvType::I8] {
        let asked = Asked { prompt: prompt.clone(), tokens: 60, context: 320, options: greedy(), end: None, kv };
        accepted += compare(&model, &asked, &kv.to_string());
    }
    assert!(accepted > 0);
}

/// A sampler that fails at its third choice.
struct Failing(Writer);

impl Chooser for Failing {
    type Error = SessionError;

    fn demand(&mut self, ahead: &[u32]) -> Demand<'_> {
        self.0.demand(ahead)
    }

    fn choose(&mut self, scores: Scores<'_>) -> Result<Option<u32>, SessionError> {
        if self.0.tokens.len() == 2 {
            return Err(SessionError::Empty);
        }
        self.0.choose(scores)
    }
}

#[test]
fn after_a_failed_choice_the_session_ends_with_what_was_chosen() {
    let (_, model) = load(Path::new(DEMO), 1);
    let mut session = Session::new(&model, SessionOptions { kv: None, context: Some(64) }).unwrap();
    let mut text = vec![7u32, 8, 9];
    // The model's own text, twice: its proposals are right.
    for _ in 0..12 {
        let logits = session.feed(&text[session.position()..]).unwrap();
        text.push((0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32);
    }
    let (prompt, id) = (text[..8].to_vec(), text[8]);
    session.rewind(8);
    let sampler = Sampler::new(greedy()).unwrap();
    let mut failing = Failing(Writer { sampler, most: 20, end: None, tokens: Vec::new() });
    let mut lookup = Lookup::fixed(PASS - 1);
    lookup.begin(&[&text[..], &prompt].concat());
    assert!(lookup.advance(&mut session, id, 20, &mut failing).is_err());
    assert_eq!(failing.0.tokens, text[9..11]);
    assert_eq!(session.position(), 8 + 3);
}

#[test]
fn ends_limits_and_full_contexts_are_met_at_the_same_token() {
    let (file, model) = load(Path::new(DEMO), 1);
    let prompt = Tokenizer::from_gguf(&file).unwrap().encode("she said. she said. she said.", Special::Parse);
    let whole =
        Asked { prompt: prompt.unwrap(), tokens: 66, context: 256, options: greedy(), end: None, kv: KvType::F16 };
    let text = write(&model, &whole, None).tokens;
    let mut accepted = 0;
    for tokens in (1..=whole.tokens).step_by(5) {
        accepted += compare(&model, &Asked { tokens, ..whole.clone() }, &format!("{tokens} tokens"));
        let context = whole.prompt.len() + tokens;
        accepted += compare(&model, &Asked { context, tokens: 100, ..whole.clone() }, &format!("{context} places"));
        accepted += compare(&model, &Asked { end: Some(text[tokens - 1]), ..whole.clone() }, "an end");
    }
    assert!(accepted > 0);
}

/// Random weights: what was proposed is hardly ever right, but for what repeats without end.
#[test]
fn fixtures_say_the_same() {
    let Some(folder) = shared::find("fixtures") else { return };
    for name in ["qwen3-bonsai-q2_0", "bitnet-2b4t-i2_s", "llama-trilm-tq1_0"] {
        let (_, model) = load(&folder.join(format!("{name}.gguf")), 2);
        let vocab = model.config().vocab as u32;
        let repeated = (0..48).map(|i| i % 3 * 7 % vocab).collect();
        let spread = (0..48u32).map(|i| i * i * 31 % vocab).collect();
        for prompt in [repeated, spread] {
            for options in [greedy(), sampled(5)] {
                let asked =
                    Asked { prompt: Vec::clone(&prompt), tokens: 40, context: 96, options, end: None, kv: KvType::F16 };
                compare(&model, &asked, name);
            }
        }
    }
}

#[test]
fn a_real_model_repeats_a_sentence() {
    let Some(path) = shared::find("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let (file, model) = load(&path, 2);
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let sentence = "The quick brown fox, whom nobody had asked, jumped over the lazy dog on Tuesday.";
    let prompt = tokenizer.encode(&format!("{sentence}\n{sentence}\n{sentence}\nThe quick"), Special::Parse).unwrap();
    for options in [greedy(), sampled(11)] {
        let asked = Asked { prompt: prompt.clone(), tokens: 18, context: 128, options, end: None, kv: KvType::F16 };
        assert!(compare(&model, &asked, "SmolLM2") > 0);
    }
}
