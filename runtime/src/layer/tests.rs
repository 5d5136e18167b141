use std::thread;

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::gguf::{File, Kind};
use crate::kernels::{Force, Isa, Selection, reference};
use crate::linear::Linear;
use crate::quant::{Granularity, QuantConfig, QuantizedTensor, Scales, Trits, quantize_tensor};
use crate::tensor::DType;
use crate::threads::Pool;

const DEMO: &[u8] = include_bytes!("../../demo/austen-5m-i2_s.gguf");

/// The int8 row that a layer is to make of a token, and what a step of it is worth.
fn int8(x: &[f32]) -> (Vec<i8>, f64) {
    let largest = f64::from(x.iter().fold(1e-5f32, |largest, x| largest.max(x.abs())));
    let values = x.iter().map(|&x| (f64::from(x) * (127.0 / largest)).round_ties_even() as i8);
    (values.collect(), largest / 127.0)
}

/// What a layer of these trits is to give, to the last bit: the reference's integers, then scales block by block in order.
fn expected(trits: &Trits, x: &[f32]) -> Vec<f32> {
    let k = trits.k;
    let block = trits.scales.block(k);
    let mut y = Vec::new();
    for x in x.chunks_exact(k) {
        let (values, step) = int8(x);
        for (row, codes) in trits.codes.chunks_exact(k).enumerate() {
            let sums = reference::products(codes, &values, block);
            y.push(match &trits.scales {
                Scales::Tensor(scale) => (f64::from(sums.sum::<i32>()) * (step * f64::from(*scale))) as f32,
                scales => {
                    let scaled = sums.enumerate().map(|(index, sum)| sum as f32 * scales.at(k, row, index * block));
                    (f64::from(scaled.fold(0.0, |total, sum| total + sum)) * step) as f32
                }
            });
        }
    }
    y
}

/// A layer by the kernels of one instruction set, on so many threads.
fn layer(trits: &Trits, isa: Isa, threads: usize) -> BitLinear {
    let selection = Selection::new(Some(Force::Isa(isa)), threads).unwrap();
    let quantized = QuantizedTensor::from_trits(trits.clone()).unwrap();
    BitLinear::from_quantized_with(&quantized, &selection).unwrap().with_pool(Pool::new(threads).into())
}

fn values(tensor: &Tensor) -> &[f32] {
    tensor.as_slice().unwrap()
}

/// Compares the layer of these trits with the reference on every instruction set of this machine.
fn compare(trits: &Trits, x: &Tensor) -> Result<(), TestCaseError> {
    let expected = expected(trits, values(x));
    for isa in Isa::here() {
        for threads in [1, 2] {
            let y = layer(trits, isa, threads).forward(x).unwrap();
            prop_assert_eq!(y.shape(), [x.shape()[0], trits.n]);
            prop_assert!(values(&y) == expected, "{} on {} threads", isa, threads);
        }
    }
    Ok(())
}

/// Trits of one sign, zeros, or any, and scales of each granularity.
fn trits(n: usize, k: usize, kind: usize, scaling: usize, seed: u64) -> Trits {
    let random = Tensor::randn((n, k), seed).unwrap();
    let code = |x: &f32| match kind {
        0 => 0,
        1 => 2,
        2 => 1,
        _ => (x.to_bits() >> 3) as u8 % 3,
    };
    let scale = |index: usize| 0.01 + (index * 37 % 101) as f32 / 50.0;
    let scales = match scaling {
        0 => Scales::Tensor(scale(7)),
        1 => Scales::Row((0..n).map(scale).collect()),
        _ => Scales::Block { size: 64, scales: (0..n * k / 64).map(scale).collect() },
    };
    Trits { n, k, codes: values(&random).iter().map(code).collect(), scales }
}

