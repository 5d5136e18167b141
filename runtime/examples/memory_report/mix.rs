//! Which sizes blocks have.

use rand::Rng;

/// A way to choose sizes.
pub struct Mix {
    /// What it is called.
    pub name: &'static str,
    /// What it is.
    #[allow(dead_code)] // the bench does not say it
    pub about: &'static str,
    kind: Kind,
}

enum Kind {
    Engine,
    Lines(usize),
    Bytes(usize),
}

/// All of them.
pub const MIXES: [Mix; 4] = [
    Mix {
        name: "engine",
        about: "buffers of BitNet b1.58 2B4T: rows of 128, 640, 2560, 6912 elements of 1, 2, 4 bytes for 1 to 8 tokens, \
                tables of lookups, tiles of keys and values, scores of up to 1024 positions",
        kind: Kind::Engine,
    },
    Mix {
        name: "lines",
        about: "whole cache lines of up to 64 KiB, evenly over logarithms",
        kind: Kind::Lines(64 << 10),
    },
    Mix { name: "bytes", about: "any bytes from 64 to 64 KiB, evenly over logarithms", kind: Kind::Bytes(64 << 10) },
    Mix { name: "to 1 MiB", about: "any bytes from 64 to 1 MiB, evenly over logarithms", kind: Kind::Bytes(1 << 20) },
];

impl Mix {
    /// Bytes of the next block.
    pub fn size(&self, rng: &mut impl Rng) -> usize {
        let logarithm = |rng: &mut _, most: usize| {
            let exponent = Rng::random_range(rng, 6.0..(most as f64).log2());
            (exponent.exp2() as usize).clamp(64, most)
        };
        let mut of = |values: &[usize]| values[rng.random_range(0..values.len())];
        match self.kind {
            Kind::Engine => {
                let tokens = of(&[1, 1, 1, 1, 2, 4, 8]);
                match of(&[0, 0, 0, 0, 1, 2, 3]) {
                    0 => tokens * of(&[128, 640, 2560, 2560, 6912]) * of(&[1, 2, 4, 4]),
                    1 => tokens * of(&[2560, 6912]) * 16,
                    2 => 32 * 128 * of(&[1, 2, 4]),
                    _ => tokens * of(&[64, 128, 256, 512, 1024]) * 4,
                }
            }
            Kind::Lines(most) => logarithm(rng, most).next_multiple_of(64),
            Kind::Bytes(most) => logarithm(rng, most),
        }
    }
}
