//! Checkpoints as Hugging Face's libraries save them, converted, against GGUF files written from the same numbers.

mod checkpoint;
mod demo;
mod families;
mod program;
mod refusals;
#[path = "../shared/mod.rs"]
mod shared;
mod tokenizers;
mod weights;
