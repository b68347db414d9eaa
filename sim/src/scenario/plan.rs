//! Owns the plan: a scenario with one seed, expanded into every host, moment and fault.
//!
//! Invariant: nothing random is left in a plan but what happens *inside* the run (network jitter,
//! loss, the engines' own draws). The plan is what runs, and expanding the same scenario with the
//! same seed gives the same plan.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skep_engine::{EngineConfig, Now};

use super::expect::Expectation;
use crate::canary::Canary;
use crate::disk::condition::Speed;
use crate::own::Own;

mod clean;
mod faults;

pub use faults::{
    Direction, DiskFault, FaultKind, FaultPlan, LinkChange, TrackerFault, UserAction,
};

/// Everything one run needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// The master seed.
    pub seed: u64,
    /// The network it runs on.
    pub network: NetworkKind,
    /// The run ends here at the latest.
    pub time_limit: Now,
    /// After the last disturbance every honest online peer must finish within this
    /// (plus four times the bound of what was missing).
    pub settle: Duration,
    /// Every piece is hashed, also one that is known to be the content.
    pub hash_always: bool,
    /// The content.
    pub torrent: TorrentPlan,
    /// The trackers, in the order in which peers number them: by tier, then by place in the file.
    pub trackers: Vec<TrackerPlan>,
    /// One-way delays from region to region, row to column, in the order of the file; empty without regions.
    pub regions: Vec<Vec<Duration>>,
    /// All peers, servers, clients and attackers, in the order of the file.
    pub hosts: Vec<HostPlan>,
    /// The scheduled faults, in the order of their moments.
    pub faults: Vec<FaultPlan>,
    /// What the author expects.
    pub expect: Vec<Expectation>,
    /// Strategies and attacks of the user's own that hosts may have.
    pub own: &'static Own,
    /// A film is made of the run; see [`crate::film`].
    pub filmed: bool,
}

/// The simulated network of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkKind {
    /// Event-driven: all hosts on one runtime.
    #[default]
    Fabric,
    /// turmoil's hosts, moved on in ticks: a second opinion.
    Turmoil,
}

impl NetworkKind {
    /// Every network.
    pub const ALL: [NetworkKind; 2] = [NetworkKind::Fabric, NetworkKind::Turmoil];

    /// The word in scenario files and output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NetworkKind::Fabric => "fabric",
            NetworkKind::Turmoil => "turmoil",
        }
    }
}

/// The content of the torrent: the same whatever the seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentPlan {
    /// Path and bytes of each file, in order.
    pub files: Vec<(String, u64)>,
    /// Bytes of a piece.
    pub piece_bytes: u32,
}

impl TorrentPlan {
    /// Bytes of the content.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Pieces of the content.
    ///
    /// # Panics
    /// When there are 2^32 or more; validation refuses far fewer.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        let pieces = self.total().div_ceil(u64::from(self.piece_bytes));
        u32::try_from(pieces).expect("validation bounds the pieces")
    }
}

/// What a tracker is asked over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackerProtocol {
    /// BEP 3.
    Http,
    /// BEP 15.
    Udp,
}

/// A tracker's host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackerPlan {
    /// Its name; `tracker` when there is one and the file gives none.
    pub name: String,
    /// What it is asked over.
    pub protocol: TrackerProtocol,
    /// Its tier (BEP 12).
    pub tier: u32,
    /// It answers from here.
    pub from: Now,
    /// It answers until here, if it ever ends; at the start of the run: it never answers.
    pub until: Option<Now>,
    /// Loss on its link per 1,448-byte segment, in parts per million.
    pub loss_ppm: u32,
    /// What it tells peers.
    pub interval: Duration,
    /// The floor it tells peers.
    pub interval_min: Duration,
    /// Who announces more often is told of nobody in between.
    pub hold_floor: bool,
    /// Most peers in one answer.
    pub peers_max: u32,
}

/// What a host's actor is when it joins: a peer of the swarm, an end of direct download, or an attacker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Role {
    /// A peer that has everything.
    Seed,
    /// A peer that lacks pieces.
    Leecher,
    /// Has the content's files and serves them over HTTP.
    Server,
    /// Fetches the content's files from a server.
    Client,
    /// Speaks raw bytes to do harm.
    Attacker,
}

impl Role {
    /// The word in scenario files and output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Role::Seed => "seed",
            Role::Leecher => "leecher",
            Role::Server => "server",
            Role::Client => "client",
            Role::Attacker => "attacker",
        }
    }

    /// The word with its article.
    #[must_use]
    pub fn article(self) -> &'static str {
        match self {
            Role::Seed => "a seed",
            Role::Leecher => "a leecher",
            Role::Server => "a server",
            Role::Client => "a client",
            Role::Attacker => "an attacker",
        }
    }

    /// Whether it runs the engine.
    #[must_use]
    pub fn honest(self) -> bool {
        self != Role::Attacker
    }

    /// Whether it is an honest peer of the swarm.
    #[must_use]
    pub fn peer(self) -> bool {
        matches!(self, Role::Seed | Role::Leecher)
    }

    /// Whether it comes for the content.
    #[must_use]
    pub fn takes(self) -> bool {
        matches!(self, Role::Leecher | Role::Client)
    }

    /// Whether an honest one has everything from the start.
    #[must_use]
    pub fn whole(self) -> bool {
        matches!(self, Role::Seed | Role::Server)
    }
}

