//! What an option does: tritune without it and with it, in turns.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tritune_codegen::Isa;
use tritune_tuning::report::speed;
use tritune_tuning::stats;
use tritune_tuning::text::{code, markdown};

use super::case::{Case, Task};
use super::program::{self, Program};
use super::subject::Subject;

/// Tokens of a context that is long: models of today's ternary families end at 4,096.
const LONG: usize = 4000;
/// Tokens that are written for each prompt.
const ANSWER: usize = 200;
/// The option of packed weights, before the file's name.
const PACK: &str = "--pack-cache=";
/// Longest name on the page.
const LONGEST: usize = 120;

/// What is answered with lookup and without: a text that repeats its prompt, one that quotes it, one that does neither.
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
/// What `paragraph.txt` is.
const PARAGRAPH: &str = "and a paragraph from the first page of Jane Austen's Persuasion (1817)";

/// What is measured of a process; the more, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// Tokens a second in a test of `tritune bench`.
    Test(Case),
    /// Starts a second, from the start of the process to its end; and what it writes.
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
    pub(super) commands: [String; 2],
    /// Tokens or starts a second.
    pub(super) speeds: [Vec<f64>; 2],
    /// Whether starts are measured.
    pub(super) starts: bool,
}

/// What an option can change in a model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    /// Weights that are packed.
    pub(super) ternary: bool,
    /// A head with a coarse copy.
    pub(super) copied_head: bool,
    /// A template, and something to say.
    pub(super) answers: bool,
}

/// Columns of a table of [`Ablated::row`].
pub(super) const COLUMNS: [(&str, bool); 5] = [
    ("tritune", false),
    ("tokens/s, or seconds", true),
    ("and", false),
    ("tokens/s, or seconds", true),
    ("times as fast", true),
];

/// The comparisons of a model on so many threads; shorter ones with `quick`. Packed weights are kept in `pack` meanwhile.
pub(super) fn ablations(subject: &Subject, parts: Parts, threads: usize, pack: &Path, quick: bool) -> Vec<Ablation> {
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
    // The first says how much of a difference is none.
    let mut all = vec![Ablation([test(written, 0, threads, &[]), test(written, 0, threads, &[])])];
    if parts.ternary {
        let packed = format!("{PACK}{}", pack.display());
        let start = |options: &[&str], told: &[&str]| {
            let rest = [&["-p", "x", "-n", "1", "--temp", "0"], subject.read_as(), options].concat();
            process(Measure::Start, &[&["run", "-n", "1"], subject.read_as(), told].concat(), "run", &rest)
        };
        all.push(Ablation([start(&[], &[]), start(&[&packed], &["--pack-cache"])]));
    }
    if parts.copied_head {
        all.push(Ablation(["full", "two-stage"].map(|mode| test(written, 0, threads, &["--head", mode]))));
    }
    all.push(Ablation([test(written, 0, threads, &[]), test(written, 0, 2 * threads, &[])]));
    all.extend(["f16", "i8"].map(|kv| Ablation([0, long].map(|depth| test(written, depth, threads, &["--kv", kv])))));
    all.extend(
        narrower(&Isa::here())
            .map(|isa| Ablation([test(prompt, 0, threads, &[]), test(prompt, 0, threads, &["--force", isa.name()])])),
    );
    if parts.answers {
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

/// Instruction sets to compare with the best: those of these that another one extends, and that many machines end at.
fn narrower(here: &[Isa]) -> impl Iterator<Item = Isa> {
    let extended = |isa: &Isa| here.iter().any(|other| other != isa && other.extends(*isa));
    [Isa::Avx512Vnni, Isa::Avx2, Isa::NeonDot].into_iter().filter(move |isa| here.contains(isa) && extended(isa))
}

impl Ablation {
    /// Both in turns, the one first in one round and the other in the next, after a round that does not count: it finds
    /// files in no memory, and no packed weights in a file.
    ///
    /// # Errors
    /// Where tritune cannot be started, fails, or writes two texts where it should write one.
    pub(super) fn measure(&self, tritune: &Path, model: &Path, rounds: u32) -> Result<Ablated> {
        let Ablation(sides) = self;
        let mut speeds = [Vec::new(), Vec::new()];
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for round in 0..=rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let run = sides[side].run(tritune, model, round > 0);
                let (speed, text) = run.with_context(|| sides[side].name.clone())?;
                texts.extend(text);
                if round > 0 {
                    speeds[side].push(speed);
                }
            }
        }
        if texts.iter().any(|text| *text != texts[0]) {
            bail!("{} and {} do not write the same text", sides[0].name, sides[1].name);
        }
        let commands = sides.each_ref().map(|side| side.command(model));
        let names = sides.each_ref().map(|side| side.name.clone());
        let ablated = Ablated { names, commands, speeds, starts: sides[0].measure == Measure::Start };
        eprintln!("{}", ablated.row().join(" | "));
        Ok(ablated)
    }
}

