//! What the verbs share: where the model is, and what it runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget};
use tritune::gguf::{File, I2sLayout, ReadOptions};
use tritune::kernels::{Force, Selection};
use tritune::lookup::Tally;
use tritune::model::{HeadMode, HeadUse, LoadOptions, LoadReport, Model};
use tritune::pack::{Pack, Refusal, Section};
use tritune::threads::{self, Pool};
use tritune::tokenizer::LazyTokenizer;

use crate::probe;

/// A model that is part of the program: BitNet b1.58, 5 million weights, trained on Jane Austen's novels.
static DEMO: &[u8] = include_bytes!("../../../demo/austen-5m-i2_s.gguf");

/// The model of a verb.
#[derive(clap::Args)]
pub(crate) struct ModelFile {
    /// GGUF file
    #[arg(value_name = "MODEL", required_unless_present_any = ["demo", "model"])]
    path: Option<PathBuf>,
    /// The same, as llama.cpp's programs take it
    #[arg(short, long, value_name = "MODEL", hide = true, conflicts_with = "path")]
    model: Option<PathBuf>,
    /// Use the built-in model: 5 million ternary weights, trained on Jane Austen's novels
    #[arg(long, conflicts_with_all = ["path", "model"])]
    demo: bool,
    #[command(flatten)]
    reading: Reading,
}

/// What a file does not say of itself.
#[derive(clap::Args)]
pub(crate) struct Reading {
    /// How I2_S weights lie in the file: x86, as current converters write them, or arm64, as some old builds of bitnet.cpp
    /// for Arm did; x86 where not given, with a warning where the other reads better
    #[arg(long, value_name = "LAYOUT")]
    i2s_layout: Option<I2sLayout>,
    /// Pass over this key of the architecture, which is not known and would be refused, since you know that it changes
    /// nothing; may be given several times
    #[arg(long, value_name = "KEY")]
    ignore_key: Vec<String>,
}

impl Reading {
    pub(crate) fn options(&self) -> ReadOptions {
        ReadOptions { i2s_layout: self.i2s_layout, ignored_keys: self.ignore_key.clone() }
    }
}

impl ModelFile {
    /// Opens and checks it; a file that holds something other than a model is refused.
    pub(crate) fn open(&self) -> Result<File> {
        let file = self.open_any()?;
        file.check_model()?;
        Ok(file)
    }

    /// Opens and checks it, whatever it is for.
    pub(crate) fn open_any(&self) -> Result<File> {
        Ok(match self.path.as_ref().or(self.model.as_ref()) {
            Some(path) => File::open_with(path, self.reading.options())?,
            None => File::from_static("austen-5m-i2_s.gguf (built in)", DEMO)?.with_options(self.reading.options())?,
        })
    }
}

/// Where a model may run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    Cpu,
    Gpu,
}

/// Which kernels to use.
#[derive(clap::Args)]
pub(crate) struct Policy {
    /// Use this kernel or instruction set, or fail
    #[arg(long, value_name = "KERNEL_OR_ISA", env = "TRITUNE_ISA")]
    force: Option<Force>,
}

impl Policy {
    /// The policy for `threads` threads.
    pub(crate) fn selection(&self, threads: usize) -> Result<Selection> {
        Ok(Selection::new(self.force, threads)?)
    }
}

/// What a model runs on.
#[derive(clap::Args)]
pub(crate) struct Engine {
    #[command(flatten)]
    policy: Policy,
    /// Keep packed weights in a file, and take them from there when the same model is loaded again; MODEL.tritune where no
    /// file is named, which takes the sign: --pack-cache=PATH
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pack_cache: Option<Option<PathBuf>>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// How the head is computed; the results are the same. two-stage: an int8 copy of a head of floats tells which tokens
    /// matter, and exact logits are computed of those alone; full: of all, which saves the copy's memory
    #[arg(long, value_enum, default_value_t = Head::TwoStage)]
    head: Head,
}

/// How the head is computed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Head {
    TwoStage,
    Full,
}

impl From<Head> for HeadMode {
    fn from(head: Head) -> Self {
        match head {
            Head::TwoStage => HeadMode::TwoStage,
            Head::Full => HeadMode::Full,
        }
    }
}

impl Engine {
    /// Makes the model ready to run on `threads` threads, all cores where 0; progress and time go to stderr.
    pub(crate) fn load(&self, file: &File, threads: usize) -> Result<Model> {
        self.load_and(file, threads, None, true)
    }

    /// The same, for who has made the file's tokenizer, or has begun to.
    pub(crate) fn load_with(&self, file: &File, threads: usize, tokenizer: &LazyTokenizer) -> Result<Model> {
        self.load_and(file, threads, Some(tokenizer), true)
    }

    /// The same, for who measures time and memory alone, which do not depend on whether what the model says makes sense.
    pub(crate) fn load_to_measure(&self, file: &File, threads: usize) -> Result<Model> {
        self.load_and(file, threads, None, false)
    }

