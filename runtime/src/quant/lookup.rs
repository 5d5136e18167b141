//! TL1 and TL2, the types of bitnet.cpp's lookup kernels: codes in tiles whose dimensions are those of the kernels that a
//! file was made for. A file does not say them, but the converter packs only shapes that its kernel configuration lists,
//! and those that are published list each shape but once: the shape is the proof.
//!
//! Source: microsoft/BitNet, `utils/convert-hf-to-gguf-bitnet.py` (`process_tl1`, `preprocess_weights_tl2`),
//! `preset_kernels/*/kernel_config_tl*.ini`, and the configurations that `setup_env.py` generates.

use super::Error;
use crate::gguf::Kind;

/// How a kernel configuration cuts weights of one shape.
struct Tiles {
    n: usize,
    k: usize,
    /// Rows of a tile.
    rows: usize,
    /// Columns of a tile.
    columns: usize,
    /// Rows of a part of a tile that a kernel takes at once.
    inner: usize,
}

const fn tiles(n: usize, k: usize, rows: usize, columns: usize, inner: usize) -> Tiles {
    Tiles { n, k, rows, columns, inner }
}

/// bitnet_b1_58-large, then bitnet_b1_58-3B.
const TL1: [Tiles; 6] = [
    tiles(1536, 4096, 256, 128, 32),
    tiles(1536, 1536, 128, 64, 64),
    tiles(4096, 1536, 256, 128, 32),
    tiles(3200, 8640, 160, 64, 32),
    tiles(3200, 3200, 320, 128, 64),
    tiles(8640, 3200, 320, 64, 32),
];

/// The same, then Llama3-8B-1.58.
const TL2: [Tiles; 10] = [
    tiles(1536, 4096, 256, 96, 32),
    tiles(1536, 1536, 128, 192, 32),
    tiles(4096, 1536, 256, 96, 32),
    tiles(3200, 8640, 160, 96, 32),
    tiles(3200, 3200, 320, 96, 32),
    tiles(8640, 3200, 320, 96, 32),
    tiles(14336, 4096, 256, 96, 32),
    tiles(4096, 14336, 128, 96, 32),
    tiles(1024, 4096, 256, 96, 32),
    tiles(4096, 4096, 128, 96, 32),
];

/// Shapes of Llama3-8B-1.58, whose preset for TL1 is not what bitnet.cpp's own setup generates.
const TWO_CONFIGURATIONS: [(usize, usize); 4] = [(14336, 4096), (4096, 14336), (1024, 4096), (4096, 4096)];

fn find(kind: Kind, n: usize, k: usize) -> Result<&'static Tiles, Error> {
    let known: &[Tiles] = if kind == Kind::TL1 { &TL1 } else { &TL2 };
    let why = if kind == Kind::TL1 && TWO_CONFIGURATIONS.contains(&(n, k)) {
        "two kernel configurations are published for this shape, and nothing in a file says which it was made for"
    } else {
        "published kernel configurations are those of bitnet_b1_58-large, bitnet_b1_58-3B and Llama3-8B-1.58, which have \
         no such matrix"
    };
    known.iter().find(|tiles| (tiles.n, tiles.k) == (n, k)).ok_or(Error::Tiles { kind, rows: n, k, why })
}

/// Whether the tiles of `n` rows of `k` weights are known.
pub(super) fn check(kind: Kind, n: usize, k: usize) -> Result<(), Error> {
    find(kind, n, k).map(drop)
}

/// Codes `[n, k]` of a tensor whose blocks are `bytes`.
pub(super) fn decode(kind: Kind, bytes: &[u8], n: usize, k: usize) -> Result<Vec<u8>, Error> {
    let tiles = find(kind, n, k)?;
    let mut codes = vec![0; n * k];
    let mut damage = None;
    let mut put = |at: usize, row: usize, column: usize, group: Option<[u8; 3]>, len: usize| match group {
        Some(group) => codes[row * k + column..][..len].copy_from_slice(&group[..len]),
        None => damage = damage.or(Some(at)),
    };
    if kind == Kind::TL1 {
        tiles.pairs(|at, row, column| {
            let byte = bytes[at];
            put(at, row, column, pair(byte >> 4), 2);
            put(at, row, column + 2, pair(byte & 15), 2);
        });
    } else {
        let triples = Triples::new(tiles);
        triples.magnitudes(|at, row, column| {
            let byte = bytes[at];
            for (nibble, column) in [(byte >> 4, column), (byte & 15, column + 3)] {
                let (sign, bit) = triples.sign(row, column);
                put(at, row, column, triple(nibble, bytes[sign] >> bit & 1 == 1), 3);
            }
        });
        triples.pairs(|at, row, column| {
            let byte = bytes[at];
            put(at, row, column, pair(byte >> 4), 2);
            put(at, row, column + 2, pair(byte & 15), 2);
        });
    }
    damage.map_or(Ok(codes), |at| Err(Error::Lookup { kind, at }))
}

