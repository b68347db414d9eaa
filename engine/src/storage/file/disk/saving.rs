//! Owns when and what a [`Disk`] remembers of what was verified.
//!
//! Invariant: stamps are taken before anything is synced, so that whatever is written meanwhile makes them
//! differ; no file is called synced that a failed checkpoint may have left out.

use std::io;
use std::path::{Path, PathBuf};

use super::super::keeper::{Checkpoint, Keeper};
use super::super::layout::{DiskFile, State};
use super::Disk;
use crate::storage::resume::ResumeData;

impl Disk {
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
    pub(in crate::storage::file) fn begin_save(&mut self) {
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
    pub(in crate::storage::file) fn save(&mut self) -> io::Result<()> {
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
    pub(super) fn doubt_after_failure(&mut self) {
        if self.keeper.as_mut().is_some_and(Keeper::take_failure) {
            self.changed = true;
            for file in &mut self.files {
                file.unsynced = file.state == State::Partial;
                let folder = file.path.parent().filter(|_| file.unsynced);
                self.folders.extend(folder.map(Path::to_owned));
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
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be remembered is checked again the next time. After a panic nothing is claimed.
        if !std::thread::panicking() {
            let _ = self.save();
        }
    }
}
