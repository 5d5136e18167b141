//! tokenizer.json and the files around it to the vocabulary of a GGUF file, proved against Hugging Face's own library.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::folder::{Document, Folder, shown};
use super::{Error, proof};
use crate::decision::Decision;
use crate::gguf::{Strings, Value as GgufValue};
use crate::tokenizer::{Vocabulary, pre_tokenizers};

const FILE: &str = "tokenizer.json";

/// `tokenizer.ggml.token_type`.
pub(super) mod kind {
    pub(in crate::convert) const NORMAL: i32 = 1;
    pub(in crate::convert) const UNKNOWN: i32 = 2;
    pub(in crate::convert) const CONTROL: i32 = 3;
    pub(in crate::convert) const USER_DEFINED: i32 = 4;
    pub(in crate::convert) const UNUSED: i32 = 5;
    pub(in crate::convert) const BYTE: i32 = 6;
}

/// What a GGUF file says about its tokenizer.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) keys: Vec<(String, GgufValue)>,
    pub(super) decisions: Vec<Decision>,
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocab,
    #[serde(default)]
    merges: Vec<Merge>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vocab {
    Ids(HashMap<String, u32>),
    /// Of another model.
    Other(serde::de::IgnoredAny),
}

/// Both spellings of a merge: `"a b"` and, since texts may have spaces, `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

impl Merge {
    fn pair(&self) -> Option<(&str, &str)> {
        match self {
            Merge::Text(text) => text.split_once(' '),
            Merge::Pair(left, right) => Some((left, right)),
        }
    }
}

/// Reads the tokenizer of a model with `tokens` rows of embeddings; `pre` overrules what its pre-tokenizer is found to
/// be.
pub(super) fn read(folder: &Folder, tokens: usize, pre: Option<&str>) -> Result<Said, Error> {
    let path = folder.path().join(FILE);
    let text = folder.text(FILE)?.ok_or_else(|| missing(folder))?;
    let json: TokenizerJson = serde_json::from_str(&text).map_err(|error| broken(&path, &error.to_string()))?;
    let files = Files {
        config: folder.json("config.json")?,
        tokenizer: folder.json("tokenizer_config.json")?,
        special: folder.json("special_tokens_map.json")?,
        generation: folder.json("generation_config.json")?,
    };
    let mut reader =
        Reader { path, json, files, said: Said::default(), vocabulary: Vocabulary::default(), metaspace: false };
    reader.model(tokens)?;
    let pre_tokenizer = reader.pre_tokenizer(pre)?;
    reader.special_tokens()?;
    reader.added_tokens()?;
    let ignores = reader.json.model.ignore_merges;
    let Reader { path, json, mut vocabulary, mut said, metaspace, .. } = reader;
    // What follows takes as much memory again.
    drop(json);
    if let PreTokenizer::Unknown { steps } = &pre_tokenizer {
        vocabulary.pre = Some(identified(&path, &text, &vocabulary, ignores, steps, &mut said)?);
    }
    let forced = matches!(pre_tokenizer, PreTokenizer::Forced);
    proof::compare(&path, &text, &vocabulary, proof::Leave { forced, leading_spaces: metaspace }, &mut said)?;
    keys(vocabulary, &mut said);
    templates(folder, &mut said)?;
    Ok(said)
}

fn missing(folder: &Folder) -> Error {
    let others = ["tokenizer.model", "vocab.json", "tokenizer_config.json"].into_iter().filter(|name| folder.has(name));
    let others = others.collect::<Vec<_>>().join(", ");
    let what = if others.is_empty() {
        format!("there is no {FILE} in it; download that too")
    } else {
        let python = "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)";
        format!("there is no {FILE} in it, only {others}; make one with transformers: `{python}`")
    };
    Error::file(folder.path(), what)
}

fn broken(path: &Path, why: &str) -> Error {
    Error::file(path, format!("{why}; download it again"))
}

/// What may name special tokens, besides tokenizer.json.
struct Files {
    config: Option<Document>,
    tokenizer: Option<Document>,
    special: Option<Document>,
    generation: Option<Document>,
}

/// How the pre-tokenizer came to be known.
enum PreTokenizer {
    /// By its steps.
    Known,
    /// The caller has the last word about it.
    Forced,
    /// Not yet: its steps are none of those known.
    Unknown { steps: String },
}

