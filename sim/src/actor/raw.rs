//! Owns what an attack is told and what it may do: [`Attacker`], [`RawIo`] and [`Habits`]. Its host is
//! [`RawPeer`]: it announces, dials, accepts, shakes hands and turns bytes into messages, without anything of
//! the engine's session.
//!
//! Invariant: what an attacker is told to do it does with raw bytes over the network seam; the
//! payload it moves is told to the observer, so that bytes can be accounted for.

mod finding;
mod peer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use skep_engine::node::announcer::Announcer;
use skep_engine::node::network::{CloseHow, Network};
use skep_engine::wire::{Decoder, Handshake, Message};
use skep_engine::{ConnId, InfoHash, Now, PeerId};
use tokio::time::Instant;

use super::AttackObserver;
use crate::network::HostNet;
use crate::scenario::plan::AttackPlan;
use crate::trace::Attack;

pub use peer::RawPeer;

/// An attack: what it does with handshakes, messages and time. All but two methods have a default: what an
/// ordinary client would do.
pub trait Attacker {
    /// Whether it tells the tracker that nothing is missing.
    fn claims_complete(&self) -> bool;
    /// The capability bits of its handshakes (BEP 4).
    fn capabilities(&self) -> [u8; 8] {
        [0; 8]
    }
    /// How it finds others and when it wakes up. Asked once, at its start.
    fn habits(&self) -> Habits {
        Habits::default()
    }
    /// A connection stands; nobody shook hands yet.
    fn on_connected(&mut self, _io: &mut RawIo, _conn: ConnId) {}
    /// What it sends as its handshake: at once where it dialled, as the answer to `theirs` where it was
    /// dialled. No bytes: it stays silent.
    fn greeting(
        &mut self,
        _io: &mut RawIo,
        _conn: ConnId,
        usual: &Handshake,
        _theirs: Option<&Handshake>,
    ) -> Bytes {
        Bytes::copy_from_slice(&usual.encode())
    }
    /// The other end shook hands: who it says it is.
    fn on_handshake(&mut self, _io: &mut RawIo, _conn: ConnId, _theirs: &Handshake) {}
    /// Both ends shook hands.
    fn on_open(&mut self, io: &mut RawIo, conn: ConnId);
    /// A message came.
    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message);
    /// A connection that stood is gone, whether anybody shook hands on it or not. Not called for those that
    /// the attack closes itself.
    fn on_gone(&mut self, _io: &mut RawIo, _conn: ConnId) {}
    /// A tracker answered an announce.
    fn on_announced(&mut self, _io: &mut RawIo) {}
    /// The time of [`Habits::tick`] has passed.
    fn on_tick(&mut self, _io: &mut RawIo) {}
    /// Whether it has what it came for and leaves, without a word to the tracker.
    fn over(&self) -> bool {
        false
    }
}

/// How an attacker finds others, and when it wakes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Habits {
    /// Time between two [`Attacker::on_tick`]; it also dials and announces only then.
    pub tick: Duration,
    /// Shortest time between two dials to one address.
    pub redial: Duration,
    /// Whether it dials at all: without, it waits for others to come.
    pub dials: bool,
    /// Connections that it keeps.
    pub connections_max: usize,
    /// Peer ids that it has. Each announces itself, and each has a connection of its own to every address.
    pub identities: u32,
    /// Time between announces of each identity; `None`: what the tracker says.
    pub announce: Option<Duration>,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            tick: Duration::from_secs(5),
            redial: Duration::from_secs(30),
            dials: true,
            connections_max: 200,
            identities: 1,
            announce: None,
        }
    }
}

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
    /// Where its ids come from.
    pub ids: ChaCha8Rng,
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
    identity: usize,
}

/// What an attack may do.
pub struct RawIo {
    net: HostNet,
    conns: BTreeMap<ConnId, Conn>,
    /// Connections that the attacker closed: their addresses may be dialled again.
    closed: Vec<ConnId>,
    ids: Vec<PeerId>,
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

    /// The connections that stand, with or without a handshake.
    #[must_use]
    pub fn standing(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    /// The other end of a connection; nothing when it is gone.
    #[must_use]
    pub fn addr(&self, conn: ConnId) -> Option<SocketAddr> {
        self.conns.get(&conn).map(|found| found.addr)
    }

    /// Whether the other end opened it.
    #[must_use]
    pub fn inbound(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|found| found.inbound)
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
        if let Some(found) = self.conns.get_mut(&conn).filter(|_| !bytes.is_empty()) {
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

    fn on_room(&mut self, conn: ConnId, queued: u64) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.unsent = queued;
        }
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
