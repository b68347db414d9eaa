//! Fetches of metadata: honest sources, liars of every kind, silence, refusals, departures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha1::{Digest, Sha1};

use super::*;
use crate::ids::PieceIndex;
use crate::tracker::announce::AnnounceReply;
use crate::wire::handshake::FAST;
use crate::wire::metadata::{MetadataMessage, metadata_block};
use crate::wire::pex::Pex;

const SIZE: usize = 16 * 1024 * 4 + 77;
const BLOCKS: u32 = 5;
/// The id under which sources take `ut_metadata`.
const THEIR_ID: u8 = 9;

fn info() -> Bytes {
    Bytes::from((0..SIZE).map(|n| (n * 31 % 251) as u8).collect::<Vec<_>>())
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6881))
}

/// What a source does with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Honest,
    /// Wrong bytes of the right size.
    Liar,
    /// Wrong bytes in one block only.
    LiarOfOne(u32),
    /// Another size, and bytes for it.
    WrongSize(u32),
    /// Another size than it claimed.
    Inconsistent,
    Silent,
    Rejects,
    /// Two answers, then it is gone.
    Leaves,
}

struct Source {
    kind: Kind,
    conn: ConnId,
    answers: u32,
}

struct Rig {
    fetch: MetadataFetch,
    now: Now,
    sources: BTreeMap<u8, Source>,
    /// Requests that wait for an answer, oldest first.
    asked: Vec<(u8, u32)>,
    dialled: Vec<SocketAddr>,
    announced: Vec<AnnounceEvent>,
    events: Vec<Event>,
    closed: Vec<ConnId>,
    left: bool,
    slots: u32,
}

impl Rig {
    fn new(change: impl FnOnce(&mut EngineConfig)) -> Rig {
        let mut config = EngineConfig::default();
        change(&mut config);
        let fetch = MetadataFetch::new(FetchSetup {
            config,
            info_hash: InfoHash(Sha1::digest(info()).into()),
            peer_id: PeerId([100; 20]),
            port: 6881,
            tiers: vec![1],
            rng: ChaCha8Rng::seed_from_u64(1),
        });
        let mut rig = Rig {
            fetch,
            now: Now::START,
            sources: BTreeMap::new(),
            asked: Vec::new(),
            dialled: Vec::new(),
            announced: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
            left: false,
            slots: 0,
        };
        rig.feed(Input::Start);
        rig
    }

