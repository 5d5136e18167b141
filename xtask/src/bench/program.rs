//! The programs that are measured: tritune, and its peers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

use super::case::Case;
use super::row::Row;

/// What tritune is called beside its peers.
pub(super) const OURS: &str = "tritune";
/// What the peer `python` is called.
const PYTHON: &str = "llama-cpp-python";

/// A program that tritune is to be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// llama-cpp-python, in an environment of its own.
    Python,
    /// A llama-bench.
    LlamaBench {
        /// What to call it.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        match text.split_once('=') {
            None if text == "python" => Ok(Peer::Python),
            Some((OURS, _)) => Err(format!("{OURS} is measured anyway; call the peer something else")),
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Peer::LlamaBench { name: name.into(), path: path.into() })
            }
            _ => Err("a peer is `python`, or NAME=/path/to/llama-bench".into()),
        }
    }
}

impl Peer {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Peer::Python => PYTHON,
            Peer::LlamaBench { name, .. } => name,
        }
    }

    /// Whether it is there, and has a name of its own.
    pub(super) fn check(peers: &[Peer]) -> Result<()> {
        for (number, peer) in peers.iter().enumerate() {
            if peers[..number].iter().any(|other| other.name() == peer.name()) {
                bail!("two peers are called {}; call one of them something else", peer.name());
            }
            if let Peer::LlamaBench { name, path } = peer
                && !path.is_file()
            {
                bail!("the peer {name}: there is no program {}", path.display());
            }
        }
        Ok(())
    }
}

/// The last line of what a program said before it failed.
pub(super) fn last_line(said: &str) -> &str {
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it did not say why")
}

/// A program that can be run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) name: String,
    path: PathBuf,
    /// What comes before the arguments of a llama-bench.
    first: Vec<OsString>,
    /// What comes behind them.
    last: Vec<OsString>,
    /// Whether it takes the model as a word of its own.
    ours: bool,
}

impl Program {
    /// Our own, from where it was built.
    pub(super) fn tritune(path: &Path) -> Program {
        Program {
            name: OURS.into(),
            path: path.into(),
            first: vec!["bench".into()],
            last: vec!["--stream".into()],
            ours: true,
        }
    }

    /// The same with these options, and no more than they ask for.
    pub(super) fn with(self, options: &[String]) -> Program {
        Program { last: options.iter().map(OsString::from).collect(), ..self }
    }

    /// A llama-bench.
    pub(super) fn llama_bench(name: &str, path: &Path) -> Program {
        Program { name: name.into(), path: path.into(), first: vec![], last: vec![], ours: false }
    }

    /// The script that measures llama-cpp-python.
    pub(super) fn python(python: PathBuf, script: PathBuf) -> Program {
        Program { name: PYTHON.into(), path: python, first: vec![script.into()], last: vec![], ours: false }
    }

    /// Runs one test once.
    ///
    /// # Errors
    /// Where the program cannot be started, fails, or prints something else than the test's row; in one line.
    pub(super) fn run(&self, model: &Path, case: &Case) -> Result<Row> {
        self.answer(model, case)?
    }

    /// Whether it can read a model, found out by a test; where it fails, why.
    ///
    /// # Errors
    /// Where the program cannot be started, or prints something else than the test's row; in one line.
    pub(super) fn reads(&self, model: &Path, case: &Case) -> Result<Result<()>> {
        Ok(self.answer(model, case)?.map(|_| ()))
    }

