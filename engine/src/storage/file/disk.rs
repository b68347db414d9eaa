//! Owns the files of one torrent and the way from a piece to them. Runs on the storage thread.
//!
//! Invariant: a file that has its final name is never written to, and no file is ever replaced.
//! Unfinished files carry [`PART_SUFFIX`](crate::metainfo::PART_SUFFIX). What resume data claims was
//! hashed, and synced afterwards.

mod opening;
mod saving;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::handles::Handles;
use super::keeper::Keeper;
use super::layout::{DiskFile, State};
use super::parts::Parts;
use super::{Preallocate, raw};
use crate::bits::BitSet;
use crate::ids::{BLOCK_BYTES, BlockRange, InfoHash, PieceIndex};
use crate::metainfo::Geometry;
use crate::metainfo::create::PieceHasher;
use crate::storage::memory::checked;
use crate::storage::{Known, Verified};

/// Bytes read at once while a piece is hashed.
const HASH_READ_BYTES: u32 = 16 * BLOCK_BYTES;

/// The part of a range that lies in one file.
struct Segment {
    file: usize,
    /// First byte inside the file.
    at: u64,
    /// Bytes.
    len: usize,
}

/// The files of one torrent.
#[derive(Debug)]
pub(super) struct Disk {
    info_hash: InfoHash,
    geometry: Geometry,
    hashes: Vec<[u8; 20]>,
    files: Vec<DiskFile>,
    skipped: BTreeSet<usize>,
    preallocate: Preallocate,
    handles: Handles,
    parts: Parts,
    read_only: bool,
    /// Folders with names that may not be durable yet.
    folders: BTreeSet<PathBuf>,
    verified: BitSet,
    /// Pieces that may be there and were not hashed since.
    unchecked: BitSet,
    /// Something that resume data says is not so any more.
    changed: bool,
    keeper: Option<Keeper>,
    /// At the start.
    pub(super) known: Known,
    pub(super) notes: Vec<String>,
}

impl Disk {
    /// Exactly the bytes of a range.
    pub(super) fn read(&mut self, range: BlockRange) -> io::Result<Bytes> {
        checked(&self.geometry, range)?;
        let mut buffer = vec![0; range.len as usize];
        match self.fill(range, &mut buffer)? {
            None => Ok(buffer.into()),
            Some(short) => {
                let text = format!("{}: the file is shorter than it was", short.display());
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
        }
    }

    /// Writes a block, across files where it spans them. Where a file already has its final name the
    /// block must be what is there. What falls on padding is dropped.
    pub(super) fn write(&mut self, range: BlockRange, data: &[u8]) -> io::Result<()> {
        checked(&self.geometry, range)?;
        if self.read_only {
            let text = "the content is only read";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        self.changed = true;
        self.verified.remove(range.piece);
        self.unchecked.insert(range.piece);
        let mut rest = data;
        for segment in self.segments(range) {
            let (now, later) = rest.split_at(segment.len);
            rest = later;
            let place = self.files[segment.file].offset + segment.at;
            let written = match self.files[segment.file].state {
                State::Partial => {
                    self.files[segment.file].unsynced = true;
                    let file = self.handle(segment.file);
                    file.and_then(|file| raw::write_all(file, now, segment.at))
                }
                State::Named => {
                    let file = self.handle(segment.file);
                    file.and_then(|file| unchanged(file, now, segment.at))
                }
                State::Away => {
                    let parts = &mut self.parts;
                    self.handles.with_room(|| parts.write(now, place))
                }
                State::Padding | State::Link => Ok(()),
            };
            written.map_err(|error| self.named(segment.file, &error))?;
        }
        Ok(())
    }

    /// Hashes a piece as it is on disk. Missing bytes count as zeros in the digests and make it bad.
    pub(super) fn verify(&mut self, piece: PieceIndex, digests: bool) -> io::Result<Verified> {
        let len = self.geometry.piece_len(piece);
        checked(
            &self.geometry,
            BlockRange {
                piece,
                begin: 0,
                len,
            },
        )?;
        let (hashed, missing) = self.hash(piece, self.geometry.piece_bytes)?;
        let good = !missing && hashed.first() == self.hashes.get(piece.at());
        let digests = if digests || !good {
            Some(self.hash(piece, BLOCK_BYTES)?.0)
        } else {
            None
        };
        self.changed |= self.unchecked.remove(piece);
        self.changed |= match good {
            true => self.verified.insert(piece),
            false => self.verified.remove(piece),
        };
        Ok(Verified {
            piece,
            good,
            digests,
        })
    }

    /// Makes the content durable, then gives every wanted file its final name.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(keeper) = &mut self.keeper {
            // It may be reading the names that change now.
            keeper.wait();
        }
        self.doubt_after_failure();
        // What is synced is opened for it, and some systems do not rename what is open.
        self.handles.clear();
        let skipped = &self.skipped;
        let wanted =
            |(at, file): &(usize, &DiskFile)| file.state == State::Partial && !skipped.contains(at);
        let partial: Vec<usize> = self
            .files
            .iter()
            .enumerate()
            .filter(wanted)
            .map(|(at, _)| at)
            .collect();
        let unsynced = partial.iter().map(|at| &self.files[*at]);
        let unsynced: Vec<_> = unsynced
            .filter(|file| file.unsynced)
            .map(DiskFile::path_now)
            .collect();
        raw::sync_files(&unsynced)?;
        for at in &partial {
            self.files[*at].unsynced = false;
        }
        for at in partial {
            let file = &self.files[at];
            let published = raw::publish(&file.partial_path(), &file.path);
            published.map_err(|error| self.named(at, &error))?;
            self.folders.extend(file.path.parent().map(Path::to_owned));
            self.files[at].state = State::Named;
            self.changed = true;
        }
        for folder in std::mem::take(&mut self.folders) {
            raw::sync_folder(&folder);
        }
        // The content is durable whether or not this can be remembered.
        let _ = self.save();
        if let Some(keeper) = &mut self.keeper
            && self
                .files
                .iter()
                .all(|file| !matches!(file.state, State::Partial | State::Away))
        {
            keeper.share();
        }
        Ok(())
    }

