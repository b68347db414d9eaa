//! Owns when a client announces what to which of its trackers: a pure machine, asked before and told
//! after every announce.
//!
//! Invariant: at most one announce is in flight; a tracker acknowledges `started` before it is sent
//! anything else but `stopped`; `completed` is acknowledged at most once, and never sent by a peer that
//! was complete at its start; after `stopped` was acknowledged, or every tracker said `retry in
//! never` (BEP 31), nothing is sent.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::announce::{AnnounceEvent, AnnounceFailure, AnnounceReply, Retry};
use super::tiers::Tiers;
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

/// Where the membership stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No tracker acknowledged `started` yet.
    Joining,
    Member,
    /// `stopped` is still to be acknowledged.
    Leaving,
    /// Nothing will be sent again.
    Silent,
}

/// The announces of one membership, and of those that follow when its user pauses and goes on.
#[derive(Clone, Debug)]
pub struct Schedule {
    tiers: Tiers,
    interval_unsaid: Duration,
    interval_min_unsaid: Duration,
    interval_floor: Duration,
    retry_min: Duration,
    phase: Phase,
    /// The tracker that was asked last: it may know this peer.
    last_asked: Option<u32>,
    completed: Completed,
    in_flight: Option<AnnounceEvent>,
    /// The regular announce.
    regular: Now,
    /// An extra announce, when short of peers.
    extra: Now,
    /// Not before this after a failure.
    retry: Now,
    failures: usize,
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
    /// A membership that begins: `started` is due at once. `tiers`: how many trackers each tier has
    /// (BEP 12); their order is drawn from `rng`.
    #[must_use]
    pub fn new(
        config: &EngineConfig,
        tiers: &[u32],
        complete_at_start: bool,
        rng: &mut ChaCha8Rng,
    ) -> Schedule {
        Schedule {
            tiers: Tiers::new(tiers, config.trackers_max, rng),
            interval_unsaid: config.announce_interval,
            interval_min_unsaid: config.announce_interval_min,
            interval_floor: config.announce_interval_floor,
            retry_min: config.announce_retry_min,
            phase: Phase::Joining,
            last_asked: None,
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
        }
    }

    /// The announce to send now, if one is due; [`Schedule::asked`] says to which tracker. It is in
    /// flight until [`Schedule::on_reply`] or [`Schedule::on_failure`] is called. `short_of_peers`:
    /// more of them are needed.
    pub fn poll(&mut self, now: Now, short_of_peers: bool) -> Option<AnnounceEvent> {
        if self.next_due(short_of_peers) > now {
            return None;
        }
        let Some((tracker, event)) = self.choose(now) else {
            // Nobody may be asked yet, as they said themselves.
            self.retry = self.tiers.soonest();
            if self.retry == Now::NEVER || self.phase == Phase::Leaving {
                self.phase = Phase::Silent;
            }
            self.failures = self.failures.max(1);
            return None;
        };
        self.last_asked = Some(tracker);
        self.in_flight = Some(event);
        Some(event)
    }

