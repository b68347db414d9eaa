//! Owns what a folder of runs holds: `run.json` says what ran, `runs/SEED.json` what came of it.
//!
//! Invariant: a run's file is its JSON object of `skep run --json` with its film added, so there is one form of a
//! run. A page is made of these files alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep_sim::check::Failure;
use skep_sim::outcome::Outcome;

use super::film::PackedFilm;
use crate::json;

/// The form described here, as [`RunSet::format`] says it.
pub const FORMAT: &str = "skep-run/1";

/// What ran.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunSet {
    /// [`FORMAT`].
    pub format: String,
    /// The version of Skep that made the runs.
    pub skep: String,
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario says of itself.
    pub about: String,
    /// The command that makes the same runs again, without seeds.
    pub again: String,
    /// The scenario file's text.
    pub text: String,
    /// Values that were changed on the command line: dotted key and value.
    pub overrides: Vec<(String, String)>,
    /// The worst of the runs' verdicts and of `findings`, in a word.
    pub verdict: String,
    /// What did not hold over all seeds together.
    pub findings: Vec<Finding>,
    /// The seeds, in the order in which they ran.
    pub seeds: Vec<u64>,
}

/// What did not hold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The check, expectation or rule.
    pub check: String,
    /// The peer, if it was at one.
    pub peer: Option<String>,
    /// When, simulated seconds.
    pub at_s: f64,
    /// What was seen.
    pub message: String,
}

/// One run, as its file holds it: fields of [`json::run`], and its film.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names and meanings of `Outcome`")]
pub struct RunFile {
    pub seed: u64,
    pub network: String,
    pub trace_hash: String,
    pub events: u64,
    pub sim_seconds: f64,
    pub blocks: u64,
    pub bound_seconds: f64,
    pub bound_term: String,
    pub content_bytes: u64,
    pub pieces: u32,
    pub verdict: String,
    pub failures: Vec<Finding>,
    pub peers: Vec<PeerFile>,
    pub seed_uploaded: u64,
    pub server_uploaded: u64,
    pub copies_min: u32,
    pub utilisation: Option<f64>,
    pub checks: BTreeMap<String, u64>,
    pub sometimes: BTreeMap<String, u64>,
    pub film: PackedFilm,
}

/// One host of a run.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names and meanings of `PeerOutcome`")]
pub struct PeerFile {
    pub name: String,
    pub group: String,
    pub role: String,
    pub joined_s: f64,
    pub completed_s: Option<f64>,
    pub downloaded: u64,
    pub uploaded: u64,
    pub wasted: u64,
    pub online_s: f64,
    pub up: u64,
    pub attack: Option<String>,
}

impl Finding {
    /// What a page says of a failure.
    #[must_use]
    pub fn of(failure: &Failure) -> Finding {
        Finding {
            check: failure.check.clone(),
            peer: failure.peer.clone(),
            at_s: failure.at_s,
            message: failure.message.clone(),
        }
    }
}

impl PeerFile {
    /// Whether it comes for the content: its completion counts.
    #[must_use]
    pub fn takes(&self) -> bool {
        matches!(self.role.as_str(), "leecher" | "client")
    }
}

impl RunFile {
    /// Seconds from joining to the whole content, ascending, of those of a group that finished; of all groups with
    /// `None`.
    #[must_use]
    pub fn completions_s(&self, group: Option<&str>) -> Vec<f64> {
        let takers = self.peers.iter().filter(|p| p.takes());
        let mut times: Vec<f64> = takers
            .filter(|p| group.is_none_or(|group| p.group == group))
            .filter_map(|p| Some(p.completed_s? - p.joined_s))
            .collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// Those that come for the content.
    #[must_use]
    pub fn takers(&self) -> usize {
        self.peers.iter().filter(|p| p.takes()).count()
    }

    /// When the last one finished, if everybody did, seconds since the start of the run.
    #[must_use]
    pub fn last_s(&self) -> Option<f64> {
        let takers = self.peers.iter().filter(|p| p.takes());
        let times: Option<Vec<f64>> = takers.map(|p| p.completed_s).collect();
        times?.into_iter().max_by(f64::total_cmp)
    }

    /// The groups, in the order of the file.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for peer in &self.peers {
            if !groups.contains(&peer.group.as_str()) {
                groups.push(&peer.group);
            }
        }
        groups
    }

    /// Whether something did not hold.
    #[must_use]
    pub fn failed(&self) -> bool {
        !matches!(self.verdict.as_str(), "pass" | "unfinishable")
    }
}

/// What the file of a run holds.
///
/// # Panics
/// When the run was not filmed.
#[must_use]
pub fn run_file(outcome: &Outcome) -> Value {
    let film = outcome.film.as_ref().expect("the run was filmed");
    let mut value = json::run(outcome);
    value["film"] = serde_json::to_value(PackedFilm::of(film)).expect("numbers and words");
    value
}
