//! Matrices from one type to another: exactly where the other can say them, and told how much they change where it
//! cannot quite.

use super::{Error, Scales, Trits, check_size, float, recognise, size, trits};
use crate::gguf::Kind;

/// What to convert a matrix to, and how.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The type to make: a ternary one that can be written, F32, F16 or BF16.
    pub to: Kind,
    /// Make trits of floats that are none, as BitNet b1.58 does; else they are refused.
    pub ternarize: bool,
}

/// A matrix in its new type.
#[derive(Clone, Debug)]
pub struct Converted {
    /// As a file holds it.
    pub bytes: Vec<u8>,
    /// How it was made.
    pub how: How,
    /// The most that a scale has changed, in parts of it; of floats, the most that one has, in parts of the largest.
    pub change: f32,
}

/// How a matrix was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Trits to the same trits.
    Repacked,
    /// Floats that are trits to these trits.
    Recognised,
    /// Floats to the nearest trits.
    Ternarised,
    /// Trits or floats to floats.
    Floats,
}

/// Half precision rounds by no more than this part, but for the numbers that it has no room for.
const MOST_ROUNDING: f32 = 1.0 / 1024.0;

impl Conversion {
    /// Types that can be made.
    pub fn targets() -> impl Iterator<Item = Kind> {
        let written = |kind: &Kind| kind.is_ternary() && !kind.is_lookup() && *kind != Kind::I2_S_ARM64;
        Kind::all().filter(written).chain([Kind::F16, Kind::BF16, Kind::F32])
    }

    /// Converts weights of type `from`, of which `shape`, `[k, n, stacked]`, has the innermost dimension first: matrices of n
    /// rows of k, one for each expert. Made to trits, each gets a scale of its own. `factor` multiplies them all: a tensor
    /// `NAME.scale`, where the new type is ternary and has room for it, or that of a lookup type.
    ///
    /// # Errors
    /// Where the old type cannot be decoded, or the new one cannot say the weights: floats that are not trits (unless that
    /// is asked for), scales that are finer than its own or beyond half precision.
    pub fn run(&self, from: Kind, bytes: &[u8], shape: [usize; 3], factor: Option<f32>) -> Result<Converted, Error> {
        let to = self.to;
        let [k, each, stacked] = shape;
        let n = each * stacked;
        if !to.is_ternary() {
            let (bytes, change) = if from.is_ternary() {
                let trits = scaled(from, bytes, n, k, factor)?;
                write_floats(to, n, k, |row, out| {
                    trits.row(row, out);
                    Ok(())
                })?
            } else {
                check_size(from, bytes.len(), n, k)?;
                let row_bytes = bytes.len() / n;
                write_floats(to, n, k, |row, out| float::decode(from, &bytes[row * row_bytes..][..row_bytes], out))?
            };
            return Ok(Converted { bytes, how: How::Floats, change });
        }
        let mut change = 0f32;
        let (mut trits, how) = if from.is_ternary() {
            (scaled(from, bytes, n, k, None)?, How::Repacked)
        } else {
            let values = floats(from, bytes, n, k)?;
            match recognise::exact(&values, n, k) {
                Some(trits) => (trits, How::Recognised),
                None if self.ternarize => {
                    let made = absmean_each(&values, each, k).ok_or(Error::NotFinite { kind: from })?;
                    change = largest_change(&values, &made);
                    (made, How::Ternarised)
                }
                None => return Err(Error::NotTrits { kind: from, to }),
            }
        };
        trits.scales = trits.scales.times(factor.unwrap_or(1.0));
        let half = to.format().and_then(|format| format.scales).is_some_and(|place| place.is_half());
        if half && !trits.scales.is_half() {
            let rounded = trits.scales.clone().round_f16();
            let rounding = trits.scales.change(&rounded);
            if rounding > MOST_ROUNDING {
                return Err(Error::HalfRange { kind: to });
            }
            change = change.max(rounding);
            trits.scales = rounded;
        }
        Ok(Converted { bytes: trits::encode(to, &trits)?, how, change })
    }
}

/// The most that a weight differs from the trit that it became, in parts of the largest.
fn largest_change(values: &[f32], trits: &Trits) -> f32 {
    let mut row = vec![0f32; trits.k];
    let (mut largest, mut change) = (0f32, 0f32);
    for (index, values) in values.chunks_exact(trits.k).enumerate() {
        trits.row(index, &mut row);
        for (value, trit) in values.iter().zip(&row) {
            largest = largest.max(value.abs());
            change = change.max((value - trit).abs());
        }
    }
    if largest > 0.0 { change / largest } else { 0.0 }
}

