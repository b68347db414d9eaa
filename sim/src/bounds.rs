//! Owns the physical limit of a run: nobody can be faster on these links, whatever the strategies.
//!
//! Invariant: only true lower bounds of the *last* completion. A run that beats one is a bug in the
//! simulator.

mod curve;

pub use curve::{Curve, curve};

use crate::network::link::{parcel_wire_max, transmit_ns};
use crate::scenario::plan::{EndKind, FaultKind, FaultPlan, HostPlan, Plan, Role};

/// A lower bound of the last completion.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bound {
    /// Seconds since the start of the run; 0 when nobody has to finish.
    pub seconds: f64,
    /// Which term binds.
    pub term: &'static str,
}

/// What the same content to the same hosts takes at least, both ways; `None` where nobody could be the
/// source of it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct BothWays {
    /// By direct download, seconds: seeds serve as servers, everybody else fetches as a client.
    pub direct: Option<f64>,
    /// By a swarm, seconds: servers are seeds, clients are leechers.
    pub swarm: Option<f64>,
}

/// Attacks that may send true blocks: their uplinks count as sources.
const SOURCES_AMONG_ATTACKERS: &[&str] = &[
    "corrupt-blocks",
    "corrupt-one-block",
    "rarest-corruptor",
    "choke-flapper",
    "trickle",
];
/// Attacks that may serve true bytes to clients.
const SERVERS_AMONG_ATTACKERS: &[&str] = &["range-errors", "wrong-bytes"];

/// The bound of the last completion of the leechers and clients that stay until they finish.
#[must_use]
pub fn last_completion(plan: &Plan) -> Bound {
    let nothing = Bound {
        seconds: 0.0,
        term: "nothing to do",
    };
    terms(plan).first().copied().unwrap_or(nothing)
}

/// What binds the last completion, the largest first: of each term its largest value.
#[must_use]
pub fn terms(plan: &Plan) -> Vec<Bound> {
    let mut best = Best(Vec::new());
    let leechers = takers(plan, Role::Leecher);
    let clients = takers(plan, Role::Client);
    let all = || leechers.iter().chain(&clients);
    for host in all() {
        let join = host.sessions.last().map_or(0.0, |s| s.join.as_secs_f64());
        // What was received in earlier stays counts too: only the last one is certain.
        let online = if host.sessions.len() == 1 { join } else { 0.0 };
        let (_, down) = fastest(plan, host);
        let seconds = online + missing(plan, host) as f64 / down as f64;
        best.raise(seconds, "a downlink");
    }
    let fetched: u64 = clients.iter().map(|h| missing(plan, h)).sum();
    best.raise(
        time_to_carry(plan, fetched as f64, serves_clients),
        match servers(plan) {
            0 | 1 => "the server's uplink",
            _ => "the servers' uplinks",
        },
    );
    // Clients upload nothing, and get nothing from peers.
    let total: u64 = all().map(|h| missing(plan, h)).sum();
    let uploads = |h: &HostPlan| h.role != Role::Client;
    best.raise(
        time_to_carry(plan, total as f64, uploads),
        "the sum of uplinks",
    );
    swarm(plan, &leechers, &mut best);
    let Best(mut terms) = best;
    terms.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    terms
}

/// The limits of both ways for the hosts of this plan.
#[must_use]
pub fn both_ways(plan: &Plan) -> BothWays {
    let turned = |source: Role, taker: Role| {
        let mut plan = plan.clone();
        let mut sources = 0;
        for host in &mut plan.hosts {
            match host.role {
                Role::Seed | Role::Server => {
                    host.role = source;
                    sources += 1;
                }
                Role::Leecher | Role::Client => {
                    // What it has stays its own, however it is counted.
                    let has = plan.torrent.total() - missing_of(&plan.torrent, host);
                    host.role = taker;
                    host.kept = has;
                }
                Role::Attacker => {}
            }
        }
        (sources > 0).then(|| last_completion(&plan).seconds)
    };
    BothWays {
        direct: turned(Role::Server, Role::Client),
        swarm: turned(Role::Seed, Role::Leecher),
    }
}

/// The largest of each term so far, in the order in which they came.
struct Best(Vec<Bound>);

