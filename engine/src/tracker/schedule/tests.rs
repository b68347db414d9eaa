//! When which tracker is asked what.

use super::*;
use AnnounceEvent::{Completed, Periodic, Started, Stopped};
use proptest::prelude::*;
use rand::SeedableRng;

const fn at(seconds: u64) -> Now {
    Now(seconds * 1_000_000_000)
}

fn reply(interval: u64, interval_min: u64) -> AnnounceReply {
    AnnounceReply {
        interval: Some(Duration::from_secs(interval)),
        interval_min: Some(Duration::from_secs(interval_min)),
        ..AnnounceReply::default()
    }
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn with_tiers(tiers: &[u32], complete: bool) -> Schedule {
    Schedule::new(&EngineConfig::default(), tiers, complete, &mut rng())
}

fn schedule() -> Schedule {
    with_tiers(&[1], false)
}

/// Member since 0 s with interval 100 s and minimum 10 s.
fn member() -> Schedule {
    let mut s = schedule();
    assert_eq!(s.poll(at(0), false), Some(Started));
    s.on_reply(&reply(100, 10), at(0));
    s
}

fn refused(retry: Retry) -> AnnounceFailure {
    AnnounceFailure::Refused {
        reason: "no".to_owned(),
        retry,
    }
}

/// Fails what is in flight and returns the seconds until the next try.
fn fail(s: &mut Schedule, now: Now, rng: &mut ChaCha8Rng) -> f64 {
    s.on_failure(&AnnounceFailure::Unreachable, now, rng);
    s.next_due(false).since(now).as_secs_f64()
}

#[test]
fn started_comes_first_and_then_the_interval() {
    let mut s = member();
    assert_eq!(s.next_due(false), at(100));
    assert_eq!(s.poll(at(99), false), None);
    assert_eq!(s.poll(at(100), false), Some(Periodic));
}

#[test]
fn one_announce_is_in_flight_at_a_time() {
    let mut s = schedule();
    assert_eq!(s.poll(at(0), true), Some(Started));
    assert_eq!(s.next_due(true), Now::NEVER);
    s.complete();
    s.stop();
    assert_eq!(s.poll(at(9999), true), None);
    s.on_reply(&reply(100, 10), at(1));
    assert_eq!(s.poll(at(1), true), Some(Completed));
}

#[test]
fn intervals_the_tracker_does_not_name_come_from_the_configuration() {
    let mut s = schedule();
    s.poll(at(0), false);
    s.on_reply(&AnnounceReply::default(), at(5));
    assert_eq!(s.next_due(false), at(1805));
    assert_eq!(s.next_due(true), at(65));
}

#[test]
fn no_tracker_is_asked_more_often_than_the_floor_whatever_it_names() {
    let mut s = schedule();
    s.poll(at(0), false);
    s.on_reply(&reply(1, 1), at(0));
    assert_eq!((s.next_due(false), s.next_due(true)), (at(10), at(10)));
}

#[test]
fn the_minimum_interval_matters_only_when_short_of_peers() {
    let mut s = member();
    assert_eq!(s.poll(at(10), false), None);
    assert_eq!(s.poll(at(9), true), None);
    assert_eq!(s.poll(at(10), true), Some(Periodic));
    s.on_reply(&reply(100, 500), at(10));
    assert_eq!(
        s.next_due(true),
        at(110),
        "a minimum above the interval delays nothing"
    );
}

#[test]
fn completed_is_sent_at_once_and_once() {
    let mut s = member();
    s.complete();
    assert_eq!(s.poll(at(1), false), Some(Completed));
    s.on_reply(&reply(100, 10), at(1));
    s.complete();
    assert_eq!(s.next_due(false), at(101));
    assert_eq!(s.poll(at(101), false), Some(Periodic));
}

#[test]
fn a_peer_complete_at_its_start_never_sends_completed() {
    let mut s = with_tiers(&[1], true);
    s.complete();
    assert_eq!(s.poll(at(0), false), Some(Started));
    s.on_reply(&reply(100, 10), at(0));
    s.complete();
    assert_eq!(s.poll(at(50), false), None);
    assert_eq!(s.poll(at(100), false), Some(Periodic));
}

#[test]
fn completed_waits_for_started_to_be_acknowledged() {
    let (mut s, mut rng) = (schedule(), rng());
    s.complete();
    assert_eq!(s.poll(at(0), false), Some(Started));
    fail(&mut s, at(0), &mut rng);
    assert_eq!(s.poll(at(60), false), Some(Started));
    s.on_reply(&reply(100, 10), at(60));
    assert_eq!(s.poll(at(60), false), Some(Completed));
}

#[test]
fn a_completed_that_was_lost_is_sent_again() {
    let (mut s, mut rng) = (member(), rng());
    s.complete();
    assert_eq!(s.poll(at(1), false), Some(Completed));
    assert!(fail(&mut s, at(1), &mut rng) >= 20.0);
    assert_eq!(s.poll(at(2), true), None, "not even when short of peers");
    assert_eq!(s.poll(at(41), false), Some(Completed));
}

#[test]
fn leaving_is_said_at_once_and_then_nothing_more() {
    let mut s = member();
    s.stop();
    assert_eq!(s.poll(at(1), true), Some(Stopped));
    assert!(!s.stopped_delivered());
    s.on_reply(&reply(100, 10), at(1));
    assert!(s.stopped_delivered());
    s.stop();
    assert_eq!(s.next_due(true), Now::NEVER);
}

#[test]
fn leaving_does_not_wait_for_a_back_off_but_its_own_failure_does() {
    let (mut s, mut rng) = (member(), rng());
    assert_eq!(s.poll(at(100), false), Some(Periodic));
    fail(&mut s, at(100), &mut rng);
    s.complete();
    s.stop();
    assert_eq!(s.poll(at(101), false), Some(Stopped));
    assert!(fail(&mut s, at(101), &mut rng) >= 300.0);
    assert_eq!(s.poll(at(102), false), None);
    assert_eq!(s.poll(at(1000), false), Some(Stopped));
}

#[test]
fn an_announce_that_fails_while_leaving_is_followed_by_stopped() {
    let (mut s, mut rng) = (schedule(), rng());
    assert_eq!(s.poll(at(0), false), Some(Started));
    s.stop();
    assert_eq!(fail(&mut s, at(15), &mut rng), 0.0);
    assert_eq!(s.poll(at(15), false), Some(Stopped));
}

#[test]
fn a_peer_that_never_spoke_leaves_silently() {
    let mut s = schedule();
    s.stop();
    assert!(s.stopped_delivered());
    assert_eq!(s.poll(at(0), true), None);
}

#[test]
fn failures_back_off_to_two_hours_with_jitter_and_an_answer_resets_them() {
    let (mut s, mut rng) = (schedule(), rng());
    let mut now = at(0);
    for pause in [20.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 7200.0] {
        assert_eq!(s.poll(now, true), Some(Started));
        let waits = fail(&mut s, now, &mut rng);
        let most = pause + f64::min(pause, 60.0);
        assert!(waits >= pause && waits <= most, "{waits} s after {pause} s");
        now = s.next_due(true);
    }
    assert_eq!(s.poll(now, true), Some(Started));
    s.on_reply(&reply(100, 10), now);
    let later = now.after(Duration::from_secs(100));
    assert_eq!(s.poll(later, false), Some(Periodic));
    assert!(fail(&mut s, later, &mut rng) <= 40.0);
}

#[test]
fn retry_in_is_honoured_exactly() {
    let (mut s, mut rng) = (schedule(), rng());
    s.poll(at(0), false);
    let later = Retry::After(Duration::from_secs(420));
    s.on_failure(&refused(later), at(1), &mut rng);
    assert_eq!(s.next_due(true), at(421));
}

#[test]
fn retry_in_never_silences_even_the_farewell() {
    let (mut s, mut rng) = (schedule(), rng());
    s.poll(at(0), false);
    s.on_failure(&refused(Retry::Never), at(1), &mut rng);
    s.complete();
    s.stop();
    assert!(s.stopped_delivered());
    assert_eq!(s.poll(at(999_999), true), None);
}

#[test]
#[should_panic(expected = "an answer belongs to an announce in flight")]
fn an_answer_to_nothing_is_a_bug_of_the_caller() {
    schedule().on_reply(&reply(1, 1), at(0));
}

#[test]
fn an_announce_is_named_when_it_ends() {
    let (mut s, mut rng) = (schedule(), rng());
    s.poll(at(0), false);
    assert_eq!(
        s.on_failure(&AnnounceFailure::TimedOut, at(0), &mut rng),
        Started
    );
    s.poll(at(60), false);
    assert_eq!(s.on_reply(&reply(1, 1), at(60)), Started);
}

#[test]
fn the_tracker_id_is_kept_until_another_comes() {
    let mut s = schedule();
    for (told, kept) in [
        (None, None),
        (Some(b"a"), Some(b"a")),
        (None, Some(b"a")),
        (Some(b"b"), Some(b"b")),
    ] {
        let due = s.next_due(false);
        s.poll(due, false);
        let mut reply = reply(100, 10);
        reply.tracker_id = told.map(|id| id.to_vec());
        s.on_reply(&reply, due);
        assert_eq!(s.tracker_id(), kept.map(|id| id.as_slice()));
    }
}

/// Polls and says to whom the announce goes.
fn asks(s: &mut Schedule, now: Now) -> Option<(u32, AnnounceEvent)> {
    let event = s.poll(now, false)?;
    Some((s.asked(), event))
}

/// Two tiers of one tracker each, of which the second knows us since 0 s.
fn at_the_second() -> Schedule {
    let mut s = with_tiers(&[1, 1], false);
    assert_eq!(asks(&mut s, at(0)), Some((0, Started)));
    assert_eq!(fail(&mut s, at(0), &mut rng()), 0.0);
    assert_eq!(asks(&mut s, at(0)), Some((1, Started)));
    s.on_reply(&reply(100, 10), at(0));
    s
}

#[test]
fn the_next_tier_is_asked_at_once_and_only_when_all_failed_is_there_a_pause() {
    let (mut s, mut rng) = (with_tiers(&[2, 1], false), rng());
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (tracker, event) = asks(&mut s, at(0)).unwrap();
        assert_eq!(event, Started);
        asked.push(tracker);
        assert_eq!(fail(&mut s, at(0), &mut rng), 0.0);
    }
    asked.sort_unstable();
    assert_eq!(asked, [0, 1]);
    assert_eq!(asks(&mut s, at(0)), Some((2, Started)));
    assert!(fail(&mut s, at(0), &mut rng) >= 20.0);
    assert_eq!(asks(&mut s, at(19)), None);
    assert_ne!(
        asks(&mut s, at(40)).unwrap().0,
        2,
        "from the first tier again"
    );
}

