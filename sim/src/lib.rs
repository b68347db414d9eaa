//! The simulated world around the engine: scenarios, network, disks, actors, checks, trace.
//!
//! Invariant: everything that runs here is a function of the scenario and the seed; see
//! `clippy.toml` for what is banned to keep it so.

pub mod actor;
pub mod bounds;
pub mod campaign;
pub mod canary;
pub mod check;
pub mod content;
pub mod disk;
pub mod evaluate;
pub mod explore;
pub mod fault;
pub mod file_disk;
pub mod film;
pub mod network;
pub mod oracle;
pub mod outcome;
pub mod own;
pub mod scenario;
pub mod seed;
pub mod stall;
pub mod steady;
pub mod trace;
pub mod watch;
pub mod world;
pub mod yardstick;