impl Best {
    fn raise(&mut self, seconds: f64, term: &'static str) {
        match self.0.iter_mut().find(|bound| bound.term == term) {
            Some(bound) => bound.seconds = bound.seconds.max(seconds),
            None if seconds > 0.0 => self.0.push(Bound { seconds, term }),
            None => {}
        }
    }
}

/// Bytes that a host lacks at the start.
fn missing(plan: &Plan, host: &HostPlan) -> u64 {
    missing_of(&plan.torrent, host)
}

fn missing_of(torrent: &crate::scenario::plan::TorrentPlan, host: &HostPlan) -> u64 {
    let (content, piece) = (torrent.total(), u64::from(torrent.piece_bytes));
    let held = host
        .have
        .iter()
        .map(|p| piece.min(content - u64::from(*p) * piece));
    let held = held.sum::<u64>().max(host.kept);
    content - held
}

/// Those who have to be served: one whose last stay has a planned end may leave unfinished. One that
/// holds everything already (a share of few pieces, rounded) completes nothing.
fn takers(plan: &Plan, role: Role) -> Vec<&HostPlan> {
    let stays = |host: &HostPlan| host.sessions.last().is_some_and(|s| s.end.is_none());
    let hosts = plan.hosts.iter();
    hosts
        .filter(|h| h.role == role && stays(h) && missing(plan, h) > 0)
        .collect()
}

/// The fastest up- and downlink that a host ever has, faults included.
fn fastest(plan: &Plan, host: &HostPlan) -> (u64, u64) {
    let links = |fault: &FaultPlan| matches!(fault.kind, FaultKind::Link(_));
    if !plan.faults.iter().any(links) {
        return (host.link.up, host.link.down);
    }
    let position = plan.hosts.iter().position(|h| h.ip == host.ip);
    plan.rates_max(position.expect("a host of the plan"), None)
}

fn servers(plan: &Plan) -> usize {
    plan.hosts.iter().filter(|h| serves_clients(h)).count()
}

/// Whether a host's uplink may carry true bytes to clients.
fn serves_clients(host: &HostPlan) -> bool {
    host.role == Role::Server || attacks_by(host, SERVERS_AMONG_ATTACKERS)
}

fn attacks_by(host: &HostPlan, names: &[&str]) -> bool {
    let attack = host.attack.as_ref();
    attack.is_some_and(|attack| names.contains(&attack.name.as_str()))
}

/// Whether a host has true bytes for leechers from the start.
fn sources_for_leechers(host: &HostPlan) -> bool {
    host.role == Role::Seed || host.web_seed || attacks_by(host, SOURCES_AMONG_ATTACKERS)
}

/// What binds leechers alone: every byte has to leave the sources once, and nobody forwards what is not
/// verified.
fn swarm(plan: &Plan, leechers: &[&HostPlan], best: &mut Best) {
    let content = plan.torrent.total();
    let source = sources_for_leechers;
    let others = plan
        .hosts
        .iter()
        .filter(|h| !source(h) && h.role != Role::Client);
    let empty_start = others.clone().all(|h| h.have.is_empty() && h.kept == 0);
    let up = |hosts: &mut dyn Iterator<Item = &HostPlan>| -> f64 {
        hosts.map(|h| fastest(plan, h).0 as f64).sum()
    };
    let from_sources = up(&mut plan.hosts.iter().filter(|h| source(h)));
    if !empty_start || leechers.is_empty() || from_sources <= 0.0 {
        return;
    }
    best.raise(content as f64 / from_sources, "the sources' uplinks");
    if flash_crowd(plan) {
        // Nobody uploads before a first piece is verified, and none is before P / u_s.
        let others = up(&mut leechers.iter().copied());
        let first = smallest_piece(content, u64::from(plan.torrent.piece_bytes));
        let first = first as f64 / from_sources;
        let total: u64 = leechers.iter().map(|h| missing(plan, h)).sum();
        let all = (total as f64 + first * others) / (from_sources + others);
        best.raise(all, "the sum of uplinks");
    }
}

fn smallest_piece(content: u64, piece: u64) -> u64 {
    match content % piece {
        0 => piece.min(content),
        rest => rest,
    }
}

