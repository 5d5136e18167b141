//! A linear layer of trits.

use std::fmt;
use std::sync::Arc;

use super::spare::Spare;
use super::threads::{selection, shared_pool};
use super::{LayerError, Module};
use crate::device::Device;
use crate::gguf;
use crate::kernels::Selection;
use crate::linear::{Activations, Linear, LinearError, Ternary};
use crate::model::forward::{each_row, project};
use crate::model::norm::rms_norm;
use crate::model::weights::Projection;
use crate::quant::{QuantConfig, QuantizedTensor, quantize_tensor};
use crate::tensor::{self, Tensor, TensorError};
use crate::threads::Pool;
use crate::vector::all_finite;

/// What messages call weights that have no name.
pub(super) const NAME: &str = "of BitLinear";

/// A linear layer of trits, BitNet's BitLinear (arXiv:2310.11453, arXiv:2402.17764):
/// y\[m, n\] = scale · norm(x)\[m, k\] · W\[n, k\]ᵀ + bias.
///
/// Activations are rounded to int8 by the largest of each row; products with trits are exact integers, by the kernels that
/// are fastest for the shape and have passed their self-check. It is the very path of a model's layers, to the last bit.
///
/// Weights, once given, do not change. A layer may be used by several threads at once; their passes take turns on its pool.
/// It must not be used from within a task of that pool.
///
/// ```
/// use tritune::layer::{BitLinear, Module};
/// use tritune::quant::QuantConfig;
/// use tritune::tensor::Tensor;
///
/// // As a training leaves them: outputs by inputs.
/// let weights = Tensor::randn((256, 784), 7)?;
/// let layer = BitLinear::from_weights(&weights, &QuantConfig::default())?
///     .with_norm(&Tensor::from(vec![1f32; 784]), 1e-5)?
///     .with_bias(&Tensor::zeros(256)?)?;
/// assert_eq!((layer.in_features(), layer.out_features()), (784, 256));
///
/// let y = layer.forward(&Tensor::randn((32, 784), 1)?)?;
/// assert_eq!(y.shape(), [32, 256]);
///
/// let error = layer.forward(&Tensor::randn((32, 783), 1)?).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "an input of shape [32, 783] does not fit weights [256, 784]: its rows must have 784 values",
/// );
/// # Ok::<(), tritune::layer::LayerError>(())
/// ```
pub struct BitLinear {
    projection: Projection,
    /// What is added to the mean square of a row by the norm, if there is one.
    epsilon: f32,
    pool: Arc<Pool>,
    spare: Spare,
}

