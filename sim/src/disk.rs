//! Owns the simulated disk of one host: what it holds of the content, across its client's lives.
//!
//! Invariants: a block that equals the content is held as a reference to it, so memory does not
//! grow with peers x content; anything else is held as it came and hashed for real. Only a fault changes
//! what is here without being asked.

pub mod condition;
mod journal;
mod storage;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use sha1::{Digest, Sha1};
use skep_engine::prefetch;
use skep_engine::storage::resume::FileStamp;
use skep_engine::storage::{Known, Verified};
use skep_engine::{BlockRange, PieceIndex};
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use crate::content::Content;
use crate::file_disk::Part;
use crate::scenario::draw;
use condition::{Condition, Operation, Speed};
use journal::{Journal, Unsynced};
pub use storage::DiskStorage;

/// What a disk writes at once: a write that the power fails in ends after a whole number of them.
const SECTOR: usize = 512;

/// One block on disk.
#[derive(Clone, Debug)]
enum Block {
    Missing,
    /// Equal to the content.
    True,
    False(Bytes),
}

/// What is known of one block without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Missing,
    True,
    /// Its bytes are in [`Disk::falsehoods`].
    False,
}

/// One piece on disk.
#[derive(Clone, Debug)]
enum Piece {
    Empty,
    /// Every block is equal to the content.
    True,
    /// A byte per block; those of a piece of usual length lie here.
    Blocks(SmallVec<[Kind; 16]>),
}

const _: () = assert!(size_of::<Piece>() <= 32);

