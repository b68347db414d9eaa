//! Owns [`ResumeData`]: what was verified when the files were last known to be durable, as bytes.
//!
//! Invariant: pure. Bytes that come from a disk are foreign: they pass the strict scanner, never panic,
//! and are either all understood or not used. What they claim of a file holds only while the file's
//! stamp is still the one they name; see [`ResumeData::known`].

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Known;
use crate::bits::BitSet;
use crate::ids::{InfoHash, PieceIndex};
use crate::metainfo::bencode::{self, DecodeError};
use crate::metainfo::{FileEntry, FileKind, Geometry};

/// The layout of the bytes. Others are not understood.
const VERSION: u32 = 1;

/// Bytes of one file's stamp: length (u64) and time of change (i64), big-endian.
const STAMP_BYTES: usize = 16;

/// The length that stands for a file that is not there; no file of a torrent is so long.
const ABSENT: u64 = u64::MAX;

/// By what a file is known to be unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileStamp {
    /// Bytes.
    pub len: u64,
    /// Last change of its content, nanoseconds since 1970, UTC, as the file system says.
    pub modified_ns: i64,
}

/// What is known of a torrent's content at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeData {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Pieces that are verified and durable.
    pub verified: BitSet,
    /// Pieces of which something was written and that were not hashed since. None of `verified`.
    pub unchecked: BitSet,
    /// One stamp per file of the metainfo, padding and links included; `None` where nothing is on
    /// disk.
    pub stamps: Vec<Option<FileStamp>>,
}

/// Why resume data is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// Not bencode, or not of its shape.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Written by another version.
    #[error("its version is {0}, not {VERSION}")]
    Version(u32),
    /// Of another torrent.
    #[error("it belongs to another torrent")]
    OtherTorrent,
    /// Not one stamp per file, not one bit per piece, or a piece that is both verified and not.
    #[error("it has other files or pieces than the torrent")]
    OtherShape,
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    #[serde(rename = "info-hash")]
    info_hash: ByteBuf,
    stamps: ByteBuf,
    unchecked: ByteBuf,
    verified: ByteBuf,
    version: u32,
}

impl ResumeData {
    /// The bytes of a resume file: a bencoded dictionary of `info-hash` (20 bytes), `stamps` (16
    /// bytes per file), `unchecked` and `verified` (bitfields as in BEP 3) and `version`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let stamps = self.stamps.iter().flat_map(|stamp| {
            let absent = FileStamp {
                len: ABSENT,
                modified_ns: 0,
            };
            let stamp = stamp.unwrap_or(absent);
            let halves = [stamp.len.to_be_bytes(), stamp.modified_ns.to_be_bytes()];
            halves.into_iter().flatten()
        });
        let encoded = Encoded {
            info_hash: ByteBuf::from(self.info_hash.0),
            stamps: ByteBuf::from(stamps.collect::<Vec<u8>>()),
            unchecked: ByteBuf::from(self.unchecked.to_wire()),
            verified: ByteBuf::from(self.verified.to_wire()),
            version: VERSION,
        };
        serde_bencode::to_bytes(&encoded).expect("plain data in memory always encodes")
    }

    /// Reads the bytes of a resume file of the torrent with this info-hash, so many pieces and files.
    ///
    /// # Errors
    /// When they are anything else.
    pub fn decode(
        bytes: &[u8],
        info_hash: InfoHash,
        pieces: u32,
        files: usize,
    ) -> Result<ResumeData, ResumeError> {
        let found: Encoded = bencode::from_slice(bytes)?;
        if found.version != VERSION {
            return Err(ResumeError::Version(found.version));
        }
        if *found.info_hash != info_hash.0 {
            return Err(ResumeError::OtherTorrent);
        }
        let set = |bytes: &[u8]| BitSet::from_wire(bytes, pieces).ok_or(ResumeError::OtherShape);
        let (verified, unchecked) = (set(&found.verified)?, set(&found.unchecked)?);
        if verified.iter_and(&unchecked).next().is_some() {
            return Err(ResumeError::OtherShape);
        }
        let (stamps, rest) = found.stamps.as_chunks::<STAMP_BYTES>();
        if stamps.len() != files || !rest.is_empty() {
            return Err(ResumeError::OtherShape);
        }
        let stamps = stamps.iter().map(|stamp| {
            let half = |at: usize| {
                let half = stamp[at..at + 8].try_into();
                u64::from_be_bytes(half.expect("a stamp has two halves of 8 bytes"))
            };
            (half(0) != ABSENT).then(|| FileStamp {
                len: half(0),
                modified_ns: half(8).cast_signed(),
            })
        });
        Ok(ResumeData {
            info_hash,
            verified,
            unchecked,
            stamps: stamps.collect(),
        })
    }

    /// What still holds, given how the files are `now`: a piece is as it was when every file with a
    /// byte in it is; the others have to be looked at, as far as anything is there.
    #[must_use]
    pub fn known(
        &self,
        geometry: Geometry,
        files: &[FileEntry],
        now: &[Option<FileStamp>],
    ) -> Known {
        let stale = |at: usize| self.stamps.get(at) != now.get(at);
        let stale = pieces_of(geometry, files, stale);
        let there = pieces_of(geometry, files, |at| holds(now, at));
        let padding = padding_alone(geometry, files);
        let mut known = Known {
            have: BitSet::empty(geometry.pieces),
            unchecked: BitSet::empty(geometry.pieces),
        };
        for piece in geometry.all_pieces() {
            let doubtful = stale.contains(piece) || self.unchecked.contains(piece);
            if !doubtful && self.verified.contains(piece) {
                known.have.insert(piece);
            } else if doubtful && there.contains(piece) || padding.contains(piece) {
                known.unchecked.insert(piece);
            }
        }
        known
    }
}

