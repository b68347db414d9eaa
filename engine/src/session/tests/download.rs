//! What we ask for, from whom, and what becomes of answers, silence, chokes and deaths.

use super::*;

use crate::config::{Endgame, PartialFirst};
use crate::picker::RarestFirst;

use super::super::event::Waste;

fn blocks(piece: u32, blocks: std::ops::Range<u32>) -> Vec<BlockRange> {
    blocks.map(|block| at(piece, block)).collect()
}

/// No end-game, so that only what is free is asked for.
fn calm(pieces: u32, blocks: u32) -> Plan {
    Plan::new(pieces, blocks).config(|c| c.endgame = Endgame::Off)
}

fn depth(rig: &mut Rig, conn: ConnId) -> u32 {
    let slot = rig.torrent.slot(conn).expect("connected");
    rig.torrent.peer(slot).down.depth
}

#[test]
fn nothing_is_asked_of_a_peer_that_chokes_us_and_five_blocks_of_one_that_does_not() {
    let mut rig = Plan::new(2, 8).start();
    let peer = rig.holder(1, &[0, 1]);
    assert_eq!(rig.asked(peer), []);
    rig.say(peer, Message::Unchoke);
    assert_eq!(rig.asked(peer), blocks(0, 0..5));
    rig.say(peer, Message::Unchoke);
    assert_eq!(
        rig.asked(peer),
        [],
        "an unchoke that repeats changes nothing"
    );
}

/// `choke-returns-blocks`.
#[test]
fn a_choke_returns_all_blocks_at_once_and_others_get_them() {
    let mut rig = Plan::new(1, 8).start();
    let (first, second) = (rig.source(1), rig.source(2));
    assert_eq!(rig.asked(first), blocks(0, 0..5));
    assert_eq!(rig.asked(second), blocks(0, 5..8));
    rig.say(first, Message::Choke);
    assert_eq!(
        rig.asked(second),
        blocks(0, 0..2),
        "as its pipeline has room"
    );
    rig.serve_all(second);
    for block in [5, 6, 7, 0, 1] {
        rig.give(second, at(0, block));
    }
    rig.serve_all(second);
    assert!(rig.torrent.complete());
}

#[test]
fn blocks_on_their_way_when_a_choke_comes_still_count() {
    let mut rig = Plan::new(1, 8).start();
    let peer = rig.source(1);
    rig.say(peer, Message::Choke);
    rig.give(peer, at(0, 0));
    rig.give(peer, at(0, 1));
    let totals = rig.torrent.totals();
    assert_eq!((totals.gained, totals.wasted), (2 * 16384, 0));
    rig.say(peer, Message::Unchoke);
    rig.asked(peer);
    rig.give(peer, at(0, 0));
    assert_eq!(
        rig.torrent.totals().wasted,
        16384,
        "the second copy does not"
    );
}

#[test]
fn who_sends_block_after_block_unasked_is_closed_and_at_the_first_one_when_it_is_back() {
    let mut rig = Plan::new(2, 8).config(|c| c.strays_max = 3).start();
    let peer = rig.source(1);
    for _ in 0..3 {
        rig.give(peer, at(1, 7));
    }
    assert_eq!(rig.closed, []);
    rig.give(peer, at(1, 7));
    let unasked = CloseReason::Protocol("a block that nobody asked for");
    assert_eq!(rig.parted(1), [unasked]);
    let again = rig.source(1);
    rig.give(again, at(1, 7));
    assert_eq!(rig.closed, [peer, again]);
}

#[test]
fn a_block_nobody_asked_for_is_waste_and_gives_no_credit() {
    let mut rig = Plan::new(2, 8).start();
    let peer = rig.source(1);
    rig.give(peer, at(1, 7));
    let odd = BlockRange {
        begin: 100,
        len: 50,
        ..at(0, 0)
    };
    rig.give(peer, odd);
    let slot = rig.torrent.slot(peer).expect("it is no reason to close");
    assert_eq!(rig.torrent.peer(slot).down.received_now, 0);
    assert_eq!(rig.torrent.totals().gained, 0);
    assert_eq!(rig.torrent.totals().wasted, 16384 + 50);
    let wasted = |e: &Event| {
        matches!(
            e,
            Event::BlockWasted {
                why: Waste::Unrequested,
                ..
            }
        )
    };
    assert_eq!(rig.count(wasted), 2);
}

