//! Owns what we ask for, from whom, and what becomes of the answers.
//!
//! Invariants: a block is asked for once while somebody may still send it in time, but for bounded
//! end-game; a choke or the end of a connection returns its blocks to the pool at once; only
//! payload that was asked for counts for reciprocation; a piece that failed its hash is asked of
//! one sender alone (parole, as libtorrent does), while that sender serves us: the next copy then
//! proves who lied, good or bad.

use bytes::Bytes;

use crate::config::{Endgame, PartialFirst};
use crate::ids::{BlockRange, PieceIndex};
use crate::picker::PickView;
use crate::storage::Verified;
use crate::time::Now;
use crate::wire::Message;

use super::blame::{SenderId, Sentence};
use super::event::{CloseReason, Event, Waste};
use super::peer::{Peer, Request};
use super::torrent::{Output, Phase, Torrent};

/// A peer with this many requests open takes no part in end-game: it is busy enough.
const ENDGAME_OPEN_MAX: usize = 2;

impl Torrent {
    pub(super) fn on_unchoke(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        if !std::mem::replace(&mut peer.choking_us, false) {
            return;
        }
        peer.down.begin(now);
        let addr = peer.addr;
        self.emit(Event::UnchokedBy {
            peer: addr,
            on: true,
        });
        self.fill_requests(slot, now);
    }

    /// Without the fast extension a choke cancels everything that is open: the blocks go back to
    /// the pool at once. Those on their way are still welcome.
    pub(super) fn on_choke(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        if std::mem::replace(&mut peer.choking_us, true) {
            return;
        }
        let addr = peer.addr;
        self.emit(Event::UnchokedBy {
            peer: addr,
            on: false,
        });
        let sender = self.peer(slot).sender;
        if self.release_requests(slot) || self.has_parole(sender) {
            self.fill_all_requests(now);
        }
    }

    /// Whether some piece is asked of this sender alone.
    fn has_parole(&self, sender: SenderId) -> bool {
        let mut started = self.pieces.started().iter();
        started.any(|piece| self.parole(*piece) == Some(sender))
    }

    /// The sender who alone is asked for a piece in progress.
    fn parole(&self, piece: PieceIndex) -> Option<SenderId> {
        self.pieces.partial(piece)?.parole
    }

    /// Whether this peer may be asked for a piece in progress while its sender on parole serves us.
    fn may_ask(&self, slot: usize, piece: PieceIndex) -> bool {
        let sender = self.peers[slot].as_ref().map(|p| p.sender);
        self.parole(piece).is_none_or(|only| Some(only) == sender)
    }

    /// Whether a sender is there and gives us what we ask for.
    fn serves(&self, sender: SenderId) -> bool {
        let mut peers = self.peers.iter().flatten();
        peers.any(|p| p.active() && p.sender == sender && !p.choking_us && !p.down.snubbed)
    }

    /// A piece on parole whose sender is away, for a peer that has nothing else to be asked for.
    fn left_on_parole(&self, slot: usize) -> Option<(PieceIndex, u32)> {
        let started = self.pieces.started().iter().copied();
        let mut left = started.filter(|piece| {
            let away = self.parole(*piece).is_some_and(|only| !self.serves(only));
            away && self.bitfields[slot].contains(*piece)
        });
        left.find_map(|piece| Some((piece, self.free_block(slot, piece)?)))
    }

    /// Returns a peer's open requests to the pool; true when there were any.
    pub(super) fn release_requests(&mut self, slot: usize) -> bool {
        let open = std::mem::take(&mut self.peer(slot).down.open);
        for request in &open {
            self.pieces
                .released(request.piece, request.block, request.late);
            self.touch(request.piece);
            self.remember_released(slot, request.piece, request.block);
        }
        !open.is_empty()
    }

    /// Takes all open requests back, and says so: it is asked for one block at a time from now on.
    fn cancel_requests(&mut self, slot: usize, now: Now) {
        let open: Vec<_> = self.peer(slot).down.open.iter().copied().collect();
        self.release_requests(slot);
        for Request { piece, block, .. } in open {
            let range = self.pieces.geometry.block(piece, block);
            self.send(slot, Message::Cancel(range), now);
        }
    }

