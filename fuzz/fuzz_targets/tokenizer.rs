//! A vocabulary of any texts, roles and merges, and any text: what it writes it reads.

#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tritune::tokenizer::{Special, Tokenizer, Vocabulary};

#[derive(Debug)]
struct Input {
    vocabulary: Vocabulary,
    text: String,
    ids: Vec<u32>,
}

const PRES: [&str; 9] =
    ["llama-bpe", "gpt-2", "qwen2", "falcon", "falcon3", "smollm", "starcoder", "deepseek-coder", "refact"];

/// Pieces that make vocabularies which are accepted, more often than chance would.
const PIECES: [&str; 16] =
    ["<unk>", "<s>", "</s>", "▁", "▁a", "a", "b", "ab", "Ġ", "Ġa", "aa", "<0x0A>", "<|eot_id|>", "ä", "Ċ", ""];

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Input> {
        let sentence_piece = u.arbitrary::<bool>()?;
        let mut tokens: Vec<String> = Vec::new();
        if sentence_piece && u.arbitrary()? {
            tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        }
        let bytes = tokens.len();
        for _ in 0..u.int_in_range(0..=40)? {
            let piece = u.int_in_range(0..=2 * PIECES.len() - 1)?;
            tokens.push(match PIECES.get(piece) {
                Some(piece) => (*piece).to_owned(),
                None => u.arbitrary()?,
            });
        }
        let mut token_types = vec![6; bytes];
        for _ in bytes..tokens.len() {
            token_types.push(if u.ratio(3, 4)? { 1 } else { u.int_in_range(-1..=7)? });
        }
        let mut merges = Vec::new();
        for _ in 0..u.int_in_range(0..=20)? {
            if u.ratio(1, 16)? || tokens.is_empty() {
                merges.push(u.arbitrary()?);
            } else {
                let mut piece = || u.choose(&tokens).cloned();
                merges.push(format!("{} {}", piece()?, piece()?));
            }
        }
        let mut scores = Vec::new();
        for _ in 0..tokens.len() {
            scores.push(u.int_in_range(-20i8..=20)?.into());
        }
        let some_id = |u: &mut Unstructured<'a>| -> Result<Option<u32>> {
            Ok(if u.arbitrary()? { Some(u.int_in_range(0..=tokens.len() as u32)?) } else { None })
        };
        let vocabulary = Vocabulary {
            model: if sentence_piece { "llama" } else { "gpt2" }.into(),
            pre: if u.ratio(1, 8)? { u.arbitrary()? } else { Some((*u.choose(&PRES)?).into()) },
            scores,
            token_types,
            merges,
            bos: some_id(u)?,
            eos: some_id(u)?,
            eot: some_id(u)?,
            eom: some_id(u)?,
            unknown: some_id(u)?,
            add_bos: u.arbitrary()?,
            add_eos: u.arbitrary()?,
            add_space_prefix: u.arbitrary()?,
            tokens,
            ..Vocabulary::default()
        };
        let mut ids = Vec::new();
        for _ in 0..u.int_in_range(0..=8)? {
            ids.push(u.int_in_range(0..=vocabulary.tokens.len() as u32)?);
        }
        Ok(Input { vocabulary, ids, text: u.arbitrary()? })
    }
}

fuzz_target!(|input: Input| {
    let Ok(tokenizer) = Tokenizer::new(input.vocabulary) else { return };
    for special in [Special::Parse, Special::Plain] {
        if let Ok(ids) = tokenizer.encode(&input.text, special) {
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            tokenizer.decode(&ids).expect("ids of its own");
        }
    }
    let mut stream = tokenizer.stream();
    let mut text = String::new();
    for id in &input.ids {
        match stream.push(*id) {
            Ok(piece) => text.push_str(piece),
            Err(_) => return,
        }
    }
    text.push_str(stream.finish());
    let decoded = tokenizer.decode_bytes(&input.ids).expect("ids that streamed");
    // An EOS at the end is left out of the whole; a stream cannot know that it is the last.
    if input.ids.last().copied() != tokenizer.eos() || input.ids.is_empty() {
        assert_eq!(text, String::from_utf8_lossy(&decoded));
    }
});
