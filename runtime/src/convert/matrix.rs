//! Matrices: how their weights are stored in a checkpoint, and as trits.

use half::{bf16, f16};

use super::Error;
use super::checkpoint::Stored;
use crate::gguf::Kind;
use crate::quant::{self, LEAST_SCALE, QuantConfig, Scales, Trits, code};

/// How `weight_scale` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// w = trit / `weight_scale`: transformers' BitLinear, so Llama3-8B-1.58, Falcon3-1.58, Falcon-E.
    Reciprocal,
    /// w = trit · `weight_scale`: transformers' AutoBitLinear, so BitNet b1.58 2B4T.
    Scale,
}

/// What becomes of a matrix's weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Method {
    /// Four codes a byte; byte row r of R holds rows r, r + R, r + 2R, r + 3R at shifts 0, 2, 4, 6. All times a scale.
    Packed(f32),
    /// Floats that are −1, 0 and 1. All times a scale.
    Unpacked(f32),
    /// Floats that are trits times scales exactly.
    Exact(Scales),
    /// Floats that are rounded to trits: absmean (Ma et al., 2024, arXiv:2402.17764).
    Absmean,
    /// Floats that stay.
    Float,
}

/// A matrix to be written: n rows of k.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) stored: Stored,
    pub(super) method: Method,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Rows are those of so many heads, each of which rope rotates by halves, and is to rotate by neighbours.
    pub(super) rotated: Option<usize>,
}

/// Elements decoded at a time.
const CHUNK: usize = 1 << 16;

/// What was changed on the way into a type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// The smallest and the largest scale of trits.
    pub(super) scales: Option<(f32, f32)>,
    /// Weights that are 0, where they are trits.
    pub(super) zeros: usize,
    /// Elements, or scales of trits, that the type cannot say exactly.
    pub(super) rounded: usize,
    /// Elements that became 0.
    pub(super) vanished: usize,
}

impl Matrix {
    /// Whether it is trits.
    pub(super) fn is_ternary(&self) -> bool {
        self.method != Method::Float
    }

    /// Its bytes as `kind`, and what was changed.
    pub(super) fn bytes(&self, kind: Kind) -> Result<(Vec<u8>, Changes), Error> {
        let mut changes = Changes::default();
        if !self.is_ternary() {
            return Ok((self.floats(kind, &mut changes)?, changes));
        }
        let mut trits = self.trits()?;
        let quantise = |error: quant::Error| self.stored.error(format!("cannot be written: {error}"));
        changes.zeros = trits.codes.iter().filter(|&&code| code == 1).count();
        if matches!(kind, Kind::TQ1_0 | Kind::TQ2_0) {
            let exact = trits.scales.clone();
            trits.scales = trits.scales.round_f16();
            changes.rounded =
                list(&exact).iter().zip(list(&trits.scales)).filter(|(exact, rounded)| exact != rounded).count();
            if list(&exact)
                .iter()
                .zip(list(&trits.scales))
                .any(|(&exact, &half)| !half.is_finite() || exact != 0.0 && half == 0.0)
            {
                let why = format!("has a scale beyond half precision, which {kind} needs; use --type i2_s");
                return Err(self.stored.error(why));
            }
        }
        let scales = list(&trits.scales);
        let least = scales.iter().copied().fold(f32::INFINITY, f32::min);
        changes.scales = Some((least, scales.iter().copied().fold(f32::NEG_INFINITY, f32::max)));
        if kind.is_ternary() {
            return Ok((quant::trits::encode(kind, &trits).map_err(quantise)?, changes));
        }
        let mut out = Vec::with_capacity(self.n * self.k * 4);
        for row in 0..self.n {
            for column in 0..self.k {
                let at = row * self.k + column;
                let value = (f32::from(trits.codes[at]) - 1.0) * scale_at(&trits.scales, row, at);
                push(kind, value, &mut out, &mut changes);
            }
        }
        Ok((out, changes))
    }

