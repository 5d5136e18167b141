//! The index of a results folder: a page that shows every file, and the pictures on it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::machine::{self, Cache, Machine};
use crate::plot::{PICTURES, PlotError};
use crate::report::{self, Regrets};
use crate::results::{Crossover, Results};
use crate::side_file;
use crate::text::{code, markdown};

/// The page's name in the folder.
pub const PAGE: &str = "README.md";

/// The name of a file that says how good searches are; the page ends with it.
pub const SEARCHES: &str = "searches.md";

/// What the page begins with.
const HEAD: &str = include_str!("../index.md");

/// Longest text from a results file on the page.
const LONGEST: usize = 400;

/// The page and its pictures, by their paths in the folder; the page is last, so that nothing on it is missing when it
/// is written.
#[derive(Debug)]
pub struct Index(Vec<(PathBuf, String)>);

/// Why an index cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A picture cannot be drawn.
    #[error("{machine}: {source}")]
    Plot {
        /// The machine, by id.
        machine: String,
        /// Why.
        source: PlotError,
    },
    /// A file cannot be written or removed.
    #[error("cannot write {}: {source}; is its folder there and writable?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Index {
    /// The index of `all`, in their order.
    ///
    /// # Errors
    /// [`IndexError::Plot`].
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Results>) -> Result<Index, IndexError> {
        let (mut files, mut page) = (Vec::new(), HEAD.to_owned());
        for results in all {
            let id = &results.machine.id;
            for picture in PICTURES {
                let text = (picture.draw)(results);
                let text = text.map_err(|source| IndexError::Plot { machine: id.clone(), source })?;
                files.push((Path::new(id).join(picture.file), text));
            }
            page.push('\n');
            page.push_str(&section(results));
        }
        if files.is_empty() {
            page.push_str("\nNo machine has been measured yet: this folder has no results file.\n");
        }
        files.push((PAGE.into(), page));
        Ok(Index(files))
    }

    /// The same page, ending with what `folder` has in its file [`SEARCHES`], if it has one.
    ///
    /// # Errors
    /// [`IndexError::Read`].
    pub fn with_searches(mut self, folder: &Path) -> Result<Index, IndexError> {
        let searches = folder.join(SEARCHES);
        match (fs::read_to_string(&searches), self.0.last_mut()) {
            (Ok(text), Some((_, page))) => page.push_str(&format!("\n{text}")),
            (Err(source), _) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Read { path: searches, source });
            }
            _ => (),
        }
        Ok(self)
    }

    /// Writes what differs from what the folder has, and removes the pictures of machines that have no results file any
    /// more. Returns the paths of both, in the folder.
    ///
    /// # Errors
    /// [`IndexError`]: a file that cannot be written or removed. Each is written whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, IndexError> {
        let outdated = self.outdated(folder)?;
        for (path, text) in &self.0 {
            if !outdated.contains(path) {
                continue;
            }
            let full = folder.join(path);
            let made = full.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| side_file::replace(&full, text))
                .map_err(|source| IndexError::Write { path: full, source })?;
        }
        for path in self.leftovers(folder)? {
            let full = folder.join(path);
            fs::remove_file(&full).map_err(|source| IndexError::Write { path: full.clone(), source })?;
            if let Some(emptied) = full.parent() {
                // It stays where something else is in it.
                let _ = fs::remove_dir(emptied);
            }
        }
        Ok(outdated)
    }

    /// What [`Index::write`] would write or remove: the paths of files that are missing, differ, or belong to no results
    /// file, in the folder.
    ///
    /// # Errors
    /// [`IndexError::Read`].
    pub fn outdated(&self, folder: &Path) -> Result<Vec<PathBuf>, IndexError> {
        let mut outdated = Vec::new();
        for (path, text) in &self.0 {
            let full = folder.join(path);
            match fs::read(&full) {
                Ok(there) if there == text.as_bytes() => (),
                Ok(_) => outdated.push(path.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => outdated.push(path.clone()),
                Err(source) => return Err(IndexError::Read { path: full, source }),
            }
        }
        outdated.extend(self.leftovers(folder)?);
        Ok(outdated)
    }

    /// Pictures of machines that have no results file, not even a damaged one.
    fn leftovers(&self, folder: &Path) -> Result<Vec<PathBuf>, IndexError> {
        let read = |source| IndexError::Read { path: folder.into(), source };
        let mut leftovers = BTreeSet::new();
        for entry in fs::read_dir(folder).map_err(read)? {
            let name = PathBuf::from(entry.map_err(read)?.file_name());
            let is_machine = name.to_str().is_some_and(machine::is_id);
            if !is_machine || folder.join(&name).with_extension("toml").exists() {
                continue;
            }
            let pictures = PICTURES.iter().map(|picture| name.join(picture.file));
            let listed = |path: &PathBuf| self.0.iter().any(|(listed, _)| listed == path);
            leftovers.extend(pictures.filter(|path| !listed(path) && folder.join(path).is_file()));
        }
        Ok(leftovers.into_iter().collect())
    }
}

