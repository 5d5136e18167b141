//! Writing with a model as a library does it, on the demo model.
#![cfg(feature = "chat")]

use std::thread;

use tritune::Error;
use tritune::chat::Message;
use tritune::engine::{Cancel, Finish, Generation, GenerationConfig, GenerationError, StateError, Token};
use tritune::model::{KvType, Model, Session, SessionOptions};
use tritune::sample::{self, Sample, Sampler, SamplerOptions, Scores};
use tritune::tokenizer::Special;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");
const PROMPT: &str = "It was";

fn demo() -> Model {
    Model::load(DEMO).expect("the demo loads")
}

fn config(tokens: usize) -> GenerationConfig {
    GenerationConfig { tokens, ..GenerationConfig::default() }
}

fn greedy(tokens: usize) -> GenerationConfig {
    GenerationConfig { sampler: SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }, ..config(tokens) }
}

fn tokens(generation: &mut Generation<'_>) -> Vec<Token> {
    generation.collect::<Result<_, _>>().expect("it goes on")
}

/// What a session holds: its tokens, and how the text goes on. Bytes behind the last token may differ.
fn holds(session: &Session) -> (Vec<u32>, String) {
    let options = SessionOptions { kv: Some(session.kv()), context: Some(session.context() + 6) };
    let mut copy = session.model().session_with(options).unwrap();
    copy.restore(&session.save().unwrap()).unwrap();
    (session.tokens().to_vec(), write(&mut copy, "", &greedy(6)))
}

fn write(session: &mut Session, prompt: &str, config: &GenerationConfig) -> String {
    session.generate(prompt, config).expect("it begins").text().expect("it goes on")
}

#[test]
fn models_are_shared_and_sessions_do_not_disturb_each_other() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let model = demo();
    shared(&model);
    let alone: Vec<String> = (0..4).map(|seed| write(&mut model.session().unwrap(), PROMPT, &seeded(seed))).collect();
    let together: Vec<_> = (0..4)
        .map(|seed| {
            let mut session = model.session().unwrap();
            thread::spawn(move || write(&mut session, PROMPT, &seeded(seed)))
        })
        .collect();
    drop(model);
    let together: Vec<String> = together.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(together, alone);
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "seeds differ");

    fn seeded(seed: u64) -> GenerationConfig {
        GenerationConfig { sampler: SamplerOptions { seed, ..SamplerOptions::default() }, ..config(60) }
    }
}

#[test]
fn texts_are_the_tokens_of_the_model_with_lookup_and_without() {
    let model = demo();
    let mut session = model.session().unwrap();
    let mut generation = session.generate(PROMPT, &greedy(50)).unwrap();
    let written = tokens(&mut generation);
    assert_eq!((generation.finish(), written.len()), (Some(Finish::Length), 50));
    assert_eq!(generation.timing().written, 49, "the last one is not fed");
    drop(generation);
    let ids: Vec<u32> = written.iter().map(|token| token.id).collect();
    let text: String = written.iter().map(|token| token.text.as_str()).collect();

    let tokenizer = model.tokenizer().unwrap();
    let prompt = tokenizer.encode(PROMPT, Special::Parse).unwrap();
    assert_eq!(session.tokens(), [&prompt[..], &ids[..49]].concat());
    let whole = tokenizer.decode(&[&prompt[..], &ids].concat()).unwrap();
    assert_eq!(whole, format!("{PROMPT}{text}"));
    // By hand.
    let (mut plain, mut next, mut expected) = (model.session().unwrap(), prompt, Vec::new());
    while expected.len() < 50 {
        let logits = plain.feed(&next).unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap() as u32;
        expected.push(best);
        next = vec![best];
    }
    assert_eq!(ids, expected);
    for seed in 0..3 {
        let sampler = SamplerOptions { seed, temperature: 1.1, repeat_penalty: 1.2, ..SamplerOptions::default() };
        let [with, without] = [true, false].map(|lookup| {
            let config = GenerationConfig { lookup, sampler: sampler.clone(), ..config(80) };
            write(&mut model.session().unwrap(), PROMPT, &config)
        });
        assert_eq!(with, without);
    }
}

