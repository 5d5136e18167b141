//! What may be tried, how it is measured, and what was found.
//!
//! [`Results`](results::Results) keep what was found on a [`Machine`](machine::Machine). This crate is data and
//! statistics; it knows no kernel's code.

pub mod case;
pub mod cost;
pub mod machine;
pub mod menu;
mod name;
pub mod pick;
pub mod results;
pub mod shapes;
pub mod space;
pub mod stats;
