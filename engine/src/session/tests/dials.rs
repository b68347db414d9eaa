//! Dials: how many, how often, and who gives way to whom when all places are taken.

use std::net::IpAddr;

use super::peers::{bits, told};
use super::*;

#[test]
fn dials_are_bounded_and_an_answer_makes_room_for_the_next() {
    let mut rig = Plan::new(1, 1).start();
    rig.feed(Input::Peers((1..=100).map(|n| told(n, None)).collect()));
    assert_eq!(rig.dialled.len(), 16);
    for n in 0..60 {
        let Some(&to) = rig.dialled.get(n) else { break };
        let conn = rig.free_conn();
        rig.feed(Input::Connected {
            conn,
            addr: to,
            inbound: false,
        });
    }
    assert_eq!(rig.dialled.len(), 50, "connections_max");
    let late = rig.connect(200, true);
    assert_eq!(rig.closed, [late], "and nobody else is let in");
    let first = rig.torrent.peers[0].as_ref().expect("connected").conn;
    rig.gone(first);
    assert_eq!(rig.dialled.len(), 50, "one more, but not at this pace");
    rig.wait(secs(1));
    assert_eq!(rig.dialled.len(), 51);
}

/// Whoever was dialled first and has not been heard of answers, and wants something or is a seed.
fn answer(rig: &mut Rig, first: &mut usize, wants: bool) {
    let IpAddr::V4(ip) = rig.dialled[*first].ip() else {
        panic!("IPv4")
    };
    *first += 1;
    let n = ip.octets()[3];
    let conn = rig.connect(n, false);
    rig.shake(conn, n);
    let all = bits(&[0xc0]);
    rig.say(conn, if wants { Message::Interested } else { all });
}

#[test]
fn a_seed_that_dials_seeds_alone_dials_less_until_somebody_wants_something() {
    let mut rig = Plan::new(2, 1).seed().config(|c| c.dials_max = 2).start();
    rig.feed(Input::Peers((1..=100).map(|n| told(n, None)).collect()));
    let mut first = 0;
    for dialled in [3, 4, 5, 5, 5] {
        answer(&mut rig, &mut first, false);
        assert_eq!(rig.dialled.len(), dialled);
    }
    rig.wait(secs(5) - ms(1));
    assert_eq!(rig.dialled.len(), 5);
    rig.wait(ms(1));
    assert_eq!(rig.dialled.len(), 6);
    answer(&mut rig, &mut first, false);
    rig.wait(secs(9));
    assert_eq!(rig.dialled.len(), 6, "twice as long");
    rig.wait(secs(1));
    assert_eq!(rig.dialled.len(), 7);
    answer(&mut rig, &mut first, true);
    assert_eq!(rig.dialled.len(), 9, "two at once");
    let addr = rig.dialled[first];
    rig.feed(Input::ConnectFailed { addr });
    assert_eq!(rig.dialled.len(), 10, "another one in place of nobody");
}

#[test]
fn a_seed_among_seeds_dials_again_when_a_tracker_names_peers_and_after_a_pause() {
    let mut rig = Plan::new(2, 1)
        .seed()
        .tracked()
        .config(|c| c.dials_max = 2)
        .start();
    rig.feed(Input::Peers((1..=20).map(|n| told(n, None)).collect()));
    let mut first = 0;
    for _ in 0..5 {
        answer(&mut rig, &mut first, false);
    }
    assert_eq!(rig.dialled.len(), 5);
    rig.feed(Input::announced(Ok(AnnounceReply {
        peers: vec![told(30, None)],
        ..AnnounceReply::default()
    })));
    assert_eq!(rig.dialled.len(), 7);
    answer(&mut rig, &mut first, false);
    answer(&mut rig, &mut first, false);
    assert_eq!(rig.dialled.len(), 7);
    rig.feed(Input::Pause);
    rig.feed(Input::Resume);
    assert_eq!(rig.dialled.len(), 9);
}

#[test]
fn dials_to_nobody_take_no_place_from_who_comes() {
    let mut rig = Plan::new(1, 1).config(|c| c.connections_max = 2).start();
    rig.feed(Input::Peers(vec![told(1, None), told(2, None)]));
    assert_eq!(rig.dialled.len(), 2);
    let early = rig.connect(3, true);
    assert_eq!(rig.closed, [early], "both may still be answered");
    rig.wait(secs(5));
    let (first, second) = (rig.connect(4, true), rig.connect(5, true));
    let conn = rig.free_conn();
    let (addr, inbound) = (addr(1), false);
    rig.feed(Input::Connected {
        conn,
        addr,
        inbound,
    });
    assert_eq!(rig.closed, [early, conn], "an answer that comes too late");
    assert!(rig.torrent.slot(first).is_some() && rig.torrent.slot(second).is_some());
}

/// Two places, both taken by peers who have nothing, as we do.
fn empty_handed(known: Vec<PeerAddr>) -> (Rig, ConnId) {
    let mut rig = Plan::new(1, 1).config(|c| c.connections_max = 2).start();
    let (first, _) = (rig.holder(1, &[]), rig.holder(2, &[]));
    rig.feed(Input::Peers(known));
    rig.wait(secs(50));
    assert_eq!((rig.dialled.len(), rig.closed.len()), (0, 0), "too soon");
    (rig, first)
}

