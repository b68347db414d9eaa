//! The datagrams, byte by byte.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn announce() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash([0xaa; 20]),
        peer_id: PeerId([0xbb; 20]),
        port: 0x1ae1,
        uploaded: 3,
        downloaded: 1,
        left: 2,
        event: AnnounceEvent::Started,
        wanted: 50,
        key: 0xdead_beef,
        tracker_id: None,
        compact: true,
    }
}

fn announce_packet() -> Vec<u8> {
    let announce = announce();
    let (connection, txid) = (7, 9);
    let request = Request::Announce {
        connection,
        txid,
        announce,
    };
    write_request(&request, "")
}

#[test]
fn a_connect_request_is_sixteen_bytes_as_bep_15_has_them() {
    let bytes = write_request(&Request::Connect { txid: 0x0102_0304 }, "");
    assert_eq!(
        bytes,
        b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\x01\x02\x03\x04"
    );
    let mut other = bytes;
    other[7] = 0x81;
    assert_eq!(parse_request(&other), Err(PacketError::Magic));
}

#[test]
fn an_announce_request_has_every_field_at_its_offset() {
    let bytes = announce_packet();
    assert_eq!(bytes.len(), ANNOUNCE_BYTES);
    let at = |from: usize, len: usize| &bytes[from..from + len];
    assert_eq!(at(0, 8), 7u64.to_be_bytes());
    assert_eq!(at(8, 4), 1u32.to_be_bytes());
    assert_eq!(at(12, 4), 9u32.to_be_bytes());
    assert_eq!((at(16, 20), at(36, 20)), (&[0xaa; 20][..], &[0xbb; 20][..]));
    assert_eq!(at(56, 8), 1u64.to_be_bytes(), "downloaded first");
    assert_eq!(at(64, 8), 2u64.to_be_bytes(), "then left");
    assert_eq!(at(72, 8), 3u64.to_be_bytes(), "then uploaded");
    assert_eq!(at(80, 4), 2u32.to_be_bytes());
    assert_eq!(at(84, 4), [0; 4]);
    assert_eq!(at(88, 4), 0xdead_beef_u32.to_be_bytes());
    assert_eq!(at(92, 4), 50i32.to_be_bytes());
    assert_eq!(at(96, 2), 0x1ae1u16.to_be_bytes());
}

#[test]
fn an_announce_answer_has_leechers_before_seeds() {
    let reply = AnnounceReply {
        interval: Some(Duration::from_secs(1800)),
        complete: Some(5),
        incomplete: Some(6),
        peers: vec![PeerAddr {
            addr: "1.2.3.4:5".parse().unwrap(),
            id: None,
        }],
        ..AnnounceReply::default()
    };
    let bytes = write_reply(&Reply::Announce { txid: 9, reply }, false);
    let expected = b"\0\0\0\x01\0\0\0\x09\0\0\x07\x08\0\0\0\x06\0\0\0\x05\x01\x02\x03\x04\0\x05";
    assert_eq!(bytes, expected);
}

#[test]
fn announces_may_be_longer_and_never_shorter() {
    let bytes = announce_packet();
    let plain = parse_request(&bytes).unwrap();
    for options in [
        &b"\x02\x05/a?b=\0"[..],
        b"\x01\x01\x00",
        b"\x02\xff",
        &[0xff; 900],
    ] {
        let longer = [&bytes, options].concat();
        assert_eq!(parse_request(&longer).as_ref(), Ok(&plain));
    }
    for cut in 0..bytes.len() {
        assert_eq!(
            parse_request(&bytes[..cut]),
            Err(PacketError::Length),
            "{cut}"
        );
    }
}

#[test]
fn the_path_of_the_url_follows_an_announce_in_parts_of_255_bytes() {
    let announce = announce();
    let request = Request::Announce {
        connection: 7,
        txid: 9,
        announce,
    };
    let bytes = write_request(&request, "/a?k=1");
    assert_eq!(&bytes[ANNOUNCE_BYTES..], b"\x02\x06/a?k=1");
    let long = write_request(&request, &"x".repeat(300));
    assert_eq!(long.len(), ANNOUNCE_BYTES + 2 + 255 + 2 + 45);
    assert_eq!(parse_request(&long), Ok(request));
}