    fn remember_released(&mut self, slot: usize, piece: PieceIndex, block: u32) {
        let cap = self.config.pipeline_cap as usize;
        let released = &mut self.peer(slot).down.released;
        if released.len() >= cap {
            released.pop_front();
        }
        released.push_back((piece, block));
    }

    /// Asks everybody who has room: blocks came back to the pool. Snubbing peers choose last, or
    /// one of them could take back at once what it was relieved of.
    pub(super) fn fill_all_requests(&mut self, now: Now) {
        for snubbed in [false, true] {
            for slot in self.slots() {
                let peer = self.peers[slot].as_ref();
                if peer.is_some_and(|p| p.active() && p.down.snubbed == snubbed) {
                    self.fill_requests(slot, now);
                }
            }
        }
    }

    /// Fills one peer's pipeline.
    pub(super) fn fill_requests(&mut self, slot: usize, now: Now) {
        if self.phase != Phase::Running {
            return;
        }
        loop {
            let Some(peer) = &self.peers[slot] else {
                return;
            };
            if peer.choking_us || !peer.am_interested || peer.down.room() == 0 {
                return;
            }
            let Some((piece, block)) = self.next_block(slot) else {
                return;
            };
            self.request(slot, piece, block, now);
        }
    }

    fn request(&mut self, slot: usize, piece: PieceIndex, block: u32, now: Now) {
        self.pieces.requested(piece, block);
        self.touch(piece);
        let config = &self.config;
        let peer = self.peers[slot].as_mut().expect("the caller found it");
        if peer.down.open.is_empty() {
            peer.down.begin(now);
        }
        peer.down.open.push_back(Request {
            piece,
            block,
            at: now,
            late: false,
        });
        let limit = now
            .after(peer.down.timeout(config))
            .min(now.after(config.snub_after));
        let addr = peer.addr;
        self.arm(limit);
        let range = self.pieces.geometry.block(piece, block);
        let BlockRange { begin, len, .. } = range;
        self.emit(Event::BlockRequested {
            peer: addr,
            piece,
            begin,
            len,
        });
        self.send(slot, Message::Request(range), now);
    }