/// Packs codes `[n, k]` into the start of `out`, which is zero.
pub(super) fn encode(kind: Kind, codes: &[u8], n: usize, k: usize, out: &mut [u8]) -> Result<(), Error> {
    let tiles = find(kind, n, k)?;
    let pair = |row: usize, column: usize| 3 * codes[row * k + column] + codes[row * k + column + 1];
    if kind == Kind::TL1 {
        tiles.pairs(|at, row, column| out[at] = pair(row, column) << 4 | pair(row, column + 2));
        return Ok(());
    }
    let triples = Triples::new(tiles);
    triples.magnitudes(|at, row, column| {
        for (shift, column) in [(4, column), (0, column + 3)] {
            let [a, b, c] = [0, 1, 2].map(|i| codes[row * k + column + i]);
            let number = 9 * a + 3 * b + c;
            out[at] |= number.abs_diff(ZERO) << shift;
            if number < ZERO {
                let (sign, bit) = triples.sign(row, column);
                out[sign] |= 1 << bit;
            }
        }
    });
    triples.pairs(|at, row, column| out[at] = pair(row, column) << 4 | pair(row, column + 2));
    Ok(())
}

/// Three zeros as a number in base 3.
const ZERO: u8 = 13;

/// Two codes; none for what is not the number of two.
fn pair(number: u8) -> Option<[u8; 3]> {
    (number < 9).then_some([number / 3, number % 3, 0])
}

/// Three codes of a magnitude and a sign; none for what is not the number of three.
fn triple(magnitude: u8, negative: bool) -> Option<[u8; 3]> {
    if magnitude > ZERO || magnitude == 0 && negative {
        return None;
    }
    let number = if negative { ZERO - magnitude } else { ZERO + magnitude };
    Some([number / 9, number / 3 % 3, number % 3])
}

