//! What answers mean.

use std::net::Ipv4Addr;

use super::*;
use proptest::prelude::*;

fn peer(addr: &str, id: Option<u8>) -> PeerAddr {
    let addr = addr.parse().unwrap();
    let id = id.map(|b| PeerId([b; 20]));
    PeerAddr { addr, id }
}

fn full() -> AnnounceReply {
    AnnounceReply {
        interval: Some(Duration::from_secs(1800)),
        interval_min: Some(Duration::from_secs(60)),
        peers: vec![
            peer("10.0.0.1:6881", Some(1)),
            peer("[2001:db8::1]:6882", Some(2)),
        ],
        complete: Some(3),
        incomplete: Some(4),
        tracker_id: Some(vec![0xff, 0]),
        warning: Some("slow down".to_owned()),
        external_ip: Some(Ipv4Addr::new(1, 2, 3, 4).into()),
    }
}

fn addresses(reply: &[u8]) -> Result<Vec<String>, AnnounceFailure> {
    parse_reply(reply).map(|r| r.peers.iter().map(|p| p.addr.to_string()).collect())
}

#[test]
fn an_answer_survives_in_both_forms() {
    let read = parse_reply(&write_reply(&full(), false, false));
    assert_eq!(read, Ok(full()));
    let mut bare = full();
    bare.peers.iter_mut().for_each(|p| p.id = None);
    assert_eq!(
        parse_reply(&write_reply(&full(), false, true)),
        Ok(bare.clone())
    );
    assert_eq!(parse_reply(&write_reply(&full(), true, false)), Ok(bare));
    let nothing = AnnounceReply::default();
    assert_eq!(write_reply(&nothing, true, true), b"d5:peers0:e");
    assert_eq!(parse_reply(b"de"), Ok(nothing));
}

#[test]
fn keys_are_written_in_the_order_of_their_bytes() {
    let text = String::from_utf8_lossy(&write_reply(&full(), true, false)).into_owned();
    let keys = [
        "8:complete",
        "11:external ip",
        "10:incomplete",
        "8:interval",
        "12:min interval",
        "5:peers",
        "6:peers6",
        "10:tracker id",
        "15:warning message",
    ];
    let at: Vec<_> = keys.iter().map(|key| text.find(key).unwrap()).collect();
    assert!(at.is_sorted(), "{at:?}");
    let listed = write_reply(&full(), false, false);
    let text = String::from_utf8_lossy(&listed);
    assert!(text.contains("d2:ip8:10.0.0.17:peer id20:"), "{text}");
    assert!(text.contains("4:porti6881eed2:ip"), "{text}");
}

#[test]
fn compact_lists_of_a_wrong_length_reject_the_answer() {
    let wrong = Err(garbage("the length of a compact peer list is wrong"));
    assert_eq!(addresses(b"d5:peers5:\x01\x02\x03\x04\x05e"), wrong);
    assert_eq!(addresses(b"d6:peers66:\x01\x02\x03\x04\x05\x06e"), wrong);
    assert_eq!(
        addresses(b"d5:peersi7ee"),
        Err(garbage("`peers` is neither a string nor a list"))
    );
    assert_eq!(
        addresses(b"d6:peers6lee"),
        Err(garbage("`peers6` is not a string"))
    );
}

#[test]
fn peers_without_a_usable_address_are_skipped() {
    let compact = b"d5:peers12:\x0a\x00\x00\x01\x00\x00\x0a\x00\x00\x02\x1a\xe1e";
    assert_eq!(addresses(compact).unwrap(), ["10.0.0.2:6881"]);
    let listed = b"d5:peersld2:ip8:10.0.0.14:porti0eed2:ip4:name4:porti5eed4:porti5ee3:odd\
        d2:ip3:::14:porti-5eed2:ip3:::17:peer id3:odd4:porti5eeee";
    assert_eq!(addresses(listed).unwrap(), ["[::1]:5"]);
}

#[test]
fn the_number_of_peers_is_bounded() {
    let mut reply = full();
    reply.peers = vec![peer("10.0.0.1:6881", None); PEERS_MAX + 9];
    for compact in [false, true] {
        let read = parse_reply(&write_reply(&reply, compact, true)).unwrap();
        assert_eq!(read.peers.len(), PEERS_MAX);
    }
}

#[test]
fn nonsense_intervals_and_counts_are_unsaid_and_enormous_ones_cut() {
    let read =
        parse_reply(b"d8:completei-1e10:incompletei99999999999e8:intervali0e12:min intervali-9ee");
    let read = read.unwrap();
    assert_eq!((read.interval, read.interval_min), (None, None));
    assert_eq!((read.complete, read.incomplete), (None, Some(u32::MAX)));
    let read = parse_reply(b"d8:intervali9223372036854775807ee").unwrap();
    assert_eq!(read.interval, Some(INTERVAL_MAX));
    assert_eq!(parse_reply(b"d8:interval3:odde").unwrap().interval, None);
}

