//! Owns the arithmetic of links: how long bytes take, whose turn it is, what loss costs.
//!
//! Invariants: integers only once a path is set up (bytes and ns); a link is never used above its
//! rate; flows that have something to send share a link fairly, to within one parcel.

use std::collections::VecDeque;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::prefetch;

use crate::scenario::plan::LinkPlan;

/// Payload bytes of one TCP segment on Ethernet with timestamps.
pub const SEGMENT_BYTES: u64 = 1448;
/// Header bytes per segment that count against links (network model: 40).
pub const SEGMENT_OVERHEAD: u64 = 40;
/// Segments a new connection may have in flight (RFC 6928).
const INITIAL_SEGMENTS: u64 = 10;
/// Smallest window, bytes.
const WINDOW_MIN: u64 = 64 * 1024;
/// Largest window, bytes (RFC 7323).
const WINDOW_MAX: u64 = 65_535 << 14;
/// First retransmission timeout when a retransmission is lost too.
pub(super) const RTO: Duration = Duration::from_millis(200);
/// Longest retransmission timeout (Linux).
pub(super) const RTO_MAX: Duration = Duration::from_secs(120);
/// Retransmissions of one segment at most (Linux): then it counts as arrived, even on a dead path.
const RETRANSMISSIONS_MAX: u32 = 15;
/// Longest parcel: a block.
const PARCEL_MAX: u64 = 16 * 1024;
/// A slow link carries about this much of a second with one parcel: what else waits does not wait longer.
const PARCELS_PER_SECOND: u64 = 4;
/// Without an acknowledgement for this long, the sender gives its connection up (RFC 5482).
pub const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// First retransmission timeout of a handshake (RFC 6298), doubled each time.
const HANDSHAKE_RTO: Duration = Duration::from_secs(1);
/// Retransmissions of a packet of the handshake at most (Linux); then the dial fails.
const HANDSHAKE_TRIES: u32 = 6;
/// Segments of the longest parcel: a block and its head.
const PARCEL_SEGMENTS: usize = 13;

/// Segments that carry so many payload bytes.
#[must_use]
pub fn segments(bytes: u64) -> u64 {
    bytes.div_ceil(SEGMENT_BYTES)
}

/// Bytes on the wire for so many payload bytes.
#[must_use]
pub fn wire_bytes(bytes: u64) -> u64 {
    bytes + SEGMENT_OVERHEAD * segments(bytes)
}

/// Time that `bytes` take at `rate` bytes per second, in ns, rounded up.
#[must_use]
pub fn transmit_ns(bytes: u64, rate: u64) -> u64 {
    let rate = rate.max(1);
    // Dividing 128 bits is slow, and needed above 18 GB only.
    if let Some(ns) = bytes.checked_mul(1_000_000_000) {
        return ns.div_ceil(rate);
    }
    let ns = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(rate));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// When what was lost at `since` is sent again, on a path that works from `now` on: at the first of the
/// sender's retransmissions, one timeout after the loss, then twice as long after each other, and a last time
/// just before the user timeout: a path that works again before that saves the connection. All in ns.
#[must_use]
pub fn retransmit_at(since: u64, now: u64, rtt_ns: u64) -> u64 {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).expect("at most 120 s");
    let mut timeout = rtt_ns.saturating_add(ns(RTO));
    let mut at = since.saturating_add(timeout);
    while at < now {
        timeout = timeout.saturating_mul(2).min(ns(RTO_MAX));
        at = at.saturating_add(timeout);
    }
    let last = since.saturating_add(ns(USER_TIMEOUT) - 1);
    at.min(last.max(now))
}

/// How much later a packet of the handshake is sent again that was lost for the n-th time, n from 1; `None`:
/// never again, and nobody waits longer.
#[must_use]
pub fn handshake_again(times: u32) -> Option<u64> {
    let ns = u64::try_from(HANDSHAKE_RTO.as_nanos()).expect("1 s");
    (1..=HANDSHAKE_TRIES)
        .contains(&times)
        .then(|| ns << (times - 1))
}