#[test]
fn a_block_outside_its_piece_closes_the_connection() {
    for (piece, begin, len) in [
        (2, 0, 1),
        (u32::MAX, 0, 1),
        (0, 8 * BLOCK_BYTES, 1),
        (0, u32::MAX, 9),
        (1, 8 * BLOCK_BYTES - 4, 5),
        (0, 0, 0),
    ] {
        let mut rig = Plan::new(2, 8).start();
        let peer = rig.source(1);
        let (piece, data) = (PieceIndex(piece), Bytes::from(vec![0; len]));
        rig.say(peer, Message::Piece { piece, begin, data });
        assert_eq!(rig.closed, [peer], "{piece} {begin} {len}");
    }
}

#[test]
fn a_late_request_lets_others_have_the_block_and_a_late_block_still_counts() {
    let mut rig = calm(1, 2).start();
    let (slow, other) = (rig.source(1), rig.source(2));
    assert_eq!(rig.asked(slow), blocks(0, 0..2));
    rig.wait(secs(44));
    assert_eq!(rig.asked(other), []);
    rig.wait(secs(1));
    assert_eq!(rig.count(|e| matches!(e, Event::RequestTimedOut { .. })), 2);
    assert_eq!(rig.asked(other), blocks(0, 0..2));
    rig.give(slow, at(0, 0));
    assert_eq!(rig.torrent.totals().gained, 16384);
    assert_eq!(rig.heard(other), [Message::Cancel(at(0, 0))]);
    rig.give(other, at(0, 1));
    assert!(rig.torrent.complete());
    assert!(rig.heard(slow).contains(&Message::Cancel(at(0, 1))));
}

/// Whatever is late at whoever: it is looked at together, on whole seconds since the start.
#[test]
fn lateness_is_noticed_on_the_next_whole_second() {
    let mut rig = calm(2, 2).start();
    rig.wait(ms(300));
    let early = rig.holder(1, &[0]);
    rig.wait(ms(400));
    let later = rig.holder(2, &[1]);
    for peer in [early, later] {
        rig.say(peer, Message::Unchoke);
        assert_eq!(rig.asked(peer).len(), 2);
    }
    let late = |rig: &Rig| rig.count(|e| matches!(e, Event::RequestTimedOut { .. }));
    rig.wait(ms(45_299));
    assert_eq!((rig.now.0, late(&rig)), (45_999_000_000, 0));
    rig.wait(ms(1));
    assert_eq!(late(&rig), 4);
}

#[test]
fn a_late_block_is_not_asked_for_again_from_the_peer_that_is_late() {
    let mut rig = calm(1, 1).start();
    let mute = rig.source(1);
    assert_eq!(rig.asked(mute), [at(0, 0)]);
    rig.wait(secs(59));
    assert_eq!(rig.asked(mute), []);
    let other = rig.source(2);
    assert_eq!(rig.asked(other), [at(0, 0)]);
}

#[test]
fn answers_in_time_make_the_timeout_of_what_is_open_shorter() {
    let mut rig = calm(1, 10)
        .config(|c| (c.pipeline_start, c.choke_interval) = (10, secs(1000)))
        .start();
    let (peer, other) = (rig.source(1), rig.source(2));
    for block in 0..9 {
        rig.wait(ms(50));
        rig.give(peer, at(0, block));
    }
    rig.wait(secs(2));
    assert_eq!(
        rig.asked(other),
        [at(0, 9)],
        "after about 2 s, not after 45"
    );
}

