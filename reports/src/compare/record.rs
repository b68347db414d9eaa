//! Owns what is kept of a run of a comparison: everything that a comparison, its tables and its reports are made of.
//!
//! Invariant: a record is a function of the plan: what a run cost is not in it. Read back from JSON it is the same to
//! the last bit, so a comparison of kept runs is that of fresh ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skep_sim::evaluate;
use skep_sim::outcome::{Outcome, PeerOutcome, Verdict};
use skep_sim::scenario::metrics::{METRICS, MetricName};

/// The last completion over the run's own physical limit.
pub const X_BOUND: &str = "x bound";
/// Honest leechers and clients that did not finish.
pub const UNFINISHED: &str = "unfinished";

/// One run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its seed.
    pub seed: u64,
    /// Its verdict, in a word.
    pub verdict: String,
    /// What did not hold, in words.
    pub failures: Vec<String>,
    /// The hash of its trace.
    pub trace_hash: String,
    /// Events in its trace.
    pub events: u64,
    /// Blocks that honest peers received.
    pub blocks: u64,
    /// Simulated seconds.
    pub sim_seconds: f64,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// The physical limit of the last completion, seconds since the start of the run.
    pub bound_s: f64,
    /// Which term of it binds.
    pub bound_term: String,
    /// No direct download on these links ends earlier, seconds.
    pub direct_limit_s: Option<f64>,
    /// No swarm on these links ends earlier, seconds.
    pub swarm_limit_s: Option<f64>,
    /// When each honest leecher and client that finished did, seconds since the start of the run, ascending.
    pub finished_s: Vec<f64>,
    /// How many of them did not finish.
    pub unfinished: usize,
    /// Every metric that the run has, by its full name; of groups too.
    pub metrics: BTreeMap<String, f64>,
    /// Every host.
    pub peers: Vec<Peer>,
}

/// What one host did; see [`PeerOutcome`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names and meanings of `PeerOutcome`")]
pub struct Peer {
    pub name: String,
    pub group: String,
    pub role: String,
    /// Whether it downloads and is honest: its completion counts.
    pub takes: bool,
    pub joined_s: f64,
    pub completed_s: Option<f64>,
    pub first_block_s: Option<f64>,
    pub first_piece_s: Option<f64>,
    pub online_s: f64,
    pub downloaded: u64,
    pub uploaded: u64,
    pub wasted: u64,
    pub duplicates: u64,
    pub hash_failed: u64,
    pub control: u64,
    pub up: u64,
    pub announces: u32,
    pub banned_by: u32,
    pub attack: Option<String>,
}

