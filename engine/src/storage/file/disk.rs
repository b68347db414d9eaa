//! Owns the files of one torrent and the way from a piece to them. Runs on the storage thread.
//!
//! Invariant: a file that has its final name is never written to, and no file is ever replaced.
//! Unfinished files carry [`PART_SUFFIX`](crate::metainfo::PART_SUFFIX). What resume data claims was
//! hashed, and synced afterwards.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::handles::Handles;
use super::keeper::{Checkpoint, Keeper, parts_path};
use super::layout::{self, DiskFile, State};
use super::parts::Parts;
use super::{FileOptions, OpenError, OpenMode, Preallocate, Resume, raw};
use crate::bits::BitSet;
use crate::ids::{BLOCK_BYTES, BlockRange, InfoHash, PieceIndex};
use crate::metainfo::create::PieceHasher;
use crate::metainfo::{Geometry, Metainfo};
use crate::storage::memory::checked;
use crate::storage::resume::{ResumeData, known_by_looking};
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
    /// Opens the files at `place`; makes those that a download lacks.
    pub(super) fn open(
        place: &Path,
        meta: &Metainfo,
        mode: OpenMode,
        options: &FileOptions,
    ) -> Result<Disk, OpenError> {
        let io = |source| OpenError::io(place, source);
        let whole = std::path::absolute(place).map_err(io)?;
        let folder = match mode {
            OpenMode::Seed => whole.parent().unwrap_or(&whole).to_owned(),
            OpenMode::Download | OpenMode::Check => {
                layout::check_folder(place)?;
                whole
            }
        };
        let keeps = options.resume != Resume::Off && mode != OpenMode::Check;
        let shared = mode == OpenMode::Seed;
        let mut keeper = match keeps && folder.is_dir() {
            true => Keeper::open(&folder, meta.info_hash, shared)?,
            false => None,
        };
        let parts_path = parts_path(&folder, meta.info_hash);
        let files = match mode {
            OpenMode::Download => layout::for_download(place, meta, &options.skipped)?,
            OpenMode::Seed => layout::for_seed(place, meta)?,
            OpenMode::Check => layout::for_check(place, meta, &parts_path),
        };
        let mut notes = Vec::new();
        let pieces = meta.geometry.pieces;
        let resume = match keeper.as_mut().filter(|_| options.resume == Resume::Use) {
            Some(keeper) => keeper
                .load(meta.info_hash, pieces, files.len())
                .unwrap_or_else(|why| {
                    notes.push(format!(
                        "the resume data cannot be used ({why}); everything is checked"
                    ));
                    None
                }),
            None => None,
        };
        let links = files.iter().filter(|file| file.state == State::Link);
        match links.count() {
            0 => {}
            links => notes.push(format!(
                "symbolic links in the torrent are not created: {links}"
            )),
        }
        let folders = layout::folders(&folder, &files);
        let mut disk = Disk {
            info_hash: meta.info_hash,
            geometry: meta.geometry,
            hashes: meta.piece_hashes.clone(),
            parts: Parts::new(parts_path, meta.geometry, &meta.files),
            files,
            skipped: options.skipped.clone(),
            preallocate: options.preallocate,
            handles: Handles::default(),
            read_only: mode != OpenMode::Download,
            folders,
            verified: BitSet::empty(pieces),
            unchecked: BitSet::empty(pieces),
            changed: false,
            keeper,
            known: Known {
                have: BitSet::empty(pieces),
                unchecked: BitSet::empty(pieces),
            },
            notes,
        };
        disk.find_out(meta, resume.as_ref());
        if !disk.read_only {
            disk.make_missing()?;
        }
        Ok(disk)
    }

    /// What is known before anything is made: a file that is made now holds nothing.
    fn find_out(&mut self, meta: &Metainfo, resume: Option<&ResumeData>) {
        let now: Vec<_> = self
            .files
            .iter()
            .map(|file| file.stamp(&self.parts.path))
            .collect();
        for (at, file) in self.files.iter_mut().enumerate() {
            let synced = resume.is_some_and(|resume| resume.stamps[at] == now[at]);
            file.unsynced = file.state == State::Partial && now[at].is_some() && !synced;
        }
        self.known = match resume {
            Some(resume) => resume.known(self.geometry, &meta.files, &now),
            None => known_by_looking(self.geometry, &meta.files, &now),
        };
        self.verified = self.known.have.clone();
        self.unchecked = self.known.unchecked.clone();
        self.changed = !self.unchecked.is_empty();
    }

    /// Makes the unfinished files, each with what the part file has of it.
    fn make_missing(&mut self) -> Result<(), OpenError> {
        for number in 0..self.files.len() {
            if self.files[number].state == State::Partial {
                let path = self.files[number].partial_path();
                let made = self.make(number);
                made.map_err(|source| OpenError::io(&path, source))?;
            }
        }
        self.tidy_parts();
        Ok(())
    }

    fn make(&mut self, number: usize) -> io::Result<()> {
        let fresh = !self.files[number].partial_path().is_file();
        self.files[number].create(self.preallocate)?;
        let (offset, len) = (self.files[number].offset, self.files[number].len);
        if fresh && len > 0 && self.parts.path.is_file() {
            let file = &self.files[number];
            let into = self.handles.get(number, || (file.path_now(), true))?;
            self.parts.bring(offset, len, into)?;
            // What came over may be what it lacked.
            self.files[number].unsynced = true;
        }
        Ok(())
    }

    /// Removes the part file once nothing is kept in it.
    fn tidy_parts(&mut self) {
        if self.files.iter().all(|file| file.state != State::Away) {
            // If it cannot be removed it is only a pity for the room.
            let _ = self.parts.remove();
        }
    }

    /// Changes which files are not wanted. A file that exists stays where it is.
    pub(super) fn set_skipped(&mut self, skipped: BTreeSet<usize>) -> io::Result<()> {
        self.skipped = skipped;
        for number in 0..self.files.len() {
            if self.files[number].state != State::Away || self.skipped.contains(&number) {
                continue;
            }
            self.changed = true;
            self.files[number].state = State::Partial;
            if let Err(error) = self.make(number) {
                let path = self.files[number].partial_path();
                self.files[number].state = State::Away;
                return Err(raw::named(&path, &error));
            }
            self.folders
                .extend(self.files[number].path.parent().map(Path::to_owned));
        }
        self.tidy_parts();
        Ok(())
    }

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
                State::Away => self.parts.write(now, place),
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
        // Some systems do not rename what is open.
        self.handles.clear();
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

    /// What has to be durable, and what may be claimed then; `None` when there is nothing new.
    fn checkpoint(&mut self) -> Option<Checkpoint> {
        let keeper = self.keeper.as_ref().filter(|_| self.changed)?;
        if self.verified.is_empty() && keeper.is_empty() {
            return None;
        }
        // The stamps are taken first: what is written from now on makes them differ.
        let stamps = self.files.iter().map(|file| file.stamp(&self.parts.path));
        let data = ResumeData {
            info_hash: self.info_hash,
            verified: self.verified.clone(),
            unchecked: self.unchecked.clone(),
            stamps: stamps.collect(),
        };
        let unsynced = self.files.iter().filter(|file| file.unsynced);
        let mut files: Vec<PathBuf> = unsynced.map(DiskFile::path_now).collect();
        files.extend(self.parts.unsynced.then(|| self.parts.path.clone()));
        Some(Checkpoint {
            files,
            folders: self.folders.iter().cloned().collect(),
            bytes: data.encode(),
        })
    }

    /// Begins to save resume data, unless that is under way or there is nothing new.
    pub(super) fn begin_save(&mut self) {
        if self.keeper.as_mut().is_none_or(Keeper::is_busy) {
            return;
        }
        self.doubt_after_failure();
        if let (Some(checkpoint), Some(keeper)) = (self.checkpoint(), &mut self.keeper) {
            match keeper.begin(checkpoint) {
                Ok(()) => self.call_synced(),
                // No thread can be had: the next one may be.
                Err(_) => self.changed = true,
            }
        }
    }

    /// Saves resume data now, if there is anything new.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if let Some(keeper) = &mut self.keeper {
            keeper.wait();
        }
        self.doubt_after_failure();
        if let (Some(checkpoint), Some(keeper)) = (self.checkpoint(), &mut self.keeper) {
            keeper.save(&checkpoint)?;
            self.call_synced();
        }
        Ok(())
    }

    /// A checkpoint that failed has synced nothing for sure.
    fn doubt_after_failure(&mut self) {
        if self.keeper.as_mut().is_some_and(Keeper::take_failure) {
            self.changed = true;
            for file in &mut self.files {
                file.unsynced = file.state == State::Partial;
            }
            self.parts.unsynced = self.parts.path.is_file();
        }
    }

    fn call_synced(&mut self) {
        self.changed = false;
        self.folders.clear();
        self.parts.unsynced = false;
        self.files.iter_mut().for_each(|file| file.unsynced = false);
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
                State::Away => self.parts.read(now, place),
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

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be remembered is checked again the next time.
        let _ = self.save();
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
