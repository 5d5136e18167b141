//! Rotary position embedding (Su et al., 2021, arXiv:2104.09864), and the ways to stretch it over longer contexts.

use std::f64::consts::TAU;
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

/// How positions are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Which elements are rotated together.
    pub pairing: Pairing,
    /// Elements of a head that are rotated.
    pub dimension: usize,
    /// The slowest pair turns by about 1/base a position.
    pub base: f32,
    /// How the rotation is stretched.
    pub scaling: Scaling,
    /// What rotated elements are multiplied by: the attention factor of YaRN and LongRoPE.
    pub magnitude: f32,
}

/// How a rotation is stretched over a longer context than the model was first made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// It is not, or by a tensor of factors alone.
    None,
    /// Positions are divided by a number (Chen et al., 2023, arXiv:2306.15595).
    Linear(f32),
    /// Positions of slow pairs are divided.
    Yarn(Yarn),
    /// By one tensor of factors in contexts of up to so many tokens, and by another in longer ones (LongRoPE, Ding et
    /// al., 2024, arXiv:2402.13753).
    LongRope {
        /// Tokens.
        original: usize,
    },
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scaling::None => f.write_str("none"),
            Scaling::Linear(divisor) => write!(f, "linear, positions / {divisor}"),
            Scaling::Yarn(Yarn { divisor, original, fast, slow, share }) => {
                write!(f, "YaRN, positions / {divisor} beyond {original} tokens, β {fast} to {slow}")?;
                if *share != 1.0 { write!(f, ", share {share}") } else { Ok(()) }
            }
            Scaling::LongRope { original } => write!(f, "LongRoPE, long factors beyond {original} tokens"),
        }
    }
}

/// YaRN (Peng et al., 2023, arXiv:2309.00071), as ggml's `rope_yarn` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// What the positions of slow pairs are divided by.
    pub divisor: f32,
    /// Tokens that the model was first made for.
    pub original: usize,
    /// Pairs that turn more often than this within `original` tokens are left as they are.
    pub fast: f32,
    /// Pairs that turn less often than this have their positions divided.
    pub slow: f32,
    /// How much of that exemption holds: 1, all of it.
    pub share: f32,
}

impl Yarn {
    /// How far pair i of `dimension / 2` is left as it is: from 0 to 1.
    fn kept(&self, i: usize, dimension: usize, base: f32) -> f64 {
        let turns_as_often = |turns: f32| {
            dimension as f64 * (self.original as f64 / (f64::from(turns) * TAU)).ln() / (2.0 * f64::from(base).ln())
        };
        let low = turns_as_often(self.fast).floor().max(0.0);
        let high = turns_as_often(self.slow).ceil().min(dimension as f64 - 1.0);
        let ramp = (i as f64 - low) / (high - low).max(0.001);
        (1.0 - ramp.clamp(0.0, 1.0)) * f64::from(self.share)
    }
}

/// Cosine and sine of one pair's angle, times the magnitude.
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
    magnitude: f64,
}

