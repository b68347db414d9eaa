//! Owns [`MetainfoError`]: why a metainfo file is refused.
//!
//! Invariant: each rule has its own words, which say what is wrong to somebody who has never seen
//! bencode; foreign text in them has not been made safe for a terminal.

use super::bencode::ScanError;

/// Why a metainfo file is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetainfoError {
    /// Not well-formed bencode.
    #[error(transparent)]
    Bencode(#[from] ScanError),
    /// No `info` dictionary.
    #[error("this is not a metainfo file: it has no `info` dictionary")]
    NoInfo,
    /// BitTorrent v2 without the v1 part (BEP 52).
    #[error("this torrent is for BitTorrent v2 only; only v1 and hybrid torrents are supported")]
    V2Only,
    /// A required key of `info` is missing.
    #[error("`{0}` is missing from the `info` dictionary")]
    Missing(&'static str),
    /// A value is of the wrong type.
    #[error("`{key}` at byte {at} is not what it should be: {why}")]
    WrongType {
        /// The key inside `info`.
        key: &'static str,
        /// Offset of its value in the file, bytes.
        at: usize,
        /// What the decoder expected.
        why: String,
    },
    /// `piece length` is not positive or does not fit 32 bits.
    #[error("`piece length` is {0}; it must be between 1 and 4294967295 bytes")]
    PieceLength(i64),
    /// `pieces` is not a whole number of hashes.
    #[error("`pieces` has {0} bytes, which is not a multiple of 20")]
    HashBytes(usize),
    /// The number of hashes is not the number of pieces.
    #[error("`pieces` has {have} hashes, but {total} bytes in pieces of {piece_bytes} need {need}")]
    HashCount {
        /// Hashes found.
        have: usize,
        /// Hashes needed.
        need: u64,
        /// Bytes of the content.
        total: u64,
        /// Bytes of a piece.
        piece_bytes: u32,
    },
    /// Both or neither of `length` and `files`.
    #[error("the `info` dictionary must have exactly one of `length` and `files`")]
    LengthOrFiles,
    /// A negative size.
    #[error("file {file} has the size {len}; a size cannot be negative")]
    NegativeSize {
        /// The file, counted from 1.
        file: usize,
        /// The size as found.
        len: i64,
    },
    /// The sizes add up to more than 2^63 - 1.
    #[error("the sizes of the files add up to more than 2^63 - 1 bytes")]
    TooLarge,
    /// No bytes at all.
    #[error("the torrent has no content: all of its files are empty")]
    NoContent,
    /// Nothing of a name is left when what is unsafe has been removed.
    #[error("{} has no name that is safe to write to disk", if *.file == 0 { "the torrent".to_owned() } else { format!("file {file}") })]
    NoSafeName {
        /// The file, counted from 1; 0 is the torrent's own name.
        file: usize,
    },
}