/// The pre-tokenizer whose `steps` are none of those known, by the ids that it gives.
fn identified(
    path: &Path,
    text: &str,
    vocabulary: &Vocabulary,
    ignores: bool,
    steps: &str,
    said: &mut Said,
) -> Result<String, Error> {
    // Of two that cut alike, the one that treats merges alike goes first.
    let alike = pre_tokenizers().filter(|known| known.ignore_merges == ignores);
    let others = pre_tokenizers().filter(|known| known.ignore_merges != ignores);
    let names = alike.chain(others).map(|known| known.names[0]);
    let Some((name, texts)) = proof::identify(path, text, vocabulary, names)? else {
        let known = pre_tokenizers().map(|known| known.names[0]).collect::<Vec<_>>().join(", ");
        let why = format!(
            "its pre_tokenizer cuts text as none of those known does ({known}): {steps}; if it should be one of them, \
             name that with --pre"
        );
        return Err(Error::file(path, why));
    };
    said.decisions.push(Decision {
        what: "pre-tokenizer",
        value: name.into(),
        why: format!("its steps are others, but its ids those of Hugging Face's library for {texts} texts"),
    });
    Ok(name.to_owned())
}

struct Reader {
    path: PathBuf,
    json: TokenizerJson,
    files: Files,
    said: Said,
    vocabulary: Vocabulary,
    /// A space goes before texts that do not begin with one.
    metaspace: bool,
}

impl Reader {
    fn refuse(&self, why: impl Into<String>) -> Error {
        Error::file(&self.path, why)
    }

    fn decide(&mut self, what: &'static str, value: impl Into<String>, why: impl Into<String>) {
        self.said.decisions.push(Decision { what, value: value.into(), why: why.into() });
    }

    /// Tokens, types, and merges or scores.
    fn model(&mut self, tokens: usize) -> Result<(), Error> {
        let model = &self.json.model;
        let named = model.kind.as_deref().unwrap_or("BPE");
        let Vocab::Ids(ids) = &model.vocab else {
            return Err(self.refuse(format!("its model is {named}, and only BPE can be written")));
        };
        if named != "BPE" {
            return Err(self.refuse(format!("its model is {named}, and only BPE can be written")));
        }
        for (key, value) in [
            ("continuing_subword_prefix", model.continuing_subword_prefix.as_deref().unwrap_or_default()),
            ("end_of_word_suffix", model.end_of_word_suffix.as_deref().unwrap_or_default()),
        ] {
            if !value.is_empty() {
                return Err(self.refuse(format!("its `model.{key}` is {value:?}, which cannot be said in a GGUF file")));
            }
        }
        if model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(self.refuse("its `model.dropout` makes ids a matter of chance; set it to null"));
        }

