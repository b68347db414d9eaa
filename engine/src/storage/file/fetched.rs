//! Owns [`PartFile`]: the real disk of a client of direct download. `NAME.part` holds what has come, and
//! `.NAME.fetch` beside it says what it is of.
//!
//! Invariants: the note claims only bytes that were synced before it was written, and what is not claimed is
//! not gone on with. The note names another state of the file only when no byte of the old one is left. Only
//! one process writes a part at a time: it holds a lock on it. No file under its final name is ever written to
//! or replaced.
#![expect(
    clippy::disallowed_methods,
    reason = "real files: they are written by tokio's threads"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::raw;
use crate::direct::disk::{FetchDisk, Kept, Origin};
use crate::direct::note::{NOTE_BYTES_MAX, Note};

/// Bytes hashed at once.
const HASHED_BYTES: usize = 256 * 1024;

/// Why a part cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// There is no such directory.
    #[error("{} is not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// Another process writes it.
    #[error("another process writes {}", .0.display())]
    InUse(PathBuf),
    /// What has the part's name is no file.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// The disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A file that is being fetched.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    part: PathBuf,
    note: PathBuf,
    file: Arc<File>,
    origin: Origin,
    len: u64,
    /// What the note on the disk claims.
    noted: Option<u64>,
}

/// Runs `work` on one of tokio's threads.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
        Err(_) => Err(io::Error::other("the runtime is ending")),
    }
}

