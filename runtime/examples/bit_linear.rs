//! A layer of trits by itself: 784 inputs, 256 outputs, a batch of 32, on the kernels that models run on.

use tritune::layer::{BitLinear, Module};
use tritune::quant::QuantConfig;
use tritune::tensor::Tensor;

fn main() -> Result<(), tritune::Error> {
    let weights = Tensor::randn((256, 784), 7)?;
    let bias = Tensor::zeros(256)?;
    let layer = BitLinear::from_weights(&weights, &QuantConfig::default())?.with_bias(&bias)?;
    let x = Tensor::randn((32, 784), 8)?;
    let y = layer.forward(&x)?;
    println!("{:?} times a layer is {:?}: {:?} …", x.shape(), y.shape(), &y.as_slice::<f32>()?[..4]);
    assert_eq!(y.shape(), [32, 256]);
    Ok(())
}