#[test]
fn a_text_goes_on_where_it_ended() {
    let model = demo();
    let whole = write(&mut model.session().unwrap(), PROMPT, &greedy(40));
    let mut session = model.session().unwrap();
    let mut generation = session.generate(PROMPT, &greedy(40)).unwrap();
    let mut parts: String = (&mut generation).take(15).map(|token| token.unwrap().text).collect();
    assert_eq!(generation.finish(), None, "nobody asked for more");
    drop(generation);
    // What was chosen last is fed before what comes next: nothing.
    let text: Vec<u32> = session.tokens().to_vec();
    assert_eq!(text.len(), model.tokenizer().unwrap().encode(PROMPT, Special::Parse).unwrap().len() + 14);
    let rest = session.generate("", &greedy(25));
    parts += &rest.expect("an empty prompt goes on").text().unwrap();
    assert_eq!(parts, whole);
}

#[test]
fn stop_strings_end_a_text_before_them() {
    let model = demo();
    let whole = write(&mut model.session().unwrap(), PROMPT, &greedy(60));
    let words: Vec<&str> = whole.split_whitespace().collect();
    let stop = format!("{} {}", words[6], words[7]);
    let config = GenerationConfig { stop: vec!["nowhere at all".into(), stop.clone()], ..greedy(60) };
    let mut session = model.session().unwrap();
    let mut generation = session.generate(PROMPT, &config).unwrap();
    let text = generation.text().unwrap();
    assert_eq!((generation.finish(), &*text), (Some(Finish::Stop(1)), &whole[..whole.find(&stop).unwrap()]));
    drop(generation);
    // The stop string is part of the session: the text goes on behind it.
    let rest = write(&mut session, "", &greedy(5));
    assert!(whole.contains(&format!("{stop}{}", rest.trim_end())), "{rest}");
    let error = session.generate(PROMPT, &GenerationConfig { stop: vec![String::new()], ..greedy(5) }).unwrap_err();
    assert_eq!(error.code(), "TT1601");
}

#[test]
fn a_text_is_cancelled_from_another_thread() {
    let model = demo();
    let cancel = Cancel::new();
    let config = GenerationConfig { cancel: Some(cancel.clone()), ..greedy(usize::MAX) };
    let mut session = model.session().unwrap();
    let mut generation = session.generate(PROMPT, &config).unwrap();
    let first = generation.next().unwrap().unwrap();
    thread::spawn(move || cancel.cancel()).join().unwrap();
    // What was ready is given, and no more.
    let more = generation.by_ref().count();
    assert!(more < 16 && generation.finish() == Some(Finish::Cancelled), "{more} after {first:?}");
    drop(generation);
    // Before a prompt is fed, too: as if nobody had asked.
    let before = holds(&session);
    for prompt in [" and", ""] {
        let mut generation = session.generate(prompt, &config).unwrap();
        assert!(generation.next().is_none() && generation.finish() == Some(Finish::Cancelled));
        drop(generation);
        assert_eq!(holds(&session), before);
    }
}

/// Chooses the likeliest token, and at last none at all.
struct Failing(usize);

impl Sample for Failing {
    fn sample(&mut self, scores: Scores<'_>) -> Result<u32, sample::Error> {
        self.0 = self.0.checked_sub(1).ok_or(sample::Error::Empty)?;
        let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        best.map(|(id, _)| id).ok_or(sample::Error::Empty)
    }
}

