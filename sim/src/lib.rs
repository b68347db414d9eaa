//! The simulated world around the engine: scenarios, and the seeded streams that expand them.
//!
//! Invariant: everything here is a function of the scenario and the seed; see `clippy.toml` for what
//! is banned to keep it so.

pub mod scenario;
pub mod seed;