        let mut texts: Vec<Option<&str>> = vec![None; tokens];
        let too_many = |id: u32| {
            self.refuse(format!(
                "token {id} has no row in the embedding, which has {tokens}; the files are not of one model"
            ))
        };
        for (text, &id) in ids {
            let place = texts.get_mut(id as usize).ok_or_else(|| too_many(id))?;
            if let Some(other) = place.replace(text) {
                return Err(broken(&self.path, &format!("token {id} is both {other:?} and {text:?}")));
            }
        }
        let sentence_piece = model.byte_fallback;
        let unknown = model.unk_token.as_deref();
        let mut types: Vec<i32> = texts
            .iter()
            .map(|text| match text {
                None => kind::UNUSED,
                Some(text) if sentence_piece && Some(*text) == unknown => kind::UNKNOWN,
                Some(text) if sentence_piece && is_byte(text) => kind::BYTE,
                Some(_) => kind::NORMAL,
            })
            .collect();
        let added = self.json.added_tokens.iter().map(|token| (token.id, token.content.as_str(), token.special));
        let mut more = Vec::new();
        if let Some(document) = &self.files.tokenizer
            && let Some(decoder) = document.opt_object("added_tokens_decoder")?
        {
            for (id, token) in decoder.entries() {
                let content = token.get("content").and_then(Value::as_str);
                let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
                let wrong =
                    || decoder.error(id, "but must be a token's content, under its id; download the file again");
                more.push((id.parse().map_err(|_| wrong())?, content.ok_or_else(wrong)?.to_owned(), special));
            }
        }
        let more = more.iter().map(|(id, content, special)| (*id, content.as_str(), *special));
        for (id, content, special) in added.chain(more) {
            let place = texts.get_mut(id as usize).ok_or_else(|| too_many(id))?;
            if place.is_some_and(|text| text != content) {
                let text = place.unwrap_or_default();
                return Err(broken(&self.path, &format!("token {id} is both {text:?} and, added, {content:?}")));
            }
            *place = Some(content);
            let unknown = sentence_piece && Some(content) == unknown;
            let control = special || looks_special(content);
            types[id as usize] = match (unknown, control) {
                (true, _) => kind::UNKNOWN,
                (false, true) => kind::CONTROL,
                (false, false) => kind::USER_DEFINED,
            };
        }
        let unused = texts.iter().filter(|text| text.is_none()).count();
        let named: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(id, text)| text.map_or_else(|| format!("[PAD{id}]"), str::to_owned))
            .collect();

        let merges = self.json.model.merges.iter().map(|merge| {
            let bad = || broken(&self.path, "a merge is not of two texts");
            merge.pair().filter(|(left, right)| !left.is_empty() && !right.is_empty()).ok_or_else(bad)
        });
        let merges: Vec<(&str, &str)> = merges.collect::<Result<_, _>>()?;
        let mut vocabulary = Vocabulary { tokens: named, token_types: types, ..Vocabulary::default() };
        if sentence_piece {
            vocabulary.model = "llama".into();
            vocabulary.pre = Some("default".into());
            vocabulary.scores = scores(&vocabulary, &merges);
        } else {
            vocabulary.model = "gpt2".into();
            if let Some((left, right)) = merges.iter().find(|(left, right)| left.contains(' ') || right.contains(' ')) {
                let why = format!("the merge of {left:?} and {right:?} has a space, which no byte-level text has");
                return Err(broken(&self.path, &why));
            }
            vocabulary.merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        }
        vocabulary.unknown = unknown.and_then(|text| ids.get(text).copied());
        self.vocabulary = vocabulary;
        let kind = if sentence_piece { "llama, SentencePiece by merges" } else { "gpt2, byte-level BPE" };
        self.decide("tokenizer", kind, format!("`model.byte_fallback` of {FILE} is {sentence_piece}"));
        if sentence_piece {
            self.decide("scores", "minus the order of the merges that make a token", "GGUF files have no merges here");
        }
        if unused > 0 {
            self.decide("padding", format!("{unused} tokens without text"), "the embedding has more rows than tokens");
        }
        Ok(())
    }

    /// The pre-tokenizer, or spaces before the text.
    fn pre_tokenizer(&mut self, forced: Option<&str>) -> Result<PreTokenizer, Error> {
        if self.vocabulary.model == "llama" {
            self.spaces()?;
            return Ok(PreTokenizer::Known);
        }
        if let Some(normalizer) = &self.json.normalizer {
            let steps = flat(normalizer);
            if let Some(other) = steps.iter().find(|step| step.get("type").and_then(Value::as_str) != Some("NFC")) {
                let why = format!("its normalizer {} cannot be said in a GGUF file", shown(other));
                return Err(self.refuse(why));
            }
            if !steps.is_empty() {
                self.decide("normalizer", "left out: NFC", "GGUF files have no key for it");
            }
        }
        if let Some(name) = forced {
            if pre_tokenizers().all(|known| !known.names.contains(&name)) {
                return Err(self.refuse(format!("the pre-tokenizer {name} is not known; known are {}", known_names())));
            }
            self.vocabulary.pre = Some(name.to_owned());
            self.decide("pre-tokenizer", name, "it was asked for");
            return Ok(PreTokenizer::Forced);
        }
        let said = self.json.pre_tokenizer.as_ref().ok_or_else(|| self.refuse("it has no pre_tokenizer"))?;
        let broken = |error: &dyn std::fmt::Display| broken(&self.path, &format!("its pre_tokenizer: {error}"));
        let steps: PreTokenizerWrapper = serde_json::from_value(said.clone()).map_err(|error| broken(&error))?;
        let steps = canonical(vec![steps]);
        let ignores = self.json.model.ignore_merges;
        let mut found = None;
        for known in pre_tokenizers() {
            let built = known.build().map_err(|error| broken(&error))?;
            // Of two that cut alike, the one that treats merges alike.
            if canonical(built) == steps && (found.is_none() || known.ignore_merges == ignores) {
                found = Some(known.names[0]);
            }
        }
        let Some(name) = found else {
            return Ok(PreTokenizer::Unknown { steps: shown(said) });
        };
        self.vocabulary.pre = Some(name.to_owned());
        self.decide("pre-tokenizer", name, format!("the same steps as `pre_tokenizer` of {FILE}"));
        Ok(PreTokenizer::Known)
    }

    /// Whether a space goes before the text.
    fn spaces(&mut self) -> Result<(), Error> {
        let normalizer = self.json.normalizer.clone().unwrap_or(Value::Null);
        let steps = match normalizer.get("normalizers").and_then(Value::as_array) {
            Some(steps) => steps.clone(),
            None if normalizer.is_null() => Vec::new(),
            None => vec![normalizer],
        };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let (mut prefix, mut escapes) = (false, false);
        for step in &steps {
            let pattern = step.get("pattern").and_then(|pattern| text(pattern, "String"));
            match text(step, "type").as_deref() {
                Some("Prepend") if text(step, "prepend").as_deref() == Some("▁") && !escapes => prefix = true,
                Some("Replace") if pattern.as_deref() == Some(" ") && text(step, "content").as_deref() == Some("▁") =>
                {
                    escapes = true;
                }
                _ => return Err(self.refuse(format!("its normalizer {} cannot be said in a GGUF file", shown(step)))),
            }
        }
        let mut why = format!("`normalizer` of {FILE}");
        if let Some(pre_tokenizer) = self.json.pre_tokenizer.clone() {
            match text(&pre_tokenizer, "type").as_deref() {
                Some("Metaspace") if !prefix && text(&pre_tokenizer, "replacement").as_deref() == Some("▁") => {
                    let scheme = text(&pre_tokenizer, "prepend_scheme").unwrap_or_else(|| "always".into());
                    let older = pre_tokenizer.get("add_prefix_space").and_then(Value::as_bool);
                    prefix = scheme != "never" && older != Some(false);
                    why = format!("`pre_tokenizer` of {FILE}: Metaspace, {scheme}");
                    self.metaspace = prefix;
                    if prefix {
                        self.said.warnings.push(
                            "a space goes before every text, and behind each special token, as SentencePiece has it; \
                             tokenizer.json puts none before a text that begins with one, nor, where its scheme is \
                             `first`, behind special tokens: such texts are encoded otherwise"
                                .into(),
                        );
                    }
                    escapes = true;
                }
                // Spaces have become ▁ by then, and nothing is cut.
                Some("Split")
                    if escapes
                        && pre_tokenizer.get("pattern").and_then(|p| text(p, "String")).as_deref() == Some(" ") => {}
                _ => {
                    let why = format!("its pre_tokenizer {} cannot be said in a GGUF file", shown(&pre_tokenizer));
                    return Err(self.refuse(why));
                }
            }
        }
        if !escapes {
            return Err(self.refuse("its normalizer does not write spaces as ▁, which readers of GGUF files do"));
        }
        self.vocabulary.add_space_prefix = Some(prefix);
        self.decide("spaces", if prefix { "one before the text" } else { "none before the text" }, why);
        Ok(())
    }

    /// The id of a token by its text.
    fn id(&self, text: &str) -> Option<u32> {
        self.vocabulary.tokens.iter().position(|token| token == text).map(|id| id as u32)
    }

    /// What a file says is the token for `role`: its id, and where it is said.
    fn special_token(&self, role: &str) -> Result<Option<(u32, String)>, Error> {
        let Files { config, tokenizer, special, generation } = &self.files;
        let key = format!("{role}_token");
        for document in [tokenizer, special].into_iter().flatten() {
            let text = match document.get(&key) {
                Some(Value::String(text)) => Some(text.as_str()),
                Some(value) => value.get("content").and_then(Value::as_str),
                None => None,
            };
            if let Some(id) = text.and_then(|text| self.id(text)) {
                return Ok(Some((id, format!("`{key}` of {}", name(document)))));
            }
        }
        let key = format!("{role}_token_id");
        for document in [config, generation].into_iter().flatten() {
            if let Some(id) = ids(document, &key)?.first() {
                if *id as usize >= self.vocabulary.tokens.len() {
                    return Err(document.error(&key, format!("and there are {} tokens", self.vocabulary.tokens.len())));
                }
                return Ok(Some((*id, format!("`{key}` of {}", name(document)))));
            }
        }
        Ok(None)
    }

    fn special_tokens(&mut self) -> Result<(), Error> {
        let [bos, eos, pad] = ["bos", "eos", "pad"].map(|role| self.special_token(role));
        let (bos, eos, pad) = (bos?, eos?, pad?);
        let mut ends: Vec<u32> = eos.iter().map(|(id, _)| *id).collect();
        for document in [&self.files.generation, &self.files.config].into_iter().flatten() {
            for id in ids(document, "eos_token_id")? {
                if (id as usize) < self.vocabulary.tokens.len() && !ends.contains(&id) {
                    ends.push(id);
                }
            }
        }
        self.vocabulary.bos = bos.as_ref().map(|(id, _)| *id);
        self.vocabulary.eos = ends.first().copied();
        let (mut eot, mut why_eos) = (ends.get(1).copied(), eos.as_ref().map(|(_, why)| why.clone()));
        let mut why_bos = bos.map(|(_, why)| why);

        // What the tokenizer itself puts before and behind a text.
        let [before, behind] = self.around()?;
        if let Some(id) = before {
            if self.vocabulary.bos != Some(id) {
                why_bos = Some(format!("`post_processor` of {FILE} puts it before texts"));
            }
            self.vocabulary.bos = Some(id);
        }
        if let Some(id) = behind
            && self.vocabulary.eos != Some(id)
        {
            // What a chat's turn ends with stays known.
            eot = self.vocabulary.eos.or(eot);
            self.vocabulary.eos = Some(id);
            why_eos = Some(format!("`post_processor` of {FILE} puts it behind texts"));
        }
        self.vocabulary.eot = eot;
        self.vocabulary.eom = ends.iter().copied().find(|id| ![eot, self.vocabulary.eos].contains(&Some(*id)));
        for (what, id, why) in [("BOS", self.vocabulary.bos, why_bos), ("EOS", self.vocabulary.eos, why_eos)] {
            if let Some(id) = id {
                let text = format!("{id} {:?}", self.vocabulary.tokens[id as usize]);
                self.decide(what, text, why.unwrap_or_else(|| "`eos_token_id`".into()));
            }
        }
        if let Some(id) = eot {
            let text = format!("{id} {:?}", self.vocabulary.tokens[id as usize]);
            self.decide("end of turn", text, "another of the tokens that end a text");
        }
        let mut flag = |role: &str, by_template: Option<u32>| -> Result<(bool, String), Error> {
            let key = format!("add_{role}_token");
            let said = match &self.files.tokenizer {
                Some(document) => document.opt_flag(&key)?,
                None => None,
            };
            if let Some(said) = said
                && said != by_template.is_some()
            {
                self.said.warnings.push(format!(
                    "tokenizer_config.json says `{key}` is {said}, {FILE} adds {}: the former was taken",
                    if by_template.is_some() { "it" } else { "none" }
                ));
            }
            let why = if said.is_some() { format!("`{key}`") } else { format!("`post_processor` of {FILE}") };
            Ok((said.unwrap_or(by_template.is_some()), why))
        };
        let (add_bos, bos_why) = flag("bos", before)?;
        let (add_eos, eos_why) = flag("eos", behind)?;
        let add_bos = add_bos && self.vocabulary.bos.is_some();
        let add_eos = add_eos && self.vocabulary.eos.is_some();
        (self.vocabulary.add_bos, self.vocabulary.add_eos) = (Some(add_bos), Some(add_eos));
        self.decide("BOS before texts", if add_bos { "yes" } else { "no" }, bos_why);
        self.decide("EOS behind texts", if add_eos { "yes" } else { "no" }, eos_why);
        if let Some((id, why)) = pad {
            self.said.keys.push(("tokenizer.ggml.padding_token_id".into(), id.into()));
            self.decide("padding token", id.to_string(), why);
        }
        Ok(())
    }

    /// The tokens that the post-processor puts before and behind one text.
    fn around(&self) -> Result<[Option<u32>; 2], Error> {
        let Some(processor) = &self.json.post_processor else { return Ok([None, None]) };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let processors = match processor.get("processors").and_then(Value::as_array) {
            Some(processors) => processors.clone(),
            None => vec![processor.clone()],
        };
        let refuse = |processor: &Value| {
            self.refuse(format!("its post_processor {} cannot be said in a GGUF file", shown(processor)))
        };
        let mut around = [None, None];
        for processor in &processors {
            match text(processor, "type").as_deref() {
                Some("ByteLevel") => {}
                Some("TemplateProcessing") => {
                    let single = processor.get("single").and_then(Value::as_array);
                    let mut text_seen = false;
                    for piece in single.ok_or_else(|| refuse(processor))? {
                        if piece.get("Sequence").is_some() {
                            text_seen = true;
                            continue;
                        }
                        let named = piece.get("SpecialToken").and_then(|token| text(token, "id"));
                        let id = named.and_then(|name| self.id(&name)).ok_or_else(|| refuse(processor))?;
                        let place = &mut around[usize::from(text_seen)];
                        if place.replace(id).is_some() {
                            return Err(refuse(processor));
                        }
                    }
                }
                Some("RobertaProcessing" | "BertProcessing") => {
                    for (place, key) in around.iter_mut().zip(["cls", "sep"]) {
                        let part = |index: usize| processor.get(key).and_then(|token| token.get(index));
                        let id = part(0).and_then(Value::as_str).and_then(|name| self.id(name));
                        let id = id.filter(|&id| part(1).and_then(Value::as_u64) == Some(id.into()));
                        if place.replace(id.ok_or_else(|| refuse(processor))?).is_some() {
                            return Err(refuse(processor));
                        }
                    }
                }
                _ => return Err(refuse(processor)),
            }
        }
        Ok(around)
    }

    /// What added tokens have beyond a text and an id.
    fn added_tokens(&mut self) -> Result<(), Error> {
        let odd = |token: &&AddedToken| token.lstrip || token.rstrip || token.single_word;
        let odd: Vec<&str> = self.json.added_tokens.iter().filter(odd).map(|token| token.content.as_str()).collect();
        if let [first, ..] = odd[..] {
            let count = odd.len();
            self.said.warnings.push(format!(
                "{count} added tokens ({first:?}, …) take the white space around them, or stand alone only; GGUF files \
                 cannot say it, and texts with them are encoded otherwise"
            ));
        }
        Ok(())
    }
}

