//! Ternary (1.58-bit, BitNet b1.58) language models on kernels that were generated for, and tuned on, your own machine.

#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "convert")]
pub mod convert;
pub mod decision;
pub mod device;
pub mod gguf;
pub mod kernels;
mod lanes;
pub mod layer;
pub mod linear;
pub mod lookup;
pub mod model;
pub mod pack;
mod prefetch;
pub mod quant;
mod region;
pub mod sample;
pub mod tensor;
pub mod threads;
pub mod tokenizer;
pub mod tune;
pub mod vector;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
