//! Owns the typed form of a scenario file: what was written, units resolved, places kept.
//!
//! Invariant: nothing is drawn and nothing is defaulted away here; a key that the file does not hold
//! is `None`. Everything that can be wrong in relation to something else carries its place.

use std::time::Duration;

use skep_engine::config::FieldValue;
use toml::Spanned;

use super::arrivals::Arrive;
use super::expect::Expectation;
use super::faults::{DiskSpeed, Fault};
use super::plan::{NetworkKind, OnComplete, Role, TrackerProtocol};
use super::regions::Regions;
use super::strategies::Named;
use super::units::Frequency;

/// A whole scenario file.
#[derive(Clone, Debug)]
pub struct Model {
    /// The scenario's name.
    pub name: String,
    /// What should happen.
    pub about: String,
    /// Words to select by.
    pub tags: Vec<String>,
    /// `[run]`
    pub run: Run,
    /// `[torrent]`
    pub torrent: Torrent,
    /// `[link]`
    pub link: Link,
    /// The regions of `link.latency`, if it has some.
    pub regions: Option<Regions>,
    /// `[[group]]`, in order.
    pub groups: Vec<Group>,
    /// `[tracker]` or `[[tracker]]`; one when the file names none.
    pub trackers: Vec<Tracker>,
    /// `[[fault.KIND]]`, by kind, each in order.
    pub faults: Vec<Fault>,
    /// `[engine]`, in order.
    pub engine: Vec<EngineSetting>,
    /// `[vary]`, in order.
    pub vary: Vec<Vary>,
    /// `[expect]`, in order.
    pub expect: Vec<Expectation>,
}

/// `[run]`
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The seeds, in order.
    pub seeds: Option<Spanned<Vec<u64>>>,
    /// The end at the latest.
    pub time_limit: Option<Spanned<Duration>>,
    /// Time to settle.
    pub settle: Option<Spanned<Duration>>,
    /// The simulated network.
    pub network: NetworkKind,
    /// Every piece is hashed, also one that is known to be the content.
    pub hash_always: bool,
}

impl Run {
    /// The seeds; only 0 when the file names none.
    #[must_use]
    pub fn seeds(&self) -> &[u64] {
        self.seeds.as_ref().map_or(&[0], |seeds| seeds.get_ref())
    }

    /// The time limit; 1 h when the file names none.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        self.time_limit
            .as_ref()
            .map_or(Duration::from_secs(3600), |t| *t.get_ref())
    }

    /// Time to settle; 10 min, at most half the time limit, when the file names none.
    #[must_use]
    pub fn settle(&self) -> Duration {
        let default = Duration::from_secs(600).min(self.time_limit() / 2);
        self.settle.as_ref().map_or(default, |t| *t.get_ref())
    }

    /// The moment from which on no peer is churned: `settle` before the time limit.
    #[must_use]
    pub fn churn_end(&self) -> Duration {
        self.time_limit().saturating_sub(self.settle())
    }
}

/// `[torrent]`
#[derive(Clone, Debug, Default)]
pub struct Torrent {
    /// Path and bytes of each file; one file named like the scenario when only a size is given.
    pub files: Vec<(Spanned<String>, Spanned<u64>)>,
    /// Bytes of a piece.
    pub piece: Option<Spanned<u64>>,
}

impl Torrent {
    /// Bytes of the content; saturating.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, (_, size)| sum.saturating_add(*size.get_ref()))
    }

    /// Bytes of a piece; 256 KiB when the file names none.
    #[must_use]
    pub fn piece_bytes(&self) -> u64 {
        self.piece
            .as_ref()
            .map_or(256 * 1024, |piece| *piece.get_ref())
    }

    /// Number of pieces.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.total().div_ceil(self.piece_bytes().max(1))
    }
}

/// The keys of `[link]`, also of each group.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// One-way delay.
    pub latency: Option<Spanned<Latency>>,
    /// Largest extra one-way delay.
    pub jitter: Option<Spanned<Duration>>,
    /// Loss per segment, parts per million.
    pub loss: Option<Spanned<u32>>,
    /// Resets of one connection.
    pub reset: Option<Spanned<Frequency>>,
}

/// One-way delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latency {
    /// The same for all.
    Fixed(Duration),
    /// Drawn once per host.
    Lognormal {
        /// Half the hosts have less.
        median: Duration,
        /// 19 of 20 hosts have less.
        p95: Duration,
    },
    /// By region: [`Model::regions`].
    Regions,
}

/// `[[group]]`
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: Spanned<String>,
    /// What its peers are when they join.
    pub role: Spanned<Role>,
    /// How many; `None`: one, named like the group.
    pub count: Option<Spanned<u32>>,
    /// Uplink, bytes per second.
    pub up: u64,
    /// Downlink, bytes per second.
    pub down: u64,
    /// What it says differently from `[link]`.
    pub link: Link,
    /// In which region.
    pub region: Option<Spanned<String>>,
    /// Content at the start.
    pub have: Option<Spanned<Have>>,
    /// Piece selection.
    pub picker: Option<Spanned<Strategy>>,
    /// Choking.
    pub choker: Option<Spanned<Strategy>>,
    /// First arrival.
    pub arrive: Option<Spanned<Arrive>>,
    /// Leaving and coming back.
    pub churn: Option<Spanned<Churn>>,
    /// At the end of the download.
    pub on_complete: Option<Spanned<OnComplete>>,
    /// How fast its disks are.
    pub disk: Option<Spanned<DiskSpeed>>,
    /// Whether leechers know of a server as a web seed.
    pub web_seed: Option<Spanned<bool>>,
    /// Whether its leechers have only a magnet link.
    pub magnet: Option<Spanned<bool>>,
    /// What is spoilt of honest peers, for a check to catch.
    pub canary: Option<Spanned<String>>,
    /// What attackers do.
    pub attack: Option<Spanned<Vec<AttackShare>>>,
    /// Where `with` stands; what it says is in the attack's share.
    pub with: Option<Spanned<()>>,
    /// The attack begins.
    pub from: Option<Spanned<Duration>>,
    /// The attack ends.
    pub until: Option<Spanned<Duration>>,
    /// `[group.engine]`, in order.
    pub engine: Vec<EngineSetting>,
}