/// The longest parcel on a link of this rate, bytes: a block, less where that would take long.
#[must_use]
pub fn parcel_max(rate: u64) -> u64 {
    (rate / PARCELS_PER_SECOND).clamp(SEGMENT_BYTES, PARCEL_MAX)
}

/// Bytes on the wire of the longest parcel of all: a block and the small piece before it.
#[must_use]
pub fn parcel_wire_max() -> u64 {
    wire_bytes(PARCEL_MAX + 1024)
}

/// One direction between two hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// One-way delay, ns.
    pub delay_ns: u64,
    /// Largest extra delay, ns.
    jitter_ns: u64,
    /// One-way delay of the other direction, in which acknowledgements come, ns.
    pub back_ns: u64,
    /// There and back, without jitter, ns.
    pub rtt_ns: u64,
    /// Longest parcel, bytes.
    pub parcel_max: u64,
    /// Bytes in flight and unread at most; fewer than 2^30.
    pub window: u64,
    /// Bytes per second of one connection at most, when there is loss (Mathis et al. 1997).
    pub rate_cap: Option<u64>,
    /// Chance out of 2^64 that at least one of n segments is lost, when there is loss.
    lost: Option<Box<[u64; PARCEL_SEGMENTS + 1]>>,
}

fn mean(a: Duration, b: Duration) -> u64 {
    u64::try_from((a + b).as_nanos() / 2).unwrap_or(u64::MAX)
}

impl Path {
    /// The path from one host to another: latency, jitter and loss are the mean of the two ends'.
    #[must_use]
    pub fn new(from: &LinkPlan, to: &LinkPlan) -> Path {
        let delay_ns = mean(from.latency, to.latency);
        Path::with_delays(from, to, delay_ns, delay_ns)
    }

    /// The same with one-way delays, there and back, that are not those of the links; ns.
    #[must_use]
    pub fn with_delays(from: &LinkPlan, to: &LinkPlan, delay_ns: u64, back_ns: u64) -> Path {
        let rtt_ns = delay_ns.saturating_add(back_ns);
        let loss = f64::from(from.loss_ppm + to.loss_ppm) / 2e6;
        let chance = |n: usize| {
            let none = libm::pow(1.0 - loss, n as f64);
            // Saturates at certainty.
            ((1.0 - none) * 18_446_744_073_709_551_616.0) as u64
        };
        let rtt_s = (rtt_ns.max(1_000_000)) as f64 / 1e9;
        let cap = 1.22 * SEGMENT_BYTES as f64 / (rtt_s * libm::sqrt(loss));
        let rate = u128::from(from.up.min(to.down));
        let in_flight = 2 * rate * u128::from(rtt_ns) / 1_000_000_000;
        Path {
            delay_ns,
            back_ns,
            parcel_max: parcel_max(from.up.min(to.down)),
            jitter_ns: mean(from.jitter, to.jitter),
            rtt_ns,
            window: u64::try_from(in_flight)
                .unwrap_or(u64::MAX)
                .clamp(WINDOW_MIN, WINDOW_MAX),
            rate_cap: (loss > 0.0).then(|| (cap as u64).max(1)),
            lost: (loss > 0.0).then(|| Box::new(std::array::from_fn(chance))),
        }
    }

    /// Bytes a new connection may have in flight (slow start).
    #[must_use]
    pub fn initial_window(&self) -> u64 {
        (INITIAL_SEGMENTS * SEGMENT_BYTES).min(self.window)
    }

    /// The delay of every parcel, on a path where nothing is drawn.
    #[must_use]
    pub fn steady_delay(&self) -> Option<u64> {
        (self.jitter_ns == 0 && self.lost.is_none()).then_some(self.delay_ns)
    }

    /// The delay of one parcel of so many payload bytes: the path, its jitter, and a round trip
    /// or more when a segment is lost. Inside a connection loss is delay, never a missing byte.
    pub fn parcel_delay(&self, bytes: u64, rng: &mut ChaCha8Rng) -> u64 {
        let mut delay = self.delay_ns + self.jitter(rng);
        if self.loses(segments(bytes), rng) {
            delay += self.rtt_ns;
            let mut rto = RTO;
            for _ in 0..RETRANSMISSIONS_MAX {
                if !self.loses(1, rng) {
                    break;
                }
                delay += u64::try_from(rto.as_nanos()).expect("at most 120 s");
                rto = (2 * rto).min(RTO_MAX);
            }
        }
        delay
    }

