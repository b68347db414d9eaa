//! What is bounded: rates, the disk's backlog, the network's backlog, addresses, senders, abuse.

use super::*;

use crate::config::{Endgame, RateLimit};
use crate::wire::handshake::EXTENSIONS;

const BLOCK: u64 = 16384;

fn told(addr: SocketAddr) -> PeerAddr {
    PeerAddr { addr, id: None }
}

/// Four blocks a second may be sent, to four peers that always wait for more.
fn limited_upload() -> (Rig, Vec<ConnId>) {
    let mut rig = Plan::new(40, 4)
        .seed()
        .config(|c| c.upload_limit = RateLimit(4 * BLOCK))
        .start();
    let peers: Vec<_> = (1..=4).map(|n| rig.fast_taker(n)).collect();
    for block in 0..160 {
        for conn in &peers {
            rig.say(*conn, Message::Request(at(block / 4, block % 4)));
        }
    }
    (rig, peers)
}

/// Lets time pass while the network takes what it is given.
fn drain(rig: &mut Rig, peers: &[ConnId], time: Duration) {
    let end = rig.now.after(time);
    while rig.now < end {
        rig.wait(ms(50));
        for &conn in peers {
            rig.feed(Input::SendRoom { conn, queued: 0 });
        }
    }
}

#[test]
fn an_upload_limit_holds_and_everybody_gets_the_same() {
    let (mut rig, peers) = limited_upload();
    drain(&mut rig, &peers, secs(20));
    let sent: Vec<_> = rig
        .torrent
        .senders()
        .iter()
        .map(|s| s.sent / BLOCK)
        .collect();
    let total: u64 = sent.iter().sum();
    assert!((79..=82).contains(&total), "{total} blocks in 20 s");
    assert!(sent.iter().all(|n| (19..=21).contains(n)), "{sent:?}");
}

#[test]
fn an_upload_limit_needs_no_other_event_than_its_timer() {
    let mut rig = Plan::new(4, 4)
        .seed()
        .config(|c| (c.upload_limit, c.send_buffer) = (RateLimit(BLOCK), 1 << 30))
        .start();
    rig.chat = Now::NEVER;
    let peer = rig.taker(1);
    for block in 0..8 {
        rig.say(peer, Message::Request(at(block / 4, block % 4)));
    }
    rig.wait(secs(9));
    assert_eq!(rig.torrent.totals().sent, 8 * BLOCK);
}

#[test]
fn who_cancels_what_it_asked_for_does_not_use_up_the_limit() {
    let mut rig = Plan::new(4, 4)
        .seed()
        .config(|c| c.upload_limit = RateLimit(4 * BLOCK))
        .start();
    rig.hold_reads = true;
    let (rude, other) = (rig.fast_taker(1), rig.fast_taker(2));
    for _ in 0..400 {
        rig.say(rude, Message::Request(at(0, 0)));
        rig.say(rude, Message::Cancel(at(0, 0)));
        rig.reads.clear();
    }
    rig.say(other, Message::Request(at(0, 0)));
    assert_eq!(rig.reads.len(), 1, "it does not wait");
}

#[test]
fn a_download_limit_holds_and_everybody_is_asked_in_turn() {
    let mut rig = Plan::new(40, 4)
        .config(|c| (c.download_limit, c.endgame) = (RateLimit(4 * BLOCK), Endgame::Off))
        .start();
    rig.chat = Now::NEVER;
    let sources: Vec<_> = (1..=4).map(|n| rig.source(n)).collect();
    for _ in 0..400 {
        rig.wait(ms(50));
        for source in &sources {
            for range in rig.asked(*source) {
                rig.give(*source, range);
            }
        }
    }
    let gained = rig.torrent.totals().gained / BLOCK;
    assert!((79..=82).contains(&gained), "{gained} blocks in 20 s");
    let each: Vec<_> = rig
        .torrent
        .senders()
        .iter()
        .map(|s| s.received / BLOCK)
        .collect();
    // The first one to come was alone.
    assert!(each.iter().all(|n| (19..=23).contains(n)), "{each:?}");
}

