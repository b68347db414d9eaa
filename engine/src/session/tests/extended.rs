//! What peers tell of themselves: the extended handshake, upload-only, lost pieces.

use super::*;

use crate::config::Endgame;
use crate::wire::extension::{self, DONT_HAVE_ID, ExtendedHandshake};
use crate::wire::handshake::{EXTENSIONS, FAST};
use crate::wire::metadata::{METADATA_ID, MetadataMessage};

fn said(messages: &[Message]) -> Vec<ExtendedHandshake> {
    let said = messages.iter().filter_map(|message| match message {
        Message::Extended { id: 0, payload } => {
            Some(ExtendedHandshake::read(payload).expect("ours is well-formed"))
        }
        _ => None,
    });
    said.collect()
}

/// A peer that speaks both extensions, takes `lt_donthave` under 33, and has these pieces.
fn modern(rig: &mut Rig, n: u8, pieces: &[u32]) -> ConnId {
    let conn = rig.join_as(n, &[EXTENSIONS, FAST]);
    let introduction = ExtendedHandshake {
        dont_have: Some(33),
        ..ExtendedHandshake::default()
    };
    rig.introduce(conn, &introduction);
    let mut bits = BitSet::empty(rig.disk.geometry.pieces);
    for &piece in pieces {
        bits.insert(PieceIndex(piece));
    }
    rig.say(conn, Message::Bitfield(Bytes::from(bits.to_wire())));
    conn
}

fn lost(rig: &mut Rig, piece: u32) {
    let piece = PieceIndex(piece);
    rig.feed(Input::PieceLost { piece });
}

fn upload_only(on: bool) -> ExtendedHandshake {
    ExtendedHandshake {
        upload_only: Some(on),
        ..ExtendedHandshake::default()
    }
}

#[test]
fn we_introduce_ourselves_right_after_the_handshake_to_who_speaks_extensions() {
    let mut rig = Plan::new(9, 1).having(&[0]).start();
    let peer = rig.join_as(1, &[EXTENSIONS]);
    let heard = rig.heard(peer);
    let ours = &said(&heard)[..];
    let [ours] = ours else { panic!("{ours:?}") };
    assert_eq!(ours.dont_have, Some(DONT_HAVE_ID));
    assert_eq!((ours.port, ours.reqq), (Some(6881), Some(500)));
    assert_eq!(ours.your_ip, Some(addr(1).ip()));
    assert!(ours.client.as_ref().is_some_and(|v| v.starts_with("Skep/")));
    assert_eq!(ours.upload_only, None);
    let plain = rig.join(2);
    assert_eq!(said(&rig.heard(plain)), []);
    let mut seed = Plan::new(9, 1).seed().start();
    let peer = seed.join_as(1, &[EXTENSIONS]);
    assert_eq!(said(&seed.heard(peer))[0].upload_only, Some(true));
    let mut off = Plan::new(9, 1).config(|c| c.extensions = false).start();
    let peer = off.join_as(1, &[EXTENSIONS]);
    assert_eq!(off.heard(peer), []);
}

#[test]
fn an_introduction_that_is_no_bencode_closes_and_unknown_messages_do_not() {
    for (id, payload, legal) in [
        (0, &b"d1:md5:otheri1eee"[..], true),
        (0, b"d1:p", false),
        (0, b"", false),
        (200, b"rubbish", true),
        (DONT_HAVE_ID, &[0, 0, 0, 1], true),
        (DONT_HAVE_ID, &[0, 0, 1], false),
        (DONT_HAVE_ID, &[0, 0, 0, 9], false),
        (DONT_HAVE_ID, &[255; 4], false),
    ] {
        for speaks in [true, false] {
            let mut rig = Plan::new(9, 1).start();
            let bits: &[_] = if speaks { &[EXTENSIONS] } else { &[] };
            let peer = rig.join_as(1, bits);
            let payload = Bytes::from_static(payload);
            rig.say(peer, Message::Extended { id, payload });
            let closed = !rig.closed.is_empty();
            assert_eq!(closed, speaks && !legal, "id {id}, speaks {speaks}");
        }
    }
}

