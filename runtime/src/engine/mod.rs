//! From a file to a text: what a program that writes with a model needs, over [`model`](crate::model), which computes.
//!
//! [`Model::load`] makes a file ready; the model is shared by any number of [`Session`]s, on any threads, none of which
//! waits for another. A session writes by [`Session::generate`], token after token, and its state can be kept as bytes
//! ([`Session::save`]).
//!
//! ```
//! use tritune::engine::GenerationConfig;
//! use tritune::model::Model;
//!
//! # fn main() -> Result<(), tritune::Error> {
//! let model = Model::load(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf"))?;
//! let mut session = model.session()?;
//! for token in session.generate("It was", &GenerationConfig { tokens: 20, ..GenerationConfig::default() })? {
//!     print!("{}", token?.text);
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod cancel;
mod generation;
mod state;
mod stop;

pub use builder::ModelBuilder;
pub use cancel::Cancel;
pub use generation::{Finish, Generation, GenerationConfig, GenerationError, Timing, Token};
pub use state::StateError;

#[cfg(doc)]
use crate::model::{Model, Session};