    /// The delay of one datagram, or `None` when it is lost.
    pub fn datagram_delay(&self, bytes: u64, rng: &mut ChaCha8Rng) -> Option<u64> {
        let delay = self.delay_ns + self.jitter(rng);
        (!self.loses(segments(bytes), rng)).then_some(delay)
    }

    fn jitter(&self, rng: &mut ChaCha8Rng) -> u64 {
        if self.jitter_ns == 0 {
            return 0;
        }
        let wide = u128::from(rng.next_u64()) * u128::from(self.jitter_ns);
        u64::try_from(wide >> 64).expect("less than jitter_ns")
    }

    fn loses(&self, segments: u64, rng: &mut ChaCha8Rng) -> bool {
        let n = usize::try_from(segments).map_or(PARCEL_SEGMENTS, |n| n.min(PARCEL_SEGMENTS));
        let lost = self.lost.as_ref();
        lost.is_some_and(|lost| rng.next_u64() < lost[n])
    }
}

/// Bytes that a flow may send per turn on a link of this rate.
fn quantum(rate: u64) -> i64 {
    i64::try_from(parcel_max(rate)).expect("at most a block")
}

/// Whose turn it is on a link: surplus round robin (Adiseshu et al. 1996), which never cuts a
/// parcel and is fair to within one.
#[derive(Clone, Debug)]
pub struct FairQueue<F> {
    ring: VecDeque<(F, i64)>,
    /// Bytes per second.
    rate: u64,
}

impl<F: Copy + PartialEq> FairQueue<F> {
    /// The empty queue of a link of this rate.
    #[must_use]
    pub fn new(rate: u64) -> FairQueue<F> {
        FairQueue {
            ring: VecDeque::new(),
            rate,
        }
    }

