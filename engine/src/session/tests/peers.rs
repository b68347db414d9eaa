//! Connections: handshakes, what peers say they have, interest, silence, seeds among each other.

use super::*;

pub(super) fn told(n: u8, id: Option<u8>) -> PeerAddr {
    PeerAddr {
        addr: addr(n),
        id: id.map(|id| PeerId([id; 20])),
    }
}

pub(super) fn bits(bytes: &'static [u8]) -> Message {
    Message::Bitfield(Bytes::from_static(bytes))
}

#[test]
fn the_dialling_end_speaks_first_and_the_other_answers() {
    let mut rig = Plan::new(9, 1).having(&[0]).start();
    rig.feed(Input::Peers(vec![told(2, None)]));
    let in_ = rig.connect(1, true);
    assert_eq!(rig.greeted, []);
    rig.shake(in_, 1);
    assert_eq!(rig.greeted, [in_]);
    let out = rig.connect(2, false);
    assert_eq!(rig.greeted, [in_, out]);
    rig.shake(out, 2);
    assert_eq!(rig.greeted, [in_, out], "and speaks once");
    assert_eq!(rig.heard(out), [bits(&[0b1000_0000, 0])]);
    assert_eq!(rig.torrent.peers_connected(), 2);
}

#[test]
fn who_has_nothing_sends_no_bitfield() {
    let mut rig = Plan::new(9, 1).start();
    let peer = rig.join(1);
    assert_eq!(rig.heard(peer), []);
}

#[test]
fn a_handshake_for_another_torrent_closes_without_an_answer() {
    let mut rig = Plan::new(1, 1).start();
    let conn = rig.connect(1, true);
    let handshake = Handshake {
        reserved: [0; 8],
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([1; 20]),
    };
    rig.feed(Input::Handshake { conn, handshake });
    assert_eq!((rig.closed.clone(), rig.greeted.len()), (vec![conn], 0));
    assert_eq!(rig.parted(1), [CloseReason::WrongTorrent]);
}

#[test]
fn ourselves_are_dialled_once() {
    let mut rig = Plan::new(1, 1).start();
    rig.feed(Input::Peers(vec![told(1, None)]));
    let out = rig.connect(1, false);
    let in_ = rig.connect(77, true);
    // Our own words arrive at the accepting end first.
    rig.shake(in_, 100);
    assert_eq!(rig.closed, [in_]);
    assert!(
        rig.greeted.contains(&in_),
        "or the dialling end would never know"
    );
    rig.shake(out, 100);
    assert_eq!(rig.closed, [in_, out]);
    assert_eq!(rig.parted(1), [CloseReason::SelfConnect]);
    rig.wait(secs(3600));
    assert_eq!(rig.dialled, [addr(1)]);
}

#[test]
fn a_peer_that_is_not_who_the_tracker_said_is_refused() {
    let mut rig = Plan::new(1, 1).start();
    rig.feed(Input::Peers(vec![told(1, Some(1)), told(2, Some(2))]));
    let (right, wrong) = (rig.connect(1, false), rig.connect(2, false));
    rig.shake(right, 1);
    rig.shake(wrong, 3);
    assert_eq!(rig.closed, [wrong]);
    assert_eq!(rig.parted(2), [CloseReason::WrongPeer]);
}

#[test]
fn of_two_connections_to_one_peer_both_ends_keep_the_same() {
    // Each end dialled once; handshakes arrive in any order at either end.
    for orders in 0..4 {
        let kept = [(100, 200, 0), (200, 100, 1)].map(|(me, other, end)| {
            let plan = Plan::new(1, 1);
            let mut setup = plan.setup();
            setup.peer_id = PeerId([me; 20]);
            let mut rig = plan.start_with(setup);
            rig.feed(Input::Peers(vec![told(other, None)]));
            let conns = [rig.connect(other, false), rig.connect(other, true)];
            let first = orders >> end & 1;
            rig.shake(conns[first], other);
            rig.shake(conns[1 - first], other);
            assert_eq!(rig.closed.len(), 1);
            assert_eq!(rig.parted(other), [CloseReason::Duplicate]);
            // Whose dial survived: 0 for ours.
            let ours_kept = rig.closed[0] == conns[1];
            if ours_kept { me } else { other }
        });
        assert_eq!(kept, [100, 100], "the one that the lower id opened");
    }
}

#[test]
fn of_two_connections_that_one_end_opened_the_older_stays() {
    let mut rig = Plan::new(1, 1).start();
    let first = rig.join(1);
    let second = rig.join(1);
    assert_eq!(rig.closed, [second]);
    assert!(rig.torrent.slot(first).is_some());
}

#[test]
fn a_duplicate_that_loses_takes_its_copies_with_it() {
    let mut rig = Plan::new(2, 1).start();
    rig.feed(Input::Peers(vec![told(1, None)]));
    let out = rig.connect(1, false);
    rig.shake(out, 1);
    rig.say(out, bits(&[0b1100_0000]));
    // Peer 1 has the lower id: the connection that it opened stays.
    let in_ = rig.join(1);
    assert_eq!(rig.closed, [out]);
    assert_eq!(rig.copies(0), 0);
    rig.say(in_, bits(&[0b1100_0000]));
    assert_eq!(rig.copies(0), 1);
}

