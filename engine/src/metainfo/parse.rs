//! Owns [`Metainfo`]: what a metainfo file says (BEP 3, tiers of BEP 12, `private` of BEP 27), parsed
//! once and valid from then on.
//!
//! Invariant: the info-hash is the SHA-1 of the `info` value exactly as found; the files lie end to
//! end and make up `geometry.total > 0`; there is one hash per piece; no two files share a path, and
//! no path leaves the directory it is joined to.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use sha1::{Digest, Sha1};

use super::Geometry;
use super::bencode::{self, ScanError};
use super::paths::Paths;
use crate::ids::InfoHash;

/// What a metainfo file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metainfo {
    /// SHA-1 of [`Metainfo::info_bytes`] (BEP 3).
    pub info_hash: InfoHash,
    /// The torrent's name, made safe: the name of its one file, or of its folder.
    pub name: String,
    /// Sizes: content, pieces.
    pub geometry: Geometry,
    /// SHA-1 of every piece, in order.
    pub piece_hashes: Vec<[u8; 20]>,
    /// The files, in the order in which their bytes make up the content.
    pub files: Vec<FileEntry>,
    /// Whether the torrent is one bare file rather than a folder (which may hold one file, too).
    pub single_file: bool,
    /// Tracker URLs by tier (BEP 12). A plain `announce` is one tier of one.
    pub announce: Vec<Vec<String>>,
    /// Peers may come from the trackers only (BEP 27).
    pub private: bool,
    /// Free text.
    pub comment: Option<String>,
    /// The program that made the file.
    pub created_by: Option<String>,
    /// Seconds since 1970, UTC.
    pub creation_date: Option<i64>,
    /// The `info` value exactly as found.
    pub info_bytes: Bytes,
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
}

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
    /// BitTorrent v2 without the v1 half (BEP 52).
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

#[derive(Deserialize)]
struct FoundFile {
    length: i64,
    path: Vec<ByteBuf>,
}

/// A dictionary inside the scanned file, read key by key: unlike a serde struct it takes keys that
/// are not UTF-8 next to those it is asked for.
struct Dict<'a> {
    file: &'a [u8],
    start: usize,
    end: usize,
}

impl Dict<'_> {
    fn bytes(&self) -> &[u8] {
        &self.file[self.start..self.end]
    }

    fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, MetainfoError> {
        let Some(span) = bencode::top_level_span(self.bytes(), key.as_bytes())? else {
            return Ok(None);
        };
        let at = self.start + span.start;
        let value = serde_bencode::from_bytes(&self.bytes()[span]);
        value.map(Some).map_err(|error| MetainfoError::WrongType {
            key,
            at,
            why: error.to_string(),
        })
    }

    fn need<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, MetainfoError> {
        self.get(key)?.ok_or(MetainfoError::Missing(key))
    }

    /// What is only for people, or can do without: of the wrong type is as good as missing.
    fn optional<T: DeserializeOwned>(&self, key: &'static str) -> Option<T> {
        self.get(key).ok().flatten()
    }

    fn text(&self, key: &'static str) -> Option<String> {
        self.optional::<ByteBuf>(key).map(|bytes| readable(&bytes))
    }
}

fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Metainfo {
    /// Parses a metainfo file as found in the wild.
    ///
    /// Names are made safe, not refused, as long as anything of them is left. Optional values of the wrong type are
    /// taken as missing. A piece length that is no power of two is accepted.
    ///
    /// # Errors
    /// What is wrong, in plain words, and where as far as that is known.
    pub fn parse(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        let span = bencode::top_level_span(bytes, b"info")?.ok_or(MetainfoError::NoInfo)?;
        if bytes[span.start] != b'd' {
            return Err(MetainfoError::NoInfo);
        }
        let outer = Dict {
            file: bytes,
            start: 0,
            end: bytes.len(),
        };
        let info = Dict {
            file: bytes,
            start: span.start,
            end: span.end,
        };
        let hashes: Option<ByteBuf> = info.get("pieces")?;
        if hashes.is_none() && info.optional::<i64>("meta version") == Some(2) {
            return Err(MetainfoError::V2Only);
        }
        let hashes = hashes.ok_or(MetainfoError::Missing("pieces"))?;
        let (name, files, single_file) = files(&info)?;
        let geometry = geometry(&files, info.need("piece length")?, &hashes)?;
        let (piece_hashes, _) = hashes.as_chunks::<20>();
        Ok(Metainfo {
            info_hash: InfoHash(Sha1::digest(info.bytes()).into()),
            name,
            geometry,
            piece_hashes: piece_hashes.to_vec(),
            files,
            single_file,
            announce: announce(&outer),
            private: info.optional::<i64>("private") == Some(1),
            comment: outer.text("comment"),
            created_by: outer.text("created by"),
            creation_date: outer.optional("creation date"),
            info_bytes: Bytes::copy_from_slice(info.bytes()),
        })
    }
}

/// The torrent's safe name, its files end to end, and whether it is one bare file.
fn files(info: &Dict<'_>) -> Result<(String, Vec<FileEntry>, bool), MetainfoError> {
    let mut paths = Paths::new();
    let name = readable(&info.need::<ByteBuf>("name")?);
    let no_name = MetainfoError::NoSafeName { file: 0 };
    match (
        info.get::<i64>("length")?,
        info.get::<Vec<FoundFile>>("files")?,
    ) {
        (Some(len), None) => {
            let path = paths.file(&[name]).ok_or(no_name)?;
            let len =
                u64::try_from(len).map_err(|_| MetainfoError::NegativeSize { file: 1, len })?;
            Ok((
                path[0].clone(),
                vec![FileEntry {
                    path,
                    len,
                    offset: 0,
                }],
                true,
            ))
        }
        (None, Some(found)) => {
            let name = paths.folder(&name).ok_or(no_name)?;
            let mut files = Vec::with_capacity(found.len());
            let mut offset = 0u64;
            for (file, FoundFile { length: len, path }) in (1..).zip(found) {
                let found: Vec<String> = path.iter().map(|part| readable(part)).collect();
                let path = paths
                    .file(&found)
                    .ok_or(MetainfoError::NoSafeName { file })?;
                let len =
                    u64::try_from(len).map_err(|_| MetainfoError::NegativeSize { file, len })?;
                files.push(FileEntry { path, len, offset });
                offset = offset.checked_add(len).ok_or(MetainfoError::TooLarge)?;
            }
            Ok((name, files, false))
        }
        _ => Err(MetainfoError::LengthOrFiles),
    }
}

fn geometry(
    files: &[FileEntry],
    piece_length: i64,
    hashes: &[u8],
) -> Result<Geometry, MetainfoError> {
    let total = files.last().map_or(0, |last| last.offset + last.len);
    if i64::try_from(total).is_err() {
        return Err(MetainfoError::TooLarge);
    }
    if total == 0 {
        return Err(MetainfoError::NoContent);
    }
    let piece_bytes = u32::try_from(piece_length).ok().filter(|bytes| *bytes > 0);
    let piece_bytes = piece_bytes.ok_or(MetainfoError::PieceLength(piece_length))?;
    if !hashes.len().is_multiple_of(20) {
        return Err(MetainfoError::HashBytes(hashes.len()));
    }
    let have = hashes.len() / 20;
    let need = total.div_ceil(u64::from(piece_bytes));
    let geometry = Geometry::new(total, piece_bytes).filter(|_| need == have as u64);
    geometry.ok_or(MetainfoError::HashCount {
        have,
        need,
        total,
        piece_bytes,
    })
}

