//! Owns the draft of a swarm: plain data that somebody drew, and the scenario file that it is.
//!
//! Invariant: every draft is a scenario that is accepted, with at most [`PEERS_MAX`] peers, and its
//! settling time is long enough for the slowest link in it: one that does not finish has a reason.

use std::fmt::Write;

use super::faults::FaultDraft;
use crate::scenario::arrivals::DECAYED;

/// Peers that a draft has at most; what is above it is left out, from the last group on. Servers and clients
/// are not counted.
pub const PEERS_MAX: u32 = 8;
/// Time to settle beside what the links need, in seconds: the longest pause between dials and
/// announces, and a snub.
const SETTLE_S: u64 = 12 * 60;
/// Payload bytes of a segment and the factor of the rate that loss allows (see `network::link`).
const SEGMENT: f64 = 1448.0;
const MATHIS: f64 = 1.22;

/// A swarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwarmDraft {
    /// The master seed.
    pub seed: u64,
    /// Bytes of each file; at least one file and one byte.
    pub files: Vec<u64>,
    /// Bytes of a piece.
    pub piece: u64,
    /// What all links share.
    pub link: LinkDraft,
    /// Those who have everything; at least one.
    pub seeds: HoldersDraft,
    /// Groups of leechers; at least one.
    pub leechers: Vec<LeecherDraft>,
    /// Groups of attackers.
    pub attackers: Vec<AttackDraft>,
    /// Direct download beside the swarm.
    pub direct: Option<DirectDraft>,
    /// Faults.
    pub faults: Vec<FaultDraft>,
    /// Nobody is churned after this many seconds.
    pub churn_s: u64,
    /// The tracker's interval, seconds; its minimum is no more than this either.
    pub announce_s: u64,
    /// Peers in one answer of the tracker.
    pub answer_peers: u32,
    /// The tracker is asked over UDP.
    pub udp: bool,
    /// Switches of every engine that are not at their default.
    pub engine: Vec<Setting>,
}

/// Delay, jitter, loss and resets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkDraft {
    /// One-way delay, ms.
    pub latency_ms: u64,
    /// Largest extra delay, ms.
    pub jitter_ms: u64,
    /// Loss in 0.01 %.
    pub loss_e4: u64,
    /// Mean seconds between resets of one connection.
    pub reset_s: Option<u64>,
}

/// What every group has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its peers; at least one.
    pub count: u32,
    /// Uplink, kB/s.
    pub up: u64,
    /// Downlink, kB/s.
    pub down: u64,
    /// Its own delay, ms.
    pub latency_ms: Option<u64>,
}

/// Seeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldersDraft {
    /// How many, on what links.
    pub group: Group,
    /// Their choker, if not the default.
    pub choker: Option<&'static str>,
    /// They hide what they have.
    pub super_seeding: bool,
}

/// Leechers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeecherDraft {
    /// How many, on what links.
    pub group: Group,
    /// They come with a magnet link. Such ones have nothing at the start.
    pub magnet: bool,
    /// Percent of the pieces at the start; below 100.
    pub have: u64,
    /// Their picker, if not the default.
    pub picker: Option<&'static str>,
    /// Their choker, if not the default.
    pub choker: Option<&'static str>,
    /// When they come.
    pub arrive: Arrival,
    /// Whether they leave and come back.
    pub churn: Option<Churn>,
    /// `None`: they stay; otherwise the seconds that they seed.
    pub seed_for_s: Option<u64>,
}

/// When a group arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// At the start.
    Start,
    /// All at this second.
    At(u64),
    /// Spread over so many seconds.
    Spread(u64),
    /// One per so many seconds on average.
    Poisson(u64),
    /// Ever more rarely: the rate falls by a factor of e in so many seconds.
    Decay(u64),
}

impl Arrival {
    /// Second by which all of so many peers are there, as far as validation goes.
    fn by(self, count: u32) -> u64 {
        match self {
            Arrival::Start => 0,
            Arrival::At(s) | Arrival::Spread(s) => s,
            Arrival::Poisson(s) => s * u64::from(count),
            Arrival::Decay(s) => s * u64::from(DECAYED),
        }
    }
}

/// Leaving and coming back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Churn {
    /// Mean seconds of a stay.
    pub session_s: u64,
    /// Chance to come back, percent.
    pub rejoin: u64,
    /// Longest absence, seconds.
    pub away_s: u64,
}

/// Attackers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttackDraft {
    /// How many, on what links.
    pub group: Group,
    /// What they do.
    pub kind: AttackKind,
}

