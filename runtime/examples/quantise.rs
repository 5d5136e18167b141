//! Floats to trits: what of them is left, and what they take.

use tritune::quant::{Granularity, QuantConfig, quantize_tensor};
use tritune::tensor::Tensor;

fn main() -> Result<(), tritune::Error> {
    let weights = Tensor::randn((256, 1024), 7)?;
    for granularity in [Granularity::Tensor, Granularity::Row, Granularity::Block(64)] {
        let quantized = quantize_tensor(&weights, &QuantConfig { granularity, ..QuantConfig::default() })?;
        let report = quantized.report(&weights)?;
        println!("{granularity:?}: {:.2} bits of information a weight, {report:?}", quantized.bit_width());
        assert!(report.cosine > 0.8);
    }
    Ok(())
}
