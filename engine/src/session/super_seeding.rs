//! Owns super-seeding (BEP 16): a seed that hides what it has and shows each peer a piece at a time,
//! the next one when the last was seen at somebody else, so that it sends every piece about once.
//!
//! Invariants: what was not shown to a peer is not served to it; at most `super_seed_pieces` shown
//! pieces of a peer wait to be seen elsewhere, twice as many each time that one waited in vain, until one
//! is seen; and what somebody else has or gets is not shown again.
//! Nobody starves whose neighbours give nothing, or are not ours: a piece waits no longer than
//! `super_seed_wait` after the peer said to have it, was sent all of it or wanted it no more, and who has
//! heard of nothing new for as long is told all.

use rand::RngExt;

use crate::bits::BitSet;
use crate::ids::{BlockRange, PieceIndex};
use crate::time::Now;
use crate::wire::Message;

use super::event::Event;
use super::torrent::Torrent;

/// Pieces told of to one peer in one choke round once nothing is hidden any more: some millions of
/// `have`s at once would look like a peer that does not read.
const TOLD_PER_ROUND: usize = 1024;
/// Pieces that may wait at a peer, at most; with more it is told all. Six times in a row nobody was seen
/// to get from it what it was shown.
const PLACES_MAX: usize = 64;

/// What a peer does not know that we have.
#[derive(Debug)]
pub(super) struct Hidden {
    /// Pieces that it was told of, which it may ask for.
    shown: BitSet,
    /// Those of them that it has not been seen to pass on.
    waiting: Vec<Waiting>,
    /// How many may be there.
    places: usize,
    /// The last moment at which it was shown a piece, or had a new one.
    news: Now,
    /// Nothing is hidden from it any more: it is being told.
    open: bool,
}

/// A piece shown to a peer that nobody else has got from it, as far as we know.
#[derive(Debug)]
struct Waiting {
    piece: PieceIndex,
    /// Bytes of it that we sent.
    sent: u32,
    /// Since when the peer itself has it, or could have: not everybody tells a peer of pieces that
    /// it has itself.
    has: Option<Now>,
}

impl Hidden {
    /// Whether the peer may ask for it.
    pub(super) fn shows(&self, piece: PieceIndex) -> bool {
        self.shown.contains(piece)
    }
}

impl Torrent {
    /// A newcomer while we hide what we have.
    pub(super) fn hide_pieces(&mut self, slot: usize, now: Now) {
        let pieces = self.pieces.geometry.pieces;
        let places = self.config.super_seed_pieces as usize;
        self.hiding = true;
        self.peer(slot).up.hidden = Some(Box::new(Hidden {
            shown: BitSet::empty(pieces),
            waiting: Vec::new(),
            places,
            news: now,
            open: false,
        }));
    }

    /// A peer has said which pieces it has, or that it has these too.
    pub(super) fn pieces_seen(&mut self, slot: usize, pieces: &[PieceIndex], now: Now) {
        if !self.super_seeding {
            return;
        }
        if self.bitfields[slot].is_full() {
            return self.end_super_seeding(now);
        }
        if let Some(hidden) = &mut self.peer(slot).up.hidden {
            hidden.news = now;
        }
        let mut free = vec![slot];
        for &piece in pieces {
            self.seen_at(slot, piece, &mut free, now);
        }
        for slot in free {
            self.show_more(slot, now);
        }
    }

    /// What is due at each choke round: pieces and peers that have waited for too long, newcomers that
    /// said nothing, and those that are being told the rest.
    pub(super) fn super_seeding_round(&mut self, now: Now) {
        if !self.hiding {
            return;
        }
        let wait = self.config.super_seed_wait;
        for slot in self.slots() {
            let bitfields = self.bitfields.rows();
            // Of what it was shown it wants nothing: it has that, or is of no use for it.
            let idle = self.peers[slot].as_ref().is_some_and(|p| !p.interested);
            let Some(hidden) = self.peers[slot].as_mut().and_then(|p| p.up.hidden.as_mut()) else {
                continue;
            };
            let geometry = self.pieces.geometry;
            for w in &mut hidden.waiting {
                let has = bitfields[slot].contains(w.piece);
                if idle {
                    w.has.get_or_insert(now);
                } else if !has && w.sent < geometry.piece_len(w.piece) {
                    w.has = None;
                }
            }
            let over = |w: &Waiting| w.has.is_some_and(|has| has.after(wait) <= now);
            if hidden.waiting.iter().any(over) {
                // Waiting did not help: its neighbours take nothing, or we do not know them.
                hidden.places = hidden.places.saturating_mul(2);
                hidden.open |= hidden.places > PLACES_MAX;
            }
            hidden
                .waiting
                .retain(|w| !over(w) && (w.has.is_none() || lacked(bitfields, slot, w.piece)));
            self.show_more(slot, now);
            let hidden = self.peer(slot).up.hidden.as_mut().expect("still the same");
            hidden.open |= hidden.waiting.is_empty() && hidden.news.after(wait) <= now;
            if hidden.open {
                self.tell_rest(slot, now);
            }
        }
    }