#[test]
fn every_announce_begins_at_the_first_tier_and_a_tracker_hears_started_first() {
    let mut s = at_the_second();
    assert_eq!(asks(&mut s, at(99)), None);
    assert_eq!(
        asks(&mut s, at(100)),
        Some((0, Started)),
        "it never knew us"
    );
    fail(&mut s, at(100), &mut rng());
    assert_eq!(asks(&mut s, at(100)), Some((1, Periodic)));
    s.on_reply(&reply(100, 10), at(100));
    assert_eq!(asks(&mut s, at(200)), Some((0, Started)));
    s.on_reply(&reply(100, 10), at(200));
    assert_eq!(asks(&mut s, at(300)), Some((0, Periodic)), "it is back");
}

#[test]
fn completed_and_stopped_go_to_the_tracker_that_knows_us() {
    let mut s = at_the_second();
    s.complete();
    assert_eq!(asks(&mut s, at(1)), Some((1, Completed)));
    s.on_reply(&reply(100, 10), at(1));
    s.stop();
    assert_eq!(asks(&mut s, at(2)), Some((1, Stopped)));
    s.on_reply(&reply(100, 10), at(2));
    assert!(s.stopped_delivered());
}

#[test]
fn completed_goes_elsewhere_when_the_tracker_that_knows_us_is_gone() {
    let (mut s, mut rng) = (at_the_second(), rng());
    s.complete();
    assert_eq!(asks(&mut s, at(1)), Some((1, Completed)));
    fail(&mut s, at(1), &mut rng);
    assert_eq!(asks(&mut s, at(1)), Some((0, Started)));
    s.on_reply(&reply(100, 10), at(1));
    assert_eq!(asks(&mut s, at(1)), Some((0, Completed)));
}

