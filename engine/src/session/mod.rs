//! The swarm session: one torrent's protocol as a pure state machine.
//!
//! [`torrent::Torrent`] takes facts and gives decisions; the other files are its rooms. Read them
//! in the order in which a block travels: `connections` (handshake), `messages` -> `peer` (legal now?) -> `requests`, `pipeline`
//! (asked for? `choosing`: what next) -> `pieces` and `partial` (state) -> `blame` (bad piece)
//! -> `news`, `interest`, `upload`, `choking`;
//! `dial` and `announcing` find the peers; `web_seeds` makes peers of web servers.

mod addresses;
mod ahead;
mod announcing;
mod answers;
pub mod audit;
mod bitfields;
mod blame;
pub mod buffers;
pub mod canonical;
mod choking;
mod choosing;
mod connections;
mod dial;
mod doubt;
pub mod event;
mod extended;
mod facts;
pub mod fast;
mod interest;
mod limits;
mod messages;
mod metadata;
pub mod metadata_fetch;
mod news;
mod pace;
mod partial;
mod pause;
mod peer;
mod pex;
mod pieces;
mod pipeline;
mod requests;
mod roll;
pub(crate) mod scratch;
mod super_seeding;
pub mod torrent;
mod upload;
mod web_seeds;

pub use blame::Sender;

#[cfg(test)]
mod tests;
