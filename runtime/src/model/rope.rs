//! Rotary position embedding (Su et al., 2021, arXiv:2104.09864).

use std::fmt;
use std::ops::Range;

/// Which two elements of a head are rotated together; d is the number of rotated dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// (2i, 2i + 1): "normal" in llama.cpp's words, as LLaMA was published.
    Adjacent,
    /// (i, i + d/2): GPT-NeoX's, and that of Hugging Face's checkpoints.
    Halves,
}

impl fmt::Display for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pairing::Adjacent => "normal, pairs (2i, 2i+1)",
            Pairing::Halves => "NeoX, pairs (i, i+d/2)",
        })
    }
}

/// Cosine and sine of one pair's angle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    cos: f32,
    sin: f32,
}

/// The rotation that stands for a position.
#[derive(Clone, Debug)]
pub struct Rope {
    pairing: Pairing,
    /// Radians per position, for each pair.
    frequencies: Vec<f64>,
}

impl Rope {
    /// Pair i of `dimension / 2` turns by base^(−2i/dimension) / (`divisor` · `factors[i]`) per position. `divisor` is
    /// the factor of linear scaling (1: none); `factors` is the tensor `rope_freqs.weight` of Llama 3.1, or empty.
    pub fn new(pairing: Pairing, dimension: usize, base: f32, divisor: f32, factors: &[f32]) -> Self {
        let frequency = |i: usize| {
            let factor = f64::from(divisor) * factors.get(i).map_or(1.0, |&factor| f64::from(factor));
            f64::from(base).powf(-2.0 * i as f64 / dimension as f64) / factor
        };
        Rope { pairing, frequencies: (0..dimension / 2).map(frequency).collect() }
    }

    /// Pairs that are rotated in a head.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// The turns of each position, `[positions, pairs]`; `out` is emptied first. Angles are taken in f64: in f32 they
    /// would be off by 10⁻³ at position 10⁴.
    pub fn turns(&self, positions: Range<usize>, out: &mut Vec<Turn>) {
        out.clear();
        for position in positions {
            out.extend(self.frequencies.iter().map(|frequency| {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                Turn { cos: cos as f32, sin: sin as f32 }
            }));
        }
    }

    /// Rotates the heads of one token, each `head_length` long, by the turns of its position. What a head has beyond
    /// the rotated dimensions stays.
    pub fn rotate(&self, turns: &[Turn], heads: &mut [f32], head_length: usize) {
        let rotate = |a: &mut f32, b: &mut f32, turn: &Turn| {
            (*a, *b) = (*a * turn.cos - *b * turn.sin, *a * turn.sin + *b * turn.cos);
        };
        for head in heads.chunks_exact_mut(head_length) {
            match self.pairing {
                Pairing::Adjacent => {
                    for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                        let [a, b] = pair;
                        rotate(a, b, turn);
                    }
                }
                Pairing::Halves => {
                    let (left, right) = head.split_at_mut(self.pairs());
                    for ((a, b), turn) in left.iter_mut().zip(right).zip(turns) {
                        rotate(a, b, turn);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(rope: &Rope, position: usize, heads: &[f32], head_length: usize) -> Vec<f32> {
        let (mut turns, mut heads) = (Vec::new(), heads.to_vec());
        rope.turns(position..position + 1, &mut turns);
        rope.rotate(&turns, &mut heads, head_length);
        heads
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn position_zero_changes_nothing() {
        let heads: Vec<f32> = (0..16).map(|i| i as f32).collect();
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            assert_eq!(rotated(&Rope::new(pairing, 8, 10_000.0, 1.0, &[]), 0, &heads, 8), heads);
        }
    }

    #[test]
    fn pairs_are_the_right_ones() {
        let (sin, cos) = 3f32.sin_cos();
        let (sin2, cos2) = 0.03f32.sin_cos();
        let adjacent = rotated(&Rope::new(Pairing::Adjacent, 4, 10_000.0, 1.0, &[]), 3, &[1.0, 0.0, 1.0, 0.0, 7.0], 5);
        assert!(close(&adjacent, &[cos, sin, cos2, sin2, 7.0]), "{adjacent:?}");
        let halves = rotated(&Rope::new(Pairing::Halves, 4, 10_000.0, 1.0, &[]), 3, &[1.0, 1.0, 0.0, 0.0, 7.0], 5);
        assert!(close(&halves, &[cos, cos2, sin, sin2, 7.0]), "{halves:?}");
    }

    #[test]
    fn scaling_divides_the_position() {
        let heads: Vec<f32> = (0..8).map(|i| (i as f32).cos()).collect();
        let plain = Rope::new(Pairing::Halves, 8, 500.0, 1.0, &[]);
        let linear = Rope::new(Pairing::Halves, 8, 500.0, 4.0, &[]);
        let factors = Rope::new(Pairing::Halves, 8, 500.0, 1.0, &[4.0; 4]);
        let expected = rotated(&plain, 5, &heads, 8);
        assert!(close(&rotated(&linear, 20, &heads, 8), &expected));
        assert!(close(&rotated(&factors, 20, &heads, 8), &expected));
    }
}