/// What the page says of one results file.
fn section(results: &Results) -> String {
    let Results { machine, .. } = results;
    let mut text = format!("## {}\n\n", markdown(&machine.model, 80));
    if !results.complete {
        text += "The search was cut short: not every candidate was measured.\n\n";
    }
    for ([what, value], row) in facts(results).into_iter().zip(0..) {
        let rule = if row == 0 { "| --- | --- |\n" } else { "" };
        text += &format!("| {what} | {value} |\n{rule}");
    }
    if !results.picks.is_empty() {
        text += "\nTime over that of the fastest kernel of the case, in any layout, by the default schedule, or over the\n\
                 pick's own where that is less:\n\n";
        text += &Regrets::of(results).markdown();
    }
    let accuracy = report::error_of_model(results);
    if !accuracy.is_empty() {
        text += "\nThe cost model:\n\n";
        text += &accuracy.lines().map(|line| format!("- {line}\n")).collect::<String>();
    }
    for picture in PICTURES {
        text += &format!("\n![{}]({}/{})\n", picture.alt, machine.id, picture.file);
    }
    if !results.picks.is_empty() {
        text += "\n";
        text += &report::markdown_table(results);
    }
    if !results.crossovers.is_empty() {
        text += "\nTokens that a gemm leaves over go to gemv kernels while there are few, and to one more pass of the gemm\n\
                 from so many on:\n\n| shape | threads | tokens |\n| --- | --: | --: |\n";
        for Crossover { shape, threads, tokens, .. } in &results.crossovers {
            text += &format!("| {shape} | {threads} | {tokens} |\n");
        }
    }
    text
}

/// Where and how it was measured: rows of a table, the first its head.
fn facts(results: &Results) -> Vec<[String; 2]> {
    let Results { date, command, compiler, machine, objective, pool_bytes, load, bandwidths, .. } = results;
    let Machine { id, microarchitecture, stepping, os, virtualised, cores, isas, features, caches, .. } = machine;
    let virtualised = match virtualised {
        Some(true) => ", virtual",
        Some(false) => ", not virtual",
        None => "",
    };
    let cores = if *cores == 1 { "1 core".into() } else { format!("{cores} cores") };
    let mut facts = Vec::new();
    let mut add = |what: &str, parts: Vec<String>| {
        if !parts.is_empty() {
            facts.push([what.into(), parts.join(", ")]);
        }
    };
    add("file", vec![format!("[{id}.toml]({id}.toml)")]);
    add("machine", vec![format!("{}, stepping {stepping}", shown(microarchitecture)), cores, shown(os) + virtualised]);
    add("caches", caches.iter().map(cache).collect());
    add("instruction sets", vec![shown(&isas.join(", "))]);
    add("features", vec![shown(&features.join(", "))]);
    let bandwidth = |threads: usize, speed: f64| {
        format!("{speed:.1} GB/s on {threads} thread{}", if threads == 1 { "" } else { "s" })
    };
    add("memory reads", bandwidths.iter().map(|b| bandwidth(b.threads, b.gigabytes_per_second)).collect());
    add("measured", vec![format!("{} by {}", shown(date), code(command, LONGEST))]);
    let load = load.map(|load| format!("{:.0} % of the CPU time went to others", load * 100.0));
    add("load", load.into_iter().collect());
    let weighting = format!("decode {}, prefill {}", objective.decode, objective.prefill);
    add("objective", vec![weighting, format!("cold weights: {} in turn", size(*pool_bytes))]);
    add("compiler", vec![shown(compiler)]);
    facts
}

/// Text from a results file.
fn shown(text: &str) -> String {
    markdown(text, LONGEST)
}

