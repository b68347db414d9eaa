//! Pieces that may be had while choked, and pieces that are suggested.

use super::fast::{ask, one_slot, rejects};
use super::*;

use crate::session::fast::allowed_fast_set;
use crate::wire::handshake::FAST;

/// What a newcomer at address 10.0.0.`n` may have of 20 pieces while choked.
fn gifts(n: u8, count: u32) -> Vec<PieceIndex> {
    allowed_fast_set([10, 0, 0, n].into(), INFO_HASH, 20, count)
}

#[test]
fn a_newcomer_is_told_which_of_our_pieces_it_may_have_while_choked() {
    let offered = |plan: Plan, has: &[u32]| {
        let mut rig = plan.config(|c| c.allowed_fast = 10).start();
        let peer = rig.fast_holder(1, has);
        let heard = rig.heard(peer).into_iter();
        let offered = heard.filter_map(|message| match message {
            Message::AllowedFast(piece) => Some(piece),
            _ => None,
        });
        offered.collect::<Vec<_>>()
    };
    assert_eq!(offered(Plan::new(20, 1).seed(), &[]), gifts(1, 10));
    let (first, rest) = (gifts(1, 10)[0], gifts(1, 10)[1..].to_vec());
    assert_eq!(offered(Plan::new(20, 1).seed(), &[first.0]), rest);
    assert_eq!(offered(Plan::new(20, 1).having(&[first.0]), &[]), [first]);
    let ten: Vec<_> = (0..10).collect();
    assert_eq!(offered(Plan::new(20, 1).seed(), &ten), [], "it needs none");
}

#[test]
fn a_gift_is_served_while_choked_and_survives_a_choke() {
    let mut rig = one_slot().config(|c| c.allowed_fast = 3).start();
    rig.hold_reads = true;
    let peer = rig.fast_taker(1);
    let gift = gifts(1, 3).into_iter().find(|p| p.0 != 19).expect("ours");
    let other = (0..19).find(|p| !gifts(1, 3).contains(&PieceIndex(*p)));
    let other = other.expect("not given");
    let _next = rig.taker(2);
    for piece in [other, gift.0] {
        for block in 0..2 {
            ask(&mut rig, peer, at(piece, block));
        }
    }
    rig.heard(peer);
    rig.wait(secs(10));
    assert!(!rig.unchoked(peer));
    let mut refused = rejects(&rig.heard(peer));
    refused.sort_by_key(|r| r.begin);
    assert_eq!(refused, [at(other, 0), at(other, 1)]);
    while !rig.reads.is_empty() {
        rig.answer_read();
    }
    let sent = |rig: &mut Rig| {
        rig.heard(peer)
            .iter()
            .filter_map(speakers::answer)
            .collect()
    };
    let got: Vec<_> = sent(&mut rig);
    assert_eq!(got, [at(gift.0, 0), at(gift.0, 1)]);
    let (conn, queued) = (peer, 0);
    rig.feed(Input::SendRoom { conn, queued });
    ask(&mut rig, peer, at(gift.0, 3));
    rig.answer_read();
    assert!(matches!(rig.heard(peer)[..], [Message::Piece { .. }]));
}

#[test]
fn a_choked_peer_is_asked_for_the_pieces_that_it_allows_and_has() {
    let mut rig = Plan::new(4, 2).start();
    let peer = rig.fast_holder(1, &[0, 1]);
    rig.say(peer, Message::AllowedFast(PieceIndex(3)));
    assert_eq!(rig.asked(peer), [], "allowed does not mean had");
    rig.say(peer, Message::AllowedFast(PieceIndex(1)));
    assert_eq!(rig.asked(peer), [at(1, 0), at(1, 1)]);
    rig.have(peer, 3);
    assert_eq!(rig.asked(peer), [at(3, 0), at(3, 1)]);
    for range in [at(1, 0), at(1, 1), at(3, 0)] {
        rig.give(peer, range);
    }
    assert!(rig.torrent.have().contains(PieceIndex(1)));
    rig.say(peer, Message::Reject(at(3, 1)));
    rig.wait(secs(200));
    assert_eq!(rig.asked(peer), [], "no longer allowed");
    assert_eq!(rig.closed, []);
}

