//! `cargo xtask`: tune, measure, look into and check tritune. Thin verbs; what they do lives in the libraries.

mod asm;
#[cfg(feature = "audit")]
mod audit;
mod bench;
mod cargo;
mod compare;
mod emit;
mod explain;
mod inspect;
mod model;
mod results;
mod test;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tune, measure, look into and check tritune", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find the fastest kernels for this machine, build tritune with them, and show what it gained
    Tune(tune::Tune),
    /// Measure kernels (criterion) and models (tritune bench)
    Bench(bench::Bench),
    /// Print the generated source of a kernel
    Emit(emit::Emit),
    /// Print the innermost loop of a kernel as it was compiled, and count its accesses to the stack
    Asm(asm::Asm),
    /// Say which kernels a shape gets, and why
    Explain(explain::Explain),
    /// Check, bring in and show results files
    Results(results::Results),
    /// Run every test
    Test(test::Test),
    /// Compare logits with llama.cpp's on the same tokens, and print them as a Markdown table
    CompareLogits(compare::CompareLogits),
    /// Write a model of real dimensions with random trits, to measure with
    Model(model::Model),
    /// Compare the library's public interface with the one that was agreed on
    #[cfg(feature = "audit")]
    Api(audit::api::Api),
    /// Check the licences and the sources of all dependencies
    #[cfg(feature = "audit")]
    Licences(audit::licences::Licences),
}

fn main() -> ExitCode {
    #[cfg(feature = "audit")]
    if let Some(ended) = audit::api::as_rustdoc() {
        return ended;
    }
    let done = match Arguments::parse().verb {
        Verb::Tune(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
        Verb::Emit(verb) => verb.run(),
        Verb::Asm(verb) => verb.run(),
        Verb::Explain(verb) => verb.run(),
        Verb::Results(verb) => verb.run(),
        Verb::Test(verb) => verb.run(),
        Verb::CompareLogits(verb) => verb.run(),
        Verb::Model(verb) => verb.run(),
        #[cfg(feature = "audit")]
        Verb::Api(verb) => verb.run(),
        #[cfg(feature = "audit")]
        Verb::Licences(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