impl Rope {
    /// Pair i of `dimension / 2` turns by base^(−2i/dimension) / `factors[i]` per position, before it is stretched.
    /// `factors` is a tensor such as `rope_freqs.weight` of Llama 3.1, or empty.
    pub fn new(config: &RopeConfig, factors: &[f32]) -> Self {
        let RopeConfig { pairing, dimension, base, scaling, magnitude } = *config;
        let frequency = |i: usize| {
            let factor = factors.get(i).map_or(1.0, |&factor| f64::from(factor));
            let frequency = f64::from(base).powf(-2.0 * i as f64 / dimension as f64) / factor;
            match scaling {
                Scaling::None | Scaling::LongRope { .. } => frequency,
                Scaling::Linear(divisor) => frequency / f64::from(divisor),
                Scaling::Yarn(yarn) => {
                    let kept = yarn.kept(i, dimension, base);
                    frequency / f64::from(yarn.divisor) * (1.0 - kept) + frequency * kept
                }
            }
        };
        Rope { pairing, frequencies: (0..dimension / 2).map(frequency).collect(), magnitude: magnitude.into() }
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
                Turn { cos: (cos * self.magnitude) as f32, sin: (sin * self.magnitude) as f32 }
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

/// The rotations of a model; `None` where positions are not told apart.
#[derive(Clone, Debug)]
pub struct Ropes {
    /// Of layers that see the whole context.
    pub whole: Option<Rope>,
    /// Of layers that see a window.
    pub window: Option<Rope>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pairing: Pairing, dimension: usize, base: f32) -> RopeConfig {
        RopeConfig { pairing, dimension, base, scaling: Scaling::None, magnitude: 1.0 }
    }

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
            assert_eq!(rotated(&Rope::new(&plain(pairing, 8, 10_000.0), &[]), 0, &heads, 8), heads);
        }
    }

    #[test]
    fn pairs_are_the_right_ones() {
        let (sin, cos) = 3f32.sin_cos();
        let (sin2, cos2) = 0.03f32.sin_cos();
        let rope = |pairing| Rope::new(&plain(pairing, 4, 10_000.0), &[]);
        let adjacent = rotated(&rope(Pairing::Adjacent), 3, &[1.0, 0.0, 1.0, 0.0, 7.0], 5);
        assert!(close(&adjacent, &[cos, sin, cos2, sin2, 7.0]), "{adjacent:?}");
        let halves = rotated(&rope(Pairing::Halves), 3, &[1.0, 1.0, 0.0, 0.0, 7.0], 5);
        assert!(close(&halves, &[cos, cos2, sin, sin2, 7.0]), "{halves:?}");
    }

    #[test]
    fn scaling_divides_the_position() {
        let heads: Vec<f32> = (0..8).map(|i| (i as f32).cos()).collect();
        let config = plain(Pairing::Halves, 8, 500.0);
        let linear = Rope::new(&RopeConfig { scaling: Scaling::Linear(4.0), ..config }, &[]);
        let factors = Rope::new(&config, &[4.0; 4]);
        let expected = rotated(&Rope::new(&config, &[]), 5, &heads, 8);
        assert!(close(&rotated(&linear, 20, &heads, 8), &expected));
        assert!(close(&rotated(&factors, 20, &heads, 8), &expected));
    }

    /// Frequencies of Qwen3 with YaRN, factor 4 over 32768 tokens: the ramp goes from pair 23 to pair 40, since those
    /// turn 32 times and once (64 · ln(32768 / (2π · turns)) / ln(10⁶): 23.6 and 39.7).
    #[test]
    fn yarn_divides_slow_pairs_only() {
        let yarn = Yarn { divisor: 4.0, original: 32_768, fast: 32.0, slow: 1.0, share: 1.0 };
        let config = plain(Pairing::Halves, 128, 1e6);
        let [before, after] = [Scaling::None, Scaling::Yarn(yarn)]
            .map(|scaling| Rope::new(&RopeConfig { scaling, ..config }, &[]).frequencies);
        let ratio = |i: usize| after[i] / before[i];
        assert!((0..=23).all(|i| (ratio(i) - 1.0).abs() < 1e-12));
        assert!((40..64).all(|i| (ratio(i) - 0.25).abs() < 1e-12));
        let kept = 1.0 - (30.0 - 23.0) / (40.0 - 23.0);
        assert!((ratio(30) - (0.25 * (1.0 - kept) + kept)).abs() < 1e-12);
    }

    #[test]
    fn magnitude_lengthens_what_is_rotated() {
        let config = RopeConfig { magnitude: 2.0, ..plain(Pairing::Halves, 4, 500.0) };
        assert!(close(
            &rotated(&Rope::new(&config, &[]), 0, &[1.0, 2.0, 3.0, 4.0, 5.0], 5),
            &[2.0, 4.0, 6.0, 8.0, 5.0]
        ));
    }

    #[test]
    fn absurd_numbers_give_finite_frequencies() {
        for (base, original, fast) in [(1.0, 1, 32.0), (1e-30, 1 << 40, 1e-30), (1e30, 0, 1e30)] {
            let yarn = Yarn { divisor: 4.0, original, fast, slow: 1.0, share: 1.0 };
            let config = RopeConfig { scaling: Scaling::Yarn(yarn), ..plain(Pairing::Halves, 8, base) };
            assert!(Rope::new(&config, &[]).frequencies.iter().all(|frequency| frequency.is_finite()));
        }
    }
}
