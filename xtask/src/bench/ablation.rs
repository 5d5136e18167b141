//! What an option does: tritune without it and with it, in turns.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tritune_codegen::Isa;
use tritune_tuning::report::speed;
use tritune_tuning::stats;
use tritune_tuning::text::code;

use super::case::{Case, Task};
use super::program::Program;
use super::subject::Subject;

/// Tokens of a context that is long: models of today's ternary families end at 4,096.
const LONG: usize = 4000;
/// Tokens that are written for each prompt.
const ANSWER: usize = 200;
/// Longest command on the page.
const LONGEST: usize = 120;

/// What is answered with lookup and without: a text that repeats its prompt, one that quotes it, one that does neither. The
/// paragraph is from the first page of Jane Austen's Persuasion (1817).
const PROMPTS: [(&str, &str); 3] = [
    (
        "repeat",
        concat!("Repeat the following text word for word, without any changes:\n\n", include_str!("paragraph.txt")),
    ),
    (
        "summarise",
        concat!(
            "Summarise the following text, quoting its most important sentences:\n\n",
            include_str!("paragraph.txt")
        ),
    ),
    ("free", "Write a short story about a dragon who learns to bake bread."),
];

/// What is measured of a process; the more, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// Tokens a second in a test of `tritune bench`.
    Test(Case),
    /// Starts a second: from the start of the process to its end.
    Start,
    /// Tokens a second while an answer is written, and what is written.
    Answer,
}

/// A way to run tritune.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Side {
    measure: Measure,
    /// What it is called.
    name: String,
    /// All of them; of a test, those that are no [`Case`]'s.
    arguments: Vec<String>,
}

/// Two ways to do the same.
#[derive(Clone, Debug)]
pub(super) struct Ablation([Side; 2]);

/// What was measured of the two, round by round.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ablated {
    pub(super) names: [String; 2],
    /// Tokens or starts a second.
    pub(super) speeds: [Vec<f64>; 2],
    /// Whether starts are measured.
    pub(super) starts: bool,
}

/// Columns of a table of [`Ablated::row`].
pub(super) const COLUMNS: [(&str, bool); 5] = [
    ("tritune", false),
    ("tokens/s, or seconds", true),
    ("and", false),
    ("tokens/s, or seconds", true),
    ("times as fast", true),
];

/// The comparisons of a model on so many threads, of answers where it gives any; shorter ones with `quick`. Packed weights
/// are kept in `pack` meanwhile.
pub(super) fn ablations(subject: &Subject, threads: usize, pack: &Path, answers: bool, quick: bool) -> Vec<Ablation> {
    let [prompt, written, long, answer] = if quick { [64, 8, 256, 32] } else { [512, 32, LONG, ANSWER] };
    let test = |task, depth, threads: usize, options: &[&str]| {
        let case = Case { task, depth, threads };
        let name = [&[&*case.test(), "-t", &threads.to_string()], options].concat().join(" ");
        Side { measure: Measure::Test(case), name, arguments: options.iter().map(|word| (*word).into()).collect() }
    };
    let (prompt, written) = (Task::Prompt(prompt), Task::Generation(written));
    let (model, count) = (subject.path.to_string_lossy(), threads.to_string());
    let process = |measure, name: &[&str], verb: &str, rest: &[&str]| {
        let words = [&[verb, &*model, "-t", &*count], rest].concat();
        Side { measure, name: name.join(" "), arguments: words.into_iter().map(String::from).collect() }
    };
    let packed = format!("--pack-cache={}", pack.display());
    let start = |options: &[&str], told: &[&str]| {
        let rest = [&["-p", "x", "-n", "1"], subject.read_as(), options].concat();
        process(Measure::Start, &[&["run", "-n", "1"], subject.read_as(), told].concat(), "run", &rest)
    };
    let mut all = vec![
        Ablation([start(&[], &[]), start(&[&packed], &["--pack-cache"])]),
        Ablation([test(written, 0, threads, &["--head", "full"]), test(written, 0, threads, &["--head", "two-stage"])]),
        Ablation([test(written, 0, threads, &[]), test(written, 0, 2 * threads, &[])]),
    ];
    all.extend(["f16", "i8"].map(|kv| Ablation([0, long].map(|depth| test(written, depth, threads, &["--kv", kv])))));
    let best = Isa::best_here();
    for isa in [Isa::Avx512Vnni, Isa::Avx2].into_iter().filter(|isa| isa.detected() && !best.contains(isa)) {
        all.push(Ablation([test(prompt, 0, threads, &[]), test(prompt, 0, threads, &["--force", isa.name()])]));
    }
    if answers {
        let answer = answer.to_string();
        let side = |what, prompt, options: &[&str]| {
            let rest = [&["-p", prompt, "--temp", "0", "-n", &answer], options].concat();
            process(Measure::Answer, &[&["chat:", what], options].concat(), "chat", &rest)
        };
        let both = |(what, prompt)| Ablation([side(what, prompt, &["--no-lookup"]), side(what, prompt, &[])]);
        all.extend(PROMPTS.map(both));
    }
    all
}

