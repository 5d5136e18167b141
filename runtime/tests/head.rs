//! The head in two stages chooses the tokens that the whole head chooses.

mod predictors;
mod shared;

use predictors::PREDICTORS;
use tritune::gguf::File;
use tritune::kernels::Selection;
use tritune::linear::Float;
use tritune::model::{HeadMode, HeadUse, LoadOptions, Model, Session, SessionOptions};
use tritune::sample::{Demand, Sampler, SamplerOptions, Scores};
use tritune::threads::Pool;

const DEMO: &[u8] = include_bytes!("../demo/austen-5m-i2_s.gguf");

/// Tokens of each text.
const TOKENS: usize = 60;

fn models(file: &File, threads: usize) -> [Model; 2] {
    [HeadMode::Full, HeadMode::TwoStage].map(|head| {
        let selection = Selection::new(None, threads).unwrap();
        let options = LoadOptions { head, ..LoadOptions::default() };
        Model::from_gguf_with(file, &selection, Pool::new(threads), options, &|_, _| ()).unwrap()
    })
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions::default()).unwrap()
}

/// What greedy decoding takes, the defaults draw, and a penalty leaves.
fn samplers() -> [SamplerOptions; 3] {
    let drawn = SamplerOptions { seed: 7, ..SamplerOptions::default() };
    let greedy = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    let penalised = SamplerOptions { repeat_penalty: 1.2, ..greedy.clone() };
    [greedy, drawn, penalised]
}

/// Tokens by all logits.
fn by_all(model: &Model, prompt: &[u32], options: &SamplerOptions) -> Vec<u32> {
    let (mut session, mut sampler) = (session(model), Sampler::new(options.clone()).unwrap());
    let mut text = prompt.to_vec();
    while text.len() < prompt.len() + TOKENS {
        let id = sampler.sample(session.feed(&text[session.position()..]).unwrap()).unwrap();
        sampler.accept(id);
        text.push(id);
    }
    text
}

/// Tokens by what the sampler demands, and how the head was used.
fn by_demand(model: &Model, prompt: &[u32], options: &SamplerOptions) -> (Vec<u32>, HeadUse) {
    let (mut session, mut sampler) = (session(model), Sampler::new(options.clone()).unwrap());
    let mut text = prompt.to_vec();
    while text.len() < prompt.len() + TOKENS {
        let position = session.position();
        let scores = session.predict(&text[position..], sampler.demand(&[])).unwrap();
        let id = sampler.sample(scores).unwrap();
        sampler.accept(id);
        text.push(id);
    }
    (text, session.head_use())
}

/// The likeliest token.
fn greedy(scores: Scores<'_>) -> u32 {
    let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    Sampler::new(options).unwrap().sample(scores).unwrap()
}

fn check(name: &str, file: &File, prompt: &[u32]) -> u64 {
    let mut shortlists = 0;
    for threads in [1, 2] {
        let [full, two_stage] = models(file, threads);
        for options in samplers() {
            let expected = by_all(&full, prompt, &options);
            let (found, used) = by_demand(&two_stage, prompt, &options);
            assert_eq!(found, expected, "{name}, {threads} threads, {options:?}");
            assert_eq!(used.shortlists + used.full, TOKENS as u64, "{name}: {used:?}");
            shortlists += used.shortlists;
            let (found, used) = by_demand(&full, prompt, &options);
            assert_eq!((found, used.shortlists), (expected, 0), "{name}, {threads} threads, {options:?}");
        }
    }
    shortlists
}

#[test]
fn the_demo_says_the_same_by_either_head() {
    let file = File::from_static("demo", DEMO).unwrap();
    let shortlists = check("demo", &file, &[3, 1, 4]);
    assert!(shortlists > TOKENS as u64, "most of it by shortlists, or nothing was tested: {shortlists}");
}

#[test]
fn fixtures_say_the_same_by_either_head() {
    let Some(folder) = shared::find("fixtures") else { return };
    let mut shortlists = 0;
    for name in PREDICTORS {
        shortlists += check(name, &File::open(folder.join(format!("{name}.gguf"))).unwrap(), &[3, 1, 4]);
    }
    assert!(shortlists > 0, "nothing was tested");
}

#[test]
fn tokens_are_predicted_together_as_one_by_one() {
    let file = File::from_static("demo", DEMO).unwrap();
    let [_, model] = models(&file, 2);
    let tokens: Vec<u32> = (0..37).map(|i| i * i * 31 % 2048).collect();
    let demand = Demand::Top { count: 3, also: &[5, 700] };
    let mut one_by_one = session(&model);
    let alone: Vec<(Vec<u32>, u32)> = tokens
        .iter()
        .map(|&token| {
            let scores = one_by_one.predict(&[token], demand).unwrap();
            (scores.logits().iter().map(|logit| logit.to_bits()).collect(), greedy(scores))
        })
        .collect();
    for together in [2, 5, 8] {
        let mut session = session(&model);
        let before = session.head_use();
        for (tokens, alone) in tokens.chunks(together).zip(alone.chunks(together)) {
            let predictions = session.predict_each(tokens, demand).unwrap();
            for (token, (logits, id)) in alone.iter().enumerate() {
                let scores = predictions.scores(token).unwrap();
                assert_eq!(greedy(scores), *id);
                // To the last bit, unless one has all and the other a shortlist.
                if scores.logits().len() == logits.len() {
                    assert!(scores.logits().iter().zip(logits).all(|(found, bits)| found.to_bits() == *bits));
                }
            }
            assert!(predictions.scores(alone.len()).is_none());
        }
        assert!(session.head_use().shortlists > before.shortlists);
    }
    let error = session(&model).predict_each(&[1; Float::FEW + 1], demand).err().unwrap().to_string();
    assert!(error.contains("9 tokens are more than are predicted together"), "{error}");
}
