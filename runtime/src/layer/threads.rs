//! The threads and the kernels of layers that were given none.

use std::sync::{Arc, OnceLock};

use super::LayerError;
use crate::kernels::{Selection, SelectionError};
use crate::linear::LinearError;
use crate::threads::Pool;

/// The pool that layers share unless they are given one: as many threads as this process may use, started by the first
/// call.
pub fn shared_pool() -> Arc<Pool> {
    static POOL: OnceLock<Arc<Pool>> = OnceLock::new();
    POOL.get_or_init(|| Arc::new(Pool::new(0))).clone()
}

/// The policy for layers on the shared pool. It reads what was measured on this machine, once.
pub(super) fn selection() -> Result<&'static Selection, LayerError> {
    static SELECTION: OnceLock<Result<Selection, SelectionError>> = OnceLock::new();
    let selection = SELECTION.get_or_init(|| Selection::new(None, shared_pool().threads()));
    selection.as_ref().map_err(|source| {
        let source = source.clone();
        LinearError::Selection { name: super::bitlinear::NAME.into(), source }.into()
    })
}