    /// The row; within, that the program failed.
    fn answer(&self, model: &Path, case: &Case) -> Result<Result<Row>> {
        let what = || format!("{}, {case} of {}", self.name, model.display());
        let mut command = Command::new(&self.path);
        command.args(self.arguments(model.as_os_str().into(), case)).stdin(Stdio::null());
        let cannot = || format!("{}: cannot start {}", what(), self.path.display());
        let output = command.output().with_context(cannot)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Ok(Err(anyhow!("{}: it ended with {}: {}", what(), output.status, last_line(&said))));
        }
        Row::parse(&output.stdout, case).map(Ok).with_context(what)
    }

    fn arguments(&self, model: OsString, case: &Case) -> Vec<OsString> {
        let mut words = self.first.clone();
        if !self.ours {
            words.push("-m".into());
        }
        words.push(model);
        let mut flag = |flag: &str, value: String| words.extend([flag.into(), value.into()]);
        flag("-p", case.prompt().to_string());
        flag("-n", case.generation().to_string());
        if case.depth > 0 {
            flag("-d", case.depth.to_string());
        }
        flag("-t", case.threads.to_string());
        flag("-r", "1".into());
        flag("-o", "json".into());
        words.extend(self.last.iter().cloned());
        words
    }

    /// The command line of a test, without folders.
    pub(super) fn command(&self, case: &Case) -> String {
        let words = [self.path.clone().into()].into_iter().chain(self.arguments("MODEL".into(), case));
        let last = |word: OsString| Path::new(&word).file_name().unwrap_or(&word).to_string_lossy().into_owned();
        words.map(last).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Task;
    use super::*;

    const CASE: Case = Case { task: Task::Prompt(16), depth: 0, threads: 2 };

    fn peer(text: &str) -> Result<Peer, String> {
        text.parse()
    }

    #[test]
    fn peers_are_named_and_there() {
        assert_eq!(peer("python"), Ok(Peer::Python));
        let bench = Peer::LlamaBench { name: "llama.cpp".into(), path: "/opt/a=b/llama-bench".into() };
        assert_eq!(peer("llama.cpp=/opt/a=b/llama-bench"), Ok(bench.clone()));
        for bad in ["", "llama.cpp", "=/bin/true", "llama.cpp=", "Python"] {
            assert!(peer(bad).unwrap_err().contains("NAME=/path/to/llama-bench"), "{bad}");
        }
        assert!(peer("tritune=/bin/true").unwrap_err().contains("something else"));
        let error = |peers: &[Peer]| Peer::check(peers).unwrap_err().to_string();
        assert_eq!(error(std::slice::from_ref(&bench)), "the peer llama.cpp: there is no program /opt/a=b/llama-bench");
        assert!(error(&[Peer::Python, Peer::Python]).starts_with("two peers are called llama-cpp-python"));
        assert!(Peer::check(&[Peer::Python]).is_ok());
    }

    #[test]
    fn command_lines_are_llama_benchs() {
        let deep = Case { task: Task::Generation(8), depth: 40, threads: 1 };
        let ours = Program::tritune(Path::new("/a/b/tritune"));
        assert_eq!(ours.command(&CASE), "tritune bench MODEL -p 16 -n 0 -t 2 -r 1 -o json --stream");
        let bench = Program::llama_bench("llama.cpp", Path::new("/a/b/llama-bench"));
        assert_eq!(bench.command(&deep), "llama-bench -m MODEL -p 0 -n 8 -d 40 -t 1 -r 1 -o json");
        let python = Program::python("/a/bin/python".into(), "/a/bench.py".into());
        assert_eq!(python.command(&CASE), "python bench.py -m MODEL -p 16 -n 0 -t 2 -r 1 -o json");
    }

    #[cfg(unix)]
    #[test]
    fn whoever_fails_is_told_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let error = |script: Option<&str>| {
            let path = folder.path().join("llama-bench");
            let program = match script {
                Some(script) => Program::python("/bin/sh".into(), {
                    std::fs::write(&path, script).unwrap();
                    path
                }),
                None => Program::llama_bench("llama.cpp", &folder.path().join("gone")),
            };
            format!("{:#}", program.run(Path::new("m.gguf"), &CASE).unwrap_err())
        };
        for (script, why) in [
            (None, "cannot start "),
            (Some("echo loading >&2; echo 'no such model' >&2; echo >&2; exit 3"), "exit status: 3: no such model"),
            (Some("exit 1"), "it did not say why"),
            (Some("kill -9 $$"), "signal: 9"),
            (Some("echo 'segmentation fault'"), "no JSON of llama-bench's but `segmentation fault`"),
            (Some("echo '[]'"), "0 rows"),
        ] {
            let error = error(script);
            assert!(error.contains("pp16, 2 threads of m.gguf: ") && error.contains(why), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
