//! What `tritune inspect --json` prints, as far as it is asked for.

use serde::Deserialize;
use tritune_tuning::shapes::Shape;

/// The tensors of a model's file.
#[derive(Debug, Deserialize)]
pub(crate) struct Contents {
    tensors: Vec<Tensor>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// The fastest dimension first.
    shape: Vec<usize>,
    ternary: bool,
}

impl Contents {
    /// Shapes of its ternary matrices.
    pub(crate) fn shapes(&self) -> Vec<Shape> {
        let ternary = self.tensors.iter().filter(|tensor| tensor.ternary);
        let shape = |tensor: &Tensor| match tensor.shape[..] {
            [k, n] => Some(Shape { n, k }),
            _ => None,
        };
        ternary.filter_map(shape).collect()
    }

    /// Whether any matrix is ternary.
    pub(crate) fn has_ternary(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.ternary)
    }

    /// Whether the head is of floats that are not in blocks: of those there is a coarse copy.
    pub(crate) fn has_float_head(&self) -> bool {
        let named = |name: &str| self.tensors.iter().find(|tensor| tensor.name == name);
        let head = named("output.weight").or_else(|| named("token_embd.weight"));
        head.is_some_and(|tensor| ["F32", "F16", "BF16"].contains(&tensor.kind.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_and_head_are_found() {
        let contents = |head: &str| -> Contents {
            serde_json::from_str(&format!(
                r#"{{"bytes": 9, "tensors": [
                    {{"name": "token_embd.weight", "type": "F16", "shape": [64, 9], "ternary": false, "offset": 0}},
                    {{"name": "blk.0.attn_q.weight", "type": "I2_S", "shape": [64, 32], "ternary": true}},
                    {{"name": "{head}", "type": "Q8_0", "shape": [64, 9], "ternary": false}}]}}"#
            ))
            .unwrap()
        };
        let tied = contents("blk.0.attn_k.weight");
        assert!(tied.has_ternary() && tied.has_float_head());
        assert_eq!(tied.shapes(), [Shape { n: 32, k: 64 }]);
        assert!(!contents("output.weight").has_float_head());
    }
}
