//! Owns the files of one torrent and the way from a piece to them. Runs on the storage thread.
//!
//! Invariant: a file that has its final name is never written to, and no file is ever replaced.
//! Unfinished files carry [`PART_SUFFIX`]. No more than [`HANDLES_MAX`] files are open at once.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::OpenError;
use crate::ids::{BLOCK_BYTES, BlockRange, PieceIndex};
use crate::metainfo::create::PieceHasher;
use crate::metainfo::{Geometry, Metainfo, PART_SUFFIX};
use crate::storage::Verified;
use crate::storage::memory::checked;

/// Open files of one torrent at once.
const HANDLES_MAX: usize = 64;

/// Bytes read at once while a piece is hashed.
const HASH_READ_BYTES: u32 = 16 * BLOCK_BYTES;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Has the suffix; written to.
    Partial,
    /// Has its final name; only read.
    Named,
}

#[derive(Debug)]
struct DiskFile {
    /// The final name.
    path: PathBuf,
    /// First byte inside the content.
    offset: u64,
    /// Bytes.
    len: u64,
    state: State,
}

impl DiskFile {
    fn partial_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(PART_SUFFIX);
        PathBuf::from(name)
    }

    fn path_now(&self) -> PathBuf {
        match self.state {
            State::Partial => self.partial_path(),
            State::Named => self.path.clone(),
        }
    }
}

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
    geometry: Geometry,
    hashes: Vec<[u8; 20]>,
    files: Vec<DiskFile>,
    /// Open files by number, the one used last at the end.
    handles: Vec<(usize, File)>,
    read_only: bool,
    /// Whether any file with content existed before.
    pub(super) held_content: bool,
}

impl Disk {
    fn new(meta: &Metainfo, read_only: bool) -> Disk {
        Disk {
            geometry: meta.geometry,
            hashes: meta.piece_hashes.clone(),
            files: Vec::with_capacity(meta.files.len()),
            handles: Vec::new(),
            read_only,
            held_content: false,
        }
    }

    /// The files below `dir`, created where they are missing. Everything is looked at before
    /// anything is created.
    pub(super) fn for_download(dir: &Path, meta: &Metainfo) -> Result<Disk, OpenError> {
        if !fs::metadata(dir).is_ok_and(|found| found.is_dir()) {
            return Err(OpenError::NoDirectory(dir.to_owned()));
        }
        let mut disk = Disk::new(meta, false);
        for entry in &meta.files {
            let path = entry
                .path
                .iter()
                .fold(dir.to_owned(), |path, part| path.join(part));
            let mut file = DiskFile {
                path,
                offset: entry.offset,
                len: entry.len,
                state: State::Named,
            };
            let mut found = len_of(&file.path)?;
            if let Some(have) = found.filter(|have| *have != entry.len) {
                return Err(OpenError::Exists {
                    path: file.path,
                    have,
                    need: entry.len,
                });
            }
            if found.is_none() {
                file.state = State::Partial;
                found = len_of(&file.partial_path())?;
                if let Some(have) = found.filter(|have| *have > entry.len) {
                    return Err(OpenError::Exists {
                        path: file.partial_path(),
                        have,
                        need: entry.len,
                    });
                }
            }
            disk.held_content |= found.is_some_and(|have| have > 0);
            disk.files.push(file);
        }
        for file in disk
            .files
            .iter()
            .filter(|file| file.state == State::Partial)
        {
            let path = file.partial_path();
            create_sparse(&path, file.len).map_err(|source| OpenError::Io { path, source })?;
        }
        Ok(disk)
    }

