//! Owns a host's talk with its trackers, over HTTP and UDP: resolves names, opens connections, follows
//! redirects, sends datagrams again.
//!
//! Invariant: one question is under way at a time; how long it may take, how often it is sent and how
//! often it is redirected is bounded. What to ask, when, and whom is decided elsewhere
//! ([`crate::tracker::schedule`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::network::{NetEvent, Network, Resolving};
use super::stream::StreamHub;
use super::tracker_client::{self, Heard, Limits};
use crate::config::EngineConfig;
use crate::prefetch;
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, AnnounceFailure, Answer, Question};
use crate::tracker::http::HttpTarget;
use crate::tracker::target::{TrackerTarget, UdpTarget};
use crate::tracker::udp::client::{UdpClient, UdpTimes};

/// What an announcer is made of.
#[derive(Debug)]
pub struct AnnouncerSetup {
    /// The trackers, in the order in which others number them.
    pub trackers: Vec<TrackerTarget>,
    /// The moment that the host calls 0.
    pub epoch: Instant,
    /// Numbers of UDP requests come from here.
    pub rng: ChaCha8Rng,
}

/// What an announcer has to tell.
#[derive(Debug)]
pub enum Told {
    /// A datagram was not answered in time and was sent again.
    Resent {
        /// To which tracker.
        tracker: u32,
    },
    /// What came of the question.
    Result(Result<Answer, AnnounceFailure>),
}

type Talk = Pin<Box<dyn Future<Output = Result<Heard, AnnounceFailure>>>>;

/// How far the question under way is.
enum Step {
    ResolvingHttp(Resolving, HttpTarget, bool),
    ResolvingUdp(Resolving, UdpTarget),
    Http(Talk),
    Udp(SocketAddr),
}

/// The question under way.
struct Work {
    tracker: u32,
    question: Question,
    redirects: u32,
    step: Step,
    /// Before the name was known, somebody asked to be quick.
    hurried: bool,
}

/// A host's end of the talk with its trackers. Its loop gives it every network event, polls it, and
/// calls [`Announcer::pump`] at the end of every poll.
pub struct Announcer {
    trackers: Vec<TrackerTarget>,
    rng: ChaCha8Rng,
    timeout: Duration,
    reply_max: u64,
    redirects_max: u32,
    udp_times: UdpTimes,
    hub: StreamHub,
    /// UDP connection ids outlive a question.
    clients: BTreeMap<SocketAddr, UdpClient>,
    clients_max: usize,
    work: Option<Work>,
    alarm: Alarm,
}

impl Announcer {
    /// An announcer with nothing to do.
    #[must_use]
    pub fn new(setup: AnnouncerSetup, config: &EngineConfig) -> Announcer {
        Announcer {
            udp_times: UdpTimes::of(config, setup.trackers.len() < 2),
            trackers: setup.trackers,
            rng: setup.rng,
            timeout: config.announce_timeout,
            reply_max: config.tracker_reply_max,
            redirects_max: config.redirects_max,
            hub: StreamHub::new(tracker_client::unread_max(config.tracker_reply_max)),
            clients: BTreeMap::new(),
            clients_max: config.udp_connections_max as usize,
            work: None,
            alarm: Alarm::new(setup.epoch),
        }
    }

    /// Trackers that can be asked.
    #[must_use]
    pub fn trackers(&self) -> usize {
        self.trackers.len()
    }

    /// Asks for what says whether there is anything to do.
    pub(super) fn prefetch(&self) {
        prefetch::front(&self.work);
        prefetch::value(&self.alarm);
    }