#[test]
fn a_message_before_the_handshake_closes() {
    let mut rig = Plan::new(1, 1).start();
    let conn = rig.connect(1, true);
    rig.say(conn, Message::KeepAlive);
    assert_eq!(rig.closed, [conn]);
    rig.say(conn, Message::Unchoke);
    assert_eq!(rig.closed, [conn], "what comes after counts for nothing");
}

/// Whether a peer that says this to us, ten pieces of which we have none, is still connected.
fn legal(said: &[Message]) -> bool {
    let mut rig = Plan::new(10, 1).start();
    let peer = rig.join(1);
    for message in said {
        rig.say(peer, message.clone());
    }
    let legal = rig.closed.is_empty();
    assert!(legal || matches!(rig.parted(1)[..], [CloseReason::Protocol(_)]));
    assert!(legal || (0..10).all(|piece| rig.copies(piece) == 0));
    legal
}

#[test]
fn a_bitfield_has_its_exact_length_and_no_spare_bits() {
    let extended = || Message::Extended {
        id: 0,
        payload: Bytes::from_static(b"de"),
    };
    let good = || bits(&[0xff, 0b1100_0000]);
    assert!(legal(&[good()]));
    assert!(legal(&[extended(), good(), extended()]));
    assert!(legal(&[Message::KeepAlive, good()]));
    assert!(legal(&[bits(&[0, 0])]));
    assert!(!legal(&[bits(&[0xff])]));
    assert!(!legal(&[bits(&[0xff, 0, 0])]));
    assert!(!legal(&[bits(&[])]));
    assert!(!legal(&[bits(&[0xff, 0b1110_0000])]), "a spare bit");
}

/// aria2 sends one bitfield in place of twenty or more `have`s, whenever it has so many to send.
#[test]
fn a_later_bitfield_adds_to_what_is_known_and_takes_nothing_back() {
    let mut rig = Plan::new(10, 1).start();
    let peer = rig.holder(1, &[0, 1]);
    rig.have(peer, 2);
    rig.say(peer, bits(&[0b0011_0000, 0]));
    rig.say(peer, bits(&[0b0011_0000, 0]));
    let copies: Vec<_> = (0..10).map(|piece| rig.copies(piece)).collect();
    assert_eq!(copies, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.closed, []);
    rig.gone(peer);
    assert!((0..10).all(|piece| rig.copies(piece) == 0));
}

#[test]
fn what_a_later_bitfield_adds_is_asked_for_at_once() {
    let mut rig = Plan::new(2, 1).start();
    let peer = rig.holder(1, &[]);
    rig.say(peer, Message::Unchoke);
    rig.heard(peer);
    rig.say(peer, bits(&[0b0100_0000]));
    let interested = Message::Interested;
    assert_eq!(rig.heard(peer), [interested, Message::Request(at(1, 0))]);
}

#[test]
fn messages_that_nobody_agreed_on_close_and_unknown_ones_do_not() {
    let piece = PieceIndex(0);
    assert!(!legal(&[Message::Suggest(piece)]));
    assert!(!legal(&[Message::HaveAll]));
    assert!(!legal(&[Message::HaveNone]));
    assert!(!legal(&[Message::Reject(at(0, 0))]));
    assert!(!legal(&[Message::AllowedFast(piece)]));
    assert!(legal(&[
        Message::Port(1),
        Message::Unknown(99),
        Message::KeepAlive
    ]));
    assert!(legal(&[Message::Have(PieceIndex(9))]));
    assert!(!legal(&[Message::Have(PieceIndex(10))]));
    assert!(!legal(&[Message::Have(PieceIndex(u32::MAX))]));
    assert!(legal(&[Message::Cancel(BlockRange {
        piece: PieceIndex(u32::MAX),
        begin: u32::MAX,
        len: u32::MAX,
    })]));
}

#[test]
fn bytes_that_are_no_message_close() {
    let mut rig = Plan::new(1, 1).start();
    let conn = rig.join(1);
    let error = crate::wire::WireError::TooLong(u32::MAX);
    rig.feed(Input::WireError { conn, error });
    assert_eq!(rig.parted(1), [CloseReason::Wire(error)]);
}

#[test]
fn a_have_that_repeats_counts_once() {
    let mut rig = Plan::new(10, 1).start();
    let peer = rig.holder(1, &[3]);
    for _ in 0..5 {
        rig.have(peer, 3);
        rig.have(peer, 4);
    }
    assert_eq!((rig.copies(3), rig.copies(4)), (1, 1));
    rig.gone(peer);
    assert_eq!((rig.copies(3), rig.copies(4)), (0, 0));
}

