//! Who may download from us, when that changes, and that it is fair.

use super::*;

use super::super::choking::Choking;
use crate::config::RateLimit;

fn unchokes(rig: &Rig, n: u8) -> usize {
    rig.count(|e| matches!(e, Event::Unchoked { peer, .. } if *peer == addr(n)))
}

/// One slot, and it is the optimistic one.
fn one_optimistic() -> Plan {
    Plan::new(4, 1)
        .having(&[0])
        .config(|c| (c.upload_slots, c.optimistic_slots) = (1, 1))
}

/// Peers whose slot is marked optimistic.
fn optimistic(rig: &Rig) -> usize {
    let peers = rig.torrent.peers.iter().flatten();
    peers.filter(|p| p.unchoked && p.optimistic).count()
}

/// `first-unchoke-latency`.
#[test]
fn a_free_slot_goes_to_the_interested_at_once() {
    let mut rig = Plan::new(4, 1).seed().start();
    rig.wait(secs(3));
    let peer = rig.join(1);
    assert_eq!(unchokes(&rig, 1), 0);
    rig.say(peer, Message::Interested);
    assert!(rig.heard(peer).contains(&Message::Unchoke));
}

#[test]
fn without_the_switch_a_free_slot_waits_for_the_round() {
    let mut rig = Plan::new(4, 1)
        .seed()
        .config(|c| c.unchoke_on_interest = false)
        .start();
    let peer = rig.taker(1);
    assert!(!rig.unchoked(peer));
    rig.wait(secs(10));
    assert!(rig.unchoked(peer));
}

#[test]
fn slots_are_bounded_and_a_peer_that_leaves_frees_its_slot_at_once() {
    for plan in [Plan::new(4, 1).having(&[0]), Plan::new(4, 1).seed()] {
        let mut rig = plan.start();
        let conns: Vec<_> = (1..=7).map(|n| rig.taker(n)).collect();
        let served =
            |rig: &Rig, conns: &[ConnId]| conns.iter().filter(|c| rig.unchoked(**c)).count();
        assert_eq!(served(&rig, &conns), 4);
        rig.gone(conns[1]);
        assert_eq!(served(&rig, &[&conns[..1], &conns[2..]].concat()), 4);
        for _ in 0..60 {
            rig.wait(secs(5));
            assert_eq!(served(&rig, &[&conns[..1], &conns[2..]].concat()), 4);
        }
    }
}

#[test]
fn a_peer_that_loses_interest_frees_its_slot_and_takes_one_again_when_it_returns() {
    let mut rig = Plan::new(4, 1).having(&[0]).start();
    let conns: Vec<_> = (1..=5).map(|n| rig.taker(n)).collect();
    assert!(!rig.unchoked(conns[4]));
    rig.say(conns[0], Message::NotInterested);
    assert!(rig.unchoked(conns[0]) && rig.unchoked(conns[4]));
    rig.say(conns[0], Message::Interested);
    let served = conns.iter().filter(|c| rig.unchoked(**c)).count();
    assert_eq!(served, 4, "one had to go");
}

#[test]
fn the_bound_holds_when_the_only_slot_is_optimistic() {
    let mut rig = one_optimistic().start();
    let (a, b) = (rig.taker(1), rig.taker(2));
    for _ in 0..3 {
        rig.say(a, Message::NotInterested);
        assert!(rig.unchoked(b));
        rig.say(a, Message::Interested);
        assert!(rig.unchoked(a) != rig.unchoked(b));
        rig.wait(secs(11));
    }
}

#[test]
fn there_is_one_optimistic_slot_even_while_a_regular_one_is_free() {
    let mut rig = Plan::new(4, 1).having(&[0]).start();
    let conns: Vec<_> = (1..=4).map(|n| rig.taker(n)).collect();
    assert_eq!(optimistic(&rig), 1);
    rig.say(conns[0], Message::NotInterested);
    rig.taker(5);
    assert_eq!(optimistic(&rig), 1, "the free slot was a regular one");
}

/// `peer-death-releases`, the slots.
#[test]
fn a_peer_that_dies_gives_back_its_slot_also_the_optimistic_one() {
    let mut rig = one_optimistic().start();
    let (a, b) = (rig.taker(1), rig.taker(2));
    assert!(rig.unchoked(a) && !rig.unchoked(b));
    rig.gone(a);
    assert!(rig.unchoked(b));
    assert_eq!(optimistic(&rig), 1);
}

#[test]
fn between_choke_and_unchoke_of_one_peer_are_ten_seconds() {
    let mut rig = one_optimistic().start();
    rig.wait(secs(10));
    let (a, b) = (rig.taker(1), rig.taker(2));
    rig.wait(secs(31));
    assert!(!rig.unchoked(a) && rig.unchoked(b), "the slot moved on");
    let choked = |e: &Event| matches!(e, Event::Choked { peer } if *peer == addr(1));
    let when = rig
        .events
        .iter()
        .rfind(|(_, e)| choked(e))
        .expect("choked")
        .0;
    rig.gone(b);
    assert!(!rig.unchoked(a));
    rig.wait(secs(20));
    let again = rig
        .events
        .iter()
        .rfind(|(_, e)| matches!(e, Event::Unchoked { peer, .. } if *peer == addr(1)));
    let pause = again.expect("unchoked again").0.since(when);
    assert!(pause >= secs(10) && pause <= secs(20), "{pause:?}");
}