    /// True when no question is under way.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.work.is_none()
    }

    /// Asks a tracker; a question under way is dropped. The answer comes from [`Announcer::poll`].
    /// A farewell is not sent for longer than an HTTP tracker would get to answer. A scrape goes to
    /// the tracker as it is: its target is a [`crate::tracker::target::scrape_target`].
    ///
    /// # Panics
    /// When there is no such tracker.
    pub fn ask(&mut self, net: &mut impl Network, tracker: u32, question: Question) {
        let target = self.trackers[tracker as usize].clone();
        let (host, port) = target.host_and_port();
        let resolving = self.resolve(net, host, port);
        let hurried =
            matches!(&question, Question::Announce(a) if a.event == AnnounceEvent::Stopped);
        let step = match target {
            TrackerTarget::Http(http) => Step::ResolvingHttp(resolving, http, false),
            TrackerTarget::Udp(udp) => Step::ResolvingUdp(resolving, udp),
        };
        self.work = Some(Work {
            tracker,
            question,
            redirects: 0,
            step,
            hurried,
        });
    }

    /// The user waits: the question under way fails soon if it is not answered.
    pub fn hurry(&mut self) {
        let now = self.now();
        if let Some(work) = &mut self.work {
            work.hurried = true;
            if let Step::Udp(tracker) = &work.step
                && let Some(client) = self.clients.get_mut(tracker)
            {
                client.hurry(self.timeout, now);
            }
        }
    }

    /// Takes an event that belongs to this talk; gives any other one back. All datagrams are its own.
    pub fn on_event(&mut self, net: &mut impl Network, event: NetEvent) -> Option<NetEvent> {
        match self.hub.on_event(event)? {
            NetEvent::Datagram { from, data } => {
                let now = self.now();
                if let Some(Work {
                    step: Step::Udp(tracker),
                    ..
                }) = &self.work
                    && let Some(client) = self.clients.get_mut(tracker)
                {
                    client.on_datagram(from, &data, now, &mut self.rng);
                    send(client, net);
                }
                None
            }
            other => Some(other),
        }
    }

    /// What it has to tell, if anything. Wakes the loop when there is more.
    pub fn poll(&mut self, net: &mut impl Network, cx: &mut Context<'_>) -> Poll<Told> {
        loop {
            if self.work.is_none() {
                self.alarm.off();
                return Poll::Pending;
            }
            let now = self.now();
            let Some(work) = &mut self.work else {
                return Poll::Pending;
            };
            let result = match &mut work.step {
                Step::ResolvingHttp(resolving, target, moved) => {
                    match resolving.as_mut().poll(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(_)) => Err(AnnounceFailure::Unreachable),
                        Poll::Ready(Ok(addr)) => {
                            let stream = self.hub.open(net.connect(addr));
                            let (target, moved) = (target.clone(), *moved);
                            let question = work.question.clone();
                            let limits = Limits {
                                time: self.timeout,
                                reply_bytes: self.reply_max,
                            };
                            work.step = Step::Http(Box::pin(async move {
                                tracker_client::ask(stream, &target, &question, moved, limits).await
                            }));
                            continue;
                        }
                    }
                }
                Step::ResolvingUdp(resolving, target) => match resolving.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => Err(AnnounceFailure::Unreachable),
                    Poll::Ready(Ok(addr)) => {
                        let limit = work.hurried.then_some(self.timeout);
                        let (question, url_data) =
                            (work.question.clone(), std::mem::take(&mut target.url_data));
                        work.step = Step::Udp(addr);
                        if self.clients.len() >= self.clients_max
                            && !self.clients.contains_key(&addr)
                        {
                            self.clients.clear();
                        }
                        let client = self.clients.entry(addr);
                        let client = client.or_insert_with(|| UdpClient::new(addr, self.udp_times));
                        client.ask(question, &url_data, limit, now, &mut self.rng);
                        send(client, net);
                        continue;
                    }
                },
                Step::Http(talk) => match talk.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Heard::Answer(answer))) => Ok(answer),
                    Poll::Ready(Ok(Heard::Moved(target))) => {
                        if work.redirects < self.redirects_max {
                            self.follow(net, target);
                            continue;
                        }
                        Err(AnnounceFailure::Redirected)
                    }
                    Poll::Ready(Err(failure)) => Err(failure),
                },
                Step::Udp(tracker) => {
                    let (tracker, addr) = (work.tracker, *tracker);
                    match self.poll_udp(net, addr, now, cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(None) => return Poll::Ready(Told::Resent { tracker }),
                        Poll::Ready(Some(result)) => result,
                    }
                }
            };
            self.work = None;
            return Poll::Ready(Told::Result(result));
        }
    }

    /// The result of the question at a UDP tracker, or nothing when it was just sent again.
    fn poll_udp(
        &mut self,
        net: &mut impl Network,
        tracker: SocketAddr,
        now: Now,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Answer, AnnounceFailure>>> {
        let client = self.clients.get_mut(&tracker);
        let client = client.expect("the client of the question under way is kept");
        loop {
            if let Some(result) = client.poll_result() {
                return Poll::Ready(Some(result));
            }
            if client.take_resent() > 0 {
                return Poll::Ready(None);
            }
            let due = client.poll_timeout();
            if !self.alarm.poll(due, now, cx) {
                return Poll::Pending;
            }
            client.on_timer(now.max(due), &mut self.rng);
            send(client, net);
        }
    }

    /// Hands what was written to the network.
    pub fn pump(&mut self, net: &mut impl Network, cx: &Context<'_>) {
        self.hub.pump(net, cx);
    }

    fn follow(&mut self, net: &mut impl Network, target: HttpTarget) {
        let resolving = self.resolve(net, &target.host, target.port);
        if let Some(work) = &mut self.work {
            work.redirects += 1;
            work.step = Step::ResolvingHttp(resolving, target, true);
        }
    }

    /// A name resolved in bounded time.
    fn resolve(&self, net: &mut impl Network, host: &str, port: u16) -> Resolving {
        let (resolving, limit) = (net.resolve(host, port), self.timeout);
        Box::pin(async move {
            match tokio::time::timeout(limit, resolving).await {
                Ok(resolved) => resolved,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn now(&self) -> Now {
        self.alarm.now()
    }
}

fn send(client: &mut UdpClient, net: &mut impl Network) {
    let to = client.tracker();
    while let Some(datagram) = client.poll_send() {
        net.send_to(to, datagram);
    }
}

#[cfg(test)]
mod tests;
