//! Templates for files that have none, and which file gets which.

use super::{Error, Template};
use crate::decision::Decision;
use crate::gguf;
use crate::tokenizer::Tokenizer;

/// A template that is part of the program.
struct BuiltIn {
    /// The first is its own name.
    names: &'static [&'static str],
    source: &'static str,
}

/// One template a family. They write what the published templates write for system, user and assistant messages, but for
/// default system messages, which differ between models of a family.
const BUILT_IN: [BuiltIn; 6] = [
    // microsoft/bitnet-b1.58-2B-4T.
    BuiltIn {
        names: &["bitnet"],
        source: "{{ bos_token }}{% for message in messages %}\
                 {{ message.role | capitalize }}: {{ message.content | trim }}<|eot_id|>\
                 {% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}",
    },
    // Falcon-E, Bonsai, Qwen, SmolLM, MiniCPM from the third generation on.
    BuiltIn {
        names: &["chatml"],
        source: "{% for message in messages %}\
                 <|im_start|>{{ message.role }}{{ '\\n' }}{{ message.content }}<|im_end|>{{ '\\n' }}\
                 {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}",
    },
    // tiiuae/Falcon3.
    BuiltIn {
        names: &["falcon3"],
        source: "{% for message in messages %}\
                 <|{{ message.role }}|>{{ '\\n' }}{{ message.content }}\
                 {% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}\
                 {% endfor %}{% if add_generation_prompt %}<|assistant|>{{ '\\n' }}{% endif %}",
    },
    // google/gemma-3: the model is called so, and what the system says begins the first message.
    BuiltIn {
        names: &["gemma"],
        source: "{{ bos_token }}{% set start = namespace(text='', turns=messages) %}\
                 {% if messages[0].role == 'system' %}\
                 {% set start.text = messages[0].content + '\\n\\n' %}{% set start.turns = messages[1:] %}\
                 {% endif %}{% for message in start.turns %}\
                 {% if (message.role == 'user') != (loop.index0 % 2 == 0) %}\
                 {{ raise_exception('user and assistant must alternate') }}{% endif %}\
                 <start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}{{ '\\n' }}\
                 {% if loop.first %}{{ start.text }}{% endif %}{{ message.content | trim }}<end_of_turn>{{ '\\n' }}\
                 {% endfor %}{% if add_generation_prompt %}<start_of_turn>model{{ '\\n' }}{% endif %}",
    },
    // meta-llama/Meta-Llama-3.
    BuiltIn {
        names: &["llama-3", "llama3"],
        source: "{{ bos_token }}{% for message in messages %}\
                 <|start_header_id|>{{ message.role }}<|end_header_id|>{{ '\\n\\n' }}{{ message.content | trim }}<|eot_id|>\
                 {% endfor %}{% if add_generation_prompt %}\
                 <|start_header_id|>assistant<|end_header_id|>{{ '\\n\\n' }}{% endif %}",
    },
    // openbmb/MiniCPM, first and second generation.
    BuiltIn {
        names: &["minicpm"],
        source: "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}\
                 {{ raise_exception('there is no place for a system message') }}\
                 {% elif message.role == 'user' %}<用户>{{ message.content | trim }}<AI>\
                 {% else %}{{ message.content | trim }}{% endif %}{% endfor %}",
    },
];

/// The names of all.
pub(super) fn names() -> String {
    BUILT_IN.iter().map(|built_in| built_in.names[0]).collect::<Vec<_>>().join(", ")
}

/// The source of the template called `name`.
pub(super) fn source(name: &str) -> Result<&'static str, Error> {
    let found = const { &BUILT_IN }.iter().find(|built_in| built_in.names.contains(&name));
    found.map(|built_in| built_in.source).ok_or_else(|| Error::Name(name.to_owned()))
}

/// The built-in template for a file without one, by what its vocabulary has tokens for. The order matters: BitNet
/// b1.58 2B4T has Llama 3's tokens and a format of its own.
pub(super) fn choose(file: &gguf::File, tokenizer: &Tokenizer) -> Result<Template, Error> {
    let architecture = file.opt_str("general.architecture")?.unwrap_or_default();
    let pre = file.opt_str("tokenizer.ggml.pre")?.unwrap_or_default();
    let byte_level = file.opt_str("tokenizer.ggml.model")? == Some("gpt2");
    let has = |spellings: &[&str]| spellings.iter().all(|spelling| tokenizer.special_id(spelling).is_some());
    let (name, why) = if byte_level && ["bitnet-b1.58", "bitnet-25"].contains(&architecture) && has(&["<|eot_id|>"]) {
        ("bitnet", format!("{architecture} with <|eot_id|> in a gpt2 vocabulary is BitNet b1.58 2B4T"))
    } else if pre == "falcon3" {
        ("falcon3", "tokenizer.ggml.pre is falcon3".to_owned())
    } else if has(&["<|im_start|>", "<|im_end|>"]) {
        ("chatml", "the vocabulary has <|im_start|> and <|im_end|>".to_owned())
    } else if has(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]) {
        ("llama-3", "the vocabulary has <|start_header_id|>, <|end_header_id|> and <|eot_id|>".to_owned())
    } else if has(&["<start_of_turn>", "<end_of_turn>"]) {
        ("gemma", "the vocabulary has <start_of_turn> and <end_of_turn>".to_owned())
    } else if architecture == "minicpm" {
        ("minicpm", "the architecture is minicpm, and the vocabulary has no <|im_start|>".to_owned())
    } else {
        return Err(Error::Unknown);
    };
    let mut template = Template::named(name)?;
    template.decision =
        Decision { what: "chat template", value: name.to_owned(), why: format!("the file has none; {why}") };
    Ok(template)
}
