//! Any sequence of facts, legal or not: never a panic, never books that are wrong.

use super::*;

use proptest::prelude::*;

use crate::config::Endgame;
use crate::tracker::announce::AnnounceFailure;

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
    Room {
        conn: u8,
        queued: u64,
    },
    Read,
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
        1 => Just(Message::HaveAll),
        1 => bytes(4).prop_map(|payload| Message::Extended { id: 0, payload }),
        1 => any::<u8>().prop_map(Message::Unknown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let conn = || any::<u8>();
    prop_oneof![
        4 => (any::<bool>(), 0_u8..8).prop_map(|(inbound, known)| Step::Open { inbound, known }),
        6 => (1_u8..8, any::<u8>()).prop_map(|(id, bits)| Step::Join { id, bits }),
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
                    self.feed(Input::Announced(if good { reply } else { failure }));
                }
            }
            Step::DiskFails => self.feed(Input::StorageFailed(StorageFailure("disk".to_owned()))),
            Step::Leave => self.feed(Input::Leave),
        }
        for addr in std::mem::take(&mut self.abandoned) {
            self.dialled.retain(|a| *a != addr);
        }
    }

    fn answer(&mut self, conn: u8, good: bool) {
        let Some(conn) = self.some_conn(conn) else {
            return;
        };
        let slot = self.torrent.slot(conn).expect("stands");
        let down = &self.torrent.peer(slot).down;
        let open = down.open.front().map(|r| (r.piece, r.block));
        let Some((piece, block)) = open.or(down.released.front().copied()) else {
            return;
        };
        let range = self.disk.geometry.block(piece, block);
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
        }
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
    ) {
        let mut plan = Plan::sized(5 * 40_000 - 100, 40_000).config(|c| {
            c.upload_slots = slots;
            c.endgame = [Endgame::Off, Endgame::Bounded, Endgame::All][endgame];
            c.request_timeout_max = secs(10);
        });
        plan.have = if seed { BitSet::full(5) } else { plan.have };
        plan.tracked = tracked;
        let mut rig = plan.start();
        rig.hold_reads = true;
        for step in steps {
            rig.step(step);
            rig.bounded();
        }
        if rig.torrent.complete() {
            prop_assert_eq!(&rig.disk.written, &rig.disk.content);
        }
    }
}