/// The tiers of `announce-list`; the plain `announce` when it has none (BEP 12).
fn announce(outer: &Dict<'_>) -> Vec<Vec<String>> {
    let tiers: Vec<Vec<ByteBuf>> = outer.optional("announce-list").unwrap_or_default();
    let tiers = tiers.iter().map(|tier| {
        tier.iter()
            .map(|url| readable(url).trim().to_owned())
            .filter(|url| !url.is_empty())
            .collect()
    });
    let mut tiers: Vec<Vec<String>> = tiers
        .filter(|tier: &Vec<String>| !tier.is_empty())
        .collect();
    if tiers.is_empty() {
        let plain = outer.text("announce").map(|url| url.trim().to_owned());
        tiers.extend(plain.filter(|url| !url.is_empty()).map(|url| vec![url]));
    }
    tiers
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// A metainfo file around these pieces of an `info` dictionary, with `hashes` piece hashes.
    fn file(info: &str, hashes: usize) -> Vec<u8> {
        let pieces = format!("6:pieces{}:{}", hashes * 20, "h".repeat(hashes * 20));
        format!("d4:infod{info}{pieces}ee").into_bytes()
    }

    fn refused(info: &str, hashes: usize) -> MetainfoError {
        Metainfo::parse(&file(info, hashes)).expect_err(info)
    }

    #[test]
    fn a_single_file_is_read_and_hashed_as_found() {
        // Keys out of order and unknown ones, one not UTF-8: the info-hash covers them as they are.
        let mut bytes = b"d8:announce12:http://t/ann4:info".to_vec();
        let info = [
            b"d4:name5:a.bin12:piece lengthi20000e6:lengthi20001e1:\xffi7e6:pieces40:".as_slice(),
            &[7; 40],
            b"e",
        ]
        .concat();
        bytes.extend_from_slice(&info);
        bytes.extend_from_slice(b"13:creation datei5e7:comment2:hie");
        let meta = Metainfo::parse(&bytes).expect("valid");
        assert_eq!(meta.info_bytes, info);
        assert_eq!(meta.info_hash.0, <[u8; 20]>::from(Sha1::digest(&info)));
        assert_eq!(
            meta.geometry,
            Geometry {
                total: 20001,
                piece_bytes: 20000,
                pieces: 2
            }
        );
        assert_eq!(meta.piece_hashes, vec![[7; 20]; 2]);
        assert_eq!(
            meta.files,
            [FileEntry {
                path: vec!["a.bin".into()],
                len: 20001,
                offset: 0
            }]
        );
        assert!(meta.single_file && !meta.private);
        assert_eq!(meta.announce, [["http://t/ann"]]);
        assert_eq!(
            (meta.comment.as_deref(), meta.creation_date),
            (Some("hi"), Some(5))
        );
    }

    #[test]
    fn the_info_hash_of_a_known_file() {
        let info = "6:lengthi1e4:name1:a12:piece lengthi16384e";
        let meta = Metainfo::parse(&file(info, 1)).expect("valid");
        // `printf 'd6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:hhhhhhhhhhhhhhhhhhhhe' | sha1sum`
        assert_eq!(
            meta.info_hash.0,
            hex!("900d15b9abb6fc41358441d7168653881ef05e81")
        );
    }

    #[test]
    fn files_lie_end_to_end_below_the_name() {
        let info = "5:filesld6:lengthi3e4:pathl1:x1:yeed6:lengthi0e4:pathl5:emptyeed6:lengthi9e4:pathl1:zeee\
                    4:name3:dir12:piece lengthi8e7:privatei1e";
        let meta = Metainfo::parse(&file(info, 2)).expect("valid");
        let files: Vec<_> = meta
            .files
            .iter()
            .map(|f| (f.path.join("/"), f.len, f.offset))
            .collect();
        assert_eq!(
            files,
            [
                ("dir/x/y".into(), 3, 0),
                ("dir/empty".into(), 0, 3),
                ("dir/z".into(), 9, 3)
            ]
        );
        assert_eq!(meta.geometry.total, 12);
        assert!(meta.private && !meta.single_file);
    }

    #[test]
    fn tiers_come_before_the_plain_announce() {
        let with = |outer: &str| {
            let inner = file("6:lengthi1e4:name1:a12:piece lengthi16384e", 1);
            let mut bytes = format!("d{outer}").into_bytes();
            bytes.extend_from_slice(&inner[1..]);
            Metainfo::parse(&bytes).expect("valid").announce
        };
        assert_eq!(
            with("8:announce1:x13:announce-listll1:a1:bel1:cee"),
            [vec!["a", "b"], vec!["c"]]
        );
        assert_eq!(with("8:announce1:x13:announce-listllee"), [["x"]]);
        assert_eq!(with("8:announce1:x13:announce-listi3e"), [["x"]]);
        assert_eq!(with("8:announce0:"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn each_rule_refuses_in_its_own_words() {
        use MetainfoError::*;
        let one = "6:lengthi1e4:name1:a";
        let piece = "12:piece lengthi16384e";
        let dir = "4:name1:d12:piece lengthi16384e";
        let check = |info: String, hashes: usize, error: MetainfoError| {
            assert_eq!(refused(&info, hashes), error, "{info}");
        };
        check(format!("{one}12:piece lengthi0e"), 1, PieceLength(0));
        check(format!("{one}12:piece lengthi-5e"), 1, PieceLength(-5));
        check(
            format!("{one}12:piece lengthi4294967296e"),
            1,
            PieceLength(4_294_967_296),
        );
        check(format!("6:lengthi1e{piece}"), 1, Missing("name"));
        check(one.into(), 1, Missing("piece length"));
        let count = |have| HashCount {
            have,
            need: 1,
            total: 1,
            piece_bytes: 16384,
        };
        check(format!("{one}{piece}"), 0, count(0));
        check(format!("{one}{piece}"), 2, count(2));
        check(format!("{dir}5:filesle6:lengthi1e"), 1, LengthOrFiles);
        check(dir.into(), 1, LengthOrFiles);
        check(format!("{dir}5:filesle"), 0, NoContent);
        check(format!("{dir}6:lengthi0e"), 0, NoContent);
        check(
            format!("{dir}6:lengthi-1e"),
            1,
            NegativeSize { file: 1, len: -1 },
        );
        let max = format!("d6:lengthi{}e4:pathl1:aee", i64::MAX);
        check(
            format!("{dir}5:filesl{max}d6:lengthi1e4:pathl1:beee"),
            1,
            TooLarge,
        );
        check(format!("{dir}5:filesl{max}{max}{max}e"), 1, TooLarge);
        check(
            format!("{dir}5:filesld6:lengthi1e4:pathl2:..eee"),
            1,
            NoSafeName { file: 1 },
        );
        check(
            "6:lengthi1e4:name2:..12:piece lengthi1e".into(),
            1,
            NoSafeName { file: 0 },
        );
        assert!(matches!(
            refused(&format!("{one}12:piece length1:x"), 1),
            WrongType { at: 43, .. }
        ));
        assert_eq!(Metainfo::parse(b"de"), Err(NoInfo));
        assert_eq!(Metainfo::parse(b"d4:infoi1ee"), Err(NoInfo));
        assert_eq!(
            Metainfo::parse(b"d4:infod12:meta versioni2eee"),
            Err(V2Only)
        );
        assert_eq!(
            Metainfo::parse(b"d4:infod6:pieces3:abc6:lengthi1e4:name1:a12:piece lengthi1eee"),
            Err(HashBytes(3))
        );
        assert!(matches!(
            Metainfo::parse(b"d4:infod"),
            Err(Bencode(ScanError { at: 8, .. }))
        ));
    }

    #[test]
    fn names_that_are_not_utf8_become_readable_and_stay_distinct() {
        let bytes = b"d4:infod5:filesld6:lengthi1e4:pathl1:\xffeed6:lengthi1e4:pathl1:\xfeeee4:name1:d12:piece lengthi2e6:pieces20:hhhhhhhhhhhhhhhhhhhhee";
        let meta = Metainfo::parse(bytes).expect("valid");
        let paths: Vec<_> = meta.files.iter().map(|f| f.path.join("/")).collect();
        assert_eq!(paths, ["d/\u{fffd}", "d/\u{fffd} (2)"]);
    }
}
