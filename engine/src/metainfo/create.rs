//! Owns the pure half of writing metainfo files (BEP 3, BEP 12, BEP 27): hashing pieces and encoding.
//! The half that reads real files is [`create_from_path`].
//!
//! Invariant: the same content and options give the same bytes on every machine, at any time.

mod from_path;

pub use from_path::{CreateError, create_from_path};

use serde::Serialize;
use serde_bytes::{ByteBuf, Bytes};
use sha1::{Digest, Sha1};

/// Smallest piece length that is chosen by itself: 16 KiB, one block.
pub const PIECE_BYTES_MIN: u32 = 16 * 1024;

/// Largest piece length that is chosen by itself: 16 MiB.
pub const PIECE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Pieces aimed at, at most (field: one to two thousand keep the file small and verification fine).
const PIECES_AIM_MAX: u64 = 2000;

/// What goes into a metainfo file besides the content.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CreateOptions {
    /// Bytes of a piece, at least 1; `None` chooses by size, see [`piece_bytes_for`].
    pub piece_bytes: Option<u32>,
    /// Tracker URLs, each a tier of its own (BEP 12): tried in this order.
    pub announce: Vec<String>,
    /// Free text for people.
    pub comment: Option<String>,
    /// The program's name.
    pub created_by: Option<String>,
    /// Seconds since 1970, UTC. Left out by default, so that the bytes are reproducible.
    pub creation_date: Option<i64>,
    /// Peers may come from the trackers only (BEP 27). Part of the info-hash.
    pub private: bool,
}

/// The files of a torrent to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One bare file of so many bytes.
    OneFile(u64),
    /// A folder of files: components below it, and bytes.
    Folder(Vec<(Vec<String>, u64)>),
}

/// The piece length for so many bytes: the smallest power of two, between 16 KiB and 16 MiB, that
/// makes at most 2,000 pieces.
#[must_use]
pub fn piece_bytes_for(total: u64) -> u32 {
    let wanted = total
        .div_ceil(PIECES_AIM_MAX)
        .min(u64::from(PIECE_BYTES_MAX));
    let wanted = u32::try_from(wanted).expect("at most 16 MiB");
    wanted.next_power_of_two().max(PIECE_BYTES_MIN)
}

/// Hashes content piece by piece, fed in any portions.
#[derive(Clone, Debug)]
pub struct PieceHasher {
    piece_bytes: u32,
    /// Bytes of the unfinished piece that are hashed already, below `piece_bytes`.
    fed: u32,
    sha1: Sha1,
    hashes: Vec<[u8; 20]>,
}

impl PieceHasher {
    /// A hasher for pieces of so many bytes.
    ///
    /// # Panics
    /// When `piece_bytes` is 0: there is no such geometry.
    #[must_use]
    pub fn new(piece_bytes: u32) -> PieceHasher {
        assert!(piece_bytes > 0, "a piece has at least one byte");
        PieceHasher {
            piece_bytes,
            fed: 0,
            sha1: Sha1::new(),
            hashes: Vec::new(),
        }
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (self.piece_bytes - self.fed) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.sha1.update(now);
            self.fed += u32::try_from(now.len()).expect("at most piece_bytes");
            if self.fed == self.piece_bytes {
                self.end_piece();
            }
            bytes = later;
        }
    }

    /// The hash of every piece, the last of which may be short. None for no content.
    #[must_use]
    pub fn finish(mut self) -> Vec<[u8; 20]> {
        if self.fed > 0 {
            self.end_piece();
        }
        self.hashes
    }

    fn end_piece(&mut self) {
        self.hashes.push(self.sha1.finalize_reset().into());
        self.fed = 0;
    }
}

#[derive(Serialize)]
struct Outer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    announce: Option<&'a str>,
    #[serde(rename = "announce-list", skip_serializing_if = "Vec::is_empty")]
    announce_list: Vec<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(rename = "created by", skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a str>,
    #[serde(rename = "creation date", skip_serializing_if = "Option::is_none")]
    creation_date: Option<i64>,
    info: Info<'a>,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<InfoFile<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    name: &'a str,
    #[serde(rename = "piece length")]
    piece_length: u32,
    pieces: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<u8>,
}

