//! What was found on a machine: one TOML file that keeps every measurement beside what was concluded from it.
//!
//! A file is believed whole or not at all. [`Results::load`] refuses what this version cannot read or what contradicts
//! itself; [`Results::check`] refuses picks whose kernels are generated differently today, for they were not measured.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tritune_codegen::{KernelId, Layout, Op, Schedule};

use crate::candidate::{Candidate, schedule};
use crate::case::Case;
use crate::machine::{self, Machine};
use crate::pick::{Pick, Weighting};
use crate::shapes::Shape;
use crate::side_file;
use crate::stats::Summary;

/// The schema that this version reads and writes.
pub const SCHEMA: i64 = 3;

/// Larger files are no results: a full search writes some hundred kilobytes.
const SIZE_LIMIT: u64 = 64 << 20;

/// What ends the name of a file that was refused, and made room for another.
const REFUSED: &str = "refused";

/// What writes a results file anew.
const COMMANDS: &str = "`cargo xtask tune`, or `tritune tune` without the sources";

const HEADER: &str = "# Measured by `command`, which renews it; times are in seconds.\n\n";

/// One results file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: i64,
    /// False where the search was cut short before every candidate had been measured.
    pub complete: bool,
    /// When the last search ended: RFC 3339, UTC. What [`Results::absorb`] took over is older.
    pub date: String,
    /// The command line of the last search.
    pub command: String,
    /// The compiler of the kernels, as `rustc --version` names itself.
    pub compiler: String,
    /// Where it was measured.
    pub machine: Machine,
    /// How much decoding and prefill counted when layouts were chosen.
    pub objective: Weighting,
    /// Bytes of weights that were gone through before any was used again.
    pub pool_bytes: u64,
    /// Share of the CPU time that others took during the last search, from 0 to 1; absent where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// How fast the machine streams memory: the ceiling of every gemv.
    #[serde(default, rename = "bandwidth", skip_serializing_if = "Vec::is_empty")]
    pub bandwidths: Vec<Bandwidth>,
    /// The kernels that were measured, with what their source was.
    #[serde(default, rename = "kernel", skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<Source>,
    /// What was concluded.
    #[serde(default, rename = "pick", skip_serializing_if = "Vec::is_empty")]
    pub picks: Vec<Pick>,
    /// From how many tokens on a gemm computes what it leaves over.
    #[serde(default, rename = "crossover", skip_serializing_if = "Vec::is_empty")]
    pub crossovers: Vec<Crossover>,
    /// What was measured.
    #[serde(default, rename = "sample", skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
}

/// Reading speed of main memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Threads that read together.
    pub threads: usize,
    /// 10⁹ bytes a second, all threads together.
    pub gigabytes_per_second: f64,
}

/// A kernel and the source it was measured with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The kernel.
    #[serde(with = "crate::name")]
    pub name: KernelId,
    /// Hash of its generated source.
    pub source: String,
}

/// Where few tokens turn into many, for a matrix that is packed for its picks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crossover {
    /// The weight matrix.
    #[serde(with = "crate::name")]
    pub shape: Shape,
    /// Threads that share the work.
    pub threads: usize,
    /// So many tokens or more that are left over go to one pass of the gemm.
    pub tokens: usize,
    /// The numbers of tokens that were tried, ascending.
    pub tried: Vec<Tail>,
}

/// Some tokens that a gemm leaves over, computed in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Tokens.
    pub m: usize,
    /// Seconds by gemv kernels, one after the other; trimmed mean.
    pub gemv: f64,
    /// Seconds by one pass of the gemm, for more tokens than there are; trimmed mean.
    pub gemm: f64,
}

/// What a matrix is to be computed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The weight matrix.
    pub shape: Shape,
    /// Threads that share the work.
    pub threads: usize,
    /// One for each operation and number of tokens that the kernel is for, all of one layout.
    pub candidates: Vec<Candidate>,
    /// So many tokens or more that are left over go to one pass of the gemm; absent where that was not measured.
    pub crossover: Option<usize>,
}

