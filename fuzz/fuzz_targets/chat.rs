//! A chat template of any text, and any messages: rendered and encoded, or refused.
//!
//! The input is the template and the messages, cut at ASCII's record separator; roles take turns.

#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use tritune::chat::{Message, Options, Template};
use tritune::tokenizer::{Tokenizer, Vocabulary};

/// Every byte can be written, and some control tokens be spelt.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut tokens: Vec<String> =
        ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"].map(String::from).to_vec();
    let mut token_types = vec![2, 3, 3, 3, 3, 3];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    token_types.resize(tokens.len(), 6);
    let scores = vec![0.0; tokens.len()];
    let (bos, eos) = (Some(1), Some(2));
    let vocabulary =
        Vocabulary { model: "llama".into(), tokens, token_types, scores, bos, eos, ..Vocabulary::default() };
    Tokenizer::new(vocabulary).expect("sound")
});

fuzz_target!(|text: &str| {
    let mut parts = text.split('\u{1e}');
    let Ok(template) = Template::new(parts.next().unwrap_or_default()) else { return };
    let roles: [fn(String) -> Message; 3] = [Message::system, Message::user, Message::assistant];
    let messages: Vec<Message> =
        parts.zip(roles.into_iter().cycle()).map(|(content, role)| role(content.to_owned())).collect();
    let options = Options { now: SystemTime::UNIX_EPOCH, ..Options::default() };
    if let Ok(ids) = template.encode(&TOKENIZER, &messages, &options) {
        assert!(ids.iter().all(|id| (*id as usize) < TOKENIZER.vocab_size()));
        template.render(&TOKENIZER, &messages, &options).expect("what was encoded renders");
    }
});
