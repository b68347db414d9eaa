//! Trackers over UDP, as a user meets them: a swarm of processes on loopback, and strangers who send
//! datagrams.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use skep_engine::tracker::announce::{AnnounceEvent, AnnounceRequest, ScrapeCounts};
use skep_engine::tracker::udp::packet::{
    Reply, Request, parse_reply, parse_request, write_reply, write_request,
};
use skep_engine::{InfoHash, PeerId};
use support::{Skep, until};
use tempfile::TempDir;

/// Longer than any answer takes on loopback.
const SILENCE: Duration = Duration::from_millis(400);

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A tracker, and its address.
fn tracker(dir: &Path, more: &[&str]) -> (Skep, String) {
    let args = ["track", "--listen", "127.0.0.1:0", "--verbose"];
    let mut tracker = Skep::start(dir, "track", &[&args[..], more].concat());
    let at = tracker.says("tracking at ");
    let at = at.split(',').next().expect("the address").to_owned();
    (tracker, at)
}

/// `film.bin`, and `film.torrent` with these trackers, a tier for each. Returns the content.
fn film(dir: &Path, trackers: &[&str]) -> Vec<u8> {
    let content = support::content(3_000_000);
    fs::write(dir.join("film.bin"), &content).expect("written");
    let mut args = vec!["torrent", "create", "film.bin", "-o", "film.torrent"];
    for url in trackers {
        args.extend(["--announce", url]);
    }
    assert_eq!(Skep::run(dir, "create", &args).code, Some(0));
    content
}

/// Starts a seed; gets the film twice, at once.
fn swarm(dir: &Path, content: &[u8]) -> Skep {
    let seed = ["seed", "film.torrent", "--data", "film.bin"];
    let seed = Skep::start(dir, "seed", &seed);
    let get = |name: &str| {
        fs::create_dir(dir.join(name)).expect("a directory");
        Skep::start(dir, name, &["get", "film.torrent", "--dir", name])
    };
    let both = [get("one"), get("two")];
    for (name, get) in ["one", "two"].into_iter().zip(both) {
        let ended = get.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(fs::read(dir.join(name).join("film.bin")).expect("there") == content);
    }
    seed
}

#[test]
fn a_swarm_completes_over_a_udp_tracker() {
    let dir = directory();
    let (tracker, at) = tracker(dir.path(), &["--no-http"]);
    let content = film(dir.path(), &[&format!("udp://{at}/announce")]);
    let seed = swarm(dir.path(), &content);
    seed.signal("INT");
    assert_eq!(seed.ended().code, Some(0));
    let said = tracker.said();
    for (event, times) in [("started", 3), ("completed", 2), ("stopped", 3)] {
        let told = said.lines().filter(|line| line.contains(event));
        let told = told.filter(|line| line.contains(" over UDP, "));
        assert_eq!(told.count(), times, "{event}: {said}");
    }
}

#[test]
fn a_swarm_completes_when_its_first_tier_is_dead() {
    let dir = directory();
    let (_tracker, at) = tracker(dir.path(), &[]);
    // A port that was free a moment ago.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = format!("http://{}/announce", gone.local_addr().expect("bound"));
    drop(gone);
    let live = format!("udp://{at}");
    let https = "https://127.0.0.1:1/announce";
    let content = film(dir.path(), &[https, &dead, &live]);
    let seed = swarm(dir.path(), &content);
    let failed = format!("{dead}: the tracker cannot be reached; the next one is asked");
    for words in [
        "note: https://127.0.0.1:1/announce is skipped: https:// is not supported",
        &failed,
    ] {
        until(words, || seed.said().contains(words).then_some(()));
    }
}

