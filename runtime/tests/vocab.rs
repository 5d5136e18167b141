//! The tokenizer against llama.cpp's vocabularies and expected ids, and against itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use tritune::gguf;
use tritune::tokenizer::{Error, Special, Tokenizer};

const SMOLLM: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Texts that tokenizers have been known to lose something of.
const AWKWARD: [&str; 14] = [
    "",
    " ",
    "\u{0}\u{1}\u{7f}\u{80}\u{85}\u{a0}",
    "\r\n\t\r \n  x",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇧🇬 1️⃣",
    "漢字かな交じり文、한국어 텍스트。",
    "e\u{301} é ﷽ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳",
    "אָלֶף עברית العربية",
    "\u{feff}bom \u{200b}zero \u{2028}line",
    "Don't you'LL we'Ve I'M 'S",
    "1 12 123 1234 12345 ½ ² ৪ 三",
    "fn main() {\n    println!(\"{:?}\", x);\n}\n\n\n",
    "<|im_start|>user\nhi<|im_end|>\n",
    "Ġ Ċ ▁ <0x41> </s> <unk>",
];

/// A file of `../shared`; where that is absent, says so and gives nothing, except in CI.
fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")).join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is absent", path.display());
    println!("skipped: {} is absent", path.display());
    None
}

fn read(path: &Path) -> Tokenizer {
    Tokenizer::from_gguf(&gguf::File::open(path).unwrap()).unwrap()
}

/// The texts of `vocab/*.inp`, and the ids that llama.cpp gives for them. A text lies between two separator lines,
/// the line breaks next to those not included.
fn expected(gguf: &Path) -> Vec<(String, Vec<u32>)> {
    let beside = |end: &str| std::fs::read_to_string(format!("{}{end}", gguf.display())).unwrap();
    let texts = beside(".inp");
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids = beside(".out");
    let ids: Vec<Vec<u32>> =
        ids.split('\n').map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    // The last of each is what follows the last separator or line break: nothing.
    assert_eq!((texts.len(), ids.len()), (47, 47));
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}

/// All that a stream gives for ids pushed one by one.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut text = String::new();
    for &id in ids {
        text.push_str(stream.push(id).unwrap());
    }
    text + stream.finish()
}

fn gives_the_expected_ids(name: &str) {
    let Some(path) = shared(&format!("vocab/ggml-vocab-{name}.gguf")) else { return };
    let tokenizer = read(&path);
    for (text, ids) in expected(&path) {
        assert_eq!(tokenizer.encode(&text, Special::Plain).unwrap(), ids, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}: {ids:?}");
        assert_eq!(streamed(&tokenizer, &ids), text, "{name}: {ids:?}");
    }
}

#[test]
fn llama_bpe_gives_the_expected_ids() {
    gives_the_expected_ids("llama-bpe");
}

#[test]
fn gpt_2_gives_the_expected_ids() {
    gives_the_expected_ids("gpt-2");
}

#[test]
fn falcon_gives_the_expected_ids() {
    gives_the_expected_ids("falcon");
}

#[test]
fn llama_spm_gives_the_expected_ids() {
    gives_the_expected_ids("llama-spm");
}

#[test]
fn every_fixture_and_model_gives_texts_back() {
    for folder in ["fixtures", "models"] {
        let Some(folder) = shared(folder) else { return };
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "gguf") {
                continue;
            }
            let tokenizer = read(&path);
            for text in AWKWARD {
                // SentencePiece writes its space sign like a space.
                let sentence_piece = tokenizer.decisions()[0].value == "llama";
                let text = if sentence_piece { text.replace('▁', "") } else { text.to_owned() };
                comes_back(&tokenizer, &text);
            }
        }
    }
}

/// Encoding and decoding give `text` again, whole and streamed, with and without special tokens.
fn comes_back(tokenizer: &Tokenizer, text: &str) {
    for special in [Special::Plain, Special::Parse] {
        let ids = tokenizer.encode(text, special).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{special:?} {ids:?}");
        assert_eq!(streamed(tokenizer, &ids), text, "{special:?} {ids:?}");
    }
}

#[test]
fn special_spellings_are_tokens_or_text() {
    let Some(path) = shared(SMOLLM) else { return };
    let tokenizer = read(&path);
    let text = "<|im_start|>user\nhi<|im_end|>\n";
    let plain = tokenizer.encode(text, Special::Plain).unwrap();
    assert!(plain.iter().all(|id| *id > 16), "{plain:?}");
    let parsed = tokenizer.encode(text, Special::Parse).unwrap();
    assert_eq!((parsed[0], parsed.iter().filter(|id| **id < 17).count()), (1, 2), "{parsed:?}");
    assert_eq!(tokenizer.token_text(parsed[0]), Some("<|im_start|>"));
    assert_eq!(tokenizer.end_tokens(), [2, 0]);
}

/// SmolLM2's vocabulary lacks a few control bytes; the library alone would leave them out of the text.
#[test]
fn a_byte_without_a_token_is_an_error() {
    let Some(path) = shared(SMOLLM) else { return };
    let error = read(&path).encode("a\u{4}b", Special::Plain).unwrap_err();
    assert_eq!(error.to_string(), "no token of the vocabulary can write byte 0x04");
}

/// Above this the expressions' engine gives up, and the library would go on with the rest of the text uncut.
#[test]
fn a_word_too_long_to_be_cut_is_an_error() {
    let Some(path) = shared("vocab/ggml-vocab-gpt-2.gguf") else { return };
    let tokenizer = read(&path);
    for unit in [" ", "\t ", " \n", "a", "é", "!", "我"] {
        comes_back(&tokenizer, &format!("{}x don't", unit.repeat(50_000)));
        let error = tokenizer.encode(&format!("{}x don't", unit.repeat(1_100_000)), Special::Plain);
        assert!(matches!(error, Err(Error::Word { .. })), "{unit:?}");
    }
}

