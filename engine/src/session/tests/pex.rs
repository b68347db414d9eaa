//! Peer exchange: what is told to whom and when, and what is made of what others tell.

use super::peers::told;
use super::*;

use crate::wire::extension::ExtendedHandshake;
use crate::wire::handshake::EXTENSIONS;
use crate::wire::pex::{PEX_ID, Pex, REACHABLE, SEED};

/// Its id for what we tell it.
const ITS_ID: u8 = 44;

/// A peer that dialled us, listens at its usual port and takes peer exchange.
pub(super) fn exchanger(rig: &mut Rig, n: u8) -> ConnId {
    let conn = rig.join_as(n, &[EXTENSIONS]);
    offer(rig, conn, Some(6881));
    conn
}

fn offer(rig: &mut Rig, conn: ConnId, port: Option<u16>) {
    let introduction = ExtendedHandshake {
        pex: Some(ITS_ID),
        port,
        ..ExtendedHandshake::default()
    };
    rig.introduce(conn, &introduction);
}

/// As good as no choke round to wait for.
fn frequent_rounds(pieces: u32) -> Plan {
    Plan::new(pieces, 1).config(|c| c.choke_interval = secs(1))
}

/// What a peer was told since the last question: added with flags, and dropped, by number.
type Heard = (Vec<(u8, u8)>, Vec<u8>);

fn number(addr: &SocketAddr) -> u8 {
    match addr {
        SocketAddr::V4(addr) => addr.ip().octets()[3],
        SocketAddr::V6(addr) => panic!("{addr}"),
    }
}

fn exchanged(rig: &mut Rig, conn: ConnId) -> Vec<Heard> {
    let heard = rig.heard(conn).into_iter();
    let heard = heard.filter_map(|message| match message {
        Message::Extended { id, payload } if id == ITS_ID => {
            let pex = Pex::read(&payload, 9999, 9999).expect("ours is well-formed");
            let added = pex.added.iter().map(|(addr, flags)| (number(addr), *flags));
            Some((added.collect(), pex.dropped.iter().map(number).collect()))
        }
        _ => None,
    });
    heard.collect()
}

/// A peer tells of these addresses.
pub(super) fn tell(rig: &mut Rig, conn: ConnId, added: &[SocketAddr]) {
    let mut added: Vec<_> = added.iter().map(|addr| (*addr, 0)).collect();
    added.sort_unstable();
    let pex = Pex {
        added,
        dropped: Vec::new(),
    };
    rig.say(conn, pex.message(PEX_ID));
}

pub(super) fn learned(rig: &Rig) -> Vec<u32> {
    let events = rig.events.iter();
    let learned = events.filter_map(|(_, event)| match event {
        Event::PexReceived { learned, .. } => Some(*learned),
        _ => None,
    });
    learned.collect()
}

#[test]
fn a_peer_is_told_after_a_moment_then_once_a_minute_and_only_of_changes() {
    let mut rig = frequent_rounds(9).having(&[0]).start();
    let one = exchanger(&mut rig, 1);
    let two = exchanger(&mut rig, 2);
    rig.wait(secs(4));
    assert_eq!(exchanged(&mut rig, one), []);
    rig.wait(secs(2));
    assert_eq!(exchanged(&mut rig, one), [(vec![(2, 0)], vec![])]);
    assert_eq!(exchanged(&mut rig, two), [(vec![(1, 0)], vec![])]);
    exchanger(&mut rig, 3);
    rig.wait(secs(58));
    assert_eq!(exchanged(&mut rig, one), [], "not within the minute");
    rig.wait(secs(3));
    assert_eq!(exchanged(&mut rig, one), [(vec![(3, 0)], vec![])]);
    rig.wait(secs(300));
    assert_eq!(exchanged(&mut rig, one), [], "nothing changed");
    rig.gone(two);
    rig.wait(secs(4));
    assert_eq!(exchanged(&mut rig, one), []);
    rig.wait(secs(2));
    assert_eq!(exchanged(&mut rig, one), [(vec![], vec![2])]);
    let sent = rig.count(|e| matches!(e, Event::PexSent { peer, .. } if *peer == addr(1)));
    assert_eq!(sent, 3);
}

#[test]
fn nobody_is_woken_for_it_but_told_in_the_choke_round() {
    let mut rig = Plan::new(9, 1).having(&[0]).start();
    for n in 1..=6 {
        exchanger(&mut rig, n);
        rig.wait(secs(3));
    }
    for n in 7..=12 {
        rig.wait(secs(60));
        exchanger(&mut rig, n);
    }
    rig.wait(secs(60));
    let sent = |(at, event): &(Now, Event)| matches!(event, Event::PexSent { .. }).then_some(*at);
    let sent: Vec<_> = rig.events.iter().filter_map(sent).collect();
    let interval = rig.torrent.config.choke_interval;
    for at in &sent {
        let rounds = at.since(sent[0]).as_nanos() / interval.as_nanos();
        let rounds = u32::try_from(rounds).expect("few");
        assert_eq!(sent[0].after(interval * rounds), *at);
    }
    assert!(sent.len() > 40, "{}", sent.len());
}