fn cache(&Cache { level, bytes }: &Cache) -> String {
    format!("L{level} {}", size(bytes))
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    fn page(index: &Index) -> &str {
        let (path, text) = index.0.last().unwrap();
        assert_eq!(path, Path::new(PAGE));
        text
    }

    #[test]
    fn an_empty_folder_says_so() {
        let index = Index::of([]).unwrap();
        assert_eq!(
            page(&index),
            format!("{HEAD}\nNo machine has been measured yet: this folder has no results file.\n")
        );
        assert_eq!(index.0.len(), 1);
    }

    #[test]
    fn what_is_known_of_searches_ends_the_page() {
        let dir = tempfile::tempdir().unwrap();
        let without = Index::of([]).unwrap().with_searches(dir.path()).unwrap();
        assert!(page(&without).ends_with("no results file.\n"));
        fs::write(dir.path().join(SEARCHES), "## Searches\n").unwrap();
        let with = Index::of([]).unwrap().with_searches(dir.path()).unwrap();
        assert_eq!(page(&with), format!("{}\n## Searches\n", page(&without)));
        fs::write(dir.path().join(SEARCHES), [0xff]).unwrap();
        let error = Index::of([]).unwrap().with_searches(dir.path()).unwrap_err().to_string();
        assert!(error.contains(SEARCHES), "{error}");
    }

    #[test]
    fn every_machine_has_its_facts_picks_and_pictures() {
        let mut one = example();
        one.machine.model = "AMD | EPYC".into();
        one.machine.caches = vec![Cache { level: 1, bytes: 48 << 10 }, Cache { level: 3, bytes: 32 << 20 }];
        one.machine.virtualised = Some(true);
        one.picks[0].regret = 1.1;
        let mut two = example();
        two.machine.id = "other-4c".into();
        two.complete = false;
        let index = Index::of([&one, &two]).unwrap();
        let page = page(&index);
        for line in [
            "## AMD \\| EPYC",
            "| file | [amd-epyc-2c.toml](amd-epyc-2c.toml) |",
            "| caches | L1 48 KiB, L3 32 MiB |",
            "| memory reads | 41.5 GB/s on 2 threads |",
            "| load | 1 % of the CPU time went to others |",
            "| objective | decode 0.7, prefill 0.3, cold weights: 512 MiB in turn |",
            "| compiler | rustc 1.95.0 |",
            "| 2560x6912 | 2 | 5 |",
            "| the default menu | 2 | 1.16 | 1.32 |",
            "| tuning | 2 | 1.05 | 1.10 |",
            "The search was cut short: not every candidate was measured.",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.contains(&format!("| measured | {} by `tritune tune --quick` |", one.date)), "{page}");
        assert!(page.contains(", virtual |"), "{page}");
        assert!(page.starts_with(HEAD) && page.contains(&report::markdown_table(&one)));
        for (path, _) in index.0.iter().rev().skip(1) {
            assert!(page.contains(&format!("]({})", path.display())), "{}", path.display());
        }
        assert_eq!(index.0.len(), 7);
    }

    #[test]
    fn only_what_differs_is_written_and_what_is_left_over_goes() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::of([&example()]).unwrap();
        let all: Vec<PathBuf> = index.0.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(index.outdated(dir.path()).unwrap(), all);
        assert_eq!(index.write(dir.path()).unwrap(), all);
        assert_eq!(index.outdated(dir.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no side file is left");

        fs::write(dir.path().join(&all[0]), "<svg/>").unwrap();
        fs::remove_file(dir.path().join(&all[1])).unwrap();
        // A machine that is no more, one whose file is damaged, and a folder that is none of ours.
        for name in ["gone-1c", "damaged-1c", "Notes"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(PICTURES[0].file), "").unwrap();
        }
        fs::write(dir.path().join("damaged-1c.toml"), "").unwrap();
        let gone = Path::new("gone-1c").join(PICTURES[0].file);
        assert_eq!(index.outdated(dir.path()).unwrap(), [all[0].clone(), all[1].clone(), gone]);
        assert_eq!(index.write(dir.path()).unwrap().len(), 3);
        assert_eq!(index.outdated(dir.path()).unwrap(), Vec::<PathBuf>::new());
        assert!(!dir.path().join("gone-1c").exists() && dir.path().join("damaged-1c").exists());
        assert!(dir.path().join("Notes").exists());
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        // A file where the folder of pictures must be.
        fs::write(dir.path().join("amd-epyc-2c"), "").unwrap();
        let index = Index::of([&example()]).unwrap();
        let error = index.write(dir.path()).unwrap_err().to_string();
        assert!(error.contains("roofline.svg"), "{error}");
        assert!(!dir.path().join(PAGE).exists(), "the page comes last");
        assert!(Index::of([]).unwrap().outdated(&dir.path().join("missing")).is_err());
    }
}