#[test]
fn a_session_holds_what_was_told_whatever_ends_a_text() {
    let model = demo();
    let tokenizer = model.tokenizer().unwrap();
    // A text that repeats itself, so that passes choose several tokens.
    let again = "She said that it was so. ".repeat(6);
    let prompt = tokenizer.encode(&again, Special::Parse).unwrap();
    let whole: Vec<u32> =
        tokens(&mut model.session().unwrap().generate(&again, &greedy(30)).unwrap()).iter().map(|t| t.id).collect();
    for count in 0..whole.len() {
        let mut session = model.session().unwrap();
        let generation = session.generate(&again, &greedy(30)).unwrap();
        let told: Vec<u32> = generation.take(count).map(|token| token.unwrap().id).collect();
        assert_eq!(told, whole[..count]);
        let rest = tokens(&mut session.generate("", &greedy(30 - count)).unwrap());
        assert_eq!(rest.iter().map(|token| token.id).collect::<Vec<_>>(), whole[count..], "after {count}");
    }
    for count in [0, 1, 7, 20] {
        let mut session = model.session().unwrap();
        write(&mut session, PROMPT, &greedy(3));
        let state = holds(&session);
        let mut told = Vec::new();
        match session.generate_by(&again, &greedy(30), Failing(count)) {
            Err(error) => assert_eq!((error.code(), count), ("TT1202", 0)),
            Ok(mut generation) => {
                let items: Vec<_> = generation.by_ref().collect();
                assert_eq!(generation.finish(), Some(Finish::Failed));
                let (last, before) = items.split_last().unwrap();
                assert_eq!(last.as_ref().unwrap_err().code(), "TT1202", "the error is the last");
                told.extend(before.iter().map(|token| token.as_ref().unwrap().id));
                assert_eq!(told.len(), count);
            }
        }
        if count == 0 {
            assert_eq!(holds(&session), state);
        } else {
            // Every one of them once.
            assert_eq!(session.tokens()[session.position() - count..], told);
        }
    }
    // What is refused leaves everything, what was chosen last included.
    let mut session = model.session().unwrap();
    write(&mut session, PROMPT, &greedy(3));
    let state = holds(&session);
    let sampler = || Sampler::new(SamplerOptions::default()).unwrap();
    assert_eq!(session.feed(&[]).unwrap_err().code(), "TT1105");
    assert_eq!(session.write(&[], &config(3), sampler()).unwrap_err().code(), "TT1105");
    assert_eq!(session.write(&[u32::MAX], &config(3), sampler()).unwrap_err().code(), "TT1106");
    assert_eq!(session.write(&prompt.repeat(99), &config(3), sampler()).unwrap_err().code(), "TT1107");
    assert_eq!(holds(&session), state);
}

#[test]
fn penalties_know_all_of_the_text() {
    let model = demo();
    let penalised = |tokens| GenerationConfig {
        sampler: SamplerOptions { temperature: 0.0, repeat_penalty: 1.4, repeat_last: 30, ..SamplerOptions::default() },
        ..config(tokens)
    };
    let whole = write(&mut model.session().unwrap(), PROMPT, &penalised(40));
    assert_ne!(whole, write(&mut model.session().unwrap(), PROMPT, &greedy(40)), "the penalty counts");
    let mut session = model.session().unwrap();
    let parts = write(&mut session, PROMPT, &penalised(15)) + &write(&mut session, "", &penalised(25));
    assert_eq!(parts, whole);
}

#[test]
fn log_probabilities_are_of_what_was_chosen() {
    let model = demo();
    let config = GenerationConfig { logprobs: Some(3), ..greedy(12) };
    let written = tokens(&mut model.session().unwrap().generate(PROMPT, &config).unwrap());
    assert_eq!(written.len(), 12);
    for Token { id, logprob, alternatives, .. } in written {
        let logprob = logprob.unwrap();
        assert!(logprob < 0.0 && alternatives[0] == (id, logprob) && alternatives.len() == 3);
        assert!(alternatives.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(alternatives.iter().map(|(_, logprob)| logprob.exp()).sum::<f32>() <= 1.0 + 1e-5);
    }
    let all = GenerationConfig { logprobs: Some(usize::MAX), ..greedy(1) };
    let one = tokens(&mut model.session().unwrap().generate(PROMPT, &all).unwrap()).remove(0);
    let sum: f64 = one.alternatives.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-4 && one.alternatives.len() == model.config().vocab, "{sum}");
    let none = tokens(&mut model.session().unwrap().generate(PROMPT, &greedy(1)).unwrap()).remove(0);
    assert_eq!((none.logprob, none.alternatives), (None, vec![]));
}

