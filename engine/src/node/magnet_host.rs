//! Owns the loop of one host that has only a magnet link: takes the next fact from the network, the
//! trackers, the user or the clock, feeds [`MetadataFetch`], and carries out what it decides.
//!
//! Invariants: the fetch is drained after every fact; the network outlives the loop, so that the peer
//! that follows listens where its addresses were told.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::config::EngineConfig;
use crate::metainfo::magnet::PeerPlace;
use crate::session::metadata_fetch::{Found, MetadataFetch};
use crate::session::torrent::{Input, Output};
use crate::time::Now;
use crate::tracker::announce::{Answer, PeerAddr, Question};
use crate::wire::MessageCounts;

use super::alarm::Alarm;
use super::announcer::{Announcer, Told};
use super::network::{NetEvent, Network, Resolving};
use super::peer_host::{Command, Observer};
use super::wires::Wires;

/// Facts handled in one wake-up before other tasks get their turn.
const FACTS_PER_WAKE: u32 = 512;
/// Bytes of metadata that one piece takes, at least: its hash.
const HASH_BYTES: u64 = 20;

/// What a host needs beside its fetch.
pub struct MagnetHostSetup<N> {
    /// The network, which listens already.
    pub net: N,
    /// The fetch, not started.
    pub fetch: MetadataFetch,
    /// Peers that the link names.
    pub peers: Vec<PeerPlace>,
    /// Its talk with the trackers, which it numbers as the fetch does.
    pub announcer: Announcer,
    /// The fetch's numbers, of which the host heeds those that bound buffers.
    pub config: EngineConfig,
    /// The moment that the fetch calls 0.
    pub epoch: Instant,
    /// What the user says; only [`Command::Leave`] means anything yet.
    pub commands: UnboundedReceiver<Command>,
    /// Who hears of every event.
    pub observer: Observer,
}

/// What is left when a fetch is over: everything the peer that follows goes on with.
pub struct MagnetEnd<N> {
    /// The network; it still listens.
    pub net: N,
    /// The talk with the trackers.
    pub announcer: Announcer,
    /// What the user says.
    pub commands: UnboundedReceiver<Command>,
    /// Who hears of every event.
    pub observer: Observer,
    /// What was found; `None`: the user left before.
    pub found: Option<Found>,
}

/// One host with one fetch.
pub struct MagnetHost<N> {
    net: N,
    fetch: MetadataFetch,
    wires: Wires,
    announcer: Announcer,
    /// Names that are being resolved, with the port that belongs to each.
    names: Vec<Resolving>,
    alarm: Alarm,
    commands: UnboundedReceiver<Command>,
    commanded: bool,
    observer: Observer,
    left: bool,
}

impl<N: Network> MagnetHost<N> {
    /// A host whose network listens already.
    pub fn new(setup: MagnetHostSetup<N>) -> MagnetHost<N> {
        let mut net = setup.net;
        let limit = setup.config.announce_timeout;
        let mut addrs = Vec::new();
        let mut names = Vec::new();
        for place in setup.peers {
            match place {
                PeerPlace::Addr(addr) => addrs.push(PeerAddr { addr, id: None }),
                PeerPlace::Name(host, port) => {
                    names.push(in_time(net.resolve(&host, port), limit));
                }
            }
        }
        // Nobody knows yet how many pieces there are; no more than hashes fit.
        let pieces = setup.config.metadata_bytes_max / HASH_BYTES;
        let bitfield_bytes = u32::try_from(pieces.div_ceil(8)).unwrap_or(u32::MAX);
        let mut host = MagnetHost {
            net,
            fetch: setup.fetch,
            wires: Wires::new(bitfield_bytes, setup.config.extended_bytes_max),
            announcer: setup.announcer,
            names,
            alarm: Alarm::new(setup.epoch),
            commands: setup.commands,
            commanded: false,
            observer: setup.observer,
            left: false,
        };
        host.feed(Input::Peers(addrs));
        host
    }

    /// Counts the messages that peers send in `messages`, which others may count in too.
    #[must_use]
    pub fn counting(mut self, messages: Rc<MessageCounts>) -> MagnetHost<N> {
        self.wires.messages = messages;
        self
    }

