//! Owns the requests of others: queued here, where choke and cancel can still remove them, and
//! handed to the network only as far as it has room.
//!
//! Invariants: only verified pieces are served; at most `request_queue_max` requests wait per peer;
//! at most `send_buffer` bytes (and one block) of blocks are handed over ahead of the network.

use bytes::Bytes;

use crate::ids::{BlockRange, ConnId};
use crate::time::Now;
use crate::wire::Message;

use super::event::Event;
use super::torrent::{Output, Phase, StorageFailure, Torrent};

impl Torrent {
    pub(super) fn on_request(
        &mut self,
        slot: usize,
        range: BlockRange,
        _now: Now,
    ) -> Result<(), &'static str> {
        if !self.pieces.geometry.contains(range) {
            return Err("a request outside its piece");
        }
        if u64::from(range.len) > self.config.request_bytes_max {
            return Err("a request longer than a block");
        }
        let queue_max = self.config.request_queue_max as usize;
        let servable = self.pieces.have.contains(range.piece);
        let up = &mut self.peers[slot].as_mut().expect("the caller found it").up;
        let full = up.queue.len() >= queue_max;
        if servable && !full && self.peer(slot).unchoked {
            self.peer(slot).up.queue.push_back(range);
            self.serve(slot);
        }
        Ok(())
    }

    pub(super) fn on_cancel(&mut self, slot: usize, range: BlockRange) {
        let up = &mut self.peer(slot).up;
        if let Some(at) = up.queue.iter().position(|r| *r == range) {
            up.queue.remove(at);
        } else if let Some(at) = up.reading.iter().position(|r| *r == range) {
            up.reading.remove(at);
            up.reading_bytes -= u64::from(range.len);
            self.serve(slot);
        }
    }

    /// Reads blocks for a peer as long as its connection has room.
    pub(super) fn serve(&mut self, slot: usize) {
        if self.phase != Phase::Running {
            return;
        }
        let room = self.config.send_buffer;
        let peer = self.peer(slot);
        let conn = peer.conn;
        let mut reads = Vec::new();
        while peer.up.queued_bytes + peer.up.reading_bytes < room
            && let Some(range) = peer.up.queue.pop_front()
        {
            peer.up.reading_bytes += u64::from(range.len);
            peer.up.reading.push_back(range);
            reads.push(range);
        }
        for range in reads {
            self.push(Output::ReadBlock { conn, range });
        }
    }

    pub(super) fn on_send_room(&mut self, conn: ConnId, queued: u64) {
        let Some(slot) = self.slot(conn) else { return };
        self.peer(slot).up.queued_bytes = queued;
        self.serve(slot);
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
    }

    /// Drops what a peer still waits for.
    pub(super) fn forget_uploads(&mut self, slot: usize) {
        let up = &mut self.peer(slot).up;
        up.queue.clear();
        up.reading.clear();
        up.reading_bytes = 0;
    }
}