#[test]
fn a_peer_that_owes_us_for_a_minute_is_snubbed_and_asked_for_one_block_at_a_time() {
    let mut rig = calm(4, 8).start();
    let mute = rig.source(1);
    assert_eq!(rig.asked(mute).len(), 5);
    rig.wait(secs(60) - ms(1));
    assert_eq!(rig.count(|e| matches!(e, Event::Snubbed { .. })), 0);
    rig.wait(ms(1));
    assert_eq!(rig.count(|e| matches!(e, Event::Snubbed { .. })), 1);
    let heard = rig.heard(mute);
    let cancels = heard.iter().filter(|m| matches!(m, Message::Cancel(_)));
    assert_eq!(cancels.count(), 5);
    let requests = heard.iter().filter(|m| matches!(m, Message::Request(_)));
    assert_eq!(requests.count(), 1);
    rig.wait(secs(300));
    assert_eq!(rig.asked(mute), [], "no more than one");
    rig.give(mute, at(0, 0));
    let asked = rig.asked(mute).len();
    assert_eq!(
        asked, 2,
        "a block un-snubs at once; its rate is worth no more"
    );
}

#[test]
fn of_a_snubbing_peer_the_most_common_piece_is_asked() {
    let plan = calm(4, 1).config(|c| c.partial_first = PartialFirst::Never);
    let mut rig = plan.start();
    let mute = rig.source(1);
    for n in 2..4 {
        rig.holder(n, &[2]);
    }
    assert_eq!(rig.asked(mute)[0], at(0, 0), "the strategy's order");
    rig.wait(secs(60));
    assert_eq!(rig.asked(mute), [at(2, 0)]);
}

#[test]
fn who_chokes_us_or_owes_us_nothing_is_never_snubbed() {
    let mut rig = Plan::new(2, 8).start();
    let idle = rig.holder(1, &[]);
    rig.say(idle, Message::Unchoke);
    let choker = rig.source(2);
    rig.say(choker, Message::Choke);
    rig.wait(secs(500));
    assert_eq!(rig.count(|e| matches!(e, Event::Snubbed { .. })), 0);
    assert_eq!(rig.torrent.peers_connected(), 2);
}

#[test]
fn an_answer_that_another_peer_forestalled_ends_the_snub_too() {
    let mut rig = calm(1, 2).start();
    let slow = rig.source(1);
    rig.wait(secs(61));
    let slot = rig.torrent.slot(slow).expect("connected");
    assert!(rig.torrent.peer(slot).down.snubbed);
    let other = rig.source(2);
    assert_eq!(rig.asked(other), [at(0, 1)]);
    rig.give(other, at(0, 1));
    rig.give(slow, at(0, 1));
    assert_eq!(rig.torrent.totals().wasted, 16384);
    assert!(!rig.torrent.peer(slot).down.snubbed);
}

#[test]
fn a_block_given_back_by_a_snub_goes_to_others_first() {
    let mut rig = calm(1, 1).start();
    let mute = rig.source(1);
    let other = rig.holder(2, &[0]);
    rig.wait(secs(50));
    rig.wait(secs(9));
    rig.say(other, Message::Unchoke);
    assert_eq!(rig.asked(other), [at(0, 0)], "late, so free");
    rig.say(other, Message::Choke);
    rig.wait(secs(1));
    rig.say(other, Message::Unchoke);
    assert_eq!(rig.asked(mute).len(), 2, "nobody else could be asked");
}

#[test]
fn end_game_asks_at_most_two_for_one_block_and_cancels_the_loser() {
    let mut rig = Plan::new(1, 1)
        .config(|c| c.close_seed_to_seed = false)
        .start();
    let [a, b, c] = [1, 2, 3].map(|n| rig.source(n));
    assert_eq!(rig.asked(a), [at(0, 0)]);
    assert_eq!(rig.heard(b).last(), Some(&Message::Request(at(0, 0))));
    assert_eq!(rig.asked(c), []);
    assert_eq!(rig.count(|e| *e == Event::EndgameEntered), 1);
    rig.give(b, at(0, 0));
    assert!(rig.heard(a).contains(&Message::Cancel(at(0, 0))));
    assert!(!rig.heard(b).contains(&Message::Cancel(at(0, 0))));
    rig.give(a, at(0, 0));
    assert_eq!(rig.torrent.totals().wasted, 16384);
    let duplicate = |e: &Event| {
        matches!(
            e,
            Event::BlockWasted {
                why: Waste::Duplicate,
                ..
            }
        )
    };
    assert_eq!(rig.count(duplicate), 1);
}

