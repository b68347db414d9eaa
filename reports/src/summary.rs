//! Owns the text that a run prints: header, a table per group, waste, copies, checks, hash, time.

use std::collections::BTreeMap;
use std::fmt::Write;

use skep_sim::check::Failure;
use skep_sim::evaluate;
use skep_sim::outcome::{Outcome, PeerOutcome, Verdict, attacks_of};
use skep_sim::scenario::metrics::MetricName;
use skep_sim::scenario::plan::{NetworkKind, Role};
use textwrap::Options;

use crate::limits;
use crate::table::{COLUMNS, bytes, cell, count, lines, paragraph, percent, seconds, table};

/// One run in full.
#[must_use]
pub fn run(outcome: &Outcome) -> String {
    let mut out = String::new();
    header(&mut out, outcome);
    out.push('\n');
    groups(&mut out, outcome);
    out.push('\n');
    let mut said = String::new();
    totals(&mut said, outcome);
    let shape = Options::new(usize::from(COLUMNS)).subsequent_indent("          ");
    for line in said.lines() {
        out.push_str(textwrap::fill(line, &shape).trim_end());
        out.push('\n');
    }
    out
}

/// One run in a line, for campaigns of many. Of a long name as much as there is room for.
#[must_use]
pub fn line(outcome: &Outcome) -> String {
    let done = outcome.completions();
    let takers = outcome.peers.iter().filter(|p| p.role.takes()).count();
    let rest = format!(
        " seed {:<3} {:<4} {:>3}/{:<3} {:>7} {:>6}  {}{}",
        outcome.seed,
        outcome.verdict.word(),
        done.len(),
        takers,
        seconds(done.last().copied()),
        times(outcome.times_bound()),
        outcome.trace_hash,
        network(outcome),
    );
    let room = usize::from(COLUMNS).saturating_sub(rest.chars().count());
    let name = clipped(&outcome.scenario, room.max(NAME_MIN));
    format!("{name:<room$}{rest}")
}

/// Of a name so much is always shown.
const NAME_MIN: usize = 8;

/// The network, where it is not the usual one.
fn network(outcome: &Outcome) -> String {
    if outcome.network == NetworkKind::default().word() {
        String::new()
    } else {
        format!(" on {}", outcome.network)
    }
}

/// What did not hold, and the line that makes it happen again.
#[must_use]
pub fn failures(failures: &[Failure], reproduce: &str) -> String {
    let mut out = String::new();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for failure in failures {
        let count = told.entry(&failure.check).or_default();
        *count += 1;
        if *count <= ALIKE_MAX {
            let at = failure
                .peer
                .as_ref()
                .map_or(String::new(), |peer| format!(" at {peer}"));
            let when = seconds(Some(failure.at_s));
            out.push_str(&filled(&format!(
                "{}{at}, {when}: {}",
                failure.check, failure.message
            )));
        }
    }
    for (check, count) in told.into_iter().filter(|(_, count)| *count > ALIKE_MAX) {
        out.push_str(&filled(&format!(
            "{check}: {} more like these",
            count - ALIKE_MAX
        )));
    }
    // Not wrapped, so that it can be copied. Writing to a string cannot fail.
    let _ = writeln!(out, "  again: {reproduce}");
    out
}

/// Findings of one check that are shown.
const ALIKE_MAX: usize = 3;

fn filled(text: &str) -> String {
    let shape = Options::new(usize::from(COLUMNS))
        .initial_indent("  ")
        .subsequent_indent("    ");
    format!("{}\n", textwrap::fill(text, shape))
}

fn header(out: &mut String, outcome: &Outcome) {
    let number = |role: Role| outcome.peers.iter().filter(|p| p.role == role).count();
    // A swarm without a seed is worth a word, direct download without one is not.
    let direct = number(Role::Server) > 0;
    let roles = [
        Role::Seed,
        Role::Leecher,
        Role::Server,
        Role::Client,
        Role::Attacker,
    ];
    let shown = |role: &Role| number(*role) > 0 || (role.peer() && !direct);
    let who: Vec<String> = roles
        .into_iter()
        .filter(shown)
        .map(|role| plural(number(role), role.word()))
        .collect();
    let named = format!(
        "{}, seed {}: {}",
        outcome.scenario,
        outcome.seed,
        outcome.verdict.word()
    );
    out.push_str(&paragraph(&named));
    out.push_str(&filled(&format!(
        "{}; {} in {} pieces; network {}",
        who.join(", "),
        bytes(outcome.content_bytes),
        outcome.pieces,
        outcome.network
    )));
}