impl Side {
    /// Runs it once: the speed, and the text where there is one. `prepared`: what is kept from run to run is there.
    fn run(&self, tritune: &Path, model: &Path, prepared: bool) -> Result<(f64, Option<Vec<u8>>)> {
        if let Measure::Test(case) = self.measure {
            let row = Program::tritune(tritune).with(&self.arguments).run(model, &case)?;
            return Ok((row.avg_ts, None));
        }
        let mut command = Command::new(tritune);
        command.args(&self.arguments).stdin(Stdio::null());
        let begin = Instant::now();
        let output = command.output().with_context(|| format!("cannot start {}", tritune.display()))?;
        let seconds = begin.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("it ended with {}: {}", output.status, program::last_line(&said));
        }
        if self.measure == Measure::Answer {
            return Ok((generation(&said)?, Some(output.stdout)));
        }
        let packed = self.arguments.iter().any(|word| word.starts_with(PACK));
        if packed && prepared && !said.contains("matrices out of") {
            bail!("no packed weights were used: {}", program::last_line(&said));
        }
        Ok((seconds.recip(), Some(output.stdout)))
    }

    /// The command line, without folders.
    fn command(&self, model: &Path) -> String {
        if let Measure::Test(case) = self.measure {
            return Program::tritune(Path::new("tritune")).with(&self.arguments).command(&case);
        }
        let prompt = |word: &String| PROMPTS.iter().find(|(_, prompt)| prompt == word).map(|(name, _)| *name);
        let shown = |word: &String| match prompt(word) {
            Some(name) => name.to_uppercase(),
            None if Path::new(word) == model => "MODEL".into(),
            None if word.starts_with(PACK) => format!("{PACK}FILE"),
            None => word.clone(),
        };
        ["tritune".into()].into_iter().chain(self.arguments.iter().map(shown)).collect::<Vec<String>>().join(" ")
    }
}

/// The tokens a second that `tritune chat` tells of.
fn generation(said: &str) -> Result<f64> {
    let rate = said.rsplit_once("generation: ").and_then(|(_, rest)| rest.split(" t/s").next()?.parse().ok());
    rate.filter(|rate: &f64| rate.is_finite() && *rate > 0.0).context("it does not say how fast it wrote")
}

impl Ablated {
    /// A row of the table: both with their medians, the slowest and the fastest, and how many times as fast the second is
    /// in a round: the median, the least, the most.
    pub(super) fn row(&self) -> Vec<String> {
        let [a, b] = &self.speeds;
        let one = |value: f64| if self.starts { format!("{:.2} s", value.recip()) } else { speed(value) };
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
        let [name_a, name_b] = self.names.each_ref().map(|name| markdown(name, LONGEST));
        vec![name_a, range(a, one), name_b, range(b, one), range(&ratios, |ratio| format!("{ratio:.2}"))]
    }

