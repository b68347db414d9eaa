//! The fast extension: what is said first, answers to every request, gifts, suggestions, rejects.

use super::*;

use crate::config::Endgame;
use crate::wire::handshake::{EXTENSIONS, FAST, reserved};

pub(super) fn ask(rig: &mut Rig, conn: ConnId, range: BlockRange) {
    rig.say(conn, Message::Request(range));
}

pub(super) fn rejects(said: &[Message]) -> Vec<BlockRange> {
    let rejects = said.iter().filter_map(|message| match message {
        Message::Reject(range) => Some(*range),
        _ => None,
    });
    rejects.collect()
}

/// No end-game, so that only what is free is asked for.
fn calm(pieces: u32, blocks: u32) -> Plan {
    Plan::new(pieces, blocks).config(|c| c.endgame = Endgame::Off)
}

/// One slot, and a peer whose turn comes next.
pub(super) fn one_slot() -> Plan {
    Plan::new(20, 4)
        .having(&(0..19).collect::<Vec<_>>())
        .config(|c| (c.upload_slots, c.optimistic_slots) = (1, 1))
}

/// Whether a fast peer that says this, first thing, is still connected.
fn legal(said: &[Message]) -> bool {
    let mut rig = Plan::new(10, 1).start();
    let peer = rig.join_as(1, &[FAST]);
    for message in said {
        rig.say(peer, message.clone());
    }
    let legal = rig.closed.is_empty();
    assert!(legal || matches!(rig.parted(1)[..], [CloseReason::Protocol(_)]));
    legal
}

#[test]
fn we_show_what_we_speak_and_never_a_dht() {
    for (fast, extensions) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut rig = Plan::new(1, 1)
            .config(|c| (c.fast, c.extensions) = (fast, extensions))
            .start();
        rig.join(1);
        let wanted = [(fast, FAST), (extensions, EXTENSIONS)];
        let wanted: Vec<_> = wanted.iter().filter(|(on, _)| *on).map(|w| w.1).collect();
        assert_eq!(rig.shown, reserved(&wanted));
    }
}

#[test]
fn both_ends_must_show_the_bit() {
    assert!(legal(&[Message::HaveNone]));
    let mut rig = Plan::new(10, 1).config(|c| c.fast = false).start();
    let peer = rig.join_as(1, &[FAST]);
    assert_eq!(rig.heard(peer), [], "nothing is said of nothing");
    rig.say(peer, Message::HaveNone);
    assert_eq!(rig.closed, [peer]);
}

#[test]
fn one_message_says_first_what_we_have() {
    let said = |plan: Plan| {
        let mut rig = plan.start();
        let peer = rig.join_as(1, &[FAST]);
        rig.heard(peer)
    };
    assert_eq!(said(Plan::new(9, 1)), [Message::HaveNone]);
    assert_eq!(said(Plan::new(9, 1).seed()), [Message::HaveAll]);
    let bits = Message::Bitfield(Bytes::from_static(&[0b0100_0000, 0]));
    assert_eq!(said(Plan::new(9, 1).having(&[1])), [bits]);
}

#[test]
fn a_fast_peer_says_what_it_has_first() {
    let bits = || Message::Bitfield(Bytes::from_static(&[0xff, 0]));
    let extended = Message::Extended {
        id: 0,
        payload: Bytes::from_static(b"de"),
    };
    assert!(legal(&[bits()]) && legal(&[Message::HaveAll]));
    assert!(legal(&[extended, Message::KeepAlive, Message::HaveAll]));
    for second in [bits(), Message::HaveAll, Message::HaveNone] {
        for first in [bits(), Message::HaveAll, Message::HaveNone] {
            assert!(legal(&[first, second.clone()]), "aria2 says it again");
        }
        assert!(!legal(&[Message::Unchoke, second]));
    }
    assert!(!legal(&[Message::Have(PieceIndex(0))]));
    assert!(!legal(&[Message::Interested]));
}

