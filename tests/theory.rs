//! The laws of `scenarios/theory/`, and what strategies are held against in `scenarios/compare/`: every variant on every
//! seed, by the command that a user has. Its exit code says whether all that the file expects holds.

use std::process::Command;

/// Compares a file; everything that it expects of the comparison must hold, and of each run.
fn holds(file: &str) {
    let out = tempfile::tempdir().expect("a folder");
    let compared = Command::new(env!("CARGO_BIN_EXE_skep"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["compare", file, "--out"])
        .arg(out.path())
        .output()
        .expect("skep starts");
    let said = String::from_utf8_lossy(&compared.stdout);
    let errors = String::from_utf8_lossy(&compared.stderr);
    assert!(compared.status.success(), "{file}\n{said}{errors}");
    assert!(
        said.contains("expected: "),
        "{file} expects something\n{said}"
    );
    let json = std::fs::read_to_string(out.path().join("compare.json")).expect("written");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for expected in json["expected"].as_array().expect("a list") {
        assert_eq!(expected["holds"], true, "{expected:#}");
    }
}

#[test]
fn a_server_takes_twice_as_long_for_twice_as_many_and_a_swarm_as_long_as_before() {
    holds("scenarios/theory/server-and-swarm.toml");
}

#[test]
fn four_times_as_many_peers_cost_the_same_again_and_less_with_more_pieces() {
    holds("scenarios/theory/log-of-n-over-m.toml");
}

#[test]
fn twice_the_arrivals_are_twice_the_leechers() {
    holds("scenarios/theory/littles-law.toml");
}

#[test]
fn the_time_in_a_steady_swarm_does_not_depend_on_the_rate_of_arrivals() {
    holds("scenarios/theory/arrival-rate.toml");
}

#[test]
fn the_capacity_of_a_flash_crowd_doubles_again_and_again() {
    holds("scenarios/theory/capacity-doubles.toml");
}

#[test]
fn a_swarm_takes_as_long_when_news_and_requests_are_sent_several_together() {
    holds("scenarios/compare/batches.toml");
}

#[test]
fn pickers_that_know_the_playhead_let_players_begin_sooner() {
    holds("scenarios/compare/streaming.toml");
}
