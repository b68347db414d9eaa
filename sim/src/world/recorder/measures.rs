//! Owns what is measured only where a scenario asks for it, because it costs time at many events: how peers want
//! and unchoke each other, in which order they pick, how long they get nothing.
//!
//! Invariant: it is made of events alone, and changes nothing; a run whose scenario names none of it has none.

use std::collections::BTreeMap;
use std::time::Duration;

use skep_engine::bits::BitSet;
use skep_engine::config::RateLimit;
use skep_engine::metainfo::Geometry;
use skep_engine::picker::Player;
use skep_engine::session::event::{CloseReason, Event};
use skep_engine::{Now, PieceIndex};

use crate::check::Addresses;
use crate::scenario::Plan;
use crate::scenario::expect::ExpectationKind;
use crate::scenario::plan::{HostPlan, Role};

mod held;

use held::HeldBlocks;

/// Two leechers know each other for so long before what they want of each other says something (Legout et al.
/// 2006: 10 s).
const ENTROPY_AFTER_NS: u64 = 10_000_000_000;
/// A leecher that gets no block for so long stalls.
const STALL_AFTER_NS: u64 = 60_000_000_000;

/// What one peer's measures come to; empty where they were not asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// For each other leecher that it knew: the part of the time in which that one wanted something of it.
    pub wanted: Vec<f64>,
    /// Seconds for which others unchoked it, added up.
    pub unchoked_s: Option<f64>,
    /// Correlation of the order in which it began pieces with their order in the content.
    pub pick_order: Option<f64>,
    /// Times that it got no block for a minute.
    pub stalls: Option<u32>,
    /// Seconds from 99 % of the content to all of it.
    pub last_percent_s: Option<f64>,
    /// Seconds for which a block that it had asked for was held, at most.
    pub block_held_s: Option<f64>,
    /// What its user's player had of it, where somebody plays.
    pub playback: Option<Playback>,
}

/// What a player had of a download.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Playback {
    /// Seconds from joining until it began.
    pub startup_s: f64,
    /// Times that it had to wait after that.
    pub stalls: u32,
    /// Time of playback over the time from its beginning to its end; of who has the whole content.
    pub continuity: Option<f64>,
}

/// What is collected.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    entropy: bool,
    unchoked: bool,
    picks: bool,
    stalls: bool,
    last_percent: bool,
    held: bool,
    playback: bool,
}

/// What is measured of a run beside what every run measures.
#[derive(Debug)]
pub(in crate::world) struct Measures {
    wanted: Wanted,
    /// By whom it is told, and of whom: what the second wants of the first.
    pairs: BTreeMap<(usize, usize), Pair>,
    /// By who unchokes, and whom: since when.
    unchoked: BTreeMap<(usize, usize), Now>,
    hosts: Vec<Host>,
    held: HeldBlocks,
}

/// Two leechers that are connected.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// Both lack pieces and are connected, since then.
    since: Option<Now>,
    wants_since: Option<Now>,
    together_ns: u64,
    wants_ns: u64,
}

impl Pair {
    fn wants(&mut self, on: bool, at: Now) {
        match (on, self.wants_since) {
            (true, None) => self.wants_since = Some(at),
            (false, Some(since)) => {
                self.add_wants(since, at);
                self.wants_since = None;
            }
            _ => {}
        }
    }

    fn add_wants(&mut self, since: Now, at: Now) {
        if let Some(together) = self.since {
            self.wants_ns += at.0 - since.max(together).0;
        }
    }

    fn end(&mut self, at: Now) {
        self.wants(false, at);
        if let Some(since) = self.since.take() {
            self.together_ns += at.0 - since.0;
        }
    }
}

/// One host.
#[derive(Clone, Debug, Default)]
struct Host {
    leecher: bool,
    whole: bool,
    unchoked_ns: u64,
    picked: Vec<PieceIndex>,
    /// The last block, or when it began to wait for one; `None`: it waits for none.
    last_block: Option<Now>,
    stalls: u32,
    gained: u64,
    nearly: Option<Now>,
    completed: Option<Now>,
    play: Option<Play>,
}

/// A player and what it may play. What a client that starts again has lost of its disk is not taken from it.
#[derive(Clone, Debug)]
struct Play {
    player: Player,
    rate: RateLimit,
    buffer: Duration,
    joined: Option<Now>,
    have: BitSet,
}

impl Play {
    fn of(host: &HostPlan, pieces: u32) -> Option<Play> {
        let (rate, buffer) = (host.engine.play_rate, host.engine.play_buffer);
        let mut have = BitSet::empty(pieces);
        host.have.iter().for_each(|piece| {
            have.insert(PieceIndex(*piece));
        });
        (rate.0 > 0).then(|| Play {
            player: Player::new(rate, buffer, Now::START),
            rate,
            buffer,
            joined: None,
            have,
        })
    }