#[test]
fn a_peer_is_asked_for_no_more_than_it_queues() {
    let mut rig = Plan::new(4, 16).start();
    let peer = modern(&mut rig, 1, &[0, 1, 2, 3]);
    let queues = |n| ExtendedHandshake {
        reqq: Some(n),
        ..ExtendedHandshake::default()
    };
    rig.introduce(peer, &queues(2));
    rig.say(peer, Message::Unchoke);
    let mut open = rig.asked(peer);
    assert_eq!(open.len(), 2);
    rig.introduce(peer, &queues(0));
    rig.give(peer, open.remove(0));
    assert_eq!(rig.asked(peer), [], "one is open");
    rig.give(peer, open.remove(0));
    assert_eq!(rig.asked(peer).len(), 1, "nobody queues nothing");
}

#[test]
fn what_is_not_said_again_stays_as_it_was() {
    let mut rig = Plan::new(4, 1).having(&[0]).start();
    let peer = modern(&mut rig, 1, &[]);
    rig.introduce(peer, &upload_only(true));
    assert_eq!(rig.peer(peer).said.dont_have, 33);
    rig.introduce(peer, &ExtendedHandshake::default());
    assert!(rig.peer(peer).upload_only);
    let off = ExtendedHandshake {
        dont_have: Some(0),
        ..upload_only(false)
    };
    rig.introduce(peer, &off);
    let peer_now = rig.peer(peer);
    assert_eq!((peer_now.said.dont_have, peer_now.upload_only), (0, false));
    rig.heard(peer);
    lost(&mut rig, 0);
    assert_eq!(rig.heard(peer), [], "it takes them no more");
}

#[test]
fn a_client_is_named_where_its_bytes_are_counted() {
    let mut rig = Plan::new(4, 1).start();
    let peer = rig.join_as(1, &[EXTENSIONS]);
    let introduction = ExtendedHandshake {
        client: Some("Other/1".to_owned()),
        ..ExtendedHandshake::default()
    };
    rig.introduce(peer, &introduction);
    assert_eq!(rig.torrent.senders()[0].client, "Other/1");
    let named = |e: &Event| matches!(e, Event::ClientNamed { client, .. } if client == "Other/1");
    assert_eq!(rig.count(named), 1);
}

#[test]
fn who_wants_nothing_any_more_parts_from_a_seed_and_not_from_a_leecher() {
    let mut rig = Plan::new(4, 1).seed().start();
    let partial = modern(&mut rig, 1, &[0]);
    assert_eq!(rig.closed, []);
    rig.introduce(partial, &upload_only(true));
    assert_eq!(rig.parted(1), [CloseReason::SeedToSeed]);

    let mut rig = Plan::new(2, 1).start();
    let partial = modern(&mut rig, 1, &[0]);
    rig.introduce(partial, &upload_only(true));
    assert_eq!(rig.closed, [], "it has something for us");
    let source = rig.source(2);
    rig.serve_all(source);
    assert_eq!(rig.parted(1), [CloseReason::SeedToSeed], "and now nothing");
}

/// `whole`, `part`: the one has everything, the other wants no more than it has.
#[test]
fn a_seed_does_not_dial_seeds_that_dialled_it() {
    let mut rig = Plan::new(4, 1)
        .seed()
        .config(|c| c.connections_max = 2)
        .start();
    let [whole, part] = [1, 2].map(|n| {
        let conn = rig.join_as(n, &[EXTENSIONS]);
        let listens = ExtendedHandshake {
            port: Some(7000),
            ..ExtendedHandshake::default()
        };
        rig.introduce(conn, &listens);
        conn
    });
    let contacts = [1, 2, 3].map(|n| SocketAddr::new(addr(n).ip(), 7000));
    let told = contacts.map(|addr| PeerAddr { addr, id: None });
    rig.feed(Input::Peers(told.to_vec()));
    rig.say(whole, Message::Bitfield(Bytes::from_static(&[0xf0])));
    rig.introduce(part, &upload_only(true));
    assert_eq!(rig.closed, [whole, part]);
    rig.wait(secs(600));
    rig.dialled.dedup();
    assert_eq!(rig.dialled, [contacts[2]]);
}

