//! Owns finding out by their hashes which pieces a disk holds: before a session starts, and once more while it runs
//! because its user asks.
//!
//! Invariants: nothing counts as held that was not hashed, unless the disk knows that it has not changed since; every
//! piece that was verified when the user asked is hashed once more, a few at a time, so that blocks for others are read
//! in between.

use std::collections::BTreeSet;
use std::future::poll_fn;

use crate::bits::BitSet;
use crate::ids::PieceIndex;
use crate::metainfo::Geometry;
use crate::storage::{Storage, StorageEvent};

/// Hashes under way while content is checked before the start.
const CHECKS_AHEAD: u32 = 16;
/// Hashes under way while it runs, at most.
const UNDER_WAY_MAX: usize = 4;

/// Finds out which pieces a disk holds, before a session starts: nothing unverified is served, unless
/// the disk knows that it has not changed since. `progress` hears the number of pieces of which it
/// is known whether they are there.
///
/// # Errors
/// When the disk cannot be read.
pub async fn check_content<S: Storage>(
    storage: &mut S,
    geometry: Geometry,
    mut progress: impl FnMut(u32),
) -> std::io::Result<BitSet> {
    let (mut have, unchecked) = match storage.known() {
        Some(known) => (known.have, known.unchecked),
        None if storage.may_hold_content() => (
            BitSet::empty(geometry.pieces),
            BitSet::full(geometry.pieces),
        ),
        None => return Ok(BitSet::empty(geometry.pieces)),
    };
    let mut answered = geometry.pieces - unchecked.count();
    let mut ahead = 0;
    let mut rest = unchecked.iter();
    while answered < geometry.pieces {
        while ahead < CHECKS_AHEAD
            && let Some(piece) = rest.next()
        {
            storage.verify(piece, false);
            ahead += 1;
        }
        if let StorageEvent::Verified(verified) = poll_fn(|cx| storage.poll_event(cx)).await {
            let verified = verified?;
            if verified.good {
                have.insert(verified.piece);
            }
            ahead -= 1;
            answered += 1;
            progress(answered);
        }
    }
    Ok(have)
}

/// What is left of a recheck.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    waiting: BTreeSet<PieceIndex>,
    under_way: BTreeSet<PieceIndex>,
}

impl Recheck {
    /// These pieces are hashed again.
    pub(super) fn begin(&mut self, have: &BitSet, storage: &mut impl Storage) {
        let under_way = &self.under_way;
        let more = have.iter().filter(|piece| !under_way.contains(piece));
        self.waiting.extend(more);
        self.ask(storage);
    }

    /// Whether this answer of the disk is one to us; then the next piece is hashed.
    pub(super) fn answered(&mut self, piece: PieceIndex, storage: &mut impl Storage) -> bool {
        let ours = self.under_way.remove(&piece);
        if ours {
            self.ask(storage);
        }
        ours
    }

    fn ask(&mut self, storage: &mut impl Storage) {
        while self.under_way.len() < UNDER_WAY_MAX
            && let Some(piece) = self.waiting.pop_first()
        {
            storage.verify(piece, false);
            self.under_way.insert(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::Geometry;
    use crate::storage::StorageEvent;
    use crate::storage::memory::MemoryStorage;
    use sha1::{Digest, Sha1};
    use std::future::poll_fn;

    #[tokio::test]
    async fn every_verified_piece_is_hashed_once_and_no_other() {
        let geometry = Geometry::new(10 * 16384, 16384).expect("sizes");
        let hash: [u8; 20] = Sha1::digest([0; 16384]).into();
        let mut storage = MemoryStorage::new(geometry, vec![hash; 10]);
        let mut have = BitSet::full(10);
        have.remove(PieceIndex(3));
        let mut recheck = Recheck::default();
        recheck.begin(&have, &mut storage);
        recheck.waiting.clear();
        recheck.begin(&have, &mut storage);
        let mut seen = Vec::new();
        while !recheck.under_way.is_empty() {
            assert!(recheck.under_way.len() <= UNDER_WAY_MAX);
            let event = poll_fn(|cx| storage.poll_event(cx)).await;
            let StorageEvent::Verified(Ok(verified)) = event else {
                panic!("{event:?}");
            };
            assert!(recheck.answered(verified.piece, &mut storage));
            assert!(!recheck.answered(verified.piece, &mut storage), "once");
            seen.push(verified.piece.0);
        }
        assert_eq!(seen, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    }
}