#[test]
fn have_all_counts_everywhere_and_have_none_nowhere() {
    let mut rig = Plan::new(10, 1).start();
    let peer = rig.join_as(1, &[FAST]);
    rig.say(peer, Message::HaveAll);
    assert!(rig.heard(peer).contains(&Message::Interested));
    let other = rig.fast_taker(2);
    assert!((0..10).all(|piece| rig.copies(piece) == 1));
    assert!(!rig.heard(other).contains(&Message::Interested));
    rig.gone(peer);
    assert!((0..10).all(|piece| rig.copies(piece) == 0));
}

#[test]
fn indices_that_do_not_exist_close() {
    for n in [10, u32::MAX] {
        let piece = PieceIndex(n);
        for message in [Message::AllowedFast(piece), Message::Suggest(piece)] {
            assert!(!legal(&[Message::HaveNone, message]));
        }
        assert!(!legal(&[Message::HaveNone, Message::Reject(at(n, 0))]));
    }
    let last = PieceIndex(9);
    assert!(legal(&[
        Message::HaveNone,
        Message::AllowedFast(last),
        Message::Suggest(last)
    ]));
}

#[test]
fn a_choke_takes_no_request_back_but_its_rejects_do() {
    let mut rig = calm(1, 8).start();
    let (first, second) = (rig.fast_source(1), rig.fast_source(2));
    assert_eq!(rig.asked(first).len(), 5);
    assert_eq!(rig.asked(second).len(), 3);
    rig.say(first, Message::Choke);
    assert_eq!(rig.asked(second), [], "they may still be answered");
    rig.give(first, at(0, 0));
    assert_eq!(rig.torrent.totals().gained, 16384);
    for block in 1..5 {
        assert_eq!(rig.asked(second), []);
        rig.say(first, Message::Reject(at(0, block)));
    }
    assert_eq!(rig.asked(second), [at(0, 1), at(0, 2)], "as it has room");
    assert_eq!(rig.closed, []);
}

#[test]
fn a_choke_that_is_never_followed_by_rejects_holds_a_block_no_longer_than_the_timeout() {
    let mut rig = calm(1, 2).start();
    let (mute, other) = (rig.fast_source(1), rig.fast_source(2));
    assert_eq!(rig.asked(mute).len(), 2);
    rig.say(mute, Message::Choke);
    rig.wait(secs(45));
    rig.serve_all(other);
    assert!(rig.torrent.complete());
    let snubbed = |e: &Event| matches!(e, Event::Snubbed { .. });
    rig.wait(secs(100));
    assert_eq!(rig.count(snubbed), 0, "who chokes us owes us nothing");
}

#[test]
fn a_row_of_rejects_that_does_not_end_still_gives_its_blocks_to_others() {
    for choke in [true, false] {
        let mut rig = calm(1, 5).start();
        let (first, second) = (rig.fast_source(1), rig.fast_source(2));
        assert_eq!((rig.asked(first).len(), rig.asked(second).len()), (5, 0));
        if choke {
            rig.say(first, Message::Choke);
        }
        rig.say(first, Message::Reject(at(0, 0)));
        rig.wait(ms(100));
        assert_eq!(rig.asked(second), [at(0, 0)], "choked: {choke}");
    }
}

#[test]
fn who_rejects_is_asked_again_later_and_later() {
    let mut rig = calm(1, 1).start();
    let peer = rig.fast_source(1);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(rig.asked(peer), [at(0, 0)]);
        rig.say(peer, Message::Reject(at(0, 0)));
        rig.wait(secs(pause) - ms(1));
        assert_eq!(rig.asked(peer), []);
        rig.wait(ms(1));
    }
    rig.serve_all(peer);
    assert!(rig.torrent.complete());
}

