//! Owns what we ask for, and from whom. What becomes of the answers: `answers.rs`.
//!
//! Invariants: a block is asked for once while somebody may still send it in time, but for bounded
//! end-game; a choke or the end of a connection returns its blocks to the pool at once; a piece that
//! failed its hash is asked of one sender alone (parole, as libtorrent does), while that sender serves
//! us: the next copy then proves who lied, good or bad.

use crate::ids::{BlockRange, PieceIndex};
use crate::picker::DECLINED_FOR;
use crate::time::Now;
use crate::wire::Message;

use super::event::Event;
use super::pipeline::Request;
use super::torrent::{Phase, Torrent};

/// Who chooses before whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Peer,
    WebSeed,
    Snubbing,
}

impl Turn {
    const ALL: [Turn; 3] = [Turn::Peer, Turn::WebSeed, Turn::Snubbing];
}

impl Torrent {
    pub(super) fn on_unchoke(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        if !std::mem::replace(&mut peer.choking_us, false) {
            return;
        }
        peer.down.welcome();
        peer.down.begin(now);
        let addr = peer.addr;
        self.askable[slot] = true;
        // It owes us what it allowed us while it choked us.
        self.arm_requests(slot);
        self.emit(Event::UnchokedBy {
            peer: addr,
            on: true,
        });
        self.fill_requests(slot, now);
    }

    /// Without the fast extension a choke cancels everything that is open: the blocks go back to
    /// the pool at once. Those on their way are still welcome. With it the rejects do that.
    pub(super) fn on_choke(&mut self, slot: usize, now: Now) {
        let peer = self.peer(slot);
        if std::mem::replace(&mut peer.choking_us, true) {
            return;
        }
        // Some reject before they choke (Transmission): that was the choke.
        peer.down.welcome();
        let addr = peer.addr;
        self.emit(Event::UnchokedBy {
            peer: addr,
            on: false,
        });
        let sender = self.peer(slot).sender;
        let released = !self.peer(slot).fast && self.release_requests(slot);
        if released || self.has_parole(sender) {
            self.fill_all_requests(now);
        }
    }

    /// Returns a peer's open requests to the pool; true when there were any.
    pub(super) fn release_requests(&mut self, slot: usize) -> bool {
        let open = std::mem::take(&mut self.peer(slot).down.open);
        self.asked[slot] = 0;
        for request in &open {
            self.pieces
                .released(request.piece, request.block, request.late);
            self.touch(request.piece);
            self.remember_released(slot, request.piece, request.block);
        }
        !open.is_empty()
    }

    /// Returns a peer's open requests for one piece to the pool.
    pub(super) fn release_piece(&mut self, slot: usize, piece: PieceIndex) {
        let mut out = Vec::new();
        self.peer(slot).down.open.retain(|request| {
            let other = request.piece != piece;
            if !other {
                out.push(*request);
            }
            other
        });
        self.count_asked(slot);
        for Request { block, late, .. } in out {
            self.pieces.released(piece, block, late);
            self.touch(piece);
            self.remember_released(slot, piece, block);
        }
    }

    /// Takes all open requests back, and says so: it is asked for one block at a time from now on.
    pub(super) fn cancel_requests(&mut self, slot: usize, now: Now) {
        let open: Vec<_> = self.peer(slot).down.open.iter().copied().collect();
        self.release_requests(slot);
        for Request { piece, block, .. } in open {
            let range = self.pieces.geometry.block(piece, block);
            self.send(slot, Message::Cancel(range), now);
        }
    }

    /// Returns one open request of a peer to the pool.
    pub(super) fn release_request(&mut self, slot: usize, piece: PieceIndex, block: u32) {
        if let Some(request) = self.take_request(slot, piece, block) {
            self.pieces.released(piece, block, request.late);
            self.touch(piece);
            self.remember_released(slot, piece, block);
        }
    }

