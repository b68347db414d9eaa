//! Bad pieces and bad disks: who is banned, who is not, and that it ends well.

use super::*;

use crate::config::{Endgame, PartialFirst};

fn banned(rig: &Rig) -> Vec<SocketAddr> {
    let events = rig.events.iter();
    let banned = events.filter_map(|(_, event)| match event {
        Event::Banned { peer, .. } => Some(*peer),
        _ => None,
    });
    banned.collect()
}

#[test]
fn who_sent_a_whole_bad_piece_is_banned_and_never_let_in_again() {
    let mut rig = Plan::new(2, 2).start();
    let liar = rig.source(1);
    rig.give(liar, at(0, 0));
    rig.give_wrong(liar, at(0, 1));
    assert_eq!(banned(&rig), [addr(1)]);
    assert_eq!(rig.closed, [liar]);
    assert_eq!(rig.parted(1), [CloseReason::Banned]);
    assert_eq!(rig.torrent.totals().hash_failed, 2 * 16384);
    let again = rig.connect(1, true);
    assert_eq!(rig.closed, [liar, again]);
    let source = rig.source(2);
    rig.serve_all(source);
    assert!(rig.torrent.complete());
    assert_eq!(rig.disk.written, rig.disk.content);
}

#[test]
fn a_banned_peer_is_never_dialled_again() {
    let mut rig = Plan::new(2, 1).start();
    let peer = PeerAddr {
        addr: addr(1),
        id: None,
    };
    rig.feed(Input::Peers(vec![peer]));
    let conn = rig.connect(1, false);
    rig.shake(conn, 1);
    rig.say(conn, Message::Bitfield(Bytes::from_static(&[0b1100_0000])));
    rig.say(conn, Message::Unchoke);
    rig.give_wrong(conn, at(0, 0));
    assert_eq!(banned(&rig), [addr(1)]);
    // Another port of the same host answers and is refused, once.
    let other = SocketAddr::new(addr(1).ip(), 7000);
    let (also, id) = (
        PeerAddr {
            addr: other,
            id: None,
        },
        rig.free_conn(),
    );
    rig.feed(Input::Peers(vec![peer, also]));
    rig.feed(Input::Connected {
        conn: id,
        addr: other,
        inbound: false,
    });
    rig.wait(secs(3600));
    assert_eq!(rig.dialled, [addr(1), other]);
    assert_eq!(rig.closed, [conn, id]);
}

/// Two sources of one piece of four blocks; the second lies in `wrong` of its two blocks.
fn mixed(wrong: u32) -> (Rig, ConnId, ConnId) {
    mixed_with(wrong, |_| ())
}

/// The same with another configuration.
fn mixed_with(wrong: u32, change: impl FnOnce(&mut EngineConfig)) -> (Rig, ConnId, ConnId) {
    let mut rig = Plan::new(1, 4)
        .config(change)
        .config(|c| (c.pipeline_start, c.close_seed_to_seed) = (2, false))
        .config(|c| c.endgame = Endgame::Off)
        .start();
    let (honest, liar) = (rig.source(1), rig.source(2));
    assert_eq!(rig.asked(honest), [at(0, 0), at(0, 1)]);
    assert_eq!(rig.asked(liar), [at(0, 2), at(0, 3)]);
    rig.give(honest, at(0, 0));
    rig.give_wrong(liar, at(0, 2));
    if wrong == 2 {
        rig.give_wrong(liar, at(0, 3));
    } else {
        rig.give(liar, at(0, 3));
    }
    rig.give(honest, at(0, 1));
    (rig, honest, liar)
}

/// `corruptor-in-shared-piece`.
#[test]
fn of_two_senders_of_a_bad_piece_exactly_the_liar_is_banned_after_the_good_copy() {
    for wrong in [1, 2] {
        let (mut rig, honest, liar) = mixed(wrong);
        let bad = |e: &Event| matches!(e, Event::PieceVerified { good: false, .. });
        assert_eq!(rig.count(bad), 1);
        assert_eq!(banned(&rig), [], "nothing is proven yet");
        rig.say(liar, Message::Choke);
        rig.heard(honest);
        for block in 0..4 {
            rig.give(honest, at(0, block));
        }
        assert!(rig.torrent.complete());
        assert_eq!(banned(&rig), [addr(2)]);
        assert_eq!(rig.closed, [liar]);
        assert_eq!(rig.torrent.senders()[0].strikes, 0);
    }
}

