//! Owns where each file of a torrent is on disk, and the looking and making at the start.
//!
//! Invariant: everything is looked at before anything is made. Padding, links and files that are not
//! wanted are never made. No path leaves the directory that was given.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{OpenError, Preallocate, raw};
use crate::metainfo::{FileEntry, FileKind, Metainfo, PART_SUFFIX};
use crate::storage::resume::FileStamp;

/// Where a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Under its name and the suffix of unfinished files; written to.
    Partial,
    /// Under its final name; only read.
    Named,
    /// Not wanted: what shares a piece with other files is in the part file.
    Away,
    /// Nowhere: zeros (BEP 47).
    Padding,
    /// Nowhere: a link is never made, and has no bytes.
    Link,
}

/// One file of a torrent.
#[derive(Debug)]
pub(super) struct DiskFile {
    /// The final name.
    pub(super) path: PathBuf,
    /// First byte inside the content.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) len: u64,
    pub(super) state: State,
    /// A program.
    pub(super) executable: bool,
    /// Written to since it was last known to be durable.
    pub(super) unsynced: bool,
}

impl DiskFile {
    fn new(entry: &FileEntry, path: PathBuf) -> DiskFile {
        DiskFile {
            path,
            offset: entry.offset,
            len: entry.len,
            state: match &entry.kind {
                FileKind::Regular => State::Named,
                FileKind::Padding => State::Padding,
                FileKind::Link { .. } => State::Link,
            },
            executable: entry.executable,
            unsynced: false,
        }
    }

    pub(super) fn partial_path(&self) -> PathBuf {
        raw::suffixed(&self.path, PART_SUFFIX)
    }

    /// Where it is, if it has a place of its own.
    pub(super) fn path_now(&self) -> PathBuf {
        match self.state {
            State::Partial => self.partial_path(),
            _ => self.path.clone(),
        }
    }

    /// Its stamp; of what is not wanted that of the part file.
    pub(super) fn stamp(&self, parts: &Path) -> Option<FileStamp> {
        let path = match self.state {
            State::Partial | State::Named => self.path_now(),
            State::Away => parts.to_owned(),
            State::Padding | State::Link => return None,
        };
        // What cannot be looked at cannot be trusted.
        raw::stamp_at(&path).ok().flatten()
    }

    /// Looks where the file is, if it is anywhere. An error when something else has its name.
    fn look(&mut self, skipped: bool) -> Result<(), OpenError> {
        match len_of(&self.path)? {
            Some(have) if have == self.len => return Ok(()),
            Some(_) if skipped => {
                self.state = State::Away;
                return Ok(());
            }
            Some(have) => return Err(self.exists(self.path.clone(), have)),
            None => {}
        }
        self.state = State::Partial;
        match len_of(&self.partial_path())? {
            Some(have) if have > self.len => Err(self.exists(self.partial_path(), have)),
            None if skipped => {
                self.state = State::Away;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn exists(&self, path: PathBuf, have: u64) -> OpenError {
        OpenError::Exists {
            path,
            have,
            need: self.len,
        }
    }

    /// Makes an unfinished file; what it lacks takes no room yet, or all of it.
    pub(super) fn create(&self, preallocate: Preallocate) -> io::Result<()> {
        raw::create(&self.partial_path(), self.len, self.executable, preallocate)
    }
}

/// Bytes of the file at `path`, if there is one.
fn len_of(path: &Path) -> Result<Option<u64>, OpenError> {
    match raw::stamp_at(path) {
        Ok(found) => Ok(found.map(|stamp| stamp.len)),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            Err(OpenError::NotAFile(path.to_owned()))
        }
        Err(source) => Err(OpenError::io(path, source)),
    }
}

fn joined(base: &Path, parts: &[String]) -> PathBuf {
    parts
        .iter()
        .fold(base.to_owned(), |path, part| path.join(part))
}

/// Whether a directory is one.
pub(super) fn check_folder(dir: &Path) -> Result<(), OpenError> {
    if fs::metadata(dir).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    Err(OpenError::NoDirectory(dir.to_owned()))
}

/// The files below `dir`, as a download finds them. Nothing is made.
pub(super) fn for_download(
    dir: &Path,
    meta: &Metainfo,
    skipped: &BTreeSet<usize>,
) -> Result<Vec<DiskFile>, OpenError> {
    let looked = meta.files.iter().enumerate().map(|(number, entry)| {
        let mut file = DiskFile::new(entry, joined(dir, &entry.path));
        if entry.is_wanted() {
            file.look(skipped.contains(&number))?;
        }
        Ok(file)
    });
    looked.collect()
}

/// The files below `dir`, whatever is there of them, to be looked at only.
pub(super) fn for_check(dir: &Path, meta: &Metainfo, parts: &Path) -> Vec<DiskFile> {
    let looked = meta.files.iter().map(|entry| {
        let mut file = DiskFile::new(entry, joined(dir, &entry.path));
        if entry.is_wanted() && !file.path.is_file() {
            file.state = match file.partial_path().is_file() {
                false if parts.is_file() => State::Away,
                _ => State::Partial,
            };
        }
        file
    });
    looked.collect()
}

/// The files at `path`, all of which must be there: the file itself, or the folder that plays the
/// torrent's name.
pub(super) fn for_seed(path: &Path, meta: &Metainfo) -> Result<Vec<DiskFile>, OpenError> {
    let looked = meta.files.iter().map(|entry| {
        // The first component is the torrent's name, for which `path` stands.
        let file = DiskFile::new(entry, joined(path, &entry.path[1..]));
        if !entry.is_wanted() {
            return Ok(file);
        }
        match len_of(&file.path)? {
            Some(have) if have == entry.len => Ok(file),
            Some(have) => Err(OpenError::WrongSize {
                path: file.path,
                have,
                need: entry.len,
            }),
            None => Err(OpenError::Missing(file.path)),
        }
    });
    looked.collect()
}

/// Every folder between `dir` and the files, whose names have to be made durable.
pub(super) fn folders(dir: &Path, files: &[DiskFile]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for file in files.iter().filter(|file| file.state == State::Partial) {
        let above = file.path.ancestors().skip(1);
        for folder in above.take_while(|folder| folder.starts_with(dir)) {
            if !folders.insert(folder.to_owned()) {
                break;
            }
        }
    }
    folders
}
