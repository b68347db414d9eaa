//! Owns [`FileStorage`]: the real disk. One thread per torrent owns the files; this end feeds it and
//! hands on its answers.
//!
//! Invariant: answers come in the order of the calls, as one thread takes them from one queue. No
//! call waits for the disk; opening and dropping do.

mod disk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Storage, StorageEvent};
use crate::ids::{BlockRange, PieceIndex};
use crate::metainfo::Metainfo;
use disk::Disk;

/// What the place given to [`FileStorage::open`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// A directory that exists, in which the torrent's file or folder is or will be.
    Download,
    /// The complete file or folder itself, under whatever name: what was given to
    /// [`create_from_path`](crate::metainfo::create::create_from_path). Only read.
    Seed,
}

/// Why the files of a torrent could not be opened. Nothing was changed, unless it is [`OpenError::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no directory to download into.
    #[error("{0} is not an existing directory")]
    NoDirectory(PathBuf),
    /// A file of another size has the name already.
    #[error(
        "{path} is already there with {have} bytes, but the torrent's file has {need}; it was not touched"
    )]
    Exists {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        have: u64,
        /// The torrent's bytes.
        need: u64,
    },
    /// Something that is no file has the name of one.
    #[error("{0} is in the way: it is not a regular file")]
    NotAFile(PathBuf),
    /// A file to seed is not there.
    #[error("{0} is missing")]
    Missing(PathBuf),
    /// A file to seed has another size.
    #[error("{path} has {have} bytes, but the torrent's file has {need}")]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        have: u64,
        /// The torrent's bytes.
        need: u64,
    },
    /// The disk refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

enum Command {
    Read { token: u64, range: BlockRange },
    Write { range: BlockRange, data: Bytes },
    Verify { piece: PieceIndex, digests: bool },
    Finish,
}

/// The files of one torrent on a real disk.
///
/// While a torrent is incomplete each of its files is called `<name>.part`; [`Storage::finish`] syncs
/// them and gives them their names. A file that had its final name at the start is checked like
/// any other, but never written to: a write that would change it fails with
/// [`io::ErrorKind::AlreadyExists`]. Errors carry the path in their text and keep their kind.
///
/// Dropping it waits for the writes that are queued; reads and checks that are queued are dropped.
#[derive(Debug)]
pub struct FileStorage {
    /// `None` only while dropping: a thread whose queue is closed ends.
    commands: Option<mpsc::Sender<Command>>,
    answers: UnboundedReceiver<StorageEvent>,
    /// `None` only once it has been joined.
    thread: Option<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
    held_content: bool,
}

impl FileStorage {
    /// Opens the files of a torrent at `place`; see [`OpenMode`] for what that is. In
    /// [`OpenMode::Download`] missing files are created at full size without taking room, `.part`
    /// files are used again, and so are complete files of the right size. Blocks on the disk.
    ///
    /// # Errors
    /// When the place is not what the mode says, when another file is in the way, or when the disk
    /// refuses.
    pub fn open(place: &Path, meta: &Metainfo, mode: OpenMode) -> Result<FileStorage, OpenError> {
        let disk = match mode {
            OpenMode::Download => Disk::for_download(place, meta)?,
            OpenMode::Seed => Disk::for_seed(place, meta)?,
        };
        let held_content = disk.held_content;
        let (commands, queue) = mpsc::channel();
        let (answer, answers) = unbounded_channel();
        let closing = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closing);
        // A thread of its own, as nothing simulated has files: see `clippy.toml`.
        let thread = thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || serve(disk, &queue, &answer, &told))
            .map_err(|source| OpenError::Io {
                path: place.to_owned(),
                source,
            })?;
        let (commands, thread) = (Some(commands), Some(thread));
        Ok(FileStorage {
            commands,
            answers,
            thread,
            closing,
            held_content,
        })
    }

    fn tell(&mut self, command: Command) {
        // It fails only when the thread has panicked, which `poll_event` raises again.
        let _ = self
            .commands
            .as_ref()
            .map(|commands| commands.send(command));
    }
}