#[test]
fn the_liar_is_named_even_when_it_left_before_the_good_copy() {
    let (mut rig, honest, liar) = mixed(2);
    rig.gone(liar);
    rig.heard(honest);
    for block in 0..4 {
        rig.give(honest, at(0, block));
    }
    assert_eq!(banned(&rig), [addr(2)]);
    let again = rig.connect(2, true);
    assert_eq!(rig.closed, [again]);
}

/// `mixed-over-and-over`: with two sources, of whom one lies, no copy would ever prove anything.
#[test]
fn a_piece_that_failed_is_asked_of_one_sender_alone() {
    let (mut rig, honest, liar) = mixed(1);
    assert_eq!(rig.asked(liar), []);
    assert_eq!(rig.asked(honest).len(), 4);
    // It gave nothing of it yet: somebody else takes its place, alone too.
    rig.say(honest, Message::Choke);
    assert_eq!(rig.asked(liar).len(), 4);
    rig.say(honest, Message::Unchoke);
    assert_eq!(rig.asked(honest), []);
    for block in 0..4 {
        rig.give_wrong(liar, at(0, block));
    }
    assert_eq!(banned(&rig), [addr(2)]);
    rig.serve_all(honest);
    assert!(rig.torrent.complete());
}

#[test]
fn without_smart_ban_the_good_copy_names_nobody() {
    let (mut rig, honest, _) = mixed_with(1, |c| c.smart_ban = false);
    rig.serve_all(honest);
    assert!(rig.torrent.complete());
    assert_eq!(banned(&rig), []);
}

#[test]
fn without_parole_a_piece_that_failed_is_asked_of_both_again() {
    for (parole, of_liar) in [(true, vec![]), (false, vec![at(0, 2), at(0, 3)])] {
        let (mut rig, honest, liar) = mixed_with(1, |c| (c.parole, c.pipeline_cap) = (parole, 2));
        assert_eq!(rig.asked(honest), [at(0, 0), at(0, 1)]);
        assert_eq!(rig.asked(liar), of_liar);
    }
}

#[test]
fn a_piece_on_parole_goes_on_elsewhere_when_its_sender_stops_halfway() {
    let (mut rig, honest, other) = mixed(1);
    rig.heard(honest);
    rig.give(honest, at(0, 0));
    rig.give(honest, at(0, 1));
    rig.gone(honest);
    assert_eq!(rig.asked(other), [at(0, 2), at(0, 3)]);
    rig.give(other, at(0, 2));
    rig.give(other, at(0, 3));
    assert!(rig.torrent.complete());
    assert_eq!(banned(&rig), [addr(2)]);
}

#[test]
fn five_strikes_disconnect_and_one_more_after_the_return() {
    let mut rig = Plan::new(6, 2)
        .config(|c| (c.pipeline_start, c.pipeline_cap) = (6, 6))
        .config(|c| (c.endgame, c.partial_first) = (Endgame::Off, PartialFirst::Never))
        .start();
    // One is asked for the first half of every piece, the other for the second.
    let (a, b) = (rig.source(1), rig.source(2));
    let (halves, lies) = (rig.asked(a), rig.asked(b));
    halves.into_iter().for_each(|range| rig.give(a, range));
    for range in &lies[..5] {
        assert_eq!(rig.closed, []);
        rig.give_wrong(b, *range);
    }
    let bad = |e: &Event| matches!(e, Event::PieceVerified { good: false, .. });
    assert_eq!(rig.count(bad), 5);
    assert_eq!(rig.parted(1), [CloseReason::Strikes]);
    assert_eq!(rig.parted(2), [CloseReason::Strikes]);
    assert_eq!(banned(&rig), [], "nothing was ever proven");
    let b = rig.source(2);
    rig.heard(b);
    rig.give_wrong(b, lies[5]);
    assert_eq!(rig.count(bad), 6);
    assert_eq!(rig.parted(2), [CloseReason::Strikes; 2]);
}

