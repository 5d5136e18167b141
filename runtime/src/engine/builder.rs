//! From a path to a model, with choices.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::gguf::{File, ReadOptions};
use crate::kernels::{Force, Selection};
use crate::model::{self, ConfigError, HeadMode, LoadOptions, Model};
use crate::recovery::{Recovery, RecoveryPolicy};
use crate::threads::Pool;
use crate::{Error, pack::Pack};

/// A model that is going to be loaded.
///
/// ```
/// use tritune::engine::ModelBuilder;
///
/// # fn main() -> Result<(), tritune::Error> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");
/// let model = ModelBuilder::new(path).threads(2).progress(|done, all| println!("{done} of {all}")).load()?;
/// assert_eq!(model.pool().threads(), 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "it is loaded by `load`"]
pub struct ModelBuilder {
    source: Source,
    threads: usize,
    force: Option<Force>,
    selection: Option<Selection>,
    head: HeadMode,
    pack_cache: Option<PathBuf>,
    recovery: RecoveryPolicy,
    device: Device,
    progress: Box<dyn Fn(usize, usize) + Send + Sync>,
}

enum Source {
    Path(PathBuf, ReadOptions),
    File(File),
    /// By a function, for tests.
    #[cfg(test)]
    Opener(Box<dyn Fn() -> Result<File, crate::gguf::Error> + Send>),
}

impl fmt::Debug for ModelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match &self.source {
            Source::Path(path, _) => path,
            Source::File(file) => file.path(),
            #[cfg(test)]
            Source::Opener(_) => Path::new(""),
        };
        f.debug_struct("ModelBuilder").field("path", &path).finish_non_exhaustive()
    }
}

impl Model {
    /// The model in a GGUF file, ready to run on all cores, with the kernels that are known to be best here.
    ///
    /// # Errors
    /// What is wrong with the file, or not implemented.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        ModelBuilder::new(path).load()
    }
}

impl ModelBuilder {
    /// The model in a GGUF file, or in the parts of a split one of which this is the first.
    pub fn new(path: impl AsRef<Path>) -> ModelBuilder {
        ModelBuilder::of(Source::Path(path.as_ref().into(), ReadOptions::default()))
    }

    /// The model in a file that is open already.
    pub fn of_file(file: &File) -> ModelBuilder {
        ModelBuilder::of(Source::File(file.clone()))
    }

    fn of(source: Source) -> ModelBuilder {
        ModelBuilder {
            source,
            threads: 0,
            force: None,
            selection: None,
            head: HeadMode::default(),
            pack_cache: None,
            recovery: RecoveryPolicy::default(),
            device: Device::default(),
            progress: Box::new(|_, _| ()),
        }
    }

    /// How the file is read where it does not say: of a file that is open, as it was opened.
    pub fn read_options(mut self, options: ReadOptions) -> ModelBuilder {
        if let Source::Path(_, known) = &mut self.source {
            *known = options;
        }
        self
    }

    /// Threads to run on; 0: all cores.
    pub fn threads(self, threads: usize) -> ModelBuilder {
        ModelBuilder { threads, ..self }
    }

    /// Use this kernel or instruction set, or fail.
    pub fn force(self, force: Force) -> ModelBuilder {
        ModelBuilder { force: Some(force), ..self }
    }

    /// Choose kernels by this policy.
    pub fn selection(self, selection: Selection) -> ModelBuilder {
        ModelBuilder { selection: Some(selection), ..self }
    }

    /// How the head is computed: the results are the same.
    pub fn head(self, head: HeadMode) -> ModelBuilder {
        ModelBuilder { head, ..self }
    }

    /// Keep packed weights in this file, and take them from there where it is this model's.
    pub fn pack_cache(self, path: impl Into<PathBuf>) -> ModelBuilder {
        ModelBuilder { pack_cache: Some(path.into()), ..self }
    }

    /// Where to compute.
    pub fn device(self, device: Device) -> ModelBuilder {
        ModelBuilder { device, ..self }
    }

    /// What is done when something fails.
    pub fn recovery(self, recovery: RecoveryPolicy) -> ModelBuilder {
        ModelBuilder { recovery, ..self }
    }

    /// Is told how many matrices of how many are done; from any thread.
    pub fn progress(self, progress: impl Fn(usize, usize) + Send + Sync + 'static) -> ModelBuilder {
        ModelBuilder { progress: Box::new(progress), ..self }
    }

