//! Owns [`MemoryStorage`]: one torrent's content in memory, for tests and small tools.
//!
//! Invariant: answers come in the order of the calls, each exactly once; what was never written is
//! missing, not zero, unless later bytes of the same piece were written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::{Storage, StorageEvent, Verified};
use crate::ids::{BLOCK_BYTES, BlockRange, PieceIndex};
use crate::metainfo::Geometry;

/// A disk in memory. It answers at once, never fails by itself, and takes memory only for the pieces
/// that were written.
#[derive(Debug)]
pub struct MemoryStorage {
    geometry: Geometry,
    hashes: Vec<[u8; 20]>,
    /// The bytes of a piece up to the last one written.
    pieces: BTreeMap<PieceIndex, Vec<u8>>,
    answers: VecDeque<StorageEvent>,
    waker: Option<Waker>,
    held_content: bool,
}

/// Refuses a range that does not lie inside its piece.
pub(super) fn checked(geometry: &Geometry, range: BlockRange) -> io::Result<()> {
    if geometry.contains(range) {
        return Ok(());
    }
    let text = format!(
        "piece {} has no {} bytes at {}",
        range.piece, range.len, range.begin
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl MemoryStorage {
    /// An empty disk.
    ///
    /// # Panics
    /// When there is not one hash per piece.
    #[must_use]
    pub fn new(geometry: Geometry, piece_hashes: Vec<[u8; 20]>) -> MemoryStorage {
        assert_eq!(
            piece_hashes.len(),
            geometry.pieces as usize,
            "one hash per piece"
        );
        MemoryStorage {
            geometry,
            hashes: piece_hashes,
            pieces: BTreeMap::new(),
            answers: VecDeque::new(),
            waker: None,
            held_content: false,
        }
    }

    /// A disk that holds the first bytes of the content, or all of them. Nothing is verified.
    ///
    /// # Panics
    /// When there is not one hash per piece, or more content than the geometry has.
    #[must_use]
    pub fn with_content(
        geometry: Geometry,
        piece_hashes: Vec<[u8; 20]>,
        content: &[u8],
    ) -> MemoryStorage {
        assert!(
            content.len() as u64 <= geometry.total,
            "no more than the content"
        );
        let mut storage = MemoryStorage::new(geometry, piece_hashes);
        let portions = content
            .chunks(geometry.piece_bytes as usize)
            .map(<[u8]>::to_vec);
        storage.pieces = geometry.all_pieces().zip(portions).collect();
        storage.held_content = !content.is_empty();
        storage
    }

    fn answer(&mut self, event: StorageEvent) {
        self.answers.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn bytes_of(&self, range: BlockRange) -> io::Result<Bytes> {
        checked(&self.geometry, range)?;
        let begin = range.begin as usize;
        let piece = self.pieces.get(&range.piece).map_or(&[][..], Vec::as_slice);
        let found = piece.get(begin..begin + range.len as usize);
        found.map(Bytes::copy_from_slice).ok_or_else(|| {
            let text = format!("piece {} has not been written up to there", range.piece);
            io::Error::new(io::ErrorKind::UnexpectedEof, text)
        })
    }

    fn put(&mut self, range: BlockRange, data: &[u8]) -> io::Result<()> {
        checked(&self.geometry, range)?;
        let begin = range.begin as usize;
        let piece = self.pieces.entry(range.piece).or_default();
        piece.resize(piece.len().max(begin + data.len()), 0);
        piece[begin..begin + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn hashed(&self, piece: PieceIndex, digests: bool) -> io::Result<Verified> {
        let len = self.geometry.piece_len(piece);
        checked(
            &self.geometry,
            BlockRange {
                piece,
                begin: 0,
                len,
            },
        )?;
        let mut bytes = self.pieces.get(&piece).cloned().unwrap_or_default();
        let whole = bytes.len() == len as usize;
        bytes.resize(len as usize, 0);
        let good = whole && <[u8; 20]>::from(Sha1::digest(&bytes)) == self.hashes[piece.at()];
        let blocks = bytes
            .chunks(BLOCK_BYTES as usize)
            .map(|block| Sha1::digest(block).into());
        let digests = (digests || !good).then(|| blocks.collect());
        Ok(Verified {
            piece,
            good,
            digests,
        })
    }
}

impl Storage for MemoryStorage {
    fn read(&mut self, token: u64, range: BlockRange) {
        let result = self.bytes_of(range);
        self.answer(StorageEvent::Read {
            token,
            range,
            result,
        });
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        assert_eq!(
            data.len(),
            range.len as usize,
            "a block is as long as its range"
        );
        let result = self.put(range, &data);
        self.answer(StorageEvent::Written { range, result });
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) {
        let result = self.hashed(piece, digests);
        self.answer(StorageEvent::Verified(result));
    }

    fn finish(&mut self) {
        self.answer(StorageEvent::Finished(Ok(())));
    }

    fn may_hold_content(&self) -> bool {
        self.held_content
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StorageEvent> {
        match self.answers.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 40_001;

    fn disk(held: usize) -> (MemoryStorage, Vec<u8>) {
        let content: Vec<u8> = (0..LEN)
            .map(|i| u8::try_from(i % 251).expect("small"))
            .collect();
        let hashes = content
            .chunks(20_000)
            .map(|piece| Sha1::digest(piece).into())
            .collect();
        let geometry = Geometry::new(LEN as u64, 20_000).expect("a geometry");
        (
            MemoryStorage::with_content(geometry, hashes, &content[..held]),
            content,
        )
    }

    fn next(disk: &mut MemoryStorage) -> StorageEvent {
        match disk.poll_event(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => panic!("no answer"),
        }
    }

    fn verified(disk: &mut MemoryStorage, piece: u32) -> Verified {
        disk.verify(PieceIndex(piece), false);
        match next(disk) {
            StorageEvent::Verified(Ok(verified)) => verified,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_can_be_verified_and_read() {
        let (mut disk, content) = disk(0);
        assert!(!disk.may_hold_content());
        let geometry = disk.geometry;
        for piece in geometry.all_pieces() {
            assert!(!verified(&mut disk, piece.0).good, "nothing there yet");
            for block in 0..geometry.blocks_in(piece) {
                let range = geometry.block(piece, block);
                let at = (geometry.offset(piece) + u64::from(range.begin)) as usize;
                disk.write(
                    range,
                    Bytes::copy_from_slice(&content[at..at + range.len as usize]),
                );
                assert!(matches!(
                    next(&mut disk),
                    StorageEvent::Written { result: Ok(()), .. }
                ));
            }
            assert_eq!(
                verified(&mut disk, piece.0),
                Verified {
                    piece,
                    good: true,
                    digests: None
                }
            );
        }
        disk.read(
            7,
            BlockRange {
                piece: PieceIndex(2),
                begin: 0,
                len: 1,
            },
        );
        match next(&mut disk) {
            StorageEvent::Read {
                token: 7,
                result: Ok(bytes),
                ..
            } => assert_eq!(bytes, content[40_000..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_bad_and_cannot_be_read() {
        let (mut disk, content) = disk(20_001);
        assert!(disk.may_hold_content());
        assert!(verified(&mut disk, 0).good);
        let bad = verified(&mut disk, 1);
        assert!(!bad.good);
        assert_eq!(bad.digests.expect("of a bad piece").len(), 2);
        for (piece, begin, len) in [(1, 0, 2), (2, 0, 2), (3, 0, 1), (0, u32::MAX, u32::MAX)] {
            disk.read(
                1,
                BlockRange {
                    piece: PieceIndex(piece),
                    begin,
                    len,
                },
            );
            assert!(matches!(
                next(&mut disk),
                StorageEvent::Read { result: Err(_), .. }
            ));
        }
        disk.verify(PieceIndex(0), true);
        let StorageEvent::Verified(Ok(Verified {
            digests: Some(digests),
            ..
        })) = next(&mut disk)
        else {
            panic!("digests were asked for");
        };
        assert_eq!(
            digests[1],
            <[u8; 20]>::from(Sha1::digest(&content[16384..20_000]))
        );
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let flag = std::sync::Arc::new(Flag(false.into()));
        let waker = Waker::from(flag.clone());
        let (mut disk, _) = disk(LEN);
        assert!(
            disk.poll_event(&mut Context::from_waker(&waker))
                .is_pending()
        );
        disk.finish();
        assert!(flag.0.load(std::sync::atomic::Ordering::Relaxed));
        assert!(matches!(next(&mut disk), StorageEvent::Finished(Ok(()))));
    }
}
