//! Tensor types: the ids that files hold, and the sizes that must go with them.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // the names that every GGUF tool prints
pub enum Kind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// 32 nibbles less 8, one scale.
    Q4_0,
    /// 32 nibbles, scale and minimum.
    Q4_1,
    /// 32 five-bit codes less 16, one scale.
    Q5_0,
    /// 32 five-bit codes, scale and minimum.
    Q5_1,
    /// 32 signed bytes, one scale.
    Q8_0,
    /// 256 two-bit codes in groups of 16.
    Q2_K,
    /// 256 three-bit codes in groups of 16.
    Q3_K,
    /// 256 nibbles in groups of 32.
    Q4_K,
    /// 256 five-bit codes in groups of 32.
    Q5_K,
    /// 256 six-bit codes in groups of 16.
    Q6_K,
    /// Trits, five in a byte, a scale for 256.
    TQ1_0,
    /// Trits, four in a byte, a scale for 256.
    TQ2_0,
    /// Trits, four in a byte, a scale for the tensor.
    I2_S,
    /// An id that this build does not know: the tensor can be listed, not computed with.
    Unknown(u32),
}

/// What blocks run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Each row holds a whole number of blocks.
    Row,
    /// Blocks run over the flattened tensor: a row may start inside one.
    Tensor,
}

/// How a known [`Kind`] lies in a file.
#[derive(Debug)]
pub struct Format {
    /// The type described.
    pub kind: Kind,
    /// The number in the file.
    pub id: u32,
    /// The name that GGUF tools print.
    pub name: &'static str,
    /// Elements in a block.
    pub elements: u64,
    /// Bytes of a block.
    pub bytes: u64,
    /// Bytes after the last block of a tensor.
    pub trailer: u64,
    /// What blocks run over.
    pub span: Span,
}

#[rustfmt::skip]
const FORMATS: [Format; 16] = {
    const fn row(kind: Kind, id: u32, name: &'static str, elements: u64, bytes: u64) -> Format {
        Format { kind, id, name, elements, bytes, trailer: 0, span: Span::Row }
    }
    [
        row(Kind::F32,    0, "F32",     1,   4),
        row(Kind::F16,    1, "F16",     1,   2),
        row(Kind::Q4_0,   2, "Q4_0",   32,  18),
        row(Kind::Q4_1,   3, "Q4_1",   32,  20),
        row(Kind::Q5_0,   6, "Q5_0",   32,  22),
        row(Kind::Q5_1,   7, "Q5_1",   32,  24),
        row(Kind::Q8_0,   8, "Q8_0",   32,  34),
        row(Kind::Q2_K,  10, "Q2_K",  256,  84),
        row(Kind::Q3_K,  11, "Q3_K",  256, 110),
        row(Kind::Q4_K,  12, "Q4_K",  256, 144),
        row(Kind::Q5_K,  13, "Q5_K",  256, 176),
        row(Kind::Q6_K,  14, "Q6_K",  256, 210),
        row(Kind::BF16,  30, "BF16",    1,   2),
        row(Kind::TQ1_0, 34, "TQ1_0", 256,  54),
        row(Kind::TQ2_0, 35, "TQ2_0", 256,  66),
        Format { kind: Kind::I2_S, id: 36, name: "I2_S", elements: 128, bytes: 32, trailer: 32, span: Span::Tensor },
    ]
};

/// A shape that no tensor of the type can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum ShapeError {
    #[error("it has {0} dimensions; 1 to 4 are possible")]
    Dimensions(u64),
    #[error("dimension {0} is 0")]
    Empty(usize),
    #[error("its size in elements or bytes overflows 64 bits")]
    Overflow,
    #[error("its rows of {k} elements are not a multiple of the {block} in a block of {kind}")]
    Row { kind: Kind, k: u64, block: u64 },
    #[error("its {elements} elements are not a multiple of the {block} in a block of {kind}")]
    Tensor { kind: Kind, elements: u64, block: u64 },
}

impl Kind {
    /// The type that `id` stands for.
    pub fn from_id(id: u32) -> Kind {
        FORMATS.iter().find(|format| format.id == id).map_or(Kind::Unknown(id), |format| format.kind)
    }

