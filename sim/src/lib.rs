//! The simulated world around Skep's engine.

pub mod network;
pub mod scenario;
pub mod seed;
