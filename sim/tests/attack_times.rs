//! Attackers act between their `from` and `until`, and at no other time, whatever the attack is; and what they send
//! each other is bounded, too.

use std::fs;
use std::path::Path;

use skep_sim::campaign::{self, Job};
use skep_sim::outcome::{Outcome, Verdict};
use skep_sim::scenario::Scenario;
use skep_sim::scenario::strategies::ATTACKS;
use skep_sim::trace::Lines;
use skep_sim::watch::Kept;

const SECOND: u64 = 1_000_000_000;

/// A run, and when whom of a group did harm.
fn harm(scenario: &Scenario, seed: u64, group: &str) -> (Outcome, Vec<(u64, String)>) {
    let kept = Kept::default();
    let lines = Lines::new(Box::new(kept.clone()));
    let outcome = campaign::run_one(Job { scenario, seed }, Some(lines)).expect("a run");
    let text = kept.take_text();
    let mut harm = Vec::new();
    for line in text
        .lines()
        .filter(|line| line.contains("\"attack-acted\""))
    {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event");
        let host = event["host"].as_str().expect("a host's name").to_owned();
        assert_eq!(event["event"], "attack-acted", "{line}");
        assert!(host.starts_with(group), "{host} is not of {group}");
        harm.push((event["t_ns"].as_u64().expect("a time"), host));
    }
    (outcome, harm)
}

#[test]
fn a_mixed_group_acts_in_its_time_alone() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/attacks/mixed-company.toml");
    let text = fs::read_to_string(&path).expect("the scenario");
    let scenario = Scenario::parse("mixed-company.toml", &text).expect("a good file");
    for seed in scenario.seeds() {
        let (outcome, harm) = harm(&scenario, *seed, "company");
        assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.failures);
        let from_until = 10 * SECOND..40 * SECOND;
        for (at, host) in &harm {
            assert!(from_until.contains(at), "seed {seed}: {host} at {at} ns");
        }
        let all = (0..8).map(|n| format!("company-{n}"));
        for host in all {
            assert!(
                harm.iter().any(|(_, who)| *who == host),
                "{host} did nothing"
            );
        }
    }
}

/// A swarm that is busy for more than 20 s, and joined by one more while the attack is on.
const BUSY: &str = r#"
name = "busy"
about = "A swarm with one attacker, who attacks for four seconds."
[run]
time_limit = "20 s"
settle = "5 s"
[torrent]
size = "16 MiB"
piece = "128 KiB"
[[group]]
name = "seed"
role = "seed"
up = "2 Mbit/s"
down = "20 Mbit/s"
[[group]]
name = "home"
role = "leecher"
count = 3
up = "1 Mbit/s"
down = "20 Mbit/s"
[[group]]
name = "late"
role = "leecher"
up = "1 Mbit/s"
down = "20 Mbit/s"
metainfo = "magnet"
arrive = { at = "12500 ms" }
[[group]]
name = "enemy"
role = "attacker"
attack = "ATTACK"
up = "1 Mbit/s"
down = "20 Mbit/s"
from = "12 s"
until = "16 s"
[tracker]
interval = "60 s"
"#;

#[test]
fn no_attack_acts_outside_its_time() {
    let mut wrong = Vec::new();
    for attack in ATTACKS.known {
        // A file server's, and the canary that needs a tag.
        if ["range-errors", "wrong-bytes", "unseeded"].contains(&attack.name) {
            continue;
        }
        let text = BUSY.replace("ATTACK", attack.name);
        let scenario = Scenario::parse("busy.toml", &text).expect("a good file");
        let (_, harm) = harm(&scenario, 0, "enemy");
        let outside = |(at, _): &&(u64, String)| !(12 * SECOND..16 * SECOND).contains(at);
        match harm.iter().find(outside) {
            Some(found) => wrong.push((attack.name, Some(found.clone()))),
            None if harm.is_empty() => wrong.push((attack.name, None)),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "outside their time, or never: {wrong:?}");
}

#[test]
fn attackers_that_ask_and_answer_each_other_keep_no_more_than_their_uplinks_carry() {
    let mix = r#"attack = { mix = { request-flood = "50%", corrupt-blocks = "50%" } }"#;
    let text = BUSY.replace("attack = \"ATTACK\"", &format!("{mix}\ncount = 4"));
    let scenario = Scenario::parse("busy.toml", &text).expect("a good file");
    let (outcome, harm) = harm(&scenario, 0, "enemy");
    assert!(harm.len() > 1000, "they meet: {}", harm.len());
    for enemy in outcome.peers.iter().filter(|p| p.group == "enemy") {
        let carried = enemy.up as f64 * enemy.online_s;
        // To each of the eight others a few megabytes may be on their way.
        let held = (enemy.uploaded as f64 - carried) / (1 << 20) as f64;
        assert!(held < 8.0 * 9.0, "{} keeps {held} MiB", enemy.name);
    }
}
