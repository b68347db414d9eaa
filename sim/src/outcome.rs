//! Owns what a run gives: the verdict, what every peer did, and the numbers of the whole.
//!
//! Invariant: an outcome is a function of the plan, but for `cpu_seconds`, which the campaign
//! measures around it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bounds::{BothWays, Bound, Curve};
use crate::check::Failure;
use crate::film::Film;
use crate::network::packet::Captured;
use crate::scenario::plan::Role;
use crate::trace::Checkpoints;
use crate::world::{Announced, Measured};

/// How a run ended, in the order in which several runs' worst is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything held.
    Pass,
    /// A piece has no copy left among the honest peers online; no failure unless completion was
    /// expected.
    Unfinishable,
    /// Something that the scenario names never happened.
    Vacuous,
    /// A peer that could have finished did not.
    Liveness,
    /// An expectation of the scenario did not hold.
    Expectation,
    /// An invariant did not hold.
    Invariant,
}

impl Verdict {
    /// The word in output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Unfinishable => "unfinishable",
            Verdict::Vacuous => "vacuous",
            Verdict::Liveness => "liveness",
            Verdict::Expectation => "expectation",
            Verdict::Invariant => "invariant",
        }
    }

    /// Whether something did not hold.
    #[must_use]
    pub fn failed(self) -> bool {
        self > Verdict::Unfinishable
    }
}

/// What one host did.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerOutcome {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// What it was when it joined.
    pub role: Role,
    /// When it first joined, seconds; planned if it never did.
    pub joined_s: f64,
    /// When it held everything, seconds; `None` for who joined complete or never finished.
    pub completed_s: Option<f64>,
    /// First block received, seconds.
    pub first_block_s: Option<f64>,
    /// First piece verified, seconds.
    pub first_piece_s: Option<f64>,
    /// Payload bytes received, of use or not.
    pub downloaded: u64,
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Payload bytes received that brought nothing.
    pub wasted: u64,
    /// Of them: blocks that were there already.
    pub duplicates: u64,
    /// Of them: blocks of pieces that failed their hash.
    pub hash_failed: u64,
    /// Bans of it by honest peers; one that starts again may ban it again.
    pub banned_by: u32,
    /// Announces that met a tracker, be it one that misbehaves.
    pub announces: u32,
    /// What it told trackers once, or too often.
    pub announced: Announced,
    /// Dials that led to no connection.
    pub dials_failed: u32,
    /// Seconds online.
    pub online_s: f64,
    /// Bytes sent to peers that are no payload.
    pub control: u64,
    /// Its uplink, bytes per second.
    pub up: u64,
    /// What it does, if it is an attacker.
    pub attack: Option<String>,
    /// How often its attack acted.
    pub acted: u64,
    /// When an honest peer banned it first, seconds.
    pub first_ban_s: Option<f64>,
    /// The most that it held in memory for one connection, bytes.
    pub buffered: u64,
    /// What was measured because the scenario asks for it.
    pub measured: Measured,
    /// Addresses that trackers told it, each time that they did.
    pub told: u32,
    /// Of an attacker: connections at once with one honest peer, at most.
    pub connections_max: u32,
    /// Of an attacker: upload slots at once that one honest peer gave it, at most.
    pub slots_max: u32,
    /// Of an attacker: connections that honest peers closed because of what came on them, or did not.
    pub closed: u32,
}

/// What the members of a group with one attack did, taken together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttackOutcome {
    /// The group.
    pub group: String,
    /// Their attack.
    pub attack: String,
    /// Whether others of the group have another.
    pub mixed: bool,
    /// How many they are.
    pub members: usize,
    /// How many of them acted.
    pub acted: usize,
    /// How often, all together.
    pub times: u64,
}

impl AttackOutcome {
    /// What they are called: their group, and their attack where the group has several.
    #[must_use]
    pub fn name(&self) -> String {
        match self.mixed {
            false => self.group.clone(),
            true => format!("{} ({})", self.group, self.attack),
        }
    }
}

/// What the attackers among them did, by group and attack, in the order of the first of each.
#[must_use]
pub fn attacks_of(peers: &[PeerOutcome]) -> Vec<AttackOutcome> {
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut all: Vec<AttackOutcome> = Vec::new();
    for peer in peers {
        let Some(attack) = &peer.attack else { continue };
        let place = *places.entry((&peer.group, attack)).or_insert(all.len());
        if place == all.len() {
            all.push(AttackOutcome {
                group: peer.group.clone(),
                attack: attack.clone(),
                mixed: false,
                members: 0,
                acted: 0,
                times: 0,
            });
        }
        all[place].members += 1;
        all[place].acted += usize::from(peer.acted > 0);
        all[place].times += peer.acted;
    }
    for (group, attack) in places.keys() {
        let group_of = places
            .range((*group, "")..)
            .take_while(|((g, _), _)| g == group);
        all[places[&(*group, *attack)]].mixed = group_of.count() > 1;
    }
    all
}

impl PeerOutcome {
    /// Whether it ran the engine.
    #[must_use]
    pub fn honest(&self) -> bool {
        self.role.honest()
    }
}