#[test]
fn a_tracker_that_wants_no_more_of_us_is_never_asked_again() {
    let (mut s, mut rng) = (with_tiers(&[1, 1], false), rng());
    assert_eq!(asks(&mut s, at(0)), Some((0, Started)));
    s.on_failure(&refused(Retry::Never), at(0), &mut rng);
    assert_eq!(asks(&mut s, at(0)), Some((1, Started)));
    fail(&mut s, at(0), &mut rng);
    assert_eq!(asks(&mut s, at(60)), Some((1, Started)));
    s.on_failure(&refused(Retry::Never), at(60), &mut rng);
    assert_eq!(s.next_due(true), Now::NEVER);
}

#[test]
fn when_each_tracker_named_a_time_the_earliest_counts() {
    let (mut s, mut rng) = (with_tiers(&[1, 1], false), rng());
    let later = |s| refused(Retry::After(Duration::from_secs(s)));
    s.poll(at(0), false);
    s.on_failure(&later(600), at(0), &mut rng);
    s.poll(at(0), false);
    s.on_failure(&later(300), at(0), &mut rng);
    assert_eq!(s.next_due(true), at(300));
    assert_eq!(asks(&mut s, at(300)), Some((1, Started)));
}

#[test]
fn tracker_ids_go_back_to_who_gave_them() {
    let mut s = at_the_second();
    s.poll(at(100), false);
    let told = AnnounceReply {
        tracker_id: Some(b"first".to_vec()),
        ..reply(100, 10)
    };
    s.on_reply(&told, at(100));
    assert_eq!(s.tracker_id(), Some(&b"first"[..]));
    s.poll(at(200), false);
    fail(&mut s, at(200), &mut rng());
    assert_eq!(asks(&mut s, at(200)), Some((1, Periodic)));
    assert_eq!(s.tracker_id(), None);
}

