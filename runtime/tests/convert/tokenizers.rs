//! Tokenizers: the same ids as Hugging Face's library, or a refusal.

use std::collections::HashMap;
use std::fs;

use serde_json::{Value, json};
use tritune::convert::{Convention, Options};
use tritune::gguf::{Array, File};
use tritune::tokenizer::{Special, Tokenizer};

use crate::checkpoint::*;
use crate::shared;

#[test]
fn published_tokenizers_encode_as_hugging_faces_library_does() {
    let split_and_bytes = |steps: Value| json!({ "type": "Sequence", "pretokenizers": steps });
    let falcon = split_and_bytes(json!([
        { "type": "Punctuation", "behavior": "Contiguous" },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        { "type": "Split", "pattern": { "Regex": "[0-9][0-9][0-9]" }, "behavior": "Isolated", "invert": false },
    ]));
    let gpt_2 = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true });
    for (name, steps, ignore_merges, pre) in [
        ("llama-bpe", llama_3_steps(), true, "llama-bpe"),
        ("gpt-2", gpt_2, false, "gpt-2"),
        ("falcon", falcon, false, "falcon"),
        ("llama-spm", Value::Null, false, "default"),
    ] {
        let Some(path) = shared::find(&format!("vocab/ggml-vocab-{name}.gguf")) else { return };
        let vocab = File::open(&path).unwrap();
        let rows = vocab.strings("tokenizer.ggml.tokens").unwrap().len();
        let files = tokenizer_files(&vocab, steps, ignore_merges);
        let tokenizer_json = files[0].1.clone();
        let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes());
        let mut checkpoint = Checkpoint { files, ..checkpoint.set("vocab_size", rows.into()) };
        let embedding = checkpoint.tensor("model.embed_tokens.weight");
        (embedding.1, embedding.2) = (vec![rows, HIDDEN], Stored::Zeros(rows * HIDDEN));
        let file = converted(checkpoint.save().path());
        assert_eq!(file.str("tokenizer.ggml.pre").unwrap(), pre);
        let ours = Tokenizer::from_gguf(&file).unwrap();
        let theirs = tokenizers::Tokenizer::from_bytes(&tokenizer_json).unwrap();
        let texts = fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
        for text in texts.split("\n__ggml_vocab_test__\n") {
            let expected = theirs.encode(text, true).unwrap();
            assert_eq!(ours.encode(text, Special::Parse).unwrap(), expected.get_ids(), "{name}: {text:?}");
        }
    }
}

#[test]
fn both_spellings_of_merges_are_one_tokenizer() {
    let pairs = byte_level(|json| {
        let merges = json["model"]["merges"].as_array().unwrap().clone();
        let pairs = merges.iter().map(|merge| merge.as_str().unwrap().split(' ').collect::<Vec<_>>());
        json["model"]["merges"] = pairs.collect::<Vec<_>>().into();
    });
    let files = [bytes(), pairs].map(|spelt| {
        let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt);
        converted(checkpoint.save().path())
    });
    assert_eq!(files[0].value("tokenizer.ggml.merges"), files[1].value("tokenizer.ggml.merges"));
    let file = &files[0];
    let Some(tritune::gguf::Value::Array(Array::String(tokens))) = file.value("tokenizer.ggml.tokens") else {
        panic!()
    };
    assert_eq!((tokens.len(), tokens.get(266), tokens.get(263)), (272, Some("[PAD266]"), Some("<|begin|>")));
    let types = file.opt_i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    assert_eq!(types[262..267], [1, 3, 3, 4, 5]);
    let id = |key: &str| file.opt_u32(&format!("tokenizer.ggml.{key}_token_id")).unwrap();
    assert_eq!((id("bos"), id("eos"), id("eot"), id("eom")), (Some(263), Some(264), Some(265), None));
    assert_eq!(file.str("tokenizer.chat_template").unwrap(), "{{ messages[0].content }}");
    assert!(file.bool("tokenizer.ggml.add_bos_token").unwrap() && !file.bool("tokenizer.ggml.add_eos_token").unwrap());
    let tokenizer = Tokenizer::from_gguf(file).unwrap();
    assert_eq!(tokenizer.encode(" the<|end|>", Special::Parse).unwrap(), [263, 258, 264]);
}

