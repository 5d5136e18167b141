//! Tensor types: the ids that files hold, and the sizes that must go with them.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// 32 nibbles that stand for sixteen uneven steps, one scale.
    IQ4_NL,
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
    /// I2_S in blocks of 64, as bitnet.cpp built for Arm wrote it. Nothing in a file says so: see
    /// [`super::I2sLayout`].
    I2_S_ARM64,
    /// Trits as pairs, tiled for the lookups of bitnet.cpp on Arm, a scale for the tensor.
    TL1,
    /// Trits as triples, tiled for the lookups of bitnet.cpp on x86, a scale for the tensor.
    TL2,
    /// Trits, four in a byte, a scale for 64.
    Q2_0,
    /// Q2_0 as it was at first: a scale for 128, under the same id.
    Q2_0_G128,
    /// Q2_0_G128 under an id of its own.
    PQ2_0,
    /// Trits, five in a byte, a half-precision scale for a row.
    IQ1_BN,
    /// Trits, four in a byte, a scale for a row.
    IQ2_BN,
    /// IQ2_BN with four rows side by side.
    IQ2_BN_R4,
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
    /// As many bytes as bitnet.cpp reserves for TL2, whatever its tiles take.
    Reserved,
}

/// Where a ternary type keeps its scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalePlace {
    /// One f32 behind the blocks of the tensor.
    Tensor,
    /// One f32 before the blocks of each row.
    RowF32,
    /// One f16 before the blocks of each row.
    RowF16,
    /// One f16, the first two bytes of each block.
    BlockStart,
    /// One f16, the last two bytes of each block.
    BlockEnd,
}

impl ScalePlace {
    /// Whether scales are half-precision numbers.
    pub fn is_half(self) -> bool {
        !matches!(self, ScalePlace::Tensor | ScalePlace::RowF32)
    }
}

/// How a known [`Kind`] lies in a file.
#[derive(Debug)]
pub struct Format {
    /// The type described.
    pub kind: Kind,
    /// The number in the file. Several formats may share one: sizes tell which it is.
    pub id: u32,
    /// The name that GGUF tools print.
    pub name: &'static str,
    /// What `general.file_type` is in a file that is mostly of this type, where there is a number for it.
    pub file_type: Option<u32>,
    /// Elements in a block.
    pub elements: u64,
    /// Bytes of a block.
    pub bytes: u64,
    /// Rows that lie together: the heads of all of them, then for each block of columns, theirs.
    pub rows: u64,
    /// Bytes before the blocks of each row.
    pub head: u64,
    /// Bytes after the last block of a tensor.
    pub trailer: u64,
    /// What blocks run over.
    pub span: Span,
    /// Where the scales are, where elements are trits.
    pub scales: Option<ScalePlace>,
}

impl Format {
    const fn float(kind: Kind, id: u32, name: &'static str, elements: u64, bytes: u64) -> Format {
        let (rows, head, trailer, span, scales) = (1, 0, 0, Span::Row, None);
        Format { kind, id, name, file_type: None, elements, bytes, rows, head, trailer, span, scales }
    }

    /// Trits in blocks that lie in rows.
    const fn trits(kind: Kind, id: u32, name: &'static str, elements: u64, bytes: u64, scales: ScalePlace) -> Format {
        Format { scales: Some(scales), ..Format::float(kind, id, name, elements, bytes) }
    }

    /// Trits of bitnet.cpp: one scale behind all, with room for eight.
    const fn tensor(kind: Kind, id: u32, name: &'static str, elements: u64, bytes: u64, span: Span) -> Format {
        Format { trailer: 32, span, ..Format::trits(kind, id, name, elements, bytes, ScalePlace::Tensor) }
    }

    const fn head(self, head: u64) -> Format {
        Format { head, ..self }
    }

    const fn rows(self, rows: u64) -> Format {
        Format { rows, ..self }
    }

    const fn file_type(self, file_type: u32) -> Format {
        Format { file_type: Some(file_type), ..self }
    }

    /// Bytes of the rows that lie together, of `k` elements each, where blocks lie in rows.
    pub fn row_bytes(&self, k: u64) -> Option<u64> {
        (k / self.elements).checked_mul(self.bytes)?.checked_add(self.head)?.checked_mul(self.rows)
    }
}

