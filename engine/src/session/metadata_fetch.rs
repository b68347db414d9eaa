//! Owns [`MetadataFetch`]: how a peer that has only an info-hash gets the metainfo file's `info` value
//! from others (BEP 9), as a pure state machine with the border of [`super::torrent`].
//!
//! Invariants: no I/O, no clock, no randomness of its own; what is handed on has the info-hash as its
//! hash; a peer is banned on proof alone (`drafts`), and whoever is silent, refuses or lies about the
//! size delays nobody else for longer than the time of a copy; memory is bounded by
//! `metadata_drafts_max` copies of `metadata_bytes_max`, and `send_backlog_max` for who does not read.

mod drafts;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::config::EngineConfig;
use crate::ids::{ConnId, InfoHash, PeerId};
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, AnnounceRequest, PeerAddr};
use crate::tracker::schedule::Schedule;
use crate::wire::extension::{ExtendedHandshake, HANDSHAKE_ID};
use crate::wire::handshake::{EXTENSIONS, reserved};
use crate::wire::metadata::{METADATA_BLOCK_BYTES, METADATA_ID};
use crate::wire::pex::PEX_ID;
use crate::wire::{Handshake, Message};

use super::blame::{Blame, SenderId};
use super::connections::duplicate_of;
use super::dial::DialBook;
use super::event::{CloseReason, Event};
use super::extended::CLIENT;
use super::messages::CHATTER;
use super::peer::Peer;
use super::pex::Contacts;
use super::roll::Roll;
use super::torrent::{Input, Output};

use drafts::{DraftId, Drafts};

/// What is said to be missing while nobody knows (libtorrent: 16 KiB).
const LEFT_UNKNOWN: u64 = METADATA_BLOCK_BYTES as u64;

/// What a fetch is made of.
pub struct FetchSetup {
    /// Numbers and switches.
    pub config: EngineConfig,
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our id, also later in the torrent's session.
    pub peer_id: PeerId,
    /// Where we listen for peers.
    pub port: u16,
    /// How many trackers each tier has (BEP 12).
    pub tiers: Vec<u32>,
    /// Dialling and announcing.
    pub rng: ChaCha8Rng,
}

/// What a fetch leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The `info` value.
    pub info: Bytes,
    /// Peers that were told or met.
    pub peers: Vec<PeerAddr>,
    /// Peers that lied.
    pub banned: Vec<(SocketAddr, PeerId)>,
}

/// A peer that serves metadata, or says so.
#[derive(Debug)]
struct Source {
    /// Its id for `ut_metadata`.
    id: u8,
    /// Bytes of the `info` value, as it says.
    size: u32,
    draft: Option<DraftId>,
    /// What it is asked for, and since when.
    asked: Vec<(u32, Now)>,
    /// It is not asked before this.
    hold: Now,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Running,
    Leaving,
    Over,
}

/// The fetch of one `info` value. Takes [`Input`], gives [`Output`]; facts about content are none
/// of its own.
pub struct MetadataFetch {
    config: EngineConfig,
    info_hash: InfoHash,
    peer_id: PeerId,
    port: u16,
    key: u32,
    peers: Vec<Option<Peer>>,
    sources: BTreeMap<usize, Source>,
    /// Copies that came to nothing, by who took part: others have their turn first.
    tries: BTreeMap<SenderId, u32>,
    drafts: Drafts,
    roll: Roll,
    contacts: Contacts,
    connections: u32,
    dial: DialBook,
    blame: Blame,
    schedule: Option<Schedule>,
    rng: ChaCha8Rng,
    phase: Phase,
    next_due: Now,
    found: Option<Found>,
    /// Somebody has more unread than it may.
    overflowing: bool,
    out: VecDeque<Output>,
}

impl MetadataFetch {
    /// A fetch that has not started; feed [`Input::Start`].
    #[must_use]
    pub fn new(setup: FetchSetup) -> MetadataFetch {
        let mut rng = setup.rng;
        let key = rng.next_u32();
        let tracked = setup.tiers.iter().any(|trackers| *trackers > 0);
        let schedule = tracked.then(|| Schedule::new(&setup.config, &setup.tiers, false, &mut rng));
        MetadataFetch {
            info_hash: setup.info_hash,
            peer_id: setup.peer_id,
            port: setup.port,
            key,
            peers: Vec::new(),
            sources: BTreeMap::new(),
            tries: BTreeMap::new(),
            drafts: Drafts::new(setup.info_hash),
            roll: Roll::default(),
            contacts: Contacts::default(),
            connections: 0,
            dial: DialBook::default(),
            blame: Blame::default(),
            schedule,
            rng,
            phase: Phase::Idle,
            next_due: Now::NEVER,
            found: None,
            overflowing: false,
            out: VecDeque::new(),
            config: setup.config,
        }
    }

