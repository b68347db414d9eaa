//! Owns the seam between a host and its disk. Real: [`mod@file`]. In memory: [`memory`].
//!
//! Invariant: a storage never decides what is true. It writes what it is told, and `verify` hashes
//! what is there *now*; the session marks pieces. A storage error is never a peer's fault.

pub mod file;
pub mod memory;
pub mod resume;

use std::collections::BTreeSet;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::bits::BitSet;
use crate::ids::{BlockRange, PieceIndex};

/// SHA-1 of one block, for telling who sent the wrong one (smart ban).
pub type BlockDigest = [u8; 20];

/// The answer to [`Storage::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The piece.
    pub piece: PieceIndex,
    /// Whether its SHA-1 is the metainfo's.
    pub good: bool,
    /// One digest per 16 KiB block, in order; present when asked for, or when the piece is bad.
    pub digests: Option<Vec<BlockDigest>>,
}

/// What a disk answers.
#[derive(Debug)]
pub enum StorageEvent {
    /// The answer to [`Storage::read`].
    Read {
        /// The caller's number.
        token: u64,
        /// What was asked for.
        range: BlockRange,
        /// Exactly `range.len` bytes.
        result: io::Result<Bytes>,
    },
    /// The answer to [`Storage::write`].
    Written {
        /// What was written.
        range: BlockRange,
        /// Whether it worked.
        result: io::Result<()>,
    },
    /// The answer to [`Storage::verify`].
    Verified(io::Result<Verified>),
    /// The answer to [`Storage::finish`].
    Finished(io::Result<()>),
    /// The answer to [`Storage::set_skipped`].
    Skipped(io::Result<()>),
}

/// What is known of a disk's pieces before any of them is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Verified before, and their files have not changed since.
    pub have: BitSet,
    /// To be verified, as something of them may be there. None of `have`. All others are missing.
    pub unchecked: BitSet,
}

/// Whether an error means that there is no room: the disk or the user's share of it is full, or a
/// file may not grow.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The disk of one torrent on one host: a mailbox like the network. Answers come in the order of
/// the calls.
pub trait Storage {
    /// Reads a range of one piece.
    fn read(&mut self, token: u64, range: BlockRange);

    /// Writes a block; `range.len` is the length of `data`.
    fn write(&mut self, range: BlockRange, data: Bytes);

    /// Hashes a piece as it is on disk. Missing bytes make it bad, not an error.
    fn verify(&mut self, piece: PieceIndex, digests: bool);

    /// Every piece is verified: makes the content durable and gives the files their final names.
    fn finish(&mut self);

    /// Whether the disk may hold anything of this torrent: if not, a start needs no check.
    fn may_hold_content(&self) -> bool;

    /// What is known of the pieces without looking; `None` when nothing is. Only at the start.
    fn known(&self) -> Option<Known> {
        None
    }

    /// From now on these files, by number, are not wanted, and all others are. Pieces are written
    /// as before; where files exist it changes which. Without files there is nothing to do, and
    /// no answer.
    fn set_skipped(&mut self, _files: BTreeSet<usize>) {}

    /// Asks for memory that the next call looks at; see [`crate::prefetch`].
    fn prefetch(&self) {}

    /// As [`Storage::prefetch`], for a call about a block of this piece.
    fn prefetch_piece(&self, _piece: PieceIndex) {}

    /// The next answer.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StorageEvent>;
}