/// Of formats that share an id, the one with the smallest blocks first: what it cannot hold, none can.
#[rustfmt::skip]
const FORMATS: [Format; 26] = {
    use ScalePlace::{BlockEnd, BlockStart, RowF16, RowF32};
    use Span::{Reserved, Tensor};
    [
        Format::float(Kind::F32,    0, "F32",     1,   4).file_type(0),
        Format::float(Kind::F16,    1, "F16",     1,   2).file_type(1),
        Format::float(Kind::Q4_0,   2, "Q4_0",   32,  18),
        Format::float(Kind::Q4_1,   3, "Q4_1",   32,  20),
        Format::float(Kind::Q5_0,   6, "Q5_0",   32,  22),
        Format::float(Kind::Q5_1,   7, "Q5_1",   32,  24),
        Format::float(Kind::Q8_0,   8, "Q8_0",   32,  34),
        Format::float(Kind::IQ4_NL, 20, "IQ4_NL", 32, 18),
        Format::float(Kind::Q2_K,  10, "Q2_K",  256,  84),
        Format::float(Kind::Q3_K,  11, "Q3_K",  256, 110),
        Format::float(Kind::Q4_K,  12, "Q4_K",  256, 144),
        Format::float(Kind::Q5_K,  13, "Q5_K",  256, 176),
        Format::float(Kind::Q6_K,  14, "Q6_K",  256, 210),
        Format::float(Kind::BF16,  30, "BF16",    1,   2).file_type(32),
        Format::trits(Kind::TQ1_0, 34, "TQ1_0", 256,  54, BlockEnd).file_type(36),
        Format::trits(Kind::TQ2_0, 35, "TQ2_0", 256,  66, BlockEnd).file_type(37),
        Format::tensor(Kind::I2_S,       36, "I2_S",       128, 32, Tensor).file_type(40),
        Format::tensor(Kind::I2_S_ARM64, 36, "I2_S_ARM64", I2S_ARM64, 16, Tensor).file_type(40),
        Format::tensor(Kind::TL1,        38, "TL1",          4,  1, Tensor).file_type(38),
        Format::tensor(Kind::TL2,        39, "TL2",          1,  1, Reserved).file_type(39),
        Format::trits(Kind::Q2_0,       42, "Q2_0",       64, 18, BlockStart).file_type(41),
        Format::trits(Kind::Q2_0_G128,  42, "Q2_0_G128", 128, 34, BlockStart).file_type(41),
        Format::trits(Kind::IQ1_BN,    134, "IQ1_BN",     64, 13, RowF16).head(2).file_type(136),
        Format::trits(Kind::IQ2_BN,    135, "IQ2_BN",     64, 16, RowF32).head(4).file_type(137),
        Format::trits(Kind::PQ2_0,     142, "PQ2_0",     128, 34, BlockStart).file_type(141),
        Format::trits(Kind::IQ2_BN_R4, 335, "IQ2_BN_R4",  64, 16, RowF32).head(4).rows(4).file_type(337),
    ]
};

/// Elements in a block of I2_S_ARM64.
const I2S_ARM64: u64 = 64;

/// Names of types that cannot be computed with, for messages.
const NAMES: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (37, "I8_S"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (143, "PTQ1_0"),
];

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
    #[error("its {n} rows are not a multiple of the {rows} that {kind} stores together")]
    Rows { kind: Kind, n: u64, rows: u64 },
    #[error(
        "its rows of {k} elements are shorter than the {least} that {kind} needs; MXFP4, which has the same id, is not \
             read"
    )]
    Short { kind: Kind, k: u64, least: u64 },
}

impl ShapeError {
    /// A way out before others, for a message: what is no I2_S in blocks of 128 may be one in blocks of 64.
    pub(super) fn layout(&self) -> &'static str {
        match self {
            ShapeError::Tensor { kind: Kind::I2_S, elements, .. } if elements.is_multiple_of(I2S_ARM64) => {
                "if an old build of bitnet.cpp for Arm wrote it, --i2s-layout arm64 reads it, else "
            }
            _ => "",
        }
    }
}

