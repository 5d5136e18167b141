//! `tritune chat`: talk with a model.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use tritune::chat::{Message, Options, Template};
use tritune::engine::{Finish, GenerationConfig, Timing};
use tritune::gguf::File;
use tritune::model::{KvType, Model, Session, SessionOptions};
use tritune::sample::Sampler;
use tritune::tokenizer::LazyTokenizer;

use crate::engine::{Engine, ModelFile, Threads, room, tell_head, tell_lookup, warn_beyond};
use crate::generate::{Sampling, limit, tell, write};

/// Talk with a model in the format that it was trained on; what it says, and nothing else, goes to stdout
///
/// Without -p every line of stdin is a message: /new forgets what was said, /exit ends.
#[derive(clap::Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    model: ModelFile,
    /// Say this alone, and end after the answer
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// What the model is told before everything else
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Template to use instead of the file's: bitnet, chatml, falcon3, gemma, llama-3, minicpm, the name of another one
    /// in the file, a file, or a Jinja text
    #[arg(long, value_name = "NAME|FILE|TEXT")]
    chat_template: Option<String>,
    /// Further variables of the template, a JSON object: {"enable_thinking": false}
    #[arg(long, value_name = "JSON", value_parser = variables)]
    chat_template_kwargs: Option<Variables>,
    /// Print what is fed to the model as text, and load nothing
    #[arg(long, requires = "prompt")]
    dry_run: bool,
    /// Tokens of an answer at most; until it ends, or the context is full, where not given
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    tokens: Option<usize>,
    #[command(flatten)]
    sampling: Sampling,
    /// Write one token to a pass always. Else what followed when the last tokens stood in the chat before is proposed, several
    /// tokens to a pass: faster where an answer repeats what was said, and the same answer
    #[arg(long)]
    no_lookup: bool,
    /// Room for so many tokens, the whole chat included; as the model was made for where 0, and no more than 4096
    /// of them where not given
    #[arg(short, long)]
    context: Option<usize>,
    /// How keys and values are stored: f32, f16, i8; as is usual for the model (`inspect` shows it) where not given
    #[arg(long)]
    kv: Option<KvType>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    engine: Engine,
}

/// What a template knows by name, beyond the messages.
type Variables = BTreeMap<String, serde_json::Value>;

fn variables(json: &str) -> Result<Variables, String> {
    serde_json::from_str(json).map_err(|error| format!("not a JSON object: {error}"))
}

/// Room for a chat where nothing else is asked for: models are made for up to some hundred thousand tokens, whose keys
/// and values no laptop has memory for.
const ROOM: usize = 4096;

impl Chat {
    pub(crate) fn run(self) -> Result<()> {
        let sampler = self.sampling.sampler()?;
        let file = self.model.open()?;
        let tokenizer = LazyTokenizer::new(&file);
        let template = match &self.chat_template {
            Some(given) => chosen(given, &file)?,
            None => Template::from_gguf(&file, tokenizer.get()?)?,
        };
        let decision = template.decision();
        eprintln!("chat template: {} ({})", decision.value, decision.why);
        let mut talk = Talk {
            template,
            tokenizer,
            variables: self.chat_template_kwargs.unwrap_or_default(),
            system: self.system.map(Message::system),
            said: Vec::new(),
        };
        if let (Some(prompt), true) = (&self.prompt, self.dry_run) {
            talk.said.push(Message::user(prompt));
            let text = talk.template.render(talk.tokenizer.get()?, &talk.messages(), &talk.options())?;
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            return Ok(stdout.flush()?);
        }
        if self.prompt.as_ref().is_some_and(String::is_empty) {
            bail!("the prompt is empty; give a text with -p, or none to be asked");
        }
        let model = self.engine.load_with(&file, self.threads.count(), &talk.tokenizer)?;
        let asked = self.context.map(|asked| room(&model, asked));
        let context = asked.unwrap_or(ROOM.min(model.config().context));
        warn_beyond(&model, context);
        let options = SessionOptions { kv: self.kv, context: asked };
        let session = Session::with_room(&model, options, context)?;
        let tokens = self.tokens.unwrap_or(usize::MAX);
        let mut machine = Machine {
            model: model.clone(),
            session,
            sampler,
            config: GenerationConfig { tokens, lookup: !self.no_lookup, ..GenerationConfig::default() },
            timing: Timing::default(),
        };
        match self.prompt {
            Some(prompt) => machine.answer(&mut talk, prompt)?,
            None => machine.listen(&mut talk)?,
        }
        tell(machine.timing, model.pool().threads());
        tell_head(machine.session.head_use());
        tell_lookup((!self.no_lookup).then(|| machine.session.lookup_tally()));
        Ok(())
    }
}