fn name(document: &Document) -> String {
    document.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// One id or several.
fn ids(document: &Document, key: &str) -> Result<Vec<u32>, Error> {
    let wrong = || document.error(key, "but must be a token's id, or a list of them; correct it");
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong);
    match document.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

fn known_names() -> String {
    pre_tokenizers().flat_map(|known| known.names).copied().collect::<Vec<_>>().join(", ")
}

/// Tokens that mark something although their file does not say so: llama.cpp's rule.
fn looks_special(text: &str) -> bool {
    let within = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end) && text.len() > start.len();
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || within("<|", "|>")
        || within("<｜", "｜>")
        || within("<unused", ">")
}

/// Whether a piece is spelt as a byte: `<0x0A>`.
fn is_byte(text: &str) -> bool {
    text.strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Scores from which readers get the merges back: a piece's is minus the order in which merges first make it.
fn scores(vocabulary: &Vocabulary, merges: &[(&str, &str)]) -> Vec<f32> {
    /// Below all pieces that a merge makes: padding, and pieces that only stand for themselves.
    const LAST: f32 = -1e9;
    let mut made: HashMap<String, f32> = HashMap::with_capacity(merges.len());
    for (left, right) in merges {
        let order = made.len() as f32;
        made.entry([*left, *right].concat()).or_insert(0.0 - order);
    }
    let tokens = vocabulary.tokens.iter().zip(&vocabulary.token_types);
    let score = |(text, kind): (&String, &i32)| match *kind {
        kind::NORMAL | kind::USER_DEFINED => made.get(text).copied().unwrap_or(LAST),
        kind::UNUSED => LAST,
        _ => 0.0,
    };
    tokens.map(score).collect()
}

/// The steps of a normalizer, of which sequences may hold others.
fn flat(normalizer: &Value) -> Vec<&Value> {
    let is_sequence = normalizer.get("type").and_then(Value::as_str) == Some("Sequence");
    match normalizer.get("normalizers").and_then(Value::as_array) {
        Some(steps) if is_sequence => steps.iter().flat_map(flat).collect(),
        _ => vec![normalizer],
    }
}

/// Whether a normalizer does nothing but NFC.
fn is_nfc(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::NFC(_) => true,
        NormalizerWrapper::Sequence(steps) => steps.as_ref().iter().all(is_nfc),
        _ => false,
    }
}

