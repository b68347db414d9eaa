//! The user pauses and goes on.

use super::*;

use crate::config::Endgame;

fn events(rig: &Rig) -> Vec<AnnounceEvent> {
    rig.announced.iter().map(|request| request.event).collect()
}

fn answer(rig: &mut Rig) {
    rig.feed(Input::announced(Ok(AnnounceReply::default())));
}

#[test]
fn in_a_pause_nothing_moves_and_its_end_goes_on_with_what_was_there() {
    let mut rig = Plan::new(2, 2)
        .tracked()
        .config(|c| c.endgame = Endgame::Off)
        .start();
    answer(&mut rig);
    let source = rig.source(1);
    rig.asked(source);
    rig.give(source, at(0, 0));
    rig.feed(Input::Pause);
    rig.feed(Input::Pause);
    assert_eq!(rig.count(|e| *e == Event::Paused), 1);
    assert!(rig.closed.contains(&source));
    assert_eq!(rig.parted(1), [CloseReason::Paused]);
    assert_eq!(
        events(&rig),
        [AnnounceEvent::Started, AnnounceEvent::Stopped]
    );
    answer(&mut rig);
    let knocking = rig.connect(2, true);
    assert!(rig.closed.contains(&knocking), "nobody is let in");
    rig.wait(secs(7200));
    assert_eq!(events(&rig).len(), 2, "no tracker is asked");
    rig.feed(Input::Resume);
    assert_eq!(events(&rig)[2..], [AnnounceEvent::Started]);
    answer(&mut rig);
    let source = rig.source(3);
    let asked = rig.asked(source);
    assert_eq!(asked.len(), 3, "the first block is there: {asked:?}");
    for range in asked {
        rig.give(source, range);
    }
    assert!(rig.torrent.complete());
    assert_eq!(rig.count(|e| matches!(e, Event::Banned { .. })), 0);
}

#[test]
fn a_disk_that_failed_in_a_pause_or_before_it_is_asked_again_after_it() {
    for before in [true, false] {
        let mut rig = Plan::new(1, 2).config(|c| c.endgame = Endgame::Off).start();
        let source = rig.source(1);
        rig.asked(source);
        rig.give(source, at(0, 0));
        if before {
            rig.fail();
        }
        rig.feed(Input::Pause);
        if !before {
            rig.fail();
        }
        rig.feed(Input::Resume);
        let source = rig.source(2);
        assert_eq!(rig.asked(source).len(), 2, "both blocks, before: {before}");
    }
}

#[test]
fn who_leaves_in_a_pause_does_not_wait_for_a_tracker_that_is_not_there() {
    let mut rig = Plan::new(1, 1).tracked().start();
    answer(&mut rig);
    rig.feed(Input::Pause);
    let gone = crate::tracker::announce::AnnounceFailure::TimedOut;
    rig.feed(Input::announced(Err(gone)));
    assert!(!rig.left);
    rig.feed(Input::Leave);
    assert!(rig.left);
}