/// One candidate's measurements in one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The situation.
    #[serde(flatten)]
    pub case: Case,
    /// The kernel.
    #[serde(with = "crate::name")]
    pub kernel: KernelId,
    /// How it was run.
    #[serde(default, with = "schedule", skip_serializing_if = "schedule::is_default")]
    pub schedule: Schedule,
    /// Why it was measured no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eliminated: Option<String>,
    /// Why it is not to be used at all: its integers differ, or it could not be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The leader's time over its time in the rounds that this one was in: by what its own are multiplied where they are
    /// compared with others, for a machine is not always as fast. Absent where it was in all rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
    /// Seconds of each pass, ascending, to four significant figures.
    pub times: Vec<f64>,
}

impl Sample {
    /// A sample with `times` in the order in which they were measured.
    pub fn new(case: Case, candidate: impl Into<Candidate>, times: &[f64]) -> Self {
        let Candidate { kernel, schedule } = candidate.into();
        let mut times: Vec<f64> = times.iter().copied().map(four_figures).collect();
        times.sort_by(f64::total_cmp);
        Sample { case, kernel, schedule, eliminated: None, failed: None, drift: None, times }
    }

    /// Who was measured.
    pub fn candidate(&self) -> Candidate {
        Candidate { kernel: self.kernel, schedule: self.schedule }
    }

    /// The times in short, as they compare with others of the case; `None` where the candidate failed or was not measured.
    pub fn summary(&self) -> Option<Summary> {
        let summary = if self.failed.is_some() { None } else { Summary::of(&self.times) }?;
        let drift = self.drift.unwrap_or(1.0);
        Some(Summary { mean: summary.mean * drift, median: summary.median * drift, ..summary })
    }
}

/// `value` to four significant figures: more than noise leaves, and short to write.
pub fn four_figures(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Why a results file is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file, or the folder of them.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is far too long.
    #[error("{} is larger than {SIZE_LIMIT} bytes, which no results file is; remove it", path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML of this schema.
    #[error("{} is not a results file: {source}renew it with {COMMANDS}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file is of another version.
    #[error(
        "{} was written by schema {found}, this tritune reads {SCHEMA}; renew it with {COMMANDS}",
        path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// The file contradicts itself.
    #[error("{} cannot be believed: {what}; renew it with {COMMANDS}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        what: String,
    },
    /// Kernels have changed since they were measured.
    #[error(
        "the results for {machine} were measured with other kernels than today's ({}); renew them with \
         {COMMANDS}",
        names(kernels)
    )]
    Stale {
        /// The machine, by id.
        machine: String,
        /// Those that changed.
        kernels: Vec<KernelId>,
    },
    /// The search was cut short.
    #[error(
        "{} was cut short before every candidate had been measured, and is not to be picked from; go on with its search by \
         --resume",
        path.display()
    )]
    Incomplete {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be renamed.
    #[error("cannot rename {}: {source}; is its folder writable?", path.display())]
    Rename {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}; is its folder there and writable?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The results cannot be expressed.
    #[error("cannot write {}: {source}", path.display())]
    Serialise {
        /// The file.
        path: PathBuf,
        /// What cannot.
        source: toml::ser::Error,
    },
}