#[test]
fn a_negative_number_wanted_and_an_unknown_event_say_nothing() {
    let mut bytes = announce_packet();
    bytes[92..96].copy_from_slice(&(-1i32).to_be_bytes());
    bytes[80..84].copy_from_slice(&77u32.to_be_bytes());
    let Ok(Request::Announce { announce, .. }) = parse_request(&bytes) else {
        panic!("an announce")
    };
    assert_eq!(announce.wanted, WANTED_UNSAID);
    assert_eq!(announce.event, AnnounceEvent::Periodic);
}

#[test]
fn scrapes_name_one_to_seventy_four_torrents_in_whole() {
    let scrape = |torrents: usize, more: usize| {
        let mut bytes = 7u64.to_be_bytes().to_vec();
        bytes.extend(2u32.to_be_bytes());
        bytes.extend(9u32.to_be_bytes());
        bytes.extend(vec![1; 20 * torrents + more]);
        parse_request(&bytes).map(|_| ())
    };
    assert_eq!(scrape(1, 0), Ok(()));
    assert_eq!(scrape(74, 0), Ok(()));
    for (torrents, more) in [(0, 0), (0, 19), (1, 1), (75, 0)] {
        assert_eq!(scrape(torrents, more), Err(PacketError::Length));
    }
}

#[test]
fn answers_of_a_wrong_length_are_none() {
    for (action, lengths) in [(0, 8..16), (1, 8..20), (1, 21..26), (2, 9..20), (3, 0..8)] {
        for length in lengths {
            let mut bytes = vec![0; length];
            if let Some(byte) = bytes.get_mut(3) {
                *byte = action;
            }
            assert_eq!(parse_reply(&bytes, false), Err(PacketError::Length));
        }
    }
    let mut v4_in_v6 = vec![0; 26];
    v4_in_v6[3] = 1;
    assert!(parse_reply(&v4_in_v6, false).is_ok());
    assert_eq!(parse_reply(&v4_in_v6, true), Err(PacketError::Length));
    assert_eq!(parse_reply(&[9; 20], false), Err(PacketError::Action));
}

#[test]
fn an_answer_to_an_announce_fits_one_datagram_of_either_family() {
    let addr = |n: usize, v6: bool| {
        let port = u16::try_from(n).unwrap() + 1;
        let ip = if v6 { "::1" } else { "10.0.0.1" };
        SocketAddr::new(ip.parse().unwrap(), port)
    };
    let both = (0..300).map(|n| PeerAddr {
        addr: addr(n, n % 2 == 0),
        id: None,
    });
    let reply = AnnounceReply {
        peers: both.collect(),
        ..AnnounceReply::default()
    };
    let reply = Reply::Announce { txid: 1, reply };
    let (v4, v6) = (write_reply(&reply, false), write_reply(&reply, true));
    assert_eq!((v4.len(), v6.len()), (20 + 6 * 74, 20 + 18 * 67));
    assert!(v4.len() <= 508 && v6.len() <= 1232);
}

#[test]
fn texts_and_intervals_of_an_answer_are_bounded() {
    let mut bytes = 3u32.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend([b'x'; 60_000]);
    let Ok(Reply::Error { message, .. }) = parse_reply(&bytes, false) else {
        panic!("an error")
    };
    assert_eq!(message.len(), TEXT_BYTES_MAX);
    for (said, meant) in [(0, None), (-5, None), (i32::MAX, Some(INTERVAL_MAX))] {
        let mut bytes = vec![0; 20];
        bytes[3] = 1;
        bytes[8..12].copy_from_slice(&i32::to_be_bytes(said));
        let Ok(Reply::Announce { reply, .. }) = parse_reply(&bytes, false) else {
            panic!("an answer")
        };
        assert_eq!(reply.interval, meant, "{said}");
    }
}

