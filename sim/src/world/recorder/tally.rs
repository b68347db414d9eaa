//! Owns what is counted of one host, and the samples of what the uplinks carry.

use std::net::Ipv4Addr;

use skep_engine::Now;

use super::Announced;

/// What one host has done so far. What blocks touch comes first: a line of memory.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(in crate::world) struct Tally {
    pub(in crate::world) gained: u64,
    pub(in crate::world) uploaded: u64,
    pub(in crate::world) first_block: Option<Now>,
    pub(in crate::world) first_piece: Option<Now>,
    pub(in crate::world) online_since: Option<Now>,
    pub(in crate::world) online_ns: u64,
    pub(in crate::world) joined: Option<Now>,
    pub(in crate::world) completed: Option<Now>,
    pub(in crate::world) duplicates: u64,
    pub(in crate::world) unrequested: u64,
    pub(in crate::world) hash_failed: u64,
    /// Bytes that a client had of a file and dropped.
    pub(in crate::world) dropped: u64,
    pub(in crate::world) banned_by: u32,
    /// When somebody banned it first.
    pub(in crate::world) first_ban: Option<Now>,
    /// The most that it held in memory for a connection, bytes.
    pub(in crate::world) buffered: u64,
    pub(in crate::world) announces: u32,
    pub(super) announced: Announced,
    /// Times that it joined.
    pub(super) stays: u32,
    /// Dials that led to no connection.
    pub(in crate::world) dials_failed: u32,
    /// Addresses in the trackers' answers to it.
    pub(in crate::world) told: u32,
    /// The tracker of the last announce, if it failed.
    pub(in crate::world) failed_tracker: Option<u32>,
    /// The server at which a client's last fetch failed for good.
    pub(in crate::world) failed_server: Option<Ipv4Addr>,
    pub(in crate::world) acted: u64,
    /// A stay of it ended by a crash or a power loss.
    pub(in crate::world) crashed: bool,
    pub(in crate::world) churned: u32,
    /// Its last planned stay is over, or its user left.
    pub(in crate::world) gone_for_good: bool,
    pub(in crate::world) whole: bool,
    /// It is online as a leecher.
    pub(super) leeches: bool,
    /// Its user paused it.
    pub(in crate::world) paused: bool,
    /// It began with a magnet link, and others gave it the metainfo.
    pub(in crate::world) got_metainfo: bool,
}

/// A sample for utilisation, taken at each completion.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) struct Sample {
    pub(in crate::world) sent: u64,
    /// Bytes that the honest uplinks online could have carried.
    pub(in crate::world) capacity: f64,
}
