//! Owns what is read of a session before it is needed.
//!
//! Invariant: it changes nothing. A session of a swarm of thousands is out of the cache when its turn comes; asked
//! for together, its parts of memory come together, where one after the other each would be waited for.

use std::hint::black_box;

use super::torrent::Torrent;
use crate::ids::ConnId;

/// Bytes of the shortest message whose peer wants something: a request. Those below are mostly news.
const ASKS_MIN: usize = 17;
/// Bytes above which a message brings something.
const BRINGS_MIN: usize = 1024;

impl Torrent {
    /// Reads some of what any input will look at, in different lines of memory.
    pub(crate) fn read_ahead(&self) {
        let lists = (self.peers.len(), self.bitfields.rows().len());
        let more = (self.askable.len(), self.unwritten, self.pieces.have.len());
        black_box((self.poll_timeout(), lists, more));
    }

    /// Reads of a peer what an input will look at that so many bytes from it bring; `None`: room for what it is sent.
    pub(crate) fn read_ahead_of(&self, conn: ConnId, bytes: Option<usize>) {
        let slot = self.slot_of(conn);
        let Some(Some(peer)) = slot.and_then(|slot| self.peers.get(slot)) else {
            return;
        };
        black_box(peer.conn);
        match bytes {
            Some(BRINGS_MIN..) => {
                let down = &peer.down;
                black_box((peer.addr, down.open.len(), down.waiting_from, down.depth));
            }
            None | Some(ASKS_MIN..) => {
                let (up, lists) = (&peer.up, (peer.up.queue.len(), peer.up.reading.len()));
                black_box((peer.addr, up.queued_bytes, up.moved, lists));
            }
            Some(_) => {}
        }
    }
}
