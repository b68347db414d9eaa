//! Owns what is asked of one connection, and what comes: the requests that are open, how many may be, and how long
//! answers may take.
//!
//! Invariants: requests stand in the order in which they were made, late ones before the others; how many may be open
//! follows the rate, within what the peer queues.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::EngineConfig;
use crate::ids::{BLOCK_BYTES, PieceIndex};
use crate::time::Now;

/// A request of ours that is open at a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) piece: PieceIndex,
    pub(super) block: u32,
    pub(super) at: Now,
    pub(super) late: bool,
}

/// The download side of one connection.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Download {
    /// Requested payload in this choke round and the one before.
    pub(super) received_now: u64,
    pub(super) received_before: u64,
    /// Nothing is asked for before this: it rejects.
    pub(super) hold_until: Option<Now>,
    /// Requests open at the peer, oldest first: those that are late stand before the others.
    pub(super) open: VecDeque<Request>,
    /// Requests that the peer queues.
    pub(super) queue_max: u32,
    pub(super) depth: u32,
    /// Rejects in a row although it does not choke us.
    pub(super) rejects: u32,
    pub(super) snubbed: bool,
    slow_start: bool,
    /// The last moment at which waiting for a block began anew: unchoked, or a block came, or the
    /// first request after none were open.
    pub(super) waiting_from: Now,
    latency: Latency,
    meter: RateMeter,
    /// Requests that a choke released and that may still be answered by blocks on their way.
    pub(super) released: VecDeque<(PieceIndex, u32)>,
    /// Of those, how many were forgotten and may still be answered.
    pub(super) forgotten: u32,
    /// Pieces that may be asked for while choked (BEP 6).
    pub(super) allowed: Vec<PieceIndex>,
    /// Pieces that the peer suggests, oldest first (BEP 6).
    pub(super) suggested: VecDeque<PieceIndex>,
}

impl Download {
    /// Nothing asked for yet.
    pub(super) fn new(now: Now, config: &EngineConfig) -> Download {
        Download {
            received_now: 0,
            received_before: 0,
            hold_until: None,
            open: VecDeque::new(),
            queue_max: config.request_queue_assumed,
            depth: config.pipeline_start,
            rejects: 0,
            snubbed: false,
            slow_start: true,
            waiting_from: now,
            latency: Latency::default(),
            meter: RateMeter::default(),
            released: VecDeque::new(),
            forgotten: 0,
            allowed: Vec::new(),
            suggested: VecDeque::new(),
        }
    }

    /// Payload that was asked for arrived: counts for reciprocation and sets the pipeline's depth.
    pub(super) fn gained(&mut self, bytes: u32, now: Now, config: &EngineConfig) {
        self.received_now += u64::from(bytes);
        let cap = self.queue_max.max(1).min(config.pipeline_cap.max(1));
        if self.slow_start {
            self.depth = (self.depth + 1).min(cap);
        }
        let Some(growth) = self.meter.add(u64::from(bytes), now) else {
            return;
        };
        if self.slow_start && growth < i64::try_from(config.pipeline_growth_min).unwrap_or(i64::MAX)
        {
            self.slow_start = false;
        }
        if !self.slow_start {
            let in_flight = u128::from(self.meter.rate) * config.pipeline_time.as_nanos()
                / 1_000_000_000
                / u128::from(BLOCK_BYTES);
            self.depth = u32::try_from(in_flight).unwrap_or(u32::MAX).max(2).min(cap);
        }
    }

    /// Requested payload that came in this choke round and the one before, bytes.
    pub(super) fn received(&self) -> u64 {
        self.received_now + self.received_before
    }

    /// Whether payload came in this choke round or the one before.
    pub(super) fn gave(&self) -> bool {
        self.received() > 0
    }

    /// Requests that may be open at once.
    fn most(&self) -> u32 {
        let depth = if self.snubbed { 1 } else { self.depth };
        depth.min(self.queue_max.max(1))
    }

    /// Requests that may be open beside those that are.
    pub(super) fn room(&self) -> u32 {
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        self.most().saturating_sub(open)
    }

    /// Whether there is room for as many requests as are sent together: in deep pipelines several.
    pub(super) fn has_room_for_several(&self, config: &EngineConfig) -> bool {
        let together = (self.most() / 4).min(config.request_batch);
        self.room() >= together.max(1)
    }

    /// A block came that we had asked for, still of use or not: the peer does not snub us.
    pub(super) fn heard(&mut self, now: Now) {
        self.snubbed = false;
        self.rejects = 0;
        self.waiting_from = now;
    }

    /// Unchoked, or asked after a time without requests: that time counts for no rate.
    pub(super) fn begin(&mut self, now: Now) {
        if self.waiting_from != now {
            self.meter.restart(now);
        }
        self.waiting_from = now;
    }

    /// A request made at `asked` was answered.
    pub(super) fn answered(&mut self, asked: Now, now: Now) {
        self.latency.add(now.since(asked));
    }

    /// How long a request may stay unanswered: mean and four deviations of those answered.
    pub(super) fn timeout(&self, config: &EngineConfig) -> Duration {
        self.latency
            .bound()
            .unwrap_or(config.request_timeout_max)
            .clamp(
                config.request_timeout_min,
                config.request_timeout_max.max(config.request_timeout_min),
            )
    }

