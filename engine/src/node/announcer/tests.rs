//! How a host talks with its trackers, on a network of two.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use rand::SeedableRng;
use tokio::task::LocalSet;

use super::*;
use crate::ids::{InfoHash, PeerId};
use crate::node::network::CloseHow;
use crate::node::spawn::Tasks;
use crate::node::stream::fake::{FakeNet, addr, pair};
use crate::node::tracker_server::{Protocol, Protocols, TrackerEvent, TrackerHost};
use crate::tracker::announce::{AnnounceReply, AnnounceRequest, ScrapeCounts};
use crate::tracker::swarm::SwarmConfig;
use crate::tracker::target::{scrape_target, tracker_target};

const T: InfoHash = InfoHash([0xfe; 20]);
const UDP: &str = "udp://10.0.0.2:80/announce";
const HTTP: &str = "http://10.0.0.2/announce";

fn says(event: AnnounceEvent) -> Question {
    Question::Announce(Box::new(AnnounceRequest {
        info_hash: T,
        peer_id: PeerId([1; 20]),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: 9,
        event,
        wanted: 50,
        key: 0,
        tracker_id: None,
        compact: true,
    }))
}

/// A host that asks, and a host that is asked.
struct Pair {
    net: FakeNet,
    announcer: Announcer,
    resent: u32,
    _tracker: Tasks,
}

type Log = Rc<RefCell<Vec<TrackerEvent>>>;

impl Pair {
    fn new(url: &str, server: impl FnOnce(FakeNet) -> Tasks) -> Pair {
        let (net, other) = pair();
        let config = EngineConfig {
            // The second tracker here is the first one's other face.
            udp_retries_failover: EngineConfig::default().udp_retries,
            ..EngineConfig::default()
        };
        let setup = AnnouncerSetup {
            trackers: vec![
                tracker_target(url).expect("a URL"),
                scrape_target(url).expect("a URL").expect("by convention"),
            ],
            epoch: Instant::now(),
            rng: ChaCha8Rng::seed_from_u64(1),
        };
        Pair {
            net,
            announcer: Announcer::new(setup, &config),
            resent: 0,
            _tracker: server(other),
        }
    }

    /// With a tracker at the other end.
    fn tracked(url: &str) -> (Pair, Log) {
        let log = Log::default();
        let seen = Rc::clone(&log);
        let pair = Pair::new(url, |server| {
            let host = TrackerHost::new(
                server,
                addr(1, 80),
                SwarmConfig::default(),
                Protocols::default(),
                ChaCha8Rng::seed_from_u64(2),
                Instant::now(),
                move |_, event| seen.borrow_mut().push(event),
            );
            let host = host.expect("it listens");
            let mut tasks = Tasks::new();
            tasks.spawn("tracker", async move {
                host.run().await;
            });
            tasks
        });
        (pair, log)
    }