#[test]
fn everybody_is_told_when_we_want_nothing_more() {
    let mut rig = Plan::new(2, 1).start();
    let (peer, plain) = (modern(&mut rig, 1, &[]), rig.join(2));
    rig.heard(peer);
    let source = rig.source(3);
    rig.serve_all(source);
    assert_eq!(said(&rig.heard(peer)), [upload_only(true)]);
    assert_eq!(said(&rig.heard(plain)), []);
    lost(&mut rig, 1);
    assert_eq!(said(&rig.heard(peer)), [upload_only(false)]);
}

#[test]
fn a_piece_that_a_peer_lost_is_asked_of_others_and_counts_no_more() {
    let mut rig = Plan::new(2, 2).config(|c| c.endgame = Endgame::Off).start();
    let peer = modern(&mut rig, 1, &[0]);
    rig.say(peer, Message::Unchoke);
    assert_eq!(rig.asked(peer).len(), 2);
    let other = rig.source(2);
    assert_eq!(rig.asked(other), [at(1, 0), at(1, 1)]);
    let gone = extension::dont_have(DONT_HAVE_ID, PieceIndex(0));
    rig.say(peer, gone.clone());
    assert_eq!(rig.copies(0), 1);
    assert_eq!(rig.heard(peer), [Message::NotInterested]);
    assert_eq!(rig.asked(other), [at(0, 0), at(0, 1)]);
    rig.say(peer, gone);
    assert_eq!(rig.copies(0), 1, "once");
    // Each of its two requests has its answer yet.
    rig.give(peer, at(0, 0));
    rig.say(peer, Message::Reject(at(0, 1)));
    assert_eq!(rig.closed, []);
    rig.have(peer, 0);
    assert_eq!(rig.copies(0), 2);
    assert_eq!(rig.asked(peer), [], "all of it is asked for");
    assert!(rig.peer(peer).am_interested);
}

#[test]
fn a_peer_that_loses_a_piece_that_we_have_is_told_so_and_as_interesting_as_before() {
    let mut rig = Plan::new(2, 1).having(&[0]).start();
    let peer = modern(&mut rig, 1, &[0, 1]);
    rig.heard(peer);
    rig.say(peer, extension::dont_have(DONT_HAVE_ID, PieceIndex(0)));
    assert_eq!(rig.heard(peer), [Message::Have(PieceIndex(0))]);
    assert_eq!(rig.peer(peer).useful, 1);
    rig.say(peer, extension::dont_have(DONT_HAVE_ID, PieceIndex(1)));
    assert_eq!(rig.heard(peer), [Message::NotInterested]);
}

#[test]
fn a_piece_of_ours_that_is_gone_is_refused_and_told_and_fetched_again() {
    let mut rig = Plan::new(2, 4).seed().start();
    rig.hold_reads = true;
    let peer = modern(&mut rig, 1, &[]);
    let plain = rig.taker(2);
    rig.say(peer, Message::Interested);
    for range in [at(0, 0), at(0, 1), at(1, 0), at(0, 2)] {
        rig.say(peer, Message::Request(range));
    }
    rig.heard(peer);
    rig.heard(plain);
    lost(&mut rig, 0);
    assert!(!rig.torrent.complete() && rig.torrent.left() == 65536);
    let heard = rig.heard(peer);
    assert!(heard.contains(&extension::dont_have(33, PieceIndex(0))));
    let refused = heard.iter().filter(|m| matches!(m, Message::Reject(_)));
    assert_eq!(refused.count(), 3);
    assert_eq!(rig.heard(plain), [], "it would not understand");
    while !rig.reads.is_empty() {
        rig.answer_read();
    }
    let served = rig.heard(peer);
    assert_eq!(served.len(), 1, "what waited behind goes out: {served:?}");
    lost(&mut rig, 0);
    assert_eq!(rig.count(|e| matches!(e, Event::PieceLost { .. })), 1);
    let source = rig.source(3);
    rig.serve_all(source);
    assert!(rig.torrent.complete());
    assert!(rig.heard(plain).contains(&Message::Have(PieceIndex(0))));
    assert_eq!(rig.parted(3), [CloseReason::SeedToSeed]);
}

