//! Owns [`Torrent`]: the state machine of one torrent, its dispatch and its timers.
//!
//! Invariants: no I/O, no clock, no randomness of its own; a misbehaving peer becomes
//! [`Output::Close`], never an error or a panic; `poll_timeout` is never later than the next thing
//! that is due (it may be earlier: a spurious timer does nothing).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;

use crate::bits::BitSet;
use crate::config::{Audit, EngineConfig};
use crate::ids::{BlockRange, ConnId, InfoHash, PeerId, PieceIndex};
use crate::picker::{PiecePicker, Player};
use crate::time::Now;
use crate::tracker::schedule::Schedule;
use crate::wire::Message;

use super::bitfields::Bitfields;
use super::blame::{Blame, Sender};
use super::buffers::Buffers;
use super::choking::Choking;
use super::dial::DialBook;
use super::event::{CloseReason, Event};
use super::limits::RateLimiter;
use super::news::News;
use super::pace::{Pace, SeedsMet};
use super::peer::Peer;
use super::pex::Contacts;
use super::pieces::Pieces;
use super::roll::Roll;
use super::scratch::Scratch;
use super::web_seeds::WebSeeds;

pub use super::facts::{FetchFailure, Input, Output, Rngs, StorageFailure, TorrentSetup, Totals};

/// The session of one torrent.
#[repr(C, align(64))]
pub struct Torrent {
    // What most inputs look at lies together, before the rest.
    pub(super) next_due: Now,
    /// When it began: its ticks are counted from then.
    started: Now,
    pub(super) phase: Phase,
    pub(super) endgame: bool,
    pub(super) private: bool,
    /// What we have is hidden, and shown piece by piece (BEP 16).
    pub(super) super_seeding: bool,
    /// Its memory lies elsewhere than before.
    pub(super) moved: bool,
    /// Something is or was hidden from some peer.
    pub(super) hiding: bool,
    /// Blocks came back to the pool and not everybody was asked for them.
    pub(super) pool_grew: bool,
    /// Somebody does not read what it is sent.
    overflowing: bool,
    /// Some request at a web seed was taken back in this input.
    pub(super) fetch_released: bool,
    /// Slots of web seeds.
    pub(super) web_slots: u32,
    pub(super) audited: u32,
    pub(super) config: Arc<EngineConfig>,
    /// Web seeds first, each in a slot of its own; then the connections.
    pub(super) peers: Vec<Option<Peer>>,
    /// What is asked of all peers together.
    pub(super) roll: Roll,
    /// What each peer has; nothing where there is none, and for web seeds: see [`Torrent::has`].
    pub(super) bitfields: Bitfields,
    /// Some availability changed since the bitfields were last added up.
    pub(super) copies_changed: bool,
    pub(super) pieces: Pieces,
    pub(super) scratch: Scratch,
    /// By slot: whether something may be asked for there. True for some of which nothing can be had, never
    /// false for one that would give something.
    pub(super) askable: Vec<bool>,
    /// Requests open at each peer: a search through those of all looks at few peers.
    pub(super) asked: Vec<u32>,
    /// When something is due at each peer, or earlier: the timer looks at few peers.
    pub(super) due: Vec<Now>,
    pub(super) news: News,
    pub(super) connections: u32,
    pub(super) picker: Box<dyn PiecePicker>,
    /// Where the user's player is.
    pub(super) player: Player,
    /// The strategy had candidates and started nothing, in the present choice.
    pub(super) declined: bool,
    /// It did so, and is asked again then.
    pub(super) ask_declined: Now,
    pub(super) unwritten: u64,
    /// What was held at most.
    pub(super) buffers: Buffers,
    pub(super) upload: RateLimiter,
    pub(super) download: RateLimiter,
    pub(super) totals: Totals,
    /// Blocks that the disk was given and has not written, oldest first, and their bytes.
    pub(super) writing: VecDeque<BlockRange>,
    pub(super) web_seeds: WebSeeds,
    pub(super) blame: Blame,

    pub(super) info_hash: InfoHash,
    pub(super) peer_id: PeerId,
    pub(super) port: u16,
    /// What a tracker knows us by across changes of address (BEP 7); peers never see it.
    pub(super) key: u32,
    pub(super) dial: DialBook,
    /// The metainfo file's `info` value.
    pub(super) info_bytes: Bytes,
    /// The tracker that answered last.
    pub(super) told_by: Option<u32>,
    pub(super) contacts: Contacts,
    /// Our address as most peers see it, and by how many votes.
    pub(super) our_ip: Option<(IpAddr, u32)>,
    pub(super) schedule: Option<Schedule>,
    pub(super) choking: Choking,
    /// The slots that had the last turn under a limit.
    pub(super) served_last: usize,
    pub(super) asked_last: usize,
    /// No connection is given up for a dial before this.
    pub(super) next_turnover: Now,
    /// Somebody may be dialled although nobody is of use; how often that was so already.
    pub(super) exploring: bool,
    /// The next dial goes to an address that has no connection: a crowd at another made room for it.
    pub(super) elsewhere: bool,
    pub(super) pace: Pace,
    pub(super) seeds_met: SeedsMet,
    pub(super) explored: u32,
    pub(super) rngs: Rngs,
}