#[derive(Serialize)]
struct InfoFile<'a> {
    length: u64,
    path: &'a [String],
}

/// Encodes a metainfo file; `hashes` are those of a [`PieceHasher`] fed with all files in order.
/// Keys are sorted; `options.piece_bytes` is not looked at. Pure: nothing is checked against a disk.
#[must_use]
pub fn encode(
    name: &str,
    layout: &Layout,
    piece_bytes: u32,
    hashes: &[[u8; 20]],
    options: &CreateOptions,
) -> Vec<u8> {
    let pieces = ByteBuf::from(hashes.as_flattened());
    let (length, files) = match layout {
        Layout::OneFile(len) => (Some(*len), None),
        Layout::Folder(files) => {
            let files = files
                .iter()
                .map(|(path, len)| InfoFile { length: *len, path });
            (None, Some(files.collect()))
        }
    };
    let private = options.private.then_some(1);
    let info = Info {
        files,
        length,
        name,
        piece_length: piece_bytes,
        pieces: Bytes::new(&pieces),
        private,
    };
    let tiers = options.announce.iter().map(|url| [url.as_str()]);
    let outer = Outer {
        announce: options.announce.first().map(String::as_str),
        // One tracker needs no list.
        announce_list: if options.announce.len() > 1 {
            tiers.collect()
        } else {
            Vec::new()
        },
        comment: options.comment.as_deref(),
        created_by: options.created_by.as_deref(),
        creation_date: options.creation_date,
        info,
    };
    serde_bencode::to_bytes(&outer).expect("plain data in memory always encodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::Metainfo;

    #[test]
    fn options_are_written_and_keys_are_sorted() {
        let mut options = CreateOptions {
            announce: vec!["http://a/".into()],
            comment: Some("c".into()),
            created_by: Some("Skep".into()),
            creation_date: Some(-3),
            private: true,
            ..CreateOptions::default()
        };
        let write = |options: &CreateOptions| {
            encode(
                "n",
                &Layout::OneFile(1),
                16384,
                &[*b"hhhhhhhhhhhhhhhhhhhh"],
                options,
            )
        };
        let info = "4:infod6:lengthi1e4:name1:n12:piece lengthi16384e6:pieces20:hhhhhhhhhhhhhhhhhhhh7:privatei1eee";
        let rest = "7:comment1:c10:created by4:Skep13:creation datei-3e";
        assert_eq!(
            String::from_utf8(write(&options)).expect("text"),
            format!("d8:announce9:http://a/{rest}{info}")
        );
        options.announce.push("udp://b".into());
        let meta = Metainfo::parse(&write(&options)).expect("parses");
        assert_eq!(meta.announce, [["http://a/"], ["udp://b"]]);
        assert!(meta.private);
        assert_eq!(
            (meta.creation_date, meta.created_by.as_deref()),
            (Some(-3), Some("Skep"))
        );
    }

    #[test]
    fn piece_lengths_follow_the_size() {
        const MIB: u64 = 1024 * 1024;
        for (total, expected) in [
            (1, PIECE_BYTES_MIN),
            (2000 * 16384, PIECE_BYTES_MIN),
            (2000 * 16384 + 1, 2 * PIECE_BYTES_MIN),
            (4096 * MIB, 4 * 1024 * 1024),
            (u64::MAX, PIECE_BYTES_MAX),
        ] {
            assert_eq!(piece_bytes_for(total), expected, "{total}");
        }
    }

    #[test]
    fn portions_do_not_matter_to_the_hasher() {
        let content: Vec<u8> = (0..100_000u32).flat_map(|i| i.to_le_bytes()).collect();
        let pieces = content
            .chunks(20_000)
            .map(|piece| Sha1::digest(piece).into());
        let expected: Vec<[u8; 20]> = pieces.collect();
        for portion in [1, 7, 16384, 399_999, 400_000] {
            let mut hasher = PieceHasher::new(20_000);
            content
                .chunks(portion)
                .for_each(|bytes| hasher.update(bytes));
            assert_eq!(hasher.finish(), expected, "{portion}");
        }
        assert!(PieceHasher::new(1).finish().is_empty());
    }
}
