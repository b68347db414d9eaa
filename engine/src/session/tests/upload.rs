//! The requests of others: which are legal, which wait, which are dropped, and how fast they go out.

use super::*;

fn request(rig: &mut Rig, conn: ConnId, range: BlockRange) {
    rig.say(conn, Message::Request(range));
}

/// Blocks sent to a connection since the last question.
fn got(rig: &mut Rig, conn: ConnId) -> Vec<BlockRange> {
    let heard = rig.heard(conn).into_iter();
    let ranges = heard.filter_map(|message| match message {
        Message::Piece { piece, begin, data } => Some(BlockRange {
            piece,
            begin,
            len: u32::try_from(data.len()).expect("a block"),
        }),
        _ => None,
    });
    ranges.collect()
}

fn waiting(rig: &mut Rig, conn: ConnId) -> usize {
    let slot = rig.torrent.slot(conn).expect("connected");
    rig.torrent.peer(slot).up.queue.len()
}

#[test]
fn a_request_is_answered_with_the_block() {
    let mut rig = Plan::new(2, 4).seed().start();
    let peer = rig.taker(1);
    rig.heard(peer);
    request(&mut rig, peer, at(1, 2));
    let data = rig.disk.good_block(at(1, 2));
    let (piece, begin) = (PieceIndex(1), 2 * BLOCK_BYTES);
    assert_eq!(rig.heard(peer), [Message::Piece { piece, begin, data }]);
    assert_eq!(rig.torrent.totals().sent, 16384);
    assert_eq!(rig.torrent.senders()[0].sent, 16384);
}

#[test]
fn a_part_of_a_block_is_served_too() {
    let mut rig = Plan::new(2, 4).seed().start();
    let peer = rig.taker(1);
    let odd = BlockRange {
        begin: 5,
        len: 1,
        ..at(0, 0)
    };
    request(&mut rig, peer, odd);
    assert_eq!(got(&mut rig, peer), [odd]);
}

#[test]
fn a_request_outside_its_piece_of_nothing_or_too_long_closes_the_connection() {
    let piece_bytes = 4 * BLOCK_BYTES;
    for (piece, begin, len) in [
        (2, 0, BLOCK_BYTES),
        (u32::MAX, u32::MAX, u32::MAX),
        (1, piece_bytes, 1),
        (1, piece_bytes - 1, 2),
        (0, u32::MAX, BLOCK_BYTES),
        (0, 0, 0),
        (0, 0, BLOCK_BYTES + 1),
        (0, 0, u32::MAX),
    ] {
        let mut rig = Plan::new(2, 4).seed().start();
        let peer = rig.taker(1);
        let piece = PieceIndex(piece);
        request(&mut rig, peer, BlockRange { piece, begin, len });
        assert_eq!(rig.closed, [peer], "{piece} {begin} {len}");
        assert_eq!(got(&mut rig, peer), []);
        assert!(matches!(rig.parted(1)[..], [CloseReason::Protocol(_)]));
    }
}

#[test]
fn a_longer_block_is_served_where_the_switch_allows_it() {
    let mut rig = Plan::new(2, 8)
        .seed()
        .config(|c| c.request_bytes_max = 128 * 1024)
        .start();
    let peer = rig.taker(1);
    let long = BlockRange {
        len: 128 * 1024,
        ..at(0, 0)
    };
    request(&mut rig, peer, long);
    assert_eq!(got(&mut rig, peer), [long]);
}

#[test]
fn a_request_while_choked_or_for_a_piece_we_lack_is_dropped() {
    let mut rig = Plan::new(2, 4).having(&[0]).start();
    let choked = rig.join(1);
    request(&mut rig, choked, at(0, 0));
    let peer = rig.taker(2);
    request(&mut rig, peer, at(1, 0));
    assert_eq!((rig.reads.len(), rig.closed.len()), (0, 0));
    assert_eq!(waiting(&mut rig, choked) + waiting(&mut rig, peer), 0);
}

#[test]
fn the_queue_of_one_peer_is_bounded() {
    let mut rig = Plan::new(4, 4).seed().start();
    rig.hold_reads = true;
    let peer = rig.taker(1);
    for _ in 0..2500 {
        request(&mut rig, peer, at(0, 0));
    }
    assert_eq!(waiting(&mut rig, peer), 2000);
    assert_eq!(rig.reads.len(), 2, "beside what fits the send buffer");
}

