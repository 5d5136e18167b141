use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use tritune_codegen::KernelId;
use tritune_tuning::compare::Comparison;
use tritune_tuning::fleet::{self, FleetError, Member, Merged};
use tritune_tuning::index::Index;
use tritune_tuning::results::Results as File;

use crate::cargo;

/// `cargo xtask results`.
#[derive(Args)]
pub(crate) struct Results {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say of every results file whether it is of use today, and whether index and pictures are up to date
    Check {
        /// Folder of results files
        #[arg(default_value_os_t = folder())]
        folder: PathBuf,
    },
    /// Bring in results files of other machines
    Merge {
        /// Results files, or folders of them
        #[arg(required = true, value_name = "FILE_OR_FOLDER")]
        from: Vec<PathBuf>,
        /// Folder to bring them into
        #[arg(long, value_name = "FOLDER", default_value_os_t = folder())]
        into: PathBuf,
    },
    /// Hold what searches picked against the times that one of them has measured, and print it as Markdown
    Compare {
        /// The results file whose times count: of the longest search
        reference: PathBuf,
        /// Results files of other searches on the same machine
        #[arg(required = true, value_name = "FILE")]
        searches: Vec<PathBuf>,
    },
    /// Write the index of a folder, README.md, and the pictures that it shows
    Table {
        /// Folder of results files
        #[arg(default_value_os_t = folder())]
        folder: PathBuf,
    },
}

/// Where the workspace keeps its own.
fn folder() -> PathBuf {
    cargo::root().join("results")
}

impl Results {
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Check { folder } => check(&folder),
            Verb::Merge { from, into } => merge(&from, &into),
            Verb::Compare { reference, searches } => compare(&reference, &searches),
            Verb::Table { folder } => table(&folder),
        }
    }
}

fn check(folder: &Path) -> Result<()> {
    let members = fleet::members(folder)?;
    let today = sources_today();
    let mut refused = 0;
    for Member { path, results } in &members {
        let judged = results.as_ref().map(|results| (results, fleet::match_today(path, results, &today)));
        match judged {
            Ok((File { date, picks, samples, complete, .. }, Ok(()))) => {
                let cut = if *complete { "" } else { ", cut short" };
                let (picks, samples) = (picks.len(), samples.len());
                println!("ok        {}: {picks} picks, {samples} samples, {date}{cut}", path.display());
            }
            Ok((_, Err(why))) => {
                refused += 1;
                println!("refused   {}", line(&why));
            }
            Err(why) => {
                refused += 1;
                println!("refused   {}", line(why));
            }
        }
    }
    let outdated = index(folder, &members)?.outdated(folder)?;
    for path in &outdated {
        println!("outdated  {}; renew it with `cargo xtask results table`", folder.join(path).display());
    }
    println!("{} results files, {refused} refused; {} files of the index outdated", members.len(), outdated.len());
    if refused + outdated.len() > 0 {
        bail!("{} is not as it should be", folder.display());
    }
    Ok(())
}

/// Writes the index of a folder.
pub(crate) fn table(folder: &Path) -> Result<()> {
    let members = fleet::members(folder)?;
    let written = index(folder, &members)?.write(folder)?;
    for path in &written {
        println!("renewed   {}", folder.join(path).display());
    }
    if written.is_empty() {
        println!("the index of {} was up to date", folder.display());
    }
    let refused: Vec<String> = members.iter().filter_map(|member| member.results.as_ref().err()).map(line).collect();
    if !refused.is_empty() {
        bail!("not in the index: {}", refused.join("; "));
    }
    Ok(())
}

/// The index of the files of a folder that can be believed.
fn index(folder: &Path, members: &[Member]) -> Result<Index> {
    Ok(Index::of(members.iter().filter_map(|member| member.results.as_ref().ok()))?.with_searches(folder)?)
}

fn compare(reference: &Path, paths: &[PathBuf]) -> Result<()> {
    let reference = File::load(reference)?;
    let mut searches = Vec::new();
    for path in paths {
        let search = File::load(path)?;
        if search.machine.id != reference.machine.id {
            bail!("{} is of {}, not of {}", path.display(), search.machine.id, reference.machine.id);
        }
        searches.push((format!("`{}` {}", search.command, search.date), search));
    }
    let searches: Vec<(String, &File)> = searches.iter().map(|(name, search)| (name.clone(), search)).collect();
    print!("{}", Comparison::new(&reference, &searches).markdown());
    Ok(())
}

fn merge(from: &[PathBuf], into: &Path) -> Result<()> {
    let today = sources_today();
    let (mut brought, mut refused) = (0, 0);
    for given in from {
        let paths = fleet::expand(given);
        let merged = |path: &PathBuf| Ok((path.clone(), fleet::merge(path, into, &today)?));
        let merged: Vec<Result<_, FleetError>> = match paths {
            Ok(paths) => paths.iter().map(merged).collect(),
            Err(error) => vec![Err(error)],
        };
        for merged in merged {
            match merged {
                Ok((path, (place, merged))) => {
                    brought += 1;
                    println!("ok        {}: {}", path.display(), became(merged, &place));
                }
                Err(why) => {
                    refused += 1;
                    println!("refused   {}", line(&why));
                }
            }
        }
    }
    println!("{brought} brought in, {refused} refused; renew the index with `cargo xtask results table`");
    if refused > 0 {
        bail!("not everything was brought in");
    }
    Ok(())
}