/// The first few names, and how many more there are.
fn names(kernels: &[KernelId]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = kernels.iter().take(SHOWN).map(KernelId::to_string).collect();
    match kernels.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl Results {
    /// The time now, as [`Results::date`] holds it.
    pub fn now() -> String {
        let now = OffsetDateTime::now_utc();
        // Whole seconds; a year of more than four digits, which RFC 3339 has no way to write, falls back to its epoch.
        let whole = now.replace_nanosecond(0).unwrap_or(now);
        whole.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".into())
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        self.machine.file_name()
    }

    /// Whether its date is later than another's: a clock was set back, or was wrong then.
    pub fn is_dated_after(&self, other: &Results) -> bool {
        let date = |results: &Results| OffsetDateTime::parse(&results.date, &Rfc3339).ok();
        date(self) > date(other)
    }

    /// Reads and validates a file.
    ///
    /// # Errors
    /// [`ResultsError`]: unreadable, not of this schema, or contradicting itself.
    pub fn load(path: &Path) -> Result<Results, ResultsError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(SIZE_LIMIT + 1).read_to_string(&mut text));
        read.map_err(|source| ResultsError::Read { path: path.into(), source })?;
        if text.len() as u64 > SIZE_LIMIT {
            return Err(ResultsError::Size { path: path.into() });
        }
        Results::parse(&text, path)
    }

    /// Reads and validates the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Results::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Results, ResultsError> {
        #[derive(Deserialize)]
        struct Version {
            schema: i64,
        }
        let refuse = |source: toml::de::Error| ResultsError::Parse { path: path.into(), source: Box::new(source) };
        // The version first: what follows it may be anything in another schema.
        let Version { schema: found } = toml::from_str(text).map_err(refuse)?;
        if found != SCHEMA {
            return Err(ResultsError::Schema { path: path.into(), found });
        }
        let results: Results = toml::from_str(text).map_err(refuse)?;
        results.validate().map_err(|what| ResultsError::Invalid { path: path.into(), what })?;
        Ok(results)
    }

    /// Writes the file: to a side file in the same folder, which then takes its place, so that no reader ever meets
    /// half a file and an interrupted writer leaves the old one.
    ///
    /// # Errors
    /// [`ResultsError`]: results that [`Results::load`] would refuse, or a folder that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ResultsError> {
        self.validate().map_err(|what| ResultsError::Invalid { path: path.into(), what })?;
        let text = toml::to_string(self).map_err(|source| ResultsError::Serialise { path: path.into(), source })?;
        let replaced = side_file::replace(path, &format!("{HEADER}{text}"));
        replaced.map(drop).map_err(|source| ResultsError::Write { path: path.into(), source })
    }

    /// Whether today's kernels are still the ones that were measured. `source_today` gives the hash of a kernel's
    /// source, `None` where it can no longer be generated.
    ///
    /// # Errors
    /// [`ResultsError::Stale`] names those that differ: the file is then of no use as a whole, for picks are relative
    /// to each other.
    pub fn check(&self, source_today: impl Fn(KernelId) -> Option<String>) -> Result<(), ResultsError> {
        let changed = |kernel: &&Source| source_today(kernel.name).as_ref() != Some(&kernel.source);
        let kernels: Vec<KernelId> = self.kernels.iter().filter(changed).map(|kernel| kernel.name).collect();
        if kernels.is_empty() { Ok(()) } else { Err(ResultsError::Stale { machine: self.machine.id.clone(), kernels }) }
    }

    /// The same for who has not all kernels: of those that `source_here` has none of, it cannot be told.
    ///
    /// # Errors
    /// As [`Results::check`].
    pub fn check_known(&self, source_here: impl Fn(KernelId) -> Option<String>) -> Result<(), ResultsError> {
        let recorded = |id| self.kernels.iter().find(|kernel| kernel.name == id).map(|kernel| kernel.source.clone());
        self.check(|id| source_here(id).or_else(|| recorded(id)))
    }

    /// Takes over what `older` says of shapes and numbers of threads that were not measured this time. Date, command and load
    /// remain those of the last search.
    pub fn absorb(&mut self, older: Results) {
        let measured: HashSet<(Shape, usize)> =
            self.samples.iter().map(|sample| (sample.case.shape, sample.case.threads)).collect();
        let kept = |case: &Case| !measured.contains(&(case.shape, case.threads));
        self.picks.extend(older.picks.into_iter().filter(|pick| kept(&pick.case)));
        self.samples.extend(older.samples.into_iter().filter(|sample| kept(&sample.case)));
        let apart = |crossover: &Crossover| !measured.contains(&(crossover.shape, crossover.threads));
        self.crossovers.extend(older.crossovers.into_iter().filter(apart));
        let here: HashSet<usize> = self.bandwidths.iter().map(|bandwidth| bandwidth.threads).collect();
        self.bandwidths.extend(older.bandwidths.into_iter().filter(|bandwidth| !here.contains(&bandwidth.threads)));
        self.bandwidths.sort_by_key(|bandwidth| bandwidth.threads);
        self.picks.sort_by_key(|pick| pick.case);
        self.crossovers.sort_by_key(|crossover| (crossover.shape, crossover.threads));
        self.samples.sort_by_key(|sample| sample.case);
        let measured: HashSet<KernelId> = self.samples.iter().map(|sample| sample.kernel).collect();
        let new: HashSet<KernelId> = self.kernels.iter().map(|kernel| kernel.name).collect();
        let named = |kernel: &Source| measured.contains(&kernel.name) && !new.contains(&kernel.name);
        self.kernels.extend(older.kernels.into_iter().filter(named));
        self.kernels.sort_by_key(|kernel| kernel.name);
    }

    /// The kernels that its picks name: what a build for this machine needs.
    pub fn picked(&self) -> impl Iterator<Item = KernelId> {
        self.picks.iter().map(|pick| pick.kernel)
    }

    /// The picks, together for each shape and number of threads.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors: Vec<Tensor> = Vec::new();
        for pick in &self.picks {
            let (shape, threads) = (pick.case.shape, pick.case.threads);
            let at = tensors.iter().position(|tensor| (tensor.shape, tensor.threads) == (shape, threads));
            let at = at.unwrap_or_else(|| {
                let crossover = self.crossover(shape, threads);
                tensors.push(Tensor { shape, threads, candidates: Vec::new(), crossover });
                tensors.len() - 1
            });
            let candidates = &mut tensors[at].candidates;
            let serves = |kernel: KernelId| (kernel.op, kernel.tile.mr);
            if !candidates.iter().any(|known| serves(known.kernel) == serves(pick.kernel)) {
                candidates.push(Candidate { kernel: pick.kernel, schedule: pick.schedule });
            }
        }
        tensors.sort_by_key(|tensor| (tensor.shape, tensor.threads));
        tensors
    }

    /// The sample of a candidate in a case.
    pub fn sample(&self, case: &Case, candidate: impl Into<Candidate>) -> Option<&Sample> {
        let candidate = candidate.into();
        self.samples.iter().find(|sample| sample.case == *case && sample.candidate() == candidate)
    }

    /// From how many tokens on the gemm computes what it leaves over, where that was measured.
    pub fn crossover(&self, shape: Shape, threads: usize) -> Option<usize> {
        let found = self.crossovers.iter().find(|crossover| (crossover.shape, crossover.threads) == (shape, threads));
        found.map(|crossover| crossover.tokens)
    }

    /// What contradicts what, if anything.
    fn validate(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("its schema is {}", self.schema));
        }
        if !machine::is_id(&self.machine.id) {
            return Err(format!("`{}` is no machine id", self.machine.id));
        }
        if OffsetDateTime::parse(&self.date, &Rfc3339).is_err() {
            return Err(format!("`{}` is no RFC 3339 date", self.date));
        }
        for &Bandwidth { threads, gigabytes_per_second } in &self.bandwidths {
            positive("a bandwidth", gigabytes_per_second)?;
            at_least_one("a bandwidth", "threads", threads)?;
        }
        for (name, weight) in [("decode", self.objective.decode), ("prefill", self.objective.prefill)] {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(format!("the objective's {name} is at least 0 and finite, not {weight}"));
            }
        }
        if let Some(load) = self.load.filter(|load| !(0.0..=1.0).contains(load)) {
            return Err(format!("a load lies between 0 and 1, not {load}"));
        }
        let mut crossed = HashSet::new();
        for crossover in &self.crossovers {
            crossover.validate()?;
            let Crossover { shape, threads, .. } = crossover;
            if !crossed.insert((shape, threads)) {
                return Err(format!("there are two crossovers for {shape} on {threads} threads"));
            }
        }
        let mut sources = HashSet::new();
        for kernel in &self.kernels {
            if kernel.source.is_empty() || !sources.insert(kernel.name) {
                return Err(format!("{} is listed twice, or without its source", kernel.name));
            }
        }
        let mut picked = HashSet::new();
        let mut layouts: Vec<(&Pick, Layout)> = Vec::new();
        for pick in &self.picks {
            pick.validate()?;
            if !sources.contains(&pick.kernel) {
                return Err(format!("{} is picked, but the source it had is not recorded", pick.kernel));
            }
            if !picked.insert(pick.case) {
                return Err(format!("there are two picks for {}", pick.case));
            }
            let packed_with =
                |other: &Pick| other.case.shape == pick.case.shape && other.case.threads == pick.case.threads;
            match layouts.iter().find(|(other, _)| packed_with(other)) {
                Some((other, layout)) if *layout != pick.kernel.layout() => {
                    return Err(format!("{} and {} cannot share packed weights", other.kernel, pick.kernel));
                }
                Some(_) => (),
                None => layouts.push((pick, pick.kernel.layout())),
            }
        }
        let mut sampled = HashSet::new();
        for sample in &self.samples {
            valid_case(&sample.case, &sample.kernel)?;
            for &time in &sample.times {
                positive("a time", time)?;
            }
            if let Some(drift) = sample.drift {
                positive("a drift", drift)?;
            }
            if !sample.times.is_sorted() {
                return Err(format!("times of {} in {} are not ascending", sample.kernel, sample.case));
            }
            if !sources.contains(&sample.kernel) {
                return Err(format!("{} was measured, but the source it had is not recorded", sample.kernel));
            }
            if !sampled.insert((sample.case, sample.candidate())) {
                return Err(format!("there are two samples of {} in {}", sample.kernel, sample.case));
            }
        }
        Ok(())
    }
}