fn scaled(from: Kind, bytes: &[u8], n: usize, k: usize, factor: Option<f32>) -> Result<Trits, Error> {
    let trits = trits::decode(from, bytes, n, k)?;
    Ok(Trits { scales: trits.scales.times(factor.unwrap_or(1.0)), ..trits })
}

fn floats(from: Kind, bytes: &[u8], n: usize, k: usize) -> Result<Vec<f32>, Error> {
    let mut values = vec![0.0; n * k];
    float::decode(from, bytes, &mut values)?;
    Ok(values)
}

/// The nearest trits of stacked matrices of n rows of k floats, each with a scale of its own. `None` where they are not
/// finite.
fn absmean_each(values: &[f32], n: usize, k: usize) -> Option<Trits> {
    let (mut codes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for values in values.chunks_exact(n * k) {
        let made = recognise::absmean(values, n, k)?;
        scales.extend((0..n).map(|row| made.scales.at(k, row, 0)));
        codes.extend(made.codes);
    }
    Some(Trits { n: scales.len(), k, codes, scales: Scales::fold(scales, k, k) })
}

/// n rows of k floats, which `read` decodes one row at a time, as a file holds them, and the most that one has changed, in
/// parts of the largest. Tables of words are large: none is in memory a second time.
fn write_floats(
    to: Kind,
    n: usize,
    k: usize,
    mut read: impl FnMut(usize, &mut [f32]) -> Result<(), Error>,
) -> Result<(Vec<u8>, f32), Error> {
    let mut bytes = Vec::with_capacity(size(to, n, k)?);
    let mut row = vec![0.0; k];
    let (mut largest, mut change) = (0f32, 0f32);
    for index in 0..n {
        read(index, &mut row)?;
        for &value in &row {
            let rounded = match to {
                Kind::F16 => {
                    let half = half::f16::from_f32(value);
                    bytes.extend(half.to_le_bytes());
                    half.to_f32()
                }
                Kind::BF16 => {
                    let brain = half::bf16::from_f32(value);
                    bytes.extend(brain.to_le_bytes());
                    brain.to_f32()
                }
                Kind::F32 => {
                    bytes.extend(value.to_le_bytes());
                    value
                }
                kind => return Err(Error::Target { kind }),
            };
            if !value.is_finite() {
                return Err(Error::NotFinite { kind: to });
            }
            if !rounded.is_finite() {
                return Err(Error::HalfRange { kind: to });
            }
            largest = largest.max(value.abs());
            change = change.max((value - rounded).abs());
        }
    }
    Ok((bytes, if largest > 0.0 { change / largest } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn convert(to: Kind, from: Kind, bytes: &[u8], n: usize, k: usize) -> Result<Converted, Error> {
        Conversion { to, ternarize: false }.run(from, bytes, [k, n, 1], None)
    }

    fn values(trits: &Trits) -> Vec<f32> {
        let mut values = vec![0.0; trits.n * trits.k];
        values.chunks_exact_mut(trits.k).enumerate().for_each(|(row, out)| trits.row(row, out));
        values
    }

    fn single(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    proptest! {
        /// Floats that are trits times half-precision scales go through every type and come back to the last bit.
        #[test]
        fn floats_to_each_type_and_back(
            to in prop::sample::select(Conversion::targets().collect::<Vec<_>>()),
            codes in prop::collection::vec(0u8..3, 4 * 512),
            scale in 1e-3f32..9.0,
        ) {
            let (n, k) = (4, 512);
            // BF16 has eight bits, and what it can say half precision can.
            let scale = half::bf16::from_f32(scale).to_f32();
            let trits = Trits { n, k, codes, scales: Scales::Tensor(scale) };
            let values = values(&trits);
            let there = convert(to, Kind::F32, &single(&values), n, k).unwrap();
            prop_assert_eq!(there.change, 0.0);
            prop_assert_eq!(there.how, if to.is_ternary() { How::Recognised } else { How::Floats });
            let back = convert(Kind::F32, to, &there.bytes, n, k).unwrap();
            // Bit for bit but for the sign of zeros.
            let back: Vec<f32> = back.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            prop_assert_eq!(&back, &values);
            for second in Conversion::targets() {
                let again = convert(second, to, &there.bytes, n, k).unwrap();
                prop_assert_eq!(again.change, 0.0, "{} to {}", to, second);
                prop_assert_eq!(again.bytes, convert(second, Kind::F32, &single(&values), n, k).unwrap().bytes);
            }
        }
    }

    #[test]
    fn scales_that_become_halves_are_told() {
        let trits = Trits { n: 4, k: 256, codes: vec![2; 1024], scales: Scales::Tensor(0.1) };
        let bytes = trits::encode(Kind::I2_S, &trits).unwrap();
        for to in Conversion::targets().filter(|kind| kind.is_ternary()) {
            let half = to.format().unwrap().scales.unwrap().is_half();
            let converted = convert(to, Kind::I2_S, &bytes, 4, 256).unwrap();
            assert_eq!(converted.how, How::Repacked);
            assert_eq!(converted.change > 0.0, half, "{to}");
            assert!(converted.change < 1.0 / 2048.0);
        }
        for scale in [1e-7f32, 1e6] {
            let trits = Trits { scales: Scales::Tensor(scale), ..trits.clone() };
            let bytes = trits::encode(Kind::I2_S, &trits).unwrap();
            let error = convert(Kind::TQ2_0, Kind::I2_S, &bytes, 4, 256).unwrap_err().to_string();
            assert!(error.contains("beyond half precision"), "{error}");
            assert_eq!(convert(Kind::IQ2_BN, Kind::I2_S, &bytes, 4, 256).unwrap().change, 0.0);
        }
    }

    #[test]
    fn factors_are_folded_into_scales() {
        let ones = single(&[1.0, -1.0, 0.0, 1.0].repeat(32));
        let conversion = Conversion { to: Kind::I2_S, ternarize: false };
        let converted = conversion.run(Kind::F32, &ones, [128, 1, 1], Some(0.3)).unwrap();
        assert_eq!(trits::decode(Kind::I2_S, &converted.bytes, 1, 128).unwrap().scales, Scales::Tensor(0.3));
        // The scale of a lookup type, into floats.
        let conversion = Conversion { to: Kind::F32, ternarize: false };
        let floats = conversion.run(Kind::I2_S, &converted.bytes, [128, 1, 1], Some(2.0)).unwrap();
        assert_eq!(floats.bytes[..4], 0.6f32.to_le_bytes());
    }

    #[test]
    fn floats_that_are_no_trits_are_ternarised_where_asked_for_alone() {
        let wave: Vec<f32> = (0..256).map(|i| (i as f32).sin()).collect();
        let error = convert(Kind::I2_S, Kind::F32, &single(&wave), 1, 256).unwrap_err().to_string();
        assert!(error.contains("--ternarize") && error.contains("not trits"), "{error}");
        let ternarize =
            |to, values: &[f32], shape| Conversion { to, ternarize: true }.run(Kind::F32, &single(values), shape, None);
        let made = ternarize(Kind::I2_S, &wave, [256, 1, 1]).unwrap();
        assert_eq!(made.how, How::Ternarised);
        assert_eq!(trits::decode(Kind::I2_S, &made.bytes, 1, 256).unwrap(), recognise::absmean(&wave, 1, 256).unwrap());
        // Experts have a scale each, where a type has room for that.
        let experts: Vec<f32> = [1.0, 4.0].iter().flat_map(|by| wave.iter().map(move |value| value * by)).collect();
        let made = ternarize(Kind::IQ2_BN, &experts, [128, 2, 2]).unwrap();
        let scale = |by: f32| {
            let made = recognise::absmean(&experts[if by == 1.0 { 0..256 } else { 256..512 }], 2, 128).unwrap();
            made.scales.at(128, 0, 0)
        };
        let found = trits::decode(Kind::IQ2_BN, &made.bytes, 4, 128).unwrap();
        assert_eq!(found.scales, Scales::Row(vec![scale(1.0), scale(1.0), scale(4.0), scale(4.0)]));
        assert_eq!(found.codes[..256], found.codes[256..]);
        let error = ternarize(Kind::I2_S, &experts, [128, 2, 2]).unwrap_err().to_string();
        assert!(error.contains("I2_S cannot say") && error.contains("a scale for each row; use"), "{error}");

        let mut infinite = wave;
        infinite[7] = f32::INFINITY;
        let error = ternarize(Kind::F16, &infinite, [256, 1, 1]);
        assert!(error.unwrap_err().to_string().contains("not finite"));
        infinite[7] = 1e6;
        let error = convert(Kind::F16, Kind::F32, &single(&infinite), 1, 256).unwrap_err().to_string();
        assert!(error.contains("beyond half precision"), "{error}");
    }

    #[test]
    fn scales_that_are_too_fine_are_refused_with_types_that_hold_them() {
        let scales = Scales::Block { size: 64, scales: (1..=16).map(|i| i as f32).collect() };
        let trits = Trits { n: 4, k: 256, codes: vec![2; 1024], scales };
        let bytes = trits::encode(Kind::Q2_0, &trits).unwrap();
        let error = convert(Kind::I2_S, Kind::Q2_0, &bytes, 4, 256).unwrap_err().to_string();
        assert!(error.contains("a scale for each 64 weights; use Q2_0, F32"), "{error}");
        assert!(convert(Kind::F16, Kind::Q2_0, &bytes, 4, 256).is_ok());
    }
}