    /// A peer has a piece: whoever it was shown to has passed it on, or it is that one itself.
    /// Adds to `free` whose place it leaves.
    fn seen_at(&mut self, at: usize, piece: PieceIndex, free: &mut Vec<usize>, now: Now) {
        let lacked = lacked(self.bitfields.rows(), at, piece);
        for (slot, peer) in self.peers.iter_mut().enumerate() {
            let Some(hidden) = peer.as_mut().and_then(|p| p.up.hidden.as_mut()) else {
                continue;
            };
            let Some(found) = hidden.waiting.iter().position(|w| w.piece == piece) else {
                continue;
            };
            if slot != at || !lacked {
                hidden.waiting.remove(found);
                if slot != at {
                    hidden.places = self.config.super_seed_pieces as usize;
                }
                free.push(slot);
            } else {
                hidden.waiting[found].has.get_or_insert(now);
            }
        }
    }

    /// Some of a piece was sent to a peer. When that was all of it, its time to be seen elsewhere begins,
    /// and is over at once if everybody else has it.
    pub(super) fn shown_piece_sent(&mut self, slot: usize, range: BlockRange, now: Now) {
        if !self.hiding {
            return;
        }
        let bytes = self.pieces.geometry.piece_len(range.piece);
        let bitfields = self.bitfields.rows();
        let Some(hidden) = self.peers[slot].as_mut().and_then(|p| p.up.hidden.as_mut()) else {
            return;
        };
        let Some(at) = hidden.waiting.iter().position(|w| w.piece == range.piece) else {
            return;
        };
        let waiting = &mut hidden.waiting[at];
        waiting.sent = waiting.sent.saturating_add(range.len);
        if waiting.sent < bytes {
            return;
        }
        waiting.has.get_or_insert(now);
        if !lacked(bitfields, slot, range.piece) {
            hidden.waiting.remove(at);
            self.show_more(slot, now);
        }
    }

    /// Shows a peer pieces that nobody else has or gets, as many as may wait at once.
    fn show_more(&mut self, slot: usize, now: Now) {
        while self.is_active(slot)
            && let Some(hidden) = &self.peer(slot).up.hidden
            && !hidden.open
            && hidden.waiting.len() < hidden.places
            && let Some(piece) = self.unseen(slot)
        {
            self.show(slot, piece, now);
            let hidden = self.peer(slot).up.hidden.as_mut().expect("just seen");
            hidden.waiting.push(Waiting {
                piece,
                sent: 0,
                has: None,
            });
        }
    }

    /// A piece that no peer has, and none was shown that may still get it; drawn by the generator.
    fn unseen(&mut self, slot: usize) -> Option<PieceIndex> {
        let everybody = self.peers.iter().flatten();
        let hidden = everybody.filter_map(|p| p.up.hidden.as_ref());
        let on_its_way: Vec<_> = hidden.flat_map(|h| &h.waiting).map(|w| w.piece).collect();
        let unseen = self.unknown_to(slot).filter(|p| {
            let copies = self.pieces.availability[p.at()];
            copies == 0 && !on_its_way.contains(p)
        });
        let unseen: Vec<_> = unseen.collect();
        (!unseen.is_empty()).then(|| unseen[self.rngs.picker.random_range(0..unseen.len())])
    }

    /// The pieces of ours that a peer neither has nor was told of; none where nothing is hidden.
    fn unknown_to(&self, slot: usize) -> impl Iterator<Item = PieceIndex> + '_ {
        let hidden = self.peers[slot].as_ref().and_then(|p| p.up.hidden.as_ref());
        let have = hidden.into_iter().flat_map(|h| {
            let ours = self.pieces.have.iter();
            ours.filter(|p| !h.shown.contains(*p))
        });
        have.filter(move |p| !self.bitfields[slot].contains(*p))
    }

    fn show(&mut self, slot: usize, piece: PieceIndex, now: Now) {
        let peer = self.peer(slot);
        let addr = peer.addr;
        if let Some(hidden) = &mut peer.up.hidden {
            hidden.shown.insert(piece);
            hidden.news = now;
        }
        self.send(slot, Message::Have(piece), now);
        self.emit(Event::PieceShown { peer: addr, piece });
    }

    /// There is another seed: the content is safe, and hiding it helps nobody any more.
    fn end_super_seeding(&mut self, now: Now) {
        self.super_seeding = false;
        self.emit(Event::SuperSeedingEnded);
        for slot in self.slots() {
            let peer = self.peers[slot].as_mut();
            if let Some(hidden) = peer.and_then(|p| p.up.hidden.as_mut()) {
                hidden.open = true;
                self.tell_rest(slot, now);
            }
        }
        self.spread_upload_only(now);
    }

    /// Tells a peer of the next pieces that it does not know of, and lacks.
    fn tell_rest(&mut self, slot: usize, now: Now) {
        let rest: Vec<_> = self.unknown_to(slot).take(TOLD_PER_ROUND).collect();
        if rest.len() < TOLD_PER_ROUND {
            self.peer(slot).up.hidden = None;
            self.peer(slot).content_from = now;
        } else if let Some(hidden) = &mut self.peer(slot).up.hidden {
            rest.iter().for_each(|p| {
                hidden.shown.insert(*p);
            });
        }
        for piece in rest {
            self.send(slot, Message::Have(piece), now);
        }
    }
}

/// Whether any peer but that in `slot` lacks a piece; the set of a slot without a peer has length 0.
fn lacked(bitfields: &[BitSet], slot: usize, piece: PieceIndex) -> bool {
    let mut others = bitfields.iter().enumerate().filter(|(s, _)| *s != slot);
    others.any(|(_, b)| piece.0 < b.len() && !b.contains(piece))
}
