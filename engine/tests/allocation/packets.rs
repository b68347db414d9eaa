//! Owns the parsers under test of everything that is no bencode: the peer wire, queries, URLs,
//! datagrams.
//!
//! Invariant: each cap says in a comment what it pays for.

use bytes::{Bytes, BytesMut};
use skep_engine::EngineConfig;
use skep_engine::ids::{BLOCK_BYTES, BlockRange, InfoHash, PeerId, PieceIndex};
use skep_engine::tracker::announce::{
    AnnounceEvent, AnnounceReply, AnnounceRequest, PeerAddr, SCRAPE_TORRENTS_MAX, ScrapeCounts,
};
use skep_engine::tracker::http::{
    HttpTarget, announce_query, announce_target, no_peer_id, parse_announce, parse_scrape_query,
    redirect_target, scrape_query, scrape_url,
};
use skep_engine::tracker::target::tracker_target;
use skep_engine::tracker::udp::packet::{self, Reply, Request};
use skep_engine::wire::{Decoder, Handshake, Message};

use super::measure::{Cap, Input, Parser};

const KIB: u64 = 1024;
/// Bytes of a bitfield of five million pieces.
const BITFIELD_BYTES: u32 = 625_000;

pub fn parsers() -> Vec<Parser> {
    vec![
        Parser {
            name: "peer wire",
            read: wire,
            // A message that came in parts is gathered once; of parts that are joined, one is twice
            // there; and 32 bytes name a part, of which two have at least 1 KiB.
            cap: Cap::linear(4 * KIB, 21),
            valid: || vec![stream(false), stream(true)],
            hostile: hostile_wire,
        },
        Parser {
            name: "HTTP queries",
            read: |input| {
                let _ = parse_announce(&input.text);
                let _ = no_peer_id(&input.text);
                let _ = parse_scrape_query(&input.text);
            },
            // 128 parameters, 74 torrents, one tracker id.
            cap: Cap::linear(9 * KIB, 0),
            valid: || {
                let torrents = [InfoHash([0xab; 20]), InfoHash(*b"abcdefghijklmnopqrst")];
                vec![
                    announce_query(&announce(), false).into_bytes(),
                    scrape_query(&torrents).into_bytes(),
                ]
            },
            hostile: || {
                let hash = scrape_query(&[InfoHash([0xab; 20])]);
                let repeated = |part: &str| part.repeat(16 * 1024 / part.len()).into_bytes();
                let different = (0..3000).map(|n| format!("{n}=&"));
                vec![
                    repeated(&format!("{hash}&")),
                    repeated("a&"),
                    repeated("&&="),
                    different.collect::<String>().into_bytes(),
                    format!("info_hash={}", "%41".repeat(5000)).into_bytes(),
                    format!(
                        "{}&trackerid={}",
                        announce_query(&announce(), false),
                        "%41".repeat(5000)
                    )
                    .into_bytes(),
                    b"left=1000000000000000000000&port=99999999999".to_vec(),
                ]
            },
        },
        Parser {
            name: "tracker URLs",
            read: |input| {
                drop(tracker_target(&input.text));
                drop(scrape_url(&input.text));
                drop(redirect_target(&home(), &input.text, "info_hash=x"));
            },
            // A byte becomes three, in a buffer that doubles; of URLs above 4 KiB nothing.
            cap: Cap {
                fixed: KIB,
                steep: 150,
                knee: 4 * KIB,
                flat: 0,
            },
            valid: || {
                let urls = [
                    "http://t.example:80/announce?k=1",
                    "udp://t.example:1/announce",
                    "http://[::1]:1/a b/announce#c",
                    "/moved/announce",
                ];
                urls.map(|url| url.as_bytes().to_vec()).to_vec()
            },
            hostile: || {
                let long = |head: &str, tail: &str, count| {
                    (head.to_owned() + &tail.repeat(count)).into_bytes()
                };
                vec![
                    long("http://t/", "\u{e9}", 2000),
                    long("/", "\u{e9}", 2000),
                    long("/", "\u{e9}", 200_000),
                    long("/", "?", 4000),
                    long("http://", "a", 4000),
                    long("udp://t:1/", "<", 4000),
                    long("http://t/", "/announce", 100_000),
                    long("http://t:", "9", 4000),
                ]
            },
        },
        Parser {
            name: "UDP requests",
            read: |input| drop(packet::parse_request(&input.bytes)),
            // A scrape: its hashes.
            cap: Cap::linear(0, 10),
            valid: requests,
            hostile: || {
                let connection = 1_u64.to_be_bytes();
                let scrape = |count| {
                    [
                        &connection[..],
                        &[0, 0, 0, 2, 0, 0, 0, 0],
                        &vec![7; 20 * count],
                    ]
                    .concat()
                };
                vec![scrape(SCRAPE_TORRENTS_MAX), scrape(3000)]
            },
        },
        Parser {
            name: "UDP replies",
            read: |input| {
                let _ = packet::txid_of_reply(&input.bytes);
                drop(packet::parse_reply(&input.bytes, false));
                drop(packet::parse_reply(&input.bytes, true));
            },
            // 2,000 peers of 56 bytes from 6 bytes each, or an error's words.
            cap: Cap {
                fixed: KIB,
                steep: 94,
                knee: 12_000,
                flat: 0,
            },
            valid: answers,
            hostile: || {
                let head = |action| [0, 0, 0, action, 0, 0, 0, 9];
                let long = |action, len| [&head(action)[..], &vec![0xff; len]].concat();
                vec![
                    long(1, 12 + 18 * 3600),
                    long(1, 12 + 6 * 10_900),
                    long(1, 12 + 6 * 2000),
                    long(2, 12 * 5400),
                    long(3, 65_000),
                    long(3, 1000),
                ]
            },
        },
    ]
}

