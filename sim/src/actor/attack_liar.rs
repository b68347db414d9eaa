//! Owns the attack `liar`: announces pieces that it does not have, all or some drawn ones, and delivers
//! nothing: it never unchokes. What it costs: rare pieces look common, and places among connections.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;

use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The attacker. It tells its lie to who is connected while it is active, and acted when it is believed.
pub(super) struct Liar {
    claims: BitSet,
    /// Who was not told yet.
    open: BTreeSet<ConnId>,
}

impl Liar {
    /// One that claims each piece with this chance.
    pub(super) fn new(probability_ppm: u32, content: &Content, mut rng: ChaCha8Rng) -> Liar {
        let geometry = content.geometry();
        let mut claims = BitSet::empty(geometry.pieces);
        for piece in geometry.all_pieces() {
            if rng.next_u64() % 1_000_000 < u64::from(probability_ppm) {
                claims.insert(piece);
            }
        }
        Liar {
            claims,
            open: BTreeSet::new(),
        }
    }
}

impl Attacker for Liar {
    fn claims_complete(&self) -> bool {
        self.claims.is_full()
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if io.active() {
            let claims = Bytes::from(self.claims.to_wire());
            io.send(conn, &Message::Bitfield(claims));
        } else {
            self.open.insert(conn);
        }
    }

    fn on_message(&mut self, io: &mut RawIo, _conn: ConnId, message: Message) {
        if message == Message::Interested && io.active() {
            io.tell(Attack::Acted);
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.open.remove(&conn);
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        if io.active() {
            for conn in std::mem::take(&mut self.open) {
                for piece in self.claims.iter() {
                    io.send(conn, &Message::Have(piece));
                }
            }
        }
    }
}
