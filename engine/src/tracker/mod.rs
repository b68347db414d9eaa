//! The tracker, both sides: what is asked ([`announce`]), how HTTP carries it ([`http`]), when a
//! client asks ([`schedule`]), and what a server remembers ([`swarm`]). All of it pure; the async
//! halves are in [`crate::node`].

pub mod announce;
pub mod http;
pub mod schedule;
pub mod swarm;
