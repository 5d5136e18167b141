use std::collections::HashSet;

use minijinja::Value;

use super::environment::{self, Failure, LONGEST};
use super::guard::{Extent, Guard};
use super::{Error, Message, Options, Role, builtin};
use crate::decision::Decision;
use crate::gguf;
use crate::tokenizer::Tokenizer;

/// The key of a file's template; those for other purposes have their name behind it, after a dot.
const KEY: &str = "tokenizer.chat_template";
/// What marks the template that Microsoft's converter wrote into BitNet b1.58 2B4T files: a placeholder, after which the
/// model goes on for ever, since it was trained in another format.
const PLACEHOLDER: &str = "BITNETAssistant";

/// How messages are laid out for a model.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    pub(super) decision: Decision,
}

impl Template {
    /// The template of a GGUF file, or the built-in one that its vocabulary tells; `tokenizer` is the file's.
    /// [`Template::decision`] says which it is, and why.
    ///
    /// # Errors
    /// A template that cannot be read; no template, and a vocabulary that does not tell. The message names the file.
    pub fn from_gguf(file: &gguf::File, tokenizer: &Tokenizer) -> Result<Template, Error> {
        Template::find(file, tokenizer).map_err(|error| match error {
            Error::Gguf(_) => error,
            error => Error::File { path: file.path().to_owned(), source: Box::new(error) },
        })
    }

    fn find(file: &gguf::File, tokenizer: &Tokenizer) -> Result<Template, Error> {
        let own = file.opt_str(KEY)?.filter(|source| !source.trim().is_empty());
        if let Some(source) = own {
            if source.contains(PLACEHOLDER) && tokenizer.special_id("<|eot_id|>").is_some() {
                let mut template = Template::named("bitnet")?;
                template.decision.why =
                    format!("{KEY} is the placeholder of Microsoft's converter ({PLACEHOLDER}), not the model's own");
                return Ok(template);
            }
            return Template::with(source, format!("the file's, {} bytes", source.len()), KEY.to_owned());
        }
        let names: Vec<&str> =
            file.opt_strings("tokenizer.chat_templates")?.into_iter().flat_map(|names| names.iter()).collect();
        if names.contains(&"default") {
            return Template::in_gguf(file, "default")?.ok_or_else(|| Error::NoDefault("names one".to_owned()));
        }
        if !names.is_empty() {
            return Err(Error::NoDefault(names.join(", ")));
        }
        builtin::choose(file, tokenizer)
    }

