//! Owns [`MetadataFetch`]: how a peer that has only an info-hash gets the metainfo file's `info` value
//! from others (BEP 9), as a pure state machine with the border of [`super::torrent`].
//!
//! Invariants: no I/O, no clock, no randomness of its own; what is handed on has the info-hash as its
//! hash; a peer is banned on proof alone ([`drafts`]), and whoever is silent, refuses or lies about the
//! size delays nobody else for longer than the time of a copy; memory is bounded by
//! `metadata_drafts_max` copies of `metadata_bytes_max`.

mod drafts;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::config::EngineConfig;
use crate::ids::{ConnId, InfoHash, PeerId, PieceIndex};
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, AnnounceRequest, PeerAddr};
use crate::tracker::schedule::Schedule;
use crate::wire::extension::{ExtendedHandshake, HANDSHAKE_ID};
use crate::wire::handshake::{EXTENSIONS, reserved};
use crate::wire::metadata::{METADATA_BLOCK_BYTES, METADATA_ID, MetadataMessage, metadata_block};
use crate::wire::pex::PEX_ID;
use crate::wire::{Handshake, Message};

use super::blame::{Blame, SenderId};
use super::connections::duplicate_of;
use super::dial::{DialBook, Neighbours};
use super::event::{CloseReason, Event};
use super::extended::CLIENT;
use super::peer::Peer;
use super::pex::Hearing;
use super::torrent::{Input, Output};

