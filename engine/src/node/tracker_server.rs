//! Owns the loop of a tracker host: HTTP/1.1 by hyper over a [`Network`], answers from
//! [`Swarms`], everything decided told to an observer.
//!
//! Invariant: bounded in every direction: at most [`CONNECTIONS_MAX`] connections, each with a
//! bounded head and a bounded time without a whole request. hyper has no timer and writes no date:
//! both would read the system's clock.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::future::{poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, timeout_at};

use super::network::{CloseHow, NetEvent, Network};
use super::spawn::Tasks;
use super::stream::{ConnStream, StreamHub};
use crate::ids::{InfoHash, PeerId};
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, Retry};
use crate::tracker::http::{
    no_peer_id, parse_announce, parse_scrape_query, write_failure, write_reply, write_scrape,
};
use crate::tracker::swarm::{SwarmConfig, Swarms};

/// Connections served at once; further ones are reset.
pub const CONNECTIONS_MAX: usize = 4096;
/// Time without a whole request after which a connection is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(30);
/// Bytes of the longest request head. An announce needs about 400.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes a connection may have sent ahead of being read.
const UNREAD_MAX: u64 = 64 * 1024;

/// What a tracker did.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TrackerEvent {
    /// It answered an announce.
    Announced {
        /// The other end of the connection, not where the peer listens.
        from: SocketAddr,
        /// The torrent.
        info_hash: InfoHash,
        /// Who announced.
        peer_id: PeerId,
        /// Why.
        event: AnnounceEvent,
        /// Bytes it said are missing.
        left: u64,
        /// Peers it was told of.
        given: u32,
        /// Seeds of the swarm now.
        seeds: u32,
        /// Leechers of the swarm now.
        leechers: u32,
    },
    /// It answered a scrape.
    Scraped,
    /// It refused a request.
    Refused {
        /// What the other end was told.
        reason: &'static str,
    },
}

/// The state behind all connections.
struct Desk {
    swarms: Swarms,
    rng: ChaCha8Rng,
    epoch: Instant,
    observer: Box<dyn FnMut(Now, TrackerEvent)>,
}

/// A tracker on one host.
pub struct TrackerHost<N: Network> {
    net: N,
    hub: StreamHub,
    tasks: Tasks,
    local: SocketAddr,
    desk: Rc<RefCell<Desk>>,
}

impl<N: Network> fmt::Debug for TrackerHost<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TrackerHost");
        out.field("local", &self.local)
            .field("tasks", &self.tasks.len());
        out.finish_non_exhaustive()
    }
}