/// How often peers are looked at for what is due there, ns (libtorrent: once a second).
const TICK: u64 = 1_000_000_000;

/// Where a session is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Not started.
    Idle,
    /// In the swarm.
    Running,
    /// The disk failed: nothing is asked for or served.
    Failed,
    /// The user pauses: as if it had left, but for the way back.
    Paused {
        /// The disk failed before or since.
        failed: bool,
    },
    /// `stopped` is on its way.
    Leaving,
    /// Nothing more will happen.
    Left,
}

impl Torrent {
    /// A session that has not started; feed [`Input::Start`].
    #[must_use]
    pub fn new(setup: TorrentSetup) -> Torrent {
        let TorrentSetup {
            config,
            geometry,
            have,
            mut rngs,
            ..
        } = setup;
        let complete = have.is_full();
        let mut pieces = Pieces::new(geometry, have);
        pieces.set_padding(setup.padding);
        if let Some(priorities) = setup.priorities {
            pieces.prioritise(priorities);
        }
        let key = rngs.contacts.next_u32();
        let web_seeds = WebSeeds::new(setup.web_seeds, geometry.pieces, &config);
        let tracked = setup.tiers.iter().any(|trackers| *trackers > 0);
        let schedule =
            tracked.then(|| Schedule::new(&config, &setup.tiers, complete, &mut rngs.contacts));
        Torrent {
            info_hash: setup.info_hash,
            peer_id: setup.peer_id,
            port: setup.port,
            key,
            pieces,
            peers: (0..web_seeds.len()).map(|_| None).collect(),
            bitfields: Bitfields::new(web_seeds.len(), geometry.pieces),
            asked: vec![0; web_seeds.len()],
            askable: vec![false; web_seeds.len()],
            web_slots: u32::try_from(web_seeds.len()).expect("at most web_seeds_max"),
            fetch_released: false,
            hiding: false,
            moved: true,
            due: vec![Now::NEVER; web_seeds.len()],
            news: News::default(),
            web_seeds,
            roll: Roll::default(),
            connections: 0,
            dial: DialBook::default(),
            private: setup.private,
            super_seeding: complete && config.super_seeding,
            info_bytes: setup.info_bytes,
            told_by: None,
            contacts: Contacts::default(),
            our_ip: None,
            schedule,
            blame: Blame::with_banned(&setup.banned),
            choking: Choking::new(setup.choker, &config, &mut rngs.choker),
            writing: VecDeque::new(),
            unwritten: 0,
            buffers: Buffers::default(),
            upload: RateLimiter::default(),
            download: RateLimiter::default(),
            served_last: 0,
            asked_last: 0,
            pool_grew: false,
            picker: setup.picker,
            player: Player::new(config.play_rate, config.play_buffer, Now::START),
            declined: false,
            ask_declined: Now::NEVER,
            rngs,
            phase: Phase::Idle,
            endgame: false,
            totals: Totals::default(),
            copies_changed: false,
            audited: 0,
            overflowing: false,
            next_turnover: Now::START,
            exploring: false,
            elsewhere: false,
            pace: Pace::default(),
            seeds_met: SeedsMet::default(),
            explored: 0,
            next_due: Now::NEVER,
            started: Now::START,
            scratch: Scratch::NONE,
            config,
        }
    }

