//! Fetches of metadata: honest sources, liars of every kind, silence, refusals, departures.

mod rig;

use proptest::prelude::*;

use super::*;
use crate::ids::PieceIndex;
use crate::tracker::announce::AnnounceReply;
use crate::wire::metadata::MetadataMessage;
use crate::wire::pex::Pex;

use rig::{BLOCKS, Kind, Rig, SIZE, addr, secs};

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
