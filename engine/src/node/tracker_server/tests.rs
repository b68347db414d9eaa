//! What a tracker host does on a network of two.

use super::*;
use crate::ids::ConnId;
use crate::node::stream::fake::{FakeNet, addr, drive, pair};
use crate::node::tracker_client::{self, Heard};
use crate::tracker::announce::{
    AnnounceFailure, AnnounceReply, AnnounceRequest, Answer, Question, Retry, ScrapeCounts,
};
use crate::tracker::http::{announce_target, scrape_url};
use crate::tracker::udp::packet::{Request, parse_reply, write_request};
use rand::SeedableRng;
use tokio::task::LocalSet;

const URL: &str = "http://10.0.0.2/announce";
const T: InfoHash = InfoHash([0xfe; 20]);
type Log = Rc<RefCell<Vec<(Now, TrackerEvent)>>>;

/// A client's host that talks to a tracker.
struct Client {
    net: FakeNet,
    hub: StreamHub,
    log: Log,
    _tracker: Tasks,
}

impl Client {
    fn new() -> Client {
        let (net, server) = pair();
        let log = Log::default();
        let seen = Rc::clone(&log);
        let host = TrackerHost::new(
            server,
            addr(1, 80),
            SwarmConfig::default(),
            Protocols::default(),
            ChaCha8Rng::seed_from_u64(1),
            Instant::now(),
            move |at, event| seen.borrow_mut().push((at, event)),
        );
        let host = host.unwrap();
        assert_eq!(host.local_addr(), addr(1, 80));
        let mut tasks = Tasks::new();
        tasks.spawn("tracker", async move {
            host.run().await;
        });
        Client {
            net,
            hub: StreamHub::new(tracker_client::unread_max(1024 * 1024)),
            log,
            _tracker: tasks,
        }
    }

