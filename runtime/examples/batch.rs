//! Several prompts, on sessions of one model; what cannot be answered is left out, and listed.

use tritune::engine::GenerationConfig;
use tritune::model::Model;
use tritune::recovery::Recovery;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

fn main() -> Result<(), tritune::Error> {
    let model = Model::load(std::env::args().nth(1).unwrap_or_else(|| DEMO.into()))?;
    let config = GenerationConfig { tokens: 20, ..GenerationConfig::default() };
    let long = "word ".repeat(2 * model.config().context);
    let prompts = ["It was", &long, "She said"];

    let batch = Recovery::Skip.each(prompts, |prompt| -> Result<String, tritune::Error> {
        Ok(model.session()?.generate(prompt, &config)?.text()?)
    })?;
    for (number, text) in &batch.done {
        println!("{}{text}", prompts[*number]);
    }
    for (number, error) in &batch.skipped {
        println!("prompt {number} is left out: {} {error}", error.code());
    }
    assert_eq!((batch.done.len(), batch.skipped.len()), (2, 1));
    Ok(())
}