/// What attackers do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttackKind {
    /// Take and give nothing.
    FreeRider,
    /// Claim everything and send nothing.
    NeverDeliver,
    /// Send wrong blocks; percent.
    CorruptBlocks(u64),
    /// Serve wrong metainfo.
    MetadataLiar,
}

/// Servers, and clients that fetch from them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectDraft {
    /// How many servers, on what links.
    pub servers: Group,
    /// How many clients, on what links.
    pub clients: Group,
    /// Percent of the content that clients kept of an earlier fetch; below 100.
    pub have: u64,
    /// Leechers know of the servers.
    pub web_seed: bool,
    /// There is a file server that answers wrongly.
    pub range_errors: bool,
    /// Clients leave and come back.
    pub churn: Option<Churn>,
}

/// A field of the engine and its value as it stands in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The field.
    pub field: &'static str,
    /// The value, in TOML.
    pub value: String,
}

impl SwarmDraft {
    /// The scenario file of this swarm. It runs by itself: `skep run FILE`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut file = String::new();
        self.write(&mut file)
            .expect("writing to a string never fails");
        file
    }

    fn write(&self, file: &mut String) -> std::fmt::Result {
        let sizes = self.sizes();
        writeln!(file, "#:schema ../schema.json")?;
        writeln!(file, "name = \"drawn-{}\"", self.seed)?;
        writeln!(
            file,
            "about = \"Drawn by the property in tests/properties: every invariant holds, and whoever can finish does.\"\n"
        )?;
        let (limit, settle) = self.times();
        writeln!(file, "[run]\nseeds = [{}]", self.seed)?;
        writeln!(file, "time_limit = \"{}\"", seconds(limit))?;
        writeln!(file, "settle = \"{}\"\n", seconds(settle))?;
        self.write_torrent(file)?;
        self.write_link(file)?;
        write_group(file, "seed", "seed", &self.seeds.group, sizes.seeds)?;
        write_word(file, "choker", self.seeds.choker)?;
        if self.seeds.super_seeding {
            writeln!(file, "engine = {{ super_seeding = true }}")?;
        }
        for (at, leechers) in self.leechers.iter().enumerate() {
            if let Some(&count) = sizes.leechers.get(at).filter(|n| **n > 0) {
                write_leechers(file, &leecher_name(at), leechers, count)?;
            }
        }
        for (at, attackers) in self.attackers.iter().enumerate() {
            if let Some(&count) = sizes.attackers.get(at).filter(|n| **n > 0) {
                write_attackers(file, at, attackers, count)?;
            }
        }
        if let Some(direct) = &self.direct {
            write_direct(file, direct, &sizes)?;
        }
        writeln!(
            file,
            "\n[tracker]\ninterval = \"{}\"",
            seconds(self.announce_s)
        )?;
        if self.announce_s > 60 {
            writeln!(file, "interval_min = \"1 min\"")?;
        }
        writeln!(file, "peers_max = {}", self.answer_peers)?;
        if self.udp {
            writeln!(file, "protocol = \"udp\"")?;
        }
        for fault in &self.faults {
            fault.write(file, &sizes)?;
        }
        if !self.engine.is_empty() {
            writeln!(file, "\n[engine]")?;
        }
        for Setting { field, value } in &self.engine {
            writeln!(file, "{field} = {value}")?;
        }
        Ok(())
    }

    fn write_torrent(&self, file: &mut String) -> std::fmt::Result {
        writeln!(file, "[torrent]")?;
        match &self.files[..] {
            [one] => writeln!(file, "size = \"{}\"", bytes(*one))?,
            many => {
                writeln!(file, "files = [")?;
                for (n, size) in many.iter().enumerate() {
                    let path = format!("folder/{n}.bin");
                    writeln!(
                        file,
                        "    {{ path = \"{path}\", size = \"{}\" }},",
                        bytes(*size)
                    )?;
                }
                writeln!(file, "]")?;
            }
        }
        writeln!(file, "piece = \"{}\"\n", bytes(self.piece))
    }

    fn write_link(&self, file: &mut String) -> std::fmt::Result {
        let LinkDraft {
            latency_ms,
            jitter_ms,
            loss_e4,
            reset_s,
        } = self.link;
        writeln!(file, "[link]\nlatency = \"{latency_ms} ms\"")?;
        if jitter_ms > 0 {
            writeln!(file, "jitter = \"{jitter_ms} ms\"")?;
        }
        if loss_e4 > 0 {
            let percent = format!("{}.{:02}", loss_e4 / 100, loss_e4 % 100);
            writeln!(file, "loss = \"{percent}%\"")?;
        }
        if let Some(every) = reset_s {
            writeln!(file, "reset = \"1 per {}\"", seconds(every))?;
        }
        Ok(())
    }

    /// About how long the download takes if nothing goes wrong, ms: faults at such moments hit a
    /// swarm at work.
    #[must_use]
    pub fn ideal_ms(&self) -> u64 {
        let sizes = self.sizes();
        let total: u64 = self.files.iter().sum();
        let mut up = self.seeds.group.up * u64::from(sizes.seeds);
        let (mut wanted, mut slowest) = (0, 0);
        for (leechers, count) in self.leechers.iter().zip(&sizes.leechers) {
            let count = u64::from(*count);
            up += leechers.group.up * count;
            wanted += total * (100 - leechers.have) / 100 * count;
            slowest = slowest.max(total / leechers.group.down.max(1) * count.min(1));
        }
        // 1 kB/s is one byte per ms.
        (wanted / up.max(1)).max(slowest) + 10 * self.link.latency_ms
    }

    /// Time limit and settling time, seconds.
    fn times(&self) -> (u64, u64) {
        let sizes = self.sizes();
        let arrived = self.leechers.iter().zip(&sizes.leechers);
        let arrived = arrived.map(|(l, count)| l.arrive.by(*count)).max();
        let faulty = self.faults.iter().map(FaultDraft::over_s).max();
        let churned = self.leechers.iter().any(|l| l.churn.is_some())
            || self.direct.is_some_and(|d| d.churn.is_some());
        let disturbed = [arrived, faulty, churned.then_some(self.churn_s), Some(1)];
        let settle = SETTLE_S + 6 * self.slowest_s();
        (
            disturbed.into_iter().flatten().max().unwrap_or(1) + settle,
            settle,
        )
    }

    /// Seconds in which the slowest link, or one lossy path, carries the content once.
    fn slowest_s(&self) -> u64 {
        let groups = std::iter::once(&self.seeds.group);
        let groups = groups.chain(self.leechers.iter().map(|l| &l.group));
        let direct = self.direct.iter().flat_map(|d| [&d.servers, &d.clients]);
        let groups = groups.chain(direct);
        let rate = groups.clone().map(|g| g.up.min(g.down) * 1000).min();
        let latency = groups.filter_map(|g| g.latency_ms).max().unwrap_or(0);
        let rtt_s = (2 * latency.max(self.link.latency_ms)).max(1) as f64 / 1000.0;
        let loss = self.link.loss_e4 as f64 / 1e4;
        let lossy = MATHIS * SEGMENT / (rtt_s * loss.sqrt());
        let rate = (rate.unwrap_or(1).max(1) as f64).min(lossy);
        let total: u64 = self.files.iter().sum();
        (total as f64 / rate).ceil() as u64
    }

    /// How many peers each group really has.
    fn sizes(&self) -> Sizes {
        let mut left = PEERS_MAX;
        let mut take = |wanted: u32, keep: u32| {
            let taken = wanted.max(1).min(left.saturating_sub(keep));
            left -= taken;
            taken
        };
        // Direct download has places of its own.
        let direct = |of: fn(&DirectDraft) -> &Group| {
            let group = self.direct.as_ref().map(of);
            group.map_or(0, |group| group.count.clamp(1, PEERS_MAX / 2))
        };
        Sizes {
            servers: direct(|d| &d.servers),
            clients: direct(|d| &d.clients),
            // At least one leecher finds room.
            seeds: take(self.seeds.group.count, 1),
            leechers: self
                .leechers
                .iter()
                .map(|l| take(l.group.count, 0))
                .collect(),
            attackers: self
                .attackers
                .iter()
                .map(|a| take(a.group.count, 0))
                .collect(),
        }
    }
}

