//! Owns the attack `never-deliver`: claims everything, or the last pieces of the content, unchokes everybody, takes
//! requests and sends nothing. What it costs is time: blocks wait at it until they time out; and where several
//! claim the same few pieces, these look common and are begun late.

use std::collections::BTreeSet;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;

use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::scenario::units::MILLION;
use crate::trace::Attack;

/// The attacker. Outside its time it unchokes nobody.
pub(super) struct NeverDeliver {
    claims: BitSet,
    /// Who wants something and is not unchoked.
    waiting: BTreeSet<ConnId>,
    unchoked: BTreeSet<ConnId>,
}

impl NeverDeliver {
    /// One that claims so much of the content, in parts per million: as many of the last pieces, rounded up.
    pub(super) fn new(claims_ppm: u64, content: &Content) -> NeverDeliver {
        let pieces = content.geometry().pieces;
        let claimed = (u64::from(pieces) * claims_ppm).div_ceil(u64::from(MILLION));
        let first = u64::from(pieces).saturating_sub(claimed);
        let mut claims = BitSet::empty(pieces);
        for piece in content.geometry().all_pieces() {
            if u64::from(piece.0) >= first {
                claims.insert(piece);
            }
        }
        NeverDeliver {
            claims,
            waiting: BTreeSet::new(),
            unchoked: BTreeSet::new(),
        }
    }
}

impl Attacker for NeverDeliver {
    fn claims_complete(&self) -> bool {
        self.claims.is_full()
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        let claims = Bytes::from(self.claims.to_wire());
        io.send(conn, &Message::Bitfield(claims));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested => {
                self.waiting.insert(conn);
                self.on_tick(io);
            }
            Message::Request(_) if io.active() => io.tell(Attack::Acted),
            _ => {}
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.waiting.remove(&conn);
        self.unchoked.remove(&conn);
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        let (from, to, message) = if io.active() {
            (&mut self.waiting, &mut self.unchoked, Message::Unchoke)
        } else {
            (&mut self.unchoked, &mut self.waiting, Message::Choke)
        };
        for conn in std::mem::take(from) {
            io.send(conn, &message);
            to.insert(conn);
        }
    }
}