/// Whether everybody is there from the start to the end by plan.
fn flash_crowd(plan: &Plan) -> bool {
    let whole = |h: &HostPlan| h.sessions.len() == 1 && h.sessions[0].end.is_none();
    let at_start = |h: &HostPlan| h.sessions[0].join.0 == 0;
    plan.hosts.iter().all(|h| whole(h) && at_start(h))
}

/// The moment by which the uplinks of these hosts could have carried so many bytes, as far as they may be
/// online; 0 when they never could.
fn time_to_carry(plan: &Plan, bytes: f64, whose: impl Fn(&HostPlan) -> bool) -> f64 {
    let mut changes: Vec<(u64, f64)> = Vec::new();
    for (position, host) in plan.hosts.iter().enumerate() {
        if !whose(host) {
            continue;
        }
        let more = plan.more_uplink(position);
        for stay in &host.sessions {
            changes.push((stay.join.0, host.link.up as f64));
            let over = match stay.end {
                Some((end, EndKind::Crash | EndKind::PowerLoss)) => end.0,
                _ => u64::MAX,
            };
            for (from, until, more) in &more {
                // What began to leave at the higher rate ends at it.
                let until = until.0 + transmit_ns(parcel_wire_max(), host.link.up + more);
                let (from, until) = (from.0.max(stay.join.0), until.min(over));
                if from < until {
                    changes.push((from, *more as f64));
                    changes.push((until, -(*more as f64)));
                }
            }
            match stay.end {
                Some((end, EndKind::Crash | EndKind::PowerLoss)) => {
                    changes.push((end.0, -(host.link.up as f64)));
                }
                // Who is complete by then does not leave, and who leaves sends out its queue: from
                // here on only being online all the time is a limit.
                Some((_, EndKind::Leave | EndKind::UserLeft)) => break,
                None => {}
            }
        }
    }
    changes.sort_by_key(|(at, _)| *at);
    let (mut carried, mut rate, mut now) = (0.0, 0.0, 0.0);
    for (at, change) in changes {
        let at = at as f64 / 1e9;
        if rate > 0.0 && carried + rate * (at - now) >= bytes {
            break;
        }
        carried += rate * (at - now);
        rate += change;
        now = at;
    }
    if bytes <= 0.0 || rate <= 0.0 {
        return 0.0;
    }
    now + (bytes - carried).max(0.0) / rate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    /// 16 MiB; a seed with 1 MiB/s up, two leechers with 1 MiB/s up and 4 MiB/s down.
    fn bound(churn: &str, crash: &str) -> Bound {
        last_completion(&plan("seed", "leecher", 2, churn, crash))
    }

    /// 16 MiB; a source with 1 MiB/s up, some takers with 1 MiB/s up and 4 MiB/s down.
    pub(super) fn plan(source: &str, taker: &str, count: u32, keys: &str, more: &str) -> Plan {
        let text = format!(
            r#"
name = "bound"
about = "Hosts whose limit can be worked out by hand."
run = {{ time_limit = "1000 s", settle = "10 s" }}
torrent = {{ size = "16 MiB", piece = "1 MiB" }}
[[group]]
name = "source"
role = "{source}"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "{taker}"
count = {count}
up = "1 MiB/s"
down = "4 MiB/s"
{keys}
{more}
"#
        );
        let scenario = Scenario::parse("bound.toml", &text).expect("a good file");
        scenario.expand(1)
    }

    #[test]
    fn each_term_is_told_and_the_largest_comes_first() {
        let terms = terms(&plan("seed", "leecher", 2, "", ""));
        let told: Vec<_> = terms.iter().map(|bound| bound.term).collect();
        assert_eq!(
            told,
            ["the sources' uplinks", "the sum of uplinks", "a downlink"]
        );
        assert_eq!(terms[2].seconds, 4.0);
        assert!((terms[1].seconds - 34.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_flash_crowd_waits_for_its_first_piece() {
        let bound = bound("", "");
        assert_eq!(bound.term, "the sources' uplinks");
        assert_eq!(bound.seconds, 16.0, "and 34 MiB at 3 MiB/s take less");
    }

    #[test]
    fn a_crashed_uplink_carries_nothing() {
        let crash = "[[fault.crash]]\nat = \"4 s\"\nwho = \"home\"\ndown = \"20 s\"";
        let bound = bound("", crash);
        // 12 MiB by 4 s, then the seed alone: 20 MiB more until 24 s.
        assert_eq!((bound.seconds, bound.term), (24.0, "the sum of uplinks"));
    }

    #[test]
    fn a_faster_link_counts_while_it_is_there_and_a_slower_one_does_not() {
        let link = |up: &str, rest: &str| {
            format!(
                "[[fault.link]]\nat = \"4 s\"\nfor = \"4 s\"\nwho = \"source\"\nup = \"{up}\"\n{rest}"
            )
        };
        let of = |fault: &str| last_completion(&plan("server", "client", 8, "", fault)).seconds;
        // 128 MiB: 4 at first, then 20, then the rest at 1 MiB/s from 8 s on, but for one parcel.
        let faster = of(&link("5 MiB/s", ""));
        assert!((111.9..112.0).contains(&faster), "{faster}");
        assert_eq!(of(&link("1 kB/s", "")), 128.0);
        let slow_down =
            "[[fault.link]]\nat = \"4 s\"\nfor = \"4 s\"\nwho = \"home\"\ndown = \"1 kB/s\"";
        assert_eq!(of(slow_down), 128.0);
    }

    #[test]
    fn a_planned_leave_takes_no_uplink_away() {
        // Who has everything stays in spite of it: 32 MiB at 3 MiB/s stay possible.
        let churn =
            r#"churn = { session = { fixed = "5 s" }, rejoin = "100%", away = "20 s .. 21 s" }"#;
        let bound = bound(churn, "");
        assert_eq!((bound.seconds, bound.term), (16.0, "the sources' uplinks"));
    }

    #[test]
    fn clients_share_the_servers_uplink_or_wait_for_their_downlink() {
        let direct = |count, keys: &str, more: &str| {
            let bound = last_completion(&plan("server", "client", count, keys, more));
            (bound.seconds, bound.term)
        };
        assert_eq!(direct(8, "", ""), (128.0, "the server's uplink"));
        let kept = r#"have = "50%""#;
        assert_eq!(direct(8, kept, ""), (64.0, "the server's uplink"));
        let second =
            "[[group]]\nname = \"fast\"\nrole = \"server\"\nup = \"7 MiB/s\"\ndown = \"1 MiB/s\"";
        assert_eq!(direct(8, "", second), (16.0, "the servers' uplinks"));
        assert_eq!(direct(1, "", second), (4.0, "a downlink"));
        let crash = "[[fault.crash]]\nat = \"4 s\"\nwho = \"source\"\ndown = \"20 s\"";
        assert_eq!(direct(8, "", crash), (148.0, "the server's uplink"));
    }

    #[test]
    fn clients_beside_a_swarm_get_nothing_from_it() {
        // Six leechers have 7 MiB/s of uplinks among them; two clients have the server's 1 MiB/s.
        let clients = "[[group]]\nname = \"client\"\nrole = \"client\"\ncount = 2\nup = \"9 MiB/s\"\n\
            down = \"9 MiB/s\"\n[[group]]\nname = \"server\"\nrole = \"server\"\nup = \"1 MiB/s\"\n\
            down = \"1 MiB/s\"";
        let bound = last_completion(&plan("seed", "leecher", 6, "", clients));
        assert_eq!((bound.seconds, bound.term), (32.0, "the server's uplink"));
    }

    #[test]
    fn both_ways_are_told_for_the_same_hosts_whichever_way_they_go() {
        let swarm = both_ways(&plan("seed", "leecher", 8, "", ""));
        let direct = both_ways(&plan("server", "client", 8, "", ""));
        assert_eq!(swarm, direct);
        assert_eq!(swarm.direct, Some(128.0));
        // 128 MiB and 8 MiB that are not uploaded in the first second, at 9 MiB/s, take less.
        assert_eq!(swarm.swarm, Some(16.0));
        let pieces = "have = [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14]";
        let none = both_ways(&plan(
            "leecher",
            "leecher",
            1,
            pieces,
            "[[group]]\nname = \"rest\"\nrole = \
            \"leecher\"\nup = \"1 MiB/s\"\ndown = \"1 MiB/s\"\nhave = [15]",
        ));
        assert_eq!(none, BothWays::default());
    }
}