impl Record {
    /// What is kept of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Record {
        let finished_s = outcome.completions();
        let takers = outcome.peers.iter().filter(|p| p.role.takes()).count();
        Record {
            seed: outcome.seed,
            verdict: outcome.verdict.word().to_owned(),
            failures: outcome.failures.iter().map(|f| f.message.clone()).collect(),
            trace_hash: outcome.trace_hash.clone(),
            events: outcome.events,
            blocks: outcome.blocks,
            sim_seconds: outcome.sim_seconds,
            content_bytes: outcome.content_bytes,
            bound_s: outcome.bound.seconds,
            bound_term: outcome.bound.term.to_owned(),
            direct_limit_s: outcome.both_ways.direct,
            swarm_limit_s: outcome.both_ways.swarm,
            unfinished: takers - finished_s.len(),
            finished_s,
            metrics: metrics(outcome),
            peers: outcome.peers.iter().map(Peer::of).collect(),
        }
    }

    /// Whether the run passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Pass.word()
    }

    /// The value of a metric, by its full name, [`X_BOUND`] or [`UNFINISHED`].
    ///
    /// A time of completion is that of all: of a run in which somebody did not finish there is none, because those
    /// who did are no fair sample of all. [`UNFINISHED`] says how many they are.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        match name {
            UNFINISHED => Some(self.unfinished as f64),
            X_BOUND => self.times_bound(),
            _ if name.starts_with("completion.") && self.unfinished > 0 => None,
            _ => self.metrics.get(name).copied(),
        }
    }

    /// The last completion over the bound, when everybody finished.
    #[must_use]
    pub fn times_bound(&self) -> Option<f64> {
        let last = self.last_s()?;
        (self.bound_s > 0.0).then(|| last / self.bound_s)
    }

    /// The last completion, seconds since the start of the run, when everybody finished.
    #[must_use]
    pub fn last_s(&self) -> Option<f64> {
        self.finished_s
            .last()
            .copied()
            .filter(|_| self.unfinished == 0)
    }

    /// Seconds from joining to the whole content, ascending, of all that finished.
    #[must_use]
    pub fn completions_s(&self) -> Vec<f64> {
        let takers = self.peers.iter().filter(|p| p.takes);
        let mut times: Vec<f64> = takers
            .filter_map(|p| Some(p.completed_s? - p.joined_s))
            .collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

impl Peer {
    fn of(peer: &PeerOutcome) -> Peer {
        Peer {
            name: peer.name.clone(),
            group: peer.group.clone(),
            role: peer.role.word().to_owned(),
            takes: peer.role.takes(),
            joined_s: peer.joined_s,
            completed_s: peer.completed_s,
            first_block_s: peer.first_block_s,
            first_piece_s: peer.first_piece_s,
            online_s: peer.online_s,
            downloaded: peer.downloaded,
            uploaded: peer.uploaded,
            wasted: peer.wasted,
            duplicates: peer.duplicates,
            hash_failed: peer.hash_failed,
            control: peer.control,
            up: peer.up,
            announces: peer.announces,
            banned_by: peer.banned_by,
            attack: peer.attack.clone(),
        }
    }
}

/// Every metric that an outcome has.
fn metrics(outcome: &Outcome) -> BTreeMap<String, f64> {
    let groups: BTreeSet<&str> = outcome.peers.iter().map(|p| p.group.as_str()).collect();
    let mut all = BTreeMap::new();
    for metric in METRICS {
        let stats = metric.stats.iter().copied().map(Some);
        let stats: Vec<_> = if metric.stats.is_empty() {
            vec![None]
        } else {
            stats.collect()
        };
        let of_groups = groups.iter().copied().map(Some);
        for group in [None]
            .into_iter()
            .chain(of_groups.filter(|_| metric.per_group))
        {
            for stat in &stats {
                let name = MetricName {
                    metric,
                    stat: *stat,
                    group: group.map(str::to_owned),
                };
                // JSON has no other numbers.
                if let Some(value) = evaluate::metric(outcome, &name).filter(|v| v.is_finite()) {
                    all.insert(name.full(), value);
                }
            }
        }
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run in which everybody finished at these seconds.
    pub(crate) fn record(seed: u64, finished_s: &[f64]) -> Record {
        let peer = |at: &f64| Peer {
            name: "home-0".to_owned(),
            group: "home".to_owned(),
            role: "leecher".to_owned(),
            takes: true,
            joined_s: 0.5,
            completed_s: Some(*at),
            first_block_s: Some(1.0 / 3.0),
            first_piece_s: None,
            online_s: 0.1 + 0.2,
            downloaded: u64::MAX,
            uploaded: 1,
            wasted: 0,
            duplicates: 0,
            hash_failed: 0,
            control: 0,
            up: 1,
            announces: 0,
            banned_by: 0,
            attack: None,
        };
        let last = finished_s.last().copied().unwrap_or_default();
        Record {
            seed,
            verdict: "pass".to_owned(),
            failures: Vec::new(),
            trace_hash: format!("{seed:x}"),
            events: 1,
            blocks: 1,
            sim_seconds: last,
            content_bytes: 1,
            bound_s: 2.0,
            bound_term: "F/u_s".to_owned(),
            direct_limit_s: None,
            swarm_limit_s: None,
            finished_s: finished_s.to_vec(),
            unfinished: 0,
            metrics: BTreeMap::from([
                ("completion.p50".to_owned(), last),
                ("wasted".to_owned(), 0.1),
            ]),
            peers: finished_s.iter().map(peer).collect(),
        }
    }

    #[test]
    fn it_comes_back_from_json_to_the_last_bit() {
        // Some of these are read wrongly in the last bit by a parser that is in a hurry.
        let finished: Vec<f64> = (1..2000).map(|i| 1e3 / f64::from(i) / 7.0).rev().collect();
        let record = record(3, &finished);
        let json = serde_json::to_string(&record).expect("numbers and words");
        let back: Record = serde_json::from_str(&json).expect("ours");
        assert_eq!(back, record);
    }

    #[test]
    fn of_a_run_that_not_all_finished_there_is_no_time_of_completion() {
        let mut run = record(0, &[3.0, 4.0]);
        assert_eq!(run.value("completion.p50"), Some(4.0));
        assert_eq!(
            (run.value(X_BOUND), run.value("share.jain")),
            (Some(2.0), None)
        );
        run.unfinished = 1;
        assert_eq!(
            (run.value("completion.p50"), run.value(X_BOUND)),
            (None, None)
        );
        assert_eq!(
            (run.value(UNFINISHED), run.value("wasted")),
            (Some(1.0), Some(0.1))
        );
        assert_eq!(run.completions_s(), [2.5, 3.5]);
    }
}
