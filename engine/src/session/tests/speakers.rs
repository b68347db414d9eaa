//! Owns the peers of the driver that speak more than BEP 3, and the books of what they are owed.
//!
//! Invariant checked after every input: every request of a fast peer has had exactly one answer, a
//! block or a reject, or still waits in the session where it will get one.

use std::collections::BTreeMap;

use super::*;

use crate::metainfo::Priority;
use crate::wire::extension::ExtendedHandshake;
use crate::wire::handshake::{Capability, FAST, reserved};

/// What fast peers asked for and have no answer to.
#[derive(Default)]
pub(super) struct Owed(BTreeMap<ConnId, Vec<BlockRange>>);

impl Owed {
    pub(super) fn asked(&mut self, conn: ConnId, range: BlockRange) {
        self.0.entry(conn).or_default().push(range);
    }

    pub(super) fn answered(&mut self, conn: ConnId, range: BlockRange) {
        let owed = self.0.entry(conn).or_default();
        let at = owed.iter().position(|r| *r == range);
        let at = at.unwrap_or_else(|| panic!("{range:?} is answered and was not asked for"));
        owed.remove(at);
    }

    /// What one connection has no answer to, in order.
    fn of(&self, conn: ConnId) -> Vec<BlockRange> {
        let mut owed = self.0.get(&conn).cloned().unwrap_or_default();
        owed.sort_unstable_by_key(|r| (r.piece, r.begin, r.len));
        owed
    }
}

/// The block or the reject in a message, if it is one.
pub(super) fn answer(message: &Message) -> Option<BlockRange> {
    match message {
        Message::Reject(range) => Some(*range),
        Message::Piece { piece, begin, data } => Some(BlockRange {
            piece: *piece,
            begin: *begin,
            len: u32::try_from(data.len()).expect("a block"),
        }),
        _ => None,
    }
}

impl Rig {
    /// Whether this connection stands, and both ends speak the fast extension.
    pub(super) fn speaks_fast(&self, conn: ConnId) -> bool {
        let slot = self.torrent.slot(conn);
        slot.is_some_and(|slot| self.torrent.peers[slot].as_ref().expect("found").fast)
    }

    /// What is owed to fast peers waits in the session.
    pub(super) fn check_owed(&self) {
        for peer in self.torrent.peers.iter().flatten().filter(|p| p.fast) {
            let waiting = peer.up.queue.iter().chain(&peer.up.reading);
            let mut waiting: Vec<_> = waiting.copied().collect();
            waiting.sort_unstable_by_key(|r| (r.piece, r.begin, r.len));
            assert_eq!(self.owed.of(peer.conn), waiting, "owed, and waiting");
        }
    }

    /// Peer number `n` dials us and speaks these.
    pub(super) fn join_as(&mut self, n: u8, speaks: &[Capability]) -> ConnId {
        let conn = self.connect(n, true);
        self.shake_as(conn, n, reserved(speaks));
        conn
    }

    /// A fast peer that has `pieces`, is interested in nothing and chokes us.
    pub(super) fn fast_holder(&mut self, n: u8, pieces: &[u32]) -> ConnId {
        let conn = self.join_as(n, &[FAST]);
        let mut bits = BitSet::empty(self.disk.geometry.pieces);
        for &piece in pieces {
            bits.insert(PieceIndex(piece));
        }
        self.say(conn, Message::Bitfield(Bytes::from(bits.to_wire())));
        conn
    }

    /// A fast peer that has everything and unchokes us.
    pub(super) fn fast_source(&mut self, n: u8) -> ConnId {
        let conn = self.join_as(n, &[FAST]);
        self.say(conn, Message::HaveAll);
        self.say(conn, Message::Unchoke);
        conn
    }

    /// A fast peer that has nothing and wants what we have.
    pub(super) fn fast_taker(&mut self, n: u8) -> ConnId {
        let conn = self.join_as(n, &[FAST]);
        self.say(conn, Message::HaveNone);
        self.say(conn, Message::Interested);
        conn
    }

    pub(super) fn introduce(&mut self, conn: ConnId, handshake: &ExtendedHandshake) {
        self.say(conn, handshake.message());
    }

    pub(super) fn prioritise(&mut self, priorities: &[Priority]) {
        self.feed(Input::Prioritise(priorities.to_vec()));
    }

    /// The books of one peer.
    pub(super) fn peer(&self, conn: ConnId) -> &super::super::peer::Peer {
        let slot = self.torrent.slot(conn).expect("still connected");
        self.torrent.peers[slot].as_ref().expect("found")
    }

    /// The disk fails.
    pub(super) fn fail(&mut self) {
        let failure = StorageFailure("no space".to_owned());
        self.feed(Input::StorageFailed(failure));
    }
}
