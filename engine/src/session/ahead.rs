//! Owns what is asked of a session's memory before it is needed; see [`crate::prefetch`].
//!
//! Invariant: it changes nothing. What wakes a session looks at the session, at one peer, and at what these lead
//! to: each is asked for as soon as what leads to it is there.

use crate::ids::{BLOCK_BYTES, ConnId, PieceIndex};
use crate::node::network::Coming;
use crate::node::whereabouts::prefetch_rest;
use crate::prefetch;

use super::peer::Peer;
use super::torrent::Torrent;

/// Ids of messages about a piece.
const HAVE: u8 = 4;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;

/// Bytes from which on it is no message, but what follows one.
const BODY_MIN: usize = 4096;

/// What comes from a peer, as far as its first bytes say.
enum What {
    Have(PieceIndex),
    Request(PieceIndex),
    /// Of this piece, from this byte on.
    Block(PieceIndex, u32),
    Room,
}

impl What {
    /// Nothing when it is about no piece of so many.
    fn of(coming: Coming<'_>, pieces: u32) -> Option<What> {
        let bytes = match coming {
            // A block itself, behind its head: nobody has looked at it yet, nor will.
            Coming::Data(bytes) if bytes.len() >= BODY_MIN => return None,
            Coming::Data(bytes) => bytes,
            Coming::Room => return Some(What::Room),
        };
        let (head, _) = bytes.get(4..)?.split_first_chunk::<5>()?;
        let [id, piece @ ..] = *head;
        let piece = u32::from_be_bytes(piece);
        let piece = (piece < pieces).then_some(PieceIndex(piece))?;
        match id {
            HAVE => Some(What::Have(piece)),
            REQUEST => Some(What::Request(piece)),
            PIECE => {
                let begin = bytes.get(9..)?.first_chunk()?;
                Some(What::Block(piece, u32::from_be_bytes(*begin)))
            }
            _ => None,
        }
    }
}

impl Torrent {
    /// Asks for what any input looks at, in different lines of memory.
    pub(crate) fn prefetch(&self) {
        prefetch::front(&self.next_due);
        prefetch::front(&self.peers);
        prefetch::front(&self.bitfields);
        prefetch::front(&self.pieces.have);
        prefetch::front(&self.askable);
        prefetch::front(&self.unwritten);
    }

    /// As [`Torrent::prefetch`], once that is there: asks for what it leads to.
    pub(crate) fn prefetch_lists(&self) {
        prefetch::front(&*self.askable);
        prefetch::front(&self.writing);
        self.roll.prefetch();
    }

    /// Asks for what is looked at when this comes from a peer.
    pub(crate) fn prefetch_peer(&self, conn: ConnId, coming: Coming<'_>) {
        let bytes = match coming {
            Coming::Data(data) => Some(data.len()),
            Coming::Room => None,
        };
        let slot = self.slot_of(conn);
        if let Some(Some(peer)) = slot.and_then(|slot| self.peers.get(slot)) {
            prefetch_rest(peer.rest_address(), bytes);
        }
        if let Some(What::Block(piece, begin)) = What::of(coming, self.pieces.geometry.pieces) {
            self.pieces.prefetch_block(piece, begin / BLOCK_BYTES);
        }
    }

    /// As [`Torrent::prefetch_peer`], once that is there: asks for what it leads to. Returns the piece of which a block
    /// is written or read.
    pub(crate) fn prefetch_of(&self, conn: ConnId, coming: Coming<'_>) -> Option<PieceIndex> {
        let slot = self.slot_of(conn)?;
        let peer = self.peers.get(slot)?.as_ref()?;
        prefetch::front(self.due.get(slot)?);
        match What::of(coming, self.pieces.geometry.pieces)? {
            What::Have(piece) => {
                self.pieces.prefetch_copies(piece);
                self.bitfields.prefetch_holders(piece);
                None
            }
            What::Block(piece, _) => {
                prefetch::front(self.asked.get(slot)?);
                self.pieces.prefetch_choice();
                if let Some(request) = peer.down.open.front() {
                    prefetch::front(request);
                }
                self.blame.prefetch(peer.sender);
                Some(piece)
            }
            asks @ (What::Request(_) | What::Room) => {
                let up = &peer.up;
                let ranges = [up.queue.front(), up.queue.back(), up.reading.front()];
                ranges.into_iter().flatten().for_each(prefetch::front);
                self.blame.prefetch(peer.sender);
                match asks {
                    What::Request(piece) => Some(piece),
                    _ => up.queue.front().map(|range| range.piece),
                }
            }
        }
    }

    /// Whether its memory lies elsewhere than when this was asked last.
    pub(crate) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Where connections lie: lists with a line for each, by slot, and the rest of each peer.
    pub(crate) fn whereabouts(&self) -> ([usize; 2], Vec<usize>) {
        let web = self.web_slots as usize;
        let (peers, rows) = (&self.peers[web..], &self.bitfields.rows()[web..]);
        let rest = |peer: &Option<_>| peer.as_ref().map_or(0, Peer::rest_address);
        let lists = [prefetch::address_of(peers), prefetch::address_of(rows)];
        (lists, peers.iter().map(rest).collect())
    }
}
