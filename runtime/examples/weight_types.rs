//! Writes files with random weights in every type that tritune encodes, and random blocks of every float type that it only
//! decodes, each beside what it decodes them to, for `tests/python/weight_types.py`: `weight_types FOLDER`. Formats that share an id
//! are in files of their own.

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tritune::gguf::{Header, Kind, Writer};
use tritune::quant::convert::Conversion;
use tritune::quant::{Scales, Trits, float, trits};

/// Types, with rows, columns and weights under a scale (0: all).
type Shapes = &'static [(Kind, usize, usize, usize)];

const FILES: [(&str, Shapes); 2] = [
    (
        "types.gguf",
        &[
            // Rows may start inside a block.
            (Kind::I2_S, 24, 160, 0),
            (Kind::TQ1_0, 7, 768, 256),
            (Kind::TQ2_0, 7, 768, 256),
            (Kind::Q2_0, 64, 448, 64),
            (Kind::PQ2_0, 9, 640, 128),
            (Kind::IQ1_BN, 9, 320, 320),
            (Kind::IQ2_BN, 9, 320, 320),
            (Kind::IQ2_BN_R4, 12, 320, 320),
            (Kind::TL1, 1536, 1536, 0),
            (Kind::TL2, 1536, 1536, 0),
        ],
    ),
    (
        "rest.gguf",
        &[
            (Kind::I2_S_ARM64, 24, 160, 0),
            (Kind::Q2_0_G128, 64, 384, 128),
            (Kind::TL1, 1536, 4096, 0),
            // The last columns fill no tile.
            (Kind::TL2, 1536, 4096, 0),
        ],
    ),
];

/// Float types, to which trits are converted.
const FLOATS: [Kind; 3] = [Kind::F16, Kind::BF16, Kind::F32];

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: weight_types FOLDER")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut rng = SmallRng::seed_from_u64(158);
    for (name, shapes) in FILES {
        let mut tensors = Vec::new();
        for &(kind, n, k, size) in shapes {
            let weights = random(n, k, size, &mut rng);
            let blocks = trits::encode(kind, &weights)?;
            let decoded = values(&trits::decode(kind, &blocks, n, k)?);
            add(&mut tensors, kind, n, k, blocks, &decoded);
        }
        for kind in FLOATS {
            // BF16 has eight bits.
            let weights = Trits { scales: Scales::Tensor(0.15625), ..random(5, 64, 0, &mut rng) };
            let source = trits::encode(Kind::IQ2_BN, &weights)?;
            let floats = Conversion { to: kind, ternarize: false }.run(Kind::IQ2_BN, &source, [64, 5, 1], None)?;
            add(&mut tensors, kind, 5, 64, floats.bytes, &values(&weights));
        }
        write(&folder.join(name), &tensors)?;
    }
    // Of a float type any bytes are blocks, infinite and NaN scales among them.
    let mut tensors = Vec::new();
    for kind in Kind::all().filter(|kind| !kind.is_ternary()) {
        let (n, k) = (5, 768);
        let mut blocks = vec![0; kind.bytes(&[k, n])?.context("a known type")? as usize];
        rng.fill_bytes(&mut blocks);
        let mut decoded = vec![0.0; (n * k) as usize];
        float::decode(kind, &blocks, &mut decoded)?;
        add(&mut tensors, kind, n as usize, k as usize, blocks, &decoded);
    }
    write(&folder.join("floats.gguf"), &tensors)
}

fn write(path: &Path, tensors: &[Written]) -> Result<()> {
    let mut header = Header::new();
    header.set("general.architecture", "none");
    for Written { name, shape, kind, .. } in tensors {
        header.tensor(name, shape, *kind)?;
    }
    let file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = Writer::new(BufWriter::new(file), header)?;
    for Written { name, bytes, .. } in tensors {
        writer.write_tensor(name, bytes)?;
    }
    writer.finish()?;
    println!("{}", path.display());
    Ok(())
}

struct Written {
    name: String,
    shape: [u64; 2],
    kind: Kind,
    bytes: Vec<u8>,
}

fn add(tensors: &mut Vec<Written>, kind: Kind, n: usize, k: usize, blocks: Vec<u8>, values: &[f32]) {
    let shape = [k as u64, n as u64];
    let floats = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensors.push(Written { name: format!("{kind}.blocks"), shape, kind, bytes: blocks });
    tensors.push(Written { name: format!("{kind}.values"), shape, kind: Kind::F32, bytes: floats });
}

/// Random trits with random half-precision scales for `size` weights each.
fn random(n: usize, k: usize, size: usize, rng: &mut SmallRng) -> Trits {
    let codes = (0..n * k).map(|_| rng.random_range(0..3)).collect();
    let mut scale = || half::f16::from_f32(rng.random_range(0.01..2.0)).to_f32();
    let scales = match size {
        0 => Scales::Tensor(scale()),
        size if size == k => Scales::Row((0..n).map(|_| scale()).collect()),
        size => Scales::Block { size, scales: (0..n * k / size).map(|_| scale()).collect() },
    };
    Trits { n, k, codes, scales }
}

fn values(trits: &Trits) -> Vec<f32> {
    let mut values = vec![0.0; trits.n * trits.k];
    values.chunks_exact_mut(trits.k).enumerate().for_each(|(row, out)| trits.row(row, out));
    values
}
