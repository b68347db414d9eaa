//! Owns the fast extension (BEP 6): pieces allowed while choked, suggestions, rejects.
//!
//! Invariants: where both ends speak it every request of a peer gets exactly one answer, a block or
//! a reject, also after a cancel; a reject for what was never asked closes the connection.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sha1::{Digest, Sha1};

use crate::ids::{BlockRange, InfoHash, PieceIndex};
use crate::time::Now;
use crate::wire::Message;

use super::peer::Peer;
use super::torrent::Torrent;

/// Longest pause after rejects in a row.
const REJECT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long others wait for the blocks of a row of rejects that does not end.
const REJECT_ROW: Duration = Duration::from_millis(20);
/// Suggestions remembered per peer, so that none is repeated at once.
const SUGGESTED_MAX: usize = 16;

/// The pieces that a receiver at `ip` may ask for while choked: the first `count` of the canonical
/// sequence of BEP 6, but no more than half of the torrent's `pieces`: a small torrent is not to be
/// given away to who never gives anything back.
#[must_use]
pub fn allowed_fast_set(
    ip: Ipv4Addr,
    info_hash: InfoHash,
    pieces: u32,
    count: u32,
) -> Vec<PieceIndex> {
    // For more pieces than there are the chain would search for ever.
    let count = count.min(pieces / 2) as usize;
    let [a, b, c, _] = ip.octets();
    let mut hash = Sha1::new()
        .chain_update([a, b, c, 0])
        .chain_update(info_hash.0)
        .finalize();
    let mut set = Vec::with_capacity(count);
    while set.len() < count {
        for word in hash.chunks_exact(4) {
            let word = u32::from_be_bytes(word.try_into().expect("chunks of four"));
            let piece = PieceIndex(word % pieces);
            if set.len() < count && !set.contains(&piece) {
                set.push(piece);
            }
        }
        hash = Sha1::digest(hash);
    }
    set
}

impl Torrent {
    /// Tells a newcomer which pieces of ours it may ask for while choked. Who has as many pieces
    /// already has something to give in return and needs no gifts.
    pub(super) fn offer_allowed_fast(&mut self, slot: usize, now: Now) {
        let count = self.config.allowed_fast;
        let IpAddr::V4(ip) = self.peer(slot).addr.ip() else {
            return;
        };
        let has = &self.bitfields[slot];
        let told = |p: &Peer| !p.fast || !p.up.allowed.is_empty() || p.up.hidden.is_some();
        if self.peers[slot].as_ref().is_none_or(told) || has.count() >= count {
            return;
        }
        let set = allowed_fast_set(ip, self.info_hash, self.pieces.geometry.pieces, count);
        let gift = |piece: &PieceIndex| self.pieces.have.contains(*piece) && !has.contains(*piece);
        let gifts: Vec<_> = set.into_iter().filter(gift).collect();
        for piece in &gifts {
            self.send(slot, Message::AllowedFast(*piece), now);
        }
        self.peer(slot).up.allowed = gifts;
    }

    pub(super) fn on_allowed_fast(
        &mut self,
        slot: usize,
        piece: PieceIndex,
        now: Now,
    ) -> Result<(), &'static str> {
        if piece.0 >= self.pieces.geometry.pieces {
            return Err("an allowed piece that does not exist");
        }
        let offers_max = self.config.offers_max as usize;
        let allowed = &mut self.peer(slot).down.allowed;
        if allowed.len() < offers_max && !allowed.contains(&piece) {
            allowed.push(piece);
            self.askable[slot] = true;
            self.fill_requests(slot, now);
        }
        Ok(())
    }

    pub(super) fn on_suggest(
        &mut self,
        slot: usize,
        piece: PieceIndex,
    ) -> Result<(), &'static str> {
        if piece.0 >= self.pieces.geometry.pieces {
            return Err("a suggested piece that does not exist");
        }
        let offers_max = self.config.offers_max as usize;
        let heeded = self.config.heed_suggestions;
        let suggested = &mut self.peer(slot).down.suggested;
        if heeded && !suggested.contains(&piece) {
            if suggested.len() >= offers_max {
                suggested.pop_front();
            }
            suggested.push_back(piece);
        }
        Ok(())
    }

    /// A piece is being read for somebody: others that lack it could have it from memory.
    pub(super) fn suggest_to_others(&mut self, reader: usize, piece: PieceIndex, now: Now) {
        if !self.config.suggest_pieces {
            return;
        }
        for slot in self.slots() {
            let Some(peer) = &mut self.peers[slot] else {
                continue;
            };
            let hidden = peer.up.hides(piece);
            let served = peer.fast && peer.interested && peer.unchoked && slot != reader && !hidden;
            let known = peer.up.suggested.contains(&piece);
            if !served || known || self.bitfields[slot].contains(piece) {
                continue;
            }
            if peer.up.suggested.len() == SUGGESTED_MAX {
                peer.up.suggested.pop_front();
            }
            peer.up.suggested.push_back(piece);
            self.send(slot, Message::Suggest(piece), now);
        }
    }

    /// A request of ours will not be answered: its block goes back to the pool.
    pub(super) fn on_reject(
        &mut self,
        slot: usize,
        range: BlockRange,
        now: Now,
    ) -> Result<(), &'static str> {
        const NEVER_ASKED: &str = "a reject for what was never asked";
        let piece = range.piece;
        let block = self
            .pieces
            .geometry
            .block_number(range)
            .ok_or(NEVER_ASKED)?;
        let down = &mut self.peer(slot).down;
        // A request that was cancelled and made anew: the first answer is that of the first.
        if down.take_released(piece, block) {
            return Ok(());
        }
        let Some(request) = self.take_request(slot, piece, block) else {
            return match self.peer(slot).down.recall() {
                true => Ok(()),
                false => Err(NEVER_ASKED),
            };
        };
        self.pieces.released(piece, block, request.late);
        self.touch(piece);
        self.refund_request(range.len);
        let pause = self.config.reject_pause;
        let peer = self.peer(slot);
        let choked = peer.choking_us;
        let down = &mut peer.down;
        if choked {
            down.allowed.retain(|p| *p != piece);
        } else if down.hold_until.is_none_or(|until| until <= now) {
            // One pause for a whole row of rejects.
            let pause = pause.saturating_mul(1 << down.rejects.min(16));
            let until = now.after(pause.min(REJECT_PAUSE_MAX));
            down.hold_until = Some(until);
            down.rejects += 1;
            self.arm_peer(slot, until);
        }
        // Rejects come in rows: others are asked at the end of one, or when it takes too long.
        let down = &self.peer(slot).down;
        if down.open.iter().all(|r| down.allowed.contains(&r.piece)) {
            self.fill_all_requests(now);
        } else if !std::mem::replace(&mut self.pool_grew, true) {
            self.arm(now.after(REJECT_ROW));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_bep_6() {
        let ip = Ipv4Addr::new(80, 4, 4, 200);
        let set = |count| allowed_fast_set(ip, InfoHash([0xaa; 20]), 1313, count);
        let wanted = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508, 1246].map(PieceIndex);
        assert_eq!(set(10), wanted);
        assert_eq!(set(7), wanted[..7]);
    }

    #[test]
    fn small_torrents_end_the_search() {
        for pieces in 0..40 {
            let ip = Ipv4Addr::new(10, 0, 0, 1);
            let set = allowed_fast_set(ip, InfoHash([1; 20]), pieces, 10);
            assert!(set.iter().all(|p| p.0 < pieces));
            assert_eq!(set.len() as u32, 10.min(pieces / 2));
        }
    }
}
