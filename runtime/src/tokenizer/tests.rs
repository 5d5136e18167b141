//! Small vocabularies, sound and hostile; published ones are in `tests/vocab.rs`.

use super::*;

/// Byte-level: BOS 0, EOS 1, user-defined 2, then the 256 bytes from 3 on, then the merges' results.
fn byte_level(merges: &[&str]) -> Vocabulary {
    let mut tokens = vec!["<bos>".to_owned(), "<eos>".to_owned(), "<user>".to_owned()];
    tokens.extend((0..=255).map(|byte| bytes::character(byte).to_string()));
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut token_types = vec![1; tokens.len()];
    token_types[..3].copy_from_slice(&[3, 3, 4]);
    Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens,
        token_types,
        merges: merges.iter().map(|&merge| merge.to_owned()).collect(),
        bos: Some(0),
        eos: Some(1),
        ..Vocabulary::default()
    }
}

/// SentencePiece: unknown 0, BOS 1, EOS 2, the bytes from 3 on if wanted, then pieces of falling score.
fn sentence_piece(bytes: bool, pieces: &[&str]) -> Vocabulary {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    let mut token_types = vec![2, 3, 3];
    if bytes {
        tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
        token_types.resize(tokens.len(), 6);
    }
    tokens.extend(pieces.iter().map(|&piece| piece.to_owned()));
    token_types.resize(tokens.len(), 1);
    Vocabulary {
        model: "llama".to_owned(),
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        tokens,
        token_types,
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..Vocabulary::default()
    }
}

fn refused(vocabulary: Vocabulary) -> String {
    Tokenizer::new(vocabulary).unwrap_err().to_string()
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).unwrap().to_owned()).collect()
}

fn decided<'a>(tokenizer: &'a Tokenizer, what: &str) -> &'a Decision {
    tokenizer.decisions().iter().find(|decision| decision.what == what).unwrap()
}

#[test]
fn merges_are_followed_in_their_order() {
    let tokenizer = Tokenizer::new(byte_level(&["b c", "a b", "a bc"])).unwrap();
    let ids = tokenizer.encode("abc ab", Special::Plain).unwrap();
    assert_eq!(texts(&tokenizer, &ids), ["abc", "Ġ", "ab"]);
}

#[test]
fn bos_and_eos_are_added_as_the_file_says() {
    let add = |bos, eos| Tokenizer::new(Vocabulary { add_bos: bos, add_eos: eos, ..byte_level(&[]) }).unwrap();
    let a = 3 + u32::from(b'a');
    assert_eq!(add(None, None).encode("a", Special::Parse).unwrap(), [a]);
    assert_eq!(add(Some(true), None).encode("a", Special::Parse).unwrap(), [0, a]);
    let both = add(Some(true), Some(true));
    assert_eq!(both.encode("a", Special::Parse).unwrap(), [0, a, 1]);
    assert_eq!(both.encode("<bos>a<eos>", Special::Parse).unwrap(), [0, a, 1]);
    assert_eq!(both.encode("", Special::Parse).unwrap(), [0, 1]);
    assert_eq!(both.encode("a", Special::Plain).unwrap(), [a]);
    // Decoding leaves out what was added, and only that.
    assert_eq!(both.decode(&[0, a, 1]).unwrap(), "a");
    assert_eq!(both.decode(&[0, 0, a, 1, 1]).unwrap(), "<bos>a<eos>");
    assert_eq!(add(None, None).decode(&[0, a, 1]).unwrap(), "<bos>a<eos>");
    assert_eq!((both.bos(), both.eos(), both.end_tokens()), (Some(0), Some(1), [1].as_slice()));
    assert_eq!((both.add_bos(), both.add_eos()), (Some(0), Some(1)));
    // One token for both, of which one is added.
    let shared = Vocabulary { eos: Some(0), add_bos: Some(false), add_eos: Some(true), ..byte_level(&[]) };
    let shared = Tokenizer::new(shared).unwrap();
    assert_eq!((shared.add_bos(), shared.add_eos()), (None, Some(0)));
    let nameless = Vocabulary { add_bos: Some(true), bos: None, ..byte_level(&[]) };
    assert_eq!(refused(nameless), "tokenizer.ggml.add_bos_token is true, but the file names no such token");
}

