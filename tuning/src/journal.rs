//! The diary of a search that is under way, so that an end of the process is not an end of the search.
//!
//! A line of JSON each: first what is searched, then every case that has ended, every crossover that was found and every
//! candidate that was excluded. A
//! line is on the disk before the search goes on. What interrupts a writer leaves at most one incomplete line, the last,
//! which is not believed.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tritune_codegen::KernelId;

use crate::candidate::Candidate;
use crate::case::Case;
use crate::results::{Crossover, Results, Sample, Source};
use crate::search::{Excluded, Lineup};
use crate::shapes::Shape;
use crate::side_file;

/// The schema that this version reads and writes.
pub const SCHEMA: i64 = 2;

/// What ends the name of a journal that made room for another.
const OLD: &str = "old";

/// Larger files are no journals: a full search writes some megabytes.
const SIZE_LIMIT: u64 = 64 << 20;

/// What is searched: a journal goes on only with an equal plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`Machine::id`](crate::machine::Machine::id).
    pub machine: String,
    /// The compiler of the kernels.
    pub compiler: String,
    /// Bytes of weights to go through before any is used again.
    pub pool_bytes: usize,
    /// The cases, in order.
    pub cases: Vec<Case>,
    /// The kernels, in order.
    pub kernels: Vec<Source>,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    schema: i64,
    /// The command line that began it.
    command: String,
    /// When: RFC 3339, UTC.
    date: String,
    plan: Plan,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Begun(Heading),
    Finished { case: Case, samples: Vec<Sample> },
    Excluded(Excluded),
    Crossed(Crossover),
}

impl Line {
    fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// What a search has already found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Cases that are settled, with a sample for each candidate, in the order in which they ended. A case comes again with
    /// other candidates.
    pub finished: Vec<(Case, Vec<Sample>)>,
    /// Kernels that computed what is wrong, crashed or hung.
    pub excluded: Vec<Excluded>,
    /// Crossovers, of different tensors.
    pub crossovers: Vec<Crossover>,
}

impl Found {
    /// The samples of a lineup that is settled already. Kernels that are excluded have none.
    pub fn settled(&self, lineup: &Lineup) -> Option<&[Sample]> {
        let out = |candidate: &Candidate| self.excluded.iter().any(|out| out.kernel == candidate.kernel);
        let left = |candidates: &mut dyn Iterator<Item = Candidate>| -> HashSet<Candidate> {
            candidates.filter(|candidate| !out(candidate)).collect()
        };
        let wanted = left(&mut lineup.candidates.iter().copied());
        let same = |samples: &[Sample]| left(&mut samples.iter().map(Sample::candidate)) == wanted;
        let mut finished = self.finished.iter().filter(|(case, samples)| *case == lineup.case && same(samples));
        finished.next().map(|(_, samples)| &samples[..])
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes of complete lines.
    end: u64,
}

/// A journal that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The command line that began it.
    pub command: String,
    /// When: RFC 3339, UTC.
    pub date: String,
    /// What was searched.
    pub plan: Plan,
    /// What was found.
    pub found: Found,
    /// Bytes of complete lines.
    end: u64,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is far too long.
    #[error("{} is larger than {SIZE_LIMIT} bytes, which no journal is; remove it", path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another version.
    #[error(
        "{} was written by schema {found}, this tritune reads {SCHEMA}; leave --resume out to begin anew",
        path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// The file is none, or was changed.
    #[error("{} cannot be believed: line {line}: {what}; leave --resume out to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The file tells of another search.
    #[error(
        "{} is of another search, `{command}` of {date}: {what}; run that one again with --resume, or leave --resume out \
         to begin anew",
        path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Its command line.
        command: String,
        /// When it was begun.
        date: String,
        /// What differs.
        what: &'static str,
    },
}

impl Plan {
    /// What tells another plan from this one, if anything.
    fn differs(&self, other: &Plan) -> Option<&'static str> {
        [
            (self.machine == other.machine, "it is of another machine"),
            (self.compiler == other.compiler, "its kernels were made by another compiler"),
            (self.pool_bytes == other.pool_bytes, "its pools of weights have another size"),
            (self.cases == other.cases, "it has other shapes, or other numbers of threads or tokens"),
            (self.kernels == other.kernels, "it has other candidates, or their source has changed"),
        ]
        .into_iter()
        .find_map(|(same, what)| (!same).then_some(what))
    }
}