#[test]
fn bos_is_added_once_and_only_when_asked() {
    let Some(path) = shared("vocab/ggml-vocab-llama-spm.gguf") else { return };
    let tokenizer = read(&path);
    let ids = tokenizer.encode("Hello", Special::Parse).unwrap();
    assert_eq!(ids, [1, 15043]);
    // Spelt already: not added again.
    assert_eq!(tokenizer.encode("<s>Hello", Special::Parse).unwrap(), ids);
    assert_eq!(tokenizer.encode("Hello", Special::Plain).unwrap(), [15043]);
}

#[test]
fn a_stream_goes_on_after_a_prompt() {
    let Some(path) = shared("vocab/ggml-vocab-llama-spm.gguf") else { return };
    let tokenizer = read(&path);
    // ▁Hello at the beginning of a text, and within one.
    assert_eq!(tokenizer.stream().push(15043).unwrap(), "Hello");
    assert_eq!(tokenizer.stream_after(&[1, 15043]).unwrap().push(15043).unwrap(), " Hello");
    assert_eq!(tokenizer.stream_after(&[1]).unwrap().push(15043).unwrap(), "Hello");
}

fn gpt_2_kinds() -> &'static [Tokenizer] {
    static READ: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    READ.get_or_init(|| {
        let files =
            ["vocab/ggml-vocab-llama-bpe.gguf", "vocab/ggml-vocab-gpt-2.gguf", "fixtures/qwen3-bonsai-q2_0.gguf"];
        let files = files.into_iter().chain(["vocab/ggml-vocab-falcon.gguf", SMOLLM]);
        files.filter_map(shared).map(|path| read(&path)).collect()
    })
}

fn sentence_piece() -> Option<&'static Tokenizer> {
    static READ: OnceLock<Option<Tokenizer>> = OnceLock::new();
    READ.get_or_init(|| shared("vocab/ggml-vocab-llama-spm.gguf").map(|path| read(&path))).as_ref()
}

/// Each tokenizer with its special tokens.
fn specials() -> &'static [(&'static Tokenizer, Vec<u32>)] {
    static FOUND: OnceLock<Vec<(&Tokenizer, Vec<u32>)>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let found = gpt_2_kinds().iter().chain(sentence_piece()).map(|tokenizer| {
            let special =
                |id: &u32| tokenizer.token_text(*id).is_some_and(|text| tokenizer.special_id(text) == Some(*id));
            (tokenizer, (0..tokenizer.vocab_size() as u32).filter(special).collect())
        });
        found.filter(|(_, specials): &(_, Vec<u32>)| !specials.is_empty()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The space sign apart, which stands for a space.
    #[test]
    fn any_text_comes_back_from_sentence_piece(text in "[^▁]{0,40}|[a-z ]{0,40}|(</s>|<s>| |a|é){0,12}") {
        if let Some(tokenizer) = sentence_piece() {
            for special in [Special::Plain, Special::Parse] {
                let ids = tokenizer.encode(&text, special).unwrap();
                // A text's own `<s>` in front stands for the one that would be added.
                let text = text.strip_prefix("<s>").filter(|_| special == Special::Parse).unwrap_or(&text);
                prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{:?}", ids);
            }
        }
    }

    /// A special token's spelling is the token where it is parsed, and text where it is plain.
    #[test]
    fn special_spellings_are_tokens_or_text_within_any_text(
        before in "[a-z é\n]{0,12}", after in "[a-z é\n]{0,12}", pick in any::<prop::sample::Index>(),
    ) {
        for (tokenizer, specials) in specials() {
            let id = specials[pick.index(specials.len())];
            let text = format!("{before}{}{after}", tokenizer.token_text(id).unwrap());
            prop_assert!(tokenizer.encode(&text, Special::Parse).unwrap().contains(&id));
            let plain = tokenizer.encode(&text, Special::Plain).unwrap();
            prop_assert!(!plain.contains(&id), "{} {:?}", text, plain);
            prop_assert_eq!(tokenizer.decode(&plain).unwrap(), text);
        }
    }

    #[test]
    fn any_text_comes_back(text in "[\\PC\\s]{0,40}|\\PC{0,20}|[a-z0-9' \n]{0,60}|.{0,40}|[\\x00-\\xff]{0,40}") {
        for tokenizer in gpt_2_kinds() {
            match tokenizer.encode(&text, Special::Plain) {
                Ok(ids) => {
                    prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.as_str());
                    prop_assert_eq!(streamed(tokenizer, &ids), text.as_str());
                }
                // Vocabularies made from little text lack bytes; all that most texts need are there.
                Err(Error::Unwritable(_)) => {
                    let rare = text.chars().any(|c| c.is_control() || c as u32 > 0x3ffff);
                    prop_assert!(rare, "{:?}", text);
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    /// Ids of a model's choosing need not be UTF-8; a stream loses and invents nothing then either.
    #[test]
    fn any_ids_stream_as_they_decode(ids in proptest::collection::vec(0u32..1024, 0..40)) {
        for tokenizer in gpt_2_kinds() {
            let bytes = tokenizer.decode_bytes(&ids).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), String::from_utf8_lossy(&bytes));
            prop_assert_eq!(streamed(tokenizer, &ids), String::from_utf8_lossy(&bytes));
        }
    }
}
