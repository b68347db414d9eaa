//! Trackers, as a session meets them: what is announced and when, fail-over, private torrents.

use super::peers::told;
use super::*;

use crate::metainfo::Priority;
use crate::tracker::announce::{AnnounceFailure, Retry};

fn said(rig: &Rig) -> Vec<AnnounceEvent> {
    rig.announced.iter().map(|request| request.event).collect()
}

fn reply(rig: &mut Rig) {
    rig.feed(Input::announced(Ok(AnnounceReply {
        interval: Some(secs(1000)),
        interval_min: Some(secs(1000)),
        ..AnnounceReply::default()
    })));
}

#[test]
fn completed_is_announced_once_and_stopped_on_leaving() {
    let mut rig = Plan::new(2, 1).tracked().start();
    assert_eq!(said(&rig), [AnnounceEvent::Started]);
    assert_eq!(
        (rig.announced[0].left, rig.announced[0].wanted),
        (32768, 50)
    );
    reply(&mut rig);
    let source = rig.source(1);
    rig.serve_all(source);
    assert_eq!(said(&rig)[1..], [AnnounceEvent::Completed]);
    assert_eq!(
        (rig.announced[1].left, rig.announced[1].downloaded),
        (0, 32768)
    );
    assert_eq!(
        (rig.finished, rig.count(|e| *e == Event::Completed)),
        (1, 1)
    );
    reply(&mut rig);
    rig.wait(secs(1000));
    reply(&mut rig);
    assert_eq!(said(&rig)[2..], [AnnounceEvent::Periodic]);
    let peer = rig.join(2);
    rig.feed(Input::Leave);
    assert_eq!(said(&rig)[3..], [AnnounceEvent::Stopped]);
    assert_eq!(rig.announced[3].wanted, 0);
    assert!(rig.closed.contains(&peer) && !rig.left);
    reply(&mut rig);
    assert!(rig.left);
    assert_eq!(
        rig.torrent.poll_timeout().max(rig.now),
        rig.torrent.poll_timeout()
    );
}

#[test]
fn who_is_complete_at_its_start_never_announces_completed() {
    let mut rig = Plan::new(2, 1).seed().tracked().start();
    for _ in 0..5 {
        reply(&mut rig);
        rig.wait(secs(1000));
    }
    assert_eq!(rig.announced[0].left, 0);
    assert!(!said(&rig).contains(&AnnounceEvent::Completed));
    assert_eq!(
        (rig.finished, rig.count(|e| *e == Event::Completed)),
        (0, 0)
    );
}

#[test]
fn who_leaves_does_not_wait_for_a_tracker_that_is_not_there() {
    let mut rig = Plan::new(2, 1).tracked().start();
    reply(&mut rig);
    rig.feed(Input::Leave);
    rig.feed(Input::Leave);
    rig.feed(Input::announced(Err(AnnounceFailure::TimedOut)));
    assert!(rig.left);
    assert_eq!(said(&rig), [AnnounceEvent::Started, AnnounceEvent::Stopped]);

    let mut rig = Plan::new(2, 1).start();
    rig.feed(Input::Leave);
    assert!(rig.left, "without a tracker there is nothing to wait for");
}

#[test]
fn after_leaving_nobody_is_let_in_and_nothing_is_due() {
    let mut rig = Plan::new(2, 1).start();
    rig.feed(Input::Peers(vec![told(1, None)]));
    rig.feed(Input::Leave);
    let (late, dialled) = (rig.connect(2, true), rig.connect(1, false));
    assert_eq!(rig.closed, [late, dialled]);
    rig.wait(secs(1000));
    assert_eq!(rig.torrent.poll_timeout(), Now::NEVER);
}

#[test]
fn what_a_tracker_warns_of_is_told_and_nothing_else_changes() {
    let mut rig = Plan::new(2, 1).tracked().start();
    rig.feed(Input::announced(Ok(AnnounceReply {
        warning: Some("slow down".to_owned()),
        ..AnnounceReply::default()
    })));
    let warned = Event::TrackerWarned {
        tracker: 0,
        text: "slow down".to_owned(),
    };
    assert_eq!(rig.count(|e| *e == warned), 1);
    assert_eq!(said(&rig), [AnnounceEvent::Started]);
}