    /// The tracker of the announce in flight or, when there is none, of the last one: its number as
    /// the metainfo file lists them.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.last_asked.unwrap_or(0)
    }

    /// When [`Schedule::poll`] next returns something, if nothing else happens before.
    #[must_use]
    pub fn next_due(&self, short_of_peers: bool) -> Now {
        if self.in_flight.is_some() {
            return Now::NEVER;
        }
        let retrying = self.failures > 0 || self.tiers.mid_round();
        match self.phase {
            Phase::Silent => Now::NEVER,
            Phase::Joining | Phase::Leaving => self.retry,
            Phase::Member if retrying || self.completed == Completed::Pending => self.retry,
            Phase::Member if short_of_peers => self.extra.min(self.regular),
            Phase::Member => self.regular,
        }
    }

    /// What [`Schedule::asked`] last told this peer to send back with every announce (BEP 3).
    #[must_use]
    pub fn tracker_id(&self) -> Option<&[u8]> {
        self.tiers.tracker_id(self.last_asked?)
    }

    /// True when nothing will be sent again, so that leaving need not wait for a tracker: `stopped`
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
            self.phase = if self.farewell_to().is_some() {
                Phase::Leaving
            } else {
                Phase::Silent
            };
        }
    }

    /// The peer comes back after [`Schedule::stop`]: `started` is due at once, or as soon as the `stopped` in
    /// flight was answered. Where another announce is in flight the tracker never heard of the absence.
    pub fn start_again(&mut self) {
        if !matches!(self.phase, Phase::Leaving | Phase::Silent) {
            return;
        }
        (self.retry, self.failures) = (Now::START, 0);
        self.tiers.begin_round();
        self.phase = match self.in_flight {
            None | Some(AnnounceEvent::Started | AnnounceEvent::Stopped) => Phase::Joining,
            Some(_) => Phase::Member,
        };
        if matches!(self.in_flight, None | Some(AnnounceEvent::Stopped)) {
            self.tiers.forget();
        }
    }

    /// Whether nothing is in flight, and nothing is due yet.
    #[must_use]
    pub fn waits(&self, now: Now) -> bool {
        self.in_flight.is_none() && self.next_due(false) > now
    }

    /// The announce in flight was answered. Returns what it was.
    ///
    /// # Panics
    /// When none is in flight.
    pub fn on_reply(&mut self, reply: &AnnounceReply, now: Now) -> AnnounceEvent {
        let (tracker, event) = self.landed();
        self.tiers.answered(tracker, reply.tracker_id.as_deref());
        self.failures = 0;
        self.retry = Now::START;
        let floor = self.interval_floor;
        self.regular = now.after(reply.interval.unwrap_or(self.interval_unsaid).max(floor));
        let least = reply.interval_min.unwrap_or(self.interval_min_unsaid);
        self.extra = now.after(least.max(floor));
        match event {
            AnnounceEvent::Stopped if self.phase == Phase::Leaving => self.phase = Phase::Silent,
            // It came back in the meantime.
            AnnounceEvent::Stopped => self.tiers.forget(),
            AnnounceEvent::Completed => self.completed = Completed::Over,
            AnnounceEvent::Started | AnnounceEvent::Periodic | AnnounceEvent::Paused => {}
        }
        if event != AnnounceEvent::Stopped && self.phase == Phase::Joining {
            self.phase = Phase::Member;
        }
        event
    }

    /// The announce in flight failed: the next tracker is asked at once; when all failed, the first
    /// again after a pause. Returns what it was.
    ///
    /// # Panics
    /// When none is in flight.
    pub fn on_failure(
        &mut self,
        failure: &AnnounceFailure,
        now: Now,
        rng: &mut ChaCha8Rng,
    ) -> AnnounceEvent {
        let (tracker, event) = self.landed();
        let not_before = match failure {
            AnnounceFailure::Refused { retry, .. } => match retry {
                Retry::Unsaid => Now::START,
                Retry::After(pause) => now.after(*pause),
                Retry::Never => Now::NEVER,
            },
            _ => Now::START,
        };
        self.tiers.failed(tracker, not_before);
        if self.phase == Phase::Leaving {
            self.fail_farewell(event, now, rng);
            return event;
        }
        if self.tiers.next(now).is_some() {
            self.retry = Now::START;
            return event;
        }
        self.tiers.begin_round();
        self.retry = match self.tiers.soonest() {
            Now::NEVER => {
                self.phase = Phase::Silent;
                return event;
            }
            soonest if soonest > now => soonest,
            _ => now.after(self.backoff(rng)),
        };
        self.failures = self.failures.saturating_add(1);
        event
    }

    /// A failure while the peer leaves: `stopped` is tried again after a pause, and said at once when
    /// it was not what failed.
    fn fail_farewell(&mut self, event: AnnounceEvent, now: Now, rng: &mut ChaCha8Rng) {
        self.tiers.begin_round();
        if self.farewell_to().is_none() {
            self.phase = Phase::Silent;
            return;
        }
        self.retry = if event == AnnounceEvent::Stopped {
            now.after(self.backoff(rng))
        } else {
            Now::START
        };
        self.failures = self.failures.saturating_add(1);
    }

    fn landed(&mut self) -> (u32, AnnounceEvent) {
        let event = self.in_flight.take();
        let event = event.expect("an answer belongs to an announce in flight");
        (self.asked(), event)
    }

    /// Who must hear of our leaving: the tracker that knows us, or else the one that may.
    fn farewell_to(&self) -> Option<u32> {
        let maybe = self.last_asked.filter(|t| self.tiers.accepts(*t));
        self.tiers.home().or(maybe)
    }

    /// The tracker to ask now, and what to say.
    fn choose(&self, now: Now) -> Option<(u32, AnnounceEvent)> {
        let pending = self.completed == Completed::Pending;
        let home = self.tiers.home();
        if self.phase == Phase::Leaving {
            let tracker = self.farewell_to()?;
            // A completion that can still be told is told before the farewell.
            let tell = pending && home == Some(tracker) && self.failures == 0;
            let event = if tell {
                AnnounceEvent::Completed
            } else {
                AnnounceEvent::Stopped
            };
            return Some((tracker, event));
        }
        // `completed` goes to the tracker that knows us, while that answers.
        let told = home.filter(|home| pending && !self.tiers.tried(*home) && self.failures == 0);
        let tracker = told.or_else(|| self.tiers.next(now))?;
        let event = match self.tiers.knows_us(tracker) {
            false => AnnounceEvent::Started,
            true if pending => AnnounceEvent::Completed,
            true => AnnounceEvent::Periodic,
        };
        Some((tracker, event))
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
mod tests;