#[test]
fn who_comes_back_is_a_new_member() {
    let mut s = member();
    s.stop();
    assert_eq!(s.poll(at(1), false), Some(Stopped));
    s.on_reply(&reply(100, 10), at(1));
    assert!(s.stopped_delivered());
    s.start_again();
    assert_eq!(s.poll(at(2), false), Some(Started));
    s.on_reply(&reply(100, 10), at(2));
    assert_eq!(s.next_due(false), at(102));
}

#[test]
fn who_comes_back_before_stopped_was_answered_is_a_new_member_after_it() {
    let mut s = member();
    s.stop();
    assert_eq!(s.poll(at(1), false), Some(Stopped));
    s.start_again();
    assert_eq!(s.poll(at(2), false), None);
    s.on_reply(&reply(100, 10), at(3));
    assert_eq!(s.poll(at(3), false), Some(Started));
}

#[test]
fn an_absence_of_which_no_tracker_heard_is_none() {
    let mut s = member();
    assert_eq!(s.poll(at(100), false), Some(Periodic));
    s.stop();
    s.start_again();
    s.on_reply(&reply(100, 10), at(100));
    assert_eq!(s.next_due(false), at(200));
    assert!(s.waits(at(199)) && !s.waits(at(200)));
}

/// What happens to a membership.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, seconds.
    Wait(u64),
    /// What is in flight is answered.
    Answer,
    /// It fails; what the tracker says about trying again.
    Fail(Retry),
    Complete,
    Leave,
    Return,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4000u64).prop_map(Step::Wait),
        4 => Just(Step::Answer),
        4 => Just(Step::Fail(Retry::Unsaid)),
        1 => (0..5000u64).prop_map(|s| Step::Fail(Retry::After(Duration::from_secs(s)))),
        1 => Just(Step::Fail(Retry::Never)),
        1 => Just(Step::Complete),
        1 => Just(Step::Leave),
        1 => Just(Step::Return),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever trackers do: each hears `started` before anything else but `stopped`, `completed` is
    /// acknowledged once and after `stopped` all is silent, until the peer comes back; a tracker that said `never` is left alone,
    /// and nobody is asked twice without a pause or an answer between.
    #[test]
    fn every_history_keeps_the_rules(
        tiers in proptest::collection::vec(0..4u32, 1..4), seed: u64, steps in steps(),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut s = Schedule::new(&EngineConfig::default(), &tiers, false, &mut rng);
        let trackers = tiers.iter().sum::<u32>() as usize;
        let (mut knows, mut never) = (vec![false; trackers], vec![false; trackers]);
        let (mut completed, mut left, mut over) = (0, false, false);
        let (mut now, mut flying) = (at(0), None);
        let mut asked_now = vec![0; trackers];
        for step in steps {
            match step {
                Step::Wait(0) => {}
                Step::Wait(seconds) => {
                    now = now.after(Duration::from_secs(seconds));
                    asked_now.fill(0);
                }
                Step::Complete => s.complete(),
                Step::Leave => {
                    s.stop();
                    left = true;
                }
                Step::Return if !left => s.start_again(),
                Step::Return => {
                    s.start_again();
                    (left, over) = (false, false);
                    asked_now.fill(0);
                    if matches!(flying, None | Some((_, Stopped))) {
                        knows.fill(false);
                    }
                }
                Step::Answer => if let Some((tracker, event)) = flying.take() {
                    s.on_reply(&reply(100, 10), now);
                    knows[tracker] = event != Stopped;
                    completed += u32::from(event == Completed);
                    over |= event == Stopped && left;
                    asked_now.fill(0);
                },
                Step::Fail(retry) => if let Some((tracker, _)) = flying.take() {
                    s.on_failure(&refused(retry), now, &mut rng);
                    never[tracker] |= retry == Retry::Never;
                },
            }
            prop_assert!(completed <= 1);
            let Some(event) = s.poll(now, true) else { continue };
            let tracker = s.asked() as usize;
            prop_assert!(flying.is_none(), "one at a time");
            prop_assert!(!over, "nothing after `stopped`");
            prop_assert!(!never[tracker], "it wants no more");
            prop_assert!(knows[tracker] || matches!(event, Started | Stopped), "{event:?} to a stranger");
            asked_now[tracker] += 1;
            // Once as a peer and once more to say good-bye.
            prop_assert!(asked_now[tracker] <= 2, "asked again at once");
            flying = Some((tracker, event));
        }
    }
}
