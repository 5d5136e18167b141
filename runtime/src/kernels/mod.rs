//! The kernels that were compiled in: how they are chosen, checked and called.
//!
//! [`KERNELS`] is generated at build time from the menu (see `build.rs`). A [`Kernel`] in it is a description until
//! [`Kernel::detect`] finds that this machine can run it; the [`Runnable`] that it returns is the only thing that can be
//! called, in one place, [`Runnable::products`].

mod cache;
mod generated;
mod lane;
mod lines;
mod packed;
mod picks;
pub mod reference;
mod runnable;
mod selection;
pub mod self_check;
mod tables;

pub use cache::{check_results, results_cache};
pub use generated::KERNELS;
pub(crate) use lines::Lines;
pub(crate) use packed::pack;
pub use packed::{MAX_K, PackError, Packed};
pub use picks::{Kinship, Pick, Picks};
pub use runnable::{Args, CallError, Kernel, Runnable, Tokens};
#[cfg(test)]
pub(crate) use selection::tests::selection_with_a_liar;
pub use selection::{Choice, Force, Selection, SelectionError, Source};

pub use tables::{Tables, TokenTables};
pub use tritune_codegen::{Cell, Isa, KernelId, Layout, Method, NameError, Op, Operand, Schedule, Tile, Weights};
