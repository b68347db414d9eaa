//! Owns [`BitSet`]: a fixed number of flags, one per piece, in 64-bit words.
//!
//! Invariant: bits at and beyond `len` are zero, and `ones` is their count.

use crate::ids::PieceIndex;

/// Words of a set that lie in it. A session keeps a set per connection and looks at another one with nearly
/// every message: a set of up to 448 pieces is one cache line, and costs no allocation.
const INLINE: usize = 7;

/// `len` and `ones` lie beside the words, where they cost no second line.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Words {
    /// Those beyond `len` are zero.
    Inline {
        len: u16,
        ones: u16,
        words: [u64; INLINE],
    },
    Heap {
        len: u32,
        ones: u32,
        words: Box<[u64]>,
    },
}

/// A set of pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(align(64))]
pub struct BitSet(Words);

impl Default for BitSet {
    fn default() -> Self {
        BitSet::empty(0)
    }
}

impl BitSet {
    /// No piece of `len`.
    #[must_use]
    pub fn empty(len: u32) -> BitSet {
        let count = len.div_ceil(64) as usize;
        BitSet(match u16::try_from(len) {
            Ok(len) if count <= INLINE => Words::Inline {
                len,
                ones: 0,
                words: [0; INLINE],
            },
            _ => Words::Heap {
                len,
                ones: 0,
                words: vec![0; count].into(),
            },
        })
    }

    /// As many as hold `len` bits.
    fn words(&self) -> &[u64] {
        match &self.0 {
            Words::Inline { len, words, .. } => &words[..len.div_ceil(64) as usize],
            Words::Heap { words, .. } => words,
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.0 {
            Words::Inline { len, words, .. } => &mut words[..len.div_ceil(64) as usize],
            Words::Heap { words, .. } => words,
        }
    }

    fn set_count(&mut self, count: u32) {
        match &mut self.0 {
            Words::Inline { ones, .. } => *ones = u16::try_from(count).expect("at most `len`"),
            Words::Heap { ones, .. } => *ones = count,
        }
    }

    /// Counts the bits anew.
    fn recount(&mut self) {
        self.set_count(self.words().iter().map(|w| w.count_ones()).sum());
    }

    /// All pieces of `len`.
    #[must_use]
    pub fn full(len: u32) -> BitSet {
        let mut set = BitSet::empty(len);
        set.set_count(len);
        set.words_mut().fill(u64::MAX);
        if let Some(last) = set.words_mut().last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        set
    }

    /// Reads the payload of a `bitfield` message (BEP 3: high bit first). `None` when its length
    /// is not that of `len` pieces or a spare bit is set.
    #[must_use]
    pub fn from_wire(bytes: &[u8], len: u32) -> Option<BitSet> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let mut set = BitSet::empty(len);
        let words = set.words_mut();
        for (i, &byte) in bytes.iter().enumerate() {
            words[i / 8] |= u64::from(byte.reverse_bits()) << (8 * (i % 8));
        }
        if !len.is_multiple_of(64) && words.last().is_some_and(|last| *last >> (len % 64) != 0) {
            return None;
        }
        set.recount();
        Some(set)
    }

