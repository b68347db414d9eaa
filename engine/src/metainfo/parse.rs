//! Owns [`Metainfo`]: what a metainfo file says (BEP 3, tiers of BEP 12, web seeds of BEP 19, `private`
//! of BEP 27, attributes of BEP 47, the v1 part of a hybrid of BEP 52), parsed once and valid from
//! then on.
//!
//! Invariant: the info-hash is the SHA-1 of the `info` value exactly as found; the files lie end to
//! end and make up `geometry.total > 0`; there is one hash per piece; no two files share a path, and
//! no path leaves the directory it is joined to.

use std::ops::Range;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::reading::{Texts, bytes, integer, names, need};
use super::{FileEntry, FileKind, Found, Geometry, MetainfoError};
use crate::ids::InfoHash;

/// Tracker URLs kept of one metainfo file, and web seeds: it cannot fill memory with short ones. Of
/// the trackers fewer still are asked (`trackers_max` of [`crate::EngineConfig`]).
pub const URLS_MAX: usize = 1000;

/// What a metainfo file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metainfo {
    /// SHA-1 of [`Metainfo::info_bytes`] (BEP 3).
    pub info_hash: InfoHash,
    /// SHA-256 of [`Metainfo::info_bytes`] when the torrent is a hybrid (BEP 52), of which only the
    /// v1 part is used.
    pub v2_info_hash: Option<[u8; 32]>,
    /// The torrent's name, made safe: the name of its one file, or of its folder.
    pub name: String,
    /// The name as found, where that is another one. Foreign text.
    pub found_name: Option<String>,
    /// Sizes: content, pieces.
    pub geometry: Geometry,
    /// SHA-1 of every piece, in order.
    pub piece_hashes: Vec<[u8; 20]>,
    /// The files, in the order in which their bytes make up the content; padding and links too.
    pub files: Vec<FileEntry>,
    /// Whether the torrent is one bare file rather than a folder (which may hold one file, too).
    pub single_file: bool,
    /// Tracker URLs by tier (BEP 12), the first [`URLS_MAX`]. A plain `announce` is one tier of one.
    pub announce: Vec<Vec<String>>,
    /// URLs of servers that have the content (BEP 19), the first [`URLS_MAX`].
    pub web_seeds: Vec<String>,
    /// Peers may come from the trackers only (BEP 27).
    pub private: bool,
    /// A word inside `info` that sets apart the same content on another tracker (field).
    pub source: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// The program that made the file.
    pub created_by: Option<String>,
    /// Seconds since 1970, UTC.
    pub creation_date: Option<i64>,
    /// The `info` value exactly as found.
    pub info_bytes: Bytes,
}

impl Metainfo {
    /// Parses a metainfo file as found in the wild.
    ///
    /// Names are made safe, not refused, as long as anything of them is left. Optional values of the
    /// wrong type are taken as missing. A piece length that is no power of two is accepted. Of a
    /// hybrid (BEP 52) the v1 part is used.
    ///
    /// # Errors
    /// What is wrong, in plain words, and where as far as that is known.
    pub fn parse(file: &[u8]) -> Result<Metainfo, MetainfoError> {
        let outer = Found::root(file)?;
        let info = outer.get(b"info").ok_or(MetainfoError::NoInfo)?;
        if info.entries().is_none() {
            return Err(MetainfoError::NoInfo);
        }
        let v2 = info.get(b"meta version").and_then(|v| v.integer()) == Some(2);
        let v1 = info.get(b"pieces").is_some()
            && (info.get(b"length").is_some() || info.get(b"files").is_some());
        if v2 && !v1 {
            return Err(MetainfoError::V2Only);
        }
        let texts = Texts::of(outer);
        let hashes = bytes("pieces", need(info, "pieces")?)?;
        let names = names(info, &texts)?;
        let piece_length = integer("piece length", need(info, "piece length")?)?;
        let geometry = geometry(&names.files, piece_length, hashes)?;
        let (piece_hashes, _) = hashes.as_chunks::<20>();
        let integer = |dict: Found<'_>, key: &[u8]| dict.get(key)?.integer();
        Ok(Metainfo {
            info_hash: InfoHash(Sha1::digest(info.raw()).into()),
            v2_info_hash: v2.then(|| Sha256::digest(info.raw()).into()),
            name: names.name,
            found_name: names.found,
            geometry,
            piece_hashes: piece_hashes.to_vec(),
            files: names.files,
            single_file: names.single_file,
            announce: announce(outer, &texts),
            web_seeds: web_seeds(outer, &texts),
            private: integer(info, b"private") == Some(1),
            source: texts.optional(info, "source"),
            comment: texts.optional(outer, "comment"),
            created_by: texts.optional(outer, "created by"),
            creation_date: integer(outer, b"creation date"),
            info_bytes: Bytes::copy_from_slice(info.raw()),
        })
    }

    /// The bytes of the content that are padding (BEP 47): known to be zeros, so nobody needs to
    /// send them. In order, none empty, no two touching.
    #[must_use]
    pub fn padding(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let padding = |file: &&FileEntry| file.kind == FileKind::Padding && file.len > 0;
        for file in self.files.iter().filter(padding) {
            match ranges.last_mut() {
                Some(last) if last.end == file.offset => last.end += file.len,
                _ => ranges.push(file.range()),
            }
        }
        ranges
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

/// A URL, without the spaces that some have around it; `None` when nothing is left.
fn url(value: Found<'_>, texts: &Texts) -> Option<String> {
    let url = texts.read(value.bytes()?).trim().to_owned();
    (!url.is_empty()).then_some(url)
}

/// The tiers of `announce-list`, whose entries may be bare URLs; the plain `announce` when it has
/// none (BEP 12).
fn announce(outer: Found<'_>, texts: &Texts) -> Vec<Vec<String>> {
    let list = outer.get(b"announce-list").and_then(|list| list.items());
    let mut room = URLS_MAX;
    let tier = |tier: Found<'_>| -> Vec<String> {
        let urls: Vec<String> = match tier.items() {
            Some(urls) => {
                let urls = urls.filter_map(|found| url(found, texts));
                urls.take(room).collect()
            }
            None => url(tier, texts).into_iter().take(room).collect(),
        };
        room -= urls.len();
        urls
    };
    let tiers = list.into_iter().flatten().map(tier);
    let mut tiers: Vec<Vec<String>> = tiers.filter(|tier| !tier.is_empty()).collect();
    if tiers.is_empty() {
        let plain = outer.get(b"announce");
        tiers.extend(
            plain
                .and_then(|found| url(found, texts))
                .map(|url| vec![url]),
        );
    }
    tiers
}

/// `url-list`: one URL or a list of them (BEP 19).
fn web_seeds(outer: Found<'_>, texts: &Texts) -> Vec<String> {
    let Some(found) = outer.get(b"url-list") else {
        return Vec::new();
    };
    match found.items() {
        Some(urls) => {
            let urls = urls.filter_map(|found| url(found, texts));
            urls.take(URLS_MAX).collect()
        }
        None => url(found, texts).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;
    use crate::metainfo::bencode::ScanError;

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
            [FileEntry::plain(vec!["a.bin".into()], 20001, 0)]
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
