//! Owns the loop of a tracker host: HTTP/1.1 by hyper and UDP over a [`Network`], answers from
//! [`Swarms`], everything decided told to an observer.
//!
//! Invariant: bounded in every direction: at most [`CONNECTIONS_MAX`] connections, each with a
//! bounded head and a bounded time without a whole request; nothing is kept of who sends datagrams,
//! and who cannot receive at its address gets nothing. hyper has no timer and writes no date: both
//! would read the system's clock.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::{poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::http_server::{self, Limits};
use super::network::{CloseHow, NetEvent, Network};
use super::spawn::Tasks;
use super::stream::{ConnStream, StreamHub};
use crate::ids::{InfoHash, PeerId};
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, AnnounceReply, AnnounceRequest};
use crate::tracker::http::{
    no_peer_id, parse_announce, parse_scrape_query, write_failure, write_reply, write_scrape,
};
use crate::tracker::swarm::{Families, Refusal, SwarmConfig, Swarms};
use crate::tracker::udp::packet::{self, Reply};
use crate::tracker::udp::server::{Admitted, ConnectionIds, Silence, admit};

/// Connections served at once; further ones are reset.
pub const CONNECTIONS_MAX: usize = 4096;
/// Time without a whole request after which a connection is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(30);
/// Bytes of the longest request head. An announce needs about 400.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes a connection may have sent ahead of being read.
const UNREAD_MAX: u64 = 64 * 1024;

/// Datagrams answered in one wake-up before connections get their turn.
const DATAGRAMS_PER_WAKE: u32 = 256;

/// What a request came over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// BEP 3.
    Http,
    /// BEP 15.
    Udp,
}

/// What a tracker speaks; at the same port number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protocols {
    /// BEP 3.
    pub http: bool,
    /// BEP 15.
    pub udp: bool,
}

impl Default for Protocols {
    fn default() -> Protocols {
        Protocols {
            http: true,
            udp: true,
        }
    }
}

