//! Owns a host's talk with its web seeds (BEP 19): finds them, opens connections to them, asks for what the
//! session wants of them, and cuts what comes into blocks.
//!
//! Invariants: one request at a time on a connection, and no more connections than requests and as many kept
//! for the next; what arrives is held only until the session takes it, block by block; whatever is wrong with
//! an answer ends its request before a byte of it is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::task::{Context, Poll};
use std::time::Duration;

use super::network::{NetEvent, Network, Resolving};
use super::stream::StreamHub;
use crate::config::EngineConfig;
use crate::direct::client::{HttpConnection, Patience};
use crate::direct::url::{HttpTarget, http_target};
use crate::metainfo::{Geometry, Metainfo, WebFiles};
use crate::session::torrent::{FetchFailure, Input};

use self::fetch::{Fetch, Next};

mod blocks;
mod fetch;

/// Redirects remembered of one web seed; with more files than these they are found out again.
const MOVED_MAX: usize = 256;

/// The web seeds of a torrent, for a host.
#[derive(Clone, Debug, Default)]
pub struct WebSeedsSetup {
    /// Their URLs, in the order in which the session numbers them; all of them `http://`.
    pub urls: Vec<String>,
    /// What they have.
    pub files: WebFiles,
}

impl WebSeedsSetup {
    /// These web seeds of a torrent, without those that cannot be asked, such as `https://` ones.
    #[must_use]
    pub fn of(meta: &Metainfo, urls: &[String]) -> WebSeedsSetup {
        let usable = urls.iter().filter(|url| http_target(url).is_ok());
        WebSeedsSetup {
            urls: usable.cloned().collect(),
            files: WebFiles::of(meta),
        }
    }
}

/// A connection that is kept for the next request, and where it leads.
struct Kept {
    host: String,
    port: u16,
    connection: HttpConnection,
}

/// One web seed.
struct Seed {
    url: String,
    finding: Option<Resolving>,
    /// Requests under way, oldest first.
    fetches: Vec<Fetch>,
    kept: Vec<Kept>,
    /// Where files are instead, as redirects said.
    moved: BTreeMap<usize, HttpTarget>,
}

/// A host's end of the talk with its web seeds. Its loop gives it every network event, polls it while the
/// disk is not behind, and calls [`WebSeeds::pump`] at the end of every poll.
pub(super) struct WebSeeds {
    seeds: Vec<Seed>,
    files: WebFiles,
    geometry: Geometry,
    hub: StreamHub,
    time: Duration,
    redirects_max: u32,
    kept_max: usize,
    ready: VecDeque<Input>,
}

impl WebSeeds {
    /// Web seeds with nothing to do.
    pub fn new(setup: WebSeedsSetup, geometry: Geometry, config: &EngineConfig) -> WebSeeds {
        let seed = |url| Seed {
            url,
            finding: None,
            fetches: Vec::new(),
            kept: Vec::new(),
            moved: BTreeMap::new(),
        };
        WebSeeds {
            seeds: setup.urls.into_iter().map(seed).collect(),
            files: setup.files,
            geometry,
            hub: StreamHub::patient(config.unread_max),
            time: config.web_seed_timeout,
            redirects_max: config.redirects_max,
            kept_max: config.web_seed_connections as usize,
            ready: VecDeque::new(),
        }
    }

    /// Looks up a web seed's address; [`Input::WebSeedFound`] comes from [`WebSeeds::poll`].
    pub fn find(&mut self, net: &mut impl Network, seed: u32) {
        let known = &mut self.seeds[seed as usize];
        match http_target(&known.url) {
            Ok(target) => known.finding = Some(resolve(net, &target, self.time)),
            Err(_) => self.ready.push_back(Input::WebSeedFound {
                seed,
                found: Err(FetchFailure::NoSuchHost),
            }),
        }
    }

    /// Asks a web seed for bytes of the content; they come from [`WebSeeds::poll`].
    pub fn fetch(&mut self, seed: u32, fetch: u64, range: Range<u64>) {
        let parts = self.files.parts(range.clone());
        let fetch = Fetch::new(fetch, range.start, parts);
        self.seeds[seed as usize].fetches.push(fetch);
    }

    /// Gives a request up. Nothing is told of it any more.
    pub fn stop(&mut self, seed: u32, number: u64) {
        let fetches = &mut self.seeds[seed as usize].fetches;
        fetches.retain(|fetch| fetch.number != number);
        self.ready.retain(|input| {
            !matches!(input, Input::Fetched { fetch, .. } | Input::FetchFailed { fetch, .. }
                if *fetch == number)
        });
    }

    /// Closes the connections that are kept for a web seed, and forgets where it sent us.
    pub fn rest(&mut self, seed: u32) {
        let known = &mut self.seeds[seed as usize];
        known.kept.clear();
        known.moved.clear();
    }

    /// Whether the torrent has none: then there is never anything to do.
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// Takes an event that belongs to this talk; gives any other one back.
    pub fn on_event(&mut self, event: NetEvent) -> Option<NetEvent> {
        self.hub.on_event(event)
    }

