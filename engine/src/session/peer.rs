//! Owns what a session knows of one connection.
//!
//! Invariant: both directions begin choked and not interested; `useful` is the number of pieces
//! that the peer has and we lack, so interest is `useful > 0` and never recomputed by a scan of
//! messages.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::choker::Terms;
use crate::config::EngineConfig;
use crate::ids::{BLOCK_BYTES, BlockRange, ConnId, PeerId, PieceIndex};
use crate::prefetch;
use crate::time::Now;

use super::blame::SenderId;
use super::canonical::canonical_priority;
use super::pex::PexTalk;
use super::super_seeding::Hidden;

/// Time's worth of chatter that may come at once.
const CHATTER_AT_ONCE: Duration = Duration::from_secs(10);

/// A request of ours that is open at a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) piece: PieceIndex,
    pub(super) block: u32,
    pub(super) at: Now,
    pub(super) late: bool,
}

/// What a peer said in its extended handshakes (BEP 10).
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Its id for `lt_donthave`; 0: it takes none.
    pub(super) dont_have: u8,
    /// Its id for `ut_metadata`; 0: it takes none.
    pub(super) metadata: u8,
    /// Where it listens.
    pub(super) port: Option<u16>,
    /// It has said what our address is.
    pub(super) our_ip: bool,
}

/// One connection: what nearly every message looks at, one cache line. These lie end to end in the session;
/// the rest lies elsewhere, and is reached as if it lay here.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Peer {
    pub(super) conn: ConnId,
    pub(super) last_received: Now,
    pub(super) last_sent: Now,
    /// Bytes that the network has not taken yet, messages included.
    pub(super) backlog: u64,
    /// It has wanted nothing since then: it joined, it said so, or we told it of a new piece.
    pub(super) content_from: Now,
    /// Who it is for blame and bans.
    pub(super) sender: SenderId,
    /// Pieces that it has and we lack.
    pub(super) useful: u32,
    /// Its handshake was accepted, or it is a web seed, which needs none.
    active: bool,
    pub(super) am_interested: bool,
    pub(super) choking_us: bool,
    pub(super) interested: bool,
    pub(super) unchoked: bool,
    /// Both ends speak the fast extension.
    pub(super) fast: bool,
    /// A message other than the extended handshake has arrived: no bitfield any more.
    pub(super) greeted: bool,
    /// It wants nothing any more (BEP 21).
    pub(super) upload_only: bool,
    rest: Box<Rest>,
}

/// What few messages look at: in the order in which a block's do, the rare things last.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Rest {
    pub(super) addr: SocketAddr,
    pub(super) down: Download,
    pub(super) up: Upload,
    pub(super) optimistic: bool,
    /// It was choked or unchoked before.
    pub(super) ever_unchoked: bool,
    pub(super) inbound: bool,
    /// It is a web seed: it has everything, and there is nobody who wants or reads anything.
    pub(super) web: bool,
    /// Both ends speak the extension protocol.
    pub(super) extended: bool,
    /// Set by its handshake; before that nothing else counts.
    pub(super) id: Option<PeerId>,
    /// Its canonical priority, and our address that it was computed for.
    rank: Option<(SocketAddr, u32)>,
    pub(super) said: Said,
    /// When interest on either side last changed, or it connected.
    pub(super) interest_changed: Now,
    /// When it was last choked or unchoked, or connected.
    pub(super) choke_changed: Now,
    /// Its place in the queue for a slot; see [`crate::choker::ChokePeer::waiting_since`].
    pub(super) waiting_since: Now,
    pub(super) since: Now,
    pub(super) pex: PexTalk,
    /// When what it said beside payload and news would be what it may say.
    chatter_until: Now,
}

impl Deref for Peer {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Rest {
        &mut self.rest
    }
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

/// The upload side of one connection.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Upload {
    /// Requests of the peer that wait here, where choke and cancel can remove them.
    pub(super) queue: VecDeque<BlockRange>,
    /// Bytes handed to the network and not yet drained.
    pub(super) queued_bytes: u64,
    pub(super) reading_bytes: u64,
    /// Payload sent since it was unchoked.
    pub(super) given: u64,
    /// Payload sent in this choke round, to who is unchoked.
    pub(super) sent_now: u64,
    /// What it gets of the bandwidth.
    pub(super) terms: Terms,
    /// How far it is served, where turns are by weight: who is least far is next.
    pub(super) pass: u64,
    /// When the network last took something, or had nothing before.
    pub(super) moved: Now,
    /// Requests refused since the last block was sent, or it was unchoked.
    pub(super) refused: u32,
    /// Blocks being read.
    pub(super) reading: VecDeque<BlockRange>,
    /// Pieces that it may ask for while choked (BEP 6).
    pub(super) allowed: Vec<PieceIndex>,
    /// The last pieces that we suggested.
    pub(super) suggested: VecDeque<PieceIndex>,
    /// It does not know all that we have (BEP 16).
    pub(super) hidden: Option<Box<Hidden>>,
    /// Blocks of metadata sent.
    pub(super) metadata_given: u32,
}

impl Upload {
    /// Whether we have shown the peer other pieces and not this one, if we have it.
    pub(super) fn hides(&self, piece: PieceIndex) -> bool {
        self.hidden.as_ref().is_some_and(|h| !h.shows(piece))
    }
}

impl Peer {
    /// Where the rest of it lies.
    pub(super) fn rest_address(&self) -> usize {
        prefetch::address_of(&*self.rest)
    }

