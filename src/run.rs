//! Owns `skep run`: scenarios on the simulated network, every seed, on all cores.
//!
//! Invariant: stdout holds the runs in the order of files and seeds, whatever finished first; with
//! `--json` one object per run and nothing else. The exit code is the worst of all runs.

use skep_reports::{json, junit, summary};
use skep_sim::campaign::{self, Job, RunError};
use skep_sim::outcome::{Outcome, Verdict};
use skep_sim::scenario::Scenario;
use skep_sim::watch::Watchers;

use crate::args::{NETWORK_KEY, RunArgs};
use crate::check::{read_scenario_with, scenario_files};
use crate::determinism;
use crate::failure::{Exit, Failure, print, tell};
use crate::humane::paragraph;
use crate::report;
use crate::terminal::{self, Ticker, is_quiet};
use crate::watch;
use crate::whole;

/// Runs up to this many are shown in full; of more, one line each and the failed ones in full.
const IN_FULL_MAX: usize = 4;

/// Runs the command.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let mut scenarios = Vec::new();
    let mut wrong = None;
    let set = args.set();
    for path in scenario_files(&args.files)? {
        match read_scenario_with(&path, &set) {
            Ok(scenario) if args.out.is_some() => scenarios.push(scenario.filmed()),
            Ok(scenario) => scenarios.push(scenario),
            Err(failure) => wrong = Some(failure.tell()),
        }
    }
    if let Some(exit) = wrong {
        return Ok(exit);
    }
    if args.out.is_some() && scenarios.len() != 1 {
        let text = format!(
            "--out takes one scenario, and these are {}",
            scenarios.len()
        );
        let help = "give one file, and each its own folder";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    let jobs: Vec<Job<'_>> = scenarios
        .iter()
        .flat_map(|scenario| {
            let seeds = args.seeds().unwrap_or_else(|| scenario.seeds().to_vec());
            seeds.into_iter().map(move |seed| Job { scenario, seed })
        })
        .collect();
    if args.check_determinism {
        return determinism::check(args, &jobs);
    }
    if args.probe {
        return determinism::probe(args, &jobs);
    }
    let outcomes = match args.watch.first() {
        Some(option) => vec![watch::run(&args.watch, option, &jobs)?],
        None => run_all(&jobs, args.threads)?,
    };
    tell_all(args, &scenarios, outcomes)
}

/// Makes all runs, `threads` at a time, with a progress bar where somebody watches.
pub fn run_all(jobs: &[Job<'_>], threads: usize) -> Result<Vec<Outcome>, Failure> {
    if let ([job], Some(ticker)) = (jobs, Ticker::new()) {
        let watchers = Watchers {
            listeners: vec![Box::new(ticker)],
            ..Watchers::default()
        };
        return Ok(vec![campaign::run_one(*job, watchers).map_err(failed)?]);
    }
    let bar = terminal::bar(jobs.len());
    let outcomes = campaign::run_all(jobs, threads, |_| bar.inc(1));
    bar.finish_and_clear();
    outcomes.map_err(failed)
}

/// What a run without an outcome is to the user.
pub fn failed(error: RunError) -> Failure {
    match error {
        RunError::Panicked { .. } => {
            Failure::with_help(Exit::Bug, error, "this is a bug in Skep: please report it")
        }
        RunError::Unfit { .. } => {
            Failure::with_help(Exit::Wrong, error, "it runs with --network fabric")
        }
        _ => Failure::new(Exit::Failed, error),
    }
}

fn tell_all(
    args: &RunArgs,
    scenarios: &[Scenario],
    mut outcomes: Vec<Outcome>,
) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    let in_full = outcomes.len() <= IN_FULL_MAX;
    let mut suites = Vec::new();
    for scenario in scenarios {
        let seeds = args.seeds().unwrap_or_else(|| scenario.seeds().to_vec());
        let rest = outcomes.split_off(seeds.len());
        let report = campaign::judge(scenario, std::mem::replace(&mut outcomes, rest));
        for outcome in &report.outcomes {
            if args.json {
                print(&format!("{}\n", json::run(outcome)))?;
            } else if is_quiet() && !outcome.verdict.failed() {
                // The exit code says it.
            } else if in_full || outcome.verdict.failed() {
                print(&format!("{}\n", summary::run(outcome)))?;
            } else {
                print(&format!("{}\n", summary::line(outcome)))?;
            }
            if !outcome.failures.is_empty() {
                let again = reproduce(scenario, Some(outcome.seed));
                tell(&summary::failures(&outcome.failures, &again));
            }
        }
        if !report.failures.is_empty() {
            let verdict = report.verdict.word();
            tell(&paragraph(&format!("{}: {verdict}", scenario.name())));
            tell(&summary::failures(
                &report.failures,
                &reproduce(scenario, None),
            ));
        }
        if let Some(dir) = &args.out {
            let page = report::save(dir, scenario, &report, reproduce(scenario, None))?;
            terminal::remark(&format!("written: {}\n", page.display()));
        }
        exit = exit.max(exit_of(report.verdict));
        if args.junit.is_some() {
            suites.push(junit::suite(scenario, &report, |seed| {
                reproduce(scenario, seed)
            }));
        }
    }
    if let Some(path) = &args.junit {
        whole::replace(path, junit::campaign(suites))?;
    }
    Ok(exit)
}

fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Pass | Verdict::Unfinishable => Exit::Ok,
        Verdict::Expectation | Verdict::Invariant => Exit::Failed,
        Verdict::Liveness => Exit::Liveness,
        Verdict::Vacuous => Exit::Vacuous,
    }
}

/// The line that makes the same run again.
fn reproduce(scenario: &Scenario, seed: Option<u64>) -> String {
    let mut line = format!("skep run {}", quoted(scenario.file()));
    if let Some(seed) = seed {
        line.push_str(&format!(" --seed {seed}"));
    }
    for (key, value) in scenario.overrides() {
        if key == NETWORK_KEY {
            line.push_str(&format!(" --network {}", quoted(value)));
            continue;
        }
        line.push_str(&format!(" --set {}", quoted(&format!("{key}={value}"))));
    }
    line
}

/// A word of a shell's command line.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_is_a_bug_then_failed_then_liveness_then_vacuous() {
        let order = [
            Exit::Ok,
            Exit::Vacuous,
            Exit::Liveness,
            Exit::Failed,
            Exit::Bug,
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn words_for_the_shell() {
        assert_eq!(quoted("scenarios/a.toml"), "scenarios/a.toml");
        assert_eq!(quoted("up=4 Mbit/s"), "'up=4 Mbit/s'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