#[test]
fn a_connection_of_no_use_gives_way_to_a_dial_one_at_a_time() {
    let (mut rig, first) = empty_handed(vec![told(8, None), told(9, None)]);
    rig.wait(secs(20));
    assert_eq!(rig.closed, [first]);
    assert_eq!(rig.parted(1), [CloseReason::Idle]);
    assert_eq!(rig.dialled.len(), 1);
}

#[test]
fn nobody_gives_way_while_there_is_nobody_else() {
    let (mut rig, _) = empty_handed(Vec::new());
    rig.wait(secs(50));
    assert_eq!(rig.closed, []);
}

#[test]
fn a_connection_of_no_use_gives_way_to_who_comes_and_one_of_use_does_not() {
    let (mut rig, first) = empty_handed(Vec::new());
    rig.wait(secs(20));
    let source = rig.source(3);
    assert_eq!(rig.closed, [first]);
    let second = rig.source(4);
    assert_eq!(rig.parted(2), [CloseReason::Idle]);
    rig.wait(secs(70));
    let late = rig.connect(5, true);
    assert_eq!(rig.closed.last(), Some(&late));
    assert!(!rig.closed.contains(&source) && !rig.closed.contains(&second));
}

#[test]
fn a_dial_that_fails_is_repeated_later_and_later() {
    let mut rig = Plan::new(1, 1).start();
    rig.feed(Input::Peers(vec![told(1, None)]));
    for (n, pause) in (1..).zip([5, 10, 20, 40]) {
        rig.feed(Input::ConnectFailed { addr: addr(1) });
        rig.wait(secs(pause) - ms(1));
        assert_eq!(rig.dialled.len(), n);
        rig.wait(ms(1));
        assert_eq!(rig.dialled.len(), n + 1);
    }
    rig.wait(secs(15));
    assert_eq!(rig.abandoned, [addr(1)], "no answer at all");
    assert_eq!(rig.count(|e| matches!(e, Event::DialFailed { .. })), 5);
}

/// `liar`: it claims everything, delivers nothing and takes a place.
#[test]
fn who_never_carried_a_block_makes_room_after_a_time_when_there_is_no_other() {
    let mut rig = Plan::new(4, 4)
        .config(|c| (c.connections_max, c.barren_timeout) = (2, secs(100)))
        .start();
    let giver = rig.source(1);
    rig.give(giver, at(0, 0));
    let liar = rig.holder(2, &[0, 1, 2, 3]);
    rig.wait(secs(99));
    let early = rig.connect(3, true);
    assert_eq!(rig.closed, [early]);
    rig.wait(secs(2));
    let newcomer = rig.connect(4, true);
    assert_eq!(rig.closed, [early, liar]);
    assert_eq!(rig.parted(2), [CloseReason::Barren]);
    let another = rig.connect(5, true);
    assert_eq!(
        rig.closed,
        [early, liar, another],
        "the giver stays, and who just came"
    );
    rig.shake(newcomer, 4);
    rig.say(giver, Message::KeepAlive);
    rig.wait(secs(101));
    let again = rig.connect(2, true);
    assert_eq!(rig.closed[3..], [again], "it takes nobody's place");
    let last = rig.connect(6, true);
    assert_eq!(rig.closed[4..], [newcomer], "others do");
    rig.shake(last, 6);
}

/// Those who make room come back in the same moment, and there are more of them than of others.
#[test]
fn who_was_of_no_use_has_no_time_when_it_comes_back_and_takes_no_place_of_others() {
    let mut rig = Plan::new(4, 4)
        .seed()
        .config(|c| c.connections_max = 2)
        .start();
    let idle = [rig.holder(1, &[0]), rig.holder(2, &[0])];
    rig.wait(secs(61));
    let strangers = [rig.holder(3, &[0]), rig.holder(4, &[0])];
    assert_eq!(rig.closed, idle);
    rig.wait(secs(61));
    let back = rig.connect(1, true);
    assert_eq!(
        rig.closed[2..],
        [back],
        "strangers stay, idle as they are, before it"
    );
    rig.gone(strangers[1]);
    let back = rig.holder(1, &[0]);
    let other = rig.connect(2, true);
    assert_eq!(rig.closed[3..], [other], "it was there a moment ago");
    let taker = rig.taker(5);
    assert_eq!(rig.closed[4..], [back], "others need not wait");
    rig.wait(secs(1));
    let again = rig.taker(1);
    assert_eq!(rig.closed[5..], [again]);
    // Who gets something keeps its place.
    let (piece, other) = (at(0, 0), rig.taker(6));
    assert_eq!(rig.closed[6..], [strangers[0]]);
    rig.say(other, Message::Request(piece));
    rig.say(taker, Message::Request(piece));
    rig.wait(secs(300));
    let stranger = rig.connect(7, true);
    assert_eq!(rig.closed[7..], [stranger]);
}