/// The template that `--chat-template` means.
fn chosen(given: &str, file: &File) -> Result<Template> {
    if given.contains("{{") || given.contains("{%") {
        return Ok(Template::new(given)?);
    }
    if let Ok(template) = Template::named(given) {
        return Ok(template);
    }
    if let Some(template) = Template::in_gguf(file, given)? {
        return Ok(template);
    }
    if Path::new(given).is_file() {
        let source = fs::read_to_string(given).with_context(|| format!("cannot read the chat template {given}"))?;
        return Template::new(&source).with_context(|| format!("in {given}"));
    }
    bail!(
        "{given:?} is no built-in chat template (bitnet, chatml, falcon3, gemma, llama-3, minicpm), none of the model \
         file, no file, and no Jinja text"
    )
}

/// What was said, and how it is told to the model.
struct Talk {
    template: Template,
    tokenizer: LazyTokenizer,
    variables: Variables,
    system: Option<Message>,
    said: Vec<Message>,
}

impl Talk {
    fn messages(&self) -> Vec<Message> {
        self.system.iter().chain(&self.said).cloned().collect()
    }

    fn options(&self) -> Options {
        Options { variables: self.variables.clone(), ..Options::default() }
    }
}

/// The model at work.
struct Machine {
    model: Model,
    session: Session,
    sampler: Sampler,
    config: GenerationConfig,
    /// All answers together.
    timing: Timing,
}

impl Machine {
    /// Answers line after line of stdin.
    fn listen(&mut self, talk: &mut Talk) -> Result<()> {
        let asked = io::stdin().is_terminal();
        let mut lines = io::stdin().lock().lines();
        let mut unanswered = 0;
        loop {
            if asked {
                eprint!("> ");
            }
            let Some(line) = lines.next() else { break };
            let line = line.context("cannot read a message from stdin; messages are UTF-8 text, one a line")?;
            match line.trim() {
                "" => {}
                "/exit" => break,
                "/new" => talk.said.clear(),
                _ => match self.answer(talk, line) {
                    Err(error) if error.downcast_ref::<io::Error>().is_some() => return Err(error),
                    // Something else can be said, or /new.
                    Err(error) => {
                        talk.said.pop();
                        unanswered += usize::from(!asked);
                        eprintln!("error: {}", crate::line(&error));
                    }
                    Ok(()) => {}
                },
            }
        }
        match unanswered {
            0 => Ok(()),
            count => bail!("messages without an answer: {count}"),
        }
    }

    /// Answers one message. What of the chat was fed before is not fed again.
    fn answer(&mut self, talk: &mut Talk, prompt: String) -> Result<()> {
        talk.said.push(Message::user(prompt));
        let prompt = talk.template.encode(talk.tokenizer.get()?, &talk.messages(), &talk.options())?;
        let context = self.session.context();
        if prompt.len() >= context {
            bail!(
                "the chat has {} tokens, and the context room for {context}, answers included; begin anew (/new), or ask \
                 for more with -c (the model was made for {})",
                prompt.len(),
                self.model.config().context,
            );
        }
        let mut generation = self.session.write(&prompt, &self.config, &mut self.sampler)?;
        let mut stdout = io::stdout().lock();
        let text = write(&mut generation, &mut stdout)?;
        writeln!(stdout)?;
        stdout.flush()?;
        self.timing += generation.timing();
        let is_full = generation.finish() == Some(Finish::Context);
        talk.said.push(Message::assistant(text));
        if is_full {
            eprintln!("stopped: the context of {context} tokens is full; begin anew (/new), or ask for more with -c");
        }
        Ok(())
    }
}