    /// With an HTTP server that answers every connection with these, in turn, the last for ever.
    fn served(answers: &'static [&'static str]) -> (Pair, Rc<RefCell<Vec<String>>>) {
        let asked = Rc::<RefCell<Vec<String>>>::default();
        let seen = Rc::clone(&asked);
        let pair = Pair::new(HTTP, |mut server| {
            server.listen(addr(1, 80)).expect("it listens");
            let mut tasks = Tasks::new();
            tasks.spawn("server", async move {
                loop {
                    let event = poll_fn(|cx| server.poll_event(cx)).await;
                    let NetEvent::Data { conn, data } = event else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&data);
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    seen.borrow_mut().push(path.to_owned());
                    let at = seen.borrow().len().min(answers.len()) - 1;
                    server.send(conn, Bytes::from_static(answers[at].as_bytes()));
                    server.close(conn, CloseHow::Finish);
                }
            });
            tasks
        });
        (pair, asked)
    }

    fn begin(&mut self, question: Question) {
        let tracker = u32::from(matches!(question, Question::Scrape(_)));
        self.announcer.ask(&mut self.net, tracker, question);
    }

    async fn result(&mut self) -> Result<Answer, AnnounceFailure> {
        poll_fn(|cx| {
            loop {
                while let Poll::Ready(event) = self.net.poll_event(cx) {
                    let left = self.announcer.on_event(&mut self.net, event);
                    assert!(left.is_none(), "{left:?}");
                }
                let told = self.announcer.poll(&mut self.net, cx);
                self.announcer.pump(&mut self.net, cx);
                match told {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Told::Resent { tracker: 0 }) => self.resent += 1,
                    Poll::Ready(Told::Result(result)) => return Poll::Ready(result),
                    Poll::Ready(other) => panic!("{other:?}"),
                }
            }
        })
        .await
    }

    async fn asks(&mut self, question: Question) -> Result<Answer, AnnounceFailure> {
        tokio::task::yield_now().await;
        self.begin(question);
        self.result().await
    }
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn either_protocol_carries_announce_and_scrape() {
    local(async {
        for (url, protocol) in [(UDP, Protocol::Udp), (HTTP, Protocol::Http)] {
            let (mut pair, log) = Pair::tracked(url);
            let Ok(Answer::Announced(AnnounceReply { interval, .. })) =
                pair.asks(says(AnnounceEvent::Started)).await
            else {
                panic!("an answer")
            };
            assert_eq!(interval, Some(Duration::from_secs(1800)));
            let told = ScrapeCounts {
                complete: 0,
                downloaded: 0,
                incomplete: 1,
            };
            let scraped = Ok(Answer::Scraped([(T, told)].into()));
            assert_eq!(pair.asks(Question::Scrape(vec![T])).await, scraped);
            let log = log.borrow();
            let [
                TrackerEvent::Announced { via, .. },
                TrackerEvent::Scraped { via: again },
            ] = log[..]
            else {
                panic!("{log:?}")
            };
            assert_eq!((via, again), (protocol, protocol));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_on_the_way_is_sent_again() {
    local(async {
        let (mut pair, _) = Pair::tracked(UDP);
        pair.net.lose_datagrams(3);
        let began = Instant::now();
        assert!(pair.asks(says(AnnounceEvent::Started)).await.is_ok());
        assert_eq!(began.elapsed().as_secs(), 15 + 30 + 60);
        assert_eq!(pair.resent, 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_udp_tracker_fails_in_the_end() {
    local(async {
        let mut pair = Pair::new(UDP, |_| Tasks::new());
        let began = Instant::now();
        let failed = pair.asks(says(AnnounceEvent::Started)).await;
        assert_eq!(failed, Err(AnnounceFailure::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 7665, "15 * (2^9 - 1)");
        assert!(pair.announcer.idle());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_waits_no_longer_than_for_an_http_tracker() {
    local(async {
        let mut pair = Pair::new(UDP, |_| Tasks::new());
        let began = Instant::now();
        let failed = pair.asks(says(AnnounceEvent::Stopped)).await;
        assert_eq!(failed, Err(AnnounceFailure::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 15);

        pair.begin(says(AnnounceEvent::Started));
        let waiting = tokio::time::timeout(Duration::from_secs(100), pair.result()).await;
        assert!(waiting.is_err(), "it would wait for two hours");
        pair.announcer.hurry();
        let began = Instant::now();
        assert_eq!(pair.result().await, Err(AnnounceFailure::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 15);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed_with_the_same_question() {
    local(async {
        let (mut pair, asked) = Pair::served(&[
            "HTTP/1.1 302 Found\r\nLocation: /moved?k=1\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nd8:intervali77ee",
        ]);
        let Ok(Answer::Announced(reply)) = pair.asks(says(AnnounceEvent::Started)).await else {
            panic!("an answer")
        };
        assert_eq!(reply.interval, Some(Duration::from_secs(77)));
        let asked = asked.borrow();
        assert!(asked[0].starts_with("/announce?info_hash=%FE"), "{asked:?}");
        assert!(
            asked[1].starts_with("/moved?k=1&info_hash=%FE"),
            "{asked:?}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn redirects_without_end_are_a_failure() {
    local(async {
        let (mut pair, asked) = Pair::served(&[
            "HTTP/1.1 301 Moved\r\nLocation: http://10.0.0.2/announce\r\nContent-Length: 0\r\n\r\n",
        ]);
        let failed = pair.asks(says(AnnounceEvent::Started)).await;
        assert_eq!(failed, Err(AnnounceFailure::Redirected));
        let most = EngineConfig::default().redirects_max;
        assert_eq!(asked.borrow().len(), 1 + most as usize);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_knows_is_unreachable() {
    local(async {
        for url in [
            "http://tracker.invalid/announce",
            "udp://tracker.invalid:80",
        ] {
            let mut pair = Pair::new(url, |_| Tasks::new());
            let failed = pair.asks(says(AnnounceEvent::Started)).await;
            assert_eq!(failed, Err(AnnounceFailure::Unreachable), "{url}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stray_datagrams_change_nothing() {
    local(async {
        let (mut pair, _) = Pair::tracked(UDP);
        for data in [&b""[..], &[0; 16], &[0xff; 2000]] {
            let (from, data) = (addr(1, 80), Bytes::copy_from_slice(data));
            pair.net.inject(NetEvent::Datagram { from, data });
        }
        assert!(pair.asks(says(AnnounceEvent::Started)).await.is_ok());
        assert_eq!(pair.resent, 0);
    })
    .await;
}