    /// The number that stands for this type in a file.
    pub fn id(self) -> u32 {
        match self {
            Kind::Unknown(id) => id,
            known => known.format().map_or(u32::MAX, |format| format.id),
        }
    }

    /// How this type lies in a file; `None` for an unknown one.
    pub fn format(self) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.kind == self)
    }

    /// Whether elements are trits times a scale: matrices of such a type take int8.
    pub fn is_ternary(self) -> bool {
        matches!(self, Kind::I2_S | Kind::TQ1_0 | Kind::TQ2_0)
    }

    /// Bytes of a tensor of this type and `shape` (`[k, n, ..]`, k innermost); `None` where the type is unknown.
    pub fn bytes(self, shape: &[u64]) -> Result<Option<u64>, ShapeError> {
        let elements = elements(shape)?;
        let Some(Format { elements: block, bytes, trailer, span, .. }) = self.format() else { return Ok(None) };
        match span {
            Span::Row if !shape[0].is_multiple_of(*block) => {
                return Err(ShapeError::Row { kind: self, k: shape[0], block: *block });
            }
            Span::Tensor if !elements.is_multiple_of(*block) => {
                return Err(ShapeError::Tensor { kind: self, elements, block: *block });
            }
            _ => {}
        }
        let bytes = (elements / block).checked_mul(*bytes).and_then(|bytes| bytes.checked_add(*trailer));
        bytes.map(Some).ok_or(ShapeError::Overflow)
    }
}

/// The product of 1 to 4 dimensions, none of them 0.
fn elements(shape: &[u64]) -> Result<u64, ShapeError> {
    if shape.is_empty() || shape.len() > 4 {
        return Err(ShapeError::Dimensions(shape.len() as u64));
    }
    if let Some(dimension) = shape.iter().position(|&size| size == 0) {
        return Err(ShapeError::Empty(dimension));
    }
    shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size)).ok_or(ShapeError::Overflow)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format() {
            Some(format) => f.pad(format.name),
            None => f.pad(&format!("type {}", self.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_kinds_are_one_to_one() {
        for format in &FORMATS {
            assert_eq!(Kind::from_id(format.id), format.kind);
            assert_eq!(format.kind.id(), format.id);
            assert_eq!(format.kind.to_string(), format.name);
        }
        assert_eq!(Kind::from_id(42), Kind::Unknown(42));
        assert_eq!((Kind::Unknown(42).id(), Kind::Unknown(42).to_string()), (42, "type 42".into()));
    }

    #[test]
    fn sizes_follow_the_span_of_the_blocks() {
        assert_eq!(Kind::F32.bytes(&[3, 5, 7]), Ok(Some(420)));
        assert_eq!(Kind::TQ1_0.bytes(&[512, 3]), Ok(Some(6 * 54)));
        assert_eq!(Kind::I2_S.bytes(&[320, 320]), Ok(Some(320 * 320 / 4 + 32)));
        assert_eq!(Kind::Unknown(42).bytes(&[5]), Ok(None));
        assert_eq!(Kind::TQ2_0.bytes(&[320, 320]), Err(ShapeError::Row { kind: Kind::TQ2_0, k: 320, block: 256 }));
        assert_eq!(
            Kind::I2_S.bytes(&[100, 3]),
            Err(ShapeError::Tensor { kind: Kind::I2_S, elements: 300, block: 128 })
        );
    }

    #[test]
    fn impossible_shapes_are_refused_for_every_kind() {
        for kind in FORMATS.iter().map(|format| format.kind).chain([Kind::Unknown(7)]) {
            assert_eq!(kind.bytes(&[]), Err(ShapeError::Dimensions(0)));
            assert_eq!(kind.bytes(&[1; 5]), Err(ShapeError::Dimensions(5)));
            assert_eq!(kind.bytes(&[256, 0]), Err(ShapeError::Empty(1)));
            assert_eq!(kind.bytes(&[1 << 32, 1 << 32]), Err(ShapeError::Overflow));
        }
        assert_eq!(Kind::F32.bytes(&[1 << 63]), Err(ShapeError::Overflow));
    }
}
