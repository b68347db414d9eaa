//! Owns the attack `corrupt-one-block`: claims everything and serves true blocks, but for one block of
//! each piece, which it spoils for everybody who asks. Where others share a piece with it, who did it
//! is seen in that block alone.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::wire::Message;

use super::parts::{any_block, everything, piece, spoilt, true_block};
use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// The attacker. Outside its time it serves true blocks alone.
pub(super) struct CorruptOneBlock {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    /// The block that is spoilt, by piece.
    block: Vec<u32>,
}

impl CorruptOneBlock {
    pub(super) fn new(content: Arc<Content>, mut rng: ChaCha8Rng) -> CorruptOneBlock {
        let geometry = content.geometry();
        let blocks = geometry.all_pieces();
        let block = blocks.map(|p| any_block(geometry, p, &mut rng)).collect();
        CorruptOneBlock {
            content,
            rng,
            block,
        }
    }
}

impl Attacker for CorruptOneBlock {
    fn claims_complete(&self) -> bool {
        true
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        io.send(conn, &Message::Bitfield(everything(&self.content)));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested => io.send(conn, &Message::Unchoke),
            Message::Request(range) => {
                let Some(block) = true_block(&self.content, range) else {
                    return;
                };
                let number = self.content.geometry().block_number(range);
                if !io.active() || number != Some(self.block[range.piece.at()]) {
                    return io.send(conn, &block);
                }
                let wrong = spoilt(&self.content.slice(range), &mut self.rng);
                io.tell(Attack::Acted);
                io.send(conn, &piece(range, wrong));
            }
            _ => {}
        }
    }
}
