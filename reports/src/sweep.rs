//! Owns a sweep: a comparison in which one axis is a number N, seen as a table of N against the ways that
//! the other axes make, beside the physical limits of direct download and of a swarm.
//!
//! Invariant: a time is the median over the seeds in which everybody finished; a limit is shown only when all
//! ways have the same one.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use skep_sim::evaluate::quantile;

use crate::compare::{Record, VariantRuns};
use crate::table::{COLUMNS, bytes, paragraph};

/// A comparison over a number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// The scenario.
    pub scenario: String,
    /// The key whose values are the numbers.
    pub axis: String,
    /// Seeds of each variant.
    pub seeds: usize,
    /// Bytes of the content, when all variants have the same.
    pub content_bytes: Option<u64>,
    /// The numbers, ascending, with the limits of each.
    pub numbers: Vec<Number>,
    /// The ways, in the order of the file.
    pub ways: Vec<Way>,
}

/// One value of N.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Number {
    /// The value.
    pub n: u64,
    /// No direct download on these links ends earlier, seconds.
    pub direct_limit_s: Option<f64>,
    /// No swarm on these links ends earlier, seconds.
    pub swarm_limit_s: Option<f64>,
}

/// One way, over all numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Way {
    /// The labels of the other axes; empty when there is none.
    pub name: String,
    /// One per number.
    pub points: Vec<Point>,
}

/// One variant.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// The last completion, seconds.
    pub last_s: Option<f64>,
    /// It over the run's own limit.
    pub times_bound: Option<f64>,
    /// The limit of direct download over it.
    pub gain: Option<f64>,
    /// Seeds in which somebody did not finish.
    pub unfinished: usize,
    /// Seeds in which something that the scenario expects, or an invariant, did not hold.
    pub not_passed: usize,
}

