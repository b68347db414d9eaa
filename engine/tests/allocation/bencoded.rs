//! Owns the parsers of bencode under test: the scanner, typed values, metainfo, extension messages,
//! HTTP tracker replies, resume data.
//!
//! Invariant: each cap says in a comment what it pays for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use skep_engine::bits::BitSet;
use skep_engine::ids::{InfoHash, PeerId, PieceIndex};
use skep_engine::metainfo::create::{CreateOptions, Layout, encode};
use skep_engine::metainfo::magnet::MagnetLink;
use skep_engine::metainfo::{Metainfo, bencode};
use skep_engine::storage::resume::{FileStamp, ResumeData};
use skep_engine::tracker::announce::{AnnounceReply, PeerAddr, Retry, ScrapeCounts};
use skep_engine::tracker::http::{
    parse_reply, parse_scrape_reply, write_failure, write_reply, write_scrape,
};
use skep_engine::wire::Message;
use skep_engine::wire::extension::{self, ExtendedHandshake};
use skep_engine::wire::metadata::MetadataMessage;
use skep_engine::wire::pex::{Pex, SEED};

use super::inputs::{dict, list_of, many_keys, name, string, values};
use super::measure::{Cap, Parser};

const KIB: u64 = 1024;
/// The scanner: its stack of 32, and four bytes per key of at least four, in a buffer that doubles.
const SCAN: Cap = Cap::linear(2 * KIB, 30);