    /// Takes one fact. Never blocks, never fails. Drain [`Torrent::poll_output`] after each call.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Start => self.on_start(now),
            Input::Connected {
                conn,
                addr,
                inbound,
            } => self.on_connected(conn, addr, inbound, now),
            Input::ConnectFailed { addr } => {
                self.dial.failed(addr, now, &self.config);
                self.dial_failed(addr, now);
                self.find_peers(now);
            }
            Input::Gone { conn } => self.drop_peer(conn, CloseReason::ByPeer, now),
            Input::Handshake { conn, handshake } => self.on_handshake(conn, handshake, now),
            Input::Message { conn, message } => self.on_message(conn, message, now),
            Input::WireError { conn, error } => self.close(conn, CloseReason::Wire(error), now),
            Input::SendRoom { conn, queued } => self.on_send_room(conn, queued, now),
            Input::BlockRead {
                conn,
                range,
                result,
            } => {
                self.on_block_read(conn, range, result, now);
            }
            Input::BlockWritten { range } => self.on_block_written(range, now),
            Input::StorageFailed(failure) => self.on_storage_failure(failure, now),
            Input::PieceVerified(verified) => self.on_piece_verified(verified, now),
            Input::Announced(result) => self.on_announced(*result, now),
            // Of a private torrent only the trackers may name peers.
            Input::Peers(_) if self.private => {}
            Input::Peers(peers) => {
                self.dial.learn(&peers, self.peer_id, &self.config);
                self.find_peers(now);
            }
            Input::Prioritise(priorities) => self.on_prioritised(priorities, now),
            Input::PieceLost { piece } => self.on_piece_lost(piece, now),
            Input::WebSeedFound { seed, found } => self.on_web_seed_found(seed, found, now),
            Input::Fetched { fetch, range, data } => self.on_fetched(fetch, range, data, now),
            Input::FetchFailed { fetch, why } => self.on_fetch_failed(fetch, why, now),
            Input::Pause => self.on_pause(now),
            Input::Resume => self.on_resume(now),
            Input::Leave => self.on_leave(now),
            Input::Timer => self.on_timer(now),
        }
        if std::mem::take(&mut self.overflowing) {
            self.close_overflowing(now);
        }
        if std::mem::take(&mut self.fetch_released) {
            self.stop_idle_fetches(now);
        }
        self.tell_growth();
        let touched = !(self.scratch.touched.is_empty() && self.scratch.copies_touched.is_empty());
        if touched || self.config.audit == Audit::Full {
            self.audit_touched();
        }
    }

    /// The next decision.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.scratch.out.pop_front();
        if next.is_none() {
            // From its beginning again: that part of it may still be in the cache.
            self.scratch.out.clear();
        }
        next
    }

    /// Takes other lists for the turns that follow; whoever lends them does so between turns.
    pub(crate) fn swap_scratch(&mut self, scratch: &mut Scratch) {
        debug_assert!(self.scratch.is_done() && scratch.is_done());
        std::mem::swap(&mut self.scratch, scratch);
    }

    /// When [`Input::Timer`] is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Now {
        self.next_due
    }

    /// Whether every piece is verified.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.pieces.complete()
    }

    /// Whether every piece that the user wants is verified.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.pieces.finished()
    }

    /// Pieces verified.
    #[must_use]
    pub fn have(&self) -> &BitSet {
        &self.pieces.have
    }

    /// Bytes not yet verified, wanted or not.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.pieces.left()
    }

    /// Bytes of blocks that the disk was given and has not written.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What each remote peer gave and took.
    #[must_use]
    pub fn senders(&self) -> &[Sender] {
        self.blame.senders()
    }

    /// Connections with an accepted handshake.
    #[must_use]
    pub fn peers_connected(&self) -> usize {
        let peers = self.peers.iter().flatten();
        peers.filter(|p| p.active() && !p.web).count()
    }

    pub(super) fn push(&mut self, output: Output) {
        self.scratch.out.push_back(output);
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.scratch.out.push_back(Output::Emit(event));
    }

    /// Makes sure that the timer comes no later than this.
    pub(super) fn arm(&mut self, at: Now) {
        self.next_due = self.next_due.min(at);
    }

    /// Makes sure that the timer looks at this peer at the first tick from then on.
    pub(super) fn arm_peer(&mut self, slot: usize, at: Now) {
        let at = self.tick(at);
        self.due[slot] = self.due[slot].min(at);
        self.arm(at);
    }

    /// The first whole second since the start at or after a moment: what peers and addresses wait for is looked at
    /// together then, for many deadlines move on before they come.
    pub(super) fn tick(&self, at: Now) -> Now {
        let ticks = at.0.saturating_sub(self.started.0).div_ceil(TICK);
        Now(self.started.0.saturating_add(ticks.saturating_mul(TICK)))
    }

    /// Places for peers up to this slot.
    pub(super) fn make_slots(&mut self, slot: usize) {
        if self.peers.len() <= slot {
            if self.peers.capacity() <= slot {
                // Little by little: what is never used takes memory all the same.
                self.peers.reserve_exact(slot / 4 + 8);
            }
            self.peers.resize_with(slot + 1, || None);
            self.bitfields.make_slots(slot + 1);
            self.asked.resize(slot + 1, 0);
            self.askable.resize(slot + 1, false);
            self.due.resize(slot + 1, Now::NEVER);
        }
    }

    /// The peer behind a connection that still stands. No web seed is found by this.
    pub(super) fn slot(&self, conn: ConnId) -> Option<usize> {
        let slot = self.slot_of(conn)?;
        let peer = self.peers.get(slot)?.as_ref()?;
        (peer.conn == conn).then_some(slot)
    }

    pub(super) fn peer(&mut self, slot: usize) -> &mut Peer {
        self.peers[slot]
            .as_mut()
            .expect("the caller found a peer in this slot")
    }

    /// What the roll says of this peer changed.
    pub(super) fn note(&mut self, slot: usize) {
        self.roll.note(slot, self.peers[slot].as_ref());
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.peers.len()
    }

    /// Slots of peers whose handshake was accepted, and of web seeds in use.
    pub(super) fn is_active(&self, slot: usize) -> bool {
        self.peers[slot].as_ref().is_some_and(|p| p.active())
    }

    pub(super) fn send(&mut self, slot: usize, message: Message, now: Now) {
        if self.is_web(slot) {
            return self.tell_web_seed(slot, &message);
        }
        self.tell_news(slot, now);
        let backlog_max = self.config.send_backlog_max;
        let peer = self.peer(slot);
        peer.last_sent = now;
        peer.set_backlog(peer.backlog().saturating_add(message.wire_len()));
        let (conn, backlog) = (peer.conn, peer.backlog());
        self.buffers.unsent(backlog);
        self.push(Output::Send { conn, message });
        if backlog > backlog_max {
            // Found and closed at the end of this input.
            self.overflowing = true;
        }
    }

    fn on_start(&mut self, now: Now) {
        self.phase = Phase::Running;
        self.started = now;
        self.player = Player::new(self.config.play_rate, self.config.play_buffer, now);
        self.emit(Event::Started {
            have: self.pieces.have.count(),
        });
        self.choking.begin(now);
        self.arm(self.choking.next_round());
        self.wake_web_seeds(now);
        self.announce_if_due(now);
    }

    fn on_timer(&mut self, now: Now) {
        if now < self.next_due {
            return;
        }
        self.next_due = Now::NEVER;
        if matches!(self.phase, Phase::Idle | Phase::Left) {
            return;
        }
        // First, so that a connection that ends below does not arm the timer for them again.
        for addr in self.dial.overdue(now, &self.config) {
            self.push(Output::Abandon { addr });
            self.dial_failed(addr, now);
        }
        for slot in self.slots() {
            if self.due[slot] <= now {
                self.due[slot] = Now::NEVER;
                if self.peers[slot].is_some() {
                    self.peer_timers(slot, now);
                }
            }
        }
        let first = self.due.iter().min().copied();
        self.arm(first.unwrap_or(Now::NEVER));
        if self.phase == Phase::Running {
            if self.choking.next_round() <= now {
                self.choke_round(now);
                self.pex_round(now);
                self.super_seeding_round(now);
            }
            self.arm(self.choking.next_round());
            self.serve_again(now);
            self.ask_again(now);
        }
        self.find_peers(now);
    }

    /// Closes who does not read what it is sent.
    fn close_overflowing(&mut self, now: Now) {
        let max = self.config.send_backlog_max;
        let over = self.peers.iter().flatten().filter(|p| p.backlog() > max);
        let over: Vec<_> = over.map(|p| p.conn).collect();
        for conn in over {
            self.close(conn, CloseReason::Backlog, now);
        }
    }

    /// What is due at one peer, and when the next thing will be.
    fn peer_timers(&mut self, slot: usize, now: Now) {
        let config = &self.config;
        let peer = self.peers[slot].as_ref().expect("the caller looked");
        let conn = peer.conn;
        if peer.web {
            return self.request_timers(slot, now);
        }
        if !peer.active() {
            let limit = peer.since.after(config.handshake_timeout);
            if limit <= now {
                return self.close(conn, CloseReason::HandshakeTimeout, now);
            }
            return self.arm_peer(slot, limit);
        }
        let silence = peer.last_received.after(config.silence_timeout);
        if silence <= now {
            return self.close(conn, CloseReason::Silence, now);
        }
        let mut keepalive = peer.last_sent.after(config.keepalive_interval);
        if keepalive <= now {
            keepalive = now.after(config.keepalive_interval);
            self.send(slot, Message::KeepAlive, now);
        }
        self.arm_peer(slot, silence.min(keepalive));
        self.request_timers(slot, now);
    }

    /// The state of a piece or of its blocks changed.
    pub(super) fn touch(&mut self, piece: PieceIndex) {
        if self.config.audit != Audit::Off {
            self.scratch.touched.push(piece);
        }
    }

    /// The availability of a piece changed.
    pub(super) fn touch_copies(&mut self, piece: PieceIndex) {
        if self.config.audit != Audit::Off {
            self.scratch.copies_touched.push(piece);
            self.copies_changed = true;
        }
    }
}
