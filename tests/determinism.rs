//! The contract of every run: the same build, scenario and seed give the same trace, whichever
//! thread or process runs it, wherever and with whatever environment; another seed gives another.
//!
//! Over the scenarios with the tag `fast`. `.ci/run` compares the debug and the release build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_sim::campaign::{self, Job};
use skep_sim::scenario::Scenario;

/// The scenarios of the subset, at any depth.
fn fast_scenarios(folder: &Path) -> Vec<Scenario> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of scenarios") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            found.extend(fast_scenarios(&path));
        } else if path.extension().is_some_and(|e| e == "toml") {
            let text = fs::read_to_string(&path).expect("a readable scenario");
            let scenario = Scenario::parse(&path.display().to_string(), &text);
            found.extend(scenario.into_iter().filter(is_fast));
        }
    }
    found.sort_by(|a, b| a.file().cmp(b.file()));
    found
}

fn is_fast(scenario: &Scenario) -> bool {
    scenario.model().tags.iter().any(|tag| tag == "fast")
}

fn subset() -> Vec<Scenario> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let subset = fast_scenarios(&root.join("scenarios"));
    assert!(subset.len() >= 8, "{} scenarios are fast", subset.len());
    subset
}

/// Name, seed and trace hash of each run, in the order of the jobs.
fn hashes(jobs: &[Job<'_>], threads: usize) -> Vec<(String, u64, String)> {
    let outcomes = campaign::run_all(jobs, threads, |_| {}).expect("runs without a panic");
    let hash = |o: skep_sim::outcome::Outcome| (o.scenario, o.seed, o.trace_hash);
    outcomes.into_iter().map(hash).collect()
}

/// Every scenario of the subset with each of these seeds.
fn jobs<'a>(subset: &'a [Scenario], seeds: &[u64]) -> Vec<Job<'a>> {
    let pairs = subset
        .iter()
        .flat_map(|s| seeds.iter().map(move |n| (s, n)));
    pairs
        .map(|(scenario, &seed)| Job { scenario, seed })
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_trace_on_one_thread_and_on_several() {
    let subset = subset();
    let jobs = jobs(&subset, &[3]);
    let alone = hashes(&jobs, 1);
    assert_eq!(alone, hashes(&jobs, 4));
    // In another order, so that each run has other runs before it on its thread.
    let backwards: Vec<Job<'_>> = jobs.iter().rev().copied().collect();
    let mut again = hashes(&backwards, 1);
    again.reverse();
    assert_eq!(alone, again);
}

#[test]
fn another_seed_gives_another_trace() {
    let subset = subset();
    let mut seen = hashes(&jobs(&subset, &[1, 2]), 0);
    let runs = seen.len();
    seen.sort_by(|a, b| a.2.cmp(&b.2));
    seen.dedup_by(|a, b| a.2 == b.2);
    assert_eq!(seen.len(), runs, "every run has its own trace");
}

/// `skep run` in a process of its own: what it printed for each scenario.
fn process(subset: &[Scenario], folder: &Path, environment: &[(&str, &str)]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.arg("run").args(subset.iter().map(Scenario::file));
    command.args(["--seed", "7", "--json"]).current_dir(folder);
    command.env_clear().envs(environment.iter().copied());
    let output = command.output().expect("the program of this build");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let hash = |line: &str| {
        let run: serde_json::Value = serde_json::from_str(line).expect("one object per line");
        run["trace_hash"].as_str().expect("a hash").to_owned()
    };
    text.lines().map(hash).collect()
}

#[test]
fn the_same_seed_gives_the_same_trace_in_other_processes_places_and_environments() {
    let subset = subset();
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let within = hashes(&jobs(&subset, &[7]), 0);
    let within: Vec<String> = within.into_iter().map(|(_, _, hash)| hash).collect();
    assert_eq!(within, process(&subset, &here, &[]));
    let odd = [
        ("TZ", "Pacific/Chatham"),
        ("LANG", "tr_TR.UTF-8"),
        ("HOME", "/nonexistent"),
        ("RAYON_NUM_THREADS", "3"),
        ("TOKIO_WORKER_THREADS", "1"),
        ("RUST_LOG", "trace"),
        ("COLUMNS", "20"),
    ];
    assert_eq!(within, process(&subset, elsewhere.path(), &odd));
}

/// `skep run --check-determinism` over these files: its exit code and what it printed.
fn check_determinism(files: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.arg("run").args(files).arg("--check-determinism");
    let output = command.output().expect("the program of this build");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8(text).expect("UTF-8"),
    )
}

#[test]
fn two_processes_agree_on_a_healthy_scenario() {
    let (code, said) = check_determinism(&["scenarios/first-swarm.toml", "--seeds", "0..3"]);
    assert_eq!(code, Some(0), "{said}");
    for seed in 0..3 {
        let line = format!("first-swarm, seed {seed}: the same twice (");
        assert!(said.contains(&line), "{said}");
    }
}

#[test]
fn two_processes_agree_on_turmoil_with_faults_of_the_network() {
    let file = "scenarios/network/mass-reset.toml";
    let (code, said) = check_determinism(&[file, "--seed", "1", "--network", "turmoil"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("mass-reset, seed 1: the same twice ("),
        "{said}"
    );
}

#[test]
fn the_canary_that_draws_from_outside_the_seed_is_caught() {
    let file = "tests/canaries/unseeded.toml";
    let (code, said) = check_determinism(&[file]);
    assert_eq!(code, Some(70), "{said}");
    println!("{said}");
    assert!(said.contains("unseeded, seed 0: NOT THE SAME"), "{said}");
    let difference = said
        .split_once("the first difference")
        .expect("it is shown")
        .1;
    let sides = difference.split("  > ").skip(1).collect::<Vec<_>>();
    assert!(sides.len() == 2 && sides[0] != sides[1], "{said}");
    // What the canary claims is first heard by those who look at its pieces.
    assert!(difference.contains("task `peer`"), "{said}");
}

#[test]
fn a_canary_is_not_used_by_accident() {
    let text = fs::read_to_string("tests/canaries/unseeded.toml").expect("the canary");
    let text = text.replace("tags = [\"canary\"]", "tags = []");
    let errors = Scenario::parse("odd.toml", &text).expect_err("it needs its tag");
    let drawn = format!("{:?}", miette::Report::new(errors));
    assert!(drawn.contains("is there to be caught"), "{drawn}");
}