prop_compose! {
    fn any_announce()(
        hash: [u8; 20], id: [u8; 20], port: u16, uploaded: u64, downloaded: u64, left: u64,
        event in 0..4usize, wanted in 0..=i32::MAX.unsigned_abs(), key: u32,
    ) -> AnnounceRequest {
        let event = [AnnounceEvent::Started, AnnounceEvent::Completed, AnnounceEvent::Stopped,
            AnnounceEvent::Periodic][event];
        AnnounceRequest { info_hash: InfoHash(hash), peer_id: PeerId(id), port, uploaded, downloaded,
            left, event, wanted, key, tracker_id: None, compact: true }
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u32>().prop_map(|txid| Request::Connect { txid }),
        (any::<u64>(), any::<u32>(), any_announce()).prop_map(|(connection, txid, announce)| {
            Request::Announce {
                connection,
                txid,
                announce,
            }
        }),
        (any::<u64>(), any::<u32>(), vec(any::<[u8; 20]>(), 1..75)).prop_map(
            |(connection, txid, hashes)| Request::Scrape {
                connection,
                txid,
                torrents: hashes.into_iter().map(InfoHash).collect()
            }
        ),
    ]
}

fn any_reply(v6: bool) -> impl Strategy<Value = Reply> {
    let ip = any::<[u8; 16]>().prop_map(move |b| match v6 {
        true => IpAddr::from(b),
        false => IpAddr::from([b[0], b[1], b[2], b[3]]),
    });
    let peer = (ip, 1u16..).prop_map(|(ip, port)| PeerAddr {
        addr: SocketAddr::new(ip, port),
        id: None,
    });
    let counts = any::<[u32; 3]>().prop_map(|[complete, downloaded, incomplete]| ScrapeCounts {
        complete,
        downloaded,
        incomplete,
    });
    prop_oneof![
        any::<(u32, u64)>().prop_map(|(txid, connection)| Reply::Connect { txid, connection }),
        (any::<[u32; 3]>(), 1..86_400u64, vec(peer, 0..PEERS_V6_MAX)).prop_map(
            |([txid, complete, incomplete], interval, peers)| Reply::Announce {
                txid,
                reply: AnnounceReply {
                    interval: Some(Duration::from_secs(interval)),
                    complete: Some(complete),
                    incomplete: Some(incomplete),
                    peers,
                    ..AnnounceReply::default()
                }
            }
        ),
        (any::<u32>(), vec(counts, 0..75))
            .prop_map(|(txid, counts)| Reply::Scrape { txid, counts }),
        (any::<u32>(), "\\PC{0,40}").prop_map(|(txid, message)| Reply::Error { txid, message }),
    ]
}

proptest! {
    #[test]
    fn requests_survive(request in any_request()) {
        prop_assert_eq!(parse_request(&write_request(&request, "")), Ok(request));
    }

    #[test]
    fn answers_survive_over_ipv4(reply in any_reply(false)) {
        let bytes = write_reply(&reply, false);
        prop_assert_eq!(txid_of_reply(&bytes), Ok(reply.txid()));
        prop_assert_eq!(parse_reply(&bytes, false), Ok(reply));
    }

    #[test]
    fn answers_survive_over_ipv6(reply in any_reply(true)) {
        prop_assert_eq!(parse_reply(&write_reply(&reply, true), true), Ok(reply));
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..200), action in 0..4u8, at in 0..2usize) {
        let _ = (parse_request(&bytes), parse_reply(&bytes, false), parse_reply(&bytes, true));
        // The same with an action that leads further in.
        if let Some(head) = bytes.get_mut(8 * at..8 * at + 4) {
            head.copy_from_slice(&[0, 0, 0, action]);
        }
        let _ = (parse_request(&bytes), parse_reply(&bytes, false), parse_reply(&bytes, true));
    }
}