impl Kind {
    /// The type that `id` stands for; the first, where several formats share it.
    pub fn from_id(id: u32) -> Kind {
        Kind::sharing(id).next().unwrap_or(Kind::Unknown(id))
    }

    /// The types that `id` may stand for.
    pub fn sharing(id: u32) -> impl Iterator<Item = Kind> {
        FORMATS.iter().filter(move |format| format.id == id).map(|format| format.kind)
    }

    /// The type of this name, in any case.
    pub fn from_name(name: &str) -> Option<Kind> {
        FORMATS.iter().find(|format| format.name.eq_ignore_ascii_case(name)).map(|format| format.kind)
    }

    /// Every known type.
    pub fn all() -> impl Iterator<Item = Kind> {
        FORMATS.iter().map(|format| format.kind)
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
        self.format().is_some_and(|format| format.scales.is_some())
    }

    /// Whether the bytes of every `rows` rows of a ternary tensor of this type are a tensor of their own.
    pub fn is_sliced_by_rows(self, rows: usize) -> bool {
        let format = self.format().filter(|format| !self.is_lookup() && rows.is_multiple_of(format.rows as usize));
        format.is_some_and(|format| format.scales.is_some_and(|place| place != ScalePlace::Tensor))
    }

    /// Whether this is a type of bitnet.cpp's lookup kernels: its scale may be a tensor `NAME_scale` of its own, and then
    /// is not behind the blocks.
    pub fn is_lookup(self) -> bool {
        matches!(self, Kind::TL1 | Kind::TL2)
    }

    /// Bytes of a tensor of this type and `shape` (`[k, n, ..]`, k innermost); `None` where the type is unknown.
    pub fn bytes(self, shape: &[u64]) -> Result<Option<u64>, ShapeError> {
        let elements = elements(shape)?;
        let Some(format) = self.format() else { return Ok(None) };
        let (k, n, block) = (shape[0], elements / shape[0], format.elements);
        let blocks = match format.span {
            Span::Row if !k.is_multiple_of(block) => return Err(ShapeError::Row { kind: self, k, block }),
            Span::Row if !n.is_multiple_of(format.rows) => {
                return Err(ShapeError::Rows { kind: self, n, rows: format.rows });
            }
            Span::Row => format.row_bytes(k).and_then(|bytes| (n / format.rows).checked_mul(bytes)),
            Span::Tensor if !elements.is_multiple_of(block) => {
                return Err(ShapeError::Tensor { kind: self, elements, block });
            }
            Span::Tensor => (elements / block).checked_mul(format.bytes),
            Span::Reserved if k < RESERVED_PAIRS => {
                return Err(ShapeError::Short { kind: self, k, least: RESERVED_PAIRS });
            }
            Span::Reserved => reserved(k, n),
        };
        blocks.and_then(|bytes| bytes.checked_add(format.trailer)).map(Some).ok_or(ShapeError::Overflow)
    }
}

/// Columns that bitnet.cpp's size of TL2 counts as pairs.
const RESERVED_PAIRS: u64 = 256;

