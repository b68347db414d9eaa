//! Owns the arithmetic between content, pieces and blocks.
//!
//! Invariant: `piece_bytes > 0`, and the number of pieces is `ceil(total / piece_bytes)`.

use crate::ids::{BLOCK_BYTES, BlockRange, PieceIndex};

/// Sizes of one torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes of the content.
    pub total: u64,
    /// Bytes of every piece but perhaps the last.
    pub piece_bytes: u32,
    /// Number of pieces.
    pub pieces: u32,
}

impl Geometry {
    /// The geometry of `total` bytes in pieces of `piece_bytes`; `None` when a piece has no bytes
    /// or there are more than `u32::MAX` pieces.
    #[must_use]
    pub fn new(total: u64, piece_bytes: u32) -> Option<Geometry> {
        if piece_bytes == 0 {
            return None;
        }
        let pieces = u32::try_from(total.div_ceil(u64::from(piece_bytes))).ok()?;
        Some(Geometry {
            total,
            piece_bytes,
            pieces,
        })
    }

    /// First byte of a piece inside the content.
    #[must_use]
    pub fn offset(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_bytes)
    }

    /// Bytes of a piece; 0 when there is no such piece.
    #[must_use]
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let rest = self.total.saturating_sub(self.offset(piece));
        u32::try_from(rest.min(u64::from(self.piece_bytes))).expect("at most piece_bytes")
    }

    /// Blocks of a piece.
    #[must_use]
    pub fn blocks_in(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_BYTES)
    }

    /// The range of one block, counted from 0 inside its piece.
    #[must_use]
    pub fn block(&self, piece: PieceIndex, block: u32) -> BlockRange {
        let begin = block * BLOCK_BYTES;
        BlockRange {
            piece,
            begin,
            len: (self.piece_len(piece) - begin).min(BLOCK_BYTES),
        }
    }

    /// The number of the block that is exactly this range, if it is one.
    #[must_use]
    pub fn block_number(&self, range: BlockRange) -> Option<u32> {
        let number = range.begin / BLOCK_BYTES;
        (range.begin.is_multiple_of(BLOCK_BYTES)
            && range.piece.0 < self.pieces
            && number < self.blocks_in(range.piece)
            && self.block(range.piece, number) == range)
            .then_some(number)
    }

    /// Whether a range of at least one byte lies inside its piece.
    #[must_use]
    pub fn contains(&self, range: BlockRange) -> bool {
        range.piece.0 < self.pieces
            && range.len > 0
            && u64::from(range.begin) + u64::from(range.len)
                <= u64::from(self.piece_len(range.piece))
    }

    /// All pieces, in order.
    pub fn all_pieces(&self) -> impl Iterator<Item = PieceIndex> + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// Bytes of a bitfield message's payload (BEP 3).
    #[must_use]
    pub fn bitfield_bytes(&self) -> u32 {
        self.pieces.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_add_up() {
        for (total, piece_bytes) in [
            (1, 16384),
            (16384 * 4, 16384),
            (16384 * 4 + 1, 16384),
            (100_000, 20_000),
            (0, 16384),
        ] {
            let g = Geometry::new(total, piece_bytes).expect("pieces have bytes");
            let sum: u64 = g
                .all_pieces()
                .flat_map(|p| (0..g.blocks_in(p)).map(move |b| u64::from(g.block(p, b).len)))
                .sum();
            assert_eq!(sum, total);
            assert_eq!(g.piece_len(PieceIndex(g.pieces)), 0);
            for p in g.all_pieces() {
                for b in 0..g.blocks_in(p) {
                    assert_eq!(g.block_number(g.block(p, b)), Some(b));
                }
            }
        }
        assert_eq!(Geometry::new(5, 0), None);
    }
}
