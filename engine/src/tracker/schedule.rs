//! Owns when a client announces what to one tracker: a pure machine, asked before and told after
//! every announce.
//!
//! Invariant: at most one announce is in flight; `started` is acknowledged before anything else
//! but `stopped` is sent; `completed` is acknowledged at most once, and never sent by a peer that
//! was complete at its start; after `stopped` was acknowledged, or the tracker said `retry in
//! never` (BEP 31), nothing is sent.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::announce::{AnnounceEvent, AnnounceFailure, AnnounceReply, Retry};
use crate::config::EngineConfig;
use crate::time::Now;

/// Pauses after the second and later failures in a row (Transmission: 5, 15, 30, 60, 120 min).
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(120 * 60),
];
/// Longest time added to a pause at random, so that peers do not return together (Transmission:
/// 60 s). Never more than the pause itself.
const JITTER_MAX: Duration = Duration::from_secs(60);

/// Where the membership stands with this tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// `started` is not acknowledged yet.
    Joining,
    Member,
    /// `stopped` is still to be acknowledged.
    Leaving,
    /// Nothing will be sent again.
    Silent,
}

/// The announces of one membership to one tracker.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_unsaid: Duration,
    interval_min_unsaid: Duration,
    retry_min: Duration,
    phase: Phase,
    /// The tracker may know this peer.
    heard_of: bool,
    /// `started` was acknowledged.
    joined: bool,
    completed: Completed,
    in_flight: Option<AnnounceEvent>,
    /// The regular announce.
    regular: Now,
    /// An extra announce, when short of peers.
    extra: Now,
    /// Not before this after a failure.
    retry: Now,
    failures: usize,
    tracker_id: Option<Vec<u8>>,
}

/// What became of the `completed` event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Completed {
    NotYet,
    Pending,
    /// Acknowledged, or never to be sent.
    Over,
}

impl Schedule {
    /// A membership that begins: `started` is due at once.
    #[must_use]
    pub fn new(config: &EngineConfig, complete_at_start: bool) -> Schedule {
        Schedule {
            interval_unsaid: config.announce_interval,
            interval_min_unsaid: config.announce_interval_min,
            retry_min: config.announce_retry_min,
            phase: Phase::Joining,
            heard_of: false,
            joined: false,
            completed: if complete_at_start {
                Completed::Over
            } else {
                Completed::NotYet
            },
            in_flight: None,
            regular: Now::START,
            extra: Now::START,
            retry: Now::START,
            failures: 0,
            tracker_id: None,
        }
    }

    /// The announce to send now, if one is due. It is in flight until [`Schedule::on_reply`] or
    /// [`Schedule::on_failure`] is called. `short_of_peers`: more of them are needed.
    pub fn poll(&mut self, now: Now, short_of_peers: bool) -> Option<AnnounceEvent> {
        if self.next_due(short_of_peers) > now {
            return None;
        }
        let event = self.next_event();
        self.heard_of = true;
        self.in_flight = Some(event);
        Some(event)
    }

    /// When [`Schedule::poll`] next returns something, if nothing else happens before.
    #[must_use]
    pub fn next_due(&self, short_of_peers: bool) -> Now {
        if self.in_flight.is_some() {
            return Now::NEVER;
        }
        match self.phase {
            Phase::Silent => Now::NEVER,
            Phase::Joining | Phase::Leaving => self.retry,
            Phase::Member if self.failures > 0 || self.completed == Completed::Pending => {
                self.retry
            }
            Phase::Member if short_of_peers => self.extra.min(self.regular),
            Phase::Member => self.regular,
        }
    }

    /// What the tracker last told this peer to send back with every announce (BEP 3).
    #[must_use]
    pub fn tracker_id(&self) -> Option<&[u8]> {
        self.tracker_id.as_deref()
    }

    /// True when nothing will be sent again, so that leaving need not wait for this tracker: `stopped`
    /// was acknowledged, or there is nobody to tell.
    #[must_use]
    pub fn stopped_delivered(&self) -> bool {
        self.phase == Phase::Silent && self.in_flight.is_none()
    }

