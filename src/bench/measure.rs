//! Owns measuring one workload in this process.
//!
//! Invariant: the run is that of `skep run`, with its trace and its checks; the yardstick is measured right
//! before and right after it.

use skep_reports::bench::{Measured, Row};
use skep_sim::campaign::{self, Job, RunError};
use skep_sim::outcome::Outcome;
use skep_sim::scenario::Scenario;
use skep_sim::yardstick::hash_content;

use super::workloads::Workload;
use crate::failure::{Exit, Failure};

/// CPU seconds of hashing before, and again after the run.
const YARDSTICK_SECONDS: f64 = 0.5;

/// Measures a row. Who is `unconnected` has a tracker that never answers, and little time.
pub fn row(workload: &Workload, unconnected: bool) -> Result<Row, Failure> {
    let refused = |refused, measured| Row {
        name: workload.name.to_owned(),
        network: workload.network.to_owned(),
        measured,
        refused,
    };
    let mut set = Vec::new();
    for (key, value) in workload.set {
        set.push(((*key).to_owned(), (*value).to_owned()));
    }
    if unconnected {
        let bare = [
            ("tracker.until", "0 s"),
            ("run.settle", "1 s"),
            ("run.time_limit", "2 s"),
        ];
        set.extend(bare.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    let scenario = match Scenario::parse_with(workload.name, workload.text, &set) {
        Ok(scenario) => scenario,
        // What this build cannot run is a row without numbers.
        Err(errors) if workload.network != "fabric" => {
            let why = errors.problems.iter().map(ToString::to_string);
            return Ok(refused(Some(why.collect::<Vec<_>>().join("; ")), None));
        }
        Err(errors) => return Err(Failure::drawn(Exit::Bug, errors)),
    };
    let runs = if unconnected { 1 } else { workload.runs };
    let measured = measure(&scenario, runs, !unconnected).map_err(|error| {
        let exit = match error {
            RunError::Panicked { .. } => Exit::Bug,
            _ => Exit::Failed,
        };
        Failure::new(exit, error)
    })?;
    Ok(refused(None, Some(measured)))
}

fn measure(scenario: &Scenario, runs: u32, yardstick: bool) -> Result<Measured, RunError> {
    let seed = scenario.seeds()[0];
    let plan = scenario.expand(seed);
    let at_least = if yardstick { YARDSTICK_SECONDS } else { 0.0 };
    let before = hash_content(&plan, at_least);
    let mut outcomes = Vec::new();
    for _ in 0..runs {
        outcomes.push(campaign::run_one(Job { scenario, seed }, None)?);
    }
    let peak = peak_rss_bytes();
    let hashed = before.and(hash_content(&plan, at_least));
    outcomes.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
    let outcome = &outcomes[outcomes.len() / 2];
    let received: u64 = outcome.peers.iter().map(|p| p.downloaded).sum();
    // Without a yardstick there is no number, and without bytes no time.
    let sha1_seconds = if received > 0 {
        hashed.seconds_for(received)
    } else {
        0.0
    };
    let Outcome {
        cpu_seconds,
        sim_seconds,
        blocks,
        messages,
        ..
    } = *outcome;
    Ok(Measured {
        verdict: outcome.verdict.word().to_owned(),
        trace_hash: outcome.trace_hash.clone(),
        peers: outcome.peers.len() as u64,
        blocks,
        messages,
        sim_seconds,
        cpu_seconds,
        runs,
        blocks_per_cpu_second: blocks as f64 / cpu_seconds,
        messages_per_cpu_second: messages as f64 / cpu_seconds,
        sim_per_cpu: sim_seconds / cpu_seconds,
        sha1_seconds,
        sha1_ratio: if received > 0 {
            cpu_seconds / sha1_seconds
        } else {
            0.0
        },
        peak_rss_bytes: peak,
        connections: outcome.connections as u64,
        bytes_per_connection: None,
    })
}

/// The most memory that this process ever held, as Linux tells; other systems say nothing.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
