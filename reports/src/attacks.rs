//! Owns what attacks cost the honest: each against the same swarm without its attackers, seed by seed, with
//! all defences and with each of them switched off.
//!
//! Invariant: a slow-down is of the mean completion of the honest, paired by seed; a seed in which an honest
//! peer did not finish, with or without the attackers, has none, and is counted.

use std::fmt::Write;

use serde::Serialize;
use skep_sim::outcome::{Outcome, PeerOutcome};
use skep_sim::scenario::plan::Role;

use crate::statistics::{interval, mean};
use crate::table::{COLUMNS, bytes, cell, lines, paragraph, percent, seconds, table};

/// The runs of one scenario under attack: one outcome per seed in each list, in the order of the seeds.
#[derive(Clone, Debug)]
pub struct Attacked {
    /// The scenario.
    pub scenario: String,
    /// Its attacks by name, each once.
    pub attacks: Vec<String>,
    /// Without attackers.
    pub clean: Vec<Outcome>,
    /// With them: first as the file says, then with one defence off each, by its name.
    pub runs: Vec<(Option<String>, Vec<Outcome>)>,
}

/// One line of the table, as `--json` prints it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// Its attacks by name.
    pub attacks: Vec<String>,
    /// The defence that is off, if one is.
    pub without: Option<String>,
    /// Attackers of all peers.
    pub share: f64,
    /// Runs.
    pub runs: usize,
    /// Runs in which every attack acted, of each group.
    pub acted: usize,
    /// Runs in which an honest peer did not finish.
    pub unfinished: usize,
    /// How much later the honest complete than without the attackers: their mean completion, as a share of that.
    pub slower: Option<f64>,
    /// The mean over all seeds there could be is between these with a probability of 95 %.
    pub slower_95: Option<[f64; 2]>,
    /// The difference to the same seeds with all defences on, likewise; `None` for those.
    pub cost_95: Option<[f64; 2]>,
    /// Attackers that were banned, of all of them.
    pub banned: f64,
    /// Seconds from joining to the first ban, mean over those that were banned.
    pub ban_s: Option<f64>,
    /// Honest peers that an honest peer banned, over all runs.
    pub false_bans: usize,
    /// Received payload that brought nothing, as a share of what the honest received of use.
    pub waste: f64,
    /// The most that an honest peer held in memory for one connection, bytes.
    pub buffered: u64,
}

fn honest(outcome: &Outcome) -> impl Iterator<Item = &PeerOutcome> {
    outcome.peers.iter().filter(|p| p.honest())
}

fn attackers(outcome: &Outcome) -> impl Iterator<Item = &PeerOutcome> {
    outcome.peers.iter().filter(|p| p.role == Role::Attacker)
}

/// The mean completion of the honest who take, if all of them finished.
fn completion(outcome: &Outcome) -> Option<f64> {
    let takers = honest(outcome).filter(|p| p.role.takes());
    let times: Option<Vec<f64>> = takers.map(|p| Some(p.completed_s? - p.joined_s)).collect();
    mean(&times?)
}

/// Pairs of values by seed, where both are there.
fn paired(of: &[Option<f64>], base: &[Option<f64>], pair: fn(f64, f64) -> f64) -> Vec<f64> {
    let both = of.iter().zip(base);
    both.filter_map(|(of, base)| Some(pair((*of)?, (*base)?)))
        .collect()
}

