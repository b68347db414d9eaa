//! Owns the simulated disk of one host: what it holds of the content, across its client's lives.
//!
//! Invariants: a block that equals the content is held as a reference to it, so memory does not
//! grow with peers x content; anything else is held as it came and hashed for real.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use sha1::{Digest, Sha1};
use skep_engine::storage::{Storage, StorageEvent, Verified};
use skep_engine::{BlockRange, PieceIndex};

use crate::content::Content;
use crate::file_disk::Part;

/// One block on disk.
#[derive(Clone, Debug)]
enum Block {
    Missing,
    /// Equal to the content.
    True,
    False(Bytes),
}

/// One piece on disk.
#[derive(Clone, Debug)]
enum Piece {
    Empty,
    /// Every block is equal to the content.
    True,
    Blocks(Vec<Block>),
}

/// What one host's disk holds of the content. It outlives the client.
#[derive(Debug)]
pub struct Disk {
    pub(crate) content: Arc<Content>,
    /// As a peer has it; a client's stay empty.
    pieces: Vec<Piece>,
    /// As a client has it, by file; a peer has none.
    pub(crate) parts: Vec<Part>,
    /// A piece that is known to be the content is hashed all the same.
    pub(crate) hash_always: bool,
}

impl Disk {
    /// An empty disk of a peer.
    #[must_use]
    pub fn new(content: Arc<Content>) -> Disk {
        let pieces = vec![Piece::Empty; content.geometry().pieces as usize];
        Disk {
            content,
            pieces,
            parts: Vec::new(),
            hash_always: false,
        }
    }

    /// Bytes of the content that are not here and true.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        if !self.parts.is_empty() {
            return self.part_bytes_missing();
        }
        let geometry = self.content.geometry();
        let lacks = geometry.all_pieces().filter(|p| !self.piece_is_true(*p));
        lacks.map(|p| u64::from(geometry.piece_len(p))).sum()
    }

    /// Whether the whole content is here: for a peer every piece, for a client every file under its name.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self.parts.is_empty() {
            true => self.missing_bytes() == 0,
            false => self.all_parts_finished(),
        }
    }

    /// Puts true pieces on the disk before the run.
    pub fn preload(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        for piece in pieces {
            self.pieces[piece.at()] = Piece::True;
        }
    }

    /// Whether every block of a piece is there and equal to the content.
    #[must_use]
    pub fn piece_is_true(&self, piece: PieceIndex) -> bool {
        match &self.pieces[piece.at()] {
            Piece::Empty => false,
            Piece::True => true,
            Piece::Blocks(blocks) => blocks.iter().all(|b| matches!(b, Block::True)),
        }
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        let geometry = self.content.geometry();
        let number = geometry
            .block_number(range)
            .expect("the session writes whole blocks");
        let block = if self.content.is_true(range, &data) {
            Block::True
        } else {
            Block::False(data)
        };
        let piece = &mut self.pieces[range.piece.at()];
        let blocks = geometry.blocks_in(range.piece) as usize;
        match piece {
            Piece::True if matches!(block, Block::True) => return,
            Piece::True => *piece = Piece::Blocks(vec![Block::True; blocks]),
            Piece::Empty => *piece = Piece::Blocks(vec![Block::Missing; blocks]),
            Piece::Blocks(_) => {}
        }
        if let Piece::Blocks(blocks) = piece {
            blocks[number as usize] = block;
        }
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) -> Verified {
        // A piece that is the content is good without hashing it again: the content was hashed
        // when it was generated. Everything else is hashed for real.
        let recognised = !self.hash_always && self.piece_is_true(piece);
        let good = recognised || self.hash(piece) == Some(self.content.piece_hash(piece));
        if good && self.piece_is_true(piece) {
            self.pieces[piece.at()] = Piece::True;
        }
        let digests = (digests || !good).then(|| self.digests(piece));
        Verified {
            piece,
            good,
            digests,
        }
    }

    /// SHA-1 of a piece as it is here; `None` while blocks are missing.
    fn hash(&self, piece: PieceIndex) -> Option<[u8; 20]> {
        let mut hasher = Sha1::new();
        for number in 0..self.content.geometry().blocks_in(piece) {
            hasher.update(self.block(piece, number)?);
        }
        Some(hasher.finalize().into())
    }

    fn digests(&self, piece: PieceIndex) -> Vec<[u8; 20]> {
        (0..self.content.geometry().blocks_in(piece))
            .map(|number| Sha1::digest(self.block(piece, number).unwrap_or_default()).into())
            .collect()
    }

    /// The bytes of one block as they are here.
    fn block(&self, piece: PieceIndex, number: u32) -> Option<Bytes> {
        let range = self.content.geometry().block(piece, number);
        match &self.pieces[piece.at()] {
            Piece::Empty => None,
            Piece::True => Some(self.content.slice(range)),
            Piece::Blocks(blocks) => match &blocks[number as usize] {
                Block::Missing => None,
                Block::True => Some(self.content.slice(range)),
                Block::False(data) => Some(data.clone()),
            },
        }
    }

    fn read(&self, range: BlockRange) -> std::io::Result<Bytes> {
        if let Piece::True = self.pieces[range.piece.at()] {
            return Ok(self.content.slice(range));
        }
        let mut out = BytesMut::new();
        for number in 0..self.content.geometry().blocks_in(range.piece) {
            let missing = std::io::ErrorKind::UnexpectedEof;
            out.extend_from_slice(&self.block(range.piece, number).ok_or(missing)?);
        }
        let (from, to) = (
            range.begin as usize,
            range.begin as usize + range.len as usize,
        );
        Ok(out.freeze().slice(from..to))
    }
}