#[test]
fn requests_that_come_to_nothing_do_not_use_up_the_limit() {
    let mut rig = Plan::new(4, 4)
        .config(|c| (c.download_limit, c.endgame) = (RateLimit(BLOCK), Endgame::Off))
        .start();
    let tease = rig.source(1);
    for _ in 0..20 {
        rig.say(tease, Message::Choke);
        rig.say(tease, Message::Unchoke);
    }
    rig.say(tease, Message::Choke);
    let other = rig.source(2);
    assert_eq!(rig.asked(other).len(), 1, "as if nothing had been asked");
    rig.gone(other);
    let third = rig.source(3);
    assert_eq!(rig.asked(third).len(), 1);
    // A block that comes after its request was given up is paid for after all.
    rig.give(tease, at(0, 0));
    rig.gone(third);
    let fourth = rig.source(4);
    assert_eq!(rig.asked(fourth).len(), 0);
}

#[test]
fn under_a_limit_a_snubbing_peer_gets_what_the_others_leave() {
    let mut rig = Plan::new(4, 4)
        .config(|c| (c.download_limit, c.endgame) = (RateLimit(100 * BLOCK), Endgame::Off))
        .start();
    let mute = rig.source(1);
    rig.wait(secs(59));
    rig.asked(mute);
    let other = rig.holder(2, &[0, 1, 2, 3]);
    rig.wait(secs(1));
    let slot = rig.torrent.slot(mute).expect("connected");
    assert!(rig.torrent.peer(slot).down.snubbed);
    rig.asked(mute);
    rig.say(other, Message::Unchoke);
    let open = |rig: &Rig, conn| rig.peer(conn).down.open.len();
    assert_eq!((open(&rig, mute), open(&rig, other)), (1, 5));
}

#[test]
fn no_more_is_asked_for_than_the_disk_takes() {
    let mut rig = Plan::new(4, 4)
        .config(|c| (c.disk_queue_max, c.endgame) = (3 * BLOCK, Endgame::Off))
        .start();
    rig.hold_writes = true;
    let source = rig.source(1);
    let asked = rig.asked(source);
    for range in &asked[..3] {
        rig.give(source, *range);
    }
    assert_eq!(rig.torrent.unwritten(), 3 * BLOCK);
    assert_eq!(rig.asked(source).len(), 4, "after the first and the second");
    rig.feed(Input::BlockWritten { range: asked[0] });
    assert!(!rig.asked(source).is_empty());
    assert_eq!(rig.torrent.unwritten(), 2 * BLOCK);
    for range in &asked[1..3] {
        rig.feed(Input::BlockWritten { range: *range });
    }
    assert_eq!(rig.torrent.unwritten(), 0);
}

#[test]
fn after_a_disk_failure_nothing_counts_as_unwritten_for_ever() {
    let mut rig = Plan::new(4, 4)
        .config(|c| (c.disk_queue_max, c.endgame) = (2 * BLOCK, Endgame::Off))
        .start();
    rig.hold_writes = true;
    let source = rig.source(1);
    let asked = rig.asked(source);
    rig.give(source, asked[0]);
    rig.fail();
    // On its way; the disk fails at it too and does not say at which.
    for range in &asked[1..4] {
        rig.give(source, *range);
    }
    rig.fail();
    assert_eq!(rig.torrent.unwritten(), 0);
    rig.feed(Input::Resume);
    let again = rig.asked(source);
    assert!(!again.is_empty());
    rig.give(source, again[0]);
    assert_eq!(rig.torrent.unwritten(), BLOCK);
    // The disk comes to an end with what it was given before the pause.
    rig.feed(Input::BlockWritten { range: at(3, 3) });
    assert_eq!(rig.torrent.unwritten(), BLOCK, "that is another");
    rig.feed(Input::BlockWritten { range: again[0] });
    assert_eq!(rig.torrent.unwritten(), 0);
    rig.hold_writes = false;
    for range in &again[1..] {
        rig.give(source, *range);
    }
    rig.serve_all(source);
    assert!(rig.torrent.complete());
}