#[test]
fn who_rejects_one_block_and_sends_the_others_is_asked_again_after_the_pause() {
    let mut rig = calm(1, 3).start();
    let peer = rig.fast_source(1);
    rig.asked(peer);
    rig.say(peer, Message::Reject(at(0, 1)));
    rig.give(peer, at(0, 0));
    rig.give(peer, at(0, 2));
    rig.wait(secs(1));
    assert_eq!(rig.asked(peer), [at(0, 1)]);

    // The same while one stays open.
    let mut rig = calm(1, 3).start();
    let peer = rig.fast_source(1);
    rig.asked(peer);
    rig.say(peer, Message::Reject(at(0, 1)));
    rig.wait(secs(1));
    assert_eq!(rig.asked(peer), [at(0, 1)]);
}

#[test]
fn a_reject_of_what_was_never_asked_closes() {
    let mut rig = Plan::new(2, 8).start();
    let peer = rig.fast_source(1);
    assert_eq!(rig.asked(peer).len(), 5);
    rig.say(peer, Message::Reject(at(0, 0)));
    assert_eq!(rig.closed, []);
    rig.say(peer, Message::Reject(at(0, 0)));
    assert_eq!(rig.closed, [peer], "one answer each");
    for odd in [
        at(1, 7),
        BlockRange { len: 5, ..at(0, 0) },
        BlockRange {
            begin: u32::MAX,
            ..at(0, 0)
        },
    ] {
        let mut rig = Plan::new(2, 8).start();
        let peer = rig.fast_source(1);
        rig.say(peer, Message::Reject(odd));
        assert_eq!(rig.closed, [peer], "{odd:?}");
        assert!(matches!(rig.parted(1)[..], [CloseReason::Protocol(_)]));
    }
}

#[test]
fn a_block_that_nobody_asked_for_closes_a_fast_peer() {
    let mut rig = Plan::new(2, 8).start();
    let peer = rig.fast_source(1);
    rig.give(peer, at(0, 0));
    assert_eq!(rig.closed, []);
    rig.give(peer, at(0, 0));
    assert_eq!(rig.closed, [peer]);
    assert!(matches!(rig.parted(1)[..], [CloseReason::Protocol(_)]));
    assert_eq!(rig.torrent.totals().wasted, 16384);
}

#[test]
fn a_reject_answers_the_request_that_was_cancelled_before_the_one_that_is_open() {
    let mut rig = calm(1, 2).start();
    let peer = rig.fast_source(1);
    assert_eq!(rig.asked(peer).len(), 2);
    // The snub takes both back and asks for one of them again.
    rig.wait(secs(60));
    assert_eq!(rig.asked(peer), [at(0, 0)]);
    rig.say(peer, Message::Reject(at(0, 0)));
    rig.say(peer, Message::Reject(at(0, 1)));
    assert_eq!(rig.peer(peer).down.open.len(), 1, "the new one is open");
    assert_eq!(rig.peer(peer).down.rejects, 0, "and nothing was refused");
    rig.give(peer, at(0, 0));
    rig.serve_all(peer);
    assert!(rig.torrent.complete() && rig.torrent.totals().wasted == 0);
}

#[test]
fn the_loser_of_end_game_may_reject_or_send() {
    for send in [true, false] {
        let mut rig = Plan::new(1, 1)
            .config(|c| c.close_seed_to_seed = false)
            .start();
        let (a, b) = (rig.fast_source(1), rig.fast_source(2));
        assert_eq!(
            (rig.asked(a), rig.asked(b)),
            (vec![at(0, 0)], vec![at(0, 0)])
        );
        rig.give(b, at(0, 0));
        assert!(rig.heard(a).contains(&Message::Cancel(at(0, 0))));
        match send {
            true => rig.give(a, at(0, 0)),
            false => rig.say(a, Message::Reject(at(0, 0))),
        }
        assert_eq!(rig.closed, []);
        rig.say(a, Message::Reject(at(0, 0)));
        assert_eq!(rig.closed, [a], "but not both");
    }
}

/// Transmission rejects what it will not answer before it chokes.
#[test]
fn a_row_of_rejects_before_a_choke_is_forgotten_with_it() {
    let mut rig = Plan::new(4, 8).start();
    let source = rig.fast_source(1);
    let asked = rig.asked(source);
    assert_eq!(asked.len(), 5);
    for range in asked {
        rig.say(source, Message::Reject(range));
    }
    rig.say(source, Message::Choke);
    rig.wait(secs(10));
    rig.say(source, Message::Unchoke);
    assert_eq!(rig.asked(source).len(), 5, "asked at once");
}