impl Crossover {
    /// What contradicts what, if anything.
    pub(crate) fn validate(&self) -> Result<(), String> {
        at_least_one("a crossover", "threads", self.threads)?;
        at_least_one("a crossover", "tokens", self.tokens)?;
        for tail in &self.tried {
            at_least_one("a crossover", "m", tail.m)?;
            positive("a crossover's time", tail.gemv)?;
            positive("a crossover's time", tail.gemm)?;
        }
        Ok(())
    }
}

impl Pick {
    fn validate(&self) -> Result<(), String> {
        valid_case(&self.case, &self.kernel)?;
        positive("a picked kernel's time", self.seconds)?;
        positive("a regret", self.regret)?;
        if let Some(error) = self.error.filter(|error| !(error.is_finite() && *error >= 0.0)) {
            return Err(format!("a relative error is at least 0 and finite, not {error}"));
        }
        for (who, kernel, seconds) in
            [("default", self.default, self.default_seconds), ("analytic", self.analytic, self.analytic_seconds)]
        {
            if let Some(seconds) = seconds {
                positive(&format!("the {who} kernel's time"), seconds)?;
            }
            if let Some(kernel) = kernel {
                valid_case(&self.case, &kernel)?;
            } else if seconds.is_some() {
                return Err(format!("in {} no {who} kernel is named, but its time", self.case));
            }
        }
        Ok(())
    }
}