#[test]
fn chat_templates_come_from_where_they_are() {
    let templates = |spelt: Spelt, more: &[(&'static str, &str)]| {
        let Pair { mut checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt);
        for (name, text) in more {
            checkpoint = checkpoint.file(name, *text);
        }
        converted(checkpoint.save().path())
    };
    let file = templates(bytes(), &[("chat_template.jinja", "of its own file")]);
    assert_eq!(file.str("tokenizer.chat_template").unwrap(), "of its own file");
    let several = json!({ "bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": [
        { "name": "default", "template": "a" }, { "name": "tool_use", "template": "b" },
    ] });
    let file = templates(bytes(), &[("tokenizer_config.json", &several.to_string())]);
    assert_eq!(file.str("tokenizer.chat_template").unwrap(), "a");
    assert_eq!(file.str("tokenizer.chat_template.tool_use").unwrap(), "b");
}

#[test]
fn tokenizers_that_cannot_be_said_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let spelt = byte_level(change);
        refusal(&pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt).checkpoint)
    };
    let digits = |json: &mut Value| {
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = LLAMA_3.replace("{1,3}", "{1,2}").into();
    };
    for (change, why) in [
        (&digits as &dyn Fn(&mut Value), "as none of those known does (llama-bpe, dbrx, "),
        (&|json| json["pre_tokenizer"] = Value::Null, "it has no pre_tokenizer"),
        (&|json| json["pre_tokenizer"] = json!({ "type": "Bogus" }), "its pre_tokenizer: "),
        (&|json| json["normalizer"] = json!({ "type": "Lowercase" }), "its normalizer {\"type\":\"Lowercase\"}"),
        (&|json| json["model"]["type"] = "Unigram".into(), "its model is Unigram"),
        (&|json| json["model"]["vocab"] = json!([["a", 0.0]]), "its model is BPE, and only BPE"),
        (&|json| json["model"]["end_of_word_suffix"] = "</w>".into(), "end_of_word_suffix"),
        (&|json| json["model"]["dropout"] = 0.1.into(), "dropout"),
        (&|json| json["model"]["vocab"]["zzz"] = 5.into(), "token 5 is both"),
        (&|json| json["model"]["vocab"]["zzz"] = 272.into(), "token 272 has no row in the embedding"),
        (&|json| json["model"]["merges"][0] = "th".into(), "a merge is not of two texts"),
        (&|json| json["model"]["merges"][0] = "t zz".into(), "Hugging Face's library refuses it"),
        (&|json| json["added_tokens"][0]["id"] = 5.into(), "token 5 is both"),
        (&|json| json["post_processor"] = json!({ "type": "RobertaProcessing" }), "its post_processor"),
        (&|json| json["model"] = 5.into(), "download it again"),
    ] {
        let error = refused(change);
        assert!(error.contains(why) && error.contains("tokenizer.json: "), "{why}: {error}");
    }
    // Who knows better has the last word, and is told what it costs.
    let Pair { checkpoint, .. } = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &byte_level(digits));
    let folder = checkpoint.save();
    let options = Options { pre: Some("llama-bpe".into()), ..Options::default() };
    let warnings = plan(folder.path(), &options).warnings().to_vec();
    assert!(warnings.iter().any(|warning| warning.contains("are encoded otherwise")), "{warnings:?}");
    let error = refusal_with(folder.path(), &Options { pre: Some("bogus".into()), ..Options::default() });
    assert!(error.contains("the pre-tokenizer bogus is not known; known are llama-bpe"), "{error}");

    let mut checkpoint = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &bytes()).checkpoint;
    checkpoint.files.retain(|(name, _)| *name != "tokenizer.json");
    assert!(refusal(&checkpoint).contains("save_pretrained"));
    let error = refusal(&checkpoint.file("tokenizer.json", "{\"model\": "));
    assert!(error.contains("tokenizer.json: ") && error.contains("download it again"), "{error}");
}

#[test]
fn pre_tokenizers_in_other_words_are_found_by_the_ids_that_they_give() {
    let spelt = byte_level(|json| {
        let split = &mut json["pre_tokenizer"]["pretokenizers"][0];
        (split["behavior"], split["invert"]) = ("Removed".into(), true.into());
    });
    let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt).checkpoint.save();
    let plan = plan(folder.path(), &Options::default());
    let decision = plan.decisions().iter().find(|decision| decision.what == "pre-tokenizer").unwrap();
    assert!(decision.value == "llama-bpe" && decision.why.contains("its ids those of"), "{decision:?}");
    assert_eq!(converted(folder.path()).str("tokenizer.ggml.pre").unwrap(), "llama-bpe");
}