/// Steps in the one form in which equal ones look equal.
fn canonical(steps: Vec<PreTokenizerWrapper>) -> Vec<PreTokenizerWrapper> {
    let mut plain = Vec::new();
    for step in steps {
        match step {
            PreTokenizerWrapper::Sequence(steps) => plain.extend(canonical(steps.into_iter().collect())),
            // Offsets are not asked for.
            PreTokenizerWrapper::ByteLevel(step) => {
                plain.push(ByteLevel::new(step.add_prefix_space, false, step.use_regex).into());
            }
            step => plain.push(step),
        }
    }
    plain
}

/// The keys of a vocabulary.
fn keys(vocabulary: Vocabulary, said: &mut Said) {
    let mut key = |name: &str, value: GgufValue| said.keys.push((format!("tokenizer.ggml.{name}"), value));
    key("model", vocabulary.model.into());
    if let Some(pre) = vocabulary.pre {
        key("pre", pre.into());
    }
    key("tokens", vocabulary.tokens.iter().collect::<Strings>().into());
    // A vocabulary has one of the two.
    if vocabulary.scores.is_empty() {
        key("merges", vocabulary.merges.iter().collect::<Strings>().into());
    } else {
        key("scores", vocabulary.scores.into());
    }
    key("token_type", vocabulary.token_types.into());
    for (name, id) in [
        ("bos_token_id", vocabulary.bos),
        ("eos_token_id", vocabulary.eos),
        ("eot_token_id", vocabulary.eot),
        ("eom_token_id", vocabulary.eom),
        ("unknown_token_id", vocabulary.unknown),
    ] {
        if let Some(id) = id {
            key(name, id.into());
        }
    }
    for (name, flag) in [
        ("add_bos_token", vocabulary.add_bos),
        ("add_eos_token", vocabulary.add_eos),
        ("add_space_prefix", vocabulary.add_space_prefix),
    ] {
        if let Some(flag) = flag {
            key(name, flag.into());
        }
    }
}