pub fn parsers() -> Vec<Parser> {
    vec![
        Parser {
            name: "bencode scanner",
            read: |input| {
                let _ = bencode::check(&input.bytes);
                let _ = bencode::top_level_span(&input.bytes, b"info");
            },
            cap: SCAN,
            valid: metainfo,
            hostile: values,
        },
        Parser {
            name: "bencode, typed",
            read: |input| drop(bencode::from_slice::<Typed>(&input.bytes)),
            // Integers of three bytes become eight, in a buffer that doubles.
            cap: Cap::linear(2 * KIB, 80),
            valid: || {
                vec![dict(&[
                    ("name", string(b"x")),
                    ("numbers", b"li1ei2ee".to_vec()),
                ])]
            },
            hostile: || {
                let mut all = values();
                for value in values() {
                    all.push(dict(&[("name", string(b"x")), ("numbers", value.clone())]));
                    all.push(dict(&[("name", value.clone()), ("unknown", value)]));
                }
                all
            },
        },
        Parser {
            name: "metainfo",
            read: |input| drop(Metainfo::parse(&input.bytes)),
            // A file of 24 bytes becomes an entry, its path, and two names in the tree of taken names.
            cap: Cap::linear(16 * KIB, 320),
            valid: metainfo,
            hostile: hostile_metainfo,
        },
        Parser {
            name: "extended handshake",
            read: |input| {
                let _ = ExtendedHandshake::read(&input.bytes);
                let _ = extension::read_dont_have(&input.bytes);
            },
            // The client's name is cut before it is read.
            cap: SCAN,
            valid: extended,
            hostile: || {
                let mut all = values();
                for key in ["m", "v", "yourip", "reqq", "p"] {
                    all.extend(values().into_iter().map(|value| dict(&[(key, value)])));
                }
                all
            },
        },
        Parser {
            name: "peer exchange",
            read: |input| drop(Pex::read(&input.bytes, 200, 50)),
            // 250 contacts of 34 bytes at most, in trees that may be half empty, and the scanner's.
            cap: Cap {
                fixed: 3 * KIB,
                steep: 140,
                knee: 2 * KIB,
                flat: 30,
            },
            valid: exchanges,
            hostile: || {
                let mut all = values();
                for key in ["added", "added.f", "added6", "dropped", "dropped6"] {
                    let lists = [6, 18, 600, 6_000, 18_000].map(|len| string(&vec![7; len]));
                    let values = values().into_iter().chain(lists);
                    all.extend(values.map(|value| dict(&[(key, value)])));
                }
                all.push(exchange(5_000));
                all
            },
        },
        Parser {
            name: "magnet link",
            read: |input| {
                if let Ok(text) = std::str::from_utf8(&input.bytes) {
                    let _ = text.parse::<MagnetLink>();
                }
            },
            // 200 entries of each of four lists, from parameters of a few bytes: 36 bytes in buffers that double;
            // one parameter with its name, decoded, in two buffers.
            cap: Cap {
                fixed: 2 * KIB,
                steep: 300,
                knee: 16 * KIB,
                flat: 50,
            },
            valid: links,
            hostile: || {
                let head = format!("magnet:?xt=urn:btih:{}", "0".repeat(40));
                let many = |part: &str| (head.clone() + &part.repeat(9_000)).into_bytes();
                let parts = [
                    "&",
                    "&tr=x",
                    "&ws=%20y",
                    "&x.pe=a:1",
                    "&so=1,2",
                    "&dn=%41",
                    "&xt=urn:x:1",
                ];
                let numbered = (0..3_000).map(|n| format!("&tr={n}&ws={n}&x.pe=a:{}", n + 1));
                let mut all: Vec<_> = parts.map(many).into();
                all.push((head.clone() + &numbered.collect::<String>()).into_bytes());
                all.push((head.clone() + "&dn=" + &"+".repeat(60_000)).into_bytes());
                all.push((head + "&so=" + &"1,".repeat(30_000)).into_bytes());
                all
            },
        },
        Parser {
            name: "metadata message",
            read: |input| drop(MetadataMessage::read(&Bytes::copy_from_slice(&input.bytes))),
            // The scanner's, and the copy that is read here; a block is a slice of it.
            cap: Cap::linear(2 * KIB, 50),
            valid: || {
                let block = Bytes::from(vec![7; 16 * 1024]);
                let data = MetadataMessage::Data {
                    block: 3,
                    total: 99_999,
                    data: block,
                };
                let all = [
                    MetadataMessage::Request { block: 0 },
                    data,
                    MetadataMessage::Reject { block: 9 },
                ];
                all.map(|message| payload(message.message(1))).into()
            },
            hostile: || {
                let mut all = values();
                for key in ["msg_type", "piece", "total_size"] {
                    all.extend(values().into_iter().map(|value| dict(&[(key, value)])));
                }
                all
            },
        },
        Parser {
            name: "HTTP announce reply",
            read: |input| drop(parse_reply(&input.bytes)),
            // 2,000 peers of 56 bytes from 6 or 24 bytes each, in a buffer that doubles, and the
            // tracker's words.
            cap: Cap {
                fixed: 4 * KIB,
                steep: 94,
                knee: 18 * KIB,
                flat: 30,
            },
            valid: replies,
            hostile: || in_reply(&["peers", "peers6", "failure reason", "tracker id"]),
        },
        Parser {
            name: "HTTP scrape reply",
            read: |input| drop(parse_scrape_reply(&input.bytes)),
            // 25 bytes name a torrent, which takes 32 in a tree that may be half empty.
            cap: Cap::linear(2 * KIB, 30),
            valid: || vec![scrape_of(3), write_failure("no", Retry::Never)],
            hostile: || {
                let mut all = in_reply(&["files", "failure reason"]);
                all.push(scrape_of(40_000));
                all
            },
        },
        Parser {
            name: "resume data",
            read: |input| {
                let hash = InfoHash([7; 20]);
                for (pieces, files) in [(9, 2), (5_000_000, 0), (u32::MAX, usize::MAX)] {
                    drop(ResumeData::decode(&input.bytes, hash, pieces, files));
                }
            },
            // The values, and the sets and stamps made of them.
            cap: Cap::linear(2 * KIB, 30),
            valid: || vec![resume(9, 2)],
            hostile: || {
                let mut all = vec![resume(5_000_000, 0), resume(9, 100_000)];
                for key in ["info-hash", "stamps", "verified"] {
                    all.extend(values().into_iter().map(|value| dict(&[(key, value)])));
                }
                all
            },
        },
    ]
}

/// What some caller may want to be read.
#[derive(Deserialize)]
struct Typed {
    #[expect(dead_code, reason = "only read")]
    name: ByteBuf,
    #[expect(dead_code, reason = "only read")]
    numbers: Vec<i64>,
}

fn extended() -> Vec<Vec<u8>> {
    let said = ExtendedHandshake {
        dont_have: Some(7),
        pex: Some(1),
        metadata: Some(2),
        metadata_size: Some(30_000),
        port: Some(6881),
        client: Some("Skep 0.1".to_owned()),
        reqq: Some(250),
        your_ip: Some([10, 0, 0, 1].into()),
        upload_only: Some(false),
    };
    let messages = [said.message(), extension::dont_have(3, PieceIndex(9))];
    messages.into_iter().map(payload).collect()
}