    fn starts(&mut self, at: Now) {
        if self.joined.is_none() {
            self.joined = Some(at);
            self.player = Player::new(self.rate, self.buffer, at);
        }
    }

    fn piece(&mut self, piece: PieceIndex, there: bool, geometry: Geometry, at: Now) {
        self.player.advance(&self.have, geometry, at);
        match there {
            true => self.have.insert(piece),
            false => self.have.remove(piece),
        };
    }

    fn end(&mut self, geometry: Geometry, at: Now) -> Option<Playback> {
        self.player.advance(&self.have, geometry, at);
        let began = self.player.began()?;
        let whole = geometry.total as f64 / self.rate.0 as f64;
        let stalled = self.player.stalled().as_secs_f64();
        Some(Playback {
            startup_s: began.since(self.joined?).as_secs_f64(),
            stalls: self.player.stalls(),
            continuity: self.have.is_full().then(|| whole / (whole + stalled)),
        })
    }
}

impl Measures {
    /// What a plan asks for; `None`: nothing.
    pub(in crate::world) fn asked_for(plan: &Plan) -> Option<Measures> {
        let mut wanted = Wanted::default();
        let mut any = false;
        for expectation in &plan.expect {
            let (ExpectationKind::Metric { metric, .. } | ExpectationKind::Compare { metric, .. }) =
                &expectation.kind
            else {
                continue;
            };
            let flag = match metric.metric.name {
                "entropy" => &mut wanted.entropy,
                "unchoked" => &mut wanted.unchoked,
                "pick_order" => &mut wanted.picks,
                "stalls" => &mut wanted.stalls,
                "last_percent" => &mut wanted.last_percent,
                "block_held" => &mut wanted.held,
                "playback.startup" | "playback.stalls" | "playback.continuity" => {
                    &mut wanted.playback
                }
                _ => continue,
            };
            *flag = true;
            any = true;
        }
        let torrent = &plan.torrent;
        let pieces = torrent.total().div_ceil(u64::from(torrent.piece_bytes));
        let pieces = u32::try_from(pieces).expect("validated: as many as a torrent may have");
        let host = |host: &HostPlan| Host {
            leecher: host.role == Role::Leecher,
            whole: host.role == Role::Seed,
            play: match host.role {
                Role::Leecher if wanted.playback => Play::of(host, pieces),
                _ => None,
            },
            ..Host::default()
        };
        any.then(|| Measures {
            wanted,
            pairs: BTreeMap::new(),
            unchoked: BTreeMap::new(),
            held: HeldBlocks::of(plan.hosts.len()),
            hosts: plan.hosts.iter().map(host).collect(),
        })
    }

    /// Takes an event of an honest peer.
    pub(super) fn note(
        &mut self,
        at: Now,
        host: usize,
        event: &Event,
        geometry: Geometry,
        addresses: &Addresses,
    ) {
        if let Some(play) = &mut self.hosts[host].play {
            match event {
                Event::Started { .. } => play.starts(at),
                Event::PieceVerified { piece, good: true } => {
                    play.piece(*piece, true, geometry, at);
                }
                Event::PieceLost { piece } => play.piece(*piece, false, geometry, at),
                _ => {}
            }
        }
        let find = |peer: &std::net::SocketAddr| addresses.host_at(peer.ip());
        if self.wanted.held {
            self.held.note(at, host, event);
        }
        match event {
            Event::Started { .. } | Event::Resumed => self.waits(host, at),
            Event::Paused => self.stops_waiting(host, at),
            Event::PeerJoined { peer, .. } if self.wanted.entropy => {
                if let Some(other) = find(peer)
                    && [host, other]
                        .iter()
                        .all(|h| self.hosts[*h].leecher && !self.hosts[*h].whole)
                {
                    let pair = self.pairs.entry((host, other)).or_default();
                    pair.since.get_or_insert(at);
                }
            }
            Event::InterestedBy { peer, on } if self.wanted.entropy => {
                let pair = find(peer).and_then(|other| self.pairs.get_mut(&(host, other)));
                if let Some(pair) = pair {
                    pair.wants(*on, at);
                }
            }
            Event::PeerGone { peer, why } if *why != CloseReason::Duplicate => {
                if let Some(other) = find(peer) {
                    if let Some(pair) = self.pairs.get_mut(&(host, other)) {
                        pair.end(at);
                    }
                    self.choked(host, other, at);
                }
            }
            Event::Unchoked { peer, .. } if self.wanted.unchoked => {
                if let Some(other) = find(peer) {
                    self.unchoked.entry((host, other)).or_insert(at);
                }
            }
            Event::Choked { peer } if self.wanted.unchoked => {
                if let Some(other) = find(peer) {
                    self.choked(host, other, at);
                }
            }
            Event::PieceStarted { piece, .. } if self.wanted.picks => {
                self.hosts[host].picked.push(*piece);
            }
            Event::BlockReceived { len, .. } => self.received(host, *len, geometry.total, at),
            Event::PieceVerified { piece, good: false } => {
                let failed = u64::from(geometry.piece_len(*piece));
                let gained = &mut self.hosts[host].gained;
                *gained = gained.saturating_sub(failed);
            }
            Event::Completed => self.completed(host, at),
            _ => {}
        }
    }