/// Reads a connection whose bytes come in parts of several sizes.
fn wire(input: &Input) {
    for part in [1, 13, 700, usize::MAX] {
        let extended = EngineConfig::default().extended_bytes_max;
        let mut greeting = Decoder::new(BITFIELD_BYTES, extended);
        let mut decoder = Decoder::new(BITFIELD_BYTES, extended);
        let mut rest = input.whole.clone();
        greeting.push(rest.slice(..rest.len().min(100)));
        let _ = greeting.next_handshake();
        'bytes: while !rest.is_empty() {
            decoder.push(rest.split_to(part.min(rest.len())));
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => drop(message),
                    Ok(None) => break,
                    Err(_) => break 'bytes,
                }
            }
        }
    }
}

/// The bytes of messages of every kind, behind a handshake or not.
fn stream(handshake: bool) -> Vec<u8> {
    let range = BlockRange {
        piece: PieceIndex(1),
        begin: 0,
        len: BLOCK_BYTES,
    };
    let messages = [
        Message::KeepAlive,
        Message::Bitfield(Bytes::from_static(&[0xf0; 40])),
        Message::Unchoke,
        Message::Have(PieceIndex(7)),
        Message::Request(range),
        Message::Extended {
            id: 0,
            payload: Bytes::from_static(b"d1:md11:lt_donthavei7eee"),
        },
        Message::Reject(range),
        Message::Port(6881),
        Message::Piece {
            piece: PieceIndex(1),
            begin: 0,
            data: Bytes::from(vec![5; BLOCK_BYTES as usize]),
        },
        Message::HaveAll,
    ];
    let mut out = BytesMut::new();
    if handshake {
        let handshake = Handshake {
            reserved: [0; 8],
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId([8; 20]),
        };
        out.extend_from_slice(&handshake.encode());
    }
    messages.iter().for_each(|message| message.encode(&mut out));
    out.to_vec()
}

fn hostile_wire() -> Vec<Vec<u8>> {
    // A length, an id, and fewer bytes than that or all of them.
    let message = |length: u32, id: u8, bytes: usize| {
        [&length.to_be_bytes()[..], &[id], &vec![1; bytes]].concat()
    };
    let bitfield = BITFIELD_BYTES + 1;
    let mut all = vec![
        message(bitfield, 5, BITFIELD_BYTES as usize),
        message(bitfield, 99, BITFIELD_BYTES as usize),
        message(9 + BLOCK_BYTES, 7, 9 + BLOCK_BYTES as usize),
        message(18 * 1024, 20, 18 * 1024),
        message(1, 0, 0).repeat(20_000),
        vec![0; 100_000],
    ];
    for id in [0, 4, 5, 6, 7, 9, 20, 99] {
        for length in [u32::MAX, 0x7fff_ffff, bitfield + 1, bitfield, 18 * 1024] {
            all.push(message(length, id, 20));
        }
    }
    all
}

fn announce() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash([0xff; 20]),
        peer_id: PeerId([1; 20]),
        port: 6881,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        event: AnnounceEvent::Started,
        wanted: 50,
        key: 9,
        tracker_id: Some(b"a tracker's".to_vec()),
        compact: true,
    }
}

fn requests() -> Vec<Vec<u8>> {
    let announce = Request::Announce {
        connection: 1,
        txid: 2,
        announce: announce(),
    };
    let scrape = Request::Scrape {
        connection: 1,
        txid: 2,
        torrents: vec![InfoHash([9; 20]); 5],
    };
    let all = [Request::Connect { txid: 3 }, announce, scrape];
    all.iter()
        .map(|request| packet::write_request(request, "/a?k=1"))
        .collect()
}

fn answers() -> Vec<Vec<u8>> {
    let peer = PeerAddr {
        addr: ([10, 0, 0, 1], 6881).into(),
        id: None,
    };
    let reply = AnnounceReply {
        peers: vec![peer; 50],
        ..AnnounceReply::default()
    };
    let counts = vec![ScrapeCounts::default(); 5];
    let message = "no".to_owned();
    let all = [
        Reply::Connect {
            txid: 1,
            connection: 2,
        },
        Reply::Announce { txid: 1, reply },
        Reply::Scrape { txid: 1, counts },
        Reply::Error { txid: 1, message },
    ];
    all.iter()
        .map(|reply| packet::write_reply(reply, false))
        .collect()
}

/// Where a redirect starts from.
fn home() -> HttpTarget {
    announce_target("http://t.example/announce").expect("a URL")
}