    /// The template for a special purpose that a GGUF file has under `name`: `tool_use`.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn in_gguf(file: &gguf::File, name: &str) -> Result<Option<Template>, Error> {
        let key = format!("{KEY}.{name}");
        let source = file.opt_str(&key)?;
        source
            .map(|source| Template::with(source, format!("the file's {name}, {} bytes", source.len()), key))
            .transpose()
    }

    /// A built-in template: `bitnet`, `chatml`, `falcon3`, `gemma`, `llama-3`, `minicpm`.
    ///
    /// # Errors
    /// A name that none has.
    pub fn named(name: &str) -> Result<Template, Error> {
        Template::with(builtin::source(name)?, format!("{name}, built in"), "it was asked for".to_owned())
    }

    /// A template from its text.
    ///
    /// # Errors
    /// A text that is not Jinja, or is longer than any known template.
    pub fn new(source: &str) -> Result<Template, Error> {
        Template::with(source, format!("given, {} bytes", source.len()), "it was asked for".to_owned())
    }

    fn with(source: &str, value: String, why: String) -> Result<Template, Error> {
        if source.len() > LONGEST {
            return Err(Error::Long { bytes: source.len(), limit: LONGEST });
        }
        environment::check(source).map_err(error)?;
        Ok(Template { source: source.to_owned(), decision: Decision { what: "chat template", value, why } })
    }

    /// Its Jinja text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Which template it is, and why.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The text of a prompt, for reading: to feed it, use [`Template::encode`], which knows what is a message's and what
    /// is the template's.
    ///
    /// # Errors
    /// Messages that the template refuses (many want user and assistant to alternate), or with which it fails.
    pub fn render(&self, tokenizer: &Tokenizer, messages: &[Message], options: &Options) -> Result<String, Error> {
        let contents = messages.iter().map(|message| (message.role.to_string(), message.content.clone()));
        self.run(tokenizer, contents.collect(), options)
    }

    /// The tokens of a prompt. BOS is in front where the file asks for it or the template writes it, once; no EOS is
    /// added. Control tokens, and other special tokens that the template writes, come from the template alone: what
    /// spells one in a message stays text.
    ///
    /// # Errors
    /// Those of [`Template::render`]; a message with the spelling of a control token, where the template changes
    /// messages so much that it cannot be told apart; texts that the vocabulary cannot write.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message], options: &Options) -> Result<Vec<u32>, Error> {
        let rendered = self.render(tokenizer, messages, options)?;
        let written = tokenizer.user_defined_in(&self.source);
        let guarded = |id: u32| tokenizer.is_control(id) || written.contains(&id);
        let (text, marked) = self.tell_apart(tokenizer, messages, options, &rendered, &written)?;
        Ok(tokenizer.encode_prompt(&text, &marked, &guarded)?)
    }

    /// The rendered text, and where characters begin that came from messages and may be in no token that is guarded.
    fn tell_apart(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &Options,
        rendered: &str,
        written: &HashSet<u32>,
    ) -> Result<(String, Vec<usize>), Error> {
        let spellings = |message: &Message| {
            // What the model wrote itself may have tokens that are not control tokens: `</think>`.
            let own = message.role == Role::Assistant;
            tokenizer.spellings(&message.content, &|id| tokenizer.is_control(id) || !own && written.contains(&id))
        };
        let spellings: Vec<Vec<usize>> = messages.iter().map(spellings).collect();
        let texts = messages.iter().map(|message| message.content.as_str()).chain([rendered]);
        let guard = Guard::new(texts);
        for extent in [Extent::Ends, Extent::Spellings] {
            let Some(guard) = guard else { break };
            let contents = messages.iter().zip(&spellings).map(|(message, spellings)| {
                let extent = if message.role == Role::Assistant { Extent::Spellings } else { extent };
                (message.role.to_string(), guard.mark(&message.content, extent, spellings))
            });
            // A template that looks into messages may fail on marked ones.
            let Ok(marked) = self.run(tokenizer, contents.collect(), options) else { continue };
            let (text, marks) = guard.unmark(&marked);
            if text == rendered {
                return Ok((text, marks));
            }
        }
        let spelt = messages.iter().zip(&spellings).find_map(|(message, at)| Some((&message.content, *at.first()?)));
        match spelt {
            None => Ok((rendered.to_owned(), Vec::new())),
            Some((content, at)) => {
                // To the token's end, or so: it is only shown.
                let spelling = content[at..].chars().take_while(|c| !c.is_whitespace()).take(32).collect();
                Err(Error::Injection(spelling))
            }
        }
    }

    fn run(&self, tokenizer: &Tokenizer, messages: Vec<(String, String)>, options: &Options) -> Result<String, Error> {
        let mut variables: Vec<(String, Value)> = vec![
            ("add_generation_prompt".to_owned(), options.answer.into()),
            ("tools".to_owned(), ().into()),
            ("documents".to_owned(), ().into()),
        ];
        for (name, id) in [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos())] {
            if let Some(text) = id.and_then(|id| tokenizer.token_text(id)) {
                variables.push((name.to_owned(), text.into()));
            }
        }
        let given = options.variables.iter();
        variables.extend(given.map(|(name, value)| (name.clone(), Value::from(minijinja::value::Serde(value)))));
        environment::render(&self.source, messages, variables, options.now).map_err(error)
    }
}

fn error(failure: Failure) -> Error {
    match failure {
        Failure::Syntax(why) => Error::Syntax(why),
        Failure::Render(why) => Error::Render(why),
        Failure::Endless => Error::Endless,
    }
}