/// Rows that break kernels: ±127 in turn, the same extreme throughout, zeros, a single number, or any.
fn rows(m: usize, k: usize, seed: u64) -> Tensor {
    let random = Tensor::randn((m, k), seed).unwrap();
    let mut x = values(&random).to_vec();
    for (row, x) in x.chunks_exact_mut(k).enumerate() {
        for (column, x) in x.iter_mut().enumerate() {
            *x = match (row as u64 + seed) % 6 {
                0 => [127.0, -127.0][column % 2],
                1 => 127.0,
                2 => -127.0,
                3 => 0.0,
                4 => [0.0, -3.5][usize::from(column == k / 2)],
                _ => *x,
            };
        }
    }
    Tensor::from_vec(x, (m, k)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layers_are_the_reference_on_every_instruction_set(
        n in 1usize..80, k in 1usize..300, m in 1usize..20, kind in 0usize..5, scaling in 0usize..3, seed: u64,
    ) {
        let k = if scaling == 2 { k.div_ceil(64) * 64 } else { k };
        compare(&trits(n, k, kind, scaling, seed), &rows(m, k, seed >> 1))?;
    }

    #[test]
    fn quantised_weights_are_the_reference(n in 1usize..40, k in 1usize..120, m in 1usize..5, seed: u64) {
        let weights = Tensor::randn((n, k), seed).unwrap();
        for granularity in [Granularity::Tensor, Granularity::Row] {
            let config = QuantConfig { granularity, ..QuantConfig::default() };
            let quantized = quantize_tensor(&weights, &config).unwrap();
            let x = rows(m, k, seed >> 1);
            let y = BitLinear::from_weights(&weights, &config).unwrap().forward(&x).unwrap();
            prop_assert!(values(&y) == expected(quantized.trits(), values(&x)));
        }
    }
}

#[test]
fn the_smallest_and_the_oddest_shapes_are_the_reference() {
    for (n, k, m) in [(1, 1, 1), (1, 784, 1), (256, 1, 3), (17, 257, 1), (129, 2561, 2), (256, 784, 32)] {
        for kind in [0, 1, 4] {
            compare(&trits(n, k, kind, 0, 5), &rows(m, k, 1)).unwrap();
        }
    }
}

#[test]
fn norm_scale_and_bias_are_applied_in_order() {
    let (n, k, m) = (48, 96, 5);
    let trits = trits(n, k, 4, 0, 3);
    let quantized = QuantizedTensor::from_trits(trits.clone()).unwrap();
    let (x, weight) = (Tensor::randn((m, k), 1).unwrap(), Tensor::randn(k, 2).unwrap());
    let bias = Tensor::randn(n, 4).unwrap();
    let layer = BitLinear::from_quantized(&quantized).unwrap();
    let layer = layer.with_norm(&weight, 1e-5).unwrap().with_scale(0.37).unwrap().with_bias(&bias).unwrap();
    assert_eq!((layer.bias(), layer.scale()), (Some(values(&bias)), Some(0.37)));
    let mut normed = Vec::new();
    for x in values(&x).chunks_exact(k) {
        let mut row = vec![0.0; k];
        assert!(crate::model::norm::rms_norm(x, values(&weight), 1e-5, &mut row));
        let mean = x.iter().map(|x| x * x).sum::<f32>() / k as f32;
        let plain = x.iter().zip(values(&weight)).map(|(x, w)| x / (mean + 1e-5).sqrt() * w);
        assert!(row.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0)));
        normed.extend(row);
    }
    let mut expected = expected(&trits, &normed);
    for row in expected.chunks_exact_mut(n) {
        row.iter_mut().zip(values(&bias)).for_each(|(y, bias)| *y = *y * 0.37 + bias);
    }
    assert_eq!(values(&layer.forward(&x).unwrap()), expected);
}

#[test]
fn inputs_of_any_rank_and_float_type_are_taken() {
    let layer = BitLinear::seeded(30, 20, 9).unwrap();
    let x = Tensor::randn((6, 30), 1).unwrap();
    let y = layer.forward(&x).unwrap();
    let deep = layer.forward(&x.reshape((2, 3, 30)).unwrap()).unwrap();
    assert_eq!((deep.shape(), values(&deep)), (&[2, 3, 20][..], values(&y)));
    let row = layer.forward(&x.row(4).unwrap()).unwrap();
    assert_eq!((row.shape(), values(&row)), (&[20][..], &values(&y)[80..100]));
    let turned = Tensor::from_vec(x.transpose().to_vec::<f32>().unwrap(), (30, 6)).unwrap().transpose();
    assert_eq!(layer.forward(&turned).unwrap(), y);
    let halves = x.to_dtype(DType::F16).unwrap();
    let rounded = halves.to_dtype(DType::F32).unwrap();
    assert_eq!(layer.forward(&halves).unwrap(), layer.forward(&rounded).unwrap());
    let none = layer.forward(&Tensor::zeros((0, 30)).unwrap()).unwrap();
    assert_eq!((none.shape(), none.elements()), (&[0, 20][..], 0));
}