    /// The content became complete: `completed` is due, once.
    pub fn complete(&mut self) {
        if self.completed == Completed::NotYet {
            self.completed = Completed::Pending;
        }
    }

    /// The peer leaves: `stopped` is due at once, or as soon as the announce in flight ends. It is
    /// tried again like any other; a host that will not wait for it drops the schedule. A peer that
    /// the tracker never heard of leaves silently.
    pub fn stop(&mut self) {
        if matches!(self.phase, Phase::Joining | Phase::Member) {
            self.retry = Now::START;
            self.phase = if self.heard_of {
                Phase::Leaving
            } else {
                Phase::Silent
            };
        }
    }

    /// The announce in flight was answered. Returns what it was.
    ///
    /// # Panics
    /// When none is in flight.
    pub fn on_reply(&mut self, reply: &AnnounceReply, now: Now) -> AnnounceEvent {
        let event = self.landed();
        if reply.tracker_id.is_some() {
            self.tracker_id.clone_from(&reply.tracker_id);
        }
        self.failures = 0;
        self.retry = Now::START;
        self.regular = now.after(reply.interval.unwrap_or(self.interval_unsaid));
        self.extra = now.after(reply.interval_min.unwrap_or(self.interval_min_unsaid));
        match event {
            AnnounceEvent::Started => {
                self.joined = true;
                if self.phase == Phase::Joining {
                    self.phase = Phase::Member;
                }
            }
            AnnounceEvent::Completed => self.completed = Completed::Over,
            AnnounceEvent::Stopped => self.phase = Phase::Silent,
            AnnounceEvent::Periodic => {}
        }
        event
    }

    /// The announce in flight failed: the same event is sent again after a pause, unless the peer
    /// leaves meanwhile. Returns what it was.
    ///
    /// # Panics
    /// When none is in flight.
    pub fn on_failure(
        &mut self,
        failure: &AnnounceFailure,
        now: Now,
        rng: &mut ChaCha8Rng,
    ) -> AnnounceEvent {
        let event = self.landed();
        let refused = match failure {
            AnnounceFailure::Refused { retry, .. } => *retry,
            _ => Retry::Unsaid,
        };
        let pause = match refused {
            Retry::Never => {
                self.phase = Phase::Silent;
                return event;
            }
            Retry::After(pause) => pause,
            Retry::Unsaid => self.backoff(rng),
        };
        self.failures = self.failures.saturating_add(1);
        // A peer that began to leave meanwhile still says so at once.
        let farewell = self.phase == Phase::Leaving && event != AnnounceEvent::Stopped;
        self.retry = if farewell {
            Now::START
        } else {
            now.after(pause)
        };
        event
    }

    fn landed(&mut self) -> AnnounceEvent {
        self.in_flight
            .take()
            .expect("an answer belongs to an announce in flight")
    }

    fn next_event(&self) -> AnnounceEvent {
        let pending = self.completed == Completed::Pending;
        match self.phase {
            Phase::Joining => AnnounceEvent::Started,
            // A completion that can still be told is told before the farewell.
            Phase::Leaving if !(pending && self.joined && self.failures == 0) => {
                AnnounceEvent::Stopped
            }
            _ if pending => AnnounceEvent::Completed,
            _ => AnnounceEvent::Periodic,
        }
    }

    /// The pause after one more failure.
    fn backoff(&self, rng: &mut ChaCha8Rng) -> Duration {
        let pause = match self.failures.checked_sub(1) {
            None => self.retry_min,
            Some(n) => BACKOFF[n.min(BACKOFF.len() - 1)].max(self.retry_min),
        };
        let jitter_ns = u64::try_from(pause.min(JITTER_MAX).as_nanos()).unwrap_or(u64::MAX);
        pause + Duration::from_nanos(rng.random_range(0..=jitter_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AnnounceEvent::{Completed, Periodic, Started, Stopped};
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

    fn schedule() -> Schedule {
        Schedule::new(&EngineConfig::default(), false)
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
        let mut s = Schedule::new(&EngineConfig::default(), true);
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
}
