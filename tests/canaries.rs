//! Each check catches the canary that is there for it, and no other check speaks up: a check that cannot fail is
//! no check. The same scenario without its canary passes.
//!
//! The canary `unseeded` is that of `tests/determinism.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use skep_sim::campaign::{self, Job};
use skep_sim::outcome::{Outcome, Verdict};
use skep_sim::scenario::Scenario;
use skep_sim::stall::{LINES_MAX, Stall, Stands};

/// Runs a canary's file, changed like this.
fn run(name: &str, change: impl Fn(&str) -> String) -> Outcome {
    let file = format!("tests/canaries/{name}.toml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let text = fs::read_to_string(path).expect("a canary's file");
    let scenario = Scenario::parse(&file, &change(&text)).expect("a good file");
    let job = Job {
        scenario: &scenario,
        seed: 0,
    };
    campaign::run_one(job, None).expect("a run without a panic")
}

/// Runs a canary: the verdict and what spoke up are these. Without the canary it passes.
fn caught(name: &str, verdict: Verdict, by: &[&str]) -> Outcome {
    let healthy = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("canary = "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let outcome = run(name, healthy);
    assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.failures);
    let outcome = run(name, str::to_owned);
    let spoke: BTreeSet<&str> = outcome.failures.iter().map(|f| f.check.as_str()).collect();
    assert_eq!(
        (outcome.verdict, spoke),
        (verdict, by.iter().copied().collect()),
        "{:?}",
        outcome.failures
    );
    outcome
}

/// What is told of the first peer that did not finish.
fn stall(outcome: &Outcome) -> &Stall {
    let failure = outcome.failures.first().expect("somebody did not finish");
    println!("{}", failure.message);
    let stall = failure.stall.as_ref().expect("why is told");
    assert_eq!(failure.peer.as_ref(), Some(&stall.peer));
    assert!(failure.message.ends_with(&stall.to_string()));
    assert!(failure.message.lines().count() <= LINES_MAX);
    stall
}

#[test]
fn a_picker_that_prefers_what_is_common_is_caught_by_what_is_expected() {
    let by = ["expect complete", "expect copies.min", "unfinishable"];
    let outcome = caught("rarest-disabled", Verdict::Expectation, &by);
    let copies = outcome
        .failures
        .iter()
        .find(|f| f.check == "expect copies.min");
    let said = &copies.expect("asserted").message;
    assert!(said.contains("measured 0"), "{said}");
}

#[test]
fn bans_that_nobody_makes_are_caught_by_what_is_expected() {
    caught(
        "bans-unheard",
        Verdict::Expectation,
        &["expect banned.poison"],
    );
}

#[test]
fn a_ban_that_is_ignored_when_somebody_comes_is_caught_by_who_looks_at_bans() {
    caught("bans-ignored", Verdict::Invariant, &["bans-hold"]);
}

#[test]
fn a_block_that_is_lost_is_caught_by_the_books_of_bytes() {
    caught("lost-block", Verdict::Invariant, &["bytes-conserved"]);
}

#[test]
fn a_bad_piece_called_good_is_caught_by_who_looks_at_the_disk() {
    caught("false-hash", Verdict::Invariant, &["no-wrong-byte"]);
}

#[test]
fn a_buffer_without_end_is_caught_by_the_bound_of_buffers() {
    caught("unbounded", Verdict::Invariant, &["buffers-bounded"]);
}

#[test]
fn a_seed_that_stalls_is_caught_by_liveness_which_names_it() {
    let outcome = caught("stalled", Verdict::Liveness, &["liveness"]);
    let stall = stall(&outcome);
    let wait = &stall.waits[0];
    let seed = wait.holders.iter().find(|holder| holder.peer == "seed");
    let seed = seed.expect("the seed holds every piece");
    let answers = matches!(seed.stands, Stands::Unchoked { since_s } if since_s < 30.0);
    assert!(answers && seed.asked_s.is_some(), "{seed:?}");
    assert!(stall.missing.len() > 16 && stall.last_block_s.is_some());
}

#[test]
fn a_hash_that_is_never_told_is_caught_by_liveness_which_names_the_piece() {
    let outcome = caught("hash-untold", Verdict::Liveness, &["liveness"]);
    assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
    let stall = stall(&outcome);
    assert_eq!((stall.peer.as_str(), stall.missing.len()), ("odd", 1));
    let wait = &stall.waits[0];
    assert_eq!((wait.received, wait.blocks), (8, 8));
    assert!(stall.to_string().contains("its hash is not told"));
}

#[test]
fn a_picker_that_declines_for_ever_is_caught_by_liveness_which_names_its_peer() {
    let outcome = caught("declining", Verdict::Liveness, &["liveness"]);
    assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
    let stall = stall(&outcome);
    assert_eq!((stall.peer.as_str(), stall.missing.len()), ("picky", 32));
    assert_eq!(stall.last_block_s, None);
}
