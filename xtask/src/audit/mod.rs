//! What a release promises to those who build on it: an interface, and licences.

pub(crate) mod api;
pub(crate) mod licences;