#[test]
fn sequences_of_nfc_and_the_processors_of_bert_are_read() {
    for kind in ["RobertaProcessing", "BertProcessing"] {
        let spelt = byte_level(|json| {
            let nfc = json!({ "type": "NFC" });
            let inner = json!({ "type": "Sequence", "normalizers": [nfc] });
            json["normalizer"] = json!({ "type": "Sequence", "normalizers": [nfc, inner] });
            json["post_processor"] = json!({
                "type": kind, "cls": ["<|begin|>", 263], "sep": ["<|end|>", 264],
                "trim_offsets": true, "add_prefix_space": false,
            });
        });
        let folder = pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt).checkpoint.save();
        let tokenizer = Tokenizer::from_gguf(&converted(folder.path())).unwrap();
        assert_eq!(tokenizer.encode(" the", Special::Parse).unwrap(), [263, 258, 264]);
    }
    let spelt = byte_level(|json| {
        json["post_processor"] = json!({
            "type": "BertProcessing", "cls": ["<|begin|>", 264], "sep": ["<|end|>", 264],
        });
    });
    let error = refusal(&pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt).checkpoint);
    assert!(error.contains("its post_processor"), "{error}");
}

#[test]
fn added_tokens_that_are_found_elsewhere_in_a_text_are_told() {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let legacy = json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace] });
    let warnings = |normalized: bool| {
        let mut spelt = sentence_piece(legacy.clone(), Value::Null);
        let mut json: Value = serde_json::from_str(&spelt.files[0].1).unwrap();
        json["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": 269, "content": "ZZ", "special": false, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": normalized,
        }));
        spelt.files[0].1 = json.to_string();
        let folder = pair(&ONE_BIT, Matrices::Packed(Convention::Scale), true, &spelt).checkpoint.save();
        plan(folder.path(), &Options::default()).warnings().to_vec()
    };
    // The library normalises it as it does the text: found is `▁ZZ`, with its space, and nothing within a word.
    let told = |text: &String| text.starts_with("2 of 3 texts with added tokens are encoded otherwise");
    assert!(warnings(true).iter().any(told), "{:?}", warnings(true));
    assert!(!warnings(false).iter().any(|text| text.contains("added tokens")), "{:?}", warnings(false));
}

#[test]
fn an_end_token_of_the_template_is_the_eos_and_the_other_one_the_end_of_turn() {
    let spelt = byte_level(|json| {
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{ "Sequence": { "id": "A", "type_id": 0 } },
                       { "SpecialToken": { "id": "<tool>", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<tool>": { "id": "<tool>", "ids": [265], "tokens": ["<tool>"] } },
        });
    });
    let file = converted(pair(&LLAMA, Matrices::Packed(Convention::Reciprocal), true, &spelt).checkpoint.save().path());
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    assert_eq!(tokenizer.encode("is", Special::Parse).unwrap(), [259, 265]);
    assert_eq!(file.opt_u32("tokenizer.ggml.eot_token_id").unwrap(), Some(264));
}

/// Pieces of letters, with bytes for the rest: a SentencePiece model as transformers saves it.
fn sentence_piece(normalizer: Value, pre_tokenizer: Value) -> Spelt {
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    pieces.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend(["▁", "t", "h", "e", "a", "▁t", "he", "▁the", "▁a", "th"].map(str::to_owned));
    let merges = json!([["▁", "t"], ["h", "e"], ["▁t", "he"], ["▁", "a"], ["t", "h"]]);
    let special = |id: usize, content: &str| {
        json!({ "id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false })
    };
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } } },
        "decoder": null,
        "model": { "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "merges": merges,
                   "vocab": pieces.iter().zip(0u32..).collect::<HashMap<_, _>>() },
    });
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>" });
    Spelt {
        vocab: 272,
        files: vec![("tokenizer.json", tokenizer.to_string()), ("tokenizer_config.json", config.to_string())],
    }
}