/// What one host's disk holds of the content. It outlives the client.
#[derive(Debug)]
pub struct Disk {
    pub(crate) content: Arc<Content>,
    /// As a peer has it; a client's stay empty.
    pieces: Vec<Piece>,
    /// Blocks that are not the content, by piece and number.
    falsehoods: BTreeMap<(PieceIndex, u32), Bytes>,
    /// As a client has it, by file; a peer has none.
    pub(crate) parts: Vec<Part>,
    /// How fast it is, and what is wrong with it.
    pub condition: Condition,
    /// When a client or server of direct download has done its last operation.
    pub(crate) busy_until: Option<Instant>,
    /// Kept where the power may fail.
    journal: Option<Box<Journal>>,
    /// Its client is killed, and does not end by itself.
    killed: bool,
    /// The power failed; what that does is seen at the next start.
    power_lost: Option<Box<ChaCha8Rng>>,
    /// Pieces of which a bit flipped.
    flipped: BTreeSet<PieceIndex>,
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
            falsehoods: BTreeMap::new(),
            parts: Vec::new(),
            condition: Condition::default(),
            busy_until: None,
            journal: None,
            killed: false,
            power_lost: None,
            flipped: BTreeSet::new(),
            hash_always: false,
        }
    }

    /// It is this fast.
    pub fn set_speed(&mut self, speed: Speed) {
        self.condition = Condition::of(speed);
    }

    /// It keeps a journal of what was synced, and resume data: for hosts whose clients end and start again.
    pub fn keep_journal(&mut self) {
        let geometry = self.content.geometry();
        let there = self.content.metainfo.files.iter().map(|file| {
            let mut pieces = self.pieces[file.pieces(geometry)].iter();
            let any = pieces.any(|piece| !matches!(piece, Piece::Empty));
            any.then_some(FileStamp {
                len: file.len,
                modified_ns: 0,
            })
        });
        self.journal = Some(Box::new(Journal::new(geometry.pieces, there)));
    }

    /// Its client is killed at this moment: what is queued is not done.
    pub fn kill(&mut self) {
        self.killed = true;
    }

    fn killed(&self) -> bool {
        self.killed
    }

    /// The power fails at `now`: what was not synced is gone at the next start, and `rng` says how much of the
    /// last write is there.
    pub fn lose_power(&mut self, now: Instant, rng: ChaCha8Rng) {
        self.kill();
        if let Some(journal) = &mut self.journal {
            journal.catch_up(&self.content, now);
        }
        self.power_lost = Some(Box::new(rng));
    }

    /// The host starts again: after a loss of power its disk is found as that left it.
    pub fn power_up(&mut self) {
        let Some(mut rng) = self.power_lost.take() else {
            return;
        };
        let lost = self.journal.as_mut().map(|journal| journal.power_lost());
        let mut torn = true;
        // The youngest first: what was there before it is the older write.
        for write in lost.unwrap_or_default().into_iter().rev() {
            let Unsynced {
                piece,
                number,
                before,
            } = write;
            let written = self.block(piece, number);
            let block = match written.filter(|_| std::mem::take(&mut torn)) {
                Some(written) => self.torn(piece, number, &written, &before, &mut rng),
                None => before,
            };
            self.set_block(piece, number, block);
        }
    }

    /// The first sectors of a write over what was there before; never the whole write.
    fn torn(
        &self,
        piece: PieceIndex,
        number: u32,
        written: &Bytes,
        before: &Block,
        rng: &mut ChaCha8Rng,
    ) -> Block {
        let sectors = written.len().div_ceil(SECTOR);
        let kept = draw::below(rng, sectors as u64);
        let kept = usize::try_from(kept).expect("a block is in memory") * SECTOR;
        let before = match before {
            _ if kept == 0 => return before.clone(),
            Block::Missing => Bytes::from(vec![0; written.len()]),
            Block::False(data) => data.clone(),
            Block::True => {
                let range = self.content.geometry().block(piece, number);
                self.content.slice(range)
            }
        };
        let mut data = written.to_vec();
        data[kept..].copy_from_slice(&before[kept..]);
        self.as_block(self.content.geometry().block(piece, number), data.into())
    }

    /// A bit of a piece that is whole flips, unnoticed; which, `rng` says. Returns the piece; `None` when no
    /// piece is whole.
    pub fn flip_bit(&mut self, rng: &mut ChaCha8Rng) -> Option<PieceIndex> {
        let geometry = self.content.geometry();
        let whole: Vec<_> = geometry
            .all_pieces()
            .filter(|p| self.piece_is_true(*p))
            .collect();
        let mut index = |of: usize| usize::try_from(draw::below(rng, of as u64)).expect("an index");
        let piece = *whole.get(index(whole.len()))?;
        let number = u32::try_from(index(geometry.blocks_in(piece) as usize)).expect("few blocks");
        let mut data = self.block(piece, number).expect("it is whole").to_vec();
        let bit = index(data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
        self.set_block(piece, number, Block::False(data.into()));
        self.flipped.insert(piece);
        Some(piece)
    }

    /// Whether a bit of a piece ever flipped: its host may serve what it believes to be true, and is not.
    #[must_use]
    pub fn flipped(&self, piece: PieceIndex) -> bool {
        self.flipped.contains(&piece)
    }

    /// When an operation of a client or server of direct download is done that begins now, after those before it;
    /// `None`: at once.
    pub(crate) fn reserve(&mut self, operation: Operation, bytes: u64) -> Option<Instant> {
        let now = Instant::now();
        let time = self.condition.time(operation, bytes);
        let due = self.busy_until.map_or(now, |busy| busy.max(now)) + time;
        self.busy_until = (due > now).then_some(due);
        self.busy_until
    }

    /// Waits until nothing is wrong with it.
    pub async fn well(disk: &Rc<RefCell<Disk>>) {
        loop {
            let better = {
                let condition = &disk.borrow().condition;
                if !condition.ails() {
                    return;
                }
                condition.better()
            };
            better.notified().await;
        }
    }

    /// A client starts on it: what is known of its pieces without looking.
    fn open(&mut self, now: Instant) -> Option<Known> {
        self.killed = false;
        let content = Arc::clone(&self.content);
        self.journal.as_mut()?.open(&content, now)
    }

    /// Asks for the state of a piece.
    pub(crate) fn prefetch(&self, piece: PieceIndex) {
        if let Some(piece) = self.pieces.get(piece.at()) {
            prefetch::value(piece);
        }
    }

    /// Everything written is durable.
    fn finish(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.checkpoint(&self.content);
        }
    }

    fn holds_something(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| !matches!(piece, Piece::Empty))
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
            Piece::Blocks(blocks) => blocks.iter().all(|kind| *kind == Kind::True),
        }
    }

    /// `at`: when it is done, if that is not now.
    fn write(&mut self, range: BlockRange, data: Bytes, at: Option<Instant>) {
        let number = self.content.geometry().block_number(range);
        let number = number.expect("the session writes whole blocks");
        if self.journal.is_some() {
            let before = self.held(range.piece, number);
            let unsynced = Unsynced {
                piece: range.piece,
                number,
                before,
            };
            let now = at.unwrap_or_else(Instant::now);
            if let Some(journal) = &mut self.journal {
                journal.wrote(&self.content, unsynced, now);
            }
        }
        let block = self.as_block(range, data);
        self.set_block(range.piece, number, block);
    }

    fn as_block(&self, range: BlockRange, data: Bytes) -> Block {
        if self.content.is_true(range, &data) {
            Block::True
        } else {
            Block::False(data)
        }
    }

    fn kind(&self, piece: PieceIndex, number: u32) -> Kind {
        match &self.pieces[piece.at()] {
            Piece::Empty => Kind::Missing,
            Piece::True => Kind::True,
            Piece::Blocks(blocks) => blocks[number as usize],
        }
    }

    fn held(&self, piece: PieceIndex, number: u32) -> Block {
        match self.kind(piece, number) {
            Kind::Missing => Block::Missing,
            Kind::True => Block::True,
            Kind::False => Block::False(self.falsehoods[&(piece, number)].clone()),
        }
    }

    fn set_block(&mut self, at: PieceIndex, number: u32, block: Block) {
        let whole = self.content.geometry().blocks_in(at) as usize;
        let piece = &mut self.pieces[at.at()];
        match piece {
            Piece::True if matches!(block, Block::True) => return,
            Piece::True => *piece = Piece::Blocks(smallvec![Kind::True; whole]),
            Piece::Empty => *piece = Piece::Blocks(smallvec![Kind::Missing; whole]),
            Piece::Blocks(_) => {}
        }
        let kind = match &block {
            Block::Missing => Kind::Missing,
            Block::True => Kind::True,
            Block::False(_) => Kind::False,
        };
        let Piece::Blocks(blocks) = piece else { return };
        let before = std::mem::replace(&mut blocks[number as usize], kind);
        if let Block::False(data) = block {
            self.falsehoods.insert((at, number), data);
        } else if before == Kind::False {
            self.falsehoods.remove(&(at, number));
        }
    }

    /// `at`: when it is done, if that is not now.
    fn verify(&mut self, piece: PieceIndex, digests: bool, at: Option<Instant>) -> Verified {
        // A piece that is the content is good without hashing it again: the content was hashed
        // when it was generated. Everything else is hashed for real.
        let recognised = !self.hash_always && self.piece_is_true(piece);
        let good = recognised || self.hash(piece) == Some(self.content.piece_hash(piece));
        if good && self.piece_is_true(piece) {
            self.pieces[piece.at()] = Piece::True;
        }
        if let Some(journal) = &mut self.journal {
            let now = at.unwrap_or_else(Instant::now);
            journal.hashed(&self.content, piece, good, now);
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
        match self.kind(piece, number) {
            Kind::Missing => None,
            Kind::True => Some(self.content.slice(range)),
            Kind::False => Some(self.falsehoods[&(piece, number)].clone()),
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
            "http://10.0.0.1:6969/announce",
        )))
    }

    #[test]
    fn true_blocks_are_references_and_false_ones_are_hashed_for_real() {
        let mut disk = disk();
        let piece = PieceIndex(0);
        let geometry = disk.content.geometry();
        let (first, second) = (geometry.block(piece, 0), geometry.block(piece, 1));
        assert!(!disk.verify(piece, false, None).good, "nothing is there");
        disk.write(first, disk.content.slice(first), None);
        let copied = Bytes::from(disk.content.slice(second).to_vec());
        disk.write(second, copied, None);
        assert!(disk.verify(piece, false, None).good);
        assert!(
            matches!(disk.pieces[0], Piece::True),
            "both by address and by comparison"
        );
        disk.write(second, Bytes::from(vec![0; 16384]), None);
        let verified = disk.verify(piece, false, None);
        assert!(!verified.good);
        let digests = verified.digests.expect("a bad piece has digests");
        disk.write(second, disk.content.slice(second), None);
        let good = disk.verify(piece, true, None).digests.expect("asked for");
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
        disk.write(range, disk.content.slice(range), None);
        assert!(disk.verify(last, false, None).good);
        assert_eq!(disk.read(range).expect("there"), disk.content.slice(range));
    }
}
