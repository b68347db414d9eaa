//! The simulated networks: the link model ([`link`], pure arithmetic), [`fabric`], the event-driven network
//! of all hosts of a run, and [`turmoil`], the second opinion on it; [`Net`] is either of them.

mod agenda;
mod clock;
mod draws;
mod either;
pub mod fabric;
mod flow;
pub mod link;
pub mod packet;
mod parcels;
mod place;
mod queue;
pub mod turmoil;

pub use either::{HostNet, Net};
pub use fabric::FabricTotals as Totals;
