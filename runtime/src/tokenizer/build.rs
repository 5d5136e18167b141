//! From a vocabulary to its tokenizer.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Merges, Vocab};

use super::merges::{Piece, merges};
use super::spellings::Spellings;
use super::split::PreTokenizer;
use super::vocabulary::{Role, Vocabulary};
use super::{Error, Kind, SPACE, Tokenizer, bytes};
use crate::decision::Decision;

/// Control tokens that end a text or a turn in published models, some of whose files name only one of them.
const ENDS: [&str; 19] = [
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|EOT|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
    // Between files of training texts, where models of code go on to the next one.
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// Those of them that no text has by chance: control tokens even where the file calls them something else, as
/// files of Qwen's from before converters knew better do the last three.
const UNMISTAKABLE: [&str; 8] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// Characters of a bad merge that its error shows.
const SHOWN: usize = 60;

/// What was decided so far.
#[derive(Default)]
struct Decisions(Vec<Decision>);

impl Decisions {
    fn add(&mut self, what: &'static str, value: impl Into<String>, why: impl Into<String>) {
        self.0.push(Decision { what, value: value.into(), why: why.into() });
    }
}

pub(super) fn build(mut vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
    let mut decisions = Decisions::default();
    drop_strays(&mut vocabulary, &mut decisions);
    decisions.add("tokenizer", &vocabulary.model, "tokenizer.ggml.model");
    if !vocabulary.others.is_empty() {
        decisions.add("tokenizer keys", vocabulary.others.join(", "), "they are not known, and not read");
    }
    if !vocabulary.foreign.is_empty() {
        let why = "they are set, but of other kinds of vocabularies, and passed over, as in llama.cpp";
        decisions.add("tokenizer keys", vocabulary.foreign.join(", "), why);
    }
    let (parts, default_bos) = match vocabulary.model.as_str() {
        "gpt2" => {
            let roles = roles(&vocabulary, &mut decisions)?;
            let pre_tokenizer = pre_tokenizer(&vocabulary, &mut decisions)?;
            if vocabulary.add_space_prefix == Some(true) {
                let why = "tokenizer.ggml.add_space_prefix is true, which gpt2 vocabularies pass over, as in llama.cpp";
                decisions.add("spaces", "none before the text", why);
            }
            (byte_level(&vocabulary, roles, pre_tokenizer, &mut decisions)?, pre_tokenizer.add_bos)
        }
        "llama" => {
            let roles = roles(&vocabulary, &mut decisions)?;
            (sentence_piece(&vocabulary, roles, &mut decisions)?, true)
        }
        _ => return Err(Error::Model(vocabulary.model)),
    };
    let add_bos =
        added("BOS", "tokenizer.ggml.add_bos_token", vocabulary.add_bos, vocabulary.bos, default_bos, &mut decisions)?;
    let add_eos =
        added("EOS", "tokenizer.ggml.add_eos_token", vocabulary.add_eos, vocabulary.eos, false, &mut decisions)?;
    let end_tokens = end_tokens(&vocabulary, &parts.roles, &mut decisions);
    let spelt = |wanted: fn(Role) -> bool| {
        let tokens = (0..).zip(vocabulary.tokens.iter().zip(&parts.roles));
        Spellings::new(tokens.filter(|(_, (_, role))| wanted(**role)).map(|(id, (text, _))| (id, text.as_str())))
    };
    Ok(Tokenizer {
        kind: parts.kind,
        model: parts.model,
        special: spelt(Role::is_special)?,
        user_defined: spelt(|role| role == Role::UserDefined)?,
        gaps: parts.gaps,
        bos: vocabulary.bos,
        eos: vocabulary.eos,
        add_bos,
        add_eos,
        end_tokens,
        tokens: vocabulary.tokens.into_iter().zip(parts.roles).collect(),
        decisions: decisions.0,
    })
}

/// Takes out ids beyond the vocabulary where a model can do without them, as llama.cpp does.
fn drop_strays(vocabulary: &mut Vocabulary, decisions: &mut Decisions) {
    let tokens = vocabulary.tokens.len();
    let mut drop = |key: &str, value: String| {
        decisions.add("special token", value, format!("tokenizer.ggml.{key}, but the vocabulary has {tokens} tokens"));
    };
    for (key, id) in [
        ("eot_token_id", &mut vocabulary.eot),
        ("eom_token_id", &mut vocabulary.eom),
        ("unknown_token_id", &mut vocabulary.unknown),
    ] {
        if let Some(id) = id.take_if(|id| *id as usize >= tokens) {
            drop(key, format!("{id} is passed over"));
        }
    }
    let all = vocabulary.all_eos.len();
    vocabulary.all_eos.retain(|&id| (id as usize) < tokens);
    if vocabulary.all_eos.len() < all {
        drop("eos_token_ids", format!("{} of {all} are passed over", all - vocabulary.all_eos.len()));
    }
}

/// What differs between the models.
struct Parts {
    kind: Kind,
    model: BPE,
    roles: Vec<Role>,
    gaps: bool,
}

fn pre_tokenizer(vocabulary: &Vocabulary, decisions: &mut Decisions) -> Result<&'static PreTokenizer, Error> {
    let (name, why) = match vocabulary.pre.as_deref() {
        Some(name) => (name, format!("tokenizer.ggml.pre is {name}")),
        None => {
            let (name, sign) = unnamed(vocabulary).ok_or(Error::NoPreTokenizer)?;
            (name, format!("the file names none, but {sign}"))
        }
    };
    let found = PreTokenizer::named(name)?;
    decisions.add("pre-tokenizer", found.names[0], why);
    Ok(found)
}

