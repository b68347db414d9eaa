//! Owns `skep compare`: every variant of a scenario on the same seeds.
//!
//! Invariant: the result is the same whatever the number of threads; `compare.json` appears whole
//! or not at all.

use std::fs;

use skep_reports::chart;
use skep_reports::compare::{self, VariantRuns};
use skep_reports::sweep;
use skep_sim::campaign::Job;
use skep_sim::outcome::Verdict;
use skep_sim::scenario::{Scenario, Variant};

use crate::args::CompareArgs;
use crate::check::read_scenario_with;
use crate::failure::{Exit, Failure, print};
use crate::run::{run_all, write_whole};

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let base = read_scenario_with(&args.file, &args.set)?;
    let variants = base.variants();
    if variants.len() < 2 {
        let text = format!("{} has nothing to compare", args.file.display());
        let help = "[vary] names keys and the values to try: \"group.home.picker\" = [\"rarest-first\", \"random\"]";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    if args.chart.is_some() && !numbers_vary(&variants) {
        let text = format!("{} has no chart", args.file.display());
        let help = "a chart is of time against a number: one key of [vary], and no other, has numbers alone";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    fs::create_dir_all(&args.out).map_err(|error| {
        Failure::new(
            Exit::Wrong,
            format!("cannot make {}: {error}", args.out.display()),
        )
    })?;
    let scenarios: Vec<Scenario> = variants
        .iter()
        .map(|variant| base.with(&variant.set))
        .collect::<Result<_, _>>()
        .map_err(|errors| Failure::drawn(Exit::Wrong, errors))?;
    let seeds = args
        .seeds
        .clone()
        .map_or_else(|| base.seeds().to_vec(), Iterator::collect);
    let jobs: Vec<Job<'_>> = scenarios
        .iter()
        .flat_map(|scenario| seeds.iter().map(move |&seed| Job { scenario, seed }))
        .collect();
    let mut outcomes = run_all(&jobs, args.threads)?.into_iter();
    let runs: Vec<VariantRuns> = variants
        .into_iter()
        .map(|variant| VariantRuns {
            label: variant.label,
            choices: variant.choices,
            outcomes: outcomes.by_ref().take(seeds.len()).collect(),
        })
        .collect();
    let comparison = compare::compare(base.name(), &seeds, &runs, &base.model().expect);
    let path = args.out.join("compare.json");
    let json = serde_json::to_string_pretty(&comparison).expect("numbers and words");
    write_whole(&path, &format!("{json}\n"))?;
    print(&compare::text(&comparison))?;
    print(&format!("\n  written: {}\n", path.display()))?;
    if let Some(path) = &args.chart {
        let sweep = comparison
            .sweep
            .as_ref()
            .expect("looked at before the runs");
        let svg = chart::draw(sweep).map_err(|error| Failure::new(Exit::Failed, error))?;
        write_whole(path, &svg)?;
        print(&format!("  written: {}\n", path.display()))?;
    }
    // A variant may fail what the file expects of a run: that is what a comparison shows. A broken invariant
    // makes its numbers worthless.
    let broken = |run: &VariantRuns| run.outcomes.iter().any(|o| o.verdict == Verdict::Invariant);
    // With fewer seeds than the file has, an interval says little.
    let judged = base.seeds().iter().all(|seed| seeds.contains(seed));
    let missed = judged && comparison.expected.iter().any(|expected| !expected.holds);
    Ok(if missed || runs.iter().any(broken) {
        Exit::Failed
    } else {
        Exit::Ok
    })
}

/// Whether the comparison will be over a number, before anything has run.
fn numbers_vary(variants: &[Variant]) -> bool {
    let empty = variants.iter().map(|variant| VariantRuns {
        label: variant.label.clone(),
        choices: variant.choices.clone(),
        outcomes: Vec::new(),
    });
    sweep::sweep("", &empty.collect::<Vec<_>>()).is_some()
}
