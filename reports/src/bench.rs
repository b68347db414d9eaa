//! Owns what `skep bench` tells: the JSON object of a workload, and the tables for people.
//!
//! Invariant: every number of a row was measured in one process that did nothing else.

use serde::{Deserialize, Serialize};

use crate::table;

/// One workload on one network: measured, or refused with the reason.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The row's name.
    pub name: String,
    /// The network.
    pub network: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Option<Measured>,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
}

/// What one workload cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// How the run ended, in the words of `skep run`.
    pub verdict: String,
    /// The rolling hash of its trace.
    pub trace_hash: String,
    /// Hosts.
    pub peers: u64,
    /// Blocks that peers received.
    pub blocks: u64,
    /// Messages that peers received.
    pub messages: u64,
    /// Simulated seconds.
    pub sim_seconds: f64,
    /// CPU seconds of the run; the median where it ran more than once.
    pub cpu_seconds: f64,
    /// How often it ran.
    pub runs: u32,
    /// Blocks per CPU second.
    pub blocks_per_cpu_second: f64,
    /// Messages per CPU second.
    pub messages_per_cpu_second: f64,
    /// Simulated seconds per CPU second.
    pub sim_per_cpu: f64,
    /// CPU seconds that hashing the received blocks takes, and nothing else.
    pub sha1_seconds: f64,
    /// CPU seconds of the run over those of hashing alone.
    pub sha1_ratio: f64,
    /// The most memory that the process ever held, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// Connections that were there at once at most.
    pub connections: u64,
    /// Peak memory beyond that of the same hosts without any connection, over the connections: both
    /// ends, with everything that grows with them.
    #[serde(default)]
    pub bytes_per_connection: Option<f64>,
}

/// A number that a workload should reach.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Which number.
    pub of: Figure,
    /// The least, or the most, of it.
    pub limit: f64,
}

/// A number of a row for which there is something to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// Blocks per CPU second, at least.
    BlocksPerSecond,
    /// Messages per CPU second, at least.
    MessagesPerSecond,
    /// CPU seconds, at most.
    Cpu,
    /// Times the CPU time of hashing alone, at most.
    Sha1,
    /// Peak memory, bytes, at most.
    Memory,
    /// Bytes per connection, at most.
    PerConnection,
}

impl Figure {
    fn words(self) -> &'static str {
        match self {
            Figure::BlocksPerSecond => "blocks per CPU second",
            Figure::MessagesPerSecond => "messages per CPU second",
            Figure::Cpu => "CPU time",
            Figure::Sha1 => "x hashing alone",
            Figure::Memory => "peak memory",
            Figure::PerConnection => "memory per connection",
        }
    }

    fn of(self, row: &Measured) -> Option<f64> {
        match self {
            Figure::BlocksPerSecond => Some(row.blocks_per_cpu_second),
            Figure::MessagesPerSecond => Some(row.messages_per_cpu_second),
            Figure::Cpu => Some(row.cpu_seconds),
            Figure::Sha1 => Some(row.sha1_ratio),
            Figure::Memory => row.peak_rss_bytes.map(|bytes| bytes as f64),
            Figure::PerConnection => row.bytes_per_connection,
        }
    }

    fn at_least(self) -> bool {
        matches!(self, Figure::BlocksPerSecond | Figure::MessagesPerSecond)
    }

    fn show(self, value: f64) -> String {
        match self {
            Figure::BlocksPerSecond | Figure::MessagesPerSecond => table::count(value as u64),
            Figure::Cpu => table::seconds(Some(value)),
            Figure::Sha1 => format!("{value:.2} x"),
            Figure::Memory | Figure::PerConnection => table::bytes(value as u64),
        }
    }
}

/// The most that a block may cost at 1,000 peers, over what it costs at 100.
const GROWTH_MAX: f64 = 1.5;