#[test]
fn interest_is_said_when_it_changes_and_only_then() {
    let mut rig = Plan::new(3, 1).having(&[0]).start();
    let peer = rig.holder(1, &[0]);
    rig.heard(peer);
    rig.have(peer, 0);
    assert_eq!(rig.heard(peer), [], "nothing new there");
    rig.have(peer, 1);
    assert_eq!(rig.heard(peer), [Message::Interested]);
    rig.have(peer, 2);
    assert_eq!(rig.heard(peer), []);
    let source = rig.source(2);
    rig.give(source, at(1, 0));
    assert_eq!(rig.heard(peer), []);
    rig.give(source, at(2, 0));
    assert_eq!(rig.heard(peer), [Message::NotInterested]);
}

#[test]
fn a_verified_piece_is_announced_to_those_who_lack_it() {
    for redundant in [false, true] {
        let mut rig = Plan::new(2, 1)
            .config(|c| (c.redundant_have, c.have_batch) = (redundant, 1))
            .start();
        let (source, other) = (rig.source(1), rig.join(2));
        rig.give(source, at(0, 0));
        let have = Message::Have(PieceIndex(0));
        assert!(rig.heard(other).contains(&have));
        assert_eq!(rig.heard(source).contains(&have), redundant);
    }
}

#[test]
fn who_gave_a_piece_is_told_of_it_unless_it_says_to_be_a_seed() {
    // It may be a super-seed (BEP 16), which waits to hear of it.
    let mut rig = Plan::new(3, 1).start();
    let (giver, other, seed) = (rig.holder(1, &[0]), rig.holder(2, &[0]), rig.source(3));
    rig.say(giver, Message::Unchoke);
    let have = |piece| Message::Have(PieceIndex(piece));
    for piece in [0, 1] {
        let from = if piece == 0 { giver } else { seed };
        if rig.asked(from).contains(&at(piece, 0)) {
            rig.give(from, at(piece, 0));
        }
    }
    assert!(rig.torrent.have().contains(PieceIndex(0)));
    assert!(rig.heard(giver).contains(&have(0)));
    assert!(!rig.heard(other).contains(&have(0)));
    assert!(
        !rig.heard(seed)
            .iter()
            .any(|m| matches!(m, Message::Have(_)))
    );
}

#[test]
fn a_handshake_has_ten_seconds() {
    let mut rig = Plan::new(1, 1).start();
    rig.chat = Now::NEVER;
    let conn = rig.connect(1, true);
    rig.wait(secs(10) - ms(1));
    assert_eq!(rig.closed, []);
    rig.wait(ms(1));
    assert_eq!(rig.closed, [conn]);
    assert_eq!(rig.parted(1), [CloseReason::HandshakeTimeout]);
}

#[test]
fn silence_is_broken_after_two_minutes_and_ends_after_two_and_a_half() {
    let mut rig = Plan::new(1, 1).start();
    rig.chat = Now::NEVER;
    let (mute, alive) = (rig.join(1), rig.join(2));
    rig.wait(secs(120) - ms(1));
    assert_eq!(rig.heard(mute), []);
    rig.wait(ms(1));
    assert_eq!(rig.heard(mute), [Message::KeepAlive]);
    rig.say(alive, Message::KeepAlive);
    rig.wait(secs(30));
    assert_eq!(rig.closed, [mute]);
    assert_eq!(rig.parted(1), [CloseReason::Silence]);
    rig.wait(secs(90));
    assert_eq!(rig.heard(alive), [const { Message::KeepAlive }; 2]);
}

#[test]
fn seeds_part() {
    // By bitfield, by the last have, and when we become one.
    let mut rig = Plan::new(2, 1).seed().start();
    rig.holder(1, &[0, 1]);
    assert_eq!(rig.parted(1), [CloseReason::SeedToSeed]);
    let peer = rig.holder(2, &[0]);
    assert_eq!(rig.parted(2), []);
    rig.have(peer, 1);
    assert_eq!(rig.parted(2), [CloseReason::SeedToSeed]);

    let mut rig = Plan::new(2, 1).start();
    let (source, leecher) = (rig.source(1), rig.holder(2, &[0]));
    rig.serve_all(source);
    assert_eq!(rig.closed, [source]);
    assert!(rig.torrent.slot(leecher).is_some());

    let mut rig = Plan::new(2, 1)
        .seed()
        .config(|c| c.close_seed_to_seed = false)
        .start();
    rig.holder(1, &[0, 1]);
    rig.wait(secs(600));
    assert_eq!(rig.closed, []);
}

#[test]
fn a_seed_parts_from_who_wants_nothing_of_it_for_two_minutes() {
    let mut rig = Plan::new(2, 1).seed().start();
    let (content, taker) = (rig.holder(1, &[0]), rig.taker(2));
    rig.wait(secs(119));
    assert_eq!(rig.closed, []);
    rig.wait(secs(12));
    assert_eq!(rig.closed, [content]);
    rig.wait(secs(600));
    assert!(rig.torrent.slot(taker).is_some());
}
