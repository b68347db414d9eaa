//! Owns what each message of a peer means: is it legal now, and who handles it.
//!
//! Invariant: with the fast extension the first message, but for an extended handshake, says which
//! pieces the peer has; what is illegal closes the connection and changes nothing, and so does what is said too
//! often: everything but requests, their answers, and a `have` that is news.

use crate::bits::BitSet;
use crate::ids::ConnId;
use crate::time::Now;
use crate::wire::Message;

use super::event::CloseReason;
use super::torrent::Torrent;

/// Why a peer is closed that says too much.
pub(super) const CHATTER: &str = "too many messages that carry nothing";

impl Torrent {
    /// A peer says something that is neither payload nor news; an error when it does too often.
    pub(super) fn bear_chatter(&mut self, slot: usize, now: Now) -> Result<(), &'static str> {
        let rate = self.config.chatter_max;
        match self.peer(slot).bear_chatter(rate, now) {
            true => Ok(()),
            false => Err(CHATTER),
        }
    }

    pub(super) fn on_message(&mut self, conn: ConnId, message: Message, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        let legal = if self.is_active(slot) {
            self.handle_message(slot, message, now)
        } else {
            Err("a message before the handshake")
        };
        if let Err(what) = legal {
            self.close(conn, CloseReason::Protocol(what), now);
        }
    }

    fn handle_message(
        &mut self,
        slot: usize,
        message: Message,
        now: Now,
    ) -> Result<(), &'static str> {
        let pieces = self.pieces.geometry.pieces;
        let peer = self.peer(slot);
        peer.last_received = now;
        let (first, fast) = (!peer.greeted, peer.fast);
        peer.greeted |= !matches!(message, Message::Extended { .. } | Message::KeepAlive);
        let counts = !matches!(
            message,
            Message::Have(_)
                | Message::Request(_)
                | Message::Cancel(_)
                | Message::Piece { .. }
                | Message::Reject(_)
        );
        if counts {
            self.bear_chatter(slot, now)?;
        }
        let says_pieces = matches!(
            message,
            Message::Bitfield(_) | Message::HaveAll | Message::HaveNone
        );
        match message {
            Message::KeepAlive => {}
            Message::Extended { id, payload } => {
                return self.on_extended(slot, id, &payload, now);
            }
            _ if first && fast && !says_pieces => {
                return Err("a first message that does not say which pieces are there");
            }
            Message::HaveAll
            | Message::HaveNone
            | Message::Suggest(_)
            | Message::Reject(_)
            | Message::AllowedFast(_)
                if !fast =>
            {
                return Err("a fast-extension message that was not agreed on");
            }
            Message::Bitfield(bits) => return self.on_bitfield(slot, &bits, now),
            // Said again it is nothing new, and costs nothing.
            Message::HaveAll if self.bitfields[slot].is_full() && !first => {}
            Message::HaveNone if !first => {}
            Message::HaveAll => self.on_pieces(slot, &BitSet::full(pieces), now),
            Message::HaveNone => self.on_pieces(slot, &BitSet::empty(pieces), now),
            Message::Have(piece) => return self.on_have(slot, piece, now),
            Message::Choke => self.on_choke(slot, now),
            Message::Unchoke => self.on_unchoke(slot, now),
            Message::Interested => self.on_interest(slot, true, now),
            Message::NotInterested => self.on_interest(slot, false, now),
            Message::Request(range) => return self.on_request(slot, range, now),
            Message::Cancel(range) => self.on_cancel(slot, range, now),
            Message::Piece { piece, begin, data } => {
                return self.on_block(slot, piece, begin, data, now);
            }
            Message::Suggest(piece) => return self.on_suggest(slot, piece),
            Message::Reject(range) => return self.on_reject(slot, range, now),
            Message::AllowedFast(piece) => return self.on_allowed_fast(slot, piece, now),
            // A DHT port, which nobody here needs, and what nobody has defined.
            Message::Port(_) | Message::Unknown(_) => {}
        }
        Ok(())
    }
}
