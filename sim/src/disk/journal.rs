//! Owns what a simulated disk keeps through a loss of power: which blocks were synced, and what the resume
//! data of the torrent claims.
//!
//! Invariant: as the real storage does it (`skep_engine::storage::file`). Blocks are written as they come and are
//! durable only from the next checkpoint on: every 30 s while something changed, when everything was
//! checked, when the torrent is finished, and when the client ends by itself. Resume data claims what
//! was verified at the checkpoint, of files that have not changed since.

use std::time::Duration;

use skep_engine::PieceIndex;
use skep_engine::bits::BitSet;
use skep_engine::storage::Known;
use skep_engine::storage::file::FileOptions;
use skep_engine::storage::resume::{FileStamp, ResumeData};
use tokio::time::Instant;

use super::Block;
use crate::content::Content;

/// A block that was written and not synced: where it is, and what was there before.
#[derive(Clone, Debug)]
pub(super) struct Unsynced {
    pub(super) piece: PieceIndex,
    pub(super) number: u32,
    pub(super) before: Block,
}

/// What a disk keeps through a loss of power.
#[derive(Debug)]
pub(super) struct Journal {
    /// Oldest first.
    pub(super) unsynced: Vec<Unsynced>,
    /// Since its client started: pieces that were hashed and good, and those written and not hashed.
    verified: BitSet,
    unchecked: BitSet,
    /// Stamp of each file; `None`: nothing was ever written.
    stamps: Vec<Option<FileStamp>>,
    /// As of the last checkpoint.
    synced_stamps: Vec<Option<FileStamp>>,
    resume: Option<ResumeData>,
    changed: bool,
    due: Option<Instant>,
    /// What was there at the start is checked.
    checked: bool,
}

/// Time between two checkpoints, as the real storage has it.
fn interval() -> Duration {
    FileOptions::default().resume_interval
}

impl Journal {
    /// Of a disk on which there is something of some of the files already.
    pub(super) fn new(pieces: u32, there: impl IntoIterator<Item = Option<FileStamp>>) -> Journal {
        let stamps: Vec<_> = there.into_iter().collect();
        Journal {
            unsynced: Vec::new(),
            verified: BitSet::empty(pieces),
            unchecked: BitSet::empty(pieces),
            synced_stamps: stamps.clone(),
            stamps,
            resume: None,
            changed: false,
            due: None,
            checked: false,
        }
    }

    /// A client starts on the disk at `now`. Returns what resume data says; `None` without any.
    pub(super) fn open(&mut self, content: &Content, now: Instant) -> Option<Known> {
        let pieces = content.geometry().pieces;
        self.due = Some(now + interval());
        let files = &content.metainfo.files;
        let resume = self.resume.as_ref();
        let known = resume.map(|data| data.known(content.geometry(), files, &self.stamps));
        let (have, unchecked) = match &known {
            Some(known) => (known.have.clone(), known.unchecked.clone()),
            None => (BitSet::empty(pieces), BitSet::full(pieces)),
        };
        self.checked = unchecked.is_empty();
        (self.verified, self.unchecked) = (have, unchecked);
        known
    }

    /// A block was written at `now`.
    pub(super) fn wrote(&mut self, content: &Content, block: Unsynced, now: Instant) {
        self.catch_up(content, now);
        for (at, file) in content.metainfo.files.iter().enumerate() {
            let touched = file.pieces(content.geometry());
            if touched.contains(&block.piece.at())
                && let Some(stamp) = self.stamps.get_mut(at)
            {
                let last = stamp.map_or(0, |stamp| stamp.modified_ns);
                *stamp = Some(FileStamp {
                    len: file.len,
                    modified_ns: last + 1,
                });
            }
        }
        self.verified.remove(block.piece);
        self.unchecked.insert(block.piece);
        self.changed = true;
        self.unsynced.push(block);
    }

    /// A piece was hashed at `now`.
    pub(super) fn hashed(
        &mut self,
        content: &Content,
        piece: PieceIndex,
        good: bool,
        now: Instant,
    ) {
        self.catch_up(content, now);
        self.changed |= self.unchecked.remove(piece);
        match good {
            true => self.verified.insert(piece),
            false => self.verified.remove(piece),
        };
        if !self.checked && self.unchecked.is_empty() {
            self.checked = true;
            self.checkpoint(content);
        }
    }

    /// Makes the checkpoint that was due before `now`, if one was: nothing changed between the two.
    pub(super) fn catch_up(&mut self, content: &Content, now: Instant) {
        let Some(mut due) = self.due.filter(|due| *due <= now) else {
            return;
        };
        if self.changed {
            self.checkpoint(content);
        }
        while due <= now {
            due += interval();
        }
        self.due = Some(due);
    }

    /// Everything written is durable from now on, and claimed as far as it was verified.
    pub(super) fn checkpoint(&mut self, content: &Content) {
        self.unsynced.clear();
        self.changed = false;
        self.synced_stamps.clone_from(&self.stamps);
        self.resume = Some(ResumeData {
            info_hash: content.metainfo.info_hash,
            verified: self.verified.clone(),
            unchecked: self.unchecked.clone(),
            stamps: self.stamps.clone(),
        });
    }

    /// The power is gone: files are as the last checkpoint left them. Returns the blocks to undo.
    pub(super) fn power_lost(&mut self) -> Vec<Unsynced> {
        self.stamps.clone_from(&self.synced_stamps);
        self.changed = false;
        std::mem::take(&mut self.unsynced)
    }
}
