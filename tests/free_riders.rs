//! Who never gives must not do better than who does: over many seeds of `scenarios/free-riders.toml`,
//! where the sum of uplinks binds, the riders' median is not below the honest peers'.
//!
//! One run says little (the seed serves everybody alike, and optimistic slots are luck), so this is
//! asked of twenty together; what each run must keep stands in the scenario.

use std::fs;
use std::path::Path;

use skep_sim::campaign;
use skep_sim::outcome::Outcome;
use skep_sim::scenario::Scenario;

/// The median over a group's members of the time to completion. Who was not done when the run
/// ended takes longer than everybody who was. Of an even number the lower of the middle two.
fn median_s(outcome: &Outcome, group: &str) -> f64 {
    let of_group = outcome.peers.iter().filter(|p| p.group == group);
    let mut times: Vec<f64> = of_group
        .map(|p| p.completed_s.unwrap_or(f64::INFINITY))
        .collect();
    times.sort_by(f64::total_cmp);
    times[(times.len() - 1) / 2]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[test]
fn over_twenty_seeds_riders_do_not_beat_honest_peers() {
    let file = "scenarios/free-riders.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the scenario");
    let scenario = Scenario::parse(file, &text).expect("a right scenario");
    let seeds: Vec<u64> = (0..20).collect();
    let report = campaign::run_scenario(&scenario, &seeds, 0, |_| {}).expect("runs");
    let of = |group| {
        let medians = report.outcomes.iter().map(|o| median_s(o, group));
        median(medians.collect())
    };
    let (honest, riders) = (of("home"), of("rider"));
    println!("median of 20 medians: honest {honest:.1} s, riders {riders:.1} s");
    assert!(
        riders >= honest,
        "riders finish after {riders} s, honest peers after {honest} s"
    );
}
