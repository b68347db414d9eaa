//! Owns the seams between direct download and its disks: what a server reads from, and what a client writes
//! to. Real: files ([`crate::node`] has neither). Simulated: outside this crate.
//!
//! Invariant: a server's disk never names anything outside the directory that it was opened for; a client's
//! disk never claims bytes that a crash may have taken. Futures run on the thread of their host and need not
//! be `Send`.

use std::future::Future;
use std::io;

use bytes::Bytes;

use super::validator::{HttpDate, Validators, Version};

/// What a path of a served directory leads to.
#[derive(Debug)]
pub enum Found<F> {
    /// A file, open.
    File(F),
    /// A directory: what is in it, in any order.
    Directory(Listing),
}

/// What is in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// What may be served; at most as many as were asked for.
    pub entries: Vec<Entry>,
    /// There are more.
    pub cut: bool,
}

/// One line of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name, without a slash.
    pub name: String,
    /// Bytes of a file; `None` for a directory.
    pub len: Option<u64>,
    /// When it was changed, if that is known.
    pub modified: Option<HttpDate>,
}

/// Why a path leads nowhere. A client is told 404 of the first, 503 of the second and 500 of the third.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// There is nothing, or nothing that may be served: outside the directory, hidden, no file.
    #[error("there is no such file")]
    Nothing,
    /// No more files can be opened for now; later they can.
    #[error("too many files are open")]
    Busy,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
}

/// What a server reads from: one directory.
pub trait ServedDir: 'static {
    /// A file that can be read.
    type File: ServedFile;

    /// What the path leads to: its parts, none of them empty, `.`, `..`, or with `/`, `\` or NUL in it. A
    /// directory is listed with at most `entries_max` entries.
    fn find(
        &self,
        path: &[String],
        entries_max: usize,
    ) -> impl Future<Output = Result<Found<Self::File>, FindError>> + 'static;
}

/// A file that is being served, in one state.
pub trait ServedFile: 'static {
    /// The state in which it was found.
    fn version(&self) -> &Version;

    /// Reads exactly `len` bytes, all of them within [`Version::len`]. It need not be polled to begin.
    ///
    /// An error when the disk fails, or when the file is no longer in the state in which it was found: what
    /// was sent of it then is of no use, and nothing may follow.
    fn read(&self, offset: u64, len: u32) -> impl Future<Output = io::Result<Bytes>> + 'static;
}

/// One state of a file at a server, as a client notes it down beside its part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// Where it is fetched from: the URL that the user gave.
    pub url: String,
    /// What tells the state from others.
    pub validators: Validators,
    /// Bytes of the whole, if known.
    pub len: Option<u64>,
}

/// What a client has from before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Bytes from the start of the file; those that are surely there.
    pub len: u64,
    /// What they are of.
    pub origin: Origin,
}

/// What a client writes one file to. Calls follow each other; one that is given up before it has ended has
/// happened or not, and does not count as appended.
pub trait FetchDisk: 'static {
    /// What is there from before; later calls of [`FetchDisk::append`] go on behind it. Of what nobody noted
    /// down the origin is [`Origin::default`].
    fn kept(&mut self) -> impl Future<Output = io::Result<Option<Kept>>>;

    /// Drops what is there; what is appended from now on is of `origin`.
    fn begin(&mut self, origin: &Origin) -> impl Future<Output = io::Result<()>>;

    /// Writes behind what is there.
    fn append(&mut self, data: Bytes) -> impl Future<Output = io::Result<()>>;

    /// What was appended survives a crash from now on: [`FetchDisk::kept`] counts it.
    fn sync(&mut self) -> impl Future<Output = io::Result<()>>;

    /// The SHA-256 of what is there, read back.
    fn sha256(&mut self) -> impl Future<Output = io::Result<[u8; 32]>>;

    /// It is complete: makes it durable and gives it its final name; what was noted down is removed.
    /// An error of kind [`io::ErrorKind::AlreadyExists`] when something has that name: it is not touched.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>>;
}