#[test]
fn user_defined_tokens_are_kept_whole_in_plain_text_too() {
    let tokenizer = Tokenizer::new(byte_level(&[])).unwrap();
    let ids = tokenizer.encode("<user><bos>", Special::Plain).unwrap();
    assert_eq!((ids[0], ids.len()), (2, 6));
    assert_eq!(tokenizer.encode("<user><bos>", Special::Parse).unwrap(), [2, 0]);
}

/// A control token's spelling can neither be merged together nor be a word of its own.
#[test]
fn plain_text_never_becomes_a_control_token() {
    let mut vocabulary = byte_level(&["a b"]);
    vocabulary.pre = Some("llama-bpe".to_owned());
    vocabulary.tokens[0] = "ab".to_owned();
    *vocabulary.token_types.last_mut().unwrap() = 3;
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode("ab", Special::Plain).unwrap();
    assert_eq!(texts(&tokenizer, &ids), ["a", "b"]);
    assert_eq!(tokenizer.encode("ab", Special::Parse).unwrap(), [0]);
    assert_eq!(decided(&tokenizer, "merges").value, "1 left out");
    assert_eq!(decided(&tokenizer, "pre-tokenizer").value, "llama-bpe");

    let mut vocabulary = sentence_piece(true, &["▁", "<", "s", ">", "<s", "s>"]);
    vocabulary.scores[1] = 100.0;
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode("<s>", Special::Plain).unwrap();
    assert_eq!(texts(&tokenizer, &ids), ["▁", "<s", ">"]);
}

#[test]
fn end_tokens_are_found_by_key_and_by_spelling() {
    let mut vocabulary = Vocabulary { eot: Some(4), ..byte_level(&[]) };
    vocabulary.tokens[2] = "</s>".to_owned();
    assert_eq!(Tokenizer::new(vocabulary.clone()).unwrap().end_tokens(), [1, 4]);
    vocabulary.token_types[2] = 3;
    assert_eq!(Tokenizer::new(vocabulary.clone()).unwrap().end_tokens(), [1, 4, 2]);
    vocabulary.all_eos = vec![1, 9, 9];
    assert_eq!(Tokenizer::new(vocabulary).unwrap().end_tokens(), [1, 4, 9, 2]);
}

/// Some converters write added tokens as text.
#[test]
fn unmistakable_end_tokens_are_control_tokens_whatever_the_file_says() {
    for (spelling, kind) in ["<|im_end|>", "<|file_sep|>"].iter().flat_map(|end| [1, 3, 4].map(|kind| (*end, kind))) {
        let mut vocabulary = byte_level(&["a b"]);
        vocabulary.tokens[2] = spelling.to_owned();
        vocabulary.token_types[2] = kind;
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        assert_eq!(tokenizer.end_tokens(), [1, 2]);
        assert_eq!(tokenizer.encode(spelling, Special::Parse).unwrap(), [2]);
        assert_eq!(tokenizer.encode(spelling, Special::Plain).unwrap().len(), spelling.len());
        assert_eq!(tokenizer.decisions().iter().any(|decision| decision.what == "control token"), kind != 3);
    }
}

