//! Owns the resume file of one torrent, `.<info-hash>.resume` in the directory of the content: reading it,
//! writing it, and the lock on it that keeps two processes from writing the same files.
//!
//! Invariants: whoever writes content holds the lock alone, whoever only reads shares it. A resume file is
//! replaced as a whole, after everything that it claims has been synced, and the new one is locked
//! before it can be seen, so that the lock has no gap. At most one thread of its own syncs at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::{OpenError, raw};
use crate::ids::InfoHash;
use crate::metainfo::bencode::INPUT_BYTES_MAX;
use crate::storage::resume::{ResumeData, ResumeError};

/// Tries at the lock while other processes replace the file.
const LOCK_TRIES: u32 = 8;

/// What a resume file is called.
pub(super) fn resume_path(folder: &Path, info_hash: InfoHash) -> PathBuf {
    folder.join(format!(".{info_hash}.resume"))
}

/// What a part file is called.
pub(super) fn parts_path(folder: &Path, info_hash: InfoHash) -> PathBuf {
    folder.join(format!(".{info_hash}.parts"))
}

/// What has to be durable before resume data may claim it, and the data.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) files: Vec<PathBuf>,
    pub(super) folders: Vec<PathBuf>,
    pub(super) bytes: Vec<u8>,
}

/// The resume file.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    /// Open as long as the lock is held.
    file: File,
    shared: bool,
    saving: Option<JoinHandle<io::Result<File>>>,
    /// A checkpoint failed since [`Keeper::take_failure`] was last asked.
    failed: bool,
}

impl Keeper {
    /// Opens and locks the resume file in `folder`, made if it is not there. `None` where nothing
    /// can be written: then nobody else can either.
    pub(super) fn open(
        folder: &Path,
        info_hash: InfoHash,
        shared: bool,
    ) -> Result<Option<Keeper>, OpenError> {
        let path = resume_path(folder, info_hash);
        for _ in 0..LOCK_TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(error) if unwritable(&error) => return Ok(None),
                Err(error) => return Err(OpenError::io(&path, error)),
            };
            match lock(&file, shared) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
                // A file system without locks.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(OpenError::io(&path, error)),
            }
            // Another process may have replaced or removed it between the two.
            if raw::is_at(&file, &path) {
                return Ok(Some(Keeper {
                    path,
                    file,
                    shared,
                    saving: None,
                    failed: false,
                }));
            }
        }
        Err(OpenError::InUse(folder.to_owned()))
    }

    /// What the file says; `None` when it says nothing yet.
    pub(super) fn load(
        &mut self,
        info_hash: InfoHash,
        pieces: u32,
        files: usize,
    ) -> Result<Option<ResumeData>, String> {
        let mut bytes = Vec::new();
        let most = INPUT_BYTES_MAX as u64 + 1;
        (&self.file)
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let decoded = ResumeData::decode(&bytes, info_hash, pieces, files);
        decoded
            .map(Some)
            .map_err(|error: ResumeError| error.to_string())
    }

    /// Whether the file has never said anything.
    pub(super) fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.len() == 0)
    }

    /// Whether a checkpoint is being made; takes note of one that has ended.
    pub(super) fn is_busy(&mut self) -> bool {
        let busy = self
            .saving
            .as_ref()
            .is_some_and(|saving| !saving.is_finished());
        if !busy {
            self.wait();
        }
        busy
    }

    /// Waits for a checkpoint that is being made.
    pub(super) fn wait(&mut self) {
        match self.saving.take().map(JoinHandle::join) {
            None => {}
            Some(Ok(Ok(file))) => self.file = file,
            Some(Ok(Err(_))) => self.failed = true,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// Whether a checkpoint has failed since the last call.
    pub(super) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Begins a checkpoint on a thread of its own, so that blocks do not wait for it.
    pub(super) fn begin(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        let (path, shared) = (self.path.clone(), self.shared);
        // Beside the storage thread, which nothing simulated has: see `clippy.toml`.
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        self.saving = Some(thread.spawn(move || make(&path, shared, &checkpoint))?);
        Ok(())
    }

    /// Makes a checkpoint now.
    pub(super) fn save(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.wait();
        self.file = make(&self.path, self.shared, checkpoint)?;
        Ok(())
    }

    /// From now on content is only read: others may read it, too.
    pub(super) fn share(&mut self) {
        self.wait();
        self.shared = true;
        // Where it fails others have to wait for us, which is only a pity.
        let _ = lock(&self.file, true);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.wait();
        // A file that never said anything was only made for its lock. Other readers can do without.
        if self.is_empty() && raw::is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock(file: &File, shared: bool) -> Result<(), TryLockError> {
    if shared {
        file.try_lock_shared()
    } else {
        file.try_lock()
    }
}

fn unwritable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Content first, then the names of its files, then the claim.
fn make(path: &Path, shared: bool, checkpoint: &Checkpoint) -> io::Result<File> {
    raw::sync_files(&checkpoint.files)?;
    checkpoint
        .folders
        .iter()
        .for_each(|folder| raw::sync_folder(folder));
    raw::replace(path, &checkpoint.bytes, |new| {
        // Nobody else knows this file; where it fails there are no locks.
        let _ = lock(new, shared);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: InfoHash = InfoHash([3; 20]);

    #[test]
    fn one_writer_or_many_readers() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |shared| Keeper::open(dir.path(), HASH, shared);
        let mut writer = open(false).expect("locked").expect("writable");
        assert!(matches!(open(false), Err(OpenError::InUse(_))));
        assert!(matches!(open(true), Err(OpenError::InUse(_))));
        let checkpoint = || Checkpoint {
            files: Vec::new(),
            folders: Vec::new(),
            bytes: b"de".to_vec(),
        };
        writer.save(&checkpoint()).expect("saved");
        assert!(
            matches!(open(true), Err(OpenError::InUse(_))),
            "the new file is locked, too"
        );
        writer.begin(checkpoint()).expect("begun");
        writer.wait();
        assert!(!writer.take_failure());
        assert!(matches!(open(true), Err(OpenError::InUse(_))));
        writer.share();
        let reader = open(true).expect("locked");
        assert!(matches!(open(false), Err(OpenError::InUse(_))));
        drop((writer, reader));
        assert!(open(false).is_ok());
        assert!(resume_path(dir.path(), HASH).exists());
    }

    #[test]
    fn a_file_that_says_nothing_is_not_left_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut keeper = Keeper::open(dir.path(), HASH, false)
            .expect("locked")
            .expect("writable");
        assert_eq!(keeper.load(HASH, 1, 1), Ok(None));
        drop(keeper);
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    }
}