#[test]
fn a_seed_that_lost_a_piece_dials_the_seeds_that_it_parted_from() {
    let mut rig = Plan::new(2, 1).seed().start();
    let told = PeerAddr {
        addr: addr(1),
        id: None,
    };
    rig.feed(Input::Peers(vec![told]));
    let conn = rig.connect(1, false);
    rig.shake(conn, 1);
    rig.say(conn, Message::Bitfield(Bytes::from_static(&[0b1100_0000])));
    assert_eq!(rig.parted(1), [CloseReason::SeedToSeed]);
    rig.wait(secs(600));
    assert_eq!(rig.dialled.len(), 1);
    lost(&mut rig, 0);
    rig.wait(secs(1));
    assert_eq!(rig.dialled.len(), 2);
}

#[test]
fn who_lost_a_piece_and_has_it_again_announces_completed_no_second_time() {
    let mut rig = Plan::new(2, 1).seed().tracked().start();
    lost(&mut rig, 0);
    let source = rig.source(1);
    let mut answered = 0;
    for _ in 0..50 {
        if answered < rig.announced.len() {
            answered += 1;
            rig.feed(Input::announced(Ok(AnnounceReply::default())));
        }
        rig.serve_all(source);
        rig.wait(secs(60));
    }
    assert!(answered > 1);
    assert!(rig.torrent.complete());
    let said = rig.announced.iter().map(|request| request.event);
    assert!(!said.into_iter().any(|e| e == AnnounceEvent::Completed));
}

#[test]
fn our_address_is_what_most_peers_say_and_each_has_one_vote() {
    let mut rig = Plan::new(1, 1).start();
    let ip = |n: u8| Some(std::net::IpAddr::from([80, 0, 0, n]));
    let says = |rig: &mut Rig, peer: u8, times: u32, n: u8| {
        let conn = rig.join_as(peer, &[EXTENSIONS]);
        let told = ExtendedHandshake {
            your_ip: ip(n),
            ..ExtendedHandshake::default()
        };
        for _ in 0..times {
            rig.say(conn, told.message());
        }
    };
    says(&mut rig, 1, 1, 1);
    says(&mut rig, 2, 1, 1);
    says(&mut rig, 3, 100, 9);
    assert_eq!(rig.torrent.our_ip.map(|(ip, _)| ip), ip(1), "one liar");
    says(&mut rig, 4, 1, 9);
    says(&mut rig, 5, 1, 9);
    assert_eq!(rig.torrent.our_ip.map(|(ip, _)| ip), ip(9), "three of five");
}

#[test]
fn an_introduction_does_not_replace_the_id_that_the_tracker_told() {
    let mut rig = Plan::new(1, 1).start();
    let honest = addr(1);
    rig.feed(Input::Peers(vec![PeerAddr {
        addr: honest,
        id: Some(PeerId([1; 20])),
    }]));
    let conn = rig.free_conn();
    rig.feed(Input::Connected {
        conn,
        addr: SocketAddr::new(honest.ip(), 5000),
        inbound: true,
    });
    rig.feed(Input::Handshake {
        conn,
        handshake: Handshake {
            reserved: crate::wire::handshake::reserved(&[EXTENSIONS]),
            info_hash: INFO_HASH,
            peer_id: PeerId([66; 20]),
        },
    });
    let claims = ExtendedHandshake {
        port: Some(honest.port()),
        ..ExtendedHandshake::default()
    };
    rig.say(conn, claims.message());
    assert_eq!(rig.torrent.dial.told_id(honest), Some(PeerId([1; 20])));
}

/// What a peer that takes metadata under 5 was answered.
fn served(rig: &mut Rig, conn: ConnId) -> Vec<MetadataMessage> {
    let heard = rig.heard(conn).into_iter();
    let heard = heard.filter_map(|message| match message {
        Message::Extended { id: 5, payload } => MetadataMessage::read(&payload).expect("ours"),
        _ => None,
    });
    heard.collect()
}

