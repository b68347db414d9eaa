//! Owns [`Cutter`]: cuts a stream of the content's bytes into blocks.
//!
//! Invariant: what goes in comes out, in order, as whole blocks at their places; at most one block waits for
//! its rest.

use bytes::{Bytes, BytesMut};

use crate::ids::{BLOCK_BYTES, BlockRange, PieceIndex};
use crate::metainfo::Geometry;

/// Cuts the bytes of one request.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The first byte of the content that has not come out.
    at: u64,
    begun: BytesMut,
}

impl Cutter {
    /// Bytes that begin here, which is where a block begins.
    pub fn new(at: u64) -> Cutter {
        Cutter {
            at,
            begun: BytesMut::new(),
        }
    }

    /// The next whole block, taking from `data` what it needs. A block that lies in `data` is not copied.
    pub fn cut(&mut self, geometry: &Geometry, data: &mut Bytes) -> Option<(BlockRange, Bytes)> {
        let piece = self.at / u64::from(geometry.piece_bytes);
        let piece = PieceIndex(u32::try_from(piece).expect("a piece's number has 32 bits"));
        let begin = u32::try_from(self.at - geometry.offset(piece)).expect("inside the piece");
        let range = geometry.block(piece, begin / BLOCK_BYTES);
        let len = range.len as usize;
        let block = if self.begun.is_empty() && data.len() >= len {
            data.split_to(len)
        } else {
            let more = data.len().min(len - self.begun.len());
            self.begun.extend_from_slice(&data.split_to(more));
            if self.begun.len() < len {
                return None;
            }
            self.begun.split().freeze()
        };
        self.at += u64::from(range.len);
        Some((range, block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_out_whole_and_at_their_places_however_the_bytes_came_in() {
        // Pieces of a block and a half, the last one shorter.
        let geometry = Geometry::new(3 * 24_576 - 100, 24_576).expect("sizes");
        let content: Vec<u8> = (0..geometry.total).map(|i| (i * 7 / 5) as u8).collect();
        for step in [1, 100, 16_384, 20_000, 100_000] {
            let mut cutter = Cutter::new(24_576);
            let mut at = 24_576;
            for data in content[24_576..].chunks(step) {
                let mut data = Bytes::copy_from_slice(data);
                while !data.is_empty() {
                    let Some((range, block)) = cutter.cut(&geometry, &mut data) else {
                        continue;
                    };
                    let start = geometry.offset(range.piece) + u64::from(range.begin);
                    assert_eq!((start, block.len()), (at, range.len as usize));
                    assert_eq!(block[..], content[at as usize..][..block.len()]);
                    assert!(geometry.block_number(range).is_some());
                    at += block.len() as u64;
                }
            }
            assert_eq!(at, geometry.total, "{step}");
        }
    }
}
