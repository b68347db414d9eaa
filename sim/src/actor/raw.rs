//! Owns what all attackers share: a host that announces, dials, accepts, shakes hands and turns
//! bytes into messages, without anything of the engine's session.
//!
//! Invariant: what an attacker is told to do it does with raw messages over the network seam; the
//! payload it moves is told to the observer, so that bytes can be accounted for.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use skep_engine::node::announcer::{Announcer, Told};
use skep_engine::node::network::{CloseHow, NetEvent, Network};
use skep_engine::tracker::announce::{
    AnnounceEvent, AnnounceFailure, AnnounceRequest, Answer, Question,
};
use skep_engine::wire::{Chunk, Decoder, Handshake, Message};
use skep_engine::{ConnId, InfoHash, Now, PeerId};
use tokio::time::{Instant, Sleep};

use super::AttackObserver;
use crate::network::HostNet;
use crate::scenario::plan::AttackPlan;
use crate::trace::Attack;

/// An attack: what it does with messages.
pub trait Attacker {
    /// Whether it tells the tracker that nothing is missing.
    fn claims_complete(&self) -> bool;
    /// The capability bits of its handshakes (BEP 4).
    fn capabilities(&self) -> [u8; 8] {
        [0; 8]
    }
    /// A connection shook hands.
    fn on_open(&mut self, io: &mut RawIo, conn: ConnId);
    /// A message came.
    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message);
    /// A connection is gone.
    fn on_gone(&mut self, _io: &mut RawIo, _conn: ConnId) {}
    /// Time between its ticks.
    fn period(&self) -> Duration {
        TICK
    }
    /// Its period has passed.
    fn on_tick(&mut self, _io: &mut RawIo) {}
    /// Whether it has what it came for and leaves, without a word to the tracker.
    fn over(&self) -> bool {
        false
    }
}

/// Time between ticks of an attacker that names no period.
const TICK: Duration = Duration::from_secs(5);
/// Time before an address that is not connected is dialled again.
const REDIAL: Duration = Duration::from_secs(30);
/// Time between announces when the tracker names none, or a failure.
const ANNOUNCE: Duration = Duration::from_secs(60);
/// Connections that an attacker keeps.
const CONNECTIONS_MAX: usize = 200;
/// Longest extension message that it reads.
const EXTENDED_BYTES_MAX: u64 = 64 * 1024;

/// What an attacker is.
pub struct RawSetup {
    /// Its network.
    pub net: HostNet,
    /// Its attack and when it is active.
    pub plan: AttackPlan,
    /// The attack itself.
    pub attacker: Box<dyn Attacker>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its id.
    pub peer_id: PeerId,
    /// Bytes of the content, which a leecher says are missing.
    pub total: u64,
    /// Bytes of a bitfield.
    pub bitfield_bytes: u32,
    /// Its talk with the trackers.
    pub announcer: Announcer,
    /// The start of the run.
    pub epoch: Instant,
    /// Who hears of what it does.
    pub observer: AttackObserver,
}

/// One connection.
struct Conn {
    addr: SocketAddr,
    decoder: Decoder,
    inbound: bool,
    greeted: bool,
    /// Bytes that the network has not sent yet.
    unsent: u64,
}

/// An address from the tracker.
#[derive(Clone, Copy)]
struct Contact {
    conn: Option<ConnId>,
    next: Now,
}

/// What an attack may do.
pub struct RawIo {
    net: HostNet,
    conns: BTreeMap<ConnId, Conn>,
    /// Connections that the attacker closed: their addresses may be dialled again.
    closed: Vec<ConnId>,
    epoch: Instant,
    from: Now,
    until: Now,
    observer: AttackObserver,
}

impl RawIo {
    /// The moment.
    #[must_use]
    pub fn now(&self) -> Now {
        Now::START.after(Instant::now().duration_since(self.epoch))
    }