fn valid_case(case: &Case, kernel: &KernelId) -> Result<(), String> {
    at_least_one("a case", "threads", case.threads)?;
    at_least_one("a case", "m", case.m)?;
    if case.suits(kernel) {
        return Ok(());
    }
    match case.op {
        Op::Gemv => Err(format!("{kernel} is no candidate for {case}: it is for {} tokens", kernel.tile.mr)),
        Op::Gemm => Err(format!("{kernel} is no candidate for {case}")),
    }
}

fn positive(what: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("{what} is above 0 and finite, not {value}")) }
}

fn at_least_one(what: &str, field: &str, count: usize) -> Result<(), String> {
    if count > 0 { Ok(()) } else { Err(format!("{what} has {field} = 0")) }
}

/// Makes room for other results: a file that is refused becomes `MACHINE.toml.refused`, or `MACHINE.toml.2.refused` and so
/// on, since earlier ones are kept. Returns its new path.
///
/// # Errors
/// [`ResultsError::Rename`].
pub fn refuse(path: &Path) -> Result<PathBuf, ResultsError> {
    side_file::keep(path, REFUSED).map_err(|source| ResultsError::Rename { path: path.into(), source })
}

/// The results files of a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// Those that can be believed, sorted by path.
    pub results: Vec<(PathBuf, Results)>,
    /// Why the others cannot.
    pub refused: Vec<ResultsError>,
}

