//! Owns what an announce and a scrape say, whatever protocol carries them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ids::{InfoHash, PeerId};

/// Longest interval that a tracker can impose; more is read as this. A day.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Peers taken from one answer; the rest is dropped.
pub(super) const PEERS_MAX: usize = 2000;
/// Bytes kept of a text for the user.
pub(super) const TEXT_BYTES_MAX: usize = 1024;
/// Peers handed out when the announce does not say (chihaya: 50).
pub(super) const WANTED_UNSAID: u32 = 50;
/// Torrents in one scrape (BEP 15: about 74 fit one datagram).
pub const SCRAPE_TORRENTS_MAX: usize = 74;

/// Why a peer announces (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnnounceEvent {
    /// The first one.
    Started,
    /// The content became complete; never sent by a peer that was complete when it started.
    Completed,
    /// The peer leaves.
    Stopped,
    /// Regular.
    Periodic,
    /// Regular, of a peer that has all it wants and lacks something (BEP 21): it is no leecher.
    Paused,
}

/// One announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceRequest {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The sender.
    pub peer_id: PeerId,
    /// Where it listens for peers.
    pub port: u16,
    /// Payload bytes sent since `started`.
    pub uploaded: u64,
    /// Payload bytes received since `started`.
    pub downloaded: u64,
    /// Bytes still missing; 0 for a seed.
    pub left: u64,
    /// Why.
    pub event: AnnounceEvent,
    /// Peers asked for.
    pub wanted: u32,
    /// Proof of identity across address changes (BEP 7).
    pub key: u32,
    /// What the tracker told this peer to send back.
    pub tracker_id: Option<Vec<u8>>,
    /// Ask for the compact list (BEP 23).
    pub compact: bool,
}

/// A peer as a tracker tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddr {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its id, when the list was not compact.
    pub id: Option<PeerId>,
}

/// A tracker's good answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnnounceReply {
    /// When to announce again.
    pub interval: Option<Duration>,
    /// Never announce sooner than this.
    pub interval_min: Option<Duration>,
    /// Peers of the swarm.
    pub peers: Vec<PeerAddr>,
    /// Seeds in the swarm.
    pub complete: Option<u32>,
    /// Leechers in the swarm.
    pub incomplete: Option<u32>,
    /// To be sent back with the next announce.
    pub tracker_id: Option<Vec<u8>>,
    /// For the user.
    pub warning: Option<String>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

/// Why an announce brought nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceFailure {
    /// The tracker said no (`failure reason`), and perhaps when to try again (BEP 31).
    #[error("the tracker refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
        /// When to try again, if it said so.
        retry: Retry,
    },
    /// No connection, or it broke.
    #[error("the tracker cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the tracker did not answer in time")]
    TimedOut,
    /// An HTTP status other than 200.
    #[error("the tracker answered with HTTP status {0}")]
    Status(u16),
    /// It pointed elsewhere, and from there elsewhere, and so on.
    #[error("the tracker redirects too often")]
    Redirected,
    /// An answer that is none.
    #[error("the tracker's answer is not readable: {0}")]
    Garbage(&'static str),
}

impl AnnounceFailure {
    /// The tracker wants to hear no more of us (BEP 31).
    #[must_use]
    pub fn is_final(&self) -> bool {
        let retry = Retry::Never;
        matches!(self, AnnounceFailure::Refused { retry: said, .. } if *said == retry)
    }
}

/// What a refusal says about trying again (BEP 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Nothing.
    Unsaid,
    /// After this long.
    After(Duration),
    /// Never.
    Never,
}

/// Counts of one torrent, as scrape tells them (BEP 48).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrapeCounts {
    /// Seeds.
    pub complete: u32,
    /// Completions ever counted.
    pub downloaded: u32,
    /// Leechers.
    pub incomplete: u32,
}

/// What a tracker is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// To take note of us, and to tell peers.
    Announce(Box<AnnounceRequest>),
    /// For the counts of these torrents.
    Scrape(Vec<InfoHash>),
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To [`Question::Announce`].
    Announced(AnnounceReply),
    /// To [`Question::Scrape`]; a tracker may leave torrents out.
    Scraped(BTreeMap<InfoHash, ScrapeCounts>),
}