    fn choked(&mut self, by: usize, whom: usize, at: Now) {
        if let Some(since) = self.unchoked.remove(&(by, whom)) {
            self.hosts[whom].unchoked_ns += at.0 - since.0;
        }
    }

    fn waits(&mut self, host: usize, at: Now) {
        let host = &mut self.hosts[host];
        host.last_block = (host.leecher && !host.whole).then_some(at);
    }

    fn stops_waiting(&mut self, host: usize, at: Now) {
        let host = &mut self.hosts[host];
        if let Some(since) = host.last_block.take() {
            host.stalls += u32::from(at.0 - since.0 >= STALL_AFTER_NS);
        }
    }

    fn received(&mut self, host: usize, len: u32, total: u64, at: Now) {
        let host = &mut self.hosts[host];
        if let Some(since) = host.last_block.replace(at) {
            host.stalls += u32::from(at.0 - since.0 >= STALL_AFTER_NS);
        }
        host.gained += u64::from(len);
        if host.gained >= total - total / 100 {
            host.nearly.get_or_insert(at);
        }
    }

    fn completed(&mut self, host: usize, at: Now) {
        self.stops_waiting(host, at);
        self.hosts[host].whole = true;
        self.hosts[host].completed.get_or_insert(at);
        let with = self.pairs.iter_mut();
        with.filter(|((by, of), _)| *by == host || *of == host)
            .for_each(|(_, pair)| pair.end(at));
    }

    /// A host's stay ended: nobody wants anything of it, and it unchokes nobody.
    pub(super) fn left(&mut self, host: usize, at: Now) {
        self.stops_waiting(host, at);
        self.held.end_all(host, at);
        let with = self.pairs.range_mut((host, 0)..=(host, usize::MAX));
        with.for_each(|(_, pair)| pair.end(at));
        let unchoked = self.unchoked.range((host, 0)..=(host, usize::MAX));
        let unchoked: Vec<usize> = unchoked.map(|((_, whom), _)| *whom).collect();
        unchoked
            .into_iter()
            .for_each(|whom| self.choked(host, whom, at));
    }

    /// The run is over: what each peer's measures come to.
    pub(in crate::world) fn finish(mut self, geometry: Geometry, at: Now) -> Vec<Measured> {
        for host in 0..self.hosts.len() {
            self.left(host, at);
        }
        let mut all = vec![Measured::default(); self.hosts.len()];
        for ((host, _), pair) in &self.pairs {
            if pair.together_ns >= ENTROPY_AFTER_NS {
                all[*host]
                    .wanted
                    .push(pair.wants_ns as f64 / pair.together_ns as f64);
            }
        }
        let Wanted {
            unchoked, stalls, ..
        } = self.wanted;
        for (number, (measured, host)) in all.iter_mut().zip(&mut self.hosts).enumerate() {
            if !host.leecher {
                continue;
            }
            measured.playback = host.play.as_mut().and_then(|play| play.end(geometry, at));
            measured.unchoked_s = unchoked.then(|| Now(host.unchoked_ns).as_secs_f64());
            measured.pick_order = correlation(&host.picked);
            measured.stalls = stalls.then_some(host.stalls);
            measured.block_held_s = self.wanted.held.then(|| self.held.longest(number));
            let last = host.completed.zip(host.nearly);
            measured.last_percent_s = last
                .filter(|_| self.wanted.last_percent)
                .map(|(end, nearly)| end.since(nearly).as_secs_f64());
        }
        all
    }
}

