//! Owns the physical limit of a run: no swarm can be faster, whatever its strategies.
//!
//! Invariant: only true lower bounds of the *last* completion. A run that beats one is a bug in the
//! simulator.

use crate::scenario::plan::{HostPlan, Plan, Role};

/// A lower bound of the last completion.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bound {
    /// Seconds since the start of the run; 0 when nobody has to finish.
    pub seconds: f64,
    /// Which term binds.
    pub term: &'static str,
}

/// Attacks that may send true blocks: their uplinks count as sources.
const SOURCES_AMONG_ATTACKERS: &[&str] = &["corrupt-blocks"];

/// The bound of the last completion of the leechers that stay until they finish.
#[must_use]
pub fn last_completion(plan: &Plan) -> Bound {
    let content = plan.torrent.total();
    let piece = u64::from(plan.torrent.piece_bytes);
    let missing = |host: &HostPlan| {
        let held = host
            .have
            .iter()
            .map(|p| piece.min(content - u64::from(*p) * piece));
        content - held.sum::<u64>()
    };
    // A leecher whose last stay has a planned end may leave unfinished: it need not be served. One
    // that holds everything already (a share of few pieces, rounded) completes nothing.
    let stays = |host: &HostPlan| host.sessions.last().is_some_and(|s| s.end.is_none());
    let leechers: Vec<&HostPlan> = plan
        .hosts
        .iter()
        .filter(|h| h.role == Role::Leecher && stays(h) && missing(h) > 0)
        .collect();
    let mut best = Bound {
        seconds: 0.0,
        term: "nothing to do",
    };
    let mut raise = |seconds: f64, term: &'static str| {
        if seconds > best.seconds {
            best = Bound { seconds, term };
        }
    };
    for host in &leechers {
        let join = host.sessions.last().map_or(0.0, |s| s.join.as_secs_f64());
        // What was received in earlier stays counts too: only the last one is certain.
        let online = if host.sessions.len() == 1 { join } else { 0.0 };
        raise(
            online + missing(host) as f64 / host.link.down as f64,
            "a downlink",
        );
    }
    let total: u64 = leechers.iter().map(|h| missing(h)).sum();
    if let Some(seconds) = time_to_carry(plan, total as f64) {
        raise(seconds, "the sum of uplinks");
    }
    let source = |host: &HostPlan| {
        let attack = host.attack.as_ref().map(|a| a.name.as_str());
        host.role == Role::Seed || attack.is_some_and(|a| SOURCES_AMONG_ATTACKERS.contains(&a))
    };
    let empty_start = plan
        .hosts
        .iter()
        .filter(|h| !source(h))
        .all(|h| h.have.is_empty());
    let from_sources: f64 = plan
        .hosts
        .iter()
        .filter(|h| source(h))
        .map(|h| h.link.up as f64)
        .sum();
    if empty_start && !leechers.is_empty() && from_sources > 0.0 {
        raise(content as f64 / from_sources, "the sources' uplinks");
        if flash_crowd(plan) {
            // Nobody uploads before a first piece is verified, and none is before P / u_s.
            let others: f64 = leechers.iter().map(|h| h.link.up as f64).sum();
            let first = smallest_piece(content, piece) as f64 / from_sources;
            let all = (total as f64 + first * others) / (from_sources + others);
            raise(all, "the sum of uplinks");
        }
    }
    best
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

/// The moment until which the planned online uplinks could carry so many bytes.
fn time_to_carry(plan: &Plan, bytes: f64) -> Option<f64> {
    let mut changes: Vec<(u64, f64)> = Vec::new();
    for host in &plan.hosts {
        for stay in &host.sessions {
            changes.push((stay.join.0, host.link.up as f64));
            if let Some((end, _)) = stay.end {
                changes.push((end.0, -(host.link.up as f64)));
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
    (rate > 0.0).then(|| now + (bytes - carried).max(0.0) / rate)
}
