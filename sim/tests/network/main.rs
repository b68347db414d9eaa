//! The fabric through the [`Network`] seam: tiny programs on simulated hosts. One file per side:
//! what a link does to a transfer, how a connection lives and ends, what happens on paths that are cut or
//! change, what is never broken.

mod calibration;
mod connections;
mod cuts;
mod lab;
mod limits;
mod paths;
mod room;
mod table;