/// `mass-ban` must not happen.
#[test]
fn one_liar_among_six_gets_nobody_else_banned() {
    let mut rig = Plan::new(30, 6)
        .config(|c| (c.pipeline_start, c.pipeline_cap) = (2, 4))
        .start();
    let mut conns: Vec<_> = (1..=6).map(|n| rig.source(n)).collect();
    let mut turn = 0_u32;
    while !rig.torrent.complete() {
        turn += 1;
        assert!(turn < 5000, "it ends");
        rig.wait(ms(100));
        for (n, conn) in (1..).zip(&mut conns) {
            let lies = n == 6;
            // Who was disconnected on suspicion comes back.
            if rig.closed.contains(conn) && !lies {
                *conn = rig.source(n);
            }
            for (i, range) in (0..).zip(rig.asked(*conn)) {
                if lies && !(turn + i).is_multiple_of(3) {
                    rig.give_wrong(*conn, range);
                } else {
                    rig.give(*conn, range);
                }
            }
        }
    }
    assert_eq!(banned(&rig), [addr(6)]);
    assert_eq!(rig.disk.written, rig.disk.content);
}

fn nothing_more(rig: &mut Rig, source: ConnId, taker: ConnId) {
    let failed = |e: &Event| matches!(e, Event::StorageFailed { .. });
    assert_eq!(rig.count(failed), 1);
    assert!(!rig.unchoked(taker), "it asks elsewhere");
    rig.asked(source);
    rig.say(taker, Message::NotInterested);
    rig.wait(secs(100));
    rig.say(taker, Message::Interested);
    assert!(!rig.unchoked(taker));
    rig.say(source, Message::Choke);
    rig.say(source, Message::Unchoke);
    assert_eq!(rig.asked(source), []);
    assert_eq!(banned(rig), []);
    assert!(rig.torrent.senders().iter().all(|s| s.strikes == 0));
    assert_eq!((rig.closed.len(), rig.torrent.peers_connected()), (0, 2));
}

/// `disk-error-blames-nobody`.
#[test]
fn a_disk_that_fails_pauses_the_torrent_and_blames_nobody() {
    let failure = || StorageFailure("no space".to_owned());
    let mut rig = Plan::new(4, 4).having(&[3]).start();
    let (source, taker) = (rig.source(1), rig.taker(2));
    rig.give(source, at(0, 0));
    rig.feed(Input::StorageFailed(failure()));
    rig.feed(Input::StorageFailed(failure()));
    nothing_more(&mut rig, source, taker);

    let mut rig = Plan::new(4, 4).having(&[3]).start();
    rig.hold_reads = true;
    let (source, conn) = (rig.source(1), rig.taker(2));
    let range = at(3, 0);
    rig.say(conn, Message::Request(range));
    let result = Err(failure());
    rig.feed(Input::BlockRead {
        conn,
        range,
        result,
    });
    nothing_more(&mut rig, source, conn);
}

#[test]
fn what_a_failed_disk_did_not_write_is_nobodys_fault() {
    let mut rig = Plan::new(4, 2).start();
    let source = rig.source(1);
    rig.give(source, at(0, 0));
    rig.disk.written.fill(0);
    rig.feed(Input::StorageFailed(StorageFailure("no space".to_owned())));
    // On its way already when the disk failed; the hash of the piece follows.
    rig.give(source, at(0, 1));
    assert_eq!(rig.torrent.totals().hash_failed, 2 * 16384);
    assert_eq!(banned(&rig), []);
    let senders = rig.torrent.senders();
    assert!(senders.iter().all(|s| s.strikes == 0 && !s.banned));
    assert_eq!(rig.closed, []);
}