    /// Runs until the metadata is here or the user has left.
    pub async fn run(mut self) -> MagnetEnd<N> {
        self.feed(Input::Start);
        poll_fn(|cx| self.poll(cx)).await;
        MagnetEnd {
            net: self.net,
            announcer: self.announcer,
            commands: self.commands,
            observer: self.observer,
            found: self.fetch.take_found(),
        }
    }

    fn now(&self) -> Now {
        self.alarm.now()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = true;
        for _ in 0..FACTS_PER_WAKE {
            ready = self.poll_fact(cx);
            if !ready || self.left {
                break;
            }
        }
        self.wires.flush_all(&mut self.net);
        self.announcer.pump(&mut self.net, cx);
        if self.left {
            return Poll::Ready(());
        }
        if ready {
            // However much comes from outside, time and the trackers have their turn.
            self.poll_announce(cx);
            self.poll_timer(cx);
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Handles the next fact; false when there is none. The order is fixed.
    fn poll_fact(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.commanded
            && let Poll::Ready(command) = self.commands.poll_recv(cx)
        {
            match command {
                Some(Command::Leave) => self.feed(Input::Leave),
                // Of content nothing is known yet.
                Some(_) => {}
                None => self.commanded = true,
            }
            return true;
        }
        if let Poll::Ready(event) = self.net.poll_event(cx) {
            if let Some(event) = self.announcer.on_event(&mut self.net, event) {
                self.on_net(event);
            }
            return true;
        }
        self.poll_names(cx) || self.poll_announce(cx) || self.poll_timer(cx)
    }

    fn poll_names(&mut self, cx: &mut Context<'_>) -> bool {
        for at in 0..self.names.len() {
            if let Poll::Ready(resolved) = self.names[at].as_mut().poll(cx) {
                drop(self.names.swap_remove(at));
                // A name that nobody knows is a peer less.
                if let Ok(addr) = resolved {
                    self.feed(Input::Peers(vec![PeerAddr { addr, id: None }]));
                }
                return true;
            }
        }
        false
    }

    fn poll_announce(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(told) = self.announcer.poll(&mut self.net, cx) else {
            return false;
        };
        match told {
            Told::Resent { tracker } => {
                let event = crate::session::event::Event::AnnounceResent { tracker };
                let now = self.now();
                (self.observer)(now, &event);
            }
            Told::Result(result) => {
                let result = result.map(|answer| match answer {
                    Answer::Announced(reply) => reply,
                    Answer::Scraped(_) => unreachable!("only announces are asked here"),
                });
                self.feed(Input::announced(result));
            }
        }
        true
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.fetch.poll_timeout();
        let rings = self.alarm.poll(due, self.now(), cx);
        if rings {
            self.feed(Input::Timer);
        }
        rings
    }

    fn on_net(&mut self, event: NetEvent) {
        let from = match &event {
            NetEvent::Data { conn, .. } => Some(*conn),
            _ => None,
        };
        let mut next = self.wires.on_event(event);
        while let Some(input) = next {
            self.feed(input);
            next = from.and_then(|conn| self.wires.next_input(conn));
        }
    }

    /// Feeds one fact and carries out what follows.
    fn feed(&mut self, input: Input) {
        let now = self.now();
        if matches!(input, Input::Leave) {
            // Who leaves does not wait for a tracker longer than for any answer.
            self.announcer.hurry();
        }
        self.fetch.handle(input, now);
        while let Some(output) = self.fetch.poll_output() {
            let Some(output) = self.wires.carry_out(output, &mut self.net) else {
                continue;
            };
            match output {
                Output::Announce { tracker, request } => {
                    let question = Question::Announce(request);
                    self.announcer.ask(&mut self.net, tracker, question);
                }
                Output::Emit(event) => (self.observer)(now, &event),
                Output::Left => self.left = true,
                other => unreachable!("nothing of content is decided yet: {other:?}"),
            }
        }
    }
}

/// A name resolved in bounded time.
fn in_time(resolving: Resolving, limit: Duration) -> Resolving {
    Box::pin(async move {
        let resolved: std::io::Result<SocketAddr> =
            match tokio::time::timeout(limit, resolving).await {
                Ok(resolved) => resolved,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            };
        resolved
    })
}
