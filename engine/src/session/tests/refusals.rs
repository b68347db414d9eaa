//! Who is refused: addresses that the user filters, and peers that say too much that is nothing.

use super::peers::told;
use super::pex::{exchanger, learned, tell};
use super::*;
use crate::ip_filter::{IpFilter, range};

/// A plan that refuses numbers 7 and 8.
fn filtering(plan: Plan) -> Plan {
    plan.config(|c| c.ip_filter = IpFilter::new([range("10.0.0.7-10.0.0.8").expect("a range")]))
}

#[test]
fn the_addresses_of_the_tests_are_what_the_filter_says() {
    let filter = filtering(Plan::new(1, 1)).config.ip_filter;
    let refused = (1..20).filter(|n| filter.refuses(addr(*n).ip()));
    assert_eq!(refused.collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn who_is_filtered_is_dialled_for_no_tracker_and_for_no_user() {
    let mut rig = filtering(Plan::new(2, 1)).start();
    rig.feed(Input::Peers((5..10).map(|n| told(n, None)).collect()));
    let mut dialled = rig.dialled.clone();
    dialled.sort_unstable();
    assert_eq!(dialled, [5, 6, 9].map(addr));
}

#[test]
fn who_is_filtered_is_let_in_by_nobody_and_hears_nothing() {
    let mut rig = filtering(Plan::new(2, 1)).start();
    let refused = rig.connect(7, true);
    let other = rig.connect(9, true);
    assert_eq!((&rig.closed[..], rig.greeted.len()), (&[refused][..], 0));
    rig.shake(other, 9);
    assert_eq!(rig.greeted, [other]);
}

#[test]
fn what_peers_tell_of_who_is_filtered_is_not_remembered() {
    let mut rig = filtering(Plan::new(9, 1).having(&[0])).start();
    let peer = exchanger(&mut rig, 1);
    tell(&mut rig, peer, &[5, 7, 8, 9].map(addr));
    assert_eq!(learned(&rig), [2]);
    assert!(!rig.dialled.contains(&addr(7)) && rig.dialled.contains(&addr(5)));
}

/// Whether a peer that says something so often is closed for it.
fn closed(says: impl Fn(u32) -> Message, seconds: u32, per_second: u32) -> bool {
    let mut rig = Plan::new(200, 1)
        .having(&[0])
        .config(|c| c.audit = Audit::Off)
        .start();
    let peer = rig.join(1);
    for n in 0..seconds * per_second {
        rig.say(peer, says(n));
        rig.now = rig.now.after(secs(1) / per_second);
    }
    let why = rig.parted(1);
    let too_many = CloseReason::Protocol("too many messages that carry nothing");
    assert!(why.is_empty() || why == [too_many], "{why:?}");
    !why.is_empty()
}

#[test]
fn a_peer_that_repeats_itself_ten_thousand_times_is_closed() {
    let again = |_| Message::Have(PieceIndex(5));
    let flaps = |n| match n % 2 {
        0 => Message::Interested,
        _ => Message::NotInterested,
    };
    assert!(closed(again, 3, 6000) && closed(flaps, 3, 6000));
    assert!(closed(|_| Message::KeepAlive, 1, 12_000));
    assert!(!closed(again, 20, 900) && !closed(flaps, 20, 900));
}

#[test]
fn news_requests_and_their_answers_are_no_chatter() {
    let mut rig = Plan::new(30_000, 1)
        .having(&[0])
        .config(|c| {
            c.audit = Audit::Off;
            c.refused_requests_max = 1_000_000;
        })
        .start();
    let peer = rig.taker(1);
    for piece in 1..30_000 {
        rig.have(peer, piece);
    }
    for _ in 0..15_000 {
        rig.say(peer, Message::Request(at(0, 0)));
        rig.say(peer, Message::Cancel(at(0, 0)));
    }
    assert_eq!(rig.parted(1), []);
}

#[test]
fn without_a_limit_nobody_is_closed_for_what_it_says() {
    let plan = Plan::new(2, 1).having(&[0]).config(|c| {
        c.audit = Audit::Off;
        c.chatter_max = 0;
    });
    let mut rig = plan.start();
    let peer = rig.join(1);
    for _ in 0..20_000 {
        rig.have(peer, 1);
    }
    assert_eq!(rig.parted(1), []);
}
