//! Skep's engine: one BitTorrent client, its tracker and its storage.
//!
//! The protocol is a pure state machine ([`session::torrent::Torrent`]): no I/O, no clock, no
//! randomness of its own. The only async code is [`node`]: one loop per host that feeds the session
//! from a [`node::network::Network`] and a [`storage::Storage`]. The engine does not know that
//! simulation exists; the same code runs on real sockets.

pub mod bits;
pub mod choker;
pub mod config;
pub mod direct;
pub mod ids;
pub mod ip_filter;
pub mod metainfo;
pub mod node;
pub mod picker;
pub mod prefetch;
pub mod session;
pub mod storage;
pub mod time;
pub mod tracker;
pub mod wire;

pub use config::EngineConfig;
pub use ids::{BlockRange, ConnId, InfoHash, PeerId, PieceIndex};
pub use time::Now;