    /// Writes the payload of a `bitfield` message.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let words = self.words();
        (0..self.len().div_ceil(8) as usize)
            .map(|i| (words[i / 8] >> (8 * (i % 8))).to_le_bytes()[0].reverse_bits())
            .collect()
    }

    /// Whether the piece is in the set; false for a piece that does not exist.
    #[must_use]
    #[inline]
    pub fn contains(&self, piece: PieceIndex) -> bool {
        let word = piece.at() / 64;
        let word = match &self.0 {
            Words::Inline { words, .. } => words.get(word),
            Words::Heap { words, .. } => words.get(word),
        };
        word.is_some_and(|w| w >> (piece.0 % 64) & 1 == 1)
    }

    /// Adds a piece; false when it was there.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let len = self.len();
        assert!(piece.0 < len, "piece {piece} of {len}");
        let word = &mut self.words_mut()[piece.at() / 64];
        let bit = 1 << (piece.0 % 64);
        let new = *word & bit == 0;
        *word |= bit;
        if new {
            self.set_count(self.count() + 1);
        }
        new
    }

    /// Removes a piece; false when it was not there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let was = self.contains(piece);
        if was {
            self.words_mut()[piece.at() / 64] &= !(1 << (piece.0 % 64));
            self.set_count(self.count() - 1);
        }
        was
    }

    /// Pieces in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        match &self.0 {
            Words::Inline { ones, .. } => u32::from(*ones),
            Words::Heap { ones, .. } => *ones,
        }
    }

    /// Pieces that could be in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        match &self.0 {
            Words::Inline { len, .. } => u32::from(*len),
            Words::Heap { len, .. } => *len,
        }
    }

    /// Whether no piece is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether every piece is in the set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count() == self.len()
    }

    /// The pieces in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.words()
            .iter()
            .enumerate()
            .flat_map(|(i, &word)| ones(i, word))
    }

    /// The first piece from this one on that is not in the set.
    #[must_use]
    pub fn first_missing(&self, from: PieceIndex) -> Option<PieceIndex> {
        let words = self.words().iter().enumerate().skip(from.at() / 64);
        let missing = words.flat_map(|(i, &word)| ones(i, !word));
        let mut missing = missing.skip_while(|piece| *piece < from);
        missing.next().filter(|piece| piece.0 < self.len())
    }

    /// The pieces in both sets, in order.
    pub fn iter_and<'a>(&'a self, other: &'a BitSet) -> impl Iterator<Item = PieceIndex> + 'a {
        self.words()
            .iter()
            .zip(other.words())
            .enumerate()
            .flat_map(|(i, (a, b))| ones(i, a & b))
    }

    /// Whether any of the pieces in both sets has a number below `bound`; `numbers`: one for each piece.
    #[must_use]
    pub fn any_and_below(&self, other: &BitSet, numbers: &[u16], bound: u16) -> bool {
        let words = self.words().iter().zip(other.words());
        let mut parts = words.zip(numbers.chunks(64));
        parts.any(|((a, b), numbers)| {
            let both = a & b;
            // Mostly none has: all of a word are compared together, faster than the bits of it one by one.
            let least = || numbers.iter().fold(u16::MAX, |least, n| least.min(*n));
            both != 0 && least() < bound && ones(0, both).any(|place| numbers[place.at()] < bound)
        })
    }

    /// The pieces in both sets, as a set.
    #[must_use]
    pub fn and(&self, other: &BitSet) -> BitSet {
        let mut both = self.clone();
        for (i, word) in both.words_mut().iter_mut().enumerate() {
            *word &= other.words().get(i).copied().unwrap_or(0);
        }
        both.recount();
        both
    }

    /// How many pieces are in `self` and not in `other`.
    #[must_use]
    pub fn count_minus(&self, other: &BitSet) -> u32 {
        self.words()
            .iter()
            .zip(other.words())
            .map(|(a, b)| (a & !b).count_ones())
            .sum()
    }
}

/// The set bits of word number `i`.
fn ones(i: usize, word: u64) -> impl Iterator<Item = PieceIndex> {
    let base = u32::try_from(i * 64).expect("as many bits as pieces");
    let mut rest = word;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            PieceIndex(base + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn wire_form_reads_back(bits in prop::collection::vec(any::<bool>(), 0..200)) {
            let len = bits.len() as u32;
            let mut set = BitSet::empty(len);
            for (i, _) in bits.iter().enumerate().filter(|(_, b)| **b) {
                set.insert(PieceIndex(i as u32));
            }
            let wire = set.to_wire();
            prop_assert_eq!(wire.len() as u32, len.div_ceil(8));
            prop_assert_eq!(BitSet::from_wire(&wire, len), Some(set.clone()));
            prop_assert_eq!(set.count() as usize, set.iter().count());
            let all = BitSet::full(len);
            prop_assert_eq!(all.iter_and(&set).count() as u32, set.count());
            prop_assert_eq!(all.count_minus(&set), len - set.count());
            let numbers: Vec<_> = (0..len).map(|n| (n * 7 % 23) as u16).collect();
            for bound in 0..24 {
                let below = set.iter().any(|piece| numbers[piece.at()] < bound);
                prop_assert_eq!(all.any_and_below(&set, &numbers, bound), below);
            }
            for from in 0..=len {
                let missing = (from..len).map(PieceIndex).find(|p| !set.contains(*p));
                prop_assert_eq!(set.first_missing(PieceIndex(from)), missing);
            }
        }
    }

    #[test]
    fn a_set_is_one_cache_line() {
        assert_eq!((size_of::<BitSet>(), align_of::<BitSet>()), (64, 64));
        for len in [0, 448, 449, 65_536] {
            let set = BitSet::full(len);
            assert!(set.len() == len && set.is_full());
            assert_eq!(set.iter().count(), len as usize);
        }
    }

    #[test]
    fn piece_0_is_the_high_bit_and_spare_bits_are_refused() {
        let set = BitSet::from_wire(&[0b1000_0000, 0b0100_0000], 10).expect("legal");
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [PieceIndex(0), PieceIndex(9)]
        );
        assert_eq!(BitSet::from_wire(&[0, 0b0010_0000], 10), None);
        assert_eq!(BitSet::from_wire(&[0], 10), None);
    }
}