#[test]
fn who_came_and_went_between_two_messages_is_never_mentioned() {
    let mut rig = Plan::new(9, 1).having(&[0]).start();
    let one = exchanger(&mut rig, 1);
    rig.wait(secs(6));
    let two = exchanger(&mut rig, 2);
    rig.gone(two);
    rig.wait(secs(120));
    assert_eq!(exchanged(&mut rig, one), []);
}

#[test]
fn only_who_can_be_reached_is_told_and_flags_say_how() {
    let mut rig = frequent_rounds(3).start();
    let one = exchanger(&mut rig, 1);
    // Nobody knows where this one listens.
    let quiet = rig.join_as(2, &[EXTENSIONS]);
    offer(&mut rig, quiet, None);
    // We dialled this one; it has everything.
    rig.feed(Input::Peers(vec![told(3, None)]));
    assert_eq!(rig.dialled, [addr(3)]);
    let three = rig.connect(3, false);
    rig.shake(three, 3);
    rig.say(three, Message::Bitfield(Bytes::from_static(&[0xe0])));
    // This one has not said who it is.
    rig.connect(4, true);
    rig.wait(secs(6));
    assert_eq!(
        exchanged(&mut rig, one),
        [(vec![(3, SEED | REACHABLE)], vec![])]
    );
    assert_eq!(
        exchanged(&mut rig, quiet),
        [(vec![(1, 0), (3, SEED | REACHABLE)], vec![])]
    );
}

#[test]
fn a_message_holds_no_more_than_it_may_and_the_rest_comes_later() {
    let plan = frequent_rounds(9).having(&[0]).config(|c| {
        c.pex_first_max = 3;
        c.pex_added_max = 2;
        c.pex_dropped_max = 2;
    });
    let mut rig = plan.start();
    let one = exchanger(&mut rig, 1);
    let others: Vec<_> = (2..=8).map(|n| exchanger(&mut rig, n)).collect();
    rig.wait(secs(129));
    let added: Vec<_> = exchanged(&mut rig, one)
        .iter()
        .map(|(added, _)| added.len())
        .collect();
    assert_eq!(added, [3, 2, 2]);
    for conn in &others[..5] {
        rig.gone(*conn);
    }
    rig.wait(secs(180));
    let dropped: Vec<_> = exchanged(&mut rig, one)
        .into_iter()
        .map(|(_, dropped)| dropped)
        .collect();
    assert_eq!(dropped, [vec![2, 3], vec![4, 5], vec![6]]);
}

#[test]
fn a_peer_that_takes_it_no_more_is_told_no_more() {
    let mut rig = Plan::new(9, 1).having(&[0]).start();
    let one = exchanger(&mut rig, 1);
    exchanger(&mut rig, 2);
    let off = ExtendedHandshake {
        pex: Some(0),
        ..ExtendedHandshake::default()
    };
    rig.introduce(one, &off);
    rig.wait(secs(200));
    assert_eq!(exchanged(&mut rig, one), []);
}

#[test]
fn what_a_peer_tells_is_dialled() {
    let mut rig = Plan::new(9, 1).start();
    let one = exchanger(&mut rig, 1);
    let two = exchanger(&mut rig, 2);
    // One is the teller itself, another is connected already.
    tell(&mut rig, one, &[addr(1), addr(2), addr(7)]);
    assert_eq!(rig.dialled, [addr(7)]);
    assert_eq!(learned(&rig), [3]);
    tell(&mut rig, two, &[addr(7)]);
    assert_eq!((rig.dialled.len(), learned(&rig)), (1, vec![3, 0]));
}

#[test]
fn who_tells_too_often_is_not_heeded() {
    let mut rig = Plan::new(9, 1).start();
    let one = exchanger(&mut rig, 1);
    tell(&mut rig, one, &[addr(7)]);
    rig.wait(secs(44));
    tell(&mut rig, one, &[addr(8)]);
    assert!(!rig.dialled.contains(&addr(8)));
    let ignored = |rig: &Rig| rig.count(|e| matches!(e, Event::PexIgnored { .. }));
    assert_eq!(ignored(&rig), 1);
    rig.wait(secs(1));
    tell(&mut rig, one, &[addr(9)]);
    assert!(rig.dialled.contains(&addr(9)));
    assert_eq!((ignored(&rig), rig.closed.len()), (1, 0));
}

