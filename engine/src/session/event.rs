//! Owns [`Event`]: everything that a session decides or learns, for traces, checks and reports.
//!
//! Invariant: traces, checks and reports read events and nothing else, so what is not an event did
//! not happen. Peers are named by the address of the connection.

use std::net::SocketAddr;

use serde::Serialize;

use crate::ids::PieceIndex;
use crate::tracker::announce::AnnounceEvent;
use crate::wire::WireError;

use super::buffers::Buffered;

/// Why a connection was closed by us, or ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other end closed or reset it.
    ByPeer,
    /// No handshake in time.
    HandshakeTimeout,
    /// Not a word for too long.
    Silence,
    /// The bytes are not the protocol.
    Wire(WireError),
    /// A message that is illegal now; which.
    Protocol(&'static str),
    /// It speaks no extensions, so it cannot send the metainfo that we lack.
    NoMetadata,
    /// Another torrent.
    WrongTorrent,
    /// Not the peer that the tracker named.
    WrongPeer,
    /// Ourselves.
    SelfConnect,
    /// A second connection to the same peer.
    Duplicate,
    /// Connections are at their maximum.
    Full,
    /// No interest on either side for long, while others want the place.
    Idle,
    /// All places are taken, and its address has several of them.
    Crowded,
    /// All places are taken, and it ranks lowest among the idle (BEP 40).
    Outranked,
    /// A private torrent, and another tracker than the one that named it answers now (BEP 27).
    OtherTracker,
    /// It does not read what we send.
    Backlog,
    /// Both ends are seeds, as far as we can tell.
    SeedToSeed,
    /// It sent wrong blocks.
    Banned,
    /// A hand in too many bad pieces, unproven.
    Strikes,
    /// We leave the swarm.
    Leaving,
    /// The user pauses.
    Paused,
    /// It never carried a block, although we wanted something of it, while others want the place.
    Barren,
}

impl CloseReason {
    /// The reason in a few words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            CloseReason::ByPeer => "closed by the peer".into(),
            CloseReason::HandshakeTimeout => "no handshake in time".into(),
            CloseReason::Silence => "silent for too long".into(),
            CloseReason::Wire(error) => error.to_string(),
            CloseReason::Protocol(what) => what.into(),
            CloseReason::NoMetadata => "cannot send the metainfo".into(),
            CloseReason::WrongTorrent => "another torrent".into(),
            CloseReason::WrongPeer => "another peer than the tracker named".into(),
            CloseReason::SelfConnect => "ourselves".into(),
            CloseReason::Duplicate => "second connection to one peer".into(),
            CloseReason::Full => "too many connections".into(),
            CloseReason::Idle => "of no use to either side".into(),
            CloseReason::Barren => "never carried a block".into(),
            CloseReason::Crowded => "made room for a peer at an address with fewer".into(),
            CloseReason::Outranked => "made room for a peer of higher priority".into(),
            CloseReason::OtherTracker => "named by another tracker of a private torrent".into(),
            CloseReason::Backlog => "does not read what is sent".into(),
            CloseReason::SeedToSeed => "both are seeds".into(),
            CloseReason::Banned => "banned".into(),
            CloseReason::Strikes => "a hand in too many bad pieces".into(),
            CloseReason::Leaving => "we leave".into(),
            CloseReason::Paused => "we pause".into(),
        }
    }
}

impl Serialize for CloseReason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.words())
    }
}

/// Why payload bytes were of no use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waste {
    /// The block was there already.
    Duplicate,
    /// Nobody asked for it.
    Unrequested,
}