#[test]
fn a_refusal_may_say_when_to_try_again() {
    for (reply, retry) in [
        (b"d14:failure reason2:noe".as_slice(), Retry::Unsaid),
        (
            b"d14:failure reason2:no8:retry ini5ee",
            Retry::After(Duration::from_secs(300)),
        ),
        (
            b"d14:failure reason2:no8:retry in1:5e",
            Retry::After(Duration::from_secs(300)),
        ),
        (b"d14:failure reason2:no8:retry in5:nevere", Retry::Never),
        (b"d14:failure reason2:no8:retry ini0ee", Retry::Unsaid),
        (
            b"d14:failure reason2:no8:retry ini9223372036854775807ee",
            Retry::After(RETRY_MAX),
        ),
        (b"d14:failure reason2:no5:peers1:xe", Retry::Unsaid),
    ] {
        let reason = "no".to_owned();
        let refused = Err(AnnounceFailure::Refused { reason, retry });
        assert_eq!(parse_reply(reply), refused);
    }
    for retry in [
        Retry::Unsaid,
        Retry::After(Duration::from_secs(120)),
        Retry::Never,
    ] {
        let reason = "go away".to_owned();
        let read = parse_reply(&write_failure(&reason, retry));
        assert_eq!(read, Err(AnnounceFailure::Refused { reason, retry }));
    }
}

#[test]
fn texts_and_tracker_ids_are_bounded() {
    let mut reply = full();
    reply.warning = Some("w".repeat(9000));
    reply.tracker_id = Some(vec![7; TRACKER_ID_BYTES_MAX + 1]);
    let read = parse_reply(&write_reply(&reply, true, true)).unwrap();
    assert_eq!(read.warning.unwrap().len(), TEXT_BYTES_MAX);
    assert_eq!(read.tracker_id, None);
}

#[test]
fn what_is_no_answer_is_garbage() {
    for (reply, why) in [
        (b"".as_slice(), "it is not bencoded"),
        (b"<html>", "it is not bencoded"),
        (b"de!", "it is not bencoded"),
        (b"d8:intervali99999999999999999999ee", "it is not bencoded"),
        (b"le", "it is not a dictionary"),
        (&vec![b'l'; 100_000], "it is not bencoded"),
    ] {
        assert_eq!(parse_reply(reply), Err(garbage(why)));
    }
}

#[test]
fn the_external_address_has_four_or_sixteen_bytes() {
    let v6 = b"d11:external ip16:0123456789abcdefe";
    let told = parse_reply(v6).unwrap().external_ip;
    assert_eq!(told, Some(IpAddr::from(*b"0123456789abcdef")));
    for odd in [b"d11:external ip3:abce".as_slice(), b"d11:external ipi4ee"] {
        assert_eq!(parse_reply(odd).unwrap().external_ip, None);
    }
}

#[test]
fn keys_that_are_no_text_break_nothing() {
    let reply = b"d2:\xff\xfei1e8:intervali60e5:peers0:e";
    let read = parse_reply(reply).unwrap();
    assert_eq!(read.interval, Some(Duration::from_secs(60)));
}

#[test]
fn scrapes_survive_keyed_by_raw_bytes() {
    let told = ScrapeCounts {
        complete: 1,
        downloaded: 2,
        incomplete: 3,
    };
    let counts = BTreeMap::from([(InfoHash([0xfe; 20]), told), (InfoHash([3; 20]), told)]);
    assert_eq!(parse_scrape_reply(&write_scrape(&counts)), Ok(counts));
    assert_eq!(parse_scrape_reply(b"d5:filesdee"), Ok(BTreeMap::new()));
    let keyed = Err(garbage("`files` is not keyed by info-hash"));
    assert_eq!(parse_scrape_reply(b"d5:filesd3:abcdeee"), keyed);
    assert_eq!(
        parse_scrape_reply(b"de"),
        Err(garbage("`files` is not a dictionary"))
    );
    let refused = parse_scrape_reply(&write_failure("no", Retry::Never));
    assert!(matches!(refused, Err(AnnounceFailure::Refused { .. })));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_reply(&bytes);
        let _ = parse_scrape_reply(&bytes);
    }

    #[test]
    fn damaged_answers_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index, compact: bool) {
        let mut bytes = write_reply(&full(), compact, false);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = parse_reply(&bytes);
        let _ = parse_reply(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn ids_and_hashes_of_any_bytes_survive(id: [u8; 20], hash: [u8; 20], told: [u32; 3]) {
        let addr = "10.0.0.1:1".parse().unwrap();
        let peers = vec![PeerAddr { addr, id: Some(PeerId(id)) }];
        let reply = AnnounceReply { peers, ..AnnounceReply::default() };
        prop_assert_eq!(parse_reply(&write_reply(&reply, false, false)), Ok(reply));
        let [complete, downloaded, incomplete] = told;
        let told = ScrapeCounts { complete, downloaded, incomplete };
        let counts = BTreeMap::from([(InfoHash(hash), told)]);
        prop_assert_eq!(parse_scrape_reply(&write_scrape(&counts)), Ok(counts));
    }
}