#[test]
fn blocks_go_out_as_far_as_the_network_has_room() {
    let mut rig = Plan::new(4, 4).seed().start();
    let conn = rig.taker(1);
    for block in 0..4 {
        request(&mut rig, conn, at(0, block));
        request(&mut rig, conn, at(1, block));
    }
    assert_eq!(got(&mut rig, conn), [at(0, 0), at(1, 0)]);
    rig.feed(Input::SendRoom {
        conn,
        queued: 32 * 1024,
    });
    assert_eq!(got(&mut rig, conn), []);
    rig.feed(Input::SendRoom {
        conn,
        queued: 20_000,
    });
    assert_eq!(got(&mut rig, conn), [at(0, 1)]);
    rig.feed(Input::SendRoom { conn, queued: 0 });
    assert_eq!(got(&mut rig, conn), [at(1, 1), at(0, 2)]);
    assert_eq!(waiting(&mut rig, conn), 3);
}

#[test]
fn control_messages_do_not_wait_for_room() {
    let mut rig = Plan::new(4, 1).having(&[0]).start();
    let source = rig.holder(1, &[1]);
    rig.say(source, Message::Unchoke);
    let conn = rig.taker(2);
    for _ in 0..9 {
        request(&mut rig, conn, at(0, 0));
    }
    rig.heard(conn);
    rig.give(source, at(1, 0));
    assert_eq!(rig.heard(conn), [Message::Have(PieceIndex(1))]);
}

#[test]
fn a_choke_drops_the_queue_and_the_blocks_being_read() {
    let mut rig = Plan::new(4, 4)
        .having(&[0])
        .config(|c| (c.upload_slots, c.optimistic_slots) = (1, 1))
        .start();
    rig.hold_reads = true;
    let (peer, _other) = (rig.taker(1), rig.taker(2));
    for block in 0..4 {
        request(&mut rig, peer, at(0, block));
    }
    assert_eq!((rig.reads.len(), waiting(&mut rig, peer)), (2, 2));
    rig.wait(secs(10));
    assert!(!rig.unchoked(peer), "the slot moved on");
    rig.answer_read();
    rig.answer_read();
    assert_eq!(got(&mut rig, peer), []);
    assert_eq!(rig.torrent.totals().sent, 0);
    assert_eq!(waiting(&mut rig, peer), 0);
}

#[test]
fn a_cancel_removes_a_request_that_waits_and_one_being_read() {
    let mut rig = Plan::new(4, 4).seed().start();
    rig.hold_reads = true;
    let peer = rig.taker(1);
    for block in 0..4 {
        request(&mut rig, peer, at(0, block));
    }
    rig.say(peer, Message::Cancel(at(0, 1)));
    rig.say(peer, Message::Cancel(at(0, 3)));
    rig.say(peer, Message::Cancel(at(3, 3)));
    while !rig.reads.is_empty() {
        rig.answer_read();
    }
    assert_eq!(got(&mut rig, peer), [at(0, 0), at(0, 2)]);
}

#[test]
fn who_loses_interest_loses_what_it_waits_for() {
    let mut rig = Plan::new(4, 4).seed().start();
    rig.hold_reads = true;
    let peer = rig.taker(1);
    request(&mut rig, peer, at(0, 0));
    rig.say(peer, Message::NotInterested);
    rig.answer_read();
    assert_eq!(got(&mut rig, peer), []);
}

#[test]
fn a_block_read_for_a_peer_that_is_gone_or_replaced_goes_nowhere() {
    let mut rig = Plan::new(4, 4).seed().start();
    rig.hold_reads = true;
    let peer = rig.taker(1);
    request(&mut rig, peer, at(0, 0));
    rig.gone(peer);
    let heir = ConnId {
        generation: 1,
        ..peer
    };
    rig.feed(Input::Connected {
        conn: heir,
        addr: addr(2),
        inbound: true,
    });
    rig.shake(heir, 2);
    rig.answer_read();
    assert_eq!(rig.torrent.totals().sent, 0);
    assert_eq!(got(&mut rig, heir), []);
}
