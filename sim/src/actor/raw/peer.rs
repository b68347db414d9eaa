//! Owns [`RawPeer`]: the loop of an attacker's host.
//!
//! Invariant: each connection that stands is told to the attack once, and its end once, unless the attack
//! ended it; messages are told only of those on which both ends shook hands. What an attack answers is bounded by
//! what its uplink carries, whoever asks.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use skep_engine::node::announcer::Told;
use skep_engine::node::network::{NetEvent, Network};
use skep_engine::wire::{Chunk, Decoder, Handshake, Message};
use skep_engine::{ConnId, InfoHash, PeerId};
use tokio::time::{Instant, Sleep};

use super::finding::{Finding, Said};
use super::{Attacker, Conn, RawIo, RawSetup};
use crate::trace::Attack;

/// Bytes unsent on a connection above which requests that come there are not told to the attack: a client that
/// writes to a socket waits at some point, too. An honest peer asks for less at once (`pipeline_cap`); another attacker
/// may ask for all that there is, a hundred times.
const UNSENT_MAX: u64 = 8 * 1024 * 1024;

/// Longest extension message that it reads.
const EXTENDED_BYTES_MAX: u64 = 64 * 1024;

/// An attacker's host.
pub struct RawPeer {
    io: RawIo,
    attacker: Box<dyn Attacker>,
    finding: Finding,
    tick: Duration,
    info_hash: InfoHash,
    bitfield_bytes: u32,
    /// Connections that others opened.
    came: usize,
    sleep: Pin<Box<Sleep>>,
}

impl RawPeer {
    /// An attacker that listens from now on.
    ///
    /// # Panics
    /// When its host cannot listen: a bug in the plan.
    #[must_use]
    pub fn new(mut setup: RawSetup) -> RawPeer {
        setup
            .net
            .listen(setup.listen)
            .expect("an attacker's host listens on its own address");
        let mut habits = setup.attacker.habits();
        habits.identities = habits.identities.max(1);
        let complete = setup.attacker.claims_complete();
        let said = Said {
            info_hash: setup.info_hash,
            port: setup.listen.port(),
            left: if complete { 0 } else { setup.total },
        };
        let ids = (0..habits.identities).map(|_| PeerId::random(&mut setup.ids));
        RawPeer {
            io: RawIo {
                net: setup.net,
                conns: BTreeMap::new(),
                closed: Vec::new(),
                ids: ids.collect(),
                epoch: setup.epoch,
                from: setup.plan.from,
                until: setup.plan.until,
                observer: setup.observer,
            },
            attacker: setup.attacker,
            finding: Finding::new(habits, said, setup.announcer),
            // A tick of no time would stop the clock.
            tick: habits.tick.max(Duration::from_millis(1)),
            info_hash: setup.info_hash,
            bitfield_bytes: setup.bitfield_bytes,
            came: 0,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Attacks until dropped, or until the attacker is over.
    pub async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.attacker.over() {
                return Poll::Ready(());
            }
            let announcer = self.finding.announcer();
            if let Poll::Ready(event) = self.io.net.poll_event(cx) {
                if let Some(event) = announcer.on_event(&mut self.io.net, event) {
                    self.on_net(event);
                }
                continue;
            }
            if let Poll::Ready(told) = announcer.poll(&mut self.io.net, cx) {
                if let Told::Result(answer) = told {
                    let now = self.io.now();
                    if self.finding.on_announced(answer, now) {
                        self.attacker.on_announced(&mut self.io);
                    }
                    self.dial();
                }
                continue;
            }
            if self.sleep.as_mut().poll(cx).is_ready() {
                self.sleep.as_mut().reset(Instant::now() + self.tick);
                self.on_tick();
                continue;
            }
            self.finding.announcer().pump(&mut self.io.net, cx);
            return Poll::Pending;
        }
    }

    fn on_tick(&mut self) {
        let now = self.io.now();
        self.finding.announce(&mut self.io.net, &self.io.ids, now);
        self.attacker.on_tick(&mut self.io);
        self.dial();
    }

    fn dial(&mut self) {
        for conn in std::mem::take(&mut self.io.closed) {
            self.finding.forget(conn);
        }
        let (standing, now) = (self.io.conns.len(), self.io.now());
        self.finding.dial(&mut self.io.net, standing, now);
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Opened {
                conn,
                from,
                inbound,
            } => {
                let decoder = Decoder::new(self.bitfield_bytes, EXTENDED_BYTES_MAX);
                let identity = match self.finding.identity(conn).filter(|_| !inbound) {
                    Some(identity) => identity,
                    None => {
                        self.came += 1;
                        (self.came - 1) % self.io.ids.len()
                    }
                };
                let entry = Conn {
                    addr: from,
                    decoder,
                    inbound,
                    greeted: false,
                    unsent: 0,
                    identity,
                };
                self.io.conns.insert(conn, entry);
                self.attacker.on_connected(&mut self.io, conn);
                if !inbound {
                    self.greet(conn, None);
                }
            }
            NetEvent::Failed { conn, .. } => self.finding.forget(conn),
            NetEvent::Closed { conn, .. } => {
                self.finding.forget(conn);
                if self.io.conns.remove(&conn).is_some() {
                    self.attacker.on_gone(&mut self.io, conn);
                }
            }
            NetEvent::Data { conn, data } => self.on_data(conn, data),
            NetEvent::Room { conn, queued } => self.io.on_room(conn, queued),
            NetEvent::Datagram { .. } => {}
        }
    }

    fn greet(&mut self, conn: ConnId, theirs: Option<&Handshake>) {
        let Some(found) = self.io.conns.get(&conn) else {
            return;
        };
        let usual = Handshake {
            reserved: self.attacker.capabilities(),
            info_hash: self.info_hash,
            peer_id: self.io.ids[found.identity],
        };
        let bytes = self.attacker.greeting(&mut self.io, conn, &usual, theirs);
        self.io.send_bytes(conn, bytes);
    }

    fn on_data(&mut self, conn: ConnId, data: Chunk) {
        let Some(found) = self.io.conns.get_mut(&conn) else {
            return;
        };
        found.decoder.push(data);
        while let Some(found) = self.io.conns.get_mut(&conn) {
            if found.greeted {
                match found.decoder.next_message() {
                    Ok(None) => return,
                    Ok(Some(message)) => self.on_message(conn, message),
                    Err(_) => return self.io.close(conn),
                }
                continue;
            }
            match found.decoder.next_handshake() {
                Ok(None) => return,
                Ok(Some(theirs)) => {
                    found.greeted = true;
                    let inbound = found.inbound;
                    self.attacker.on_handshake(&mut self.io, conn, &theirs);
                    if inbound {
                        self.greet(conn, Some(&theirs));
                    }
                    // The attack may have ended it by now.
                    if self.io.conns.contains_key(&conn) {
                        self.attacker.on_open(&mut self.io, conn);
                    }
                }
                Err(_) => return self.io.close(conn),
            }
        }
    }

    fn on_message(&mut self, conn: ConnId, message: Message) {
        if let Message::Piece { data, .. } = &message {
            let from = self.io.conns.get(&conn).expect("it sent a message").addr;
            let len = u32::try_from(data.len()).expect("the codec bounds a block");
            self.io.tell(Attack::Received { from, len });
        }
        if matches!(message, Message::Request(_)) && self.io.unsent(conn) > UNSENT_MAX {
            return;
        }
        self.attacker.on_message(&mut self.io, conn, message);
    }
}