    /// The rate of the link, bytes per second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// The link has another rate from now on.
    pub fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// A flow has something to send. It must not be in the queue already.
    pub fn join(&mut self, flow: F) {
        self.ring.push_back((flow, quantum(self.rate)));
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whose turn it is.
    #[must_use]
    pub fn turn(&self) -> Option<F> {
        self.ring.front().map(|(flow, _)| *flow)
    }

    /// Who has so many before it.
    pub(super) fn behind(&self, before: usize) -> Option<F> {
        self.ring.get(before).map(|(flow, _)| *flow)
    }

    /// Asks for the memory that says whose turn it is.
    pub(super) fn prefetch_turn(&self) {
        if let Some(front) = self.ring.front() {
            prefetch::front(front);
        }
    }

    /// The flow whose turn it is sent so many bytes; with `more` it wants to go on.
    pub fn sent(&mut self, bytes: u64, more: bool) {
        let Some((flow, left)) = self.ring.pop_front() else {
            return;
        };
        if self.ring.is_empty() {
            // It begins anew at the front of its memory, which the cache still has.
            self.ring.clear();
        }
        let left = left - i64::try_from(bytes).unwrap_or(i64::MAX);
        match (more, left > 0) {
            (true, true) => self.ring.push_front((flow, left)),
            (true, false) => self.ring.push_back((flow, left + quantum(self.rate))),
            (false, _) => {}
        }
    }

    /// A flow is gone.
    pub fn leave(&mut self, flow: F) {
        self.ring.retain(|(f, _)| *f != flow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn link(loss_ppm: u32) -> LinkPlan {
        LinkPlan {
            up: 1_000_000,
            down: 2_000_000,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_ppm,
            reset_every: None,
        }
    }

    #[test]
    fn bytes_take_their_time_and_headers_count() {
        assert_eq!(transmit_ns(1_000_000, 1_000_000), 1_000_000_000);
        assert_eq!(transmit_ns(1, 3), 333_333_334);
        assert_eq!(transmit_ns(30_000_000_000, 3), 10_000_000_000_000_000_000);
        assert_eq!(transmit_ns(u64::MAX, 0), u64::MAX);
        assert_eq!(wire_bytes(1448), 1488);
        assert_eq!(wire_bytes(1449), 1449 + 80);
    }

    #[test]
    fn a_path_is_the_mean_of_its_ends() {
        let mut far = link(20_000);
        far.latency = Duration::from_millis(60);
        let path = Path::new(&link(0), &far);
        assert_eq!(path.delay_ns, 40_000_000);
        // 1.22 x 1448 / (0.08 x sqrt(0.01))
        assert_eq!(path.rate_cap, Some(220_820));
        assert_eq!(Path::new(&link(0), &link(0)).rate_cap, None);
    }

    #[test]
    fn loss_delays_as_often_as_it_should() {
        let path = Path::new(&link(10_000), &link(10_000));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let late = (0..10_000).filter(|_| path.parcel_delay(16_397, &mut rng) > path.delay_ns);
        // 12 segments at 1 %: 11.4 %.
        let late = late.count();
        assert!((1000..1280).contains(&late), "{late}");
    }

    #[test]
    fn a_path_that_loses_everything_is_slow_and_not_endless() {
        let path = Path::new(&link(1_000_000), &link(1_000_000));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let delay = Duration::from_nanos(path.parcel_delay(1, &mut rng));
        assert!(Duration::from_secs(600) < delay && delay < Duration::from_secs(1800));
    }

    #[test]
    fn what_was_lost_is_sent_again_at_doubled_intervals() {
        let (ms, rtt) = (1_000_000, 80_000_000);
        let again = |healed_ms: u64| retransmit_at(0, healed_ms * ms, rtt) / ms;
        // 280 ms after the loss, then 560, 1,120, ... later.
        assert_eq!(
            [0, 280, 281, 841, 2_000].map(again),
            [280, 280, 840, 1960, 4200]
        );
        // Two minutes at most between two.
        let late = again(1_000_000);
        assert!((1_000_000..1_120_000).contains(&late), "{late}");
    }

    #[test]
    fn a_handshake_is_tried_seven_times_in_a_minute() {
        let waits: Vec<u64> = (1..).map_while(handshake_again).collect();
        let seconds: Vec<u64> = waits.iter().map(|ns| ns / 1_000_000_000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32]);
        assert_eq!(handshake_again(0), None);
    }

    #[test]
    fn parcels_are_short_where_a_block_takes_long_and_never_below_a_segment() {
        let sizes = [1_000, 20_000, 65_536, 1_000_000].map(parcel_max);
        assert_eq!(sizes, [SEGMENT_BYTES, 5_000, 16_384, 16_384]);
    }

    #[test]
    fn delays_of_both_directions_make_the_round_trip() {
        let ms = 1_000_000;
        let path = Path::with_delays(&link(10_000), &link(10_000), 30 * ms, 70 * ms);
        let back = Path::with_delays(&link(10_000), &link(10_000), 70 * ms, 30 * ms);
        assert_eq!((path.rtt_ns, back.rtt_ns), (100 * ms, 100 * ms));
        assert_eq!((path.rate_cap, path.window), (back.rate_cap, back.window));
    }

    #[test]
    fn a_window_is_two_round_trips_within_what_tcp_can_say() {
        let window = |rate| {
            let link = LinkPlan {
                up: rate,
                down: rate,
                ..link(0)
            };
            // 20 ms each way.
            Path::new(&link, &link).window
        };
        let windows = [1_000, 5_000_000, 1_000_000_000_000, u64::MAX].map(window);
        assert_eq!(windows, [65_536, 400_000, 1_073_725_440, 1_073_725_440]);
    }

    #[test]
    fn shares_are_equal_whatever_the_parcels() {
        let mut queue = FairQueue::new(1_000_000);
        let size = [16_397u64, 900, 5_000];
        (0..3).for_each(|f| queue.join(f));
        let mut sent = [0u64; 3];
        for _ in 0..30_000 {
            let flow: usize = queue.turn().expect("all want to send");
            sent[flow] += size[flow];
            queue.sent(size[flow], true);
        }
        let (least, most) = (sent.iter().min().expect("3"), sent.iter().max().expect("3"));
        assert!(most - least <= 2 * 16_397, "{sent:?}");
    }
}
