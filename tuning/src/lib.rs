//! What may be tried, how it is measured, and what was found.
//!
//! A [`Space`](space::Space) says which kernels may be tried on an instruction set; [`cost`] prunes what cannot win; a
//! [`Search`](search::Search) measures the rest on real layer [`shapes`]; [`pick::choose`] settles what each shape is
//! packed for and run with; [`Results`](results::Results) keep all of it, one file a [`Machine`](machine::Machine); and a
//! [`Menu`](menu::Menu) is the list of kernels to compile that follows from those files.
//!
//! This crate is data and statistics. It knows no kernel's code: measuring is the caller's, behind
//! [`Measure`](search::Measure).

pub mod candidate;
pub mod case;
pub mod compare;
pub mod cost;
pub mod explain;
pub mod fleet;
#[cfg(feature = "plot")]
pub mod index;
pub mod journal;
pub mod load;
pub mod lock;
pub mod machine;
pub mod menu;
mod name;
pub mod pick;
#[cfg(feature = "plot")]
pub mod plot;
pub mod report;
pub mod request;
pub mod results;
pub mod search;
pub mod shapes;
mod side_file;
pub mod space;
pub mod stats;
#[cfg(feature = "plot")]
pub mod text;
