//! Peers who tell each other whom they know keep a swarm together when the tracker is gone: in
//! `scenarios/peers/swarm-lives-on-pex.toml` everybody finishes, and without peer exchange not.

use std::fs;
use std::path::Path;

use skep_sim::campaign;
use skep_sim::scenario::Scenario;

/// Of each seed, how many of those who stay did not finish.
fn unfinished(set: &[(String, String)]) -> Vec<usize> {
    let file = "scenarios/peers/swarm-lives-on-pex.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the scenario");
    let scenario = Scenario::parse(file, &text).expect("a right scenario");
    let scenario = scenario.with(set).expect("a right setting");
    let report = campaign::run_scenario(&scenario, scenario.seeds(), 0, |_| {}).expect("runs");
    let outcomes = report.outcomes.iter();
    let unfinished = outcomes.map(|outcome| {
        let home = outcome.peers.iter().filter(|p| p.group == "home");
        home.filter(|p| p.completed_s.is_none()).count()
    });
    unfinished.collect()
}

#[test]
fn the_swarm_stays_together_with_peer_exchange_and_falls_apart_without() {
    let with = unfinished(&[]);
    let without = unfinished(&[("engine.pex".to_owned(), "false".to_owned())]);
    println!("unfinished of 8 at home, with exchange {with:?}, without {without:?}");
    assert!(with.iter().all(|lost| *lost == 0), "{with:?}");
    let apart = without.iter().filter(|lost| **lost > 0).count();
    assert!(2 * apart >= without.len(), "{without:?}");
}
