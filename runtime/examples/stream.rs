//! A text as it comes: `cargo run --example stream -- MODEL.gguf "It was"`; the demo model where none is named.

use std::io::{Write, stdout};

use tritune::engine::GenerationConfig;
use tritune::model::Model;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

fn main() -> Result<(), tritune::Error> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::load(arguments.next().unwrap_or_else(|| DEMO.into()))?;
    let prompt = arguments.next().unwrap_or_else(|| "It was".into());

    let mut session = model.session()?;
    let config = GenerationConfig { tokens: 60, stop: vec!["\n".into()], ..GenerationConfig::default() };
    let mut generation = session.generate(&prompt, &config)?;
    for token in &mut generation {
        print!("{}", token?.text);
        stdout().flush()?;
    }
    println!("\n{:?}, {:?}", generation.finish(), generation.timing());
    Ok(())
}
