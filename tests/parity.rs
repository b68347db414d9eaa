//! The two simulated networks against each other: every scenario of at most 20 hosts that turmoil can run, on
//! both, with the same seeds.
//!
//! They must agree: the same verdict, a last completion that differs by at most 10 % in the median over the
//! seeds, and, where a scenario demands that all honest peers complete, the same peers complete in every run.
//! A difference is a bug in one of them. Where the times of a scenario's own seeds scatter so much that the
//! median of ten says little, the medians are those of more seeds; that is decided before anything is compared,
//! by the fabric's times alone. The scenarios with the tag `parity-fast` are compared always, with few
//! seeds; all of them on request: `cargo test --release --test parity -- --ignored --nocapture`, or with `PARITY=TEXT`
//! before it those that have that text in their path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use skep_sim::campaign::{self, Job, Report};
use skep_sim::network::turmoil::fits_turmoil;
use skep_sim::outcome::Outcome;
use skep_sim::scenario::Scenario;
use skep_sim::scenario::expect::ExpectationKind;

/// Most hosts of a scenario that is compared.
const HOSTS_MAX: usize = 20;
/// By how much the medians may differ.
const TOLERANCE: f64 = 0.10;
/// Least seeds when all scenarios are compared.
const SEEDS: u64 = 10;
/// Seeds for the median of times that scatter: that of 80 was off by 3 % on each network.
const SEEDS_SCATTERED: u64 = 320;
/// Seeds of the fast subset.
const SEEDS_FAST: u64 = 3;

/// Scenarios whose times are known to differ by more, and why. One that agrees again is to be taken off.
const KNOWN_TO_DIFFER: [(&str, &str); 1] = [(
    "scenarios/regressions/super-seed-and-one-leecher.toml",
    "one or two blocks are on their way at a time, and the fabric's downlink waits for a whole block before it \
     carries its first byte: 54 ms for what takes 39 ms segment by segment, and 42 ms in turmoil's 4 KiB parcels",
)];

/// Scenario files under a folder, at any depth, in the order of their paths.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of scenarios") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn scenarios() -> Vec<Scenario> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable scenario");
        let shown = path.strip_prefix(root).expect("found there");
        Scenario::parse(&shown.display().to_string(), &text).expect("a scenario of ours is right")
    };
    files(&root.join("scenarios"))
        .into_iter()
        .map(read)
        .collect()
}

/// Why a scenario is not compared, if it is not.
fn refused(scenario: &Scenario, seeds: &[u64]) -> Option<String> {
    for &seed in seeds {
        let plan = scenario.expand(seed);
        if plan.hosts.len() > HOSTS_MAX {
            return Some(format!("{} hosts", plan.hosts.len()));
        }
        if let Err(why) = fits_turmoil(&plan) {
            return Some(why.to_string());
        }
    }
    None
}

/// All runs of a scenario on one network, judged together.
fn runs(scenario: &Scenario, network: &str, seeds: &[u64]) -> Report {
    let network = ("run.network".to_owned(), network.to_owned());
    let scenario = scenario
        .with(&[network])
        .expect("a key that every scenario may have");
    campaign::run_scenario(&scenario, seeds, 0, |_| {}).expect("runs without a panic")
}

