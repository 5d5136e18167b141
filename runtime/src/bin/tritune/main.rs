//! The command line: results on stdout, everything else on stderr; exit 0, 1 on a failure, 2 on wrong usage.

mod bench;
mod chat;
mod convert;
mod embed;
mod engine;
mod explain;
mod generate;
mod inspect;
mod kernels;
mod logits;
mod perplexity;
mod probe;
mod quantize;
mod run;
mod side_file;
mod tokenize;
mod tune;

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Ternary (BitNet b1.58) language models on kernels that were tuned on your own machine
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Inspect(inspect::Inspect),
    Run(run::Run),
    Chat(chat::Chat),
    Logits(logits::Logits),
    Embed(embed::Embed),
    Tokenize(tokenize::Tokenize),
    Perplexity(perplexity::Perplexity),
    Quantize(quantize::Quantize),
    Bench(bench::Bench),
    Convert(convert::Convert),
    Kernels(kernels::Kernels),
    Tune(tune::Tune),
}

impl Verb {
    fn run(self) -> Result<()> {
        match self {
            Verb::Inspect(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Chat(verb) => verb.run(),
            Verb::Logits(verb) => verb.run(),
            Verb::Embed(verb) => verb.run(),
            Verb::Tokenize(verb) => verb.run(),
            Verb::Perplexity(verb) => verb.run(),
            Verb::Quantize(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
            Verb::Convert(verb) => verb.run(),
            Verb::Kernels(verb) => verb.run(),
            Verb::Tune(verb) => verb.run(),
        }
    }
}

fn main() -> ExitCode {
    let ended = CommandLine::parse().verb.run();
    tritune::linear::forget_scratch();
    tritune::memory::report_leaks();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Who closed the pipe has seen enough.
        Err(error) if closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", line(&error));
            ExitCode::FAILURE
        }
    }
}

fn closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(closed))
}

/// The error and its causes on one line; a cause that the text before it quotes is not said again.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if !line.contains(&cause) {
            if !line.is_empty() {
                line += ": ";
            }
            line += &cause;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        let error = anyhow::anyhow!("no\nsuch file").context("cannot read x: no such file").context("loading");
        assert_eq!(line(&error), "loading: cannot read x: no such file");
    }
}