    /// The next block to ask this peer for: a piece in progress, a new one, or end-game.
    fn next_block(&mut self, slot: usize) -> Option<(PieceIndex, u32)> {
        let partial = self.best_partial(slot);
        let first = match (self.config.partial_first, partial) {
            (PartialFirst::Always, Some(_)) => false,
            (PartialFirst::UnlessRarer, Some(piece)) => self.has_rarer(slot, piece),
            (PartialFirst::Never, _) | (_, None) => true,
        };
        if first && let Some(piece) = self.pick(slot) {
            let copies = self.pieces.availability[piece.at()];
            let rarer = |p: PieceIndex| copies < self.pieces.availability[p.at()];
            let exception = self.config.partial_first == PartialFirst::UnlessRarer;
            if !exception || partial.is_none_or(rarer) {
                let sender = self.peer(slot).sender;
                let parole = self.blame.wants_digests(piece).then_some(sender);
                self.pieces.start(piece, parole);
                self.emit(Event::PieceStarted { piece, copies });
                return Some((piece, 0));
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
    fn best_partial(&self, slot: usize) -> Option<PieceIndex> {
        let has = &self.bitfields[slot];
        let down = &self.peers[slot].as_ref()?.down;
        let snubbed = down.snubbed;
        // Only then can all free blocks of a piece be ones that this peer is late with.
        let late = down.open.iter().any(|r| r.late);
        self.pieces
            .started()
            .iter()
            .copied()
            .filter(|piece| has.contains(*piece) && self.may_ask(slot, *piece))
            .filter_map(|piece| Some((piece, self.pieces.partial(piece)?.free)))
            .filter(|(piece, free)| *free > 0 && !(late && self.free_block(slot, *piece).is_none()))
            .min_by_key(|(piece, free)| {
                let copies = self.pieces.availability[piece.at()];
                (if snubbed { u16::MAX - copies } else { copies }, *free)
            })
            .map(|(piece, _)| piece)
    }

    /// The first block of a piece in progress that this peer may be asked for: one that nobody is
    /// asked for in time, and this peer not at all.
    fn free_block(&self, slot: usize, piece: PieceIndex) -> Option<u32> {
        let down = &self.peers[slot].as_ref()?.down;
        self.pieces
            .first_free(piece, |block| !down.asks(piece, block))
    }

    /// Whether this peer has a piece that nobody started and that is strictly rarer.
    fn has_rarer(&self, slot: usize, than: PieceIndex) -> bool {
        let copies = self.pieces.availability[than.at()];
        copies > 1
            && self
                .pieces
                .queued
                .iter_and(&self.bitfields[slot])
                .any(|piece| self.pieces.availability[piece.at()] < copies)
    }

    /// The strategy's choice among the pieces that this peer has and nobody started.
    fn pick(&mut self, slot: usize) -> Option<PieceIndex> {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend(self.pieces.queued.iter_and(&self.bitfields[slot]));
        let picked = if candidates.is_empty() {
            None
        } else {
            let view = PickView {
                availability: &self.pieces.availability,
                have: &self.pieces.have,
                neighbours: &self.bitfields,
            };
            self.picker.pick(&view, &candidates, &mut self.rngs.picker)
        };
        assert!(
            picked.is_none_or(|piece| candidates.contains(&piece)),
            "the strategy {} picked a piece that is not a candidate",
            self.picker.name()
        );
        self.candidates = candidates;
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
        let has = &self.bitfields[slot];
        let eligible = |request: &Request| {
            let live = match self.pieces.partial(request.piece) {
                Some(partial) => partial.blocks[request.block as usize].live(),
                None => 0,
            };
            (1..requesters).contains(&u32::from(live))
                && has.contains(request.piece)
                && self.may_ask(slot, request.piece)
                && !peer.down.asks(request.piece, request.block)
        };
        let hindmost = |other: &Peer| {
            let at = other.down.open.iter().rposition(eligible)?;
            Some((at, other.down.open[at]))
        };
        let others = self
            .peers
            .iter()
            .flatten()
            .filter(|other| other.conn != peer.conn);
        let found = others
            .filter_map(|other| hindmost(other))
            .max_by_key(|(at, _)| *at)
            .map(|(_, request)| (request.piece, request.block));
        if found.is_some() && !std::mem::replace(&mut self.endgame, true) {
            self.emit(Event::EndgameEntered);
        }
        found
    }

    pub(super) fn on_block(
        &mut self,
        slot: usize,
        piece: PieceIndex,
        begin: u32,
        data: Bytes,
        now: Now,
    ) -> Result<(), &'static str> {
        let len = u32::try_from(data.len()).expect("the codec bounds a block");
        let range = BlockRange { piece, begin, len };
        if !self.pieces.geometry.contains(range) {
            return Err("a block outside its piece");
        }
        let Some(block) = self.pieces.geometry.block_number(range) else {
            self.waste(slot, len, Waste::Unrequested);
            return Ok(());
        };
        let down = &mut self.peer(slot).down;
        let request = down.take(piece, block);
        if request.is_none() && !down.take_released(piece, block) {
            self.waste(slot, len, Waste::Unrequested);
            return Ok(());
        }
        down.heard(now);
        if let Some(request) = request {
            down.answered(request.at, now);
            self.arm_requests(slot);
        }
        self.touch(piece);
        let sender = self.peer(slot).sender;
        let Some((open, all)) = self.pieces.received(piece, block, sender) else {
            self.waste(slot, len, Waste::Duplicate);
            self.fill_requests(slot, now);
            return Ok(());
        };
        if open > u16::from(request.is_some()) {
            self.cancel_others(piece, block, now);
        }
        self.totals.gained += u64::from(len);
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.received += u64::from(len);
        }
        let config = &self.config;
        let peer = self.peers[slot].as_mut().expect("the caller found it");
        peer.down.gained(len, now, config);
        let addr = peer.addr;
        self.emit(Event::BlockReceived {
            peer: addr,
            piece,
            begin,
            len,
        });
        self.push(Output::WriteBlock { range, data });
        if all {
            let digests = self.blame.wants_digests(piece);
            self.push(Output::VerifyPiece { piece, digests });
        }
        self.fill_requests(slot, now);
        Ok(())
    }

    fn waste(&mut self, slot: usize, len: u32, why: Waste) {
        self.totals.wasted += u64::from(len);
        let peer = self.peer(slot);
        let (addr, sender) = (peer.addr, peer.sender);
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.wasted += u64::from(len);
        }
        self.emit(Event::BlockWasted {
            peer: addr,
            len,
            why,
        });
    }

