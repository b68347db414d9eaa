//! The simulated world around the engine: scenarios, network, disks, actors, checks, trace.
//!
//! Invariant: everything that runs here is a function of the scenario and the seed; see
//! `clippy.toml` for what is banned to keep it so.

pub mod network;
pub mod scenario;
pub mod seed;