impl<N: Network> TrackerHost<N> {
    /// A tracker that listens at `listen` (port 0: any) and knows nobody. Its time counts from
    /// `epoch`; `observer` hears of every answer; `rng` chooses the peers that are told.
    ///
    /// # Errors
    /// When the network cannot listen there.
    pub fn new(
        mut net: N,
        listen: SocketAddr,
        config: SwarmConfig,
        rng: ChaCha8Rng,
        epoch: Instant,
        observer: impl FnMut(Now, TrackerEvent) + 'static,
    ) -> io::Result<TrackerHost<N>> {
        let local = net.listen(listen)?;
        let desk = Desk {
            swarms: Swarms::new(config),
            rng,
            epoch,
            observer: Box::new(observer),
        };
        Ok(TrackerHost {
            net,
            hub: StreamHub::new(UNREAD_MAX),
            tasks: Tasks::new(),
            local,
            desk: Rc::new(RefCell::new(desk)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until the future is dropped, which stops the tracker at once. It runs inside a
    /// [`tokio::task::LocalSet`].
    ///
    /// # Panics
    /// When the task of a connection panicked: a bug in this program.
    pub async fn run(mut self) -> Infallible {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Infallible> {
        while let Poll::Ready(event) = self.net.poll_event(cx) {
            if let Some(NetEvent::Opened { conn, from, .. }) = self.hub.on_event(event) {
                if self.tasks.len() >= CONNECTIONS_MAX {
                    self.net.close(conn, CloseHow::Reset);
                    continue;
                }
                let stream = self.hub.accept(conn);
                let served = serve(stream, from, Rc::clone(&self.desk));
                self.tasks.spawn("tracker connection", served);
            }
        }
        self.tasks.poll_panics(cx);
        self.hub.pump(&mut self.net, cx);
        Poll::Pending
    }
}

/// Serves one connection until either end closes it, or it is idle for too long.
async fn serve(stream: ConnStream, from: SocketAddr, desk: Rc<RefCell<Desk>>) {
    let last_request = Cell::new(Instant::now());
    let service = service_fn(|request: Request<Incoming>| {
        last_request.set(Instant::now());
        let response = desk.borrow_mut().answer(&request, from);
        ready(Ok::<_, Infallible>(response))
    });
    let conn = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service);
    let mut conn = pin!(conn);
    loop {
        let deadline = last_request.get() + IDLE_MAX;
        // An error of the connection is the other end's doing and ends only this connection.
        let ended = timeout_at(deadline, conn.as_mut()).await.is_ok();
        if ended || last_request.get() + IDLE_MAX <= Instant::now() {
            return;
        }
    }
}

impl Desk {
    fn answer(&mut self, request: &Request<Incoming>, from: SocketAddr) -> Response<Full<Bytes>> {
        let since = Instant::now().saturating_duration_since(self.epoch);
        let now = Now::START.after(since);
        let query = request.uri().query().unwrap_or_default();
        let path = request.uri().path();
        if !matches!(path, "/announce" | "/scrape") {
            return self.no_page(StatusCode::NOT_FOUND, "there is no such page", now);
        }
        if request.method() != Method::GET {
            return self.no_page(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed", now);
        }
        let body = if path == "/announce" {
            self.announce(query, from, now)
        } else {
            self.scrape(query, now)
        };
        let body = body.unwrap_or_else(|reason| {
            (self.observer)(now, TrackerEvent::Refused { reason });
            write_failure(reason, Retry::Unsaid)
        });
        page(StatusCode::OK, body)
    }

    fn no_page(
        &mut self,
        status: StatusCode,
        reason: &'static str,
        now: Now,
    ) -> Response<Full<Bytes>> {
        (self.observer)(now, TrackerEvent::Refused { reason });
        page(status, reason.into())
    }

    fn announce(
        &mut self,
        query: &str,
        from: SocketAddr,
        now: Now,
    ) -> Result<Vec<u8>, &'static str> {
        let request = parse_announce(query)?;
        let reply = self
            .swarms
            .announce(&request, from.ip(), now, &mut self.rng)?;
        let event = TrackerEvent::Announced {
            from,
            info_hash: request.info_hash,
            peer_id: request.peer_id,
            event: request.event,
            left: request.left,
            given: u32::try_from(reply.peers.len()).unwrap_or(u32::MAX),
            seeds: reply.complete.unwrap_or(0),
            leechers: reply.incomplete.unwrap_or(0),
        };
        (self.observer)(now, event);
        Ok(write_reply(&reply, request.compact, no_peer_id(query)))
    }

    fn scrape(&mut self, query: &str, now: Now) -> Result<Vec<u8>, &'static str> {
        let torrents = parse_scrape_query(query)?;
        self.swarms.expire(now);
        let told = torrents
            .into_iter()
            .filter_map(|t| Some((t, self.swarms.scrape(t)?)));
        let body = write_scrape(&told.collect());
        (self.observer)(now, TrackerEvent::Scraped);
        Ok(body)
    }
}

fn page(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConnId;
    use crate::node::stream::fake::{FakeNet, addr, drive, pair};
    use crate::node::tracker_client;
    use crate::tracker::announce::{AnnounceFailure, AnnounceReply, AnnounceRequest, ScrapeCounts};
    use crate::tracker::http::{announce_target, scrape_url};
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
                hub: StreamHub::new(tracker_client::UNREAD_MAX),
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
            let limit = Duration::from_secs(15);
            let work = tracker_client::announce(stream, &target, &request, limit);
            drive(&mut self.net, &mut self.hub, work).await
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
                let torrents = [T, InfoHash([0; 20])];
                let limit = Duration::from_secs(15);
                let work = tracker_client::scrape(stream, &target, &torrents, limit);
                let told = drive(&mut c.net, &mut c.hub, work).await.unwrap();
                let counts = ScrapeCounts {
                    complete: 1,
                    downloaded: 1,
                    incomplete: 0,
                };
                assert_eq!(told, [(T, counts)].into());
                assert_eq!(c.log.borrow().last().unwrap().1, TrackerEvent::Scraped);
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
                assert_eq!(told, TrackerEvent::Refused { reason });
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
}