/// One thing that happened in a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The client runs, with so many verified pieces.
    Started {
        /// Verified pieces.
        have: u32,
    },
    /// A handshake was accepted: the other end is a peer of this swarm.
    PeerJoined {
        /// The peer.
        peer: SocketAddr,
        /// It dialled us.
        inbound: bool,
    },
    /// A peer told its client's name (BEP 10).
    ClientNamed {
        /// The peer.
        peer: SocketAddr,
        /// The name, made printable.
        client: String,
    },
    /// A peer told contacts of its own (BEP 11).
    PexReceived {
        /// The peer.
        peer: SocketAddr,
        /// Contacts that it is connected to.
        added: u32,
        /// Contacts that it is connected to no more.
        dropped: u32,
        /// Of the added ones, those that nobody told before.
        learned: u32,
    },
    /// Contacts of a peer were not heeded: it tells them too often.
    PexIgnored {
        /// The peer.
        peer: SocketAddr,
    },
    /// A peer was told contacts of ours (BEP 11).
    PexSent {
        /// The peer.
        peer: SocketAddr,
        /// Contacts that we are connected to.
        added: u32,
        /// Contacts that we are connected to no more.
        dropped: u32,
    },
    /// A block of the metainfo file's `info` value came (BEP 9).
    MetadataReceived {
        /// From whom.
        peer: SocketAddr,
        /// Which block.
        block: u32,
        /// Bytes of all of them, as it says.
        total: u32,
    },
    /// A copy of the `info` value is not the one that the info-hash means.
    MetadataFailed {
        /// Its bytes.
        total: u32,
        /// Peers that sent parts of it.
        senders: u32,
    },
    /// The `info` value is here, and its hash is the info-hash.
    MetadataComplete {
        /// Its bytes.
        total: u32,
    },
    /// A connection is gone.
    PeerGone {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        why: CloseReason,
    },
    /// A dial failed or was not answered.
    DialFailed {
        /// Where.
        peer: SocketAddr,
    },
    /// We answer its requests from now on.
    Unchoked {
        /// The peer.
        peer: SocketAddr,
        /// In an optimistic slot.
        optimistic: bool,
    },
    /// We stop answering its requests.
    Choked {
        /// The peer.
        peer: SocketAddr,
    },
    /// It answers our requests, or stops to.
    UnchokedBy {
        /// The peer.
        peer: SocketAddr,
        /// It answers.
        on: bool,
    },
    /// It wants something that we have, or nothing.
    InterestedBy {
        /// The peer.
        peer: SocketAddr,
        /// It wants something.
        on: bool,
    },
    /// The first request for a piece was decided.
    PieceStarted {
        /// The piece.
        piece: PieceIndex,
        /// Its copies among the neighbours.
        copies: u16,
    },
    /// A request went out.
    BlockRequested {
        /// To whom.
        peer: SocketAddr,
        /// The piece.
        piece: PieceIndex,
        /// First byte inside it.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// A block arrived and was of use.
    BlockReceived {
        /// From whom.
        peer: SocketAddr,
        /// The piece.
        piece: PieceIndex,
        /// First byte inside it.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// A block arrived and was of no use.
    BlockWasted {
        /// From whom.
        peer: SocketAddr,
        /// Bytes.
        len: u32,
        /// Why.
        why: Waste,
    },
    /// A super-seed showed a peer a piece that it hides from others (BEP 16).
    PieceShown {
        /// To whom.
        peer: SocketAddr,
        /// The piece.
        piece: PieceIndex,
    },
    /// Another seed was seen: nothing is hidden any more.
    SuperSeedingEnded,
    /// A block was handed to the network.
    BlockSent {
        /// To whom.
        peer: SocketAddr,
        /// The piece.
        piece: PieceIndex,
        /// First byte inside it.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// A request of ours was not answered in time.
    RequestTimedOut {
        /// Whose answer is missing.
        peer: SocketAddr,
        /// The piece.
        piece: PieceIndex,
        /// First byte inside it.
        begin: u32,
    },
    /// An unchoked peer owes us blocks for too long.
    Snubbed {
        /// The peer.
        peer: SocketAddr,
    },
    /// A web seed's address is known: from now on it is asked for pieces. Blocks of its are told of with
    /// this address.
    WebSeedJoined {
        /// Its address.
        peer: SocketAddr,
        /// What the metainfo file calls it.
        url: String,
    },
    /// A web seed is not used for a while, or never again.
    WebSeedLeft {
        /// What the metainfo file calls it.
        url: String,
        /// Why, in words.
        why: String,
        /// It is never used again.
        for_good: bool,
    },
    /// Every missing block is requested for the first time.
    EndgameEntered,
    /// A piece was hashed.
    PieceVerified {
        /// The piece.
        piece: PieceIndex,
        /// Its hash is the metainfo's.
        good: bool,
    },
    /// A peer sent wrong blocks, proven by digests or because it sent the whole piece.
    Banned {
        /// The peer.
        peer: SocketAddr,
        /// A piece it spoiled.
        piece: PieceIndex,
    },
    /// Every piece is verified.
    Completed,
    /// Every piece that the user wants is verified; others are missing (BEP 21).
    Finished,
    /// A verified piece is gone from the disk.
    PieceLost {
        /// The piece.
        piece: PieceIndex,
    },
    /// The tracker answered.
    Announced {
        /// What was said.
        what: AnnounceEvent,
        /// Peers it told.
        peers: u32,
        /// Which: the metainfo file's trackers counted through all tiers.
        tracker: u32,
    },
    /// The tracker did not answer well; it is tried again, or another one is.
    AnnounceFailed {
        /// What was said.
        what: AnnounceEvent,
        /// Why, in words.
        why: String,
        /// Which.
        tracker: u32,
        /// It said that it wants to hear no more of us, and is not asked again (BEP 31).
        for_good: bool,
    },
    /// The tracker has something to say to the user. It is text from outside.
    TrackerWarned {
        /// Which.
        tracker: u32,
        /// Its words.
        text: String,
    },
    /// A tracker did not answer over UDP in time, and the request was sent again.
    AnnounceResent {
        /// Which.
        tracker: u32,
    },
    /// The disk failed: the torrent pauses, no peer is blamed.
    StorageFailed {
        /// Why, in words.
        why: String,
    },
    /// The user pauses: `stopped` goes to the tracker, connections are closed.
    Paused,
    /// The user went on after the pause, or after the disk failed.
    Resumed,
    /// The user leaves: `stopped` goes to the tracker.
    Leaving,
    /// The session's own books were recomputed and found right.
    Audited {
        /// Pieces looked at.
        pieces: u32,
    },
    /// So much was held in memory at most since the start.
    Buffered(Buffered),
    /// The session's own books are wrong: a bug in Skep.
    AuditFailed {
        /// The piece.
        piece: PieceIndex,
        /// Which invariant.
        what: &'static str,
        /// True: availability; false: block states.
        availability: bool,
    },
}

impl Event {
    /// The address of the connection or the dial that it is about, if it is about one.
    pub fn peer_mut(&mut self) -> Option<&mut SocketAddr> {
        match self {
            Event::PeerJoined { peer, .. }
            | Event::ClientNamed { peer, .. }
            | Event::PexReceived { peer, .. }
            | Event::PexIgnored { peer }
            | Event::PexSent { peer, .. }
            | Event::MetadataReceived { peer, .. }
            | Event::PeerGone { peer, .. }
            | Event::DialFailed { peer }
            | Event::Unchoked { peer, .. }
            | Event::Choked { peer }
            | Event::UnchokedBy { peer, .. }
            | Event::InterestedBy { peer, .. }
            | Event::BlockRequested { peer, .. }
            | Event::BlockReceived { peer, .. }
            | Event::BlockWasted { peer, .. }
            | Event::PieceShown { peer, .. }
            | Event::BlockSent { peer, .. }
            | Event::RequestTimedOut { peer, .. }
            | Event::Snubbed { peer }
            | Event::WebSeedJoined { peer, .. }
            | Event::Banned { peer, .. } => Some(peer),
            Event::Started { .. }
            | Event::MetadataFailed { .. }
            | Event::MetadataComplete { .. }
            | Event::PieceStarted { .. }
            | Event::SuperSeedingEnded
            | Event::WebSeedLeft { .. }
            | Event::EndgameEntered
            | Event::PieceVerified { .. }
            | Event::Completed
            | Event::Finished
            | Event::PieceLost { .. }
            | Event::Announced { .. }
            | Event::AnnounceFailed { .. }
            | Event::TrackerWarned { .. }
            | Event::AnnounceResent { .. }
            | Event::StorageFailed { .. }
            | Event::Paused
            | Event::Resumed
            | Event::Leaving
            | Event::Audited { .. }
            | Event::Buffered(_)
            | Event::AuditFailed { .. } => None,
        }
    }
}