#[test]
fn in_end_game_a_requester_that_timed_out_counts_no_more_and_nobody_is_asked_twice() {
    let mut rig = Plan::new(1, 1).start();
    let [a, b, c] = [1, 2, 3].map(|n| rig.source(n));
    rig.wait(secs(46));
    assert_eq!(rig.asked(a), [at(0, 0)]);
    assert_eq!(rig.asked(b), [at(0, 0)]);
    assert_eq!(rig.asked(c), [at(0, 0)]);
}

#[test]
fn end_game_waits_until_every_missing_block_is_asked_for() {
    let mut rig = Plan::new(2, 1).start();
    let (a, b) = (rig.source(1), rig.holder(2, &[0]));
    assert_eq!(rig.asked(a), [at(0, 0), at(1, 0)]);
    rig.say(b, Message::Unchoke);
    assert_eq!(rig.asked(b), [at(0, 0)]);
    let mut rig = Plan::new(3, 1).start();
    let (a, b) = (rig.holder(1, &[0]), rig.holder(2, &[0]));
    rig.say(a, Message::Unchoke);
    rig.say(b, Message::Unchoke);
    assert_eq!(rig.asked(b), [], "pieces 1 and 2 are not even started");
}

#[test]
fn with_end_game_for_all_everybody_is_asked() {
    let mut rig = Plan::new(1, 1).config(|c| c.endgame = Endgame::All).start();
    for n in 1..=5 {
        let source = rig.source(n);
        assert_eq!(rig.asked(source), [at(0, 0)]);
    }
}

/// `last-block-silent`.
#[test]
fn one_mute_peer_holds_the_last_block_and_another_gives_it() {
    for endgame in [Endgame::Off, Endgame::Bounded, Endgame::All] {
        let mut rig = Plan::new(2, 4).config(|c| c.endgame = endgame).start();
        let mute = rig.source(1);
        assert_eq!(rig.asked(mute).len(), 5);
        let other = rig.source(2);
        rig.serve_all(other);
        for _ in 0..46 {
            rig.wait(secs(1));
            rig.serve_all(other);
        }
        assert!(rig.torrent.complete(), "{endgame:?}");
        assert_eq!(rig.asked(mute), []);
    }
}

#[test]
fn two_mute_peers_hold_the_last_block_for_no_longer_than_the_timeout() {
    let mut rig = Plan::new(1, 1).start();
    let _mutes = [rig.source(1), rig.source(2)];
    let other = rig.source(3);
    rig.wait(secs(45));
    rig.serve_all(other);
    assert!(rig.torrent.complete());
}

/// `peer-death-releases`, what it owes us.
#[test]
fn a_peer_that_dies_gives_back_its_requests_and_its_copies() {
    let mut rig = Plan::new(1, 8).start();
    let (dying, other) = (rig.source(1), rig.source(2));
    assert_eq!(rig.asked(dying), blocks(0, 0..5));
    assert_eq!(rig.asked(other), blocks(0, 5..8));
    assert_eq!(rig.copies(0), 2);
    rig.gone(dying);
    assert_eq!(rig.copies(0), 1);
    assert_eq!(rig.asked(other), blocks(0, 0..2));
    assert_eq!(rig.parted(1), [CloseReason::ByPeer]);
}

