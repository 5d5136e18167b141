//! Tokens chosen by a rule of one's own: the second likeliest at every fifth token.

use tritune::engine::GenerationConfig;
use tritune::model::Model;
use tritune::sample::{Demand, Error, Sample, Scores};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

/// Counts the tokens that were chosen.
struct Contrary(usize);

impl Sample for Contrary {
    /// The two likeliest decide: no other logit need be computed.
    fn demand(&mut self, _ahead: &[u32]) -> Demand<'_> {
        Demand::Top { count: 2, also: &[] }
    }

    fn sample(&mut self, scores: Scores<'_>) -> Result<u32, Error> {
        self.0 += 1;
        let mut likeliest: Vec<(u32, f32)> = scores.iter().collect();
        likeliest.sort_by(|a, b| b.1.total_cmp(&a.1));
        let rank = usize::from(self.0.is_multiple_of(5));
        likeliest.get(rank).map(|(id, _)| *id).ok_or(Error::Empty)
    }
}

fn main() -> Result<(), tritune::Error> {
    let model = Model::load(std::env::args().nth(1).unwrap_or_else(|| DEMO.into()))?;
    let config = GenerationConfig { tokens: 40, ..GenerationConfig::default() };
    println!("It was{}", model.session()?.generate_by("It was", &config, Contrary(0))?.text()?);
    Ok(())
}
