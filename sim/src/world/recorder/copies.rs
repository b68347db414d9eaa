//! Owns what the recorder makes of copies: how many of each piece are among the honest peers online.
//!
//! Invariant: a copy counts while its host is online and its disk holds the piece as it is in the content.

use std::cell::Cell;

use super::Recorder;

impl Recorder {
    /// A host's pieces are there, or gone with it.
    pub(super) fn change_copies(&mut self, host: usize, up: bool) {
        let disk = self.disks[host].borrow();
        for piece in self.content.geometry().all_pieces() {
            if disk.piece_is_true(piece) {
                let copies = &self.copies[piece.at()];
                copies.set(match up {
                    true => copies.get() + 1,
                    false => copies.get().saturating_sub(1),
                });
            }
        }
    }

    /// Copies of the rarest piece among the honest peers online.
    pub(in crate::world) fn rarest(&self) -> u32 {
        self.copies.iter().map(Cell::get).min().unwrap_or(0)
    }

    /// The pieces of which no honest peer online has a copy, in words.
    pub(in crate::world) fn lost_pieces(&self) -> String {
        const SHOWN: usize = 8;
        let pieces = self.content.geometry().all_pieces();
        let lost: Vec<String> = pieces
            .filter(|piece| self.copies[piece.at()].get() == 0)
            .map(|piece| piece.to_string())
            .collect();
        let more = match lost.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = lost.iter().take(SHOWN).cloned().collect::<Vec<_>>();
        format!("pieces {}{more}", shown.join(", "))
    }

    /// Takes the rarest piece's copies into account for the lowest moment.
    pub(in crate::world) fn note_copies(&mut self) {
        let rarest = self.rarest();
        self.copies_min = Some(self.copies_min.map_or(rarest, |low| low.min(rarest)));
    }
}