    /// The row of the checkpoint that becomes row `row`.
    fn source(&self, row: usize) -> usize {
        let Some(heads) = self.rotated else { return row };
        let length = self.n / heads;
        let (head, at) = (row / length, row % length);
        // Neighbours 2i, 2i + 1 are i and i + length / 2 in the order by halves.
        head * length + at % 2 * (length / 2) + at / 2
    }

    fn trits(&self) -> Result<Trits, Error> {
        let (n, k) = (self.n, self.k);
        let mut codes = Vec::with_capacity(n * k);
        let mut line = vec![0f32; k];
        let scales = match &self.method {
            Method::Packed(scale) => {
                let rows = n / 4;
                for row in 0..n {
                    let source = self.source(row);
                    let bytes = &self.stored.data[source % rows * k..][..k];
                    codes.extend(bytes.iter().map(|byte| byte >> (source / rows * 2) & 3));
                }
                if let Some(at) = codes.iter().position(|&code| code > 2) {
                    let why =
                        format!("has the code 3 for the weight at row {}, column {}", self.source(at / k), at % k);
                    return Err(self.stored.error(why + ", where codes end at 2; it is damaged, or packed otherwise"));
                }
                Scales::Tensor(*scale)
            }
            Method::Unpacked(scale) => {
                for row in 0..n {
                    self.stored.read(self.source(row) * k, &mut line)?;
                    codes.extend(line.iter().map(|&trit| (trit + 1.0) as u8));
                }
                Scales::Tensor(*scale)
            }
            Method::Exact(scales) => {
                for row in 0..n {
                    self.stored.read(self.source(row) * k, &mut line)?;
                    codes.extend(line.iter().map(|&weight| code(weight, 0.0)));
                }
                self.in_order(scales)
            }
            Method::Absmean => {
                let mean = (self.mean()? as f32).max(LEAST_SCALE);
                // As the published code has it: weights times the reciprocal, rounded half to even, over that.
                let reciprocal = 1.0 / mean;
                for row in 0..n {
                    self.stored.read(self.source(row) * k, &mut line)?;
                    codes.extend(line.iter().map(|weight| code(weight * reciprocal, QuantConfig::NEAREST)));
                }
                Scales::Tensor(1.0 / reciprocal)
            }
            Method::Float => return Err(self.stored.error("is not made of trits")),
        };
        Ok(Trits { n, k, codes, scales })
    }

    /// Scales of the checkpoint's rows, for the rows as they are written.
    fn in_order(&self, scales: &Scales) -> Scales {
        match scales {
            Scales::Tensor(scale) => Scales::Tensor(*scale),
            Scales::Row(scales) => Scales::Row((0..self.n).map(|row| scales[self.source(row)]).collect()),
            Scales::Block { size, scales } => {
                let blocks = self.k / size;
                let rows = (0..self.n).flat_map(|row| &scales[self.source(row) * blocks..][..blocks]);
                Scales::Block { size: *size, scales: rows.copied().collect() }
            }
        }
    }

    /// The mean of the weights' magnitudes.
    fn mean(&self) -> Result<f64, Error> {
        let mut sum = 0.0;
        self.stored.chunks(|_, chunk| {
            sum += chunk.iter().map(|&weight| f64::from(weight.abs())).sum::<f64>();
            true
        })?;
        Ok(sum / (self.n * self.k) as f64)
    }

    fn floats(&self, kind: Kind, changes: &mut Changes) -> Result<Vec<u8>, Error> {
        let size = element(kind);
        let mut out = Vec::with_capacity(self.n * self.k * size);
        let same = self.stored.float() == Some(kind);
        let mut line = vec![0f32; self.k];
        for row in 0..self.n {
            let source = self.source(row) * self.k;
            self.stored.read(source, &mut line)?;
            if same {
                out.extend_from_slice(&self.stored.data[source * size..][..self.k * size]);
                continue;
            }
            line.iter().for_each(|&value| push(kind, value, &mut out, changes));
            if let Some(column) = line.iter().position(|value| value.abs() > largest(kind)) {
                let why = format!("has {} at row {}, column {column}", line[column], self.source(row));
                return Err(self.stored.error(why + &format!(", more than {kind} can say; use bf16 or f32 for it")));
            }
        }
        Ok(out)
    }
}