    /// Whether everything that may be there has been checked.
    pub(super) fn is_checked(&self) -> bool {
        self.unchecked.is_empty()
    }

    /// The hashes of a piece in portions of `portion` bytes, and whether bytes were missing.
    fn hash(&mut self, piece: PieceIndex, portion: u32) -> io::Result<(Vec<[u8; 20]>, bool)> {
        let mut hasher = PieceHasher::new(portion);
        let mut missing = false;
        let piece_len = self.geometry.piece_len(piece);
        let mut buffer = vec![0; piece_len.min(HASH_READ_BYTES) as usize];
        let mut begin = 0;
        while begin < piece_len {
            let len = (piece_len - begin).min(HASH_READ_BYTES);
            let buffer = &mut buffer[..len as usize];
            buffer.fill(0);
            missing |= self
                .fill(BlockRange { piece, begin, len }, buffer)?
                .is_some();
            hasher.update(buffer);
            begin += len;
        }
        Ok((hasher.finish(), missing))
    }

    /// Reads a range into a buffer of zeros of its length; returns a file that is too short or gone,
    /// where the buffer is left as it was.
    fn fill(&mut self, range: BlockRange, buffer: &mut [u8]) -> io::Result<Option<PathBuf>> {
        let mut short = None;
        let mut rest = buffer;
        for segment in self.segments(range) {
            let (now, later) = rest.split_at_mut(segment.len);
            rest = later;
            let place = self.files[segment.file].offset + segment.at;
            let read = match self.files[segment.file].state {
                State::Partial | State::Named => {
                    let file = self.handle(segment.file);
                    file.and_then(|file| raw::read_fully(file, now, segment.at))
                }
                State::Away => {
                    let parts = &mut self.parts;
                    self.handles.with_room(|| parts.read(now, place))
                }
                State::Padding | State::Link => Ok(segment.len),
            };
            let whole = match read {
                Ok(read) => read == segment.len,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(self.named(segment.file, &error)),
            };
            if !whole && short.is_none() {
                short = Some(self.files[segment.file].path_now());
            }
        }
        Ok(short)
    }

    /// The files that a range inside the content touches, in order.
    fn segments(&self, range: BlockRange) -> Vec<Segment> {
        let mut start = self.geometry.offset(range.piece) + u64::from(range.begin);
        let end = start + u64::from(range.len);
        let first = self
            .files
            .partition_point(|file| file.offset + file.len <= start);
        let mut segments = Vec::with_capacity(1);
        for (number, file) in self.files.iter().enumerate().skip(first) {
            if start == end {
                break;
            }
            let upto = end.min(file.offset + file.len);
            if upto > start {
                let len =
                    usize::try_from(upto - start).expect("a range has at most u32::MAX bytes");
                segments.push(Segment {
                    file: number,
                    at: start - file.offset,
                    len,
                });
                start = upto;
            }
        }
        segments
    }

    /// The open file of this number.
    fn handle(&mut self, number: usize) -> io::Result<&std::fs::File> {
        let file = &self.files[number];
        let writes = file.state == State::Partial && !self.read_only;
        self.handles.get(number, || (file.path_now(), writes))
    }

    fn named(&self, number: usize, error: &io::Error) -> io::Error {
        let file = &self.files[number];
        match file.state {
            State::Away => raw::named(&self.parts.path, error),
            _ => raw::named(&file.path_now(), error),
        }
    }
}

/// Whether the bytes are what the file has already.
fn unchanged(file: &std::fs::File, expected: &[u8], at: u64) -> io::Result<()> {
    let mut there = vec![0; expected.len()];
    if raw::read_fully(file, &mut there, at)? == expected.len() && there == expected {
        return Ok(());
    }
    let text = "the file that is already there is different; it was left as it is";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
}
