//! Texts as vectors, and how near they come to each other. A model that was made for embeddings knows how to pool its states
//! (`embed_text`); of any other the mean of the states will do for a demonstration.

use tritune::model::{Model, Pooling};
use tritune::tokenizer::Special;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

fn main() -> Result<(), tritune::Error> {
    let model = Model::load(std::env::args().nth(1).unwrap_or_else(|| DEMO.into()))?;
    let mut session = model.session()?;
    let mut embed = |text: &str| -> Result<Vec<f32>, tritune::Error> {
        if model.config().pooling.is_some() {
            return Ok(session.embed_text(text)?);
        }
        let tokens = model.tokenizer()?.encode(text, Special::Parse)?;
        Ok(session.embed_by(&tokens, Pooling::Mean)?)
    };
    let texts = ["Mr. Darcy danced with her.", "Mr. Bingley danced with Jane.", "The carriage stood at the door."];
    let vectors = texts.iter().map(|text| embed(text)).collect::<Result<Vec<_>, _>>()?;
    for (text, vector) in texts.iter().zip(&vectors) {
        // Vectors have length 1: their product is the cosine.
        let cosine: f32 = vector.iter().zip(&vectors[0]).map(|(a, b)| a * b).sum();
        println!("{cosine:.3}  {text}");
    }
    Ok(())
}
