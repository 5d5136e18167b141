//! Random numbers of the normal distribution, the same on every machine.
//!
//! ChaCha8's output is fixed by its specification. It becomes normal by the polar method (Marsaglia and Bray, 1964), a form
//! of Box and Muller's without sine and cosine. Its logarithm is computed here, from sums and products, which IEEE fixes to
//! the last bit: that of the system's library may differ.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of numbers of mean 0 and variance 1.
pub(super) struct Normal {
    rng: ChaCha8Rng,
    /// The second of a pair.
    spare: Option<f64>,
}

impl Normal {
    pub(super) fn new(seed: u64) -> Self {
        // `seed_from_u64` is rand_core's own expansion, which a version may change: write the seed out instead.
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Normal { rng: ChaCha8Rng::from_seed(bytes), spare: None }
    }

    pub(super) fn next(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare as f32;
        }
        loop {
            let (u, v) = (self.signed(), self.signed());
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * ln(square) / square).sqrt();
                self.spare = Some(v * factor);
                return (u * factor) as f32;
            }
        }
    }

    /// Uniform from −1 to 1, in steps of 2⁻⁵².
    fn signed(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
    }
}

/// The natural logarithm of a positive normal number.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    // From 1 to 2, then from √½ to √2.
    let mut fraction = f64::from_bits(bits & MANTISSA | 1023 << 52);
    if fraction > std::f64::consts::SQRT_2 {
        fraction /= 2.0;
        exponent += 1;
    }
    // ln f = 2 artanh z, z = (f − 1) / (f + 1), whose square is below 0.03: its powers vanish quickly.
    let z = (fraction - 1.0) / (fraction + 1.0);
    let square = z * z;
    let series = (0..12).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_the_system() {
        for i in 1..20_000 {
            let x = f64::from(i) / 9_973.0;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn numbers_are_normal() {
        let mut normal = Normal::new(7);
        let numbers: Vec<f64> = (0..200_000).map(|_| f64::from(normal.next())).collect();
        let moment = |power: i32| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.04 && (moment(4) - 3.0).abs() < 0.1, "{} {}", moment(3), moment(4));
        let within = numbers.iter().filter(|x| x.abs() < 1.0).count() as f64 / numbers.len() as f64;
        assert!((within - 0.6827).abs() < 0.005, "{within}");
    }
}
