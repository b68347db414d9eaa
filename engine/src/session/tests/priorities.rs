//! What the user wants first, later or not at all, before and during the download; padding.

use super::*;

use crate::config::Endgame;
use crate::metainfo::Priority::{self, High, Low, Normal, Skip};

fn started(rig: &Rig) -> Vec<u32> {
    let events = rig.events.iter();
    let started = events.filter_map(|(_, event)| match event {
        Event::PieceStarted { piece, .. } => Some(piece.0),
        _ => None,
    });
    started.collect()
}

fn finishes(rig: &Rig) -> (usize, usize) {
    let finished = rig.count(|e| *e == Event::Finished);
    (finished, rig.count(|e| *e == Event::Completed))
}

fn wanting(plan: Plan, priorities: &[Priority]) -> Rig {
    let mut setup = plan.setup();
    setup.priorities = Some(priorities.to_vec());
    plan.start_with(setup)
}

#[test]
fn what_the_user_wants_first_comes_first() {
    let plan = Plan::new(5, 1).config(|c| c.pipeline_start = 1);
    let mut rig = wanting(plan, &[Low, Normal, High, Normal, High]);
    let source = rig.source(1);
    rig.serve_all(source);
    assert_eq!(started(&rig), [2, 4, 1, 3, 0]);
}

#[test]
fn a_piece_that_is_wanted_more_is_begun_before_one_is_finished() {
    let mut rig = Plan::new(3, 4).config(|c| c.pipeline_start = 2).start();
    let source = rig.source(1);
    assert_eq!(rig.asked(source), [at(0, 0), at(0, 1)]);
    rig.prioritise(&[Normal, Normal, High]);
    rig.give(source, at(0, 0));
    let asked = rig.asked(source);
    assert!(
        !asked.is_empty() && asked.iter().all(|r| r.piece.0 == 2),
        "{asked:?}"
    );
}

#[test]
fn what_is_skipped_is_never_asked_for_and_makes_nobody_interesting() {
    let mut rig = wanting(Plan::new(3, 1), &[Normal, Skip, Normal]);
    let peer = rig.holder(1, &[1]);
    assert_eq!(rig.heard(peer), []);
    let source = rig.source(2);
    rig.serve_all(source);
    assert_eq!(started(&rig), [0, 2]);
    assert!(rig.torrent.finished() && !rig.torrent.complete());
    assert_eq!((finishes(&rig), rig.finished), ((1, 0), 1));
    assert_eq!(rig.torrent.left(), 16384);
}

#[test]
fn a_change_of_mind_changes_interest() {
    let mut rig = Plan::new(2, 1).start();
    let peer = rig.holder(1, &[1]);
    assert_eq!(rig.heard(peer), [Message::Interested]);
    rig.prioritise(&[Normal, Skip]);
    assert_eq!(rig.heard(peer), [Message::NotInterested]);
    rig.prioritise(&[Low, Skip]);
    assert_eq!(rig.heard(peer), []);
    rig.prioritise(&[Normal, Low]);
    assert_eq!(rig.heard(peer), [Message::Interested]);
}

#[test]
fn who_skips_the_rest_is_finished_and_who_wants_more_goes_on() {
    let mut rig = Plan::new(3, 1).config(|c| c.pipeline_start = 1).start();
    rig.say_when_done();
    let source = rig.fast_source(1);
    assert_eq!(rig.asked(source), [at(0, 0)]);
    rig.prioritise(&[Skip; 3]);
    assert_eq!(
        finishes(&rig),
        (1, 0),
        "whether the piece in progress comes or not"
    );
    rig.give(source, at(0, 0));
    assert_eq!((finishes(&rig), rig.finished), ((1, 0), 1), "once");
    assert_eq!(rig.asked(source), []);
    rig.prioritise(&[Skip, Skip, Normal]);
    assert_eq!(rig.asked(source), [at(2, 0)]);
    rig.give(source, at(2, 0));
    assert_eq!((finishes(&rig), rig.finished), ((2, 0), 2));
    rig.prioritise(&[Normal; 3]);
    rig.serve_all(source);
    assert_eq!((finishes(&rig), rig.finished), ((2, 1), 3));
    rig.prioritise(&[Skip; 3]);
    rig.prioritise(&[High; 3]);
    assert_eq!((finishes(&rig), rig.finished), ((2, 1), 3), "once");
}