impl Tiles {
    /// Calls `visit(at, row, column)` for every byte of TL1: four columns of a row from `column` on, the first two in the
    /// upper half. A kernel takes 256 weights at once: 16 rows of each four columns side by side.
    fn pairs(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let width = 256 / self.inner;
        let mut at = 0;
        for tile in (0..self.n).step_by(self.rows) {
            for left in (0..self.k).step_by(self.columns) {
                for part in (tile..tile + self.rows).step_by(self.inner) {
                    for start in (left..left + self.columns).step_by(width) {
                        for sixteen in (part..part + self.inner).step_by(16) {
                            for column in (start..start + width).step_by(4) {
                                for row in sixteen..sixteen + 16 {
                                    visit(at, row, column);
                                    at += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The parts of TL2: magnitudes of triples of columns as nibbles, their signs as bits, and columns that make no whole tile
/// as pairs.
struct Triples<'a> {
    tiles: &'a Tiles,
    /// Columns that make whole tiles.
    wide: usize,
}

/// Columns of a tile of TL2's pairs.
const PAIR_COLUMNS: usize = 32;

/// Columns of the magnitudes of a byte, and of the signs of 16 bits.
const MAGNITUDE_COLUMNS: usize = 6;
const SIGN_COLUMNS: usize = 24;

impl<'a> Triples<'a> {
    fn new(tiles: &'a Tiles) -> Self {
        Triples { tiles, wide: tiles.k - tiles.k % tiles.columns }
    }

    /// Where signs start.
    fn signs(&self) -> usize {
        self.tiles.n * self.wide / MAGNITUDE_COLUMNS
    }

    /// Calls `visit(at, row, column)` for every byte of magnitudes: six columns of a row, the first three in the upper half.
    fn magnitudes(&self, visit: impl FnMut(usize, usize, usize)) {
        self.columns_of_rows(0, 0..self.wide, self.tiles.columns, MAGNITUDE_COLUMNS, visit);
    }

    /// The same for the bytes of pairs: four columns of a row.
    fn pairs(&self, visit: impl FnMut(usize, usize, usize)) {
        let start = self.signs() + self.tiles.n * self.wide / SIGN_COLUMNS;
        self.columns_of_rows(start, self.wide..self.tiles.k, PAIR_COLUMNS, 4, visit);
    }

    /// Tiles of `columns`, bytes of `step` columns, of 32 rows side by side: the second and the third eight of them
    /// exchanged, as the kernels' unpacking wants it.
    fn columns_of_rows(
        &self,
        mut at: usize,
        range: std::ops::Range<usize>,
        columns: usize,
        step: usize,
        mut visit: impl FnMut(usize, usize, usize),
    ) {
        let Tiles { n, rows, inner, .. } = *self.tiles;
        for tile in (0..n).step_by(rows) {
            for left in range.clone().step_by(columns) {
                for part in (tile..tile + rows).step_by(inner) {
                    for column in (left..left + columns).step_by(step) {
                        for eight in [0, 16, 8, 24] {
                            for row in part + eight..part + eight + 8 {
                                visit(at, row, column);
                                at += 1;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The byte and the bit of the sign of a triple: 16 bits, highest byte last, of 16 neighbouring rows each hold those of
    /// eight triples, from the highest bit on, each followed by that of the row 16 below.
    fn sign(&self, row: usize, column: usize) -> (usize, usize) {
        let Tiles { rows, columns, inner, .. } = *self.tiles;
        let (tile, in_tile) = (row / rows, row % rows);
        let (left, in_left) = (column / columns, column % columns);
        let (part, in_part) = (in_tile / inner, in_tile % inner);
        let (group, triple) = (in_left / SIGN_COLUMNS, in_left % SIGN_COLUMNS / 3);
        let index = ((tile * (self.wide / columns) + left) * (rows / inner) + part) * (columns / SIGN_COLUMNS) + group;
        let bit = 15 - (2 * triple + in_part / 16);
        (self.signs() + 2 * (16 * index + in_part % 16) + bit / 8, bit % 8)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scales, Trits, trits};
    use super::*;

    fn weights(n: usize, k: usize) -> Trits {
        let codes = (0..n * k).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % 3).map(|code| code as u8).collect();
        Trits { n, k, codes, scales: Scales::Tensor(0.75) }
    }

    /// That the bytes are those of bitnet.cpp's converter is checked by `tests/python/weight_types.py`.
    #[test]
    fn what_is_packed_is_unpacked() {
        for (kind, n, k) in
            [(Kind::TL1, 1536, 1536), (Kind::TL1, 1536, 4096), (Kind::TL2, 1536, 1536), (Kind::TL2, 1536, 4096)]
        {
            let weights = weights(n, k);
            let bytes = trits::encode(kind, &weights).unwrap();
            assert!(trits::decode(kind, &bytes, n, k).unwrap() == weights, "{kind}");
            // The scale is another tensor: 1 until somebody multiplies by it.
            let apart = trits::decode(kind, &bytes[..bytes.len() - 32], n, k).unwrap();
            assert!(apart.codes == weights.codes && apart.scales == Scales::Tensor(1.0), "{kind}");
        }
    }

    /// Every byte of a tensor is visited once, and every weight is in one.
    #[test]
    fn tiles_cover_the_matrix() {
        for tiles in &TL1 {
            let (mut bytes, mut weights) = (0, 0);
            tiles.pairs(|at, row, column| {
                assert!(at == bytes && row < tiles.n && column + 4 <= tiles.k);
                (bytes, weights) = (bytes + 1, weights + 4);
            });
            assert_eq!((bytes, weights), (tiles.n * tiles.k / 4, tiles.n * tiles.k), "{} x {}", tiles.n, tiles.k);
        }
        for tiles in &TL2 {
            let (triples, mut bytes, mut weights) = (Triples::new(tiles), 0, 0);
            triples.magnitudes(|at, _, column| {
                assert!(at == bytes && column + 6 <= triples.wide);
                (bytes, weights) = (bytes + 1, weights + 6);
            });
            assert_eq!(bytes, triples.signs());
            let signs = tiles.n * triples.wide / SIGN_COLUMNS;
            let last = triples.sign(tiles.n - 1, triples.wide - 3);
            assert_eq!(last, (bytes + signs - 2, 0));
            bytes += signs;
            triples.pairs(|at, _, column| {
                assert!(at == bytes && column >= triples.wide && column + 4 <= tiles.k);
                (bytes, weights) = (bytes + 1, weights + 4);
            });
            assert_eq!(weights, tiles.n * tiles.k, "{} x {}", tiles.n, tiles.k);
            let room = Kind::TL2.bytes(&[tiles.k as u64, tiles.n as u64]).unwrap().unwrap() - 32;
            assert!(bytes as u64 <= room, "{} x {}: {bytes} of {room}", tiles.n, tiles.k);
        }
    }

    #[test]
    fn tiles_that_nobody_published_are_refused_with_the_way_out() {
        for (kind, n, k, why) in [
            (Kind::TL1, 2560, 2560, "which have no such matrix"),
            (Kind::TL2, 2560, 2560, "bitnet_b1_58-large, bitnet_b1_58-3B and Llama3-8B-1.58"),
            (Kind::TL1, 4096, 4096, "two kernel configurations are published"),
        ] {
            let bytes = vec![0; kind.bytes(&[k as u64, n as u64]).unwrap().unwrap() as usize];
            let error = trits::decode(kind, &bytes, n, k).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("convert the original checkpoint to I2_S"), "{error}");
        }
    }

    #[test]
    fn what_no_packer_writes_is_damage() {
        let weights = weights(1536, 1536);
        for (kind, at) in [(Kind::TL1, 77_777), (Kind::TL2, 77_777)] {
            let mut bytes = trits::encode(kind, &weights).unwrap();
            bytes[at] = 0xff;
            let error = trits::decode(kind, &bytes, 1536, 1536).unwrap_err().to_string();
            assert!(error.contains(&format!("byte {at} of {kind}")), "{error}");
        }
        // A negative zero.
        let zeros = Trits { codes: vec![1; 1536 * 1536], ..weights };
        let mut bytes = trits::encode(Kind::TL2, &zeros).unwrap();
        bytes[1536 * 1536 / MAGNITUDE_COLUMNS] = 1;
        assert!(matches!(trits::decode(Kind::TL2, &bytes, 1536, 1536), Err(Error::Lookup { .. })));
    }
}
