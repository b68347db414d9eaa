//! Owns the session's border: what it is made of, told ([`Input`]) and decides ([`Output`]).
//!
//! Invariant: everything that crosses it is plain data; a caller needs nothing else of the session's.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;

use crate::bits::BitSet;
use crate::choker::Choker;
use crate::config::EngineConfig;
use crate::ids::{BlockRange, ConnId, InfoHash, PeerId, PieceIndex};
use crate::metainfo::Geometry;
use crate::metainfo::Priority;
use crate::picker::PiecePicker;
use crate::storage::Verified;
use crate::tracker::announce::{AnnounceFailure, AnnounceReply, AnnounceRequest, PeerAddr};
use crate::wire::{Handshake, Message, WireError};

use super::event::Event;

/// A disk error in words; never a peer's fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageFailure(pub String);

/// Why a web seed did not give what it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchFailure {
    /// The name of its host is not known.
    #[error("its name cannot be resolved")]
    NoSuchHost,
    /// No connection.
    #[error("it cannot be reached")]
    Unreachable,
    /// No answer, or no more of it, in time.
    #[error("it does not answer in time")]
    TimedOut,
    /// The connection ended, or spoke no HTTP.
    #[error("the connection broke")]
    Broken,
    /// It has no such file, or does not give it to us.
    #[error("it does not have the content (status {0})")]
    Absent(u16),
    /// It has too much to do.
    #[error("it is busy")]
    Busy {
        /// What it said to wait.
        retry_after: Option<Duration>,
    },
    /// Another answer that is no content.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Other bytes than those asked for, or a file of another length.
    #[error("it answered with other bytes than those asked for")]
    WrongRange,
    /// Redirected too often, or to where nobody can be asked.
    #[error("it was redirected too often, or to where nothing can be asked")]
    Redirected,
    /// Blocks are missing for too long.
    #[error("it is too slow")]
    Silent,
    /// There are too many peers to remember one more.
    #[error("too many peers are remembered")]
    NoPlace,
}

impl FetchFailure {
    /// It will not be otherwise later.
    pub(super) fn for_good(self) -> bool {
        matches!(self, FetchFailure::Absent(_) | FetchFailure::NoPlace)
    }

    /// It spoke nonsense: so often and no more.
    pub(super) fn strikes(self) -> bool {
        matches!(self, FetchFailure::WrongRange | FetchFailure::Redirected)
    }
}

/// One fact for the session.
#[derive(Debug)]
pub enum Input {
    /// The user joins: announce and connect.
    Start,
    /// A connection stands.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The other end.
        addr: SocketAddr,
        /// The other end dialled.
        inbound: bool,
    },
    /// An [`Output::Connect`] led to nothing.
    ConnectFailed {
        /// Where it went.
        addr: SocketAddr,
    },
    /// A connection is gone.
    Gone {
        /// The connection.
        conn: ConnId,
    },
    /// The first 68 bytes of a connection.
    Handshake {
        /// The connection.
        conn: ConnId,
        /// What they say.
        handshake: Handshake,
    },
    /// A message.
    Message {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Bytes that are no message.
    WireError {
        /// The connection.
        conn: ConnId,
        /// Why.
        error: WireError,
    },
    /// The network's send queue drained.
    SendRoom {
        /// The connection.
        conn: ConnId,
        /// Bytes still in it.
        queued: u64,
    },
    /// The answer to [`Output::ReadBlock`].
    BlockRead {
        /// For whom.
        conn: ConnId,
        /// What.
        range: BlockRange,
        /// The block.
        result: Result<Bytes, StorageFailure>,
    },
    /// The answer to [`Output::WriteBlock`].
    BlockWritten {
        /// What.
        range: BlockRange,
    },
    /// The answer to [`Output::WriteBlock`], when it failed, or to [`Output::Finish`].
    StorageFailed(StorageFailure),
    /// The answer to [`Output::VerifyPiece`].
    PieceVerified(Verified),
    /// The answer to [`Output::Announce`].
    Announced(Box<Result<AnnounceReply, AnnounceFailure>>),
    /// Peers from elsewhere.
    Peers(Vec<PeerAddr>),
    /// The user wants this, one priority per piece.
    Prioritise(Vec<Priority>),
    /// A verified piece is gone from the disk.
    PieceLost {
        /// Which.
        piece: PieceIndex,
    },
    /// The answer to [`Output::FindWebSeed`].
    WebSeedFound {
        /// Which.
        seed: u32,
        /// Its address.
        found: Result<SocketAddr, FetchFailure>,
    },
    /// The next block of an [`Output::Fetch`]; blocks come in order.
    Fetched {
        /// Which request.
        fetch: u64,
        /// Where it belongs.
        range: BlockRange,
        /// What.
        data: Bytes,
    },
    /// There will be no more blocks of an [`Output::Fetch`].
    FetchFailed {
        /// Which request.
        fetch: u64,
        /// Why.
        why: FetchFailure,
    },
    /// The user pauses: connections close, nothing is fetched or served, trackers hear `stopped`.
    Pause,
    /// The user goes on after a pause, or after a disk failure: it may have room again.
    Resume,
    /// The user leaves.
    Leave,
    /// Time has passed.
    Timer,
}