    /// Whether the attack is on: between its `from` and `until`.
    #[must_use]
    pub fn active(&self) -> bool {
        (self.from..self.until).contains(&self.now())
    }

    /// Sends a message.
    pub fn send(&mut self, conn: ConnId, message: &Message) {
        if let Message::Piece { data, .. } = message {
            let len = u32::try_from(data.len()).expect("an attacker's block is bounded");
            self.tell_sent(conn, len);
        }
        let mut head = BytesMut::new();
        let block = message.encode_head(&mut head);
        self.send_bytes(conn, head.freeze());
        if let Some(block) = block {
            self.send_bytes(conn, block);
        }
    }

    /// Sends bytes, be they whole messages or not. What payload they carry is told by
    /// [`RawIo::tell_sent`].
    pub fn send_bytes(&mut self, conn: ConnId, bytes: Bytes) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.unsent += bytes.len() as u64;
            self.net.send(conn, bytes);
        }
    }

    /// Tells the observer that so much payload was sent on a connection.
    pub fn tell_sent(&self, conn: ConnId, len: u32) {
        if let Some(found) = self.conns.get(&conn) {
            (self.observer)(Attack::Sent {
                to: found.addr,
                len,
            });
        }
    }

    /// Bytes sent on a connection that are still with the network of this host.
    #[must_use]
    pub fn unsent(&self, conn: ConnId) -> u64 {
        self.conns.get(&conn).map_or(0, |found| found.unsent)
    }

    /// Tells the observer.
    pub fn tell(&self, what: Attack) {
        (self.observer)(what);
    }

    /// Closes a connection.
    pub fn close(&mut self, conn: ConnId) {
        if self.conns.remove(&conn).is_some() {
            self.net.close(conn, CloseHow::Finish);
            self.closed.push(conn);
        }
    }

    /// Closes every connection.
    pub fn close_all(&mut self) {
        for conn in std::mem::take(&mut self.conns).into_keys() {
            self.net.close(conn, CloseHow::Finish);
            self.closed.push(conn);
        }
    }
}

