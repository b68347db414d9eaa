//! Owns what peers have, and whether we want something of theirs.
//!
//! Invariant: `interested` is sent exactly when it changes, and is true exactly while the peer has
//! a piece that we lack and want. A `have` that repeats counts once.

use std::net::SocketAddr;

use crate::bits::BitSet;
use crate::ids::PieceIndex;
use crate::metainfo::Priority;
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
        if !self.bitfields.insert(slot, piece) {
            return self.bear_chatter(slot, now);
        }
        self.add_copy(slot, piece);
        if !self.pieces.have.contains(piece) && !self.pieces.is_unwanted(piece) {
            self.peer(slot).useful += 1;
            self.update_interest(slot, now);
            self.fill_requests(slot, now);
        }
        self.pieces_seen(slot, &[piece], now);
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
        self.on_pieces(slot, &bits, now);
        Ok(())
    }

    /// A peer said which pieces it has: at the beginning, and some say it later again in place of
    /// many `have`s (aria2). What it said before stays true.
    pub(super) fn on_pieces(&mut self, slot: usize, bits: &BitSet, now: Now) {
        let mut new = Vec::new();
        for piece in bits.iter() {
            if self.bitfields.insert(slot, piece) {
                self.add_copy(slot, piece);
                if self.super_seeding {
                    new.push(piece);
                }
            }
        }
        self.peer(slot).useful = self.pieces.useful(&self.bitfields[slot]);
        self.update_interest(slot, now);
        self.offer_allowed_fast(slot, now);
        self.fill_requests(slot, now);
        self.pieces_seen(slot, &new, now);
        self.part_from_seed(slot, now);
    }

    /// The user wants other pieces than before, one priority per piece.
    pub(super) fn on_prioritised(&mut self, priorities: Vec<Priority>, now: Now) {
        let finished = self.pieces.finished();
        self.pieces.prioritise(priorities);
        for piece in self.pieces.geometry.all_pieces() {
            self.touch(piece);
        }
        self.recount_useful(now);
        match (finished, self.pieces.finished()) {
            (false, true) => self.on_finished(now),
            (true, false) => self.spread_upload_only(now),
            _ => {}
        }
        self.fill_all_requests(now);
        self.find_peers(now);
    }

    /// Other pieces than before are wanted: counts anew what each peer has of them.
    pub(super) fn recount_useful(&mut self, now: Now) {
        for slot in self.slots() {
            if self.is_active(slot) {
                self.peer(slot).useful = self.pieces.useful(self.has(slot));
                self.update_interest(slot, now);
            }
        }
    }

    /// Says whether we want something, if that changed.
    pub(super) fn update_interest(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        let wanted = peer.useful > 0;
        if wanted != peer.am_interested {
            peer.am_interested = wanted;
            peer.interest_changed = now;
            if wanted {
                self.explored = 0;
                self.askable[slot] = true;
            }
            let message = if wanted {
                Message::Interested
            } else {
                Message::NotInterested
            };
            self.note(slot);
            self.send(slot, message, now);
        }
    }

    /// Two leechers that became seeds do not know it of each other: without redundant haves each
    /// left out what the other had. But who wants nothing of a seed for as long as a keep-alive
    /// takes is a seed, or of no use.
    pub(super) fn part_from_content(&mut self, now: Now) {
        if !(self.pieces.finished() && self.config.close_seed_to_seed) {
            return;
        }
        for slot in self.slots() {
            let Some(peer) = self.peers[slot].as_ref().filter(|p| p.active()) else {
                continue;
            };
            let content = now.since(peer.content_from) >= self.config.keepalive_interval;
            // Who does not know what we have cannot want it.
            let wants_none = !peer.interested && peer.up.hidden.is_none();
            if content && wants_none && !peer.web {
                let (conn, contact) = (peer.conn, peer.contact());
                self.seen_seed(contact);
                self.seeds_met.seed(now, &self.config);
                self.close(conn, CloseReason::SeedToSeed, now);
            }
        }
    }

    /// Seeds have nothing to give each other, nor have partial seeds that want nothing (BEP 21).
    pub(super) fn part_from_seed(&mut self, slot: usize, now: Now) {
        let Some(peer) = self.peers[slot].as_ref().filter(|_| !self.is_web(slot)) else {
            return;
        };
        if !self.bitfields[slot].is_full() && !peer.upload_only {
            return;
        }
        let (conn, contact) = (peer.conn, peer.contact());
        self.seen_seed(contact);
        if self.pieces.finished() && self.config.close_seed_to_seed {
            self.seeds_met.seed(now, &self.config);
            self.close(conn, CloseReason::SeedToSeed, now);
        }
    }

    /// Who dialled us is not dialled in vain either, if it said where it listens.
    fn seen_seed(&mut self, contact: Option<SocketAddr>) {
        if let Some(contact) = contact {
            self.dial.seen_seed(contact);
        }
    }
}