impl BitLinear {
    /// A layer from rows of `inputs` values to rows of `outputs`, with the weights of seed 0: see [`BitLinear::seeded`].
    ///
    /// # Errors
    /// [`LayerError::Empty`] where one is 0; rows or matrices that are too long for the kernels or for memory.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, LayerError> {
        BitLinear::seeded(inputs, outputs, 0)
    }

    /// A layer whose weights are random numbers of the normal distribution, of variance 1 / inputs, made trits as BitNet
    /// b1.58 does. They hang on shape and seed alone.
    ///
    /// # Errors
    /// Those of [`BitLinear::new`].
    pub fn seeded(inputs: usize, outputs: usize, seed: u64) -> Result<Self, LayerError> {
        if inputs == 0 || outputs == 0 {
            return Err(LayerError::Empty { inputs, outputs });
        }
        let deviation = (1.0 / (inputs as f64).sqrt()) as f32;
        let weights = Tensor::randn((outputs, inputs), seed)?;
        let weights: Vec<f32> = weights.floats()?.iter().map(|weight| weight * deviation).collect();
        BitLinear::from_weights(&Tensor::from_vec(weights, (outputs, inputs))?, &QuantConfig::default())
    }

    /// A layer of these weights, `[outputs, inputs]`, made trits as `config` says.
    ///
    /// # Errors
    /// Weights that are no matrix, or cannot be quantised so; shapes that no kernel serves.
    pub fn from_weights(weights: &Tensor, config: &QuantConfig) -> Result<Self, LayerError> {
        BitLinear::from_quantized(&quantize_tensor(weights, config)?)
    }

    /// A layer of these trits, `[outputs, inputs]`, on the shared pool, by the kernels that are best known for it.
    ///
    /// # Errors
    /// Trits that are no matrix; shapes or blocks of scales that no kernel serves.
    pub fn from_quantized(weights: &QuantizedTensor) -> Result<Self, LayerError> {
        BitLinear::from_quantized_with(weights, selection()?)
    }

    /// The same, by the kernels that `selection` chooses: of an instruction set that is forced, or for a pool of another
    /// size.
    ///
    /// # Errors
    /// Those of [`BitLinear::from_quantized`].
    pub fn from_quantized_with(weights: &QuantizedTensor, selection: &Selection) -> Result<Self, LayerError> {
        if weights.shape().len() != 2 {
            return Err(LayerError::Matrix { shape: weights.shape().to_vec() });
        }
        Ok(Linear::Ternary(Ternary::new(NAME, weights.trits(), selection)?).into())
    }

    /// The layer of a file's tensor, of a ternary type or a float one, as a model loads it: with the tensors `NAME.scale`
    /// and `NAME.bias` of a `NAME.weight`, where the file has them. A norm in front of it goes by another name, which the
    /// architecture knows: [`BitLinear::with_norm`] takes it.
    ///
    /// # Errors
    /// A tensor that is missing, no matrix, damaged, or of a type that cannot be computed with.
    pub fn from_gguf(file: &gguf::File, name: &str) -> Result<Self, LayerError> {
        let tensor = file.tensor(name).map_err(|error| LayerError::Weights(error.into()))?;
        if tensor.shape.iter().skip(2).any(|&size| size != 1) || tensor.shape.len() < 2 {
            return Err(LayerError::Matrix { shape: tensor.shape.iter().rev().map(|&size| size as usize).collect() });
        }
        let pool = shared_pool();
        let projection = Projection::read(file, name, selection()?, &pool)?;
        Ok(BitLinear { projection, epsilon: 0.0, pool, spare: Spare::default() })
    }

    /// The layer with an addend for each output: `[outputs]`, f32 or f16.
    ///
    /// # Errors
    /// One of another shape, or that is not finite.
    pub fn with_bias(mut self, bias: &Tensor) -> Result<Self, LayerError> {
        self.projection.bias = Some(self.vector("bias", bias, self.out_features())?);
        Ok(self)
    }

    /// The layer with a root-mean-square norm of what goes in: x / √(mean(x²) + epsilon) · weight, of `[inputs]` weights,
    /// f32 or f16.
    ///
    /// # Errors
    /// Weights of another shape, or that are not finite; an epsilon that is not finite and above 0.
    pub fn with_norm(mut self, weight: &Tensor, epsilon: f32) -> Result<Self, LayerError> {
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(LayerError::Number { what: "epsilon", value: epsilon });
        }
        self.projection.norm = Some(self.vector("norm", weight, self.in_features())?);
        self.epsilon = epsilon;
        Ok(self)
    }

    /// The layer with a factor for all outputs, before the bias, in place of the one that it has.
    ///
    /// # Errors
    /// [`LayerError::Number`] for a factor that is not finite.
    pub fn with_scale(mut self, scale: f32) -> Result<Self, LayerError> {
        if !scale.is_finite() {
            return Err(LayerError::Number { what: "scale", value: scale });
        }
        self.projection.scale = Some(scale);
        Ok(self)
    }

    /// The layer on other threads than the shared ones. The result is the same, to the last bit.
    pub fn with_pool(mut self, pool: Arc<Pool>) -> Self {
        self.pool = pool;
        self
    }

    /// Values of a row that goes in.
    pub fn in_features(&self) -> usize {
        self.projection.linear.k()
    }

    /// Values of a row that comes out.
    pub fn out_features(&self) -> usize {
        self.projection.linear.n()
    }

    /// The packed weights, and the kernels that compute them.
    pub fn linear(&self) -> &Linear {
        &self.projection.linear
    }

    /// The addends, if there are any: `[outputs]`.
    pub fn bias(&self) -> Option<&[f32]> {
        self.projection.bias.as_deref()
    }

    /// The factor of all outputs, if there is one.
    pub fn scale(&self) -> Option<f32> {
        self.projection.scale
    }

    /// The threads that it runs on.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        Device::Cpu
    }

    fn shape(&self) -> [usize; 2] {
        [self.out_features(), self.in_features()]
    }

    fn vector(&self, what: &'static str, vector: &Tensor, need: usize) -> Result<Vec<f32>, LayerError> {
        if vector.shape() != [need] {
            return Err(LayerError::Option { what, found: vector.shape().to_vec(), need, weights: self.shape() });
        }
        let values = vector.floats()?.into_owned();
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(LayerError::Number { what, value }),
            None => Ok(values),
        }
    }

    /// Makes the rows of `values` those of `x`, normalised where there is a norm.
    fn fill(&self, values: &[f32], x: &mut Activations) -> Result<(), LayerError> {
        let k = self.in_features();
        let rows = x.rows_mut(values.len() / k, k).map_err(LinearError::from)?;
        let row_of = |row: usize| &values[row * k..][..k];
        let finite = match &self.projection.norm {
            Some(norm) => each_row(&self.pool, rows, k, |row, out| rms_norm(row_of(row), norm, self.epsilon, out)),
            None => {
                rows.copy_from_slice(values);
                true
            }
        };
        // Rows for trits are looked at while they are made int8.
        if finite && (matches!(self.projection.linear, Linear::Ternary(_)) || all_finite(rows)) {
            return Ok(());
        }
        let row = rows.chunks_exact(k).position(|row| !all_finite(row)).unwrap_or(0);
        Err(LayerError::NotFinite { row })
    }

    fn compute(&self, values: &[f32], x: &mut Activations, y: &mut [f32]) -> Result<(), LayerError> {
        self.fill(values, x)?;
        project(&self.pool, x, [(&self.projection, &mut *y)]).map_err(|error| match error {
            LinearError::NotFinite(not) => LayerError::NotFinite { row: not.token },
            other => other.into(),
        })?;
        if all_finite(y) {
            return Ok(());
        }
        let at = y.iter().position(|value| !value.is_finite()).unwrap_or(0);
        let n = self.out_features();
        Err(LayerError::Overflow { row: at / n, column: at % n, value: y[at] })
    }
}