/// What a merge did, in words.
fn became(merged: Merged, place: &Path) -> String {
    let place = place.display();
    match merged {
        Merged::Added => format!("added as {place}"),
        Merged::Newer => format!("newer than {place}, and prevails there where both have measured"),
        Merged::Older => format!("older than {place}, and adds what was not measured there"),
        Merged::Nothing => format!("{place} had all of it"),
        Merged::Replaced => format!("takes the place of {place}, which was measured with other kernels than today's"),
    }
}

/// The hashes of the sources that would be generated today; each is made once.
pub(crate) fn sources_today() -> impl Fn(KernelId) -> Option<String> {
    let made: RefCell<HashMap<KernelId, Option<String>>> = RefCell::default();
    move |kernel| made.borrow_mut().entry(kernel).or_insert_with(|| kernel.source_hash().ok()).clone()
}

/// An error on one line.
fn line(error: &FleetError) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use tritune_codegen::{Isa, Op};
    use tritune_tuning::case::Case;
    use tritune_tuning::machine::Machine;
    use tritune_tuning::pick::{self, Weighting};
    use tritune_tuning::results::{SCHEMA, Sample, Source};

    /// What a search of one shape, on this many threads, might have found today on a machine of this name.
    pub(crate) fn example(id: &str, threads: usize) -> File {
        let shape = "640x2560".parse().unwrap();
        let sample = |op, m, name: &str, seconds: f64| {
            let kernel: KernelId = name.parse().unwrap();
            Sample::new(Case { shape, threads, op, m }, kernel, &[seconds, 1.1 * seconds])
        };
        let samples = vec![
            sample(Op::Gemv, 1, "gemv_t200_1x16k64u4__avx512vnni_dot", 1e-4),
            sample(Op::Gemv, 1, "gemv_t200_1x16k64u2__avx512vnni_dot", 2e-4),
            sample(Op::Gemm, 240, "gemm_t200_16x16k64u1__avx512vnni_dot", 1e-2),
        ];
        let source = |kernel: KernelId| Source { name: kernel, source: kernel.source_hash().unwrap() };
        File {
            schema: SCHEMA,
            complete: true,
            date: File::now(),
            command: "a test".into(),
            compiler: "rustc".into(),
            machine: Machine { id: id.into(), ..Machine::detect([Isa::Scalar, Isa::Avx512Vnni]) },
            objective: Weighting::default(),
            pool_bytes: 1,
            load: None,
            bandwidths: Vec::new(),
            kernels: samples.iter().map(|sample| source(sample.kernel)).collect(),
            picks: pick::choose(&samples, &[], Weighting::default()),
            crossovers: Vec::new(),
            samples,
        }
    }

    fn run(verb: Verb) -> Result<()> {
        Results { verb }.run()
    }

    #[test]
    fn files_come_in_and_are_shown_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let (from, into) = (dir.path().join("from"), dir.path().join("into"));
        fs::create_dir(&from).unwrap();
        for (name, results) in [("one", example("one-2c", 1)), ("two", example("one-2c", 2)), ("x", example("x-4c", 4))]
        {
            results.save(&from.join(name).with_extension("toml")).unwrap();
        }
        let merge = || run(Verb::Merge { from: vec![from.clone()], into: into.clone() });
        merge().unwrap();
        let merged = File::load(&into.join("one-2c.toml")).unwrap();
        let threads: Vec<usize> = merged.tensors().iter().map(|tensor| tensor.threads).collect();
        assert_eq!(threads, [1, 2]);
        assert!(into.join("x-4c.toml").exists());

        let check = || run(Verb::Check { folder: into.clone() });
        assert!(check().is_err(), "there is no index");
        run(Verb::Table { folder: into.clone() }).unwrap();
        check().unwrap();
        assert!(fs::read_to_string(into.join("README.md")).unwrap().contains("one-2c"));
        let mut stale = example("x-4c", 4);
        stale.kernels[0].source = "old".into();
        stale.save(&into.join("x-4c.toml")).unwrap();
        assert!(check().is_err(), "measured with other kernels");

        // One that is refused costs the others nothing.
        File { complete: false, ..example("cut-1c", 1) }.save(&from.join("cut.toml")).unwrap();
        example("y-8c", 8).save(&from.join("y.toml")).unwrap();
        assert!(merge().unwrap_err().to_string().contains("not everything"));
        assert!(into.join("y-8c.toml").exists() && !into.join("cut-1c.toml").exists());
    }

    #[test]
    fn searches_of_one_machine_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let saved = |name: &str, results: File| {
            let path = dir.path().join(name);
            results.save(&path).unwrap();
            path
        };
        let reference = saved("long.toml", example("one-2c", 1));
        let searches = vec![saved("short.toml", example("one-2c", 1))];
        run(Verb::Compare { reference: reference.clone(), searches }).unwrap();
        let searches = vec![saved("other.toml", example("x-4c", 1))];
        let error = run(Verb::Compare { reference, searches }).unwrap_err().to_string();
        assert!(error.contains("other.toml is of x-4c, not of one-2c"), "{error}");
    }
}