    /// Takes one fact. Never blocks, never fails. Drain [`MetadataFetch::poll_output`] after each call;
    /// after [`Output::Left`] there is nothing more to do.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Start => self.phase = Phase::Running,
            Input::Connected {
                conn,
                addr,
                inbound,
            } => self.on_connected(conn, addr, inbound, now),
            Input::ConnectFailed { addr } => {
                self.dial.failed(addr, now, &self.config);
                self.emit(Event::DialFailed { peer: addr });
            }
            Input::Gone { conn } => self.drop_peer(conn, CloseReason::ByPeer, now),
            Input::Handshake { conn, handshake } => self.on_handshake(conn, handshake, now),
            Input::Message { conn, message } => self.on_message(conn, message, now),
            Input::WireError { conn, error } => self.close(conn, CloseReason::Wire(error), now),
            Input::SendRoom { conn, queued } => {
                if let Some(slot) = self.slot(conn) {
                    self.peer(slot).set_backlog(queued);
                }
            }
            Input::Announced(result) => self.on_announced(*result, now),
            Input::Peers(peers) => self.dial.learn(&peers, self.peer_id, &self.config),
            Input::Leave => self.on_leave(now),
            Input::Timer if now < self.next_due => return,
            Input::Timer => self.on_timer(now),
            // Facts about content, of which nothing is known yet.
            Input::BlockRead { .. }
            | Input::BlockWritten { .. }
            | Input::StorageFailed(_)
            | Input::PieceVerified(_)
            | Input::Prioritise(_)
            | Input::PieceLost { .. }
            | Input::WebSeedFound { .. }
            | Input::Fetched { .. }
            | Input::FetchFailed { .. }
            | Input::Pause
            | Input::Resume => return,
        }
        self.close_overflowing(now);
        self.go_on(now);
    }

    /// The next decision.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Timer`] is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Now {
        self.next_due
    }

    /// What was found, once, after [`Output::Left`]; `None` when the user left before.
    pub fn take_found(&mut self) -> Option<Found> {
        self.found.take()
    }

    /// Connections with an accepted handshake.
    #[must_use]
    pub fn peers_connected(&self) -> usize {
        self.peers.iter().flatten().filter(|p| p.active()).count()
    }

    fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    fn emit(&mut self, event: Event) {
        self.push(Output::Emit(event));
    }

    fn slot(&self, conn: ConnId) -> Option<usize> {
        let slot = conn.slot as usize;
        let peer = self.peers.get(slot)?.as_ref()?;
        (peer.conn == conn).then_some(slot)
    }

    fn peer(&mut self, slot: usize) -> &mut Peer {
        self.peers[slot].as_mut().expect("the caller found a peer")
    }

    fn send(&mut self, slot: usize, message: Message, now: Now) {
        let backlog_max = self.config.send_backlog_max;
        let peer = self.peer(slot);
        peer.last_sent = now;
        peer.set_backlog(peer.backlog().saturating_add(message.wire_len()));
        let (conn, backlog) = (peer.conn, peer.backlog());
        self.push(Output::Send { conn, message });
        // Found and closed at the end of this input.
        self.overflowing |= backlog > backlog_max;
    }

    /// Closes who does not read what it is sent, such as a reject for each of its requests.
    fn close_overflowing(&mut self, now: Now) {
        if !std::mem::take(&mut self.overflowing) {
            return;
        }
        let max = self.config.send_backlog_max;
        let over = self.peers.iter().flatten().filter(|p| p.backlog() > max);
        let over: Vec<_> = over.map(|p| p.conn).collect();
        for conn in over {
            self.close(conn, CloseReason::Backlog, now);
        }
    }

    fn on_connected(&mut self, conn: ConnId, addr: SocketAddr, inbound: bool, now: Now) {
        if !inbound {
            self.dial.connected(addr);
        }
        let ip = addr.ip();
        let per_address = self.config.connections_per_address;
        let many = !ip.is_loopback() && self.roll.at(ip) >= per_address;
        let taken = self.connections + self.dial.dialling();
        let full = many || inbound && taken >= self.config.connections_max;
        let refused = self.config.ip_filter.refuses(ip) || self.blame.banned_addr(addr);
        if self.phase != Phase::Running || full || refused {
            if refused {
                self.dial.never(addr);
            }
            if !inbound {
                self.dial.ended(addr, false, now, &self.config);
            }
            return self.push(Output::Close { conn });
        }
        let slot = conn.slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize_with(slot + 1, || None);
        }
        self.peers[slot] = Some(Peer::new(conn, addr, inbound, now, &self.config));
        self.roll.note(slot, self.peers[slot].as_ref());
        self.connections += 1;
        if !inbound {
            self.greet(conn);
        }
    }

    fn greet(&mut self, conn: ConnId) {
        // Not the fast extension: it would have us say which pieces we have, of nobody knows how many.
        let handshake = Handshake {
            reserved: reserved(&[EXTENSIONS]),
            info_hash: self.info_hash,
            peer_id: self.peer_id,
        };
        self.push(Output::Handshake { conn, handshake });
    }

    fn on_handshake(&mut self, conn: ConnId, handshake: Handshake, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        let (addr, inbound) = (self.peer(slot).addr, self.peer(slot).inbound);
        let id = handshake.peer_id;
        let wrong = if handshake.info_hash != self.info_hash {
            Some(CloseReason::WrongTorrent)
        } else if id == self.peer_id {
            self.dial.never(addr);
            Some(CloseReason::SelfConnect)
        } else if !inbound && self.dial.told_id(addr).is_some_and(|told| told != id) {
            Some(CloseReason::WrongPeer)
        } else if !handshake.speaks(EXTENSIONS) {
            Some(CloseReason::NoMetadata)
        } else {
            None
        };
        if let Some(why) = wrong {
            return self.close(conn, why, now);
        }
        if !inbound {
            self.dial.seen_id(addr, id);
        }
        let peers = &self.peers;
        let connected = |s| peers.iter().flatten().any(|p| p.sender == s);
        let max = self.config.senders_max;
        let Some(sender) = self.blame.sender(addr, id, max, connected) else {
            return self.close(conn, CloseReason::Full, now);
        };
        if self.blame.banned(sender) {
            self.dial.never(addr);
            return self.close(conn, CloseReason::Banned, now);
        }
        if inbound {
            self.greet(conn);
        }
        let by_address = self.config.ids_by_address;
        let (peers, me) = (&self.peers, self.peer_id);
        if let Some(loser) = duplicate_of(peers, &self.roll, slot, id, me, by_address) {
            self.close(loser, CloseReason::Duplicate, now);
            if loser == conn {
                return;
            }
        }
        let peer = self.peer(slot);
        peer.join(id);
        peer.sender = sender;
        peer.last_received = now;
        peer.extended = true;
        let peer = self.peers[slot].as_ref().expect("it shook hands");
        self.roll.note(slot, Some(peer));
        self.contacts.add(slot, peer);
        self.emit(Event::PeerJoined {
            peer: addr,
            inbound,
        });
        let introduction = ExtendedHandshake {
            pex: self.config.pex.then_some(PEX_ID),
            metadata: Some(METADATA_ID),
            port: Some(self.port),
            client: Some(CLIENT.to_owned()),
            your_ip: Some(addr.ip()),
            ..ExtendedHandshake::default()
        };
        self.send(slot, introduction.message(), now);
    }

    fn on_message(&mut self, conn: ConnId, message: Message, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        let rate = self.config.chatter_max;
        let peer = self.peer(slot);
        if !peer.active() {
            let why = CloseReason::Protocol("a message before the handshake");
            return self.close(conn, why, now);
        }
        peer.last_received = now;
        // A `have` may be news, and many may come in place of a bitfield.
        let counts = !matches!(message, Message::Have(_));
        let legal = match message {
            _ if counts && !peer.bear_chatter(rate, now) => Err(CHATTER),
            Message::Extended { id, payload } => match id {
                HANDSHAKE_ID => self.on_introduction(slot, &payload),
                METADATA_ID => self.on_metadata(slot, &payload, now),
                PEX_ID if self.config.pex => self.on_pex(slot, &payload, now),
                _ => Ok(()),
            },
            // About content, of which nothing is known yet.
            _ => Ok(()),
        };
        if let Err(what) = legal {
            self.close(conn, CloseReason::Protocol(what), now);
        }
    }

    /// All connections end, and nothing is asked any more.
    fn end(&mut self, now: Now) {
        let open: Vec<_> = self.peers.iter().flatten().map(|p| p.conn).collect();
        for conn in open {
            self.close(conn, CloseReason::Leaving, now);
        }
        for addr in self.dial.dialled() {
            self.push(Output::Abandon { addr });
        }
        self.phase = Phase::Over;
        self.push(Output::Left);
    }

    /// The user leaves before anything was found.
    fn on_leave(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Idle | Phase::Running) {
            return;
        }
        self.phase = Phase::Leaving;
        self.emit(Event::Leaving);
        let open: Vec<_> = self.peers.iter().flatten().map(|p| p.conn).collect();
        for conn in open {
            self.close(conn, CloseReason::Leaving, now);
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.stop();
        }
        self.leave_if_told(now);
    }

    fn leave_if_told(&mut self, now: Now) {
        let told = self
            .schedule
            .as_ref()
            .is_none_or(Schedule::stopped_delivered);
        if self.phase == Phase::Leaving && told {
            self.end(now);
        }
    }

    fn close(&mut self, conn: ConnId, why: CloseReason, now: Now) {
        if self.slot(conn).is_some() {
            self.push(Output::Close { conn });
            self.drop_peer(conn, why, now);
        }
    }

    fn drop_peer(&mut self, conn: ConnId, why: CloseReason, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        self.drop_source(slot);
        let peer = self.peers[slot].take().expect("just found");
        self.roll.note(slot, None);
        self.contacts.gone(slot, &peer);
        self.dial.left();
        self.connections -= 1;
        if !peer.inbound {
            self.dial.ended(peer.addr, false, now, &self.config);
        }
        self.emit(Event::PeerGone {
            peer: peer.addr,
            why,
        });
    }
}

mod sources;
mod timing;

#[cfg(test)]
mod tests;
