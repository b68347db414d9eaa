//! Owns the attack `junk-for-unchoke`: downloads like a free-rider, claims half of the pieces, unchokes everybody and
//! answers what is asked with wrong bytes, so that it gives as much as anybody until the pieces fail.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use skep_engine::wire::Message;
use skep_engine::wire::handshake::{FAST, reserved};
use skep_engine::{BlockRange, ConnId, PieceIndex};

use super::attack_free_rider::FreeRider;
use super::parts::{piece, spoilt};
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The attacker. It never claims everything, so that it may be interested in seeds.
pub(super) struct JunkForUnchoke {
    rider: FreeRider,
    content: Arc<Content>,
    rng: ChaCha8Rng,
}

impl JunkForUnchoke {
    pub(super) fn new(content: Arc<Content>, rng: ChaCha8Rng) -> JunkForUnchoke {
        JunkForUnchoke {
            rider: FreeRider::new(Arc::clone(&content), rng.clone()),
            content,
            rng,
        }
    }
}

fn block(piece: PieceIndex, begin: u32, data: &[u8]) -> BlockRange {
    let len = u32::try_from(data.len()).expect("the codec bounds a block");
    BlockRange { piece, begin, len }
}

impl Attacker for JunkForUnchoke {
    fn claims_complete(&self) -> bool {
        false
    }

    fn capabilities(&self) -> [u8; 8] {
        reserved(&[FAST])
    }

    fn habits(&self) -> Habits {
        self.rider.habits()
    }

    fn over(&self) -> bool {
        self.rider.over()
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        io.send(conn, &Message::HaveNone);
        if io.active() {
            let claimed = (0..self.content.geometry().pieces).step_by(2);
            claimed.for_each(|at| io.send(conn, &Message::Have(PieceIndex(at))));
        }
        self.rider.on_open(io, conn);
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested if io.active() => io.send(conn, &Message::Unchoke),
            Message::Request(range) if self.content.geometry().contains(range) => {
                if !io.active() {
                    return io.send(conn, &Message::Reject(range));
                }
                let junk = spoilt(&self.content.slice(range), &mut self.rng);
                io.tell(Attack::Acted);
                io.send(conn, &piece(range, junk));
            }
            // Others of its kind: junk for junk buys nothing.
            Message::Piece {
                piece,
                begin,
                ref data,
            } if !self.content.is_true(block(piece, begin, data), data) => {
                io.close(conn);
                self.rider.on_gone(io, conn);
            }
            message => self.rider.on_message(io, conn, message),
        }
    }

    fn on_gone(&mut self, io: &mut RawIo, conn: ConnId) {
        self.rider.on_gone(io, conn);
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        self.rider.on_tick(io);
    }
}