    /// Takes a request that is open at a peer out.
    pub(super) fn take_request(
        &mut self,
        slot: usize,
        piece: PieceIndex,
        block: u32,
    ) -> Option<Request> {
        let request = self.peer(slot).down.take(piece, block);
        self.count_asked(slot);
        request
    }

    fn count_asked(&mut self, slot: usize) {
        let open = self.peer(slot).down.open.len();
        self.asked[slot] = u32::try_from(open).expect("at most pipeline_cap");
    }

    pub(super) fn remember_released(&mut self, slot: usize, piece: PieceIndex, block: u32) {
        self.fetch_released |= self.is_web(slot);
        let cap = self.config.pipeline_cap as usize;
        let released = &mut self.peer(slot).down.released;
        released.push_back((piece, block));
        if released.len() > cap {
            released.pop_front();
            self.peer(slot).down.forgotten += 1;
        }
        self.refund_request(self.pieces.geometry.block(piece, block).len);
    }

    /// Asks everybody who has room: blocks came back to the pool. Web seeds choose after peers, which
    /// have less to choose from. Snubbing peers choose last, or one of them could take back at once
    /// what it was relieved of.
    pub(super) fn fill_all_requests(&mut self, now: Now) {
        self.pool_grew = false;
        if self.pieces.complete() {
            return;
        }
        if self.config.download_limit.0 > 0 {
            return self.fill_in_turn(now);
        }
        let mut later = false;
        for turn in Turn::ALL {
            for slot in self.slots() {
                if !self.askable[slot] {
                    continue;
                }
                let its = self.turn(slot);
                later |= its.is_some_and(|its| its != Turn::Peer);
                if its == Some(turn) {
                    self.fill_requests(slot, now);
                }
            }
            if !later {
                return;
            }
        }
    }

    /// Under a limit everybody gets a turn: one request each, as long as it is open. Snubbing peers
    /// get what the others leave.
    fn fill_in_turn(&mut self, now: Now) {
        let slots = self.peers.len();
        for turn in Turn::ALL {
            let mut idle = 0;
            while idle < slots {
                self.asked_last = (self.asked_last + 1) % slots;
                let slot = self.asked_last;
                let asked = self.turn(slot) == Some(turn) && self.ask_once(slot, now);
                idle = if asked { 0 } else { idle + 1 };
            }
        }
    }

    /// When a peer chooses.
    fn turn(&self, slot: usize) -> Option<Turn> {
        let peer = self.peers[slot].as_ref().filter(|peer| peer.active())?;
        Some(match (peer.down.snubbed, peer.web) {
            (true, _) => Turn::Snubbing,
            (false, true) => Turn::WebSeed,
            (false, false) => Turn::Peer,
        })
    }

    /// The download limit is open again, or blocks came back to the pool, or a strategy has declined for long.
    pub(super) fn ask_again(&mut self, now: Now) {
        let declined = self.ask_declined <= now;
        if declined {
            self.ask_declined = Now::NEVER;
        }
        if std::mem::take(&mut self.download.waited_for) || self.pool_grew || declined {
            self.fill_all_requests(now);
        }
        self.arm(self.ask_declined);
    }

    /// A strategy that declined just now is asked again soon.
    fn mind_declined(&mut self, now: Now) {
        if std::mem::take(&mut self.declined) {
            self.ask_declined = now.after(DECLINED_FOR).min(self.ask_declined);
            self.arm(self.ask_declined);
        }
    }

    /// The user's player goes on until now.
    pub(super) fn play(&mut self, now: Now) {
        let (have, geometry) = (&self.pieces.have, self.pieces.geometry);
        self.player.advance(have, geometry, now);
    }

    /// Fills one peer's pipeline.
    pub(super) fn fill_requests(&mut self, slot: usize, now: Now) {
        if self.config.download_limit.0 > 0 {
            return self.fill_in_turn(now);
        }
        while self.ask_once(slot, now) {}
    }