    /// Loads it.
    ///
    /// # Errors
    /// What is wrong with the file, or not implemented; a kernel that is forced, and cannot be.
    pub fn load(self) -> Result<Model, Error> {
        let file = match &self.source {
            Source::Path(path, options) => {
                let open = || File::open_with(path, options.clone());
                self.recovery.reads.run("opening a model", open)?
            }
            Source::File(file) => file.clone(),
            #[cfg(test)]
            Source::Opener(open) => self.recovery.reads.run("opening a model", open)?,
        };
        let span = tracing::info_span!("load", path = %file.path().display());
        let _entered = span.enter();
        if let Err(error) = self.device.check() {
            if self.recovery.devices != Recovery::Degrade {
                return Err(error.into());
            }
            tracing::warn!(target: "tritune::recovery", %error, "the {} is used", Device::best());
        }
        let pool = Pool::new(self.threads);
        let selection = match self.selection {
            Some(selection) => selection,
            None => Selection::new(self.force, pool.threads())?,
        };
        let selection = match self.recovery.kernels {
            Recovery::Degrade | Recovery::ContinueWithWarning => selection,
            _ => selection.strict(),
        };
        let file = match self.recovery.metadata {
            Recovery::ContinueWithWarning => passing_over_unknown_keys(file)?,
            _ => file,
        };
        let pack = self.pack_cache.map(|path| Pack::open(path, &file, &pool));
        if let Some(why) = pack.as_ref().and_then(Pack::refusal) {
            tracing::warn!(%why, "packed weights are not used");
        }
        let options = LoadOptions { head: self.head, pack: pack.as_ref(), tokenizer: None };
        let model = Model::from_gguf_with(&file, &selection, pool, options, &*self.progress)?;
        if let Some(pack) = &pack
            && let Err(error) = pack.update(model.weights().sections())
        {
            tracing::warn!(path = %pack.path().display(), %error, "packed weights are not kept");
        }
        Ok(model)
    }
}

/// The file, read so that keys of the architecture which are not known are passed over.
fn passing_over_unknown_keys(mut file: File) -> Result<File, Error> {
    loop {
        let key = match model::Config::read(&file) {
            Err(ConfigError::Unread { key, value, .. }) => {
                tracing::warn!(target: "tritune::recovery", key, value, "a key that is not known is passed over");
                key
            }
            // What else is wrong is told by who loads it.
            _ => return Ok(file),
        };
        let mut options = file.options().clone();
        options.ignored_keys.push(key);
        file = file.with_options(options)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;
    use crate::gguf;
    use crate::kernels::selection_with_a_liar;
    use crate::model::sketch_with_an_unknown_key;

    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

    /// A file that is interrupted so many times before it opens.
    fn interrupted(times: u32) -> (ModelBuilder, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let open = move || {
            if count.fetch_add(1, SeqCst) < times {
                let source = io::Error::from(io::ErrorKind::Interrupted);
                return Err(gguf::Error::Io { path: DEMO.into(), source });
            }
            File::open(DEMO)
        };
        (ModelBuilder::of(Source::Opener(Box::new(open))).threads(1), calls)
    }

    #[test]
    fn interrupted_reads_are_tried_again() {
        let policy = |attempts| RecoveryPolicy {
            reads: Recovery::Retry { attempts, backoff: Duration::from_micros(10) },
            ..RecoveryPolicy::default()
        };
        let (builder, calls) = interrupted(2);
        fn goes_to_other_threads<T: Send>(_: &T) {}
        goes_to_other_threads(&builder);
        builder.recovery(policy(3)).load().unwrap();
        assert_eq!(calls.load(SeqCst), 3);
        let (builder, calls) = interrupted(2);
        let error = builder.recovery(policy(2)).load().unwrap_err();
        assert_eq!((error.code(), calls.load(SeqCst)), ("TT0601", 2));
        let (builder, calls) = interrupted(1);
        let fail_fast = RecoveryPolicy { reads: Recovery::FailFast, ..RecoveryPolicy::default() };
        assert!(builder.recovery(fail_fast).load().is_err() && calls.load(SeqCst) == 1);
    }

    #[test]
    fn a_wrong_kernel_is_replaced_or_refused() {
        let load = |kernels| {
            let policy = RecoveryPolicy { kernels, ..RecoveryPolicy::default() };
            ModelBuilder::new(DEMO).threads(1).selection(selection_with_a_liar()).recovery(policy).load()
        };
        let model = load(Recovery::Degrade).unwrap();
        let notes = |model: &Model| model.weights().ternaries().any(|ternary| !ternary.choice().notes.is_empty());
        assert!(notes(&model), "it is told");
        for policy in [Recovery::FailFast, Recovery::Skip] {
            let error = load(policy).unwrap_err();
            assert!(error.report().contains("is wrong: token"), "{}", error.report());
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_or_replaced() {
        let load = |devices| {
            let policy = RecoveryPolicy { devices, ..RecoveryPolicy::default() };
            ModelBuilder::new(DEMO).threads(1).device(Device::Gpu).recovery(policy).load()
        };
        assert_eq!(load(Recovery::FailFast).unwrap_err().code(), "TT0201");
        load(Recovery::Degrade).unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused_or_passed_over() {
        let file = sketch_with_an_unknown_key();
        let load = |metadata| {
            let policy = RecoveryPolicy { metadata, ..RecoveryPolicy::default() };
            ModelBuilder::of_file(&file).threads(1).recovery(policy).load()
        };
        let error = load(Recovery::FailFast).unwrap_err();
        assert_eq!(error.code(), "TT1003");
        let model = load(Recovery::ContinueWithWarning).unwrap();
        assert!(model.config().decisions.iter().any(|decision| decision.what == "ignored key"));
    }
}