/// An attacker's host.
pub struct RawPeer {
    io: RawIo,
    attacker: Box<dyn Attacker>,
    announcer: Announcer,
    /// The tracker that it asks; the next one after a failure.
    tracker: u32,
    announced: bool,
    next_announce: Now,
    contacts: BTreeMap<SocketAddr, Contact>,
    handshake: Handshake,
    port: u16,
    total: u64,
    bitfield_bytes: u32,
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
        RawPeer {
            io: RawIo {
                net: setup.net,
                conns: BTreeMap::new(),
                closed: Vec::new(),
                epoch: setup.epoch,
                from: setup.plan.from,
                until: setup.plan.until,
                observer: setup.observer,
            },
            handshake: Handshake {
                reserved: setup.attacker.capabilities(),
                info_hash: setup.info_hash,
                peer_id: setup.peer_id,
            },
            attacker: setup.attacker,
            announcer: setup.announcer,
            tracker: 0,
            announced: false,
            next_announce: Now::START,
            contacts: BTreeMap::new(),
            port: setup.listen.port(),
            total: setup.total,
            bitfield_bytes: setup.bitfield_bytes,
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
            if let Poll::Ready(event) = self.io.net.poll_event(cx) {
                if let Some(event) = self.announcer.on_event(&mut self.io.net, event) {
                    self.on_net(event);
                }
                continue;
            }
            if let Poll::Ready(told) = self.announcer.poll(&mut self.io.net, cx) {
                if let Told::Result(answer) = told {
                    self.on_announced(answer);
                }
                continue;
            }
            if self.sleep.as_mut().poll(cx).is_ready() {
                let next = Instant::now() + self.attacker.period();
                self.sleep.as_mut().reset(next);
                self.on_tick();
                continue;
            }
            self.announcer.pump(&mut self.io.net, cx);
            return Poll::Pending;
        }
    }

    fn on_tick(&mut self) {
        let now = self.io.now();
        if self.next_announce <= now && self.announcer.idle() {
            self.announce();
        }
        self.attacker.on_tick(&mut self.io);
        self.dial(now);
    }

    fn announce(&mut self) {
        let complete = self.attacker.claims_complete();
        let request = AnnounceRequest {
            info_hash: self.handshake.info_hash,
            peer_id: self.handshake.peer_id,
            port: self.port,
            uploaded: 0,
            downloaded: 0,
            left: if complete { 0 } else { self.total },
            event: if self.announced {
                AnnounceEvent::Periodic
            } else {
                AnnounceEvent::Started
            },
            wanted: 200,
            key: 0,
            tracker_id: None,
            compact: true,
        };
        let question = Question::Announce(Box::new(request));
        self.announcer.ask(&mut self.io.net, self.tracker, question);
    }

    fn on_announced(&mut self, answer: Result<Answer, AnnounceFailure>) {
        let now = self.io.now();
        let interval = match answer {
            Ok(Answer::Announced(reply)) => {
                self.announced = true;
                for peer in &reply.peers {
                    let fresh = Contact {
                        conn: None,
                        next: now,
                    };
                    self.contacts.entry(peer.addr).or_insert(fresh);
                }
                reply.interval.unwrap_or(ANNOUNCE)
            }
            Ok(Answer::Scraped(_)) => ANNOUNCE,
            Err(_) => {
                let trackers = u32::try_from(self.announcer.trackers()).unwrap_or(1);
                self.tracker = (self.tracker + 1) % trackers.max(1);
                self.announced = false;
                // The next one at once, the first again after a pause.
                if self.tracker == 0 {
                    ANNOUNCE
                } else {
                    Duration::ZERO
                }
            }
        };
        self.next_announce = now.after(interval);
        self.dial(now);
    }

    fn dial(&mut self, now: Now) {
        for conn in std::mem::take(&mut self.io.closed) {
            self.forget(conn);
        }
        for (addr, contact) in &mut self.contacts {
            let standing = self.io.conns.len();
            if contact.conn.is_none() && contact.next <= now && standing < CONNECTIONS_MAX {
                contact.conn = Some(self.io.net.connect(*addr));
                contact.next = now.after(REDIAL);
            }
        }
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Opened {
                conn,
                from,
                inbound,
            } => {
                let decoder = Decoder::new(self.bitfield_bytes, EXTENDED_BYTES_MAX);
                let entry = Conn {
                    addr: from,
                    decoder,
                    inbound,
                    greeted: false,
                    unsent: 0,
                };
                self.io.conns.insert(conn, entry);
                if !inbound {
                    self.greet(conn);
                }
            }
            NetEvent::Failed { conn, .. } => self.forget(conn),
            NetEvent::Closed { conn, .. } => {
                self.forget(conn);
                if self.io.conns.remove(&conn).is_some_and(|c| c.greeted) {
                    self.attacker.on_gone(&mut self.io, conn);
                }
            }
            NetEvent::Data { conn, data } => self.on_data(conn, data),
            NetEvent::Room { conn, queued } => {
                if let Some(found) = self.io.conns.get_mut(&conn) {
                    found.unsent = queued;
                }
            }
            NetEvent::Datagram { .. } => {}
        }
    }

    fn forget(&mut self, conn: ConnId) {
        let dialled = self.contacts.values_mut().find(|c| c.conn == Some(conn));
        if let Some(contact) = dialled {
            contact.conn = None;
        }
    }

    fn greet(&mut self, conn: ConnId) {
        self.io
            .net
            .send(conn, Bytes::copy_from_slice(&self.handshake.encode()));
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
                Ok(Some(_)) => {
                    found.greeted = true;
                    if found.inbound {
                        self.greet(conn);
                    }
                    self.attacker.on_open(&mut self.io, conn);
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
        self.attacker.on_message(&mut self.io, conn, message);
    }
}
