//! Any sequence of facts, legal or not: never a panic, never books that are wrong.

use super::*;

use super::super::torrent::Phase;

use proptest::prelude::*;

use crate::config::{Endgame, RateLimit};
use crate::metainfo::Priority;
use crate::tracker::announce::AnnounceFailure;
use crate::wire::extension::{DONT_HAVE_ID, ExtendedHandshake, dont_have};
use crate::wire::handshake::{Capability, EXTENSIONS, FAST};
use crate::wire::pex::{PEX_ID, Pex, SEED};

/// One step of a random history. Numbers are folded onto what exists.
#[derive(Clone, Debug)]
enum Step {
    Open {
        inbound: bool,
        known: u8,
    },
    /// A peer that behaves at first.
    Join {
        id: u8,
        bits: u8,
    },
    /// The same, and it speaks extensions.
    JoinModern {
        id: u8,
        bits: u8,
        speaks: u8,
    },
    Shake {
        conn: u8,
        id: u8,
    },
    Gone {
        conn: u8,
    },
    Say {
        conn: u8,
        message: Message,
    },
    /// The peer answers its oldest open request, well or badly.
    Answer {
        conn: u8,
        good: bool,
    },
    /// The peer rejects its oldest open request.
    Reject {
        conn: u8,
    },
    /// The peer chokes us and rejects everything, as BEP 6 wants it.
    ChokeAll {
        conn: u8,
    },
    Room {
        conn: u8,
        queued: u64,
    },
    Read,
    Written,
    Prioritise {
        what: [u8; 5],
    },
    Lost {
        piece: u32,
    },
    Wait {
        ms: u32,
    },
    Peers {
        from: u8,
    },
    DialFails {
        known: u8,
    },
    Tracker {
        good: bool,
    },
    DiskFails,
    Pause,
    Resume,
    Leave,
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 0_u32..6,
        1 => Just(u32::MAX),
        1 => Just(u32::MAX - 16383),
        1 => any::<u32>(),
    ]
}

fn range() -> impl Strategy<Value = BlockRange> {
    let aligned = (0_u32..5, 0_u32..3).prop_map(|(piece, block)| at(piece, block));
    let any = (number(), number(), number()).prop_map(|(piece, begin, len)| BlockRange {
        piece: PieceIndex(piece),
        begin,
        len,
    });
    prop_oneof![20 => aligned, 1 => any]
}

fn introduction() -> impl Strategy<Value = ExtendedHandshake> {
    let reqq = prop_oneof![Just(None), (0_u32..9).prop_map(Some), Just(Some(u32::MAX))];
    let id = || prop::option::of(0_u8..40);
    let port = prop::option::of(1_u16..9);
    let ids = (id(), id());
    (reqq, any::<Option<bool>>(), ids, port).prop_map(
        |(reqq, upload_only, (dont_have, pex), port)| ExtendedHandshake {
            reqq,
            upload_only,
            dont_have,
            pex,
            port,
            ..ExtendedHandshake::default()
        },
    )
}

fn exchange() -> impl Strategy<Value = Pex> {
    let contacts = || prop::collection::vec((0_u8..9, 0_u16..9), 0..4);
    let addr = |(n, port): (u8, u16)| SocketAddr::from(([10, 0, 0, n], port));
    (contacts(), contacts()).prop_map(move |(added, dropped)| Pex {
        added: added.into_iter().map(|c| (addr(c), SEED)).collect(),
        dropped: dropped.into_iter().map(addr).collect(),
    })
}

