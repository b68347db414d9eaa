//! Owns what attacks are made of: claims, true and spoilt blocks, the requests of others, what others have.
//!
//! Invariant: nothing here decides when; every queue is bounded, whatever the other end sends.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::metainfo::Geometry;
use skep_engine::wire::Message;
use skep_engine::{BlockRange, ConnId, Now, PieceIndex};

use super::raw::RawIo;
use crate::content::Content;

/// Requests of one peer that are kept; more are forgotten.
const REQUESTS_MAX: usize = 2000;

/// A bitfield that claims every piece.
pub(super) fn everything(content: &Content) -> Bytes {
    Bytes::from(BitSet::full(content.geometry().pieces).to_wire())
}

/// A block in its message.
pub(super) fn piece(range: BlockRange, data: Bytes) -> Message {
    Message::Piece {
        piece: range.piece,
        begin: range.begin,
        data,
    }
}

/// What was asked for, or nothing when there is no such range.
pub(super) fn true_block(content: &Content, range: BlockRange) -> Option<Message> {
    let there = content.geometry().contains(range);
    there.then(|| piece(range, content.slice(range)))
}

/// The same bytes but for one bit.
pub(super) fn spoilt(truth: &Bytes, rng: &mut ChaCha8Rng) -> Bytes {
    let mut wrong = BytesMut::from(&truth[..]);
    let at = usize::try_from(rng.next_u64() % truth.len() as u64).expect("in a block");
    wrong[at] ^= 1 << (rng.next_u32() % 8);
    wrong.freeze()
}

/// A block of a piece, drawn.
pub(super) fn any_block(geometry: Geometry, piece: PieceIndex, rng: &mut ChaCha8Rng) -> u32 {
    rng.next_u32() % geometry.blocks_in(piece)
}

/// The requests of others that are not answered, oldest first.
#[derive(Default)]
pub(super) struct Requests(BTreeMap<ConnId, VecDeque<(BlockRange, Now)>>);

impl Requests {
    /// Keeps a request for something that there is.
    pub(super) fn add(&mut self, conn: ConnId, range: BlockRange, content: &Content, now: Now) {
        let of = self.0.entry(conn).or_default();
        if content.geometry().contains(range) && of.len() < REQUESTS_MAX {
            of.push_back((range, now));
        }
    }

    /// Forgets one, which its peer took back.
    pub(super) fn cancel(&mut self, conn: ConnId, range: BlockRange) {
        if let Some(of) = self.0.get_mut(&conn) {
            of.retain(|(kept, _)| *kept != range);
        }
    }

    /// Forgets all of a connection; whether there were any.
    pub(super) fn clear(&mut self, conn: ConnId) -> bool {
        self.0.remove(&conn).is_some_and(|of| !of.is_empty())
    }

    /// The oldest, and since when it waits.
    pub(super) fn oldest(&self, conn: ConnId) -> Option<(BlockRange, Now)> {
        self.0.get(&conn)?.front().copied()
    }

    /// Takes the oldest.
    pub(super) fn next(&mut self, conn: ConnId) -> Option<BlockRange> {
        let (range, _) = self.0.get_mut(&conn)?.pop_front()?;
        Some(range)
    }
}

/// What each neighbour has, as it says.
#[derive(Default)]
pub(super) struct Holdings(BTreeMap<ConnId, BitSet>);

impl Holdings {
    /// A connection is there, and has nothing so far.
    pub(super) fn open(&mut self, conn: ConnId, geometry: Geometry) {
        self.0.insert(conn, BitSet::empty(geometry.pieces));
    }

    /// A connection is gone.
    pub(super) fn gone(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }

    /// Takes what a message says of pieces; whether it was about that.
    pub(super) fn heard(&mut self, conn: ConnId, message: &Message) -> bool {
        let Some(has) = self.0.get_mut(&conn) else {
            return false;
        };
        match message {
            Message::Bitfield(bits) => match BitSet::from_wire(bits, has.len()) {
                Some(bits) => *has = bits,
                None => return false,
            },
            Message::Have(piece) if piece.0 < has.len() => {
                has.insert(*piece);
            }
            Message::HaveAll => *has = BitSet::full(has.len()),
            Message::HaveNone => {}
            _ => return false,
        }
        true
    }

    /// What a neighbour has.
    pub(super) fn of(&self, conn: ConnId) -> Option<&BitSet> {
        self.0.get(&conn)
    }

    /// Neighbours that have a piece.
    pub(super) fn copies(&self, piece: PieceIndex) -> usize {
        self.0.values().filter(|has| has.contains(piece)).count()
    }

    /// All neighbours.
    pub(super) fn conns(&self) -> Vec<ConnId> {
        self.0.keys().copied().collect()
    }
}

/// Bytes on their way to a victim above which a spammer waits: its own uplink sets its pace then.
const SPAM_UNSENT_MAX: u64 = 256 * 1024;

/// Many small messages in one write, the same ones each time.
pub(super) struct Burst(Bytes);

impl Burst {
    pub(super) fn new(messages: impl IntoIterator<Item = Message>) -> Burst {
        let mut bytes = BytesMut::new();
        for message in messages {
            let block = message.encode_head(&mut bytes);
            assert!(block.is_none(), "a burst is of messages without payload");
        }
        Burst(bytes.freeze())
    }

    /// Sends it once, if what was sent before is on its way; whether it did.
    pub(super) fn send(&self, io: &mut RawIo, conn: ConnId) -> bool {
        let room = io.unsent(conn) < SPAM_UNSENT_MAX;
        if room {
            io.send_bytes(conn, self.0.clone());
        }
        room
    }
}
