//! The simulated network: the link model ([`link`], pure arithmetic) and [`fabric`], the
//! event-driven network of all hosts of a run.

mod agenda;
pub mod fabric;
mod flow;
pub mod link;
