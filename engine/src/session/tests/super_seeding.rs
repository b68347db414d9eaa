//! A seed that hides what it has and shows it piece by piece.

use super::fast::{ask, rejects};
use super::*;

use crate::wire::extension::ExtendedHandshake;
use crate::wire::handshake::{EXTENSIONS, FAST};

/// A super-seed of `pieces` pieces of one block.
fn super_seed(pieces: u32) -> Plan {
    Plan::new(pieces, 1)
        .seed()
        .config(|c| c.super_seeding = true)
}

/// The pieces of which a peer was told since the last question.
fn shown(rig: &mut Rig, conn: ConnId) -> Vec<u32> {
    let heard = rig.heard(conn).into_iter();
    let shown = heard.filter_map(|message| match message {
        Message::Have(piece) => Some(piece.0),
        _ => None,
    });
    shown.collect()
}

#[test]
fn it_claims_nothing_and_shows_a_newcomer_two_pieces() {
    let mut rig = super_seed(10).start();
    let peer = rig.fast_taker(1);
    let heard = rig.heard(peer);
    assert_eq!(heard[0], Message::HaveNone);
    let haves = heard.iter().filter(|m| matches!(m, Message::Have(_)));
    assert_eq!(haves.count(), 2);
    assert_eq!(rig.count(|e| matches!(e, Event::PieceShown { .. })), 2);
}

