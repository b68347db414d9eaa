//! Owns the pure half of writing metainfo files (BEP 3, BEP 12, BEP 19, BEP 27, padding of BEP 47):
//! hashing pieces and encoding.
//! The half that reads real files is [`create_from_path`].
//!
//! Invariant: the same content and options give the same bytes on every machine, at any time.

mod from_path;

pub use from_path::{CreateError, create_from_path};

use std::borrow::Cow;

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
    /// Tracker URLs by tier (BEP 12): tiers are tried in this order, inside one at random.
    pub announce: Vec<Vec<String>>,
    /// URLs of servers that have the content (BEP 19).
    pub web_seeds: Vec<String>,
    /// A word that sets apart the same content on another tracker (field). Part of the info-hash.
    pub source: Option<String>,
    /// Padding after every file of a folder, so that each begins with a piece of its own (BEP 47).
    pub pad: bool,
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

/// Bytes of padding after each of these files, so that every file with content begins with a piece
/// (BEP 47). None after the last of them.
#[must_use]
pub fn padding_after(lens: &[u64], piece_bytes: u32) -> Vec<u64> {
    let piece_bytes = u64::from(piece_bytes);
    let last = lens.iter().rposition(|len| *len > 0);
    let pad = |(at, len): (usize, &u64)| match last {
        Some(last) if at < last => len.next_multiple_of(piece_bytes) - len,
        _ => 0,
    };
    lens.iter().enumerate().map(pad).collect()
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
    #[serde(rename = "announce-list", skip_serializing_if = "<[_]>::is_empty")]
    announce_list: &'a [Vec<String>],
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(rename = "created by", skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a str>,
    #[serde(rename = "creation date", skip_serializing_if = "Option::is_none")]
    creation_date: Option<i64>,
    info: Info<'a>,
    #[serde(rename = "url-list", skip_serializing_if = "<[_]>::is_empty")]
    web_seeds: &'a [String],
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
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

#[derive(Serialize)]
struct InfoFile<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attr: Option<&'static str>,
    length: u64,
    path: Cow<'a, [String]>,
}

/// The entries of `files`, with padding between them if that is asked for.
fn entries<'a>(
    files: &'a [(Vec<String>, u64)],
    piece_bytes: u32,
    options: &CreateOptions,
) -> Vec<InfoFile<'a>> {
    let lens: Vec<u64> = files.iter().map(|(_, len)| *len).collect();
    let padding = match options.pad {
        true => padding_after(&lens, piece_bytes),
        false => vec![0; lens.len()],
    };
    let mut entries = Vec::with_capacity(files.len());
    for ((path, len), padding) in files.iter().zip(padding) {
        entries.push(InfoFile {
            attr: None,
            length: *len,
            path: Cow::Borrowed(path),
        });
        if padding > 0 {
            entries.push(InfoFile {
                attr: Some("p"),
                length: padding,
                path: Cow::Owned(vec![".pad".to_owned(), padding.to_string()]),
            });
        }
    }
    entries
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
        Layout::Folder(files) => (None, Some(entries(files, piece_bytes, options))),
    };
    let private = options.private.then_some(1);
    let info = Info {
        files,
        length,
        name,
        piece_length: piece_bytes,
        pieces: Bytes::new(&pieces),
        private,
        source: options.source.as_deref(),
    };
    let mut urls = options.announce.iter().flatten();
    let outer = Outer {
        announce: urls.next().map(String::as_str),
        // One tracker needs no list.
        announce_list: match urls.next() {
            Some(_) => &options.announce,
            None => &[],
        },
        comment: options.comment.as_deref(),
        created_by: options.created_by.as_deref(),
        creation_date: options.creation_date,
        info,
        web_seeds: &options.web_seeds,
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
            announce: vec![vec!["http://a/".into()]],
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
        options.announce[0].push("http://c/".into());
        options.announce.push(vec!["udp://b".into()]);
        options.web_seeds = vec!["http://w/".into()];
        options.source = Some("s".into());
        let meta = Metainfo::parse(&write(&options)).expect("parses");
        assert_eq!(meta.announce, options.announce);
        assert_eq!(meta.web_seeds, options.web_seeds);
        assert_eq!(meta.source, options.source);
        assert!(meta.private);
        assert_eq!(
            (meta.creation_date, meta.created_by.as_deref()),
            (Some(-3), Some("Skep"))
        );
    }

    #[test]
    fn padding_makes_every_file_begin_with_a_piece() {
        assert_eq!(padding_after(&[5, 0, 10, 3, 0], 10), [5, 0, 0, 0, 0]);
        assert_eq!(padding_after(&[1, 11, 1], 10), [9, 9, 0]);
        assert_eq!(padding_after(&[], 10), [0; 0]);
        let names = ["a", "b", "c"].map(|name| vec![name.to_owned()]);
        let layout = Layout::Folder(names.into_iter().zip([1, 11, 1]).collect());
        let options = CreateOptions {
            pad: true,
            ..CreateOptions::default()
        };
        let bytes = encode("d", &layout, 10, &[[0; 20]; 4], &options);
        let meta = Metainfo::parse(&bytes).expect("parses");
        assert_eq!(meta.padding(), [1..10, 21..30]);
        assert!(
            meta.files
                .iter()
                .filter(|file| file.is_wanted())
                .all(|file| file.offset % 10 == 0)
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
