//! Many connections of one address: places, slots, and ids that are said elsewhere.

use super::*;

use crate::config::RateLimit;

/// A connection of somebody at the address that ends with `host`, with the port `port`.
fn from(rig: &mut Rig, host: u8, port: u16, inbound: bool) -> ConnId {
    let conn = rig.free_conn();
    let addr = SocketAddr::from(([10, 7, 0, host], port));
    rig.feed(Input::Connected {
        conn,
        addr,
        inbound,
    });
    conn
}

/// An engine with six places, all of which peers at one address have.
fn crowded(config: fn(&mut EngineConfig)) -> (Rig, Vec<ConnId>) {
    let plan = Plan::new(4, 4).config(|c| (c.connections_max, c.idle_timeout) = (6, secs(10_000)));
    let mut rig = plan.config(config).start();
    let crowd = (0..6).map(|n| {
        let conn = from(&mut rig, 9, 1000 + n, true);
        rig.shake(conn, 50 + u8::try_from(n).unwrap());
        conn
    });
    let crowd = crowd.collect();
    (rig, crowd)
}

#[test]
fn a_crowd_at_one_address_makes_room_for_others_until_all_have_as_many() {
    let (mut rig, crowd) = crowded(|_| ());
    for host in 1..=3 {
        from(&mut rig, host, 1, true);
    }
    // The crowd's last come go first.
    assert_eq!(rig.closed.len(), 3);
    assert!(rig.closed.iter().all(|conn| crowd.contains(conn)));
    // Three are left of it: one more newcomer has room, and then two are no crowd.
    let fits = from(&mut rig, 4, 1, true);
    let late = from(&mut rig, 5, 1, true);
    assert!(!rig.closed.contains(&fits) && rig.closed.contains(&late));
    // Nor does it take places of others.
    let again = from(&mut rig, 9, 2000, true);
    assert_eq!(rig.closed.last(), Some(&again));
    assert_eq!(rig.torrent.connections, 6);

    let (mut rig, _) = crowded(|c| c.share_places = false);
    let late = from(&mut rig, 1, 1, true);
    assert_eq!(rig.closed, [late]);
}

#[test]
fn who_has_only_a_crowd_for_neighbours_dials_elsewhere() {
    let elsewhere = SocketAddr::from(([10, 7, 0, 1], 6881));
    let there = SocketAddr::from(([10, 7, 0, 9], 6881));
    let told = [there, elsewhere].map(|addr| PeerAddr { addr, id: None });
    let (mut rig, _) = crowded(|_| ());
    rig.feed(Input::Peers(told.to_vec()));
    assert_eq!(rig.dialled, [elsewhere]);
    assert_eq!(rig.closed.len(), 1, "one gave way for it");

    let (mut rig, _) = crowded(|c| c.share_places = false);
    rig.feed(Input::Peers(told.to_vec()));
    assert_eq!(rig.dialled, []);
}

#[test]
fn who_carries_something_is_no_part_of_a_crowd() {
    let (mut rig, crowd) = crowded(|_| ());
    for conn in &crowd {
        rig.say(*conn, Message::Bitfield(Bytes::from_static(&[0xf0])));
        rig.say(*conn, Message::Unchoke);
    }
    let late = from(&mut rig, 1, 1, true);
    assert_eq!(rig.closed, [late], "blocks are asked for on all of them");
}

#[test]
fn peers_at_one_address_have_so_many_slots_and_others_the_rest() {
    for (bound, slots) in [(2, 2), (4, 4)] {
        let plan = Plan::new(4, 4).seed();
        // Nobody here asks for anything: nobody is to lose the slot for that.
        let plan = plan.config(|c| c.slot_rate_min = RateLimit(0));
        let mut rig = plan.config(|c| c.slots_per_address = bound).start();
        let crowd: Vec<ConnId> = (0..6)
            .map(|n| {
                let conn = from(&mut rig, 9, 1000 + n, true);
                rig.shake(conn, 50 + u8::try_from(n).unwrap());
                rig.say(conn, Message::Interested);
                conn
            })
            .collect();
        let held = |rig: &Rig| crowd.iter().filter(|c| rig.unchoked(**c)).count();
        assert_eq!(held(&rig), slots);
        for _ in 0..4 {
            rig.wait(secs(10));
            assert!(held(&rig) <= slots, "{} of {slots}", held(&rig));
        }
        let others = [rig.taker(1), rig.taker(2)];
        rig.wait(secs(40));
        assert!(held(&rig) <= slots);
        assert!(others.iter().all(|conn| rig.unchoked(*conn)) || bound == 4);
    }
}

#[test]
fn who_unchoked_and_of_no_interest_wants_a_slot_again_gets_none_too_many() {
    let mut rig = Plan::new(4, 4).seed().start();
    let crowd: Vec<ConnId> = (0..3)
        .map(|n| {
            let conn = from(&mut rig, 9, 1000 + n, true);
            rig.shake(conn, 50 + u8::try_from(n).unwrap());
            conn
        })
        .collect();
    rig.say(crowd[0], Message::Interested);
    rig.say(crowd[0], Message::NotInterested);
    assert!(rig.unchoked(crowd[0]), "it stays so");
    rig.say(crowd[1], Message::Interested);
    rig.say(crowd[2], Message::Interested);
    rig.say(crowd[0], Message::Interested);
    assert_eq!(
        crowd.iter().map(|c| rig.unchoked(*c)).collect::<Vec<_>>(),
        [false, true, true]
    );
}

#[test]
fn who_says_the_id_of_another_at_another_address_takes_nothing_from_it() {
    for (by_address, closed) in [(true, 0), (false, 1)] {
        let plan = Plan::new(4, 4).config(|c| c.ids_by_address = by_address);
        let mut rig = plan.start();
        // We dialled the honest one, whose id is below ours: it would lose.
        rig.feed(Input::Peers(vec![PeerAddr {
            addr: addr(1),
            id: None,
        }]));
        let honest = rig.connect(1, false);
        rig.shake(honest, 1);
        let thief = from(&mut rig, 9, 1000, true);
        rig.shake(thief, 1);
        assert_eq!(rig.closed.len(), closed);
        assert_eq!(rig.closed.contains(&honest), !by_address);
        // At the same address it is the same peer.
        let again = rig.free_conn();
        rig.feed(Input::Connected {
            conn: again,
            addr: SocketAddr::new(addr(1).ip(), 5555),
            inbound: true,
        });
        rig.shake(again, 1);
        assert_eq!(rig.closed.len(), closed + 1);
    }
}