#[test]
fn a_pause_takes_back_what_was_asked_for_and_its_end_asks_again() {
    let mut rig = Plan::new(2, 2).config(|c| c.endgame = Endgame::Off).start();
    let (fast, plain) = (rig.fast_source(1), rig.source(2));
    assert_eq!((rig.asked(fast).len(), rig.asked(plain).len()), (4, 0));
    rig.give(fast, at(0, 0));
    rig.fail();
    let cancels = |said: &[Message]| {
        said.iter()
            .filter(|m| matches!(m, Message::Cancel(_)))
            .count()
    };
    assert_eq!(cancels(&rig.heard(fast)), 3);
    rig.feed(Input::StorageFailed(StorageFailure(String::new())));
    rig.feed(Input::Resume);
    rig.feed(Input::Resume);
    assert_eq!(rig.count(|e| *e == Event::Resumed), 1);
    // Each cancelled request has its answer before those that are new.
    for range in [at(0, 1), at(1, 0), at(1, 1)] {
        rig.say(fast, Message::Reject(range));
    }
    rig.serve_all(fast);
    rig.serve_all(plain);
    assert!(rig.torrent.complete());
    assert_eq!(rig.disk.written, rig.disk.content);
    assert_eq!(rig.count(|e| *e == Event::Completed), 1);
}

#[test]
fn a_peer_that_does_not_read_is_closed() {
    let mut rig = Plan::new(4, 4)
        .seed()
        .config(|c| c.send_backlog_max = 2000)
        .start();
    let conn = rig.fast_taker(1);
    let refused = Message::Request(at(0, 0));
    rig.say(conn, Message::NotInterested);
    for _ in 0..100 {
        rig.say(conn, refused.clone());
    }
    rig.feed(Input::SendRoom { conn, queued: 0 });
    for _ in 0..100 {
        rig.say(conn, refused.clone());
    }
    assert_eq!(rig.closed, [], "it reads");
    for _ in 0..20 {
        rig.say(conn, refused.clone());
    }
    assert_eq!(rig.parted(1), [CloseReason::Backlog]);
}

#[test]
fn who_asks_for_too_much_that_it_cannot_have_is_closed() {
    for fast in [true, false] {
        let mut rig = Plan::new(4, 4)
            .having(&[0])
            .config(|c| c.refused_requests_max = 5)
            .start();
        let conn = if fast {
            rig.fast_taker(1)
        } else {
            rig.taker(1)
        };
        let refused = Message::Request(at(1, 0));
        for _ in 0..3 {
            for _ in 0..5 {
                rig.say(conn, refused.clone());
            }
            assert_eq!(rig.closed, []);
            rig.say(conn, Message::Request(at(0, 0)));
            rig.feed(Input::SendRoom { conn, queued: 0 });
        }
        for _ in 0..6 {
            rig.say(conn, refused.clone());
        }
        assert!(matches!(rig.parted(1)[..], [CloseReason::Protocol(_)]));
    }
}

#[test]
fn who_wants_nothing_takes_no_slot_and_may_not_use_one() {
    let mut rig = Plan::new(4, 4)
        .having(&[0])
        .config(|c| (c.upload_slots, c.optimistic_slots) = (1, 0))
        .start();
    let (sly, other) = (rig.fast_taker(1), rig.taker(2));
    rig.say(sly, Message::NotInterested);
    assert!(rig.unchoked(sly) && rig.unchoked(other));
    rig.heard(sly);
    rig.say(sly, Message::Request(at(0, 0)));
    assert_eq!(rig.heard(sly), [Message::Reject(at(0, 0))]);
    assert_eq!(rig.torrent.totals().sent, 0);
}

/// A connection of a peer at this address.
fn opened(rig: &mut Rig, addr: SocketAddr, inbound: bool) -> ConnId {
    let conn = rig.free_conn();
    rig.feed(Input::Connected {
        conn,
        addr,
        inbound,
    });
    conn
}