    fn load_and(
        &self,
        file: &File,
        threads: usize,
        tokenizer: Option<&LazyTokenizer>,
        is_probed: bool,
    ) -> Result<Model> {
        if self.device == Device::Gpu {
            bail!("this build has no GPU support; run with --device cpu");
        }
        let start = Instant::now();
        let pool = Pool::new(threads);
        if pool.threads() > threads::available() {
            let cores = threads::available();
            eprintln!("warning: {} threads share {cores} cores, which is slower than {cores} threads", pool.threads());
        }
        let selection = self.policy.selection(pool.threads())?;
        let pack = match &self.pack_cache {
            None => None,
            Some(None) if !file.path().exists() => {
                bail!("{} is no file to keep packed weights beside; name one: --pack-cache=PATH", file.path().display())
            }
            Some(path) => {
                let path = path.clone().unwrap_or_else(|| Pack::beside(file.path()));
                Some(Pack::open(path, file, &pool))
            }
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let progress = |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        };
        let options = LoadOptions { head: self.head.into(), pack: pack.as_ref(), tokenizer };
        let model = Model::from_gguf_with(file, &selection, pool, options, &progress)?;
        bar.finish_and_clear();
        tell_time(file, &model, start.elapsed(), pack.as_ref());
        tell_choices(&model);
        let mark = probe::mark(file);
        let is_known = pack.as_ref().zip(mark.as_ref()).is_some_and(|(pack, mark)| pack.holds(mark));
        let warning = if is_probed && !is_known { probe::layout(file, &model, &selection) } else { None };
        if let Some(pack) = &pack {
            let mut sections = model.weights().sections().to_vec();
            sections.extend(mark.filter(|_| is_known || is_probed && warning.is_none()));
            keep(pack, &sections);
        }
        if let Some(warning) = warning {
            eprintln!("warning: {warning}");
        }
        Ok(model)
    }
}

/// Says how long a model took to load, and what part packing had in it.
fn tell_time(file: &File, model: &Model, time: Duration, pack: Option<&Pack>) {
    let LoadReport { ternary, packed_before, packing } = model.weights().report();
    eprint!("loaded {} in {:.2} s", file.path().display(), time.as_secs_f64());
    if ternary > packed_before {
        eprint!("; {} matrices packed in {:.2} s", ternary - packed_before, packing.as_secs_f64());
    }
    match pack {
        Some(pack) if packed_before > 0 => eprintln!("; {packed_before} matrices out of {}", pack.path().display()),
        _ => eprintln!(),
    }
}

/// Writes packed weights where the file of them is not what it is to be.
fn keep(pack: &Pack, sections: &[Section]) {
    let path = pack.path().display();
    if sections.is_empty() {
        eprintln!("nothing is kept in {path}: the model has no ternary weights, and no head of floats to copy");
        return;
    }
    if let Some(why) = pack.refusal() {
        let which = if pack.is_empty() { "packed weights" } else { "some packed weights" };
        eprintln!("warning: {which} in {path} are not used: {why}");
    }
    if sections.iter().all(|section| pack.holds(section)) || pack.refusal().is_some_and(Refusal::is_lasting) {
        return;
    }
    match pack.write(sections) {
        Ok(()) if pack.refusal().is_some() => eprintln!("packed weights are in {path} now, in place of what was there"),
        Ok(()) => eprintln!("packed weights are in {path} for the next time"),
        Err(why) => eprintln!("warning: packed weights cannot be kept in {path}: {why}"),
    }
}

/// Says where the kernels of ternary matrices come from, and what was passed over.
fn tell_choices(model: &Model) {
    let (mut sources, mut notes) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    for ternary in model.weights().ternaries() {
        *sources.entry(ternary.choice().source.to_string()).or_default() += 1;
        notes.extend(ternary.choice().notes.iter().map(String::as_str));
    }
    for (source, matrices) in sources {
        eprintln!("kernels of {matrices} ternary matrices: {source}");
    }
    for note in notes {
        eprintln!("warning: passed over: {note}");
    }
}

/// Says how often the head was computed in part, where it was.
pub(crate) fn tell_head(HeadUse { shortlists, rows, undecided, full }: HeadUse) {
    if shortlists + undecided > 0 {
        let rows = rows as f64 / shortlists.max(1) as f64;
        // Of proposals, too, whether they were accepted or not.
        eprintln!(
            "head: {shortlists} predictions by a shortlist of {rows:.0} rows, {full} by all ({undecided} undecided)"
        );
    }
}

/// How many threads.
#[derive(clap::Args)]
pub(crate) struct Threads {
    /// Threads; as many as there are cores where not given
    #[arg(short, long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// The number.
    pub(crate) fn count(&self) -> usize {
        self.threads.map_or_else(threads::available, usize::from)
    }
}

/// Tokens that a context has room for where so many are asked for: 0 is as many as the model was made for, as llama.cpp
/// reads it.
pub(crate) fn room(model: &Model, asked: usize) -> usize {
    if asked == 0 { model.config().context } else { asked }
}

/// Warns where more tokens are asked for than the model was made for.
pub(crate) fn warn_beyond(model: &Model, context: usize) {
    let made_for = model.config().context;
    if context > made_for {
        eprintln!("warning: the model was made for {made_for} tokens; what it says beyond may be nonsense");
    }
}

/// Tells on stderr what came of lookup.
pub(crate) fn tell_lookup(tally: Option<Tally>) {
    if let Some(Tally { passes, proposed, accepted }) = tally {
        let tokens = (passes + accepted) as f64 / passes.max(1) as f64;
        eprintln!("lookup: {proposed} tokens proposed, {accepted} accepted; {tokens:.2} tokens a pass");
    }
}