    /// The files at `path`, all of which must be there: the file itself, or the folder that plays the
    /// torrent's name.
    pub(super) fn for_seed(path: &Path, meta: &Metainfo) -> Result<Disk, OpenError> {
        let mut disk = Disk::new(meta, true);
        for entry in &meta.files {
            // The first component is the torrent's name, for which `path` stands.
            let path = entry.path[1..]
                .iter()
                .fold(path.to_owned(), |path, part| path.join(part));
            match len_of(&path)? {
                Some(have) if have == entry.len => {}
                Some(have) => {
                    return Err(OpenError::WrongSize {
                        path,
                        have,
                        need: entry.len,
                    });
                }
                None => return Err(OpenError::Missing(path)),
            }
            disk.files.push(DiskFile {
                path,
                offset: entry.offset,
                len: entry.len,
                state: State::Named,
            });
        }
        disk.held_content = true;
        Ok(disk)
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
    /// block must be what is there.
    pub(super) fn write(&mut self, range: BlockRange, data: &[u8]) -> io::Result<()> {
        checked(&self.geometry, range)?;
        if self.read_only {
            let text = "the content is only read while seeding";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let mut rest = data;
        for segment in self.segments(range) {
            let (now, later) = rest.split_at(segment.len);
            rest = later;
            let state = self.files[segment.file].state;
            let written = self.handle(segment.file).and_then(|file| match state {
                State::Partial => positioned::write_all(file, now, segment.at),
                State::Named => unchanged(file, now, segment.at),
            });
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
        Ok(Verified {
            piece,
            good,
            digests,
        })
    }

    /// Makes the content durable, then gives every unfinished file its final name.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let partial = |disk: &Disk| -> Vec<usize> {
            let files = disk.files.iter().enumerate();
            files
                .filter(|(_, file)| file.state == State::Partial)
                .map(|(at, _)| at)
                .collect()
        };
        for at in partial(self) {
            let synced = self.handle(at).and_then(|file| file.sync_all());
            synced.map_err(|error| self.named(at, &error))?;
        }
        // Some systems do not rename what is open.
        self.handles.clear();
        let mut folders = BTreeSet::new();
        for at in partial(self) {
            let file = &self.files[at];
            publish(&file.partial_path(), &file.path).map_err(|error| self.named(at, &error))?;
            folders.extend(file.path.parent().map(Path::to_owned));
            self.files[at].state = State::Named;
        }
        folders.iter().for_each(|folder| sync_folder(folder));
        Ok(())
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

    /// Reads a range into a buffer of its length; returns a file that is too short or gone, where the
    /// buffer is left as it was.
    fn fill(&mut self, range: BlockRange, buffer: &mut [u8]) -> io::Result<Option<PathBuf>> {
        let mut short = None;
        let mut rest = buffer;
        for segment in self.segments(range) {
            let (now, later) = rest.split_at_mut(segment.len);
            rest = later;
            let read = self
                .handle(segment.file)
                .and_then(|file| read_fully(file, now, segment.at));
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

    /// The open file of this number; opens it, and closes the one unused for longest, if need be.
    fn handle(&mut self, number: usize) -> io::Result<&File> {
        if let Some(place) = self.handles.iter().position(|(open, _)| *open == number) {
            self.handles[place..].rotate_left(1);
        } else {
            let file = &self.files[number];
            let writes = file.state == State::Partial;
            let opened = OpenOptions::new()
                .read(true)
                .write(writes)
                .open(file.path_now())?;
            if self.handles.len() == HANDLES_MAX {
                self.handles.remove(0);
            }
            self.handles.push((number, opened));
        }
        Ok(&self.handles.last().expect("found or pushed").1)
    }

    fn named(&self, number: usize, error: &io::Error) -> io::Error {
        let path = self.files[number].path_now();
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    }
}

/// Bytes of the file at `path`, if there is one.
fn len_of(path: &Path) -> Result<Option<u64>, OpenError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.len())),
        Ok(_) => Err(OpenError::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Makes sure that a file of `len` bytes is there; what it lacks takes no room yet where the file
/// system has holes.
fn create_sparse(path: &Path, len: u64) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    if file.metadata()?.len() < len {
        file.set_len(len)?;
    }
    Ok(())
}

/// Whether the bytes are what the file has already.
fn unchanged(file: &File, expected: &[u8], at: u64) -> io::Result<()> {
    let mut there = vec![0; expected.len()];
    if read_fully(file, &mut there, at)? == expected.len() && there == expected {
        return Ok(());
    }
    let text = "the file that is already there is different; it was left as it is";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
}

/// Gives a file its final name unless somebody else has taken it.
fn publish(partial: &Path, path: &Path) -> io::Result<()> {
    let taken = || {
        let text = "cannot be given its final name: another file has taken it";
        io::Error::new(io::ErrorKind::AlreadyExists, text)
    };
    // A link, unlike a rename, never replaces anything.
    match fs::hard_link(partial, path) {
        Ok(()) => fs::remove_file(partial),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
        // A file system without links.
        Err(_) if fs::symlink_metadata(path).is_ok() => Err(taken()),
        Err(_) => fs::rename(partial, path),
    }
}

/// Makes new names durable, as far as the system can: not all of them sync folders.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

#[cfg(unix)]
mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        file.read_at(buffer, at)
    }

    pub(super) fn write_all(file: &File, data: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(data, at)
    }
}

#[cfg(not(unix))]
mod positioned {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};

    pub(super) fn read_some(mut file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        file.seek(SeekFrom::Start(at))?;
        file.read(buffer)
    }

    pub(super) fn write_all(mut file: &File, data: &[u8], at: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(data)
    }
}

/// Reads until the buffer is full or the file ends; returns the bytes read.
fn read_fully(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match positioned::read_some(file, &mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