fn seed_with_info(private: bool) -> Rig {
    let plan = Plan::new(2, 1).seed();
    let setup = TorrentSetup {
        info_bytes: Bytes::from(vec![3; 16 * 1024 + 9]),
        private,
        ..plan.setup()
    };
    plan.start_with(setup)
}

fn ask(rig: &mut Rig, conn: ConnId, block: u32) {
    let request = MetadataMessage::Request { block };
    rig.say(conn, request.message(METADATA_ID));
}

#[test]
fn metadata_is_offered_and_served_so_many_times() {
    let mut rig = seed_with_info(false);
    let peer = rig.join_as(1, &[EXTENSIONS]);
    let ours = said(&rig.heard(peer)).remove(0);
    assert_eq!(ours.metadata, Some(METADATA_ID));
    assert_eq!(ours.metadata_size, Some(16 * 1024 + 9));
    ask(&mut rig, peer, 0);
    assert_eq!(served(&mut rig, peer), [], "it takes no answer yet");
    let takes = ExtendedHandshake {
        metadata: Some(5),
        ..ExtendedHandshake::default()
    };
    rig.introduce(peer, &takes);
    for block in [1, 2, u32::MAX] {
        ask(&mut rig, peer, block);
    }
    let last = MetadataMessage::Data {
        block: 1,
        total: 16 * 1024 + 9,
        data: Bytes::from(vec![3; 9]),
    };
    let refused = |block| MetadataMessage::Reject { block };
    assert_eq!(
        served(&mut rig, peer),
        [last, refused(2), refused(u32::MAX)]
    );
    // Two blocks, three times; one was served.
    for _ in 0..6 {
        ask(&mut rig, peer, 0);
    }
    let answers = served(&mut rig, peer);
    let data = |m: &&MetadataMessage| matches!(m, MetadataMessage::Data { block: 0, .. });
    assert_eq!(answers.iter().filter(data).count(), 5);
    assert_eq!(answers[5], refused(0));
}

#[test]
fn who_does_not_read_is_refused_metadata() {
    let mut rig = seed_with_info(false);
    Arc::make_mut(&mut rig.torrent.config).send_backlog_max = 40 * 1024;
    let peer = rig.join_as(1, &[EXTENSIONS]);
    let takes = ExtendedHandshake {
        metadata: Some(5),
        ..ExtendedHandshake::default()
    };
    rig.introduce(peer, &takes);
    ask(&mut rig, peer, 0);
    ask(&mut rig, peer, 0);
    let answers = served(&mut rig, peer);
    assert!(matches!(answers[0], MetadataMessage::Data { .. }));
    assert_eq!(answers[1], MetadataMessage::Reject { block: 0 });
    rig.feed(Input::SendRoom {
        conn: peer,
        queued: 0,
    });
    ask(&mut rig, peer, 0);
    assert_eq!(served(&mut rig, peer).len(), 1);
    assert!(rig.closed.is_empty());
}

#[test]
fn metadata_of_private_torrents_is_not_offered_or_served() {
    let mut rig = seed_with_info(true);
    let peer = rig.join_as(1, &[EXTENSIONS]);
    let ours = said(&rig.heard(peer)).remove(0);
    assert_eq!((ours.metadata, ours.metadata_size), (None, None));
    let takes = ExtendedHandshake {
        metadata: Some(5),
        ..ExtendedHandshake::default()
    };
    rig.introduce(peer, &takes);
    ask(&mut rig, peer, 0);
    assert_eq!(served(&mut rig, peer), []);
    assert!(rig.closed.is_empty());
}

#[test]
fn who_lied_about_the_metadata_is_not_spoken_to() {
    let plan = Plan::new(2, 1);
    let setup = TorrentSetup {
        banned: vec![(addr(3), PeerId([3; 20]))],
        ..plan.setup()
    };
    let mut rig = plan.start_with(setup);
    let conn = rig.connect(3, true);
    assert_eq!(rig.closed, [conn]);
}
