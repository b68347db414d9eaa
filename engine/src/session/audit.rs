//! Owns the recomputation of the session's own books.
//!
//! Invariant checked: availability is the sum of the bitfields, and what choices go by that of those who are not
//! doubted; every piece and block is in one state, and a block's requests are those that the peers hold. What an input changed is audited after it: availability by
//! the piece's holders, the states by the piece's own books. In every choke round the bitfields of all peers are
//! added up as well, if any changed, and the requests that all peers hold, which take longer. A full audit does
//! all of it after every input. An error is an event: it fails a simulated run, and a test.

use crate::config::Audit;
use crate::ids::PieceIndex;

use super::event::Event;
use super::peer::Peer;
use super::torrent::Torrent;

/// What is wrong with a piece's books.
enum Wrong {
    Copies,
    Trusted,
    State(&'static str),
}

const WRONG_COPIES: &str = "availability is not the sum of the bitfields";
const WRONG_TRUSTED: &str =
    "copies that count are not the sum of the bitfields of those who are not doubted";

impl Torrent {
    /// Audits the pieces that the last input touched, or all of them.
    pub(super) fn audit_touched(&mut self) {
        let mut looks = self.scratch.touched.len() + self.scratch.copies_touched.len();
        if self.config.audit == Audit::Full {
            looks = self.pieces.geometry.pieces as usize;
            self.scratch.touched.clear();
            self.scratch
                .touched
                .extend(self.pieces.geometry.all_pieces());
            self.scratch
                .copies_touched
                .clone_from(&self.scratch.touched);
            self.audit_bitfields();
            self.audit_requests();
            self.audit_requesting();
            self.audit_doubts();
            if !self.roll.agrees(&self.peers) {
                let what = "the roll does not say what the peers say";
                self.emit_wrong(PieceIndex(0), Wrong::State(what));
            }
        }
        let looks = u32::try_from(looks).unwrap_or(u32::MAX);
        self.audited = self.audited.saturating_add(looks);
        if !self.scratch.copies_touched.is_empty() {
            self.audit_each(
                |torrent| &mut torrent.scratch.copies_touched,
                Torrent::wrong_copies,
            );
        }
        if !self.scratch.touched.is_empty() {
            self.audit_each(|torrent| &mut torrent.scratch.touched, Torrent::wrong_state);
        }
    }

    /// Audits the pieces of one list, and empties it.
    fn audit_each(
        &mut self,
        list: impl Fn(&mut Torrent) -> &mut Vec<PieceIndex>,
        wrong: impl Fn(&Torrent, PieceIndex) -> Option<Wrong>,
    ) {
        let mut touched = std::mem::take(list(self));
        // What was touched twice is the same by now.
        if touched.len() > 1 {
            touched.sort_unstable();
            touched.dedup();
        }
        for &piece in &touched {
            if let Some(wrong) = wrong(self, piece) {
                self.emit_wrong(piece, wrong);
            }
        }
        touched.clear();
        *list(self) = touched;
    }

    fn emit_wrong(&mut self, piece: PieceIndex, wrong: Wrong) {
        let (what, availability) = match wrong {
            Wrong::Copies => (WRONG_COPIES, true),
            Wrong::Trusted => (WRONG_TRUSTED, true),
            Wrong::State(what) => (what, false),
        };
        self.emit(Event::AuditFailed {
            piece,
            what,
            availability,
        });
    }

    /// Tells how many pieces were audited since the last time.
    pub(super) fn emit_audit(&mut self) {
        if self.config.audit != Audit::Off {
            if std::mem::take(&mut self.copies_changed) {
                self.audit_bitfields();
            }
            self.audit_requests();
            let pieces = std::mem::take(&mut self.audited);
            self.emit(Event::Audited { pieces });
        }
    }

    /// Audits the availability of all pieces by the bitfield of every peer, which takes long.
    fn audit_bitfields(&mut self) {
        let copies = self.bitfields.recount();
        let trusted = self.pieces.trusted.is_some();
        let trusted = trusted.then(|| self.bitfields.recount_trusted());
        for piece in self.pieces.geometry.all_pieces() {
            let counted = u32::from(self.pieces.availability[piece.at()]);
            if copies[piece.at()] != counted {
                self.emit_wrong(piece, Wrong::Copies);
            }
            let counted = u32::from(self.pieces.copies()[piece.at()]);
            if trusted.as_ref().is_some_and(|of| of[piece.at()] != counted) {
                self.emit_wrong(piece, Wrong::Trusted);
            }
        }
    }

    /// Audits the requests for the blocks of all pieces in progress by what every peer holds.
    fn audit_requests(&mut self) {
        let pieces = self.pieces.started().heads().iter().map(|head| head.piece);
        for piece in pieces.collect::<Vec<_>>() {
            let mut open = vec![0; self.pieces.geometry.blocks_in(piece) as usize];
            for (peer, asked) in self.peers.iter().zip(&self.asked) {
                // Most are asked for nothing, and are not looked at.
                if let Some(peer) = peer.as_ref().filter(|_| *asked > 0) {
                    for request in peer.down.open.iter().filter(|r| r.piece == piece) {
                        open[request.block as usize] += 1;
                    }
                }
            }
            if let Some(what) = self.pieces.miscounted(piece, &open) {
                self.emit_wrong(piece, Wrong::State(what));
            }
        }
    }

    /// Audits what the choice of a request relies on: nobody is forgotten who could be asked for something,
    /// and late requests stand before the others.
    fn audit_requesting(&mut self) {
        let may = |p: &Peer| p.am_interested && !(p.choking_us && p.down.allowed.is_empty());
        let peers = self.peers.iter().zip(&self.askable);
        let mut found = peers.filter_map(|(peer, askable)| {
            let peer = peer.as_ref()?;
            if !askable && may(peer) {
                return Some("a peer that could be asked for something is not known as such");
            }
            let in_order = peer.down.open.iter().is_sorted_by_key(|r| !r.late);
            (!in_order).then_some("a late request stands behind one that is not")
        });
        if let Some(what) = found.next() {
            self.emit_wrong(PieceIndex(0), Wrong::State(what));
        }
    }

    /// Audits who is doubted: whoever snubs us, nobody who is not there, and while anybody is the copies that
    /// count are counted.
    fn audit_doubts(&mut self) {
        let aware = self.config.snub_aware;
        let snubs = |p: &Peer| aware && p.down.snubbed && !p.web;
        let mut peers = self.peers.iter().enumerate();
        let wrong = peers.any(|(slot, peer)| {
            let peer = peer.as_ref().filter(|p| p.active());
            match self.bitfields.doubts(slot) {
                true => peer.is_none(),
                false => peer.is_some_and(snubs),
            }
        });
        if wrong || self.bitfields.doubts_any() != self.pieces.trusted.is_some() {
            let what = "whoever snubs us is not doubted, or somebody who is not there";
            self.emit_wrong(PieceIndex(0), Wrong::State(what));
        }
    }

    fn wrong_copies(&self, piece: PieceIndex) -> Option<Wrong> {
        let counted = u32::from(self.pieces.availability[piece.at()]);
        if self.bitfields.copies(piece) != counted {
            return Some(Wrong::Copies);
        }
        // Without anybody in doubt they are the same numbers.
        let trusted = u32::from(self.pieces.trusted.as_ref()?[piece.at()]);
        (self.bitfields.trusted(piece) != trusted).then_some(Wrong::Trusted)
    }

    fn wrong_state(&self, piece: PieceIndex) -> Option<Wrong> {
        self.pieces.broken(piece).map(Wrong::State)
    }
}