impl Rig {
    /// Nobody parts from anybody at the end.
    fn say_when_done(&mut self) {
        Arc::make_mut(&mut self.torrent.config).close_seed_to_seed = false;
    }
}

#[test]
fn a_skipped_piece_that_fails_its_hash_is_not_begun_again() {
    let mut rig = Plan::new(2, 2).having(&[1]).start();
    rig.say_when_done();
    let (a, b) = (rig.source(1), rig.source(2));
    rig.prioritise(&[Skip, Normal]);
    rig.give_wrong(a, at(0, 0));
    rig.heard(a);
    rig.give(b, at(0, 1));
    assert!(rig.torrent.finished());
    assert_eq!((finishes(&rig), rig.finished), ((1, 0), 1));
    let wants = |rig: &Rig, n| {
        let mut peers = rig.torrent.peers.iter().flatten();
        peers.any(|p| p.addr == addr(n) && p.am_interested)
    };
    assert!(!wants(&rig, 1) && !wants(&rig, 2), "of what use are they?");
}

#[test]
fn what_was_skipped_in_progress_is_given_up_by_a_disk_failure() {
    let mut rig = Plan::new(2, 2).having(&[1]).start();
    rig.say_when_done();
    let peer = rig.fast_source(1);
    rig.give(peer, at(0, 0));
    rig.prioritise(&[Skip, Normal]);
    rig.fail();
    rig.feed(Input::Resume);
    assert!(rig.torrent.finished());
    assert_eq!(finishes(&rig), (1, 0));
    assert!(!rig.peer(peer).am_interested);
}

#[test]
fn a_lost_piece_that_is_not_wanted_is_not_fetched() {
    let mut rig = wanting(Plan::new(2, 1).having(&[0, 1]), &[Skip, Normal]);
    let peer = rig.holder(1, &[0]);
    rig.feed(Input::PieceLost {
        piece: PieceIndex(0),
    });
    assert_eq!(rig.peer(peer).useful, 0);
    assert!(rig.torrent.finished());
    rig.prioritise(&[Normal, Normal]);
    assert_eq!(rig.peer(peer).useful, 1);
}

#[test]
fn end_game_begins_when_all_that_is_wanted_is_asked_for() {
    let mut rig = wanting(Plan::new(3, 1), &[Normal, Skip, Skip]);
    let (a, b) = (rig.source(1), rig.source(2));
    assert_eq!(rig.asked(a), [at(0, 0)]);
    assert_eq!(rig.asked(b), [at(0, 0)]);
}

#[test]
fn padding_is_never_asked_for_and_what_is_all_padding_is_verified_at_once() {
    let plan = Plan::new(3, 2).config(|c| c.endgame = Endgame::Off);
    let mut setup = plan.setup();
    // The second block of piece 0, and all of piece 1.
    setup.padding = std::iter::once(16384..65536).collect();
    let mut rig = plan.start_with(setup);
    rig.disk.written[16384..65536].copy_from_slice(&rig.disk.content[16384..65536]);
    let source = rig.source(1);
    let mut asked = rig.asked(source);
    asked.sort_by_key(|r| (r.piece, r.begin));
    assert_eq!(asked, [at(0, 0), at(2, 0), at(2, 1)]);
    assert!(rig.torrent.have().contains(PieceIndex(1)));
    for range in asked {
        rig.give(source, range);
    }
    assert!(rig.torrent.complete());
    assert_eq!(rig.torrent.totals().gained, 3 * 16384);
}

#[test]
fn padding_that_does_not_match_its_hash_is_nobodys_fault() {
    let plan = Plan::new(2, 1);
    let mut setup = plan.setup();
    setup.padding = std::iter::once(0..16384).collect();
    let mut rig = plan.start_with(setup);
    rig.source(1);
    assert_eq!(rig.count(|e| matches!(e, Event::StorageFailed { .. })), 1);
    assert_eq!(rig.closed, []);
}
