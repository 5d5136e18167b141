//! Shapes of weight matrices, and which of them real models have.

use std::fmt;
use std::str::FromStr;

/// A weight matrix: y\[m,n\] = x\[m,k\] · W\[n,k\]ᵀ. Written `NxK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Output rows.
    pub n: usize,
    /// Columns, the length of the reduction.
    pub k: usize,
}

/// Largest n and k, so that no product of sizes overflows.
const MAX_DIMENSION: usize = 1 << 24;

impl Shape {
    /// A shape of these dimensions; `None` where one is 0, or larger than any matrix.
    pub fn new(n: usize, k: usize) -> Option<Shape> {
        [n, k].iter().all(|d| (1..=MAX_DIMENSION).contains(d)).then_some(Shape { n, k })
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.n * self.k
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}", self.n, self.k))
    }
}

/// Text that is no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a shape; write output rows x columns, such as 2560x6912, each from 1 to {MAX_DIMENSION}")]
pub struct ShapeError(String);

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let parse = || {
            let (n, k) = text.split_once('x')?;
            Shape::new(n.parse().ok()?, k.parse().ok()?)
        };
        // Only the canonical spelling, so that equal shapes are equal text.
        parse().filter(|shape| shape.to_string() == text).ok_or_else(|| ShapeError(text.into()))
    }
}

/// One shape of a model's weight matrices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its shape.
    pub shape: Shape,
    /// How many matrices of a model have it.
    pub count: usize,
    /// Which they are, by their names in a block.
    pub tensors: Vec<String>,
}

/// The ternary matrices of one published model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name, as flags spell it.
    pub name: &'static str,
    /// Its shapes.
    pub layers: Vec<Layer>,
}

/// The model that is embedded for a demonstration.
pub const DEMO: &str = "austen-5m";

/// Every model whose shapes are known, by name.
const FILES: [(&str, &str); 5] = [
    ("bitnet-b1.58-2b4t", include_str!("../shapes/bitnet-b1.58-2b4t.txt")),
    ("bitnet-b1.58-3b", include_str!("../shapes/bitnet-b1.58-3b.txt")),
    ("falcon3-7b", include_str!("../shapes/falcon3-7b.txt")),
    ("smollm2-135m", include_str!("../shapes/smollm2-135m.txt")),
    (DEMO, include_str!("../shapes/austen-5m.txt")),
];

/// A list of shapes that cannot be read, or a model that has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// No list by this name.
    #[error("no shapes are known for `{name}`; known: {known}. Shapes can also be given as NxK")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A line that does not say `NxK count tensors…`.
    #[error("tuning/shapes/{name}.txt, line {line}: expected `NxK count tensors…`, found `{text}`")]
    Line {
        /// The list.
        name: &'static str,
        /// Its line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

impl Model {
    /// The names that [`Model::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The model with this name.
    ///
    /// # Errors
    /// [`ModelError::Unknown`] lists the known ones.
    pub fn named(name: &str) -> Result<Model, ModelError> {
        let known = || Model::names().collect::<Vec<_>>().join(", ");
        let found = FILES.iter().find(|(known, _)| *known == name);
        let (name, text) = found.ok_or_else(|| ModelError::Unknown { name: name.into(), known: known() })?;
        Model::parse(name, text)
    }

    /// Its shapes, in the order of the list.
    pub fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.layers.iter().map(|layer| layer.shape)
    }

    fn parse(name: &'static str, text: &str) -> Result<Model, ModelError> {
        let mut layers: Vec<Layer> = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let content = text.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let layer = || {
                let mut words = content.split_whitespace();
                let shape = words.next()?.parse().ok()?;
                let count = words.next()?.parse().ok().filter(|count| *count > 0)?;
                let tensors: Vec<String> = words.map(String::from).collect();
                (!tensors.is_empty()).then_some(Layer { shape, count, tensors })
            };
            let fresh = |layer: &Layer| layers.iter().all(|other| other.shape != layer.shape);
            let error = || ModelError::Line { name, line: index + 1, text: text.into() };
            let layer = layer().filter(fresh).ok_or_else(error)?;
            layers.push(layer);
        }
        Ok(Model { name, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shapes_round_trip(n in 1..=MAX_DIMENSION, k in 1..=MAX_DIMENSION) {
            let shape = Shape { n, k };
            prop_assert_eq!(shape.to_string().parse::<Shape>().unwrap(), shape);
        }

        #[test]
        fn any_text_is_refused_or_canonical(text in "[0-9x+ ]{0,12}") {
            if let Ok(shape) = text.parse::<Shape>() {
                prop_assert_eq!(shape.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_no_shape_is_refused() {
        for text in
            ["", "x", "0x5", "5x0", "05x5", "+5x5", "5x5x5", "5X5", "5 x5", "99999999999999999999x1", "16777217x1"]
        {
            let error = text.parse::<Shape>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    /// The lists against the published parameter counts: seven matrices a block, their weights summed.
    #[test]
    fn lists_hold_the_models() {
        let expected = [
            ("bitnet-b1.58-2b4t", 30, 2_084_044_800),
            ("bitnet-b1.58-3b", 26, 3_221_504_000),
            ("falcon3-7b", 28, 6_650_068_992),
            ("smollm2-135m", 30, 106_168_320),
            (DEMO, 6, 4_718_592),
        ];
        assert_eq!(Model::names().collect::<Vec<_>>(), expected.map(|(name, ..)| name));
        for (name, blocks, weights) in expected {
            let model = Model::named(name).unwrap();
            assert_eq!(model.layers.iter().map(|layer| layer.count).sum::<usize>(), 7 * blocks, "{name}");
            let sum: usize = model.layers.iter().map(|layer| layer.count * layer.shape.weights()).sum();
            assert_eq!(sum, weights, "{name}");
            for layer in &model.layers {
                assert_eq!(layer.count, layer.tensors.len() * blocks, "{name} {}", layer.shape);
            }
        }
        assert!(Model::named("gpt-5").unwrap_err().to_string().contains("falcon3-7b"));
    }

    #[test]
    fn lines_are_checked() {
        for text in ["1x1", "1x1 2", "0x1 2 a", "1x1 0 a", "1x1 2 a\n1x1 2 b", "a 1x1 2"] {
            assert!(matches!(Model::parse("list", text), Err(ModelError::Line { .. })), "{text}");
        }
        assert_eq!(Model::parse("list", "# nothing\n\n").unwrap().layers, []);
    }
}