/// Every family whose files were seen, by the end tokens that its chats have.
#[test]
fn families_end_their_turns() {
    for (ends, eos) in [
        // BitNet b1.58 2B4T and Llama 3 name the end of the text alone.
        (["<|end_of_text|>", "<|eot_id|>"], 0),
        // Falcon-E, Qwen, Bonsai, SmolLM.
        (["<|im_end|>", "<|endoftext|>"], 0),
        (["<end_of_turn>", "<eos>"], 1),
        (["</s>", "<|im_end|>"], 0),
        (["<｜end▁of▁sentence｜>", "<|EOT|>"], 0),
        (["<|fim_pad|>", "<|repo_name|>"], 0),
        (["<|endoftext|>", "<|file_sep|>"], 0),
        (["_<EOT>", "[EOS]"], 1),
    ] {
        let mut vocabulary = byte_level(&[]);
        for (id, spelling) in ends.iter().enumerate() {
            vocabulary.tokens[id] = (*spelling).to_owned();
            vocabulary.token_types[id] = 3;
        }
        vocabulary.bos = None;
        vocabulary.eos = Some(eos);
        let mut found = Tokenizer::new(vocabulary).unwrap().end_tokens().to_vec();
        found.sort_unstable();
        assert_eq!(found, [0, 1], "{ends:?}");
    }
}

