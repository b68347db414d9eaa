//! Owns the attack `never-deliver`: claims everything, unchokes everybody, takes requests and
//! sends nothing. What it costs is time: blocks wait at it until they time out.

use std::collections::BTreeSet;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::wire::Message;

use super::parts::everything;
use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The attacker. Outside its time it unchokes nobody.
pub(super) struct NeverDeliver {
    bitfield: Bytes,
    /// Who wants something and is not unchoked.
    waiting: BTreeSet<ConnId>,
    unchoked: BTreeSet<ConnId>,
}

impl NeverDeliver {
    pub(super) fn new(content: &Content) -> NeverDeliver {
        NeverDeliver {
            bitfield: everything(content),
            waiting: BTreeSet::new(),
            unchoked: BTreeSet::new(),
        }
    }
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