impl PartFile {
    /// The part of the file that is to be called `name`, in a directory that exists. `name` is one name, not a
    /// path. Makes the part if there is none.
    ///
    /// # Errors
    /// See [`PartError`].
    pub fn open(dir: &Path, name: &str) -> Result<PartFile, PartError> {
        if !dir.is_dir() {
            return Err(PartError::NoDirectory(dir.to_owned()));
        }
        let path = dir.join(name);
        let part = raw::suffixed(&path, ".part");
        let note = dir.join(format!(".{name}.fetch"));
        if fs::symlink_metadata(&part).is_ok_and(|found| !found.is_file()) {
            return Err(PartError::NotAFile(part));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(&part)
            .map_err(|error| raw::named(&part, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PartError::InUse(part)),
            // A file system without locks.
            Err(TryLockError::Error(_)) => {}
        }
        // Whoever held the lock may just have given it its final name.
        if !raw::is_at(&file, &part) {
            return Err(PartError::InUse(part));
        }
        let there = file.metadata()?.len();
        let found = read_note(&note)?;
        let (origin, len, noted) = match found {
            Some(found) => {
                let len = found.synced.min(there);
                (found.origin, len, Some(found.synced))
            }
            None => (Origin::default(), there, None),
        };
        Ok(PartFile {
            path,
            part,
            note,
            file: Arc::new(file),
            origin,
            len,
            noted,
        })
    }

    /// Its name until it is complete.
    #[must_use]
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Its name when it is complete.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Leaves no empty part behind.
impl Drop for PartFile {
    fn drop(&mut self) {
        let empty = self.file.metadata().is_ok_and(|found| found.len() == 0);
        if empty && raw::is_at(&self.file, &self.part) {
            // It is of no harm if it stays.
            let _ = fs::remove_file(&self.part);
            let _ = fs::remove_file(&self.note);
        }
    }
}

/// The note at a path; `None` when there is none that can be understood.
fn read_note(path: &Path) -> io::Result<Option<Note>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(raw::named(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(NOTE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(Note::parse))
}

/// Writes the note.
fn write_note(path: &Path, origin: &Origin, synced: u64) -> io::Result<()> {
    let note = Note {
        origin: origin.clone(),
        synced,
    };
    let text = note.write().ok_or(io::ErrorKind::InvalidInput)?;
    raw::replace(path, text.as_bytes(), |_| {})?;
    Ok(())
}

impl FetchDisk for PartFile {
    async fn kept(&mut self) -> io::Result<Option<Kept>> {
        let kept = Kept {
            len: self.len,
            origin: self.origin.clone(),
        };
        // What comes behind may never have got to the disk. It is written over or cut off when it is known that
        // this part is gone on with: until then the part may be somebody else's.
        Ok((kept.len > 0).then_some(kept))
    }

    async fn begin(&mut self, origin: &Origin) -> io::Result<()> {
        (self.len, self.noted) = (0, Some(0));
        self.origin = origin.clone();
        let (file, note, origin) = (Arc::clone(&self.file), self.note.clone(), origin.clone());
        on_a_thread(move || {
            file.set_len(0)?;
            // Else the old bytes could be back after a crash, under the new note.
            file.sync_all()?;
            write_note(&note, &origin, 0)
        })
        .await
    }

    async fn append(&mut self, data: Bytes) -> io::Result<()> {
        let (file, at, bytes) = (Arc::clone(&self.file), self.len, data.len() as u64);
        on_a_thread(move || raw::write_all(&file, &data, at)).await?;
        self.len += bytes;
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        if self.noted.is_none_or(|noted| noted == self.len) {
            return Ok(());
        }
        let (file, note, origin) = (
            Arc::clone(&self.file),
            self.note.clone(),
            self.origin.clone(),
        );
        let len = self.len;
        on_a_thread(move || {
            file.sync_data()?;
            write_note(&note, &origin, len)
        })
        .await?;
        self.noted = Some(len);
        Ok(())
    }

    async fn sha256(&mut self) -> io::Result<[u8; 32]> {
        let (file, len) = (Arc::clone(&self.file), self.len);
        on_a_thread(move || sha256(&file, len)).await
    }

    async fn finish(&mut self) -> io::Result<()> {
        let (file, len) = (Arc::clone(&self.file), self.len);
        let (path, part, note) = (self.path.clone(), self.part.clone(), self.note.clone());
        on_a_thread(move || {
            file.set_len(len)?;
            file.sync_all()?;
            raw::publish(&part, &path)?;
            match fs::remove_file(&note) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            raw::sync_folder(path.parent().unwrap_or(Path::new(".")));
            Ok(())
        })
        .await
    }
}

/// The SHA-256 of the first `len` bytes of a file.
fn sha256(file: &File, len: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; HASHED_BYTES];
    let mut at = 0;
    while at < len {
        let wanted = usize::try_from(len - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = raw::read_fully(file, &mut buffer[..wanted], at)?;
        if read < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&buffer[..read]);
        at += read as u64;
    }
    Ok(hash.finalize().into())
}

/// The SHA-256 of a whole file.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    sha256(&file, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::validator::{EntityTag, Validators};

    fn origin(tag: &str) -> Origin {
        Origin {
            url: "http://h/a".to_owned(),
            validators: Validators {
                tag: EntityTag::parse(tag),
                modified: None,
            },
            len: Some(10),
        }
    }

    #[tokio::test]
    async fn what_was_synced_is_kept_and_the_rest_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = PartFile::open(dir.path(), "a").unwrap();
        assert_eq!(disk.kept().await.unwrap(), None);
        disk.begin(&origin("\"1\"")).await.unwrap();
        disk.append(Bytes::from_static(b"01234")).await.unwrap();
        disk.sync().await.unwrap();
        disk.append(Bytes::from_static(b"56789")).await.unwrap();
        let in_use = PartFile::open(dir.path(), "a");
        assert!(matches!(in_use, Err(PartError::InUse(_))), "{in_use:?}");
        drop(disk);
        let mut disk = PartFile::open(dir.path(), "a").unwrap();
        let kept = disk.kept().await.unwrap().unwrap();
        assert_eq!((kept.len, kept.origin), (5, origin("\"1\"")));
        disk.append(Bytes::from_static(b"xyz")).await.unwrap();
        let digest: [u8; 32] = Sha256::digest(b"01234xyz").into();
        assert_eq!(disk.sha256().await.unwrap(), digest);
        disk.finish().await.unwrap();
        drop(disk);
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["a"]);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"01234xyz");
        assert_eq!(sha256_of(&dir.path().join("a")).unwrap(), digest);
    }

    #[tokio::test]
    async fn a_new_beginning_leaves_nothing_of_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = PartFile::open(dir.path(), "a").unwrap();
        disk.begin(&origin("\"1\"")).await.unwrap();
        disk.append(Bytes::from_static(b"0123456789"))
            .await
            .unwrap();
        disk.sync().await.unwrap();
        disk.begin(&origin("\"2\"")).await.unwrap();
        disk.append(Bytes::from_static(b"ab")).await.unwrap();
        disk.sync().await.unwrap();
        drop(disk);
        assert_eq!(fs::read(dir.path().join("a.part")).unwrap(), b"ab");
        let mut disk = PartFile::open(dir.path(), "a").unwrap();
        let kept = disk.kept().await.unwrap().unwrap();
        assert_eq!((kept.len, kept.origin), (2, origin("\"2\"")));
    }

    #[tokio::test]
    async fn what_is_not_ours_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let there = |name: &str| fs::read(dir.path().join(name)).unwrap();
        // A part that nobody noted down.
        fs::write(dir.path().join("a.part"), "mine").unwrap();
        let mut disk = PartFile::open(dir.path(), "a").unwrap();
        let kept = disk.kept().await.unwrap().unwrap();
        assert_eq!((kept.len, kept.origin), (4, Origin::default()));
        drop(disk);
        assert_eq!(there("a.part"), b"mine");
        // One that is longer than its note says: it may be of another URL.
        write_note(&dir.path().join(".a.fetch"), &origin("\"1\""), 2).unwrap();
        let mut disk = PartFile::open(dir.path(), "a").unwrap();
        assert_eq!(disk.kept().await.unwrap().unwrap().len, 2);
        drop(disk);
        assert_eq!(there("a.part"), b"mine");
        // A file that has the final name.
        fs::write(dir.path().join("b"), "theirs").unwrap();
        let mut disk = PartFile::open(dir.path(), "b").unwrap();
        disk.begin(&origin("\"1\"")).await.unwrap();
        disk.append(Bytes::from_static(b"new")).await.unwrap();
        let taken = disk.finish().await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        drop(disk);
        assert_eq!(
            (there("b"), there("b.part")),
            (b"theirs".to_vec(), b"new".to_vec())
        );
        let nowhere = PartFile::open(&dir.path().join("none"), "a");
        assert!(matches!(nowhere, Err(PartError::NoDirectory(_))));
        fs::create_dir(dir.path().join("c.part")).unwrap();
        assert!(matches!(
            PartFile::open(dir.path(), "c"),
            Err(PartError::NotAFile(_))
        ));
    }

    #[test]
    fn an_empty_part_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        drop(PartFile::open(dir.path(), "a").unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