#[test]
fn scores_choose_the_merges() {
    let tokenizer = Tokenizer::new(sentence_piece(true, &["▁", "a", "b", "bc", "ab", "c", "▁a"])).unwrap();
    let pieces = |text| texts(&tokenizer, &tokenizer.encode(text, Special::Plain).unwrap());
    // bc scores above ab, ab above ▁a.
    assert_eq!(pieces("abc"), ["▁a", "bc"]);
    assert_eq!(pieces("ab"), ["▁", "ab"]);
    assert_eq!(pieces("é"), ["▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(pieces(""), [""; 0]);
}

#[test]
fn the_space_prefix_comes_and_goes_with_the_text() {
    let pieces = ["▁", "a", "▁a"];
    for prefix in [None, Some(true), Some(false)] {
        let vocabulary = Vocabulary { add_space_prefix: prefix, ..sentence_piece(true, &pieces) };
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        let ids = tokenizer.encode("a", Special::Plain).unwrap();
        assert_eq!(texts(&tokenizer, &ids), [if prefix == Some(false) { "a" } else { "▁a" }]);
        for text in ["a", " a", "  a ", " ", "", "a</s>a</s> a", "</s>", " </s>  "] {
            let ids = tokenizer.encode(text, Special::Parse).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{prefix:?} {ids:?}");
        }
    }
}

#[test]
fn a_text_that_goes_on_gets_nothing_in_front_or_behind() {
    let vocabulary = |pieces: &[&str]| Vocabulary {
        add_bos: Some(true),
        add_eos: Some(true),
        add_space_prefix: Some(true),
        ..sentence_piece(true, pieces)
    };
    let tokenizer = Tokenizer::new(vocabulary(&["▁", "a", ",", "▁a"])).unwrap();
    let whole = tokenizer.encode("a", Special::Parse).unwrap();
    assert_eq!(texts(&tokenizer, &whole), ["<s>", "▁a", "</s>"]);
    let a = whole[1];
    assert_eq!(texts(&tokenizer, &tokenizer.encode_after(a, ",a").unwrap()), [",", "a"]);
    // Behind a special token, and behind one that is spelt, a word begins as it does in front.
    assert_eq!(texts(&tokenizer, &tokenizer.encode_after(whole[0], "a").unwrap()), ["▁a"]);
    assert_eq!(texts(&tokenizer, &tokenizer.encode_after(a, "a</s>a").unwrap()), ["a", "</s>", "▁a"]);
    assert!(tokenizer.encode_after(a, "").unwrap().is_empty());
    assert!(matches!(tokenizer.encode_after(u32::MAX, "a"), Err(Error::Id { .. })));
}

#[test]
fn a_vocabulary_without_a_space_piece_still_gives_texts_back() {
    let tokenizer = Tokenizer::new(sentence_piece(true, &["a"])).unwrap();
    let ids = tokenizer.encode(" a ▁", Special::Plain).unwrap();
    assert_eq!(texts(&tokenizer, &ids), ["<0x20>", "a", "<0x20>", "<0xE2>", "<0x96>", "<0x81>"]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), " a ▁");
}

#[test]
fn without_byte_pieces_the_unknown_piece_stands_in_or_the_text_is_refused() {
    let known = Tokenizer::new(sentence_piece(false, &["▁", "a"])).unwrap();
    let ids = known.encode("aééa", Special::Plain).unwrap();
    assert_eq!(texts(&known, &ids), ["▁", "a", "<unk>", "a"]);
    let mut vocabulary = Vocabulary { unknown: None, ..sentence_piece(false, &["▁", "a"]) };
    vocabulary.token_types[0] = 3;
    let unknown = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(unknown.decode(&unknown.encode("aa", Special::Plain).unwrap()).unwrap(), "aa");
    let error = unknown.encode("aéa", Special::Plain).unwrap_err().to_string();
    assert_eq!(error, "no token of the vocabulary can write 'é'");
}

#[test]
fn a_stream_holds_back_what_is_not_yet_a_character() {
    let tokenizer = Tokenizer::new(byte_level(&[])).unwrap();
    let mut stream = tokenizer.stream();
    let mut push = |byte: u8| stream.push(3 + u32::from(byte)).unwrap().to_owned();
    assert_eq!("🦙".bytes().map(&mut push).collect::<Vec<_>>(), ["", "", "", "🦙"]);
    // A character broken off, then one of its own.
    assert_eq!([0xF0, 0x9F, b'a'].map(&mut push), ["", "", "\u{fffd}a"]);
    assert_eq!([0xFF, 0xE2, 0x96].map(&mut push), ["\u{fffd}", "", ""]);
    assert_eq!(stream.finish(), "\u{fffd}");
    assert_eq!(stream.finish(), "");
    assert_eq!(stream.push(3 + u32::from(b'a')).unwrap(), "a");
}

#[test]
fn ids_outside_the_vocabulary_are_errors() {
    let tokenizer = Tokenizer::new(byte_level(&[])).unwrap();
    let message = "there is no token 259: the vocabulary has 259";
    assert_eq!(tokenizer.decode(&[5, 259]).unwrap_err().to_string(), message);
    assert_eq!(tokenizer.stream().push(259).unwrap_err().to_string(), message);
    assert_eq!(tokenizer.stream_after(&[259]).unwrap_err().to_string(), message);
    assert_eq!((tokenizer.vocab_size(), tokenizer.token_text(259)), (259, None));
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    let error = refused(Vocabulary { model: "rwkv".to_owned(), ..byte_level(&[]) });
    assert_eq!(error, "the tokenizer model \"rwkv\" is not known; known are gpt2, llama");
    let error = refused(Vocabulary { pre: Some("bloom".to_owned()), ..byte_level(&[]) });
    assert!(error.contains("\"bloom\" is not known") && error.contains("llama-bpe, llama3"), "{error}");
    for name in split::names() {
        let tokenizer = Tokenizer::new(Vocabulary { pre: Some(name.to_owned()), ..byte_level(&[]) }).unwrap();
        for text in ["", "Don't  stop 12345\r\n\n 漢字かな…“é” ☃️ x", "\u{3000}，。 \t\n"] {
            let ids = tokenizer.encode(text, Special::Plain).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}");
        }
    }
}

/// Mistral's expression begins with two that could each take a long word whole.
#[test]
fn long_words_are_no_burden_to_tekken() {
    let tokenizer = Tokenizer::new(Vocabulary { pre: Some("tekken".to_owned()), ..byte_level(&[]) }).unwrap();
    for letter in ["A", "a", "Aa", "漢", " ", "/"] {
        let text = format!("{}x don't", letter.repeat(50_000));
        let ids = tokenizer.encode(&text, Special::Parse).unwrap();
        assert_eq!((ids[0], tokenizer.decode(&ids).unwrap() == text), (0, true), "{letter}");
    }
}