/// The last completions of the runs in which anybody completed, in the order of time.
fn last_completions(report: &Report) -> Vec<f64> {
    let last = |outcome: &Outcome| outcome.completions().last().copied();
    let mut all: Vec<f64> = report.outcomes.iter().filter_map(last).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Whether the second and the last but one of the runs, between which the true median is (for ten seeds with
/// 97.9 %), are further apart than the tolerance to both sides.
fn scatters(report: &Report) -> bool {
    let all = last_completions(report);
    let median = last_completion(report);
    median.is_some_and(|m| all.len() > 3 && all[all.len() - 2] - all[1] > 2.0 * TOLERANCE * m)
}

/// The median of the last completions; `None` when nobody completed.
fn last_completion(report: &Report) -> Option<f64> {
    let all = last_completions(report);
    let (n, middle) = (all.len(), all.len() / 2);
    match n {
        0 => None,
        n if n % 2 == 1 => Some(all[middle]),
        _ => Some((all[middle - 1] + all[middle]) / 2.0),
    }
}

/// Which honest peers completed in a run.
fn completed(outcome: &Outcome) -> BTreeSet<&str> {
    let peers = outcome.peers.iter();
    let peers = peers.filter(|p| p.honest() && p.completed_s.is_some());
    peers.map(|p| p.name.as_str()).collect()
}

fn demands_all(scenario: &Scenario) -> bool {
    let demands = |e: &skep_sim::scenario::expect::Expectation| {
        matches!(&e.kind, ExpectationKind::Complete { .. }) && e.text.trim() == "all honest"
    };
    scenario.model().expect.iter().any(demands)
}

fn shown_name(scenario: &Scenario) -> &str {
    scenario.file().trim_start_matches("scenarios/")
}

/// Compares one scenario; prints its line of the table, and returns what differs.
fn compare(scenario: &Scenario, seeds: &[u64]) -> Vec<String> {
    let (fabric, turmoil) = (
        runs(scenario, "fabric", seeds),
        runs(scenario, "turmoil", seeds),
    );
    let scattered = seeds.len() as u64 >= SEEDS && scatters(&fabric);
    let (a, b) = if scattered {
        let more: Vec<u64> = (0..SEEDS_SCATTERED).collect();
        let last = |network| last_completion(&runs(scenario, network, &more));
        (last("fabric"), last("turmoil"))
    } else {
        (last_completion(&fabric), last_completion(&turmoil))
    };
    let sampled = if scattered {
        SEEDS_SCATTERED
    } else {
        seeds.len() as u64
    };
    let ratio = a.zip(b).map(|(a, b)| b / a);
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
    let cpu = |report: &Report| {
        let (cpu, sim) = report.outcomes.iter().fold((0.0, 0.0), |(cpu, sim), o| {
            (cpu + o.cpu_seconds, sim + o.sim_seconds)
        });
        format!("{:.4}", cpu / sim)
    };
    println!(
        "{:<44} {:>5} {:>9} {:>9} {:>6}  {:<12} {:<12} {} {}",
        shown_name(scenario),
        sampled,
        shown(a),
        shown(b),
        shown(ratio),
        fabric.verdict.word(),
        turmoil.verdict.word(),
        cpu(&fabric),
        cpu(&turmoil),
    );
    let mut differences = Vec::new();
    let mut differ = |what: String| differences.push(format!("{}: {what}", scenario.file()));
    if fabric.verdict != turmoil.verdict {
        let failures = |report: &Report| {
            let of_runs = report.outcomes.iter().flat_map(|o| {
                let failures = o.failures.iter();
                failures.map(|f| format!("seed {}: {}: {}", o.seed, f.check, f.message))
            });
            let all = report.failures.iter().map(|f| f.message.clone());
            of_runs.chain(all).take(4).collect::<Vec<_>>().join("; ")
        };
        differ(format!(
            "{} on fabric ({}), {} on turmoil ({})",
            fabric.verdict.word(),
            failures(&fabric),
            turmoil.verdict.word(),
            failures(&turmoil),
        ));
    }
    let known = KNOWN_TO_DIFFER
        .iter()
        .find(|(file, _)| *file == scenario.file());
    match (a, b, known) {
        (Some(a), Some(b), None) if (b / a - 1.0).abs() > TOLERANCE => {
            differ(format!(
                "the last completion is at {a:.2} s and at {b:.2} s"
            ));
        }
        (Some(a), Some(b), Some(_)) if (b / a - 1.0).abs() <= TOLERANCE => {
            differ("the times agree again: take it off the list".to_owned());
        }
        (Some(_), Some(_), Some((_, why))) => println!("  known to differ: {why}"),
        (Some(_), None, _) | (None, Some(_), _) => {
            differ("nobody completes on one of them".to_owned());
        }
        _ => {}
    }
    if demands_all(scenario) {
        for (one, other) in fabric.outcomes.iter().zip(&turmoil.outcomes) {
            let (one, other) = (completed(one), completed(other));
            if one != other {
                differ(format!("{one:?} complete on fabric, {other:?} on turmoil"));
            }
        }
    }
    differences
}

/// Compares scenarios with at least so many seeds, prints the table as it goes, and fails on what differs.
fn compare_all<'a>(scenarios: impl Iterator<Item = &'a Scenario>, least: u64) {
    println!(
        "{:<44} {:>5} {:>9} {:>9} {:>6}  {:<12} {:<12} CPU s per simulated s",
        "scenario", "seeds", "fabric s", "turmoil s", "ratio", "fabric", "turmoil"
    );
    let (mut compared, mut differences) = (0, Vec::new());
    for scenario in scenarios {
        let own = scenario.seeds().iter().copied();
        let seeds: BTreeSet<u64> = match least {
            SEEDS_FAST => (0..least).collect(),
            _ => own.chain(0..least).collect(),
        };
        let seeds: Vec<u64> = seeds.into_iter().collect();
        match refused(scenario, &seeds) {
            Some(why) => println!("{:<44} not compared: {why}", shown_name(scenario)),
            None => {
                differences.extend(compare(scenario, &seeds));
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "nothing was compared");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn is_fast(scenario: &&Scenario) -> bool {
    scenario.model().tags.iter().any(|tag| tag == "parity-fast")
}

#[test]
fn the_fast_subset_agrees() {
    compare_all(scenarios().iter().filter(is_fast), SEEDS_FAST);
}

#[test]
fn the_same_seed_gives_the_same_trace_on_turmoil() {
    let on_turmoil = [("run.network".to_owned(), "turmoil".to_owned())];
    let all = scenarios();
    let fast = all.iter().filter(is_fast);
    let fast: Vec<Scenario> = fast
        .map(|scenario| scenario.with(&on_turmoil).expect("it may have that key"))
        .collect();
    let hashes = |threads: usize, seed: u64| -> Vec<String> {
        let jobs = fast.iter().map(|scenario| Job { scenario, seed });
        let jobs: Vec<Job<'_>> = jobs.collect();
        let outcomes = campaign::run_all(&jobs, threads, |_| {}).expect("runs without a panic");
        outcomes.into_iter().map(|o| o.trace_hash).collect()
    };
    let alone = hashes(1, 3);
    assert_eq!(alone, hashes(2, 3));
    assert!(
        alone
            .iter()
            .zip(hashes(2, 4))
            .all(|(one, other)| *one != other)
    );
}

#[test]
#[ignore = "minutes: cargo test --release --test parity -- --ignored --nocapture"]
fn everything_that_fits_agrees() {
    // `PARITY=udp-tracker` compares those that have it in their path.
    let part = std::env::var_os("PARITY").unwrap_or_default();
    let part = part.to_string_lossy();
    let all = scenarios();
    let chosen = all
        .iter()
        .filter(|scenario| scenario.file().contains(&*part));
    compare_all(chosen, SEEDS);
}