#[test]
fn a_row_of_rejects_costs_one_pause() {
    let mut rig = Plan::new(4, 8).start();
    let source = rig.fast_source(1);
    for range in rig.asked(source) {
        rig.say(source, Message::Reject(range));
    }
    assert_eq!(rig.asked(source), []);
    rig.wait(secs(1));
    assert!(!rig.asked(source).is_empty(), "a second, not half a minute");
}

#[test]
fn what_is_not_served_is_rejected() {
    let mut rig = Plan::new(4, 4).having(&[0]).start();
    rig.hold_reads = true;
    let choked = rig.join_as(1, &[FAST]);
    rig.say(choked, Message::HaveNone);
    ask(&mut rig, choked, at(0, 0));
    assert!(rig.heard(choked).ends_with(&[Message::Reject(at(0, 0))]));
    let peer = rig.fast_taker(2);
    ask(&mut rig, peer, at(1, 0));
    assert!(rig.heard(peer).ends_with(&[Message::Reject(at(1, 0))]));
    for _ in 0..2003 {
        ask(&mut rig, peer, at(0, 0));
    }
    assert_eq!(
        rig.heard(peer),
        [Message::Reject(at(0, 0))],
        "over the limit"
    );
    let plain = rig.taker(3);
    rig.heard(plain);
    ask(&mut rig, plain, at(1, 0));
    assert_eq!(rig.heard(plain), [], "it would not understand");
}

#[test]
fn our_choke_is_followed_by_a_reject_of_each_request_that_waits() {
    let mut rig = one_slot().start();
    rig.hold_reads = true;
    let (peer, _other) = (rig.fast_taker(1), rig.taker(2));
    for block in 0..4 {
        ask(&mut rig, peer, at(0, block));
    }
    rig.heard(peer);
    rig.wait(secs(10));
    let heard = rig.heard(peer);
    assert_eq!(heard[0], Message::Choke);
    let mut refused = rejects(&heard[1..]);
    refused.sort_by_key(|r| r.begin);
    assert_eq!(refused, [0, 1, 2, 3].map(|block| at(0, block)));
    while !rig.reads.is_empty() {
        rig.answer_read();
    }
    assert_eq!(rig.heard(peer), [], "and no block follows");
}

#[test]
fn a_cancel_is_answered_once_too() {
    let mut rig = Plan::new(4, 4).seed().start();
    rig.hold_reads = true;
    let peer = rig.fast_taker(1);
    for block in 0..4 {
        ask(&mut rig, peer, at(0, block));
    }
    rig.heard(peer);
    // One being read, one that waits, one that nobody asked for.
    for range in [at(0, 0), at(0, 3), at(1, 1)] {
        rig.say(peer, Message::Cancel(range));
    }
    assert_eq!(rejects(&rig.heard(peer)), [at(0, 0), at(0, 3)]);
    while !rig.reads.is_empty() {
        rig.answer_read();
    }
    rig.heard(peer);
    rig.say(peer, Message::Cancel(at(0, 1)));
    assert_eq!(rig.heard(peer), [], "it was sent");
}

#[test]
fn a_block_asked_for_again_after_its_cancel_is_sent_once() {
    let mut rig = Plan::new(4, 4).seed().start();
    rig.hold_reads = true;
    let peer = rig.fast_taker(1);
    ask(&mut rig, peer, at(0, 0));
    rig.say(peer, Message::Cancel(at(0, 0)));
    ask(&mut rig, peer, at(0, 0));
    rig.heard(peer);
    while !rig.reads.is_empty() {
        rig.answer_read();
    }
    assert_eq!(rig.heard(peer).len(), 1);
    assert_eq!(rig.torrent.totals().sent, 16384);
}