/// The pre-tokenizer of a file that names none, and what shows it. llama.cpp takes a list of expressions for all of
/// them that is no model's own, and warns.
fn unnamed(vocabulary: &Vocabulary) -> Option<(&'static str, &'static str)> {
    let token = |id: usize| vocabulary.tokens.get(id).map(String::as_str);
    let architecture = vocabulary.architecture.as_deref().unwrap_or_default();
    if ["bitnet-b1.58", "bitnet-25"].contains(&architecture) {
        Some(("llama-bpe", "BitNet b1.58 2B4T has Llama 3's tokenizer, and its published files name none"))
    } else if token(128_000) == Some("<|begin_of_text|>") {
        Some(("llama-bpe", "the vocabulary is Llama 3's: token 128000 is <|begin_of_text|>"))
    } else if token(151_644) == Some("<|im_start|>") {
        Some(("qwen2", "the vocabulary is Qwen 2's: token 151644 is <|im_start|>"))
    } else if (token(0), token(1)) == (Some("<|endoftext|>"), Some("<|padding|>")) {
        Some((
            "gpt-neox",
            "the vocabulary is GPT-NeoX's, as TriLM has it: tokens 0 and 1 are <|endoftext|> and <|padding|>",
        ))
    } else if vocabulary.tokens.len() == 50_257 && token(50_256) == Some("<|endoftext|>") {
        Some(("gpt-2", "the vocabulary is GPT-2's: <|endoftext|> is the last of 50257"))
    } else {
        None
    }
}

/// What each token is for.
fn roles(vocabulary: &Vocabulary, decisions: &mut Decisions) -> Result<Vec<Role>, Error> {
    let mut roles = vocabulary.roles()?;
    for (id, (text, role)) in vocabulary.tokens.iter().zip(&mut roles).enumerate() {
        if matches!(role, Role::Text | Role::UserDefined) && UNMISTAKABLE.contains(&text.as_str()) {
            *role = Role::Control;
            decisions.add("control token", format!("{id} {text:?}"), "its spelling; the file has it as text");
        }
    }
    Ok(roles)
}

