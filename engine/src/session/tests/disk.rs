//! Owns the disk of one host: content that is known, and what was written of it.

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::bits::BitSet;
use crate::ids::{BLOCK_BYTES, BlockRange, PieceIndex};
use crate::metainfo::Geometry;
use crate::storage::Verified;

/// Content that tells its bytes apart, and what a host has written of it.
pub(super) struct Disk {
    pub(super) geometry: Geometry,
    pub(super) content: Bytes,
    pub(super) written: Vec<u8>,
}

impl Disk {
    pub(super) fn new(geometry: Geometry, have: &BitSet) -> Disk {
        let bytes = (0..geometry.total).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8);
        let mut disk = Disk {
            geometry,
            content: bytes.collect(),
            written: vec![0; geometry.total as usize],
        };
        for piece in have.iter() {
            let range = disk.piece(piece);
            disk.written[range.clone()].copy_from_slice(&disk.content[range]);
        }
        disk
    }

    fn piece(&self, piece: PieceIndex) -> std::ops::Range<usize> {
        let from = self.geometry.offset(piece) as usize;
        from..from + self.geometry.piece_len(piece) as usize
    }

    fn bytes(&self, range: BlockRange) -> std::ops::Range<usize> {
        let from = self.geometry.offset(range.piece) as usize + range.begin as usize;
        from..from + range.len as usize
    }

    pub(super) fn good_block(&self, range: BlockRange) -> Bytes {
        self.content.slice(self.bytes(range))
    }

    pub(super) fn read(&self, range: BlockRange) -> Bytes {
        Bytes::copy_from_slice(&self.written[self.bytes(range)])
    }

    pub(super) fn write(&mut self, range: BlockRange, data: &[u8]) {
        let at = self.bytes(range);
        self.written[at].copy_from_slice(data);
    }

    pub(super) fn verify(&self, piece: PieceIndex, digests: bool) -> Verified {
        let at = self.piece(piece);
        let is = &self.written[at.clone()];
        let good = is == &self.content[at];
        let blocks = is.chunks(BLOCK_BYTES as usize);
        let digests = (digests || !good).then(|| blocks.map(|b| Sha1::digest(b).into()).collect());
        Verified {
            piece,
            good,
            digests,
        }
    }
}