pub(super) struct Sizes {
    pub(super) servers: u32,
    clients: u32,
    pub(super) seeds: u32,
    pub(super) leechers: Vec<u32>,
    attackers: Vec<u32>,
}

pub(super) fn leecher_name(group: usize) -> String {
    const NAMES: [&str; 3] = ["home", "office", "mobile"];
    match NAMES.get(group) {
        Some(name) => (*name).to_owned(),
        None => format!("group{group}"),
    }
}

fn write_group(
    file: &mut String,
    name: &str,
    role: &str,
    group: &Group,
    count: u32,
) -> std::fmt::Result {
    writeln!(file, "\n[[group]]\nname = \"{name}\"\nrole = \"{role}\"")?;
    writeln!(file, "count = {count}")?;
    writeln!(file, "up = \"{}\"", rate(group.up))?;
    writeln!(file, "down = \"{}\"", rate(group.down))?;
    group.latency_ms.map_or(Ok(()), |latency| {
        writeln!(file, "latency = \"{latency} ms\"")
    })
}

fn write_word(file: &mut String, key: &str, word: Option<&str>) -> std::fmt::Result {
    word.map_or(Ok(()), |word| writeln!(file, "{key} = \"{word}\""))
}

fn write_leechers(
    file: &mut String,
    name: &str,
    leechers: &LeecherDraft,
    count: u32,
) -> std::fmt::Result {
    write_group(file, name, "leecher", &leechers.group, count)?;
    write_word(file, "picker", leechers.picker)?;
    write_word(file, "choker", leechers.choker)?;
    if leechers.magnet {
        writeln!(file, "metainfo = \"magnet\"")?;
    } else if leechers.have > 0 {
        writeln!(file, "have = \"{}%\"", leechers.have)?;
    }
    match leechers.arrive {
        Arrival::Start => {}
        Arrival::At(at) => writeln!(file, "arrive = {{ at = \"{}\" }}", seconds(at))?,
        Arrival::Spread(time) => {
            writeln!(file, "arrive = {{ spread = \"{}\" }}", seconds(time))?;
        }
        Arrival::Poisson(gap) => {
            writeln!(file, "arrive = {{ poisson = \"1 per {}\" }}", seconds(gap))?;
        }
        Arrival::Decay(time) => {
            writeln!(file, "arrive = {{ decay = \"{}\" }}", seconds(time))?;
        }
    }
    if let Some(churn) = leechers.churn {
        write_churn(file, churn)?;
    }
    match leechers.seed_for_s {
        None => Ok(()),
        Some(0) => writeln!(file, "on_complete = \"leave\""),
        Some(s) => writeln!(file, "on_complete = {{ seed_for = \"{}\" }}", seconds(s)),
    }
}

