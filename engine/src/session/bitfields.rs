//! Owns what each connected peer has, twice: by peer and by piece; and whose word for it is doubted.
//!
//! Invariant: both say the same. A decision about a peer reads its own set; how many hold a piece is
//! counted where its holders lie together, in one or two words, and not in the sets of all peers.

use std::ops::Index;

use crate::bits::BitSet;
use crate::ids::PieceIndex;
use crate::prefetch;

/// The sets of all slots; of length 0 where there is no peer, and for web seeds.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Bitfields {
    rows: Vec<BitSet>,
    holders: Vec<u64>,
    /// Words of one piece's holders, a bit per slot.
    words: usize,
    pieces: usize,
    /// Peers that are doubted, a bit per slot.
    doubted: Vec<u64>,
}

impl Bitfields {
    /// Slots without peers.
    pub(super) fn new(slots: usize, pieces: u32) -> Bitfields {
        let mut bitfields = Bitfields {
            rows: Vec::new(),
            pieces: pieces as usize,
            words: 0,
            holders: Vec::new(),
            doubted: Vec::new(),
        };
        bitfields.make_slots(slots);
        bitfields
    }

    /// So many slots at least.
    pub(super) fn make_slots(&mut self, slots: usize) {
        if self.rows.len() < slots {
            self.rows.resize_with(slots, BitSet::default);
        }
        let words = slots.div_ceil(64);
        if self.words < words {
            let mut holders = vec![0; words * self.pieces];
            if self.words > 0 {
                let old = self.holders.chunks_exact(self.words);
                for (new, old) in holders.chunks_exact_mut(words).zip(old) {
                    new[..self.words].copy_from_slice(old);
                }
            }
            (self.words, self.holders) = (words, holders);
            self.doubted.resize(words, 0);
        }
    }

    /// A peer is there, and has nothing so far.
    pub(super) fn open(&mut self, slot: usize) {
        let pieces = u32::try_from(self.pieces).expect("it came as one");
        self.rows[slot] = BitSet::empty(pieces);
    }

    /// Whether the peer's word is doubted.
    pub(super) fn doubts(&self, slot: usize) -> bool {
        self.doubted[slot / 64] & (1 << (slot % 64)) != 0
    }

    /// Whether anybody's is.
    pub(super) fn doubts_any(&self) -> bool {
        self.doubted.iter().any(|word| *word != 0)
    }

    /// The peer's word is doubted from now on, or no more.
    pub(super) fn doubt(&mut self, slot: usize, on: bool) {
        let bit = 1 << (slot % 64);
        let word = &mut self.doubted[slot / 64];
        *word = if on { *word | bit } else { *word & !bit };
    }

    /// A peer is gone, and the doubt with it; what it had.
    pub(super) fn close(&mut self, slot: usize) -> BitSet {
        self.doubt(slot, false);
        let row = std::mem::take(&mut self.rows[slot]);
        for piece in row.iter() {
            let (word, bit) = self.place(slot, piece);
            self.holders[word] &= !bit;
        }
        row
    }

    /// The peer has the piece; false when that was known.
    pub(super) fn insert(&mut self, slot: usize, piece: PieceIndex) -> bool {
        let (word, bit) = self.place(slot, piece);
        self.holders[word] |= bit;
        self.rows[slot].insert(piece)
    }

    /// The peer has the piece no more; false when it was not known to have it.
    pub(super) fn remove(&mut self, slot: usize, piece: PieceIndex) -> bool {
        let had = self.rows[slot].remove(piece);
        if had {
            let (word, bit) = self.place(slot, piece);
            self.holders[word] &= !bit;
        }
        had
    }

    /// Asks for who holds the piece.
    pub(super) fn prefetch_holders(&self, piece: PieceIndex) {
        if let Some(holders) = self.holders.get(piece.at() * self.words) {
            prefetch::front(holders);
        }
    }

    /// Whether the peer has the piece; false for a web seed.
    pub(super) fn holds(&self, slot: usize, piece: PieceIndex) -> bool {
        let (word, bit) = self.place(slot, piece);
        self.holders[word] & bit != 0
    }

    /// The sets, by slot.
    pub(super) fn rows(&self) -> &[BitSet] {
        &self.rows
    }

    /// How many have a piece, by its holders.
    pub(super) fn copies(&self, piece: PieceIndex) -> u32 {
        let first = piece.at() * self.words;
        let holders = &self.holders[first..first + self.words];
        holders.iter().map(|word| word.count_ones()).sum()
    }

    /// How many have a piece of those who are not doubted.
    pub(super) fn trusted(&self, piece: PieceIndex) -> u32 {
        let first = piece.at() * self.words;
        let holders = self.holders[first..].iter().zip(&self.doubted);
        holders.map(|(all, not)| (all & !not).count_ones()).sum()
    }

    /// How many have each piece, by the sets of all peers.
    pub(super) fn recount(&self) -> Vec<u32> {
        self.recount_of(|_| true)
    }

    /// The same of those who are not doubted.
    pub(super) fn recount_trusted(&self) -> Vec<u32> {
        self.recount_of(|slot| !self.doubts(slot))
    }

    fn recount_of(&self, counts: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut copies = vec![0; self.pieces];
        for (_, row) in self
            .rows
            .iter()
            .enumerate()
            .filter(|(slot, _)| counts(*slot))
        {
            for piece in row.iter() {
                copies[piece.at()] += 1;
            }
        }
        copies
    }

    fn place(&self, slot: usize, piece: PieceIndex) -> (usize, u64) {
        (piece.at() * self.words + slot / 64, 1 << (slot % 64))
    }
}

impl Index<usize> for Bitfields {
    type Output = BitSet;

    fn index(&self, slot: usize) -> &BitSet {
        &self.rows[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn both_ways_say_the_same(
            steps in prop::collection::vec((0usize..150, 0u32..70, 0u8..10), 0..300),
        ) {
            let mut bitfields = Bitfields::new(1, 70);
            for (slot, piece, what) in steps {
                bitfields.make_slots(slot + 1);
                if bitfields[slot] == BitSet::default() {
                    bitfields.open(slot);
                }
                let piece = PieceIndex(piece);
                let had = bitfields[slot].contains(piece);
                match what {
                    0 => prop_assert_eq!(bitfields.close(slot).contains(piece), had),
                    1 | 2 => prop_assert_eq!(bitfields.remove(slot, piece), had),
                    3 => bitfields.doubt(slot, !bitfields.doubts(slot)),
                    _ => prop_assert_eq!(bitfields.insert(slot, piece), !had),
                }
            }
            let trusted = bitfields.recount_trusted();
            for (piece, copies) in (0..).zip(bitfields.recount()) {
                let piece = PieceIndex(piece);
                prop_assert_eq!(bitfields.copies(piece), copies);
                prop_assert_eq!(bitfields.trusted(piece), trusted[piece.at()]);
                for (slot, row) in bitfields.rows().iter().enumerate() {
                    prop_assert_eq!(bitfields.holds(slot, piece), row.contains(piece));
                }
            }
        }
    }
}
