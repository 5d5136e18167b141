//! Ternary (1.58-bit, BitNet b1.58) language models on kernels that were generated for, and tuned on, your own machine.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(missing_docs)]

#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "convert")]
pub mod convert;
pub mod decision;
pub mod device;
pub mod engine;
mod error;
pub mod gguf;
pub mod kernels;
mod lanes;
pub mod layer;
pub mod linear;
pub mod lookup;
pub mod memory;
pub mod model;
pub mod pack;
mod prefetch;
pub mod quant;
pub mod recovery;
mod region;
pub mod sample;
pub mod tensor;
pub mod threads;
pub mod tokenizer;
pub mod tune;
pub mod vector;

pub use error::{Area, Code, Context, Error, codes};

/// The README's example, and those of the pages for users, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/errors.md")]
struct Errors;

#[cfg(doctest)]
#[doc = include_str!("../../docs/library.md")]
struct Library;