/// The storage thread: answers commands until the other end is gone.
fn serve(
    mut disk: Disk,
    queue: &mpsc::Receiver<Command>,
    answers: &UnboundedSender<StorageEvent>,
    closing: &AtomicBool,
) {
    while let Ok(command) = queue.recv() {
        let unheard = closing.load(Ordering::Relaxed);
        let answer = match command {
            Command::Read { .. } | Command::Verify { .. } if unheard => continue,
            Command::Read { token, range } => StorageEvent::Read {
                token,
                range,
                result: disk.read(range),
            },
            Command::Write { range, data } => StorageEvent::Written {
                range,
                result: disk.write(range, &data),
            },
            Command::Verify { piece, digests } => {
                StorageEvent::Verified(disk.verify(piece, digests))
            }
            Command::Finish => StorageEvent::Finished(disk.finish()),
        };
        // Nobody listens while the storage is dropped; the writes still have to be done.
        let _ = answers.send(answer);
    }
}

impl Storage for FileStorage {
    fn read(&mut self, token: u64, range: BlockRange) {
        self.tell(Command::Read { token, range });
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        assert_eq!(
            data.len(),
            range.len as usize,
            "a block is as long as its range"
        );
        self.tell(Command::Write { range, data });
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) {
        self.tell(Command::Verify { piece, digests });
    }

    fn finish(&mut self) {
        self.tell(Command::Finish);
    }