#[test]
fn a_session_goes_on_from_its_bytes() {
    let model = demo();
    for (kv, _) in KvType::NAMES {
        let options = SessionOptions { kv: Some(kv), context: Some(128) };
        let mut session = model.session_with(options).unwrap();
        write(&mut session, PROMPT, &greedy(37));
        let state = session.save().unwrap();
        let whole = write(&mut session, "", &greedy(30));
        // In a session that held something else, of another copy of the model.
        let mut other = Model::load(DEMO).unwrap().session_with(options).unwrap();
        other.feed(&[5, 6, 7]).unwrap();
        other.restore(&state).unwrap();
        assert_eq!(other.save().unwrap(), state);
        assert_eq!(write(&mut other, "", &greedy(30)), whole, "{kv}");

        let before = other.save().unwrap();
        let mut refused = |state: &[u8]| {
            let error = other.restore(state).unwrap_err();
            assert_eq!(other.save().unwrap(), before, "it is as it was");
            error
        };
        for at in (0..state.len()).step_by(state.len() / 97 + 1) {
            let mut damaged = state.clone();
            damaged[at] ^= 0x10;
            refused(&damaged);
            refused(&state[..at]);
        }
        assert!(matches!(refused(b"tritune"), StateError::Foreign { bytes: 7 }));
        assert!(matches!(refused(&[&state[..], b"x"].concat()), StateError::Damaged { .. }));
    }
    let mut session = model.session_with(SessionOptions { kv: Some(KvType::F16), context: Some(20) }).unwrap();
    write(&mut session, PROMPT, &greedy(10));
    let state = session.save().unwrap();
    let restore = |kv, context| {
        model.session_with(SessionOptions { kv: Some(kv), context: Some(context) }).unwrap().restore(&state)
    };
    assert!(matches!(restore(KvType::I8, 20), Err(StateError::Type { .. })));
    assert!(matches!(restore(KvType::F16, 5), Err(StateError::Room { .. })));
    assert!(restore(KvType::F16, 500).is_ok());
    assert_eq!(model.session().unwrap().restore(&[]).unwrap_err().code(), "TT1401");
}

#[test]
fn what_cannot_be_written_leaves_the_session_as_it_was() {
    let model = demo();
    let mut session = model.session_with(SessionOptions { kv: None, context: Some(16) }).unwrap();
    write(&mut session, PROMPT, &greedy(4));
    let state = holds(&session);
    let long = "word ".repeat(40);
    let error = session.generate(&long, &greedy(4)).unwrap_err();
    assert_eq!(error.code(), "TT1107", "{error}");
    let sampler = SamplerOptions { temperature: f32::NAN, ..SamplerOptions::default() };
    assert_eq!(session.generate("x", &GenerationConfig { sampler, ..config(4) }).unwrap_err().code(), "TT1201");
    assert_eq!(holds(&session), state);
    // A full context ends a text: after what was chosen last is fed, a token for each position that is left, and one more.
    let left = 16 - (session.position() + 1);
    let mut generation = session.generate("", &greedy(100)).unwrap();
    let count = tokens(&mut generation).len();
    assert_eq!(generation.finish(), Some(Finish::Context));
    drop(generation);
    assert_eq!((session.position(), count), (16, left + 1));
    assert_eq!(session.embed_text("a text").unwrap_err().code(), "TT1104");
    assert_eq!(session.generate("x", &greedy(0)).unwrap_err().code(), "TT1107");
    let mut fresh = model.session().unwrap();
    let mut generation = fresh.generate("x", &greedy(0)).unwrap();
    assert!(generation.next().is_none() && generation.finish() == Some(Finish::Length));
    // The demo was trained on novels: it has no chat template.
    let error = Error::from(fresh_chat(&model).unwrap_err());
    assert_eq!(error.code(), "TT1301");

    fn fresh_chat(model: &Model) -> Result<String, GenerationError> {
        model.session()?.chat(&[Message::user("Hello")], &GenerationConfig::default())?.text()
    }
}
