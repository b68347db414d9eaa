//! Owns `skep check`: reads scenario files and says what is wrong with them, all of it.
//!
//! Invariant: every file is looked at, whatever the others are like; nothing is run.

use std::fs;
use std::path::{Path, PathBuf};

use skep_sim::scenario::metrics::{METRICS, SOMETIMES};
use skep_sim::scenario::{Scenario, schema_with};

use crate::args::CheckArgs;
use crate::failure::{COLUMNS, Exit, Failure, print};
use crate::humane;
use crate::own::own;
use crate::terminal::is_quiet;

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    if args.metrics {
        print(&listing())?;
        return Ok(Exit::Ok);
    }
    if args.schema {
        print(&format!("{:#}\n", schema_with(own())))?;
        return Ok(Exit::Ok);
    }
    let mut exit = Exit::Ok;
    for path in scenario_files(&args.files)? {
        match read_scenario(&path) {
            Ok(_) if is_quiet() => {}
            Ok(scenario) => print(&summary(&scenario))?,
            Err(failure) => exit = failure.tell(),
        }
    }
    Ok(exit)
}

/// Every metric and every word of `sometimes`, with its meaning.
fn listing() -> String {
    let mut text = "metrics for [expect]:\n".to_owned();
    for metric in METRICS {
        let stats = match metric.stats {
            [] => String::new(),
            [only] => format!(".{only}"),
            stats => format!(".{{{}}}", stats.join(",")),
        };
        let group = if metric.per_group { "[.GROUP]" } else { "" };
        let (name, limit) = (metric.name, metric.unit.example());
        let line = format!("  {name}{stats}{group}   {limit}\n");
        match line.chars().count() > COLUMNS {
            true => text.push_str(&format!("  {name}{stats}{group}\n    {limit}\n")),
            false => text.push_str(&line),
        }
        text.push_str(&indented(metric.doc));
    }
    text.push_str("\nwords for `sometimes`:\n");
    for word in SOMETIMES {
        text.push_str(&format!("  {}\n{}", word.word, indented(word.doc)));
    }
    text
}

fn indented(text: &str) -> String {
    let lines = humane::lines(text, COLUMNS - 6);
    lines.iter().map(|line| format!("      {line}\n")).collect()
}

/// The files that were named, and all `*.toml` in the folders that were, in order of their names.
pub fn scenario_files(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            let before = files.len();
            walk(path, &mut files)?;
            if files.len() == before {
                let text = format!("there is no scenario file (*.toml) in {}", path.display());
                return Err(Failure::new(Exit::Wrong, text));
            }
            files[before..].sort();
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| {
        let text = format!("cannot read the folder {}: {error}", folder.display());
        Failure::new(Exit::Wrong, text)
    };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A link may lead in a circle.
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.path().extension().is_some_and(|e| e == "toml") {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Reads and checks one scenario file.
fn read_scenario(path: &Path) -> Result<Scenario, Failure> {
    read_scenario_with(path, &[])
}

/// Reads and checks one scenario file with keys set from the command line.
pub fn read_scenario_with(path: &Path, set: &[(String, String)]) -> Result<Scenario, Failure> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Wrong, format!("cannot read {name}: {error}")))?;
    Scenario::parse_with_own(&name, &text, set, own())
        .map_err(|errors| Failure::drawn(Exit::Wrong, errors))
}

/// One line about a scenario that is right.
fn summary(scenario: &Scenario) -> String {
    let seeds = scenario.seeds();
    let first = *seeds.first().expect("a scenario has at least one seed");
    let in_a_row = seeds.iter().zip(first..).all(|(seed, next)| *seed == next);
    let seeds = match seeds {
        [one] => format!("seed {one}"),
        _ if in_a_row => format!("seeds {first}..{}", first + seeds.len() as u64),
        _ => humane::count(seeds.len() as u64, "seed"),
    };
    let plan = scenario.expand(first);
    let total = plan.torrent.total();
    let pieces = total.div_ceil(u64::from(plan.torrent.piece_bytes));
    let mut parts = vec![
        humane::count(plan.hosts.len() as u64, "host"),
        seeds,
        format!(
            "plan: {} in {}",
            humane::size(total),
            humane::count(pieces, "piece")
        ),
        humane::count(plan.faults.len() as u64, "fault"),
        humane::count(plan.expect.len() as u64, "expectation"),
    ];
    let variants = scenario.variants().len() as u64;
    if variants > 1 {
        parts.push(humane::count(variants, "variant"));
    }
    humane::paragraph(&format!("ok {} ({})", scenario.name(), parts.join(", ")))
}