/// Bytes that bitnet.cpp reserves for `n` rows of `k` trits of TL2: five bits for three, but for 256 columns half a byte
/// for two, in whole lines of 32 (`ggml_nbytes`, and `preprocess_weights_tl2` of its converter).
fn reserved(k: u64, n: u64) -> Option<u64> {
    let triples = (k - RESERVED_PAIRS).checked_mul(n)?.checked_div(3)?.checked_mul(5)? / 8;
    let pairs = RESERVED_PAIRS.checked_mul(n)? / 2 * 4 / 8;
    triples.checked_add(pairs)?.checked_next_multiple_of(32)
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
        if let Some(format) = self.format() {
            return f.pad(format.name);
        }
        match NAMES.iter().find(|(id, _)| *id == self.id()) {
            Some((_, name)) => f.pad(name),
            None => f.pad(&format!("type {}", self.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_stand_for_kinds() {
        for format in &FORMATS {
            assert!(Kind::sharing(format.id).any(|kind| kind == format.kind));
            assert_eq!(format.kind.id(), format.id);
            assert_eq!(format.kind.to_string(), format.name);
            assert_eq!(Kind::from_name(&format.name.to_lowercase()), Some(format.kind));
            assert_eq!(format.kind.format().map(|format| format.name), Some(format.name));
        }
        assert_eq!(Kind::sharing(42).collect::<Vec<_>>(), [Kind::Q2_0, Kind::Q2_0_G128]);
        assert_eq!((Kind::from_id(36), Kind::from_id(42)), (Kind::I2_S, Kind::Q2_0));
        assert_eq!((Kind::from_id(99), Kind::from_name("q3_0")), (Kind::Unknown(99), None));
        assert_eq!((Kind::Unknown(99).id(), Kind::Unknown(99).to_string()), (99, "type 99".into()));
        assert_eq!(Kind::Unknown(143).to_string(), "PTQ1_0");
        assert!(NAMES.iter().all(|(id, _)| Kind::sharing(*id).next().is_none()));
    }

    #[test]
    fn sizes_follow_the_span_of_the_blocks() {
        assert_eq!(Kind::F32.bytes(&[3, 5, 7]), Ok(Some(420)));
        assert_eq!(Kind::TQ1_0.bytes(&[512, 3]), Ok(Some(6 * 54)));
        assert_eq!(Kind::I2_S.bytes(&[320, 320]), Ok(Some(320 * 320 / 4 + 32)));
        assert_eq!(Kind::Q2_0.bytes(&[192, 3]), Ok(Some(9 * 18)));
        assert_eq!(Kind::Q2_0_G128.bytes(&[256, 3]), Ok(Some(6 * 34)));
        assert_eq!(Kind::IQ1_BN.bytes(&[128, 3]), Ok(Some(3 * (2 + 2 * 13))));
        assert_eq!(Kind::IQ2_BN.bytes(&[128, 3]), Ok(Some(3 * (4 + 2 * 16))));
        assert_eq!(Kind::IQ2_BN_R4.bytes(&[128, 8]), Ok(Some(8 * (4 + 2 * 16))));
        assert_eq!(Kind::Unknown(99).bytes(&[5]), Ok(None));
        assert_eq!(Kind::TQ2_0.bytes(&[320, 320]), Err(ShapeError::Row { kind: Kind::TQ2_0, k: 320, block: 256 }));
        assert_eq!(Kind::IQ2_BN_R4.bytes(&[64, 6]), Err(ShapeError::Rows { kind: Kind::IQ2_BN_R4, n: 6, rows: 4 }));
        assert_eq!(
            Kind::I2_S.bytes(&[100, 3]),
            Err(ShapeError::Tensor { kind: Kind::I2_S, elements: 300, block: 128 })
        );
    }

    /// The numbers that bitnet.cpp's `ggml_nbytes` gives.
    #[test]
    fn lookup_types_are_as_large_as_bitnet_cpp_makes_them() {
        assert_eq!(Kind::TL1.bytes(&[4096, 1536]), Ok(Some(4096 * 1536 / 4 + 32)));
        assert_eq!(Kind::TL2.bytes(&[1536, 1536]), Ok(Some(507_904 + 32)));
        // 8384 · 3200 / 3 = 8942933.3 triples of five bits, rounded down twice, and then up to whole lines.
        assert_eq!(Kind::TL2.bytes(&[8640, 3200]), Ok(Some((5_589_333u64 + 204_800).next_multiple_of(32) + 32)));
        assert_eq!(Kind::TL2.bytes(&[192, 32]), Err(ShapeError::Short { kind: Kind::TL2, k: 192, least: 256 }));
    }

    #[test]
    fn impossible_shapes_are_refused_for_every_kind() {
        for kind in Kind::all().chain([Kind::Unknown(7)]) {
            assert_eq!(kind.bytes(&[]), Err(ShapeError::Dimensions(0)));
            assert_eq!(kind.bytes(&[1; 5]), Err(ShapeError::Dimensions(5)));
            assert_eq!(kind.bytes(&[256, 0]), Err(ShapeError::Empty(1)));
            assert_eq!(kind.bytes(&[1 << 32, 1 << 32]), Err(ShapeError::Overflow));
        }
        assert_eq!(Kind::F32.bytes(&[1 << 63]), Err(ShapeError::Overflow));
    }
}