/// Pearson's correlation of the pieces' indices with their place in the list; of fewer than three there is none.
fn correlation(picked: &[PieceIndex]) -> Option<f64> {
    let n = picked.len() as f64;
    let mean_x = (n - 1.0) / 2.0;
    let mean_y = picked.iter().map(|p| f64::from(p.0)).sum::<f64>() / n;
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (place, piece) in picked.iter().enumerate() {
        let (x, y) = (place as f64 - mean_x, f64::from(piece.0) - mean_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    (picked.len() >= 3 && yy > 0.0).then(|| xy / libm::sqrt(xx * yy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::net::SocketAddr;

    #[test]
    fn the_order_of_picks_is_compared_with_the_order_of_the_content() {
        let of = |pieces: &[u32]| {
            correlation(&pieces.iter().map(|p| PieceIndex(*p)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[3, 4, 5, 9]).map(|c| c > 0.9), Some(true));
        assert_eq!(of(&[2, 1, 0]), Some(-1.0));
        assert_eq!(of(&[1, 0, 2, 1]).map(|c| c.abs() < 0.6), Some(true));
        assert_eq!(of(&[1, 2]), None);
    }

    /// A seed and two leechers, of whom everything is asked for.
    fn measures() -> (Measures, Addresses, [SocketAddr; 3]) {
        let text = r#"
name = "tiny"
[torrent]
size = "1 MiB"
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
count = 2
up = "1 MiB/s"
down = "1 MiB/s"
[expect]
"entropy.p50" = ">= 10%"
"unchoked.spread" = "<= 10 s"
"pick_order.correlation" = "<= 0.5"
"stalls" = "== 0"
"last_percent.max" = "<= 10 s"
"playback.stalls.max" = "<= 9"
[engine]
play_rate = "256 KiB/s"
play_buffer = "1 s"
"#;
        let plan = Scenario::parse("tiny.toml", text)
            .expect("a good file")
            .expand(1);
        let measures = Measures::asked_for(&plan).expect("much is asked for");
        let ips: Vec<_> = plan.hosts.iter().map(|host| host.ip).collect();
        let addr = |host: usize| SocketAddr::from((ips[host], 6881));
        (measures, Addresses::of(ips.clone()), [0, 1, 2].map(addr))
    }

    fn geometry() -> Geometry {
        Geometry::new(1 << 20, 1 << 18).expect("pieces")
    }

    fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    #[test]
    fn what_leechers_want_of_each_other_counts_while_both_lack_pieces() {
        let (mut measures, addresses, [_, one, two]) = measures();
        let mut note = |s, host, event| measures.note(at(s), host, &event, geometry(), &addresses);
        let joined = |peer| Event::PeerJoined {
            peer,
            inbound: true,
        };
        let wants = |peer, on| Event::InterestedBy { peer, on };
        note(0, 1, joined(two));
        note(0, 2, joined(one));
        note(5, 1, wants(two, true));
        note(15, 1, wants(two, false));
        note(18, 1, wants(two, true));
        note(20, 1, Event::Completed);
        note(30, 1, wants(two, false));
        let measured = measures.finish(geometry(), at(100));
        assert_eq!(measured[1].wanted, [12.0 / 20.0]);
        assert_eq!(measured[2].wanted, [0.0]);
    }

    #[test]
    fn time_unchoked_stalls_and_the_last_percent_are_counted() {
        let (mut measures, addresses, [seed, one, two]) = measures();
        let mut note = |s, host, event| measures.note(at(s), host, &event, geometry(), &addresses);
        let unchoked = |peer| Event::Unchoked {
            peer,
            optimistic: false,
        };
        let block = |len| Event::BlockReceived {
            peer: seed,
            piece: PieceIndex(0),
            begin: 0,
            len,
        };
        note(0, 1, Event::Started { have: 0 });
        note(0, 2, Event::Started { have: 0 });
        note(1, 0, unchoked(one));
        note(2, 0, unchoked(two));
        note(11, 0, Event::Choked { peer: one });
        note(20, 1, block(1 << 19));
        note(80, 1, block(1 << 19));
        note(84, 1, Event::Completed);
        let measured = measures.finish(geometry(), at(120));
        assert_eq!(measured[1].unchoked_s, Some(10.0));
        assert_eq!(measured[2].unchoked_s, Some(118.0));
        assert_eq!((measured[1].stalls, measured[2].stalls), (Some(1), Some(1)));
        assert_eq!(measured[1].last_percent_s, Some(4.0));
        assert_eq!(measured[2].last_percent_s, None);
        assert_eq!(measured[0], Measured::default());
    }

    #[test]
    fn a_player_waits_at_first_and_where_a_piece_is_missing() {
        let (mut measures, addresses, _) = measures();
        let mut note = |s, host, event| measures.note(at(s), host, &event, geometry(), &addresses);
        let verified = |piece| Event::PieceVerified {
            piece: PieceIndex(piece),
            good: true,
        };
        // A second of playback in each of four pieces.
        note(10, 1, Event::Started { have: 0 });
        note(13, 1, verified(0));
        note(16, 1, verified(2));
        note(18, 1, verified(1));
        note(19, 1, verified(3));
        note(10, 2, Event::Started { have: 0 });
        note(12, 2, verified(0));
        let measured = measures.finish(geometry(), at(120));
        let whole = Playback {
            startup_s: 3.0,
            stalls: 1,
            continuity: Some(4.0 / 8.0),
        };
        assert_eq!(measured[1].playback, Some(whole));
        let part = measured[2].playback.expect("it began");
        assert_eq!(
            (part.startup_s, part.stalls, part.continuity),
            (2.0, 1, None)
        );
    }
}
