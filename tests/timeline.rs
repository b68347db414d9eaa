//! Owns what the timeline of `--perfetto` promises: JSON in Chrome's trace event format, time that goes on, and slices
//! that end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;
use skep_reports::perfetto::Timeline;
use skep_sim::campaign::{self, Job};
use skep_sim::outcome::Outcome;
use skep_sim::scenario::{Plan, Scenario};
use skep_sim::watch::{Kept, Watchers};

fn timeline(file: &str) -> (Plan, Outcome, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(file);
    let text = std::fs::read_to_string(path).expect("a scenario");
    let scenario = Scenario::parse(file, &text).expect("a good scenario");
    let seed = scenario.seeds()[0];
    let plan = scenario.expand(seed);
    let out = Kept::default();
    let timeline = Timeline::new(&plan, out.clone());
    let watchers = Watchers {
        listeners: vec![Box::new(timeline)],
        ..Watchers::default()
    };
    let scenario = &scenario;
    let outcome = campaign::run_one(Job { scenario, seed }, watchers).expect("a run");
    let plain = campaign::run_one(Job { scenario, seed }, None).expect("a run");
    assert_eq!(outcome.trace_hash, plain.trace_hash, "{file}");
    let Value::Array(events) = serde_json::from_slice(&out.take()).expect("JSON") else {
        panic!("{file}: an array");
    };
    (plan, outcome, events)
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} of {event}"))
}

fn number(event: &Value, key: &str) -> u64 {
    event[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} of {event}"))
}

#[test]
fn slices_end_and_time_goes_on() {
    for file in [
        "first-swarm.toml",
        "attacks/corrupt-one-block.toml",
        "churn/crash-and-resume.toml",
        "churn/users-pause.toml",
        "direct/server-crash-and-resume.toml",
        "network/power-loss.toml",
    ] {
        let (plan, outcome, events) = timeline(file);
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        let mut tracks: BTreeMap<(u64, String), (f64, i64)> = BTreeMap::new();
        let mut happened: BTreeMap<String, u64> = BTreeMap::new();
        for event in &events {
            let (pid, tid) = (number(event, "pid"), number(event, "tid"));
            let (name, phase) = (text(event, "name"), text(event, "ph"));
            let ts = event["ts"].as_f64().expect("a time");
            if phase == "M" {
                if name == "process_name" {
                    names.insert(pid, text(&event["args"], "name").to_owned());
                }
                continue;
            }
            assert!(names.contains_key(&pid), "{file}: of nobody: {event}");
            // A counter is a track of its own.
            let track = match phase {
                "C" => (pid, name.to_owned()),
                _ => (pid, tid.to_string()),
            };
            let (last, depth) = tracks.entry(track).or_insert((0.0, 0));
            assert!(ts >= *last, "{file}: back in time: {event}");
            assert!(
                ts <= outcome.sim_seconds * 1e6 + 1e6,
                "{file}: after the end: {event}"
            );
            *last = ts;
            match phase {
                "B" => *depth += 1,
                "E" => *depth -= 1,
                "i" => assert_eq!(text(event, "s"), "t"),
                "C" => {
                    number(&event["args"], "value");
                }
                other => panic!("{file}: {other}"),
            }
            assert!(*depth >= 0, "{file}: ends without a beginning: {event}");
            *happened.entry(name.to_owned()).or_default() += 1;
        }
        for (track, (_, depth)) in &tracks {
            assert_eq!(*depth, 0, "{file}: {track:?} is not over");
        }
        for host in &plan.hosts {
            assert!(
                names.values().any(|name| *name == host.name),
                "{file}: {}",
                host.name
            );
        }
        let times = |name: &str| happened.get(name).copied().unwrap_or(0);
        let completed = outcome
            .peers
            .iter()
            .filter(|p| p.role.takes() && p.completed_s.is_some());
        assert!(times("complete") >= completed.count() as u64, "{file}");
        match file {
            "attacks/corrupt-one-block.toml" => {
                let banned: u64 = outcome.peers.iter().map(|p| u64::from(p.banned_by)).sum();
                assert_eq!(times("banned"), banned);
                assert!(times("hash failed") > 0 && banned > 0);
            }
            "churn/users-pause.toml" => assert!(times("paused") > 0),
            "churn/crash-and-resume.toml" => assert!(times("crashed") > 0),
            "network/power-loss.toml" => assert!(times("power lost") > 0),
            "first-swarm.toml" => {
                // By name: stays, states, slots for each remote, pieces, counters.
                for name in [
                    "online",
                    "leecher",
                    "seed",
                    "home-1",
                    "piece 3",
                    "connections",
                ] {
                    assert!(times(name) > 0, "{name}");
                }
                assert!(times("sent, B/s") > 4 && times("received, B/s") > 16);
            }
            _ => {}
        }
    }
}

/// A disk that is always full.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_timeline_that_cannot_be_written_is_an_error() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/first-swarm.toml");
    let text = std::fs::read_to_string(path).expect("a scenario");
    let scenario = Scenario::parse("first-swarm.toml", &text).expect("a good scenario");
    let plan = scenario.expand(0);
    let watchers = Watchers {
        listeners: vec![Box::new(Timeline::new(&plan, Full))],
        ..Watchers::default()
    };
    let job = Job {
        scenario: &scenario,
        seed: 0,
    };
    let error = campaign::run_one(job, watchers).expect_err("no room");
    let full = io::Error::from(io::ErrorKind::StorageFull).to_string();
    assert_eq!(error.to_string(), full);
}
