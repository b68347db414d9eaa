//! Owns the requests of others: queued here, where choke and cancel can still remove them, and
//! handed to the network only as far as it has room.
//!
//! Invariants: only verified pieces are served, and no faster than `upload_limit`; at most
//! `request_queue_max` requests wait per peer; at most `send_buffer` bytes (and one block) of blocks
//! are handed over ahead of the network. With the fast extension what is not served is rejected. Where the choker
//! weighs, turns go by weight, and few blocks are handed over ahead of the network by all together: what order
//! they come in is then what share each has. Whoever is out of credit waits until it gives.

use std::time::Duration;

use bytes::Bytes;

use crate::choker::Terms;
use crate::ids::{BlockRange, ConnId, PieceIndex};
use crate::time::Now;
use crate::wire::Message;

use super::event::Event;
use super::torrent::{Output, Phase, StorageFailure, Torrent};

/// What is handed to the network and does not move for so long waits for the other end, and not for our uplink.
const STUCK_AFTER: Duration = Duration::from_secs(1);

impl Torrent {
    pub(super) fn on_request(
        &mut self,
        slot: usize,
        range: BlockRange,
        now: Now,
    ) -> Result<(), &'static str> {
        if !self.pieces.geometry.contains(range) {
            return Err("a request outside its piece");
        }
        if u64::from(range.len) > self.config.request_bytes_max {
            return Err("a request longer than a block");
        }
        let queue_max = self.config.request_queue_max as usize;
        let servable = self.phase == Phase::Running && self.pieces.have.contains(range.piece);
        let hiding = self.hiding;
        let peer = self.peer(slot);
        // Who wants nothing takes no slot, and may not use one.
        let has_slot = peer.unchoked && peer.interested;
        let up = &mut peer.up;
        let servable = servable && !(hiding && up.hides(range.piece));
        let allowed = has_slot || up.allowed.contains(&range.piece);
        if servable && allowed && up.queue.len() < queue_max {
            up.queue.push_back(range);
            let waiting = up.queue.len();
            self.buffers.requests(waiting);
            self.serve(slot, now);
            return Ok(());
        }
        up.refused += 1;
        let refused = up.refused;
        self.reject(slot, range, now);
        if refused > self.config.refused_requests_max {
            return Err("too many requests that cannot be answered");
        }
        Ok(())
    }

    /// Tells a peer that a request of its will not be answered, where it understands that.
    fn reject(&mut self, slot: usize, range: BlockRange, now: Now) {
        if self.peer(slot).fast {
            self.send(slot, Message::Reject(range), now);
        }
    }

    pub(super) fn on_cancel(&mut self, slot: usize, range: BlockRange, now: Now) {
        if self.forget_upload(slot, |r| *r == range, 1, now) > 0 {
            self.serve(slot, now);
        }
    }

    /// Takes requests of a peer that are not answered yet out, and rejects them: at most `count` of
    /// those that `which`. Returns how many.
    fn forget_upload(
        &mut self,
        slot: usize,
        which: impl Fn(&BlockRange) -> bool,
        count: usize,
        now: Now,
    ) -> usize {
        let up = &mut self.peer(slot).up;
        let mut out = Vec::new();
        let mut take = |range: &BlockRange| {
            let taken = out.len() < count && which(range);
            if taken {
                out.push(*range);
            }
            !taken
        };
        up.queue.retain(&mut take);
        up.reading.retain(&mut take);
        let reading = up.reading.iter().map(|r| u64::from(r.len)).sum();
        let unsent = std::mem::replace(&mut up.reading_bytes, reading) - reading;
        self.refund_upload(unsent);
        for range in &out {
            self.reject(slot, *range, now);
        }
        out.len()
    }

    /// A peer was choked or wants nothing any more: what it waits for is not sent, but for the
    /// pieces that it may have while choked (BEP 6).
    pub(super) fn forget_uploads(&mut self, slot: usize, now: Now) {
        let allowed = std::mem::take(&mut self.peer(slot).up.allowed);
        self.forget_upload(slot, |r| !allowed.contains(&r.piece), usize::MAX, now);
        self.peer(slot).up.allowed = allowed;
        // What was being read may have been all that kept the rest waiting.
        self.serve(slot, now);
    }

    /// Nothing is served any more.
    pub(super) fn refuse_uploads(&mut self, slot: usize, now: Now) {
        self.forget_upload(slot, |_| true, usize::MAX, now);
    }

    /// Blocks that were paid for will not be sent.
    pub(super) fn refund_upload(&mut self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.upload.refund(bytes, self.config.upload_limit);
    }

    /// A piece is gone from the disk: nobody gets it.
    pub(super) fn refuse_piece(&mut self, slot: usize, piece: PieceIndex, now: Now) {
        self.forget_upload(slot, |r| r.piece == piece, usize::MAX, now);
        self.serve(slot, now);
    }

    /// Reads blocks for a peer as long as its connection has room.
    pub(super) fn serve(&mut self, slot: usize, now: Now) {
        if self.config.upload_limit.0 > 0 || self.choking.weighs() {
            return self.serve_in_turn(now);
        }
        while self.serve_one(slot, now) {}
    }

    /// Whether a block waits for this peer that may go now, as far as it alone is concerned: its connection has room, and
    /// it has credit.
    fn may_serve(&self, slot: usize) -> bool {
        let Some(peer) = self.peers[slot].as_ref() else {
            return false;
        };
        let up = &peer.up;
        if up.queue.is_empty() || up.queued_bytes + up.reading_bytes >= self.config.send_buffer {
            return false;
        }
        let sender = || self.blame.get(peer.sender);
        up.terms.credit.is_none_or(|credit| {
            let (sent, received) = sender().map_or((0, 0), |s| (s.sent, s.received));
            sent + up.reading_bytes <= received.saturating_add(credit)
        })
    }

    /// Reads the next block for a peer; false when none waits, its connection has no room, it has no credit, or the
    /// limit is reached.
    fn serve_one(&mut self, slot: usize, now: Now) -> bool {
        if self.phase != Phase::Running || !self.may_serve(slot) {
            return false;
        }
        let limit = self.config.upload_limit;
        if let Some(until) = self.upload.closed_until(limit, now) {
            self.upload.waited_for = true;
            self.arm(until);
            return false;
        }
        let peer = self.peer(slot);
        let (conn, up) = (peer.conn, &mut peer.up);
        if up.queued_bytes + up.reading_bytes == 0 {
            up.moved = now;
        }
        let range = up.queue.pop_front().expect("just seen");
        up.reading_bytes += u64::from(range.len);
        up.reading.push_back(range);
        let reading = up.reading_bytes;
        self.buffers.reading(reading);
        self.upload.pay(range.len, limit, now);
        self.push(Output::ReadBlock { conn, range });
        self.suggest_to_others(slot, range.piece, now);
        true
    }

    /// Under a limit, and where the choker weighs, everybody gets turns of one block by weight, as long as there is
    /// room: start-time fair queueing (Goyal, Vin and Cheng 1996).
    fn serve_in_turn(&mut self, now: Now) {
        self.upload.waited_for = false;
        let slots = self.peers.len();
        loop {
            if let Some(until) = self.ahead_until(now) {
                // Whoever is next now is next when it moves on.
                self.upload.waited_for = true;
                return self.arm(until);
            }
            let waiting = (1..=slots).map(|step| (self.served_last + step) % slots);
            let waiting = waiting.filter(|slot| self.is_active(*slot) && self.may_serve(*slot));
            let turn = self.choking.turn;
            let far = |slot: &usize| self.peers[*slot].as_ref().map(|p| p.up.pass.max(turn));
            // Of equals the first after the one served last.
            let Some(slot) = waiting.min_by_key(far) else {
                return;
            };
            let far = far(&slot).expect("it is active");
            let len = self
                .peer(slot)
                .up
                .queue
                .front()
                .map_or(0, |range| range.len);
            if !self.serve_one(slot, now) {
                // It is this one's turn when the limit opens.
                return;
            }
            let up = &mut self.peer(slot).up;
            let weight = u64::from(up.terms.weight.max(1));
            up.pass = far.saturating_add(u64::from(len) * u64::from(Terms::EQUAL) / weight);
            self.choking.turn = far;
            self.served_last = slot;
        }
    }

    /// Without a limit, where the choker weighs: whether enough blocks are ahead of the network, and when to look
    /// again at the latest. A connection on which nothing has moved for long does not count: it is not our uplink
    /// that it waits for.
    fn ahead_until(&self, now: Now) -> Option<Now> {
        if self.config.upload_limit.0 > 0 {
            return None;
        }
        let ups = self.peers.iter().flatten().map(|peer| &peer.up);
        let moving = ups.filter(|up| now.since(up.moved) < STUCK_AFTER);
        let ahead: u64 = moving.map(|up| up.queued_bytes + up.reading_bytes).sum();
        (ahead >= 2 * self.config.send_buffer).then(|| now.after(STUCK_AFTER))
    }

    /// The upload limit is open again.
    pub(super) fn serve_again(&mut self, now: Now) {
        if self.upload.waited_for {
            self.serve_in_turn(now);
        }
    }

    pub(super) fn on_send_room(&mut self, conn: ConnId, queued: u64, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        let peer = self.peer(slot);
        if queued < peer.up.queued_bytes {
            peer.up.moved = now;
        }
        peer.up.queued_bytes = queued;
        peer.set_backlog(queued);
        self.serve(slot, now);
    }

    pub(super) fn on_block_read(
        &mut self,
        conn: ConnId,
        range: BlockRange,
        result: Result<Bytes, StorageFailure>,
        now: Now,
    ) {
        let data = match result {
            Ok(data) => data,
            Err(failure) => return self.on_storage_failure(failure, now),
        };
        let Some(slot) = self.slot(conn) else { return };
        let peer = self.peer(slot);
        // A choke or a cancel in the meantime took it out.
        let Some(at) = peer.up.reading.iter().position(|r| *r == range) else {
            return;
        };
        peer.up.reading.remove(at);
        peer.up.reading_bytes -= u64::from(range.len);
        peer.up.given += u64::from(range.len);
        peer.up.sent_now += u64::from(range.len);
        peer.up.refused = 0;
        let (addr, sender) = (peer.addr, peer.sender);
        let message = Message::Piece {
            piece: range.piece,
            begin: range.begin,
            data,
        };
        peer.up.queued_bytes += message.wire_len();
        self.totals.sent += u64::from(range.len);
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.sent += u64::from(range.len);
        }
        let BlockRange { piece, begin, len } = range;
        self.emit(Event::BlockSent {
            peer: addr,
            piece,
            begin,
            len,
        });
        self.send(slot, message, now);
        self.shown_piece_sent(slot, range, now);
    }
}