impl Journal {
    /// Begins a journal, in place of any that is there.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    pub fn begin(path: &Path, plan: &Plan, command: &str) -> Result<Journal, JournalError> {
        let heading = Heading { schema: SCHEMA, command: command.into(), date: Results::now(), plan: plan.clone() };
        let begun = || {
            let text = Line::Begun(heading).text()?;
            // A journal has its first line from the beginning: one that it replaces is gone no sooner.
            Ok(Journal { file: side_file::replace(path, &text)?, path: path.into(), end: text.len() as u64 })
        };
        begun().map_err(|source| JournalError::Write { path: path.into(), source })
    }

    /// Makes room for another journal: the one in `path` becomes `MACHINE.journal.old`, or `MACHINE.journal.2.old` and so on,
    /// since earlier ones are kept. Returns its new path; under its own again it can be gone on with.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    pub fn retire(path: &Path) -> Result<PathBuf, JournalError> {
        side_file::keep(path, OLD).map_err(|source| JournalError::Write { path: path.into(), source })
    }

    /// Goes on with a journal of the same plan, and returns what it holds; `None` where there is none to go on with, or one
    /// that was interrupted in its first line.
    ///
    /// # Errors
    /// [`JournalError`]: a journal of another plan, damaged, or not to be read or written.
    pub fn resume(path: &Path, plan: &Plan) -> Result<Option<(Journal, Found)>, JournalError> {
        let Some(record) = Record::load(path)? else { return Ok(None) };
        if let Some(what) = plan.differs(&record.plan) {
            let Record { command, date, .. } = record;
            return Err(JournalError::Other { path: path.into(), command, date, what });
        }
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|source| JournalError::Write { path: path.into(), source })?;
        Ok(Some((Journal { file, path: path.into(), end: record.end }, record.found)))
    }

    /// Writes down that a case is settled.
    ///
    /// # Errors
    /// [`JournalError::Write`]: the journal is as it was, and may be written to again.
    pub fn finished(&mut self, case: &Case, samples: &[Sample]) -> Result<(), JournalError> {
        self.append(&Line::Finished { case: *case, samples: samples.into() })
    }

    /// Writes down that a candidate is out.
    ///
    /// # Errors
    /// As [`Journal::finished`].
    pub fn excluded(&mut self, excluded: &Excluded) -> Result<(), JournalError> {
        self.append(&Line::Excluded(excluded.clone()))
    }

    /// Writes down that a crossover was found.
    ///
    /// # Errors
    /// As [`Journal::finished`].
    pub fn crossed(&mut self, crossover: &Crossover) -> Result<(), JournalError> {
        self.append(&Line::Crossed(crossover.clone()))
    }

    /// Removes the file, when what it holds is kept elsewhere.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    pub fn remove(self) -> Result<(), JournalError> {
        drop(self.file);
        fs::remove_file(&self.path).map_err(|source| JournalError::Write { path: self.path, source })
    }

    fn append(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut write = || {
            let text = line.text()?;
            self.file.seek(SeekFrom::Start(self.end))?;
            // What an earlier failure has left of its line.
            if self.file.metadata()?.len() > self.end {
                self.file.set_len(self.end)?;
            }
            self.file.write_all(text.as_bytes())?;
            self.file.sync_data()?;
            Ok(text.len() as u64)
        };
        let written: io::Result<u64> = write();
        self.end += written.map_err(|source| JournalError::Write { path: self.path.clone(), source })?;
        Ok(())
    }
}

