//! Ternary (1.58-bit, BitNet b1.58) language models on kernels that were generated for, and tuned on, your own machine.

pub mod gguf;
pub mod quant;
pub mod sample;
pub mod threads;
pub mod tokenizer;