    pub(super) fn new(
        conn: ConnId,
        addr: SocketAddr,
        inbound: bool,
        now: Now,
        config: &EngineConfig,
    ) -> Peer {
        let down = Download {
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
        };
        let rest = Rest {
            addr,
            down,
            up: Upload::default(),
            optimistic: false,
            ever_unchoked: false,
            inbound,
            web: false,
            extended: false,
            id: None,
            said: Said::default(),
            interest_changed: now,
            choke_changed: now,
            waiting_since: now,
            since: now,
            rank: None,
            pex: PexTalk::default(),
            chatter_until: Now::START,
        };
        Peer {
            conn,
            last_received: now,
            last_sent: now,
            backlog: 0,
            content_from: now,
            sender: SenderId::NOBODY,
            useful: 0,
            active: false,
            am_interested: false,
            choking_us: true,
            interested: false,
            unchoked: false,
            fast: false,
            greeted: false,
            upload_only: false,
            rest: Box::new(rest),
        }
    }

    /// Its handshake was accepted.
    pub(super) fn join(&mut self, id: PeerId) {
        self.active = true;
        self.id = Some(id);
    }

    /// It is no connection, but a web seed.
    pub(super) fn be_web_seed(&mut self) {
        self.active = true;
        self.web = true;
    }

    /// Whether its handshake was accepted; a web seed needs none.
    pub(super) fn active(&self) -> bool {
        self.active
    }

    /// It says something that is neither payload nor news; false when that is too much. `rate`: messages per second in
    /// the long run; 0: there is no limit.
    pub(super) fn bear_chatter(&mut self, rate: u32, now: Now) -> bool {
        if rate == 0 {
            return true;
        }
        let each = Duration::from_secs(1) / rate;
        let until = self.chatter_until.max(now).after(each);
        self.chatter_until = until;
        until.since(now) <= CHATTER_AT_ONCE
    }

    /// Whether payload comes or goes here, or may at any moment.
    pub(super) fn carries(&self) -> bool {
        self.down.gave() || !self.down.open.is_empty() || self.unchoked && self.interested
    }

    /// Its canonical priority for us at this address (BEP 40), which is computed once.
    pub(super) fn rank(&mut self, me: SocketAddr) -> u32 {
        match self.rank {
            Some((to, rank)) if to == me => rank,
            _ => {
                let rank = canonical_priority(me, self.addr);
                self.rank = Some((me, rank));
                rank
            }
        }
    }

    /// Since when nobody has wanted anything here; never, while somebody does, and of web seeds.
    pub(super) fn still_since(&self) -> Now {
        let wanted = self.am_interested || self.interested;
        match self.id.is_some() && !wanted {
            true => self.interest_changed,
            false => Now::NEVER,
        }
    }
}

impl Download {
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
    fn what_every_message_looks_at_is_one_cache_line() {
        assert_eq!(size_of::<Option<Peer>>(), 64);
    }

    #[test]
    fn chatter_is_borne_for_ten_seconds_worth_at_once_and_its_rate_afterwards() {
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        let addr = "10.0.0.1:1".parse().expect("an address");
        let mut peer = Peer::new(conn, addr, false, Now::START, &EngineConfig::default());
        let at = |ms| Now::START.after(Duration::from_millis(ms));
        let mut borne = |ms, times| {
            (0..times)
                .filter(|_| peer.bear_chatter(100, at(ms)))
                .count()
        };
        assert_eq!(borne(0, 1000), 1000);
        assert_eq!(borne(1000, 100), 100, "as many as have drained");
        assert_eq!(borne(1500, 51), 50);
        assert_eq!(borne(60_000, 2000), 1000, "silence saves up no more");
        assert!((0..100_000).all(|_| peer.bear_chatter(0, at(60_000))));
    }

    #[test]
    fn the_timeout_follows_the_answers_once_there_are_five() {
        let config = EngineConfig::default();
        let addr = "10.0.0.1:1".parse().expect("an address");
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        let mut peer = Peer::new(conn, addr, false, Now::START, &config);
        let at = |s| Now::START.after(Duration::from_secs(s));
        for i in 0..4 {
            peer.down.answered(at(i), at(i + 3));
            assert_eq!(peer.down.timeout(&config), Duration::from_secs(45));
        }
        for _ in 0..60 {
            peer.down.answered(at(0), at(3));
        }
        let timeout = peer.down.timeout(&config);
        assert!(timeout < Duration::from_secs(4), "{timeout:?}");
        peer.down.answered(at(0), at(0));
        assert!(peer.down.timeout(&config) > timeout, "an outlier widens it");
    }

    #[test]
    fn in_deep_pipelines_there_must_be_room_for_several_requests() {
        let config = EngineConfig::default();
        let addr = "10.0.0.1:1".parse().expect("an address");
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
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
                let mut down = Peer::new(conn, addr, false, Now::START, &config).rest.down;
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
        let addr = "10.0.0.1:1".parse().expect("an address");
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        let mut peer = Peer::new(conn, addr, false, Now::START, &config);
        let mut now = Now::START;
        for _ in 0..200 {
            now = now.after(Duration::from_millis(50));
            peer.down.gained(BLOCK_BYTES, now, &config);
        }
        // 20 blocks a second for 3 s; the meter's windows may hold a block more or less.
        assert!((57..=63).contains(&peer.down.depth), "{}", peer.down.depth);
    }
}