/// The tables of all rows: what each cost, and what it should reach.
#[must_use]
pub fn tables(rows: &[(Row, &[Reach])]) -> String {
    let mut text = costs(rows);
    let mut reach = table::table(&["workload", "to reach", "wanted", "measured", ""], 2);
    let mut any = false;
    for (row, wanted) in rows {
        for wanted in *wanted {
            let value = row.measured.as_ref().and_then(|m| wanted.of.of(m));
            reach.add_row(reach_line(&row.name, wanted.of, wanted.limit, value));
            any = true;
        }
    }
    if let Some((grown, small, large)) = growth(rows) {
        let holds = if grown <= GROWTH_MAX { "yes" } else { "no" };
        reach.add_row([
            table::cell("hundred, thousand"),
            table::cell("growth of the cost of a block"),
            table::cell(format!("<= {GROWTH_MAX:.2} x")),
            table::cell(format!("{grown:.2} x")),
            holds.to_owned(),
        ]);
        any = true;
        text.push_str(&format!(
            "\n  a block costs {small:.1} us of CPU among 100 leechers, {large:.1} us among 1,000\n"
        ));
    }
    if any {
        text.push('\n');
        text.push_str(&table::lines(&reach));
    }
    for (row, _) in rows {
        if let Some(why) = &row.refused {
            let text_of = format!("{} on {}: {why}", row.name, row.network);
            for line in textwrap::wrap(&text_of, usize::from(table::COLUMNS) - 2) {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}

/// The name, and the network where it is not the usual one.
fn place(row: &Row) -> String {
    match row.network.as_str() {
        "fabric" => row.name.clone(),
        other => format!("{}, {other}", row.name),
    }
}

fn costs(rows: &[(Row, &[Reach])]) -> String {
    let header = [
        "workload", "peers", "blocks", "messages", "sim", "CPU", "x SHA-1", "memory",
    ];
    let mut costs = table::table(&header, 1);
    for (row, _) in rows {
        let Some(measured) = &row.measured else {
            continue;
        };
        costs.add_row([
            table::cell(place(row)),
            table::count(measured.peers),
            table::count(measured.blocks),
            table::cell(format!("{:.2} M", measured.messages as f64 / 1e6)),
            table::cell(format!("{:.0} s", measured.sim_seconds)),
            table::cell(table::seconds(Some(measured.cpu_seconds))),
            match measured.blocks {
                0 => "-".to_owned(),
                _ => format!("{:.2}", measured.sha1_ratio),
            },
            table::cell(measured.peak_rss_bytes.map_or("-".into(), table::bytes)),
        ]);
    }
    table::lines(&costs)
}

fn reach_line(name: &str, of: Figure, limit: f64, value: Option<f64>) -> [String; 5] {
    let holds = value.map(|value| match of.at_least() {
        true => value >= limit,
        false => value <= limit,
    });
    let sign = if of.at_least() { ">=" } else { "<=" };
    [
        table::cell(name),
        table::cell(of.words()),
        table::cell(format!("{sign} {}", of.show(limit))),
        table::cell(value.map_or("-".into(), |value| of.show(value))),
        holds
            .map_or("", |holds| if holds { "yes" } else { "no" })
            .into(),
    ]
}

/// How the cost of a block grows from 100 to 1,000 leechers; and what it is, in microseconds.
fn growth(rows: &[(Row, &[Reach])]) -> Option<(f64, f64, f64)> {
    let cost = |name: &str| {
        let (row, _) = rows.iter().find(|(row, _)| row.name == name)?;
        let measured = row.measured.as_ref()?;
        Some(1e6 / measured.blocks_per_cpu_second)
    };
    let (small, large) = (cost("hundred")?, cost("thousand")?);
    Some((large / small, small, large))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, cpu_seconds: f64) -> Row {
        Row {
            name: name.into(),
            network: "fabric".into(),
            measured: Some(Measured {
                verdict: "pass".into(),
                trace_hash: "0".into(),
                peers: 1_001,
                blocks: 6_400_000,
                messages: 61_000_000,
                sim_seconds: 700.0,
                cpu_seconds,
                runs: 1,
                blocks_per_cpu_second: 6_400_000.0 / cpu_seconds,
                messages_per_cpu_second: 61_000_000.0 / cpu_seconds,
                sim_per_cpu: 700.0 / cpu_seconds,
                sha1_seconds: 56.0,
                sha1_ratio: cpu_seconds / 56.0,
                peak_rss_bytes: Some(900 << 20),
                connections: 25_000,
                bytes_per_connection: Some(11_000.0),
            }),
            refused: None,
        }
    }

    #[test]
    fn a_table_says_what_was_reached_within_80_columns() {
        let reach: &[Reach] = &[
            Reach {
                of: Figure::Cpu,
                limit: 100.0,
            },
            Reach {
                of: Figure::MessagesPerSecond,
                limit: 800_000.0,
            },
        ];
        let refused = Row {
            measured: None,
            refused: Some("`turmoil` is not supported yet".into()),
            ..row("turmoil-25", 1.0)
        };
        let rows = [
            (row("hundred", 50.0), reach),
            (row("thousand", 110.0), reach),
            (refused, reach),
        ];
        let text = tables(&rows);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let line = |words: &str| {
            let found = text.lines().filter(|line| line.contains(words));
            found.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let cpu = line("CPU time");
        assert!(cpu[0].ends_with("50.0 s yes"), "{text}");
        assert!(cpu[1].ends_with("110 s  no"), "{text}");
        assert!(line("growth")[0].ends_with("2.20 x  no"), "{text}");
        assert!(line("not supported")[0].starts_with("turmoil-25"), "{text}");
    }

    #[test]
    fn a_row_is_one_object_and_comes_back_the_same() {
        let mut row = row("small", 0.5);
        // JSON may cost a number its last bit: here are only some that have none to lose.
        let measured = row.measured.as_mut().expect("it was measured");
        measured.sha1_ratio = 0.25;
        let text = serde_json::to_string(&row).expect("numbers and words");
        assert!(!text.contains("measured") && !text.contains("refused"));
        let back: Row = serde_json::from_str(&text).expect("the same shape");
        assert_eq!(back, row);
    }
}