    /// Asks a peer for one more block; false when it is asked for enough, or for nothing.
    fn ask_once(&mut self, slot: usize, now: Now) -> bool {
        if self.phase != Phase::Running || !self.askable[slot] {
            return false;
        }
        let Some(peer) = self.peers[slot].as_ref() else {
            self.askable[slot] = false;
            return false;
        };
        let choked = peer.choking_us;
        if !peer.am_interested || choked && peer.down.allowed.is_empty() {
            // What changes that says so.
            self.askable[slot] = false;
            return false;
        }
        let full = self.unwritten >= self.config.disk_queue_max;
        let held = peer.down.hold_until.is_some_and(|until| until > now);
        if peer.down.room() == 0 || held || full {
            return false;
        }
        if let Some(until) = self.download.closed_until(self.config.download_limit, now) {
            self.download.waited_for = true;
            self.arm(until);
            return false;
        }
        self.play(now);
        if self.is_web(slot) {
            let fetched = self.fetch_once(slot, now);
            self.mind_declined(now);
            return fetched;
        }
        let next = match choked {
            true => self.allowed_block(slot),
            false => self.next_block(slot),
        };
        self.mind_declined(now);
        if let Some((piece, block)) = next {
            self.request(slot, piece, block, now);
        }
        next.is_some()
    }

    /// Asked-for bytes will not come.
    pub(super) fn refund_request(&mut self, bytes: u32) {
        self.download.refund(bytes, self.config.download_limit);
    }

    pub(super) fn request(&mut self, slot: usize, piece: PieceIndex, block: u32, now: Now) {
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
        self.asked[slot] += 1;
        let limit = now
            .after(peer.down.timeout(config))
            .min(now.after(config.snub_after));
        let addr = peer.addr;
        self.arm_peer(slot, limit);
        let range = self.pieces.geometry.block(piece, block);
        let BlockRange { begin, len, .. } = range;
        self.download.pay(len, self.config.download_limit, now);
        self.emit(Event::BlockRequested {
            peer: addr,
            piece,
            begin,
            len,
        });
        self.send(slot, Message::Request(range), now);
    }

    /// The time that answers may take follows the answers, so requests that are open already may
    /// be due sooner than when they were made.
    pub(super) fn arm_requests(&mut self, slot: usize) {
        let peer = self.peers[slot].as_ref().expect("the caller found it");
        let down = &peer.down;
        let oldest = down.open.iter().find(|r| !r.late);
        let late = oldest.map(|r| r.at.after(down.timeout(&self.config)));
        // Who answers late owes us the rest all the same.
        let snub = (!down.open.is_empty()).then(|| down.waiting_from.after(self.config.snub_after));
        if let Some(next) = late.into_iter().chain(snub).min() {
            self.arm_peer(slot, next);
        }
    }

    /// Requests that are late, and peers that owe us for too long.
    pub(super) fn request_timers(&mut self, slot: usize, now: Now) {
        if let Some(until) = self.peer(slot).down.hold_until {
            if until > now {
                self.arm_peer(slot, until);
            } else {
                self.peer(slot).down.hold_until = None;
                self.fill_requests(slot, now);
            }
        }
        let config = &self.config;
        let peer = self.peers[slot].as_mut().expect("the caller looked");
        if peer.down.open.is_empty() {
            return;
        }
        let (addr, choking) = (peer.addr, peer.choking_us);
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
        // Who chokes us owes us nothing; with the fast extension requests may be open all the same.
        let snubs = snub_at <= now && !peer.down.snubbed && !choking;
        if !peer.down.snubbed && !choking {
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
        self.arm_peer(slot, next);
        if snubs {
            self.emit(Event::Snubbed { peer: addr });
            if self.is_web(slot) {
                return self.rest_web_seed(slot, now);
            }
            self.on_snub(slot);
            self.cancel_requests(slot, now);
        }
        if snubs || !late.is_empty() {
            self.fill_all_requests(now);
        }
    }
}
