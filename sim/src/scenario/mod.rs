//! Scenario files: what a swarm is, how its links and peers behave, what is expected of it.
//!
//! The way of a file: [`keys`] says which keys there are; `read`, `sections` and `groups` turn TOML
//! into the typed [`model`], collecting every problem; `validate` checks what belongs together;
//! [`Scenario::expand`] draws everything that is random about the set-up and gives a [`plan::Plan`].
//!
//! Invariant: a [`Scenario`] that exists can be expanded with every seed, and the plan depends on the
//! file, the overrides and the seed alone.

pub mod arrivals;
mod attacks;
pub(crate) mod draw;
mod expand;
pub mod expect;
pub mod faults;
mod groups;
pub mod keys;
pub mod metrics;
pub mod model;
mod parse;
pub mod plan;
mod problem;
mod read;
pub mod regions;
mod schema;
mod sections;
pub mod selector;
mod set;
pub mod strategies;
mod trackers;
pub mod units;
pub mod validate;
mod validate_engine;
mod validate_expect;
mod vary;

pub use parse::{Scenario, Variant};
pub use plan::Plan;
pub use problem::{Problem, ScenarioErrors};
pub use schema::{schema, schema_with};
pub use set::split as split_override;
