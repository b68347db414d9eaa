//! Owns [`FileEntry`]: one file of a torrent, with the attributes of BEP 47.
//!
//! Invariant: `path` is safe to join to a directory; padding and links have no file on disk.

use std::ops::Range;

use super::Geometry;

/// What becomes of a file on disk (BEP 47).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FileKind {
    /// A file.
    #[default]
    Regular,
    /// Zeros that make the next file begin with a piece (attribute `p`, or named `.pad/BYTES`):
    /// never created, read as zeros, what is written to it is dropped.
    Padding,
    /// A symbolic link (attribute `l`) without content of its own. It is never created, as it could
    /// lead anywhere. An entry that says `l` and has bytes is a regular file.
    Link {
        /// Where it leads, as found, relative to the torrent's folder. Not made safe.
        target: String,
    },
}

/// One file of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// Safe components, relative to the directory of the download; of a folder, the first is the
    /// torrent's name.
    pub path: Vec<String>,
    /// Bytes.
    pub len: u64,
    /// First byte inside the content.
    pub offset: u64,
    /// What becomes of it on disk.
    pub kind: FileKind,
    /// It is a program (attribute `x`, BEP 47): made executable where that exists.
    pub executable: bool,
    /// It asks not to be listed (attribute `h`, BEP 47). Only shown.
    pub hidden: bool,
    /// The name as found, components joined by `/`, below the torrent's name; `None` when nothing
    /// had to be changed to make it safe. Foreign text.
    pub found: Option<String>,
}

impl FileEntry {
    /// A regular file without attributes.
    #[must_use]
    pub fn plain(path: Vec<String>, len: u64, offset: u64) -> FileEntry {
        FileEntry {
            path,
            len,
            offset,
            kind: FileKind::Regular,
            executable: false,
            hidden: false,
            found: None,
        }
    }

    /// Whether it is a file on disk, which a user may want; padding and links are not.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.kind == FileKind::Regular
    }

    /// The bytes of the content that are its.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }

    /// The numbers of the pieces that have a byte of it; empty for an empty file.
    #[must_use]
    pub fn pieces(&self, geometry: Geometry) -> Range<usize> {
        if self.len == 0 {
            return 0..0;
        }
        let piece = |byte: u64| {
            let number = byte / u64::from(geometry.piece_bytes);
            usize::try_from(number).expect("a piece's number has 32 bits")
        };
        piece(self.offset)..piece(self.offset + self.len - 1) + 1
    }
}