#[test]
fn random_layers_hang_on_their_seed_alone() {
    let x = Tensor::randn((3, 784), 1).unwrap();
    let of = |layer: BitLinear| layer.forward(&x).unwrap();
    let y = of(BitLinear::new(784, 256).unwrap());
    assert_eq!(y, of(BitLinear::seeded(784, 256, 0).unwrap()));
    assert_ne!(y, of(BitLinear::seeded(784, 256, 1).unwrap()));
    // Seven tenths of the trits are no zeros, and a scale is four fifths of a deviation.
    let variance = values(&y).iter().map(|y| y * y).sum::<f32>() / y.elements() as f32;
    assert!(variance > 0.4 && variance < 0.5, "{variance}");
}

#[test]
fn what_does_not_fit_is_refused_and_both_sides_are_named() {
    let layer = BitLinear::new(784, 256).unwrap();
    let refused = |x: &Tensor| layer.forward(x).unwrap_err();
    let error = refused(&Tensor::zeros((32, 783)).unwrap());
    assert!(error.to_string().contains("[32, 783]") && error.to_string().contains("[256, 784]"), "{error}");
    assert_eq!((error.code(), refused(&Tensor::from_vec(vec![1f32], []).unwrap()).code()), ("TT0902", "TT0902"));
    assert_eq!(refused(&Tensor::from(vec![1i8; 784])).code(), "TT0404");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut data = vec![1.0; 4 * 784];
        data[2 * 784 + 700] = bad;
        let x = Tensor::from_vec(data, (4, 784)).unwrap();
        assert!(matches!(refused(&x), LayerError::NotFinite { row: 2 }));
        let normed = BitLinear::new(784, 256).unwrap().with_norm(&Tensor::from(vec![1f32; 784]), 1e-5).unwrap();
        assert!(matches!(normed.forward(&x), Err(LayerError::NotFinite { row: 2 })));
    }
    let far = BitLinear::new(784, 256).unwrap().with_scale(f32::MAX).unwrap();
    let error = far.forward(&Tensor::randn((2, 784), 1).unwrap().reshape((2, 784)).unwrap()).unwrap_err();
    assert_eq!(error.code(), "TT0904", "{error}");

    let build = |result: Result<BitLinear, LayerError>| result.unwrap_err();
    for (inputs, outputs) in [(0, 5), (5, 0)] {
        assert_eq!(build(BitLinear::new(inputs, outputs)).code(), "TT0901");
    }
    assert_eq!(build(BitLinear::new(usize::MAX, 2)).code(), "TT0402");
    let error = build(BitLinear::new(1 << 19, 1));
    assert!(error.to_string().contains("too long") && error.code() == "TT1513", "{error}");
    let deep = Tensor::zeros((2, 3, 4)).unwrap();
    assert_eq!(build(BitLinear::from_weights(&deep, &QuantConfig::default())).code(), "TT0905");
    let error = build(BitLinear::from_weights(&Tensor::zeros((0, 4)).unwrap(), &QuantConfig::default()));
    assert_eq!(error.code(), "TT0411");

    let new = || BitLinear::new(784, 256).unwrap();
    let error = build(new().with_bias(&Tensor::zeros(255).unwrap()));
    assert!(error.to_string().contains("bias of shape [255]") && error.to_string().contains("[256]"), "{error}");
    assert_eq!(build(new().with_norm(&Tensor::zeros((1, 784)).unwrap(), 1e-5)).code(), "TT0906");
    assert_eq!(build(new().with_norm(&Tensor::zeros(784).unwrap(), 0.0)).code(), "TT0907");
    assert_eq!(build(new().with_bias(&Tensor::from(vec![f32::NAN; 256]))).code(), "TT0907");
    assert_eq!(build(new().with_bias(&Tensor::from(vec![f16::INFINITY; 256]))).code(), "TT0907");
    assert_eq!(build(new().with_scale(f32::NAN)).code(), "TT0907");
}