impl Ablation {
    /// Both in turns.
    ///
    /// # Errors
    /// Where tritune cannot be started, fails, or writes two texts where it should write one.
    pub(super) fn measure(&self, tritune: &Path, model: &Path, rounds: u32) -> Result<Ablated> {
        let Ablation(sides) = self;
        let mut speeds = [Vec::new(), Vec::new()];
        let mut texts: Vec<Vec<u8>> = Vec::new();
        // Once for what the first run finds unprepared: files that are in no memory yet, packed weights that are in no file.
        for round in 0..=rounds {
            let is_start = sides[0].measure == Measure::Start;
            if round == 0 && !is_start {
                continue;
            }
            for (side, speeds) in sides.iter().zip(&mut speeds) {
                let (speed, text) = side.run(tritune, model)?;
                texts.extend(text);
                if round > 0 {
                    speeds.push(speed);
                }
            }
        }
        if texts.iter().any(|text| *text != texts[0]) {
            bail!("{} and {} do not write the same text", sides[0].name, sides[1].name);
        }
        let [a, b] = sides;
        let ablated = Ablated { names: [a.name.clone(), b.name.clone()], speeds, starts: a.measure == Measure::Start };
        eprintln!("{}", ablated.row().join(" | "));
        Ok(ablated)
    }
}

impl Side {
    /// Runs it once: the speed, and the text where it is to be compared.
    fn run(&self, tritune: &Path, model: &Path) -> Result<(f64, Option<Vec<u8>>)> {
        let begin = Instant::now();
        Ok(match self.measure {
            Measure::Test(case) => (Program::tritune(tritune).with(&self.arguments).run(model, &case)?.avg_ts, None),
            Measure::Start => {
                self.output(tritune)?;
                (begin.elapsed().as_secs_f64().recip(), None)
            }
            Measure::Answer => {
                let Output { stdout, stderr, .. } = self.output(tritune)?;
                (generation(&String::from_utf8_lossy(&stderr)).with_context(|| self.name.clone())?, Some(stdout))
            }
        })
    }

    fn output(&self, tritune: &Path) -> Result<Output> {
        let mut command = Command::new(tritune);
        let output = command.args(&self.arguments).stdin(Stdio::null()).output().context("cannot start tritune")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{}: it ended with {}: {}",
                self.name,
                output.status,
                said.lines().last().unwrap_or("it did not say why")
            );
        }
        Ok(output)
    }
}

/// The tokens a second that `tritune chat` tells of.
fn generation(said: &str) -> Result<f64> {
    let rate = said.rsplit_once("generation: ").and_then(|(_, rest)| rest.split(" t/s").next()?.parse().ok());
    rate.filter(|rate: &f64| rate.is_finite() && *rate > 0.0).context("it does not say how fast it wrote")
}