    fn may_hold_content(&self) -> bool {
        self.held_content
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StorageEvent> {
        match self.answers.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            Poll::Pending => Poll::Pending,
            // The thread ends before its queue is closed only by a panic, which is ours now.
            Poll::Ready(None) => match self.thread.take().map(JoinHandle::join) {
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                _ => panic!("the storage thread ended while its queue was open"),
            },
        }
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.commands = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sha1::{Digest, Sha1};
    use tempfile::TempDir;

    use super::*;
    use crate::metainfo::create::{CreateOptions, Layout, PieceHasher, encode};

    const PIECE_BYTES: u32 = 20_000;

    /// A folder `t` of four files, whose pieces and blocks span files, and its content.
    fn torrent() -> (Metainfo, Vec<u8>) {
        let files = [("a", 10_000), ("empty", 0), ("sub/b", 25_000), ("c", 5_001)];
        let content: Vec<u8> = (0..40_001u32)
            .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        let mut hasher = PieceHasher::new(PIECE_BYTES);
        hasher.update(&content);
        let parts = |name: &str| name.split('/').map(str::to_owned).collect();
        let layout = Layout::Folder(
            files
                .iter()
                .map(|(name, len)| (parts(name), *len))
                .collect(),
        );
        let bytes = encode(
            "t",
            &layout,
            PIECE_BYTES,
            &hasher.finish(),
            &CreateOptions::default(),
        );
        (Metainfo::parse(&bytes).expect("valid"), content)
    }

    fn dir() -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn open(dir: &Path, mode: OpenMode) -> Result<FileStorage, OpenError> {
        FileStorage::open(dir, &torrent().0, mode)
    }

    async fn next(storage: &mut FileStorage) -> StorageEvent {
        std::future::poll_fn(|cx| storage.poll_event(cx)).await
    }

    async fn verified(storage: &mut FileStorage, piece: u32) -> super::super::Verified {
        storage.verify(PieceIndex(piece), false);
        match next(storage).await {
            StorageEvent::Verified(Ok(verified)) => verified,
            other => panic!("{other:?}"),
        }
    }

    /// Writes the blocks of a piece and returns the first error.
    async fn put(storage: &mut FileStorage, piece: u32) -> io::Result<()> {
        let (meta, content) = torrent();
        let (geometry, piece) = (meta.geometry, PieceIndex(piece));
        let mut result = Ok(());
        for block in 0..geometry.blocks_in(piece) {
            let range = geometry.block(piece, block);
            let at = (geometry.offset(piece) + u64::from(range.begin)) as usize;
            storage.write(
                range,
                Bytes::copy_from_slice(&content[at..at + range.len as usize]),
            );
            match next(storage).await {
                StorageEvent::Written {
                    result: written, ..
                } => result = result.and(written),
                other => panic!("{other:?}"),
            }
        }
        result
    }

    async fn finished(storage: &mut FileStorage) -> io::Result<()> {
        storage.finish();
        match next(storage).await {
            StorageEvent::Finished(result) => result,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_download_gets_its_names_when_it_is_finished_and_can_be_seeded() {
        let (dir, (_, content)) = (dir(), torrent());
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        assert!(!storage.may_hold_content());
        for piece in 0..3 {
            assert!(!verified(&mut storage, piece).await.good);
            put(&mut storage, piece).await.expect("written");
            assert!(verified(&mut storage, piece).await.good);
        }
        assert!(dir.path().join("t/sub/b.part").is_file() && !dir.path().join("t/sub/b").exists());
        finished(&mut storage).await.expect("finished");
        assert!(!dir.path().join("t/sub/b.part").exists());
        for (name, range) in [
            ("a", 0..10_000),
            ("empty", 0..0),
            ("sub/b", 10_000..35_000),
            ("c", 35_000..40_001),
        ] {
            assert_eq!(
                fs::read(dir.path().join("t").join(name)).expect(name),
                content[range],
                "{name}"
            );
        }
        assert!(
            verified(&mut storage, 1).await.good,
            "still readable under the new names"
        );
        drop(storage);

        fs::rename(dir.path().join("t"), dir.path().join("renamed")).expect("renamed");
        let mut seed = open(&dir.path().join("renamed"), OpenMode::Seed).expect("opened");
        assert!(seed.may_hold_content());
        // A block that spans three files, one of them empty.
        let range = BlockRange {
            piece: PieceIndex(0),
            begin: 9_000,
            len: 11_000,
        };
        seed.read(9, range);
        match next(&mut seed).await {
            StorageEvent::Read {
                token: 9,
                result: Ok(bytes),
                ..
            } => assert_eq!(bytes, content[9_000..20_000]),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            put(&mut seed, 0).await.map_err(|e| e.kind()),
            Err(io::ErrorKind::PermissionDenied)
        );
        finished(&mut seed).await.expect("nothing to do");
    }

    #[tokio::test]
    async fn a_download_resumes_from_its_part_files() {
        let dir = dir();
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        put(&mut storage, 1).await.expect("written");
        drop(storage);
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened again");
        assert!(storage.may_hold_content());
        assert!(verified(&mut storage, 1).await.good);
        assert!(!verified(&mut storage, 0).await.good);
    }

    #[tokio::test]
    async fn writes_that_are_queued_survive_a_drop() {
        let (dir, (meta, content)) = (dir(), torrent());
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        let range = meta.geometry.block(PieceIndex(2), 0);
        storage.verify(PieceIndex(2), false);
        storage.write(range, Bytes::copy_from_slice(&content[40_000..]));
        drop(storage);
        assert_eq!(
            fs::read(dir.path().join("t/c.part")).expect("there")[5_000..],
            content[40_000..]
        );
    }

    #[tokio::test]
    async fn digests_tell_the_blocks_apart() {
        let (dir, (_, content)) = (dir(), torrent());
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        put(&mut storage, 0).await.expect("written");
        let digest = |bytes: &[u8]| <[u8; 20]>::from(Sha1::digest(bytes));
        let expected = vec![digest(&content[..16_384]), digest(&content[16_384..20_000])];
        storage.verify(PieceIndex(0), true);
        let StorageEvent::Verified(Ok(good)) = next(&mut storage).await else {
            panic!("verified")
        };
        assert!(good.good);
        assert_eq!(good.digests, Some(expected.clone()));
        let wrong = BlockRange {
            piece: PieceIndex(0),
            begin: 16_384,
            len: 1,
        };
        storage.write(wrong, Bytes::from(vec![!content[16_384]]));
        assert!(matches!(
            next(&mut storage).await,
            StorageEvent::Written { result: Ok(()), .. }
        ));
        let bad = verified(&mut storage, 0).await;
        let digests = bad.digests.expect("of a bad piece");
        assert!(!bad.good && digests[0] == expected[0] && digests[1] != expected[1]);
    }

    #[tokio::test]
    async fn a_file_that_was_there_is_used_but_never_written() {
        let (dir, (_, content)) = (dir(), torrent());
        fs::create_dir(dir.path().join("t")).expect("created");
        let a = dir.path().join("t/a");
        fs::write(&a, &content[..10_000]).expect("written");
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        put(&mut storage, 0)
            .await
            .expect("the part that is there already is the same");
        assert!(verified(&mut storage, 0).await.good);
        drop(storage);

        let other = vec![1; 10_000];
        fs::write(&a, &other).expect("written");
        let mut storage = open(dir.path(), OpenMode::Download).expect("the size is right");
        assert!(!verified(&mut storage, 0).await.good);
        let error = put(&mut storage, 0).await.expect_err("a different file");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(
            error.to_string().contains("is different") && error.to_string().contains("a: "),
            "{error}"
        );
        assert_eq!(fs::read(&a).expect("there"), other);
    }

    #[tokio::test]
    async fn a_name_taken_meanwhile_is_not_replaced() {
        let dir = dir();
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        fs::write(dir.path().join("t/c"), "mine").expect("written");
        let error = finished(&mut storage).await.expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(dir.path().join("t/c")).expect("there"), b"mine");
        fs::remove_file(dir.path().join("t/c")).expect("removed");
        finished(&mut storage).await.expect("can be tried again");
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_bad_and_cannot_be_read() {
        let dir = dir();
        let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
        put(&mut storage, 0).await.expect("written");
        let part = fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join("t/a.part"));
        part.and_then(|file| file.set_len(5)).expect("shrunk");
        assert!(!verified(&mut storage, 0).await.good);
        storage.read(
            1,
            BlockRange {
                piece: PieceIndex(0),
                begin: 0,
                len: 6,
            },
        );
        let StorageEvent::Read {
            result: Err(error), ..
        } = next(&mut storage).await
        else {
            panic!("read")
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        storage.read(
            2,
            BlockRange {
                piece: PieceIndex(9),
                begin: 0,
                len: 6,
            },
        );
        let StorageEvent::Read {
            result: Err(error), ..
        } = next(&mut storage).await
        else {
            panic!("read")
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_in_the_way_is_named_and_nothing_is_created() {
        let dir = dir();
        assert!(matches!(
            open(&dir.path().join("none"), OpenMode::Download),
            Err(OpenError::NoDirectory(_))
        ));
        fs::create_dir_all(dir.path().join("t/sub")).expect("created");
        fs::write(dir.path().join("t/c"), "mine").expect("written");
        match open(dir.path(), OpenMode::Download) {
            Err(OpenError::Exists {
                path,
                have: 4,
                need: 5_001,
            }) => assert!(path.ends_with("t/c")),
            other => panic!("{other:?}"),
        }
        assert!(!dir.path().join("t/a.part").exists());
        assert!(matches!(
            open(&dir.path().join("t"), OpenMode::Seed),
            Err(OpenError::Missing(_))
        ));
        fs::write(dir.path().join("t/a"), "short").expect("written");
        assert!(matches!(
            open(&dir.path().join("t"), OpenMode::Seed),
            Err(OpenError::WrongSize { have: 5, .. })
        ));
        fs::remove_file(dir.path().join("t/a")).expect("removed");
        fs::create_dir(dir.path().join("t/a")).expect("created");
        assert!(matches!(
            open(dir.path(), OpenMode::Download),
            Err(OpenError::NotAFile(_))
        ));
    }

    #[tokio::test]
    async fn more_files_than_handles_work() {
        let dir = dir();
        let files = (0..100).map(|i| (vec![format!("f{i}")], 1)).collect();
        let content = [5; 100];
        let mut hasher = PieceHasher::new(100);
        hasher.update(&content);
        let bytes = encode(
            "t",
            &Layout::Folder(files),
            100,
            &hasher.finish(),
            &CreateOptions::default(),
        );
        let meta = Metainfo::parse(&bytes).expect("valid");
        let mut storage = FileStorage::open(dir.path(), &meta, OpenMode::Download).expect("opened");
        storage.write(
            meta.geometry.block(PieceIndex(0), 0),
            Bytes::copy_from_slice(&content),
        );
        assert!(matches!(
            next(&mut storage).await,
            StorageEvent::Written { result: Ok(()), .. }
        ));
        assert!(verified(&mut storage, 0).await.good);
        finished(&mut storage).await.expect("finished");
    }
}
