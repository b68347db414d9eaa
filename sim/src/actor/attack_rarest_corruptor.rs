//! Owns the attack `rarest-corruptor`: serves true blocks, but spoils those of pieces that at most one of its
//! neighbours has. It lacks one piece, as it says, so that seeds stay with it and are counted.

use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;
use skep_engine::{ConnId, PieceIndex};

use super::parts::{Holdings, piece, spoilt, true_block};
use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Neighbours that have a piece, up to which it is spoilt.
const RARE: usize = 1;

/// The attacker. Outside its time it serves true blocks alone.
pub(super) struct RarestCorruptor {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    claims: BitSet,
    holdings: Holdings,
}

impl RarestCorruptor {
    pub(super) fn new(content: Arc<Content>, mut rng: ChaCha8Rng) -> RarestCorruptor {
        let pieces = content.geometry().pieces;
        let mut claims = BitSet::full(pieces);
        claims.remove(PieceIndex(rng.next_u32() % pieces));
        RarestCorruptor {
            content,
            rng,
            claims,
            holdings: Holdings::default(),
        }
    }
}

impl Attacker for RarestCorruptor {
    fn claims_complete(&self) -> bool {
        false
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        self.holdings.open(conn, self.content.geometry());
        let claims = Bytes::from(self.claims.to_wire());
        io.send(conn, &Message::Bitfield(claims));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        self.holdings.heard(conn, &message);
        match message {
            Message::Interested => io.send(conn, &Message::Unchoke),
            Message::Request(range) => {
                let Some(block) = true_block(&self.content, range) else {
                    return;
                };
                if !io.active() || self.holdings.copies(range.piece) > RARE {
                    return io.send(conn, &block);
                }
                let wrong = spoilt(&self.content.slice(range), &mut self.rng);
                io.tell(Attack::Acted);
                io.send(conn, &piece(range, wrong));
            }
            _ => {}
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.holdings.gone(conn);
    }
}