/// Words as the models' own pre-tokenizers cut them; expected by hand from their expressions.
#[test]
fn text_is_cut_where_the_models_cut_it() {
    for (name, text, expected) in [
        ("llama-bpe", "It's 12345 (ok)!\n\n  x", &["It", "'s", " ", "123", "45", " (", "ok", ")!\n\n", " ", " x"][..]),
        ("qwen2", "a12 b", &["a", "1", "2", " b"]),
        ("gpt-2", "It's 123  (ok)\n x", &["It", "'s", " 123", " ", " (", "ok", ")", "\n", " x"]),
        ("smollm", "a 12", &["a", " ", "1", "2"]),
        ("deepseek-coder", "def f(x):\n 12 我们", &["def", " f", "(", "x", "):", "\n", " ", "1", "2", " ", "我们"]),
        // What it calls punctuation includes the letters of ASCII, which cuts words apart.
        ("deepseek-llm", "aé (b) 12\n  ", &["a", "é", " (", "b", ")", " ", "12", "\n", "  "]),
        // No contractions; capitals begin a word; a slash goes with what is before it.
        (
            "tekken",
            "It's HTTPServer aB 12\n (ok)/\n\n  é漢Ab\u{301}c",
            &[
                "It",
                "'s",
                " HTTPServer",
                " a",
                "B",
                " ",
                "1",
                "2",
                "\n",
                " (",
                "ok",
                ")/\n\n",
                " ",
                " é漢",
                "Ab\u{301}c",
            ],
        ),
        ("minicpm5", "a 1234", &["a", " ", "123", "4"]),
        ("default", "a (b) 1234", &["a", " ", "(", "b", ")", " ", "123", "4"]),
    ] {
        let mut words = tokenizers::PreTokenizedString::from(text);
        for step in split::PreTokenizer::named(name).unwrap().build().unwrap() {
            step.pre_tokenize(&mut words).unwrap();
        }
        let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        let bytes = |word: &str| String::from_utf8(word.chars().filter_map(bytes::byte).collect()).unwrap();
        let words: Vec<String> = words.iter().map(|(word, ..)| bytes(word)).collect();
        assert_eq!(words, expected, "{name}");
    }
}

#[test]
fn a_file_without_a_pre_tokenizer_is_known_by_its_tokens_or_refused() {
    let unnamed = |architecture: &str, tokens: &[(usize, &str)], count: usize| {
        let mut vocabulary = byte_level(&[]);
        (vocabulary.pre, vocabulary.architecture) = (None, Some(architecture.to_owned()));
        let size = vocabulary.tokens.len().max(count);
        vocabulary.tokens.extend((vocabulary.tokens.len()..size).map(|id| format!("[{id}]")));
        vocabulary.token_types.resize(size, 1);
        for &(id, text) in tokens {
            vocabulary.tokens[id] = text.to_owned();
        }
        Tokenizer::new(vocabulary).map(|tokenizer| decided(&tokenizer, "pre-tokenizer").value.clone())
    };
    assert_eq!(unnamed("bitnet-b1.58", &[], 0).unwrap(), "llama-bpe");
    assert_eq!(unnamed("bitnet-25", &[], 0).unwrap(), "llama-bpe");
    assert_eq!(unnamed("llama", &[(128_000, "<|begin_of_text|>")], 128_256).unwrap(), "llama-bpe");
    assert_eq!(unnamed("llama", &[(151_644, "<|im_start|>")], 151_936).unwrap(), "qwen2");
    assert_eq!(unnamed("llama", &[(0, "<|endoftext|>"), (1, "<|padding|>")], 50_277).unwrap(), "gpt-2");
    assert_eq!(unnamed("llama", &[(50_256, "<|endoftext|>")], 50_257).unwrap(), "gpt-2");
    let error = unnamed("llama", &[], 0).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.pre") && error.contains("llama-bpe"), "{error}");
}