/// One host with what runs on it.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// `GROUP-N` counted from 0; just `GROUP` when the group has one member and gave no `count`.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its position in the group.
    pub index: u32,
    /// What it is when it joins.
    pub role: Role,
    /// Its address; peers listen on port 6881, servers on port 80.
    pub ip: Ipv4Addr,
    /// Its links.
    pub link: LinkPlan,
    /// Its place in [`Plan::regions`]: paths to others that have one have the delay between the two.
    pub region: Option<usize>,
    /// Pieces a leecher holds at the start, as indices. A seed has all, and none are listed.
    pub have: Vec<u32>,
    /// Bytes of the content, from its start, that a client kept of an earlier fetch.
    pub kept: u64,
    /// Leechers know of it as a web seed.
    pub web_seed: bool,
    /// When it is online, in order and disjoint. At least one.
    pub sessions: Vec<SessionPlan>,
    /// Its group has churn, even if no stay of this host ends by it.
    pub churn: bool,
    /// What its user does when the content is complete.
    pub on_complete: OnComplete,
    /// How fast its disk is.
    pub disk: Speed,
    /// It has only a magnet link when it joins first.
    pub magnet: bool,
    /// Its engine's numbers and switches; hosts of a group share them.
    pub engine: Arc<EngineConfig>,
    /// Its piece-selection strategy.
    pub picker: StrategyPlan,
    /// Its choking strategy.
    pub choker: StrategyPlan,
    /// What is spoilt of it, for a check to catch.
    pub canary: Option<Canary>,
    /// For attackers: which and how.
    pub attack: Option<AttackPlan>,
}

/// A host's links. A path's latency, jitter and loss are the mean of its two ends'.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkPlan {
    /// Uplink, bytes per second.
    pub up: u64,
    /// Downlink, bytes per second.
    pub down: u64,
    /// One-way delay.
    pub latency: Duration,
    /// Largest extra one-way delay, uniform from 0.
    pub jitter: Duration,
    /// Loss per 1,448-byte segment, in parts per million.
    pub loss_ppm: u32,
    /// Mean time between resets of one connection, if they happen.
    pub reset_every: Option<Duration>,
}

/// One stay in the swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionPlan {
    /// The host starts its client.
    pub join: Now,
    /// When and how the stay ends by plan, if it does.
    pub end: Option<(Now, EndKind)>,
}

/// How a stay ends by plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum EndKind {
    /// Churn: the client announces `stopped` and closes its connections, if it still waits for content.
    Leave,
    /// `[[fault.user]]`, or the end of a stay in a trace: as above, whether it waits for content or not.
    UserLeft,
    /// `[[fault.crash]]`, `[[fault.restart]]`: the process dies, its connections are reset, the disk stays.
    Crash,
    /// `[[fault.power-loss]]`: the machine goes dark; the others hear nothing.
    PowerLoss,
}

/// What the user does when the content is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnComplete {
    /// Seeds until the end.
    Stay,
    /// Leaves at once.
    Leave,
    /// Seeds for this long, then leaves.
    SeedFor(Duration),
}

/// A strategy by name, with parameters.
#[derive(Clone, PartialEq, Debug)]
pub struct StrategyPlan {
    /// As in scenario files.
    pub name: String,
    /// Its parameters.
    pub params: BTreeMap<String, f64>,
}

/// An attack by name, with parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttackPlan {
    /// As in scenario files.
    pub name: String,
    /// Every parameter that it has, in the unit of its [`ParamForm`](super::strategies::ParamForm).
    pub params: BTreeMap<String, u64>,
    /// Active from here.
    pub from: Now,
    /// Active until here.
    pub until: Now,
}

impl AttackPlan {
    /// A parameter.
    ///
    /// # Panics
    /// When the attack has none of that name in [`ATTACKS`](super::strategies::ATTACKS).
    #[must_use]
    pub fn param(&self, name: &str) -> u64 {
        let found = self.params.get(name).copied();
        found.unwrap_or_else(|| panic!("`{}` has a parameter `{name}`", self.name))
    }

    /// A parameter that is a duration, or the time from one to the next.
    ///
    /// # Panics
    /// As [`AttackPlan::param`].
    #[must_use]
    pub fn time(&self, name: &str) -> Duration {
        Duration::from_nanos(self.param(name))
    }

    /// Chance per opportunity in parts per million; 1,000,000 for an attack that takes every one.
    #[must_use]
    pub fn probability_ppm(&self) -> u32 {
        let given = self.params.get("probability").copied();
        given.map_or(1_000_000, |ppm| u32::try_from(ppm).expect("at most 100 %"))
    }
}

impl Plan {
    /// The last moment at which the plan itself disturbs the swarm: a join, a leave, the begin or the end of
    /// a fault, a tracker that begins or ends to answer.
    #[must_use]
    pub fn last_disturbance(&self) -> Now {
        // The others are in the sessions, or hit nobody.
        let timed = self.faults.iter().filter(|f| !f.in_sessions());
        self.hosts
            .iter()
            .flat_map(|h| &h.sessions)
            .map(|s| s.end.map_or(s.join, |(at, _)| at))
            .chain(self.trackers.iter().map(|t| t.until.unwrap_or(t.from)))
            .chain(timed.map(|f| f.until.unwrap_or(f.at)))
            .max()
            .unwrap_or(Now::START)
    }
}