    /// A block arrived that others are asked for too: they need not send it.
    fn cancel_others(&mut self, piece: PieceIndex, block: u32, now: Now) {
        let range = self.pieces.geometry.block(piece, block);
        for slot in self.slots() {
            if self.is_active(slot) && self.peer(slot).down.take(piece, block).is_some() {
                self.remember_released(slot, piece, block);
                self.send(slot, Message::Cancel(range), now);
                self.fill_requests(slot, now);
            }
        }
    }

    pub(super) fn on_piece_verified(&mut self, verified: Verified, now: Now) {
        let Verified {
            piece,
            good,
            digests,
        } = verified;
        let senders = self.pieces.verified(piece, good);
        self.touch(piece);
        self.emit(Event::PieceVerified { piece, good });
        let sentences = if good {
            self.blame.good_piece(piece, digests.as_deref())
        } else {
            self.totals.hash_failed += u64::from(self.pieces.geometry.piece_len(piece));
            if self.phase != Phase::Running {
                // A disk that failed has not written everything that it was given: no proof.
                return;
            }
            let digests = digests.expect("a storage gives digests of a bad piece");
            self.blame
                .bad_piece(piece, &senders, &digests, self.config.strikes_max)
        };
        if good {
            self.picker.on_piece_done(piece);
            self.spread_have(piece, now);
        }
        for sentence in sentences {
            match sentence {
                Sentence::Ban(sender) => {
                    let addr = self.blame.senders()[sender.0 as usize].addr;
                    self.emit(Event::Banned { peer: addr, piece });
                    self.expel(sender, CloseReason::Banned, now);
                }
                Sentence::Disconnect(sender) => self.expel(sender, CloseReason::Strikes, now),
            }
        }
        if good && self.complete() {
            self.on_complete(now);
        } else {
            self.fill_all_requests(now);
        }
    }

    fn on_complete(&mut self, now: Now) {
        self.emit(Event::Completed);
        self.push(Output::Finish);
        if let Some(schedule) = &mut self.schedule {
            schedule.complete();
        }
        for slot in self.slots() {
            if self.is_active(slot) {
                self.part_from_seed(slot, now);
            }
        }
        self.announce_if_due(now);
    }

    /// The time that answers may take follows the answers, so requests that are open already may
    /// be due sooner than when they were made.
    fn arm_requests(&mut self, slot: usize) {
        let peer = self.peers[slot].as_ref().expect("the caller found it");
        if let Some(oldest) = peer.down.open.iter().find(|r| !r.late) {
            self.arm(oldest.at.after(peer.down.timeout(&self.config)));
        }
    }

    /// Requests that are late, and peers that owe us for too long.
    pub(super) fn request_timers(&mut self, slot: usize, now: Now) {
        let config = &self.config;
        let peer = self.peers[slot].as_mut().expect("the caller looked");
        if peer.choking_us || peer.down.open.is_empty() {
            return;
        }
        let addr = peer.addr;
        let timeout = peer.down.timeout(config);
        let mut late = Vec::new();
        let mut next = Now::NEVER;
        for request in peer.down.open.iter_mut().filter(|r| !r.late) {
            let limit = request.at.after(timeout);
            if limit > now {
                next = limit;
                break;
            }
            request.late = true;
            late.push((request.piece, request.block));
        }
        let snub_at = peer.down.waiting_from.after(config.snub_after);
        let snubs = snub_at <= now && !peer.down.snubbed;
        if !peer.down.snubbed {
            next = next.min(snub_at.max(Now(now.0 + 1)));
        }
        peer.down.snubbed |= snubs;
        for (piece, block) in &late {
            self.pieces.timed_out(*piece, *block);
            self.touch(*piece);
            let begin = self.pieces.geometry.block(*piece, *block).begin;
            self.emit(Event::RequestTimedOut {
                peer: addr,
                piece: *piece,
                begin,
            });
        }
        self.arm(next);
        if snubs {
            self.emit(Event::Snubbed { peer: addr });
            self.cancel_requests(slot, now);
        }
        if snubs || !late.is_empty() {
            self.fill_all_requests(now);
        }
    }
}
