//! The fabric through the [`Network`] seam: tiny programs on simulated hosts. One file per side:
//! what a link does to a transfer, how a connection lives and ends, what is never broken.

mod calibration;
mod connections;
mod faults;
mod lab;
mod limits;