#[test]
fn pieces_get_scores_that_give_the_merges_back() {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let legacy = json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace] });
    let gemma =
        json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false });
    let metaspace =
        |scheme: &str| json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false });
    // Metaspace puts no space before a text that begins with one, which nothing in a GGUF file says.
    for (normalizer, pre_tokenizer, prefix, leading) in [
        (legacy, Value::Null, true, true),
        (replace, gemma, false, true),
        (Value::Null, metaspace("always"), true, false),
        (Value::Null, metaspace("first"), true, false),
        (Value::Null, metaspace("never"), false, true),
    ] {
        let spelt = sentence_piece(normalizer, pre_tokenizer);
        let folder = pair(&ONE_BIT, Matrices::Packed(Convention::Scale), true, &spelt).checkpoint.save();
        let warned =
            plan(folder.path(), &Options::default()).warnings().iter().any(|text| text.contains("begins with one"));
        assert_eq!(warned, !leading);
        let file = converted(folder.path());
        assert_eq!(file.bool("tokenizer.ggml.add_space_prefix").unwrap(), prefix);
        assert_eq!(file.str("tokenizer.ggml.model").unwrap(), "llama");
        let types = file.opt_i32s("tokenizer.ggml.token_type").unwrap().unwrap();
        assert_eq!((&types[..4], types[259], types[271]), (&[2, 3, 3, 6][..], 1, 5));
        let scores = file.f32s("tokenizer.ggml.scores").unwrap();
        assert_eq!(scores[264..269], [0.0, -1.0, -2.0, -3.0, -4.0]);
        let ours = Tokenizer::from_gguf(&file).unwrap();
        let theirs = tokenizers::Tokenizer::from_bytes(&spelt.files[0].1).unwrap();
        for text in ["the", " the the a", "th", "é the", "a\nthe", "th  e"] {
            let expected = theirs.encode(text, true).unwrap();
            let same = ours.encode(text, Special::Parse).unwrap() == expected.get_ids();
            assert_eq!(same, leading || !text.starts_with(' '), "{prefix} {text:?}");
        }
    }
    let refused = |normalizer: Value, pre_tokenizer: Value| {
        refusal(
            &pair(&ONE_BIT, Matrices::Packed(Convention::Scale), true, &sentence_piece(normalizer, pre_tokenizer))
                .checkpoint,
        )
    };
    assert!(refused(Value::Null, Value::Null).contains("does not write spaces as ▁"));
    assert!(refused(json!({ "type": "NFKC" }), Value::Null).contains("its normalizer {\"type\":\"NFKC\"}"));
    assert!(refused(Value::Null, json!({ "type": "Whitespace" })).contains("its pre_tokenizer"));
}

/// The tokenizer of a GGUF file, as files of a checkpoint.
pub(crate) fn tokenizer_files(file: &File, pre_tokenizer: Value, ignore_merges: bool) -> Vec<(&'static str, String)> {
    let tokens: Vec<&str> = file.strings("tokenizer.ggml.tokens").unwrap().iter().collect();
    let types = file.opt_i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    let sentence_piece = file.str("tokenizer.ggml.model").unwrap() == "llama";
    let special: Vec<Value> = (0..)
        .zip(tokens.iter().zip(&types))
        .filter(|(_, (_, kind))| [2, 3, 4].contains(*kind))
        .map(|(id, (content, kind))| {
            json!({ "id": id as u32, "content": content, "special": *kind != 4, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false })
        })
        .collect();
    let vocab: HashMap<&str, u32> = tokens.iter().copied().zip(0..).collect();
    let merges: Vec<Value> = if sentence_piece {
        let scores = file.f32s("tokenizer.ggml.scores").unwrap();
        // As transformers makes them: every cut of every piece into two, by the piece's score.
        let mut merges = Vec::new();
        for (id, piece) in tokens.iter().enumerate().filter(|(id, _)| types[*id] == 1) {
            for (cut, _) in piece.char_indices().skip(1) {
                let (left, right) = piece.split_at(cut);
                let normal = |text: &str| vocab.get(text).copied().filter(|&id| types[id as usize] == 1);
                if let (Some(first), Some(second)) = (normal(left), normal(right)) {
                    merges.push((scores[id], first, second, left, right));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        merges.into_iter().map(|(_, _, _, left, right)| json!([left, right])).collect()
    } else {
        file.strings("tokenizer.ggml.merges").unwrap().iter().map(Value::from).collect()
    };
    let normalizer = sentence_piece.then(|| {
        json!({ "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ] })
    });
    let add_bos = file.opt_bool("tokenizer.ggml.add_bos_token").unwrap().unwrap_or(sentence_piece || ignore_merges);
    let [bos, eos] = ["bos", "eos"].map(|role| file.usize(&format!("tokenizer.ggml.{role}_token_id")).unwrap());
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": tokens[bos], "type_id": 0 } },
                   { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { tokens[bos]: { "id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]] } },
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": add_bos.then_some(template),
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "unk_token": sentence_piece.then_some("<unk>"), "fuse_unk": sentence_piece,
                   "byte_fallback": sentence_piece, "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges },
    });
    let config = json!({ "bos_token": tokens[bos], "eos_token": tokens[eos] });
    vec![("tokenizer.json", tokenizer.to_string()), ("tokenizer_config.json", config.to_string())]
}
