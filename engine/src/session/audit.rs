//! Owns the recomputation of the session's own books.
//!
//! Invariant checked: availability is the sum of the bitfields, and every block's requests are
//! those that the peers hold. What an input touched is audited after it, availability by the piece's
//! holders; in every choke round the bitfields of all peers are added up as well. Debug builds stop at the first error; simulations report it as an
//! event, which fails the run.

use crate::config::Audit;
use crate::ids::PieceIndex;

use super::event::Event;
use super::torrent::Torrent;

const WRONG_COPIES: &str = "availability is not the sum of the bitfields";

impl Torrent {
    /// Audits the pieces that the last input touched, or all of them.
    pub(super) fn audit_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        if self.config.audit == Audit::Full {
            touched.clear();
            touched.extend(self.pieces.geometry.all_pieces());
            self.audit_bitfields();
            let agrees = self.roll.agrees(&self.peers);
            assert!(agrees, "the roll says what the peers say");
        }
        let looks = u32::try_from(touched.len()).unwrap_or(u32::MAX);
        self.audited = self.audited.saturating_add(looks);
        // What was touched twice is the same by now.
        if touched.len() > 1 {
            touched.sort_unstable();
            touched.dedup();
        }
        for &piece in &touched {
            if let Some((what, availability)) = self.audit(piece) {
                self.emit(Event::AuditFailed {
                    piece,
                    what,
                    availability,
                });
            }
        }
        touched.clear();
        self.touched = touched;
    }

    /// Tells how many pieces were audited since the last time.
    pub(super) fn emit_audit(&mut self) {
        if self.config.audit != Audit::Off {
            self.audit_bitfields();
            let pieces = std::mem::take(&mut self.audited);
            self.emit(Event::Audited { pieces });
        }
    }

    /// Audits the availability of all pieces by the bitfield of every peer, which takes long.
    fn audit_bitfields(&mut self) {
        let copies = self.bitfields.recount();
        for piece in self.pieces.geometry.all_pieces() {
            let counted = u32::from(self.pieces.availability[piece.at()]);
            if copies[piece.at()] != counted {
                self.emit(Event::AuditFailed {
                    piece,
                    what: WRONG_COPIES,
                    availability: true,
                });
            }
        }
    }

    /// What is wrong with one piece's books, if anything; true with it: its availability.
    fn audit(&mut self, piece: PieceIndex) -> Option<(&'static str, bool)> {
        let copies = self.bitfields.copies(piece);
        if copies != u32::from(self.pieces.availability[piece.at()]) {
            return Some((WRONG_COPIES, true));
        }
        let mut open = std::mem::take(&mut self.audit_open);
        open.clear();
        if self.pieces.partial(piece).is_some() {
            open.resize(self.pieces.geometry.blocks_in(piece) as usize, 0);
            for (peer, asked) in self.peers.iter().zip(&self.asked) {
                // Most are asked for nothing, and are not looked at.
                if let Some(peer) = peer.as_ref().filter(|_| *asked > 0) {
                    for request in peer.down.open.iter().filter(|r| r.piece == piece) {
                        open[request.block as usize] += 1;
                    }
                }
            }
        }
        let broken = self.pieces.broken(piece, &open);
        self.audit_open = open;
        broken.map(|what| (what, false))
    }
}
