//! Owns the choice of the next block to ask a peer for: a piece in progress, a new one, a piece on
//! parole, end-game, or, while it chokes us, what it allows.
//!
//! Invariants: what the user wants comes before what a peer suggests, and that before what the
//! strategy prefers; a strategy chooses among candidates alone; while a sender on parole serves us
//! nobody else is asked for its piece; end-game never asks one peer twice.

use std::cmp::Reverse;

use crate::config::{Endgame, PartialFirst};
use crate::ids::PieceIndex;
use crate::metainfo::Priority;
use crate::picker::PickView;

use super::blame::SenderId;
use super::event::Event;
use super::partial::Partial;
use super::peer::Peer;
use super::pipeline::Request;
use super::torrent::{Output, Torrent};

/// A peer with this many requests open takes no part in end-game: it is busy enough.
const ENDGAME_OPEN_MAX: usize = 2;

impl Torrent {
    /// Whether some piece is asked of this sender alone.
    pub(super) fn has_parole(&self, sender: SenderId) -> bool {
        let mut started = self.pieces.started().heads().iter();
        started.any(|head| head.parole == Some(sender))
    }

    /// Whether a sender is there and gives us what we ask for.
    fn serves(&self, sender: SenderId) -> bool {
        let mut peers = self.peers.iter().flatten();
        peers.any(|p| p.active() && p.sender == sender && !p.choking_us && !p.down.snubbed)
    }

    /// A piece on parole whose sender is away, for a peer that has nothing else to be asked for.
    fn left_on_parole(&self, slot: usize) -> Option<(PieceIndex, u32)> {
        let mut left = self.pieces.started().iter().filter(|partial| {
            let away = partial.head.parole.is_some_and(|only| !self.serves(only));
            away && self.has(slot).contains(partial.head.piece)
        });
        left.find_map(|partial| Some((partial.head.piece, self.free_in(slot, partial)?)))
    }

    /// The next block of the pieces that a peer lets us have while it chokes us (BEP 6).
    pub(super) fn allowed_block(&mut self, slot: usize) -> Option<(PieceIndex, u32)> {
        let peer = self.peers[slot].as_ref()?;
        let (sender, allowed) = (peer.sender, peer.down.allowed.iter().copied());
        let allowed: Vec<_> = allowed.filter(|p| self.has(slot).contains(*p)).collect();
        let started = allowed.iter().find_map(|piece| {
            let partial = self.pieces.partial(*piece)?;
            let partial = partial.head.open_to(sender).then_some(partial)?;
            Some((*piece, self.free_in(slot, partial)?))
        });
        started.or_else(|| {
            let piece = self.pick(slot, |piece| allowed.contains(&piece))?;
            self.begin(slot, piece).or_else(|| self.allowed_block(slot))
        })
    }

    /// Starts a piece; its first block to ask for. `None`: there is none, it is all padding.
    pub(super) fn begin(&mut self, slot: usize, piece: PieceIndex) -> Option<(PieceIndex, u32)> {
        let neighbours = self.pieces.availability[piece.at()];
        let sender = self.peer(slot).sender;
        let failed = self.config.parole && self.blame.wants_digests(piece);
        let parole = failed.then_some(sender);
        let whole = self.pieces.start(piece, parole);
        self.touch(piece);
        self.emit(Event::PieceStarted {
            piece,
            copies: neighbours,
        });
        if whole {
            self.push(Output::VerifyPiece {
                piece,
                digests: false,
            });
        }
        Some((piece, self.pieces.first_free(piece, |_| true)?))
    }

    /// The next block to ask this peer for: a piece in progress, a new one, or end-game.
    pub(super) fn next_block(&mut self, slot: usize) -> Option<(PieceIndex, u32)> {
        let partial = self.best_partial(slot);
        if self.pieces.has_priorities() {
            // What the user wants comes before what the strategy prefers.
            let best = self.best_priority(slot);
            let started = partial.map(|piece| self.pieces.priority(piece));
            if best > started
                && let Some(piece) = self.pick(slot, |_| true)
            {
                return self.begin(slot, piece).or_else(|| self.next_block(slot));
            }
            if let Some(piece) = partial.filter(|_| best < started) {
                return Some((piece, self.free_block(slot, piece)?));
            }
        }
        let first = match (self.config.partial_first, partial) {
            (PartialFirst::Always, Some(_)) => false,
            (PartialFirst::UnlessRarer, Some(piece)) => self.has_rarer(slot, piece),
            (PartialFirst::Never, _) | (_, None) => true,
        };
        if first && let Some(piece) = self.pick(slot, |_| true) {
            let copies = self.pieces.copies()[piece.at()];
            let rarer = |p: PieceIndex| copies < self.pieces.copies()[p.at()];
            let exception = self.config.partial_first == PartialFirst::UnlessRarer;
            if !exception || partial.is_none_or(rarer) {
                return self.begin(slot, piece).or_else(|| self.next_block(slot));
            }
        }
        if let Some(piece) = partial {
            let block = self
                .free_block(slot, piece)
                .expect("chosen for its free blocks");
            return Some((piece, block));
        }
        if let Some((piece, block)) = self.left_on_parole(slot) {
            let sender = self.peer(slot).sender;
            self.pieces.take_over(piece, sender);
            return Some((piece, block));
        }
        self.endgame_block(slot)
    }

