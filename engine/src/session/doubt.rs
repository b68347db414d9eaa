//! Owns whose copies count when it is asked which piece is rare: those of peers that do not snub us.
//!
//! Invariants: a peer is doubted from the moment when it snubs us until a block comes that it was asked for, also
//! on a later connection; without `snub_aware` nobody is. Nothing is counted a second time while nobody is
//! doubted, and all pieces are looked at only when somebody begins or ceases to be.

use crate::ids::PieceIndex;

use super::torrent::Torrent;

impl Torrent {
    /// A peer was seen to hold a piece.
    pub(super) fn add_copy(&mut self, slot: usize, piece: PieceIndex) {
        let doubted = self.is_doubted(slot);
        self.pieces.add_copy(piece, doubted);
        self.tell_copies(piece);
    }

    /// A peer holds a piece no more.
    pub(super) fn drop_copy(&mut self, slot: usize, piece: PieceIndex) {
        let doubted = self.is_doubted(slot);
        self.pieces.drop_copy(piece, doubted);
        self.tell_copies(piece);
    }

    fn is_doubted(&self, slot: usize) -> bool {
        self.pieces.trusted.is_some() && self.bitfields.doubts(slot)
    }

    fn tell_copies(&mut self, piece: PieceIndex) {
        let copies = self.pieces.copies()[piece.at()];
        self.picker.on_availability(piece, copies);
        self.touch_copies(piece);
    }

    /// A peer is gone, and what it had.
    pub(super) fn drop_copies(&mut self, slot: usize) {
        let doubted = self.is_doubted(slot);
        let bits = self.bitfields.close(slot);
        for piece in bits.iter() {
            self.pieces.drop_copy(piece, doubted);
            self.tell_copies(piece);
        }
        if doubted {
            self.end_doubt();
        }
    }

    /// A peer that is no web seed snubs us.
    pub(super) fn on_snub(&mut self, slot: usize) {
        if !self.config.snub_aware {
            return;
        }
        let sender = self.peer(slot).sender;
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.owes = true;
        }
        self.doubt(slot, true);
    }

    /// Whoever snubbed us on an earlier connection is here again: it is asked for a block, and for more when it
    /// has sent that one. Else a new connection would let it hold a pipeline of blocks for another minute.
    pub(super) fn on_return(&mut self, slot: usize) {
        let sender = self.peer(slot).sender;
        if self.blame.owes(sender) {
            self.peer(slot).down.snubbed = true;
            self.doubt(slot, true);
        }
    }

    /// A block came that its peer was asked for.
    pub(super) fn on_answer(&mut self, slot: usize) {
        let sender = self.peer(slot).sender;
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.owes = false;
        }
        self.doubt(slot, false);
    }

    fn doubt(&mut self, slot: usize, on: bool) {
        if self.bitfields.doubts(slot) == on {
            return;
        }
        self.bitfields.doubt(slot, on);
        self.pieces.doubt(&self.bitfields[slot], on);
        let has: Vec<_> = self.bitfields[slot].iter().collect();
        for piece in has {
            self.tell_copies(piece);
        }
        if !on {
            self.end_doubt();
        }
    }

    /// One peer less is doubted: while nobody is, there is nothing to count twice.
    fn end_doubt(&mut self) {
        if !self.bitfields.doubts_any() {
            self.pieces.trusted = None;
        }
    }
}
