//! From outcomes to things people read: a run's summary and its JSON object, a campaign's JUnit XML, comparisons,
//! attacks, charts.
//!
//! Invariant: a report shows what an outcome says and decides nothing.

pub mod attacks;
pub mod bench;
pub mod capture;
pub mod chart;
pub mod compare;
pub mod expected;
pub mod html;
pub mod json;
pub mod junit;
pub mod limits;
pub mod perfetto;
pub mod statistics;
pub mod summary;
pub mod sweep;
mod table;
