//! Owns [`RateLimiter`]: how much payload may pass per second.
//!
//! Invariant: over any time `t` at most `rate x (t + BURST)` bytes pass, and one block: the generic
//! cell rate algorithm (ITU-T I.371), which needs one moment and no timer of its own.

use std::time::Duration;

use crate::config::RateLimit;
use crate::time::Now;

/// What may pass at once after a pause, in time at the rate: long enough to fill a segment train.
const BURST: Duration = Duration::from_millis(250);

/// One direction of one torrent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateLimiter {
    /// When what has passed would have passed at the rate.
    paid_until: Now,
    /// Something waits for it to open.
    pub(super) waited_for: bool,
}

impl RateLimiter {
    /// Whether something may pass; if not, when.
    pub(super) fn closed_until(&self, limit: RateLimit, now: Now) -> Option<Now> {
        (limit.0 > 0 && self.paid_until > now.after(BURST))
            .then(|| Now(self.paid_until.0 - Now::START.after(BURST).0))
    }

    /// These bytes pass.
    pub(super) fn pay(&mut self, bytes: u32, limit: RateLimit, now: Now) {
        if limit.0 > 0 {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(limit.0);
            let ns = u64::try_from(ns).unwrap_or(u64::MAX);
            let from = self.paid_until.max(now);
            self.paid_until = Now(from.0.saturating_add(ns));
        }
    }

    /// These bytes did not pass after all.
    pub(super) fn refund(&mut self, bytes: u32, limit: RateLimit) {
        if limit.0 > 0 {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(limit.0);
            let ns = u64::try_from(ns).unwrap_or(u64::MAX);
            self.paid_until = Now(self.paid_until.0.saturating_sub(ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BLOCK_BYTES;

    #[test]
    fn blocks_pass_at_the_rate_after_a_burst() {
        let limit = RateLimit(u64::from(BLOCK_BYTES) * 10);
        let mut limiter = RateLimiter::default();
        let (mut now, mut passed) = (Now::START, 0);
        while now < Now::START.after(Duration::from_secs(20)) {
            match limiter.closed_until(limit, now) {
                Some(until) => {
                    assert!(until > now);
                    now = until;
                }
                None => {
                    limiter.pay(BLOCK_BYTES, limit, now);
                    passed += 1;
                }
            }
        }
        assert!((200..=204).contains(&passed), "{passed}");
    }

    #[test]
    fn without_a_limit_everything_passes() {
        let mut limiter = RateLimiter::default();
        limiter.pay(u32::MAX, RateLimit(0), Now::START);
        assert_eq!(limiter.closed_until(RateLimit(0), Now::START), None);
    }

    #[test]
    fn what_did_not_pass_is_given_back() {
        let limit = RateLimit(1000);
        let mut limiter = RateLimiter::default();
        limiter.pay(5000, limit, Now::START);
        assert!(limiter.closed_until(limit, Now::START).is_some());
        limiter.refund(5000, limit);
        assert_eq!(limiter.closed_until(limit, Now::START), None);
    }
}
