//! Owns the attack `corrupt-blocks`: claims everything, serves everybody, and with probability p
//! sends wrong payload.

use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::wire::Message;
use skep_engine::{BlockRange, ConnId};

use super::parts::{everything, piece, spoilt};
use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The attacker.
pub(super) struct CorruptBlocks {
    probability_ppm: u32,
    content: Arc<Content>,
    rng: ChaCha8Rng,
}

impl CorruptBlocks {
    pub(super) fn new(probability_ppm: u32, content: Arc<Content>, rng: ChaCha8Rng) -> Self {
        CorruptBlocks {
            probability_ppm,
            content,
            rng,
        }
    }

    /// The block, true or wrong.
    fn block(&mut self, io: &RawIo, range: BlockRange) -> (Bytes, bool) {
        let truth = self.content.slice(range);
        let draw = self.rng.next_u64() % 1_000_000;
        if !io.active() || draw >= u64::from(self.probability_ppm) {
            return (truth, false);
        }
        (spoilt(&truth, &mut self.rng), true)
    }
}

impl Attacker for CorruptBlocks {
    fn claims_complete(&self) -> bool {
        true
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        io.send(conn, &Message::Bitfield(everything(&self.content)));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested => io.send(conn, &Message::Unchoke),
            Message::Request(range) if self.content.geometry().contains(range) => {
                let (data, wrong) = self.block(io, range);
                if wrong {
                    io.tell(Attack::Acted);
                }
                io.send(conn, &piece(range, data));
            }
            _ => {}
        }
    }
}