#[test]
fn newcomers_are_shown_different_pieces_that_they_lack() {
    let mut rig = super_seed(6).start();
    let mut all = Vec::new();
    for n in 1..=3 {
        let peer = rig.fast_taker(n);
        all.extend(shown(&mut rig, peer));
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    let late = rig.fast_taker(4);
    assert_eq!(shown(&mut rig, late), [], "others get them already");
    let first = rig.torrent.peers[0].as_ref().expect("the first").conn;
    rig.gone(first);
    rig.wait(secs(10));
    assert_eq!(
        shown(&mut rig, late).len(),
        2,
        "what its neighbour never got"
    );
}

#[test]
fn a_peer_that_says_nothing_is_shown_pieces_at_the_next_round() {
    let mut rig = super_seed(10).start();
    let old = rig.join(1);
    assert_eq!(
        rig.heard(old),
        [],
        "without the fast extension nothing is said of nothing"
    );
    rig.wait(secs(10));
    assert_eq!(shown(&mut rig, old).len(), 2);
}

#[test]
fn the_next_piece_is_shown_when_the_last_is_seen_at_another_peer() {
    let mut rig = super_seed(10).config(|c| c.super_seed_pieces = 1).start();
    let (first, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let piece = shown(&mut rig, first)[0];
    shown(&mut rig, other);
    rig.have(first, piece);
    assert_eq!(
        shown(&mut rig, first),
        [],
        "it has it, and gave it to nobody yet"
    );
    rig.have(other, piece);
    assert_eq!(shown(&mut rig, first).len(), 1);
    assert_eq!(
        shown(&mut rig, other),
        [],
        "what it was shown it has not got"
    );
}

#[test]
fn nobody_waits_for_others_that_lack_nothing_or_are_never_seen() {
    let mut rig = super_seed(10).config(|c| c.super_seed_pieces = 1).start();
    let alone = rig.fast_taker(1);
    let piece = shown(&mut rig, alone)[0];
    rig.have(alone, piece);
    let next = shown(&mut rig, alone);
    assert_eq!(next.len(), 1, "there is nobody to pass it on to");

    let stranger = rig.fast_taker(2);
    shown(&mut rig, stranger);
    rig.have(alone, next[0]);
    rig.wait(secs(50));
    assert_eq!(shown(&mut rig, alone), []);
    rig.wait(secs(20));
    assert_eq!(
        shown(&mut rig, alone).len(),
        2,
        "they may not know each other"
    );
    rig.wait(secs(200));
    assert_eq!(shown(&mut rig, alone), [], "these it has not even got");
}

#[test]
fn only_what_was_shown_is_served() {
    let mut rig = super_seed(10)
        .config(|c| c.allowed_fast = 10)
        .config(|c| c.suggest_pieces = true)
        .start();
    let (peer, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let its = shown(&mut rig, peer);
    let hidden = shown(&mut rig, other);
    assert!(rig.unchoked(peer));
    ask(&mut rig, peer, at(hidden[0], 0));
    ask(&mut rig, peer, at(its[0], 0));
    let heard = rig.heard(peer);
    assert_eq!(rejects(&heard), [at(hidden[0], 0)]);
    assert!(heard.iter().any(|m| matches!(m, Message::Piece { .. })));
    let told = rig.heard(other);
    let tells = |m: &Message| matches!(m, Message::Suggest(_) | Message::AllowedFast(_));
    assert!(!told.iter().any(tells), "{told:?}");
}

#[test]
fn another_seed_ends_it_and_everybody_is_told_the_rest() {
    let mut rig = super_seed(10).start();
    let (peer, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let mut told = shown(&mut rig, peer);
    shown(&mut rig, other);
    for piece in 0..10 {
        rig.have(other, piece);
    }
    assert_eq!(rig.parted(2), [CloseReason::SeedToSeed]);
    told.extend(shown(&mut rig, peer));
    told.sort_unstable();
    assert_eq!(told, (0..10).collect::<Vec<_>>());
    assert_eq!(rig.count(|e| *e == Event::SuperSeedingEnded), 1);
    let late = rig.fast_taker(3);
    assert_eq!(rig.heard(late)[0], Message::HaveAll);
}

#[test]
fn the_rest_of_a_large_torrent_is_told_in_portions() {
    let mut rig = super_seed(3000).start();
    let (peer, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let mut told = shown(&mut rig, peer).len();
    rig.say(other, Message::Bitfield(Bytes::from(vec![0xff; 375])));
    let first = shown(&mut rig, peer).len();
    assert!(first < 1100, "{first}");
    told += first;
    rig.wait(secs(30));
    assert_eq!(told + shown(&mut rig, peer).len(), 3000);
    let ask_all = (0..3000).rev().take(3);
    for piece in ask_all {
        ask(&mut rig, peer, at(piece, 0));
    }
    assert_eq!(rejects(&rig.heard(peer)), []);
}

#[test]
fn it_does_not_say_that_it_wants_nothing_and_waiting_peers_are_no_seeds() {
    let mut rig = super_seed(100).start();
    let conn = rig.join_as(1, &[FAST, EXTENSIONS]);
    rig.say(conn, Message::HaveNone);
    let said = rig
        .heard(conn)
        .into_iter()
        .find_map(|message| match message {
            Message::Extended { id: 0, payload } => ExtendedHandshake::read(&payload).ok(),
            _ => None,
        });
    assert_eq!(said.expect("an extended handshake").upload_only, None);
    rig.wait(secs(400));
    assert_eq!(
        rig.parted(1),
        [],
        "it wants nothing of what it was shown, yet"
    );
}

#[test]
fn a_leecher_that_becomes_a_seed_hides_nothing() {
    let mut rig = Plan::new(2, 1).config(|c| c.super_seeding = true).start();
    let source = rig.source(1);
    let taker = rig.fast_taker(2);
    rig.heard(taker);
    rig.serve_all(source);
    assert!(rig.torrent.complete());
    assert_eq!(shown(&mut rig, taker), [0, 1]);
    let late = rig.fast_taker(3);
    assert_eq!(rig.heard(late)[0], Message::HaveAll);
}

#[test]
fn who_gets_nothing_from_anybody_is_told_everything() {
    let mut rig = super_seed(4).start();
    let (cut_off, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let its = shown(&mut rig, cut_off);
    for piece in shown(&mut rig, other) {
        rig.have(other, piece);
    }
    for piece in its {
        rig.have(cut_off, piece);
    }
    rig.wait(secs(50));
    assert_eq!(shown(&mut rig, cut_off), [], "others have the rest");
    rig.wait(secs(30));
    assert_eq!(shown(&mut rig, cut_off).len(), 2);
    assert_eq!(rig.count(|e| *e == Event::SuperSeedingEnded), 0);
}

/// A peer asks for what it was shown, all of it.
fn take(rig: &mut Rig, conn: ConnId, piece: u32) {
    ask(rig, conn, at(piece, 0));
    let heard = rig.heard(conn);
    let sent = |m: &Message| matches!(m, Message::Piece { piece: p, .. } if p.0 == piece);
    assert!(heard.iter().any(sent), "{heard:?}");
}

#[test]
fn who_never_says_what_it_has_is_shown_the_next_piece_when_it_was_sent_the_last() {
    // Not everybody tells a peer of a piece that the peer has itself.
    let mut rig = super_seed(4).config(|c| c.super_seed_pieces = 1).start();
    let alone = rig.fast_taker(1);
    let mut next = shown(&mut rig, alone);
    let mut got = Vec::new();
    while let [piece] = next[..] {
        got.push(piece);
        ask(&mut rig, alone, at(piece, 0));
        rig.feed(Input::SendRoom {
            conn: alone,
            queued: 0,
        });
        next = shown(&mut rig, alone);
    }
    got.sort_unstable();
    assert_eq!((got, next), (vec![0, 1, 2, 3], vec![]));
}

#[test]
fn what_was_sent_and_is_never_seen_elsewhere_waits_for_a_minute() {
    let mut rig = super_seed(10).config(|c| c.super_seed_pieces = 1).start();
    let peer = rig.fast_taker(1);
    let piece = shown(&mut rig, peer)[0];
    let other = rig.fast_taker(2);
    shown(&mut rig, other);
    take(&mut rig, peer, piece);
    rig.wait(secs(50));
    assert_eq!(shown(&mut rig, peer), []);
    rig.wait(secs(20));
    assert_eq!(shown(&mut rig, peer).len(), 2);
}

#[test]
fn a_piece_that_a_peer_got_from_somebody_else_does_not_keep_its_place() {
    let mut rig = super_seed(10).config(|c| c.super_seed_pieces = 1).start();
    let (peer, other) = (rig.fast_taker(1), rig.fast_taker(2));
    assert_eq!(shown(&mut rig, peer).len(), 1);
    shown(&mut rig, other);
    rig.say(peer, Message::NotInterested);
    rig.wait(secs(80));
    assert_eq!(shown(&mut rig, peer).len(), 2);
}

#[test]
fn what_is_lost_and_found_again_is_not_told_to_who_was_not_shown_it() {
    let mut rig = super_seed(10).start();
    let peer = rig.fast_taker(1);
    let its = shown(&mut rig, peer);
    let hidden = (0..10).find(|n| !its.contains(n)).expect("eight of them");
    let source = rig.holder(2, &[hidden]);
    rig.say(source, Message::Unchoke);
    rig.feed(Input::PieceLost {
        piece: PieceIndex(hidden),
    });
    rig.serve_all(source);
    assert!(rig.torrent.complete());
    assert_eq!(shown(&mut rig, peer), []);
    assert_eq!(rig.parted(1), []);
}

#[test]
fn waiting_in_vain_doubles_what_is_shown_until_a_piece_is_passed_on() {
    let mut rig = super_seed(1000).config(|c| c.super_seed_pieces = 1).start();
    let (peer, other) = (rig.fast_taker(1), rig.fast_taker(2));
    let mut its = shown(&mut rig, peer);
    for wanted in [2, 4, 8] {
        for piece in std::mem::take(&mut its) {
            rig.have(peer, piece);
        }
        rig.wait(secs(70));
        its = shown(&mut rig, peer);
        assert_eq!(its.len(), wanted);
    }
    for piece in &its {
        rig.have(peer, *piece);
        rig.have(other, *piece);
    }
    assert_eq!(shown(&mut rig, peer).len(), 1, "from the beginning");
}

#[test]
fn beside_a_peer_that_passes_nothing_on_nobody_waits_for_ever() {
    let mut rig = super_seed(5000).start();
    let (peer, _rider) = (rig.fast_taker(1), rig.fast_taker(2));
    let mut known = 0;
    for _ in 0..10 {
        let its = shown(&mut rig, peer);
        known += its.len();
        for piece in its {
            rig.have(peer, piece);
        }
        rig.wait(secs(70));
    }
    assert_eq!(known, 5000);
}
