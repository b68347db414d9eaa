//! From outcomes to things people read: a run's summary and its JSON object, and comparisons.
//!
//! Invariant: a report shows what an outcome says and decides nothing.

pub mod compare;
pub mod json;
pub mod summary;
mod table;
