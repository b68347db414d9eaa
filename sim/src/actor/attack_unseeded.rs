//! Owns the canary `unseeded`: like `never-deliver`, but which pieces it claims is drawn from outside the
//! seed, so that no run with it can be repeated. It is there to be caught by
//! `skep run --check-determinism`.
//!
//! Invariant: the only place in a simulation that draws from outside the seed, and a scenario says with
//! its tags that it is meant.

use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;
use skep_engine::{ConnId, PieceIndex};

use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The canary.
pub(super) struct Unseeded {
    pieces: u32,
}

impl Unseeded {
    pub(super) fn new(content: &Content) -> Unseeded {
        Unseeded {
            pieces: content.geometry().pieces,
        }
    }
}

/// 64 bits that the operating system chose.
#[expect(
    clippy::disallowed_types,
    reason = "the canary of --check-determinism: what it must find is a draw from outside the seed"
)]
fn from_outside() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

impl Attacker for Unseeded {
    fn claims_complete(&self) -> bool {
        false
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        let mut claimed = BitSet::empty(self.pieces);
        for piece in 0..self.pieces {
            if from_outside().is_multiple_of(2) {
                claimed.insert(PieceIndex(piece));
            }
        }
        io.tell(Attack::Acted);
        io.send(conn, &Message::Bitfield(Bytes::from(claimed.to_wire())));
        io.send(conn, &Message::Unchoke);
    }

    fn on_message(&mut self, io: &mut RawIo, _conn: ConnId, message: Message) {
        if matches!(message, Message::Request(_)) {
            io.tell(Attack::Acted);
        }
    }
}
