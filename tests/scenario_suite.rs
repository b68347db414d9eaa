//! One test per file under `scenarios/`, found by itself and named like its path: the scenario's
//! own seeds run, and every one must end without a failure.
//!
//! A file with the tag `slow` runs its first seed only; `PATH (all seeds)` runs the others and is
//! ignored unless asked for: `cargo test --test scenario_suite -- --include-ignored`. What must
//! happen `sometimes` is asked where all seeds run.
//!
//! That every file names its schema and says what it is about is `sim/tests/scenario_files.rs`'s.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use skep_reports::summary;
use skep_sim::campaign;
use skep_sim::scenario::Scenario;

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

/// The tests of one file; `shown` is its path as a user in the project's folder writes it.
fn trials(path: &Path, shown: &str, name: &str) -> Vec<Trial> {
    let text = fs::read_to_string(path).expect("a readable scenario");
    let scenario = match Scenario::parse(shown, &text) {
        Ok(scenario) => scenario,
        // What `skep check` draws is a failing test here.
        Err(errors) => {
            let words = format!("{:?}", miette::Report::new(errors));
            return vec![Trial::test(name, move || Err(Failed::from(words)))];
        }
    };
    let seeds = scenario.seeds().to_vec();
    if !scenario.model().tags.iter().any(|tag| tag == "slow") || seeds.len() == 1 {
        return vec![Trial::test(name, move || runs(&scenario, &seeds))];
    }
    let (first, again) = (vec![seeds[0]], scenario.clone());
    vec![
        Trial::test(name, move || runs(&scenario, &first)),
        Trial::test(format!("{name} (all seeds)"), move || runs(&again, &seeds))
            .with_ignored_flag(true),
    ]
}

/// Runs seeds on this thread (the harness has a thread per core) and tells what failed, each with
/// the line that reproduces it.
fn runs(scenario: &Scenario, seeds: &[u64]) -> Result<(), Failed> {
    let report = campaign::run_scenario(scenario, seeds, 1, |_| {}).map_err(|e| e.to_string())?;
    let file = scenario.file();
    let mut said = String::new();
    for outcome in report.outcomes.iter().filter(|o| o.verdict.failed()) {
        said.push_str(&summary::line(outcome));
        let again = format!("skep run {file} --seed {}", outcome.seed);
        said.push_str(&format!(
            "\n{}",
            summary::failures(&outcome.failures, &again)
        ));
    }
    if !report.failures.is_empty() {
        let again = format!("skep run {file}");
        said.push_str(&summary::failures(&report.failures, &again));
    }
    if !report.verdict.failed() {
        return Ok(());
    }
    Err(Failed::from(format!("{}\n{said}", report.verdict.word())))
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenarios = root.join("scenarios");
    let mut tests = Vec::new();
    for path in files(&scenarios) {
        let inside = path.strip_prefix(root).expect("below the root");
        let name = path.strip_prefix(&scenarios).expect("below the folder");
        let name = name.with_extension("").display().to_string();
        tests.extend(trials(&path, &inside.display().to_string(), &name));
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
