//! Owns the driver of the session's tests: one session, its disk and its clock.
//!
//! Invariants: every input is audited in full, and after each one nobody has more slots than
//! there are; the clock jumps to what is due next, and a timer that was served is never due again
//! at once. One file per behaviour.

mod blame;
mod choking;
mod crowds;
mod dials;
mod disk;
mod doubt;
mod download;
mod extended;
mod fast;
mod gifts;
mod limits;
mod news;
mod pair;
mod pause;
mod peers;
mod pex;
mod priorities;
mod random;
mod refusals;
mod speakers;
mod strategies;
mod super_seeding;
mod swarm;
mod trackers;
mod upload;
mod web_seeds;
mod whereabouts;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bits::BitSet;
use crate::choker::TitForTat;
use crate::config::{Audit, EngineConfig};
use crate::ids::{BLOCK_BYTES, BlockRange, ConnId, InfoHash, PeerId, PieceIndex};
use crate::metainfo::Geometry;
use crate::picker::Sequential;
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, AnnounceReply, AnnounceRequest, PeerAddr};
use crate::wire::{Handshake, Message};

use self::disk::Disk;
use self::speakers::Owed;
use self::web_seeds::Web;

use super::event::{CloseReason, Event};
use super::torrent::{Input, Output, Rngs, StorageFailure, Torrent, TorrentSetup};

const INFO_HASH: InfoHash = InfoHash([9; 20]);
/// In the middle, so that tests have lower and higher ids.
const ME: PeerId = PeerId([100; 20]);

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One session under test and everything it said.
struct Rig {
    torrent: Torrent,
    now: Now,
    disk: Disk,
    sent: Vec<(ConnId, Message)>,
    greeted: Vec<ConnId>,
    /// The capability bits that we showed last.
    shown: [u8; 8],
    closed: Vec<ConnId>,
    dialled: Vec<SocketAddr>,
    abandoned: Vec<SocketAddr>,
    announced: Vec<AnnounceRequest>,
    events: Vec<(Now, Event)>,
    /// Disk jobs that wait because the test holds them.
    reads: VecDeque<(ConnId, BlockRange)>,
    hold_reads: bool,
    /// The disk takes blocks and does not say so, but for these.
    hold_writes: bool,
    writes: VecDeque<BlockRange>,
    finished: u32,
    web: Web,
    left: bool,
    owed: Owed,
    /// The peers say a keep-alive at this moment, and now and then after it.
    chat: Now,
    slots_next: u32,
}

/// What a test may choose.
struct Plan {
    geometry: Geometry,
    have: BitSet,
    config: EngineConfig,
    tracked: bool,
    web_seeds: Vec<String>,
}

impl Plan {
    /// `pieces` pieces of `blocks` blocks, nothing had.
    fn new(pieces: u32, blocks: u32) -> Plan {
        let piece_bytes = blocks * BLOCK_BYTES;
        let total = u64::from(pieces) * u64::from(piece_bytes);
        Plan::sized(total, piece_bytes)
    }

    fn sized(total: u64, piece_bytes: u32) -> Plan {
        let geometry = Geometry::new(total, piece_bytes).expect("sizes");
        Plan {
            geometry,
            have: BitSet::empty(geometry.pieces),
            config: EngineConfig {
                audit: Audit::Full,
                ..EngineConfig::default()
            },
            tracked: false,
            web_seeds: Vec::new(),
        }
    }

    fn seed(mut self) -> Plan {
        self.have = BitSet::full(self.geometry.pieces);
        self
    }

    fn having(mut self, pieces: &[u32]) -> Plan {
        for &piece in pieces {
            self.have.insert(PieceIndex(piece));
        }
        self
    }

    fn tracked(mut self) -> Plan {
        self.tracked = true;
        self
    }

    fn config(mut self, change: impl FnOnce(&mut EngineConfig)) -> Plan {
        change(&mut self.config);
        self
    }

    /// The setup with the simplest strategies: what is asked for next is known.
    fn setup(&self) -> TorrentSetup {
        let rng = |n| ChaCha8Rng::seed_from_u64(n);
        TorrentSetup {
            config: Arc::new(self.config.clone()),
            info_hash: INFO_HASH,
            geometry: self.geometry,
            have: self.have.clone(),
            priorities: None,
            padding: Vec::new(),
            private: false,
            info_bytes: Bytes::new(),
            banned: Vec::new(),
            peer_id: ME,
            port: 6881,
            tiers: vec![1; usize::from(self.tracked)],
            web_seeds: self.web_seeds.clone(),
            picker: Box::new(Sequential),
            choker: Box::new(TitForTat::default()),
            rngs: Rngs {
                picker: rng(1),
                choker: rng(2),
                contacts: rng(3),
            },
        }
    }

