//! Owns [`OpenError`]: why the files of a torrent could not be opened.
//!
//! Invariant: it names the file and says what to do about it where that is known; paths in it are as
//! the system gives them.

use std::io;
use std::path::{Path, PathBuf};

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
    /// Another process works on the same content.
    #[error("another process is at work on this torrent in {0}")]
    InUse(PathBuf),
    /// The disk refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl OpenError {
    /// The disk refused something about this path.
    pub(super) fn io(path: &Path, source: io::Error) -> OpenError {
        OpenError::Io {
            path: path.to_owned(),
            source,
        }
    }
}
