//! What a swarm buys, over every variant of `scenarios/compare/direct-vs-swarm.toml`: direct download takes
//! what its server's uplink takes, whatever N is; a swarm stays near its own limit, which hardly grows.

use std::fs;
use std::path::Path;

use skep_reports::compare::{Record, VariantRuns};
use skep_reports::sweep::{self, Sweep, Way};
use skep_reports::{chart, summary};
use skep_sim::campaign::{self, Job};
use skep_sim::scenario::Scenario;

/// Every variant with the first seed; each must keep what the file expects of it.
fn swept() -> Sweep {
    let file = "scenarios/compare/direct-vs-swarm.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the scenario");
    let base = Scenario::parse(file, &text).expect("a right scenario");
    let seed = base.seeds()[0];
    let variants = base.variants();
    let scenarios: Vec<Scenario> = variants
        .iter()
        .map(|variant| base.with(&variant.set).expect("a right variant"))
        .collect();
    let jobs: Vec<Job<'_>> = scenarios
        .iter()
        .map(|s| Job { scenario: s, seed })
        .collect();
    let outcomes = campaign::run_all(&jobs, 0, |_| {}).expect("runs");
    for (variant, outcome) in variants.iter().zip(&outcomes) {
        let failed = summary::failures(&outcome.failures, "the same variant");
        assert!(!outcome.verdict.failed(), "{}: {failed}", variant.label);
    }
    let runs = variants.into_iter().zip(outcomes);
    let runs = runs.map(|(variant, outcome)| VariantRuns {
        label: variant.label,
        choices: variant.choices,
        runs: vec![Record::of(&outcome)],
    });
    sweep::sweep(base.name(), &runs.collect::<Vec<_>>()).expect("N varies")
}

fn way<'s>(sweep: &'s Sweep, name: &str) -> &'s Way {
    let mut ways = sweep.ways.iter();
    ways.find(|way| way.name == name)
        .expect("a way of the file")
}

#[test]
fn time_grows_with_n_for_direct_download_and_hardly_for_a_swarm() {
    let sweep = swept();
    let numbers: Vec<u64> = sweep.numbers.iter().map(|n| n.n).collect();
    assert_eq!(numbers, [1, 2, 4, 8, 16, 32, 64]);
    let (direct, swarm) = (way(&sweep, "direct download"), way(&sweep, "swarm"));
    // N F / u_s, by hand: 16 MiB each at 10 Mbit/s.
    for (number, point) in sweep.numbers.iter().zip(&direct.points) {
        let ideal = number.n as f64 * f64::from(16 << 20) / 1.25e6;
        let limit = number.direct_limit_s.expect("a limit");
        assert!(
            (limit / ideal - 1.0).abs() < 1e-9,
            "{limit} s, not {ideal} s"
        );
        let took = point.last_s.expect("everybody finished");
        assert!(
            (1.0..=1.05).contains(&(took / ideal)),
            "{took} s of {ideal} s"
        );
    }
    let (first, last) = (&swarm.points[0], &swarm.points[6]);
    let bound = last.times_bound.expect("everybody finished");
    assert!(bound <= 1.7, "{bound} x bound with 64");
    let grew = last.last_s.expect("a time") / first.last_s.expect("a time");
    assert!(grew < 5.0, "64 leechers take {grew} times as long as one");
    let gain = last.gain.expect("a gain");
    assert!(
        gain > 12.0,
        "a swarm of 64 is {gain} times as fast as direct download could be"
    );
    let svg = chart::draw(&sweep).expect("a picture");
    assert_eq!(svg, chart::draw(&sweep).expect("a picture"));
}
