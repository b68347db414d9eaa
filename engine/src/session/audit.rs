//! Owns the recomputation of the session's own books.
//!
//! Invariant checked: availability is the sum of the bitfields, and every block's requests are
//! those that the peers hold. Debug builds stop at the first error; simulations report it as an
//! event, which fails the run.

use crate::config::Audit;
use crate::ids::PieceIndex;

use super::event::Event;
use super::torrent::Torrent;

impl Torrent {
    /// Audits the pieces that the last input touched, or all of them.
    pub(super) fn audit_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        if self.config.audit == Audit::Full {
            touched.clear();
            touched.extend(self.pieces.geometry.all_pieces());
        }
        for &piece in &touched {
            self.audited = self.audited.saturating_add(1);
            if let Some((what, availability)) = self.audit(piece) {
                self.emit(Event::AuditFailed { piece, what, availability });
            }
        }
        touched.clear();
        self.touched = touched;
    }

    /// Tells how many pieces were audited since the last time.
    pub(super) fn emit_audit(&mut self) {
        if self.config.audit != Audit::Off {
            let pieces = std::mem::take(&mut self.audited);
            self.emit(Event::Audited { pieces });
        }
    }

    /// What is wrong with one piece's books, if anything; true with it: its availability.
    fn audit(&self, piece: PieceIndex) -> Option<(&'static str, bool)> {
        let copies = self.bitfields.iter().filter(|b| b.contains(piece)).count();
        if copies != usize::from(self.pieces.availability[piece.at()]) {
            return Some(("availability is not the sum of the bitfields", true));
        }
        let blocks = self.pieces.geometry.blocks_in(piece) as usize;
        let mut open = vec![0; blocks];
        if self.pieces.partial(piece).is_some() {
            for peer in self.peers.iter().flatten() {
                for request in peer.down.open.iter().filter(|r| r.piece == piece) {
                    open[request.block as usize] += 1;
                }
            }
        }
        self.pieces.broken(piece, &open).map(|what| (what, false))
    }
}