impl Module for BitLinear {
    /// y of `[…, outputs]` for x of `[…, inputs]`, f32 or f16: as many rows as go in.
    ///
    /// # Errors
    /// [`LayerError::Input`] where rows are not as long as the weights', [`LayerError::NotFinite`] where one holds a NaN or
    /// an infinity, [`LayerError::Overflow`] where one comes out; integers.
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        if x.device() != self.device() {
            return Err(TensorError::Devices { left: x.device(), right: self.device() }.into());
        }
        let [n, k] = self.shape();
        let mut shape = x.shape().to_vec();
        match shape.last_mut() {
            Some(last) if *last == k => *last = n,
            _ => return Err(LayerError::Input { found: shape, weights: [n, k] }),
        }
        let values = x.floats()?;
        let mut y = tensor::zeros(&shape)?;
        if !values.is_empty() {
            self.spare.with(|x| self.compute(&values, x, &mut y))?;
        }
        Ok(Tensor::from_vec(y, shape)?)
    }
}

impl From<Linear> for BitLinear {
    /// A layer of weights that are packed already, on the shared pool.
    fn from(linear: Linear) -> Self {
        let projection = Projection { linear, norm: None, scale: None, bias: None };
        BitLinear { projection, epsilon: 0.0, pool: shared_pool(), spare: Spare::default() }
    }
}

impl fmt::Debug for BitLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, k] = self.shape();
        let mut layer = f.debug_struct("BitLinear");
        layer.field("in_features", &k).field("out_features", &n);
        if let Linear::Ternary(ternary) = self.linear() {
            let kernels: Vec<String> =
                ternary.choice().kernels().iter().map(|kernel| kernel.id().to_string()).collect();
            layer.field("kernels", &kernels);
        }
        layer.field("norm", &self.projection.norm.is_some()).field("bias", &self.projection.bias.is_some());
        layer.field("scale", &self.projection.scale).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl BitLinear {
    /// Buffers that no pass is using.
    pub(super) fn spares(&self) -> usize {
        self.spare.count()
    }
}
