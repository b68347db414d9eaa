//! Owns the attack `never-deliver`: claims everything, unchokes everybody, takes requests and
//! sends nothing. What it costs is time: blocks wait at it until they time out.

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;

use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The attacker.
pub(super) struct NeverDeliver {
    bitfield: Bytes,
}

impl NeverDeliver {
    pub(super) fn new(content: &Content) -> NeverDeliver {
        NeverDeliver {
            bitfield: everything(content),
        }
    }
}

/// A bitfield that claims every piece.
pub(super) fn everything(content: &Content) -> Bytes {
    Bytes::from(BitSet::full(content.geometry().pieces).to_wire())
}

impl Attacker for NeverDeliver {
    fn claims_complete(&self) -> bool {
        true
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        io.send(conn, &Message::Bitfield(self.bitfield.clone()));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested => io.send(conn, &Message::Unchoke),
            Message::Request(_) => io.tell(Attack::Acted),
            _ => {}
        }
    }
}
