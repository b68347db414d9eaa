//! Owns `skep compare`: every variant of a scenario on the same seeds.
//!
//! Invariant: the result is the same whatever the number of threads and however often the command was interrupted;
//! every file appears whole or not at all.

mod kept;

use std::fs;
use std::path::Path;

use skep_reports::chart;
use skep_reports::compare::{self, Record, Subject, Table, VariantRuns};
use skep_reports::sweep;
use skep_sim::campaign::{self, Job};
use skep_sim::scenario::{Scenario, Variant};

use crate::args::CompareArgs;
use crate::check::read_scenario_with;
use crate::failure::{Exit, Failure, print};
use crate::report;
use crate::run::{failed, quoted};
use crate::terminal::{self, bar};
use crate::whole;
use kept::Kept;

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let base = scenario(args)?;
    let variants = base.variants();
    if variants.len() < 2 {
        let text = format!("{} has nothing to compare", args.file.display());
        let help = "[vary] names keys and the values to try: \"group.home.picker\" = [\"rarest-first\", \"random\"]; \
                    so does --vary group.home.picker=rarest-first,random";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    if args.chart.is_some() && !numbers_vary(&variants) {
        let text = format!("{} has no chart", args.file.display());
        let help = "a chart is of time against a number: one key of [vary], and no other, has numbers alone";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    let scenarios: Vec<Scenario> = variants
        .iter()
        .map(|variant| base.with(&variant.set))
        .collect::<Result<_, _>>()
        .map_err(|errors| Failure::drawn(Exit::Wrong, errors))?;
    let seeds = args
        .seeds
        .clone()
        .map_or_else(|| base.seeds().to_vec(), Iterator::collect);
    let kept = Kept::open(&args.out)?;
    let mut records = records(&kept, &variants, &scenarios, &seeds, args.threads)?.into_iter();
    let runs: Vec<VariantRuns> = variants
        .into_iter()
        .map(|variant| VariantRuns {
            label: variant.label,
            choices: variant.choices,
            runs: records.by_ref().take(seeds.len()).collect(),
        })
        .collect();
    let subject = Subject {
        scenario: base.name(),
        about: &base.model().about,
        skep: env!("CARGO_PKG_VERSION"),
        again: &again(args),
        seeds: &seeds,
        expect: &base.model().expect,
    };
    let comparison = compare::compare(&subject, &runs);
    let json = serde_json::to_string_pretty(&comparison).expect("numbers and words");
    write(&args.out.join("compare.json"), &format!("{json}\n"))?;
    write(&args.out.join(report::SCENARIO), base.text())?;
    table(&args.out, "runs", &compare::runs(&runs))?;
    table(&args.out, "peers", &compare::peers(&runs))?;
    print(&format!("{}\n", compare::text(&comparison)))?;
    let page = report::write_page(&args.out)?;
    for path in [args.out.join("compare.json"), page] {
        print(&format!("  written: {}\n", path.display()))?;
    }
    if let Some(path) = &args.chart {
        let sweep = comparison
            .sweep
            .as_ref()
            .expect("looked at before the runs");
        let svg = chart::draw(sweep).map_err(|error| Failure::new(Exit::Failed, error))?;
        write(path, &svg)?;
        print(&format!("  written: {}\n", path.display()))?;
    }
    // A variant may fail what the file expects of a run: that is what a comparison shows. A broken invariant
    // makes its numbers worthless.
    let broken = runs.iter().any(|run| run.runs.iter().any(compare::broken));
    // With fewer seeds than the file has, an interval says little.
    let judged = base.seeds().iter().all(|seed| seeds.contains(seed));
    let missed = judged && comparison.expected.iter().any(|expected| !expected.holds);
    Ok(if missed || broken {
        Exit::Failed
    } else {
        Exit::Ok
    })
}

/// The scenario with what the command line sets and varies.
fn scenario(args: &CompareArgs) -> Result<Scenario, Failure> {
    let mut base = read_scenario_with(&args.file, &args.set)?;
    for (key, values) in &args.vary {
        base = base
            .varied(key, values)
            .map_err(|why| Failure::new(Exit::Wrong, format!("--vary: {why}")))?;
    }
    Ok(base)
}

/// The runs of all variants, each on all seeds: those that are kept, and the others made and kept.
fn records(
    kept: &Kept,
    variants: &[Variant],
    scenarios: &[Scenario],
    seeds: &[u64],
    threads: usize,
) -> Result<Vec<Record>, Failure> {
    let names = kept::names(variants.iter().map(|v| v.label.as_str()));
    let mut found: Vec<Option<Record>> = Vec::new();
    let (mut jobs, mut of_jobs) = (Vec::new(), Vec::new());
    for (scenario, name) in scenarios.iter().zip(&names) {
        for &seed in seeds {
            let name = format!("{name}_{seed}");
            let digest = kept.digest(&scenario.expand(seed));
            found.push(kept.find(&name, &digest));
            if found.last().is_some_and(Option::is_none) {
                jobs.push(Job { scenario, seed });
                of_jobs.push((name, digest));
            }
        }
    }
    let there = found.len() - jobs.len();
    if there > 0 {
        terminal::remark(&format!(
            "{there} of {} runs are kept from before\n",
            found.len()
        ));
    }
    let bar = bar(found.len());
    bar.set_position(there as u64);
    // An estimate is of what is left to do.
    bar.reset_eta();
    let made = campaign::run_each(&jobs, threads, |at, outcome| {
        let (name, digest) = &of_jobs[at];
        let kept = kept.keep(name, digest.clone(), Record::of(&outcome));
        bar.inc(1);
        kept
    });
    bar.finish_and_clear();
    let made: Vec<Record> = made
        .map_err(failed)?
        .into_iter()
        .collect::<Result<_, _>>()?;
    let mut made = made.into_iter();
    let whole = found
        .into_iter()
        .map(|record| record.unwrap_or_else(|| made.next().expect("as many as were missing")));
    Ok(whole.collect())
}

/// The command that makes the same comparison, but for where its results go.
fn again(args: &CompareArgs) -> String {
    let mut line = format!("skep compare {}", quoted(&args.file.display().to_string()));
    if let Some(seeds) = &args.seeds {
        line.push_str(&format!(" --seeds {}..{}", seeds.start, seeds.end));
    }
    for (key, values) in &args.vary {
        let text = format!("{key}={}", values.join(","));
        line.push_str(&format!(" --vary {}", quoted(&text)));
    }
    for (key, value) in &args.set {
        line.push_str(&format!(" --set {}", quoted(&format!("{key}={value}"))));
    }
    line
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            let text = format!("cannot make {}: {error}", folder.display());
            Failure::new(Exit::Wrong, text)
        })?;
    }
    whole::replace(path, text)
}

/// A table, in every form that this program knows.
fn table(out: &Path, name: &str, table: &Table) -> Result<(), Failure> {
    whole::replace(&out.join(format!("{name}.csv")), table.csv())?;
    #[cfg(feature = "parquet")]
    {
        let bytes = table
            .parquet()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        whole::replace(&out.join(format!("{name}.parquet")), bytes)?;
    }
    Ok(())
}

/// Whether the comparison will be over a number, before anything has run.
fn numbers_vary(variants: &[Variant]) -> bool {
    let empty = variants.iter().map(|variant| VariantRuns {
        label: variant.label.clone(),
        choices: variant.choices.clone(),
        runs: Vec::new(),
    });
    sweep::sweep("", &empty.collect::<Vec<_>>()).is_some()
}
