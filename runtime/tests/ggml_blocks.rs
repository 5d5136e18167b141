//! Decoders against ggml's own Python package.
//!
//! `data/ggml-blocks.gguf` holds, for each type, random blocks with scales drawn from N(0, 0.1) and one subnormal scale
//! (`TYPE.blocks`) and what they decode to (`TYPE.values`, F32). It was made with numpy 2.4 and the PyPI package `gguf`,
//! whose `quants.dequantize` gave the values and whose `GGUFWriter` wrote the file.

use tritune::gguf::{File, Kind, Tensor};
use tritune::quant::{Scales, float, trits};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ggml-blocks.gguf");

fn floats(file: &File, tensor: &Tensor) -> Vec<f32> {
    let mut out = vec![0.0; tensor.elements() as usize];
    float::decode(tensor.kind, &file.data(tensor), &mut out).unwrap();
    out
}

fn weights(file: &File, tensor: &Tensor) -> Vec<f32> {
    let trits = trits::decode(tensor.kind, &file.data(tensor), 1, tensor.k() as usize).unwrap();
    let Scales::Block { size, scales } = trits.scales else { panic!("{:?}", trits.scales) };
    trits.codes.iter().enumerate().map(|(i, &code)| scales[i / size] * (f32::from(code) - 1.0)).collect()
}

#[test]
fn every_type_decodes_as_ggml_decodes_it() {
    let file = File::open(PATH).unwrap();
    let mut kinds = Vec::new();
    for blocks in file.tensors().iter().filter(|tensor| tensor.name.ends_with(".blocks")) {
        let expected = floats(&file, file.tensor(&format!("{}.values", blocks.kind)).unwrap());
        let ours = match blocks.kind {
            Kind::TQ1_0 | Kind::TQ2_0 => weights(&file, blocks),
            _ => floats(&file, blocks),
        };
        assert_eq!(ours.len(), expected.len());
        for (i, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            // Bit for bit but for the sign of zeros.
            assert!(ours == expected, "{} element {i}: {ours} instead of {expected}", blocks.kind);
        }
        kinds.push(blocks.kind.to_string());
    }
    let all = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K TQ1_0 TQ2_0 IQ4_NL";
    assert_eq!(kinds.join(" "), all);
}