    fn feed(&mut self, input: Input) {
        self.fetch.handle(input, self.now);
        while let Some(output) = self.fetch.poll_output() {
            assert!(!self.left, "nothing follows the end: {output:?}");
            match output {
                Output::Send { conn, message } => self.on_sent(conn, message),
                Output::Close { conn } => {
                    self.sources.retain(|_, s| s.conn != conn);
                    self.closed.push(conn);
                }
                Output::Connect { addr } => self.dialled.push(addr),
                Output::Announce { request, .. } => self.announced.push(request.event),
                Output::Emit(event) => self.events.push(event),
                Output::Left => self.left = true,
                Output::Handshake { handshake, .. } => {
                    assert!(handshake.speaks(EXTENSIONS) && !handshake.speaks(FAST));
                }
                Output::Abandon { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let gone: Vec<u8> = self.asked.iter().map(|(n, _)| *n).collect();
        let here = |n: &u8| self.sources.contains_key(n);
        if !gone.iter().all(here) {
            let sources = &self.sources;
            self.asked.retain(|(n, _)| sources.contains_key(n));
        }
        assert!(self.fetch.drafts.len() <= self.fetch.config.metadata_drafts_max as usize);
    }

    fn on_sent(&mut self, conn: ConnId, message: Message) {
        let Message::Extended { id, payload } = message else {
            return;
        };
        if id == THEIR_ID
            && let Ok(Some(MetadataMessage::Request { block })) = MetadataMessage::read(&payload)
        {
            let from = self.sources.iter().find(|(_, s)| s.conn == conn);
            let (n, _) = from.expect("it is connected");
            self.asked.push((*n, block));
        }
    }

    fn connect(&mut self, n: u8, inbound: bool) -> ConnId {
        let conn = ConnId {
            slot: self.slots,
            generation: 0,
        };
        self.slots += 1;
        self.feed(Input::Connected {
            conn,
            addr: addr(n),
            inbound,
        });
        conn
    }

    fn shake(&mut self, conn: ConnId, id: u8) {
        self.feed(Input::Handshake {
            conn,
            handshake: Handshake {
                reserved: reserved(&[EXTENSIONS, FAST]),
                info_hash: self.fetch.info_hash,
                peer_id: PeerId([id; 20]),
            },
        });
    }

    fn say(&mut self, conn: ConnId, message: Message) {
        self.feed(Input::Message { conn, message });
    }

    /// A source joins and introduces itself.
    fn source(&mut self, n: u8, kind: Kind) {
        let conn = self.connect(n, true);
        if self.closed.contains(&conn) {
            return;
        }
        let answers = 0;
        self.sources.insert(
            n,
            Source {
                kind,
                conn,
                answers,
            },
        );
        self.shake(conn, n);
        let size = match kind {
            Kind::WrongSize(size) => size,
            _ => SIZE as u32,
        };
        let introduction = ExtendedHandshake {
            metadata: Some(THEIR_ID),
            metadata_size: Some(size),
            ..ExtendedHandshake::default()
        };
        self.say(conn, Message::HaveAll);
        self.say(conn, introduction.message());
    }

    /// The request number `at` is answered, as its source does.
    fn answer(&mut self, at: usize) {
        let (n, block) = self.asked.remove(at);
        let source = self.sources.get_mut(&n).expect("asked while connected");
        source.answers += 1;
        let (kind, conn) = (source.kind, source.conn);
        let mut total = match kind {
            Kind::WrongSize(size) => size,
            _ => SIZE as u32,
        };
        let range = metadata_block(total, block).expect("a block that there is");
        let mut data = match kind {
            Kind::WrongSize(_) => vec![1; range.len()],
            _ => info()[range].to_vec(),
        };
        let message = match kind {
            Kind::Silent => return,
            Kind::Rejects => MetadataMessage::Reject { block },
            _ => {
                match kind {
                    Kind::Liar => data.iter_mut().for_each(|byte| *byte = !*byte),
                    Kind::LiarOfOne(n) if n == block => data[3] ^= 1,
                    Kind::Inconsistent => total += 1,
                    _ => {}
                }
                let data = Bytes::from(data);
                MetadataMessage::Data { block, total, data }
            }
        };
        self.say(conn, message.message(METADATA_ID));
        let gone = kind == Kind::Leaves && self.sources.get(&n).is_some_and(|s| s.answers == 2);
        if gone {
            self.sources.remove(&n);
            self.feed(Input::Gone { conn });
        }
    }

    /// Answers in the order that `order` draws, and lets time pass when nobody has anything to say.
    fn run(&mut self, mut order: impl FnMut(usize) -> usize, limit: Duration) {
        let end = self.now.after(limit);
        while !self.left && self.now < end {
            let speaks = |(_, (n, _)): &(usize, &(u8, u32))| self.sources[n].kind != Kind::Silent;
            let asked = self.asked.iter().enumerate().filter(speaks);
            let ready: Vec<usize> = asked.map(|(at, _)| at).collect();
            if !ready.is_empty() {
                self.answer(ready[order(ready.len()) % ready.len()]);
                continue;
            }
            let due = self.fetch.poll_timeout();
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            let others: Vec<ConnId> = self.sources.values().map(|s| s.conn).collect();
            for conn in others {
                self.say(conn, Message::KeepAlive);
            }
            self.feed(Input::Timer);
            assert!(
                self.fetch.poll_timeout() > self.now || !self.asked.is_empty(),
                "a timer that was served is due again"
            );
        }
    }

    fn banned(&self) -> Vec<u8> {
        let banned = self.events.iter().filter_map(|event| match event {
            Event::Banned { peer, .. } => Some(*peer),
            _ => None,
        });
        let mut banned: Vec<u8> = banned
            .map(|addr| match addr.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(ip) => panic!("{ip}"),
            })
            .collect();
        banned.sort_unstable();
        banned
    }

    fn found(&mut self) -> Found {
        assert!(self.left, "still at it after {:?}", self.now);
        let found = self.fetch.take_found().expect("found");
        assert_eq!(found.info, info());
        found
    }
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// In order, all at once.
fn fetched(kinds: &[Kind]) -> Rig {
    let mut rig = Rig::new(|_| ());
    for (n, kind) in (1..).zip(kinds) {
        rig.source(n, *kind);
    }
    rig.run(|_| 0, secs(3600));
    rig
}

#[test]
fn two_honest_sources_share_the_work() {
    let mut rig = Rig::new(|c| c.metadata_pipeline = 2);
    rig.source(1, Kind::Honest);
    rig.source(2, Kind::Honest);
    assert_eq!(rig.asked, [(1, 0), (1, 1), (2, 2), (2, 3)]);
    rig.run(|_| 0, secs(1));
    let found = rig.found();
    assert_eq!((found.banned, rig.banned()), (vec![], vec![]));
    let from = |n| {
        let came = rig.events.iter();
        let its =
            |e: &&Event| matches!(e, Event::MetadataReceived { peer, .. } if *peer == addr(n));
        came.filter(its).count()
    };
    assert_eq!(from(1) + from(2), BLOCKS as usize, "nothing twice");
    assert!(from(1) >= 2 && from(2) >= 2);
}

#[test]
fn a_liar_alone_is_banned_and_may_not_come_back() {
    let mut rig = fetched(&[Kind::Liar]);
    assert_eq!((rig.banned(), rig.left), (vec![1], false));
    rig.source(1, Kind::Honest);
    assert!(!rig.sources.contains_key(&1), "closed at once");
    rig.source(2, Kind::Honest);
    rig.run(|_| 0, secs(1));
    assert_eq!(rig.found().banned, [(addr(1), PeerId([1; 20]))]);
}

#[test]
fn one_liar_among_honest_sources_is_banned_alone() {
    for liar in [Kind::Liar, Kind::LiarOfOne(0), Kind::LiarOfOne(4)] {
        for at in 0..3 {
            let mut kinds = [Kind::Honest; 3];
            kinds[at] = liar;
            let mut rig = Rig::new(|c| c.metadata_pipeline = 1);
            for (n, kind) in (1..).zip(kinds) {
                rig.source(n, kind);
            }
            rig.run(|_| 0, secs(60));
            rig.found();
            let banned = rig.banned();
            // Who was never asked for what it lies about is not found out.
            let lied = rig
                .events
                .iter()
                .any(|e| matches!(e, Event::MetadataFailed { .. }));
            assert_eq!(
                banned,
                if lied { vec![at as u8 + 1] } else { vec![] },
                "{kinds:?}"
            );
            assert!(lied || liar != Kind::Liar);
        }
    }
}

#[test]
fn liars_about_the_size_block_nobody_and_are_found_out() {
    let sizes = [1, 16384, SIZE as u32 - 1, SIZE as u32 + 1, 400_000];
    let mut kinds: Vec<Kind> = sizes.map(Kind::WrongSize).into();
    kinds.push(Kind::Honest);
    let mut rig = fetched(&kinds);
    rig.found();
    let banned = rig.banned();
    assert!(!banned.contains(&6), "{banned:?}");
    assert!(banned.len() >= 2, "{banned:?}");
}

#[test]
fn who_is_silent_about_its_wrong_size_holds_no_place_for_ever() {
    let mut rig = Rig::new(|c| c.metadata_drafts_max = 2);
    for n in 1..=6 {
        rig.source(n, Kind::WrongSize(1000 * u32::from(n)));
        rig.sources.get_mut(&n).expect("here").kind = Kind::Silent;
    }
    rig.source(7, Kind::Honest);
    rig.run(|_| 0, secs(600));
    rig.found();
    assert_eq!(rig.banned(), [], "silence is no lie");
}

#[test]
fn a_size_beyond_the_maximum_or_none_is_not_asked_for() {
    let mut rig = Rig::new(|c| c.metadata_bytes_max = SIZE as u64);
    rig.source(1, Kind::WrongSize(SIZE as u32 + 1));
    rig.source(2, Kind::WrongSize(0));
    rig.source(3, Kind::WrongSize(u32::MAX));
    assert_eq!(rig.asked, []);
    rig.source(4, Kind::Honest);
    rig.run(|_| 0, secs(1));
    rig.found();
}

#[test]
fn data_of_another_size_than_claimed_closes() {
    let mut rig = Rig::new(|_| ());
    rig.source(1, Kind::Inconsistent);
    rig.answer(0);
    assert!(rig.sources.is_empty());
    assert_eq!((rig.banned(), rig.left), (vec![], false));
}

#[test]
fn silent_refusing_and_leaving_sources_are_replaced() {
    for trouble in [Kind::Silent, Kind::Rejects, Kind::Leaves] {
        let mut rig = fetched(&[trouble, Kind::Honest]);
        rig.found();
        assert!(rig.now < Now::START.after(secs(60)), "{trouble:?}");
        assert_eq!(rig.banned(), [], "{trouble:?}");
    }
}

#[test]
fn who_refused_is_asked_again_later() {
    let mut rig = Rig::new(|_| ());
    rig.source(1, Kind::Rejects);
    let asked = rig.asked.len();
    rig.answer(0);
    assert_eq!(
        rig.asked.len(),
        asked - 1,
        "the others stay open at its end"
    );
    rig.asked.clear();
    rig.sources.get_mut(&1).expect("here").kind = Kind::Honest;
    rig.run(|_| 0, secs(11));
    rig.found();
}

#[test]
fn unasked_data_counts_for_nothing() {
    let mut rig = Rig::new(|c| c.metadata_pipeline = 1);
    rig.source(1, Kind::Honest);
    let conn = rig.sources[&1].conn;
    let lie = MetadataMessage::Data {
        block: 3,
        total: SIZE as u32,
        data: Bytes::from(vec![0; 16 * 1024]),
    };
    rig.say(conn, lie.message(METADATA_ID));
    rig.run(|_| 0, secs(1));
    rig.found();
    assert_eq!(rig.banned(), []);
}

#[test]
fn trackers_and_other_peers_name_sources() {
    let mut rig = Rig::new(|_| ());
    assert_eq!(rig.announced, [AnnounceEvent::Started]);
    let told = |n| PeerAddr {
        addr: addr(n),
        id: None,
    };
    rig.feed(Input::announced(Ok(AnnounceReply {
        peers: vec![told(1)],
        ..AnnounceReply::default()
    })));
    assert_eq!(rig.dialled, [addr(1)]);
    let conn = rig.connect(1, false);
    rig.shake(conn, 1);
    let pex = Pex {
        added: vec![(addr(2), 0)],
        ..Pex::default()
    };
    rig.say(conn, pex.message(PEX_ID));
    assert_eq!(rig.dialled, [addr(1), addr(2)]);
    rig.feed(Input::Peers(vec![told(3)]));
    assert_eq!(rig.dialled.len(), 3);
    rig.source(4, Kind::Honest);
    rig.run(|_| 0, secs(1));
    let peers: Vec<_> = rig.found().peers.iter().map(|p| p.addr).collect();
    assert_eq!(
        peers,
        [1, 3].map(addr),
        "what a peer told is not passed on unseen"
    );
}

#[test]
fn who_cannot_serve_is_closed_and_so_are_we_ourselves() {
    let mut rig = Rig::new(|_| ());
    let conn = rig.connect(1, true);
    let handshake = Handshake {
        reserved: [0; 8],
        info_hash: rig.fetch.info_hash,
        peer_id: PeerId([1; 20]),
    };
    rig.feed(Input::Handshake { conn, handshake });
    let conn = rig.connect(2, true);
    rig.shake(conn, 100);
    let whys: Vec<_> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::PeerGone { why, .. } => Some(*why),
            _ => None,
        })
        .collect();
    assert_eq!(whys, [CloseReason::NoMetadata, CloseReason::SelfConnect]);
}

#[test]
fn who_leaves_says_so_to_the_tracker() {
    let mut rig = Rig::new(|_| ());
    rig.feed(Input::announced(Ok(AnnounceReply::default())));
    rig.source(1, Kind::Silent);
    rig.feed(Input::Leave);
    assert_eq!(
        rig.announced,
        [AnnounceEvent::Started, AnnounceEvent::Stopped]
    );
    assert!(rig.sources.is_empty() && !rig.left);
    rig.feed(Input::announced(Ok(AnnounceReply::default())));
    assert!(rig.left);
    assert_eq!(rig.fetch.take_found(), None);
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        3 => Just(Kind::Honest),
        2 => Just(Kind::Liar),
        2 => (0..BLOCKS).prop_map(Kind::LiarOfOne),
        1 => prop::sample::select(vec![5, SIZE as u32 + 5, 70_000]).prop_map(Kind::WrongSize),
        1 => Just(Kind::Inconsistent),
        1 => Just(Kind::Silent),
        1 => Just(Kind::Rejects),
        1 => Just(Kind::Leaves),
    ];
    (prop::collection::vec(kind, 0..7), 0_usize..8).prop_map(|(mut kinds, at)| {
        kinds.insert(at.min(kinds.len()), Kind::Honest);
        kinds
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_there_and_whatever_the_order_one_honest_source_is_enough(
        kinds in kinds(),
        order in prop::collection::vec(any::<usize>(), 1..50),
        pipeline in 1_u32..6,
        drafts in 1_u32..4,
    ) {
        let mut rig = Rig::new(|c| {
            c.metadata_pipeline = pipeline;
            c.metadata_drafts_max = drafts;
        });
        for (n, kind) in (1..).zip(&kinds) {
            rig.source(n, *kind);
        }
        let mut draws = order.iter().cycle();
        rig.run(|_| *draws.next().expect("a cycle"), secs(3 * 3600));
        rig.found();
        for n in rig.banned() {
            let kind = kinds[n as usize - 1];
            let lies = matches!(kind, Kind::Liar | Kind::LiarOfOne(_) | Kind::WrongSize(_));
            prop_assert!(lies, "{n} is {kind:?}");
        }
    }
}

#[test]
fn who_asks_and_never_reads_the_refusals_is_closed() {
    let mut rig = Rig::new(|c| c.send_backlog_max = 10_000);
    rig.source(1, Kind::Silent);
    rig.source(2, Kind::Silent);
    let (deaf, reads) = (rig.sources[&1].conn, rig.sources[&2].conn);
    for block in 0..1000 {
        for conn in [deaf, reads] {
            let request = MetadataMessage::Request { block };
            rig.say(conn, request.message(METADATA_ID));
        }
        rig.feed(Input::SendRoom {
            conn: reads,
            queued: 0,
        });
    }
    assert_eq!(rig.closed, [deaf]);
    let backlog = |e: &Event| {
        matches!(
            e,
            Event::PeerGone {
                why: CloseReason::Backlog,
                ..
            }
        )
    };
    assert_eq!(rig.events.iter().filter(|e| backlog(e)).count(), 1);
}

#[test]
fn who_says_too_much_that_carries_nothing_is_closed() {
    let mut rig = Rig::new(|c| c.chatter_max = 10);
    for n in 1..=3 {
        rig.source(n, Kind::Silent);
    }
    let [chatters, has, says_little] = [1, 2, 3].map(|n| rig.sources[&n].conn);
    for second in 0..60 {
        rig.now = Now::START.after(secs(second));
        for _ in 0..20 {
            rig.say(chatters, Message::KeepAlive);
            rig.say(has, Message::Have(PieceIndex(0)));
        }
        rig.say(says_little, Message::Choke);
    }
    assert_eq!(rig.closed, [chatters]);
    let chatter = |e: &&Event| {
        let why = CloseReason::Protocol(CHATTER);
        matches!(e, Event::PeerGone { why: said, .. } if *said == why)
    };
    assert_eq!(rig.events.iter().filter(chatter).count(), 1);
}
