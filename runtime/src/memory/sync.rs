//! The atomics of [`super::shelf`]. Its model test (`tests/memory_loom.rs`) has loom's here.

pub(super) use std::sync::atomic::{AtomicPtr, AtomicUsize};