    /// The piece in progress with free blocks that this peer should help with: the rarest, then
    /// the one nearest its end. A snubbing peer gets the most common one.
    pub(super) fn best_partial(&self, slot: usize) -> Option<PieceIndex> {
        let has = self.has(slot);
        let peer = self.peers[slot].as_ref()?;
        let (sender, down) = (peer.sender, &peer.down);
        let snubbed = down.snubbed;
        // Only then can all free blocks of a piece be ones that this peer is late with.
        let late = down.open.front().is_some_and(|r| r.late);
        self.pieces
            .started()
            .heads()
            .iter()
            .filter(|head| head.free > 0 && head.open_to(sender) && has.contains(head.piece))
            .filter(|head| !(late && self.free_block(slot, head.piece).is_none()))
            .min_by_key(|head| {
                let copies = self.pieces.copies()[head.piece.at()];
                let copies = if snubbed { u16::MAX - copies } else { copies };
                let priority = self.pieces.priority(head.piece);
                (Reverse(priority), copies, head.free)
            })
            .map(|head| head.piece)
    }

    /// The first block of a piece in progress that this peer may be asked for: one that nobody is
    /// asked for in time, and this peer not at all.
    fn free_block(&self, slot: usize, piece: PieceIndex) -> Option<u32> {
        self.free_in(slot, self.pieces.partial(piece)?)
    }

    fn free_in(&self, slot: usize, partial: Partial<'_>) -> Option<u32> {
        let down = &self.peers[slot].as_ref()?.down;
        partial.first_free(|block| !down.asks(partial.head.piece, block))
    }

    /// Whether this peer has a piece that nobody started and that is strictly rarer.
    fn has_rarer(&self, slot: usize, than: PieceIndex) -> bool {
        let copies = self.pieces.copies();
        let (queued, than) = (&self.pieces.queued, copies[than.at()]);
        than > 1 && queued.any_and_below(self.has(slot), copies, than)
    }

    /// The highest priority among the pieces that this peer has and nobody started.
    fn best_priority(&self, slot: usize) -> Option<Priority> {
        let queued = self.pieces.queued.iter_and(self.has(slot));
        queued.map(|piece| self.pieces.priority(piece)).max()
    }

    /// The choice among the pieces that this peer has, nobody started and `may` be chosen: the
    /// user's first, then the peer's own suggestion, then the strategy's. Of a peer that snubs us only
    /// the most common pieces are asked, which others can give as well (libtorrent).
    fn pick(&mut self, slot: usize, may: impl Fn(PieceIndex) -> bool) -> Option<PieceIndex> {
        let mut candidates = std::mem::take(&mut self.scratch.candidates);
        candidates.clear();
        let queued = self.pieces.queued.iter_and(self.has(slot));
        candidates.extend(queued.filter(|piece| may(*piece)));
        if self.pieces.has_priorities() {
            let best = candidates.iter().map(|p| self.pieces.priority(*p)).max();
            candidates.retain(|p| Some(self.pieces.priority(*p)) == best);
        }
        if self.peer(slot).down.snubbed {
            let copies = self.pieces.copies();
            let most = candidates.iter().map(|p| copies[p.at()]).max();
            candidates.retain(|p| Some(copies[p.at()]) == most);
        }
        let suggested = &mut self.peer(slot).down.suggested;
        let heeded = suggested.iter().position(|p| candidates.contains(p));
        let picked = if let Some(at) = heeded {
            suggested.remove(at)
        } else if candidates.is_empty() {
            None
        } else {
            let view = PickView {
                availability: self.pieces.copies(),
                have: &self.pieces.have,
                neighbours: self.bitfields.rows(),
                playhead: self
                    .player
                    .playhead(&self.pieces.have, self.pieces.geometry),
            };
            let picked = self.picker.pick(&view, &candidates, &mut self.rngs.picker);
            self.declined |= picked.is_none();
            picked
        };
        assert!(
            picked.is_none_or(|piece| candidates.binary_search(&piece).is_ok()),
            "the strategy {} picked a piece that is not a candidate",
            self.picker.name()
        );
        self.scratch.candidates = candidates;
        picked
    }

    /// A block that somebody else is asked for already, near the end.
    fn endgame_block(&mut self, slot: usize) -> Option<(PieceIndex, u32)> {
        let requesters = match self.config.endgame {
            Endgame::Off => return None,
            Endgame::Bounded => self.config.endgame_requesters,
            Endgame::All => u32::MAX,
        };
        if !self.pieces.all_requested() {
            return None;
        }
        let peer = self.peers[slot].as_ref().expect("the caller found it");
        if peer.down.snubbed || peer.down.open.len() >= ENDGAME_OPEN_MAX {
            return None;
        }
        // The block that would come last: the hindmost in the longest queue of somebody else.
        // Those in front are about to come anyway, and asking for them again is waste.
        let has = self.has(slot);
        let eligible = |request: &Request| {
            has.contains(request.piece)
                && self.pieces.partial(request.piece).is_some_and(|partial| {
                    let live = partial.blocks[request.block as usize].live();
                    (1..requesters).contains(&u32::from(live)) && partial.head.open_to(peer.sender)
                })
                && !peer.down.asks(request.piece, request.block)
        };
        let hindmost = |other: &Peer| {
            let at = other.down.open.iter().rposition(eligible)?;
            Some((at, other.down.open[at]))
        };
        // Most are asked for nothing, and are not looked at.
        let asked = self.peers.iter().zip(&self.asked);
        let others = asked
            .filter(|(_, asked)| **asked > 0)
            .filter_map(|(other, _)| other.as_ref())
            .filter(|other| other.conn != peer.conn);
        let found = others
            .filter_map(hindmost)
            .max_by_key(|(at, _)| *at)
            .map(|(_, request)| (request.piece, request.block));
        if found.is_some() && !std::mem::replace(&mut self.endgame, true) {
            self.emit(Event::EndgameEntered);
        }
        found
    }
}