#[test]
fn impossible_addresses_our_own_and_the_banned_are_not_dialled() {
    let mut rig = Plan::new(3, 1).start();
    let one = exchanger(&mut rig, 1);
    let our_ip = ExtendedHandshake {
        your_ip: Some([10, 0, 0, 99].into()),
        ..ExtendedHandshake::default()
    };
    rig.introduce(one, &our_ip);
    let liar = rig.source(9);
    let asked = rig.asked(liar);
    rig.give_wrong(liar, asked[0]);
    assert_eq!(rig.parted(9), [CloseReason::Banned]);
    let other_port = SocketAddr::from(([10, 0, 0, 9], 7));
    let bad = [
        "127.0.0.1:1",
        "0.0.0.0:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[::1]:1",
        "[::]:1",
    ];
    let mut bad: Vec<SocketAddr> = bad.map(|a| a.parse().expect("an address")).into();
    bad.extend([addr(99), addr(9), other_port]);
    tell(&mut rig, one, &bad);
    assert_eq!((rig.dialled.clone(), learned(&rig)), (vec![], vec![0]));
}

#[test]
fn of_a_liar_no_more_than_its_share_is_remembered_and_taken() {
    let plan = Plan::new(9, 1).config(|c| {
        c.pex_contacts_max = 12;
        c.pex_first_max = 10;
        c.pex_added_max = 5;
    });
    let mut rig = plan.start();
    let liar = exchanger(&mut rig, 1);
    let many: Vec<_> = (100..160).map(addr).collect();
    tell(&mut rig, liar, &many);
    rig.wait(secs(60));
    tell(&mut rig, liar, &many[20..]);
    assert_eq!(learned(&rig), [10, 2]);
}

#[test]
fn of_a_private_torrent_nothing_is_offered_told_or_heard() {
    for (private, on) in [(true, true), (false, false), (false, true)] {
        let plan = Plan::new(9, 1).config(|c| c.pex = on);
        let mut setup = plan.setup();
        setup.private = private;
        let mut rig = plan.start_with(setup);
        let one = exchanger(&mut rig, 1);
        exchanger(&mut rig, 2);
        let Some(Message::Extended { payload, .. }) = rig.heard(one).into_iter().next() else {
            panic!("an introduction");
        };
        let offered = ExtendedHandshake::read(&payload).expect("ours").pex;
        tell(&mut rig, one, &[addr(7)]);
        rig.say(
            one,
            Message::Extended {
                id: PEX_ID,
                payload: Bytes::from_static(b"rubbish"),
            },
        );
        let closed = rig.closed.len();
        rig.wait(secs(200));
        let exchanges = on && !private;
        assert_eq!(offered, exchanges.then_some(PEX_ID));
        assert_eq!(rig.dialled.contains(&addr(7)), exchanges);
        assert_eq!(closed, 0, "too soon to be looked at");
        let sent = rig.count(|e| matches!(e, Event::PexSent { .. }));
        assert_eq!(sent > 0, exchanges, "{private} {on}");
    }
}

#[test]
fn what_is_no_exchange_closes() {
    for (payload, legal) in [
        (&b"de"[..], true),
        (b"d5:added0:e", true),
        (b"rubbish", false),
        (b"", false),
        (b"d5:added5:12345e", false),
    ] {
        let mut rig = Plan::new(9, 1).start();
        let one = exchanger(&mut rig, 1);
        let payload = Bytes::from_static(payload);
        rig.say(
            one,
            Message::Extended {
                id: PEX_ID,
                payload,
            },
        );
        assert_eq!(rig.closed.is_empty(), legal);
    }
}

#[test]
fn what_both_families_say_is_taken() {
    let mut rig = Plan::new(9, 1).start();
    let one = exchanger(&mut rig, 1);
    let six: SocketAddr = "[2001:db8::1]:5".parse().expect("an address");
    let pex = Pex {
        added: vec![(addr(7), 0), (six, SEED)],
        dropped: vec![addr(8)],
    };
    rig.say(one, pex.message(PEX_ID));
    rig.dialled.sort_unstable();
    assert_eq!(rig.dialled, [addr(7), six]);
    let event = Event::PexReceived {
        peer: addr(1),
        added: 2,
        dropped: 1,
        learned: 2,
    };
    assert_eq!(rig.count(|e| *e == event), 1);
}

#[test]
fn web_seeds_are_not_told_of() {
    let mut plan = frequent_rounds(9);
    plan.web_seeds = vec!["http://web.example/".to_owned()];
    let mut rig = plan.start();
    let found = Ok(addr(200));
    rig.feed(Input::WebSeedFound { seed: 0, found });
    assert_eq!(rig.torrent.peers.iter().flatten().count(), 1);
    let one = exchanger(&mut rig, 1);
    exchanger(&mut rig, 2);
    rig.wait(secs(6));
    assert_eq!(exchanged(&mut rig, one), [(vec![(2, 0)], vec![])]);
}