/// One run.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The network it ran on.
    pub network: &'static str,
    /// The rolling hash of its trace.
    pub trace_hash: String,
    /// That hash at regular moments of the run.
    pub checkpoints: Checkpoints,
    /// Events in its trace.
    pub events: u64,
    /// Simulated seconds.
    pub sim_seconds: f64,
    /// CPU seconds of the run's thread.
    pub cpu_seconds: f64,
    /// Blocks that honest peers received.
    pub blocks: u64,
    /// Messages that engines got from peers; a handshake is none.
    pub messages: u64,
    /// Of those, by the name of their kind.
    pub messages_by_kind: BTreeMap<&'static str, u64>,
    /// What was captured of its traffic, if anybody did.
    pub captured: Option<Captured>,
    /// Connections, dials included, that were there at once at most; not counted on turmoil: 0.
    pub connections: usize,
    /// The physical limit of the last completion.
    pub bound: Bound,
    /// All terms of that limit, the largest first.
    pub terms: Vec<Bound>,
    /// Limits of the other completions.
    pub curve: Curve,
    /// Leechers online, how fast they came, how long they stayed; where that can be told.
    pub little: Option<Little>,
    /// The physical limits of direct download and of a swarm for the same content and hosts.
    pub both_ways: BothWays,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// Pieces of the content.
    pub pieces: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// Every host.
    pub peers: Vec<PeerOutcome>,
    /// Evaluations by check.
    pub checks: BTreeMap<&'static str, u64>,
    /// Copies of the rarest piece among honest peers online: at its lowest, and at the end.
    pub copies_min: u32,
    /// The same at the end.
    pub copies_end: u32,
    /// The most that a peer may hold in memory for one connection, bytes; see [`PeerOutcome::buffered`].
    pub buffered_bound: u64,
    /// Payload that those who joined as seeds had sent when the first leecher had everything.
    pub seed_until_second: Option<u64>,
    /// Payload sent over what the uplinks could carry, between 10 % and 90 % of completions.
    pub utilisation: Option<f64>,
    /// How often each word of `sometimes` happened.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// How often each random disturbance that the scenario asks for happened.
    pub random: BTreeMap<String, u64>,
    /// What it looked like, where the plan wants a film.
    pub film: Option<Film>,
}

/// Both sides of Little's law over a whole run: mean leechers = arrival rate x mean time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Little {
    /// Leechers online, on average.
    pub leechers: f64,
    /// Leechers that joined, per second.
    pub rate: f64,
    /// Seconds from joining until complete, or gone, or the end of the run.
    pub time_s: f64,
}

impl Little {
    /// How far the two sides are apart, as a part.
    #[must_use]
    pub fn apart(&self) -> f64 {
        let product = self.rate * self.time_s;
        (self.leechers - product).abs() / product.max(f64::MIN_POSITIVE)
    }
}

impl Outcome {
    /// By how much direct download to the same hosts would take longer than the last completion did: what the swarm
    /// gains. `None` where there is no swarm, or not everybody finished.
    #[must_use]
    pub fn gain(&self) -> Option<f64> {
        let swarm = self.peers.iter().any(|p| p.role == Role::Leecher);
        self.times_bound().filter(|_| swarm)?;
        Some(self.both_ways.direct? / *self.completions().last()?)
    }

    /// The completion that came nearest to its limit: its number and the time over the limit.
    #[must_use]
    pub fn nearest(&self) -> Option<(usize, f64)> {
        let completions = self.completions();
        let each = completions.iter().zip(&self.curve.kth);
        let over = each.map(|(time, limit)| time / limit);
        (1..).zip(over).min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// Payload bytes sent by those who joined as seeds.
    #[must_use]
    pub fn seed_uploaded(&self) -> u64 {
        self.peers
            .iter()
            .filter(|p| p.role == Role::Seed)
            .map(|p| p.uploaded)
            .sum()
    }

    /// The most that an honest peer held in memory for one connection, bytes.
    #[must_use]
    pub fn buffered_max(&self) -> u64 {
        self.peers.iter().map(|p| p.buffered).max().unwrap_or(0)
    }

    /// Payload bytes sent by servers.
    #[must_use]
    pub fn server_uploaded(&self) -> u64 {
        let servers = self.peers.iter().filter(|p| p.role == Role::Server);
        servers.map(|p| p.uploaded).sum()
    }

    /// Completion times since the start of the run, seconds, of the honest leechers and clients, sorted.
    #[must_use]
    pub fn completions(&self) -> Vec<f64> {
        let takers = self.peers.iter().filter(|p| p.role.takes());
        let mut times: Vec<f64> = takers.filter_map(|p| p.completed_s).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// The last completion over the bound, when everybody finished.
    #[must_use]
    pub fn times_bound(&self) -> Option<f64> {
        let completions = self.completions();
        let takers = self.peers.iter().filter(|p| p.role.takes());
        if completions.len() < takers.count() {
            return None;
        }
        let last = *completions.last()?;
        (self.bound.seconds > 0.0).then(|| last / self.bound.seconds)
    }
}
