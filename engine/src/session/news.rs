//! Owns which verified pieces which peers have still to be told of, and when they are.
//!
//! Invariant: whoever may act on a new piece is told of it at once. Who is interested in us already and cannot ask
//! for it now, or has enough to ask for, hears of several together: with whatever is said to it next, in the next
//! choke round, or when too many wait. Who has the piece itself, and is told for completeness only, waits for the
//! same, but is no reason to speak sooner. A peer never hears of a piece that was lost meanwhile.

use crate::ids::PieceIndex;
use crate::time::Now;
use crate::wire::Message;

use super::blame::SenderId;
use super::peer::Peer;
use super::torrent::Torrent;

/// Pieces that wait together at most: a bit each.
const TOGETHER_MAX: u32 = u32::BITS - 1;

/// The bit beside them: the peer lacks some of what waits for it, or waits to hear that we have it.
const AWAITED: u32 = 1 << TOGETHER_MAX;

/// What waits to be told; each peer knows which of it is for itself ([`Peer::news`]).
#[derive(Debug, Default)]
pub(super) struct News {
    /// Verified lately, in that order.
    pieces: Vec<PieceIndex>,
    /// Of those, how many had been verified when whoever lacked some was last told.
    told: usize,
}

impl Torrent {
    /// A piece was verified here: who has it is worth less to us, who lacks it is told. Of those who have
    /// it, whoever gave us some of it is told, too, unless it is a seed that says so: one that hides
    /// what it has shows us the next piece only when it sees that we have the last (BEP 16).
    pub(super) fn spread_have(&mut self, piece: PieceIndex, givers: &[SenderId], now: Now) {
        let redundant = self.config.redundant_have;
        let (together, gifts) = (self.told_together(), self.config.allowed_fast > 0);
        let each = self.config.have_batch <= 1;
        let bit = 1u32 << self.news.pieces.len();
        self.news.pieces.push(piece);
        for slot in self.slots() {
            if !self.is_active(slot) {
                continue;
            }
            // Where its holders lie together, and not in the sets of all peers.
            let has = self.is_web(slot) || self.bitfields.holds(slot, piece);
            let hiding = self.hiding;
            let peer = self.peer(slot);
            let sender = peer.sender;
            // It was lost and is here again: whom it is shown to is decided anew.
            let hidden = hiding && peer.up.hides(piece);
            let awaited = !has || givers.contains(&sender) && !self.has(slot).is_full();
            if (awaited || redundant) && !hidden {
                let peer = self.peer(slot);
                peer.news |= if awaited { bit | AWAITED } else { bit };
                if each || awaited && (together == 1 || may_act(peer, piece, gifts)) {
                    self.tell_news(slot, now);
                }
            }
            if has {
                self.peer(slot).useful -= 1;
                self.update_interest(slot, now);
            }
        }
        let waiting = self.news.pieces.len();
        if waiting >= TOGETHER_MAX as usize || self.pieces.finished() {
            self.tell_all_news(now);
        } else if waiting - self.news.told >= together as usize {
            self.tell_awaited_news(now);
        }
    }

    /// Tells whoever lacks some of what waits; without redundant haves nothing waits for others.
    fn tell_awaited_news(&mut self, now: Now) {
        if !self.config.redundant_have {
            return self.tell_all_news(now);
        }
        self.news.told = self.news.pieces.len();
        for slot in self.slots() {
            if self.peers[slot]
                .as_ref()
                .is_some_and(|p| p.news & AWAITED != 0)
            {
                self.tell_news(slot, now);
            }
        }
    }

    /// How many pieces wait together at most: few of all pieces, for who chooses the rarest goes by what it was told.
    fn told_together(&self) -> u32 {
        let few = self.pieces.geometry.pieces / 64;
        self.config.have_batch.min(few).clamp(1, TOGETHER_MAX)
    }

    /// Tells everybody what waits.
    pub(super) fn tell_all_news(&mut self, now: Now) {
        if self.news.pieces.is_empty() {
            return;
        }
        for slot in self.slots() {
            if self.peers[slot].is_some() {
                self.tell_news(slot, now);
            }
        }
        self.news.pieces.clear();
        self.news.told = 0;
    }

    /// Tells a peer what waits for it.
    pub(super) fn tell_news(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        let mut waiting = std::mem::take(&mut peer.news) & !AWAITED;
        if waiting == 0 {
            return;
        }
        peer.content_from = now;
        while waiting != 0 {
            let piece = self.news.pieces[waiting.trailing_zeros() as usize];
            waiting &= waiting - 1;
            if self.pieces.have.contains(piece) {
                self.send(slot, Message::Have(piece), now);
            }
        }
    }
}

/// Whether a peer that hears of a piece may do something else than before: want something of us, or ask for it. `gifts`:
/// some may ask for something while choked (BEP 6).
fn may_act(peer: &Peer, piece: PieceIndex, gifts: bool) -> bool {
    let idle = || peer.up.queue.is_empty() && peer.up.reading.is_empty();
    let given = || peer.fast && peer.up.allowed.contains(&piece);
    !peer.interested || peer.unchoked && idle() || gifts && given()
}