impl Record {
    /// Reads a journal; `None` where there is none, or one that was interrupted in its first line.
    ///
    /// # Errors
    /// [`JournalError`]: unreadable, of another schema, or damaged otherwise than by an end that is missing.
    pub fn load(path: &Path) -> Result<Option<Record>, JournalError> {
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)) {
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(JournalError::Read { path: path.into(), source }),
        }
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(JournalError::Size { path: path.into() });
        }
        Record::parse(&bytes, path)
    }

    /// Reads the bytes of a journal; `path` is for messages.
    ///
    /// # Errors
    /// As [`Record::load`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Option<Record>, JournalError> {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let mut record: Option<Record> = None;
        for (index, line) in lines.iter().enumerate() {
            let last = index + 1 == lines.len();
            if !line.ends_with(b"\n") {
                break;
            }
            let damaged = |what: String| JournalError::Damaged { path: path.into(), line: index + 1, what };
            let value: serde_json::Value = match serde_json::from_slice(line) {
                Ok(value) => value,
                // A disk may have kept the end of a line and lost its middle.
                Err(_) if last && index > 0 => break,
                Err(error) => return Err(damaged(error.to_string())),
            };
            // The version first: what follows it may be anything in another schema.
            if let Some(found) = value["begun"]["schema"].as_i64().filter(|found| index == 0 && *found != SCHEMA) {
                return Err(JournalError::Schema { path: path.into(), found });
            }
            match (serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?, &mut record) {
                (Line::Begun(Heading { command, date, plan, .. }), None) => {
                    record = Some(Record { command, date, plan, found: Found::default(), end: 0 });
                }
                (Line::Finished { case, samples }, Some(record)) => {
                    record.finish(case, samples).map_err(damaged)?;
                }
                (Line::Excluded(excluded), Some(record)) => {
                    record.knows(excluded.kernel).map_err(damaged)?;
                    record.found.excluded.push(excluded);
                }
                (Line::Crossed(crossover), Some(record)) => {
                    record.cross(crossover).map_err(damaged)?;
                }
                (_, None) => return Err(damaged("it does not begin as a journal does".into())),
                (Line::Begun(_), Some(_)) => return Err(damaged("it begins twice".into())),
            }
            if let Some(record) = &mut record {
                record.end += line.len() as u64;
            }
        }
        Ok(record)
    }

    fn finish(&mut self, case: Case, samples: Vec<Sample>) -> Result<(), String> {
        if !self.plan.cases.contains(&case) {
            return Err(format!("{case} is not in its plan"));
        }
        let mut candidates = HashSet::new();
        for sample in &samples {
            self.knows(sample.kernel)?;
            if !case.suits(&sample.kernel) || sample.case != case || !candidates.insert(sample.candidate()) {
                return Err(format!("{} is no candidate for {case}, or twice", sample.candidate()));
            }
            if !sample.times.iter().all(|time| time.is_finite() && *time > 0.0) || !sample.times.is_sorted() {
                return Err(format!("times of {} are not above 0 and ascending", sample.kernel));
            }
        }
        let again = |(finished, before): &(Case, Vec<Sample>)| {
            *finished == case && before.iter().map(Sample::candidate).collect::<HashSet<_>>() == candidates
        };
        if self.found.finished.iter().any(again) {
            return Err(format!("{case} ends twice"));
        }
        self.found.finished.push((case, samples));
        Ok(())
    }

    fn cross(&mut self, crossover: Crossover) -> Result<(), String> {
        let Crossover { shape, threads, .. } = crossover;
        let of_tensor = |shape_of: Shape, threads_of: usize| (shape_of, threads_of) == (shape, threads);
        if !self.plan.cases.iter().any(|case| of_tensor(case.shape, case.threads)) {
            return Err(format!("{shape} on {threads} threads is not in its plan"));
        }
        crossover.validate()?;
        if self.found.crossovers.iter().any(|known| of_tensor(known.shape, known.threads)) {
            return Err(format!("the crossover of {shape} on {threads} threads was found twice"));
        }
        self.found.crossovers.push(crossover);
        Ok(())
    }

    /// Whether a kernel is of the plan.
    fn knows(&self, kernel: KernelId) -> Result<(), String> {
        let known = self.plan.kernels.iter().any(|source| source.name == kernel);
        if known { Ok(()) } else { Err(format!("{kernel} is not in its plan")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Tail;
    use proptest::prelude::*;
    use tritune_codegen::{Op, Schedule};

    const COMMAND: &str = "tritune tune --shape 640x2560";

    fn kernels() -> [KernelId; 2] {
        ["gemv_t200_1x16k64u4__avx512vnni_dot", "gemv_t200_1x16k64u2__avx512vnni_dot"].map(|name| name.parse().unwrap())
    }

    fn plan() -> Plan {
        let case = |threads| Case { shape: "640x2560".parse().unwrap(), threads, op: Op::Gemv, m: 1 };
        Plan {
            machine: "amd-epyc-2c".into(),
            compiler: "rustc 1.95.0".into(),
            pool_bytes: 1 << 20,
            cases: vec![case(1), case(2)],
            kernels: kernels().map(|name| Source { name, source: "1f".into() }).into(),
        }
    }

    fn found() -> Found {
        let samples = |case: Case| {
            let failed = Some("row 3 differs".into());
            let lying = Sample { failed, ..Sample::new(case, kernels()[1], &[]) };
            vec![Sample::new(case, kernels()[0], &[1.234e-4, 3.3333e-4, 1e-3 / 3.0]), lying]
        };
        let cases = plan().cases;
        let excluded = Excluded { case: cases[1], kernel: kernels()[1], why: "crashed".into() };
        let tried = vec![Tail { m: 4, gemv: 2e-4, gemm: 1e-4 }];
        let crossover = Crossover { shape: cases[0].shape, threads: 1, tokens: 4, tried };
        Found {
            finished: cases.iter().map(|case| (*case, samples(*case))).collect(),
            excluded: vec![excluded],
            crossovers: vec![crossover],
        }
    }

    /// A journal of everything in [`found`], and its file.
    fn written(folder: &Path) -> (Journal, PathBuf) {
        let path = folder.join("m.journal");
        let mut journal = Journal::begin(&path, &plan(), COMMAND).unwrap();
        let Found { finished, excluded, crossovers } = found();
        journal.finished(&finished[0].0, &finished[0].1).unwrap();
        journal.crossed(&crossovers[0]).unwrap();
        journal.excluded(&excluded[0]).unwrap();
        journal.finished(&finished[1].0, &finished[1].1).unwrap();
        (journal, path)
    }

    #[test]
    fn what_was_found_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, path) = written(folder.path());
        let record = Record::load(&path).unwrap().unwrap();
        assert_eq!((record.command.as_str(), &record.plan, &record.found), (COMMAND, &plan(), &found()));
        drop(journal);
        let (journal, resumed) = Journal::resume(&path, &plan()).unwrap().unwrap();
        assert_eq!(resumed, found());
        journal.remove().unwrap();
        assert!(Journal::resume(&path, &plan()).unwrap().is_none());
    }

    #[test]
    fn a_case_is_settled_for_its_own_candidates() {
        let found = found();
        let lineup = |candidates: &[Candidate]| Lineup { case: found.finished[0].0, candidates: candidates.into() };
        let [fast, slow] = kernels().map(Candidate::from);
        let otherwise = Candidate { schedule: Schedule { pieces: 1, ahead: 0 }, ..fast };
        assert_eq!(found.settled(&lineup(&[slow, fast])), Some(&found.finished[0].1[..]));
        assert_eq!(found.settled(&lineup(&[fast])), Some(&found.finished[0].1[..]), "the other is excluded");
        assert_eq!(found.settled(&lineup(&[fast, otherwise])), None);
        assert_eq!(found.settled(&lineup(&[otherwise])), None);
        let other = Case { threads: 9, ..found.finished[0].0 };
        assert_eq!(found.settled(&Lineup { case: other, ..lineup(&[fast]) }), None);
    }

    #[test]
    fn a_cut_line_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (_, path) = written(folder.path());
        let whole = fs::read(&path).unwrap();
        for cut in [1, 2, 50] {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut journal, resumed) = Journal::resume(&path, &plan()).unwrap().unwrap();
            assert_eq!(resumed.finished.len(), 1);
            let (case, samples) = &found().finished[1];
            journal.finished(case, samples).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn another_search_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (_, path) = written(folder.path());
        let change = |change: fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            Journal::resume(&path, &plan).unwrap_err().to_string()
        };
        for (error, says) in [
            (change(|plan| plan.machine = "other".into()), "another machine"),
            (change(|plan| plan.compiler = "rustc 2".into()), "another compiler"),
            (change(|plan| plan.pool_bytes = 2), "pools"),
            (change(|plan| plan.cases.truncate(1)), "other shapes"),
            (change(|plan| plan.kernels[0].source = "2".into()), "source has changed"),
            (change(|plan| plan.kernels.truncate(1)), "other candidates"),
        ] {
            assert!(error.contains(says) && error.contains("m.journal") && error.contains(COMMAND), "{error}");
            assert!(error.contains("leave --resume out"), "{error}");
        }
    }

    #[test]
    fn foreign_and_broken_files_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let (_, path) = written(folder.path());
        let good = fs::read_to_string(&path).unwrap();
        let line = |n: usize| good.lines().nth(n).unwrap();
        let swapped = |a: &str, b: &str| good.replacen(a, b, 1);
        for (text, says) in [
            ("hello\nworld\n".to_string(), "line 1: expected value"),
            ("{}\n".into(), "line 1"),
            (format!("{}\n", line(1)), "does not begin as a journal"),
            (format!("{}\n{}\n", line(0), line(0)), "line 2: it begins twice"),
            (format!("{}\n{}\n{}\n", line(0), line(1), line(1)), "line 3: gemv 640x2560 m=1 threads=1 ends twice"),
            (format!("{good}{}\n", line(2)), "the crossover of 640x2560 on 1 threads was found twice"),
            (swapped("\"gemm\":0.0001", "\"gemm\":-1.0"), "a crossover's time"),
            (format!("{}\nx\n{}\n", line(0), line(1)), "line 2: expected value"),
            (swapped("\"schema\":2", "\"schema\":7,\"mood\":2"), "written by schema 7, this tritune reads 2"),
            (swapped("\"schema\":2", "\"mood\":1"), "unknown field `mood`"),
            (
                swapped(
                    "{\"finished\":{\"case\":{\"shape\":\"640x2560\"",
                    "{\"finished\":{\"case\":{\"shape\":\"1x1\"",
                ),
                "not in its plan",
            ),
            (swapped("0.0001234", "-1.0"), "above 0 and ascending"),
            (swapped("0.0001234", "1.0"), "above 0 and ascending"),
            (swapped("0.0001234", "1e999"), "line 2"),
        ] {
            let error = Record::parse(text.as_bytes(), &path).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("m.journal"), "{error}");
            assert!(error.contains("leave --resume out"), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told() {
        let full = Path::new("/dev/full");
        let file = OpenOptions::new().write(true).open(full).unwrap();
        let mut journal = Journal { file, path: full.into(), end: 0 };
        let (case, samples) = &found().finished[0];
        for _ in 0..2 {
            let error = journal.finished(case, samples).unwrap_err().to_string();
            assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
        }
    }

    #[test]
    fn a_journal_that_makes_room_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, path) = written(folder.path());
        drop(journal);
        let kept = Journal::retire(&path).unwrap();
        assert_eq!(kept, folder.path().join("m.journal.old"));
        let mut other = plan();
        other.cases.truncate(1);
        Journal::begin(&path, &other, COMMAND).unwrap();
        assert_eq!(Record::load(&kept).unwrap().unwrap().found, found());
        // What begins over a journal replaces it whole.
        written(folder.path());
        let begun = Journal::begin(&path, &other, COMMAND).unwrap();
        assert_eq!(begun.end, fs::read(&path).unwrap().len() as u64);
        assert_eq!(Record::load(&path).unwrap().unwrap().plan, other);
        fs::rename(&kept, &path).unwrap();
        assert_eq!(Journal::resume(&path, &plan()).unwrap().unwrap().1, found());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no side file is left");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Journal::begin(&folder.path().join("missing/m.journal"), &plan(), COMMAND).unwrap_err().to_string();
        assert!(error.contains("m.journal"), "{error}");
        assert!(matches!(Record::load(folder.path()), Err(JournalError::Read { .. })));
    }

    proptest! {
        /// SIGKILL, or a full disk, anywhere: what was complete is there, and nothing else.
        #[test]
        fn journals_may_end_anywhere(cut in 0.0..1.0f64) {
            let folder = tempfile::tempdir().unwrap();
            let (_, path) = written(folder.path());
            let bytes = fs::read(&path).unwrap();
            let bytes = &bytes[..(bytes.len() as f64 * cut) as usize];
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let record = Record::parse(bytes, &path).unwrap();
            prop_assert_eq!(record.is_some(), lines > 0);
            if let Some(record) = record {
                let Found { finished, excluded, crossovers } = &record.found;
                prop_assert_eq!(finished.len() + excluded.len() + crossovers.len(), lines - 1);
                prop_assert_eq!(&record.found.finished[..], &found().finished[..record.found.finished.len()]);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let record = Record::parse(&bytes, Path::new("m.journal"));
            prop_assert!(!matches!(record, Ok(Some(_))));
        }
    }
}