fn write_attackers(
    file: &mut String,
    number: usize,
    attackers: &AttackDraft,
    count: u32,
) -> std::fmt::Result {
    let (name, attack, probability) = match attackers.kind {
        AttackKind::FreeRider => ("rider", "free-rider", None),
        AttackKind::NeverDeliver => ("mute", "never-deliver", None),
        AttackKind::CorruptBlocks(percent) => ("poison", "corrupt-blocks", Some(percent)),
        AttackKind::MetadataLiar => ("liar", "metadata-liar", None),
    };
    let name = format!("{name}{number}");
    write_group(file, &name, "attacker", &attackers.group, count)?;
    writeln!(file, "attack = \"{attack}\"")?;
    probability.map_or(Ok(()), |percent| {
        writeln!(file, "with = {{ probability = \"{percent}%\" }}")
    })
}

fn write_direct(file: &mut String, direct: &DirectDraft, sizes: &Sizes) -> std::fmt::Result {
    if direct.range_errors {
        // Before the servers: the first client begins there.
        write_group(file, "liar", "attacker", &direct.servers, 1)?;
        writeln!(file, "attack = \"range-errors\"")?;
    }
    write_group(file, "server", "server", &direct.servers, sizes.servers)?;
    if !direct.web_seed {
        writeln!(file, "web_seed = false")?;
    }
    write_group(file, "client", "client", &direct.clients, sizes.clients)?;
    if direct.have > 0 {
        writeln!(file, "have = \"{}%\"", direct.have)?;
    }
    direct
        .churn
        .map_or(Ok(()), |churn| write_churn(file, churn))
}

fn write_churn(file: &mut String, churn: Churn) -> std::fmt::Result {
    let session = seconds(churn.session_s);
    let away = seconds(churn.away_s);
    writeln!(
        file,
        "churn = {{ session = {{ exponential = \"{session}\" }}, rejoin = \"{}%\", away = \"1 s .. {away}\" }}",
        churn.rejoin
    )
}

/// A size as a person would write it.
fn bytes(size: u64) -> String {
    match size {
        s if s > 0 && s % (1 << 20) == 0 => format!("{} MiB", s >> 20),
        s if s > 0 && s % (1 << 10) == 0 => format!("{} KiB", s >> 10),
        s => format!("{s} B"),
    }
}

/// A duration as a person would write it.
pub(super) fn seconds(s: u64) -> String {
    if s > 0 && s.is_multiple_of(60) {
        format!("{} min", s / 60)
    } else {
        format!("{s} s")
    }
}

/// A rate in kB/s as a person would write it.
fn rate(kb: u64) -> String {
    if kb > 0 && kb.is_multiple_of(1000) {
        format!("{} MB/s", kb / 1000)
    } else {
        format!("{kb} kB/s")
    }
}