/// The rows of one scenario.
///
/// # Panics
/// When a list lacks a seed, or there is no run with all defences.
#[must_use]
pub fn rows(attacked: &Attacked) -> Vec<Row> {
    let clean: Vec<_> = attacked.clean.iter().map(completion).collect();
    let (_, all_on) = &attacked.runs[0];
    let guarded: Vec<_> = all_on.iter().map(completion).collect();
    let row = |(without, outcomes): &(Option<String>, Vec<Outcome>)| {
        assert_eq!(outcomes.len(), clean.len(), "every list has every seed");
        let times: Vec<_> = outcomes.iter().map(completion).collect();
        let slower = paired(&times, &clean, |with, base| with / base - 1.0);
        let cost = paired(&times, &guarded, |with, base| with / base - 1.0);
        let all = || outcomes.iter().flat_map(attackers);
        let peers: usize = outcomes.iter().map(|o| o.peers.len()).sum();
        let bans: Vec<f64> = all()
            .filter_map(|p| Some(p.first_ban_s? - p.joined_s))
            .collect();
        let (wasted, of_use) = outcomes.iter().flat_map(honest).fold((0, 0), |(w, d), p| {
            (w + p.wasted, d + p.downloaded - p.wasted)
        });
        Row {
            scenario: attacked.scenario.clone(),
            attacks: attacked.attacks.clone(),
            without: without.clone(),
            share: all().count() as f64 / peers.max(1) as f64,
            runs: outcomes.len(),
            acted: outcomes.iter().filter(|o| all_acted(o)).count(),
            unfinished: times.iter().filter(|t| t.is_none()).count(),
            slower: mean(&slower),
            slower_95: interval(&slower),
            cost_95: without.as_ref().and_then(|_| interval(&cost)),
            banned: all().filter(|p| p.banned_by > 0).count() as f64 / all().count().max(1) as f64,
            ban_s: mean(&bans),
            false_bans: outcomes
                .iter()
                .flat_map(honest)
                .filter(|p| p.banned_by > 0)
                .count(),
            waste: wasted as f64 / (of_use as f64).max(1.0),
            buffered: outcomes
                .iter()
                .flat_map(honest)
                .map(|p| p.buffered)
                .max()
                .unwrap_or_default(),
        }
    };
    attacked.runs.iter().map(row).collect()
}

/// Whether somebody of every group of attackers acted.
fn all_acted(outcome: &Outcome) -> bool {
    attackers(outcome).all(|one| attackers(outcome).any(|p| p.group == one.group && p.acted > 0))
}

/// Whether a defence that is off shows: in time, in who finishes, in waste, or in bans.
fn shows(row: &Row, guarded: &Row) -> bool {
    let slower = row
        .cost_95
        .is_some_and(|[low, high]| low > 0.0 || high < 0.0);
    slower
        || row.unfinished != guarded.unfinished
        || (row.waste - guarded.waste).abs() >= 0.01
        || (row.banned - guarded.banned).abs() >= 0.01
}

/// The rows of one scenario as text: all defences on, then each that shows when it is off.
///
/// # Panics
/// When there is no row.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let guarded = &rows[0];
    let mut out = String::new();
    out.push_str(&paragraph(&format!(
        "{}: {} ({} of the peers, {} seeds, acted in {})",
        guarded.scenario,
        guarded.attacks.join(" and "),
        percent(guarded.share),
        guarded.runs,
        guarded.acted,
    )));
    let mut table = table(
        &[
            "",
            "slower",
            "95% of it",
            "unfinished",
            "banned",
            "after",
            "false",
            "waste",
        ],
        1,
    );
    let mut silent = Vec::new();
    for row in rows {
        let name = match &row.without {
            None => "all defences".to_owned(),
            Some(name) if shows(row, guarded) => format!("no {name}"),
            Some(name) => {
                silent.push(name.as_str());
                continue;
            }
        };
        let between = row.slower_95.map_or("-".to_owned(), |[low, high]| {
            format!("{} .. {}", signed(low), signed(high))
        });
        let cells = [
            name,
            row.slower.map_or("-".to_owned(), signed),
            between,
            row.unfinished.to_string(),
            short(row.banned),
            seconds(row.ban_s),
            row.false_bans.to_string(),
            short(row.waste),
        ];
        table.add_row(cells.iter().map(cell));
    }
    out.push_str(&lines(&table));
    if !silent.is_empty() {
        let silent = format!("no difference without: {}", silent.join(", "));
        for line in textwrap::wrap(&silent, usize::from(COLUMNS) - 2) {
            let _ = writeln!(out, "  {line}");
        }
    }
    let peak = rows
        .iter()
        .map(|row| row.buffered)
        .max()
        .unwrap_or_default();
    let _ = writeln!(out, "  held for one connection at most: {}", bytes(peak));
    out
}

fn signed(share: f64) -> String {
    let sign = if share < 0.0 { "-" } else { "+" };
    format!("{sign}{}", short(share.abs()))
}

/// A share in per cent: as many digits as matter, and as there is room for.
fn short(share: f64) -> String {
    match share {
        large if large >= 0.995 => format!("{:.0}%", large * 100.0),
        small => percent(small),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seeds_with_both_values_are_paired() {
        let (of, base) = ([Some(3.0), None, Some(5.0)], [Some(2.0), Some(1.0), None]);
        assert_eq!(paired(&of, &base, |a, b| a / b - 1.0), [0.5]);
        assert_eq!([-0.034, 4.721].map(signed), ["-3.4%", "+472%"]);
    }
}