#[test]
fn started_pieces_come_first_unless_another_is_strictly_rarer() {
    let second_asked = |partial_first, first: &[u32]| {
        let mut rig = Plan::new(2, 8)
            .config(|c| (c.partial_first, c.pipeline_start) = (partial_first, 1))
            .start();
        let a = rig.holder(1, first);
        let b = rig.holder(2, &[0, 1]);
        rig.say(a, Message::Unchoke);
        assert_eq!(rig.asked(a), [at(0, 0)]);
        rig.say(b, Message::Unchoke);
        rig.asked(b)[0]
    };
    let (goes_on, begins) = (at(0, 1), at(1, 0));
    // Piece 1 has one copy, piece 0 has two.
    assert_eq!(second_asked(PartialFirst::Always, &[0]), goes_on);
    assert_eq!(second_asked(PartialFirst::UnlessRarer, &[0]), begins);
    assert_eq!(second_asked(PartialFirst::Never, &[0]), begins);
    // Both have two.
    assert_eq!(second_asked(PartialFirst::Always, &[0, 1]), goes_on);
    assert_eq!(second_asked(PartialFirst::UnlessRarer, &[0, 1]), goes_on);
    assert_eq!(second_asked(PartialFirst::Never, &[0, 1]), begins);
}

#[test]
fn the_pipeline_grows_by_a_block_per_block_up_to_its_cap() {
    let plan = Plan::new(4, 16).config(|c| (c.pipeline_cap, c.request_batch) = (9, 1));
    let mut rig = plan.start();
    let peer = rig.source(1);
    let mut open = rig.asked(peer);
    for want in [6, 7, 8, 9, 9, 9] {
        rig.give(peer, open.remove(0));
        open.extend(rig.asked(peer));
        assert_eq!(open.len(), want);
    }
}

#[test]
fn in_a_deep_pipeline_requests_are_sent_several_together() {
    let mut rig = Plan::new(4, 16).config(|c| c.pipeline_cap = 8).start();
    let peer = rig.source(1);
    let mut open = rig.asked(peer);
    let mut asked = Vec::new();
    for _ in 0..9 {
        rig.give(peer, open.remove(0));
        let more = rig.asked(peer);
        asked.push(more.len());
        open.extend(more);
    }
    // While it grows there is room for two after each block.
    assert_eq!(asked, [2, 2, 2, 0, 2, 0, 2, 0, 2]);
}

#[test]
fn time_in_which_nothing_was_asked_for_does_not_make_the_pipeline_shallow() {
    let mut rig = Plan::new(4, 16).start();
    let peer = rig.source(1);
    rig.wait(ms(100));
    rig.give(peer, at(0, 0));
    let before = depth(&mut rig, peer);
    rig.say(peer, Message::Choke);
    rig.wait(secs(300));
    rig.asked(peer);
    rig.say(peer, Message::Unchoke);
    let first = rig.asked(peer)[0];
    rig.wait(ms(100));
    rig.give(peer, first);
    assert_eq!(depth(&mut rig, peer), before + 1);
}

/// `all-seeds-picks-spread`.
#[test]
fn among_seeds_only_rarest_first_is_not_sequential() {
    let plan = Plan::new(400, 1);
    let mut setup = plan.setup();
    setup.picker = Box::new(RarestFirst { random_first: 4 });
    Arc::make_mut(&mut setup.config).audit = Audit::Touched;
    let mut rig = plan.start_with(setup);
    let sources = [1, 2, 3].map(|n| rig.source(n));
    while !rig.torrent.complete() {
        for source in sources {
            for range in rig.asked(source) {
                rig.give(source, range);
            }
        }
    }
    let order: Vec<f64> = rig
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::PieceStarted { piece, .. } => Some(f64::from(piece.0)),
            _ => None,
        })
        .collect();
    assert_eq!(order.len(), 400);
    let off = (0..).zip(&order).map(|(i, p)| f64::from(i) - p);
    let distance: f64 = off.map(|off| off * off).sum();
    let n = order.len() as f64;
    let correlation = 1.0 - 6.0 * distance / (n * (n * n - 1.0));
    assert!(correlation.abs() < 0.15, "rank correlation {correlation}");
}
