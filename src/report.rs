//! Owns folders of results and their pages: what `skep run --out DIR` writes, and `skep report DIR`.
//!
//! Invariant: a page is made of the files of the folder and of nothing else, so that making it again gives the same
//! page. Every file appears whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use skep_reports::compare::{self, Comparison};
use skep_reports::html::{self, FORMAT, Finding, PageError, RunFile, RunSet, run_file};
use skep_sim::campaign::Report;
use skep_sim::scenario::Scenario;

use crate::args::ReportArgs;
use crate::failure::{Exit, Failure, print};
use crate::whole;

/// What ran, in a folder of runs.
const RUN: &str = "run.json";
/// What was compared, in the folder of a comparison.
const COMPARE: &str = "compare.json";
/// The page.
const PAGE: &str = "report.html";
/// The scenario file as it was read.
pub const SCENARIO: &str = "scenario.toml";

/// Makes the page of a folder.
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let page = write_page(&args.dir)?;
    print(&format!("written: {}\n", page.display()))?;
    Ok(Exit::Ok)
}

/// Writes a scenario's filmed runs to a folder, and their page; `again` is the command that makes them again.
pub fn save(
    dir: &Path,
    scenario: &Scenario,
    report: &Report,
    again: String,
) -> Result<PathBuf, Failure> {
    let runs = dir.join("runs");
    fs::create_dir_all(&runs).map_err(|error| {
        Failure::new(
            Exit::Wrong,
            format!("cannot make {}: {error}", runs.display()),
        )
    })?;
    for outcome in &report.outcomes {
        let json = serde_json::to_string(&run_file(outcome)).expect("numbers and words");
        whole::replace(&path_of_run(dir, outcome.seed), format!("{json}\n"))?;
    }
    whole::replace(&dir.join(SCENARIO), scenario.text())?;
    let set = RunSet {
        format: FORMAT.to_owned(),
        skep: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: scenario.name().to_owned(),
        about: scenario.model().about.clone(),
        again,
        text: scenario.text().to_owned(),
        overrides: scenario.overrides().to_vec(),
        verdict: report.verdict.word().to_owned(),
        findings: report.failures.iter().map(Finding::of).collect(),
        seeds: report.outcomes.iter().map(|outcome| outcome.seed).collect(),
    };
    let json = serde_json::to_string_pretty(&set).expect("numbers and words");
    whole::replace(&dir.join(RUN), format!("{json}\n"))?;
    write_page(dir)
}

/// Makes the page of a folder; says where it is.
pub fn write_page(dir: &Path) -> Result<PathBuf, Failure> {
    let has = |name: &str| dir.join(name).is_file();
    let text = match (has(RUN), has(COMPARE)) {
        (true, false) => page_of_runs(dir)?,
        (false, true) => page_of_comparison(dir)?,
        (both, _) => {
            let why = match (both, dir.is_dir()) {
                (true, _) => "holds both a run.json and a compare.json",
                (false, true) => "holds neither a run.json nor a compare.json",
                (false, false) => "is no folder",
            };
            let help = "`skep run FILE --out DIR` and `skep compare FILE --out DIR` each make a folder of their own";
            return Err(Failure::with_help(
                Exit::Wrong,
                format!("there is nothing to report: {} {why}", dir.display()),
                help,
            ));
        }
    };
    let page = dir.join(PAGE);
    whole::replace(&page, text)?;
    Ok(page)
}

fn page_of_runs(dir: &Path) -> Result<String, Failure> {
    let path = dir.join(RUN);
    let set: RunSet = read(&path)?;
    right_format(&path, &set.format, FORMAT)?;
    let runs: Vec<RunFile> = set
        .seeds
        .iter()
        .map(|seed| read(&path_of_run(dir, *seed)))
        .collect::<Result<_, _>>()?;
    html::run_page(&set, &runs).map_err(no_page)
}

fn page_of_comparison(dir: &Path) -> Result<String, Failure> {
    let path = dir.join(COMPARE);
    let comparison: Comparison = read(&path)?;
    right_format(&path, &comparison.format, compare::FORMAT)?;
    let text = fs::read_to_string(dir.join(SCENARIO)).ok();
    html::comparison_page(&comparison, text.as_deref()).map_err(no_page)
}

fn no_page(error: PageError) -> Failure {
    Failure::new(Exit::Failed, error)
}

fn path_of_run(dir: &Path, seed: u64) -> PathBuf {
    dir.join("runs").join(format!("{seed}.json"))
}

/// Reads a file of ours.
fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(Exit::Wrong, format!("{shown} is missing")),
        _ => Failure::new(Exit::Wrong, format!("cannot read {shown}: {error}")),
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let text = format!("{shown} is not what Skep writes: {error}");
        Failure::with_help(
            Exit::Wrong,
            text,
            "make the folder again with this version of Skep",
        )
    })
}

fn right_format(path: &Path, is: &str, ours: &str) -> Result<(), Failure> {
    if is == ours {
        return Ok(());
    }
    let text = format!(
        "{} has the format {is:?}, and this Skep reads {ours:?}",
        path.display()
    );
    Err(Failure::with_help(
        Exit::Wrong,
        text,
        "make the folder again with this version of Skep",
    ))
}