/// What is known without resume data: whatever is there has to be looked at.
pub(super) fn known_by_looking(
    geometry: Geometry,
    files: &[FileEntry],
    now: &[Option<FileStamp>],
) -> Known {
    let mut unchecked = padding_alone(geometry, files);
    for piece in pieces_of(geometry, files, |at| holds(now, at)).iter() {
        unchecked.insert(piece);
    }
    Known {
        have: BitSet::empty(geometry.pieces),
        unchecked,
    }
}

/// Whether a file had content when it was looked at.
fn holds(now: &[Option<FileStamp>], at: usize) -> bool {
    matches!(now.get(at), Some(Some(stamp)) if stamp.len > 0)
}

/// The pieces of padding alone (BEP 47): they are there before anybody wrote them, once looked at.
fn padding_alone(geometry: Geometry, files: &[FileEntry]) -> BitSet {
    let mut alone = pieces_of(geometry, files, |at| files[at].kind == FileKind::Padding);
    for piece in pieces_of(geometry, files, |at| files[at].is_wanted()).iter() {
        alone.remove(piece);
    }
    alone
}

/// The pieces with a byte of any file that is chosen by its number.
fn pieces_of(geometry: Geometry, files: &[FileEntry], chosen: impl Fn(usize) -> bool) -> BitSet {
    let mut pieces = BitSet::empty(geometry.pieces);
    for (_, file) in files.iter().enumerate().filter(|(at, _)| chosen(*at)) {
        for piece in file.pieces(geometry) {
            pieces.insert(PieceIndex(u32::try_from(piece).expect("32 bits")));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: InfoHash = InfoHash([7; 20]);

    fn stamp(len: u64, modified_ns: i64) -> Option<FileStamp> {
        Some(FileStamp { len, modified_ns })
    }

    fn set(len: u32, pieces: &[u32]) -> BitSet {
        let mut set = BitSet::empty(len);
        pieces.iter().for_each(|piece| {
            set.insert(PieceIndex(*piece));
        });
        set
    }

    #[test]
    fn only_what_is_still_true_is_trusted() {
        // Pieces of 10: a has 0, 1 and half of 2; b the rest of 2, and 3; c has 4.
        let geometry = Geometry::new(50, 10).expect("sizes");
        let file = |len, offset| FileEntry::plain(vec!["f".into()], len, offset);
        let files = [file(25, 0), file(15, 25), file(0, 40), file(10, 40)];
        let was = vec![stamp(25, 1), stamp(15, 1), stamp(0, 1), stamp(10, 1)];
        let data = ResumeData {
            info_hash: HASH,
            verified: set(5, &[0, 2, 3]),
            unchecked: set(5, &[1]),
            stamps: was.clone(),
        };
        let check = |now: [Option<FileStamp>; 4], have: &[u32], unchecked: &[u32]| {
            let known = data.known(geometry, &files, &now);
            assert_eq!(known.have, set(5, have), "{now:?}");
            assert_eq!(known.unchecked, set(5, unchecked), "{now:?}");
        };
        check([was[0], was[1], was[2], was[3]], &[0, 2, 3], &[1]);
        check([was[0], stamp(15, 2), was[2], was[3]], &[0], &[1, 2, 3]);
        check(
            [was[0], was[1], stamp(0, 9), stamp(9, 1)],
            &[0, 2, 3],
            &[1, 4],
        );
        check([None, was[1], was[2], was[3]], &[3], &[2]);
        check([None; 4], &[], &[]);
        check([stamp(0, 5), None, None, None], &[], &[]);
        let looked = known_by_looking(geometry, &files, &[None, was[1], was[2], None]);
        assert_eq!(looked.unchecked, set(5, &[2, 3]));
    }

    #[test]
    fn what_is_not_this_torrents_is_refused_in_words() {
        let data = ResumeData {
            info_hash: HASH,
            verified: set(9, &[8]),
            unchecked: set(9, &[0]),
            stamps: vec![None, stamp(3, -4)],
        };
        let bytes = data.encode();
        let decode = |bytes: &[u8]| ResumeData::decode(bytes, HASH, 9, 2);
        assert_eq!(decode(&bytes), Ok(data));
        assert_eq!(
            ResumeData::decode(&bytes, InfoHash([8; 20]), 9, 2),
            Err(ResumeError::OtherTorrent)
        );
        for (pieces, files) in [(8, 2), (17, 2), (9, 1), (9, 3)] {
            let found = ResumeData::decode(&bytes, HASH, pieces, files);
            assert_eq!(found, Err(ResumeError::OtherShape));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.ends_with("7:versioni1ee"));
        let newer = [&bytes[..bytes.len() - 4], b"i2ee"].concat();
        assert_eq!(decode(&newer), Err(ResumeError::Version(2)));
        for cut in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..cut]), Err(ResumeError::Decode(_))));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            bits in proptest::collection::vec(any::<bool>(), 0..100),
            stamps in proptest::collection::vec(proptest::option::of((0..u64::MAX, any::<i64>())), 0..20),
        ) {
            let pieces = u32::try_from(bits.len()).expect("few");
            let on = (0..).zip(&bits).filter(|(_, on)| **on);
            let on: Vec<u32> = on.map(|(piece, _)| piece).collect();
            let off: Vec<u32> = (0..pieces).filter(|piece| !on.contains(piece)).collect();
            let data = ResumeData {
                info_hash: HASH,
                verified: set(pieces, &on),
                unchecked: set(pieces, &off),
                stamps: stamps.iter().map(|found| found.and_then(|(len, ns)| stamp(len, ns))).collect(),
            };
            prop_assert_eq!(ResumeData::decode(&data.encode(), HASH, pieces, stamps.len()), Ok(data));
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), pieces in 0..50_u32, files in 0..5_usize) {
            let _ = ResumeData::decode(&bytes, HASH, pieces, files);
        }

        #[test]
        fn a_changed_byte_never_panics(at in any::<proptest::sample::Index>(), to: u8) {
            let data = ResumeData { info_hash: HASH, verified: set(9, &[1]), unchecked: set(9, &[2]), stamps: vec![stamp(3, 4)] };
            let mut bytes = data.encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = ResumeData::decode(&bytes, HASH, 9, 1);
        }
    }
}