    /// Whether nothing may be taken from the network: too much of what web seeds sent is unread. The loop is
    /// woken when that has changed.
    pub fn is_full(&mut self, cx: &Context<'_>) -> bool {
        self.hub.is_full(cx)
    }

    /// Hands what was written to the network.
    pub fn pump(&mut self, net: &mut impl Network, cx: &Context<'_>) {
        self.hub.pump(net, cx);
    }

    /// The next thing for the session, if there is one.
    pub fn poll(&mut self, net: &mut impl Network, cx: &mut Context<'_>) -> Poll<Input> {
        for seed in 0..self.seeds.len() {
            if let Some(input) = self.ready.pop_front() {
                return Poll::Ready(input);
            }
            self.poll_seed(seed, net, cx);
        }
        match self.ready.pop_front() {
            Some(input) => Poll::Ready(input),
            None => Poll::Pending,
        }
    }

    fn poll_seed(&mut self, number: usize, net: &mut impl Network, cx: &mut Context<'_>) {
        let seed = &mut self.seeds[number];
        if let Some(finding) = &mut seed.finding
            && let Poll::Ready(found) = finding.as_mut().poll(cx)
        {
            seed.finding = None;
            self.ready.push_back(Input::WebSeedFound {
                seed: number as u32,
                found: found.map_err(|_| FetchFailure::NoSuchHost),
            });
        }
        let mut at = 0;
        while at < seed.fetches.len() {
            let next = seed.fetches[at].poll(&self.geometry, &mut self.ready, cx);
            match next {
                Poll::Pending => {
                    at += 1;
                    continue;
                }
                Poll::Ready(Next::Ask { file }) => {
                    let target = match seed.moved.get(&file) {
                        Some(target) => Ok(target.clone()),
                        None => http_target(&self.files.url(&seed.url, file)),
                    };
                    match target {
                        Ok(target) => go(seed, at, target, net, self.time),
                        Err(_) => fail(seed, at, FetchFailure::Redirected, &mut self.ready),
                    }
                }
                Poll::Ready(Next::Connect { target, addr }) => {
                    let stream = self.hub.open(net.connect(addr));
                    let patience = Patience {
                        head: self.time,
                        silence: self.time,
                    };
                    seed.fetches[at].ask_new(target, stream, patience);
                }
                Poll::Ready(Next::Moved { file, target }) => {
                    if seed.fetches[at].redirects >= self.redirects_max {
                        fail(seed, at, FetchFailure::Redirected, &mut self.ready);
                        continue;
                    }
                    seed.fetches[at].redirects += 1;
                    if seed.moved.len() >= MOVED_MAX {
                        seed.moved.clear();
                    }
                    seed.moved.insert(file, target.clone());
                    go(seed, at, target, net, self.time);
                }
                Poll::Ready(Next::Again { target }) => {
                    let resolving = resolve(net, &target, self.time);
                    seed.fetches[at].resolve(target, resolving);
                }
                Poll::Ready(Next::Keep { target, connection }) => {
                    seed.kept.push(Kept {
                        host: target.host,
                        port: target.port,
                        connection,
                    });
                    if seed.kept.len() > self.kept_max {
                        seed.kept.remove(0);
                    }
                }
                Poll::Ready(Next::Done) => {
                    seed.fetches.remove(at);
                }
                Poll::Ready(Next::Failed(why)) => fail(seed, at, why, &mut self.ready),
            }
            // The session may have other plans after what it hears now.
            if self.ready.len() > READY_MAX {
                return;
            }
        }
    }
}

/// Blocks for the session above which no more is read: those of one piece of a body are few.
const READY_MAX: usize = 16;

/// Sends the request on a connection that is kept, or opens one.
fn go(seed: &mut Seed, at: usize, target: HttpTarget, net: &mut impl Network, time: Duration) {
    let fits = |kept: &Kept| kept.host == target.host && kept.port == target.port;
    let fetch = &mut seed.fetches[at];
    while let Some(at) = seed.kept.iter().position(fits) {
        let kept = seed.kept.remove(at);
        if kept.connection.is_reusable() {
            return fetch.ask_kept(target, kept.connection);
        }
    }
    let resolving = resolve(net, &target, time);
    fetch.resolve(target, resolving);
}

fn fail(seed: &mut Seed, at: usize, why: FetchFailure, ready: &mut VecDeque<Input>) {
    let fetch = seed.fetches.remove(at).number;
    // Where it sent us may be what is wrong.
    seed.moved.clear();
    ready.push_back(Input::FetchFailed { fetch, why });
}

/// A name resolved in bounded time.
fn resolve(net: &mut impl Network, target: &HttpTarget, time: Duration) -> Resolving {
    let resolving = net.resolve(&target.host, target.port);
    Box::pin(async move {
        let resolved: std::io::Result<SocketAddr> =
            match tokio::time::timeout(time, resolving).await {
                Ok(resolved) => resolved,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            };
        resolved
    })
}

#[cfg(test)]
mod tests;