fn byte_level(
    vocabulary: &Vocabulary,
    roles: Vec<Role>,
    pre_tokenizer: &PreTokenizer,
    decisions: &mut Decisions,
) -> Result<Parts, Error> {
    let is_text = |role| matches!(role, Role::Text | Role::Byte(_));
    let texts = texts(vocabulary, &roles, is_text, decisions);
    let with = |sign: char| texts.iter().filter(move |(text, _)| text.contains(sign)).min_by_key(|(_, id)| **id);
    if let (Some((text, _)), None) = (with(SPACE), with(bytes::character(b' '))) {
        return Err(Error::NotByteLevel(text.chars().take(SHOWN).collect()));
    }
    let gaps = (0..=255).any(|byte| !texts.contains_key(bytes::character(byte).encode_utf8(&mut [0; 4]) as &str));
    if gaps {
        decisions.add("bytes", "some cannot be written", "the vocabulary has no token for them");
    }
    let builder = |texts, merges| {
        BPE::builder().vocab_and_merges(texts, merges).ignore_merges(pre_tokenizer.ignore_merges).build()
    };
    // It looks up every text of every merge, and refuses what is not there: mostly all is, and they are looked up once.
    let model = match builder(texts, pairs(vocabulary)?) {
        Ok(model) => model,
        Err(_) => {
            let texts = texts_of(vocabulary, &roles, is_text);
            let merges = merges_of(vocabulary, &roles, &texts, decisions)?;
            builder(texts, merges)?
        }
    };
    Ok(Parts { kind: Kind::ByteLevel(pre_tokenizer.build()?), model, roles, gaps })
}

/// The two texts of every merge.
fn pairs(vocabulary: &Vocabulary) -> Result<Merges, Error> {
    let pair = |(index, merge): (usize, &String)| {
        let error = |why| bad_merge(index, merge, why);
        let (left, right) = merge.split_once(' ').ok_or_else(|| error("it has no space between two texts"))?;
        if left.is_empty() || right.is_empty() || right.contains(' ') {
            return Err(error("it is not two texts with one space between"));
        }
        Ok((left.to_owned(), right.to_owned()))
    };
    vocabulary.merges.iter().enumerate().map(pair).collect()
}

/// The merges of these texts, without those of special tokens.
fn merges_of(
    vocabulary: &Vocabulary,
    roles: &[Role],
    texts: &Vocab,
    decisions: &mut Decisions,
) -> Result<Merges, Error> {
    let special = texts_of(vocabulary, roles, |role| role.is_special());
    let mut merges = Merges::new();
    for (index, (left, right)) in pairs(vocabulary)?.into_iter().enumerate() {
        let joined = format!("{left}{right}");
        let parts = [&left, &right, &joined];
        if parts.iter().all(|text| texts.contains_key(*text)) {
            merges.push((left, right));
        } else if !parts.iter().all(|text| texts.contains_key(*text) || special.contains_key(*text)) {
            return Err(bad_merge(index, &vocabulary.merges[index], "it joins or makes a text that is no token"));
        }
    }
    if merges.len() < vocabulary.merges.len() {
        let left_out = vocabulary.merges.len() - merges.len();
        let why = "they are of special tokens, which plain text never becomes";
        decisions.add("merges", format!("{left_out} left out"), why);
    }
    Ok(merges)
}

fn bad_merge(index: usize, merge: &str, why: &'static str) -> Error {
    Error::Merge { index, merge: merge.chars().take(SHOWN).collect(), why }
}

fn sentence_piece(vocabulary: &Vocabulary, roles: Vec<Role>, decisions: &mut Decisions) -> Result<Parts, Error> {
    let texts = texts(vocabulary, &roles, |role| role != Role::Control, decisions);
    let is_text = |id: u32| matches!(roles[id as usize], Role::Text | Role::UserDefined);
    let mut pieces: Vec<Piece> = (texts.iter())
        .filter(|(_, id)| is_text(**id))
        .map(|(text, &id)| Piece { id, text, score: vocabulary.scores[id as usize] })
        .collect();
    // The map's own order differs from run to run.
    pieces.sort_unstable_by_key(|piece| piece.id);
    let merges = merges(&pieces)?;
    let byte = |byte: &u8| texts.contains_key(format!("<0x{byte:02X}>").as_str());
    let count = (0..=255).filter(byte).count();
    if count != 0 && count != 256 {
        return Err(Error::Bytes { count });
    }
    let unknown =
        vocabulary.unknown.or_else(|| (0..).zip(&roles).find(|(_, role)| **role == Role::Unknown).map(|(id, _)| id));
    let unknown = unknown.map(|id| &vocabulary.tokens[id as usize]).filter(|text| texts.contains_key(text.as_str()));
    let escape = texts.contains_key(SPACE.encode_utf8(&mut [0; 4]) as &str);
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    match (escape, vocabulary.add_space_prefix) {
        (false, _) => decisions.add("spaces", "as they are", format!("the vocabulary has no token {SPACE}")),
        (true, Some(prefix)) => {
            let value = if prefix { "one before the text" } else { "none before the text" };
            decisions.add("spaces", value, format!("tokenizer.ggml.add_space_prefix is {prefix}"));
        }
        (true, None) => decisions.add("spaces", "one before the text", "the file does not say otherwise"),
    }
    let mut model = BPE::builder().byte_fallback(count == 256).fuse_unk(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown.clone());
    }
    let gaps = count == 0 && unknown.is_none();
    let model = model.vocab_and_merges(texts, merges).build()?;
    Ok(Parts { kind: Kind::SentencePiece { escape, prefix }, model, roles, gaps })
}

