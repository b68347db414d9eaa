//! Owns `skep bench`: fixed workloads, measured.
//!
//! Invariant: each row is measured in a process of its own, one after the other, so that its peak memory is
//! its own and no other run of ours disturbs it. The clocks and the process are outside the simulation. The figures are
//! those of the median run: where there are several, it finds the content made, as all runs of a campaign but the first.

mod measure;
mod workloads;

use std::process::{Command, Stdio};

use skep_reports::bench::{Row, tables};

use crate::args::BenchArgs;
use crate::failure::{Exit, Failure, print};
use crate::terminal::{remark, shows_progress, spinner};
use workloads::{WORKLOADS, Workload};

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let named = |w: &&Workload| match &args.name {
        Some(name) if args.here => {
            w.name == name && args.network.as_ref().is_none_or(|n| w.network == n)
        }
        Some(name) => w.name.starts_with(name.as_str()),
        None => w.by_default,
    };
    let chosen: Vec<&Workload> = WORKLOADS.iter().filter(named).collect();
    if chosen.is_empty() {
        let name = args.name.as_deref().unwrap_or_default();
        let known: Vec<&str> = WORKLOADS.iter().map(|w| w.name).collect();
        let help = format!("there are {}", known.join(", "));
        let text = format!("no workload is called `{name}`");
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    if args.here {
        print(&line(&measure::row(chosen[0], args.unconnected)?))?;
        return Ok(Exit::Ok);
    }
    let mut rows = Vec::new();
    for workload in chosen {
        if !args.json && !shows_progress() {
            remark(&format!("{} ...\n", workload.name));
        }
        let spinner = spinner(workload.name);
        let row = measured(workload);
        spinner.finish_and_clear();
        let row = row?;
        if args.json {
            print(&line(&row))?;
        }
        rows.push((row, workload.reach));
    }
    if !args.json {
        print(&tables(&rows))?;
    }
    Ok(Exit::Ok)
}

fn line(row: &Row) -> String {
    let json = serde_json::to_string(row).expect("numbers and words");
    format!("{json}\n")
}

/// Measures one row in a process of its own; where memory per connection is asked for, in two.
fn measured(workload: &Workload) -> Result<Row, Failure> {
    let mut row = in_child(workload, &[])?;
    if let Some(measured) = row.measured.as_mut().filter(|_| workload.per_connection) {
        let bare = in_child(workload, &["--unconnected"])?;
        let bare = bare.measured.and_then(|m| m.peak_rss_bytes);
        let more = measured.peak_rss_bytes.zip(bare);
        let more = more.map(|(with, without)| with.saturating_sub(without));
        measured.bytes_per_connection =
            more.map(|bytes| bytes as f64 / measured.connections.max(1) as f64);
    }
    Ok(row)
}

fn in_child(workload: &Workload, more: &[&str]) -> Result<Row, Failure> {
    let failed = |why: String| {
        let text = format!("{} could not be measured: {why}", workload.name);
        Failure::new(Exit::Failed, text)
    };
    let skep = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let child = Command::new(skep)
        .args(["bench", workload.name, "--here"])
        .args(["--network", workload.network])
        .args(more)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !child.status.success() {
        return Err(failed(format!("its process ended with {}", child.status)));
    }
    serde_json::from_slice(&child.stdout).map_err(|error| failed(error.to_string()))
}