impl Ablated {
    /// A row of the table: both with their medians, and how many times as fast the second is in a round: the median, the
    /// least, the most.
    pub(super) fn row(&self) -> Vec<String> {
        let [a, b] = &self.speeds;
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0f64), |(least, most), &r| (least.min(r), most.max(r)));
        let shown = |speeds: &[f64]| {
            let median = stats::median(speeds).unwrap_or(f64::NAN);
            if self.starts { format!("{:.2} s", median.recip()) } else { speed(median) }
        };
        let median = stats::median(&ratios).unwrap_or(f64::NAN);
        let [name_a, name_b] = self.names.each_ref().map(|name| code(name, LONGEST));
        vec![name_a, shown(a), name_b, shown(b), format!("{median:.2} ({least:.2} to {most:.2})")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[Ablation]) -> Vec<[&str; 2]> {
        all.iter().map(|Ablation(sides)| sides.each_ref().map(|side| &*side.name)).collect()
    }

    #[test]
    fn what_is_compared_has_a_name_and_a_command() {
        let subject = Subject::named("2b4t").unwrap();
        let all = ablations(&subject, 2, Path::new("/tmp/p"), false, false);
        let found = names(&all);
        for names in [
            ["run -n 1 --i2s-layout x86", "run -n 1 --i2s-layout x86 --pack-cache"],
            ["tg32 -t 2 --head full", "tg32 -t 2 --head two-stage"],
            ["tg32 -t 2", "tg32 -t 4"],
            ["tg32 -t 2 --kv i8", "tg32 @ d4000 -t 2 --kv i8"],
        ] {
            assert!(found.contains(&names), "{names:?} of {found:?}");
        }
        let Ablation([_, packed]) = &all[0];
        let (last, model) = (packed.arguments.last().unwrap(), subject.path.to_string_lossy());
        assert!(packed.arguments.starts_with(&["run".into(), model.into(), "-t".into(), "2".into()]));
        assert_eq!(last, "--pack-cache=/tmp/p");
        let with = ablations(&subject, 2, Path::new("/tmp/p"), true, true);
        assert_eq!(with.len(), all.len() + PROMPTS.len());
        assert_eq!(names(&with).last(), Some(&["chat: free --no-lookup", "chat: free"]));
    }

    #[cfg(unix)]
    #[test]
    fn sides_take_turns_and_must_agree() {
        let folder = tempfile::tempdir().unwrap();
        let (script, log) = (folder.path().join("tritune"), folder.path().join("log"));
        let run = |measure, script_text: &str| {
            let text = format!("#!/bin/sh\necho $* >> {}\n{script_text}", log.display());
            std::fs::write(&script, text).unwrap();
            let side = |word: &str| Side {
                measure,
                name: word.into(),
                arguments: vec![script.display().to_string(), word.into()],
            };
            Ablation([side("a"), side("b")]).measure(Path::new("/bin/sh"), Path::new("m.gguf"), 2)
        };
        let said = "echo the text; echo 'prompt: 3 tokens, 9.0 t/s; generation: 12.5 t/s on 2 threads' >&2";
        let found = run(Measure::Answer, said).unwrap();
        assert_eq!((found.speeds.clone(), found.starts), ([vec![12.5, 12.5], vec![12.5, 12.5]], false));
        assert_eq!(found.row(), ["`a`", "12.5", "`b`", "12.5", "1.00 (1.00 to 1.00)"]);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "a\nb\na\nb\n");
        let error = |measure, script: &str| format!("{:#}", run(measure, script).unwrap_err());
        assert!(error(Measure::Answer, &said.replace("the text", "$1")).contains("a and b do not write the same text"));
        assert!(error(Measure::Answer, "echo 'generation: none t/s' >&2").contains("a: it does not say how fast"));
        assert!(error(Measure::Start, "echo 'no such file' >&2; exit 3").ends_with("exit status: 3: no such file"));
        std::fs::remove_file(&log).unwrap();
        let found = run(Measure::Start, "").unwrap();
        assert!(found.starts && found.row()[1].ends_with(" s"));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "a\nb\na\nb\na\nb\n", "once for what is unprepared");
    }
}