/// The texts that tokens of the wanted roles have, with the lowest id of each.
fn texts_of(vocabulary: &Vocabulary, roles: &[Role], wanted: impl Fn(Role) -> bool) -> Vocab {
    let mut texts = Vocab::default();
    for ((id, text), &role) in (0..).zip(&vocabulary.tokens).zip(roles) {
        if wanted(role) && !text.is_empty() {
            texts.entry(text.clone()).or_insert(id);
        }
    }
    texts
}

fn texts(vocabulary: &Vocabulary, roles: &[Role], wanted: impl Fn(Role) -> bool, decisions: &mut Decisions) -> Vocab {
    let texts = texts_of(vocabulary, roles, &wanted);
    let unreached = roles.iter().filter(|role| wanted(**role)).count() - texts.len();
    if unreached > 0 {
        let why = "their texts are empty or those of tokens with lower ids";
        decisions.add("tokens", format!("{unreached} never come of text"), why);
    }
    texts
}

/// The token to be added, if any.
fn added(
    what: &'static str,
    key: &'static str,
    said: Option<bool>,
    id: Option<u32>,
    default: bool,
    decisions: &mut Decisions,
) -> Result<Option<u32>, Error> {
    let why = match said {
        Some(said) => format!("{key} is {said}"),
        None => "the file does not say, and this is its tokenizer's custom".to_owned(),
    };
    let (value, why, added) = match (said.unwrap_or(default), id) {
        (true, Some(id)) => (format!("token {id} is added"), why, Some(id)),
        (true, None) if said.is_some() => return Err(Error::NoSuchToken { key }),
        (true, None) => ("not added".to_owned(), "the file names no such token".to_owned(), None),
        (false, _) => ("not added".to_owned(), why, None),
    };
    decisions.add(what, value, why);
    Ok(added)
}

fn end_tokens(vocabulary: &Vocabulary, roles: &[Role], decisions: &mut Decisions) -> Vec<u32> {
    let named = [
        ("tokenizer.ggml.eos_token_id", vocabulary.eos),
        ("tokenizer.ggml.eot_token_id", vocabulary.eot),
        ("tokenizer.ggml.eom_token_id", vocabulary.eom),
    ];
    let all_eos = vocabulary.all_eos.iter().map(|&id| (id, "tokenizer.ggml.eos_token_ids"));
    let named = named.into_iter().filter_map(|(key, id)| Some((id?, key))).chain(all_eos);
    let spelt = (0..).zip(vocabulary.tokens.iter().zip(roles));
    // As a user-defined token, `</s>` is HTML: Gemma has it.
    let spelt = spelt.filter(|(_, (text, role))| **role == Role::Control && ENDS.contains(&text.as_str()));
    let (mut ends, mut known) = (Vec::new(), HashSet::new());
    for (id, why) in named.chain(spelt.map(|(id, _)| (id, "its spelling"))) {
        if known.insert(id) {
            decisions.add("end token", format!("{id} {:?}", vocabulary.tokens[id as usize]), why);
            ends.push(id);
        }
    }
    ends
}