fn groups(out: &mut String, outcome: &Outcome) {
    let mut table = table(
        &[
            "group", "done", "min", "p50", "p95", "max", "x bound", "up", "down", "share",
        ],
        1,
    );
    let mut names: Vec<&str> = Vec::new();
    for peer in &outcome.peers {
        if !names.contains(&peer.group.as_str()) {
            names.push(&peer.group);
        }
    }
    for group in names {
        let peers: Vec<&PeerOutcome> = outcome.peers.iter().filter(|p| p.group == group).collect();
        let mut times_s: Vec<f64> = peers
            .iter()
            .filter_map(|p| p.completed_s.map(|at| at - p.joined_s))
            .collect();
        times_s.sort_by(f64::total_cmp);
        let last = peers
            .iter()
            .filter_map(|p| p.completed_s)
            .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
        let bound = outcome.bound.seconds;
        let (up, down): (u64, u64) = (
            peers.iter().map(|p| p.uploaded).sum(),
            peers.iter().map(|p| p.downloaded).sum(),
        );
        let cells = [
            clipped(group, 14),
            format!("{}/{}", times_s.len(), peers.len()),
            seconds(times_s.first().copied()),
            seconds(evaluate::quantile(&times_s, 0.5)),
            seconds(evaluate::quantile(&times_s, 0.95)),
            seconds(times_s.last().copied()),
            times(last.filter(|_| bound > 0.0).map(|last| last / bound)),
            bytes(up),
            bytes(down),
            if down > 0 && peers.iter().any(|p| p.role != Role::Client) {
                format!("{:.2}", up as f64 / down as f64)
            } else {
                "-".to_owned()
            },
        ];
        table.add_row(cells.iter().map(cell));
    }
    out.push_str(&lines(&table));
}

fn totals(out: &mut String, outcome: &Outcome) {
    let share = |name: &str| {
        let name = MetricName::parse(name).expect("a metric of ours");
        evaluate::metric(outcome, &name).map_or("-".to_owned(), percent)
    };
    out.push_str(&limits::text(outcome));
    let _ = writeln!(
        out,
        "  waste   {} of receivers x content ({} duplicates, {} failed hashes)",
        share("wasted"),
        share("duplicates"),
        share("hash_failed"),
    );
    if outcome.peers.iter().any(|p| p.role.peer()) {
        let _ = writeln!(
            out,
            "  copies  of the rarest piece: {} at the lowest, {} at the end{}",
            outcome.copies_min,
            outcome.copies_end,
            match (outcome.copies_min, outcome.copies_end) {
                (1.., 1..) => "; finishable",
                (_, 1..) => "; was unfinishable",
                (_, 0) => "; unfinishable",
            }
        );
    }
    if outcome.peers.iter().any(|p| p.role.peer()) {
        let _ = writeln!(
            out,
            "  buffers {} at most for one connection; the limit is {}",
            bytes(outcome.buffered_max()),
            bytes(outcome.buffered_bound)
        );
    }
    for kind in attacks_of(&outcome.peers) {
        let _ = writeln!(
            out,
            "  attack  {} of {}: {} of {} acted, {} times",
            kind.attack,
            kind.group,
            kind.acted,
            kind.members,
            count(kind.times)
        );
    }
    let evaluated: u64 = outcome.checks.values().sum();
    let broken = if outcome.verdict == Verdict::Invariant {
        "NOT all held"
    } else {
        "all held"
    };
    let _ = writeln!(
        out,
        "  checks  {} invariants, {} evaluations: {broken}",
        outcome.checks.len(),
        count(evaluated)
    );
    let _ = writeln!(
        out,
        "  trace   {} ({} events)",
        outcome.trace_hash,
        count(outcome.events)
    );
    let speed = match outcome.cpu_seconds > 0.0 {
        true => format!(
            " ({:.0} x real time)",
            outcome.sim_seconds / outcome.cpu_seconds
        ),
        false => String::new(),
    };
    let _ = writeln!(
        out,
        "  time    {} simulated, {} of CPU{speed}",
        seconds(Some(outcome.sim_seconds)),
        seconds(Some(outcome.cpu_seconds)),
    );
}

pub(crate) fn times(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |x| format!("{x:.2} x"))
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