    fn start(self) -> Rig {
        let setup = self.setup();
        self.start_with(setup)
    }

    fn start_with(self, setup: TorrentSetup) -> Rig {
        let mut rig = Rig {
            disk: Disk::new(self.geometry, &self.have),
            torrent: Torrent::new(setup),
            now: Now::START,
            sent: Vec::new(),
            greeted: Vec::new(),
            shown: [0; 8],
            closed: Vec::new(),
            dialled: Vec::new(),
            abandoned: Vec::new(),
            announced: Vec::new(),
            events: Vec::new(),
            reads: VecDeque::new(),
            hold_reads: false,
            hold_writes: false,
            writes: VecDeque::new(),
            finished: 0,
            web: Web::default(),
            left: false,
            owed: Owed::default(),
            chat: Now::START,
            slots_next: 0,
        };
        rig.feed(Input::Start);
        rig
    }
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6881))
}

fn at(piece: u32, block: u32) -> BlockRange {
    BlockRange {
        piece: PieceIndex(piece),
        begin: block * BLOCK_BYTES,
        len: BLOCK_BYTES,
    }
}

impl Rig {
    /// Feeds one fact, plays the disk, and checks what must always hold.
    fn feed(&mut self, input: Input) {
        if let Input::Message { conn, message } = &input
            && let Message::Request(range) = message
            && self.speaks_fast(*conn)
        {
            self.owed.asked(*conn, *range);
        }
        self.torrent.handle(input, self.now);
        while let Some(output) = self.torrent.poll_output() {
            self.take(output);
        }
        self.check_owed();
        let holders = self.torrent.peers.iter().flatten();
        let used = holders.filter(|p| p.unchoked && p.interested).count();
        let slots = self.torrent.between().slots as usize;
        assert!(used <= slots, "{used} upload in {slots} slots");
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Handshake { conn, handshake } => {
                assert_eq!(handshake.info_hash, INFO_HASH);
                assert_eq!(handshake.peer_id, self.torrent.peer_id);
                self.greeted.push(conn);
                self.shown = handshake.reserved;
            }
            Output::Send { conn, message } => {
                if let Some(range) = speakers::answer(&message).filter(|_| self.speaks_fast(conn)) {
                    self.owed.answered(conn, range);
                }
                self.sent.push((conn, message));
            }
            Output::Connect { addr } => self.dialled.push(addr),
            Output::Abandon { addr } => self.abandoned.push(addr),
            Output::Close { conn } => self.closed.push(conn),
            Output::ReadBlock { conn, range } => {
                self.reads.push_back((conn, range));
                if !self.hold_reads {
                    self.answer_read();
                }
            }
            Output::WriteBlock { range, data } => {
                self.disk.write(range, &data);
                if self.hold_writes {
                    self.writes.push_back(range);
                } else {
                    self.feed(Input::BlockWritten { range });
                }
            }
            Output::VerifyPiece { piece, digests } => {
                let verified = self.disk.verify(piece, digests);
                self.feed(Input::PieceVerified(verified));
            }
            Output::Finish => self.finished += 1,
            Output::FindWebSeed { .. }
            | Output::Fetch { .. }
            | Output::StopFetch { .. }
            | Output::RestWebSeed { .. } => self.web.take(output),
            Output::Announce { request, .. } => self.announced.push(*request),
            Output::Emit(event) => {
                assert!(!matches!(event, Event::AuditFailed { .. }), "{event:?}");
                self.events.push((self.now, event));
            }
            Output::Left => self.left = true,
        }
    }

    /// The disk answers its oldest read.
    fn answer_read(&mut self) {
        let (conn, range) = self.reads.pop_front().expect("a read waits");
        let result = Ok(self.disk.read(range));
        self.feed(Input::BlockRead {
            conn,
            range,
            result,
        });
    }

    fn free_conn(&mut self) -> ConnId {
        self.slots_next += 1;
        ConnId {
            slot: self.slots_next - 1,
            generation: 0,
        }
    }

    /// Peer number `n` dials us; no handshake yet.
    fn connect(&mut self, n: u8, inbound: bool) -> ConnId {
        let conn = self.free_conn();
        self.feed(Input::Connected {
            conn,
            addr: addr(n),
            inbound,
        });
        conn
    }

    fn shake(&mut self, conn: ConnId, id: u8) {
        self.shake_as(conn, id, [0; 8]);
    }

    fn shake_as(&mut self, conn: ConnId, id: u8, reserved: [u8; 8]) {
        let handshake = Handshake {
            reserved,
            info_hash: INFO_HASH,
            peer_id: PeerId([id; 20]),
        };
        self.feed(Input::Handshake { conn, handshake });
    }

    /// Peer number `n` dials us and says who it is.
    fn join(&mut self, n: u8) -> ConnId {
        let conn = self.connect(n, true);
        self.shake(conn, n);
        conn
    }

    /// A peer that has `pieces`, is interested in nothing and chokes us.
    fn holder(&mut self, n: u8, pieces: &[u32]) -> ConnId {
        let conn = self.join(n);
        let mut bits = BitSet::empty(self.disk.geometry.pieces);
        for &piece in pieces {
            bits.insert(PieceIndex(piece));
        }
        self.say(conn, Message::Bitfield(Bytes::from(bits.to_wire())));
        conn
    }

    /// A peer that has everything and unchokes us.
    fn source(&mut self, n: u8) -> ConnId {
        let all: Vec<u32> = (0..self.disk.geometry.pieces).collect();
        let conn = self.holder(n, &all);
        self.say(conn, Message::Unchoke);
        conn
    }

    /// A peer that has nothing and wants what we have.
    fn taker(&mut self, n: u8) -> ConnId {
        let conn = self.join(n);
        self.say(conn, Message::Interested);
        conn
    }

    fn say(&mut self, conn: ConnId, message: Message) {
        self.feed(Input::Message { conn, message });
    }

    fn have(&mut self, conn: ConnId, piece: u32) {
        self.say(conn, Message::Have(PieceIndex(piece)));
    }

    fn gone(&mut self, conn: ConnId) {
        self.feed(Input::Gone { conn });
    }

    /// A peer sends the right block.
    fn give(&mut self, conn: ConnId, range: BlockRange) {
        let data = self.disk.good_block(range);
        self.give_data(conn, range, data);
    }

    /// A peer sends a wrong block.
    fn give_wrong(&mut self, conn: ConnId, range: BlockRange) {
        let wrong = self.disk.good_block(range).iter().map(|b| !b).collect();
        self.give_data(conn, range, wrong);
    }

    fn give_data(&mut self, conn: ConnId, range: BlockRange, data: Bytes) {
        let BlockRange { piece, begin, .. } = range;
        self.say(conn, Message::Piece { piece, begin, data });
    }

    /// What was said to a connection since the last question.
    fn heard(&mut self, conn: ConnId) -> Vec<Message> {
        let (its, others) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(to, _)| *to == conn);
        self.sent = others;
        Vec::into_iter(its).map(|(_, message)| message).collect()
    }

    /// What was requested of a connection since the last question; forgets its other messages.
    fn asked(&mut self, conn: ConnId) -> Vec<BlockRange> {
        let heard = self.heard(conn).into_iter();
        let ranges = heard.filter_map(|message| match message {
            Message::Request(range) => Some(range),
            _ => None,
        });
        ranges.collect()
    }

    /// Answers everything that a source is asked for until it is asked for nothing more.
    fn serve_all(&mut self, conn: ConnId) {
        loop {
            let asked = self.asked(conn);
            if asked.is_empty() {
                return;
            }
            for range in asked {
                self.give(conn, range);
            }
        }
    }

    /// Lets time pass, serving timers when they are due.
    fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let due = self.torrent.poll_timeout();
            let next = due.min(self.chat);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if next == due {
                self.feed(Input::Timer);
                let due = self.torrent.poll_timeout();
                assert!(due > self.now, "a timer that was served is due again");
            }
            if self.chat <= self.now {
                self.chat = self.now.after(secs(45));
                let conns: Vec<_> = self
                    .torrent
                    .peers
                    .iter()
                    .flatten()
                    .map(|p| p.conn)
                    .collect();
                for conn in conns {
                    self.say(conn, Message::KeepAlive);
                }
            }
        }
        self.now = end;
    }

    /// How many events satisfy a test.
    fn count(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| what(event)).count()
    }

    /// Why the connections of a peer ended.
    fn parted(&self, n: u8) -> Vec<CloseReason> {
        let events = self.events.iter();
        let whys = events.filter_map(|(_, event)| match event {
            Event::PeerGone { peer, why } if *peer == addr(n) => Some(*why),
            _ => None,
        });
        whys.collect()
    }

    fn copies(&self, piece: u32) -> u16 {
        self.torrent.pieces.availability[piece as usize]
    }

    fn unchoked(&self, conn: ConnId) -> bool {
        let slot = self.torrent.slot(conn).expect("still connected");
        self.torrent.peers[slot].as_ref().expect("found").unchoked
    }
}

#[test]
fn the_driver_downloads_everything_from_one_source() {
    let mut rig = Plan::new(4, 3).start();
    let source = rig.source(1);
    rig.serve_all(source);
    assert!(rig.torrent.complete());
    assert_eq!(rig.disk.written, rig.disk.content);
    assert_eq!(rig.torrent.totals().gained, rig.disk.geometry.total);
}