fn message() -> impl Strategy<Value = Message> {
    let bytes = |max: usize| prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from);
    prop_oneof![
        6 => Just(Message::Choke),
        16 => Just(Message::Unchoke),
        12 => Just(Message::Interested),
        8 => Just(Message::NotInterested),
        16 => (0_u32..5).prop_map(|p| Message::Have(PieceIndex(p))),
        1 => number().prop_map(|p| Message::Have(PieceIndex(p))),
        1 => (0_u8..32).prop_map(|bits| Message::Bitfield(Bytes::from(vec![bits << 3]))),
        1 => bytes(3).prop_map(Message::Bitfield),
        20 => range().prop_map(Message::Request),
        3 => range().prop_map(Message::Cancel),
        4 => (range(), bytes(40)).prop_map(|(range, data)| Message::Piece {
            piece: range.piece,
            begin: range.begin,
            data,
        }),
        1 => Just(Message::KeepAlive),
        1 => prop_oneof![Just(Message::HaveAll), Just(Message::HaveNone)],
        4 => (0_u32..5).prop_map(|p| Message::AllowedFast(PieceIndex(p))),
        2 => (0_u32..5).prop_map(|p| Message::Suggest(PieceIndex(p))),
        1 => range().prop_map(Message::Reject),
        3 => (0_u32..5).prop_map(|p| dont_have(DONT_HAVE_ID, PieceIndex(p))),
        2 => introduction().prop_map(|said| said.message()),
        2 => exchange().prop_map(|pex| pex.message(PEX_ID)),
        1 => (0_u8..2, bytes(4)).prop_map(|(id, payload)| Message::Extended { id, payload }),
        1 => any::<u8>().prop_map(Message::Unknown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let conn = || any::<u8>();
    prop_oneof![
        4 => (any::<bool>(), 0_u8..8).prop_map(|(inbound, known)| Step::Open { inbound, known }),
        6 => (1_u8..8, any::<u8>()).prop_map(|(id, bits)| Step::Join { id, bits }),
        9 => (1_u8..8, any::<u8>(), 1_u8..4)
            .prop_map(|(id, bits, speaks)| Step::JoinModern { id, bits, speaks }),
        5 => conn().prop_map(|conn| Step::Reject { conn }),
        3 => conn().prop_map(|conn| Step::ChokeAll { conn }),
        6 => Just(Step::Written),
        1 => any::<[u8; 5]>().prop_map(|what| Step::Prioritise { what }),
        1 => (0_u32..5).prop_map(|piece| Step::Lost { piece }),
        4 => (conn(), prop_oneof![9 => 1_u8..8, 1 => Just(100)])
            .prop_map(|(conn, id)| Step::Shake { conn, id }),
        2 => conn().prop_map(|conn| Step::Gone { conn }),
        20 => (conn(), message()).prop_map(|(conn, message)| Step::Say { conn, message }),
        30 => (conn(), prop::bool::weighted(0.9))
            .prop_map(|(conn, good)| Step::Answer { conn, good }),
        3 => (conn(), prop_oneof![3 => 0_u64..40_000, 1 => Just(u64::MAX / 2)])
            .prop_map(|(conn, queued)| Step::Room { conn, queued }),
        4 => Just(Step::Read),
        8 => prop_oneof![4 => 0_u32..3000, 1 => 0_u32..100_000].prop_map(|ms| Step::Wait { ms }),
        1 => any::<u8>().prop_map(|from| Step::Peers { from }),
        1 => (0_u8..8).prop_map(|known| Step::DialFails { known }),
        2 => any::<bool>().prop_map(|good| Step::Tracker { good }),
        1 => prop_oneof![1 => Just(Step::DiskFails), 1 => Just(Step::Pause), 3 => Just(Step::Resume)],
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        6 => Just(vec![]),
        1 => Just(vec![Step::DiskFails]),
        1 => Just(vec![Step::Leave]),
    ];
    let part = || prop::collection::vec(step(), 1..250);
    (part(), end, prop::collection::vec(step(), 0..40))
        .prop_map(|(begin, middle, end)| [begin, middle, end].concat())
}

impl Rig {
    /// The connections that stand, with or without a handshake.
    fn some_conn(&self, n: u8) -> Option<ConnId> {
        let open: Vec<_> = self
            .torrent
            .peers
            .iter()
            .flatten()
            .map(|p| p.conn)
            .collect();
        (!open.is_empty()).then(|| open[usize::from(n) % open.len()])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { inbound, known } => {
                // Only what was dialled is answered.
                let dialled = self.dialled.contains(&addr(known));
                if inbound || dialled {
                    self.dialled.retain(|a| inbound || *a != addr(known));
                    self.connect(known, inbound);
                }
            }
            Step::Shake { conn, id } => {
                let fresh = self.some_conn(conn).filter(|conn| {
                    let slot = self.torrent.slot(*conn).expect("stands");
                    !self.torrent.is_active(slot)
                });
                if let Some(conn) = fresh {
                    self.shake(conn, id);
                }
            }
            Step::Join { id, bits } => {
                let conn = self.join(id);
                if self.torrent.slot(conn).is_some() {
                    let bits = Bytes::from(vec![bits & 0b1111_1000]);
                    self.say(conn, Message::Bitfield(bits));
                    self.say(conn, Message::Unchoke);
                    self.say(conn, Message::Interested);
                }
            }
            Step::JoinModern { id, bits, speaks } => self.join_modern(id, bits, speaks),
            Step::Reject { conn } => self.reject_oldest(conn),
            Step::ChokeAll { conn } => {
                if let Some(stands) = self.some_conn(conn) {
                    self.say(stands, Message::Choke);
                    let slot = self.torrent.slot(stands);
                    let open = slot.map_or(0, |s| self.torrent.peer(s).down.open.len());
                    for _ in 0..open {
                        self.reject_oldest(conn);
                    }
                }
            }
            Step::Written => {
                if let Some(range) = self.writes.pop_front() {
                    self.feed(Input::BlockWritten { range });
                }
            }
            Step::Prioritise { what } => {
                use Priority::{High, Low, Normal, Skip};
                let what = what.map(|n| [Skip, Low, Normal, High][usize::from(n % 4)]);
                self.prioritise(&what);
            }
            Step::Lost { piece } => {
                let piece = PieceIndex(piece);
                self.feed(Input::PieceLost { piece });
            }
            Step::Pause => self.feed(Input::Pause),
            Step::Resume => self.feed(Input::Resume),
            Step::Gone { conn } => {
                if let Some(conn) = self.some_conn(conn) {
                    self.gone(conn);
                }
            }
            Step::Say { conn, message } => {
                if let Some(conn) = self.some_conn(conn) {
                    self.say(conn, message);
                }
            }
            Step::Answer { conn, good } => self.answer(conn, good),
            Step::Room { conn, queued } => {
                if let Some(conn) = self.some_conn(conn) {
                    self.feed(Input::SendRoom { conn, queued });
                }
            }
            Step::Read => {
                if !self.reads.is_empty() {
                    self.answer_read();
                }
            }
            Step::Wait { ms: time } => self.wait(ms(u64::from(time))),
            Step::Peers { from } => {
                let peers = (from % 8..8).map(|n| PeerAddr {
                    addr: addr(n),
                    id: n.is_multiple_of(3).then_some(PeerId([n; 20])),
                });
                self.feed(Input::Peers(peers.collect()));
            }
            Step::DialFails { known } => {
                if self.dialled.contains(&addr(known)) {
                    self.dialled.retain(|a| *a != addr(known));
                    self.feed(Input::ConnectFailed { addr: addr(known) });
                }
            }
            Step::Tracker { good } => {
                if self.announced.pop().is_some() {
                    let failure = Err(AnnounceFailure::TimedOut);
                    let reply = Ok(AnnounceReply::default());
                    self.feed(Input::announced(if good { reply } else { failure }));
                }
            }
            Step::DiskFails => self.feed(Input::StorageFailed(StorageFailure("disk".to_owned()))),
            Step::Leave => self.feed(Input::Leave),
        }
        for addr in std::mem::take(&mut self.abandoned) {
            self.dialled.retain(|a| *a != addr);
        }
    }

    fn join_modern(&mut self, id: u8, bits: u8, speaks: u8) {
        let all: [Capability; 2] = [FAST, EXTENSIONS];
        let speaks: Vec<_> = (0..2)
            .filter(|n| speaks >> n & 1 == 1)
            .map(|n| all[n])
            .collect();
        let conn = self.join_as(id, &speaks);
        let bits = Bytes::from(vec![bits & 0b1111_1000]);
        self.say(conn, Message::Bitfield(bits));
        self.say(conn, Message::Unchoke);
        self.say(conn, Message::Interested);
    }

    /// The request that a peer answers next.
    fn oldest(&mut self, conn: ConnId) -> Option<BlockRange> {
        let slot = self.torrent.slot(conn).expect("stands");
        let down = &self.torrent.peer(slot).down;
        let released = down.released.front().copied();
        let (piece, block) = released.or(down.open.front().map(|r| (r.piece, r.block)))?;
        Some(self.disk.geometry.block(piece, block))
    }

    fn reject_oldest(&mut self, conn: u8) {
        let Some(conn) = self.some_conn(conn).filter(|c| self.speaks_fast(*c)) else {
            return;
        };
        if let Some(range) = self.oldest(conn) {
            let before = self.events.len();
            self.say(conn, Message::Reject(range));
            let never = CloseReason::Protocol("a reject for what was never asked");
            let closed = |e: &Event| matches!(e, Event::PeerGone { why, .. } if *why == never);
            let mut since = self.events[before..].iter();
            assert!(!since.any(|(_, e)| closed(e)), "it was asked for");
        }
    }

    fn answer(&mut self, conn: u8, good: bool) {
        let Some(conn) = self.some_conn(conn) else {
            return;
        };
        let Some(range) = self.oldest(conn) else {
            return;
        };
        if good {
            self.give(conn, range);
        } else {
            self.give_wrong(conn, range);
        }
    }

    /// What the session may hold, however peers behave.
    fn bounded(&self) {
        let config = &self.torrent.config;
        assert!(self.torrent.connections <= config.connections_max);
        for peer in self.torrent.peers.iter().flatten() {
            assert!(peer.up.queue.len() <= config.request_queue_max as usize);
            assert!(peer.down.open.len() <= config.pipeline_cap as usize);
            assert!(peer.down.released.len() <= config.pipeline_cap as usize);
            let blocks = |p: &super::super::peer::Peer| {
                let mut blocks: Vec<_> = p.down.open.iter().map(|r| (r.piece, r.block)).collect();
                blocks.sort_unstable();
                blocks
            };
            assert!(
                blocks(peer).windows(2).all(|w| w[0] != w[1]),
                "a block asked for twice"
            );
            assert_eq!(peer.am_interested, peer.useful > 0);
            if peer.active() {
                let slot = peer.conn.slot as usize;
                let useful = self.torrent.pieces.useful(&self.torrent.bitfields[slot]);
                assert_eq!(peer.useful, useful);
            }
        }
        let writing = self.torrent.writing.iter().map(|r| u64::from(r.len));
        assert_eq!(self.torrent.unwritten(), writing.sum::<u64>());
        self.nobody_idles();
    }

    /// Who would serve us is asked for what is free, unless something holds us back.
    fn nobody_idles(&self) {
        let torrent = &self.torrent;
        let held_back = torrent.phase != Phase::Running
            || torrent.download.waited_for
            || torrent.pool_grew
            || torrent.unwritten >= torrent.config.disk_queue_max;
        for peer in torrent.peers.iter().flatten() {
            let several = peer.down.has_room_for_several(&torrent.config);
            let waits = peer.down.hold_until.is_some() || !several;
            if held_back || !peer.active() || peer.choking_us || waits {
                continue;
            }
            let slot = peer.conn.slot as usize;
            let mut fresh = torrent.pieces.queued.iter_and(&torrent.bitfields[slot]);
            assert_eq!(fresh.next(), None, "not begun: {peer:?}");
            assert_eq!(torrent.best_partial(slot), None, "not asked for: {peer:?}");
        }
    }

    /// The disk and the network do all that they have to, and time passes.
    fn settle(&mut self) {
        for _ in 0..300 {
            while !self.reads.is_empty() {
                self.answer_read();
            }
            while let Some(range) = self.writes.pop_front() {
                self.feed(Input::BlockWritten { range });
            }
            let open: Vec<_> = self
                .torrent
                .peers
                .iter()
                .flatten()
                .map(|p| p.conn)
                .collect();
            for conn in open {
                self.feed(Input::SendRoom { conn, queued: 0 });
            }
            let mut peers = self.torrent.peers.iter().flatten();
            if peers.all(|p| p.up.queue.is_empty() && p.up.reading.is_empty()) {
                break;
            }
            self.wait(secs(1));
        }
        let mut peers = self.torrent.peers.iter().flatten();
        let waits = peers.find(|p| !p.up.queue.is_empty() || !p.up.reading.is_empty());
        assert!(waits.is_none(), "never answered: {waits:?}");
        assert_eq!(self.torrent.unwritten(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn no_history_breaks_the_books(
        steps in history(),
        seed in prop::bool::weighted(0.2),
        tracked in any::<bool>(),
        slots in 0_u32..5,
        endgame in 0_usize..3,
        limits in (0_u64..3, 0_u64..3, 0_u64..2),
        switches in any::<[bool; 3]>(),
    ) {
        let mut plan = Plan::sized(5 * 40_000 - 100, 40_000).config(|c| {
            c.upload_slots = slots;
            c.endgame = [Endgame::Off, Endgame::Bounded, Endgame::All][endgame];
            c.request_timeout_max = secs(10);
            (c.upload_limit, c.download_limit) = (RateLimit(limits.0 * 60_000), RateLimit(limits.1 * 60_000));
            c.disk_queue_max = if limits.2 == 0 { c.disk_queue_max } else { 40_000 };
            (c.close_seed_to_seed, c.suggest_pieces) = (switches[0], switches[1]);
            c.allowed_fast = 2;
        });
        plan.have = if seed { BitSet::full(5) } else { plan.have };
        plan.tracked = tracked;
        let mut setup = plan.setup();
        if switches[2] {
            setup.padding = vec![20_000..75_000, 120_000..160_000];
        }
        let padding = setup.padding.clone();
        let mut rig = plan.start_with(setup);
        for bytes in padding {
            let bytes = bytes.start as usize..bytes.end as usize;
            rig.disk.written[bytes.clone()].copy_from_slice(&rig.disk.content.clone()[bytes]);
        }
        (rig.hold_reads, rig.hold_writes) = (true, true);
        for step in steps {
            rig.step(step);
            rig.bounded();
        }
        rig.settle();
        if rig.torrent.complete() {
            prop_assert_eq!(&rig.disk.written, &rig.disk.content);
        }
    }
}
