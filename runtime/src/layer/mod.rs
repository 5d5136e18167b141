//! Layers for whoever builds a network of their own: what a model's layers are made of, with tensors going in and out.
//!
//! ```
//! use tritune::layer::{BitLinear, Module};
//! use tritune::tensor::Tensor;
//!
//! let layer = BitLinear::new(784, 256)?;
//! let x = Tensor::randn((32, 784), 1)?;
//! let y = layer.forward(&x)?;
//! assert_eq!(y.shape(), [32, 256]);
//! # Ok::<(), tritune::layer::LayerError>(())
//! ```

mod bitlinear;
mod error;
mod spare;
mod threads;

#[cfg(test)]
mod tests;

pub use bitlinear::BitLinear;
pub use error::LayerError;
pub use threads::shared_pool;

use crate::tensor::Tensor;

/// What makes a tensor of a tensor.
pub trait Module {
    /// The output for `x`.
    ///
    /// # Errors
    /// Where `x` is not of the shape, type or device that the module takes, or holds a NaN or an infinity.
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError>;
}