impl Stored {
    /// Hands over all elements, piece by piece, with the place of each piece; ends early where `work` returns false.
    fn chunks(&self, mut work: impl FnMut(usize, &[f32]) -> bool) -> Result<(), Error> {
        let elements = self.elements();
        let mut buffer = vec![0f32; CHUNK.min(elements)];
        for at in (0..elements).step_by(CHUNK) {
            let chunk = &mut buffer[..CHUNK.min(elements - at)];
            self.read(at, chunk)?;
            if !work(at, chunk) {
                break;
            }
        }
        Ok(())
    }

    /// Whether every element is −1, 0 or 1.
    pub(super) fn is_trits(&self) -> Result<bool, Error> {
        let mut all = true;
        self.chunks(|_, chunk| {
            all = chunk.iter().all(|&weight| weight == 0.0 || weight.abs() == 1.0);
            all
        })?;
        Ok(all)
    }

    /// The scales of weights that are trits times scales exactly, for rows of `k`, in the coarsest form: None where
    /// there are weights of different magnitudes within a block of 256, or within a row that is not of such blocks.
    pub(super) fn exact_scales(&self, k: usize) -> Result<Option<Scales>, Error> {
        const BLOCK: usize = 256;
        let size = if k.is_multiple_of(BLOCK) { BLOCK } else { k };
        let mut magnitudes = vec![0f32; self.elements() / size];
        let mut exact = true;
        self.chunks(|at, chunk| {
            for (index, &weight) in chunk.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                let magnitude = &mut magnitudes[(at + index) / size];
                if *magnitude == 0.0 {
                    *magnitude = weight.abs();
                }
                exact &= *magnitude == weight.abs();
            }
            exact
        })?;
        Ok(exact.then(|| coarsest(magnitudes, size, k)))
    }
}

/// Scales for `size` elements each of rows of `k`, in the coarsest form. Where all weights are 0, any scale will do.
fn coarsest(mut scales: Vec<f32>, size: usize, k: usize) -> Scales {
    let common = |scales: &[f32]| {
        let mut known = scales.iter().copied().filter(|&scale| scale != 0.0);
        let first = known.next().unwrap_or(0.0);
        known.all(|scale| scale == first).then_some(first)
    };
    if let Some(scale) = common(&scales) {
        return Scales::Tensor(scale);
    }
    let blocks = k / size;
    let rows: Option<Vec<f32>> = scales.chunks_exact(blocks).map(common).collect();
    match rows {
        Some(rows) => Scales::Row(rows),
        None => {
            scales.shrink_to_fit();
            Scales::Block { size, scales }
        }
    }
}

fn list(scales: &Scales) -> &[f32] {
    match scales {
        Scales::Tensor(scale) => std::slice::from_ref(scale),
        Scales::Row(scales) | Scales::Block { scales, .. } => scales,
    }
}

/// The scale of element `at`, which is in row `row`.
fn scale_at(scales: &Scales, row: usize, at: usize) -> f32 {
    match scales {
        Scales::Tensor(scale) => *scale,
        Scales::Row(scales) => scales[row],
        Scales::Block { size, scales } => scales[at / size],
    }
}

/// Bytes of an element of a plain float type.
fn element(kind: Kind) -> usize {
    if kind == Kind::F32 { 4 } else { 2 }
}

/// The largest number of a plain float type.
fn largest(kind: Kind) -> f32 {
    match kind {
        Kind::F16 => f16::MAX.to_f32(),
        Kind::BF16 => bf16::MAX.to_f32(),
        _ => f32::MAX,
    }
}

