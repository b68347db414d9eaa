//! Owns [`FileStorage`]: the real disk. One thread per torrent owns the files; this end feeds it and
//! hands on its answers.
//!
//! Invariant: answers come in the order of the calls, as one thread takes them from one queue. No
//! call waits for the disk; opening and dropping do.
//!
//! Order of what reaches the disk: blocks are written as they come, without waiting for them to be
//! durable; `verify` hashes what is written. Resume data is saved every
//! [`FileOptions::resume_interval`] while something changed, when everything is finished, and when the
//! storage is dropped: first the files are synced, then the folders that hold their names, then the
//! new resume file, then its name. `finish` syncs the files before it gives them their final names.

mod disk;
mod error;
pub mod fetched;
mod handles;
mod keeper;
mod layout;
#[cfg(test)]
mod model;
mod parts;
mod raw;
pub mod served;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Known, Storage, StorageEvent};
use crate::ids::{BlockRange, PieceIndex};
use crate::metainfo::Metainfo;
use disk::Disk;
pub use error::OpenError;

/// What the place given to [`FileStorage::open`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// A directory that exists, in which the torrent's file or folder is or will be.
    Download,
    /// The complete file or folder itself, under whatever name: what was given to
    /// [`create_from_path`](crate::metainfo::create::create_from_path). Only read.
    Seed,
    /// A directory that exists, with whatever there is of the torrent's files, unfinished or not.
    /// Only read, nothing is made, nothing is remembered.
    Check,
}

/// Whether files take their room at the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Preallocate {
    /// Files have their size, but take room as they fill up, where the file system has holes.
    #[default]
    None,
    /// Files take all their room at once: a full disk is noticed at the start.
    Full,
}

/// What is done with what was verified earlier.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Resume {
    /// Resume data is neither read nor written, and nothing is locked.
    Off,
    /// What resume data says is trusted of files that have not changed since.
    #[default]
    Use,
    /// Everything that is there is checked; resume data is written anew.
    Recheck,
}

/// How files are opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileOptions {
    /// Whether files take their room at the start.
    pub preallocate: Preallocate,
    /// Files that are not wanted, by number. They are not made; what they share with wanted ones is
    /// kept in a hidden file, `.<info-hash>.parts`.
    pub skipped: BTreeSet<usize>,
    /// What is done with what was verified earlier.
    pub resume: Resume,
    /// Time between two savings of resume data (libtorrent's users: 30 s to minutes). What is lost
    /// when the process is killed is the time to check what changed since, not content.
    pub resume_interval: Duration,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions {
            preallocate: Preallocate::None,
            skipped: BTreeSet::new(),
            resume: Resume::Use,
            resume_interval: Duration::from_secs(30),
        }
    }
}

enum Command {
    Read { token: u64, range: BlockRange },
    Write { range: BlockRange, data: Bytes },
    Verify { piece: PieceIndex, digests: bool },
    Finish,
    SetSkipped(BTreeSet<usize>),
}

/// The files of one torrent on a real disk.
///
/// While a torrent is incomplete each of its files is called `<name>.part`; [`Storage::finish`] syncs
/// them and gives them their names. A file that had its final name at the start is checked like
/// any other, but never written to: a write that would change it fails with
/// [`io::ErrorKind::AlreadyExists`](std::io::ErrorKind::AlreadyExists). Errors carry the path in
/// their text and keep their kind. At most 64 files are open at once.
///
/// What was verified is remembered in `.<info-hash>.resume`, in the directory of the download or beside
/// what is seeded, also when everything is complete, so that a seed need not hash it all again. It
/// is trusted for files whose length and time of change are still the same. It is locked: one
/// process writes, or several read.
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
    known: Known,
    notes: Vec<String>,
}

impl FileStorage {
    /// Opens the files of a torrent at `place`; see [`OpenMode`] for what that is. In
    /// [`OpenMode::Download`] missing files are created at full size, `.part` files are used again,
    /// and so are complete files of the right size. Blocks on the disk.
    ///
    /// # Errors
    /// When the place is not what the mode says, when another file is in the way, when another
    /// process works on the same content, or when the disk refuses.
    pub fn open(
        place: &Path,
        meta: &Metainfo,
        mode: OpenMode,
        options: &FileOptions,
    ) -> Result<FileStorage, OpenError> {
        let mut disk = Disk::open(place, meta, mode, options)?;
        let (known, notes) = (disk.known.clone(), std::mem::take(&mut disk.notes));
        let (commands, queue) = mpsc::channel();
        let (answer, answers) = unbounded_channel();
        let closing = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closing);
        let interval = options.resume_interval;
        // A thread of its own, as nothing simulated has files: see `clippy.toml`.
        let thread = thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || serve(disk, &queue, &answer, &told, interval))
            .map_err(|source| OpenError::io(place, source))?;
        Ok(FileStorage {
            commands: Some(commands),
            answers,
            thread: Some(thread),
            closing,
            known,
            notes,
        })
    }

    /// What the user should hear of: resume data that is of no use, links that were left out.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn tell(&mut self, command: Command) {
        // It fails only when the thread has panicked, which `poll_event` raises again.
        let _ = self
            .commands
            .as_ref()
            .map(|commands| commands.send(command));
    }
}

/// When the next checkpoint is due.
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the storage thread, which no simulation has, saves resume data by the wall clock"
)]
mod due {
    use std::time::{Duration, Instant};

    pub(super) struct Due {
        at: Instant,
        every: Duration,
    }

    impl Due {
        pub(super) fn new(every: Duration) -> Due {
            let at = Instant::now() + every;
            Due { at, every }
        }

        /// Time until then.
        pub(super) fn left(&self) -> Duration {
            self.at.saturating_duration_since(Instant::now())
        }

        /// Begins to count again.
        pub(super) fn again(&mut self) {
            self.at = Instant::now() + self.every;
        }
    }
}

/// The storage thread: answers commands until the other end is gone, and saves resume data.
fn serve(
    mut disk: Disk,
    queue: &mpsc::Receiver<Command>,
    answers: &UnboundedSender<StorageEvent>,
    closing: &AtomicBool,
    interval: Duration,
) {
    let mut due = due::Due::new(interval);
    let mut checked = disk.is_checked();
    loop {
        let left = due.left();
        if left.is_zero() {
            disk.begin_save();
            due.again();
        }
        let command = match queue.recv_timeout(left) {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
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
            Command::SetSkipped(skipped) => StorageEvent::Skipped(disk.set_skipped(skipped)),
        };
        // Nobody listens while the storage is dropped; the writes still have to be done.
        let _ = answers.send(answer);
        if !checked && disk.is_checked() {
            // What took long to find out is remembered at once.
            checked = true;
            disk.begin_save();
        }
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
        !(self.known.have.is_empty() && self.known.unchecked.is_empty())
    }

    fn known(&self) -> Option<Known> {
        Some(self.known.clone())
    }

    fn set_skipped(&mut self, skipped: BTreeSet<usize>) {
        self.tell(Command::SetSkipped(skipped));
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