#[test]
fn what_is_passed_over_is_told() {
    let tokenizer = Tokenizer::new(Vocabulary { add_space_prefix: Some(true), ..byte_level(&[]) }).unwrap();
    assert_eq!(tokenizer.encode("a", Special::Plain).unwrap(), [3 + u32::from(b'a')]);
    assert_eq!(decided(&tokenizer, "spaces").value, "none before the text");
    let tokenizer =
        Tokenizer::new(Vocabulary { foreign: vec!["add_sep_token".to_owned()], ..byte_level(&[]) }).unwrap();
    assert_eq!(decided(&tokenizer, "tokenizer keys").value, "add_sep_token");
    let tokenizer = Tokenizer::new(Vocabulary { others: vec!["novel".to_owned()], ..byte_level(&[]) }).unwrap();
    assert_eq!(decided(&tokenizer, "tokenizer keys").value, "novel");
}

/// Gemma's way: no space before the text, and runs of spaces and line breaks as tokens of their own.
#[test]
fn user_defined_white_space_is_kept_whole() {
    let mut vocabulary = sentence_piece(true, &["▁", "a", "▁a", "  ", "\n\n"]);
    vocabulary.add_space_prefix = Some(false);
    let last = vocabulary.tokens.len() - 2;
    vocabulary.token_types[last..].fill(4);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    for (text, expected) in
        [("a  a", &["a", "  ", "a"][..]), (" a\n\na", &["▁a", "\n\n", "a"]), ("   a", &["  ", "▁a"])]
    {
        let ids = tokenizer.encode(text, Special::Plain).unwrap();
        assert_eq!(texts(&tokenizer, &ids), expected);
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    assert!(refused(Vocabulary { model: "gpt2".to_owned(), ..Vocabulary::default() }).contains("is empty"));
    let mut short = byte_level(&[]);
    short.token_types.pop();
    assert!(refused(short).starts_with("tokenizer.ggml.token_type has 258 values for 259 tokens"));
    for (scores, token_types, key) in [(1, 4, "scores"), (0, 4, "scores"), (4, 0, "token_type"), (4, 5, "token_type")] {
        let mut vocabulary = sentence_piece(false, &["a"]);
        vocabulary.scores.resize(scores, 0.0);
        vocabulary.token_types.resize(token_types, 1);
        assert!(refused(vocabulary).starts_with(&format!("tokenizer.ggml.{key} has")));
    }
    // Byte-level vocabularies can do without types.
    Tokenizer::new(Vocabulary { token_types: Vec::new(), ..byte_level(&[]) }).unwrap();
}

#[test]
fn tokens_that_make_no_sense_are_refused() {
    let with = |change: fn(&mut Vocabulary)| {
        let mut vocabulary = sentence_piece(true, &["a"]);
        change(&mut vocabulary);
        refused(vocabulary)
    };
    assert!(with(|v| v.token_types[4] = 7).starts_with("token 4: its type is 7"));
    assert!(with(|v| v.scores[5] = f32::NAN).starts_with("token 5: its score is NaN"));
    for spelling in ["<0x0a>", "<0x+A>", "<0x1>", "<0x100>", "x", ""] {
        let mut vocabulary = sentence_piece(true, &["a"]);
        vocabulary.tokens[13] = spelling.to_owned();
        assert!(refused(vocabulary).starts_with("token 13: it is a byte"), "{spelling}");
    }
    assert!(with(|v| v.token_types[13] = 3).starts_with("255 of the 256 byte tokens"));
    assert!(with(|v| v.eos = Some(260)).starts_with("tokenizer.ggml.eos_token_id is 260, but the vocabulary has 260"));
    assert!(with(|v| v.bos = Some(u32::MAX)).starts_with("tokenizer.ggml.bos_token_id is 4294967295"));
}

/// Such as llama.cpp warns of, and files have.
#[test]
fn ids_beyond_the_vocabulary_are_passed_over_where_nothing_needs_them() {
    let vocabulary = sentence_piece(true, &["a"]);
    let (eot, eom, unknown) = (Some(260), Some(u32::MAX), Some(300));
    let tokenizer = Tokenizer::new(Vocabulary { eot, eom, unknown, all_eos: vec![260, 2, 999], ..vocabulary }).unwrap();
    assert_eq!(tokenizer.end_tokens(), [2]);
    let strays = tokenizer.decisions().iter().filter(|decision| decision.what == "special token");
    let strays: Vec<&str> = strays.map(|decision| decision.value.as_str()).collect();
    assert_eq!(
        strays,
        ["260 is passed over", "4294967295 is passed over", "300 is passed over", "2 of 3 are passed over"]
    );
}

#[test]
fn merges_that_cannot_be_followed_are_refused() {
    for (merge, why) in [
        ("ab", "it has no space between two texts"),
        ("", "it has no space between two texts"),
        (" b", "it is not two texts with one space between"),
        ("a ", "it is not two texts with one space between"),
        ("a b c", "it is not two texts with one space between"),
        ("a zz", "it joins or makes a text that is no token"),
        ("a c", "it joins or makes a text that is no token"),
    ] {
        let mut vocabulary = byte_level(&["a b"]);
        vocabulary.merges.push(merge.to_owned());
        assert_eq!(refused(vocabulary), format!("merge 1, {merge:?}: {why}; convert the model again"));
    }
    let long = Vocabulary { merges: vec!["é".repeat(10 << 20)], ..byte_level(&[]) };
    assert!(refused(long).len() < 300);
}

/// The converter that writes such a file would write it again.
#[test]
fn a_vocabulary_of_another_model_is_named_with_its_cure() {
    let mut vocabulary = byte_level(&["▁ a"]);
    vocabulary.tokens.iter_mut().for_each(|text| *text = text.replace('Ġ', "▁"));
    for merges in [vec!["▁ a".to_owned()], vec!["▁ ▁".to_owned()], Vec::new()] {
        let error = refused(Vocabulary { merges, ..vocabulary.clone() });
        assert!(error.contains("\"▁\"") && error.contains("tritune convert"), "{error}");
    }
    // DeepSeek's end of a sentence has the sign as well.
    let mut vocabulary = byte_level(&["a b"]);
    *vocabulary.tokens.last_mut().unwrap() = "<｜end▁of▁sentence｜>".to_owned();
    Tokenizer::new(Vocabulary { merges: Vec::new(), ..vocabulary }).unwrap();
}

#[test]
fn repeated_and_empty_tokens_are_never_reached_but_can_be_decoded() {
    let mut vocabulary = byte_level(&["a b"]);
    vocabulary.tokens.extend(["ab".to_owned(), String::new()]);
    vocabulary.token_types.extend([1, 1]);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("ab", Special::Parse).unwrap(), [259]);
    assert_eq!(tokenizer.decode(&[259, 260, 261]).unwrap(), "abab");
    assert_eq!(decided(&tokenizer, "tokens").value, "2 never come of text");
}

#[test]
fn enormous_tokens_are_served_or_refused() {
    let huge = "x".repeat(10 << 20);
    let mut vocabulary = byte_level(&[]);
    vocabulary.tokens[5] = huge.clone();
    let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
    assert_eq!(tokenizer.decode(&[5]).unwrap(), huge);
    vocabulary.token_types[5] = 3;
    assert!(refused(vocabulary).contains("special tokens add up to more than"));
    let mut vocabulary = sentence_piece(true, &["▁", "x"]);
    vocabulary.tokens.push(huge.clone());
    vocabulary.token_types.push(1);
    vocabulary.scores.push(0.0);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("xx", Special::Plain).unwrap().len(), 3);
}