/// Appends `value` as an element of a plain float type.
fn push(kind: Kind, value: f32, out: &mut Vec<u8>, changes: &mut Changes) {
    let back = match kind {
        Kind::F16 => {
            let half = f16::from_f32(value);
            out.extend(half.to_le_bytes());
            half.to_f32()
        }
        Kind::BF16 => {
            let half = bf16::from_f32(value);
            out.extend(half.to_le_bytes());
            half.to_f32()
        }
        _ => {
            out.extend(value.to_le_bytes());
            value
        }
    };
    changes.rounded += usize::from(back != value);
    changes.vanished += usize::from(back == 0.0 && value != 0.0);
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::gguf::Data;

    fn stored(shape: &[usize], weights: &[f32]) -> Stored {
        let bytes = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let data = Data::owned(bytes);
        Stored { path: "m.safetensors".into(), name: "w".into(), dtype: Dtype::F32, shape: shape.to_vec(), data }
    }

    fn matrix(n: usize, k: usize, weights: &[f32], method: Method, rotated: Option<usize>) -> Matrix {
        Matrix { stored: stored(&[n, k], weights), method, n, k, rotated }
    }

    #[test]
    fn absmean_rounds_half_to_even_and_clips() {
        // The mean magnitude is 2, so that weights of 1 are halfway between 0 and 1, and go to 0.
        let weights = [1.0, -1.0, 3.0, -3.0, 1.5, -0.5, 0.0, 6.0];
        let trits = matrix(2, 4, &weights, Method::Absmean, None).trits().unwrap();
        assert_eq!(trits.codes, [1, 1, 2, 0, 2, 1, 1, 2]);
        assert_eq!(trits.scales, Scales::Tensor(2.0));
        // A matrix of zeros is divided by the least mean.
        let trits = matrix(1, 4, &[0.0; 4], Method::Absmean, None).trits().unwrap();
        assert_eq!((trits.codes, trits.scales), (vec![1; 4], Scales::Tensor(1.0 / (1.0 / 1e-5f32))));
    }

    #[test]
    fn rows_go_from_halves_to_neighbours_within_each_head() {
        let weights: Vec<f32> = (0..8).map(|row| row as f32).collect();
        let (bytes, _) = matrix(8, 1, &weights, Method::Float, Some(2)).bytes(Kind::F32).unwrap();
        let rows: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    #[test]
    fn packed_rows_are_a_quarter_apart() {
        let mut stored = stored(&[2, 3], &[]);
        // Byte row r holds rows r, r + 2, r + 4, r + 6.
        stored.data = Data::owned(vec![0b10_01_00_10, 0, 0b01_01_01_01, 0b00_00_00_01, 0b10_10_10_10, 0b01_00_00_00]);
        let matrix = Matrix { stored, method: Method::Packed(0.5), n: 8, k: 3, rotated: None };
        let trits = matrix.trits().unwrap();
        let column = |column: usize| trits.codes.iter().skip(column).step_by(3).copied().collect::<Vec<u8>>();
        assert_eq!(column(0), [2, 1, 0, 0, 1, 0, 2, 0]);
        assert_eq!(column(1), [0, 2, 0, 2, 0, 2, 0, 2]);
        assert_eq!(column(2), [1, 0, 1, 0, 1, 0, 1, 1]);
        let rotated = Matrix { rotated: Some(2), ..matrix.clone() };
        let first: Vec<u8> = rotated.trits().unwrap().codes.into_iter().step_by(3).collect();
        assert_eq!(first, [2, 0, 1, 0, 1, 2, 0, 0]);
        let mut damaged = matrix;
        damaged.stored.data = Data::owned(vec![0b11; 6]);
        assert!(damaged.trits().unwrap_err().to_string().contains("code 3 for the weight at row 0, column 0"));
    }

    #[test]
    fn exact_trits_are_seen_with_the_coarsest_scales() {
        let scales = |n: usize, k: usize, weight: &dyn Fn(usize, usize) -> f32| {
            let weights: Vec<f32> = (0..n * k).map(|at| weight(at / k, at % k)).collect();
            stored(&[n, k], &weights).exact_scales(k).unwrap()
        };
        let trit = |row: usize, column: usize| ((row * 7 + column * 5) % 3) as f32 - 1.0;
        assert_eq!(scales(3, 512, &|r, c| trit(r, c) * 0.3), Some(Scales::Tensor(0.3)));
        assert_eq!(scales(3, 5, &|r, c| trit(r, c) * 0.3), Some(Scales::Tensor(0.3)));
        let by_row = scales(3, 512, &|r, c| trit(r, c) * (r + 1) as f32);
        assert_eq!(by_row, Some(Scales::Row(vec![1.0, 2.0, 3.0])));
        let by_block = scales(2, 512, &|r, c| trit(r, c) * (c / 256 + 1) as f32);
        assert_eq!(by_block, Some(Scales::Block { size: 256, scales: vec![1.0, 2.0, 1.0, 2.0] }));
        // A row of zeros takes any scale.
        assert_eq!(scales(2, 8, &|r, c| if r == 0 { 0.0 } else { trit(r, c) }), Some(Scales::Tensor(1.0)));
        assert_eq!(scales(2, 8, &|_, _| 0.0), Some(Scales::Tensor(0.0)));
        assert_eq!(scales(2, 8, &|r, c| (r + c) as f32), None);
        assert_eq!(scales(2, 8, &|_, c| if c == 7 { 1.5 } else { 1.0 }), None);
        let scales = scales(2, 512, &|r, c| trit(r, c) * (c / 256 + 1) as f32 * (r + 1) as f32);
        assert_eq!(scales, Some(Scales::Block { size: 256, scales: vec![1.0, 2.0, 2.0, 4.0] }));
    }

    #[test]
    fn what_half_precision_cannot_say_is_told_or_refused() {
        let (bytes, changes) = matrix(1, 4, &[1.0, 1e-9, 0.1, 0.0], Method::Float, None).bytes(Kind::F16).unwrap();
        assert_eq!(bytes.len(), 8);
        assert_eq!((changes.rounded, changes.vanished), (2, 1));
        let error = matrix(1, 2, &[1.0, 1e6], Method::Float, None).bytes(Kind::F16).unwrap_err().to_string();
        assert!(error.contains("`w` has 1000000 at row 0, column 1, more than F16 can say"), "{error}");
        let error = matrix(1, 2, &[1.0, f32::NAN], Method::Float, None).bytes(Kind::F32).unwrap_err().to_string();
        assert!(error.contains("has NaN as element 1"), "{error}");

        let trits: Vec<f32> = (0..256).map(|at| at as f32 % 3.0 - 1.0).collect();
        let exact = |scale: f32| matrix(1, 256, &trits, Method::Unpacked(scale), None);
        let (_, changes) = exact(0.1).bytes(Kind::TQ2_0).unwrap();
        assert_eq!((changes.rounded, changes.zeros), (1, 85));
        assert_eq!(exact(0.125).bytes(Kind::TQ1_0).unwrap().1.rounded, 0);
        assert!(exact(1e-9).bytes(Kind::TQ2_0).unwrap_err().to_string().contains("beyond half precision"));
        assert_eq!(exact(1e-9).bytes(Kind::I2_S).unwrap().1.scales, Some((1e-9, 1e-9)));
    }

    #[test]
    fn trits_as_floats_are_trits_times_scales() {
        let weights = [0.5, 0.0, -0.5, 0.5, 0.25, 0.25, 0.0, -0.25];
        let exact = Method::Exact(stored(&[2, 4], &weights).exact_scales(4).unwrap().unwrap());
        let (bytes, _) = matrix(2, 4, &weights, exact, None).bytes(Kind::F32).unwrap();
        let back: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(back, weights);
    }
}
