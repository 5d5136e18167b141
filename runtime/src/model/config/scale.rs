//! What embeddings, branches and logits are multiplied by.

use super::ConfigError;
use super::family::ScaleRule;
use super::reader::Reader;

/// Factors between the parts of a model; `None`: 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scales {
    /// Of a token's embedding.
    pub embedding: Option<f32>,
    /// Of what a branch adds to the residual stream.
    pub residual: Option<f32>,
    /// Of logits.
    pub logits: Option<f32>,
    /// Logits are squeezed into ±this: cap · tanh(logit / cap).
    pub cap: Option<f32>,
}

impl Reader<'_> {
    pub fn scales(&mut self, embedding: usize, layers: usize) -> Result<Scales, ConfigError> {
        let mut scales = Scales::default();
        let architecture = self.family.architecture;
        match self.family.scales {
            ScaleRule::Plain => {
                self.decide("embedding scale", 1, format!("architecture {architecture}"));
            }
            ScaleRule::RootOfWidth => {
                let default = ((embedding as f32).sqrt(), format!("√embedding width: architecture {architecture}"));
                scales.embedding = Some(self.positive("embedding scale", "embedding_scale", Some(default))?);
            }
            ScaleRule::MiniCpm => {
                // What all of MiniCPM's models were published with; older files lack the keys.
                let usual = |value: f32| Some((value, format!("as {architecture} was published")));
                scales.embedding = Some(self.positive("embedding scale", "embedding_scale", usual(12.0))?);
                let default = usual(1.4 / (layers as f32).sqrt());
                scales.residual = Some(self.positive("residual scale", "residual_scale", default)?);
                let default = usual(embedding as f32 / 256.0);
                scales.logits = Some(1.0 / self.positive("divisor of logits", "logit_scale", default)?);
            }
        }
        if self.family.logit_cap
            && let Some(cap) = self.opt_positive("final_logit_softcapping")?
        {
            let key = self.name("final_logit_softcapping");
            self.decide("cap of logits", cap, key);
            scales.cap = Some(cap);
        }
        Ok(scales)
    }
}
