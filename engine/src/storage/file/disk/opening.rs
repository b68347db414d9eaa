//! Owns how a [`Disk`] comes to be: what is there, what is known of it, what has to be made; and the
//! making of files that become wanted later.
//!
//! Invariant: locked first, looked at next, made last. What resume data says is used only as far as the
//! files are still as it says.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::super::handles::Handles;
use super::super::keeper::{Keeper, parts_path};
use super::super::layout::{self, State};
use super::super::parts::Parts;
use super::super::{FileOptions, OpenError, OpenMode, Resume, raw};
use super::Disk;
use crate::bits::BitSet;
use crate::metainfo::Metainfo;
use crate::storage::Known;
use crate::storage::resume::{ResumeData, known_by_looking};

impl Disk {
    /// Opens the files at `place`; makes those that a download lacks.
    pub(in crate::storage::file) fn open(
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
    pub(in crate::storage::file) fn set_skipped(
        &mut self,
        skipped: BTreeSet<usize>,
    ) -> io::Result<()> {
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
}