    /// The command lines of a table's rows, each once.
    pub(super) fn list(all: &[Ablated]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for command in all.iter().flat_map(|one| &one.commands) {
            let line = code(command, 4 * LONGEST);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    /// What the prompts in those are.
    pub(super) fn prompts(all: &[Ablated]) -> Vec<String> {
        let asked = |name: &str| {
            let words = all.iter().flat_map(|one| &one.commands).flat_map(|line| line.split(' '));
            words.into_iter().any(|word| word == name.to_uppercase())
        };
        let prompt = |(name, prompt): (&str, &str)| {
            let (first, rest) = prompt.split_once("\n\n").unwrap_or((prompt, ""));
            let rest = if rest.is_empty() { String::new() } else { format!(" {PARAGRAPH}") };
            format!("{}: \"{}\"{rest}", name.to_uppercase(), markdown(first, LONGEST))
        };
        PROMPTS.into_iter().filter(|(name, _)| asked(name)).map(prompt).collect()
    }
}

/// The median, the least and the most.
fn range(values: &[f64], shown: impl Fn(f64) -> String) -> String {
    let (least, most) = values.iter().fold((f64::INFINITY, 0f64), |(least, most), &v| (least.min(v), most.max(v)));
    format!("{} ({} to {})", shown(stats::median(values).unwrap_or(f64::NAN)), shown(least), shown(most))
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
        let all = |parts| ablations(&subject, parts, 2, Path::new("/tmp/p"), false);
        let ternary = Parts { ternary: true, copied_head: true, answers: false };
        let found = all(ternary);
        assert_eq!(names(&found)[0], ["tg32 -t 2", "tg32 -t 2"], "what is no difference");
        for pair in [
            ["run -n 1 --i2s-layout x86", "run -n 1 --i2s-layout x86 --pack-cache"],
            ["tg32 -t 2 --head full", "tg32 -t 2 --head two-stage"],
            ["tg32 -t 2", "tg32 -t 4"],
            ["tg32 -t 2 --kv i8", "tg32 @ d4000 -t 2 --kv i8"],
        ] {
            assert!(names(&found).contains(&pair), "{pair:?} of {:?}", names(&found));
        }
        let Ablation([_, packed]) = &found[1];
        assert_eq!(
            packed.command(&subject.path),
            "tritune run MODEL -t 2 -p x -n 1 --temp 0 --i2s-layout x86 --pack-cache=FILE"
        );
        assert_eq!(all(Parts::default()).len() + 2, found.len(), "no packed weights, no copy of a head");
        let answers = all(Parts { answers: true, ..ternary });
        assert_eq!(names(&answers).last(), Some(&["chat: free --no-lookup", "chat: free"]));
        let Ablation([without, _]) = &answers[answers.len() - 3];
        let command = without.command(&subject.path);
        assert_eq!(command, "tritune chat MODEL -t 2 -p REPEAT --temp 0 -n 200 --no-lookup");
        let names = ["a", "b"].map(String::from);
        let one = Ablated { names, commands: [command, "tritune".into()], speeds: [vec![], vec![]], starts: false };
        let prompts = Ablated::prompts(&[one]);
        assert!(prompts.len() == 1 && prompts[0].starts_with("REPEAT: \"Repeat the following text"), "{prompts:?}");
    }

    #[test]
    fn instruction_sets_below_the_best_are_compared() {
        let of = |here: &[Isa]| narrower(here).collect::<Vec<_>>();
        assert_eq!(of(&[Isa::Scalar, Isa::Avx2]), []);
        assert_eq!(of(&[Isa::Scalar, Isa::Avx2, Isa::Avx512Bw, Isa::Avx512Vnni]), [Isa::Avx2]);
        let amx = [Isa::Scalar, Isa::Avx2, Isa::Avx512Bw, Isa::Avx512Vnni, Isa::Amx];
        assert_eq!(of(&amx), [Isa::Avx512Vnni, Isa::Avx2]);
        assert_eq!(of(&[Isa::Scalar, Isa::Neon, Isa::NeonDot, Isa::NeonI8mm]), [Isa::NeonDot]);
    }

    #[cfg(unix)]
    #[test]
    fn sides_take_turns_and_must_agree() {
        let folder = tempfile::tempdir().unwrap();
        let (script, log) = (folder.path().join("tritune"), folder.path().join("log"));
        let run = |measure, script_text: &str, more: &str| {
            let _ = std::fs::remove_file(&log);
            let text = format!("#!/bin/sh\necho $1 >> {}\n{script_text}", log.display());
            std::fs::write(&script, text).unwrap();
            let side = |word: &str, more: &str| {
                let arguments = [&script.display().to_string(), word, more].map(String::from).into();
                Side { measure, name: word.into(), arguments }
            };
            Ablation([side("a", ""), side("b", more)]).measure(Path::new("/bin/sh"), Path::new("m.gguf"), 2)
        };
        let turns = || std::fs::read_to_string(&log).unwrap();
        let said = "echo the text; echo 'prompt: 3 tokens, 9.0 t/s; generation: 12.5 t/s on 2 threads' >&2";
        let found = run(Measure::Answer, said, "").unwrap();
        assert_eq!((found.speeds.clone(), found.starts), ([vec![12.5, 12.5], vec![12.5, 12.5]], false));
        let one = "12.5 (12.5 to 12.5)";
        assert_eq!(found.row(), ["a", one, "b", one, "1.00 (1.00 to 1.00)"]);
        assert_eq!(turns(), "a\nb\nb\na\na\nb\n", "the first round does not count");
        let error = |measure, script: &str, more: &str| format!("{:#}", run(measure, script, more).unwrap_err());
        let other = said.replace("the text", "$1");
        assert_eq!(error(Measure::Answer, &other, ""), "a and b do not write the same text");
        assert_eq!(error(Measure::Start, "echo $1", ""), "a and b do not write the same text");
        let silent = "echo 'generation: none t/s' >&2";
        assert_eq!(error(Measure::Answer, silent, ""), "a: it does not say how fast it wrote");
        let failing = "echo 'no such file' >&2; echo >&2; exit 3";
        assert!(error(Measure::Start, failing, "").ends_with("exit status: 3: no such file"));
        let found = run(Measure::Start, "", "").unwrap();
        assert!(found.starts && found.row()[1].ends_with(" s)"));
        let refused = error(Measure::Start, "echo 'the disk is full' >&2", "--pack-cache=/p");
        assert_eq!(refused, "b: no packed weights were used: the disk is full");
        assert!(run(Measure::Start, "echo '3 matrices out of /p' >&2", "--pack-cache=/p").is_ok());
    }
}
