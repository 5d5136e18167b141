//! Ternary kernels as values, and the generator that turns a value into Rust source.
//!
//! A [`KernelId`] says everything about one kernel. [`KernelId::layout`] is how its weights are packed; with the
//! feature `emit` (the default), [`KernelId::source`] is its source text. This crate is pure: values in, text out; it
//! reads no files and no clock.

pub mod code;
mod detect;
pub mod isa;
pub mod kernel;
pub mod layout;
#[cfg(feature = "emit")]
mod lower;
pub mod matrix;
mod schedule;
#[cfg(feature = "emit")]
pub mod source;
#[cfg(feature = "emit")]
mod template;
#[cfg(feature = "emit")]
pub mod vector;

pub use isa::Isa;
pub use kernel::{KernelError, KernelId, MAX_KB, MAX_MR, Method, NameError, Op, Operand, Tile, Weights};
pub use layout::{Layout, Position};
pub use matrix::Cell;
pub use schedule::{MAX_AHEAD, MAX_PIECES, Schedule};