#[test]
fn a_layer_of_a_file_is_that_of_its_model() {
    let file = File::from_static("demo", DEMO).unwrap();
    let name = "blk.0.attn_q.weight";
    let layer = BitLinear::from_gguf(&file, name).unwrap();
    let tensor = file.tensor(name).unwrap();
    let (n, k) = (tensor.n() as usize, tensor.k() as usize);
    assert_eq!((layer.out_features(), layer.in_features(), tensor.kind), (n, k, Kind::I2_S));
    let trits = crate::quant::trits::decode(tensor.kind, &file.data(tensor), n, k).unwrap();
    let x = Tensor::randn((3, k), 6).unwrap();
    assert_eq!(values(&layer.forward(&x).unwrap()), expected(&trits, values(&x)));
    assert!(format!("{layer:?}").contains("kernels"), "{layer:?}");

    // Embeddings are floats.
    let embeddings = BitLinear::from_gguf(&file, "token_embd.weight").unwrap();
    assert!(matches!(embeddings.linear(), Linear::Float(_)));
    let x = Tensor::randn((2, k), 6).unwrap();
    let y = embeddings.forward(&x).unwrap();
    assert_eq!(y.shape(), [2, embeddings.out_features()]);
    let mut bad = values(&x).to_vec();
    bad[k] = f32::NAN;
    let error = embeddings.forward(&Tensor::from_vec(bad, (2, k)).unwrap()).unwrap_err();
    assert!(matches!(error, LayerError::NotFinite { row: 1 }), "{error}");

    assert_eq!(BitLinear::from_gguf(&file, "blk.0.attn_norm.weight").unwrap_err().code(), "TT0905");
    let error = BitLinear::from_gguf(&file, "blk.99.attn_q.weight").unwrap_err();
    assert!(error.to_string().contains("blk.99.attn_q.weight") && error.code() == "TT0616", "{error}");
}

#[test]
fn factors_and_addends_of_a_file_are_taken() {
    use crate::gguf::{Header, Writer};
    let (n, k) = (4, 128);
    let trits = trits(n, k, 4, 0, 8);
    let matrix = crate::quant::trits::encode(Kind::I2_S, &trits).unwrap();
    let single = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let write = |bias: usize| {
        let mut header = Header::default();
        header.tensor("w.weight", &[k as u64, n as u64], Kind::I2_S).unwrap();
        header.tensor("w.scale", &[1], Kind::F32).unwrap();
        header.tensor("w.bias", &[bias as u64], Kind::F32).unwrap();
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        writer.write_tensor("w.weight", &matrix).unwrap();
        writer.write_tensor("w.scale", &single(&[0.5])).unwrap();
        writer.write_tensor("w.bias", &single(&vec![3.0; bias])).unwrap();
        File::from_bytes("made", writer.finish().unwrap())
    };
    let layer = BitLinear::from_gguf(&write(n).unwrap(), "w.weight").unwrap();
    let x = rows(6, k, 0);
    let expected: Vec<f32> = expected(&trits, values(&x)).iter().map(|y| y * 0.5 + 3.0).collect();
    assert_eq!(values(&layer.forward(&x).unwrap()), expected);
    let error = BitLinear::from_gguf(&write(n + 1).unwrap(), "w.weight").unwrap_err();
    assert!(error.to_string().contains("`w.bias`"), "{error}");
}

#[test]
fn several_threads_share_a_layer_and_its_buffers() {
    let layer = BitLinear::seeded(100, 50, 2).unwrap();
    let inputs: Vec<Tensor> = (0..4).map(|seed| Tensor::randn((1 + seed as usize, 100), seed).unwrap()).collect();
    let outputs: Vec<Tensor> = inputs.iter().map(|x| layer.forward(x).unwrap()).collect();
    assert_eq!(layer.spares(), 1);
    thread::scope(|scope| {
        for (x, y) in inputs.iter().zip(&outputs) {
            let layer = &layer;
            scope.spawn(move || (0..50).for_each(|_| assert_eq!(&layer.forward(x).unwrap(), y)));
        }
    });
    assert!(layer.spares() <= 4, "{}", layer.spares());
}