#[test]
fn what_is_allowed_is_asked_for_past_a_piece_that_is_all_padding() {
    let plan = Plan::new(3, 1);
    let mut setup = plan.setup();
    setup.padding = std::iter::once(0..16384).collect();
    let mut rig = plan.start_with(setup);
    rig.disk.written[..16384].copy_from_slice(&rig.disk.content[..16384]);
    let peer = rig.fast_holder(1, &[2]);
    for piece in [0, 1] {
        rig.say(peer, Message::AllowedFast(PieceIndex(piece)));
        rig.have(peer, piece);
    }
    assert_eq!(rig.asked(peer), [at(1, 0)]);
    assert!(rig.torrent.have().contains(PieceIndex(0)));
}

#[test]
fn what_a_peer_suggests_is_asked_for_first() {
    for heed in [true, false] {
        let mut rig = Plan::new(9, 1)
            .config(|c| (c.pipeline_start, c.heed_suggestions) = (2, heed))
            .start();
        let peer = rig.fast_holder(1, &[0, 1, 2, 3, 4, 5, 6, 7]);
        for piece in [8, 6, 4] {
            rig.say(peer, Message::Suggest(PieceIndex(piece)));
        }
        rig.say(peer, Message::Unchoke);
        let wanted = if heed { [6, 4] } else { [0, 1] };
        assert_eq!(rig.asked(peer), wanted.map(|piece| at(piece, 0)));
    }
}

#[test]
fn what_peers_allow_and_suggest_is_remembered_up_to_a_bound() {
    let mut rig = Plan::new(100, 1).start();
    let peer = rig.fast_holder(1, &[]);
    for piece in (0..100).chain(0..100) {
        rig.say(peer, Message::AllowedFast(PieceIndex(piece)));
        rig.say(peer, Message::Suggest(PieceIndex(piece)));
    }
    let down = &rig.peer(peer).down;
    assert_eq!((down.allowed.len(), down.suggested.len()), (32, 32));
}

#[test]
fn a_piece_that_is_read_is_suggested_once_to_others_that_lack_it() {
    let mut rig = Plan::new(9, 4)
        .seed()
        .config(|c| c.suggest_pieces = true)
        .start();
    let (reader, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let holder = rig.fast_holder(3, &[5]);
    rig.say(holder, Message::Interested);
    let plain = rig.taker(4);
    for block in 0..3 {
        ask(&mut rig, reader, at(5, block));
    }
    let told = |rig: &mut Rig, conn| {
        let heard = rig.heard(conn);
        let suggested = heard.iter().filter(|m| matches!(m, Message::Suggest(_)));
        suggested.count()
    };
    let told = [reader, other, holder, plain].map(|conn| told(&mut rig, conn));
    assert_eq!(told, [0, 1, 0, 0]);
}

#[test]
fn a_disk_that_fails_answers_every_request_also_for_gifts() {
    let mut rig = one_slot().config(|c| c.allowed_fast = 3).start();
    rig.hold_reads = true;
    let peer = rig.join_as(1, &[FAST]);
    rig.say(peer, Message::HaveNone);
    let gift = gifts(1, 3).into_iter().find(|p| p.0 != 19).expect("ours");
    for block in 0..4 {
        ask(&mut rig, peer, at(gift.0, block));
    }
    rig.heard(peer);
    rig.fail();
    assert_eq!(rejects(&rig.heard(peer)).len(), 4);
    ask(&mut rig, peer, at(gift.0, 0));
    assert_eq!(rejects(&rig.heard(peer)).len(), 1, "while it lasts");
    rig.feed(Input::Resume);
    ask(&mut rig, peer, at(gift.0, 0));
    assert_eq!(rig.heard(peer), []);
}