    /// Takes an open request out.
    pub(super) fn take(&mut self, piece: PieceIndex, block: u32) -> Option<Request> {
        let at = self
            .open
            .iter()
            .position(|r| r.piece == piece && r.block == block)?;
        self.open.remove(at)
    }

    /// Whether this block is asked for here.
    pub(super) fn asks(&self, piece: PieceIndex, block: u32) -> bool {
        self.open
            .iter()
            .any(|r| r.piece == piece && r.block == block)
    }

    /// Earlier rejects count no more.
    pub(super) fn welcome(&mut self) {
        self.rejects = 0;
        self.hold_until = None;
    }

    /// One of the requests that were released and forgotten is answered; false when there is none.
    pub(super) fn recall(&mut self) -> bool {
        let some = self.forgotten > 0;
        self.forgotten -= u32::from(some);
        some
    }

    /// Takes a request out that a choke released; its late answer is still asked for.
    pub(super) fn take_released(&mut self, piece: PieceIndex, block: u32) -> bool {
        let at = self.released.iter().position(|r| *r == (piece, block));
        at.is_some_and(|at| self.released.remove(at).is_some())
    }
}

/// Bytes per second, over windows of about a second.
#[derive(Debug, Default)]
struct RateMeter {
    window: Option<Now>,
    bytes: u64,
    rate: u64,
}

impl RateMeter {
    /// Begins a new window.
    fn restart(&mut self, now: Now) {
        self.bytes = 0;
        self.window = Some(now);
    }

    /// Adds bytes; at the end of a window, by how much the rate grew.
    fn add(&mut self, bytes: u64, now: Now) -> Option<i64> {
        let start = *self.window.get_or_insert(now);
        self.bytes += bytes;
        let elapsed = now.since(start).as_nanos();
        if elapsed < 1_000_000_000 {
            return None;
        }
        let measured = u128::from(self.bytes) * 1_000_000_000 / elapsed;
        let measured = u64::try_from(measured).unwrap_or(u64::MAX);
        let growth = i64::try_from(measured).unwrap_or(i64::MAX)
            - i64::try_from(self.rate).unwrap_or(i64::MAX);
        self.rate = measured;
        self.bytes = 0;
        self.window = Some(now);
        Some(growth)
    }
}

/// Mean and mean deviation of answer times (Jacobson 1988), in ns.
#[derive(Debug, Default)]
struct Latency {
    mean: u64,
    deviation: u64,
    samples: u32,
}

/// Answers before which the mean says nothing.
const LATENCY_SAMPLES: u32 = 5;

impl Latency {
    fn add(&mut self, sample: Duration) {
        let sample = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        if self.samples == 0 {
            self.mean = sample;
            self.deviation = sample / 2;
        } else {
            let off = sample.abs_diff(self.mean);
            self.deviation = self.deviation - self.deviation / 4 + off / 4;
            self.mean = self.mean - self.mean / 8 + sample / 8;
        }
        self.samples = self.samples.saturating_add(1);
    }

    fn bound(&self) -> Option<Duration> {
        let bound = self.mean.saturating_add(self.deviation.saturating_mul(4));
        (self.samples >= LATENCY_SAMPLES).then(|| Duration::from_nanos(bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_answers_once_there_are_five() {
        let config = EngineConfig::default();
        let mut down = Download::new(Now::START, &config);
        let at = |s| Now::START.after(Duration::from_secs(s));
        for i in 0..4 {
            down.answered(at(i), at(i + 3));
            assert_eq!(down.timeout(&config), Duration::from_secs(45));
        }
        for _ in 0..60 {
            down.answered(at(0), at(3));
        }
        let timeout = down.timeout(&config);
        assert!(timeout < Duration::from_secs(4), "{timeout:?}");
        down.answered(at(0), at(0));
        assert!(down.timeout(&config) > timeout, "an outlier widens it");
    }

    #[test]
    fn in_deep_pipelines_there_must_be_room_for_several_requests() {
        let config = EngineConfig::default();
        let cases = [
            (1, 0, 1),
            (2, 1, 2),
            (7, 6, 7),
            (8, 6, 7),
            (12, 9, 10),
            (100, 96, 97),
        ];
        for (depth, enough, too_many) in cases {
            for (open, expected) in [(enough, true), (too_many, false)] {
                let mut down = Download::new(Now::START, &config);
                down.depth = depth;
                let request = |block| Request {
                    piece: PieceIndex(0),
                    block,
                    at: Now::START,
                    late: false,
                };
                down.open = (0..open).map(request).collect();
                let several = down.has_room_for_several(&config);
                assert_eq!(several, expected, "{open} of {depth}");
            }
        }
    }

    #[test]
    fn the_pipeline_grows_while_the_rate_grows_and_then_follows_it() {
        let config = EngineConfig::default();
        let mut down = Download::new(Now::START, &config);
        let mut now = Now::START;
        for _ in 0..200 {
            now = now.after(Duration::from_millis(50));
            down.gained(BLOCK_BYTES, now, &config);
        }
        // 20 blocks a second for 3 s; the meter's windows may hold a block more or less.
        assert!((57..=63).contains(&down.depth), "{}", down.depth);
    }
}