#[test]
fn one_address_gets_a_bounded_number_of_connections_and_loopback_any() {
    for (ip, bound) in [([10, 0, 0, 9], 8), ([127, 0, 0, 1], 20)] {
        let mut rig = Plan::new(4, 4).start();
        for port in 1..=20 {
            opened(&mut rig, SocketAddr::from((ip, port)), true);
        }
        assert_eq!(rig.torrent.connections, bound);
    }
}

#[test]
fn a_dial_that_is_answered_when_its_address_is_full_is_made_again_later() {
    let mut rig = Plan::new(4, 4)
        .config(|c| c.connections_per_address = 1)
        .start();
    let (listens, comes) = ([10, 0, 0, 9], SocketAddr::from(([10, 0, 0, 9], 4000)));
    let listens = SocketAddr::from((listens, 6881));
    rig.feed(Input::Peers(vec![told(listens)]));
    assert_eq!(rig.dialled, [listens]);
    let first = opened(&mut rig, comes, true);
    let dialled = opened(&mut rig, listens, false);
    assert_eq!(rig.closed, [dialled]);
    rig.gone(first);
    rig.wait(secs(11));
    assert_eq!(rig.dialled, [listens, listens]);
}

#[test]
fn an_idle_peer_gives_way_to_one_of_higher_priority_and_to_no_other() {
    let plan = || {
        Plan::new(4, 1)
            .having(&[0])
            .config(|c| (c.connections_max, c.idle_timeout) = (2, secs(10_000)))
    };
    let me = SocketAddr::from(([80, 4, 4, 200], 6881));
    let mut rank: Vec<u8> = (1..=9).collect();
    rank.sort_by_key(|n| super::super::canonical::canonical_priority(me, addr(*n)));
    let (low, high) = (rank[0], rank[8]);
    let full = |idle: [u8; 2], config: fn(&mut EngineConfig)| {
        let mut rig = plan().config(config).start();
        for n in idle {
            let conn = rig.join_as(n, &[EXTENSIONS]);
            rig.introduce(
                conn,
                &crate::wire::extension::ExtendedHandshake {
                    your_ip: Some(me.ip()),
                    ..Default::default()
                },
            );
            rig.say(conn, Message::Bitfield(Bytes::from_static(&[0])));
        }
        rig
    };
    let mut rig = full([rank[3], low], |_| ());
    rig.connect(high, true);
    assert_eq!(rig.parted(low), [CloseReason::Outranked]);
    assert_eq!(rig.closed.len(), 1);

    let mut rig = full([rank[3], high], |_| ());
    let late = rig.connect(low, true);
    assert_eq!(rig.closed, [late]);

    let mut rig = full([rank[3], low], |c| c.drop_by_priority = false);
    let late = rig.connect(high, true);
    assert_eq!(rig.closed, [late]);

    // Who carries something is not idle.
    let mut rig = full([rank[3], low], |_| ());
    for peer in 0..2 {
        let conn = rig.torrent.peers[peer].as_ref().expect("there").conn;
        rig.say(conn, Message::Interested);
    }
    let late = rig.connect(high, true);
    assert_eq!(rig.closed, [late]);
}

#[test]
fn strangers_are_remembered_up_to_a_bound_and_who_is_connected_is_not_forgotten() {
    let mut rig = Plan::new(4, 1).config(|c| c.senders_max = 3).start();
    let kept = [1, 2, 3].map(|n| rig.join(n));
    let late = rig.join(4);
    assert_eq!(rig.closed, [late]);
    assert_eq!(rig.parted(4), [CloseReason::Full]);
    rig.gone(kept[1]);
    rig.join(5);
    assert_eq!(rig.torrent.senders().len(), 3);
    assert_eq!(rig.torrent.senders()[1].addr, addr(5));
    assert_eq!(rig.torrent.peers_connected(), 3);
}