use drafts::{DraftId, Drafts, Whole};

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
    peers: Vec<Option<Box<Peer>>>,
    sources: BTreeMap<usize, Source>,
    /// Copies that came to nothing, by who took part: others have their turn first.
    tries: BTreeMap<SenderId, u32>,
    drafts: Drafts,
    connections: u32,
    dial: DialBook,
    blame: Blame,
    schedule: Option<Schedule>,
    rng: ChaCha8Rng,
    phase: Phase,
    next_due: Now,
    found: Option<Found>,
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
            connections: 0,
            dial: DialBook::default(),
            blame: Blame::default(),
            schedule,
            rng,
            phase: Phase::Idle,
            next_due: Now::NEVER,
            found: None,
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
                    self.peer(slot).backlog = queued;
                }
            }
            Input::Announced(result) => self.on_announced(result, now),
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
            | Input::Resume => return,
        }
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

    fn arm(&mut self, at: Now) {
        self.next_due = self.next_due.min(at);
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
        let peer = self.peer(slot);
        peer.last_sent = now;
        let conn = peer.conn;
        self.push(Output::Send { conn, message });
    }

    fn on_connected(&mut self, conn: ConnId, addr: SocketAddr, inbound: bool, now: Now) {
        if !inbound {
            self.dial.connected(addr);
        }
        let ip = addr.ip();
        let per_address = self.config.connections_per_address;
        let many = !ip.is_loopback() && Neighbours(&self.peers).at(ip) >= per_address;
        let taken = self.connections + self.dial.dialling();
        let full = many || inbound && taken >= self.config.connections_max;
        let banned = self.blame.banned_addr(addr);
        if self.phase != Phase::Running || full || banned {
            if banned {
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
        self.peers[slot] = Some(Box::new(Peer::new(conn, addr, inbound, now, &self.config)));
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
        if let Some(loser) = duplicate_of(&self.peers, slot, id, self.peer_id) {
            self.close(loser, CloseReason::Duplicate, now);
            if loser == conn {
                return;
            }
        }
        let peer = self.peer(slot);
        peer.id = Some(id);
        peer.sender = sender;
        peer.last_received = now;
        peer.extended = true;
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
        let peer = self.peer(slot);
        if !peer.active() {
            let why = CloseReason::Protocol("a message before the handshake");
            return self.close(conn, why, now);
        }
        peer.last_received = now;
        let Message::Extended { id, payload } = message else {
            // About content, of which nothing is known yet.
            return;
        };
        let legal = match id {
            HANDSHAKE_ID => self.on_introduction(slot, &payload, now),
            METADATA_ID => self.on_metadata(slot, &payload, now),
            PEX_ID if self.config.pex => self.on_pex(slot, &payload, now),
            _ => Ok(()),
        };
        if let Err(what) = legal {
            self.close(conn, CloseReason::Protocol(what), now);
        }
    }

    fn on_introduction(
        &mut self,
        slot: usize,
        payload: &[u8],
        _now: Now,
    ) -> Result<(), &'static str> {
        let Ok(said) = ExtendedHandshake::read(payload) else {
            return Err("an extended handshake that is not bencode");
        };
        let peer = self.peer(slot);
        peer.said.port = said.port.or(peer.said.port);
        let addr = peer.addr;
        if let Some(client) = said.client {
            self.emit(Event::ClientNamed { peer: addr, client });
        }
        let known = self.sources.get(&slot).map(|s| (s.id, s.size));
        let id = said.metadata.or(known.map(|(id, _)| id)).unwrap_or(0);
        let size = said.metadata_size.or(known.map(|(_, size)| size));
        let size = size.unwrap_or(0);
        let possible = size > 0 && u64::from(size) <= self.config.metadata_bytes_max;
        match self.sources.get_mut(&slot) {
            Some(source) if source.size == size && id != 0 => source.id = id,
            Some(_) => self.drop_source(slot),
            None => {}
        }
        if id != 0 && possible {
            self.sources.entry(slot).or_insert(Source {
                id,
                size,
                draft: None,
                asked: Vec::new(),
                hold: Now::START,
            });
        }
        Ok(())
    }

    fn on_pex(&mut self, slot: usize, payload: &[u8], now: Now) -> Result<(), &'static str> {
        let hearing = Hearing {
            peers: &mut self.peers,
            dial: &mut self.dial,
            blame: &self.blame,
            config: &self.config,
            me: None,
        };
        let event = hearing.hear(slot, payload, now)?;
        self.emit(event);
        Ok(())
    }

    fn on_metadata(&mut self, slot: usize, payload: &Bytes, now: Now) -> Result<(), &'static str> {
        let message = MetadataMessage::read(payload);
        let message = message.map_err(|_| "a metadata message that is not bencode")?;
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        match message {
            None => Ok(()),
            Some(MetadataMessage::Request { block }) => {
                let reject = MetadataMessage::Reject { block }.message(source.id);
                self.send(slot, reject, now);
                Ok(())
            }
            Some(MetadataMessage::Reject { block }) => {
                if source.asked.iter().any(|(asked, _)| *asked == block) {
                    self.pause_source(slot, now);
                }
                Ok(())
            }
            Some(MetadataMessage::Data { block, total, data }) => {
                let Some(at) = source.asked.iter().position(|(asked, _)| *asked == block) else {
                    // Late: somebody else was asked, or nobody.
                    return Ok(());
                };
                let (size, draft) = (source.size, source.draft);
                let wanted = metadata_block(size, block).map(|range| range.len());
                if total != size || wanted != Some(data.len()) {
                    return Err("a block of metadata of another size than it said");
                }
                source.asked.swap_remove(at);
                let draft = draft.expect("a source that is asked takes part in a copy");
                let peer = self.peer(slot);
                let (addr, sender) = (peer.addr, peer.sender);
                self.emit(Event::MetadataReceived {
                    peer: addr,
                    block,
                    total,
                });
                if let Some(whole) = self.drafts.take(draft, sender, block, data) {
                    self.leave_draft(draft);
                    self.on_whole(whole, size, now);
                }
                Ok(())
            }
        }
    }

    /// Nobody takes part in a copy any more.
    fn leave_draft(&mut self, draft: DraftId) {
        for source in self.sources.values_mut().filter(|s| s.draft == Some(draft)) {
            source.draft = None;
            source.asked.clear();
        }
    }

    fn on_whole(&mut self, whole: Whole, total: u32, now: Now) {
        match whole {
            Whole::Bad(senders) => {
                self.emit(Event::MetadataFailed {
                    total,
                    senders: u32::try_from(senders.len()).expect("at most one per block"),
                });
                for sender in &senders {
                    *self.tries.entry(*sender).or_default() += 1;
                }
                if senders.len() == 1 {
                    senders.into_iter().for_each(|liar| self.ban(liar, now));
                }
            }
            Whole::Good(info, guilty) => {
                guilty.into_iter().for_each(|liar| self.ban(liar, now));
                self.emit(Event::MetadataComplete { total });
                let met = self.dial.worth();
                let banned = self.blame.senders().iter().filter(|s| s.banned);
                self.found = Some(Found {
                    info,
                    peers: met,
                    banned: banned.map(|s| (s.addr, s.id)).collect(),
                });
                self.end(now);
            }
        }
    }

    /// A peer is proven to have sent something else: it is spoken to no more.
    fn ban(&mut self, liar: SenderId, now: Now) {
        if !self.blame.ban(liar) {
            return;
        }
        let addr = self.blame.senders()[liar.0 as usize].addr;
        // The whole value counts as its first piece.
        self.emit(Event::Banned {
            peer: addr,
            piece: PieceIndex(0),
        });
        self.dial.never(addr);
        let its = self.peers.iter().flatten().filter(|p| p.sender == liar);
        let its: Vec<_> = its.map(|p| (p.conn, p.addr)).collect();
        for (conn, addr) in its {
            self.close(conn, CloseReason::Banned, now);
            self.dial.never(addr);
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
        self.connections -= 1;
        if !peer.inbound {
            self.dial.ended(peer.addr, false, now, &self.config);
        }
        self.emit(Event::PeerGone {
            peer: peer.addr,
            why,
        });
    }

    /// A peer serves nothing any more: what it was asked for is asked of others. A copy of its own is
    /// given up.
    fn drop_source(&mut self, slot: usize) {
        let Some(source) = self.sources.remove(&slot) else {
            return;
        };
        let Some(draft) = source.draft else { return };
        for (block, _) in &source.asked {
            self.drafts.release(draft, *block);
        }
        if !self.sources.values().any(|s| s.draft == Some(draft)) {
            self.drafts.forget(draft);
        }
    }

    /// A source did not answer, or refused: others are asked for a while.
    fn pause_source(&mut self, slot: usize, now: Now) {
        let hold = now.after(self.config.metadata_timeout);
        let Some(mut source) = self.sources.remove(&slot) else {
            return;
        };
        if let Some(draft) = source.draft {
            for (block, _) in source.asked.drain(..) {
                self.drafts.release(draft, block);
            }
        }
        source.hold = hold;
        self.sources.insert(slot, source);
        self.arm(hold);
    }
}

mod timing;

#[cfg(test)]
mod tests;