/// Reads every `*.toml` of a folder: one bad file does not cost the others.
///
/// # Errors
/// [`ResultsError::Read`] where the folder itself cannot be listed.
pub fn load_dir(dir: &Path) -> Result<Folder, ResultsError> {
    let paths = list(dir)?;
    let mut folder = Folder::default();
    for path in paths {
        match Results::load(&path) {
            Ok(results) => folder.results.push((path, results)),
            Err(error) => folder.refused.push(error),
        }
    }
    Ok(folder)
}

/// The paths of every `*.toml` of a folder, sorted.
///
/// # Errors
/// [`ResultsError::Read`] where the folder cannot be listed.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, ResultsError> {
    let paths = || {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    };
    paths().map_err(|source| ResultsError::Read { path: dir.into(), source })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use tritune_codegen::Isa;

    const GEMV: &str = "gemv_t200_1x16k64u4__avx512vnni_dot";
    const GEMM: &str = "gemm_t200_16x16k64u1__avx512vnni_dot";

    /// Results as a short search might leave them.
    pub(crate) fn example() -> Results {
        let shape = "2560x6912".parse().unwrap();
        let gemv = Case { shape, threads: 2, op: Op::Gemv, m: 1 };
        let gemm = Case { op: Op::Gemm, m: 128, ..gemv };
        let (fast, many): (KernelId, KernelId) = (GEMV.parse().unwrap(), GEMM.parse().unwrap());
        let default = "gemv_t200_1x16k64u2__avx512vnni_dot".parse().unwrap();
        let pick = |case, kernel, seconds, default, default_seconds| Pick {
            case,
            kernel,
            schedule: Schedule::default(),
            seconds,
            error: Some(0.004),
            regret: 1.0,
            default,
            default_seconds,
            analytic: None,
            analytic_seconds: None,
        };
        let lying: KernelId = "gemm_t200_8x32k64u1__avx512vnni_dot".parse().unwrap();
        Results {
            schema: SCHEMA,
            complete: true,
            date: Results::now(),
            command: "tritune tune --quick".into(),
            compiler: "rustc 1.95.0".into(),
            machine: Machine { id: "amd-epyc-2c".into(), ..Machine::detect([Isa::Scalar, Isa::Avx512Vnni]) },
            bandwidths: vec![Bandwidth { threads: 2, gigabytes_per_second: 41.5 }],
            objective: Weighting::default(),
            pool_bytes: 1 << 29,
            load: Some(0.01),
            kernels: [fast, many, default, lying]
                .map(|name| Source { name, source: format!("{:x}", name.tile.mr) })
                .into(),
            crossovers: vec![Crossover {
                shape,
                threads: 2,
                tokens: 5,
                tried: vec![Tail { m: 5, gemv: 6.0e-4, gemm: 5.0e-4 }],
            }],
            picks: vec![
                pick(gemv, fast, 1.25e-4, Some(default), Some(1.5e-4)),
                pick(gemm, many, 8.0e-3, Some(many), Some(8.0e-3)),
            ],
            samples: vec![
                Sample::new(gemv, fast, &[1.3e-4, 1.20004e-4, 1.25e-4]),
                Sample { eliminated: Some("20 % slower".into()), ..Sample::new(gemv, default, &[1.5e-4, 1.6e-4]) },
                Sample::new(gemm, many, &[8.0e-3]),
                Sample { failed: Some("row 7 differs".into()), ..Sample::new(gemm, lying, &[]) },
            ],
        }
    }

    #[test]
    fn results_survive_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let results = example();
        let path = dir.path().join(results.file_name());
        results.save(&path).unwrap();
        results.save(&path).unwrap();
        assert_eq!(Results::load(&path).unwrap(), results);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no side file is left");
        assert_eq!(results.samples[0].times, [1.2e-4, 1.25e-4, 1.3e-4]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("times = [0.00012, 0.000125, 0.00013]"), "{text}");
        assert_eq!(results.sample(&results.picks[1].case, results.picks[1].kernel), Some(&results.samples[2]));
    }

    #[test]
    fn dates_are_compared_as_moments() {
        let dated = |date: &str| Results { date: date.into(), ..example() };
        let now = dated("2026-07-01T12:00:00Z");
        assert!(dated("2026-07-01T12:00:01Z").is_dated_after(&now));
        assert!(dated("2026-07-01T12:00:00-01:00").is_dated_after(&now));
        assert!(!dated("2026-07-01T13:00:00+01:00").is_dated_after(&now));
        assert!(!dated("2025-12-31T23:59:59Z").is_dated_after(&now));
    }

    #[test]
    fn changed_kernels_are_refused_with_the_remedy() {
        let results = example();
        assert!(results.check(|kernel| Some(format!("{:x}", kernel.tile.mr))).is_ok());
        for today in [None, Some("other".to_string())] {
            let error = results.check(|_| today.clone()).unwrap_err().to_string();
            assert!(error.contains(GEMV) && error.contains("`cargo xtask tune`"), "{error}");
        }
        let one = results.check(|kernel| (kernel.op == Op::Gemv).then(|| "1".into())).unwrap_err().to_string();
        assert!(one.contains(GEMM) && !one.contains(GEMV), "{one}");
    }

    /// A binary that has one kernel of those that were measured knows nothing of the others.
    #[test]
    fn kernels_that_are_not_here_are_not_judged() {
        let results = example();
        let here =
            |source: &'static str| move |kernel: KernelId| (kernel.to_string() == GEMV).then(|| source.to_string());
        results.check_known(here("1")).unwrap();
        results.check_known(|_| None).unwrap();
        assert!(results.check(here("1")).is_err());
        let error = results.check_known(here("2")).unwrap_err().to_string();
        assert!(error.contains(GEMV) && !error.contains(GEMM), "{error}");
    }

    #[test]
    fn refused_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.toml");
        for name in ["m.toml.refused", "m.toml.2.refused"] {
            fs::write(&path, name).unwrap();
            assert_eq!(refuse(&path).unwrap(), dir.path().join(name));
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), name);
        }
        let error = refuse(&path).unwrap_err().to_string();
        assert!(error.contains("m.toml"), "{error}");
        assert_eq!(load_dir(dir.path()).unwrap().refused.len(), 0, "they are no results files");
    }

    #[test]
    fn foreign_and_broken_files_say_what_to_do() {
        let good = toml::to_string(&example()).unwrap();
        let path = Path::new("machine.toml");
        for (from, to, says) in [
            ("schema = 3", "schema = 4\nshapes = 3", "written by schema 4, this tritune reads 3"),
            ("schema = 3", "schema = \"x\"", "not a results file"),
            ("schema = 3", "", "missing field `schema`"),
            ("complete = true", "complete = true\nmood = 1", "unknown field `mood`"),
            ("id = \"amd-epyc-2c\"", "id = \"../../x\"", "no machine id"),
            ("date = \"2", "date = \"x2", "RFC 3339"),
            ("41.5", "nan", "a bandwidth is above 0"),
            ("41.5", "-1.0", "a bandwidth is above 0"),
            ("[0.00012, ", "[nan, ", "a time is above 0"),
            ("[0.00012, ", "[0.0, ", "a time is above 0"),
            ("[0.00012, ", "[1.0, ", "not ascending"),
            ("seconds = 0.000125", "seconds = inf", "picked kernel's time"),
            ("error = 0.004", "error = -1.0", "relative error"),
            ("regret = 1.0", "regret = nan", "a regret"),
            ("2560x6912", "0x6912", "not a shape"),
            ("2560x6912", "02560x6912", "not a shape"),
            ("threads = 2\nop", "threads = 0\nop", "threads = 0"),
            ("threads = 2\nop", "threads = -1\nop", "not a results file"),
            (GEMV, "gemv_t200_2x16k64u4__avx512vnni_dot", "it is for 2 tokens"),
            ("op = \"gemm\"", "op = \"gemv\"", "no candidate"),
            ("op = \"gemm\"", "op = \"gemx\"", "unknown operation"),
            (GEMM, "gemm_t200_16x15k64u1__avx512vnni_dot", "multiple of the 16"),
            (GEMM, "gemm_t200_16x32k64u1__avx512vnni_dot", "cannot share packed weights"),
            ("source = \"1\"", "source = \"\"", "without its source"),
            ("name = \"gemv_t200_1x16k64u4", "name = \"gemm_t200_1x16k64u4", "is picked, but"),
            ("name = \"gemv_t200_1x16k64u2", "name = \"gemm_t200_1x16k64u2", "was measured, but"),
            ("decode = 0.7", "decode = -0.7", "objective's decode"),
            ("load = 0.01", "load = 1.5", "a load lies"),
            ("tokens = 5", "tokens = 0", "tokens = 0"),
            ("gemm = 0.0005", "gemm = nan", "a crossover's time"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Results::parse(&good.replace(from, to), path).unwrap_err().to_string();
            assert!(error.contains(says), "{from} -> {to}: {error}");
            assert!(error.contains("machine.toml") && error.contains("`cargo xtask tune`"), "{error}");
        }
    }

    #[test]
    fn what_would_not_load_is_not_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.toml");
        let mut results = example();
        results.samples[0].times[0] = f64::NAN;
        assert!(matches!(results.save(&path), Err(ResultsError::Invalid { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn unwritable_folders_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [dir.path().join("missing/m.toml"), file.join("m.toml")] {
            let error = example().save(&path).unwrap_err().to_string();
            assert!(error.contains("m.toml") && error.contains("writable"), "{error}");
        }
        // A folder in the file's place: the side file is written, cannot take it, and is removed.
        fs::create_dir(dir.path().join("m.toml")).unwrap();
        assert!(matches!(example().save(&dir.path().join("m.toml")), Err(ResultsError::Write { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn folders_are_read_in_order_and_past_bad_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load_dir(&dir.path().join("missing")).is_err());
        for name in ["b.toml", "c.toml"] {
            example().save(&dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("a.toml"), [0xff, 0xfe]).unwrap();
        fs::write(dir.path().join("README.md"), "#").unwrap();
        let loaded = load_dir(dir.path()).unwrap();
        let names: Vec<_> = loaded.results.iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["b.toml", "c.toml"]);
        assert_eq!(loaded.refused.len(), 1);
        assert!(loaded.refused[0].to_string().contains("a.toml"));
    }

    #[test]
    fn what_was_not_measured_again_is_taken_over() {
        let older = example();
        let mut newer = example();
        let other = |case: &mut Case| case.threads = 1;
        newer.picks.iter_mut().for_each(|pick| other(&mut pick.case));
        newer.samples.iter_mut().for_each(|sample| other(&mut sample.case));
        newer.crossovers.iter_mut().for_each(|crossover| crossover.threads = 1);
        newer.bandwidths = vec![Bandwidth { threads: 1, gigabytes_per_second: 20.5 }];
        newer.absorb(older.clone());
        assert_eq!((newer.picks.len(), newer.crossovers.len(), newer.samples.len()), (4, 2, 8));
        assert_eq!(newer.bandwidths, [newer.bandwidths[0], older.bandwidths[0]]);
        newer.validate().unwrap();
        // The same cases again: nothing is taken over twice.
        let before = newer.clone();
        let mut slower = older;
        slower.bandwidths[0].gigabytes_per_second = 1.0;
        newer.absorb(slower);
        assert_eq!(newer, before);
    }

    proptest! {
        #[test]
        fn four_figures_are_close(value in 1e-9..1e3f64) {
            let rounded = four_figures(value);
            prop_assert!((rounded / value - 1.0).abs() <= 5.01e-4);
            prop_assert_eq!(four_figures(rounded), rounded);
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "\\PC{0,200}") {
            prop_assert!(Results::parse(&text, Path::new("m.toml")).is_err());
        }

        /// A file may have been cut short anywhere by another program.
        #[test]
        fn cut_files_do_not_panic(cut in 0.0..1.0f64) {
            let text = toml::to_string(&example()).unwrap();
            let end = text.floor_char_boundary((text.len() as f64 * cut) as usize);
            let _ = Results::parse(&text[..end], Path::new("m.toml"));
        }
    }
}
