//! What may be tried, how it is measured, and what was found.