/// The disk as one life of a client sees it. Answers come at once, in order.
#[derive(Debug)]
pub struct DiskStorage {
    disk: Rc<RefCell<Disk>>,
    answers: VecDeque<StorageEvent>,
    waker: Option<Waker>,
}

impl DiskStorage {
    /// Opens the disk for a client that starts.
    #[must_use]
    pub fn open(disk: Rc<RefCell<Disk>>) -> DiskStorage {
        DiskStorage {
            disk,
            answers: VecDeque::new(),
            waker: None,
        }
    }

    fn answer(&mut self, event: StorageEvent) {
        self.answers.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Storage for DiskStorage {
    fn read(&mut self, token: u64, range: BlockRange) {
        let result = self.disk.borrow().read(range);
        self.answer(StorageEvent::Read {
            token,
            range,
            result,
        });
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        self.disk.borrow_mut().write(range, data);
        self.answer(StorageEvent::Written {
            range,
            result: Ok(()),
        });
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) {
        let verified = self.disk.borrow_mut().verify(piece, digests);
        self.answer(StorageEvent::Verified(Ok(verified)));
    }

    fn finish(&mut self) {
        self.answer(StorageEvent::Finished(Ok(())));
    }

    fn may_hold_content(&self) -> bool {
        self.disk
            .borrow()
            .pieces
            .iter()
            .any(|piece| !matches!(piece, Piece::Empty))
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
    use crate::scenario::plan::TorrentPlan;

    fn disk() -> Disk {
        let plan = TorrentPlan {
            files: vec![("a".into(), 100_000)],
            piece_bytes: 32_768,
        };
        Disk::new(Arc::new(Content::generate(
            &plan,
            1,
            "http://10.0.0.1:6969/announce",
        )))
    }

    #[test]
    fn true_blocks_are_references_and_false_ones_are_hashed_for_real() {
        let mut disk = disk();
        let piece = PieceIndex(0);
        let geometry = disk.content.geometry();
        let (first, second) = (geometry.block(piece, 0), geometry.block(piece, 1));
        assert!(!disk.verify(piece, false).good, "nothing is there");
        disk.write(first, disk.content.slice(first));
        let copied = Bytes::from(disk.content.slice(second).to_vec());
        disk.write(second, copied);
        assert!(disk.verify(piece, false).good);
        assert!(
            matches!(disk.pieces[0], Piece::True),
            "both by address and by comparison"
        );
        disk.write(second, Bytes::from(vec![0; 16384]));
        let verified = disk.verify(piece, false);
        assert!(!verified.good);
        let digests = verified.digests.expect("a bad piece has digests");
        disk.write(second, disk.content.slice(second));
        let good = disk.verify(piece, true).digests.expect("asked for");
        assert!(
            digests[0] == good[0] && digests[1] != good[1],
            "they name the wrong block"
        );
    }

    #[test]
    fn the_last_piece_may_be_short() {
        let mut disk = disk();
        let last = PieceIndex(3);
        let range = disk.content.geometry().block(last, 0);
        assert_eq!(range.len, 100_000 - 3 * 32_768);
        disk.write(range, disk.content.slice(range));
        assert!(disk.verify(last, false).good);
        assert_eq!(disk.read(range).expect("there"), disk.content.slice(range));
    }
}