/// Chat templates: chat_template.jinja, where newer files have it, before tokenizer_config.json.
fn templates(folder: &Folder, said: &mut Said) -> Result<(), Error> {
    const KEY: &str = "tokenizer.chat_template";
    let mut decide = |value: String, why: &str| {
        said.decisions.push(Decision { what: "chat template", value, why: why.into() });
    };
    if let Some(template) = folder.text("chat_template.jinja")? {
        decide(format!("{} bytes", template.len()), "chat_template.jinja");
        said.keys.push((KEY.into(), template.into()));
        return Ok(());
    }
    for file in ["tokenizer_config.json", "chat_template.json"] {
        let Some(document) = folder.json(file)? else { continue };
        match document.get("chat_template") {
            None => continue,
            Some(Value::String(template)) => {
                decide(format!("{} bytes", template.len()), file);
                said.keys.push((KEY.into(), template.clone().into()));
            }
            Some(Value::Array(list)) => {
                let mut names = Strings::default();
                for entry in list {
                    let of = |key: &str| entry.get(key).and_then(Value::as_str);
                    let (Some(name), Some(template)) = (of("name"), of("template")) else {
                        return Err(
                            document.error("chat_template", "but each must have a name and a template; correct it")
                        );
                    };
                    decide(format!("{} bytes, {name}", template.len()), file);
                    let key = if name == "default" { KEY.into() } else { format!("{KEY}.{name}") };
                    said.keys.push((key, template.into()));
                    if name != "default" {
                        names.push(name);
                    }
                }
                if !names.is_empty() {
                    said.keys.push(("tokenizer.chat_templates".into(), names.into()));
                }
            }
            Some(_) => return Err(document.error("chat_template", "but must be a text; correct it")),
        }
        return Ok(());
    }
    Ok(())
}

/// Hugging Face's own tokenizer, as the file has it, less what GGUF files do without.
pub(super) fn library(text: &str) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut library = tokenizers::Tokenizer::from_bytes(text)?;
    library.with_truncation(None)?;
    library.with_padding(None);
    // Spellings of special tokens in a text are text.
    library.set_encode_special_tokens(true);
    if library.get_normalizer().is_some_and(is_nfc) {
        library.with_normalizer(None::<NormalizerWrapper>);
    }
    Ok(library)
}
