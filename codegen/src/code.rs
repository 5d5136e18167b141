//! How trits are coded in bytes: the arithmetic that packer, tables, emitters and tests share.

use crate::kernel::Weights;

/// Bytes of a row that lie side by side: the 32-bit lane of a vector.
pub const LANE_BYTES: usize = 4;

/// Entries of a lookup table: what the four bits of an index can say.
pub const TABLE_ENTRIES: usize = 16;

/// Bytes of the tables of four neighbouring lookups: the low bytes of all four, then the high ones.
pub const TABLES_BYTES: usize = 2 * LANE_BYTES * TABLE_ENTRIES;

impl Weights {
    /// Every weight code.
    pub const ALL: [Weights; 3] = [Weights::T200, Weights::T167, Weights::T160];

    /// Trits in a byte. Trit `q` of byte `j` of a lane is that of column `4q + j` of a step.
    pub const fn trits(self) -> usize {
        match self {
            Weights::T200 => 4,
            Weights::T167 => 6,
            Weights::T160 => 5,
        }
    }

    /// Columns in a step: what one lane holds of a row.
    pub const fn step(self) -> usize {
        LANE_BYTES * self.trits()
    }

    /// Whether the signs of trits lie apart from the bytes.
    pub const fn has_signs(self) -> bool {
        matches!(self, Weights::T167)
    }

    /// Codes (trit + 1) of one byte, [`Weights::trits`] of them, as the byte and, where signs lie apart, two sign bits:
    /// bit h for the trits 3h … 3h + 2.
    ///
    /// - *t200*: code q in bits 2q + 1 … 2q.
    /// - *t167*: three trits are a number of −13 … 13 in balanced ternary, the first trit counting one. Its magnitude
    ///   is the class, 0 … 13, in bits 4h + 3 … 4h.
    /// - *t160*: five trits are a number v of 0 … 242 in base 3, the first digit counting 81, stored as
    ///   ⌈256 v / 243⌉: a fraction whose digits come out by multiplication, as in GGUF's TQ1_0.
    pub fn encode(self, codes: &[u8]) -> (u8, u8) {
        match self {
            Weights::T200 => (codes.iter().rev().fold(0, |byte, code| byte << 2 | code), 0),
            Weights::T167 => codes.chunks(3).enumerate().fold((0, 0), |(byte, signs), (h, triple)| {
                let number = triple.iter().rev().fold(0, |number, code| 3 * number + i32::from(*code)) - 13;
                (byte | (number.unsigned_abs() as u8) << (4 * h), signs | u8::from(number < 0) << h)
            }),
            Weights::T160 => {
                let number = codes.iter().fold(0, |number, code| 3 * number + u32::from(*code));
                ((number * 256).div_ceil(243) as u8, 0)
            }
        }
    }

    /// Trit `q` of a byte with sign bits as [`Weights::encode`] gives them, plus 1.
    pub fn decode(self, byte: u8, signs: u8, q: usize) -> u8 {
        match self {
            Weights::T200 => byte >> (2 * q) & 3,
            Weights::T167 => {
                let trit = digit(byte >> (4 * (q / 3)) & 15, q % 3);
                (if signs >> (q / 3) & 1 == 1 { 1 - trit } else { 1 + trit }) as u8
            }
            Weights::T160 => {
                let fraction = (0..q).fold(byte, |fraction, _| fraction.wrapping_mul(3));
                ((u16::from(fraction) * 3) >> 8) as u8
            }
        }
    }

    /// For lookups: trits that one index stands for, two of t200 or three of t167; `None` where nothing is looked up.
    pub const fn trits_an_index(self) -> Option<usize> {
        match self {
            Weights::T200 => Some(2),
            Weights::T167 => Some(3),
            Weights::T160 => None,
        }
    }

    /// For lookups: what is added to the entries of tables, so that none is below 0.
    pub const fn bias(self) -> i16 {
        // The most that an activation can weigh, for each trit.
        match self.trits_an_index() {
            Some(trits) => 128 * trits as i16,
            None => 0,
        }
    }

    /// For lookups: how many entries, with their bias and turned by their sign, can be added up in 16 bits.
    pub const fn lookups_in_16_bits(self) -> u16 {
        match self {
            // Entries of 0 … 512.
            Weights::T200 => 63,
            // Entries of 0 … 768, or their complements, −769 … −1.
            _ => 42,
        }
    }

    /// For lookups: trit `d` of an index; 0 where an index does not occur.
    pub const fn index_trit(self, index: usize, d: usize) -> i16 {
        match self {
            Weights::T200 => match index >> (2 * d) & 3 {
                3 => 0,
                code => code as i16 - 1,
            },
            _ => digit(index as u8, d) as i16,
        }
    }
}

/// Digit `d` of a class in balanced ternary, the first counting one; 0 beyond the last class.
pub const fn digit(class: u8, d: usize) -> i8 {
    let mut number = class as i8;
    if number > 13 {
        return 0;
    }
    let mut at = 0;
    loop {
        // The remainder of −1, 0 or 1.
        let trit = (number + 1) % 3 - 1;
        if at == d {
            return trit;
        }
        number = (number - trit) / 3;
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for weights in Weights::ALL {
            let trits = weights.trits();
            for number in 0..3usize.pow(trits as u32) {
                let codes: Vec<u8> = (0..trits).map(|q| (number / 3usize.pow(q as u32) % 3) as u8).collect();
                let (byte, signs) = weights.encode(&codes);
                let decoded: Vec<u8> = (0..trits).map(|q| weights.decode(byte, signs, q)).collect();
                assert_eq!(decoded, codes, "{weights}: {byte:#x} {signs}");
            }
        }
    }

    #[test]
    fn indices_stand_for_the_trits_that_they_encode() {
        for weights in [Weights::T200, Weights::T167] {
            let d = weights.trits_an_index().unwrap();
            let mut codes = vec![1; weights.trits()];
            for number in 0..3usize.pow(d as u32) {
                (0..d).for_each(|i| codes[i] = (number / 3usize.pow(i as u32) % 3) as u8);
                let (byte, signs) = weights.encode(&codes);
                let sign = if signs & 1 == 1 { -1 } else { 1 };
                for (i, &code) in codes[..d].iter().enumerate() {
                    let trit = sign * weights.index_trit(usize::from(byte & 15), i);
                    assert_eq!(trit, i16::from(code) - 1, "{weights} {codes:?}");
                }
            }
        }
    }

    #[test]
    fn sums_of_entries_stay_in_16_bits() {
        for weights in [Weights::T200, Weights::T167] {
            let largest = 2 * i32::from(weights.bias()) + i32::from(weights.has_signs());
            assert!(i32::from(weights.lookups_in_16_bits()) * largest <= i32::from(i16::MAX));
        }
    }
}