/// The sweep that these variants are, if they are one: exactly one axis has nothing but different whole
/// numbers, at least two, and every combination is there.
#[must_use]
pub fn sweep(scenario: &str, variants: &[VariantRuns]) -> Option<Sweep> {
    let axes: Vec<&str> = variants
        .first()?
        .choices
        .iter()
        .map(|(axis, _)| axis.as_str())
        .collect();
    let number = |variant: &VariantRuns, at: usize| -> Option<u64> {
        let (_, label) = variant.choices.get(at)?;
        label.parse().ok().filter(|n| *n > 0)
    };
    let mut counted =
        (0..axes.len()).filter(|at| variants.iter().all(|v| number(v, *at).is_some()));
    let (at, None) = (counted.next()?, counted.next()) else {
        return None;
    };
    let mut numbers: Vec<u64> = variants.iter().filter_map(|v| number(v, at)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let name = |variant: &VariantRuns| {
        let others = variant.choices.iter().enumerate().filter(|(i, _)| *i != at);
        let labels: Vec<&str> = others.map(|(_, (_, label))| label.as_str()).collect();
        labels.join(", ")
    };
    let mut names: Vec<String> = Vec::new();
    for variant in variants {
        let name = name(variant);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let runs = |way: &str, n: u64| {
        let mut found = variants.iter();
        let found = found.find(|v| name(v) == way && number(v, at) == Some(n))?;
        Some(found.runs.as_slice())
    };
    let (mut columns, mut content) = (Vec::new(), Vec::new());
    for n in &numbers {
        let of_all: Option<Vec<&[Record]>> = names.iter().map(|way| runs(way, *n)).collect();
        let of_all = of_all?;
        content.extend(
            of_all
                .iter()
                .flat_map(|o| o.iter().map(|o| o.content_bytes)),
        );
        columns.push(Number {
            n: *n,
            direct_limit_s: same(&of_all, |o| o.direct_limit_s),
            swarm_limit_s: same(&of_all, |o| o.swarm_limit_s),
        });
    }
    let ways = names.iter().map(|way| Way {
        name: way.clone(),
        points: numbers
            .iter()
            .filter_map(|n| Some(point(runs(way, *n)?)))
            .collect(),
    });
    content.dedup();
    Some(Sweep {
        scenario: scenario.to_owned(),
        axis: axes[at].to_owned(),
        seeds: variants[0].runs.len(),
        content_bytes: (content.len() == 1).then(|| content[0]),
        ways: ways.collect(),
        numbers: columns,
    })
    .filter(|sweep| sweep.numbers.len() > 1)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The median of a limit over the seeds, when it is the same for all ways.
fn same(ways: &[&[Record]], of: impl Fn(&Record) -> Option<f64>) -> Option<f64> {
    let mut medians = ways
        .iter()
        .map(|runs| median(runs.iter().filter_map(&of).collect()));
    let first = medians.next()??;
    let alike = |other: f64| (other - first).abs() <= first * 1e-9;
    medians.all(|m| m.is_some_and(alike)).then_some(first)
}

fn point(runs: &[Record]) -> Point {
    let of_all =
        |value: fn(&Record) -> Option<f64>| median(runs.iter().filter_map(value).collect());
    Point {
        last_s: of_all(Record::last_s),
        times_bound: of_all(Record::times_bound),
        gain: of_all(|run| Some(run.direct_limit_s? / run.last_s()?)),
        unfinished: runs.iter().filter(|run| run.unfinished > 0).count(),
        not_passed: runs.iter().filter(|run| !run.passed()).count(),
    }
}

/// Ways in one block of the table: more do not fit 80 columns.
const WAYS_MAX: usize = 3;
/// Columns of one way.
const WAY_COLUMNS: usize = 20;

/// The sweep as text, at most 80 columns wide.
#[must_use]
pub fn text(sweep: &Sweep) -> String {
    let mut out = String::new();
    let variants = sweep.numbers.len() * sweep.ways.len();
    let content = sweep.content_bytes.map_or(String::new(), |content| {
        format!(", {} of content", bytes(content))
    });
    out.push_str(&paragraph(&format!(
        "{}: {variants} variants on {} seeds{content}",
        sweep.scenario, sweep.seeds
    )));
    let legend = format!(
        "N is {}. Times are seconds until the last of N is complete, medians over the seeds. limit: nobody \
         could be faster on these links. bound: the time over the run's own limit. gain: the limit of direct \
         download over the time.",
        sweep.axis
    );
    let shape = textwrap::Options::new(usize::from(COLUMNS))
        .initial_indent("  ")
        .subsequent_indent("  ");
    let _ = writeln!(out, "{}", textwrap::fill(&legend, shape));
    for ways in sweep.ways.chunks(WAYS_MAX) {
        block(&mut out, sweep, ways);
    }
    for way in &sweep.ways {
        let sum = |of: fn(&Point) -> usize| way.points.iter().map(of).sum::<usize>();
        let (unfinished, not_passed) = (sum(|p| p.unfinished), sum(|p| p.not_passed));
        if unfinished + not_passed > 0 {
            let _ = writeln!(
                out,
                "\n  {}: {unfinished} runs in which not all finished, {not_passed} that did not pass",
                way.name
            );
        }
    }
    out
}

fn block(out: &mut String, sweep: &Sweep, ways: &[Way]) {
    let heading = |text: &str, width: usize| {
        let clipped: String = text.chars().take(width).collect();
        format!("{clipped:>width$}")
    };
    let mut lines = vec![
        format!("{:>6}{:>13}", "", "limit"),
        format!("{:>6}{:>7}{:>6}", "N", "direct", "swarm"),
    ];
    for way in ways {
        lines[0].push_str(&heading(&way.name, WAY_COLUMNS));
        let _ = write!(lines[1], "{:>8}{:>6}{:>6}", "time", "bound", "gain");
    }
    for (row, number) in sweep.numbers.iter().enumerate() {
        let mut line = format!(
            "{:>6}{:>7}{:>6}",
            number.n,
            digits(number.direct_limit_s),
            digits(number.swarm_limit_s)
        );
        for way in ways {
            let point = way.points[row];
            let _ = write!(
                line,
                "{:>8}{:>6}{:>6}",
                digits(point.last_s),
                digits(point.times_bound),
                digits(point.gain)
            );
        }
        lines.push(line);
    }
    out.push('\n');
    for line in lines {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Three digits that matter, in at most five characters below a hundred thousand.
fn digits(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v >= 99.95 => format!("{v:.0}"),
        Some(v) if v >= 9.995 => format!("{v:.1}"),
        Some(v) => format!("{v:.2}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two ways over four numbers, one of which is not finished.
    pub(crate) fn example() -> Sweep {
        let numbers = [1, 2, 8, 64];
        let limit = |n: u64| Number {
            n,
            direct_limit_s: Some(13.42 * n as f64),
            swarm_limit_s: Some(13.42_f64.max(0.9 * n as f64)),
        };
        let way = |name: &str, times: [Option<f64>; 4]| Way {
            name: name.to_owned(),
            points: times
                .iter()
                .zip(numbers)
                .map(|(time, n)| Point {
                    last_s: *time,
                    times_bound: time.map(|t| t / 13.42),
                    gain: time.map(|t| 13.42 * n as f64 / t),
                    unfinished: usize::from(time.is_none()),
                    not_passed: usize::from(time.is_none()),
                })
                .collect(),
        };
        Sweep {
            scenario: "example".to_owned(),
            axis: "group.home.count".to_owned(),
            seeds: 3,
            content_bytes: Some(16 << 20),
            numbers: numbers.map(limit).to_vec(),
            ways: vec![
                way(
                    "direct download",
                    [Some(13.9), Some(27.7), Some(110.3), Some(881.6)],
                ),
                way("swarm", [Some(16.1), Some(19.0), None, Some(70.2)]),
            ],
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_number_and_fits_80_columns() {
        let mut sweep = example();
        let more = sweep.ways.clone();
        sweep.ways.extend(more);
        let text = text(&sweep);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert_eq!(text.matches("direct download").count(), 3);
        let row = "    64    859  57.6     882  65.7  0.97    70.2  5.23  12.2     882  65.7  0.97";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("swarm: 1 runs in which not all finished, 1 that did not pass"),
            "{text}"
        );
    }
}