impl Group {
    /// How many peers.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.count.as_ref().map_or(1, |count| *count.get_ref())
    }

    /// What its members do; nothing for who is no attacker.
    #[must_use]
    pub fn attacks(&self) -> &[AttackShare] {
        self.attack.as_ref().map_or(&[], |attack| attack.get_ref())
    }

    /// The name of its peer number `index`.
    #[must_use]
    pub fn host_name(&self, index: u32) -> String {
        match self.count {
            None => self.name.get_ref().clone(),
            Some(_) => format!("{}-{index}", self.name.get_ref()),
        }
    }
}

/// One attack of a group, and which share of the members does it.
#[derive(Clone, Debug)]
pub struct AttackShare {
    /// Which.
    pub named: &'static Named,
    /// Its name.
    pub name: Spanned<String>,
    /// Parts per million of the members.
    pub share: Spanned<u32>,
    /// Parameters that the file gives.
    pub params: Params,
}

/// Content at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Have {
    /// This share of the pieces in parts per million, drawn per host.
    Share(u32),
    /// These pieces.
    Pieces(Vec<u32>),
}

/// Parameters by name, in order: numbers in the unit of their [`ParamForm`](super::strategies::ParamForm).
pub type Params = Vec<(Spanned<String>, Spanned<f64>)>;

/// A strategy; parameters that the file does not give are not here.
#[derive(Clone, Debug)]
pub struct Strategy {
    /// Its name and what parameters it has.
    pub named: &'static Named,
    /// Its parameters.
    pub params: Params,
}

/// Leaving and coming back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Churn {
    /// How long each stay lasts.
    pub session: Stay,
    /// Chance to come back, parts per million.
    pub rejoin: u32,
    /// How long it stays away, from the first to below the second; `None` only when it never comes back.
    pub away: Option<(Duration, Duration)>,
}

/// How long a stay lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stay {
    /// Exponential with this mean.
    Exponential(Duration),
    /// Uniform from the first to below the second.
    Uniform(Duration, Duration),
    /// Always this.
    Fixed(Duration),
}

/// `[tracker]`
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// Its name, if the file gives one.
    pub name: Option<Spanned<String>>,
    /// What it is asked over.
    pub protocol: Option<Spanned<TrackerProtocol>>,
    /// Its tier.
    pub tier: Option<Spanned<u32>>,
    /// It answers from here.
    pub from: Option<Spanned<Duration>>,
    /// It answers until here.
    pub until: Option<Spanned<Duration>>,
    /// Loss on its link, in parts per million.
    pub loss: Option<Spanned<u32>>,
    /// Announce interval.
    pub interval: Option<Spanned<Duration>>,
    /// Shortest interval.
    pub interval_min: Option<Spanned<Duration>>,
    /// Whether who announces more often is told of nobody in between.
    pub hold_floor: Option<Spanned<bool>>,
    /// Most peers in one answer.
    pub peers_max: Option<Spanned<u32>>,
}

impl Tracker {
    /// The name of the tracker at this place in the file.
    #[must_use]
    pub fn name(&self, place: usize) -> String {
        match (&self.name, place) {
            (Some(name), _) => name.get_ref().clone(),
            (None, 0) => "tracker".to_owned(),
            (None, place) => format!("tracker-{place}"),
        }
    }

    /// The announce interval; 30 min when the file names none.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
            .as_ref()
            .map_or(Duration::from_secs(1800), |t| *t.get_ref())
    }

    /// The shortest interval; 1 min, at most the interval, when the file names none.
    #[must_use]
    pub fn interval_min(&self) -> Duration {
        let default = Duration::from_secs(60).min(self.interval());
        self.interval_min.as_ref().map_or(default, |t| *t.get_ref())
    }
}

/// One field of `[engine]`.
#[derive(Clone, Debug)]
pub struct EngineSetting {
    /// The field; one of `skep_engine::config::FIELDS`.
    pub field: Spanned<&'static str>,
    /// Its value, of the field's kind.
    pub value: Spanned<FieldValue>,
}

/// One key of `[vary]`: an axis of the comparison.
#[derive(Clone, Debug)]
pub struct Vary {
    /// The dotted key; a word of the author's own when its values are bundles.
    pub key: Spanned<String>,
    /// Whether its values are tables with a `name` and the keys that they set together.
    pub bundles: bool,
    /// The values, in order; at least one.
    pub values: Vec<Varied>,
}

/// One value of an axis.
#[derive(Clone, Debug)]
pub struct Varied {
    /// What it is called in tables: the value without quotes, or the bundle's name.
    pub label: String,
    /// The value as TOML.
    pub text: Spanned<String>,
    /// Its place in the file's list.
    pub index: usize,
}