    async fn announces(
        &mut self,
        peer: u8,
        event: AnnounceEvent,
        left: u64,
    ) -> Result<AnnounceReply, AnnounceFailure> {
        tokio::task::yield_now().await;
        let target = announce_target(URL).unwrap();
        let stream = self.hub.open(self.net.connect(addr(1, 80)));
        let request = AnnounceRequest {
            info_hash: T,
            peer_id: PeerId([peer; 20]),
            port: u16::from(peer),
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            wanted: 50,
            key: 0,
            tracker_id: None,
            compact: false,
        };
        let limits = tracker_client::Limits {
            time: Duration::from_secs(15),
            reply_bytes: 1024 * 1024,
        };
        let question = Question::Announce(Box::new(request));
        let work = tracker_client::ask(stream, &target, &question, false, limits);
        match drive(&mut self.net, &mut self.hub, work).await? {
            Heard::Answer(Answer::Announced(reply)) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    fn dials(&mut self) -> ConnId {
        self.net.connect(addr(1, 80))
    }

    /// Sends bytes as they are; returns what comes back until the end, or silence.
    async fn says(&mut self, conn: ConnId, data: Vec<u8>) -> (String, bool) {
        self.net.send(conn, Bytes::from(data));
        let mut got = Vec::new();
        let listen = poll_fn(|cx| {
            while let Poll::Ready(event) = self.net.poll_event(cx) {
                match event {
                    NetEvent::Data { data, .. } => got.extend_from_slice(&data),
                    NetEvent::Closed { conn: closed, .. } if closed == conn => {
                        return Poll::Ready(());
                    }
                    _ => {}
                }
            }
            Poll::Pending
        });
        let patience = Duration::from_secs(1);
        let closed = tokio::time::timeout(patience, listen).await.is_ok();
        (String::from_utf8_lossy(&got).into_owned(), closed)
    }
}

#[tokio::test(start_paused = true)]
async fn peers_announce_and_learn_of_each_other() {
    LocalSet::new()
        .run_until(async {
            let mut c = Client::new();
            let first = c.announces(1, AnnounceEvent::Started, 9).await.unwrap();
            assert_eq!(first.peers, []);
            assert_eq!(first.interval, Some(Duration::from_secs(1800)));
            tokio::time::advance(Duration::from_secs(5)).await;
            let second = c.announces(2, AnnounceEvent::Started, 0).await.unwrap();
            assert_eq!(second.peers.len(), 1);
            assert_eq!(second.peers[0].addr, addr(0, 1));
            assert_eq!(second.peers[0].id, Some(PeerId([1; 20])));
            assert_eq!((second.complete, second.incomplete), (Some(1), Some(1)));
            let log = c.log.borrow();
            let expected = TrackerEvent::Announced {
                from: addr(0, 50_002),
                info_hash: T,
                peer_id: PeerId([2; 20]),
                event: AnnounceEvent::Started,
                via: Protocol::Http,
                left: 0,
                given: 1,
                seeds: 1,
                leechers: 1,
            };
            assert_eq!(log[1], (Now(5_000_000_000), expected));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_scrape_tells_counts_of_known_torrents() {
    LocalSet::new()
        .run_until(async {
            let mut c = Client::new();
            c.announces(1, AnnounceEvent::Started, 9).await.unwrap();
            c.announces(1, AnnounceEvent::Completed, 0).await.unwrap();
            let target = announce_target(&scrape_url(URL).unwrap()).unwrap();
            let stream = c.hub.open(c.net.connect(addr(1, 80)));
            let question = Question::Scrape(vec![T, InfoHash([0; 20])]);
            let limits = tracker_client::Limits {
                time: Duration::from_secs(15),
                reply_bytes: 1024 * 1024,
            };
            let work = tracker_client::ask(stream, &target, &question, false, limits);
            let told = drive(&mut c.net, &mut c.hub, work).await.unwrap();
            let counts = ScrapeCounts {
                complete: 1,
                downloaded: 1,
                incomplete: 0,
            };
            let told_of = Heard::Answer(Answer::Scraped([(T, counts)].into()));
            assert_eq!(told, told_of);
            let via = Protocol::Http;
            assert_eq!(
                c.log.borrow().last().unwrap().1,
                TrackerEvent::Scraped { via }
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_announce_is_refused_in_words() {
    LocalSet::new()
        .run_until(async {
            let mut c = Client::new();
            let refused = c.announces(0, AnnounceEvent::Started, 9).await;
            let reason = "port must be 1 to 65535";
            assert_eq!(
                refused,
                Err(AnnounceFailure::Refused {
                    reason: reason.to_owned(),
                    retry: Retry::Unsaid
                })
            );
            let told = c.log.borrow().last().unwrap().1.clone();
            let via = Protocol::Http;
            assert_eq!(told, TrackerEvent::Refused { reason, via });
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_none_get_a_status() {
    LocalSet::new()
        .run_until(async {
            let long = format!(
                "GET /announce?{} HTTP/1.1\r\n\r\n",
                "x".repeat(HEAD_BYTES_MAX)
            );
            for (request, status, closed) in [
                ("GET / HTTP/1.1\r\n\r\n", "404", false),
                ("GET /announce/x HTTP/1.1\r\n\r\n", "404", false),
                ("POST /announce HTTP/1.1\r\n\r\n", "405", false),
                ("HEAD /scrape HTTP/1.1\r\n\r\n", "405", false),
                ("GET /scrape HTTP/1.0\r\n\r\n", "200", true),
                ("\u{13}BitTorrent protocol\r\n\r\n", "400", true),
                (long.as_str(), "431", true),
            ] {
                let mut c = Client::new();
                let conn = c.dials();
                let (got, end) = c.says(conn, request.into()).await;
                assert_eq!(got.split(' ').nth(1), Some(status), "{request:.40}: {got}");
                assert_eq!(end, closed, "{request:.40}");
                assert!(!got.to_lowercase().contains("date:"), "{got}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_many_requests_until_it_is_idle() {
    LocalSet::new()
        .run_until(async {
            let mut c = Client::new();
            let conn = c.dials();
            for _ in 0..3 {
                let (got, closed) = c.says(conn, b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;
                assert!(got.starts_with("HTTP/1.1 404") && !closed, "{got}");
                tokio::time::advance(IDLE_MAX / 2).await;
            }
            tokio::time::advance(IDLE_MAX).await;
            assert_eq!(c.says(conn, b"GE".to_vec()).await, (String::new(), true));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dribbles_a_request_is_cut_off() {
    LocalSet::new()
        .run_until(async {
            let mut c = Client::new();
            let conn = c.dials();
            let mut seconds = 0;
            while !c.says(conn, b"G".to_vec()).await.1 {
                seconds += 1;
            }
            assert!((28..=31).contains(&seconds), "{seconds} s");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_are_reset() {
    LocalSet::new()
        .run_until(async {
            let mut c = Client::new();
            tokio::task::yield_now().await;
            for _ in 0..CONNECTIONS_MAX {
                c.dials();
            }
            let one_more = c.dials();
            assert_eq!(c.says(one_more, b"G".to_vec()).await, (String::new(), true));
        })
        .await;
}

/// A tracker that speaks these, the client's end of the network, and what the tracker did.
fn tracker(protocols: Protocols) -> (FakeNet, Log, Tasks) {
    let (net, server) = pair();
    let log = Log::default();
    let seen = Rc::clone(&log);
    let host = TrackerHost::new(
        server,
        addr(1, 80),
        SwarmConfig::default(),
        protocols,
        ChaCha8Rng::seed_from_u64(1),
        Instant::now(),
        move |at, event| seen.borrow_mut().push((at, event)),
    );
    let host = host.unwrap();
    let mut tasks = Tasks::new();
    tasks.spawn("tracker", async move {
        host.run().await;
    });
    (net, log, tasks)
}

/// Sends a datagram; returns what comes back, if anything does.
async fn datagram(net: &mut FakeNet, request: &Request) -> Option<Reply> {
    net.send_to(addr(1, 80), write_request(request, "").into());
    let answer = poll_fn(|cx| net.poll_event(cx));
    match tokio::time::timeout(Duration::from_secs(1), answer).await {
        Ok(NetEvent::Datagram { data, .. }) => Some(parse_reply(&data, false).unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

fn over_udp(connection: u64, port: u16) -> Request {
    let announce = AnnounceRequest {
        info_hash: T,
        peer_id: PeerId([1; 20]),
        port,
        uploaded: 0,
        downloaded: 0,
        left: 9,
        event: AnnounceEvent::Started,
        wanted: 50,
        key: 0,
        tracker_id: None,
        compact: true,
    };
    Request::Announce {
        connection,
        txid: 2,
        announce,
    }
}

async fn connected(net: &mut FakeNet) -> u64 {
    match datagram(net, &Request::Connect { txid: 1 }).await {
        Some(Reply::Connect {
            txid: 1,
            connection,
        }) => connection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_datagram_without_a_connection_id_of_its_sender_is_met_with_silence() {
    LocalSet::new()
        .run_until(async {
            let (mut net, log, _tasks) = tracker(Protocols::default());
            assert_eq!(datagram(&mut net, &over_udp(7, 6881)).await, None);
            let told = log.borrow().last().unwrap().1.clone();
            let (from, why) = (addr(0, 50_000), Silence::ConnectionId);
            assert_eq!(told, TrackerEvent::Ignored { from, why });

            let connection = connected(&mut net).await;
            let good = datagram(&mut net, &over_udp(connection, 6881)).await;
            assert!(matches!(good, Some(Reply::Announce { txid: 2, .. })));
            tokio::time::advance(Duration::from_secs(140)).await;
            let late = datagram(&mut net, &over_udp(connection, 6881)).await;
            assert_eq!(late, None, "an old one");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_over_udp_is_an_error_packet() {
    LocalSet::new()
        .run_until(async {
            let (mut net, log, _tasks) = tracker(Protocols::default());
            let connection = connected(&mut net).await;
            let refused = datagram(&mut net, &over_udp(connection, 0)).await;
            let reason = "port must be 1 to 65535";
            let (txid, message) = (2, reason.to_owned());
            assert_eq!(refused, Some(Reply::Error { txid, message }));
            let via = Protocol::Udp;
            let told = log.borrow().last().unwrap().1.clone();
            assert_eq!(told, TrackerEvent::Refused { reason, via });
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_protocol_that_is_switched_off_is_not_spoken() {
    LocalSet::new()
        .run_until(async {
            let (http, udp) = (false, true);
            let (mut net, _, _tasks) = tracker(Protocols { http, udp });
            connected(&mut net).await;
            let conn = net.connect(addr(1, 80));
            let opened = poll_fn(|cx| net.poll_event(cx)).await;
            assert!(matches!(opened, NetEvent::Opened { .. }), "{opened:?}");
            let closed = poll_fn(|cx| net.poll_event(cx)).await;
            assert!(
                matches!(closed, NetEvent::Closed { conn: c, .. } if c == conn),
                "{closed:?}"
            );

            let (http, udp) = (true, false);
            let (mut net, log, _tasks) = tracker(Protocols { http, udp });
            let silent = datagram(&mut net, &Request::Connect { txid: 1 }).await;
            assert_eq!((silent, log.borrow().len()), (None, 0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_tracker_that_cannot_hear_datagrams_says_so_at_once() {
    let start = |udp| {
        let (_, server) = pair();
        server.deafen();
        let protocols = Protocols { http: true, udp };
        let (config, rng) = (SwarmConfig::default(), ChaCha8Rng::seed_from_u64(1));
        let now = Instant::now();
        TrackerHost::new(server, addr(1, 80), config, protocols, rng, now, |_, _| {})
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    assert_eq!(start(true), Err(io::ErrorKind::AddrInUse));
    assert_eq!(start(false), Ok(()));
}
