//! Buffers that outlive a pass, for several passes at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::linear::Activations;

/// Activations that no pass is using: as many as there were passes at once. They keep the size of the largest.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Activations>>);

impl Spare {
    /// Runs `pass` with activations of its own; the lock is not held meanwhile.
    pub(super) fn with<T>(&self, pass: impl FnOnce(&mut Activations) -> T) -> T {
        let mut activations = self.lock().pop().unwrap_or_default();
        let result = pass(&mut activations);
        self.lock().push(activations);
        result
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Activations>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