impl Input {
    /// The answer to [`Output::Announce`].
    #[must_use]
    pub fn announced(result: Result<AnnounceReply, AnnounceFailure>) -> Input {
        Input::Announced(Box::new(result))
    }
}

/// One decision of the session. What is rare and large lies elsewhere: these are moved about for every
/// message.
#[derive(Debug)]
pub enum Output {
    /// Send the handshake.
    Handshake {
        /// To whom.
        conn: ConnId,
        /// What.
        handshake: Handshake,
    },
    /// Send a message.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        message: Message,
    },
    /// Open a connection.
    Connect {
        /// Where to.
        addr: SocketAddr,
    },
    /// Give up an [`Output::Connect`] that was not answered.
    Abandon {
        /// Where it went.
        addr: SocketAddr,
    },
    /// Close a connection. It may not be named any more.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Read a verified block to send it.
    ReadBlock {
        /// For whom.
        conn: ConnId,
        /// What.
        range: BlockRange,
    },
    /// Write a block.
    WriteBlock {
        /// Where.
        range: BlockRange,
        /// What.
        data: Bytes,
    },
    /// Hash a piece, after what was written before.
    VerifyPiece {
        /// Which.
        piece: PieceIndex,
        /// Return a digest per block even if it is good.
        digests: bool,
    },
    /// Look up the address of a web seed.
    FindWebSeed {
        /// Which, as numbered in [`TorrentSetup::web_seeds`].
        seed: u32,
    },
    /// Ask a web seed for a part of the content.
    Fetch {
        /// Which.
        seed: u32,
        /// The number of the request, used once.
        fetch: u64,
        /// Bytes of the content: whole blocks.
        range: Range<u64>,
    },
    /// The rest of an [`Output::Fetch`] is not wanted any more; nothing is said of it again.
    StopFetch {
        /// Which web seed.
        seed: u32,
        /// Which request.
        fetch: u64,
    },
    /// A web seed is not needed for now: close its connections.
    RestWebSeed {
        /// Which.
        seed: u32,
    },
    /// Every piece is verified: make it durable.
    Finish,
    /// Announce to a tracker.
    Announce {
        /// Its number: the metainfo file's trackers counted through all tiers.
        tracker: u32,
        /// What to say.
        request: Box<AnnounceRequest>,
    },
    /// Something for traces, checks and reports.
    Emit(Event),
    /// After [`Input::Leave`]: everything is said, the host may stop.
    Left,
}

/// What a session is made of.
pub struct TorrentSetup {
    /// Numbers and switches. Sessions that have the same may share them.
    pub config: Arc<EngineConfig>,
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its sizes.
    pub geometry: Geometry,
    /// Pieces verified on disk before the start.
    pub have: BitSet,
    /// What the user wants, one per piece; `None`: everything.
    pub priorities: Option<Vec<Priority>>,
    /// Ranges of the content that are padding (BEP 47), in order: never asked for.
    pub padding: Vec<Range<u64>>,
    /// Peers may come from the trackers only, from one tracker at a time (BEP 27).
    pub private: bool,
    /// The metainfo file's `info` value, served to peers who have only its hash (BEP 9).
    pub info_bytes: Bytes,
    /// Who lied when the `info` value was fetched, and is not spoken to again.
    pub banned: Vec<(SocketAddr, PeerId)>,
    /// Our id.
    pub peer_id: PeerId,
    /// Where we listen for peers.
    pub port: u16,
    /// How many trackers each tier has (BEP 12); empty when there is nobody to announce to.
    pub tiers: Vec<u32>,
    /// URLs of web seeds (BEP 19) that can be asked; the first `web_seeds_max` are used.
    pub web_seeds: Vec<String>,
    /// The piece-selection strategy.
    pub picker: Box<dyn PiecePicker>,
    /// The choking strategy.
    pub choker: Box<dyn Choker>,
    /// Our random streams.
    pub rngs: Rngs,
}

/// The random streams of a session, one per purpose, so that a strategy that draws more moves
/// nobody else's draws.
#[derive(Clone, Debug)]
pub struct Rngs {
    /// Piece selection.
    pub picker: ChaCha8Rng,
    /// Choking.
    pub choker: ChaCha8Rng,
    /// Dialling and announcing.
    pub contacts: ChaCha8Rng,
}

/// Totals of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Payload bytes received that were of use.
    pub gained: u64,
    /// Payload bytes received that were of no use.
    pub wasted: u64,
    /// Payload bytes of pieces that failed their hash.
    pub hash_failed: u64,
    /// Payload bytes sent.
    pub sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_about_for_every_message_is_small() {
        assert!(size_of::<Output>() <= 64, "{}", size_of::<Output>());
        assert!(size_of::<Input>() <= 64, "{}", size_of::<Input>());
    }
}
