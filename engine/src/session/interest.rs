//! Owns what peers have, and whether we want something of theirs.
//!
//! Invariant: `interested` is sent exactly when it changes, and is true exactly while the peer has
//! a piece that we lack. A `have` that repeats counts once.

use crate::bits::BitSet;
use crate::ids::PieceIndex;
use crate::time::Now;
use crate::wire::Message;

use super::event::CloseReason;
use super::torrent::Torrent;

impl Torrent {
    pub(super) fn on_have(
        &mut self,
        slot: usize,
        piece: PieceIndex,
        now: Now,
    ) -> Result<(), &'static str> {
        if piece.0 >= self.pieces.geometry.pieces {
            return Err("a have for a piece that does not exist");
        }
        if !self.bitfields[slot].insert(piece) {
            return Ok(());
        }
        let copies = self.pieces.add_copy(piece);
        self.picker.on_availability(piece, copies);
        self.touch(piece);
        if !self.pieces.have.contains(piece) {
            self.peer(slot).useful += 1;
            self.update_interest(slot, now);
            self.fill_requests(slot, now);
        }
        self.part_from_seed(slot, now);
        Ok(())
    }

    pub(super) fn on_bitfield(
        &mut self,
        slot: usize,
        wire: &[u8],
        now: Now,
    ) -> Result<(), &'static str> {
        let Some(bits) = BitSet::from_wire(wire, self.pieces.geometry.pieces) else {
            return Err("a bitfield of the wrong length or with spare bits");
        };
        for piece in bits.iter() {
            let copies = self.pieces.add_copy(piece);
            self.picker.on_availability(piece, copies);
            self.touch(piece);
        }
        self.peer(slot).useful = bits.count_minus(&self.pieces.have);
        self.bitfields[slot] = bits;
        self.update_interest(slot, now);
        self.part_from_seed(slot, now);
        Ok(())
    }

    /// Says whether we want something, if that changed.
    pub(super) fn update_interest(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        let wanted = peer.useful > 0;
        if wanted != peer.am_interested {
            peer.am_interested = wanted;
            peer.interest_changed = now;
            let message = if wanted {
                Message::Interested
            } else {
                Message::NotInterested
            };
            self.send(slot, message, now);
        }
    }

    /// A piece was verified here: who has it is worth less to us, who lacks it is told.
    pub(super) fn spread_have(&mut self, piece: PieceIndex, now: Now) {
        for slot in self.slots() {
            if !self.is_active(slot) {
                continue;
            }
            let has = self.bitfields[slot].contains(piece);
            if !has || self.config.redundant_have {
                self.send(slot, Message::Have(piece), now);
                self.peer(slot).content_from = now;
            }
            if has {
                self.peer(slot).useful -= 1;
                self.update_interest(slot, now);
            }
        }
    }

    /// Two leechers that became seeds do not know it of each other: without redundant haves each
    /// left out what the other had. But who wants nothing of a seed for as long as a keep-alive
    /// takes is a seed, or of no use.
    pub(super) fn part_from_content(&mut self, now: Now) {
        if !(self.complete() && self.config.close_seed_to_seed) {
            return;
        }
        for slot in self.slots() {
            let Some(peer) = self.peers[slot].as_ref().filter(|p| p.active()) else {
                continue;
            };
            let content = now.since(peer.content_from) >= self.config.keepalive_interval;
            if content && !peer.interested {
                let (conn, addr) = (peer.conn, peer.addr);
                self.dial.seen_seed(addr);
                self.close(conn, CloseReason::SeedToSeed, now);
            }
        }
    }

    /// Seeds have nothing to give each other.
    pub(super) fn part_from_seed(&mut self, slot: usize, now: Now) {
        let Some(peer) = &self.peers[slot] else {
            return;
        };
        if !self.bitfields[slot].is_full() {
            return;
        }
        let (conn, addr) = (peer.conn, peer.addr);
        self.dial.seen_seed(addr);
        if self.complete() && self.config.close_seed_to_seed {
            self.close(conn, CloseReason::SeedToSeed, now);
        }
    }
}