/// What a tracker did.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(tag = "event")]
pub enum TrackerEvent {
    /// It answered an announce.
    #[serde(rename = "tracker-announced")]
    Announced {
        /// Where it came from, not where the peer listens.
        from: SocketAddr,
        /// What it came over.
        via: Protocol,
        /// The torrent.
        #[serde(serialize_with = "crate::ids::in_words")]
        info_hash: InfoHash,
        /// Who announced.
        #[serde(serialize_with = "crate::ids::in_words")]
        peer_id: PeerId,
        /// Why.
        #[serde(rename = "what")]
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
    #[serde(rename = "tracker-scraped")]
    Scraped {
        /// What it came over.
        via: Protocol,
    },
    /// It refused a request.
    #[serde(rename = "tracker-refused")]
    Refused {
        /// What the other end was told.
        reason: &'static str,
        /// What it came over.
        via: Protocol,
    },
    /// It met a datagram with silence.
    #[serde(rename = "tracker-ignored")]
    Ignored {
        /// Where it claims to come from.
        from: SocketAddr,
        /// Why.
        #[serde(serialize_with = "crate::ids::in_words")]
        why: Silence,
    },
}

/// The state behind all connections.
struct Desk {
    swarms: Swarms,
    ids: ConnectionIds,
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
    protocols: Protocols,
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
    /// `epoch`; `observer` hears of every answer; `rng` chooses the peers that are told, and from
    /// another stream of it comes the key of UDP connection ids.
    ///
    /// # Errors
    /// When the network cannot listen there, for datagrams too if UDP is wanted.
    pub fn new(
        mut net: N,
        listen: SocketAddr,
        config: SwarmConfig,
        protocols: Protocols,
        rng: ChaCha8Rng,
        epoch: Instant,
        observer: impl FnMut(Now, TrackerEvent) + 'static,
    ) -> io::Result<TrackerHost<N>> {
        let local = net.listen(listen)?;
        if protocols.udp && !net.hears_datagrams(local) {
            let text = "another program has this port for UDP";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let mut key_rng = rng.clone();
        key_rng.set_stream(key_rng.get_stream() ^ 1);
        let desk = Desk {
            ids: ConnectionIds::new(config.connection_valid, &mut key_rng),
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
            protocols,
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
        let mut datagrams = 0;
        while let Poll::Ready(event) = self.net.poll_event(cx) {
            match self.hub.on_event(event) {
                Some(NetEvent::Opened { conn, from, .. }) => {
                    if !self.protocols.http || self.tasks.len() >= CONNECTIONS_MAX {
                        self.net.close(conn, CloseHow::Reset);
                        continue;
                    }
                    let stream = self.hub.accept(conn);
                    let served = serve(stream, from, Rc::clone(&self.desk));
                    self.tasks.spawn("tracker connection", served);
                }
                Some(NetEvent::Datagram { from, data }) if self.protocols.udp => {
                    let reply = self.desk.borrow_mut().datagram(from, &data);
                    if let Some(reply) = reply {
                        self.net.send_to(from, reply);
                    }
                    datagrams += 1;
                    if datagrams == DATAGRAMS_PER_WAKE {
                        cx.waker().wake_by_ref();
                        break;
                    }
                }
                _ => {}
            }
        }
        self.tasks.poll_panics(cx);
        self.hub.pump(&mut self.net, cx);
        Poll::Pending
    }
}

/// Serves one connection until either end closes it, or it is idle for too long.
async fn serve(stream: ConnStream, from: SocketAddr, desk: Rc<RefCell<Desk>>) {
    let limits = Limits {
        head_bytes: HEAD_BYTES_MAX,
        idle: IDLE_MAX,
    };
    http_server::serve(stream, limits, |_| {
        service_fn(move |request: Request<Incoming>| {
            let response = desk.borrow_mut().answer(&request, from);
            ready(Ok::<_, Infallible>(response))
        })
    })
    .await;
}

impl Desk {
    fn answer(&mut self, request: &Request<Incoming>, from: SocketAddr) -> Response<Full<Bytes>> {
        let now = self.now();
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
        let body = body.unwrap_or_else(|Refusal { reason, retry }| {
            self.refused(reason, Protocol::Http, now);
            write_failure(reason, retry)
        });
        page(StatusCode::OK, body)
    }

    fn no_page(
        &mut self,
        status: StatusCode,
        reason: &'static str,
        now: Now,
    ) -> Response<Full<Bytes>> {
        self.refused(reason, Protocol::Http, now);
        page(status, reason.into())
    }

    fn announce(&mut self, query: &str, from: SocketAddr, now: Now) -> Result<Vec<u8>, Refusal> {
        let request = parse_announce(query)?;
        let reply = self.take_note(&request, from, Protocol::Http, now)?;
        Ok(write_reply(&reply, request.compact, no_peer_id(query)))
    }

    fn take_note(
        &mut self,
        request: &AnnounceRequest,
        from: SocketAddr,
        via: Protocol,
        now: Now,
    ) -> Result<AnnounceReply, Refusal> {
        let families = match via {
            Protocol::Http => Families::Both,
            Protocol::Udp => Families::Askers,
        };
        let rng = &mut self.rng;
        let reply = self
            .swarms
            .announce(request, from.ip(), families, now, rng)?;
        let event = TrackerEvent::Announced {
            from,
            via,
            info_hash: request.info_hash,
            peer_id: request.peer_id,
            event: request.event,
            left: request.left,
            given: u32::try_from(reply.peers.len()).unwrap_or(u32::MAX),
            seeds: reply.complete.unwrap_or(0),
            leechers: reply.incomplete.unwrap_or(0),
        };
        (self.observer)(now, event);
        Ok(reply)
    }

    fn scrape(&mut self, query: &str, now: Now) -> Result<Vec<u8>, Refusal> {
        let torrents = parse_scrape_query(query)?;
        self.swarms.expire(now);
        let told = torrents
            .into_iter()
            .filter_map(|t| Some((t, self.swarms.scrape(t)?)));
        let body = write_scrape(&told.collect());
        let via = Protocol::Http;
        (self.observer)(now, TrackerEvent::Scraped { via });
        Ok(body)
    }

    /// The answer to a datagram, if it gets one.
    fn datagram(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Bytes> {
        let now = self.now();
        let via = Protocol::Udp;
        let reply = match admit(&self.ids, from.ip(), datagram, now) {
            Err(why) => {
                (self.observer)(now, TrackerEvent::Ignored { from, why });
                return None;
            }
            Ok(Admitted::Connect(reply)) => return Some(reply.into()),
            Ok(Admitted::Announce { txid, announce }) => {
                match self.take_note(&announce, from, via, now) {
                    Ok(reply) => Reply::Announce { txid, reply },
                    Err(Refusal { reason, .. }) => {
                        self.refused(reason, via, now);
                        let message = reason.to_owned();
                        Reply::Error { txid, message }
                    }
                }
            }
            Ok(Admitted::Scrape { txid, torrents }) => {
                self.swarms.expire(now);
                let told = torrents
                    .into_iter()
                    .map(|t| self.swarms.scrape(t).unwrap_or_default());
                let counts = told.collect();
                (self.observer)(now, TrackerEvent::Scraped { via });
                Reply::Scrape { txid, counts }
            }
        };
        Some(packet::write_reply(&reply, from.is_ipv6()).into())
    }

    fn refused(&mut self, reason: &'static str, via: Protocol, now: Now) {
        (self.observer)(now, TrackerEvent::Refused { reason, via });
    }

    fn now(&self) -> Now {
        let since = Instant::now().saturating_duration_since(self.epoch);
        Now::START.after(since)
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
mod tests;
