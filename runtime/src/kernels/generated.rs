//! What `build.rs` generated: the kernels of the menu, the table of them, and the picks of the results that it read.

use tritune_codegen::{Isa, KernelId, Method, Op, Tile, Weights};

use super::lane;
use super::picks::Pick;
use super::runnable::{Args, Kernel};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
