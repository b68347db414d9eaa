//! The async shell: one loop per host over the [`network::Network`] and storage seams.

mod alarm;
pub mod announcer;
mod bell;
pub mod fetcher;
pub mod file_server;
mod http_server;
pub mod magnet_host;
pub mod network;
pub mod peer_host;
pub mod real;
pub mod recheck;
pub mod spawn;
pub mod stream;
pub mod tracker_client;
pub mod tracker_server;
pub mod web_seeds;
pub mod whereabouts;
mod wires;