#[test]
fn a_scrape_tells_the_counts_over_either_protocol_and_changes_nothing() {
    let dir = directory();
    let (tracker, at) = tracker(dir.path(), &[]);
    let (http, udp) = (format!("http://{at}/announce"), format!("udp://{at}"));
    let content = film(dir.path(), &[&http, &udp]);
    let _seed = swarm(dir.path(), &content);
    until("both who came have left", || {
        (tracker.said().matches("stopped").count() == 2).then_some(())
    });
    for _ in 0..2 {
        let args = ["scrape", "film.torrent", "--json"];
        let ended = Skep::run(dir.path(), "scrape", &args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let object: Value = serde_json::from_str(&ended.out).expect("JSON");
        for (number, url) in [http.as_str(), udp.as_str()].into_iter().enumerate() {
            let told = &object["trackers"][number];
            assert_eq!(told["tracker"], *url);
            let told = &told["torrents"][0];
            assert_eq!(
                [&told["seeds"], &told["leechers"], &told["downloads"]],
                [1, 0, 2],
                "{object}"
            );
        }
    }
    let hash = "00".repeat(20);
    let args = ["scrape", &udp, "--info-hash", &hash];
    let ended = Skep::run(dir.path(), "scrape-other", &args);
    assert!(
        ended.out.contains("       0         0          0  udp://"),
        "{ended:?}"
    );
    let ended = Skep::run(dir.path(), "scrape-none", &["scrape", &udp]);
    assert_eq!(ended.code, Some(64), "{ended:?}");
}

fn socket(ip: &str, tracker: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a socket");
    socket.connect(tracker).expect("connected");
    socket.set_read_timeout(Some(SILENCE)).expect("set");
    socket
}

/// What comes back, if anything does.
fn asks(socket: &UdpSocket, request: &Request) -> Option<Reply> {
    socket.send(&write_request(request, "")).expect("sent");
    let mut buffer = [0; 2048];
    let bytes = socket.recv(&mut buffer).ok()?;
    Some(parse_reply(&buffer[..bytes], false).expect("an answer"))
}

fn announce(connection: u64) -> Request {
    Request::Announce {
        connection,
        txid: 2,
        announce: AnnounceRequest {
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId([8; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: AnnounceEvent::Started,
            wanted: 50,
            key: 0,
            tracker_id: None,
            compact: true,
        },
    }
}

#[test]
fn a_spoofed_connection_id_is_met_with_silence() {
    let dir = directory();
    let (tracker, at) = tracker(dir.path(), &[]);
    let own = socket("127.0.0.1", &at);
    assert_eq!(
        asks(&own, &announce(0x1234_5678_9abc_def0)),
        None,
        "a guess"
    );
    let Some(Reply::Connect {
        txid: 1,
        connection,
    }) = asks(&own, &Request::Connect { txid: 1 })
    else {
        panic!("a connection id")
    };
    if let Ok(other) = UdpSocket::bind(("127.0.0.2", 0)) {
        drop(other);
        let other = socket("127.0.0.2", &at);
        assert_eq!(
            asks(&other, &announce(connection)),
            None,
            "of another address"
        );
    }
    let answer = asks(&own, &announce(connection));
    assert!(
        matches!(answer, Some(Reply::Announce { txid: 2, .. })),
        "{answer:?}"
    );
    own.send(&[0xff; 1200]).expect("sent");
    own.send(&[]).expect("sent");
    assert!(
        asks(&own, &Request::Connect { txid: 3 }).is_some(),
        "it lives"
    );
    let said = tracker.said();
    let why = "a connection id that was not given to this address";
    assert!(said.contains(why), "{said}");
    assert_eq!(said.matches("started").count(), 1, "{said}");
}

/// What a tracker answers: an id to who connects, else counts of `seeds` seeds.
fn answer(request: &Request, seeds: u32) -> Reply {
    match request {
        Request::Connect { txid } => Reply::Connect {
            txid: *txid,
            connection: 77,
        },
        Request::Scrape { txid, .. } => {
            let counts = ScrapeCounts {
                complete: seeds,
                downloaded: 0,
                incomplete: 0,
            };
            Reply::Scrape {
                txid: *txid,
                counts: vec![counts],
            }
        }
        Request::Announce { .. } => panic!("nobody announces"),
    }
}

/// A tracker among strangers who know where its client listens: before each answer of its own others
/// come, from elsewhere with the right number, and from its address with all else wrong.
#[test]
fn forged_answers_are_not_believed() {
    let dir = directory();
    let tracker = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    tracker
        .set_read_timeout(Some(support::PATIENCE))
        .expect("set");
    let url = format!("udp://{}", tracker.local_addr().expect("bound"));
    let hash = "ab".repeat(20);
    let args = ["scrape", &url, "--info-hash", &hash, "--json"];
    let scrape = Skep::start(dir.path(), "scrape", &args);
    let mut buffer = [0; 2048];
    for _ in 0..2 {
        let (bytes, client) = tracker.recv_from(&mut buffer).expect("a question");
        let question = parse_request(&buffer[..bytes]).expect("a question");
        let write = |reply: &Reply| write_reply(reply, false);
        let forged = write(&answer(&question, 666));
        stranger.send_to(&forged, client).expect("sent");
        let mut other_number = forged.clone();
        other_number[7] ^= 1;
        let mut other_action = forged.clone();
        other_action[3] = 1;
        for wrong in [&other_number[..], &other_action, &forged[..7], &[]] {
            tracker.send_to(wrong, client).expect("sent");
        }
        tracker
            .send_to(&write(&answer(&question, 5)), client)
            .expect("sent");
    }
    let ended = scrape.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let object: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(object["trackers"][0]["torrents"][0]["seeds"], 5, "{object}");
}

#[test]
fn a_torrent_that_is_not_on_the_list_is_refused() {
    let dir = directory();
    let list = format!("# ours\n{}  # film\n\n", "ab".repeat(20));
    fs::write(dir.path().join("list.txt"), list).expect("written");
    let (_tracker, at) = tracker(dir.path(), &["--allow", "list.txt"]);
    let own = socket("127.0.0.1", &at);
    let Some(Reply::Connect { connection, .. }) = asks(&own, &Request::Connect { txid: 1 }) else {
        panic!("a connection id")
    };
    let refused = Reply::Error {
        txid: 2,
        message: "this tracker does not serve this torrent".to_owned(),
    };
    assert_eq!(asks(&own, &announce(connection)), Some(refused));
    fs::write(dir.path().join("bad.txt"), "abc").expect("written");
    let bad = ["track", "--listen", "127.0.0.1:0", "--allow", "bad.txt"];
    let ended = Skep::run(dir.path(), "bad", &bad);
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.err.contains("line 1"), "{ended:?}");
}

#[test]
fn over_ipv6_the_addresses_are_ipv6() {
    let dir = directory();
    if UdpSocket::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    let args = ["track", "--listen", "[::1]:0", "--verbose"];
    let mut tracker = Skep::start(dir.path(), "track", &args);
    let said = tracker.says("tracking at ");
    let at = said.split(',').next().expect("the address");
    let own = socket("::1", at);
    let asks = |request: &Request| {
        own.send(&write_request(request, "")).expect("sent");
        let mut buffer = [0; 2048];
        let bytes = own.recv(&mut buffer).expect("an answer");
        parse_reply(&buffer[..bytes], true).expect("an answer over IPv6")
    };
    let Reply::Connect { connection, .. } = asks(&Request::Connect { txid: 1 }) else {
        panic!("a connection id")
    };
    asks(&announce(connection));
    let Request::Announce { mut announce, .. } = announce(connection) else {
        panic!("an announce")
    };
    announce.peer_id = PeerId([9; 20]);
    let second = Request::Announce {
        connection,
        txid: 3,
        announce,
    };
    let Reply::Announce { reply, .. } = asks(&second) else {
        panic!("an answer")
    };
    let told: Vec<_> = reply.peers.iter().map(|p| p.addr.to_string()).collect();
    assert_eq!(told, ["[::1]:6881"]);
}
