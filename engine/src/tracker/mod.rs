//! The tracker, both sides: what is asked ([`announce`]) and of whom ([`target`]), how HTTP and
//! UDP carry it ([`http`], [`udp`]), when a client asks which of its trackers ([`schedule`],
//! [`tiers`]), and what a server remembers ([`swarm`]). All of it pure; the async halves are in
//! [`crate::node`].

pub mod announce;
pub mod http;
pub mod schedule;
pub mod swarm;
pub mod target;
pub mod tiers;
pub mod udp;