#[test]
fn when_a_tracker_fails_the_next_tier_is_asked_in_the_same_breath() {
    let plan = Plan::new(2, 1);
    let tiers = vec![1, 1];
    let setup = TorrentSetup {
        tiers,
        ..plan.setup()
    };
    let mut rig = plan.start_with(setup);
    let never = AnnounceFailure::Refused {
        reason: "go away".to_owned(),
        retry: Retry::Never,
    };
    rig.feed(Input::announced(Err(never)));
    assert_eq!(said(&rig), [AnnounceEvent::Started, AnnounceEvent::Started]);
    let failed = |tracker, good| {
        move |e: &Event| {
            matches!(e, Event::AnnounceFailed { tracker: t, for_good, .. }
                if (*t, *for_good) == (tracker, good))
        }
    };
    assert_eq!(rig.count(failed(0, true)), 1);
    rig.feed(Input::announced(Err(AnnounceFailure::TimedOut)));
    assert_eq!(rig.count(failed(1, false)), 1);
    assert_eq!(said(&rig).len(), 2, "all failed: now there is a pause");
    rig.wait(secs(40));
    assert_eq!(said(&rig).len(), 3);
}

/// A session with two trackers, one per tier.
fn two_tiers(private: bool) -> Rig {
    let plan = Plan::new(2, 1);
    let setup = TorrentSetup {
        tiers: vec![1, 1],
        private,
        ..plan.setup()
    };
    plan.start_with(setup)
}

/// The tracker that is asked names peer number `n`.
fn names(rig: &mut Rig, n: u8) {
    rig.feed(Input::announced(Ok(AnnounceReply {
        interval: Some(secs(60)),
        peers: vec![told(n, None)],
        ..AnnounceReply::default()
    })));
}

/// BEP 27.
#[test]
fn of_a_private_torrent_only_the_tracker_names_peers() {
    for (private, dialled) in [(false, vec![addr(1)]), (true, vec![])] {
        let mut rig = two_tiers(private);
        rig.feed(Input::Peers(vec![told(1, None)]));
        assert_eq!(rig.dialled, dialled);
        names(&mut rig, 2);
        assert!(rig.dialled.contains(&addr(2)));
    }
}

/// BEP 27.
#[test]
fn a_private_torrent_leaves_its_peers_when_another_tracker_takes_over() {
    for private in [false, true] {
        let mut rig = two_tiers(private);
        names(&mut rig, 1);
        let conn = rig.connect(1, false);
        rig.shake(conn, 1);
        rig.wait(secs(61));
        assert_eq!(rig.closed, [], "the same tracker");
        rig.feed(Input::announced(Err(AnnounceFailure::TimedOut)));
        names(&mut rig, 2);
        let closed = if private { vec![conn] } else { vec![] };
        assert_eq!(rig.closed, closed);
        let again = rig.dialled.iter().filter(|a| **a == addr(1)).count();
        rig.wait(secs(30));
        assert_eq!(rig.dialled.iter().filter(|a| **a == addr(1)).count(), again);
        assert!(rig.dialled.contains(&addr(2)));
    }
}

/// BEP 21.
#[test]
fn a_partial_seed_announces_that_it_is_paused() {
    let mut rig = Plan::new(2, 1).tracked().start();
    reply(&mut rig);
    rig.feed(Input::Prioritise(vec![Priority::Normal, Priority::Skip]));
    let source = rig.source(1);
    rig.serve_all(source);
    assert_eq!(rig.count(|e| *e == Event::Finished), 1);
    rig.wait(secs(1001));
    assert_eq!(said(&rig), [AnnounceEvent::Started, AnnounceEvent::Paused]);
    assert_eq!(rig.announced[1].left, 16384, "it does not have all");
    reply(&mut rig);
    rig.feed(Input::Prioritise(vec![Priority::Normal; 2]));
    let source = rig.source(2);
    rig.serve_all(source);
    assert!(said(&rig).ends_with(&[AnnounceEvent::Completed]));
}