/// Time that each of `n` peers was unchoked, in seconds.
fn served(rig: &Rig, n: u8) -> Vec<f64> {
    let times = (1..=n).map(|n| {
        let (mut total, mut since) = (Duration::ZERO, None);
        for (when, event) in &rig.events {
            match event {
                Event::Unchoked { peer, .. } if *peer == addr(n) => since = Some(*when),
                Event::Choked { peer } if *peer == addr(n) => {
                    total += when.since(since.take().expect("was unchoked"));
                }
                _ => {}
            }
        }
        total + since.map_or(Duration::ZERO, |since| rig.now.since(since))
    });
    times.map(|time| time.as_secs_f64()).collect()
}

/// `optimistic-fairness`.
#[test]
fn twenty_idle_peers_share_one_optimistic_slot_evenly() {
    let mut rig = one_optimistic().start();
    for n in 1..=20 {
        rig.taker(n);
    }
    rig.wait(secs(30 * 60));
    let served = served(&rig, 20);
    for (n, time) in (1..).zip(&served) {
        assert!(
            (time - 90.0).abs() < 1.5,
            "peer {n} had the slot for {time} s of 1800 / 20"
        );
    }
}

/// BEP 3 gives newcomers three times the chance; here three of them come before who had the slot.
#[test]
fn newcomers_of_three_rounds_come_before_who_had_the_optimistic_slot() {
    let mut rig = one_optimistic().start();
    rig.taker(1);
    rig.wait(secs(35));
    let mut order = Vec::new();
    for n in 2..6 {
        rig.taker(n);
        rig.wait(secs(30));
    }
    rig.wait(secs(120));
    for (_, event) in &rig.events {
        if let Event::Unchoked { peer, .. } = event {
            order.push(peer.ip().to_string());
        }
    }
    let turns: Vec<_> = order
        .iter()
        .map(|ip| ip.rsplit('.').next().expect("a part"))
        .collect();
    assert_eq!(turns[..4], ["1", "2", "3", "4"]);
    let again = turns
        .iter()
        .skip(1)
        .position(|n| *n == "1")
        .expect("its turn comes");
    assert!(again >= 3, "{turns:?}");
}

#[test]
fn a_seed_gives_everybody_a_turn() {
    let mut rig = Plan::new(4, 1).seed().start();
    for n in 1..=12 {
        rig.taker(n);
    }
    rig.wait(secs(30 * 60));
    let served = served(&rig, 12);
    for (n, time) in (1..).zip(&served) {
        assert!(
            (time - 600.0).abs() < 200.0,
            "peer {n} had a slot for {time} s of 4 x 1800 / 12"
        );
    }
}

/// Five peers of which four send us what we asked for; the slots after two rounds.
fn who_is_served(junk: bool) -> Vec<bool> {
    let mut rig = Plan::new(64, 1)
        .config(|c| (c.optimistic_slots, c.strays_max) = (0, u32::MAX))
        .start();
    rig.torrent.choking = {
        let choker = Box::new(TitForTat::default());
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let config = &rig.torrent.config;
        let mut choking = Choking::new(choker, config, &mut rng);
        choking.begin(Now::START);
        choking
    };
    let conns: Vec<_> = (1..=5).map(|n| rig.source(n)).collect();
    for conn in &conns {
        rig.say(*conn, Message::Interested);
    }
    for _ in 0..30 {
        rig.wait(ms(700));
        for conn in &conns[1..] {
            if let Some(range) = rig.asked(*conn).first() {
                rig.give(*conn, *range);
            }
        }
        if junk {
            for block in 0..10 {
                rig.give(conns[0], at(63 - block, 0));
            }
        }
    }
    conns.iter().map(|conn| rig.unchoked(*conn)).collect()
}

/// `junk-for-unchoke`.
#[test]
fn junk_buys_no_unchoke() {
    assert_eq!(who_is_served(true), [false, true, true, true, true]);
    assert_eq!(who_is_served(false), [false, true, true, true, true]);
}

/// `slot-thief`: interested for ever, and asking for nothing or almost nothing.
#[test]
fn who_hardly_uses_a_seeds_slot_gives_it_to_who_waits() {
    // With the least rate, the blocks that the holder asks for in a round, and who has the slot later.
    for (least, asks, moves) in [
        (4096, 0, true),
        (4096, 1, true),
        (4096, 3, false),
        (0, 0, false),
    ] {
        let mut rig = Plan::new(8, 8)
            .seed()
            .config(|c| (c.upload_slots, c.slot_rate_min) = (1, RateLimit(least)))
            .start();
        let (holder, other) = (rig.taker(1), rig.taker(2));
        assert!(rig.unchoked(holder) && !rig.unchoked(other));
        for round in 0..3 {
            for block in 0..asks {
                rig.say(holder, Message::Request(at(round, block)));
                rig.feed(Input::SendRoom {
                    conn: holder,
                    queued: 0,
                });
            }
            rig.wait(secs(10));
        }
        assert_eq!(
            unchokes(&rig, 2) > 0,
            moves,
            "{least} bytes/s, {asks} blocks"
        );
    }
}

#[test]
fn a_slot_that_is_hardly_used_stays_where_nobody_waits() {
    let mut rig = Plan::new(8, 8).seed().start();
    let holders: Vec<_> = (1..=4).map(|n| rig.taker(n)).collect();
    rig.wait(secs(40));
    assert!(holders.iter().all(|conn| rig.unchoked(*conn)));
    assert_eq!(unchokes(&rig, 1), 1);
}
