//! Who is measured with a model: programs, each with a file that it reads.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::case::{Case, Task};
use super::program::{OURS, Program};
use super::subject::{FORM, Subject};

/// A program with the file that it reads.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) program: Program,
    pub(super) file: PathBuf,
    /// The type that it was converted to, where that is not the model's own file.
    pub(super) form: Option<&'static str>,
}

/// The programs that can read a model, each with the file that it reads, and what there is to say of that.
///
/// # Errors
/// Where tritune itself cannot read it, or a program cannot be started or gives no answer.
pub(super) fn contenders(
    programs: &[Program],
    subject: &Subject,
    tritune: &Path,
    threads: usize,
) -> Result<(Vec<Contender>, Vec<String>)> {
    let one = Case { task: Task::Generation(1), depth: 0, threads };
    let (mut contenders, mut notes) = (Vec::new(), Vec::new());
    for program in programs {
        let mut enter = |file, form| contenders.push(Contender { program: program.clone(), file, form });
        let Err(why) = program.reads(&subject.path, &one)? else {
            enter(subject.path.clone(), None);
            continue;
        };
        if program.name == OURS {
            return Err(why.context(format!("cannot measure {}", subject.path.display())));
        }
        let converted = match subject.converted(tritune) {
            Ok(file) => program.reads(&file, &one)?.map(|()| file),
            Err(error) => Err(error.context("tritune quantize")),
        };
        match converted {
            Ok(file) => {
                notes.push(format!(
                    "{} does not read this file. Its figures are of the same trits in {FORM}, as tritune quantize converts \
                     them: none is changed, and scales are in half precision.",
                    program.name
                ));
                enter(file, Some(FORM));
            }
            Err(error) => {
                eprintln!("{} does not read {}: {why:#}; as {FORM}: {error:#}", program.name, subject.name);
                notes.push(format!("{} reads neither this file nor the same trits in {FORM}.", program.name));
            }
        }
    }
    if let Some((stand_in, how)) = subject.stand_in().filter(|_| contenders.len() < programs.len()) {
        notes.push(format!("All programs are compared on {}: {how}.", stand_in.name));
    }
    Ok((contenders, notes))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const ROW: &str = r#"echo '[{"n_prompt": 0, "n_gen": 1, "n_threads": 1, "avg_ts": 2.5}]'"#;

    /// Who can be measured with a file, where tritune and a peer are these scripts.
    fn with(tritune: &str, peer: &str) -> Result<(Vec<Contender>, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let model = script("model.gguf", "GGUF");
        let mut ours = Program::python("/bin/sh".into(), script("tritune", tritune));
        ours.name = OURS.into();
        let programs = [ours, Program::python("/bin/sh".into(), script("peer", peer))];
        // What is no program converts nothing.
        contenders(&programs, &Subject::named(model.to_str().unwrap()).unwrap(), &folder.path().join("none"), 1)
    }

    #[test]
    fn who_reads_nothing_is_left_out_and_who_talks_rubbish_is_an_error() {
        let (both, notes) = with(ROW, ROW).unwrap();
        assert_eq!((both.len(), notes.len()), (2, 0));
        let (one, notes) = with(ROW, "echo 'unknown architecture' >&2; exit 1").unwrap();
        assert_eq!((one.len(), &*one[0].program.name), (1, OURS));
        assert_eq!(notes, ["llama-cpp-python reads neither this file nor the same trits in TQ2_0."]);
        let error = format!("{:#}", with(ROW, "echo hello").unwrap_err());
        assert!(error.contains("llama-cpp-python, tg1, 1 thread of ") && error.contains("but `hello`"), "{error}");
        let error = format!("{:#}", with("echo 'error: damaged' >&2; exit 1", ROW).unwrap_err());
        assert!(error.starts_with("cannot measure ") && error.ends_with("error: damaged"), "{error}");
    }
}
