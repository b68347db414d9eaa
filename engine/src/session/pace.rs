//! Owns how fast dials follow each other.
//!
//! Invariant: nothing here decides whom to dial. Over time dials follow each other no faster than the configured pace;
//! a seed that meets none but seeds dials less and less often, until there is hope of somebody else.

use std::time::Duration;

use crate::config::EngineConfig;
use crate::time::Now;

/// How fast dials follow each other: as many at once as there may be connections, and one per `dial_interval`
/// in the long run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When all dials so far would have been made, one per interval.
    paid_until: Now,
}

impl Pace {
    /// What may be ahead of its time.
    fn burst(config: &EngineConfig) -> Duration {
        let before_last = config.connections_max.saturating_sub(1);
        config.dial_interval.saturating_mul(before_last)
    }

    /// Dials that may be made now.
    pub(super) fn room(self, now: Now, config: &EngineConfig) -> u32 {
        let interval = config.dial_interval.as_nanos();
        if interval == 0 {
            return u32::MAX;
        }
        let ahead = self.paid_until.since(now);
        match Pace::burst(config).checked_sub(ahead) {
            Some(left) => u32::try_from(left.as_nanos() / interval + 1).unwrap_or(u32::MAX),
            None => 0,
        }
    }

    /// When the next one may be made.
    pub(super) fn next(self, config: &EngineConfig) -> Now {
        let burst = Now::START.after(Pace::burst(config));
        Now(self.paid_until.0.saturating_sub(burst.0))
    }

    pub(super) fn dialled(&mut self, dials: usize, now: Now, config: &EngineConfig) {
        let dials = u32::try_from(dials).expect("at most connections_max");
        if dials > 0 {
            let paid = self.paid_until.max(now);
            self.paid_until = paid.after(config.dial_interval.saturating_mul(dials));
        }
    }
}

/// So many peers of no use in a row, and a seed waits before it dials again.
const SEEDS_IN_A_ROW: u32 = 4;

/// The seeds that a seed met lately. Where most are seeds, each would else dial all the others to find that out;
/// who lacks something dials seeds itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeedsMet {
    /// Seeds, and once there is one, also dials: who is there is of no use until it wants something.
    in_a_row: u32,
    /// When they are many: no dial before this.
    next: Now,
}

impl SeedsMet {
    /// We parted from another seed.
    pub(super) fn seed(&mut self, now: Now, config: &EngineConfig) {
        // Many at once, as when we become a seed, tell no more than a few.
        if !self.is_patient() {
            self.count(1, now, config);
        }
    }

    /// Addresses were dialled.
    pub(super) fn dialled(&mut self, dials: usize, now: Now, config: &EngineConfig) {
        let dials = u32::try_from(dials).expect("at most connections_max");
        if dials > 0 && self.in_a_row > 0 {
            self.count(dials, now, config);
        }
    }

    /// A dial led to nobody, which says nothing of who else is there.
    pub(super) fn unanswered(&mut self, now: Now) {
        if self.in_a_row > 1 {
            self.in_a_row -= 1;
            self.next = self.next.min(now);
        }
    }

    /// Somebody whom we dialled wants something of us, or a tracker named peers, and trackers name leechers to seeds.
    /// Returns whether more dials may be made for that.
    pub(super) fn leecher(&mut self, now: Now) -> bool {
        let sought = self.in_a_row > 0;
        self.in_a_row = self.in_a_row.min(SEEDS_IN_A_ROW) / 2;
        self.next = self.next.min(now);
        sought
    }

    /// Dials that may be made now.
    pub(super) fn room(&self, now: Now) -> u32 {
        match self.in_a_row {
            0 => u32::MAX,
            few if few < SEEDS_IN_A_ROW => SEEDS_IN_A_ROW - few,
            _ => u32::from(self.next <= now),
        }
    }

    /// When the next one may be made.
    pub(super) fn next(&self) -> Now {
        self.next
    }

    fn count(&mut self, more: u32, now: Now, config: &EngineConfig) {
        self.in_a_row = self.in_a_row.saturating_add(more);
        if let Some(times) = self.in_a_row.checked_sub(SEEDS_IN_A_ROW) {
            let doubled = config.dial_backoff_min.saturating_mul(1 << times.min(16));
            self.next = now.after(doubled.min(config.dial_backoff_max));
        }
    }

    fn is_patient(&self) -> bool {
        self.in_a_row >= SEEDS_IN_A_ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_come_at_once_and_then_one_per_interval() {
        let config = EngineConfig {
            connections_max: 50,
            dial_interval: Duration::from_secs(1),
            ..EngineConfig::default()
        };
        let start = Now::START.after(Duration::from_secs(100));
        let mut pace = Pace::default();
        assert_eq!(pace.room(start, &config), 50);
        pace.dialled(50, start, &config);
        assert_eq!(pace.room(start, &config), 0);
        let mut now = start;
        for _ in 0..10 {
            assert_eq!(pace.next(&config), now.after(config.dial_interval));
            assert_eq!(pace.room(Now(pace.next(&config).0 - 1), &config), 0);
            now = pace.next(&config);
            assert_eq!(pace.room(now, &config), 1);
            pace.dialled(1, now, &config);
        }
        let later = now.after(Duration::from_secs(20));
        assert_eq!(pace.room(later, &config), 20);
        let unpaced = EngineConfig {
            dial_interval: Duration::ZERO,
            ..config
        };
        assert_eq!(pace.room(now, &unpaced), u32::MAX);
    }

    #[test]
    fn a_seed_that_meets_seeds_alone_dials_less_and_less_often() {
        let config = EngineConfig::default();
        let mut met = SeedsMet::default();
        let mut now = Now::START.after(Duration::from_secs(100));
        met.dialled(16, now, &config);
        assert_eq!(met.room(now), u32::MAX, "nothing is known yet");
        met.seed(now, &config);
        assert_eq!(met.room(now), 3);
        met.dialled(2, now, &config);
        assert_eq!(
            met.room(now),
            1,
            "who was dialled counts before it shows what it is"
        );
        for _ in 0..30 {
            met.seed(now, &config);
        }
        for seconds in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(met.next(), now.after(Duration::from_secs(seconds)));
            assert_eq!(met.room(Now(met.next().0 - 1)), 0);
            now = met.next();
            assert_eq!(met.room(now), 1);
            met.dialled(1, now, &config);
        }
        for room in [2, 3, u32::MAX] {
            assert!(met.leecher(now));
            assert_eq!(met.room(now), room);
        }
        assert!(!met.leecher(now), "it sought nobody");
    }

    #[test]
    fn a_dial_that_leads_to_nobody_is_made_up_for() {
        let config = EngineConfig::default();
        let mut met = SeedsMet::default();
        let now = Now::START.after(Duration::from_secs(100));
        met.unanswered(now);
        assert_eq!(met.room(now), u32::MAX);
        met.seed(now, &config);
        met.dialled(3, now, &config);
        assert_eq!(met.room(now), 0);
        for room in [1, 2, 3] {
            met.unanswered(now);
            assert_eq!(met.room(now), room);
        }
        met.unanswered(now);
        assert_eq!(met.room(now), 3, "the seed was there");
    }
}