/// So many contacts added and as many dropped, half of them over IPv6.
fn exchange(contacts: u16) -> Vec<u8> {
    let addr = |n: u16, port| match n % 2 {
        0 => SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], port)),
        _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], port)),
    };
    let mut pex = Pex {
        added: (0..contacts).map(|n| (addr(n, 1), SEED)).collect(),
        dropped: (0..contacts).map(|n| addr(n, 2)).collect(),
    };
    pex.added.sort_unstable();
    pex.dropped.sort_unstable();
    payload(pex.message(1))
}

fn payload(message: Message) -> Vec<u8> {
    match message {
        Message::Extended { payload, .. } => payload.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn links() -> Vec<Vec<u8>> {
    let full = MagnetLink {
        name: Some("a film".to_owned()),
        trackers: (0..20).map(|n| format!("http://t{n}/announce")).collect(),
        web_seeds: vec!["http://w/".to_owned()],
        files: vec![0..=2],
        ..MagnetLink::new(InfoHash([7; 20]))
    };
    let bare = MagnetLink::new(InfoHash([7; 20]));
    [bare, full]
        .map(|link| link.to_string().into_bytes())
        .into()
}

fn exchanges() -> Vec<Vec<u8>> {
    [0, 1, 9, 50, 200].map(exchange).into()
}

fn replies() -> Vec<Vec<u8>> {
    let peer = |n: u8, v6: bool| PeerAddr {
        addr: match v6 {
            true => ([n; 16], 6881).into(),
            false => ([10, 0, 0, n], 6881).into(),
        },
        id: Some(PeerId([n; 20])),
    };
    let reply = AnnounceReply {
        interval: Some(Duration::from_secs(1800)),
        interval_min: Some(Duration::from_secs(60)),
        peers: (1..30).map(|n| peer(n, n % 4 == 0)).collect(),
        complete: Some(3),
        incomplete: Some(5),
        tracker_id: Some(b"id".to_vec()),
        warning: Some("slow".to_owned()),
        external_ip: Some([10, 0, 0, 9].into()),
    };
    vec![
        write_reply(&reply, true, true),
        write_reply(&reply, false, false),
        write_failure("no", Retry::After(Duration::from_secs(60))),
    ]
}

/// Hostile values where a reply has its own.
fn in_reply(keys: &[&str]) -> Vec<Vec<u8>> {
    let mut all = values();
    let mut lists = values();
    lists.push(string(&[1; 6 * 150_000]));
    lists.push(string(&[1; 18 * 50_000]));
    let peer = dict(&[("ip", string(b"1.1.1.1")), ("port", b"i1e".to_vec())]);
    lists.push(list_of(&peer, 30_000));
    for count in [1, 500, 1025, 2000, 2001] {
        lists.push(list_of(&peer, count));
        lists.push(string(&vec![1; 6 * count]));
    }
    for key in keys {
        all.extend(lists.iter().map(|value| dict(&[(key, value.clone())])));
    }
    // Both lists, each longer than what is taken.
    let both = [
        ("peers", string(&[1; 6 * 3000])),
        ("peers6", string(&[1; 18 * 3000])),
    ];
    all.push(dict(&both));
    let both = [
        ("peers", string(&[1; 6 * 1999])),
        ("peers6", string(&[1; 18])),
    ];
    all.push(dict(&both));
    all
}

fn scrape_of(torrents: u32) -> Vec<u8> {
    let hash = |n: u32| {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        InfoHash(hash)
    };
    let counts = (0..torrents).map(|n| (hash(n), ScrapeCounts::default()));
    write_scrape(&counts.collect::<BTreeMap<_, _>>())
}

fn resume(pieces: u32, files: usize) -> Vec<u8> {
    let mut verified = BitSet::empty(pieces);
    verified.insert(PieceIndex(1));
    let stamp = FileStamp {
        len: 3,
        modified_ns: 4,
    };
    let data = ResumeData {
        info_hash: InfoHash([7; 20]),
        verified,
        unchecked: BitSet::empty(pieces),
        stamps: vec![Some(stamp); files],
    };
    data.encode()
}

fn metainfo() -> Vec<Vec<u8>> {
    let hashes = [[1; 20]; 3];
    let options = CreateOptions {
        announce: vec![vec!["http://a/announce".into()], vec!["udp://b:1".into()]],
        web_seeds: vec!["http://c/".into()],
        pad: true,
        comment: Some("free text".into()),
        private: true,
        ..CreateOptions::default()
    };
    let file = |name: &str, len| (vec!["folder".to_owned(), name.to_owned()], len);
    let folder = Layout::Folder(vec![file("a.txt", 20_000), file("b", 9_000)]);
    vec![
        encode("one", &Layout::OneFile(40_000), 16_384, &hashes, &options),
        encode("many", &folder, 16_384, &hashes, &options),
    ]
}

/// A metainfo file with these entries of `info`; one piece, one byte.
fn with_info(more: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut entries = vec![
        ("name", string(b"n")),
        ("piece length", b"i4294967295e".to_vec()),
        ("pieces", string(&[0; 20])),
    ];
    entries.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
    entries.extend_from_slice(more);
    dict(&[("info", dict(&entries))])
}

/// `count` entries of `files`.
fn with_files(count: usize, file: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let files: Vec<u8> = (0..count).flat_map(file).collect();
    with_info(&[("files", [b"l", files.as_slice(), b"e"].concat())])
}

fn hostile_metainfo() -> Vec<Vec<u8>> {
    const MANY: usize = 40_000;
    let one = || b"i1e".to_vec();
    let path = |parts: &[Vec<u8>]| {
        let parts: Vec<u8> = parts.iter().flat_map(|part| string(part)).collect();
        [b"l", parts.as_slice(), b"e"].concat()
    };
    let file = |parts: &[Vec<u8>]| dict(&[("length", one()), ("path", path(parts))]);
    let mut all = values();
    for key in [
        "files",
        "length",
        "name",
        "pieces",
        "piece length",
        "source",
    ] {
        all.extend(values().into_iter().map(|value| with_info(&[(key, value)])));
    }
    for key in [
        "announce-list",
        "url-list",
        "announce",
        "comment",
        "encoding",
    ] {
        let outer = |value| dict(&[(key, value), ("info", b"de".to_vec())]);
        all.extend(values().into_iter().map(outer));
        // The same in a file that is right.
        let right = with_info(&[("length", one())]);
        let info = &right[1..];
        for value in values() {
            all.push([b"d", string(key.as_bytes()).as_slice(), &value, info].concat());
        }
        for urls in [list_of(b"1:a", 100_000), list_of(b"l1:ae", 100_000)] {
            all.push([b"d", string(key.as_bytes()).as_slice(), &urls, info].concat());
        }
    }
    // Files with the shortest entries there are: all alike, all different, nothing but padding, links.
    all.push(with_files(MANY, |_| file(&[b"a".to_vec()])));
    all.push(with_files(MANY, |number| file(&[name(number)])));
    all.push(with_files(MANY, |_| {
        dict(&[("attr", string(b"p")), ("length", one())])
    }));
    let link = |number| {
        let target = path(&[b"t".to_vec()]);
        let path = path(&[name(number)]);
        dict(&[
            ("attr", string(b"l")),
            ("path", path),
            ("symlink path", target),
        ])
    };
    all.push(with_files(MANY, link));
    // Folders in folders, none shared; and a path longer than any may be.
    let deep = |number| {
        let mut parts = vec![b"a".to_vec(); 120];
        parts[0] = name(number);
        file(&parts)
    };
    all.push(with_files(1000, deep));
    all.push(with_files(1, |_| file(&vec![b"a".to_vec(); 300_000])));
    all.push(with_files(5, |_| file(&vec![b"/".to_vec(); 127])));
    // Names that must be changed, that grow when folded or replaced, and that are too long.
    all.push(with_files(MANY, |_| {
        file(&["\u{130}/".as_bytes().to_vec()])
    }));
    all.push(with_files(MANY, |_| file(&[vec![0xff; 3]])));
    all.push(with_files(100, |_| file(&[vec![b'/'; 10_000]])));
    // Counts that do not fit the content.
    let pieces = string(&[0; 20 * 50_000]);
    all.push(with_info(&[("length", one()), ("pieces", pieces.clone())]));
    let bytes = b"i50000e".to_vec();
    all.push(with_info(&[
        ("length", bytes),
        ("piece length", one()),
        ("pieces", pieces),
    ]));
    for huge in ["i1000000000000000000e", "i9223372036854775807e", "i-1e"] {
        all.push(with_info(&[("length", huge.into())]));
        let file = dict(&[("length", huge.into()), ("path", path(&[b"a".to_vec()]))]);
        all.push(with_files(20, |_| file.clone()));
    }
    all.push(dict(&[("info", many_keys(50_000, true))]));
    all
}
